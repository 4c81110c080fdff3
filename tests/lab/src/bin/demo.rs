//! The whole way once: a Token becomes a Secret, git clones with it, it rotates, it is revoked.
//!
//! `demo GTM DOCS`: the operator's program, and the folder docs with the manifests. With `DEMO_KEEP=1` everything stays up until
//! Ctrl-C. Exit code 0 when each step showed what it should, 1 when one did not, 130 or 143 after a signal.

use std::error::Error;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use lab::cluster::Cluster;
use lab::github::{GitHub, Settings, TokenState, hashed};
use lab::gtm::Operator;
use lab::process::Folder;
use lab::wait::wait_for;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long each step may take.
const STEP: Duration = Duration::from_secs(30);
const NAMESPACE: &str = "demo";
const NAME: &str = "github-token";
/// The operator's namespace and service account, as deploy/rbac.yaml names them.
const OPERATOR: &str = "github-token-manager";

/// What the demo runs on; dropping it ends all of it.
struct Demo {
    cluster: Cluster,
    github: GitHub,
    operator: Operator,
    folder: Folder,
    docs: PathBuf,
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
    demo.git_clones_with_it(&first).await?;
    let second = demo.it_rotates(&first).await?;
    demo.it_is_confined(&second).await?;
    if std::env::var_os("DEMO_KEEP").is_some_and(|keep| keep == "1") {
        return demo.stay().await;
    }
    demo.it_is_revoked(&second).await?;
    drop(demo);
    println!("\nThat was it. Everything is cleaned up.");
    println!("  Keep it running and try it yourself:  DEMO_KEEP=1 make demo");
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
        let github = GitHub::start(Settings::default()).await?;
        let folder = Folder::new()?;
        let key = github.key().ok_or("the stand-in has no App key")?.pkcs1_pem();
        let key = folder.write("app-key.pem", key.as_bytes())?;
        let config = format!(
            "app_id: {}\ninstallation_id: 67890\nprovider: file\nkey: {}\nbase_url: {}\n",
            github.app_id(),
            key.display(),
            github.url()
        );
        let config = folder.write("gtm.yaml", config.as_bytes())?;
        cluster.kubectl(&["create", "namespace", NAMESPACE]).await?;
        cluster.apply(&read(&docs.join("../deploy/rbac.yaml"))?).await?;
        let kubeconfig = cluster.service_account(OPERATOR, OPERATOR).await?;
        let operator = Operator::builder(gtm, &kubeconfig).config(&config).namespace(OPERATOR);
        let operator = operator.start().await?;
        println!("   $ gtm crds | kubectl apply --server-side -f -");
        println!("   $ kubectl apply -f deploy/rbac.yaml");
        println!("   $ gtm manager --config gtm.yaml");
        Ok(Demo {
            cluster,
            github,
            operator,
            folder,
            docs,
            step: 0,
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

    async fn git_clones_with_it(&mut self, token: &str) -> Result<()> {
        self.say("git clones a private repository with it");
        self.clone("alpha", token).await?.map_err(Into::into)
    }

    async fn it_rotates(&mut self, first: &str) -> Result<String> {
        self.say("A new token is asked for; the Secret changes, and git clones with the new one");
        let now = jiff::Timestamp::now().to_string();
        let note = format!("github.as-code.io/refresh-requested-at={now}");
        self.kubectl(&[
            "-n",
            NAMESPACE,
            "annotate",
            "--overwrite",
            "tokens.github.as-code.io",
            NAME,
            &note,
        ])
        .await?;
        let second = self.token(Some(first)).await?;
        println!("   GitHub's audit log knows the new one as {}", hashed(&second));
        self.clone("alpha", &second).await??;
        if !matches!(self.github.token_state(first), TokenState::Valid { .. }) {
            return Err("the former token was cut off".into());
        }
        println!("   The former token stays good until it expires: nobody in the middle of a clone is cut off.");
        Ok(second)
    }

    async fn it_is_confined(&mut self, token: &str) -> Result<()> {
        self.say("Another repository is out of its reach");
        match self.clone("beta", token).await? {
            Ok(()) => Err("the token reached a repository that it was not issued for".into()),
            Err(refused) => {
                println!("     {}", refused.lines().last().unwrap_or_default());
                Ok(())
            }
        }
    }

    async fn it_is_revoked(&mut self, token: &str) -> Result<()> {
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
        match self.clone("alpha", token).await? {
            Ok(()) => Err("a revoked token still clones".into()),
            Err(refused) => {
                println!("     {}", refused.lines().last().unwrap_or_default());
                Ok(())
            }
        }
    }

    /// Clones with the token as password. The outer result is git itself, the inner one what git says.
    async fn clone(&self, repository: &str, token: &str) -> Result<std::result::Result<(), String>> {
        let url = self.github.clone_url("octo-org", repository);
        println!("   $ git clone {url}");
        let target = Folder::new()?;
        let mut git = Command::new("git");
        // The helper reads the token from the environment, so that no process list shows it.
        let helper = "!f() { test \"$1\" = get && echo username=x-access-token && echo \"password=$TOKEN\"; }; f";
        git.args(["-c", "credential.helper=", "-c", &format!("credential.helper={helper}")])
            .args(["clone", "--quiet", &url])
            .arg(target.path().join(repository))
            .env("TOKEN", token)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", self.folder.path())
            .env("NO_PROXY", "127.0.0.1")
            .env("no_proxy", "127.0.0.1")
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .kill_on_drop(true);
        let output = tokio::time::timeout(STEP, git.output())
            .await
            .map_err(|_| "git did not end within 30 s")??;
        if !output.status.success() {
            return Ok(Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        println!("     cloned");
        Ok(Ok(()))
    }

    async fn stay(&mut self) -> Result<()> {
        self.say("Everything stays up until you press Ctrl-C");
        println!("   export KUBECONFIG={}", self.cluster.kubeconfig_path().display());
        println!("   kubectl get github -A                # Tokens and ClusterTokens");
        println!("   kubectl explain token.spec");
        println!(
            "   git clone {}   # user x-access-token, password: the Secret's token",
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
