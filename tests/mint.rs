//! `gtm mint` and `gtm crds` as people and scripts run them: processes, against the GitHub stand-in.

use std::process::{Command, Output};

use lab::github::{Fault, GitHub, Route, Settings, TokenState, hashed};
use lab::process::Folder;
use serde_json::Value;

/// The stand-in, and a folder with the App's key and configuration.
struct Bench {
    github: GitHub,
    folder: Folder,
}

impl Bench {
    async fn new(settings: Settings) -> Bench {
        let github = GitHub::start(settings).await.expect("the stand-in starts");
        let folder = Folder::new().expect("a folder");
        let pem = github.key().expect("a key").pkcs1_pem();
        let key = folder.write("key.pem", pem).expect("written");
        let text = format!(
            "app_id: {}\ninstallation_id: 67890\nkey: {}\nbase_url: {}\n",
            github.app_id(),
            key.display(),
            github.url()
        );
        folder.write("gtm.yaml", text).expect("written");
        Bench { github, folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// `gtm mint --config gtm.yaml ARGUMENTS`.
    async fn mint(&self, arguments: &[&str]) -> Output {
        let file = self.path("gtm.yaml");
        let all = [&["mint", "--config", &file], arguments].concat();
        gtm(&all, &[]).await
    }
}

/// Runs `gtm` with these variables and no others.
async fn gtm(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gtm"));
    command.args(arguments).env_clear().envs(variables.iter().copied());
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.expect("it ends").expect("it starts")
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a text");
    (text(&output.stdout), text(&output.stderr))
}

/// Asserts the exit code; what was written to standard output.
fn done(output: &Output, code: i32) -> String {
    let (stdout, stderr) = said(output);
    assert_eq!(output.status.code(), Some(code), "{stdout}{stderr}");
    stdout
}

/// Asserts the exit code, that no token was printed and that the error has these parts.
fn fails(output: &Output, code: i32, parts: &[&str]) {
    let stdout = done(output, code);
    assert_eq!(stdout, "", "what failed prints nothing that could be taken for a token");
    let (_, stderr) = said(output);
    for part in parts {
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_answer_is_told_with_its_variable_and_without_its_credentials() {
    let bench = Bench::new(Settings::default()).await;
    let variables = [("HTTP_PROXY", "http://me:hidden@127.0.0.1:1")];
    let output = gtm(&["mint", "--config", &bench.path("gtm.yaml")], &variables).await;
    let parts = [
        "no connection through the proxy 127.0.0.1:1 of HTTP_PROXY: ",
        "NO_PROXY",
    ];
    fails(&output, 1, &parts);
    assert!(!said(&output).1.contains("hidden"));
}

#[tokio::test]
async fn permissions_that_github_most_likely_does_not_know_are_told() {
    let bench = Bench::new(Settings::default()).await;
    let output = bench
        .mint(&["--permission", "contents=foo", "--permission", "content=read"])
        .await;
    let (_, told) = said(&output);
    for part in [
        "warning: --permission.contents: 'foo' is not a level that this version knows; known: read, write\n",
        "warning: --permission: 'content' is not a permission that this version knows; did you mean 'contents'?\n",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[tokio::test]
async fn it_prints_one_good_token_and_nothing_else() {
    let bench = Bench::new(Settings::default()).await;
    let output = bench.mint(&[]).await;
    let stdout = done(&output, 0);
    let token = stdout.strip_suffix('\n').expect("a line");
    assert!(
        matches!(bench.github.token_state(token), TokenState::Valid { .. }),
        "{stdout:?}"
    );
    assert_eq!(said(&output).1, "");
}

#[tokio::test]
async fn json_is_the_whole_answer_of_the_scope_that_was_asked_for() {
    let bench = Bench::new(Settings::default()).await;
    let arguments = [
        "--permission",
        "contents=read",
        "--permission",
        "issues=write",
        "--repository",
        "alpha",
    ];
    let output = bench
        .mint(&[&arguments[..], &["--repository-id", "102", "-o", "json"]].concat())
        .await;
    let answer: Value = serde_json::from_str(&done(&output, 0)).expect("JSON");
    let token = answer["token"].as_str().expect("a token");
    let mint = &bench.github.mints()[0];
    assert_eq!(&*mint.token, token);
    assert_eq!(answer["hashed_token"], hashed(token));
    assert_eq!(answer["expires_at"], mint.expires_at.to_string());
    assert_eq!(answer["permissions"]["contents"], "read");
    assert_eq!(answer["permissions"]["issues"], "write");
    assert_eq!(answer["repository_selection"], "selected");
    assert_eq!(answer["repositories"], serde_json::json!(["alpha", "beta"]));
}

#[tokio::test]
async fn flags_and_variables_alone_are_enough() {
    let bench = Bench::new(Settings::default()).await;
    let (key, url) = (bench.path("key.pem"), bench.github.url().to_owned());
    let app = bench.github.app_id().to_string();
    let flags = [
        "mint",
        "--app-id",
        &app,
        "--installation-id",
        "67890",
        "--key",
        &key,
        "--base-url",
        &url,
    ];
    done(&gtm(&flags, &[]).await, 0);
    let client = bench.github.client_id().to_owned();
    let flags = [
        "mint",
        "--client-id",
        &client,
        "--installation-id",
        "67890",
        "--key",
        &key,
        "--base-url",
        &url,
    ];
    done(&gtm(&flags, &[]).await, 0);
    let pem = bench.github.key().expect("a key").pkcs8_pem().replace('\n', "\\n");
    let variables = [
        ("GITHUB_APP_ID", &*app),
        ("GITHUB_INSTALLATION_ID", "67890"),
        ("GITHUB_PRIVATE_KEY", &pem),
        ("GTM_BASE_URL", &url),
    ];
    done(&gtm(&["mint"], &variables).await, 0);
    let enterprise = bench.github.enterprise_url();
    let mut variables = variables;
    variables[3].1 = &enterprise;
    done(&gtm(&["mint"], &variables).await, 0);
    assert_eq!(bench.github.mint_count(), 4);
}

#[tokio::test]
async fn an_own_authority_is_trusted_by_a_ca_bundle_only() {
    let settings = Settings {
        tls: true,
        ..Settings::default()
    };
    let bench = Bench::new(settings).await;
    fails(&bench.mint(&[]).await, 1, &["certificate"]);
    bench
        .folder
        .write("ca.pem", bench.github.ca_pem().expect("a CA"))
        .expect("written");
    let ca = bench.path("ca.pem");
    done(&bench.mint(&["--ca-bundle", &ca]).await, 0);
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    bench.folder.write("damaged.pem", damaged).expect("written");
    for (file, told) in [
        ("key.pem", "ca_bundle holds no certificate"),
        ("damaged.pem", "ca_bundle holds a damaged certificate"),
        ("absent.pem", "ca_bundle: "),
    ] {
        let file = bench.path(file);
        fails(&bench.mint(&["--ca-bundle", &file]).await, 2, &[told, &file]);
    }
}

#[tokio::test]
async fn an_owner_from_a_stronger_place_counts_more_than_the_files_installation() {
    let bench = Bench::new(Settings::default()).await;
    let other = lab::github::Installation {
        id: 99,
        account: "other".into(),
        ..lab::github::Installation::default()
    };
    bench.github.install(other);
    done(&bench.mint(&["--owner", "other"]).await, 0);
    assert_eq!(bench.github.mints()[0].installation, 99);
    let both = ["--owner", "other", "--installation-id", "67890"];
    let minted = bench.mint(&both).await;
    done(&minted, 0);
    assert!(
        said(&minted).1.contains("owner: it is not used, since installation_id"),
        "{minted:?}"
    );
    assert_eq!(bench.github.mints()[1].installation, 67_890);
}

#[tokio::test]
async fn variables_have_no_blanks_and_an_empty_one_is_absent() {
    let bench = Bench::new(Settings::default()).await;
    let file = format!(" {}\n", bench.path("gtm.yaml"));
    done(&gtm(&["mint"], &[("GTM_CONFIG", &file)]).await, 0);
    fails(
        &gtm(&["mint"], &[("GTM_CONFIG", "")]).await,
        2,
        &["no App is configured"],
    );
    let empty = [
        "GTM_WATCH_NAMESPACES",
        "GTM_NAMESPACE",
        "GTM_LEADER_ELECT",
        "GTM_LOG_LEVEL",
        "GTM_METRICS_BIND_ADDRESS",
    ];
    let mut variables: Vec<_> = empty.map(|name| (name, " ")).into();
    variables.push(("GTM_APP_ID", "x"));
    // It comes as far as the configuration.
    fails(
        &gtm(&["manager"], &variables).await,
        2,
        &["app_id in the environment (GTM_APP_ID)"],
    );
    for (name, value, told) in [
        ("GTM_DEFAULT_POLICY", "perhaps", "--default-policy"),
        ("GTM_WATCH_NAMESPACES", "a,B c", "write at most 63 lower-case letters"),
        ("GTM_LEADER_ELECT", " maybe ", "--leader-elect"),
    ] {
        fails(
            &gtm(&["manager"], &[(name, value)]).await,
            2,
            &[told, &format!("the variable {name}")],
        );
    }
    let given = gtm(&["manager", "--default-policy=no"], &[("GTM_DEFAULT_POLICY", "deny")]).await;
    assert!(!said(&given).1.contains("the variable"), "{given:?}");
}

#[tokio::test]
async fn a_key_as_an_argument_is_not_shown() {
    let bench = Bench::new(Settings::default()).await;
    let pem = bench.github.key().expect("a key").pkcs1_pem();
    let output = bench.mint(&["--key", &pem]).await;
    fails(&output, 2, &["what stands after --key is not shown", "GTM_KEY"]);
    let (_, stderr) = said(&output);
    assert!(pem.lines().all(|line| !stderr.contains(line)), "{stderr}");
}

#[tokio::test]
async fn wrong_arguments_and_configurations_end_with_2_and_the_cure() {
    let bench = Bench::new(Settings::default()).await;
    let cases: [(&[&str], &[&str]); 9] = [
        (&["--permission", "contents"], &["NAME=LEVEL", "contents=read"]),
        (
            &["--permission", "a=read", "--permission", "a=write"],
            &["--permission a", "keep one"],
        ),
        (&["--repository", "octo-org/alpha"], &["without its owner: alpha"]),
        (&["--repository-id", "0"], &["--repository-id"]),
        (&["--app-id", "x"], &["app_id (--app-id): \"x\"", "such as 123456"]),
        (
            &["--base-url", "ghe.example/api/v3"],
            &["has no scheme", "https://ghe.example/api/v3"],
        ),
        (&["--provider", "hsm"], &["provider (--provider): \"hsm\""]),
        (&["-o", "yaml"], &["token", "json"]),
        (&["--config", "/nonexistent.yaml"], &["--config"]),
    ];
    for (arguments, parts) in cases {
        fails(&bench.mint(arguments).await, 2, parts);
    }
    fails(&gtm(&["mint"], &[]).await, 2, &["no App is configured", "--app-id"]);
    let key = bench.path("key.pem");
    fails(
        &gtm(&["mint", "--app-id", "1", "--key", &key], &[]).await,
        2,
        &["no installation is configured"],
    );
    assert_eq!(bench.github.counts().requests, 0);
}

#[tokio::test]
async fn what_github_or_the_key_refuses_ends_with_1_and_the_cure() {
    let bench = Bench::new(Settings::default()).await;
    let cases: [(&[&str], &[&str]); 3] = [
        (
            &["--permission", "administration=write"],
            &["{administration: write}", "ask for less"],
        ),
        (
            &["--repository", "nope"],
            &["repositories [nope]", "check the spelling"],
        ),
        (&["--installation-id", "5"], &["installationID 5", "check the ID"]),
    ];
    for (arguments, parts) in cases {
        fails(&bench.mint(arguments).await, 1, parts);
    }
    for (fault, part) in [
        (Fault::Garbage, "is not GitHub's"),
        (Fault::Unavailable(503), "HTTP 503"),
    ] {
        bench.github.fail_while(Some(Route::Mint), fault);
        fails(&bench.mint(&[]).await, 1, &[part]);
        bench.github.clear_faults();
    }
    let garbage = bench.folder.write("garbage.pem", "garbage").expect("written");
    let garbage = garbage.to_str().expect("a path");
    // What is no key at all is a wrong configuration.
    let absent = ["--provider", "secret", "--key", "app-key"];
    let cases: [(&[&str], &[&str]); 3] = [
        (&["--key", garbage], &["not a PEM text", "Private keys"]),
        (
            &["--key", "/nonexistent.pem"],
            &["key: /nonexistent.pem cannot be read"],
        ),
        (&absent, &["provider: secret needs a cluster"]),
    ];
    for (arguments, parts) in cases {
        fails(&bench.mint(arguments).await, 2, parts);
    }
    assert_eq!(bench.github.mint_count(), 0);
}

#[tokio::test]
async fn crds_prints_both_definitions_and_nothing_else() {
    let stdout = done(&gtm(&["crds"], &[]).await, 0);
    let expected = github_token_manager::cli::crds::yaml().expect("CRDs");
    assert_eq!(stdout, expected);
    for name in ["tokens.github.as-code.io", "clustertokens.github.as-code.io"] {
        assert!(stdout.contains(&format!("name: {name}")), "{name}");
    }
}

#[tokio::test]
async fn help_and_version_end_with_0_and_no_command_with_2() {
    for arguments in [
        &["--help"][..],
        &["mint", "--help"],
        &["manager", "--help"],
        &["--version"],
    ] {
        let stdout = done(&gtm(arguments, &[]).await, 0);
        assert!(stdout.contains("gtm"), "{stdout}");
    }
    assert_eq!(gtm(&[], &[]).await.status.code(), Some(2));
    fails(&gtm(&["nonsense"], &[]).await, 2, &["nonsense"]);
}

#[tokio::test]
async fn a_limit_that_was_hit_is_told_with_its_end() {
    let bench = Bench::new(Settings::default()).await;
    let limit = Fault::SecondaryLimit {
        status: 403,
        retry_after: Some(120),
    };
    bench.github.fail_while(None, limit);
    fails(&bench.mint(&[]).await, 1, &["slow down", "ask again after 20"]);
}
