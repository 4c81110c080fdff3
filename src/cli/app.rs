//! `gtm app create`: a GitHub App in one go.

mod next;

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Subcommand};

use super::Failure;
use super::mint::{permission, warn_of};
use super::output::{Form, print};
use crate::config::{self, Config, Environment, Flags};
use crate::domain::intent::SecretKey;
use crate::domain::manifest::{self, DEFAULT_PERMISSIONS, Manifest};
use crate::run::{self, NewApp, Places, RegisterOptions, RegisterRequest};

/// GitHub's codes are good for an hour: nobody waits for longer.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);

/// The arguments of `gtm app`.
#[derive(clap::Args)]
pub struct AppArgs {
    #[command(subcommand)]
    command: AppCommand,
}

#[derive(Subcommand)]
enum AppCommand {
    /// Register a GitHub App in one go, with a browser, and store its private key.
    ///
    /// A page on this machine sends you to GitHub with everything filled in. You confirm there; the private key comes back and is
    /// stored where you said, and what comes next is printed. It is GitHub's App-manifest flow. No key is printed or logged.
    Create(Box<CreateArgs>),
}

/// The arguments of `gtm app create`.
#[derive(clap::Args)]
#[command(group = ArgGroup::new("place").args(["key_file", "secret", "print_page"]).required(true).multiple(true))]
pub struct CreateArgs {
    /// The App's name, which no other App at GitHub may have; GitHub lets you change it [default: gtm-ORG]
    #[arg(long, value_name = "NAME", value_parser = checked(manifest::check_name))]
    name: Option<String>,

    /// The organization that the App belongs to, and is installed for [default: your own account]
    #[arg(long, value_name = "ORG", value_parser = checked(manifest::check_login))]
    organization: Option<String>,

    /// A permission that installations are asked for, such as contents=write; repeat it for more [default: contents=write, pull_requests=write]
    #[arg(long = "permission", value_name = "NAME=LEVEL", value_parser = permission)]
    permissions: Vec<(String, String)>,

    /// A file for the private key: one that does not exist yet
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,

    /// A Secret of the cluster for the private key, as provider secret reads it: one that does not exist yet
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = secret)]
    secret: Option<SecretKey>,

    /// GitHub's API [default: https://api.github.com]; https://HOST/api/v3 for an Enterprise Server, https://api.SUBDOMAIN.ghe.com for data residency
    #[arg(long, value_name = "URL", env = "GTM_BASE_URL")]
    base_url: Option<String>,

    /// A PEM file of certificate authorities to trust beside the system's
    #[arg(long, value_name = "FILE", env = "GTM_CA_BUNDLE")]
    ca_bundle: Option<String>,

    /// The port of the page, on 127.0.0.1; 0 for a free one
    ///
    /// With a port of your choice and `ssh -L PORT:127.0.0.1:PORT`, the browser may be on another machine.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,

    /// How long to wait for you, at most 1h: such as 90s or 10m
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = timeout)]
    timeout: Duration,

    /// Only print the page's address, and open no browser
    #[arg(long)]
    no_browser: bool,

    /// Print the page itself, as HTML, for a browser that cannot reach this machine; then use --code
    #[arg(long, conflicts_with_all = ["code", "key_file", "secret"])]
    print_page: bool,

    /// The code of an App that you have just registered, or the whole address that GitHub sent the browser to; - for standard input
    ///
    /// It is good once, for one hour.
    #[arg(long, value_name = "CODE")]
    code: Option<String>,

    /// text: what was made, and what comes next; json: for programs
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Form,
}

/// A parser of texts that have to pass this check.
fn checked(check: fn(&str) -> Result<(), String>) -> impl Fn(&str) -> Result<String, String> + Clone {
    move |text: &str| check(text).map(|()| text.to_owned())
}

fn secret(text: &str) -> Result<SecretKey, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => Ok(SecretKey {
            namespace: namespace.into(),
            name: name.into(),
        }),
        _ => Err("give NAMESPACE/NAME, such as github-token-manager/app-key".to_owned()),
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok();
    let parsed = parsed.and_then(|time| Duration::try_from(time).ok());
    let fits = |time: &Duration| (Duration::from_secs(1)..=LONGEST_TIMEOUT).contains(time);
    parsed
        .filter(fits)
        .ok_or_else(|| "give 1s to 1h, such as 10m".to_owned())
}

impl CreateArgs {
    /// Where GitHub is: of the flags and their variables, and of nothing else.
    fn config(&self) -> Result<Config, Failure> {
        let flags = Flags {
            base_url: self.base_url.clone(),
            ca_bundle: self.ca_bundle.clone(),
            ..Flags::default()
        };
        let parsed = config::parse(None, &Environment::default(), &flags);
        let (config, _) = parsed.map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(config)
    }

    fn request(&self, config: &Config, salt: &str) -> Result<RegisterRequest, Failure> {
        let mut permissions = BTreeMap::new();
        for (name, level) in &self.permissions {
            if let Some(other) = permissions.insert(name.clone(), level.clone())
                && other != *level
            {
                return Err(Failure::Usage(format!(
                    "--permission {name} is given as {other} and as {level}: keep one"
                )));
            }
        }
        if permissions.is_empty() {
            permissions = DEFAULT_PERMISSIONS
                .map(|(name, level)| (name.to_owned(), level.to_owned()))
                .into();
        }
        let organization = self.organization.as_deref();
        let home = organization.map_or(String::new(), |login| format!("/{login}"));
        let name = self.name.clone();
        Ok(RegisterRequest {
            manifest: Manifest {
                name: name.unwrap_or_else(|| manifest::default_name(organization, salt)),
                url: format!("{}{home}", config.base_url.web_url()),
                permissions,
            },
            organization: self.organization.clone(),
            base_url: config.base_url.clone(),
            port: self.port,
            resume: self.resume(config),
        })
    }

    /// The command that goes on with an App that is registered already, up to its code.
    fn resume(&self, config: &Config) -> String {
        let mut words = vec!["gtm app create".to_owned()];
        words.extend(next::own_github(&config.base_url).map(|url| format!("--base-url {url}")));
        let bundle = self.ca_bundle.as_ref().map(Path::new);
        words.extend(bundle.map(|path| format!("--ca-bundle {}", next::quoted(path))));
        let place = Path::new("private-key.pem");
        let file = self
            .key_file
            .as_deref()
            .or_else(|| self.secret.is_none().then_some(place));
        words.extend(file.map(|path| format!("--key-file {}", next::quoted(path))));
        words.extend(self.secret.as_ref().map(|secret| format!("--secret {secret}")));
        words.push("--code".to_owned());
        words.join(" ")
    }

    /// What was given by `--code`, or stands in standard input.
    fn code(&self) -> Result<Option<secrecy::SecretString>, Failure> {
        let Some(given) = &self.code else { return Ok(None) };
        let mut pasted = given.clone();
        if given == "-" {
            pasted.clear();
            let read = io::stdin().take(64 * 1024).read_to_string(&mut pasted);
            read.map_err(|error| Failure::Usage(format!("--code -: standard input cannot be read: {error}")))?;
        }
        let code = manifest::code_in(&pasted).map_err(|cure| Failure::Usage(format!("--code: {cure}")))?;
        Ok(Some(code.into()))
    }
}

pub(super) fn run(args: AppArgs) -> Result<(), Failure> {
    match args.command {
        AppCommand::Create(args) => create(*args),
    }
}

fn create(args: CreateArgs) -> Result<(), Failure> {
    let config = args.config()?;
    let salt = run::salt().map_err(Failure::Failed)?;
    let request = args.request(&config, &salt)?;
    warn_of(&request.manifest.permissions);
    if args.print_page {
        let page = run::registration_form(&request).map_err(Failure::Failed)?;
        return print(|to| to.write_all(page.as_bytes()));
    }
    let options = RegisterOptions {
        config,
        code: args.code()?,
        places: Places {
            file: args.key_file.map(|path| std::path::absolute(&path).unwrap_or(path)),
            secret: args.secret,
        },
        open: !args.no_browser,
        timeout: args.timeout,
        request,
    };
    let app = super::block_on(run::register(options, |told| eprintln!("{told}")))?.map_err(Failure::Failed)?;
    match args.output {
        Form::Text => print(|to| to.write_all(next::steps(&app).as_bytes())),
        Form::Json => print(|to| writeln!(to, "{:#}", json(&app))),
    }
}

fn json(app: &NewApp) -> serde_json::Value {
    serde_json::json!({
        "app_id": app.id,
        "client_id": app.client_id,
        "slug": app.slug,
        "owner": app.owner,
        "base_url": app.base_url.to_string(),
        "install_url": app.install_url,
        "settings_url": app.settings_url,
        "fingerprint": app.fingerprint,
        "key_file": app.key_file,
        "secret": app.secret.as_ref().map(SecretKey::to_string),
    })
}

#[cfg(test)]
mod tests;
