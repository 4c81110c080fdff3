//! The layers hold: a room imports only from the rooms to its left, and no file outgrows what one can read at once.
//!
//! ```text
//! api <- domain <- {signer, github, cluster} <- {controller, webhook} <- run <- cli <- main
//! ```
//!
//! `config` and `telemetry` are read by `run` and `cli` alone.

mod paths;
mod rules;

use std::path::{Path, PathBuf};

use rules::{MOST_LINES, violations};

/// Every Rust file below these folders: its path from the package's folder, and its text.
fn rust_files(folders: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pending: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut files = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            files.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    files.sort();
    assert!(files.len() > 30, "only {} files were found", files.len());
    files
}

#[test]
fn no_room_knows_a_room_to_its_right() {
    let files = rust_files(&["src", "core/src"]);
    let found: Vec<String> = files.iter().flat_map(|(name, text)| violations(name, text)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_file_is_longer_than_one_can_read_at_once() {
    let files = rust_files(&["src", "core/src", "tests"]);
    let long = files.iter().filter_map(|(name, text)| rules::too_long(name, text));
    let long: Vec<String> = long.collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_file_belongs_to_a_room() {
    let files = rust_files(&["src", "core/src"]);
    for (name, _) in &files {
        assert!(
            rules::room_of(name).is_some(),
            "{name} belongs to no room of tests/architecture/rules.rs"
        );
    }
}

#[test]
fn a_long_file_is_noticed() {
    let lines = |count: usize| "x\n".repeat(count);
    assert_eq!(rules::too_long("src/a.rs", &lines(MOST_LINES)), None);
    let told = rules::too_long("src/a.rs", &lines(MOST_LINES + 1)).unwrap();
    assert_eq!(
        told,
        "src/a.rs has 401 lines, but at most 400 can be read at once: split it"
    );
}

#[test]
fn every_way_to_import_from_the_right_is_noticed() {
    for (file, text) in [
        ("core/src/domain/plan.rs", "use crate::cli::Failure;"),
        (
            "core/src/domain/plan.rs",
            "use crate::{api::Reason, github::{self, Client}};",
        ),
        ("core/src/domain/plan.rs", "use {crate::controller::Engine};"),
        ("core/src/domain/plan.rs", "pub(crate) use ::github_token_manager::run;"),
        ("core/src/domain/plan.rs", "fn f() { crate::cluster::Secrets::new() }"),
        ("core/src/domain/plan.rs", "fn f(x: Vec<crate::cluster::Secrets>) {}"),
        ("core/src/domain/plan.rs", "use super::super::signer::Signer;"),
        ("core/src/domain/plan.rs", "use super::{intent::Intent, super::signer};"),
        (
            "core/src/domain/plan.rs",
            "mod tests { use super::super::super::signer; }",
        ),
        ("core/src/domain/mod.rs", "use super::signer;"),
        (
            "core/src/domain/secret/tests/golden.rs",
            "use super::super::super::super::webhook;",
        ),
        ("core/src/domain/plan.rs", "use crate::*;"),
        ("core/src/domain/plan.rs", "use crate::{self as root};"),
        ("core/src/domain/plan.rs", "use crate as root;"),
        ("core/src/domain/plan.rs", "use super::super as root;"),
        (
            "core/src/domain/plan.rs",
            "macro_rules! m { () => { $crate::run::manager() } }",
        ),
        ("core/src/domain/plan.rs", "use crate::r#run;"),
        ("core/src/domain/plan.rs", "use crate\n    ::run;"),
        ("core/src/domain/plan.rs", "use crate:: /* really */ run;"),
        (
            "core/src/domain/plan.rs",
            "const C: char = '\"'; use crate::run; const D: char = '\"';",
        ),
        (
            "core/src/domain/plan.rs",
            "fn f<'a>(x: &'a str) { crate::run::manager() } fn g<'a>() {}",
        ),
        ("core/src/domain/plan.rs", "use tokio::time::sleep;"),
        ("core/src/domain/plan.rs", "use kube::{Client, Resource};"),
        ("core/src/domain/plan.rs", "fn f(client: kube::Client) {}"),
        ("core/src/domain/plan.rs", "use std::env;"),
        ("core/src/domain/plan.rs", "use std::{fmt, net::TcpStream};"),
        ("src/github/mint.rs", "use kube::ResourceExt;"),
        ("core/src/api/mod.rs", "use crate::domain::Problem;"),
        ("src/github/mint.rs", "use crate::cluster::Secrets;"),
        ("src/cluster/mod.rs", "use crate::github::Client;"),
        ("src/signer/pem.rs", "use crate::github::Client;"),
        ("src/controller/job.rs", "use crate::config::Config;"),
        ("src/controller/job.rs", "use crate::webhook;"),
        ("src/webhook/mod.rs", "use crate::controller;"),
        ("src/telemetry/logs.rs", "use crate::config::Config;"),
        ("src/run/mod.rs", "use crate::cli::Failure;"),
        ("src/main.rs", "fn main() { github_token_manager::run::manager() }"),
        ("core/src/domain/plan.rs", "use gtm_core::run;"),
        ("core/src/domain/plan.rs", "use crate::sidedoor::Everything;"),
        ("src/kitchen/mod.rs", ""),
    ] {
        let found = violations(file, text);
        assert!(!found.is_empty(), "{file}: {text}");
        assert!(
            found.iter().all(|told| told.starts_with(&format!("{file}: "))),
            "{found:?}"
        );
    }
}

#[test]
fn what_is_allowed_is_not_complained_about() {
    for (file, text) in [
        (
            "core/src/domain/plan.rs",
            "use crate::api::{Reason, names::annotation};\nuse crate::domain::intent;",
        ),
        (
            "core/src/domain/plan.rs",
            "use super::intent::{Intent, SecretKey};\npub(crate) fn f() {}\npub(in crate::domain) fn g() {}",
        ),
        (
            "core/src/domain/plan.rs",
            "mod tests { use super::*; use super::super::run_of_the_mill; }",
        ),
        (
            "core/src/domain/plan/tests.rs",
            "use super::super::secret; use super::*; mod inner { use super::super::super::intent; }",
        ),
        (
            "core/src/domain/plan.rs",
            "// use crate::run;\n/* crate::cli /* nested crate::run */ */ fn f() -> &'static str { \"crate::run\" }",
        ),
        (
            "core/src/domain/plan.rs",
            "const A: &str = r#\"crate::run \" crate::cli\"#; const B: &[u8] = b\"\\\"crate::run\";",
        ),
        (
            "core/src/domain/plan.rs",
            "use kube::{Resource, ResourceExt}; use std::time::Duration;",
        ),
        (
            "src/controller/job.rs",
            "use crate::{api, cluster, domain, github, signer};",
        ),
        (
            "src/run/manager.rs",
            "use crate::{config, controller, telemetry, webhook};",
        ),
        ("src/cli/mod.rs", "use crate::{api, config, domain, run, telemetry};"),
        ("src/main.rs", "fn main() { github_token_manager::cli::main() }"),
        ("src/lib.rs", "pub mod run;"),
        ("core/src/lib.rs", "pub mod api;"),
    ] {
        assert_eq!(violations(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}
