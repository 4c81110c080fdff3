//! What the readers of each format need, and what holds for all formats.

use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::api::names::USERNAME;

#[test]
fn passwords_and_tokens_have_no_newline() {
    for (format, key) in [
        (Format::Token, "token"),
        (Format::BasicAuth, "password"),
        (Format::ArgoCdRepoCreds, "password"),
    ] {
        for api in SITES {
            assert_eq!(text(&rendered(format, api), key), FAKE_TOKEN);
        }
    }
}

#[test]
fn git_takes_the_line_of_its_credential_store_for_the_sites_host_only() {
    // Scheme, host and port are compared as they stand: https://git-scm.com/docs/git-credential-store#_storage_format
    for api in SITES {
        let site = site(api);
        let line = text(&rendered(Format::GitCredentials, api), ".git-credentials");
        let url = url::Url::parse(line.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!((url.username(), url.password()), (USERNAME, Some(FAKE_TOKEN)));
        assert_eq!(url[..url::Position::BeforeUsername], format!("{}://", url.scheme()));
        assert_eq!(url[url::Position::BeforeHost..url::Position::AfterPort], site.host);
        assert!(site.web_url.starts_with(url.scheme()));
    }
}

#[test]
fn a_git_config_rewrites_the_sites_urls_and_no_others() {
    for api in SITES {
        let config = text(&rendered(Format::GitConfig, api), ".gitconfig");
        // A prefix without its slash would catch github.com.example.org too.
        assert!(
            config.ends_with(&format!("\tinsteadOf = {}/\n", site(api).web_url)),
            "{config}"
        );
        assert!(
            config.starts_with("[url \"http") && config.contains("/\"]\n"),
            "{config}"
        );
    }
}

#[test]
fn argo_cd_offers_the_credentials_to_the_sites_repositories_only() {
    for api in SITES {
        let rendered = rendered(Format::ArgoCdRepoCreds, api);
        let url = text(&rendered, "url");
        // Argo CD compares prefixes of texts.
        assert!(format!("{}/acme/web.git", site(api).web_url).starts_with(&url), "{url}");
        assert!(
            !format!("{}.example.org/acme/web.git", site(api).web_url).starts_with(&url),
            "{url}"
        );
        assert_eq!(text(&rendered, "type"), "git");
        assert_eq!(text(&rendered, "username"), USERNAME);
        let label = rendered.labels.get("argocd.argoproj.io/secret-type");
        assert_eq!(label.map(String::as_str), Some("repo-creds"));
    }
}

#[test]
fn netrc_names_machines_without_ports() {
    let entry = |machine: &str| format!("machine {machine}\nlogin {USERNAME}\npassword {FAKE_TOKEN}\n");
    for (api, machines) in [
        ("https://api.github.com", vec!["github.com", "api.github.com"]),
        ("https://api.acme.ghe.com", vec!["acme.ghe.com", "api.acme.ghe.com"]),
        ("https://github.acme.example/api/v3", vec!["github.acme.example"]),
        ("http://127.0.0.1:8080", vec!["127.0.0.1"]),
        ("http://[::1]:8080", vec!["::1"]),
        ("http://[::1]", vec!["::1"]),
    ] {
        let wanted: String = machines.into_iter().map(entry).collect();
        assert_eq!(text(&rendered(Format::Netrc, api), ".netrc"), wanted, "{api}");
    }
}

#[test]
fn a_docker_config_names_the_sites_own_registry() {
    for (api, registry) in [
        ("https://api.github.com", "ghcr.io"),
        ("https://api.acme.ghe.com", "containers.acme.ghe.com"),
        ("https://github.acme.example/api/v3", "containers.github.acme.example"),
    ] {
        let config: Value =
            serde_json::from_str(&text(&rendered(Format::DockerConfigJson, api), ".dockerconfigjson")).unwrap();
        let auth = STANDARD.encode(format!("{USERNAME}:{FAKE_TOKEN}"));
        let entry = json!({"username": USERNAME, "password": FAKE_TOKEN, "auth": auth});
        assert_eq!(config, json!({"auths": {registry: entry}}));
    }
}

#[test]
fn a_provider_is_told_the_base_url_that_it_completes_itself() {
    for (api, base_url) in [
        ("https://api.github.com", None),
        ("https://api.acme.ghe.com", Some("https://api.acme.ghe.com/")),
        // The provider adds `api/v3/` for Enterprise Server.
        (
            "https://github.acme.example/api/v3",
            Some("https://github.acme.example/"),
        ),
        ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080/")),
    ] {
        let credentials: Value =
            serde_json::from_str(&text(&rendered(Format::GithubProviderJson, api), "credentials")).unwrap();
        assert_eq!(credentials["token"], FAKE_TOKEN);
        assert_eq!(credentials.get("base_url").and_then(Value::as_str), base_url, "{api}");
    }
}

#[test]
fn the_keys_that_are_announced_are_those_that_are_written() {
    for format in Format::ALL {
        let rendered = rendered(format, SITES[0]);
        let announced = intent(format);
        let announced: BTreeSet<&str> = keys(&announced.secret).into_iter().collect();
        let written: BTreeSet<&str> = rendered.data.keys().map(String::as_str).collect();
        assert_eq!(announced, written, "{format:?}");
    }
}

#[test]
fn debug_shows_no_value_of_a_secret() {
    for format in Format::ALL {
        let shown = format!("{:?} {:?}", rendered(format, SITES[0]), issued(FAKE_TOKEN));
        assert!(
            !shown.contains(FAKE_TOKEN) && !shown.contains("eC1hY2Nlc3MtdG9rZW4"),
            "{shown}"
        );
    }
}

#[test]
fn a_token_is_found_in_a_template_whatever_stands_around_it() {
    for template in [
        "{{ .token }}",
        "token {{ .token }}.",
        "x-{{ .token }}",
        "Basic {{ .basicAuth }}",
        "//npm.pkg.github.com/:_auth={{ .basicAuth }}",
        "{\"auth\":\"{{ .basicAuth }}\"}",
    ] {
        let spec = json!({"secret": {"format": "template", "template": {"k": template}}});
        for token in [FAKE_TOKEN, LONG_TOKEN] {
            let rendered = render(
                &fixtures::intent(spec.clone()),
                &site(SITES[0]),
                &issued(token),
                "scope",
            )
            .unwrap();
            let found = find_token(&stored(&rendered), hashed_token(&rendered));
            assert_eq!(
                found.map(|t| t.expose_secret().to_owned()).as_deref(),
                Some(token),
                "{template}"
            );
        }
    }
}

/// Shaped like the longer kind of token: an App, a JWT; `-`, `_` and `.` in it, and at its end.
const LONG_TOKEN: &str = "ghs_1_e30.e30.0-0_0-";

fn any_token() -> impl Strategy<Value = String> {
    prop_oneof![
        "ghs_[A-Za-z0-9]{36}",
        "ghs_[0-9]{1,6}_[A-Za-z0-9_-]{9,60}\\.[A-Za-z0-9_-]{9,60}\\.[A-Za-z0-9_-]{9,60}",
        "[A-Za-z0-9]{20,40}"
    ]
}

fn any_format() -> impl Strategy<Value = Format> {
    prop::sample::select(&Format::ALL[..])
}

proptest! {
    #[test]
    fn the_token_is_found_in_every_format(format in any_format(), api in prop::sample::select(&SITES[..]), token in any_token()) {
        let rendered = render(&intent(format), &site(api), &issued(&token), "scope").unwrap();
        let found = find_token(&stored(&rendered), hashed_token(&rendered));
        prop_assert_eq!(found.map(|t| t.expose_secret().to_owned()), Some(token));
    }

    #[test]
    fn another_token_is_never_found(format in any_format(), token in any_token(), other in any_token()) {
        prop_assume!(token != other);
        let rendered = render(&intent(format), &site(SITES[0]), &issued(&token), "scope").unwrap();
        prop_assert!(find_token(&stored(&rendered), Some(&base64_sha256(other.as_bytes()))).is_none());
    }

    #[test]
    fn what_was_written_is_intact_whatever_others_added(
        format in any_format(), key in "[a-z]{1,10}-of-others", value in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let rendered = rendered(format, SITES[0]);
        let mut data = stored(&rendered);
        prop_assert_eq!(judge(&intent(format).secret, &rendered.annotations, &data), Content::Intact);
        data.insert(key, value);
        prop_assert_eq!(judge(&intent(format).secret, &rendered.annotations, &data), Content::Intact);
    }

    #[test]
    fn any_changed_byte_is_noticed(format in any_format(), at in any::<prop::sample::Index>(), flip in 1u8..) {
        let rendered = rendered(format, SITES[0]);
        let mut data = stored(&rendered);
        let mut bytes: Vec<&mut u8> = data.values_mut().flatten().collect();
        let at = at.index(bytes.len());
        *bytes[at] ^= flip;
        prop_assert_eq!(judge(&intent(format).secret, &rendered.annotations, &data), Content::Tampered);
    }

    #[test]
    fn a_missing_or_emptied_key_is_noticed(format in any_format(), at in any::<prop::sample::Index>(), empty in any::<bool>()) {
        let rendered = rendered(format, SITES[0]);
        let mut data = stored(&rendered);
        let key = data.keys().nth(at.index(data.len())).unwrap().clone();
        if empty {
            data.insert(key, Vec::new());
        } else {
            data.remove(&key);
        }
        prop_assert_eq!(judge(&intent(format).secret, &rendered.annotations, &data), Content::Tampered);
    }

    #[test]
    fn the_content_hash_ignores_order_and_tells_keys_from_values(
        pairs in proptest::collection::btree_map("[a-z]{0,4}", proptest::collection::vec(any::<u8>(), 0..6), 1..6),
    ) {
        let pairs: Vec<(String, Vec<u8>)> = pairs.into_iter().collect();
        let hash = |pairs: &[(String, Vec<u8>)]| content_hash(&BTreeMap::new(), pairs.iter().map(|(k, v)| (k.as_str(), v.as_slice())));
        let backwards: Vec<_> = pairs.iter().rev().cloned().collect();
        prop_assert_eq!(hash(&pairs), hash(&backwards));
        // A byte that moves from a key to its value is a change.
        let mut moved = pairs.clone();
        if let Some(last) = moved[0].0.pop() {
            moved[0].1.insert(0, last as u8);
            prop_assert_ne!(hash(&pairs), hash(&moved));
        }
    }

    #[test]
    fn another_format_is_no_tampering(from in any_format(), to in any_format()) {
        let rendered = rendered(from, SITES[0]);
        prop_assert_eq!(judge(&intent(to).secret, &rendered.annotations, &stored(&rendered)), Content::Intact);
    }
}
