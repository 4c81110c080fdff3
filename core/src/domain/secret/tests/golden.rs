//! Every format at every kind of GitHub, as it was last looked at.

use super::*;
use lab::golden::assert_golden;

#[test]
fn every_format_is_rendered_as_its_readers_expect() {
    for format in Format::ALL {
        let at_site = |api: &str| {
            let rendered = rendered(format, api);
            let data: BTreeMap<&String, &str> = rendered.data.iter().map(|(k, v)| (k, v.expose_secret())).collect();
            let secret = json!({"type": rendered.kind, "labels": rendered.labels, "annotations": rendered.annotations, "data": data});
            (api.to_owned(), secret)
        };
        let all: BTreeMap<String, Value> = SITES.into_iter().map(at_site).collect();
        let text = serde_json::to_string_pretty(&all).unwrap() + "\n";
        assert_golden(&format!("tests/golden/secrets/{}.json", format.as_str()), &text);
    }
}
