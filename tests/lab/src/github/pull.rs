//! `pull-request`, as GitHub shows one that was just opened.

use serde_json::{Value, json};

use super::object::{CREATED, Objects, node_id};
use super::record::Grant;
use super::settings::AccountKind;
use super::world::Found;

/// A branch and the commit that it points to.
pub(super) struct Side<'a> {
    pub branch: &'a str,
    pub commit: &'a str,
}

/// A pull request that was just opened.
pub(super) struct Pull<'a> {
    pub number: u64,
    pub title: &'a str,
    pub head: Side<'a>,
    pub base: Side<'a>,
}

impl Objects<'_> {
    /// `pull-request`, as the bearer of `grant` sees it.
    pub fn pull_request(&self, found: &Found, grant: &Grant, pull: &Pull<'_>) -> Value {
        let mut object = json!({
            "id": pull.number, "node_id": node_id("PR", pull.number), "number": pull.number,
            "state": "open", "title": pull.title, "body": null,
            "head": self.side(found, grant, &pull.head),
            "base": self.side(found, grant, &pull.base),
            "user": self.account(&format!("{}[bot]", self.shared.app_slug), AccountKind::User),
            "author_association": "CONTRIBUTOR", "mergeable_state": "unknown",
            "labels": [], "comments": 0, "review_comments": 0,
            "commits": 1, "additions": 1, "deletions": 0, "changed_files": 1,
            "created_at": CREATED, "updated_at": CREATED,
        });
        for name in ["locked", "draft", "merged", "maintainer_can_modify"] {
            object[name] = json!(false);
        }
        for name in [
            "milestone",
            "assignee",
            "auto_merge",
            "mergeable",
            "merged_by",
            "merged_at",
            "closed_at",
            "merge_commit_sha",
        ] {
            object[name] = Value::Null;
        }
        self.add_links(&mut object, found, pull);
        object
    }

    fn side(&self, found: &Found, grant: &Grant, side: &Side<'_>) -> Value {
        json!({
            "label": format!("{}:{}", found.account.account, side.branch),
            "ref": side.branch,
            "sha": side.commit,
            "user": self.account(&found.account.account, found.account.kind),
            "repo": self.repository(found, grant),
        })
    }

    fn add_links(&self, object: &mut Value, found: &Found, pull: &Pull<'_>) {
        let name = format!("{}/{}", found.account.account, found.repository.name);
        let repository = format!("{}/repos/{name}", self.api);
        let html = format!("{}/{name}/pull/{}", self.shared.url, pull.number);
        let issue = format!("{repository}/issues/{}", pull.number);
        let this = format!("{repository}/pulls/{}", pull.number);
        object["diff_url"] = json!(format!("{html}.diff"));
        object["patch_url"] = json!(format!("{html}.patch"));
        let links = [
            ("url", "self", this.clone()),
            ("html_url", "html", html),
            ("issue_url", "issue", issue.clone()),
            ("comments_url", "comments", format!("{issue}/comments")),
            ("review_comments_url", "review_comments", format!("{this}/comments")),
            (
                "review_comment_url",
                "review_comment",
                format!("{this}/comments{{/number}}"),
            ),
            ("commits_url", "commits", format!("{this}/commits")),
            (
                "statuses_url",
                "statuses",
                format!("{repository}/statuses/{}", pull.head.commit),
            ),
        ];
        for (field, link, url) in links {
            object["_links"][link] = json!({"href": url});
            object[field] = json!(url);
        }
    }
}
