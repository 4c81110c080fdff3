//! What an App has under way at GitHub, and what it asked for in the last minute.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::client::{Client, Limits};
use super::gate::{Gate, Permit};
use super::slots::{Slot, Slots};
use super::window::Window;
use crate::domain::Sign;

/// Revocations get one of so many of an App's places: ones that hang leave the others to mints.
const REVOCATIONS_SHARE: u32 = 4;
/// So many failures in a row are no accident.
const IN_A_ROW: u32 = 3;

/// Clients of one App that follow each other share it: GitHub counts the App's requests, whatever key or limit it has by now.
#[derive(Debug)]
pub(super) struct Traffic {
    at_once: Arc<Slots>,
    revoking: Arc<Slots>,
    pub mints: Gate,
    pub revocations: Gate,
    untaken: Mutex<Untaken>,
}

/// Revocations that GitHub did not take, one after another.
#[derive(Debug, Default)]
struct Untaken {
    count: u32,
    since: Option<Instant>,
}

impl Limits {
    fn revoking(self) -> Option<NonZeroU32> {
        self.concurrent
            .map(|n| NonZeroU32::new(n.get() / REVOCATIONS_SHARE).unwrap_or(NonZeroU32::MIN))
    }
}

impl Traffic {
    /// Nothing is under way yet.
    pub fn new(limits: Limits) -> Arc<Self> {
        let at_once = Slots::new(limits.concurrent);
        let revoking = Slots::new(limits.revoking());
        let window = || Window::per_minute(limits.per_minute);
        Arc::new(Traffic {
            mints: Gate::new(vec![at_once.clone()], window()),
            // Its own comes first: who waits for that keeps no place from the others.
            revocations: Gate::new(vec![revoking.clone(), at_once.clone()], window()),
            at_once,
            revoking,
            untaken: Mutex::default(),
        })
    }

    fn limit(&self, limits: Limits) {
        self.at_once.resize(limits.concurrent);
        self.revoking.resize(limits.revoking());
        self.mints.limit(limits.per_minute);
        self.revocations.limit(limits.per_minute);
    }

    /// A place for a request that counts for no limit of a minute.
    pub async fn place(&self) -> Slot {
        self.at_once.take().await
    }

    /// GitHub has taken a revocation, or has not.
    pub fn revoked(&self, taken: bool) {
        let mut untaken = self.untaken();
        if taken {
            *untaken = Untaken::default();
        } else {
            untaken.count = untaken.count.saturating_add(1);
            untaken.since.get_or_insert_with(Instant::now);
        }
    }

    fn untaken(&self) -> MutexGuard<'_, Untaken> {
        self.untaken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Sign> Client<S> {
    pub(super) fn traffic(&self) -> Arc<Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes on where `former`, a client of the same App, is: with what that has under way and has asked for, and with limits of its own.
    pub(super) fn follow(&self, former: &Client<S>) {
        let shared = former.traffic();
        let own = {
            let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *traffic, shared.clone())
        };
        shared.limit(self.limits);
        if !Arc::ptr_eq(&own, &shared) {
            shared.mints.absorb(&own.mints);
            shared.revocations.absorb(&own.revocations);
        }
    }

    /// Waits, without a deadline, until one more mint may be asked for.
    pub async fn mint_turn(&self) -> Permit {
        self.turn(|traffic| &traffic.mints).await
    }

    /// Waits, without a deadline, until one more revocation may be asked for.
    pub async fn revocation_turn(&self) -> Permit {
        self.turn(|traffic| &traffic.revocations).await
    }

    async fn turn(&self, gate: impl Fn(&Traffic) -> &Gate) -> Permit {
        loop {
            let traffic = self.traffic();
            let permit = gate(&traffic).acquire().await;
            if Arc::ptr_eq(&traffic, &self.traffic()) {
                return permit;
            }
        }
    }

    /// Whether GitHub's limits, or a hold, may make a mint wait for long.
    pub fn mints_may_wait(&self) -> bool {
        self.traffic().mints.may_be_long()
    }

    /// For how long GitHub has taken no revocation, although several were asked for.
    pub fn takes_no_revocation_for(&self) -> Option<Duration> {
        let traffic = self.traffic();
        let untaken = traffic.untaken();
        let since = untaken.since.filter(|_| untaken.count >= IN_A_ROW)?;
        Some(since.elapsed())
    }

    /// Counts mints that were asked for this long ago, before a restart.
    pub fn record_past_mints(&self, ages: impl IntoIterator<Item = Duration>) {
        self.traffic().mints.record_past(ages);
    }

    /// Counts so many mints that may have been asked for a moment ago, by a process that ended before it could write them down; those that
    /// it had no right to were not.
    pub fn presume_mints(&self, most: usize) {
        self.traffic().mints.presume(most);
    }
}
