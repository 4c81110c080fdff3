//! What the tests of this room start from: a Token, its Intent, a token that is none.

use serde_json::{Value, json};

use crate::api::{ClusterToken, Token};

use super::intent::Intent;
use super::problem::Problem;

/// Shaped like a token of GitHub's, but known to nobody.
pub(super) const FAKE_TOKEN: &str = "ghs_000000000000000000000000000000000000";

/// A Token of the namespace `team-a` with the name `ci`, with this spec.
pub(super) fn token(spec: Value) -> Token {
    let object = json!({
        "apiVersion": "github.as-code.io/v1", "kind": "Token",
        "metadata": {"name": "ci", "namespace": "team-a", "uid": "uid-of-ci", "generation": 3},
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

/// A ClusterToken of the name `shared`, with this spec.
pub(super) fn cluster_token(spec: Value) -> ClusterToken {
    let object = json!({
        "apiVersion": "github.as-code.io/v1", "kind": "ClusterToken",
        "metadata": {"name": "shared", "uid": "uid-of-shared", "generation": 3},
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

/// What a Token with this spec means.
pub(super) fn intent(spec: Value) -> Intent {
    Intent::new(&token(spec)).unwrap()
}

/// What is wrong with a Token of this spec.
pub(super) fn refused(spec: Value) -> Problem {
    Intent::new(&token(spec)).unwrap_err()
}
