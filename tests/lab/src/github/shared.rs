//! The state of a stand-in, behind one lock that is never held over an await.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::answer::{Answer, error, mint_error, text};
use super::digest::{Sha256, random_string};
use super::fault::{Fault, FaultRule, Faults, Route};
use super::git::GitStore;
use super::key::AppKey;
use super::limit::{Caller, Meters};
use super::record::{Grant, Mint, MintRequest, Records, TokenState};
use super::registration::Registrations;
use super::settings::{AccountKind, Knobs, Limits, Permissions, Settings, TokenShape};
use super::world::World;

/// What all connections share.
pub(super) struct Shared {
    pub app_id: u64,
    pub client_id: String,
    pub app_slug: String,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    pub git: Arc<GitStore>,
    /// Login of who registered the App.
    pub owner: (String, AccountKind),
    /// What the App asks installations for, beside what they grant.
    pub asks: Permissions,
    /// Apps that people register from a manifest.
    pub registrations: Mutex<Registrations>,
    state: Mutex<State>,
    /// Other Apps of the same GitHub, whose requests come here as well.
    pub others: Mutex<Vec<Arc<Shared>>>,
    cleared: watch::Sender<()>,
}

/// What changes.
pub(super) struct State {
    pub knobs: Knobs,
    pub keys: Vec<AppKey>,
    pub world: World,
    pub records: Records,
    pub meters: Meters,
    pub faults: Faults,
}

/// What the bearer of a token may do.
#[derive(Clone)]
pub(super) struct Access {
    pub installation: u64,
    pub grant: Arc<Grant>,
}

/// Why a token does not work.
pub(super) enum Denied {
    BadCredentials,
    Suspended,
}

impl From<Denied> for Answer {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::BadCredentials => error(401, text::BAD_CREDENTIALS),
            Denied::Suspended => error(403, text::SUSPENDED),
        }
    }
}

impl Shared {
    pub fn new(settings: Settings, key: AppKey, url: String, git: Arc<GitStore>) -> Self {
        let mut state = State {
            knobs: settings.knobs,
            keys: vec![key],
            world: World::default(),
            records: Records::default(),
            meters: Meters::default(),
            faults: Faults::default(),
        };
        let now = state.now();
        for installation in settings.installations {
            state.world.install(installation, now);
        }
        Self {
            app_id: settings.app_id,
            client_id: settings.client_id,
            app_slug: settings.app_slug,
            url,
            git,
            owner: ("octo-owner".to_owned(), AccountKind::User),
            asks: Permissions::new(),
            registrations: Mutex::new(Registrations::after(settings.app_id)),
            state: Mutex::new(state),
            others: Mutex::default(),
            cleared: watch::Sender::new(()),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Timestamp {
        self.state().now()
    }

    /// The App among the others that issued this token, or is the issuer of this JWT.
    pub fn other(&self, credential: &str) -> Option<Arc<Shared>> {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let issuer = super::jwt::issuer(credential);
        let its = |other: &&Arc<Shared>| match &issuer {
            Some(issuer) => *issuer == other.client_id || *issuer == other.app_id.to_string(),
            None => other.state().records.find(credential).is_some(),
        };
        others.iter().find(its).cloned()
    }

    pub fn add_fault(&self, rule: FaultRule) {
        self.state().faults.add(rule);
    }

    pub fn clear_faults(&self) {
        self.state().faults.clear();
        self.cleared.send_replace(());
    }

    /// The fault for a request, and what changes when the faults are cleared: both under one lock, so that a request
    /// that hangs cannot miss it.
    pub fn take_fault(&self, route: Route) -> Option<(Fault, watch::Receiver<()>)> {
        let mut state = self.state();
        state.faults.take(route).map(|fault| (fault, self.cleared.subscribe()))
    }
}

impl super::GitHub {
    /// The knobs as they are.
    #[must_use]
    pub fn knobs(&self) -> Knobs {
        self.state().knobs.clone()
    }

    /// Turns knobs.
    pub fn adjust(&self, turn: impl FnOnce(&mut Knobs)) {
        turn(&mut self.state().knobs);
    }

    /// How long each request takes.
    pub fn set_latency(&self, latency: Duration) {
        self.adjust(|knobs| knobs.latency = latency);
    }

    /// What the stand-in's clock is ahead of ours.
    pub fn set_clock_offset(&self, offset: SignedDuration) {
        self.adjust(|knobs| knobs.clock_offset = offset);
    }

    /// How long new tokens live.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.adjust(|knobs| knobs.token_lifetime = lifetime);
    }

    /// Rate limits.
    pub fn set_limits(&self, limits: Limits) {
        self.adjust(|knobs| knobs.limits = limits);
    }

    /// Forgets what was counted for the rate limits.
    pub fn reset_limits(&self) {
        self.state().meters.reset();
    }

    /// Serves another App at this one's URL as well, as one GitHub has many: who calls is told by the JWT or the token. Faults,
    /// limits, installations and records stay each App's own.
    pub fn host(&self, other: &super::GitHub) {
        let mut others = self.shared.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.push(Arc::clone(&other.shared));
    }
}

impl State {
    /// The stand-in's idea of now.
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
            .saturating_add(self.knobs.clock_offset)
            .unwrap_or(Timestamp::MAX)
    }

    /// Issues a token. `expired`: one whose time is over already.
    pub fn mint(
        &mut self,
        app_id: u64,
        installation: u64,
        asked: MintRequest,
        jwt: Sha256,
        expired: bool,
    ) -> Result<Mint, Answer> {
        let installed = self
            .world
            .get(installation)
            .ok_or_else(|| mint_error(404, text::NOT_FOUND))?;
        let granted = installed.grant(&asked)?;
        let at = self.now();
        let lifetime = SignedDuration::try_from(self.knobs.token_lifetime);
        let lifetime = if expired {
            Ok(SignedDuration::from_secs(-60))
        } else {
            lifetime
        };
        let ends = lifetime.ok().and_then(|lifetime| at.saturating_add(lifetime).ok());
        let whole_seconds = ends.unwrap_or(Timestamp::MAX).as_second();
        let token = new_token(app_id, self.knobs.token_shape);
        let (requested, granted) = self.records.share(asked, granted);
        let mint = Mint {
            sequence: 0,
            at,
            installation,
            requested,
            granted,
            token: Arc::clone(&token),
            expires_at: Timestamp::from_second(whole_seconds).unwrap_or(Timestamp::MAX),
            revoked_at: None,
            jwt,
        };
        Ok(self.records.mint(token, mint).clone())
    }

    pub fn token_state(&self, token: &str) -> TokenState {
        let Some(mint) = self.records.find(token) else {
            return TokenState::Unknown;
        };
        if mint.revoked_at.is_some() || self.world.get(mint.installation).is_none() {
            return TokenState::Revoked;
        }
        if mint.expires_at <= self.now() {
            return TokenState::Expired;
        }
        TokenState::Valid {
            expires_at: mint.expires_at,
        }
    }

    /// What the bearer of this token may do now.
    pub fn access(&self, token: &str) -> Result<Access, Denied> {
        let mint = self.records.find(token).ok_or(Denied::BadCredentials)?;
        let works = matches!(self.token_state(token), TokenState::Valid { .. });
        let delay = SignedDuration::try_from(self.knobs.activation_delay);
        if !works || !mint.is_active(self.now(), delay.unwrap_or(SignedDuration::MAX)) {
            return Err(Denied::BadCredentials);
        }
        let installed = self.world.get(mint.installation).ok_or(Denied::BadCredentials)?;
        if installed.suspended_at.is_some() {
            return Err(Denied::Suspended);
        }
        Ok(Access {
            installation: mint.installation,
            grant: Arc::clone(&mint.granted),
        })
    }

    /// Whether a mint would succeed now.
    pub fn would_issue(&mut self, installation: u64, asked: &MintRequest) -> bool {
        let granted = self.world.get(installation).is_some_and(|one| one.grant(asked).is_ok());
        let route = Route::Mint;
        granted
            && !self.keys.is_empty()
            && !self.faults.active(route)
            && self
                .meters
                .would_enter(&self.knobs.limits, Caller::App, route, cost(true), Instant::now())
    }
}

/// Points of a request.
/// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#calculating-points-for-the-secondary-rate-limit>
pub(super) fn cost(changes: bool) -> u32 {
    if changes { 5 } else { 1 }
}

fn new_token(app_id: u64, shape: TokenShape) -> Arc<str> {
    match shape {
        TokenShape::Short => format!("ghs_{}", random_string(36)).into(),
        TokenShape::Long => {
            let claims = random_string(120);
            let signature = random_string(342);
            format!("ghs_{app_id}_eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJ{claims}.{signature}").into()
        }
    }
}
