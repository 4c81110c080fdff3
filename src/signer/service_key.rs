//! The name of a key in a key service: read from what a user wrote, before the service is asked.

use std::fmt;

use url::Url;

/// A key service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Provider {
    /// AWS Key Management Service.
    Aws,
    /// Azure Key Vault, and its managed HSM.
    Azure,
    /// Google Cloud Key Management Service.
    Gcp,
    /// The transit engine of HashiCorp Vault or OpenBao.
    Vault,
}

impl Provider {
    /// Every key service.
    pub const ALL: [Provider; 4] = [Provider::Aws, Provider::Azure, Provider::Gcp, Provider::Vault];

    /// The name in configurations; also the name of the cargo feature.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Provider::Aws => "aws",
            Provider::Azure => "azure",
            Provider::Gcp => "gcp",
            Provider::Vault => "vault",
        }
    }

    /// The provider of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.as_str() == name)
    }

    /// How a key of the service is named.
    #[must_use]
    pub const fn key_cure(self) -> &'static str {
        match self {
            Provider::Aws => {
                "with provider aws give the key's ID, its ARN, alias/NAME or an alias's ARN, such as \
                 arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
            }
            Provider::Azure => {
                "with provider azure give the key's identifier, https://VAULT.vault.azure.net/keys/KEY or \
                 https://VAULT.vault.azure.net/keys/KEY/VERSION"
            }
            Provider::Gcp => {
                "with provider gcp give projects/P/locations/L/keyRings/R/cryptoKeys/K, with or without \
                 /cryptoKeyVersions/V behind it"
            }
            Provider::Vault => {
                "with provider vault give KEY, MOUNT/KEY or MOUNT/sign/KEY of the transit engine (MOUNT is transit by \
                 default), with @N behind it for one version, such as transit/github@1"
            }
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key of a key service; its text form is the one name it has, however it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServiceKey {
    /// AWS.
    Aws {
        /// Key ID, ARN, `alias/NAME` or an alias's ARN.
        id: String,
        /// The region that an ARN names.
        region: Option<String>,
    },
    /// Azure.
    Azure {
        /// `https://HOST`, with a port where it is not 443.
        vault: String,
        /// The key's name.
        name: String,
        /// The version, where one is pinned.
        version: Option<String>,
    },
    /// Google.
    Gcp {
        /// `projects/P/locations/L/keyRings/R/cryptoKeys/K`
        name: String,
        /// The version, where one is pinned.
        version: Option<String>,
    },
    /// Vault and OpenBao.
    Vault {
        /// Where the transit engine is mounted, without slashes around it.
        mount: String,
        /// The key's name.
        name: String,
        /// The version, where one is pinned.
        version: Option<u64>,
    },
}

/// In characters: longer than any name that a service allows.
const LONGEST: usize = 1024;

impl ServiceKey {
    /// Reads the name of a key.
    ///
    /// # Errors
    /// The cure, without the name: what was written may be a private key.
    pub fn parse(provider: Provider, text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let plain = text.len() <= LONGEST && text.chars().all(|c| c.is_ascii_graphic());
        let key = match provider {
            _ if !plain => None,
            Provider::Aws => aws(text),
            Provider::Azure => azure(text),
            Provider::Gcp => gcp(text),
            Provider::Vault => vault(text),
        };
        key.ok_or(provider.key_cure())
    }

    /// The service that holds the key.
    #[must_use]
    pub const fn provider(&self) -> Provider {
        match self {
            ServiceKey::Aws { .. } => Provider::Aws,
            ServiceKey::Azure { .. } => Provider::Azure,
            ServiceKey::Gcp { .. } => Provider::Gcp,
            ServiceKey::Vault { .. } => Provider::Vault,
        }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServiceKey::Aws { id, .. } => f.write_str(id),
            ServiceKey::Azure { vault, name, version } => {
                write!(f, "{vault}/keys/{name}")?;
                version.as_ref().map_or(Ok(()), |version| write!(f, "/{version}"))
            }
            ServiceKey::Gcp { name, version } => {
                f.write_str(name)?;
                version
                    .as_ref()
                    .map_or(Ok(()), |version| write!(f, "/cryptoKeyVersions/{version}"))
            }
            ServiceKey::Vault { mount, name, version } => {
                write!(f, "{mount}/{name}")?;
                version.map_or(Ok(()), |version| write!(f, "@{version}"))
            }
        }
    }
}

/// <https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id>
fn aws(text: &str) -> Option<ServiceKey> {
    let (resource, region) = match text.split(':').collect::<Vec<_>>()[..] {
        [resource] => (resource, None),
        ["arn", partition, "kms", region, account, resource]
            if word(partition) && word(region) && account.chars().all(|c| c.is_ascii_digit()) =>
        {
            (resource, Some(region.to_owned()))
        }
        _ => return None,
    };
    let fits = match (resource.split_once('/'), &region) {
        (Some(("alias", name)), _) => !name.is_empty() && name.split('/').all(word),
        (Some(("key", id)), Some(_)) => word(id),
        (None, None) => word(resource),
        _ => false,
    };
    let id = text.to_owned();
    (fits && text.len() <= 2048).then_some(ServiceKey::Aws { id, region })
}

/// <https://learn.microsoft.com/en-us/azure/key-vault/general/about-keys-secrets-certificates#object-identifiers>
fn azure(text: &str) -> Option<ServiceKey> {
    let url: Url = text.parse().ok()?;
    let bare = url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
    if !bare || url.query().is_some() || url.fragment().is_some() {
        return None;
    }
    let host = url.host_str()?;
    let vault = url
        .port()
        .map_or_else(|| format!("https://{host}"), |port| format!("https://{host}:{port}"));
    let mut segments: Vec<&str> = url.path_segments()?.collect();
    if segments.last().is_some_and(|last| last.is_empty()) {
        segments.pop();
    }
    let (name, version) = match segments[..] {
        ["keys", name] => (name, None),
        ["keys", name, version] => (name, Some(version)),
        _ => return None,
    };
    (word(name) && version.is_none_or(word)).then(|| ServiceKey::Azure {
        vault,
        name: name.to_owned(),
        version: version.map(str::to_owned),
    })
}

/// <https://cloud.google.com/kms/docs/getting-resource-ids>
fn gcp(text: &str) -> Option<ServiceKey> {
    let text = text.trim_start_matches('/');
    let (parent, version) = match text.split('/').collect::<Vec<_>>()[..] {
        ["projects", p, "locations", l, "keyRings", r, "cryptoKeys", k] => ([p, l, r, k], None),
        [
            "projects",
            p,
            "locations",
            l,
            "keyRings",
            r,
            "cryptoKeys",
            k,
            "cryptoKeyVersions",
            v,
        ] if v.chars().all(|c| c.is_ascii_digit()) && !v.is_empty() => ([p, l, r, k], Some(v)),
        _ => return None,
    };
    let [project, rest @ ..] = parent;
    // The ID of an old project can have the domain in front, as example.com:project.
    let fits = project.split(':').all(host_word) && rest.into_iter().all(word);
    let [p, l, r, k] = parent;
    fits.then(|| ServiceKey::Gcp {
        name: format!("projects/{p}/locations/{l}/keyRings/{r}/cryptoKeys/{k}"),
        version: version.map(str::to_owned),
    })
}

/// `MOUNT/sign/KEY` is how isometry/github-token-manager has it; a mount may have slashes within.
fn vault(text: &str) -> Option<ServiceKey> {
    let (path, version) = match text.split_once('@') {
        None => (text, None),
        Some((path, version)) => (path, Some(version.parse().ok().filter(|version| *version > 0)?)),
    };
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (name, mount) = segments.split_last()?;
    let mount = match mount.split_last() {
        None => "transit".to_owned(),
        Some((&"sign" | &"keys", before)) if !before.is_empty() => before.join("/"),
        Some(_) => mount.join("/"),
    };
    // A mount that ended so could not be told from the path of a key.
    let clear = !mount.ends_with("/sign") && !mount.ends_with("/keys");
    let fits = clear && host_word(name) && mount.split('/').all(host_word);
    fits.then(|| ServiceKey::Vault {
        mount,
        name: (*name).to_owned(),
        version,
    })
}

fn word(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// A word with dots, and not one of dots alone, which would be another path.
fn host_word(text: &str) -> bool {
    text.split('.').any(word) && text.split('.').all(|part| part.is_empty() || word(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GCP: &str = "projects/p-1/locations/europe-west1/keyRings/ring/cryptoKeys/github_app";

    #[test]
    fn every_way_of_naming_a_key_is_read() {
        let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        let cases = [
            (Provider::Aws, "1234abcd-12ab-34cd-56ef-1234567890ab", None),
            (Provider::Aws, "mrk-1234abcd12ab34cd56ef1234567890ab", None),
            (Provider::Aws, arn, None),
            (
                Provider::Aws,
                "arn:aws-us-gov:kms:us-gov-west-1:1:alias/team/github",
                None,
            ),
            (Provider::Aws, "alias/github-app", None),
            (Provider::Azure, "https://v.vault.azure.net/keys/k", None),
            (
                Provider::Azure,
                "https://V.vault.azure.net:443/keys/k/0123abcd/",
                Some("https://v.vault.azure.net/keys/k/0123abcd"),
            ),
            (Provider::Gcp, GCP, None),
            (Provider::Gcp, &format!("{GCP}/cryptoKeyVersions/12"), None),
            (Provider::Vault, "github", Some("transit/github")),
            (Provider::Vault, "transit/sign/github", Some("transit/github")),
            (
                Provider::Vault,
                "/teams/a/transit/github@3",
                Some("teams/a/transit/github@3"),
            ),
            (Provider::Vault, "sign/github", Some("sign/github")),
        ];
        for (provider, text, canonical) in cases {
            let key = ServiceKey::parse(provider, text).expect(text);
            assert_eq!(key.to_string(), canonical.unwrap_or(text));
            assert_eq!(key.provider(), provider);
        }
        let ServiceKey::Aws { region, .. } = ServiceKey::parse(Provider::Aws, arn).unwrap() else {
            panic!("not AWS")
        };
        assert_eq!(region.as_deref(), Some("eu-west-1"));
    }

    #[test]
    fn what_names_no_key_is_refused_with_the_cure_and_without_the_text() {
        let cases = [
            (Provider::Aws, ""),
            (Provider::Aws, "alias/"),
            (Provider::Aws, "key/1234"),
            (Provider::Aws, "arn:aws:s3:::bucket"),
            (Provider::Aws, "-----BEGIN RSA PRIVATE KEY-----"),
            (Provider::Aws, "MIIEvQIBADANBgkqhkiG9w0B+/="),
            (Provider::Azure, "http://v.vault.azure.net/keys/k"),
            (Provider::Azure, "https://user@v.vault.azure.net/keys/k"),
            (Provider::Azure, "https://v.vault.azure.net/secrets/k"),
            (Provider::Azure, "https://v.vault.azure.net/keys/k?x=1"),
            (Provider::Azure, "https://v.vault.azure.net/keys/a%2Fb"),
            (Provider::Gcp, "projects/p/locations/l/keyRings/r"),
            (Provider::Gcp, "projects/../locations/l/keyRings/r/cryptoKeys/k"),
            (
                Provider::Gcp,
                "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/x",
            ),
            (Provider::Vault, "transit/"),
            (Provider::Vault, "github@0"),
            (Provider::Vault, "github@new"),
            (Provider::Vault, "../sys/github"),
            (Provider::Vault, "transit//github"),
        ];
        for (provider, text) in cases {
            assert_eq!(
                ServiceKey::parse(provider, text),
                Err(provider.key_cure()),
                "{provider} {text}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reading_and_what_is_read_is_read_again_as_the_same(text in "[ -~]{0,60}|[a-z/@.:0-9]{0,40}") {
            for provider in Provider::ALL {
                if let Ok(key) = ServiceKey::parse(provider, &text) {
                    let again = ServiceKey::parse(provider, &key.to_string());
                    prop_assert_eq!(again, Ok(key));
                }
            }
        }
    }
}
