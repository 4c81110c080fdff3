//! The whole way once: a Token becomes a Secret, a pod gets it and clones, it rotates, it is revoked.
//!
//! `demo GTM DOCS`: the operator's program, and the folder docs with the manifests. With `DEMO_KEEP=1` everything stays up until
//! Ctrl-C. Exit code 0 when each step showed what it should, 1 when one did not, 130 or 143 after a signal.

mod pod;

use std::error::Error;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use lab::cluster::Cluster;
use lab::github::{GitHub, Settings, TokenState, hashed};
use lab::gtm::{Operator, configurations};
use lab::process::{Folder, Port};
use lab::wait::wait_for;
use pod::Running;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long each step may take.
const STEP: Duration = Duration::from_secs(30);
const NAMESPACE: &str = "demo";
const NAME: &str = "github-token";
/// The pod of docs/examples.
const POD: &str = "clone";
/// The file with the stand-in's certificate authority.
const CA: &str = "github-ca.pem";
/// The operator's namespace and service account, as deploy/rbac.yaml names them.
const OPERATOR: &str = "github-token-manager";

/// What the demo runs on; dropping it ends all of it.
struct Demo {
    cluster: Cluster,
    github: GitHub,
    operator: Operator,
    docs: PathBuf,
    folder: Folder,
    _webhook: Port,
    step: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => return failed(&error),
    };
    // Whichever way this ends, the demo is dropped, and with it every process and folder.
    tokio::select! {
        result = run() => match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&*error),
        },
        _ = tokio::signal::ctrl_c() => ExitCode::from(130),
        _ = terminate.recv() => ExitCode::from(143),
    }
}

fn failed(error: &dyn Error) -> ExitCode {
    eprintln!("\ndemo: {error}");
    ExitCode::FAILURE
}

/// What `gtm crds` prints.
async fn crds(gtm: &Path) -> Result<String> {
    let printed = Command::new(gtm).arg("crds").kill_on_drop(true).output();
    let printed = tokio::time::timeout(STEP, printed)
        .await
        .map_err(|_| format!("{} crds did not end within {STEP:?}", gtm.display()))?
        .map_err(|error| format!("{}: {error}; build it with `cargo build --bin gtm`", gtm.display()))?;
    if !printed.status.success() {
        let said = String::from_utf8_lossy(&printed.stderr);
        return Err(format!("{} crds failed ({}): {said}", gtm.display(), printed.status).into());
    }
    Ok(String::from_utf8(printed.stdout)?)
}

fn read(path: &Path) -> Result<String> {
    Ok(std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?)
}

async fn run() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let (Some(gtm), Some(docs)) = (words.next(), words.next()) else {
        return Err("usage: demo PATH_TO_GTM PATH_TO_DOCS".into());
    };
    let mut demo = Demo::start(Path::new(&gtm), PathBuf::from(docs)).await?;
    let first = demo.a_token_becomes_a_secret().await?;
    let pod = demo.a_pod_gets_it().await?;
    demo.its_command_clones(&first, &pod).await?;
    let second = demo.it_rotates(&first, &pod).await?;
    demo.it_is_confined(&pod).await?;
    if std::env::var_os("DEMO_KEEP").is_some_and(|keep| keep == "1") {
        return demo.stay().await;
    }
    demo.it_is_revoked(&second, &pod).await?;
    drop(demo);
    println!("\nThat was it. Everything is cleaned up.");
    println!("  Keep it running and try it yourself:  DEMO_KEEP=1 make demo");
    println!("  With pods that run, on a real node:   make cluster");
    println!("  More manifests:                       docs/examples");
    println!("  When something does not work:         docs/troubleshooting.md");
    Ok(())
}

impl Demo {
    async fn start(gtm: &Path, docs: PathBuf) -> Result<Demo> {
        println!("Starting a Kubernetes API server, a GitHub stand-in and the operator, all on 127.0.0.1 ...");
        let cluster = Cluster::builder()
            .with_crds(crds(gtm).await?)
            .with_controller_manager()
            .start()
            .await?;
        let settings = Settings {
            tls: true,
            ..Settings::default()
        };
        let github = GitHub::start(settings).await?;
        let folder = Folder::new()?;
        let key = github.key().ok_or("the stand-in has no App key")?.pkcs1_pem();
        let key = folder.write("app-key.pem", key.as_bytes())?;
        let ca = folder.write(CA, github.ca_pem().unwrap_or_default())?;
        let config = github.gtm_yaml("file", key.display());
        let config = format!("{config}ca_bundle: {}\n", ca.display());
        let config = folder.write("gtm.yaml", config.as_bytes())?;
        cluster.kubectl(&["create", "namespace", NAMESPACE]).await?;
        cluster.apply(&read(&docs.join("../deploy/rbac.yaml"))?).await?;
        let kubeconfig = cluster.service_account(OPERATOR, OPERATOR).await?;
        let webhook = Port::take()?;
        cluster.apply(&configurations(webhook.number())?).await?;
        let operator = Operator::builder(gtm, &kubeconfig).config(&config).namespace(OPERATOR);
        let webhook_address = format!("--webhook-bind-address={}", webhook.address());
        let operator = operator.arg(webhook_address).start().await?;
        println!("   $ gtm crds | kubectl apply --server-side -f -");
        println!("   $ kubectl apply -f deploy/rbac.yaml");
        println!("   $ kubectl apply -k webhook-config");
        println!("   $ gtm manager --config gtm.yaml");
        Ok(Demo {
            cluster,
            github,
            operator,
            docs,
            step: 0,
            folder,
            _webhook: webhook,
        })
    }

    fn say(&mut self, what: &str) {
        self.step += 1;
        let (bold, plain) = if std::io::stdout().is_terminal() {
            ("\x1b[1m", "\x1b[0m")
        } else {
            ("", "")
        };
        println!("\n{bold}{}. {what}{plain}", self.step);
    }

    async fn kubectl(&self, args: &[&str]) -> Result<()> {
        println!("   $ kubectl {}", args.join(" "));
        for line in self.cluster.kubectl(args).await?.lines() {
            println!("     {line}");
        }
        Ok(())
    }

    /// The token in the Secret, once it is a good one and not `former`. It is never printed.
    async fn token(&self, former: Option<&str>) -> Result<String> {
        let client = self.cluster.client().await?;
        let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> = kube::Api::namespaced(client, NAMESPACE);
        let token = wait_for(STEP, "a good token in the Secret", async || {
            let secret = secrets.get_opt(NAME).await.map_err(|error| error.to_string())?;
            let data = secret.and_then(|secret| secret.data).ok_or("no Secret yet")?;
            let token = data
                .get("token")
                .map(|value| String::from_utf8_lossy(&value.0).into_owned());
            let token = token.ok_or("no key 'token'")?;
            let good = matches!(self.github.token_state(&token), TokenState::Valid { .. });
            if good && Some(&*token) != former {
                Ok(token)
            } else {
                Err("the former token".to_owned())
            }
        });
        Ok(token.await?)
    }

    async fn a_token_becomes_a_secret(&mut self) -> Result<String> {
        self.say("A Token asks for a GitHub token that may read one repository; a Secret appears");
        println!("   $ kubectl apply -f docs/examples/token.yaml");
        self.cluster
            .apply(&read(&self.docs.join("examples/token.yaml"))?)
            .await?;
        let token = self.token(None).await?;
        self.kubectl(&[
            "-n",
            NAMESPACE,
            "wait",
            "token.github.as-code.io/github-token",
            "--for=condition=Ready",
            "--timeout=30s",
        ])
        .await?;
        self.kubectl(&["-n", NAMESPACE, "get", "tokens.github.as-code.io"])
            .await?;
        self.kubectl(&["-n", NAMESPACE, "get", "secret", NAME]).await?;
        println!(
            "   The token itself is not shown; GitHub's audit log knows it as {}",
            hashed(&token)
        );
        Ok(token)
    }

    async fn a_pod_gets_it(&mut self) -> Result<Running> {
        self.say("A pod asks for that token with one annotation; admission adds what git needs");
        println!("   $ kubectl apply -f docs/examples/pod.yaml");
        let manifest = read(&self.docs.join("examples/pod.yaml"))?;
        // The first start makes the webhook's certificate authority, which the API server hears of a moment later.
        wait_for(STEP, "the pod is admitted", async || {
            self.cluster.apply(&manifest).await
        })
        .await?;
        let pod = pod::stored(&self.cluster).await?;
        pod::tell(&pod)?;
        Running::start(&pod, &self.github, &self.folder.path().join(CA)).await
    }

    async fn its_command_clones(&mut self, token: &str, pod: &Running) -> Result<()> {
        self.say("The pod's command, a plain git clone, reads a private repository");
        println!(
            "   There is no node here. As a kubelet would, the demo puts the Secret into the pod's volume and runs the"
        );
        println!("   command with the pod's environment, where github.com is the stand-in.");
        pod.mount(&self.cluster, token).await?;
        pod.clones().await
    }

    async fn it_rotates(&mut self, first: &str, pod: &Running) -> Result<String> {
        self.say(
            "A new token is asked for; the Secret and the pod's file change, and the same pod clones with the new one",
        );
        let now = jiff::Timestamp::now().to_string();
        let note = format!("github.as-code.io/refresh-requested-at={now}");
        let annotate = ["annotate", "--overwrite", "tokens.github.as-code.io", NAME, &note];
        self.kubectl(&[&["-n", NAMESPACE][..], &annotate].concat()).await?;
        let second = self.token(Some(first)).await?;
        println!("   GitHub's audit log knows the new one as {}", hashed(&second));
        pod.mount(&self.cluster, &second).await?;
        pod.clones().await?;
        if !matches!(self.github.token_state(first), TokenState::Valid { .. }) {
            return Err("the former token was cut off".into());
        }
        println!("   The former token stays good until it expires: nobody in the middle of a clone is cut off.");
        Ok(second)
    }

    async fn it_is_confined(&mut self, pod: &Running) -> Result<()> {
        self.say("Another repository is out of its reach");
        pod.is_refused("https://github.com/octo-org/beta").await
    }

    async fn it_is_revoked(&mut self, token: &str, pod: &Running) -> Result<()> {
        self.say("The Token is deleted; its Secret goes, and GitHub does not take the token any more");
        self.kubectl(&["-n", NAMESPACE, "delete", "tokens.github.as-code.io", NAME])
            .await?;
        wait_for(STEP, "the token is revoked", async || {
            match self.github.token_state(token) {
                TokenState::Revoked => Ok(()),
                state => Err(format!("{state:?}")),
            }
        })
        .await?;
        pod.is_refused("https://github.com/octo-org/alpha").await
    }

    async fn stay(&mut self) -> Result<()> {
        self.say("Everything stays up until you press Ctrl-C");
        println!("   export KUBECONFIG={}", self.cluster.kubeconfig_path().display());
        println!("   kubectl get github -A                # Tokens and ClusterTokens");
        println!("   kubectl explain token.spec");
        println!("   kubectl -n {NAMESPACE} get pod {POD} -o yaml     # what a pod is given; it waits for a node");
        let ca = self.folder.path().join(CA);
        println!(
            "   git -c http.sslCAInfo={} clone {}   # user x-access-token, password: the Secret's token",
            ca.display(),
            self.github.clone_url("octo-org", "alpha")
        );
        println!(
            "   The stand-in's App: {} (faults, limits and the clock can be changed there)",
            self.github.admin_url()
        );
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.operator.process().check_running()?;
        }
    }
}
