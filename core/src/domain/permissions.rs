//! The permissions that GitHub knew when this version was made. Only a hint: an unknown name or level is passed on with a warning,
//! unless a policy denies what reaches an organization.

use super::{nearest, quote};

/// Names and levels of the schema `app-permissions` in GitHub's OpenAPI description (npm package `@octokit/openapi` 23.0.2),
/// with the additions of Enterprise Cloud and Enterprise Server 3.19. Sorted by name.
const KNOWN: &[(&str, &[&str])] = &[
    ("actions", RW),
    ("administration", RW),
    ("artifact_metadata", RW),
    ("attestations", RW),
    ("checks", RW),
    ("code_quality", RW),
    ("codespaces", RW),
    ("contents", RW),
    ("custom_properties_for_organizations", RW),
    ("dependabot_secrets", RW),
    ("deployments", RW),
    ("discussions", RW),
    ("email_addresses", RW),
    ("enterprise_administration", RW),
    ("enterprise_custom_properties", RW),
    ("enterprise_custom_properties_for_organizations", RWA),
    ("enterprise_organization_installation_repositories", RW),
    ("enterprise_organization_installations", RW),
    ("environments", RW),
    ("followers", RW),
    ("git_ssh_keys", RW),
    ("gpg_keys", RW),
    ("interaction_limits", RW),
    ("issues", RW),
    ("members", RW),
    ("merge_queues", RW),
    ("metadata", RW),
    ("organization_administration", RW),
    ("organization_announcement_banners", RW),
    ("organization_copilot_agent_settings", RW),
    ("organization_copilot_seat_management", RW),
    ("organization_custom_org_roles", RW),
    ("organization_custom_properties", RWA),
    ("organization_custom_roles", RW),
    ("organization_events", R),
    ("organization_hooks", RW),
    ("organization_packages", RW),
    ("organization_personal_access_token_requests", RW),
    ("organization_personal_access_tokens", RW),
    ("organization_plan", R),
    ("organization_projects", RWA),
    ("organization_secrets", RW),
    ("organization_self_hosted_runners", RW),
    ("organization_user_blocking", RW),
    ("packages", RW),
    ("pages", RW),
    ("profile", W),
    ("pull_requests", RW),
    ("repository_custom_properties", RW),
    ("repository_hooks", RW),
    ("repository_projects", RWA),
    ("secret_scanning_alerts", RW),
    ("secrets", RW),
    ("security_events", RW),
    ("single_file", RW),
    ("starring", RW),
    ("statuses", RW),
    ("vulnerability_alerts", RW),
    ("workflows", W),
];

const R: &[&str] = &["read"];
const W: &[&str] = &["write"];
const RW: &[&str] = &["read", "write"];
const RWA: &[&str] = &["read", "write", "admin"];

/// What looks wrong about `name: level`, for a warning that begins with the field; `None` if both are known.
#[must_use]
pub fn doubt(field: &str, name: &str, level: &str) -> Option<String> {
    let Ok(at) = KNOWN.binary_search_by_key(&name, |(known, _)| known) else {
        let near = nearest(name, KNOWN.iter().map(|(known, _)| *known))
            .map_or(String::new(), |near| format!("; did you mean '{near}'?"));
        return Some(format!(
            "{field}: '{}' is not a permission that this version knows{near}",
            quote(name)
        ));
    };
    let levels = KNOWN.get(at).map_or(RW, |(_, levels)| levels);
    level_doubt(field, name, level, levels)
}

/// The same for the level of all permissions that a policy does not name.
#[must_use]
pub fn doubt_of_others(field: &str, level: &str) -> Option<String> {
    level_doubt(field, "*", level, RWA)
}

fn level_doubt(field: &str, name: &str, level: &str, levels: &[&str]) -> Option<String> {
    (!levels.contains(&level)).then(|| {
        format!(
            "{field}.{name}: '{}' is not a level that this version knows; known: {}",
            quote(level),
            levels.join(", ")
        )
    })
}

/// Whether GitHub had a permission of this name when this version was made.
#[must_use]
pub fn is_known(name: &str) -> bool {
    KNOWN.binary_search_by_key(&name, |(known, _)| known).is_ok()
}

/// Whether the permission reaches the whole organization, which naming repositories does not confine.
#[must_use]
pub fn is_organization_wide(name: &str) -> bool {
    name.starts_with("organization_")
        || name.starts_with("enterprise_")
        || name.ends_with("_for_organizations")
        || name == "members"
}

/// Whether a level is at most the other. A level that this version does not know is at most itself.
#[must_use]
pub fn is_within(level: &str, most: &str) -> bool {
    let rank = |level: &str| RWA.iter().position(|known| *known == level);
    match (rank(level), rank(most)) {
        (Some(level), Some(most)) => level <= most,
        _ => level == most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubt(name: &str, level: &str) -> Option<String> {
        super::doubt("spec.permissions", name, level)
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(KNOWN.is_sorted_by_key(|(name, _)| name));
    }

    #[test]
    fn each_known_name_that_speaks_of_an_organization_reaches_all_of_it() {
        for (name, _) in KNOWN {
            let speaks = ["organization", "enterprise", "members"]
                .iter()
                .any(|word| name.contains(word));
            assert_eq!(is_organization_wide(name), speaks, "{name}");
        }
    }

    #[test]
    fn known_names_and_levels_raise_no_doubt() {
        assert_eq!(doubt("contents", "write"), None);
        assert_eq!(doubt("organization_projects", "admin"), None);
    }

    #[test]
    fn a_misspelt_name_brings_the_nearest_known_one() {
        assert!(doubt("content", "read").unwrap().contains("did you mean 'contents'?"));
        assert!(doubt("pull_request", "read").unwrap().contains("'pull_requests'"));
        assert!(!doubt("quantum_teleportation", "read").unwrap().contains("did you mean"));
    }

    #[test]
    fn an_unknown_level_brings_the_known_ones() {
        assert!(doubt("contents", "admin").unwrap().ends_with("known: read, write"));
        assert!(doubt("workflows", "read").unwrap().ends_with("known: write"));
    }
}
