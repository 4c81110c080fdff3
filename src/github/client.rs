//! The client of one App.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, Request};
use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use super::answer::{self, Answer, Asked, Call, classify};
use super::app::{App, Installation, parse_app, parse_installations};
use super::budget::{Quota, Standing};
use super::error::Error;
use super::gate::Permit;
use super::hold::Hold;
use super::http::{self, BodyError};
use super::jwt_cache::JwtCache;
use super::mint::{MintScope, Minted, parse_mint_answer};
use super::observe::{Observation, Observe};
use super::skew::Skew;
use super::traffic::Traffic;
use crate::api::Reason;
use crate::domain::jwt::Issuer;
use crate::domain::{BaseUrl, Sign, SignError};

/// GitHub's most for a page.
const PAGE: usize = 100;
/// More pages than this are not read: a server that always has a next page must not keep us.
const MOST_PAGES: usize = 100;

/// Between two looks at whether a new token works yet.
pub const ACTIVATION: [Duration; 3] = [Duration::from_secs(3), Duration::from_secs(10), Duration::from_secs(30)];

/// This machine's wall clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Which App, and where.
#[derive(Clone, Debug)]
pub struct AppSettings {
    /// The numeric App ID.
    pub app_id: u64,
    /// The client ID, which is preferred as the JWT's issuer where it is known.
    pub client_id: Option<String>,
    /// GitHub's API root.
    pub base_url: BaseUrl,
    /// `X-GitHub-Api-Version`, for example `2022-11-28`.
    pub api_version: String,
    /// How much at once and in a minute.
    pub limits: Limits,
    /// Whether errors quote what is answered.
    pub quotes: bool,
}

/// What the client keeps to, so that GitHub need not enforce it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests at once, of all kinds; `None` is no limit.
    pub concurrent: Option<NonZeroU32>,
    /// Requests in any 60 s, of mints and of revocations each, since they count for different endpoints; `None` is no limit.
    pub per_minute: Option<NonZeroU32>,
}

impl Limits {
    /// GitHub's secondary limits: 100 requests at once, and 900 points a minute, of which a POST or a DELETE costs 5. Enterprise
    /// Server has none by default.
    #[must_use]
    pub fn of(base_url: &BaseUrl) -> Self {
        if base_url.is_enterprise_server() {
            return Limits::default();
        }
        Limits {
            concurrent: NonZeroU32::new(100),
            per_minute: NonZeroU32::new(900 / 5),
        }
    }
}

/// How a revocation ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// GitHub has revoked the token.
    Revoked,
    /// GitHub did not know the token any more.
    AlreadyGone,
}

/// Talks to GitHub as one App. Meant to be shared: all of its state is behind `&self`.
pub struct Client<S> {
    issuer: Issuer,
    base_url: BaseUrl,
    api_version: String,
    signer: S,
    quotes: bool,
    http: Arc<reqwest::Client>,
    clock: Clock,
    pub(super) observe: Arc<dyn Observe>,
    skew: Skew,
    jwts: JwtCache,
    pub(super) hold: Mutex<Hold>,
    pub(super) standing: Standing,
    pub(super) limits: Limits,
    pub(super) traffic: Mutex<Arc<Traffic>>,
}

impl<S: Sign> Client<S> {
    /// Who signs.
    pub fn signer(&self) -> &S {
        &self.signer
    }

    /// A client that signs with `signer`, sends through `http` (see [`super::http_client`]), reads the time from `clock` and
    /// reports each request to `observe`.
    pub fn new(
        settings: AppSettings,
        signer: S,
        http: impl Into<Arc<reqwest::Client>>,
        clock: Clock,
        observe: Arc<dyn Observe>,
    ) -> Self {
        Client {
            issuer: settings
                .client_id
                .map_or(Issuer::AppId(settings.app_id), Issuer::ClientId),
            base_url: settings.base_url,
            api_version: settings.api_version,
            quotes: settings.quotes,
            signer,
            http: http.into(),
            clock,
            observe,
            skew: Skew::default(),
            jwts: JwtCache::default(),
            hold: Mutex::default(),
            standing: Standing::default(),
            limits: settings.limits,
            traffic: Mutex::new(Traffic::new(settings.limits)),
        }
    }

    /// Mints a token. `turn` is the right to ask now, from [`Client::mint_turn`]: who is next is for the caller to say.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn mint(&self, installation_id: u64, scope: &MintScope, turn: Permit) -> Result<Minted, Error> {
        let body = scope.body()?;
        let id = installation_id.to_string();
        let url = self.base_url.route(&["app", "installations", &id, "access_tokens"]);
        let asked = self.asked(Call::Mint { installation_id, scope });
        self.as_app(&asked, Some(turn), Method::POST, &url, Some(&body), parse_mint_answer)
            .await
    }

    /// Revokes a token within `deadline`. `turn` is the right to ask now, from [`Client::revocation_turn`].
    ///
    /// # Errors
    /// [`Error`]
    pub async fn revoke(&self, token: &SecretString, deadline: Duration, turn: Permit) -> Result<Revoked, Error> {
        let asked = self.asked(Call::Revoke);
        let url = self.base_url.route(&["installation", "token"]);
        let request = http::request(Method::DELETE, url, Some(token), &self.api_version, None)?;
        let revocation = self.exchange(&asked, request, |asked, answer| match answer.status() {
            204 => Ok(Revoked::Revoked),
            401 if answer.is_githubs_refusal() => Ok(Revoked::AlreadyGone),
            _ => Err(classify(asked, answer)),
        });
        let result = tokio::time::timeout(deadline, revocation).await;
        drop(turn);
        let result = result.unwrap_or_else(|_| {
            let late = asked.unavailable(format!("the token was not revoked within {deadline:?}"));
            self.report(&asked, Some(late.reason()), deadline);
            Err(late)
        });
        self.traffic().revoked(result.is_ok());
        result
    }

    /// Whether a token works yet: it can take GitHub some seconds after the mint.
    ///
    /// # Errors
    /// [`Error::TokenNotActive`] if it does not (yet); any other [`Error`] if that could not be found out.
    pub async fn verify(&self, token: &SecretString) -> Result<(), Error> {
        let mut url = self.base_url.route(&["installation", "repositories"]);
        url.set_query(Some("per_page=1"));
        let request = http::request(Method::GET, url, Some(token), &self.api_version, None)?;
        let parse = |asked: &Asked<'_>, answer: &Answer| match answer.status() {
            200 => Ok(()),
            _ => Err(classify(asked, answer)),
        };
        let _place = self.traffic().place().await;
        self.exchange(&self.asked(Call::Verify), request, parse).await
    }

    /// The App itself: shows whether ID and key fit, and how far GitHub's clock is from ours.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn app(&self) -> Result<App, Error> {
        let url = self.base_url.route(&["app"]);
        self.as_app(&self.asked(Call::App), None, Method::GET, &url, None, parse_app)
            .await
    }

    /// The App's installations, at most 10,000.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn installations(&self) -> Result<Vec<Installation>, Error> {
        let asked = self.asked(Call::Installations);
        let mut url = self.base_url.route(&["app", "installations"]);
        let mut all = Vec::new();
        for page in 1..=MOST_PAGES {
            url.set_query(Some(&format!("per_page={PAGE}&page={page}")));
            let parse =
                |asked: &Asked<'_>, answer: &Answer| Ok((parse_installations(asked, answer)?, answer.has_next_page()));
            let (found, next) = self.as_app(&asked, None, Method::GET, &url, None, parse).await?;
            all.extend(found);
            if !next {
                break;
            }
        }
        Ok(all)
    }

    /// GitHub's clock minus ours, by its last answer; zero if they agree to about two seconds.
    pub fn skew(&self) -> SignedDuration {
        self.skew.get()
    }

    fn asked<'a>(&'a self, call: Call<'a>) -> Asked<'a> {
        Asked {
            base_url: &self.base_url,
            issuer: &self.issuer,
            quotes: self.quotes,
            call,
        }
    }

    pub(super) fn github_now(&self) -> Timestamp {
        self.at_github((self.clock)())
    }

    /// What GitHub's clock showed when ours showed this.
    fn at_github(&self, ours: Timestamp) -> Timestamp {
        ours.saturating_add(self.skew.get()).unwrap_or(ours)
    }

    /// Asks with the App's JWT, unless GitHub holds the App. If GitHub refuses its times, the skew is known from that answer: asks once more at once.
    async fn as_app<T>(
        &self,
        asked: &Asked<'_>,
        mut turn: Option<Permit>,
        method: Method,
        url: &Url,
        body: Option<&[u8]>,
        parse: impl Fn(&Asked<'_>, &Answer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _place = match &turn {
            Some(_) => None,
            None => Some(self.traffic().place().await),
        };
        let mut again = true;
        loop {
            if let Some(held) = self.on_hold() {
                return Err(held);
            }
            let signer = Observed {
                signer: &self.signer,
                observe: &*self.observe,
            };
            let jwt = self.jwts.get(&signer, &self.issuer, || self.github_now()).await;
            let jwt = jwt.inspect_err(|_| self.standing.fail())?;
            let body = body.map(<[u8]>::to_vec);
            let request = http::request(method.clone(), url.clone(), Some(jwt.bearer()), &self.api_version, body)?;
            if let Some(turn) = &turn {
                self.traffic().mints.sends(turn);
            }
            let result = self.exchange(asked, request, &parse).await;
            self.standing.ended(result.as_ref().err());
            match &result {
                Err(Error::Clock { .. }) if again => jwt.refuse(),
                Err(Error::Clock { .. } | Error::AppRefused { .. }) => {
                    jwt.refuse();
                    return result;
                }
                _ => return result,
            }
            again = false;
            // A second mint takes a second turn: a hundred of them at once would overrun the limit.
            if turn.take().is_some() {
                turn = Some(self.mint_turn().await);
            }
        }
    }

    /// Sends one request, learns from its answer, and reports it.
    async fn exchange<T>(
        &self,
        asked: &Asked<'_>,
        request: Request,
        parse: impl Fn(&Asked<'_>, &Answer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let sent = Instant::now();
        let result = self.send(asked, request).await.and_then(|answer| parse(asked, &answer));
        let result = result.map_err(|error| self.slow_down(asked, error, sent));
        if result.is_ok() && !asked.by_token() {
            self.held().success(sent);
        }
        self.report(asked, result.as_ref().err().map(Error::reason), sent.elapsed());
        result
    }

    fn report(&self, asked: &Asked<'_>, failure: Option<Reason>, took: Duration) {
        let route = asked.route();
        self.observe.request(Observation { route, failure, took });
    }

    async fn send(&self, asked: &Asked<'_>, request: Request) -> Result<Answer, Error> {
        let sent = (self.clock)();
        let response = self
            .http
            .execute(request)
            .await
            .map_err(|error| asked.unavailable(http::failure(&error, asked.base_url)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let (came, date) = ((self.clock)(), answer::date(&headers));
        if !asked.by_token() {
            let at = date.unwrap_or_else(|| self.at_github(came));
            if let Some(quota) = Quota::read(&headers, at, Instant::now()) {
                self.learn(quota);
            }
        }
        let body = http::read(response).await.map_err(|error| match error {
            BodyError::TooLong => asked.invalid("it is longer than 8 MiB".to_owned()),
            BodyError::Broken(error) => asked.unavailable(http::failure(&error, asked.base_url)),
        })?;
        let answer = Answer::new(status.as_u16(), headers, body, self.at_github(came));
        // An error often comes from something before GitHub, with a clock of its own.
        let is_githubs = status.is_success() || status.is_client_error() && answer.is_githubs_refusal();
        if let Some(date) = date.filter(|_| is_githubs) {
            self.skew.learn(sent, came, date);
        }
        Ok(answer)
    }
}

/// A signer whose signatures are counted: a key service bills each.
struct Observed<'a, S> {
    signer: &'a S,
    observe: &'a dyn Observe,
}

impl<S: Sign> Sign for Observed<'_, S> {
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.signer.sign(message).await;
        self.observe.signed(signature.is_ok());
        signature
    }
}
