//! GitHub's JSON objects, with every field that its OpenAPI description demands.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::digest::sha256;
use super::record::Grant;
use super::settings::{AccountKind, Installation, Level};
use super::shared::Shared;
use super::world::{Found, Installed};

pub(super) const CREATED: &str = "2024-01-01T00:00:00Z";

/// Builds the objects with the URLs of one stand-in.
pub(super) struct Objects<'a> {
    pub shared: &'a Shared,
    /// Base URL of the API as the client called it.
    pub api: &'a str,
}

/// The number of an account: the same after a re-installation.
fn account_id(login: &str) -> u32 {
    let hash = sha256(login.to_lowercase().as_bytes());
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) / 4
}

pub(super) fn node_id(kind: &str, id: u64) -> String {
    format!("{kind}_{id:016x}")
}

impl Objects<'_> {
    /// `simple-user`.
    pub fn account(&self, login: &str, kind: AccountKind) -> Value {
        let (api, web) = (self.api, &self.shared.url);
        let id = account_id(login);
        let user = format!("{api}/users/{login}");
        json!({
            "login": login,
            "id": id,
            "node_id": node_id("U", id.into()),
            "avatar_url": format!("{web}/avatars/{id}"),
            "gravatar_id": "",
            "url": user,
            "html_url": format!("{web}/{login}"),
            "followers_url": format!("{user}/followers"),
            "following_url": format!("{user}/following{{/other_user}}"),
            "gists_url": format!("{user}/gists{{/gist_id}}"),
            "starred_url": format!("{user}/starred{{/owner}}{{/repo}}"),
            "subscriptions_url": format!("{user}/subscriptions"),
            "organizations_url": format!("{user}/orgs"),
            "repos_url": format!("{user}/repos"),
            "events_url": format!("{user}/events{{/privacy}}"),
            "received_events_url": format!("{user}/received_events"),
            "type": type_of(kind),
            "site_admin": false,
        })
    }

    /// `integration`: the App itself.
    pub fn app(&self, granted: &Installation, installations: usize) -> Value {
        let Shared {
            app_id,
            client_id,
            app_slug,
            url,
            owner,
            ..
        } = self.shared;
        json!({
            "id": app_id,
            "slug": app_slug,
            "client_id": client_id,
            "node_id": node_id("A", *app_id),
            "owner": self.account(&owner.0, owner.1),
            "name": app_slug,
            "description": "A GitHub App of the stand-in",
            "external_url": url,
            "html_url": format!("{url}/apps/{app_slug}"),
            "created_at": CREATED,
            "updated_at": CREATED,
            "permissions": granted.permissions,
            "events": [],
            "installations_count": installations,
        })
    }

    /// `installation`.
    pub fn installation(&self, installed: &Installed) -> Value {
        let (api, web) = (self.api, &self.shared.url);
        let about = &installed.about;
        let suspended_by = installed
            .suspended_at
            .map(|_| self.account("octo-owner", AccountKind::User));
        json!({
            "id": installed.id,
            "account": self.account(&about.account, about.kind),
            "repository_selection": selection(about),
            "access_tokens_url": format!("{api}/app/installations/{}/access_tokens", installed.id),
            "repositories_url": format!("{api}/installation/repositories"),
            "html_url": format!("{web}/settings/installations/{}", installed.id),
            "app_id": self.shared.app_id,
            "client_id": self.shared.client_id,
            "app_slug": self.shared.app_slug,
            "target_id": account_id(&about.account),
            "target_type": type_of(about.kind),
            "permissions": installed.permissions,
            "events": [],
            "created_at": CREATED,
            "updated_at": CREATED,
            "single_file_name": null,
            "has_multiple_single_files": false,
            "single_file_paths": [],
            "suspended_by": suspended_by,
            "suspended_at": installed.suspended_at.map(seconds),
        })
    }

    /// `repository`, as the bearer of `grant` sees it.
    pub fn repository(&self, found: &Found, grant: &Grant) -> Value {
        let (api, web) = (self.api, &self.shared.url);
        let Found {
            account, repository, ..
        } = found;
        let full_name = format!("{}/{}", account.account, repository.name);
        let root = format!("{api}/repos/{full_name}");
        let contents = grant.permissions.get("contents");
        let mut object = json!({
            "id": repository.id,
            "node_id": node_id("R", repository.id),
            "name": repository.name,
            "full_name": full_name,
            "private": repository.private,
            "owner": self.account(&account.account, account.kind),
            "html_url": format!("{web}/{full_name}"),
            "description": "A repository of the stand-in",
            "fork": false,
            "url": root,
            "git_url": format!("git://{}/{full_name}.git", web.trim_start_matches("http://")),
            "ssh_url": format!("git@localhost:{full_name}.git"),
            "clone_url": format!("{web}/{full_name}.git"),
            "svn_url": format!("{web}/{full_name}"),
            "visibility": if repository.private { "private" } else { "public" },
            "permissions": {
                "admin": false, "maintain": false, "triage": false,
                "push": contents >= Some(&Level::Write),
                "pull": contents >= Some(&Level::Read),
            },
        });
        if let Some(object) = object.as_object_mut() {
            add_urls(object, &root);
            add_constants(object);
        }
        object
    }

    /// `full-repository`.
    pub fn full_repository(&self, found: &Found, grant: &Grant) -> Value {
        let mut object = self.repository(found, grant);
        if let Some(object) = object.as_object_mut() {
            object.insert("network_count".to_owned(), json!(0));
            object.insert("subscribers_count".to_owned(), json!(0));
        }
        object
    }
}

/// A time as GitHub prints it: whole seconds.
pub(super) fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `all` or `selected`.
pub(super) fn selection(installation: &Installation) -> &'static str {
    if installation.all_repositories {
        "all"
    } else {
        "selected"
    }
}

fn type_of(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::Organization => "Organization",
        AccountKind::User => "User",
    }
}

/// What is the same for all repositories here.
fn add_constants(object: &mut Map<String, Value>) {
    for name in ["mirror_url", "homepage", "language", "license"] {
        object.insert(name.to_owned(), Value::Null);
    }
    for name in [
        "has_issues",
        "has_projects",
        "has_wiki",
        "has_downloads",
        "allow_forking",
    ] {
        object.insert(name.to_owned(), json!(true));
    }
    for name in [
        "is_template",
        "has_pages",
        "has_discussions",
        "archived",
        "disabled",
        "web_commit_signoff_required",
    ] {
        object.insert(name.to_owned(), json!(false));
    }
    for name in [
        "forks",
        "forks_count",
        "stargazers_count",
        "watchers",
        "watchers_count",
        "open_issues",
        "open_issues_count",
        "size",
    ] {
        object.insert(name.to_owned(), json!(0));
    }
    for name in ["pushed_at", "created_at", "updated_at"] {
        object.insert(name.to_owned(), json!(CREATED));
    }
    object.insert("default_branch".to_owned(), json!("main"));
    object.insert("topics".to_owned(), json!([]));
}

/// The URLs of a repository that only differ in their last part.
fn add_urls(object: &mut Map<String, Value>, root: &str) {
    for (name, path) in [
        ("archive_url", "/{archive_format}{/ref}"),
        ("assignees_url", "/assignees{/user}"),
        ("blobs_url", "/git/blobs{/sha}"),
        ("branches_url", "/branches{/branch}"),
        ("collaborators_url", "/collaborators{/collaborator}"),
        ("comments_url", "/comments{/number}"),
        ("commits_url", "/commits{/sha}"),
        ("compare_url", "/compare/{base}...{head}"),
        ("contents_url", "/contents/{+path}"),
        ("contributors_url", "/contributors"),
        ("deployments_url", "/deployments"),
        ("downloads_url", "/downloads"),
        ("events_url", "/events"),
        ("forks_url", "/forks"),
        ("git_commits_url", "/git/commits{/sha}"),
        ("git_refs_url", "/git/refs{/sha}"),
        ("git_tags_url", "/git/tags{/sha}"),
        ("hooks_url", "/hooks"),
        ("issue_comment_url", "/issues/comments{/number}"),
        ("issue_events_url", "/issues/events{/number}"),
        ("issues_url", "/issues{/number}"),
        ("keys_url", "/keys{/key_id}"),
        ("labels_url", "/labels{/name}"),
        ("languages_url", "/languages"),
        ("merges_url", "/merges"),
        ("milestones_url", "/milestones{/number}"),
        ("notifications_url", "/notifications{?since,all,participating}"),
        ("pulls_url", "/pulls{/number}"),
        ("releases_url", "/releases{/id}"),
        ("stargazers_url", "/stargazers"),
        ("statuses_url", "/statuses/{sha}"),
        ("subscribers_url", "/subscribers"),
        ("subscription_url", "/subscription"),
        ("tags_url", "/tags"),
        ("teams_url", "/teams"),
        ("trees_url", "/git/trees{/sha}"),
    ] {
        object.insert(name.to_owned(), Value::String(format!("{root}{path}")));
    }
}
