//! Apps from manifests.

use jiff::SignedDuration;
use lab::browser::{Browser, Form, Page};
use lab::github::{Installation, TokenState};
use serde_json::{Value, json};

use crate::client::Client;

const PERSON: &str = "/settings/apps/new?state=s%201";

/// What GitHub takes.
pub fn manifest(name: &str) -> Value {
    json!({
        "name": name, "url": "https://example.com", "redirect_url": "http://127.0.0.1:1/callback",
        "default_permissions": {"contents": "read"},
    })
}

/// Posts a manifest as a browser does.
pub async fn register(client: &Client, manifest: &Value, page: &str) -> Page {
    let form = Form {
        action: format!("{}{page}", client.github.url()),
        manifest: manifest.to_string(),
    };
    Browser::new().unwrap().post(&form).await.unwrap()
}

#[tokio::test]
async fn a_code_is_good_once_within_an_hour_and_its_app_is_one_of_this_github() {
    let client = Client::start().await;
    let page = register(&client, &manifest("My App"), PERSON).await;
    let registration = client.github.registrations().remove(0);
    let code = &registration.code;
    assert_eq!(
        page.location,
        Some(format!("http://127.0.0.1:1/callback?code={code}&state=s+1"))
    );
    let path = format!("/app-manifests/{code}/conversions");
    client.github.set_clock_offset(SignedDuration::from_mins(60));
    assert_eq!(client.post(&path, "", &json!({})).await.status, 404);
    client.github.set_clock_offset(SignedDuration::from_mins(59));
    let app = client.post(&path, "", &json!({})).await;
    assert_eq!((app.status, &app.json["slug"]), (201, &json!("my-app")));
    assert_eq!(client.post(&path, "", &json!({})).await.status, 404);
    client.github.set_clock_offset(SignedDuration::ZERO);

    assert_eq!(app.json["pem"], registration.app.key().unwrap().pkcs1_pem());
    assert_ne!(app.json["id"], client.github.app_id());
    registration.app.install(Installation {
        id: 5,
        ..Installation::default()
    });
    let jwt = registration.app.jwt().unwrap();
    let token = client
        .post("/app/installations/5/access_tokens", &jwt, &json!({}))
        .await;
    let token = token.json["token"].as_str().unwrap();
    // One GitHub knows the tokens of all of its Apps, and each App issues its own.
    for github in [&registration.app, &client.github] {
        assert!(matches!(github.token_state(token), TokenState::Valid { .. }));
    }
    assert_eq!((registration.app.mint_count(), client.github.mint_count()), (1, 0));
}

#[tokio::test]
async fn a_manifest_that_github_refuses_is_refused_in_its_words() {
    let client = Client::start().await;
    register(&client, &manifest("taken"), PERSON).await;
    for (field, value, told) in [
        ("url", json!(null), "Error \"url\" wasn't supplied."),
        (
            "hook_attributes",
            json!({"active": false}),
            "Error \"url\" wasn't supplied.",
        ),
        ("redirect_url", json!("ftp://x"), "redirect_url"),
        ("name", json!("n".repeat(35)), "too long"),
        ("name", json!("Taken"), "is already taken"),
        (
            "default_permissions",
            json!({"contents": "everything"}),
            "Default permission records",
        ),
    ] {
        let mut wrong = manifest("new");
        wrong[field] = value;
        let page = register(&client, &wrong, PERSON).await;
        assert!(page.status == 422 && page.text.contains(told), "{field}: {page:?}");
    }
    assert_eq!(client.github.registrations().len(), 1);
}
