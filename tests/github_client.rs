//! The GitHub client and the PEM signer against the GitHub stand-in, over HTTPS with a CA of its own.

#![expect(
    clippy::disallowed_methods,
    reason = "a test is at the edge: its clock is the machine's"
)]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use github_token_manager::api::Reason;
use github_token_manager::github::{
    AppSettings, Client, Error, HttpOptions, Limits, MintScope, Minted, Revoked, http_client,
};
use github_token_manager::signer::Signer;
use jiff::{SignedDuration, Timestamp};
use lab::github::{AppKey, Fault, GitHub, NotAToken, Route, SecondaryLimit, Settings, TokenShape, TokenState, hashed};
use secrecy::{ExposeSecret, SecretString};

const INSTALLATION: u64 = 67_890;
const SECOND: Duration = Duration::from_secs(1);

struct Setup {
    github: GitHub,
    client: Client<Signer>,
}

async fn setup() -> Setup {
    let github = GitHub::start(Settings {
        tls: true,
        ..Settings::default()
    })
    .await
    .unwrap();
    let client = client(&github, &github.key().unwrap(), 2 * SECOND, Limits::default());
    Setup { github, client }
}

fn client(github: &GitHub, key: &AppKey, total_timeout: Duration, limits: Limits) -> Client<Signer> {
    let settings = AppSettings {
        app_id: github.app_id(),
        client_id: None,
        base_url: github.enterprise_url().parse().unwrap(),
        api_version: "2022-11-28".to_owned(),
        limits,
        quotes: true,
    };
    let options = HttpOptions {
        ca_bundle: github.ca_pem().map(|pem| pem.as_bytes().to_vec()),
        total_timeout,
        ..HttpOptions::default()
    };
    let signer = Signer::from_pem(key.pkcs1_pem().as_bytes()).unwrap();
    let http = http_client(&options).unwrap();
    Client::new(settings, signer, http, Arc::new(Timestamp::now), Arc::new(()))
}

impl Setup {
    async fn mint(&self, scope: &MintScope) -> Result<Minted, Error> {
        self.client
            .mint(INSTALLATION, scope, self.client.mint_turn().await)
            .await
    }

    async fn revoke(&self, token: &SecretString) -> Result<Revoked, Error> {
        self.client
            .revoke(token, 5 * SECOND, self.client.revocation_turn().await)
            .await
    }
}

#[tokio::test]
async fn a_token_is_minted_works_is_confined_and_is_revoked() {
    for shape in [TokenShape::Short, TokenShape::Long] {
        let setup = setup().await;
        setup.github.adjust(|knobs| knobs.token_shape = shape);
        let scope = MintScope {
            permissions: Some(BTreeMap::from([("contents".to_owned(), "read".to_owned())])),
            repositories: vec!["alpha".to_owned()],
            repository_ids: Vec::new(),
        };
        let minted = setup.mint(&scope).await.unwrap();
        let token = minted.token.expose_secret();
        assert_eq!(minted.hashed_token, hashed(token));
        assert_eq!(minted.repositories, ["alpha"]);
        assert_eq!(minted.permissions["contents"], "read");
        let TokenState::Valid { expires_at } = setup.github.token_state(token) else {
            panic!("not valid")
        };
        assert_eq!(minted.expires_at.as_second(), expires_at.as_second());
        setup.client.verify(&minted.token).await.unwrap();
        assert_eq!(setup.revoke(&minted.token).await, Ok(Revoked::Revoked));
        assert_eq!(setup.revoke(&minted.token).await, Ok(Revoked::AlreadyGone));
        assert!(matches!(
            setup.client.verify(&minted.token).await,
            Err(Error::TokenNotActive { status: 401, .. })
        ));
    }
}

#[tokio::test]
async fn app_installations_and_fingerprint_are_githubs() {
    let setup = setup().await;
    let app = setup.client.app().await.unwrap();
    assert_eq!((app.id, app.slug.as_str()), (setup.github.app_id(), "stand-in"));
    let installations = setup.client.installations().await.unwrap();
    assert_eq!(installations.len(), 1);
    assert_eq!(installations[0].account.as_ref().unwrap().login, "octo-org");
    let key = setup.github.key().unwrap();
    for pem in [key.pkcs1_pem(), key.pkcs8_pem()] {
        let signer = Signer::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(signer.fingerprint().unwrap(), format!("SHA256:{}", key.fingerprint()));
    }
}

#[tokio::test]
async fn a_key_that_github_does_not_know_is_named_as_such() {
    let setup = setup().await;
    setup.github.rotate_key().unwrap();
    let error = setup.mint(&MintScope::default()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::AppAuthenticationFailed, "{error}");
    setup.github.remove_keys();
    assert_eq!(
        setup.client.app().await.unwrap_err().reason(),
        Reason::AppAuthenticationFailed
    );
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_either_way_costs_one_more_request() {
    for hours in [-1, 1] {
        let setup = setup().await;
        setup.github.set_clock_offset(SignedDuration::from_hours(hours));
        let minted = setup.mint(&MintScope::default()).await.unwrap();
        assert!((setup.client.skew() - SignedDuration::from_hours(hours)).abs() <= SignedDuration::from_secs(3));
        assert!(minted.issued_at.duration_since(setup.github.now()).abs() <= SignedDuration::from_secs(5));
        setup.mint(&MintScope::default()).await.unwrap();
        assert_eq!(
            setup.github.counts().by_answer[&Route::Mint],
            [(401, 1), (201, 2)].into()
        );
    }
}

#[tokio::test]
async fn each_refusal_has_its_reason() {
    for (fault, reason) in [
        (Fault::JwtUndecodable, Reason::AppAuthenticationFailed),
        (Fault::NoPublicKey, Reason::AppAuthenticationFailed),
        (Fault::IntegrationNotFound, Reason::AppAuthenticationFailed),
        (Fault::BadCredentials, Reason::AppAuthenticationFailed),
        (Fault::Suspended, Reason::InstallationSuspended),
        (Fault::IpAllowList, Reason::IpNotAllowed),
        (
            Fault::PrimaryLimit {
                status: 403,
                reset_in: 60 * SECOND,
            },
            Reason::RateLimited,
        ),
        (
            Fault::PrimaryLimit {
                status: 429,
                reset_in: 60 * SECOND,
            },
            Reason::RateLimited,
        ),
        (
            Fault::SecondaryLimit {
                status: 403,
                retry_after: None,
            },
            Reason::SecondaryRateLimited,
        ),
        (
            Fault::SecondaryLimit {
                status: 429,
                retry_after: Some(7),
            },
            Reason::SecondaryRateLimited,
        ),
        (Fault::NotFound, Reason::InstallationNotFound),
        (Fault::PermissionsNotGranted, Reason::PermissionsNotGranted),
        (Fault::RepositoriesNotAccessible, Reason::RepositoryNotAccessible),
        (Fault::Unavailable(408), Reason::GitHubUnavailable),
        (Fault::Unavailable(502), Reason::GitHubUnavailable),
        (Fault::HtmlErrorPage(503), Reason::GitHubUnavailable),
        (Fault::CloseConnection, Reason::GitHubUnavailable),
        (Fault::LoseAnswer, Reason::GitHubUnavailable),
        (Fault::Truncated, Reason::GitHubUnavailable),
        (Fault::Garbage, Reason::InvalidAnswer),
        (Fault::NotAToken(NotAToken::Missing), Reason::InvalidAnswer),
        (Fault::NotAToken(NotAToken::Empty), Reason::InvalidAnswer),
        (Fault::NotAToken(NotAToken::WrongTypes), Reason::InvalidAnswer),
        (Fault::NotAToken(NotAToken::BadExpiry), Reason::InvalidAnswer),
        (Fault::NotAToken(NotAToken::Array), Reason::InvalidAnswer),
        (Fault::EndlessBody, Reason::InvalidAnswer),
        (Fault::ExpiredToken, Reason::InvalidAnswer),
    ] {
        let setup = setup().await;
        setup.github.fail_while(Some(Route::Mint), fault.clone());
        let error = setup
            .mint(&MintScope::default())
            .await
            .expect_err(&format!("{fault:?}"));
        assert_eq!(error.reason(), reason, "{fault:?}: {error}");
        for token in setup.github.tokens() {
            assert!(
                !format!("{error} {error:?}").contains(&*token),
                "{fault:?} shows the token"
            );
        }
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_or_never_ends_is_given_up() {
    for fault in [Fault::Hang, Fault::SlowTrickle { pause: SECOND }] {
        let setup = setup().await;
        setup.github.fail_while(Some(Route::Mint), fault);
        let quick = client(&setup.github, &setup.github.key().unwrap(), SECOND, Limits::default());
        let error = quick
            .mint(INSTALLATION, &MintScope::default(), quick.mint_turn().await)
            .await
            .unwrap_err();
        assert_eq!(error.reason(), Reason::GitHubUnavailable, "{error}");
        assert!(error.to_string().contains("no answer in time"), "{error}");
    }
}

#[tokio::test]
async fn a_server_whose_ca_is_unknown_is_not_talked_to() {
    let setup = setup().await;
    let settings = AppSettings {
        app_id: setup.github.app_id(),
        client_id: None,
        base_url: setup.github.url().parse().unwrap(),
        api_version: "2022-11-28".to_owned(),
        limits: Limits::default(),
        quotes: true,
    };
    let signer = Signer::from_pem(setup.github.key().unwrap().pkcs8_pem().as_bytes()).unwrap();
    let http = http_client(&HttpOptions::default()).unwrap();
    let stranger = Client::new(settings, signer, http, Arc::new(Timestamp::now), Arc::new(()));
    let error = stranger.app().await.unwrap_err();
    assert_eq!(error.reason(), Reason::GitHubUnavailable);
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(
        error.to_string().contains("a private CA belongs into ca_bundle"),
        "{error}"
    );
    assert_eq!(setup.github.counts().requests, 0);
}

#[tokio::test]
async fn a_burst_keeps_to_githubs_limits_with_one_jwt() {
    let github = GitHub::start(Settings::default()).await.unwrap();
    let secondary = SecondaryLimit {
        concurrent: 20,
        ..SecondaryLimit::default()
    };
    github.set_limits(lab::github::Limits {
        secondary: Some(secondary),
        primary: None,
    });
    github.set_latency(Duration::from_millis(20));
    let limits = Limits {
        concurrent: NonZeroU32::new(20),
        per_minute: NonZeroU32::new(180),
    };
    let client = Arc::new(client(&github, &github.key().unwrap(), 30 * SECOND, limits));
    let mints = futures::future::join_all((0..200).map(|_| async {
        let turn = tokio::time::timeout(5 * SECOND, client.mint_turn()).await.ok()?;
        Some(client.mint(INSTALLATION, &MintScope::default(), turn).await)
    }));
    let minted: Vec<_> = mints.await.into_iter().flatten().collect();
    assert!(minted.iter().all(Result::is_ok));
    assert_eq!(minted.len(), 180, "the rest waits for the next minute");
    let counts = github.counts();
    assert_eq!((counts.secondary_violations, counts.jwts), (0, 1));
    assert!((2..=20).contains(&counts.most_at_once), "{}", counts.most_at_once);
}
