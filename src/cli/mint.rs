//! `gtm mint`: one token on standard output, from the same configuration as the operator's.

use std::collections::BTreeMap;
use std::io::{self, Write};

use secrecy::ExposeSecret as _;

use super::output::print;
use super::{ConfigFile, Failure};
use crate::config::{self, AppConfig, Config, Environment, Flags};
use crate::domain::intent::Scope;
use crate::domain::permissions;
use crate::run::{self, MintAnswer, MintError};

/// The most repositories that GitHub takes in one request.
const MAX_REPOSITORIES: usize = 500;

/// The arguments of `gtm mint`.
#[derive(clap::Args)]
pub struct MintArgs {
    #[command(flatten)]
    config: ConfigFile,

    /// The App's numeric ID, instead of app_id of the configuration
    #[arg(long, value_name = "ID")]
    app_id: Option<String>,

    /// The App's client ID, instead of client_id of the configuration
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,

    /// The installation's numeric ID, instead of installation_id or owner of the configuration
    #[arg(long, value_name = "ID")]
    installation_id: Option<String>,

    /// The account whose installation is meant, instead of installation_id or owner of the configuration
    #[arg(long, value_name = "LOGIN")]
    owner: Option<String>,

    /// Where the private key is: file, aws, azure, gcp or vault
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,

    /// The private key: the path of its PEM file, or its name in the key service
    ///
    /// The README has the names of each service, and where its credentials are looked for. A key itself does not belong in an argument, which every process of the machine can read: use GTM_KEY for one.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// GitHub's API [default: https://api.github.com]; https://HOST/api/v3 for an Enterprise Server
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,

    /// A PEM file of certificate authorities to trust beside the system's
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<String>,

    /// A permission to ask for, such as contents=read; repeat it for more [default: all that the installation has]
    #[arg(long = "permission", value_name = "NAME=LEVEL", value_parser = permission)]
    permissions: Vec<(String, String)>,

    /// A repository to confine the token to, by its name without the owner; repeat it for more, at most 500 [default: all]
    #[arg(long = "repository", value_name = "NAME", value_parser = repository)]
    repositories: Vec<String>,

    /// A repository to confine the token to, by its numeric ID; repeat it for more
    #[arg(long = "repository-id", value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    repository_ids: Vec<u64>,

    /// token: the token alone; json: GitHub's answer, for programs
    #[arg(short, long, value_name = "FORMAT", default_value = "token")]
    output: Output,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// The token alone, and a line end.
    Token,
    /// One JSON object.
    Json,
}

/// What is asked for, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct MintRequest {
    /// What is configured beside the App.
    pub config: Config,
    /// The App that is to issue the token.
    pub app: AppConfig,
    /// What the token may do.
    pub scope: Scope,
    /// What is printed.
    pub output: Output,
}

impl MintAnswer {
    /// Writes the answer as it was asked for.
    ///
    /// # Errors
    /// When `writer` cannot be written to.
    pub fn write(&self, output: Output, mut writer: impl Write) -> io::Result<()> {
        let token = self.token.expose_secret();
        match output {
            Output::Token => writeln!(writer, "{token}"),
            Output::Json => {
                let answer = serde_json::json!({
                    "token": token,
                    "expires_at": self.expires_at,
                    "hashed_token": self.hashed_token,
                    "permissions": self.permissions,
                    "repository_selection": self.repository_selection,
                    "repositories": self.repositories,
                });
                writeln!(writer, "{answer:#}")
            }
        }
    }
}

impl MintArgs {
    /// Reads the configuration and checks the request; warnings go to standard error.
    pub(super) fn request(self, environment: &Environment) -> Result<MintRequest, Failure> {
        let scope = scope(self.permissions, self.repositories, self.repository_ids)?;
        let flags = Flags {
            app_id: self.app_id,
            client_id: self.client_id,
            installation_id: self.installation_id,
            owner: self.owner,
            provider: self.provider,
            key: self.key,
            base_url: self.base_url,
            ca_bundle: self.ca_bundle,
        };
        let (mut config, warnings) = self.config.load(environment, &flags)?;
        for warning in warnings {
            eprintln!("warning: {warning}");
        }
        let app = config.app.take().ok_or_else(|| {
            let cure = "give --app-id, --installation-id and --key, or a configuration file by --config";
            Failure::Usage(format!("no App is configured: {cure}"))
        })?;
        if app.installation_id.is_none() && app.owner.is_none() {
            let cure = "give --installation-id, or --owner to look it up";
            return Err(Failure::Usage(format!("no installation is configured: {cure}")));
        }
        Ok(MintRequest {
            config,
            app,
            scope,
            output: self.output,
        })
    }
}

fn scope(
    permissions: Vec<(String, String)>,
    mut repositories: Vec<String>,
    mut repository_ids: Vec<u64>,
) -> Result<Scope, Failure> {
    repositories.sort();
    repositories.dedup();
    repository_ids.sort_unstable();
    repository_ids.dedup();
    let count = repositories.len() + repository_ids.len();
    if count > MAX_REPOSITORIES {
        return Err(Failure::Usage(format!(
            "--repository and --repository-id name {count} repositories: give at most {MAX_REPOSITORIES}, or none for all"
        )));
    }
    let mut levels = BTreeMap::new();
    for (name, level) in permissions {
        if let Some(other) = levels.insert(name.clone(), level.clone())
            && other != level
        {
            return Err(Failure::Usage(format!(
                "--permission {name} is given as {other} and as {level}: keep one"
            )));
        }
    }
    Ok(Scope {
        permissions: (!levels.is_empty()).then_some(levels),
        repositories,
        repository_ids,
    })
}

pub(super) fn permission(text: &str) -> Result<(String, String), String> {
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    match text.split_once('=') {
        Some((name, level)) if word(name) && word(level) => Ok((name.to_owned(), level.to_owned())),
        _ => Err("give NAME=LEVEL, such as contents=read or pull_requests=write".to_owned()),
    }
}

/// Says which of the permissions GitHub most likely does not know.
pub(super) fn warn_of(permissions: &BTreeMap<String, String>) {
    for (name, level) in permissions {
        if let Some(doubt) = permissions::doubt("--permission", name, level) {
            eprintln!("warning: {doubt}");
        }
    }
}

fn repository(text: &str) -> Result<String, String> {
    if let Some((_, name)) = text.split_once('/') {
        return Err(format!("give the name without its owner: {name}"));
    }
    let fits = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if fits {
        Ok(text.to_owned())
    } else {
        Err("give a repository's name, such as my-repo".to_owned())
    }
}

pub(super) fn run(args: MintArgs) -> Result<(), Failure> {
    let request = args.request(&config::environment())?;
    request.scope.permissions.iter().for_each(warn_of);
    let answer = super::block_on(run::mint(&request.config, &request.app, &request.scope))?;
    let answer = answer.map_err(|error| match error {
        MintError::Configuration(problem) => Failure::Usage(problem.message),
        MintError::Refused(problem) => Failure::Failed(problem.told()),
    })?;
    print(|to| answer.write(request.output, to))
}
