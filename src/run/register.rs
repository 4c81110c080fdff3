//! `gtm app create`: a person registers a GitHub App in one go. The browser does what only a person may; the rest is here: a page with
//! the manifest, the way back with a code, the exchange of the code for the App, and its key in the place that was asked for.
//!
//! GitHub hands out the key once. So its place is made before GitHub is asked, and from then on nothing interrupts.

mod browser;
mod page;
mod store;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, variables};
use crate::domain::intent::SecretKey;
use crate::domain::manifest::{Manifest, settings_page};
use crate::domain::{BaseUrl, quote};
use crate::github::{ConversionError, HttpClients, Registered, convert};
use crate::signer::{Ambient, KeySpec, Signer};

use super::apps::Fields;
use super::clock::now;
use super::settings::{Authorities, https};
pub use browser::{registration_form, salt};
pub use store::Places;
use store::Store;

/// How often GitHub is asked when it does not answer, and what lies between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);

/// What is to be registered, and whose it is to be.
#[derive(Clone, Debug)]
pub struct Request {
    /// The App.
    pub manifest: Manifest,
    /// The organization that it is to belong to; `None`: whoever is logged in.
    pub organization: Option<String>,
    /// Which GitHub.
    pub base_url: BaseUrl,
    /// The port of the page; 0 for a free one.
    pub port: u16,
    /// The command that goes on with an App that is registered already; it lacks what stands after its `--code`.
    pub resume: String,
}

/// How an App is registered.
pub struct RegisterOptions {
    /// What.
    pub request: Request,
    /// How GitHub is reached.
    pub config: Config,
    /// Where the key goes.
    pub places: Places,
    /// The code, from a browser that cannot reach the page of this process.
    pub code: Option<SecretString>,
    /// Open the page in a browser.
    pub open: bool,
    /// How long the person may take.
    pub timeout: Duration,
}

/// The App that was registered; its key is where it was to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApp {
    /// The App ID.
    pub id: u64,
    /// The client ID; not on old Enterprise Servers.
    pub client_id: Option<String>,
    /// The name in its addresses.
    pub slug: String,
    /// The account that it belongs to, and that it can be installed for.
    pub owner: Option<String>,
    /// Where it is installed.
    pub install_url: String,
    /// Where its keys are made and deleted.
    pub settings_url: String,
    /// The key's fingerprint, as the settings page shows it.
    pub fingerprint: String,
    /// Which GitHub.
    pub base_url: BaseUrl,
    /// The file that holds the key.
    pub key_file: Option<PathBuf>,
    /// The Secret that holds the key.
    pub secret: Option<SecretKey>,
}

/// Registers an App. `say` is told what a person has to know meanwhile.
///
/// # Errors
/// A text that says what is wrong, what helps, and what is left at GitHub and here.
pub async fn register(options: RegisterOptions, say: impl Fn(&str)) -> Result<NewApp, String> {
    let trusted = Authorities::of(&options.config)
        .await
        .map_err(|problem| problem.message)?;
    let http =
        https(&HttpClients::default(), trusted.as_ref(), Fields::CONFIGURATION).map_err(|problem| problem.message)?;
    let (mut store, code) = uninterrupted(prepare(&options, &say)).await?;
    let base_url = &options.request.base_url;
    let registered = exchange(&http, base_url, &options.config.api_version, &code)
        .await
        .map_err(|error| error.to_string())?;
    let mut app = new_app(&registered, base_url);
    let (fingerprint, pem) = key(&registered).await.map_err(|problem| {
        let (slug, settings) = (&app.slug, &app.settings_url);
        format!("the App {slug} is registered at GitHub, but {problem}; make a key on {settings}, \"Generate a private key\"")
    })?;
    let failures = store.keep(&pem).await;
    if !failures.is_empty() {
        return Err(without_key(&app, &failures, &store.kept()));
    }
    app.fingerprint = fingerprint;
    app.key_file = options.places.file;
    app.secret = options.places.secret;
    Ok(app)
}

/// Everything that comes before the question to GitHub, and leaves nothing behind when it ends early.
async fn prepare(options: &RegisterOptions, say: &impl Fn(&str)) -> Result<(Store, SecretString), String> {
    let store = Store::claim(&options.places).await?;
    let code = match &options.code {
        Some(code) => code.clone(),
        None => browser::code(&options.request, options.open, options.timeout, say).await?,
    };
    store
        .check()
        .await
        .map_err(|problem| registered_already(&problem, &options.request.resume))?;
    Ok((store, code))
}

/// What is left when there is no place for the key any more, and the code is not used yet.
fn registered_already(problem: &str, resume: &str) -> String {
    format!(
        "{problem}; the App is registered at GitHub already: do not register another, but run `{resume} 'ADDRESS'` within the hour, \
         with the address that GitHub sent the browser to, and with another place if this one stays taken"
    )
}

/// The work, unless a signal comes first.
async fn uninterrupted<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("signals cannot be awaited: {error}"));
    let (mut int, mut term) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let mut hup = listen(SignalKind::hangup())?;
    tokio::select! {
        done = work => return done,
        _ = int.recv() => {}
        _ = term.recv() => {}
        _ = hup.recv() => {}
    }
    Err("interrupted: no key was asked for, and nothing is left here; an App that you have registered meanwhile is at GitHub: delete it there, or make a key on its settings page".to_owned())
}

/// Asks again while GitHub does not answer: a code that was used meanwhile is refused then.
async fn exchange(
    http: &reqwest::Client,
    base_url: &BaseUrl,
    api_version: &str,
    code: &SecretString,
) -> Result<Registered, ConversionError> {
    let mut tries = 1;
    loop {
        match convert(http, base_url, api_version, code, now()).await {
            Err(ConversionError::Unavailable { .. }) if tries < TRIES => tries += 1,
            answered => return answered,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The key's fingerprint, and the key.
async fn key(registered: &Registered) -> Result<(String, SecretString), String> {
    let pem = registered
        .pem
        .clone()
        .filter(|pem| !pem.expose_secret().trim().is_empty());
    let pem = pem.ok_or("its answer holds no private key (pem)")?;
    let signer = Signer::connect(&KeySpec::Pem(pem.clone()), &Ambient::new(variables(), now)).await;
    let signer = signer.map_err(|error| format!("its answer's pem is not usable: {error}"))?;
    Ok((signer.fingerprint().unwrap_or_default(), pem))
}

fn new_app(registered: &Registered, base_url: &BaseUrl) -> NewApp {
    let slug = quote(&registered.slug);
    let owner = registered.owner.as_ref();
    let organization = owner.filter(|owner| owner.kind.as_deref() == Some("Organization"));
    let organization = organization.map(|owner| quote(&owner.login));
    NewApp {
        id: registered.id,
        client_id: registered.client_id.as_deref().map(quote),
        owner: owner.map(|owner| quote(&owner.login)).filter(|login| !login.is_empty()),
        install_url: format!("{}/installations/new", quote(&registered.html_url)),
        settings_url: settings_page(base_url, organization.as_deref(), &slug),
        slug,
        fingerprint: String::new(),
        base_url: base_url.clone(),
        key_file: None,
        secret: None,
    }
}

/// What is left when a place that was ready does not take the key.
fn without_key(app: &NewApp, failures: &[String], kept: &[String]) -> String {
    let (slug, settings) = (&app.slug, &app.settings_url);
    let left = if kept.is_empty() {
        format!("the key is lost, the App is not: make another key on {settings}, \"Generate a private key\"")
    } else {
        format!("the key is in {}: copy it from there", kept.join(" and "))
    };
    format!(
        "the App {slug} is registered at GitHub, but {}; {left}",
        failures.join("; ")
    )
}
