//! A stand-in of ours for Google Cloud KMS, its login and a metadata server, by Google's published REST descriptions: no server of
//! Google's can be had. It answers for every host of Google's over HTTPS, through a proxy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::{Request, Response};
use serde_json::{Value, json};

use super::front::json as answer;
use super::{Env, Front, env};
use crate::error::Error;
use crate::github::AppKey;
use crate::process::Folder;
use crate::proxy::Proxy;

/// A version's state, algorithm and key.
#[derive(Clone)]
struct KeyVersion {
    state: String,
    algorithm: String,
    key: AppKey,
}

#[derive(Default)]
struct World {
    versions: BTreeMap<u64, KeyVersion>,
    /// Access tokens that are good, and how many were given.
    tokens: Vec<String>,
    given: usize,
    lifetime: u64,
}

/// A running stand-in; dropping it stops it.
pub struct Gcp {
    world: Arc<Mutex<World>>,
    proxy: Proxy,
    folder: Folder,
    files: AtomicUsize,
    /// The HTTPS server: KMS and the login.
    pub front: Front,
    /// The metadata server, over HTTP.
    pub metadata: Front,
}

impl Gcp {
    /// The name of its one key.
    pub const KEY: &str = "projects/lab/locations/europe-west1/keyRings/github/cryptoKeys/app";
    /// The service account of its credentials file.
    pub const ACCOUNT: &str = "gtm@lab.iam.gserviceaccount.com";

    /// Another provider of identities, over HTTPS; the metadata server is one over HTTP: at `/subject`, in JSON, for requests with
    /// the header `Identity: lab`, and at `/subject.txt` as it is.
    pub const IDENTITY: &str = "identity.lab.example";

    /// Starts it, without a version of the key.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> Result<Self, Error> {
        let world = Arc::new(Mutex::new(World {
            lifetime: 3600,
            ..World::default()
        }));
        let hosts = [
            "cloudkms.googleapis.com",
            "oauth2.googleapis.com",
            "sts.googleapis.com",
            "iamcredentials.googleapis.com",
            Self::IDENTITY,
        ];
        let front = Self::serve(&world, &hosts).await?;
        let metadata = Self::serve(&world, &[]).await?;
        let proxy = Proxy::start(front.address()).await?;
        let folder = Folder::new()?;
        folder.write("ca.pem", front.ca_pem().unwrap_or_default())?;
        Ok(Self {
            world,
            proxy,
            folder,
            files: AtomicUsize::new(0),
            front,
            metadata,
        })
    }

    async fn serve(world: &Arc<Mutex<World>>, hosts: &[&str]) -> Result<Front, Error> {
        let world = Arc::clone(world);
        let handler = Arc::new(move |request: Request<Bytes>| {
            let answer = lock(&world).answer(&request);
            Box::pin(async { answer }) as futures::future::BoxFuture<'static, _>
        });
        Front::start(handler, hosts).await
    }

    /// The variables for a program that has its credentials from the metadata server.
    pub fn env(&self) -> Env {
        let ca = self.folder.path().join("ca.pem").display().to_string();
        env(&[
            ("HTTPS_PROXY", &self.proxy.url()),
            ("NO_PROXY", "127.0.0.1"),
            ("SSL_CERT_FILE", &ca),
            ("GCE_METADATA_HOST", &self.metadata.address().to_string()),
        ])
    }

    /// The variables for a program that has this credentials file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn env_with_file(&self, file: &Value) -> Result<Env, Error> {
        let name = format!("credentials-{}.json", self.files.fetch_add(1, Ordering::Relaxed));
        let path = self.folder.write(&name, file.to_string())?;
        let mut variables = self.env();
        variables.retain(|(name, _)| name != "GCE_METADATA_HOST");
        variables.extend(env(&[("GOOGLE_APPLICATION_CREDENTIALS", &path.display().to_string())]));
        Ok(variables)
    }

    /// Makes or replaces a version: `ENABLED` and `RSA_SIGN_PKCS1_2048_SHA256`, or otherwise.
    pub fn set(&self, version: u64, state: &str, algorithm: &str, key: &AppKey) {
        let made = KeyVersion {
            state: state.into(),
            algorithm: algorithm.into(),
            key: key.clone(),
        };
        lock(&self.world).versions.insert(version, made);
    }

    /// From now on access tokens live so many seconds.
    pub fn tokens_live(&self, seconds: u64) {
        lock(&self.world).lifetime = seconds;
    }

    /// No access token that was given is good any more.
    pub fn expire_tokens(&self) {
        lock(&self.world).tokens.clear();
    }

    /// How many access tokens were given.
    pub fn tokens_given(&self) -> usize {
        lock(&self.world).given
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    fn answer(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let header = |name: &str| {
            request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let form = String::from_utf8_lossy(request.body());
        match path {
            "/computeMetadata/v1/instance/service-accounts/default/token" => match header("metadata-flavor") {
                "Google" => self.token("access_token"),
                _ => answer(403, &json!({"error": "Missing Metadata-Flavor:Google header."})),
            },
            "/subject" if header("identity") == "lab" => answer(200, &json!({"id_token": "good-subject"})),
            "/subject" => answer(403, &json!({"error": "The header Identity is missing."})),
            "/subject.txt" => Response::new(Bytes::from_static(b"good-subject\n")),
            "/token" => match form.contains("jwt-bearer&assertion=ey") || form.contains("refresh_token=good") {
                true => self.token("access_token"),
                false => answer(
                    400,
                    &json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}),
                ),
            },
            "/v1/token" => match form.contains("subject_token=good") {
                true => self.token("access_token"),
                false => answer(
                    400,
                    &json!({"error": "invalid_grant", "error_description": "The audience is wrong."}),
                ),
            },
            _ => {
                let token = header("authorization").trim_start_matches("Bearer ").to_owned();
                if !self.tokens.contains(&token) {
                    return error(
                        401,
                        "UNAUTHENTICATED",
                        "Request had invalid authentication credentials.",
                    );
                }
                if path.ends_with(":generateAccessToken") {
                    return self.token("accessToken");
                }
                self.kms(request, path.trim_start_matches("/v1/"), query)
            }
        }
    }

    fn token(&mut self, field: &str) -> Response<Bytes> {
        self.given += 1;
        let token = format!("ya29.lab-{}", self.given);
        self.tokens.push(token.clone());
        answer(
            200,
            &json!({field: token, "expires_in": self.lifetime, "token_type": "Bearer"}),
        )
    }

    fn kms(&self, request: &Request<Bytes>, path: &str, query: &str) -> Response<Bytes> {
        let not_found = || error(404, "NOT_FOUND", &format!("CryptoKey {path} not found."));
        let Some(rest) = path.strip_prefix(Gcp::KEY) else {
            return not_found();
        };
        if rest == "/cryptoKeyVersions" {
            return self.list(query);
        }
        let Some(rest) = rest.strip_prefix("/cryptoKeyVersions/") else {
            return not_found();
        };
        let (number, verb) = rest.split_once(['/', ':']).unwrap_or((rest, ""));
        let number = number.parse().unwrap_or_default();
        let Some(version) = self.versions.get(&number) else {
            return not_found();
        };
        let name = name(number);
        match verb {
            "" => answer(200, &version.shown(number)),
            "publicKey" | "asymmetricSign" if version.state != "ENABLED" => {
                let text = format!("{name} is not enabled, current state is: {}.", version.state);
                error(400, "FAILED_PRECONDITION", &text)
            }
            "publicKey" => {
                let pem = version.key.public_pem();
                let crc = crc32c(pem.as_bytes()).to_string();
                answer(
                    200,
                    &json!({"pem": pem, "pemCrc32c": crc, "algorithm": version.algorithm, "name": name}),
                )
            }
            "asymmetricSign" => {
                let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
                let digest = STANDARD
                    .decode(body["digest"]["sha256"].as_str().unwrap_or_default())
                    .unwrap_or_default();
                if body["digestCrc32c"].as_str() != Some(&*crc32c(&digest).to_string()) {
                    return error(
                        400,
                        "INVALID_ARGUMENT",
                        "The checksum in field digest_crc32c did not match the data.",
                    );
                }
                let Some(signature) = version.key.sign_digest(&digest) else {
                    return error(400, "INVALID_ARGUMENT", "The digest has a wrong length.");
                };
                let crc = crc32c(&signature).to_string();
                let signature = STANDARD.encode(signature);
                answer(
                    200,
                    &json!({"signature": signature, "signatureCrc32c": crc, "verifiedDigestCrc32c": true, "name": name}),
                )
            }
            _ => not_found(),
        }
    }

    /// Two a page, so that there are pages.
    fn list(&self, query: &str) -> Response<Bytes> {
        let page = query
            .split("pageToken=")
            .nth(1)
            .and_then(|token| token.parse().ok())
            .unwrap_or(0usize);
        let all: Vec<Value> = self
            .versions
            .iter()
            .map(|(number, version)| version.shown(*number))
            .collect();
        let shown: Vec<&Value> = all.iter().skip(page).take(2).collect();
        let mut list = json!({"cryptoKeyVersions": shown, "totalSize": all.len()});
        if page + 2 < all.len() {
            list["nextPageToken"] = (page + 2).to_string().into();
        }
        answer(200, &list)
    }
}

impl KeyVersion {
    fn shown(&self, number: u64) -> Value {
        json!({"name": name(number), "state": self.state, "algorithm": self.algorithm, "protectionLevel": "SOFTWARE"})
    }
}

fn name(version: u64) -> String {
    format!("{}/cryptoKeyVersions/{version}", Gcp::KEY)
}

/// <https://cloud.google.com/apis/design/errors#http_mapping>
fn error(code: u16, status: &str, message: &str) -> Response<Bytes> {
    answer(
        code,
        &json!({"error": {"code": code, "message": message, "status": status}}),
    )
}

/// CRC-32C with a table, unlike the operator's, which goes bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256u32)
        .map(|byte| {
            (0..8).fold(byte, |crc, _| {
                if crc & 1 == 1 {
                    (crc >> 1) ^ 0x82f6_3b78
                } else {
                    crc >> 1
                }
            })
        })
        .collect();
    let step = |crc: u32, byte: &u8| (crc >> 8) ^ table[usize::from(crc.to_le_bytes()[0] ^ byte)];
    !bytes.iter().fold(u32::MAX, step)
}
