//! What GitHub refuses, and answers that are none.

use std::time::Duration;

use lab::github::{Fault, Installation, Level, NotAToken, Repository, Route, permissions};
use lab::wait::eventually;
use serde_json::json;

use super::fails;
use crate::world::{SOON, World};

/// A Token that is ready with read access to contents, and its Secret's content.
async fn good(world: &World, name: &str) -> (String, serde_json::Value) {
    let spec = json!({"permissions": {"contents": "read"}, "retryInterval": "1s"});
    world.token(name, spec).await;
    world.ready(name).await;
    (world.good_token(name, None).await, content(world, name).await)
}

/// Everything of a Secret that its users see.
async fn content(world: &World, name: &str) -> serde_json::Value {
    let secret = world.secrets().get(name).await.expect("the Secret is there");
    json!([secret.metadata.resource_version, secret.type_, secret.data])
}

#[tokio::test]
async fn a_spec_that_github_refuses_leaves_the_secret_as_it_is_until_the_cause_is_mended() {
    let world = World::new().await;
    let cases: [(&str, serde_json::Value, &str, &[&str]); 3] = [
        (
            "more",
            json!({"permissions": {"administration": "write"}}),
            "PermissionsNotGranted",
            &["{administration: write}", "installationID 67890", "ask for less"],
        ),
        (
            "elsewhere",
            json!({"repositories": ["alpha", "delta"]}),
            "RepositoryNotAccessible",
            &["[alpha, delta]", "installationID 67890", "check the spelling"],
        ),
        (
            "nowhere",
            json!({"installationID": 99}),
            "InstallationNotFound",
            &["installationID 99", "check the ID"],
        ),
    ];
    for (name, spec, reason, parts) in cases {
        let (old, before) = good(&world, name).await;
        let mints = world.github.mint_count();
        world.token(name, spec).await;
        let ready = fails(&world, name, reason, parts).await;
        assert!(
            ready.message.contains("the token in the Secret is good until"),
            "{}",
            ready.message
        );
        assert!(world.status(name).await.condition("Stalled").is_some(), "{reason}");
        assert_eq!(content(&world, name).await, before, "{reason}");
        assert_eq!(world.github.mint_count(), mints, "{reason}");

        mend(&world, name);
        world.request(name, "mended").await;
        world.good_token(name, Some(&old)).await;
        let token = world.ready(name).await;
        let status = token.status.expect("a status");
        assert!(status.condition("Stalled").is_none(), "{status:?}");
        let events = world.events(name).await;
        assert!(events.iter().any(|(event, _)| event == "Issued"), "{events:?}");
    }
}

/// What the account's owner would do at GitHub.
fn mend(world: &World, name: &str) {
    let mended = match name {
        "more" => {
            let granted = permissions([("administration", Level::Write), ("contents", Level::Write)]);
            world.github.grant(67_890, granted)
        }
        "elsewhere" => {
            let delta = Repository {
                id: 104,
                name: "delta".into(),
                private: true,
            };
            world.github.add_repository(67_890, delta)
        }
        _ => {
            world.github.install(Installation {
                id: 99,
                account: "other".into(),
                repositories: Vec::new(),
                ..Installation::default()
            });
            true
        }
    };
    assert!(mended, "{name}");
}

#[tokio::test]
async fn a_suspended_installation_is_said_to_be_so_until_that_is_lifted() {
    let world = World::new().await;
    let (old, before) = good(&world, "demo").await;
    world.github.suspend(67_890);
    world.request("demo", "1").await;
    let parts = ["installationID 67890 is suspended", "its owner can lift that"];
    fails(&world, "demo", "InstallationSuspended", &parts).await;
    assert_eq!(content(&world, "demo").await, before);
    world.github.unsuspend(67_890);
    world.request("demo", "2").await;
    world.good_token("demo", Some(&old)).await;
    world.ready("demo").await;
}

#[tokio::test]
async fn answers_that_are_no_token_are_each_told_and_healed_without_a_hand() {
    let world = World::new().await;
    let invalid = "InvalidAnswer";
    let not = |how| Fault::NotAToken(how);
    let cases: [(&str, Fault, &str, &str); 10] = [
        ("garbage", Fault::Garbage, invalid, "check base_url and any proxy"),
        ("missing", not(NotAToken::Missing), invalid, "is not GitHub's"),
        ("empty", not(NotAToken::Empty), invalid, "is not GitHub's"),
        ("types", not(NotAToken::WrongTypes), invalid, "is not GitHub's"),
        ("expiry", not(NotAToken::BadExpiry), invalid, "is not GitHub's"),
        ("array", not(NotAToken::Array), invalid, "is not GitHub's"),
        ("expired", Fault::ExpiredToken, invalid, "is not GitHub's"),
        ("endless", Fault::EndlessBody, invalid, "is not GitHub's"),
        ("page", Fault::HtmlErrorPage(502), "GitHubUnavailable", "HTTP 502"),
        ("reset", Fault::CloseConnection, "GitHubUnavailable", "is not available"),
    ];
    for (name, fault, reason, part) in cases {
        let (old, before) = good(&world, name).await;
        world.github.fail_while(Some(Route::Mint), fault);
        world.request(name, "1").await;
        fails(&world, name, reason, &[part, world.github.url()]).await;
        assert!(
            world.status(name).await.condition("Reconciling").is_some(),
            "{name} passes by itself"
        );
        assert_eq!(content(&world, name).await, before, "{name}");
        world.github.clear_faults();
        world.good_token(name, Some(&old)).await;
        world.ready(name).await;
    }
}

#[tokio::test]
async fn attempts_that_bring_no_token_do_not_slow_down_the_one_that_does() {
    let world = World::new().await;
    world.github.fail_while(Some(Route::Mint), Fault::Unavailable(503));
    world.token("demo", json!({"retryInterval": "1s"})).await;
    let attempts = || {
        world
            .github
            .counts()
            .by_answer
            .get(&Route::Mint)
            .map_or(0, |all| all.values().sum())
    };
    eventually(SOON, "more attempts than a Token may have tokens at once", async || {
        let attempts: u64 = attempts();
        if attempts >= 14 { Ok(()) } else { Err(attempts) }
    })
    .await;
    fails(&world, "demo", "GitHubUnavailable", &["HTTP 503"]).await;
    world.github.clear_faults();
    world.ready("demo").await;
    assert_eq!(world.github.mint_count(), 1);
}

#[tokio::test]
async fn other_refusals_have_their_own_reasons_and_next_attempts() {
    let world = World::new().await;
    let limit = Fault::PrimaryLimit {
        status: 403,
        reset_in: Duration::from_secs(8),
    };
    let cases: [(&str, Fault, &str, &str); 5] = [
        ("address", Fault::IpAllowList, "IpNotAllowed", "outgoing address"),
        ("clock", Fault::JwtIssuedInFuture, "ClockSkew", "NTP"),
        ("teapot", status(418), "RequestRefused", "HTTP 418"),
        ("limit", limit, "RateLimited", "refilled within the hour"),
        (
            "key",
            Fault::JwtUndecodable,
            "AppAuthenticationFailed",
            "private key belong to",
        ),
    ];
    for (name, fault, reason, part) in cases {
        let (old, before) = good(&world, name).await;
        world.github.fail_while(Some(Route::Mint), fault);
        world.request(name, "1").await;
        fails(&world, name, reason, &[part]).await;
        assert_eq!(content(&world, name).await, before, "{name}");
        world.github.clear_faults();
        world.request(name, "2").await;
        world.good_token(name, Some(&old)).await;
        world.ready(name).await;
    }
}

fn status(status: u16) -> Fault {
    Fault::Status {
        status,
        body: r#"{"message": "I'm a teapot"}"#.into(),
    }
}

#[tokio::test]
async fn a_permission_that_is_unknown_brings_a_warning_and_a_token() {
    let world = World::new().await;
    let known = world.github.installation(67_890).expect("installed").permissions;
    let mut more = known.clone();
    more.insert("quantum_gates".into(), Level::Read);
    world.github.grant(67_890, more);
    let spec = json!({"permissions": {"quantum_gates": "read", "contents": "read"}});
    world.token("demo", spec).await;
    let token = world.ready("demo").await;
    world.good_token("demo", None).await;
    let status = token.status.expect("a status");
    let warning = status.condition("Warning").expect("a warning");
    assert_eq!((&*warning.status, &*warning.reason), ("True", "UnknownPermission"));
    assert!(
        warning.message.contains("spec.permissions: 'quantum_gates'"),
        "{}",
        warning.message
    );
    // Misspelt, it is GitHub that refuses it, and the warning says what is meant.
    world.token("demo", json!({"permissions": {"content": "read"}})).await;
    fails(&world, "demo", "PermissionsNotGranted", &["{content: read}"]).await;
    let warning = world.condition("demo", "Warning", "True", "UnknownPermission").await;
    assert!(
        warning.message.contains("did you mean 'contents'"),
        "{}",
        warning.message
    );
}
