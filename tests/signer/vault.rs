//! Vault, its real core, over HTTP; its Kubernetes auth asks the real API server's TokenReview.

use std::time::Duration;

use lab::cluster::Cluster;
use lab::github::AppKey;
use lab::keys::{Fault, Front, Vault};
use lab::process::Folder;
use serde_json::json;

use crate::bench::Bench;
use crate::session::Session;

async fn start(key: &AppKey) -> Vault {
    let vault = Vault::start().await.expect("Vault starts");
    vault.import("github", key).await.expect("imported");
    vault
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_key_mints_by_every_way_of_naming_it() {
    let bench = Bench::new().await;
    let vault = start(&bench.key).await;
    for key in ["github", "transit/github", "transit/sign/github", "github@1"] {
        bench.mints("vault", key, &vault.env()).await;
    }
    vault
        .call("POST", "sys/mounts/team/keys", &json!({"type": "transit"}))
        .await
        .expect("mounted");
    bench
        .refuses(
            "vault",
            "team/transit/github",
            &vault.env(),
            &["no key github", "VAULT_NAMESPACE"],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_signatures_verify_outside_of_it() {
    let key = AppKey::of_this_process().expect("a key");
    let vault = start(&key).await;
    let mut session = Session::start("vault", "github", &vault.env());
    for message in ["header.payload", "another.one"] {
        assert_eq!(session.sign(message).await.is_by(&key, message), "transit/github@1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_github_does_not_know_waits_and_a_pin_holds() {
    let bench = Bench::new().await;
    let vault = start(&bench.key).await;
    let (mut running, mut pinned) = (
        Session::start("vault", "github", &vault.env()),
        Session::start("vault", "github@1", &vault.env()),
    );
    running.sign("m").await.is_by(&bench.key, "m");
    let second = AppKey::generate().expect("a key");
    vault.import_version("github", &second).await.expect("imported");
    // Whoever runs goes on with the version that works; whoever starts takes the newest, unless it is pinned.
    assert_eq!(running.sign("m").await.is_by(&bench.key, "m"), "transit/github@1");
    bench
        .refuses("vault", "github", &vault.env(), &["does not accept the JWT"])
        .await;
    bench.mints("vault", "github@1", &vault.env()).await;
    // A version that may no longer sign is left, where another one may.
    let config = json!({"min_encryption_version": 2});
    vault
        .call("POST", "transit/keys/github/config", &config)
        .await
        .expect("configured");
    assert_eq!(running.sign("m").await.is_by(&second, "m"), "transit/github@2");
    pinned
        .sign("m")
        .await
        .fails("KeyDisabled", &["version 1", "min_encryption_version 2"]);
    Session::start("vault", "github@9", &vault.env())
        .sign("m")
        .await
        .fails("KeyDeleted", &["no version 9"]);
    // A rotated version is of a key that Vault has made: GitHub knows it when its public key has been given to it.
    vault
        .call("POST", "transit/keys/github/rotate", &json!({}))
        .await
        .expect("rotated");
    assert_eq!(running.sign("m").await.is_by(&second, "m"), "transit/github@2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_logs_in_by_the_clusters_token_review_and_again_when_its_token_is_over() {
    let key = AppKey::of_this_process().expect("a key");
    let (vault, folder) = (start(&key).await, Folder::new().expect("a folder"));
    let cluster = Cluster::shared().await.expect("a cluster");
    let namespace = cluster.namespace("vault").await.expect("a namespace");
    vault.trust(cluster, (&namespace, "gtm"), 4, 8).await.expect("trusted");
    let jwt = cluster.service_account_token(&namespace, "gtm").await.expect("a token");
    let jwt = folder.write("token", jwt).expect("written").display().to_string();
    let credentials = [("VAULT_ROLE", "gtm"), ("VAULT_K8S_TOKEN_FILE", &*jwt)];
    let mut session = Session::start("vault", "github", &vault.env_with(&credentials));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    // Tokens live 4 seconds and are renewed up to 8: both happen while it signs on and on.
    while vault.front.count("kubernetes/login") < 3 {
        session.sign("m").await.is_by(&key, "m");
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(tokio::time::Instant::now() < deadline, "no third login");
    }
    assert!(vault.front.count("renew-self") > 0);
    // One whom the role does not know is refused, with the cure.
    let other = cluster
        .service_account_token(&namespace, "other")
        .await
        .expect("a token");
    folder.write("token", other).expect("written");
    let mut session = Session::start("vault", "github", &vault.env_with(&credentials));
    session
        .sign("m")
        .await
        .fails("KeyCredentialsMissing", &["auth/kubernetes", "VAULT_AUTH_PATH"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_role_logs_in_also_at_another_mount() {
    let bench = Bench::new().await;
    let (vault, folder) = (start(&bench.key).await, Folder::new().expect("a folder"));
    for (path, method) in [("approle", None), ("teams/a", Some(("VAULT_AUTH_PATH", "teams/a")))] {
        let (role, secret) = vault.app_role(path, 60).await.expect("made");
        let file = folder
            .write("secret", format!("{secret}\n"))
            .expect("written")
            .display()
            .to_string();
        for secret in [("VAULT_SECRET_ID", &*secret), ("VAULT_SECRET_ID_FILE", &*file)] {
            let mut credentials = vec![("VAULT_ROLE_ID", &*role), secret];
            credentials.extend(method);
            bench.mints("vault", "github", &vault.env_with(&credentials)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_given_is_renewed_before_it_ends() {
    let key = AppKey::of_this_process().expect("a key");
    let vault = start(&key).await;
    let token = vault.token(&["gtm", "default"], 4).await.expect("a token");
    let mut session = Session::start("vault", "github", &vault.env_with(&[("VAULT_TOKEN", &token)]));
    let start = tokio::time::Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        session.sign("m").await.is_by(&key, "m");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(vault.front.count("renew-self") >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_authority_is_trusted_by_name_only_and_its_namespace_is_named() {
    let key = AppKey::of_this_process().expect("a key");
    let (vault, folder) = (start(&key).await, Folder::new().expect("a folder"));
    let front = Front::before_as(&vault.front.url(), &["vault.example"])
        .await
        .expect("it starts");
    let ca = folder
        .write("ca.pem", front.ca_pem().expect("a CA"))
        .expect("written")
        .display()
        .to_string();
    let mut env = vault.env();
    env.retain(|(name, _)| name != "VAULT_ADDR");
    env.push(("VAULT_ADDR".into(), front.url()));
    Session::start("vault", "github", &env)
        .sign("m")
        .await
        .fails("KeyUnavailable", &["certificate", "CA file"]);
    env.push(("VAULT_CACERT".into(), ca));
    Session::start("vault", "github", &env).sign("m").await.is_by(&key, "m");
    // OpenBao's names win. A Vault without namespaces does not look at the header.
    env.push(("BAO_ADDR".into(), front.url()));
    env.push(("VAULT_ADDR".into(), "http://127.0.0.1:1".into()));
    env.push(("VAULT_NAMESPACE".into(), "teams/a".into()));
    Session::start("vault", "github", &env).sign("m").await;
    assert!(front.count("teams/a") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_in_the_middle_is_replaced_by_a_login_and_told_where_there_is_none() {
    let key = AppKey::of_this_process().expect("a key");
    let (vault, folder) = (start(&key).await, Folder::new().expect("a folder"));
    let (role, secret) = vault.app_role("approle", 3600).await.expect("made");
    let credentials = [("VAULT_ROLE_ID", &*role), ("VAULT_SECRET_ID", &*secret)];
    let mut logs_in = Session::start("vault", "github", &vault.env_with(&credentials));
    let token = vault.token(&["gtm"], 3600).await.expect("a token");
    let mut given = Session::start("vault", "github", &vault.env_with(&[("VAULT_TOKEN", &token)]));
    let file = folder.write("token", format!("{token}\n")).expect("written");
    let path = file.display().to_string();
    let mut agent = Session::start("vault", "github", &vault.env_with(&[("VAULT_TOKEN_FILE", &path)]));
    for session in [&mut logs_in, &mut given, &mut agent] {
        session.sign("m").await.is_by(&key, "m");
    }
    vault
        .call("PUT", "auth/token/revoke", &json!({"token": token}))
        .await
        .expect("revoked");
    vault
        .call("PUT", "sys/leases/revoke-prefix/auth/approle", &json!({}))
        .await
        .expect("revoked");
    logs_in.sign("m").await.is_by(&key, "m");
    given
        .sign("m")
        .await
        .fails("KeyCredentialsMissing", &["VAULT_TOKEN", "revoked"]);
    // An agent writes a new one: the next request has it.
    let token = vault.token(&["gtm"], 3600).await.expect("a token");
    folder.write("token", token).expect("written");
    agent.sign("m").await.is_by(&key, "m");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_refuses_has_its_own_reason() {
    let key = AppKey::of_this_process().expect("a key");
    let vault = start(&key).await;
    for (name, kind) in [("small", "aes256-gcm96"), ("curve", "ecdsa-p256")] {
        vault
            .call("POST", &format!("transit/keys/{name}"), &json!({"type": kind}))
            .await
            .expect("made");
    }
    let token = vault.token(&["default"], 600).await.expect("a token");
    let poor = vault.env_with(&[("VAULT_TOKEN", &token)]);
    let wrong = vault.env_with(&[("VAULT_TOKEN", "no-such-token")]);
    let none = vault.env_with(&[]);
    let elsewhere = vec![
        ("VAULT_ADDR".to_owned(), "http://127.0.0.1:1".to_owned()),
        ("VAULT_TOKEN".into(), "t".into()),
    ];
    let root = vault.env();
    let cases = [
        ("small", &root, "KeyWrongUsage", "rsa-2048"),
        ("curve", &root, "InvalidKey", "ecdsa-p256"),
        ("nobody", &root, "KeyNotFound", "engine at transit"),
        ("nowhere/github", &root, "KeyNotFound", "engine at nowhere"),
        ("github", &poor, "KeyAccessDenied", "transit/keys/github"),
        ("github", &wrong, "KeyCredentialsMissing", "VAULT_TOKEN"),
        ("github", &none, "KeyCredentialsMissing", "VAULT_ROLE"),
        ("github", &elsewhere, "KeyUnavailable", "127.0.0.1:1"),
    ];
    for (name, env, reason, cure) in cases {
        Session::start("vault", name, env)
            .sign("m")
            .await
            .fails(reason, &[name, cure]);
    }
    // A policy that allows the look at the key, and not the signature.
    let policy = json!({"policy": "path \"transit/keys/*\" { capabilities = [\"read\"] }"});
    vault
        .call("PUT", "sys/policies/acl/looks", &policy)
        .await
        .expect("written");
    let token = vault.token(&["looks"], 600).await.expect("a token");
    let env = vault.env_with(&[("VAULT_TOKEN", &token)]);
    let parts = ["transit/sign/github", "capabilities = [\"update\"]"];
    Session::start("vault", "github", &env)
        .sign("m")
        .await
        .fails("KeyAccessDenied", &parts);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_with_it_has_its_own_reason_and_ends_when_it_does() {
    let key = AppKey::of_this_process().expect("a key");
    let vault = start(&key).await;
    let errors = |text: &str| json!({"errors": [text]});
    let cases = [
        (
            Fault::Status(429, errors("rate limit quota exceeded"), Some(30)),
            "KeyServiceThrottled",
            "quota",
        ),
        (
            Fault::Status(503, errors("Vault is sealed"), None),
            "KeyUnavailable",
            "sealed",
        ),
        // A service, or something in between, that says what was sent to it.
        (
            Fault::Status(418, errors("unknown token lab-root-token"), None),
            "KeyUnavailable",
            "unknown token …",
        ),
        (
            Fault::Status(429, errors("go away"), Some(u64::MAX)),
            "KeyServiceThrottled",
            "go away",
        ),
        (Fault::BadSignature, "BadSignature", "proxy"),
        (Fault::Garbage, "KeyUnavailable", "not Vault's"),
        (Fault::Hang, "KeyServiceSlow", "in time"),
    ];
    for (fault, reason, cure) in cases {
        let mut session = Session::start("vault", "github", &vault.env());
        session.sign("m").await.is_by(&key, "m");
        vault.front.fail("sign/github", fault);
        let before = vault.front.count("sign/github");
        for _ in 0..20 {
            session.sign("m").await.fails(reason, &["github", cure]);
        }
        assert!(vault.front.count("sign/github") - before <= 3, "{reason}");
        vault.front.heal();
        session.forget();
        session.sign("m").await.is_by(&key, "m");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_it_signs_on() {
    let key = AppKey::of_this_process().expect("a key");
    let mut vault = start(&key).await;
    let mut session = Session::start("vault", "github", &vault.env());
    session.sign("m").await.is_by(&key, "m");
    vault.stop();
    session.sign("m").await.fails("KeyUnavailable", &["transit/github"]);
    vault.restart().await.expect("it starts again");
    lab::wait::eventually(Duration::from_secs(20), "a signature", async || {
        match session.sign("m").await {
            crate::session::Outcome::Failed(reason, text) => Err(format!("{reason}: {text}")),
            signed => Ok(signed),
        }
    })
    .await
    .is_by(&key, "m");
}

/// Where a server sends a request on to, by its path.
type Target = Box<dyn Fn(&str) -> String + Send + Sync>;

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_sends_on_to_the_active_server_and_nowhere_else() {
    let bench = Bench::new().await;
    let vault = start(&bench.key).await;
    let to = vault.front.url();
    let behind = |standby: &Front| {
        let mut env = vault.env();
        env.retain(|(name, _)| name != "VAULT_ADDR");
        env.push(("VAULT_ADDR".to_owned(), standby.url()));
        env
    };
    let standby = Front::sending_on(move |asked| format!("{to}{asked}"))
        .await
        .expect("a standby");
    bench.mints("vault", "github", &behind(&standby)).await;
    assert!(standby.count("sign/github") > 0);
    let (first, next) = (standby.url(), standby.count(""));
    let chain = Front::sending_on(move |asked| format!("{first}{asked}"))
        .await
        .expect("another standby");
    bench.mints("vault", "github", &behind(&chain)).await;
    assert!(standby.count("") > next);

    // Not in a circle, not with another request, not with credentials in the address, not by another scheme.
    let stranger = Front::sending_on(|_| String::new()).await.expect("somebody");
    let (other, host) = (stranger.url(), stranger.address());
    let targets: [Target; 4] = [
        Box::new(str::to_owned),
        Box::new(move |_| format!("{other}/v1/sys/seal")),
        Box::new(move |asked| format!("http://user@{host}{asked}")),
        Box::new(move |asked| format!("https://{host}{asked}")),
    ];
    for target in targets {
        let liar = Front::sending_on(target).await.expect("a liar");
        let mut session = Session::start("vault", "github", &behind(&liar));
        session
            .sign("m")
            .await
            .fails("KeyUnavailable", &["sends on", "VAULT_ADDR"]);
        assert!(liar.count("") <= 6, "{}", liar.count(""));
    }
    assert_eq!(stranger.count(""), 0, "nobody else is asked");
}
