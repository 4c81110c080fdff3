//! AWS KMS, by AWS's own SDK: its credentials and regions come from wherever every AWS program finds them (variables, profiles, IRSA,
//! Pod Identity, instance profile; `AWS_REGION`, `AWS_ENDPOINT_URL_KMS`).

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_kms::Client;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::get_public_key::GetPublicKeyOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeyState, KeyUsageType, MessageType, SigningAlgorithmSpec};

use super::remote::{Service, Version};
use super::{PublicKey, TOTAL_TIMEOUT};
use crate::domain::{SignError, innermost, quote};

/// One attempt; three of them, and the pauses between, are within the total.
const ATTEMPT: Duration = Duration::from_millis(2800);
const ATTEMPTS: u32 = 3;
/// What is waited after the SDK's own attempts were all throttled.
const COME_AGAIN: Duration = Duration::from_secs(10);

/// A key in AWS KMS.
pub struct Aws {
    client: Client,
    id: String,
    region: String,
}

impl Aws {
    /// Finds region and client; AWS is not asked yet.
    pub(super) async fn new(id: &str, region: Option<&str>) -> Result<Self, SignError> {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(ATTEMPT)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(TOTAL_TIMEOUT)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        let config = loader.load().await;
        let region = config.region().map(ToString::to_string).ok_or_else(|| {
            SignError::WrongRegion(format!(
                "key {id}: no AWS region is known: give the key's whole ARN, or set AWS_REGION"
            ))
        })?;
        Ok(Aws {
            client: Client::new(&config),
            id: id.to_owned(),
            region,
        })
    }

    fn checked(&self, answer: &GetPublicKeyOutput) -> Result<Version, SignError> {
        let id = &self.id;
        if let Some(usage) = answer.key_usage().filter(|usage| **usage != KeyUsageType::SignVerify) {
            return Err(SignError::WrongUsage(format!(
                "key {id} is for {usage}: make an AWS KMS key with usage SIGN_VERIFY and spec RSA_2048"
            )));
        }
        let wrong = |what: &str| {
            SignError::InvalidKey(format!(
                "key {id} {what}; a GitHub App's key is an AWS KMS key of spec RSA_2048, with imported key material"
            ))
        };
        let algorithms = answer.signing_algorithms();
        if !algorithms.contains(&SigningAlgorithmSpec::RsassaPkcs1V15Sha256) {
            let spec = answer.key_spec().map_or("of another kind", |spec| spec.as_str());
            return Err(wrong(&format!(
                "is {spec}, which does not sign RSASSA_PKCS1_V1_5_SHA_256"
            )));
        }
        let spki = answer.public_key().map(Blob::as_ref).unwrap_or_default();
        Ok(Version {
            id: answer.key_id().unwrap_or(id).to_owned(),
            key: PublicKey::from_spki(spki).map_err(wrong)?,
        })
    }

    /// `action` is the IAM action that was made use of.
    async fn failure<E>(&self, action: &str, error: SdkError<E>) -> SignError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let (id, region) = (&self.id, &self.region);
        let said = quote(error.message().unwrap_or_default().trim());
        match (&error, error.code().unwrap_or_default()) {
            (SdkError::ServiceError(_), "KMSInvalidStateException") => self.state(&said).await,
            (SdkError::ServiceError(_), code) => answered(id, region, action, code, &said),
            (SdkError::TimeoutError(_), _) => slow(id, region),
            (SdkError::DispatchFailure(failure), _) if failure.is_timeout() => slow(id, region),
            (SdkError::DispatchFailure(failure), _) if failure.is_io() => unreachable(id, region, &cause(&error)),
            (SdkError::DispatchFailure(_), _) => SignError::NoCredentials(format!(
                "key {id}: there are no AWS credentials: {}; give the operator's service account a role (IRSA or Pod Identity), \
                 the node an instance profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                cause(&error)
            )),
            _ => unreachable(id, region, &cause(&error)),
        }
    }

    /// What a key is that is in no state to sign; the exception says it in a sentence alone.
    async fn state(&self, said: &str) -> SignError {
        let id = &self.id;
        let known = self.client.describe_key().key_id(id).send().await.ok();
        let state = known.and_then(|answer| answer.key_metadata?.key_state);
        match state {
            Some(KeyState::Disabled) => disabled(id),
            Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => SignError::Deleted(format!(
                "key {id} is about to be deleted: cancel the deletion and enable it (aws kms cancel-key-deletion)"
            )),
            Some(KeyState::PendingImport | KeyState::Creating) => SignError::PendingImport(format!(
                "key {id} has no key material yet: import the App's private key (aws kms import-key-material)"
            )),
            // kms:DescribeKey may not be granted; then AWS's sentence is all there is.
            _ => SignError::Disabled(format!("key {id} cannot sign: {said}; enable it, or give another key")),
        }
    }
}

impl Service for Aws {
    async fn newest(&self) -> Result<Version, SignError> {
        match self.client.get_public_key().key_id(&self.id).send().await {
            Ok(answer) => self.checked(&answer),
            Err(error) => Err(self.failure("kms:GetPublicKey", error).await),
        }
    }

    /// By the ARN that the name led to: an alias that points elsewhere meanwhile is another key.
    async fn sign(&self, version: &Version, digest: &[u8]) -> Result<Vec<u8>, SignError> {
        let signed = self
            .client
            .sign()
            .key_id(&version.id)
            .message(Blob::new(digest))
            .message_type(MessageType::Digest)
            .signing_algorithm(SigningAlgorithmSpec::RsassaPkcs1V15Sha256)
            .send()
            .await;
        match signed {
            Ok(answer) => Ok(answer.signature.unwrap_or_else(|| Blob::new([])).into_inner()),
            Err(error) => Err(self.failure("kms:Sign", error).await),
        }
    }
}

/// What KMS's error codes mean. See <https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html> and the errors of Sign.
fn answered(id: &str, region: &str, action: &str, code: &str, said: &str) -> SignError {
    match code {
        "DisabledException" => disabled(id),
        "NotFoundException" if said.starts_with("Invalid arn") => SignError::WrongRegion(format!(
            "key {id} is not in the region of the endpoint that is asked: {said}; check AWS_ENDPOINT_URL_KMS"
        )),
        "NotFoundException" => SignError::NotFound(format!(
            "AWS KMS in {region} knows no key {id}: {said}; check the name and the account, and give the key's whole ARN or set \
             AWS_REGION if it is in another region"
        )),
        "InvalidArnException" | "ValidationException" => {
            SignError::InvalidKey(format!("key {id} is no name of a key: {said}; give its ARN"))
        }
        "InvalidKeyUsageException" | "UnsupportedOperationException" => SignError::WrongUsage(format!(
            "key {id} cannot sign RSASSA_PKCS1_V1_5_SHA_256: {said}; make an AWS KMS key with usage SIGN_VERIFY and spec RSA_2048"
        )),
        "AccessDeniedException" => SignError::Denied(format!(
            "AWS does not allow {action} on key {id}: {said}; allow kms:GetPublicKey, kms:Sign and kms:DescribeKey on it to the \
             operator's role, in the role's policy or the key's"
        )),
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "IncompleteSignature"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => SignError::NoCredentials(format!(
            "key {id}: AWS does not accept the credentials ({code}): {said}; renew them, and check the clock of this machine"
        )),
        "ThrottlingException" | "Throttling" | "RequestLimitExceeded" | "LimitExceededException" => {
            SignError::Throttled {
                message: format!("key {id}: AWS KMS wants fewer requests ({code}): {said}; it is asked again later"),
                wait: COME_AGAIN,
            }
        }
        _ => SignError::Unavailable(format!(
            "key {id}: AWS KMS in {region} does not answer as it should ({code}): {said}; it is asked again by itself"
        )),
    }
}

fn disabled(id: &str) -> SignError {
    SignError::Disabled(format!("key {id} is disabled: enable it (aws kms enable-key)"))
}

fn slow(id: &str, region: &str) -> SignError {
    SignError::Slow(format!(
        "key {id}: AWS KMS in {region} does not answer in time; check the endpoint, proxies and firewalls"
    ))
}

fn unreachable(id: &str, region: &str, cause: &str) -> SignError {
    SignError::Unavailable(format!(
        "key {id}: AWS KMS in {region} cannot be reached: {cause}; check AWS_REGION and AWS_ENDPOINT_URL_KMS, DNS, proxies and \
         firewalls"
    ))
}

/// The words of the innermost cause.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    quote(&innermost(error).to_string())
}
