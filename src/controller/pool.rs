//! Apps that share a load: which of them may issue for a Token now.

use std::sync::Arc;

use crate::api::names::annotation;
use crate::domain::Problem;
use crate::domain::intent::{AppKey, Intent};
use crate::domain::plan::{Lent, SecretFacts};
use crate::domain::pool::{self, Known};

use super::app::{App, Apps};

/// An App that may issue a Token's token.
pub struct Seat<S> {
    /// How the Token would name it.
    pub key: AppKey,
    /// The App.
    pub app: Arc<App<S>>,
    /// The installation; `None` if the App has none for the Token.
    pub installation: Option<u64>,
}

impl<S> Seat<S> {
    /// The hash of the Token's scope, of this App.
    pub fn scope_hash(&self, intent: &Intent) -> Option<String> {
        Some(intent.scope.hash(&self.app.facts.identity, self.installation?))
    }
}

impl<S> Apps<S> {
    fn known_of(&self, key: &AppKey) -> Option<&Arc<Known>> {
        let AppKey::Object { namespace, name } = key else {
            return None;
        };
        self.known.get(&self.name(namespace.as_deref(), name))
    }

    /// The other Apps of this one's pool.
    pub(super) fn pool_of(&self, key: &AppKey) -> impl Iterator<Item = AppKey> {
        let names = self
            .known_of(key)
            .map(|known| known.pool.as_slice())
            .unwrap_or_default();
        let own = key.clone();
        let others = names.iter().filter_map(|name| key.beside(name));
        others.filter(move |other| *other != own)
    }

    /// The Apps that may issue for a Token now: its own, then those of its pool in their order. Of a pool, who does not work or does
    /// not fit is left out, and who is another name of the same App; `allows` says whether a policy lets the Token be of another App.
    pub fn seats(&self, intent: &Intent, allows: impl Fn(&Intent) -> bool) -> Vec<Seat<S>> {
        let own = self.get(&intent.app).ok();
        let own = own.map(|app| Seat {
            key: intent.app.clone(),
            installation: app.facts.installation_of(intent),
            app,
        });
        let Some(lead) = self.known_of(&intent.app).filter(|lead| !lead.pool.is_empty()) else {
            return own.into_iter().collect();
        };
        let mut seats: Vec<Seat<S>> = Vec::new();
        let others = self.pool_of(&intent.app).filter_map(|key| {
            let app = self.get(&key).ok()?;
            let installation = pool::installation(intent, &lead.facts, &app.facts).ok()?;
            Some(Seat {
                key,
                app,
                installation: Some(installation),
            })
        });
        let fits = |seat: &Seat<S>| pool::installation(intent, &lead.facts, &seat.app.facts).is_ok();
        let (fitting, last_resort) = match own {
            Some(own) if fits(&own) => (Some(own), None),
            own => (None, own),
        };
        for seat in fitting.into_iter().chain(others) {
            let known = |other: &Seat<S>| other.installation == seat.installation;
            if !seats.iter().any(known) && (seat.key == intent.app || allows(&of_member(intent, &seat))) {
                seats.push(seat);
            }
        }
        if seats.is_empty() {
            seats.extend(last_resort);
        }
        seats
    }

    /// The App of a Token. One that does not work, or of which is not known yet where it is installed, is stood in for by one of its pool
    /// that may issue for the Token, as `allows` says: what is known of the App, with the other's clock and GitHub.
    ///
    /// # Errors
    /// Why there is none that works.
    pub fn of(&self, intent: &Intent, allows: impl Fn(&Intent) -> bool) -> Result<Arc<App<S>>, Problem> {
        let own = self.get(&intent.app);
        if own.as_ref().is_ok_and(|app| !app.facts.is_unsure(intent)) {
            return own;
        }
        let mut seats = self.seats(intent, allows).into_iter();
        let first = seats.find(|seat| seat.installation.is_some());
        let (Some(seat), Some(known)) = (first, self.known_of(&intent.app)) else {
            return own;
        };
        Ok(Arc::new(App {
            facts: known.facts.clone(),
            site: seat.app.site.clone(),
            probe_tokens: seat.app.probe_tokens,
            client: seat.app.client.clone(),
        }))
    }

    /// What the token in a Token's Secret would be asked for with now, if another App of its pool has issued it.
    pub fn lent(&self, intent: &Intent, secret: &SecretFacts) -> Option<Lent> {
        let issuer = AppKey::named(secret.annotations.get(annotation::APP)?);
        let lead = self.known_of(&intent.app)?;
        if self.full(&issuer) == self.full(&intent.app) {
            // Where it is installed may not be known yet: that is no change.
            return lead.facts.is_unsure(intent).then_some(Lent::Unknown);
        }
        let mut members = self.pool_of(&intent.app);
        let issuer = members.find(|member| self.full(member) == self.full(&issuer))?;
        let Some(member) = self.known_of(&issuer) else {
            // One that does not exist is in no pool any more.
            return (!self.listed || self.is_there(&issuer)).then_some(Lent::Unknown);
        };
        let account = lead.facts.account_of(intent);
        let (Some(account), Some(_)) = (account, &member.facts.installations) else {
            return Some(Lent::Unknown);
        };
        let there = member.facts.at(&account);
        Some(Lent::For(
            there.map(|there| intent.scope.hash(&member.facts.identity, there.id)),
        ))
    }

    fn is_there(&self, key: &AppKey) -> bool {
        match key {
            AppKey::Startup => true,
            AppKey::Object { namespace, name } => self.objects.contains_key(&self.name(namespace.as_deref(), name)),
        }
    }
}

/// The Token, as it would stand before a policy if it named this App.
fn of_member<S>(intent: &Intent, seat: &Seat<S>) -> Intent {
    let installation = intent.installation.and(seat.installation);
    Intent {
        app: seat.key.clone(),
        installation,
        ..intent.clone()
    }
}
