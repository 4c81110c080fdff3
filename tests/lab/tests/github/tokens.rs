//! Minting, scope, expiry, revocation, discovery.

use std::time::Duration;

use jiff::SignedDuration;
use lab::github::{Installation, Level, Repository, Settings, TokenShape, TokenState, hashed, permissions};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, until};

const NOT_GRANTED: &str = "The permissions requested are not granted to this installation.";
const NO_REPOSITORY: &str =
    "There is at least one repository that does not exist or is not accessible to the parent installation.";

#[tokio::test]
async fn what_is_left_out_is_granted_whole() {
    let client = Client::start().await;
    let reply = client.mint(json!({})).await;
    assert_eq!(reply.status, 201);
    let all = json!({"contents": "write", "issues": "write", "metadata": "read", "pull_requests": "write"});
    assert_eq!(reply.json["permissions"], all);
    assert_eq!(reply.json["repositories"], Value::Null);
    assert_eq!(reply.json["repository_selection"], "selected");
    let token = reply.json["token"].as_str().unwrap();
    let repositories = client.get("/installation/repositories", token).await;
    assert_eq!(repositories.json["total_count"], 3);
}

#[tokio::test]
async fn a_token_gets_what_was_asked_for_and_metadata() {
    let client = Client::start().await;
    let asked = json!({"permissions": {"contents": "read"}, "repositories": ["Alpha"], "repository_ids": [103]});
    let reply = client.mint(asked).await;
    assert_eq!(
        reply.json["permissions"],
        json!({"contents": "read", "metadata": "read"})
    );
    let names: Vec<_> = reply.json["repositories"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["full_name"].clone())
        .collect();
    assert_eq!(names, ["octo-org/alpha", "octo-org/gamma"]);
    let token = reply.json["token"].as_str().unwrap();
    assert_eq!(
        client.get("/installation/repositories", token).await.json["total_count"],
        2
    );
    assert_eq!(client.get("/repos/octo-org/alpha", token).await.status, 200);
    client.get("/repos/octo-org/beta", token).await.is(404, "Not Found");
    assert_eq!(client.get("/repos/octo-org/gamma", "").await.status, 200, "public");
    client.get("/repos/octo-org/alpha", "").await.is(404, "Not Found");
}

#[tokio::test]
async fn more_than_was_granted_is_refused() {
    let client = Client::start().await;
    client
        .mint(json!({"permissions": {"contents": "admin"}}))
        .await
        .is(422, NOT_GRANTED);
    client
        .mint(json!({"permissions": {"secrets": "read"}}))
        .await
        .is(422, NOT_GRANTED);
    client
        .mint(json!({"repositories": ["alpha", "nowhere"]}))
        .await
        .is(422, NO_REPOSITORY);
    client
        .mint(json!({"repository_ids": [999]}))
        .await
        .is(422, NO_REPOSITORY);
    let many: Vec<String> = (0..501).map(|number| format!("r{number}")).collect();
    let reply = client.mint(json!({"repositories": many})).await;
    assert_eq!(reply.status, 422);
    assert!(reply.message().contains("501"), "{}", reply.json);
    let reply = client.mint(json!({"permissions": {"contents": "everything"}})).await;
    assert!(
        reply.status == 422 && reply.message().starts_with("Invalid request."),
        "{}",
        reply.json
    );
    client
        .mint(json!(["alpha"]))
        .await
        .is(400, "Body should be a JSON object");
    assert_eq!(client.github.mint_count(), 0);
}

#[tokio::test]
async fn grants_can_be_changed_while_it_runs() {
    let client = Client::start().await;
    client
        .github
        .grant(client.installation(), permissions([("contents", Level::Read)]));
    client
        .mint(json!({"permissions": {"contents": "write"}}))
        .await
        .is(422, NOT_GRANTED);
    client.github.add_repository(
        client.installation(),
        Repository {
            id: 104,
            name: "delta".to_owned(),
            private: true,
        },
    );
    client
        .token(json!({"repositories": ["delta"], "permissions": {"contents": "read"}}))
        .await;
}

#[tokio::test]
async fn a_token_ends_when_its_answer_said_that_it_would() {
    let client = Client::start().await;
    let reply = client.mint(json!({})).await;
    let token = reply.json["token"].as_str().unwrap().to_owned();
    let expires_at: jiff::Timestamp = reply.json["expires_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(client.github.token_state(&token), TokenState::Valid { expires_at });
    assert_eq!(client.get("/installation/repositories", &token).await.status, 200);
    client.github.set_clock_offset(SignedDuration::from_secs(3600));
    assert_eq!(client.github.token_state(&token), TokenState::Expired);
    client
        .get("/installation/repositories", &token)
        .await
        .is(401, "Bad credentials");
}

#[tokio::test]
async fn a_short_lifetime_really_passes() {
    let client = Client::start().await;
    client.github.set_token_lifetime(Duration::from_secs(2));
    let reply = client.mint(json!({})).await;
    let token = reply.json["token"].as_str().unwrap();
    let expires_at: jiff::Timestamp = reply.json["expires_at"].as_str().unwrap().parse().unwrap();
    until("the token expires", || {
        client.github.token_state(token) == TokenState::Expired
    })
    .await;
    assert!(client.github.now() >= expires_at);
    client
        .get("/installation/repositories", token)
        .await
        .is(401, "Bad credentials");
}

#[tokio::test]
async fn a_revoked_token_is_gone() {
    let client = Client::start().await;
    let token = client.token(json!({})).await;
    let revoke = || client.send(Method::DELETE, "/installation/token", &token, None);
    assert_eq!(revoke().await.unwrap().status, 204);
    revoke().await.unwrap().is(401, "Bad credentials");
    assert_eq!(client.github.token_state(&token), TokenState::Revoked);
    let revocations = client.github.revocations();
    assert_eq!((revocations.len(), &*revocations[0].token), (1, token.as_str()));
    assert_eq!(client.github.token_state("ghs_never"), TokenState::Unknown);
}

#[tokio::test]
async fn a_suspended_installation_mints_nothing_and_its_tokens_rest() {
    let client = Client::start().await;
    let token = client.token(json!({})).await;
    client.github.suspend(client.installation());
    assert!(!client.github.would_issue(client.installation()));
    client
        .mint(json!({}))
        .await
        .is(403, "This installation has been suspended");
    client
        .get("/installation/repositories", &token)
        .await
        .is(403, "This installation has been suspended");
    let shown = client.get_as_app("/orgs/octo-org/installation").await;
    assert!(shown.json["suspended_at"].is_string(), "{}", shown.json);
    client.github.unsuspend(client.installation());
    assert!(client.github.would_issue(client.installation()));
    assert_eq!(client.get("/installation/repositories", &token).await.status, 200);
}

#[tokio::test]
async fn a_reinstalled_app_has_a_new_id_and_its_old_tokens_are_gone() {
    let client = Client::start().await;
    let token = client.token(json!({})).await;
    let new = client.github.reinstall(client.installation()).unwrap();
    assert_ne!(new, client.installation());
    client.mint(json!({})).await.is(404, "Not Found");
    client
        .get("/installation/repositories", &token)
        .await
        .is(401, "Bad credentials");
    assert_eq!(client.github.token_state(&token), TokenState::Revoked);
    assert_eq!(client.get_as_app("/users/octo-org/installation").await.json["id"], new);
    let path = format!("/app/installations/{new}/access_tokens");
    assert_eq!(
        client
            .post(&path, &client.github.jwt().unwrap(), &json!({}))
            .await
            .status,
        201
    );
    client.github.uninstall(new);
    client
        .get_as_app("/orgs/octo-org/installation")
        .await
        .is(404, "Not Found");
}

#[tokio::test]
async fn installations_are_found_by_account_and_repository_even_after_a_rename() {
    let client = Client::start().await;
    let id = json!(client.installation());
    for path in ["/orgs/octo-org", "/users/octo-org", "/repos/octo-org/alpha"] {
        assert_eq!(
            client.get_as_app(&format!("{path}/installation")).await.json["id"],
            id,
            "{path}"
        );
    }
    client
        .get_as_app("/orgs/nobody/installation")
        .await
        .is(404, "Not Found");
    assert!(client.github.rename_repository("octo-org", "alpha", "omega"));
    let moved = client.get_as_app("/api/v3/repos/octo-org/alpha/installation").await;
    let location = moved.header("location").unwrap().to_owned();
    assert_eq!((moved.status, location.contains("/api/v3/")), (301, true));
    assert_eq!(client.get_as_app(&location).await.json["id"], id);
    let token = client.token(json!({"repositories": ["omega"]})).await;
    assert_eq!(client.get("/repos/octo-org/alpha", &token).await.status, 301);
    client
        .mint(json!({"repositories": ["alpha"]}))
        .await
        .is(422, NO_REPOSITORY);
}

#[tokio::test]
async fn lists_come_in_pages_that_link_to_each_other() {
    let installation = |id: u64| Installation {
        id,
        account: format!("org-{id}"),
        repositories: vec![],
        ..Installation::default()
    };
    let settings = Settings {
        installations: (1..=5).map(installation).collect(),
        ..Settings::default()
    };
    let client = Client::start_with(settings).await;
    let mut seen = Vec::new();
    let mut next = Some(format!(
        "{}/app/installations?per_page=2",
        client.github.enterprise_url()
    ));
    while let Some(url) = next.take() {
        let reply = client.get_as_app(&url).await;
        seen.extend(
            reply
                .json
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["id"].as_u64().unwrap()),
        );
        let links = reply.header("link").unwrap_or_default();
        let link = links.split(", ").find(|link| link.ends_with("rel=\"next\""));
        next = link.and_then(|link| Some(link.strip_prefix('<')?.split_once('>')?.0.to_owned()));
        assert!(next.as_deref().is_none_or(|url| url.contains("/api/v3/")), "{next:?}");
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn every_mint_is_recorded_in_order_with_its_scope() {
    let client = Client::start().await;
    let first = client.token(json!({"repositories": ["alpha"]})).await;
    client.github.adjust(|knobs| knobs.token_shape = TokenShape::Long);
    let second = client.token(json!({})).await;
    assert!(
        (480..560).contains(&second.len()) && second.starts_with("ghs_12345_"),
        "{}",
        second.len()
    );
    let mints = client.github.mints();
    assert_eq!(
        mints.iter().map(|mint| &*mint.token).collect::<Vec<_>>(),
        [&first, &second]
    );
    assert_eq!(mints[0].requested.repositories, Some(vec!["alpha".to_owned()]));
    assert_eq!(mints[1].granted.repositories, None);
    assert_eq!((mints[0].sequence, mints[1].sequence), (0, 1));
    assert_eq!(client.github.tokens().len(), 2);
    assert_eq!(client.github.mints_since(1).len(), 1);
    let statuses: Vec<_> = client.github.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(201), Some(201)]);
    assert_eq!(hashed("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
}

#[tokio::test]
async fn one_jwt_for_many_mints_is_counted_once() {
    let client = Client::start().await;
    let jwt = client.github.jwt().unwrap();
    let path = format!("/app/installations/{}/access_tokens", client.installation());
    for _ in 0..3 {
        assert_eq!(client.post(&path, &jwt, &json!({})).await.status, 201);
    }
    assert_eq!((client.github.counts().mints, client.github.counts().jwts), (3, 1));
    let mints = client.github.mints();
    assert_eq!(mints[0].jwt, mints[2].jwt);
}

#[tokio::test]
async fn pull_requests_take_the_permission_and_a_branch() {
    let client = Client::start().await;
    let weak = client.token(json!({"permissions": {"contents": "write"}})).await;
    let strong = client.token(json!({"permissions": {"pull_requests": "write"}})).await;
    let pulls = "/repos/octo-org/alpha/pulls";
    let asked = json!({"title": "t", "head": "nowhere", "base": "main"});
    client
        .post(pulls, &weak, &asked)
        .await
        .is(403, "Resource not accessible by integration");
    let reply = client.post(pulls, &strong, &asked).await;
    reply.is(422, "Validation Failed");
    assert_eq!(reply.json["errors"][0]["field"], "head");
    let same = client
        .post(pulls, &strong, &json!({"title": "t", "head": "main", "base": "main"}))
        .await;
    assert_eq!(same.json["errors"][0]["message"], "No commits between main and main");
}

#[tokio::test]
async fn a_new_token_can_take_a_while_to_work() {
    let client = Client::start().await;
    client
        .github
        .adjust(|knobs| knobs.activation_delay = Duration::from_secs(3600));
    let token = client.token(json!({})).await;
    client
        .get("/installation/repositories", &token)
        .await
        .is(401, "Bad credentials");
    client.github.adjust(|knobs| knobs.activation_delay = Duration::ZERO);
    assert_eq!(client.get("/installation/repositories", &token).await.status, 200);
}
