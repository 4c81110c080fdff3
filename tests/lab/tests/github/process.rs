//! The stand-in as a process of its own, driven over `/_lab`.

use std::process::Stdio;
use std::time::Duration;

use lab::github::{GitHub, Settings};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::client::Client;

#[tokio::test]
async fn the_binary_says_where_it_is_and_writes_the_key() {
    let path = std::env::temp_dir().join(format!("github-standin-test-{}.pem", std::process::id()));
    let mut child = Command::new(env!("CARGO_BIN_EXE_github-standin"))
        .args(["--key-file", &path.to_string_lossy()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&said["app_id"], &said["installations"]),
        (&json!(12_345), &json!([67_890]))
    );
    let key = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(key.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    let client = Client::start().await;
    let served = client
        .get(&format!("{}/state", said["admin_url"].as_str().unwrap()), "")
        .await;
    assert_eq!(served.json["url"], said["url"]);
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").arg(&pid).status().await.unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(20), child.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(ended.success(), "it ends cleanly on SIGTERM: {ended}");
}

#[tokio::test]
async fn another_process_can_drive_it() {
    let client = Client::start().await;
    let lab = |path: &str| format!("{}/{path}", client.github.admin_url());
    let token = client.token(json!({})).await;
    let state = client.get(&lab("state"), "").await.json;
    assert_eq!(state["counts"]["mints"], 1);
    assert_eq!(
        client.get(&lab("mints?since=0"), "").await.json[0]["token"],
        token.as_str()
    );
    let asked = client.post(&lab("token-state"), "", &json!({"token": token})).await;
    assert!(asked.json["valid"]["expires_at"].is_string(), "{}", asked.json);

    let knobs = json!({"latency": 0.05, "limits": {"secondary": {"points": 10}}});
    let turned = client
        .send(Method::PATCH, &lab("knobs"), "", Some(&knobs))
        .await
        .unwrap();
    assert_eq!(turned.json["latency"], 0.05);
    assert_eq!(client.github.knobs().limits.secondary.unwrap().points, 10);
    let wrong = client
        .send(Method::PATCH, &lab("knobs"), "", Some(&json!({"speed": 1})))
        .await
        .unwrap();
    assert!(
        wrong.status == 400 && wrong.message().contains("speed"),
        "{}",
        wrong.json
    );

    let fault = json!({"fault": {"unavailable": 502}, "route": "mint", "times": 1});
    assert_eq!(client.post(&lab("faults"), "", &fault).await.status, 200);
    assert_eq!(
        client
            .post(&lab("would-issue"), "", &json!({"installation": 67_890}))
            .await
            .json,
        json!(false)
    );
    assert_eq!(client.mint(json!({})).await.status, 502);
    assert_eq!(
        client
            .post(&lab("would-issue"), "", &json!({"installation": 67_890}))
            .await
            .json,
        json!(true)
    );

    assert_eq!(
        client
            .post(&lab("installations/67890/suspend"), "", &json!({}))
            .await
            .status,
        200
    );
    client
        .mint(json!({}))
        .await
        .is(403, "This installation has been suspended");
    let again = client.post(&lab("installations/67890/reinstall"), "", &json!({})).await;
    assert_eq!(again.json["id"], 67_891);
    assert_eq!(
        client
            .post(&lab("installations/1/suspend"), "", &json!({}))
            .await
            .status,
        400
    );
}

#[test]
fn settings_are_json_and_a_wrong_name_is_refused() {
    let settings: Settings = serde_json::from_value(json!({
        "app_id": 7,
        "tls": true,
        "knobs": {"token_lifetime": 5, "clock_offset": -1.5, "token_shape": "long"},
        "installations": [{
            "id": 1, "account": "me", "kind": "user", "permissions": {"contents": "write"},
            "repositories": [{"id": 2, "name": "notes"}],
        }],
    }))
    .unwrap();
    assert_eq!(
        (settings.app_id, settings.tls, settings.knobs.token_lifetime),
        (7, true, Duration::from_secs(5))
    );
    assert_eq!(settings.knobs.clock_offset.as_millis(), -1_500);
    assert!(settings.installations[0].repositories[0].private);
    let wrong = serde_json::from_value::<Settings>(json!({"knobs": {"lifetime": 5}})).unwrap_err();
    assert!(wrong.to_string().contains("lifetime"), "{wrong}");
}

#[tokio::test]
async fn it_serves_nobody_but_this_machine() {
    let settings = Settings {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..Settings::default()
    };
    let refused = GitHub::start(settings).await.err().unwrap().to_string();
    assert_eq!(
        refused,
        "listen: 0.0.0.0:0 may be an address of a network; use 127.0.0.1"
    );
}
