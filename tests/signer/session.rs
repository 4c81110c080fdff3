//! A signer in a process of its own, since key services are found by the environment: it signs whatever it is told to.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use github_token_manager::domain::{Sign, SignError};
use github_token_manager::signer::{Ambient, KeySpec, Provider, ServiceKey, Signer};
use github_token_manager::{config, run};
use lab::github::AppKey;
use lab::keys::Env;

const PROVIDER: &str = "TEST_PROVIDER";
const KEY: &str = "TEST_KEY";
/// Marks the lines that are meant for [`Session`]: the test harness prints others.
const MARK: &str = "signer> ";
/// What no error may show: parts of the credentials of all services of the lab.
const SECRETS: [&str; 8] = [
    "secret-of-the-lab",
    "lab-root-token",
    "no-such-token",
    "hvs.",
    "good-",
    "ya29.",
    "token-1",
    "BEGIN",
];
/// Longer than the signer's own total.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of a request.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// Version, fingerprint and signature.
    Signed(String, String, Vec<u8>),
    /// Reason and text.
    Failed(String, String),
}

impl Outcome {
    /// Asserts that it failed so, with these parts in its text.
    #[track_caller]
    pub fn fails(&self, reason: &str, parts: &[&str]) {
        let Outcome::Failed(found, text) = self else {
            panic!("it should fail with {reason}: {self:?}")
        };
        assert_eq!(found, reason, "{text}");
        for secret in SECRETS {
            assert!(!text.contains(secret), "a secret in {text}");
        }
        for part in parts {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }

    /// Asserts that it is this key's signature of the message, by the key itself; returns the version.
    #[track_caller]
    pub fn is_by(&self, key: &AppKey, message: &str) -> &str {
        let Outcome::Signed(version, fingerprint, signature) = self else {
            panic!("not signed: {self:?}")
        };
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.spki())
            .verify(message.as_bytes(), signature)
            .expect("the signature is the key's");
        assert_eq!(fingerprint, &format!("SHA256:{}", key.fingerprint()));
        version
    }
}

/// A process with one signer.
pub struct Session {
    child: Child,
    input: ChildStdin,
    output: Receiver<String>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // One that has ended by itself is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Session {
    /// Starts the process; it connects with its first request.
    pub fn start(provider: &str, key: &str, env: &Env) -> Session {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args([
                "--exact",
                "session::signs_what_it_is_told_to",
                "--ignored",
                "--nocapture",
            ])
            .env_clear()
            .envs(env.iter().map(|(name, value)| (name, value)))
            .envs([(PROVIDER, provider), (KEY, key)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let output = lines(output);
        Session { child, input, output }
    }

    /// Has a message signed.
    pub async fn sign(&mut self, message: &str) -> Outcome {
        self.ask(message)
    }

    /// Throws the signer away: the next request connects anew.
    pub fn forget(&mut self) {
        writeln!(self.input, "forget").expect("it listens");
    }

    fn ask(&mut self, message: &str) -> Outcome {
        writeln!(self.input, "sign {message}").expect("it listens");
        let line = tokio::task::block_in_place(|| self.output.recv_timeout(PATIENCE)).expect("an answer in time");
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["signed", version, fingerprint, signature] => {
                let signature = STANDARD.decode(signature).expect("base64");
                Outcome::Signed(version.into(), fingerprint.into(), signature)
            }
            ["failed", reason, text] => Outcome::Failed(reason.into(), text.into()),
            _ => panic!("{line}"),
        }
    }
}

fn lines(output: ChildStdout) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // The harness prints the test's name without a line end.
            if let Some((_, line)) = line.split_once(MARK)
                && send.send(line.to_owned()).is_err()
            {
                return;
            }
        }
    });
    receive
}

/// The process.
#[test]
#[ignore = "a process that the other tests start"]
fn signs_what_it_is_told_to() {
    #[expect(clippy::disallowed_methods, reason = "its own two variables")]
    let variable = |name| std::env::var(name).expect("started by a Session");
    let provider = Provider::named(&variable(PROVIDER)).expect("a provider");
    let key = ServiceKey::parse(provider, &variable(KEY)).expect("a key");
    let spec = KeySpec::Service(key);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ambient = Ambient::new(config::variables(), run::now);
    let mut signer = None;
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let Some(message) = line.strip_prefix("sign ") else {
            signer = None;
            continue;
        };
        let outcome = runtime.block_on(async {
            if signer.is_none() {
                signer = Some(Signer::connect(&spec, &ambient).await?);
            }
            let signer = signer.as_ref().expect("just made");
            let signature = signer.sign(message.as_bytes()).await?;
            let version = signer.version().unwrap_or_default();
            Ok::<_, SignError>(format!(
                "signed\t{version}\t{}\t{}",
                signer.fingerprint()?,
                STANDARD.encode(signature)
            ))
        });
        let text = outcome.unwrap_or_else(|error| format!("failed\t{}\t{error}", error.reason()));
        println!("{MARK}{text}");
    }
}
