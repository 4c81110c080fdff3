//! Apps that are registered from a manifest: the page that takes the manifest and sends the browser back with a code, and the endpoint
//! that hands out the App for the code, once and within an hour.
//! <https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest>

use std::sync::{Arc, PoisonError};

use jiff::{SignedDuration, Timestamp};
use reqwest::Url;
use serde_json::{Value, json};

use super::GitHub;
use super::answer::{Answer, json_answer, raw, set};
use super::api::not_found;
use super::call::Call;
use super::digest::random_string;
use super::key::AppKey;
use super::settings::{AccountKind, Installation, Permissions, Settings};
use super::shared::Shared;

/// How long a code is good.
const CODE_LIFE: SignedDuration = SignedDuration::from_hours(1);
/// The longest name of an App, in characters.
const LONGEST_NAME: usize = 34;
/// Whose an App is that no organization is named for.
const PERSON: &str = "octo-owner";

/// What a stand-in knows of the Apps that were registered with it.
pub(super) struct Registrations {
    next_id: u64,
    made: Vec<Made>,
}

#[derive(Clone)]
struct Made {
    app: Arc<Shared>,
    manifest: Value,
    code: String,
    at: Timestamp,
    client_secret: String,
    used: bool,
}

impl Registrations {
    /// The first App has the number after this one.
    pub fn after(app_id: u64) -> Self {
        Self {
            next_id: app_id + 1,
            made: Vec::new(),
        }
    }
}

/// An App that someone registered from a manifest.
#[derive(Clone)]
pub struct Registration {
    /// The App, as a stand-in of its own at the same address.
    pub app: GitHub,
    /// The manifest as it came.
    pub manifest: Value,
    /// The code that the browser was sent back with.
    pub code: String,
    /// The secret that nobody needs, to look for leaks.
    pub client_secret: String,
}

impl GitHub {
    /// The Apps that people registered from manifests, oldest first.
    #[must_use]
    pub fn registrations(&self) -> Vec<Registration> {
        let known = self.shared.registrations.lock().unwrap_or_else(PoisonError::into_inner);
        let show = |made: &Made| Registration {
            app: GitHub {
                shared: Arc::clone(&made.app),
                ..self.clone()
            },
            manifest: made.manifest.clone(),
            code: made.code.clone(),
            client_secret: made.client_secret.clone(),
        };
        known.made.iter().map(show).collect()
    }

    /// The number of the next App that is registered from a manifest.
    pub fn number_next_app(&self, app_id: u64) {
        let mut known = self.shared.registrations.lock().unwrap_or_else(PoisonError::into_inner);
        known.next_id = app_id;
    }
}

/// What a manifest says, as far as GitHub acts on it here.
struct Manifest {
    name: String,
    slug: String,
    redirect_url: Url,
    permissions: Permissions,
}

impl Manifest {
    /// Reads it, or says what GitHub's page says.
    fn read(manifest: &Value) -> Result<Self, String> {
        let missing = |field: &str| format!("Error {field:?} wasn't supplied.");
        let text = |field: &str| manifest[field].as_str().filter(|text| !text.is_empty());
        text("url").ok_or_else(|| missing("url"))?;
        // Whoever names a webhook, active or not, has to say where it is: https://github.com/vikasprogrammer/agentric/pull/317
        if manifest
            .get("hook_attributes")
            .is_some_and(|hook| hook["url"].as_str().is_none())
        {
            return Err(missing("url"));
        }
        let name = text("name").ok_or_else(|| missing("name"))?;
        if name.chars().count() > LONGEST_NAME {
            return Err(format!("Name is too long (maximum is {LONGEST_NAME} characters)"));
        }
        let redirect_url = text("redirect_url").and_then(|text| Url::parse(text).ok());
        let redirect_url = redirect_url.filter(|url| ["http", "https"].contains(&url.scheme()));
        let permissions = serde_json::from_value(manifest["default_permissions"].clone());
        let plain = |c: char| if c.is_alphanumeric() { c } else { '-' };
        Ok(Self {
            name: name.to_owned(),
            slug: name.to_lowercase().chars().map(plain).collect(),
            redirect_url: redirect_url.ok_or_else(|| missing("redirect_url"))?,
            permissions: permissions.map_err(|_| "Default permission records resource is not included in the list")?,
        })
    }
}

impl Call {
    /// Takes a manifest as a browser posts it, for an organization or the person who is logged in, and sends the browser back with
    /// a code: who drives it has pressed the button of the page that comes between.
    pub(super) fn register(&self, organization: Option<&str>) -> Result<Answer, Answer> {
        let invalid = |problem: String| {
            let text = format!("Invalid GitHub App configuration. {problem}");
            raw(
                422,
                "text/html; charset=utf-8",
                format!("<!DOCTYPE html>\n<p>{text}</p>\n"),
            )
        };
        let form = form(&self.body);
        let manifest = form.iter().find(|(name, _)| name == "manifest");
        let manifest = manifest.and_then(|(_, text)| serde_json::from_str::<Value>(text).ok());
        let manifest = manifest.ok_or_else(|| invalid("The manifest is no JSON.".to_owned()))?;
        let read = Manifest::read(&manifest).map_err(invalid)?;
        let code = self.make(organization, manifest, &read).map_err(invalid)?;
        let mut back = read.redirect_url;
        back.query_pairs_mut().append_pair("code", &code);
        if let Some((_, state)) = self.query_pairs().iter().find(|(name, _)| name == "state") {
            back.query_pairs_mut().append_pair("state", state);
        }
        let mut answer = raw(302, "text/html; charset=utf-8", "");
        set(&mut answer, "location", back);
        Ok(answer)
    }

    /// Makes the App; its code.
    fn make(&self, organization: Option<&str>, manifest: Value, read: &Manifest) -> Result<String, String> {
        let key = AppKey::generate().map_err(|problem| problem.to_string())?;
        let mut known = self.shared.registrations.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |slug: &str| slug == read.slug;
        if same(&self.shared.app_slug) || known.made.iter().any(|made| same(&made.app.app_slug)) {
            return Err(format!("Name {} is already taken", read.name));
        }
        let settings = Settings {
            app_id: known.next_id,
            client_id: format!("Iv23li{}", random_string(14)),
            app_slug: read.slug.clone(),
            installations: Vec::new(),
            ..Settings::default()
        };
        let mut app = Shared::new(settings, key, self.shared.url.clone(), Arc::clone(&self.shared.git));
        app.owner = match organization {
            Some(login) => (login.to_owned(), AccountKind::Organization),
            None => (PERSON.to_owned(), AccountKind::User),
        };
        app.asks = read.permissions.clone();
        let app = Arc::new(app);
        let code = random_string(40).to_lowercase();
        known.next_id += 1;
        known.made.push(Made {
            app: Arc::clone(&app),
            manifest,
            code: code.clone(),
            at: self.shared.now(),
            client_secret: random_string(40).to_lowercase(),
            used: false,
        });
        let mut others = self.shared.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.push(app);
        Ok(code)
    }

    /// Hands out the App that belongs to a code.
    /// <https://docs.github.com/en/rest/apps/apps#create-a-github-app-from-a-manifest>
    pub(super) fn convert(&self, code: &str) -> Result<Answer, Answer> {
        let now = self.shared.now();
        let mut known = self.shared.registrations.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |made: &&mut Made| made.code == code && !made.used && now.duration_since(made.at) < CODE_LIFE;
        let made = known.made.iter_mut().find(fits).ok_or_else(not_found)?;
        // Without one, which a test asks for, the answer is not GitHub's.
        let pem = made.app.state().keys.last().map(AppKey::pkcs1_pem);
        made.used = true;
        let objects = super::object::Objects {
            shared: &made.app,
            api: &self.api,
        };
        let asks = Installation {
            permissions: made.app.asks.clone(),
            ..Installation::default()
        };
        let mut answer = objects.app(&asks, 0);
        answer["name"] = made.manifest["name"].clone();
        answer["external_url"] = made.manifest["url"].clone();
        answer["client_secret"] = json!(made.client_secret);
        // There is none without a webhook.
        answer["webhook_secret"] = Value::Null;
        answer["pem"] = json!(pem);
        Ok(json_answer(201, &answer))
    }

    fn query_pairs(&self) -> Vec<(String, String)> {
        form(self.query.as_bytes())
    }
}

/// The fields of a form, or of a query.
fn form(text: &[u8]) -> Vec<(String, String)> {
    let mut url = Url::parse("http://form/").ok();
    let text = String::from_utf8_lossy(text);
    if let Some(url) = &mut url {
        url.set_query(Some(&text));
    }
    let pairs = url
        .iter()
        .flat_map(|url| url.query_pairs().into_owned().collect::<Vec<_>>());
    pairs.collect()
}
