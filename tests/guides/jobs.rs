//! `docs/guides/renovate-and-jobs.md`: the jobs are taken from the API server and their containers run here, with the variables that
//! the kubelet would give them.

use lab::cluster::Cluster;
use lab::tools::Tool;
use serde_json::Value;

use crate::guide::Guide;
use crate::world::{World, crds};

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
