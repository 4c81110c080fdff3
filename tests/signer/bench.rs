//! `gtm mint` with a key of a service, against the GitHub stand-in.

use std::process::{Command, Output};

use lab::github::{AppKey, GitHub, Settings, TokenState};
use lab::keys::Env;

/// The stand-in and what the App's key is.
pub struct Bench {
    pub github: GitHub,
    pub key: AppKey,
}

impl Bench {
    pub async fn new() -> Bench {
        let github = GitHub::start(Settings::default()).await.expect("the stand-in starts");
        let key = github.key().expect("a key");
        Bench { github, key }
    }

    /// `gtm mint` with this key, and these variables beside the App's.
    pub async fn mint(&self, provider: &str, key: &str, env: &Env) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gtm"));
        command
            .args([
                "mint",
                "--app-id",
                &self.github.app_id().to_string(),
                "--installation-id",
                "67890",
            ])
            .args(["--provider", provider, "--key", key, "--base-url", self.github.url()])
            .env_clear()
            .envs(env.iter().map(|(name, value)| (name, value)));
        let run = tokio::task::spawn_blocking(move || command.output());
        run.await.expect("it ends").expect("it starts")
    }

    /// Asserts that `gtm mint` prints a token that the stand-in has issued, so that it has accepted a JWT of this key.
    pub async fn mints(&self, provider: &str, key: &str, env: &Env) {
        let output = self.mint(provider, key, env).await;
        let token = String::from_utf8(output.stdout).expect("a text");
        let said = String::from_utf8(output.stderr).expect("a text");
        assert!(output.status.success(), "{said}");
        let state = self.github.token_state(token.trim());
        assert!(matches!(state, TokenState::Valid { .. }), "{token:?} {said}");
    }

    /// Asserts that `gtm mint` fails so.
    pub async fn refuses(&self, provider: &str, key: &str, env: &Env, parts: &[&str]) {
        let output = self.mint(provider, key, env).await;
        let said = String::from_utf8(output.stderr).expect("a text");
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(output.stdout.is_empty());
        for part in parts {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
    }
}
