//! What a policy says that cannot be meant: it is stored, with a warning.

use crate::api::{Enforcement, TokenPolicySpec};
use crate::domain::permissions::{doubt, doubt_of_others};
use crate::domain::quote;

use super::{DefaultPolicy, Policy};

/// Characters of patterns.
const WILD: [char; 2] = ['*', '?'];

impl Policy {
    /// What looks wrong about a policy's spec; each names the field, the value and the cure. `default`: what holds without a policy.
    #[must_use]
    pub fn doubts(spec: &TokenPolicySpec, default: DefaultPolicy) -> Vec<String> {
        let permissions = spec.permissions.iter().flatten();
        let permissions = permissions.filter_map(|(name, level)| match name.as_str() {
            "*" => doubt_of_others("spec.permissions", level),
            name => doubt("spec.permissions", name, level),
        });
        let lists = [useless_app(spec), useless_repository(spec), only_audits(spec, default)];
        permissions.chain(lists.into_iter().flatten()).collect()
    }
}

/// The first of the patterns that no App fits.
fn useless_app(spec: &TokenPolicySpec) -> Option<String> {
    let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.') || WILD.contains(&c);
    let fits_some = |text: &str| match text.split_once('/') {
        Some((namespace, name)) => [namespace, name]
            .iter()
            .all(|part| !part.is_empty() && part.chars().all(of_name)),
        // What is wild may stand for the slash.
        None => text.eq_ignore_ascii_case("operator") || text.contains(WILD) && text.chars().all(of_name),
    };
    let useless = spec.apps.iter().flatten().find(|text| !fits_some(text))?;
    Some(format!(
        "spec.apps: '{}' fits no App: write NAMESPACE/NAME, such as 'team-a/*', or 'operator' for the operator's own",
        quote(useless)
    ))
}

/// The first of the patterns that no repository fits.
fn useless_repository(spec: &TokenPolicySpec) -> Option<String> {
    let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') || WILD.contains(&c);
    let mut patterns = spec.repositories.iter().flatten();
    let useless = patterns.find(|text| !text.chars().all(of_name))?;
    let cure = match useless.rsplit_once('/') {
        Some((_, name)) => format!("write the name without its owner: '{}'", quote(name)),
        None => "write letters, digits, '-', '.', '_', '*' and '?'".to_owned(),
    };
    Some(format!(
        "spec.repositories: '{}' fits no repository: {cure}",
        quote(useless)
    ))
}

fn only_audits(spec: &TokenPolicySpec, default: DefaultPolicy) -> Option<String> {
    let denied = spec.enforcement == Enforcement::Audit && default == DefaultPolicy::Deny;
    denied.then(|| {
        "spec.enforcement: 'audit' allows nothing, and the operator's --default-policy is deny: Tokens that no enforced TokenPolicy \
         allows are refused, and their Secrets go after spec.gracePeriod; write 'enforce' for what is to be allowed"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn doubts(spec: Value, default: DefaultPolicy) -> Vec<String> {
        Policy::doubts(&serde_json::from_value(spec).unwrap(), default)
    }

    #[test]
    fn what_can_be_meant_raises_no_doubt() {
        for spec in [
            json!({}),
            json!({"enforcement": "audit", "permissions": {"*": "admin", "contents": "write"}}),
            json!({"apps": ["operator", "*", "team-a/*", "team-?/ci.b", "*/ci", "op*", "team-a?ci", "Team-A/ci", "*a"]}),
            json!({"repositories": ["*", "web-*", "Web.Shop_1", "?"]}),
        ] {
            assert_eq!(doubts(spec.clone(), DefaultPolicy::Allow), [""; 0], "{spec}");
        }
        let enforced = json!({"enforcement": "enforce"});
        assert_eq!(doubts(enforced, DefaultPolicy::Deny), [""; 0]);
    }

    #[test]
    fn what_never_has_an_effect_is_told_with_the_cure() {
        for (spec, told) in [
            (
                json!({"permissions": {"*": "raed"}}),
                "spec.permissions.*: 'raed' is not a level that this version knows; known: read, write, admin",
            ),
            (
                json!({"permissions": {"contents": "rite"}}),
                "spec.permissions.contents: 'rite' is not a level",
            ),
            (
                json!({"apps": ["team-a/*", "team-a"]}),
                "spec.apps: 'team-a' fits no App: write NAMESPACE/NAME, such as 'team-a/*'",
            ),
            (json!({"apps": ["/ci"]}), "spec.apps: '/ci' fits no App"),
            (json!({"apps": ["a/b/c"]}), "spec.apps: 'a/b/c' fits no App"),
            (json!({"apps": ["team_a/*"]}), "spec.apps: 'team_a/*' fits no App"),
            (
                json!({"repositories": ["web", "acme/web"]}),
                "spec.repositories: 'acme/web' fits no repository: write the name without its owner: 'web'",
            ),
            (
                json!({"repositories": ["my repo"]}),
                "spec.repositories: 'my repo' fits no repository: write letters",
            ),
        ] {
            let found = doubts(spec.clone(), DefaultPolicy::Allow);
            assert!(found.len() == 1 && found[0].starts_with(told), "{spec}: {found:?}");
        }
        let audits = doubts(json!({"enforcement": "audit"}), DefaultPolicy::Deny);
        assert!(
            audits[0].starts_with("spec.enforcement: 'audit' allows nothing"),
            "{audits:?}"
        );
    }
}
