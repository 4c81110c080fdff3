//! `docs/guides/renovate-and-jobs.md`: the jobs are taken from the API server and their containers run here, with the variables that
//! the kubelet would give them.

use std::path::Path;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::Api;
use lab::cluster::Cluster;
use lab::gtm::configurations;
use lab::process::Port;
use lab::tools::Tool;
use lab::wait::eventually;
use serde_json::{Value, json};
use tokio::net::{TcpStream, UnixListener};

use crate::guide::Guide;
use crate::world::{SOON, World, crds};

/// The container of a CronJob or Job, as the API server has it.
pub fn container(world: &World, object: &str) -> Value {
    let text = world.sh(&format!("kubectl get {object} -o json"));
    let job: Value = serde_json::from_str(&text).expect("JSON");
    let spec = job.pointer("/spec/jobTemplate/spec").unwrap_or(&job["spec"]);
    spec["template"]["spec"]["containers"][0].clone()
}

/// Its variables, from its own texts and from Secrets of its namespace, as lines of a shell.
pub fn variables(world: &World, namespace: &str, container: &Value) -> String {
    let mut lines = String::new();
    let mut export = |name: &str, value: &str| lines.push_str(&format!("export {name}='{value}'\n"));
    for source in container["envFrom"].as_array().into_iter().flatten() {
        let name = source["secretRef"]["name"].as_str().expect("a Secret");
        let text = world.sh(&format!("kubectl -n {namespace} get secret {name} -o json"));
        let secret: Value = serde_json::from_str(&text).expect("JSON");
        for key in secret["data"].as_object().expect("data").keys() {
            export(key, &world.secret(namespace, name, key));
        }
    }
    for variable in container["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().expect("a name");
        let value = match variable["valueFrom"]["secretKeyRef"]["name"].as_str() {
            Some(secret) => {
                let key = variable["valueFrom"]["secretKeyRef"]["key"].as_str().expect("a key");
                world.secret(namespace, secret, key)
            }
            None => variable["value"].as_str().unwrap_or_default().to_owned(),
        };
        export(name, &value);
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cron_job_of_the_guide_opens_a_pull_request_with_gh() {
    let guide = Guide::read("renovate-and-jobs.md");
    // gh speaks HTTPS alone, to another host than github.com as to an Enterprise Server.
    let cluster = Cluster::builder().with_crds(crds());
    let world = World::with(cluster, |settings| lab::github::Settings { tls: true, ..settings }).await;
    world.program("gh", &Tool::Gh.find().expect("gh"));
    let _operator = world.installed("jobs").await;
    world.follow(guide.block("name: weekly-report\n  namespace: jobs\nspec:\n  permissions"));
    world.ready("-n jobs token weekly-report");

    let container = container(&world, "-n jobs cronjob weekly-report");
    let variables = variables(&world, "jobs", &container);
    let token = world.secret("jobs", "weekly-report", "token");
    let host = world.github.url().trim_start_matches("https://").to_owned();
    let ca = world.ca.as_ref().expect("a CA").display();
    // The branch that the report is on.
    world.sh(&format!(
        "git -c http.sslCAInfo={ca} clone --quiet https://x-access-token:$(GTM_KEY=private-key.pem gtm mint --config gtm.yaml)@{host}/acme/web
         cd web && git switch --quiet -c report && echo report > report.md && git add . &&
         git -c user.name=t -c user.email=t@example.com commit --quiet -m report && git -c http.sslCAInfo={ca} push --quiet origin report"
    ));
    let script = container["args"][0].as_str().expect("a script");
    let printed = world.sh(&format!(
        "{variables} export GH_HOST={host} GH_ENTERPRISE_TOKEN=\"$GH_TOKEN\" SSL_CERT_FILE={ca}\n sh -c '{script}'"
    ));
    assert_eq!(printed, "acme/web\nopen\n");
    assert!(variables.contains(&token));
}

/// Leads everything that is sent to a socket on to the stand-in, which `gh` then takes for api.github.com.
fn lead(socket: &Path, github: String) {
    let listener = UnixListener::bind(socket).expect("a socket");
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let mut to = TcpStream::connect(&github).await.expect("the stand-in");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    });
}

/// The pod of the guide's CronJob, with the webhook's annotations in the place of its own variable.
async fn annotated(world: &World, guide: &Guide) -> Pod {
    let text = world.sh("kubectl -n jobs get cronjob weekly-report -o json");
    let job: Value = serde_json::from_str(&text).expect("JSON");
    let mut pod = job["spec"]["jobTemplate"]["spec"]["template"].clone();
    let mut annotations = serde_json::Map::new();
    for (name, value) in [
        ("github.as-code.io/token", "weekly-report"),
        ("github.as-code.io/inject", "file,git,env"),
    ] {
        assert!(guide.text.contains(&format!("`{name}: {value}`")), "{name}");
        annotations.insert(name.to_owned(), value.into());
    }
    pod["metadata"] = json!({"name": "report", "annotations": annotations});
    let container = pod["spec"]["containers"][0].as_object_mut().expect("a container");
    container.remove("env").expect("its variable");
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    let pods: Api<Pod> = Api::namespaced(world.cluster.client().await.expect("a client"), "jobs");
    let create = async || {
        let created = pods.create(&Default::default(), &pod).await;
        created.map_err(|error| error.to_string())
    };
    eventually(SOON, "the webhook lets the pod in", create).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_webhook_gh_in_a_pod_has_its_token_as_a_variable_and_as_a_file() {
    let guide = Guide::read("renovate-and-jobs.md");
    let (world, port) = (World::new().await, Port::take().expect("a port"));
    world.program("gh", &Tool::Gh.find().expect("gh"));
    world.file(
        "webhook.yaml",
        &configurations(port.number()).expect("the configurations"),
    );
    world.sh("kubectl apply -f webhook.yaml");
    let address = format!("--webhook-bind-address={}", port.address());
    let _operator = world.installed_with("jobs", |operator| operator.arg(address)).await;
    world.follow(guide.block("name: weekly-report\n  namespace: jobs\nspec:\n  permissions"));
    world.ready("-n jobs token weekly-report");
    let pod = annotated(&world, &guide).await;

    let socket = world.folder.path().join("github.sock");
    lead(&socket, world.github.url().trim_start_matches("http://").to_owned());
    std::fs::create_dir(world.folder.path().join("gh")).expect("a folder");
    world.file("gh/config.yml", &format!("http_unix_socket: {}\n", socket.display()));
    let ask = "export GH_CONFIG_DIR=$HOME/gh; gh api repos/acme/web --jq .full_name";
    let without = world.try_sh(ask);
    let said = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(
        !without.status.success() && said.contains("GH_TOKEN"),
        "gh has nothing else: {said}"
    );

    let first = serde_json::to_value(&pod).expect("JSON")["spec"]["containers"][0].clone();
    let variables = variables(&world, "jobs", &first);
    assert!(variables.contains(&world.secret("jobs", "weekly-report", "token")));
    assert_eq!(world.sh(&format!("{variables} {ask}")), "acme/web\n");
    let stale = variables.replace("export GH_TOKEN='", "export GH_TOKEN='not-");
    assert!(!world.try_sh(&format!("{stale} {ask}")).status.success());

    // What docs/pods.md has for what runs longer.
    let container = lab::pod::Container::new(&pod).expect("a container");
    let secrets: Api<Secret> = Api::namespaced(world.cluster.client().await.expect("a client"), "jobs");
    container.mount(&secrets).await.expect("its Secret");
    let file = container.variable("GITHUB_TOKEN_FILE").expect("its path");
    let read = ask.replace("gh api", "GH_TOKEN=\"$(cat \"$GITHUB_TOKEN_FILE\")\" gh api");
    assert_eq!(
        world.sh(&format!("export GITHUB_TOKEN_FILE='{file}'; {read}")),
        "acme/web\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn renovate_gets_its_variables_and_its_token_reads_what_it_is_asked_to_renovate() {
    let guide = Guide::read("renovate-and-jobs.md");
    let world = World::new().await;
    let _operator = world.installed("renovate").await;
    world.follow(guide.block("kind: CronJob\nmetadata:\n  name: renovate"));
    world.ready("-n renovate token renovate");
    let container = container(&world, "-n renovate cronjob renovate");
    let variables = variables(&world, "renovate", &container);
    let read = "curl -fsS -H \"Authorization: Bearer $RENOVATE_TOKEN\" -H 'User-Agent: renovate'";
    let names = world.sh(&format!(
        "{variables} test \"$RENOVATE_PLATFORM\" = github
         for name in ${{RENOVATE_REPOSITORIES//,/ }}; do {read} \"${{RENOVATE_ENDPOINT}}repos/$name\" > answer.json; grep -o '\"full_name\":\"[^\"]*\"' answer.json | head -1; done"
    ));
    assert_eq!(names, "\"full_name\":\"acme/web\"\n\"full_name\":\"acme/fleet\"\n");
}
