//! Azure Key Vault, against a stand-in of ours over HTTPS: no server of Microsoft's can be had. Its error bodies and logins are those of
//! Microsoft's published descriptions.

use lab::github::AppKey;
use lab::keys::{Azure, Fault};
use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};

use crate::bench::Bench;
use crate::session::Session;

async fn start(key: &AppKey) -> Azure {
    let azure = Azure::start().await.expect("the stand-in starts");
    azure.set("0001", key);
    azure
}

fn key() -> AppKey {
    AppKey::of_this_process().expect("a key")
}

fn version(id: &str) -> String {
    format!("{}/{id}", Azure::KEY)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_mints_with_and_without_its_version_by_every_identity() {
    let bench = Bench::new().await;
    let azure = start(&bench.key).await;
    for name in [Azure::KEY.to_owned(), version("0001")] {
        bench.mints("azure", &name, &azure.env()).await;
    }
    let (file, metadata) = (azure.federated_token_file(), azure.metadata.url());
    let service = format!("{metadata}/msi/token");
    let tenant = [("AZURE_TENANT_ID", "tenant"), ("AZURE_CLIENT_ID", "gtm")];
    let certificate = AppKey::generate().expect("a key");
    let certificate = azure.certificate_file(&certificate).expect("written");
    let identities = [
        [&tenant[..], &[("AZURE_CLIENT_CERTIFICATE_PATH", &*certificate)]].concat(),
        [&tenant[..], &[("AZURE_FEDERATED_TOKEN_FILE", &*file)]].concat(),
        vec![("AZURE_POD_IDENTITY_AUTHORITY_HOST", &*metadata)],
        vec![
            ("AZURE_POD_IDENTITY_AUTHORITY_HOST", &*metadata),
            ("AZURE_CLIENT_ID", "user-assigned"),
        ],
        vec![("IDENTITY_ENDPOINT", &*service), ("IDENTITY_HEADER", "good-header")],
    ];
    for identity in identities {
        bench.mints("azure", Azure::KEY, &azure.env_with(&identity)).await;
    }
    assert_eq!(azure.metadata.count("client_id=user-assigned"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_is_found_by_connecting_again_and_when_the_old_one_is_off() {
    let (old, new) = (key(), AppKey::generate().expect("a key"));
    let azure = start(&old).await;
    let mut session = Session::start("azure", Azure::KEY, &azure.env());
    assert_eq!(session.sign("m").await.is_by(&old, "m"), version("0001"));
    azure.set("0002", &new);
    assert_eq!(session.sign("m").await.is_by(&old, "m"), version("0001"));
    azure.set_with("0001", &old, "RSA", &["sign"], &json!({"enabled": false}));
    assert_eq!(session.sign("m").await.is_by(&new, "m"), version("0002"));
    // A newer one that is off is not the newest that can sign.
    azure.set_with("0003", &old, "RSA", &["sign"], &json!({"enabled": false}));
    session.forget();
    assert_eq!(session.sign("m").await.is_by(&new, "m"), version("0002"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_and_kind_of_key_that_cannot_sign_has_its_own_reason() {
    let key = key();
    let azure = start(&key).await;
    azure.set_with("off", &key, "RSA", &["sign"], &json!({"enabled": false}));
    azure.set_with("over", &key, "RSA", &["sign"], &json!({"enabled": true, "exp": 1}));
    azure.set_with(
        "early",
        &key,
        "RSA",
        &["sign"],
        &json!({"enabled": true, "nbf": 99_999_999_999_i64}),
    );
    azure.set_with("wraps", &key, "RSA", &["wrapKey", "encrypt"], &json!({"enabled": true}));
    azure.set_with("curve", &key, "EC", &["sign"], &json!({"enabled": true}));
    let cases = [
        ("off", "KeyDisabled", "--enabled true"),
        ("over", "KeyDisabled", "expired"),
        ("early", "KeyDisabled", "not active yet"),
        ("wraps", "KeyWrongUsage", "permitted operations"),
        ("curve", "InvalidKey", "RSA of 2048 bits"),
        ("none", "KeyNotFound", "check vault, name and version"),
    ];
    for (id, reason, cure) in cases {
        let mut session = Session::start("azure", &version(id), &azure.env());
        session
            .sign("m")
            .await
            .fails(reason, &["https://lab.vault.azure.net", cure]);
    }
    azure.delete();
    let mut session = Session::start("azure", Azure::KEY, &azure.env());
    session
        .sign("m")
        .await
        .fails("KeyDeleted", &[Azure::KEY, "az keyvault key recover"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_azures_gets_a_token_of_its_own_domain_or_none() {
    let key = key();
    let azure = start(&key).await;
    let own = "https://lab.vault.example/keys/github";
    Session::start("azure", own, &azure.env())
        .sign("m")
        .await
        .is_by(&key, "m");
    azure.claim("https://vault.azure.net");
    let before = azure.tokens_given();
    let mut session = Session::start("azure", own, &azure.env());
    session.sign("m").await.fails("InvalidKey", &["no vault of Azure's"]);
    assert_eq!(azure.tokens_given(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_that_ends_in_the_middle_is_replaced() {
    let key = key();
    let azure = start(&key).await;
    let mut session = Session::start("azure", Azure::KEY, &azure.env());
    for _ in 0..5 {
        session.sign("m").await.is_by(&key, "m");
    }
    assert_eq!(azure.tokens_given(), 1);
    azure.expire_tokens();
    session.sign("m").await.is_by(&key, "m");
    assert_eq!(azure.tokens_given(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_cannot_be_used_say_so() {
    let azure = start(&key()).await;
    let tenant = [("AZURE_TENANT_ID", "tenant"), ("AZURE_CLIENT_ID", "gtm")];
    let cases = [
        (
            [&tenant[..], &[("AZURE_CLIENT_SECRET", "wrong")]].concat(),
            "AADSTS7000215",
        ),
        (vec![("AZURE_CLIENT_SECRET", "good-secret")], "AZURE_TENANT_ID"),
        (
            [&tenant[..], &[("AZURE_FEDERATED_TOKEN_FILE", "/nonexistent")]].concat(),
            "/nonexistent",
        ),
        (
            vec![("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")],
            "give the node or the workload an identity",
        ),
    ];
    for (credentials, part) in cases {
        let mut session = Session::start("azure", Azure::KEY, &azure.env_with(&credentials));
        session.sign("m").await.fails("KeyCredentialsMissing", &[part]);
    }
}

/// As where no metadata server is, and a firewall drops what is sent to its address.
#[tokio::test(flavor = "multi_thread")]
async fn a_metadata_server_that_takes_no_connection_is_no_identity() {
    let azure = start(&key()).await;
    let deaf = TcpSocket::new_v4().expect("a socket");
    deaf.bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
    // Room for one connection, which nobody takes out: the next one is not answered.
    let deaf = deaf.listen(0).expect("it listens");
    let address = deaf.local_addr().expect("its address");
    let _first = TcpStream::connect(address).await.expect("there is room");
    let url = format!("http://{address}");
    let credentials = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", &*url)];
    let mut session = Session::start("azure", Azure::KEY, &azure.env_with(&credentials));
    let cure = "give the node or the workload an identity";
    session.sign("m").await.fails("KeyCredentialsMissing", &[cure]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_has_its_own_reason_and_ends_when_it_does() {
    let key = key();
    let azure = start(&key).await;
    let error = |code: u16, text: &str, retry_after| {
        let body = json!({"error": {"code": text, "message": "said by the lab"}});
        Fault::Status(code, body, retry_after)
    };
    let cases = [
        (
            error(403, "Forbidden", None),
            "KeyAccessDenied",
            "Key Vault Crypto User",
        ),
        (
            error(429, "Throttled", Some(30)),
            "KeyServiceThrottled",
            "said by the lab",
        ),
        (error(503, "ServiceUnavailable", None), "KeyUnavailable", "HTTP 503"),
        (Fault::BadSignature, "BadSignature", "proxy"),
        (Fault::Garbage, "KeyUnavailable", "not Azure Key Vault's"),
        (Fault::Hang, "KeyServiceSlow", "in time"),
    ];
    for (fault, reason, cure) in cases {
        let mut session = Session::start("azure", Azure::KEY, &azure.env());
        session.sign("m").await.is_by(&key, "m");
        azure.front.fail("/sign", fault);
        let before = azure.front.count("/sign");
        for _ in 0..20 {
            session.sign("m").await.fails(reason, &[Azure::KEY, cure]);
        }
        assert!(azure.front.count("/sign") - before <= 3, "{reason}");
        azure.front.heal();
        session.forget();
        session.sign("m").await.is_by(&key, "m");
    }
}
