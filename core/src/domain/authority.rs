//! The webhook's own certificate authority: what is next, for any clock and whatever stands in the cluster.
//!
//! A new authority is trusted before it signs: it is published in every configuration, read back, and left alone for
//! [`Terms::settle`]; then it becomes the signer, and the former one stays trusted until the last leaf that it signed is over.

use std::time::Duration;

use jiff::Timestamp;

/// How long things last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The life of an authority.
    pub authority: Duration,
    /// The life of a leaf.
    pub leaf: Duration,
    /// How long a published authority waits before it signs.
    pub settle: Duration,
    /// How long before its making a certificate is valid, for clocks that are behind.
    pub backdate: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Terms {
            authority: Duration::from_secs(365 * DAY),
            leaf: Duration::from_secs(7 * DAY),
            settle: Duration::from_secs(5 * 60),
            backdate: Duration::from_secs(5 * 60),
        }
    }
}

/// From when until when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Not before this.
    pub from: Timestamp,
    /// Not after this.
    pub until: Timestamp,
}

impl Life {
    /// The life of a certificate that is made now.
    #[must_use]
    pub fn new(now: Timestamp, length: Duration, backdate: Duration) -> Self {
        Life {
            from: now.checked_sub(backdate).unwrap_or(now),
            until: now.checked_add(length).unwrap_or(now),
        }
    }

    /// Whether it is good now.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }

    /// Whether it is to be replaced: two thirds of it are over, or it is not good now.
    #[must_use]
    pub fn is_due(&self, now: Timestamp, backdate: Duration) -> bool {
        let made = self.from.checked_add(backdate).unwrap_or(self.from);
        let whole = Duration::try_from(self.until.duration_since(made)).unwrap_or_default();
        !self.holds(now) || made.checked_add(whole / 3 * 2).is_ok_and(|due| due <= now)
    }
}

/// An authority, as far as it is decided about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Tells it from every other: a hash of its certificate.
    pub id: String,
    /// When it is good.
    pub life: Life,
}

/// What the Secret says. What cannot be read in it is missing here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Signs leaves.
    pub signer: Option<Authority>,
    /// Will sign leaves.
    pub next: Option<Authority>,
    /// Signed leaves that may still be served.
    pub previous: Vec<Authority>,
    /// When the newest one was read back from every configuration.
    pub published_at: Option<Timestamp>,
    /// When the present signer became it.
    pub switched_at: Option<Timestamp>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a signer; what is trusted so far stays trusted.
    Create,
    /// Make the one that will sign.
    Prepare,
    /// Write the trusted ones into every configuration.
    Publish,
    /// Forget that the newest was published: a configuration lacks it.
    Recall,
    /// Write down that the newest is published.
    Confirm,
    /// Make the next one the signer.
    Switch,
    /// Stop trusting the previous ones.
    Forget,
    /// Nothing.
    Rest,
}

/// What to do next; `published`: every configuration has just what the Secret says.
#[must_use]
pub fn step(now: Timestamp, stored: &Stored, published: bool, terms: &Terms) -> Step {
    let next = stored.next.as_ref().filter(|next| next.life.holds(now));
    let signer = stored.signer.as_ref().filter(|signer| signer.life.holds(now));
    match (signer, next) {
        (None, Some(_)) => return Step::Switch,
        (None, None) => return Step::Create,
        (Some(_), _) => {}
    }
    if !stored.previous.is_empty() && is_forgotten(now, stored, terms) {
        return Step::Forget;
    }
    if !published {
        // It would sign before everybody trusts it.
        let confirmed = next.is_some() && stored.published_at.is_some();
        return if confirmed { Step::Recall } else { Step::Publish };
    }
    let Some(published_at) = stored.published_at else {
        return Step::Confirm;
    };
    let settled = is_settled(now, published_at, terms);
    if next.is_some() {
        return if settled { Step::Switch } else { Step::Rest };
    }
    match signer.is_some_and(|signer| signer.life.is_due(now, terms.backdate)) && settled {
        true => Step::Prepare,
        false => Step::Rest,
    }
}

/// A time from the future is one by a clock that was wrong: nothing is waited for twice.
fn is_settled(now: Timestamp, published_at: Timestamp, terms: &Terms) -> bool {
    published_at > now || published_at.checked_add(terms.settle).is_ok_and(|at| at <= now)
}

/// Whether no leaf of the previous ones can be served any more. Another replica may sign with the former signer for a little
/// while after the switch: for at most as long as a new one settles.
fn is_forgotten(now: Timestamp, stored: &Stored, terms: &Terms) -> bool {
    let over = stored.previous.iter().all(|authority| authority.life.until <= now);
    let leaves_over = stored.switched_at.is_none_or(|at| {
        let last = at.checked_add(terms.leaf).and_then(|at| at.checked_add(terms.settle));
        last.is_ok_and(|last| last <= now)
    });
    over || leaves_over
}

/// A replica's own leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Who signed it.
    pub signer: String,
    /// When it is good.
    pub life: Life,
    /// The names that it is for.
    pub names: Vec<String>,
}

/// Whether a replica signs a new leaf with the stored signer.
#[must_use]
pub fn wants_leaf(now: Timestamp, stored: &Stored, leaf: Option<&Leaf>, names: &[String], terms: &Terms) -> bool {
    let Some(signer) = stored.signer.as_ref().filter(|signer| signer.life.holds(now)) else {
        return false;
    };
    let Some(leaf) = leaf.filter(|leaf| leaf.names == names) else {
        return true;
    };
    let is_due = leaf.life.is_due(now, terms.backdate);
    if leaf.signer == signer.id {
        return is_due;
    }
    let trusted = stored.previous.iter().chain(&stored.next);
    let is_trusted = trusted.into_iter().any(|authority| authority.id == leaf.signer);
    // A signer that was made in a hurry is not trusted everywhere at once.
    let settled = stored.next.is_some() || stored.published_at.is_some_and(|at| is_settled(now, at, terms));
    // Nor is it trusted anywhere before it is published: a leaf that is over by a clock that has jumped is the better one until then.
    settled || !is_trusted || (is_due && stored.published_at.is_some())
}

#[cfg(test)]
mod tests;
