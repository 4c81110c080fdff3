//! A stand-in of ours for Azure Key Vault, Microsoft's login and a metadata server, by Microsoft's published REST descriptions: no server
//! of Microsoft's can be had. It answers for every host of theirs over HTTPS, through a proxy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::{Request, Response, header};
use serde_json::{Value, json};

use super::front::json as answer;
use super::{Env, Front, env};
use crate::error::Error;
use crate::github::AppKey;
use crate::process::Folder;
use crate::proxy::Proxy;

struct KeyVersion {
    attributes: Value,
    key_type: String,
    operations: Vec<String>,
    key: AppKey,
}

#[derive(Default)]
struct World {
    /// In the order in which they were made.
    versions: Vec<(String, KeyVersion)>,
    deleted: bool,
    tokens: BTreeMap<String, String>,
    /// What a request without a token is told, if it is not the truth.
    challenge: Option<String>,
    given: usize,
    lifetime: u64,
    /// The key of the application's certificate, and its thumbprint.
    certificate: Option<(AppKey, String)>,
}

/// A running stand-in; dropping it stops it.
pub struct Azure {
    world: Arc<Mutex<World>>,
    proxy: Proxy,
    folder: Folder,
    /// The HTTPS server: vault and login.
    pub front: Front,
    /// The metadata server, over HTTP.
    pub metadata: Front,
}

impl Azure {
    /// The identifier of its one key.
    pub const KEY: &str = "https://lab.vault.azure.net/keys/github";

    /// Starts it, without a version of the key.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> Result<Self, Error> {
        let world = Arc::new(Mutex::new(World {
            lifetime: 3600,
            ..World::default()
        }));
        let hosts = ["lab.vault.azure.net", "login.microsoftonline.com", "lab.vault.example"];
        let front = Self::serve(&world, &hosts).await?;
        let metadata = Self::serve(&world, &[]).await?;
        let proxy = Proxy::start(front.address()).await?;
        let folder = Folder::new()?;
        folder.write("ca.pem", front.ca_pem().unwrap_or_default())?;
        folder.write("federated", "good-assertion\n")?;
        Ok(Self {
            world,
            proxy,
            folder,
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

    /// The variables for a program that has a secret in its environment.
    pub fn env(&self) -> Env {
        self.env_with(&[
            ("AZURE_TENANT_ID", "tenant"),
            ("AZURE_CLIENT_ID", "gtm"),
            ("AZURE_CLIENT_SECRET", "good-secret"),
        ])
    }

    /// The variables for a program with these credentials.
    pub fn env_with(&self, credentials: &[(&str, &str)]) -> Env {
        let ca = self.folder.path().join("ca.pem").display().to_string();
        let mut variables = env(credentials);
        variables.extend(env(&[
            ("HTTPS_PROXY", &self.proxy.url()),
            ("NO_PROXY", "127.0.0.1"),
            ("SSL_CERT_FILE", &ca),
        ]));
        variables
    }

    /// A file with the token that the cluster gives a pod of AKS.
    pub fn federated_token_file(&self) -> String {
        self.folder.path().join("federated").display().to_string()
    }

    /// Gives the application a certificate of this key; a PEM file of both.
    ///
    /// # Errors
    /// When the certificate cannot be made or the file not be written.
    pub fn certificate_file(&self, key: &AppKey) -> Result<String, Error> {
        let failed = |error: rcgen::Error| Error::Usage(error.to_string());
        let pair = rcgen::KeyPair::from_pem(&key.pkcs8_pem()).map_err(failed)?;
        let certificate = rcgen::CertificateParams::default().self_signed(&pair).map_err(failed)?;
        let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, certificate.der()));
        lock(&self.world).certificate = Some((key.clone(), thumbprint));
        let pem = format!("{}{}", key.pkcs8_pem(), certificate.pem());
        Ok(self.folder.write("certificate.pem", pem)?.display().to_string())
    }

    /// Makes or replaces a version that is on and may sign.
    pub fn set(&self, version: &str, key: &AppKey) {
        self.set_with(version, key, "RSA", &["sign", "verify"], &json!({"enabled": true}));
    }

    /// Makes or replaces a version of this type, operations and attributes.
    pub fn set_with(&self, version: &str, key: &AppKey, key_type: &str, operations: &[&str], attributes: &Value) {
        let made = KeyVersion {
            attributes: attributes.clone(),
            key_type: key_type.into(),
            operations: operations.iter().map(|&operation| operation.into()).collect(),
            key: key.clone(),
        };
        let mut world = lock(&self.world);
        match world.versions.iter_mut().find(|(id, _)| id == version) {
            Some((_, old)) => *old = made,
            None => world.versions.push((version.into(), made)),
        }
    }

    /// Deletes the key; it can be recovered.
    pub fn delete(&self) {
        lock(&self.world).deleted = true;
    }

    /// From now on a request without a token is told that it needs one for this resource.
    pub fn claim(&self, resource: &str) {
        lock(&self.world).challenge = Some(resource.into());
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
        let text = |name: &str| {
            request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        match path {
            "/tenant/oauth2/v2.0/token" => self.log_in(&String::from_utf8_lossy(request.body())),
            "/metadata/identity/oauth2/token" if text("metadata") == "true" => self.managed(query),
            "/msi/token" if text("x-identity-header") == "good-header" => self.managed(query),
            _ => {
                let host = text("host").split(':').next().unwrap_or_default();
                let domain = host.split_once('.').map_or(host, |(_, domain)| domain);
                let token = text("authorization").trim_start_matches("Bearer ");
                if self
                    .tokens
                    .get(token)
                    .is_none_or(|resource| resource != &format!("https://{domain}"))
                {
                    return self.unauthorized(domain);
                }
                self.vault(request, host, path)
            }
        }
    }

    fn unauthorized(&self, domain: &str) -> Response<Bytes> {
        let mut refusal = error(
            401,
            "Unauthorized",
            "AKV10000: Request is missing a Bearer or PoP token.",
            None,
        );
        let domain = format!("https://{domain}");
        let resource = self.challenge.as_ref().unwrap_or(&domain);
        let challenge =
            format!("Bearer authorization=\"https://login.microsoftonline.com/tenant\", resource=\"{resource}\"");
        if let Ok(challenge) = challenge.parse() {
            refusal.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        refusal
    }

    fn log_in(&mut self, form: &str) -> Response<Bytes> {
        let proof = ["client_secret=good-secret", "client_assertion=good-assertion"];
        let certified = form.split("client_assertion=").nth(1).is_some_and(|rest| {
            self.certificate
                .as_ref()
                .is_some_and(|(key, thumbprint)| is_proof(rest.split('&').next().unwrap_or_default(), key, thumbprint))
        });
        let resource = form
            .split("scope=https%3A%2F%2F")
            .nth(1)
            .and_then(|rest| rest.split_once("%2F.default"));
        match (certified || proof.iter().any(|proof| form.contains(proof)), resource) {
            (true, Some((host, _))) => self.token(&format!("https://{host}"), false),
            _ => {
                let text = "AADSTS7000215: Invalid client secret provided.";
                answer(401, &json!({"error": "invalid_client", "error_description": text}))
            }
        }
    }

    fn managed(&mut self, query: &str) -> Response<Bytes> {
        let resource = query
            .split("resource=https%3A%2F%2F")
            .nth(1)
            .and_then(|rest| rest.split('&').next());
        match resource {
            Some(host) => self.token(&format!("https://{host}"), true),
            None => answer(
                400,
                &json!({"error": "invalid_request", "error_description": "Identity not found"}),
            ),
        }
    }

    /// A metadata server writes the lifetime as a text.
    fn token(&mut self, resource: &str, as_text: bool) -> Response<Bytes> {
        self.given += 1;
        let token = format!("token-{}", self.given);
        self.tokens.insert(token.clone(), resource.into());
        let seconds = if as_text {
            json!(self.lifetime.to_string())
        } else {
            json!(self.lifetime)
        };
        answer(
            200,
            &json!({"access_token": token, "expires_in": seconds, "token_type": "Bearer"}),
        )
    }

    fn list(&self, host: &str) -> Response<Bytes> {
        let shown = self.versions.iter().zip(1..).map(|((id, version), created)| {
            let mut attributes = version.attributes.clone();
            attributes["created"] = json!(created);
            json!({"kid": format!("https://{host}/keys/github/{id}"), "attributes": attributes})
        });
        answer(200, &json!({"value": shown.collect::<Vec<_>>(), "nextLink": null}))
    }

    fn vault(&self, request: &Request<Bytes>, host: &str, path: &str) -> Response<Bytes> {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let missing = || {
            let text = "A key with (name/id) github was not found in this key vault.";
            error(404, "KeyNotFound", text, None)
        };
        let (id, signs) = match segments[..] {
            ["deletedkeys", "github"] if self.deleted => return answer(200, &json!({"recoveryId": "x"})),
            ["keys", "github", "versions"] if !self.deleted => return self.list(host),
            ["keys", "github"] => (None, false),
            ["keys", "github", id] => (Some(id), false),
            ["keys", "github", id, "sign"] => (Some(id), true),
            _ => return missing(),
        };
        let found = match id {
            None => self.versions.last(),
            Some(id) => self.versions.iter().find(|(version, _)| version == id),
        };
        let Some((id, version)) = found.filter(|_| !self.deleted) else {
            return missing();
        };
        let kid = format!("https://{host}/keys/github/{id}");
        if !signs {
            let (n, e) = version.key.components();
            let jwk = json!({
                "kid": kid, "kty": version.key_type, "key_ops": version.operations,
                "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e),
            });
            return answer(200, &json!({"key": jwk, "attributes": version.attributes}));
        }
        if version.attributes["enabled"] == false {
            let text = "Operation sign is not allowed on a disabled key.";
            return error(403, "Forbidden", text, Some("KeyDisabled"));
        }
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let digest = URL_SAFE_NO_PAD
            .decode(body["value"].as_str().unwrap_or_default())
            .unwrap_or_default();
        match version.key.sign_digest(&digest).filter(|_| body["alg"] == "RS256") {
            Some(signature) => answer(200, &json!({"kid": kid, "value": URL_SAFE_NO_PAD.encode(signature)})),
            None => error(400, "BadParameter", "Property has invalid value", None),
        }
    }
}

/// Whether a JWT is signed by the certificate's key, names the certificate, and is meant for the login.
fn is_proof(jwt: &str, key: &AppKey, thumbprint: &str) -> bool {
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_audience(&["https://login.microsoftonline.com/tenant/oauth2/v2.0/token"]);
    validation.set_issuer(&["gtm"]);
    let header = URL_SAFE_NO_PAD
        .decode(jwt.split('.').next().unwrap_or_default())
        .unwrap_or_default();
    let header: Value = serde_json::from_slice(&header).unwrap_or_default();
    header["x5t#S256"] == thumbprint && jsonwebtoken::decode::<Value>(jwt, key.verifier(), &validation).is_ok()
}

/// <https://learn.microsoft.com/en-us/azure/key-vault/general/authentication-requests-and-responses#error-responses>
fn error(status: u16, code: &str, message: &str, inner: Option<&str>) -> Response<Bytes> {
    let mut body = json!({"error": {"code": code, "message": message}});
    if let Some(inner) = inner {
        body["error"]["innererror"] = json!({"code": inner});
    }
    answer(status, &body)
}
