//! Where AWS's programs have their credentials from, by AWS's published descriptions: the agent of EKS's Pod Identity and the metadata
//! server of an instance. (The token service, which IRSA needs, is MiniStack's own.)

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;
use hyper::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::front::json as answer;
use super::{Env, Front, env};
use crate::error::Error;
use crate::process::Folder;

/// A running stand-in for both; dropping it stops it.
pub struct AwsIdentity {
    given: Arc<AtomicUsize>,
    folder: Folder,
    front: Front,
}

impl AwsIdentity {
    /// Starts it; its credentials are good for so long.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(lifetime: SignedDuration) -> Result<Self, Error> {
        let given = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&given);
        let handler = Arc::new(move |request: Request<Bytes>| {
            let answer = answered(&request, lifetime, &count);
            Box::pin(async { answer }) as futures::future::BoxFuture<'static, _>
        });
        let folder = Folder::new()?;
        folder.write("token", "the-pods-token")?;
        let front = Front::start(handler, &[]).await?;
        Ok(Self { given, folder, front })
    }

    /// How often credentials were given.
    pub fn given(&self) -> usize {
        self.given.load(Ordering::Relaxed)
    }

    /// The variables that Pod Identity sets in a pod.
    pub fn pod_identity(&self) -> Env {
        env(&[
            (
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                &format!("{}/v1/credentials", self.front.url()),
            ),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &self.token_file()),
        ])
    }

    /// The variable that leads to an instance's metadata.
    pub fn instance_profile(&self) -> Env {
        env(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &self.front.url())])
    }

    /// The variables that IRSA sets in a pod, with the token service at `sts`.
    pub fn irsa(&self, sts: &str) -> Env {
        env(&[
            ("AWS_ROLE_ARN", "arn:aws:iam::000000000000:role/gtm"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", &self.token_file()),
            ("AWS_ENDPOINT_URL_STS", sts),
        ])
    }

    /// The variables that lead to a profile with static credentials.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn profile(&self) -> Result<Env, Error> {
        let text = "[lab]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = secret-of-the-lab\n";
        let path = self.folder.write("profile", text)?.display().to_string();
        Ok(env(&[("AWS_SHARED_CREDENTIALS_FILE", &path), ("AWS_PROFILE", "lab")]))
    }

    fn token_file(&self) -> String {
        self.folder.path().join("token").display().to_string()
    }
}

fn answered(request: &Request<Bytes>, lifetime: SignedDuration, given: &AtomicUsize) -> Response<Bytes> {
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let text = |text: &'static str| Response::new(Bytes::from_static(text.as_bytes()));
    const ROLE: &str = "/latest/meta-data/iam/security-credentials/";
    let path = request.uri().path();
    let known = match path {
        "/v1/credentials" => header("authorization") == "the-pods-token",
        "/latest/api/token" => true,
        _ => header("x-aws-ec2-metadata-token") == "imds-token",
    };
    match path {
        _ if !known => answer(401, &json!({"message": "no token"})),
        "/latest/api/token" => {
            let mut token = text("imds-token");
            token
                .headers_mut()
                .insert("x-aws-ec2-metadata-token-ttl-seconds", 21600.into());
            token
        }
        ROLE => text("node"),
        _ if path == "/v1/credentials" || path.starts_with(ROLE) => {
            given.fetch_add(1, Ordering::Relaxed);
            let expiration = Timestamp::now() + lifetime;
            answer(
                200,
                &json!({
                    "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIAIOSFODNN7EXAMPLE", "Token": "session",
                    "SecretAccessKey": "secret-of-the-lab", "Expiration": format!("{expiration:.0}"),
                }),
            )
        }
        _ => answer(404, &json!({"message": "not found"})),
    }
}
