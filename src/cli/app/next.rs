//! What a person does next with a new App.

use std::path::Path;

use crate::domain::BaseUrl;
use crate::domain::intent::SecretKey;
use crate::run::NewApp;

/// What was made, and the way from here to the first token. It holds nothing secret.
pub fn steps(app: &NewApp) -> String {
    let NewApp {
        slug,
        install_url,
        settings_url,
        fingerprint,
        ..
    } = app;
    let place = match (&app.key_file, &app.secret) {
        (Some(file), Some(secret)) => format!("{} and the Secret {secret}", file.display()),
        (Some(file), None) => file.display().to_string(),
        (None, Some(secret)) => format!("the Secret {secret}"),
        (None, None) => "no place".to_owned(),
    };
    let whom = app.owner.as_deref().unwrap_or("your account");
    let used = match (&app.key_file, &app.secret) {
        (_, Some(secret)) => of_secret(app, secret),
        (Some(file), None) => of_file(app, file),
        (None, None) => String::new(),
    };
    let key = match &app.key_file {
        Some(file) => quoted(file),
        None => "private-key.pem".to_owned(),
    };
    format!(
        "The App {slug} is registered; its private key is in {place}.\n\
         Its fingerprint is {fingerprint}, as on {settings_url}\n\
         \n\
         1. Install it for {whom}, and choose the repositories:\n\
         \n   {install_url}\n\
         \n\
         {used}\n\
         Or keep the key in a key service, and nowhere else: import it, set provider and key to what is named, and delete {place}. In bash:\n\
         \n{}",
        imports(app, &key)
    )
}

/// The startup configuration: `key` as gtm.yaml has it.
fn configuration(app: &NewApp, provider: &str, key: &str) -> String {
    let mut lines = vec![format!("app_id: {}", app.id)];
    // An Enterprise Server before 3.14 takes no JWT of a client ID's, and any takes one of the App ID's.
    let client_id = app.client_id.as_ref().filter(|_| !app.base_url.is_enterprise_server());
    lines.extend(client_id.map(|id| format!("client_id: {}", text(id))));
    lines.extend(app.owner.as_ref().map(|owner| format!("owner: {}", text(owner))));
    lines.extend([format!("provider: {provider}"), format!("key: {}", text(key))]);
    lines.extend(own_github(&app.base_url).map(|url| format!("base_url: {}", text(&url))));
    block(&lines)
}

fn of_file(app: &NewApp, file: &Path) -> String {
    format!(
        "2. Write gtm.yaml:\n\n{}\n   or give the chart the same:\n\n{}\n\
         3. Does it work? This needs no cluster:\n\n   gtm check --config gtm.yaml\n",
        configuration(app, "file", &file.display().to_string()),
        values(app, "file", &format!("--set-file config.key={}", quoted(file))),
    )
}

fn of_secret(app: &NewApp, secret: &SecretKey) -> String {
    let SecretKey { namespace, name } = secret;
    format!(
        "2. As the operator's own App, where {namespace} is its namespace, write gtm.yaml:\n\n{}\n   or give the chart the same:\n\n{}\n   \
         As an App that the Tokens of {namespace} name by appRef, apply:\n\n{}\n\
         3. Does it work? For gtm.yaml, and for a Token:\n\n   gtm check --config gtm.yaml --namespace {namespace}\n   gtm check token NAMESPACE/NAME\n",
        configuration(app, "secret", name),
        values(app, "secret", &format!("--set config.key={name}")),
        object(app, secret),
    )
}

fn values(app: &NewApp, provider: &str, key: &str) -> String {
    let mut lines = vec![format!("--set config.app_id={}", app.id)];
    lines.extend(
        app.owner
            .as_ref()
            .map(|owner| format!("--set-string config.owner={owner}")),
    );
    lines.push(format!("--set config.provider={provider} {key}"));
    lines.extend(own_github(&app.base_url).map(|url| format!("--set config.base_url={url}")));
    block(&[lines.join(" \\\n     ")])
}

fn object(app: &NewApp, secret: &SecretKey) -> String {
    let mut lines = vec![
        "apiVersion: github.as-code.io/v1".to_owned(),
        "kind: App".to_owned(),
        "metadata:".to_owned(),
        format!("  name: {}", text(&app.slug)),
        format!("  namespace: {}", text(&secret.namespace)),
        "spec:".to_owned(),
        format!("  appID: {}", app.id),
    ];
    lines.extend(app.owner.as_ref().map(|owner| format!("  owner: {}", text(owner))));
    lines.extend(own_github(&app.base_url).map(|url| format!("  baseURL: {}", text(&url))));
    lines.extend([
        "  provider: secret".to_owned(),
        "  keyRef:".to_owned(),
        format!("    name: {}", text(&secret.name)),
    ]);
    block(&lines)
}

/// How the key gets into each service, by the tools that its maker documents for keys of one's own:
/// <https://docs.aws.amazon.com/kms/latest/developerguide/importing-keys-encrypt-key-material.html>,
/// <https://learn.microsoft.com/cli/azure/keyvault/key#az-keyvault-key-import>, <https://cloud.google.com/kms/docs/importing-a-key>,
/// <https://developer.hashicorp.com/vault/docs/commands/transit/import>.
fn imports(app: &NewApp, key: &str) -> String {
    let mut lines = Vec::new();
    if let (None, Some(SecretKey { namespace, name })) = (&app.key_file, &app.secret) {
        lines.push(format!(
            "(umask 077; kubectl -n {namespace} get secret {name} -o jsonpath='{{.data.private-key\\.pem}}' | base64 -d > {key})"
        ));
    }
    lines.push(format!(
        "(umask 077; openssl pkcs8 -topk8 -nocrypt -outform DER -in {key} -out key.der)"
    ));
    let rest = [
        "",
        "# vault: key: gtm",
        "vault transit import transit/keys/gtm @<(base64 -w0 key.der) type=rsa-2048",
        "",
        "# azure: key: https://VAULT.vault.azure.net/keys/gtm",
    ];
    lines.extend(rest.map(str::to_owned));
    lines.push(format!(
        "az keyvault key import --vault-name VAULT --name gtm --ops sign verify --pem-file {key}"
    ));
    let rest = [
        "",
        "# gcp: key: projects/P/locations/L/keyRings/R/cryptoKeys/gtm",
        "gcloud kms keys create gtm --location L --keyring R --purpose asymmetric-signing --default-algorithm rsa-sign-pkcs1-2048-sha256 --skip-initial-version-creation --import-only",
        "gcloud kms import-jobs create gtm --location L --keyring R --import-method rsa-oaep-4096-sha256-aes-256 --protection-level software",
        "gcloud kms keys versions import --location L --keyring R --key gtm --import-job gtm --algorithm rsa-sign-pkcs1-2048-sha256 --target-key-file key.der",
        "",
        "# aws: key: alias/gtm",
        // Who has these files has the key: nobody else may read them, and they go whatever happens.
        "(",
        "umask 077",
        "trap 'rm -f aes aes.wrapped key.wrapped' EXIT",
        "id=$(aws kms create-key --origin EXTERNAL --key-spec RSA_2048 --key-usage SIGN_VERIFY --query KeyMetadata.KeyId --output text)",
        "aws kms create-alias --alias-name alias/gtm --target-key-id $id",
        "read -r public token < <(aws kms get-parameters-for-import --key-id $id --wrapping-algorithm RSA_AES_KEY_WRAP_SHA_256 --wrapping-key-spec RSA_4096 --query '[PublicKey,ImportToken]' --output text)",
        "openssl rand 32 > aes && openssl enc -id-aes256-wrap-pad -iv A65959A6 -K $(od -An -v -tx1 aes | tr -d ' \\n') -in key.der -out key.wrapped",
        "openssl pkeyutl -encrypt -pubin -keyform DER -inkey <(base64 -d <<< $public) -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256 -in aes -out aes.wrapped",
        "aws kms import-key-material --key-id $id --expiration-model KEY_MATERIAL_DOES_NOT_EXPIRE --import-token fileb://<(base64 -d <<< $token) --encrypted-key-material fileb://<(cat aes.wrapped key.wrapped)",
        ")",
        "",
        "# at last, when the service has it",
    ];
    lines.extend(rest.map(str::to_owned));
    lines.push(format!("rm -f key.der {key}"));
    block(&lines)
}

/// The address of a GitHub that is not github.com.
pub(super) fn own_github(base_url: &BaseUrl) -> Option<String> {
    let url = base_url.to_string();
    (url != BaseUrl::GITHUB_COM).then_some(url)
}

/// Whether a text means nothing but itself to YAML and to a shell.
fn plain(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
}

/// A value as YAML reads it back, whatever is in it: JSON is YAML.
fn text(value: &str) -> String {
    let word = value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let reserved = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    if word && plain(value) && !reserved.contains(&value.to_ascii_lowercase().as_str()) {
        return value.to_owned();
    }
    serde_json::Value::from(value).to_string()
}

/// A path as a shell reads it back.
pub(super) fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    if plain(&path) {
        path
    } else {
        format!("'{}'", path.replace('\'', "'\\''"))
    }
}

fn block(lines: &[String]) -> String {
    let indented = |line: &String| {
        if line.is_empty() {
            "\n".to_owned()
        } else {
            format!("   {line}\n")
        }
    };
    lines.iter().map(indented).collect()
}
