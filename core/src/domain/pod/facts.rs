//! What is known of a Token when a pod asks for it.

use std::borrow::Cow;

use crate::api::{Format, Time, TokenStatus, condition};
use crate::domain::Problem;
use crate::domain::intent::{Intent, Key, SecretKey};

/// A Token or ClusterToken, as far as a pod needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The Secret that it keeps, or why it keeps none.
    pub secret: Result<SecretFacts, Box<str>>,
    /// Why it is not ready; `None` when it is.
    pub not_ready: Option<NotReady>,
}

/// Why a Token is not ready, and what a pod finds meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReady {
    /// The reason.
    pub reason: Box<str>,
    /// Whether it needs someone's hand.
    pub stalled: bool,
    /// When the token expires that is in the Secret; `None` where there is none.
    pub expires: Option<Time>,
}

/// The Secret that a Token keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFacts {
    /// Where it is.
    pub key: SecretKey,
    /// Its form.
    pub format: Format,
    /// The key that holds the bare token; `None` where none does.
    pub token_key: Option<Cow<'static, str>>,
}

impl TokenFacts {
    /// From what the controller itself reads out of the object.
    #[must_use]
    pub fn new(read: &Result<Intent, Problem>, status: &TokenStatus, deleting: bool) -> Self {
        let secret = match read {
            Ok(intent) => Ok(SecretFacts::new(intent)),
            Err(problem) => Err(problem.message.as_str().into()),
        };
        let ready = status.condition(condition::READY);
        let is_ready = ready.is_some_and(|ready| ready.status == "True");
        let not_ready = (!is_ready).then(|| NotReady {
            reason: ready.map_or("Pending", |ready| &ready.reason).into(),
            stalled: status.condition(condition::STALLED).is_some(),
            expires: secret.as_ref().ok().and_then(|secret| secret.expires(status)),
        });
        TokenFacts {
            deleting,
            secret,
            not_ready,
        }
    }
}

impl SecretFacts {
    fn new(intent: &Intent) -> Self {
        let secret = &intent.secret;
        let token_key = match secret.format {
            Format::Token => Some(Cow::Borrowed("token")),
            Format::BasicAuth | Format::ArgoCdRepoCreds => Some(Cow::Borrowed("password")),
            Format::Template => secret
                .template
                .iter()
                .find(|(_, text)| is_bare(text))
                .map(|(key, _)| Cow::Owned(key.clone())),
            Format::GitCredentials
            | Format::GitConfig
            | Format::Netrc
            | Format::DockerConfigJson
            | Format::GithubProviderJson => None,
        };
        SecretFacts {
            key: secret.key.clone(),
            format: secret.format,
            token_key,
        }
    }

    /// When the token in it expires. In one of a former name or form, a pod does not find it.
    fn expires(&self, status: &TokenStatus) -> Option<Time> {
        let there = status.managed_secret.as_ref()?;
        let is_this = there.name.as_deref() == Some(&*self.key.name)
            && there.namespace.as_deref() == Some(&*self.key.namespace)
            && there.basic_auth == (self.format == Format::BasicAuth);
        let token = status.installation_access_token.as_ref().filter(|_| is_this);
        token?.expires_at
    }

    /// The Secret of a Token that does not exist yet, if it will say nothing about it.
    #[must_use]
    pub fn presumed(token: &Key, namespace: &str) -> Self {
        SecretFacts {
            key: SecretKey {
                namespace: namespace.into(),
                name: token.name.clone(),
            },
            format: Format::Token,
            token_key: Some("token".into()),
        }
    }
}

/// Whether a template's text is the token and nothing else.
fn is_bare(text: &str) -> bool {
    let inside = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    inside.is_some_and(|name| name.trim() == ".token")
}
