//! The REST routes of GitHub that an App and its tokens use.

use serde_json::{Value, json};

use super::answer::{Answer, error, json_answer, mint_error, moved, no_content, set, text, validation_error};
use super::call::{Call, Credentials};
use super::fault::Route;
use super::limit::Caller;
use super::object::{Objects, seconds, selection};
use super::pull::{Pull, Side};
use super::record::Grant;
use super::settings::{AccountKind, Installation, Level, Permissions};
use super::shared::Access;
use super::world::{Found, Installed, Place, parse_mint};

/// What a request is about. Git is recognized before.
pub(super) fn route(method: &str, segments: &[&str]) -> Route {
    match (method, segments) {
        ("POST", ["app", "installations", _, "access_tokens"]) => Route::Mint,
        ("DELETE", ["installation", "token"]) => Route::Revoke,
        (_, ["app", ..]) | (_, [.., "installation"]) => Route::App,
        (_, ["installation" | "repos" | "repositories", ..]) => Route::Token,
        _ => Route::Other,
    }
}

impl Call {
    /// The answer of GitHub's API. `expired`: a minted token has expired already.
    pub async fn api(&self, expired: bool) -> Answer {
        let segments = self.segments();
        let answer = match (self.method.as_str(), segments.as_slice()) {
            ("POST", ["app", "installations", id, "access_tokens"]) => self.mint(id, expired),
            ("DELETE", ["installation", "token"]) => self.revoke(),
            ("GET", ["app"]) => self.get_app(),
            ("GET", ["app", "installations"]) => self.list_installations(),
            ("GET", ["app", "installations", id]) => self.installation_by_id(id),
            ("GET", ["orgs", login, "installation"]) => {
                self.installation_of(login, |kind| kind == AccountKind::Organization)
            }
            ("GET", ["users", login, "installation"]) => self.installation_of(login, |_| true),
            ("GET", ["repos", owner, name, "installation"]) => self.installation_at(self.locate(owner, name)),
            ("GET", ["repositories", id, "installation"]) => self.installation_at(self.locate_id(id)),
            ("GET", ["installation", "repositories"]) => self.list_repositories(),
            ("GET", ["repos", owner, name]) => self.get_repository(self.locate(owner, name)),
            ("GET", ["repositories", id]) => self.get_repository(self.locate_id(id)),
            ("POST", ["repos", owner, name, "pulls"]) => self.open_pull(self.locate(owner, name)).await,
            ("POST", ["app-manifests", code, "conversions"]) => self.convert(code),
            ("POST", ["settings", "apps", "new"]) => self.register(None),
            ("POST", ["organizations", login, "settings", "apps", "new"]) => self.register(Some(login)),
            ("GET", ["rate_limit"]) => self.rate_limit(),
            ("GET", ["meta"]) => Ok(json_answer(200, &json!({"verifiable_password_authentication": false}))),
            _ => Err(not_found()),
        };
        answer.unwrap_or_else(|refusal| refusal)
    }

    pub(super) fn objects(&self) -> Objects<'_> {
        Objects {
            shared: &self.shared,
            api: &self.api,
        }
    }

    fn mint(&self, id: &str, expired: bool) -> Result<Answer, Answer> {
        let jwt = self.app()?;
        let not_found = || mint_error(404, text::NOT_FOUND);
        let id = id.parse().map_err(|_| not_found())?;
        let asked = parse_mint(&self.body)?;
        let (mint, about, selected) = {
            let mut state = self.shared.state();
            let mint = state.mint(self.shared.app_id, id, asked, jwt, expired)?;
            let installed = state.world.get(id).ok_or_else(not_found)?;
            let selected = mint.granted.repositories.as_ref();
            let selected = selected.map(|ids| found(installed, installed.repositories(Some(ids))));
            (mint, std::sync::Arc::clone(&installed.about), selected)
        };
        let selection = if selected.is_some() {
            "selected"
        } else {
            selection(&about)
        };
        let mut answer = json!({
            "token": &*mint.token,
            "expires_at": seconds(mint.expires_at),
            "permissions": mint.granted.permissions,
            "repository_selection": selection,
        });
        if let Some(selected) = selected {
            let objects = self.objects();
            let show = |found| objects.repository(found, &mint.granted);
            answer["repositories"] = selected.iter().map(show).collect();
        }
        Ok(json_answer(201, &answer))
    }

    fn revoke(&self) -> Result<Answer, Answer> {
        self.token()?;
        if let Credentials::Token(token) = self.credentials() {
            let mut state = self.shared.state();
            let now = state.now();
            state.records.revoke(&token, now);
        }
        Ok(no_content())
    }

    fn get_app(&self) -> Result<Answer, Answer> {
        self.app()?;
        let state = self.shared.state();
        let all = state.world.all();
        // An App asks every installation for the same: the union of what was granted stands for it.
        let mut permissions = self.shared.asks.clone();
        for (name, level) in all.iter().flat_map(|one| &one.permissions) {
            let known = permissions.entry(name.clone()).or_insert(*level);
            *known = (*known).max(*level);
        }
        let granted = Installation {
            permissions,
            ..Installation::default()
        };
        Ok(json_answer(200, &self.objects().app(&granted, all.len())))
    }

    fn list_installations(&self) -> Result<Answer, Answer> {
        self.app()?;
        let state = self.shared.state();
        let objects = self.objects();
        let all = state.world.all();
        let (page, link) = self.page(&all);
        let page: Value = page.iter().map(|one| objects.installation(one)).collect();
        Ok(linked(json_answer(200, &page), link))
    }

    fn installation_by_id(&self, id: &str) -> Result<Answer, Answer> {
        self.app()?;
        let id = id.parse().map_err(|_| not_found())?;
        self.show_installation(|installed| installed.id == id, id)
    }

    fn installation_of(&self, login: &str, kind: impl Fn(AccountKind) -> bool) -> Result<Answer, Answer> {
        self.app()?;
        let id = self
            .shared
            .state()
            .world
            .of_account(login)
            .map(|installed| installed.id);
        self.show_installation(|installed| kind(installed.about.kind), id.ok_or_else(not_found)?)
    }

    fn installation_at(&self, place: Place) -> Result<Answer, Answer> {
        self.app()?;
        match place {
            Place::Here(found) => self.show_installation(|_| true, found.installation),
            Place::Moved(id) => Ok(moved(&format!("{}/repositories/{id}/installation", self.api))),
            Place::Nowhere => Err(not_found()),
        }
    }

    fn show_installation(&self, fits: impl Fn(&Installed) -> bool, id: u64) -> Result<Answer, Answer> {
        let state = self.shared.state();
        let installed = state.world.get(id).filter(|installed| fits(installed));
        let installed = installed.ok_or_else(not_found)?;
        Ok(json_answer(200, &self.objects().installation(installed)))
    }

    fn list_repositories(&self) -> Result<Answer, Answer> {
        let Access { installation, grant } = self.token()?;
        let state = self.shared.state();
        let installed = state.world.get(installation).ok_or_else(not_found)?;
        let all = found(installed, installed.repositories(grant.repositories.as_ref()));
        let (page, link) = self.page(&all);
        let objects = self.objects();
        let confined = grant.repositories.is_some();
        let answer = json!({
            "total_count": all.len(),
            "repository_selection": if confined { "selected" } else { selection(&installed.about) },
            "repositories": page.iter().map(|found| objects.repository(found, &grant)).collect::<Value>(),
        });
        Ok(linked(json_answer(200, &answer), link))
    }

    fn get_repository(&self, place: Place) -> Result<Answer, Answer> {
        let found = match place {
            Place::Here(found) => found,
            Place::Moved(id) => return Ok(moved(&format!("{}/repositories/{id}", self.api))),
            Place::Nowhere => return Err(not_found()),
        };
        let grant = match self.credentials() {
            Credentials::None if !found.repository.private => nothing(),
            Credentials::None => return Err(not_found()),
            Credentials::Token(_) => {
                let access = self.token()?;
                if !access.covers(&found) && found.repository.private {
                    return Err(not_found());
                }
                (*access.grant).clone()
            }
        };
        Ok(json_answer(200, &self.objects().full_repository(&found, &grant)))
    }

    async fn open_pull(&self, place: Place) -> Result<Answer, Answer> {
        let access = self.token()?;
        let Place::Here(found) = place else {
            return Err(not_found());
        };
        if !access.covers(&found) {
            return Err(not_found());
        }
        if access.grant.permissions.get("pull_requests") < Some(&Level::Write) {
            return Err(error(403, text::NOT_INTEGRATION));
        }
        let body: Value = serde_json::from_slice(&self.body).map_err(|_| error(400, "Problems parsing JSON"))?;
        let field = |name: &str| body[name].as_str().filter(|value| !value.is_empty());
        let problem = |field, code| json!({"resource": "PullRequest", "field": field, "code": code});
        let (Some(title), Some(head), Some(base)) = (field("title"), field("head"), field("base")) else {
            let missing = ["title", "head", "base"]
                .into_iter()
                .filter(|name| field(name).is_none());
            let errors: Vec<_> = missing.map(|name| problem(name, "missing_field")).collect();
            return Err(validation_error(&errors));
        };
        let head = head.rsplit(':').next().unwrap_or(head);
        let (from, to) = (self.commit(&found, head).await?, self.commit(&found, base).await?);
        match (from, to) {
            (None, _) => Err(validation_error(&[problem("head", "invalid")])),
            (_, None) => Err(validation_error(&[problem("base", "invalid")])),
            (Some(from), Some(to)) if from == to => {
                let message = format!("No commits between {base} and {head}");
                let error = json!({"resource": "PullRequest", "code": "custom", "message": message});
                Err(validation_error(&[error]))
            }
            (Some(from), Some(to)) => {
                let number = self.shared.state().records.counts.requests + 1;
                let head = Side {
                    branch: head,
                    commit: &from,
                };
                let base = Side {
                    branch: base,
                    commit: &to,
                };
                let pull = Pull {
                    number,
                    title,
                    head,
                    base,
                };
                let pull = self.objects().pull_request(&found, &access.grant, &pull);
                Ok(json_answer(201, &pull))
            }
        }
    }

    async fn commit(&self, found: &Found, branch: &str) -> Result<Option<String>, Answer> {
        let commit = self.shared.git.branch(found, branch).await;
        commit.map_err(|failure| error(500, &failure.to_string()))
    }

    fn rate_limit(&self) -> Result<Answer, Answer> {
        let access = self.token()?;
        let mut state = self.shared.state();
        let now = state.now().as_second();
        let limits = state.knobs.limits.clone();
        let caller = Caller::Installation(access.installation);
        let Some(quota) = state.meters.quota(&limits, caller, std::time::Instant::now()) else {
            return Err(error(404, "Rate limiting is not enabled."));
        };
        let core = json!({
            "limit": quota.limit, "used": quota.used, "remaining": quota.limit - quota.used,
            "reset": now.saturating_add_unsigned(quota.reset_in.as_secs()),
        });
        Ok(json_answer(
            200,
            &json!({"resources": {"core": core, "search": core}, "rate": core}),
        ))
    }

    fn locate(&self, owner: &str, name: &str) -> Place {
        self.shared.state().world.locate(owner, name)
    }

    fn locate_id(&self, id: &str) -> Place {
        let found = id.parse().ok().and_then(|id| self.shared.state().world.by_id(id));
        found.map_or(Place::Nowhere, Place::Here)
    }

    /// One page of a list, and the `Link` header to the others.
    fn page<'a, T>(&self, all: &'a [T]) -> (&'a [T], Option<String>) {
        let size = self.number("per_page").unwrap_or(30).clamp(1, 100);
        let page = self.number("page").unwrap_or(1).max(1);
        let last = all.len().div_ceil(size).max(1);
        let from = (page - 1).saturating_mul(size).min(all.len());
        let to = from.saturating_add(size).min(all.len());
        let url = |page, rel| format!("<{}{}?per_page={size}&page={page}>; rel=\"{rel}\"", self.api, self.path);
        let mut links = Vec::new();
        if page > 1 {
            links.extend([url(page - 1, "prev"), url(1, "first")]);
        }
        if page < last {
            links.extend([url(page + 1, "next"), url(last, "last")]);
        }
        (&all[from..to], (!links.is_empty()).then(|| links.join(", ")))
    }
}

fn found(installed: &Installed, repositories: Vec<std::sync::Arc<super::settings::Repository>>) -> Vec<Found> {
    let with_owner = |repository| Found {
        installation: installed.id,
        account: std::sync::Arc::clone(&installed.about),
        repository,
    };
    repositories.into_iter().map(with_owner).collect()
}

fn linked(mut answer: Answer, link: Option<String>) -> Answer {
    if let Some(link) = link {
        set(&mut answer, "link", link);
    }
    answer
}

fn nothing() -> Grant {
    Grant {
        permissions: Permissions::new(),
        repositories: None,
    }
}

pub(super) fn not_found() -> Answer {
    error(404, text::NOT_FOUND)
}
