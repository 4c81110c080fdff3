//! The program, GitHub, and a browser.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lab::browser::{Browser, Form, Page};
use lab::github::{GitHub, Installation, Registration, Settings};
use lab::process::{Folder, Process};
use lab::wait::eventually;

/// How long anything may take that is not waited for on purpose.
pub const SOON: Duration = Duration::from_secs(30);

pub struct Bench {
    pub github: GitHub,
    pub folder: Folder,
    pub browser: Browser,
}

impl Bench {
    pub async fn new() -> Bench {
        let github = GitHub::start(Settings::default()).await.expect("the stand-in starts");
        Bench {
            github,
            folder: Folder::new().expect("a folder"),
            browser: Browser::new().expect("a browser"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts `gtm app create ARGUMENTS` at this GitHub.
    pub fn create(&self, arguments: &str) -> Running {
        self.create_in(arguments, None)
    }

    /// The same, for this cluster.
    pub fn create_in(&self, arguments: &str, kubeconfig: Option<&Path>) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gtm"));
        command
            .current_dir(self.folder.path())
            .args(["app", "create", "--no-browser", "--base-url", self.github.url()])
            .args(arguments.split_whitespace())
            .env_clear();
        if let Some(kubeconfig) = kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let name = format!("log-{}", lab::github::hashed(arguments).replace('/', "-"));
        // Each run has a log of its own.
        let (mut log, mut count) = (self.path(&name), 0);
        while log.exists() {
            count += 1;
            log = self.path(&format!("{name}-{count}"));
        }
        Running(Process::start("gtm app create", command, &log).expect("gtm starts"))
    }

    /// Presses the button on the page of a running `gtm`; where GitHub sends the browser then.
    pub async fn press(&self, running: &Running) -> String {
        let page = self.browser.open(&running.page().await).await.expect("the page opens");
        assert_eq!(page.status, 200, "{}", page.text);
        self.press_on(&page.text).await
    }

    /// Presses the button on a page.
    pub async fn press_on(&self, html: &str) -> String {
        let form = Form::of(html).unwrap_or_else(|| panic!("no form in {html}"));
        let answer = self.browser.post(&form).await.expect("GitHub answers");
        assert_eq!(answer.status, 302, "{}", answer.text);
        answer.location.expect("GitHub sends the browser back")
    }

    pub async fn open(&self, url: &str) -> Page {
        self.browser.open(url).await.expect("it answers")
    }

    /// The App that was registered last.
    pub fn registered(&self) -> Registration {
        self.github.registrations().pop().expect("an App was registered")
    }

    /// How often GitHub was asked for an App.
    pub fn conversions(&self) -> usize {
        let requests = self.github.requests();
        requests
            .iter()
            .filter(|request| request.path.ends_with("/conversions"))
            .count()
    }

    /// Waits for the end, and asserts that it failed with these parts in its text, and left no key file.
    pub async fn fails(&self, running: &Running, code: i32, parts: &[&str]) -> String {
        let said = running.ended(code).await;
        for part in parts {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
        assert!(!self.path("key.pem").exists(), "a key file without a key is left");
        said
    }

    /// The key file, which has the key of this App and is its owner's alone.
    pub fn has_key_of(&self, registration: &Registration) {
        let path = self.path("key.pem");
        let mode = std::fs::metadata(&path)
            .expect("the key file is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let pem = registration.app.key().expect("the App has a key").pkcs1_pem();
        assert!(std::fs::read_to_string(path).expect("a text") == pem, "another key");
    }
}

/// `gtm app create` under way.
pub struct Running(pub Process);

impl Running {
    /// The address of its page.
    pub async fn page(&self) -> String {
        eventually(SOON, "the address of the page", async || {
            let log = self.0.log();
            let rest = log.split_once("Open ").map(|(_, rest)| rest.to_owned());
            rest.and_then(|rest| rest.split_once(' ').map(|(url, _)| url.to_owned()))
                .ok_or(log)
        })
        .await
    }

    /// Waits for its end; what it said.
    pub async fn ended(&self, code: i32) -> String {
        let status = self.0.wait(SOON).await.expect("it ends");
        let said = self.0.log();
        assert_eq!(status.code(), Some(code), "{said}");
        said
    }
}

/// Asserts that a text has none of an App's secrets in it.
pub fn keeps_secrets(text: &str, registration: &Registration) {
    let pem = registration.app.key().expect("the App has a key").pkcs1_pem();
    let lines = pem.lines().filter(|line| !line.starts_with('-'));
    for secret in lines.chain([&*registration.client_secret]) {
        assert!(!text.contains(secret), "a secret is in {text}");
    }
}

/// What gtm.yaml begins with, as it is printed.
pub const CONFIGURATION: &str = "app_id: ";

/// What was printed from the line on that has this, up to an empty one, without its indentation.
pub fn printed(said: &str, from: &str) -> String {
    let lines = said.lines().skip_while(|line| !line.contains(from));
    let lines = lines.take_while(|line| !line.is_empty());
    lines
        .map(|line| format!("{}\n", line.strip_prefix("   ").unwrap_or(line)))
        .collect()
}

/// Installs an App as the owner of `octo-org` would.
pub fn install(registration: &Registration) {
    registration.app.install(Installation {
        id: 4711,
        ..Installation::default()
    });
}
