//! Google Cloud KMS, against a stand-in of ours over HTTPS: no server of Google's can be had. Its checksums, error bodies and logins
//! are those of Google's published descriptions.

use lab::github::AppKey;
use lab::keys::{Fault, Gcp};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::session::Session;

const GOOD: &str = "RSA_SIGN_PKCS1_2048_SHA256";

async fn start(key: &AppKey) -> Gcp {
    let gcp = Gcp::start().await.expect("the stand-in starts");
    gcp.set(1, "ENABLED", GOOD, key);
    gcp
}

fn key() -> AppKey {
    AppKey::of_this_process().expect("a key")
}

fn version(number: u64) -> String {
    format!("{}/cryptoKeyVersions/{number}", Gcp::KEY)
}

/// Workload identity federation with this source of another provider's token.
fn federated(source: &Value) -> Value {
    json!({
        "type": "external_account", "audience": "//iam.googleapis.com/projects/1/pool", "credential_source": source,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": "https://sts.googleapis.com/v1/token",
    })
}

/// The credentials files that Google has, by type.
fn files(folder: &lab::process::Folder) -> Vec<Value> {
    let subject = folder.write("subject", "good-subject").expect("written");
    let json_subject = folder
        .write("subject.json", r#"{"token":"good-subject"}"#)
        .expect("written");
    let impersonation = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/gtm:generateAccessToken";
    let user = json!({
        "type": "authorized_user", "client_id": "id", "client_secret": "secret", "refresh_token": "good",
        "quota_project_id": "lab",
    });
    let mut impersonating = federated(&json!({
        "file": json_subject, "format": {"type": "json", "subject_token_field_name": "token"},
    }));
    impersonating["service_account_impersonation_url"] = impersonation.into();
    vec![
        json!({
            "type": "service_account", "client_email": Gcp::ACCOUNT, "private_key": key().pkcs8_pem(), "private_key_id": "1",
            "token_uri": "https://oauth2.googleapis.com/token", "project_id": "lab",
        }),
        json!({
            "type": "impersonated_service_account", "service_account_impersonation_url": impersonation,
            "source_credentials": user.clone(),
        }),
        user,
        federated(&json!({"file": subject})),
        impersonating,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_and_a_key_mint_with_every_kind_of_credentials() {
    let bench = Bench::new().await;
    let gcp = start(&bench.key).await;
    for name in [version(1), Gcp::KEY.to_owned()] {
        bench.mints("gcp", &name, &gcp.env()).await;
    }
    let folder = lab::process::Folder::new().expect("a folder");
    for file in files(&folder) {
        bench
            .mints("gcp", &version(1), &gcp.env_with_file(&file).expect("written"))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_providers_token_is_asked_for_at_its_url_over_http_and_https() {
    let bench = Bench::new().await;
    let gcp = start(&bench.key).await;
    let in_json = json!({"type": "json", "subject_token_field_name": "id_token"});
    let identity = json!({"Identity": "lab"});
    for base in [gcp.metadata.url(), format!("https://{}", Gcp::IDENTITY)] {
        let named = json!({"url": format!("{base}/subject"), "headers": identity, "format": in_json});
        for source in [named, json!({"url": format!("{base}/subject.txt")})] {
            let env = gcp.env_with_file(&federated(&source)).expect("written");
            bench.mints("gcp", &version(1), &env).await;
        }
        // Without the header it answers 403, and what is no JSON has no field.
        let bare = json!({"url": format!("{base}/subject"), "format": in_json});
        let text = json!({"url": format!("{base}/subject.txt"), "format": in_json});
        for (source, part) in [(bare, "its url answers HTTP 403"), (text, "it holds no token")] {
            let env = gcp.env_with_file(&federated(&source)).expect("written");
            let mut session = Session::start("gcp", &version(1), &env);
            session
                .sign("m")
                .await
                .fails("KeyCredentialsMissing", &["credential_source", part]);
        }
    }
    assert!(gcp.metadata.count("/subject") >= 4 && gcp.front.count("/subject") >= 4);
    let nowhere = json!({"url": "http://127.0.0.1:1/subject"});
    let env = gcp.env_with_file(&federated(&nowhere)).expect("written");
    let mut session = Session::start("gcp", &version(1), &env);
    session.sign("m").await.fails("KeyUnavailable", &["credential_source"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_enabled_version_is_found_across_pages() {
    let (old, new) = (AppKey::generate().expect("a key"), key());
    let gcp = start(&old).await;
    for number in 2..=9 {
        gcp.set(number, "DISABLED", GOOD, &old);
    }
    gcp.set(10, "ENABLED", GOOD, &new);
    gcp.set(11, "DESTROYED", GOOD, &old);
    let mut session = Session::start("gcp", Gcp::KEY, &gcp.env());
    assert_eq!(session.sign("m").await.is_by(&new, "m"), version(10));
    // It goes on with its version until that is gone, and then finds another.
    let newer = AppKey::generate().expect("a key");
    gcp.set(12, "ENABLED", GOOD, &newer);
    assert_eq!(session.sign("m").await.is_by(&new, "m"), version(10));
    gcp.set(10, "DISABLED", GOOD, &new);
    assert_eq!(session.sign("m").await.is_by(&newer, "m"), version(12));
    session.forget();
    assert_eq!(session.sign("m").await.is_by(&newer, "m"), version(12));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_and_kind_of_key_that_cannot_sign_has_its_own_reason() {
    let key = key();
    let gcp = start(&key).await;
    let states = [
        (2, "DISABLED", GOOD, "KeyDisabled", "versions enable"),
        (3, "DESTROY_SCHEDULED", GOOD, "KeyDeleted", "versions restore"),
        (4, "PENDING_IMPORT", GOOD, "KeyPendingImport", "versions import"),
        (
            5,
            "ENABLED",
            "RSA_SIGN_PSS_2048_SHA256",
            "InvalidKey",
            "RSA_SIGN_PKCS1_2048_SHA256",
        ),
        (6, "ENABLED", "EC_SIGN_P256_SHA256", "InvalidKey", "EC_SIGN_P256_SHA256"),
        (
            7,
            "ENABLED",
            "RSA_DECRYPT_OAEP_2048_SHA256",
            "KeyWrongUsage",
            "ASYMMETRIC_SIGN",
        ),
    ];
    for (number, state, algorithm, reason, cure) in states {
        gcp.set(number, state, algorithm, &key);
        let mut session = Session::start("gcp", &version(number), &gcp.env());
        session.sign("m").await.fails(reason, &[&version(number), cure]);
    }
    let nobody = Gcp::KEY.replace("app", "nobody");
    for name in [version(99), nobody] {
        let mut session = Session::start("gcp", &name, &gcp.env());
        session
            .sign("m")
            .await
            .fails("KeyNotFound", &["check project, location"]);
    }
    let empty = Gcp::start().await.expect("the stand-in starts");
    let mut session = Session::start("gcp", Gcp::KEY, &empty.env());
    session.sign("m").await.fails("KeyPendingImport", &["no version"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_that_ends_in_the_middle_is_replaced() {
    let key = key();
    let gcp = start(&key).await;
    let mut session = Session::start("gcp", &version(1), &gcp.env());
    for _ in 0..5 {
        session.sign("m").await.is_by(&key, "m");
    }
    assert_eq!(gcp.tokens_given(), 1);
    gcp.expire_tokens();
    session.sign("m").await.is_by(&key, "m");
    assert_eq!(gcp.tokens_given(), 2);
    // One that lives a second is replaced before it ends, and no request is refused for that.
    gcp.tokens_live(1);
    session.forget();
    session.sign("m").await.is_by(&key, "m");
    tokio::time::sleep(std::time::Duration::from_millis(1000)).await;
    session.sign("m").await.is_by(&key, "m");
    assert_eq!(gcp.tokens_given(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_cannot_be_used_say_so() {
    let gcp = start(&key()).await;
    let broken = gcp.env_with_file(&json!({"type": "service_account"})).expect("written");
    let refused = json!({
        "type": "authorized_user", "client_id": "id", "client_secret": "secret", "refresh_token": "revoked",
    });
    let absent = lab_env(&gcp, "GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent.json");
    let nowhere = lab_env(&gcp, "GCE_METADATA_HOST", "127.0.0.1:1");
    let cases = [
        (broken, "service_account"),
        (gcp.env_with_file(&refused).expect("written"), "Invalid JWT Signature"),
        (absent, "/nonexistent.json"),
        (nowhere, "GOOGLE_APPLICATION_CREDENTIALS"),
    ];
    for (env, part) in cases {
        let mut session = Session::start("gcp", &version(1), &env);
        session.sign("m").await.fails("KeyCredentialsMissing", &[part]);
    }
}

fn lab_env(gcp: &Gcp, name: &str, value: &str) -> lab::keys::Env {
    let mut env = gcp.env();
    env.retain(|(other, _)| other != name);
    env.push((name.into(), value.into()));
    env
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_has_its_own_reason_and_ends_when_it_does() {
    let key = key();
    let gcp = start(&key).await;
    let error = |code: u16, status: &str| {
        let body = json!({"error": {"code": code, "status": status, "message": "said by the lab"}});
        Fault::Status(code, body, None)
    };
    let damaged = json!({
        "signature": "AAAA", "signatureCrc32c": "1", "verifiedDigestCrc32c": true, "name": version(1),
    });
    let cases = [
        (
            error(403, "PERMISSION_DENIED"),
            "KeyAccessDenied",
            "cloudkms.signerVerifier",
        ),
        (
            error(429, "RESOURCE_EXHAUSTED"),
            "KeyServiceThrottled",
            "said by the lab",
        ),
        (error(503, "UNAVAILABLE"), "KeyUnavailable", "HTTP 503"),
        // The signature is another one than the checksum is of.
        (Fault::BadSignature, "KeyUnavailable", "damaged on the way"),
        (
            Fault::Status(200, damaged, None),
            "KeyUnavailable",
            "damaged on the way",
        ),
        (Fault::Garbage, "KeyUnavailable", "not Google Cloud KMS's"),
        (Fault::Hang, "KeyServiceSlow", "in time"),
    ];
    for (fault, reason, cure) in cases {
        let mut session = Session::start("gcp", &version(1), &gcp.env());
        session.sign("m").await.is_by(&key, "m");
        gcp.front.fail("asymmetricSign", fault);
        let before = gcp.front.count("asymmetricSign");
        for _ in 0..20 {
            session.sign("m").await.fails(reason, &[Gcp::KEY, cure]);
        }
        assert!(gcp.front.count("asymmetricSign") - before <= 3, "{reason}");
        gcp.front.heal();
        session.forget();
        session.sign("m").await.is_by(&key, "m");
    }
    // A whole signature that another key has made.
    let mut session = Session::start("gcp", &version(1), &gcp.env());
    session.sign("m").await.is_by(&key, "m");
    gcp.set(1, "ENABLED", GOOD, &AppKey::generate().expect("a key"));
    session.sign("m").await.fails("BadSignature", &[&version(1)]);
}
