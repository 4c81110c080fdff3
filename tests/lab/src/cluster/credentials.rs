//! Keys, tokens and kubeconfigs of a cluster.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use serde_json::{Value, json};

use crate::{
    error::{During, Error},
    process::Folder,
};

/// Who may call the API server, and how.
#[derive(Debug)]
pub(super) struct Credentials {
    server: SocketAddr,
    authority: PathBuf,
    admin_token: String,
    admin_kubeconfig: PathBuf,
    controllers_kubeconfig: PathBuf,
    count: AtomicU64,
}

impl Credentials {
    /// The folder where the API server keeps the serving certificate that it makes for itself.
    pub(super) const CERTIFICATES: &str = "certificates";
    /// The file of static tokens (`--token-auth-file`).
    pub(super) const TOKENS: &str = "tokens.csv";
    /// The key that signs tokens of service accounts.
    pub(super) const PRIVATE_KEY: &str = "service-accounts.key";
    /// The key that verifies them.
    pub(super) const PUBLIC_KEY: &str = "service-accounts.pub";

    /// Writes everything that the API server reads, and the kubeconfigs, into `folder`.
    pub(super) fn write(folder: &Folder, server: SocketAddr) -> Result<Self, Error> {
        let (private, public) = service_account_keys()?;
        folder.write(Self::PRIVATE_KEY, private)?;
        folder.write(Self::PUBLIC_KEY, public)?;
        let (admin, controllers) = (random_token()?, random_token()?);
        let tokens =
            format!("{admin},admin,admin,system:masters\n{controllers},controllers,controllers,system:masters\n");
        folder.write(Self::TOKENS, tokens)?;
        // Beside its own certificate the API server writes that of the authority which signed it.
        let authority = folder.path().join(Self::CERTIFICATES).join("apiserver.crt");
        let write = |name: &str, user: &Value| folder.write(name, kubeconfig(server, &authority, user).to_string());
        Ok(Self {
            server,
            admin_kubeconfig: write("admin.kubeconfig", &json!({ "token": admin }))?,
            controllers_kubeconfig: write("controllers.kubeconfig", &json!({ "token": controllers }))?,
            authority,
            admin_token: admin,
            count: AtomicU64::new(0),
        })
    }

    pub(super) fn admin_kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    pub(super) fn controllers_kubeconfig(&self) -> &Path {
        &self.controllers_kubeconfig
    }

    pub(super) fn url(&self) -> String {
        format!("https://{}", self.server)
    }

    pub(super) fn ca_pem(&self) -> Result<String, Error> {
        fs::read_to_string(&self.authority).during(|| format!("read {}", self.authority.display()))
    }

    pub(super) fn impersonating(&self, folder: &Folder, user: &str, groups: &[&str]) -> Result<PathBuf, Error> {
        let user = json!({ "token": self.admin_token, "as": user, "as-groups": groups });
        self.another(folder, &user)
    }

    pub(super) fn with_token(&self, folder: &Folder, token: &str) -> Result<PathBuf, Error> {
        self.another(folder, &json!({ "token": token }))
    }

    fn another(&self, folder: &Folder, user: &Value) -> Result<PathBuf, Error> {
        let name = format!("{}.kubeconfig", self.count.fetch_add(1, Ordering::Relaxed));
        folder.write(&name, kubeconfig(self.server, &self.authority, user).to_string())
    }
}

/// JSON is YAML, so a kubeconfig can be either.
fn kubeconfig(server: SocketAddr, authority: &Path, user: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "lab", "cluster": {
            "server": format!("https://{server}"),
            "certificate-authority": authority,
        }}],
        "users": [{ "name": "lab", "user": user }],
        "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "lab" } }],
        "current-context": "lab",
    })
}

fn random_token() -> Result<String, Error> {
    let mut bytes = [0; 24];
    rand::fill(&mut bytes).map_err(|_| Error::Usage("the system gives no random bytes".into()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// A key that signs tokens of service accounts, and the one that verifies them, in PEM.
pub(crate) fn service_account_keys() -> Result<(String, String), Error> {
    let failed = |_| Error::Usage("cannot make a P-256 key".into());
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
    let private = pair.to_pkcs8v1().map_err(failed)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(failed)?;
    Ok((pem("PRIVATE KEY", private.as_ref()), pem("PUBLIC KEY", public.as_ref())))
}

/// RFC 7468: lines of 64 characters.
fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A token of the service account `name` for a day; the account is created when it is missing.
pub(super) async fn service_account_token(client: Client, namespace: &str, name: &str) -> Result<String, Error> {
    let accounts = Api::<ServiceAccount>::namespaced(client, namespace);
    let params = PostParams::default();
    if accounts.get_opt(name).await?.is_none() {
        let metadata = ObjectMeta {
            name: Some(name.into()),
            ..ObjectMeta::default()
        };
        let account = ServiceAccount {
            metadata,
            ..ServiceAccount::default()
        };
        accounts.create(&params, &account).await?;
    }
    let spec = TokenRequestSpec {
        expiration_seconds: Some(24 * 60 * 60),
        ..TokenRequestSpec::default()
    };
    let request = TokenRequest {
        spec,
        ..TokenRequest::default()
    };
    let answer = accounts.create_token_request(name, &params, &request).await?;
    let status = answer
        .status
        .ok_or_else(|| Error::Usage(format!("no token came for the service account {name}")))?;
    Ok(status.token)
}
