//! An emulator of AWS KMS: MiniStack, from PyPI, in a virtual environment of its own in the lab's cache. It signs for real; it does not
//! check credentials, and it gives the public key of a disabled key, which AWS does not.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Env, Front, env, wrap::wrap};
use crate::error::{During, Error};
use crate::github::AppKey;
use crate::process::{Folder, Port, Process};
use crate::tools;
use crate::wait::wait_for;

const START: Duration = Duration::from_secs(30);
const REQUIREMENTS: &str = include_str!("../../tools/ministack/requirements.txt");

/// What a key is for.
#[derive(Debug, Clone, Copy)]
pub enum KeyShape {
    /// An RSA key of 2048 bits that signs.
    Rsa,
    /// One that waits for its key material.
    External,
    /// An RSA key that encrypts.
    Encrypts,
    /// A key on an elliptic curve.
    Elliptic,
}

/// A running emulator; dropping it kills it.
pub struct Ministack {
    process: Process,
    port: Port,
    folder: Folder,
    /// What programs connect to.
    pub front: Front,
}

impl Ministack {
    /// Where it is installed; the first time, pip installs it, which takes half a minute. Blocks.
    ///
    /// # Errors
    /// When Python or pip is missing, or the package index.
    pub fn install() -> Result<PathBuf, Error> {
        let version = REQUIREMENTS.lines().find_map(|line| line.strip_prefix("ministack=="));
        let version = version.ok_or_else(|| Error::Tool("requirements.txt names no ministack".into()))?;
        let folder = tools::once(&format!("ministack-{version}"), |folder| {
            let requirements = folder.join("requirements.txt");
            std::fs::write(&requirements, REQUIREMENTS).during(|| format!("write {}", requirements.display()))?;
            let run = |program: &Path, args: &[&OsStr]| {
                let cure = "install Python 3 with venv (apt-get install python3-venv)";
                let output = Command::new(program).args(args).output();
                let output = output.map_err(|error| Error::Tool(format!("{}: {error}; {cure}", program.display())))?;
                let said = String::from_utf8_lossy(&output.stderr);
                let failed = || Error::Tool(format!("{} failed: {said}; {cure}", program.display()));
                output.status.success().then_some(()).ok_or_else(failed)
            };
            run(
                "python3".as_ref(),
                &["-m".as_ref(), "venv".as_ref(), folder.as_os_str()],
            )?;
            let args = ["install", "--quiet", "--requirement"].map(OsStr::new);
            run(
                &folder.join("bin/pip"),
                &[&args[..], &[requirements.as_os_str()]].concat(),
            )
        })?;
        Ok(folder.join("bin/ministack"))
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be installed, or does not become ready.
    pub async fn start() -> Result<Self, Error> {
        let (folder, port) = (Folder::new()?, Port::take()?);
        let process = Self::process(&folder, &port).await?;
        let front = Front::before(&format!("http://{}", port.address())).await?;
        Ok(Self {
            process,
            port,
            folder,
            front,
        })
    }

    async fn process(folder: &Folder, port: &Port) -> Result<Process, Error> {
        let program = tokio::task::spawn_blocking(Self::install).await;
        let program = program.map_err(|error| Error::Tool(error.to_string()))??;
        let mut command = Command::new(program);
        command
            .current_dir(folder.path())
            .envs([
                ("SERVICES", "kms,sts,iam"),
                ("BIND_HOST", "127.0.0.1"),
                ("IOT_MTLS_ENABLED", "0"),
                ("LOG_LEVEL", "WARNING"),
            ])
            .env("GATEWAY_PORT", port.number().to_string());
        let process = Process::start("ministack", command, &folder.path().join("ministack.log"))?;
        let client = client()?;
        let health = format!("http://{}/_ministack/health", port.address());
        wait_for(START, "MiniStack's health", async || match process.check_running() {
            Err(ended) => Ok(Err(ended)),
            Ok(()) => client.get(&health).send().await.map(|_| Ok(())),
        })
        .await??;
        Ok(process)
    }

    /// Stops it; who connects finds nobody. Its keys are lost, since it keeps them in memory.
    pub fn stop(&self) {
        self.process.kill();
    }

    /// Starts it again, empty.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.process.kill();
        self.process = Self::process(&self.folder, &self.port).await?;
        Ok(())
    }

    /// The variables for a program that uses it.
    pub fn env(&self) -> Env {
        env(&[
            ("AWS_ENDPOINT_URL_KMS", &self.front.url()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "secret-of-the-lab"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ])
    }

    /// Makes a key and returns its ARN.
    ///
    /// # Errors
    /// When the emulator refuses it.
    pub async fn create_key(&self, shape: KeyShape) -> Result<String, Error> {
        let (spec, usage, origin) = match shape {
            KeyShape::Rsa => ("RSA_2048", "SIGN_VERIFY", "AWS_KMS"),
            KeyShape::External => ("RSA_2048", "SIGN_VERIFY", "EXTERNAL"),
            KeyShape::Encrypts => ("RSA_2048", "ENCRYPT_DECRYPT", "AWS_KMS"),
            KeyShape::Elliptic => ("ECC_NIST_P256", "SIGN_VERIFY", "AWS_KMS"),
        };
        let asked = json!({"KeySpec": spec, "KeyUsage": usage, "Origin": origin});
        let made = self.call("CreateKey", &asked).await?;
        Ok(text(&made["KeyMetadata"]["Arn"]))
    }

    /// Makes a key of this App's private key, as a user does, and returns its ARN.
    ///
    /// # Errors
    /// When the emulator refuses it.
    pub async fn import(&self, key: &AppKey) -> Result<String, Error> {
        let id = self.create_key(KeyShape::External).await?;
        let algorithm = "RSA_AES_KEY_WRAP_SHA_256";
        let asked = json!({"KeyId": id, "WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_3072"});
        let parameters = self.call("GetParametersForImport", &asked).await?;
        let wrapping_key = STANDARD.decode(text(&parameters["PublicKey"])).unwrap_or_default();
        let material = STANDARD.encode(wrap(key.pkcs8(), &wrapping_key)?);
        let asked = json!({
            "KeyId": id, "ImportToken": parameters["ImportToken"], "EncryptedKeyMaterial": material,
            "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
        });
        self.call("ImportKeyMaterial", &asked).await?;
        Ok(id)
    }

    /// Calls an operation of KMS, such as `DisableKey`.
    ///
    /// # Errors
    /// When the emulator refuses it.
    pub async fn call(&self, operation: &str, body: &Value) -> Result<Value, Error> {
        const SIGNED: &str =
            "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=x";
        let answer = client()?
            .post(format!("http://{}/", self.port.address()))
            .header("x-amz-target", format!("TrentService.{operation}"))
            .header("content-type", "application/x-amz-json-1.1")
            .header("authorization", SIGNED)
            .body(body.to_string())
            .send()
            .await?;
        let status = answer.status();
        let answer = answer.text().await?;
        if !status.is_success() {
            return Err(Error::Usage(format!("{operation} {body}: {status} {answer}")));
        }
        Ok(serde_json::from_str(&answer).unwrap_or_default())
    }
}

fn client() -> Result<reqwest::Client, Error> {
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    Ok(builder.timeout(START).build()?)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
