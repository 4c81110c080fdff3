//! No token, key or JWT in any log, Event, status, condition or metric, at any log level.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::events::v1::Event;
use kube::api::Api;
use lab::github::{AppKey, Fault, GitHub, NotAToken, Route};
use lab::wait::eventually;
use serde_json::json;

use crate::world::{REFUSED, SOON, World, configure};

/// Everything that must not be seen: tokens, JWTs, lines of the keys, and base64 of the tokens.
fn secrets(github: &GitHub, keys: &[AppKey]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for token in github.tokens() {
        all.push(("base64 of a token".to_owned(), STANDARD.encode(&*token)));
        let pair = STANDARD.encode(format!("x-access-token:{token}"));
        all.push(("Basic credentials".to_owned(), pair));
        all.push(("a token".to_owned(), token.to_string()));
    }
    for jwt in github.jwts() {
        let (body, signature) = jwt.rsplit_once('.').expect("a JWT");
        all.push(("a JWT's signature".to_owned(), signature.to_owned()));
        all.push(("a JWT's claims".to_owned(), body.to_owned()));
    }
    for key in keys {
        for pem in [key.pkcs1_pem(), key.pkcs8_pem()] {
            let lines = pem.lines().filter(|line| !line.starts_with('-') && line.len() > 16);
            all.extend(lines.map(|line| ("a line of a key".to_owned(), line.to_owned())));
        }
    }
    all
}

/// Everything that people and programs see of the operator, by its place.
async fn seen(world: &World) -> Vec<(&'static str, String)> {
    let events: Api<Event> = Api::all(world.client.clone());
    let events = events.list(&Default::default()).await.expect("Events");
    let tokens = world.tokens().list(&Default::default()).await.expect("Tokens");
    let cluster_tokens = world
        .cluster_tokens()
        .list(&Default::default())
        .await
        .expect("ClusterTokens");
    let mut annotations = String::new();
    for secret in world.secrets().list(&Default::default()).await.expect("Secrets") {
        let mut meta = secret.metadata;
        // The API server's own note of which fields exist, not of what is in them.
        meta.managed_fields = None;
        annotations.push_str(&serde_json::to_string(&meta).expect("JSON"));
    }
    vec![
        ("log", world.operator.logs()),
        ("Events", serde_json::to_string(&events).expect("JSON")),
        ("Tokens", serde_json::to_string(&tokens).expect("JSON")),
        ("ClusterTokens", serde_json::to_string(&cluster_tokens).expect("JSON")),
        ("Secrets' metadata", annotations),
        ("metrics", world.operator.metrics().await.expect("metrics").to_string()),
    ]
}

async fn assert_secret(world: &World, keys: &[AppKey], tokens_at_least: usize) {
    let secrets = secrets(&world.github, keys);
    let count = |kind: &str| secrets.iter().filter(|(what, _)| what == kind).count();
    assert!(count("a token") >= tokens_at_least, "{}", count("a token"));
    assert!(count("a JWT's signature") >= 2 && count("a line of a key") >= 40);
    // Few things write below INFO: libraries that would show a token are capped above.
    assert!(world.operator.logs().contains("\"level\":\"DEBUG\""));
    for (place, text) in seen(world).await {
        assert!(!text.is_empty(), "{place}");
        for (what, secret) in &secrets {
            if let Some(at) = text.find(secret.as_str()) {
                let line = text[..at].rsplit('\n').next().unwrap_or_default();
                panic!(
                    "{what} in the {place}, behind {:?}",
                    &line[line.len().saturating_sub(300)..]
                );
            }
        }
    }
}

#[tokio::test]
async fn no_token_jwt_or_key_is_seen_anywhere_whatever_goes_wrong() {
    let trace = |operator: lab::gtm::Builder| operator.log_level("trace");
    let mut world = World::with(crate::world::cluster(), Default::default(), trace).await;
    let right = world.github.key().expect("a key");
    for format in [
        "token",
        "basicAuth",
        "gitCredentials",
        "gitConfig",
        "netrc",
        "dockerConfigJson",
    ] {
        world
            .token(&format.to_lowercase(), json!({"secret": {"format": format}}))
            .await;
        world.ready(&format.to_lowercase()).await;
    }
    // Rotation, refusals, answers that are cut or hold a token in the wrong place: each with a Token of its own, since how
    // often one may have a new token out of turn is limited.
    world.token("demo", json!({})).await;
    let first = world.good_token("demo", None).await;
    world.request("demo", "first").await;
    let second = world.good_token("demo", Some(&first)).await;
    let gone = world.secrets().delete("demo", &Default::default()).await;
    gone.expect("the Secret is deleted");
    let value = world.good_token("demo", Some(&second)).await;
    let faults = [
        Fault::Garbage,
        Fault::NotAToken(NotAToken::Array),
        Fault::NotAToken(NotAToken::WrongTypes),
        Fault::ExpiredToken,
        Fault::Truncated,
        Fault::LoseAnswer,
        Fault::JwtUndecodable,
        echo(&value),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let name = format!("fault-{number}");
        world.github.fail_while(Some(Route::Mint), fault);
        world.token(&name, json!({"retryInterval": "1s"})).await;
        world.condition(&name, "Ready", "False", "").await;
        world.github.clear_faults();
        world.request(&name, "mended").await;
        world.ready(&name).await;
    }
    // A write that the API server refuses, and revocations: one that works, one that does not.
    world.refuse_team().await;
    world
        .token("label", json!({"secret": {"labels": {"team": REFUSED}}}))
        .await;
    world.condition("label", "Ready", "False", "SecretWriteFailed").await;
    world.delete("token").await;
    world.github.fail_next(3, Some(Route::Revoke), Fault::Unavailable(500));
    world.delete("netrc").await;
    eventually(SOON, "both are revoked", async || {
        let count = world.github.revocations().len();
        if count >= 2 { Ok(()) } else { Err(count) }
    })
    .await;
    assert_secret(&world, std::slice::from_ref(&right), 16).await;

    // Keys in the wrong places, and wrong keys.
    let other = AppKey::generate().expect("a key");
    world.operator.kill();
    let mut damaged = right.pkcs1_pem();
    damaged.truncate(damaged.len() - 60);
    world.folder.write("key.pem", damaged).expect("written");
    world.operator.restart().await.expect("it says what is wrong, and runs");
    world.request("demo", "damaged").await;
    world.condition("demo", "Ready", "False", "InvalidKey").await;
    world.folder.write("key.pem", other.pkcs8_pem()).expect("written");
    world
        .condition("demo", "Ready", "False", "AppAuthenticationFailed")
        .await;
    let inline = right.pkcs1_pem().replace('\n', "\n  ");
    let broken = format!("app_id: [\nkey: |\n  {inline}\n");
    world.folder.write("gtm.yaml", broken).expect("written");
    eventually(SOON, "the broken file is told", async || {
        let logs = world.operator.logs();
        if logs.contains("not YAML or JSON") {
            Ok(())
        } else {
            Err("not yet")
        }
    })
    .await;
    configure(&world.folder, &world.github);
    world.good_token("demo", Some(&value)).await;
    assert_secret(&world, &[right, other], 17).await;
}

/// An answer that repeats a token and the words of a JWT in its message.
fn echo(token: &str) -> Fault {
    let message = format!("bad token {token}; Authorization: Basic {}", STANDARD.encode(token));
    Fault::Status {
        status: 403,
        body: json!({"message": message}).to_string(),
    }
}

#[tokio::test]
async fn a_start_that_fails_shows_no_part_of_the_key() {
    let world = World::new().await;
    let key = world.github.key().expect("a key");
    let one_line = key.pkcs1_pem().replace('\n', "\\n");
    let half = one_line[..one_line.len() / 2].to_owned();
    let (whole, half) = (one_line.as_str(), half.as_str());
    // Pasted without the lines that say what it is, and with its lines joined, as YAML does.
    let pem = key.pkcs1_pem();
    let body: Vec<&str> = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let (bare, cut) = (body.concat(), pem.replace('\n', " ").replacen("--BEGIN", "-BEGIN", 1));
    let cases: [(&str, &[(&str, &str)]); 7] = [
        ("app_id: 1\n", &[("GTM_KEY", &bare)]),
        ("app_id: 1\n", &[("GTM_KEY", &cut)]),
        ("app_id: 1\nkey: /k\n", &[("GTM_CA_BUNDLE", &bare)]),
        ("app_id: x\n", &[("GTM_KEY", whole)]),
        ("app_id: 1\n", &[("GTM_KEY", half)]),
        ("app_id: 1\nca_bundle: 'x'\n", &[("GTM_CA_BUNDLE", whole)]),
        ("", &[("GTM_APP_ID", whole), ("GITHUB_PRIVATE_KEY", half)]),
    ];
    for (text, variables) in cases {
        let file = world.folder.write("wrong.yaml", text).expect("written");
        let builder = lab::gtm::Operator::builder(env!("CARGO_BIN_EXE_gtm"), world.cluster.kubeconfig_path());
        let mut builder = builder
            .config(&file)
            .namespace("default")
            .log_level("trace")
            .leader_elect(false);
        for (name, value) in variables {
            builder = builder.env(name, value);
        }
        let operator = builder.spawn().expect("it starts");
        let status = operator.process().wait(SOON).await.expect("it ends");
        assert_eq!(status.code(), Some(2), "{text}: {}", operator.logs());
        let pem = key.pkcs1_pem();
        for line in pem.lines().filter(|line| !line.starts_with('-')) {
            assert!(
                !operator.logs().contains(&line[..line.len().min(24)]),
                "{text}: {}",
                operator.logs()
            );
        }
    }
}
