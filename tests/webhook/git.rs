//! A real git with the environment that the patch sets, against the stand-in.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use lab::github::{Settings, TokenState};
use lab::wait::eventually;
use serde_json::json;

use crate::collector::{Collector, authorizations};
use crate::world::{SOON, World, cluster, pod};

/// The container of a pod that was let in.
struct Container {
    world: World,
    here: lab::pod::Container,
}

impl Container {
    /// A container whose Token, `ci`, has this level of `contents`.
    async fn new(level: &str, annotations: &[(&str, &str)], spec: serde_json::Value) -> Container {
        let settings = Settings {
            tls: true,
            ..Settings::default()
        };
        let world = World::with(cluster(), settings, |operator| operator).await;
        world.token("ci", json!({"permissions": {"contents": level}})).await;
        world.ready("ci").await;
        let host = host(&world);
        let mut all = vec![("token", "ci"), ("git-hosts", host.as_str())];
        all.extend(annotations);
        let made = world.create(&pod("runs", &all, spec)).await.unwrap();
        let here = lab::pod::Container::new(&made).unwrap();
        let container = Container { world, here };
        container.mount_token().await;
        container
    }

    fn secrets(&self) -> kube::Api<Secret> {
        kube::Api::namespaced(self.world.client.clone(), &self.world.namespace)
    }

    async fn secret(&self) -> String {
        let data = self.secrets().get("ci").await.unwrap().data;
        String::from_utf8(data.unwrap().remove("token").unwrap().0).unwrap()
    }

    async fn mount_token(&self) {
        self.here.mount(&self.secrets()).await.unwrap();
    }

    /// The file with the token.
    fn file(&self) -> PathBuf {
        self.here.path("/var/run/secrets/github.as-code.io/default/token")
    }

    /// A path below the container's root.
    fn path(&self, below: &str) -> PathBuf {
        self.here.root().join(below)
    }

    fn url(&self, repository: &str) -> String {
        format!("https://{}/octo-org/{repository}", host(&self.world))
    }

    /// Runs git in a folder below the container's.
    async fn git(&self, folder: &str, arguments: &[&str], more: &[(&str, &str)]) -> Output {
        let ca = self.path("ca.pem");
        std::fs::write(&ca, self.world.github.ca_pem().unwrap()).unwrap();
        let folder = self.path(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = self.here.program("git");
        command
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args(arguments)
            .current_dir(folder)
            .env("GIT_SSL_CAINFO", ca)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs(more.iter().copied());
        tokio::time::timeout(Duration::from_secs(60), command.output())
            .await
            .unwrap()
            .unwrap()
    }

    /// Runs git, which must do what it was told.
    async fn works(&self, folder: &str, arguments: &[&str]) {
        let output = self.git(folder, arguments, &[]).await;
        assert!(output.status.success(), "git {arguments:?}: {}", said(&output));
    }
}

fn host(world: &World) -> String {
    world.github.url().strip_prefix("https://").unwrap().to_owned()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[tokio::test]
async fn git_clones_pushes_and_goes_on_after_a_rotation_with_submodules_and_ssh_remotes() {
    let own = json!({"containers": [{"name": "app", "image": "x", "env": [{"name": "GIT_CONFIG_COUNT", "value": "1"},
        {"name": "GIT_CONFIG_KEY_0", "value": "gtm.mark"}, {"name": "GIT_CONFIG_VALUE_0", "value": "kept"}]}]});
    let container = Container::new("write", &[("git-ssh-rewrite", "true")], own).await;
    container
        .works("", &["clone", "-q", &container.url("alpha"), "clone"])
        .await;
    let mark = container.git("clone", &["config", "gtm.mark"], &[]).await;
    assert_eq!(said(&mark), "kept\n", "what the container had set stays set");

    write(&container.path("clone/new.txt"), "new\n");
    container.works("clone", &["add", "."]).await;
    container.works("clone", &["commit", "-qm", "new"]).await;
    container.works("clone", &["push", "-q"]).await;

    // The former token is over, and the file has the next one: nothing is started anew.
    let former = container.secret().await;
    let ask = json!({"metadata": {"annotations": {"github.as-code.io/refresh-requested-at": "1"}}});
    let args = [
        "-n",
        &container.world.namespace,
        "patch",
        "token",
        "ci",
        "--type=merge",
        "-p",
        &ask.to_string(),
    ];
    container.world.cluster.kubectl(&args).await.unwrap();
    eventually(SOON, "another token", async || {
        let token = container.secret().await;
        if token == former { Err("the same") } else { Ok(()) }
    })
    .await;
    revoke(&container, &former).await;
    let stale = container.git("clone", &["fetch"], &[]).await;
    assert!(!stale.status.success(), "{}", said(&stale));
    container.mount_token().await;
    container.works("clone", &["fetch", "-q"]).await;

    let module = container.url("beta");
    container
        .works("clone", &["submodule", "--quiet", "add", &module, "beta"])
        .await;
    container.works("clone", &["commit", "-qam", "module"]).await;
    container.works("clone", &["push", "-q"]).await;
    container
        .works(
            "",
            &["clone", "-q", "--recurse-submodules", &container.url("alpha"), "whole"],
        )
        .await;
    assert!(container.path("whole/beta/README.md").exists());

    for (n, remote) in ["git@127.0.0.1:octo-org/alpha", "ssh://git@127.0.0.1/octo-org/alpha.git"]
        .into_iter()
        .enumerate()
    {
        container.works("", &["clone", "-q", remote, &format!("ssh-{n}")]).await;
    }
}

async fn revoke(container: &Container, token: &str) {
    let ca = reqwest::Certificate::from_pem(container.world.github.ca_pem().unwrap().as_bytes()).unwrap();
    let https = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([ca])
        .build()
        .unwrap();
    let url = format!("{}/installation/token", container.world.github.url());
    let sent = https
        .delete(url)
        .bearer_auth(token)
        .header("user-agent", "test")
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 204);
    assert!(!matches!(
        container.world.github.token_state(token),
        TokenState::Valid { .. }
    ));
}

#[tokio::test]
async fn a_token_that_may_only_read_does_not_push() {
    let container = Container::new("read", &[], json!({})).await;
    container
        .works("", &["clone", "-q", &container.url("alpha"), "clone"])
        .await;
    write(&container.path("clone/new.txt"), "new\n");
    container.works("clone", &["add", "."]).await;
    container.works("clone", &["commit", "-qm", "new"]).await;
    let pushed = container.git("clone", &["push"], &[]).await;
    assert!(
        !pushed.status.success() && said(&pushed).contains("403"),
        "{}",
        said(&pushed)
    );
}

#[tokio::test]
async fn no_other_host_port_or_scheme_is_ever_sent_the_token() {
    let container = Container::new("read", &[("git-ssh-rewrite", "true")], json!({})).await;
    let token = container.secret().await;
    let collector = Collector::new().await;
    let (port, secure) = (collector.plain, collector.secure);
    let own = host(&container.world);
    let both = container.path("both.pem");
    write(
        &both,
        &(container.world.github.ca_pem().unwrap().to_owned() + &collector.authority),
    );
    let trust = [("GIT_SSL_CAINFO", both.to_str().unwrap())];
    for url in [
        format!("http://127.0.0.1:{port}/octo-org/alpha"),
        format!("http://localhost:{port}/octo-org/alpha"),
        format!("http://x-access-token@127.0.0.1:{port}/octo-org/alpha"),
        format!("http://127.0.0.1:{port}/https://{own}/octo-org/alpha"),
        format!("https://127.0.0.1:{secure}/octo-org/alpha"),
        format!("https://localhost:{secure}/octo-org/alpha"),
        format!("https://x-access-token@127.0.0.1:{secure}/octo-org/alpha"),
        format!("https://127.0.0.1:{secure}/https://{own}/octo-org/alpha"),
    ] {
        let output = container.git("", &["clone", &url, "stolen"], &trust).await;
        assert!(!output.status.success(), "{}", said(&output));
        let text = collector.heard();
        assert!(text.contains("GET "), "{url}: {text}\n{}", said(&output));
        assert!(!text.contains(&token), "{url}: {text}");
        for told in authorizations(&text) {
            // The name that stands in some URLs, without a password.
            assert_eq!(told, "Basic eC1hY2Nlc3MtdG9rZW46", "{url}");
        }
        // With a helper that answers every host, both servers are sent what it says: they would have been sent the token.
        let helper = "credential.helper=!f() { echo username=x; echo password=y; }; f";
        container.git("", &["-c", helper, "clone", &url, "told"], &trust).await;
        let text = collector.heard();
        assert!(!authorizations(&text).is_empty(), "{url}: {text}");
    }
    // git itself, asked for each of them: it has a password for the one host alone.
    for (input, known) in [
        (format!("protocol=https\nhost={own}\n\n"), true),
        (format!("protocol=http\nhost={own}\n\n"), false),
        ("protocol=https\nhost=example.com\n\n".into(), false),
        ("protocol=https\nhost=127.0.0.1\n\n".into(), false),
    ] {
        let file = container.path("ask");
        write(&file, &input);
        let shell = format!("git credential fill < '{}'", file.display());
        let alias = format!("alias.ask=!{shell}");
        let output = container.git("", &["-c", &alias, "ask"], &[]).await;
        assert_eq!(output.status.success(), known, "{input}: {}", said(&output));
        let told = said(&output).contains(&format!("password={token}\n"));
        assert_eq!(told, known, "{input}: {}", said(&output));
        assert_eq!(said(&output).contains(&token), known, "{input}: {}", said(&output));
    }
}

#[tokio::test]
async fn an_existing_helper_is_never_asked_nor_told_and_askpass_only_where_there_is_no_token() {
    let container = Container::new("read", &[], json!({})).await;
    let log = container.path("helper.log");
    let helper = format!(
        "[credential]\n\thelper = \"!f() {{ echo asked $1 >> {0}; cat >> {0}; }}; f\"\n",
        log.display()
    );
    write(&container.path(".gitconfig"), &helper);
    let askpass = container.path("askpass");
    let askpass_log = container.path("askpass.log");
    write(
        &askpass,
        &format!("#!/bin/sh\necho \"$1\" >> {}\necho wrong\n", askpass_log.display()),
    );
    std::fs::set_permissions(&askpass, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let askpass = askpass.display().to_string();
    let asks = [
        ("GIT_ASKPASS", askpass.as_str()),
        ("t", "a variable of the container's own"),
    ];

    let cloned = container
        .git("", &["clone", "-q", &container.url("alpha"), "clone"], &asks)
        .await;
    assert!(cloned.status.success(), "{}", said(&cloned));
    assert!(
        !askpass_log.exists() && !log.exists(),
        "{:?}",
        std::fs::read_to_string(&log)
    );

    for empty in [true, false] {
        if empty {
            write(&container.file(), "");
        } else {
            std::fs::remove_file(container.file()).unwrap();
        }
        let refused = container.git("clone", &["fetch"], &asks).await;
        assert!(!refused.status.success(), "{}", said(&refused));
        assert!(!said(&refused).contains("No such file"), "{}", said(&refused));
        assert!(
            std::fs::read_to_string(&askpass_log).unwrap().contains("Username"),
            "git asks as it would without us"
        );
        std::fs::remove_file(&askpass_log).unwrap();
    }
    assert!(!log.exists());
}
