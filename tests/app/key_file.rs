//! The key in a file.

use std::process::{Command, Output};

use lab::github::TokenState;
use serde_json::{Value, json};

use crate::bench::{Bench, CONFIGURATION, install, keeps_secrets, printed};

fn gtm(bench: &Bench, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gtm"));
    command.env_clear().current_dir(bench.folder.path()).args(arguments);
    command.output().expect("gtm runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_a_token_with_one_button() {
    let bench = Bench::new().await;
    let running =
        bench.create("--organization octo-org --permission contents=write --permission issues=read --key-file key.pem");
    let back = bench.press(&running).await;
    let page = bench.open(&back).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("Go back to the terminal"), "{}", page.text);
    let said = running.ended(0).await;
    let registration = bench.registered();
    bench.has_key_of(&registration);
    keeps_secrets(&format!("{said}{}", page.text), &registration);
    assert!(!said.contains(&registration.code), "{said}");
    let expected = json!({
        "name": "gtm-octo-org", "url": format!("{}/octo-org", bench.github.url()), "public": false, "default_events": [],
        "redirect_url": back.split_once('?').expect("a query").0,
        "default_permissions": {"contents": "write", "issues": "read", "metadata": "read"},
    });
    assert_eq!(registration.manifest, expected);
    let install_url = format!("{}/apps/gtm-octo-org/installations/new", bench.github.url());
    assert!(said.contains(&install_url), "{said}");
    assert!(
        said.contains(&registration.app.key().expect("a key").fingerprint()),
        "{said}"
    );

    install(&registration);
    std::fs::write(bench.path("gtm.yaml"), printed(&said, CONFIGURATION)).expect("written");
    let check = gtm(&bench, &["check", "--config", "gtm.yaml"]);
    assert!(check.status.success(), "{check:?}");
    let minted = gtm(&bench, &["mint", "--config", "gtm.yaml"]);
    let token = String::from_utf8(minted.stdout).expect("a text");
    let state = registration.app.token_state(token.trim());
    assert!(matches!(state, TokenState::Valid { .. }), "{state:?}");
}

#[tokio::test]
async fn a_person_without_an_organization_and_a_program_get_theirs() {
    let bench = Bench::new().await;
    let running = bench.create("--name mine --key-file key.pem -o json");
    let back = bench.press(&running).await;
    bench.open(&back).await;
    let said = running.ended(0).await;
    let registration = bench.registered();
    let (_, json) = said.split_once("Ctrl-C ends it.\n").expect("the address comes first");
    let app: Value = serde_json::from_str(json).expect("JSON");
    let url = bench.github.url();
    assert_eq!(app["app_id"], registration.app.app_id());
    assert_eq!(app["client_id"], registration.app.client_id());
    assert_eq!((&app["slug"], &app["owner"]), (&json!("mine"), &json!("octo-owner")));
    assert_eq!(app["settings_url"], format!("{url}/settings/apps/mine"));
    assert_eq!(app["key_file"], bench.path("key.pem").display().to_string());
    assert_eq!(app["secret"], Value::Null);
    let permissions = &registration.manifest["default_permissions"];
    assert_eq!(
        *permissions,
        json!({"contents": "write", "metadata": "read", "pull_requests": "write"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_on_another_machine_takes_the_page_along_and_brings_the_address_back() {
    let bench = Bench::new().await;
    let page = bench.create("--print-page --organization octo-org").ended(0).await;
    // Whoever follows it finds nobody there, which is expected: the address is all that is needed.
    let back = bench.press_on(&page).await;
    let running = bench.create(&format!("--code {back} --key-file key.pem"));
    let said = running.ended(0).await;
    let registration = bench.registered();
    bench.has_key_of(&registration);
    keeps_secrets(&said, &registration);

    std::fs::remove_file(bench.path("key.pem")).expect("removed");
    let again = bench.create(&format!("--code {} --key-file key.pem", registration.code));
    let said = bench
        .fails(
            &again,
            1,
            &["does not take the code: \"Not Found\"", "good once, for one hour"],
        )
        .await;
    assert!(!said.contains(&registration.code), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enterprise_server_is_asked_at_its_own_address() {
    let bench = Bench::new().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_gtm"));
    let url = bench.github.enterprise_url();
    command
        .env_clear()
        .env("GTM_BASE_URL", &url)
        .args(["app", "create", "--print-page"]);
    let page = command.output().expect("gtm runs").stdout;
    let back = bench.press_on(&String::from_utf8(page).expect("a text")).await;
    let key = bench.path("key.pem").display().to_string();
    let made = gtm(
        &bench,
        &["app", "create", "--base-url", &url, "--key-file", &key, "--code", &back],
    );
    let said = String::from_utf8(made.stdout).expect("a text");
    bench.has_key_of(&bench.registered());
    let last = bench.github.requests().pop().expect("a request");
    assert!(last.path.ends_with("/conversions"), "{last:?}");
    assert!(printed(&said, CONFIGURATION).contains("base_url: \"http"), "{said}");
}
