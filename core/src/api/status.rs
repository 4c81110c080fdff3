//! The status of both kinds.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Reason, Time};

/// The types of our conditions. `Reconciling` and `Stalled` are kstatus'
/// (<https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>): present only while true.
pub mod condition {
    /// A good token is in the Secret, and the last attempt went well.
    pub const READY: &str = "Ready";
    /// An attempt failed and will be repeated: it may pass by itself.
    pub const RECONCILING: &str = "Reconciling";
    /// An attempt failed and needs someone's hand.
    pub const STALLED: &str = "Stalled";
    /// The token in the Secret has expired.
    pub const EXPIRED: &str = "Expired";
    /// No policy allows the Token: it is not refreshed any more. Since when, counts for the grace of its Secret.
    pub const FORBIDDEN: &str = "Forbidden";
    /// Of an App: the key signs, and its public key says that the signature is right.
    pub const KEY_VALID: &str = "KeyValid";
    /// Of an App with a pool: every member takes its share of the load.
    pub const POOL: &str = "Pool";
    /// Something in the spec looks wrong but does not stand in the way.
    pub const WARNING: &str = "Warning";
}

/// What was last observed of a Token or ClusterToken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The Secret that holds the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_secret: Option<ManagedSecret>,
    /// When the token was issued, and when it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installation_access_token: Option<InstallationAccessToken>,
    /// Base64 of SHA-256 of the token: `hashed_token` in GitHub's audit log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hashed_token: Option<String>,
    /// What GitHub granted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub permissions: BTreeMap<String, String>,
    /// `all` or `selected`, as GitHub says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_selection: Option<String>,
    /// The repositories that GitHub granted, if not all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// When a new token is issued, or after a failure, when the next attempt is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Time>,
    /// Ready; and while they hold: Reconciling, Stalled, Expired, Warning.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl TokenStatus {
    /// The condition of this type.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.kind == kind)
    }
}

/// Where the token is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ManagedSecret {
    /// Whether the Secret has `username` and `password`.
    #[schemars(required)]
    pub basic_auth: bool,
    /// Namespace of the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The Secret's resource version as the operator last wrote it: as long as it stands, nobody has touched the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

/// The life of the token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InstallationAccessToken {
    /// When the token was issued, by GitHub's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Time>,
    /// When the token expires, by GitHub's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

/// One aspect of an object's state, as in Kubernetes' own types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition.
    #[serde(rename = "type")]
    #[schemars(length(max = 316))]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    pub status: String,
    /// A CamelCase word for programs.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// A text for people: what is wrong, with the field and the value, and what helps.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: Time,
    /// The generation of the spec that the condition is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
}

/// Characters of a condition's message: the API server takes 32,768 of them, and nobody reads so many.
const LONGEST_MESSAGE: usize = 4_096;

fn cut(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(LONGEST_MESSAGE) {
        message.truncate(end);
        message.push('…');
    }
    message
}

/// How far the clock of whoever wrote a time may be ahead of ours.
const CLOCKS: SignedDuration = SignedDuration::from_secs(60);

impl Condition {
    /// Since when the status holds. A time that is yet to come is not ours, and would put off what counts from it: it is not believed.
    #[must_use]
    pub fn since(&self, now: Timestamp) -> Option<Timestamp> {
        let since = Timestamp::from(self.last_transition_time);
        (since.duration_since(now) <= CLOCKS).then_some(since)
    }

    /// Makes the condition of this type what `value` (status, reason, message) says, or removes it. Its time changes only when its
    /// status does, or when it is not believed.
    pub fn set(
        all: &mut Vec<Condition>,
        kind: &str,
        value: Option<(&str, Reason, String)>,
        generation: i64,
        now: Time,
    ) {
        let before = all.iter().position(|c| c.kind == kind);
        let Some((status, reason, message)) = value else {
            before.map(|at| all.remove(at));
            return;
        };
        let message = cut(message);
        let known = before.and_then(|at| all.get_mut(at));
        let since = known
            .as_ref()
            .filter(|c| c.status == status)
            .and_then(|c| c.since(now.into()))
            .map_or(now, Time::from);
        let condition = Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message,
            last_transition_time: since,
            observed_generation: Some(generation),
        };
        match known {
            Some(place) => *place = condition,
            None => all.push(condition),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_yet_to_come_is_not_believed() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let (now, value) = (1000, || Some(("True", Reason::PolicyForbids, String::new())));
        for (written, settled) in [(990, 990), (1060, 1060), (1061, 1000), (i64::from(i32::MAX), 1000)] {
            let mut all = Vec::new();
            Condition::set(&mut all, condition::FORBIDDEN, value(), 1, at(written).into());
            let believed = all[0].since(at(now));
            assert_eq!(believed.is_some(), written == settled, "{written}");
            Condition::set(&mut all, condition::FORBIDDEN, value(), 1, at(now).into());
            assert_eq!(all[0].since(at(now)), Some(at(settled)), "{written}");
        }
    }

    #[test]
    fn a_message_is_never_longer_than_the_api_server_takes() {
        let (mut all, now) = (Vec::new(), Time::from(jiff::Timestamp::UNIX_EPOCH));
        for length in [LONGEST_MESSAGE, LONGEST_MESSAGE + 1, 1_000_000] {
            let value = Some(("True", Reason::Pending, "ä".repeat(length)));
            Condition::set(&mut all, condition::WARNING, value, 1, now);
            let said = &all[0].message;
            assert_eq!(said.chars().count(), length.min(LONGEST_MESSAGE + 1));
            assert_eq!(said.ends_with('…'), length > LONGEST_MESSAGE);
        }
    }
}
