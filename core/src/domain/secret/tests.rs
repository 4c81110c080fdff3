mod formats;
mod golden;
mod metadata;

use serde_json::{Value, json};

use super::*;
use crate::domain::BaseUrl;
use crate::domain::fixtures::{self, FAKE_TOKEN};

/// github.com, data residency, Enterprise Server, and a server on loopback with a port.
const SITES: [&str; 4] = [
    "https://api.github.com",
    "https://api.acme.ghe.com",
    "https://github.acme.example/api/v3",
    "http://127.0.0.1:8080",
];

fn site(api: &str) -> Site {
    let base: BaseUrl = api.parse().unwrap();
    Site {
        host: base.web_host(),
        web_url: base.web_url(),
        api_url: base.to_string(),
    }
}

fn issued(token: &str) -> IssuedToken {
    IssuedToken {
        token: SecretString::from(token),
        issued_at: "2026-01-02T03:04:05.678Z".parse().unwrap(),
        expires_at: "2026-01-02T04:04:05Z".parse().unwrap(),
    }
}

fn secret_spec(format: Format) -> Value {
    let mut secret = json!({"format": format, "labels": {"team": "a"}, "annotations": {"note": "b"}});
    if format == Format::Template {
        secret["template"] = json!({
            ".npmrc": "//npm.pkg.github.com/:_authToken={{ .token }}\n",
            "all": "{{ .username }} {{ .basicAuth }} {{ .host }} {{ .url }} {{ .apiURL }} {{ .expiresAt }}",
        });
    }
    secret
}

fn intent(format: Format) -> Intent {
    fixtures::intent(json!({"secret": secret_spec(format)}))
}

fn rendered(format: Format, api: &str) -> Rendered {
    render(&intent(format), &site(api), &issued(FAKE_TOKEN), "scope").unwrap()
}

/// What the API server keeps of it.
fn stored(rendered: &Rendered) -> BTreeMap<String, Vec<u8>> {
    let bytes = |(key, value): (&String, &SecretString)| (key.clone(), value.expose_secret().as_bytes().to_vec());
    rendered.data.iter().map(bytes).collect()
}

fn text(rendered: &Rendered, key: &str) -> String {
    rendered.data.get(key).unwrap().expose_secret().to_owned()
}

fn hashed_token(rendered: &Rendered) -> Option<&str> {
    rendered.annotations.get(annotation::HASHED_TOKEN).map(String::as_str)
}

#[test]
fn a_mark_tells_the_form_unless_what_only_the_former_spec_said_is_needed() {
    let of = |secret: Value| fixtures::intent(json!({"secret": secret})).secret;
    let (plain, extra) = (
        json!({"format": "netrc"}),
        json!({"format": "basicAuth", "extraData": [{"inline": {"a": "b"}}]}),
    );
    let template = json!({"format": "template", "template": {"k": "{{ .token }}"}});
    for (former, wanted, known) in [
        (&plain, &extra, true),
        (&extra, &extra, true),
        (&template, &template, true),
        (&extra, &plain, false),
        (&template, &plain, false),
    ] {
        let (former, wanted) = (of(former.clone()), of(wanted.clone()));
        let found = in_form_of(&wanted, &format_mark(&former));
        assert_eq!(
            found.as_ref().map(format_mark),
            known.then(|| format_mark(&former)),
            "{former:?}"
        );
        assert!(found.is_none_or(|found| found.key == wanted.key && found.labels == wanted.labels));
    }
}
