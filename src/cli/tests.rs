use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;

use super::*;
use crate::config::{AppIdentity, KeySource};
use crate::domain::intent::Scope;
use crate::domain::policy::DefaultPolicy;
use crate::run::{ManagerOptions, MintAnswer};
use crate::telemetry::http::BindAddress;
use crate::telemetry::logs;

fn parsed(line: &str) -> Result<Command, String> {
    let words = std::iter::once("gtm")
        .chain(line.split_whitespace())
        .map(OsString::from);
    arguments::parse(words, &Environment::default())
        .map(|cli| cli.command)
        .map_err(|error| error.to_string())
}

fn options(line: &str) -> ManagerOptions {
    match parsed(&format!("manager {line}")) {
        Ok(Command::Manager(args)) => args.options(&Environment::default()),
        Ok(_) => panic!("another command"),
        Err(error) => panic!("{error}"),
    }
}

fn request(line: &str, variables: &[(&str, &str)]) -> Result<MintRequest, Failure> {
    let environment = Environment(
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    );
    match parsed(&format!("mint {line}")) {
        Ok(Command::Mint(args)) => args.request(&environment),
        Ok(_) => panic!("another command"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_command_line_is_consistent() {
    use clap::CommandFactory as _;
    Cli::command().debug_assert();
}

#[test]
fn the_manager_needs_no_argument() {
    let options = options("");
    assert_eq!(options.config_path, None);
    assert_eq!(options.metrics_address.to_string(), "0.0.0.0:8080");
    assert_eq!(options.health_address, BindAddress::Every(8081));
    assert!(options.leader_elect);
}

#[test]
fn flags_are_read_as_the_peer_reads_them() {
    let options = options(
        "--config=/x.yaml -metrics-bind-address=:9090 --health-probe-bind-address 0 -leader-elect=false -namespace ops",
    );
    assert_eq!(options.config_path, Some(PathBuf::from("/x.yaml")));
    assert_eq!(options.metrics_address, BindAddress::Every(9090));
    assert_eq!(options.health_address, BindAddress::Off);
    assert_eq!((options.leader_elect, options.namespace.as_str()), (false, "ops"));
}

#[test]
fn of_a_flag_that_is_given_twice_the_last_one_counts() {
    let options = options(
        "--default-policy=allow --leader-elect --watch-namespaces=a,b --default-policy=deny -leader-elect=false --watch-namespaces c",
    );
    // Lists add up.
    let scope = crate::cluster::Scope::new(&["a", "b", "c"].map(str::to_owned));
    assert_eq!(options.scope, scope);
    assert_eq!(
        (options.default_policy, options.leader_elect),
        (DefaultPolicy::Deny, false)
    );
}

#[test]
fn the_peers_arguments_start_the_manager_and_those_without_effect_are_told() {
    let line = "--metrics-bind-address=:8443 -leader-elect --metrics-secure --metrics-cert-path=/m --metrics-cert-name tls.crt \
                --metrics-cert-key=tls.key --webhook-cert-path=/w --webhook-cert-name=tls.crt --webhook-cert-key=tls.key \
                --enable-http2=false -disable-http2 --zap-devel=true -zap-encoder=console --zap-log-level=2 \
                --zap-stacktrace-level panic --zap-time-encoding=iso8601 --kubeconfig /k";
    let Ok(Command::Manager(args)) = parsed(line) else {
        panic!("it is not the manager's")
    };
    let warnings: Vec<_> = args.ignored().collect();
    assert_eq!(warnings.len(), 11, "{warnings:?}");
    for (part, instead) in [
        ("--metrics-secure", "NetworkPolicy"),
        ("--webhook-cert-name", "tls.crt"),
        ("--zap-devel", "--log-level"),
    ] {
        let told = |warning: &String| warning.contains(part) && warning.contains(instead);
        assert!(warnings.iter().any(told), "{warnings:?}");
    }
    assert_eq!(args.logs(), (logs::Format::Text, &"trace".parse().expect("a level")));
    let options = args.options(&Environment::default());
    assert_eq!(options.metrics_address, BindAddress::Every(8443));
    assert_eq!(options.kubeconfig, Some(PathBuf::from("/k")));
    assert_eq!(options.webhook_cert_path, Some(PathBuf::from("/w")));
    let Ok(Command::Manager(args)) = parsed("manager --leader-elect") else {
        panic!("it is not the manager's")
    };
    assert_eq!(args.ignored().count(), 0);
    for (line, told) in [
        ("--version", "gtm "),
        ("-h", "Usage"),
        ("mint -h", "--permission"),
        ("--nonsense", "--nonsense"),
    ] {
        let Err(answer) = parsed(line) else {
            panic!("{line} is accepted")
        };
        assert!(answer.contains(told), "{line}: {answer}");
    }
}

#[test]
fn the_levels_of_the_peers_logger_are_ours() {
    for (theirs, ours) in [
        ("debug", "debug"),
        ("info", "info"),
        ("error", "error"),
        ("panic", "error"),
        ("0", "info"),
        ("1", "debug"),
        ("5", "trace"),
    ] {
        assert_eq!(peer::zap_level(theirs), ours.parse(), "{theirs}");
    }
    assert!(peer::zap_level("loud").is_err());
}

#[test]
fn leader_election_is_a_flag_with_or_without_a_value() {
    for (line, on) in [
        ("--leader-elect", true),
        ("--leader-elect=true", true),
        ("-leader-elect=0", false),
    ] {
        assert_eq!(options(line).leader_elect, on, "{line}");
    }
    // The value needs its "=": a word that follows is not taken for it.
    assert!(parsed("manager --leader-elect false").is_err());
}

#[test]
fn short_flags_stay_what_they_are() {
    assert_eq!(
        request("-ojson --app-id 1 --installation-id 2 --key /k", &[])
            .expect("good")
            .output,
        Output::Json
    );
}

#[test]
fn a_wrong_argument_is_told_with_its_flag_its_value_and_the_cure() {
    for (line, flag, told) in [
        (
            "manager --metrics-bind-address=8080",
            "--metrics-bind-address",
            "\"8080\" is no address: give IP:PORT",
        ),
        (
            "manager --health-probe-bind-address=host:1",
            "--health-probe-bind-address",
            "0 to turn it off",
        ),
        ("manager --leader-elect=perhaps", "--leader-elect", "perhaps"),
        (
            "manager --log-format=xml",
            "--log-format",
            "possible values: text, json",
        ),
        (
            "manager --log-level=loud",
            "--log-level",
            "\"loud\" is no level: give off, error",
        ),
        ("manager --namespace=", "--namespace", "a value is required"),
        (
            "manager --namespace=A_B",
            "--namespace",
            "no namespace: write at most 63 lower-case letters",
        ),
        ("manager --watch-namespaces=a,b/c", "--watch-namespaces", "'b/c'"),
        ("release --watch-namespaces=a.b", "--watch-namespaces", "no namespace"),
        ("status -n Team", "--namespace", "no namespace"),
        ("check --namespace a/b", "--namespace", "no namespace"),
        (
            "manager --metrics-address=:1",
            "--metrics-address",
            "--metrics-bind-address",
        ),
        ("mint --permission contents", "--permission", "such as contents=read"),
        ("mint --permission =read", "--permission", "NAME=LEVEL"),
        ("mint --permission Contents=READ", "--permission", "contents=read"),
        (
            "mint --repository my-org/my-repo",
            "--repository",
            "without its owner: my-repo",
        ),
        ("mint --repository a,b", "--repository", "such as my-repo"),
        ("mint --repository-id x", "--repository-id", "invalid digit"),
        ("mint --repository-id 0", "--repository-id", "0 is not in 1.."),
        ("mint -o yaml", "--output", "possible values: token, json"),
    ] {
        let Err(error) = parsed(line) else {
            panic!("{line} is accepted")
        };
        assert!(
            error.starts_with("error: ") && error.contains(flag) && error.contains(told),
            "{line}: {error}"
        );
    }
}

#[test]
fn a_mint_takes_its_app_from_flags_alone() {
    let line = "--app-id 1 --installation-id=2 --key /k --base-url https://ghe.example/api/v3 \
                --permission contents=read --permission metadata=read --repository b --repository a --repository b \
                --repository-id 9 --repository-id 3";
    let request = request(line, &[]).expect("good");
    assert_eq!(request.app.identity, AppIdentity::AppId(1));
    assert_eq!(request.app.key, KeySource::File("/k".into()));
    assert_eq!(request.config.base_url.to_string(), "https://ghe.example/api/v3");
    let permissions = BTreeMap::from([("contents", "read"), ("metadata", "read")].map(|(a, b)| (a.into(), b.into())));
    let repositories = vec!["a".to_owned(), "b".to_owned()];
    let scope = Scope {
        permissions: Some(permissions),
        repositories,
        repository_ids: vec![3, 9],
    };
    assert_eq!((request.scope, request.output), (scope, Output::Token));
}

#[test]
fn a_mint_takes_its_app_from_the_environment_and_then_asks_for_everything() {
    let variables = [("GITHUB_APP_ID", "1"), ("GTM_OWNER", "my-org"), ("GTM_KEY", "/k")];
    assert_eq!(request("", &variables).expect("good").scope, Scope::default());
}

#[test]
fn a_mint_that_cannot_be_asked_for_is_told_what_is_missing() {
    let repositories: String = (0..501).map(|n| format!("--repository r{n} ")).collect();
    let app = "--app-id 1 --installation-id 2 --key /k";
    for (line, told) in [
        (
            String::new(),
            "no App is configured: give --app-id, --installation-id and --key",
        ),
        ("--app-id 1".to_owned(), "key: it is missing"),
        (
            "--app-id 1 --key /k".to_owned(),
            "no installation is configured: give --installation-id",
        ),
        (
            format!("{app} --permission a=read --permission a=write"),
            "--permission a is given as read and as write",
        ),
        (
            format!("{app} {repositories}"),
            "name 501 repositories: give at most 500",
        ),
        (
            format!("{app} --config /nonexistent.yaml"),
            "--config /nonexistent.yaml: No such file",
        ),
    ] {
        match request(&line, &[]) {
            Err(Failure::Usage(error)) => assert!(error.contains(told), "{line}: {error}"),
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn a_failure_is_one_line_for_each_problem() {
    assert_eq!(
        Failure::Usage("a: b\nc: d".to_owned()).to_string(),
        "error: a: b\nerror: c: d"
    );
}

#[test]
fn a_token_is_printed_alone_or_as_json() {
    let answer = MintAnswer {
        token: SecretString::from("ghs_x"),
        expires_at: "2030-01-01T00:00:00Z".parse().expect("a time"),
        hashed_token: "aGFzaA==".to_owned(),
        permissions: BTreeMap::from([("contents".to_owned(), "read".to_owned())]),
        repository_selection: Some("selected".to_owned()),
        repositories: vec!["a".to_owned()],
    };
    let printed = |output| {
        let mut bytes = Vec::new();
        answer.write(output, &mut bytes).expect("written");
        String::from_utf8(bytes).expect("text")
    };
    assert_eq!(printed(Output::Token), "ghs_x\n");
    let json: serde_json::Value = serde_json::from_str(&printed(Output::Json)).expect("JSON");
    let expected = serde_json::json!({
        "token": "ghs_x", "expires_at": "2030-01-01T00:00:00Z", "hashed_token": "aGFzaA==",
        "permissions": {"contents": "read"}, "repository_selection": "selected", "repositories": ["a"],
    });
    assert_eq!(json, expected);
}

#[test]
fn the_crds_are_a_yaml_stream_of_all_of_them() {
    let text = crds::yaml().expect("YAML");
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    let same: Vec<_> = crate::api::crd::all()
        .iter()
        .map(|crd| serde_json::to_value(crd).expect("JSON"))
        .collect();
    assert_eq!(documents, same);
}

#[test]
fn the_end_does_not_wait_for_what_blocks_a_thread() {
    let blocked = Duration::from_secs(20);
    let (_open, never) = std::sync::mpsc::channel::<()>();
    let begun = tokio::time::Instant::now();
    let done = block_on(async {
        let (began, begins) = tokio::sync::oneshot::channel();
        drop(tokio::task::spawn_blocking(move || {
            let _ = began.send(());
            never.recv_timeout(blocked)
        }));
        begins.await
    });
    assert!(matches!(done, Ok(Ok(()))));
    assert!(begun.elapsed() < blocked / 2);
}
