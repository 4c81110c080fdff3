//! Runs the GitHub stand-in until it is told to stop.
//!
//! `github-standin [SETTINGS.json] [--key-file FILE] [--ca-file FILE]`: prints one line of JSON with its URLs and IDs
//! once it serves; writes the App's private key (and the CA, with `"tls": true`) where it is told to.

use std::error::Error;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use lab::github::{GitHub, Settings};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Default)]
struct Arguments {
    settings: Option<String>,
    key_file: Option<String>,
    ca_file: Option<String>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a file name"));
            match word.as_str() {
                "--key-file" => arguments.key_file = Some(value()?),
                "--ca-file" => arguments.ca_file = Some(value()?),
                option if option.starts_with('-') => {
                    return Err(format!("{option} is unknown; use --key-file FILE or --ca-file FILE"));
                }
                _ => arguments.settings = Some(word),
            }
        }
        Ok(arguments)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let settings = match &arguments.settings {
        Some(path) => serde_json::from_slice(&std::fs::read(path)?).map_err(|error| format!("{path}: {error}"))?,
        None => Settings::default(),
    };
    let installations: Vec<u64> = settings.installations.iter().map(|one| one.id).collect();
    let github = GitHub::start(settings).await?;
    if let (Some(path), Some(key)) = (&arguments.key_file, github.key()) {
        write_private(path, &key.pkcs1_pem())?;
    }
    if let (Some(path), Some(ca)) = (&arguments.ca_file, github.ca_pem()) {
        std::fs::write(path, ca)?;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    println!(
        "{}",
        json!({
            "url": github.url(),
            "enterprise_url": github.enterprise_url(),
            "admin_url": github.admin_url(),
            "app_id": github.app_id(),
            "client_id": github.client_id(),
            "installations": installations,
            "key_file": arguments.key_file,
            "ca_file": arguments.ca_file,
        })
    );
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
    }
    Ok(())
}

/// Writes what nobody else may read.
fn write_private(path: &str, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}
