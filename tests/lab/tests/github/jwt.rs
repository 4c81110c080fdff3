//! JWTs, as GitHub takes and refuses them.

use jiff::SignedDuration;
use lab::github::{AppKey, GitHub};
use serde_json::{Value, json};

use crate::client::{Client, Reply};

const TOO_FAR: &str = "'Expiration time' claim ('exp') is too far in the future";
const PAST: &str = "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires";
const IAT: &str = "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued";
const UNDECODABLE: &str = "A JSON web token could not be decoded";

fn sign(github: &GitHub, issuer: &Value, issued: i64, expires: i64) -> String {
    let now = github.now().as_second();
    let claims = json!({"iss": issuer, "iat": now + issued, "exp": now + expires});
    github.key().unwrap().sign(&claims).unwrap()
}

async fn app(client: &Client, issuer: Value, issued: i64, expires: i64) -> Reply {
    client
        .get("/app", &sign(&client.github, &issuer, issued, expires))
        .await
}

#[tokio::test]
async fn the_issuer_is_the_app_id_as_number_or_text_or_the_client_id() {
    let client = Client::start().await;
    for issuer in [json!(12_345), json!("12345"), json!("Iv23liStandIn")] {
        let reply = app(&client, issuer.clone(), -60, 300).await;
        assert_eq!(
            (reply.status, &reply.json["slug"]),
            (200, &json!("stand-in")),
            "{issuer}"
        );
    }
    app(&client, json!(54_321), -60, 300)
        .await
        .is(404, "Integration not found");
    app(&client, json!("54321"), -60, 300)
        .await
        .is(404, "Integration not found");
    app(&client, json!("Iv23liOther"), -60, 300)
        .await
        .is(401, "'Issuer' claim ('iss') must be an Integer");
}

#[tokio::test]
async fn a_jwt_ends_within_ten_minutes_and_was_issued_in_the_past() {
    let client = Client::start().await;
    let id = || json!(12_345);
    assert_eq!(app(&client, id(), -60, 595).await.status, 200);
    app(&client, id(), -60, 660).await.is(401, TOO_FAR);
    app(&client, id(), -60, -1).await.is(401, PAST);
    app(&client, id(), 30, 300).await.is(401, IAT);
}

#[tokio::test]
async fn times_that_are_not_integers_are_refused() {
    let client = Client::start().await;
    let now = client.github.now().as_second();
    let key = client.github.key().unwrap();
    for (claims, message) in [
        (json!({"iss": 12_345, "iat": now - 60}), PAST),
        (json!({"iss": 12_345, "iat": now - 60, "exp": "soon"}), PAST),
        (json!({"iss": 12_345, "exp": now + 300}), IAT),
        (json!({"iss": 12_345, "iat": "today", "exp": now + 300}), IAT),
    ] {
        client.get("/app", &key.sign(&claims).unwrap()).await.is(401, message);
    }
}

#[tokio::test]
async fn a_wrong_key_or_no_jwt_at_all_cannot_be_decoded() {
    let client = Client::start().await;
    let now = client.github.now().as_second();
    let claims = json!({"iss": 12_345, "iat": now - 60, "exp": now + 300});
    let foreign = AppKey::generate().unwrap().sign(&claims).unwrap();
    let mut tampered = client.github.jwt().unwrap();
    let signature = tampered.rfind('.').unwrap();
    tampered.truncate(signature + 1);
    let unsigned = "eyJhbGciOiJub25lIn0.eyJpc3MiOjEyMzQ1LCJpYXQiOjEsImV4cCI6OTk5OTk5OTk5OX0.";
    for jwt in [&foreign, &tampered, "nonsense", unsigned, ""] {
        client.get("/app", jwt).await.is(401, UNDECODABLE);
    }
}

#[tokio::test]
async fn a_rotated_key_ends_the_old_one_and_a_second_key_does_not() {
    let client = Client::start().await;
    let old = client.github.jwt().unwrap();
    client.github.add_key(AppKey::generate().unwrap());
    assert_eq!(client.get("/app", &old).await.status, 200);
    assert_eq!(client.get_as_app("/app").await.status, 200);
    client.github.rotate_key().unwrap();
    client.get("/app", &old).await.is(401, UNDECODABLE);
    assert_eq!(client.get_as_app("/app").await.status, 200);
    let new = client.github.jwt().unwrap();
    client.github.remove_keys();
    client
        .get("/app", &new)
        .await
        .is(401, "Integration must generate a public key");
}

#[tokio::test]
async fn a_clock_that_is_off_shows_in_the_date_header_and_in_what_is_refused() {
    let client = Client::start().await;
    let ours = client.github.jwt().unwrap();
    client.github.set_clock_offset(SignedDuration::from_mins(10));
    let late = client.get("/app", &ours).await;
    late.is(401, PAST);
    let date = jiff::fmt::rfc2822::parse(late.header("date").unwrap())
        .unwrap()
        .timestamp();
    let ahead = date.duration_since(jiff::Timestamp::now());
    assert!(
        (SignedDuration::from_secs(590)..=SignedDuration::from_secs(601)).contains(&ahead),
        "{ahead:?}"
    );
    client.github.set_clock_offset(SignedDuration::from_mins(-10));
    client.get("/app", &ours).await.is(401, TOO_FAR);
    assert_eq!(client.get_as_app("/app").await.status, 200);
}

#[tokio::test]
async fn the_key_comes_as_pkcs1_and_as_pkcs8_and_both_sign_the_same() {
    let key = AppKey::of_this_process().unwrap();
    let claims = json!({"iss": 1});
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
    let expected = key.sign(&claims).unwrap();
    for (pem, label) in [(key.pkcs1_pem(), "RSA PRIVATE KEY"), (key.pkcs8_pem(), "PRIVATE KEY")] {
        assert!(pem.starts_with(&format!("-----BEGIN {label}-----\n")), "{label}");
        let signer = jsonwebtoken::EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        assert_eq!(
            jsonwebtoken::encode(&header, &claims, &signer).unwrap(),
            expected,
            "{label}"
        );
    }
    assert_eq!(key.fingerprint().len(), 44);
    assert!(!format!("{key:?}").contains("PRIVATE"));
}
