//! What every guide starts from: an API server, the organization `acme` at a stand-in for GitHub, an App with the numbers that the
//! guides name, a folder in which commands are run, and the operator.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use lab::cluster::{Builder, Cluster, Leased};
use lab::github::{GitHub, Installation, Level, Repository, Settings, permissions};
use lab::gtm::Operator;
use lab::process::Folder;
use lab::tools::Tool;

use crate::guide::{Block, Guide};

/// How long anything may take that is not waited for on purpose.
pub const SOON: Duration = Duration::from_secs(30);

/// The numbers that the guides name.
const APP: u64 = 1234;
pub const INSTALLATION: u64 = 4_567_890;

pub struct World {
    pub cluster: Leased,
    pub github: GitHub,
    pub folder: Folder,
    /// The certificates to trust beside the system's, when GitHub is spoken to over HTTPS.
    pub ca: Option<PathBuf>,
}

fn settings() -> Settings {
    let repository = |id, name: &str| Repository {
        id,
        name: name.to_owned(),
        private: true,
    };
    let installation = Installation {
        id: INSTALLATION,
        account: "acme".to_owned(),
        repositories: vec![
            repository(201, "fleet"),
            repository(202, "web"),
            repository(203, "infrastructure"),
        ],
        permissions: permissions([
            ("administration", Level::Write),
            ("contents", Level::Write),
            ("issues", Level::Write),
            ("metadata", Level::Read),
            ("packages", Level::Read),
            ("pull_requests", Level::Write),
            ("statuses", Level::Write),
            ("workflows", Level::Write),
        ]),
        ..Installation::default()
    };
    Settings {
        app_id: APP,
        app_slug: "acme-flux".to_owned(),
        installations: vec![installation],
        ..Settings::default()
    }
}

/// The operator's CRDs.
pub fn crds() -> String {
    github_token_manager::cli::crds::yaml().expect("CRDs")
}

impl World {
    pub async fn new() -> World {
        World::with(Cluster::builder().with_crds(crds()), |settings| settings).await
    }

    /// A world whose cluster and GitHub are made to measure.
    pub async fn with(cluster: Builder, change: impl FnOnce(Settings) -> Settings) -> World {
        let cluster = cluster.lease().await.expect("a cluster");
        let github = GitHub::start(change(settings())).await.expect("the stand-in starts");
        let folder = Folder::new().expect("a folder");
        std::fs::create_dir(folder.path().join("bin")).expect("a folder for programs");
        let ca = github.ca_pem().map(|pem| folder.write("ca.pem", pem).expect("a CA"));
        let world = World {
            cluster,
            github,
            folder,
            ca,
        };
        world.program("gtm", Path::new(env!("CARGO_BIN_EXE_gtm")));
        world.program("kubectl", world.cluster.kubectl_program());
        let pem = world.github.key().expect("the App has a key").pkcs1_pem();
        world.file("private-key.pem", &pem);
        world
    }

    /// A program that commands find under this name.
    pub fn program(&self, name: &str, path: &Path) {
        let link = self.folder.path().join("bin").join(name);
        std::os::unix::fs::symlink(path, link).expect("a link");
    }

    /// A program of one's own that commands find under this name.
    pub fn script(&self, name: &str, text: &str) {
        let path = self.file(&format!("bin/{name}"), &format!("#!/bin/sh\n{text}"));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("it can be run");
    }

    /// Helm, and the charts beside the commands, as in a checkout of the project.
    pub fn helm(&self) {
        self.program("helm", &Tool::Helm.find().expect("helm"));
        let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts");
        std::os::unix::fs::symlink(charts, self.folder.path().join("charts")).expect("a link");
    }

    /// Writes a file beside the commands.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        self.folder.write(name, text).expect("the file is written")
    }

    /// The guide's text, with the stand-in in the place of github.com.
    pub fn here(&self, text: &str) -> String {
        text.replace("https://api.github.com", self.github.url())
            .replace("https://github.com", self.github.url())
    }

    /// Does what a reader does with a block: a script is run, a file is saved, a manifest without a name is applied.
    #[track_caller]
    pub fn follow(&self, block: &Block) -> String {
        let text = self.here(&block.text);
        match (block.language.as_str(), &block.file) {
            ("sh", _) => self.sh(&text),
            (_, Some(file)) => {
                self.file(file, &text);
                String::new()
            }
            ("yaml", None) => {
                let file = self.file("manifest.yaml", &text);
                self.sh(&format!("kubectl apply -f {}", file.display()))
            }
            (language, None) => panic!("a block of {language} is not for running"),
        }
    }

    /// Runs a script that must succeed; what it printed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{}\n{script}\n{}\n{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Runs a script as a reader would, two minutes at most.
    #[expect(
        clippy::disallowed_methods,
        reason = "commands find git, curl and the rest where this process would"
    )]
    pub fn try_sh(&self, script: &str) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        let home = self.folder.path();
        Command::new("timeout")
            .args(["120", "bash", "-euo", "pipefail", "-c", script])
            .current_dir(home)
            .env_clear()
            .env("PATH", format!("{}:{path}", home.join("bin").display()))
            .env("HOME", home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("KUBECONFIG", self.cluster.kubeconfig_path())
            .env("GTM_BASE_URL", self.github.url())
            .envs(self.ca.iter().map(|ca| ("GTM_CA_BUNDLE", ca)))
            .stdin(Stdio::null())
            .output()
            .expect("bash runs")
    }

    /// Writes the Secret `gtm-config` where the operator reads it, as the kubelet would at /config.
    pub fn mount_configuration(&self) {
        let get = "kubectl -n github-token-manager get secret gtm-config -o";
        for name in ["gtm.yaml", "private-key.pem"] {
            let key = name.replace('.', "\\.");
            let text = self.sh(&format!("{get} jsonpath='{{.data.{key}}}' | base64 -d"));
            let text = text.replace("/config/", &format!("{}/config-", self.folder.path().display()));
            self.file(&format!("config-{name}"), &text);
        }
    }

    /// Starts the operator with that configuration.
    pub async fn operator(&self) -> Operator {
        self.operator_with(|operator| operator).await
    }

    /// The same with flags of a test's own.
    pub async fn operator_with(&self, change: impl FnOnce(lab::gtm::Builder) -> lab::gtm::Builder) -> Operator {
        self.mount_configuration();
        let mut operator = Operator::builder(env!("CARGO_BIN_EXE_gtm"), self.cluster.kubeconfig_path());
        if let Some(ca) = &self.ca {
            operator = operator.env("GTM_CA_BUNDLE", ca);
        }
        let operator = operator
            .config(&self.folder.path().join("config-gtm.yaml"))
            .namespace("github-token-manager")
            .env("GTM_BASE_URL", self.github.url())
            .leader_elect(false);
        change(operator).start().await.expect("the operator starts")
    }

    /// Installs the operator as the Flux guide says, and makes a namespace for the guide at hand.
    pub async fn installed(&self, namespace: &str) -> Operator {
        self.installed_with(namespace, |operator| operator).await
    }

    /// The same with flags of a test's own.
    pub async fn installed_with(
        &self,
        namespace: &str,
        change: impl FnOnce(lab::gtm::Builder) -> lab::gtm::Builder,
    ) -> Operator {
        let flux = Guide::read("flux.md");
        self.follow(flux.block("owner: acme"));
        self.follow(flux.block("create secret generic gtm-config"));
        self.sh(&format!("kubectl create namespace {namespace}"));
        self.operator_with(change).await
    }

    /// Waits until a Token (`token`) or ClusterToken (`clustertoken`) is ready. `object`: the rest of kubectl's arguments.
    #[track_caller]
    pub fn ready(&self, object: &str) {
        self.sh(&format!("kubectl wait {object} --for=condition=Ready --timeout=60s"));
    }

    /// One value of a Secret.
    #[track_caller]
    pub fn secret(&self, namespace: &str, name: &str, key: &str) -> String {
        let key = key.replace('.', "\\.");
        self.sh(&format!(
            "kubectl -n {namespace} get secret {name} -o jsonpath='{{.data.{key}}}' | base64 -d"
        ))
    }
}
