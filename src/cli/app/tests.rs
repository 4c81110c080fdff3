use clap::Parser as _;

use super::super::{Cli, Command};
use super::*;

fn args(line: &str) -> Result<CreateArgs, String> {
    let words = ["gtm", "app", "create"].into_iter().chain(line.split_whitespace());
    let parsed = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    match parsed.command {
        Command::App(AppArgs {
            command: AppCommand::Create(args),
        }) => Ok(*args),
        _ => panic!("another command"),
    }
}

fn request(line: &str) -> Result<RegisterRequest, Failure> {
    let args = args(line).expect("arguments");
    args.request(&args.config()?, "1f2e")
}

fn app() -> NewApp {
    NewApp {
        id: 1234,
        client_id: Some("Iv23liX".to_owned()),
        slug: "acme-flux".to_owned(),
        owner: Some("acme".to_owned()),
        install_url: "https://github.com/apps/acme-flux/installations/new".to_owned(),
        settings_url: "https://github.com/organizations/acme/settings/apps/acme-flux".to_owned(),
        fingerprint: "SHA256:abc=".to_owned(),
        base_url: "https://api.github.com".parse().expect("a URL"),
        key_file: Some("/keys/key.pem".into()),
        secret: None,
    }
}

/// The lines from the one on that has this, up to an empty one, without their indentation.
fn printed(steps: &str, from: &str) -> String {
    let lines = steps.lines().skip_while(|line| !line.contains(from));
    let lines = lines.take_while(|line| !line.is_empty());
    lines
        .map(|line| format!("{}\n", line.strip_prefix("   ").unwrap_or(line)))
        .collect()
}

#[test]
fn an_app_needs_nothing_but_a_place_for_its_key() {
    let asked = request("--key-file key.pem").expect("good");
    assert_eq!(asked.manifest.name, "gtm-1f2e");
    assert_eq!(asked.manifest.url, "https://github.com");
    let contents = asked.manifest.permissions.get("contents").map(String::as_str);
    assert_eq!((contents, asked.manifest.permissions.len()), (Some("write"), 2));
    let asked = request("--secret a/b --organization acme --permission issues=read").expect("good");
    assert_eq!(
        (&*asked.manifest.name, &*asked.manifest.url),
        ("gtm-acme", "https://github.com/acme")
    );
    assert_eq!(
        asked.manifest.permissions,
        [("issues".to_owned(), "read".to_owned())].into()
    );
    let asked = request("--secret a/b --base-url https://ghe.acme.org/api/v3").expect("good");
    assert_eq!(asked.manifest.url, "https://ghe.acme.org");
}

#[test]
fn the_command_that_goes_on_with_a_code_is_whole() {
    for (line, command) in [
        ("--print-page", "gtm app create --key-file private-key.pem --code"),
        ("--key-file k", "gtm app create --key-file k --code"),
        (
            "--key-file it's --secret a/b --base-url https://ghe.acme.org/api/v3 --ca-bundle /ca.pem",
            "gtm app create --base-url https://ghe.acme.org/api/v3 --ca-bundle /ca.pem --key-file 'it'\\''s' --secret a/b --code",
        ),
        ("--secret a/b", "gtm app create --secret a/b --code"),
    ] {
        assert_eq!(request(line).expect("good").resume, command, "{line}");
    }
}

#[test]
fn what_a_key_can_be_had_from_is_nobodys_to_read_and_goes() {
    let steps = next::steps(&app());
    let (_, aws) = steps.split_once("# aws:").expect("a block");
    let (block, rest) = aws.split_once("\n   )\n").expect("its end");
    let (before, after) = block.split_once("openssl rand").expect("the key that wraps");
    for part in ["\n   (\n", "umask 077", "trap 'rm -f aes aes.wrapped key.wrapped' EXIT"] {
        assert!(before.contains(part), "no {part} in {before}");
    }
    assert!(after.contains("aws kms import-key-material"), "{after}");
    assert!(rest.contains("rm -f key.der /keys/key.pem"), "{rest}");
}

#[test]
fn a_wrong_argument_is_told_with_its_flag_its_value_and_the_cure() {
    let long = format!("--key-file k --name {}", "n".repeat(35));
    for (line, flag, told) in [
        (
            "",
            "--key-file <PATH>|--secret <NAMESPACE/NAME>|--print-page",
            "required",
        ),
        ("--key-file k --code", "--code", "value is required"),
        ("--secret app-key", "--secret", "give NAMESPACE/NAME"),
        ("--secret a/b/c", "--secret", "give NAMESPACE/NAME"),
        ("--secret /b", "--secret", "give NAMESPACE/NAME"),
        (
            "--key-file k --organization a/b",
            "--organization",
            "organization's login",
        ),
        (&long, "--name", "35 characters"),
        ("--key-file k --timeout 2h", "--timeout", "give 1s to 1h"),
        ("--key-file k --timeout soon", "--timeout", "give 1s to 1h"),
        ("--key-file k --port 70000", "--port", "70000"),
        ("--key-file k --permission Contents", "--permission", "NAME=LEVEL"),
        ("--print-page --code x", "--code", "cannot be used with"),
        ("--print-page --key-file k", "--key-file", "cannot be used with"),
    ] {
        let error = args(line).err().unwrap_or_else(|| panic!("{line} is accepted"));
        assert!(error.contains(flag) && error.contains(told), "{line}: {error}");
    }
    for (line, told) in [
        (
            "--key-file k --base-url https://github.com",
            "write https://api.github.com",
        ),
        ("--key-file k --permission a=read --permission a=write", "keep one"),
    ] {
        match request(line) {
            Err(Failure::Usage(error)) => assert!(error.contains(told), "{line}: {error}"),
            other => panic!("{line}: {other:?}"),
        }
    }
    let code = args("--key-file k --code http://x/?state=s").expect("arguments").code();
    assert!(matches!(code, Err(Failure::Usage(told)) if told.contains("--code: it holds no code")));
}

#[test]
fn the_next_steps_hold_a_configuration_that_the_operator_reads() {
    let mut odd = app();
    odd.key_file = Some("/my keys/it's: #1.pem".into());
    odd.owner = Some("123".to_owned());
    odd.base_url = "https://ghe.acme.org/api/v3".parse().expect("a URL");
    for app in [app(), odd] {
        let steps = next::steps(&app);
        let yaml = printed(&steps, "app_id: ");
        let (config, warnings) = config::parse(Some(&yaml), &Environment::default(), &Flags::default()).expect(&yaml);
        assert_eq!(warnings.len(), 0, "{yaml}");
        let configured = config.app.expect("an App");
        assert_eq!(
            (configured.identity.app_id(), configured.owner),
            (Some(app.id), app.owner.clone())
        );
        assert_eq!(
            configured.key,
            config::KeySource::File(app.key_file.clone().expect("a file"))
        );
        assert_eq!(config.base_url, app.base_url);
        let by_client_id = matches!(configured.identity, config::AppIdentity::Both { .. });
        assert_eq!(
            by_client_id,
            app.base_url.to_string() == "https://api.github.com",
            "{yaml}"
        );
        for part in [
            &app.install_url,
            &app.settings_url,
            "gtm check --config gtm.yaml",
            "--set config.app_id=1234",
        ] {
            assert!(steps.contains(part), "no {part} in {steps}");
        }
        for service in ["aws kms", "az keyvault", "gcloud kms", "vault transit"] {
            assert!(steps.contains(service), "no {service} in {steps}");
        }
    }
}

#[test]
fn the_next_steps_hold_an_app_object_for_a_key_in_a_secret() {
    let mut app = app();
    (app.key_file, app.secret) = (None, secret("ops/app-key").ok());
    let steps = next::steps(&app);
    let yaml = printed(&steps, "apiVersion");
    let object: crate::api::App = serde_saphyr::from_str(&yaml).expect(&yaml);
    assert_eq!(object.metadata.namespace.as_deref(), Some("ops"));
    assert_eq!(
        (object.spec.app_id, object.spec.owner.as_deref()),
        (Some(1234), Some("acme"))
    );
    let key = object.spec.key_ref.expect("a key");
    assert_eq!((&*key.name, &*key.key), ("app-key", "private-key.pem"));
    assert!(steps.contains("gtm check --config gtm.yaml --namespace ops"), "{steps}");
}
