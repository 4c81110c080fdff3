//! The room as a whole: every row of GitHub's answers, garbage, and real HTTP on loopback.

mod answers;
mod calls;
mod garbage;
mod minted;
mod server;
mod traffic;
mod wire;

use std::collections::BTreeMap;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::{Answer, Asked, Call, MintScope};
use crate::domain::BaseUrl;
use crate::domain::jwt::Issuer;

/// `Fri, 22 Nov 2024 10:00:00 GMT`
const NOW: i64 = 1_732_269_600;
const TOKEN: &str = "ghs_16C7e42F292c6912E7710c838347Ae178B4a";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect();
    Answer::new(status, headers, body.into(), at(NOW))
}

/// GitHub's `basic-error`.
fn message(text: &str) -> String {
    serde_json::json!({"message": text, "documentation_url": "https://docs.github.com/rest", "status": "400"})
        .to_string()
}

fn scope() -> MintScope {
    MintScope {
        permissions: Some(BTreeMap::from([
            ("contents".into(), "write".into()),
            ("issues".into(), "read".into()),
        ])),
        repositories: vec!["alpha".into(), "beta".into()],
        repository_ids: vec![101],
    }
}

fn with_asked<T>(mint: bool, f: impl FnOnce(&Asked<'_>) -> T) -> T {
    let base_url: BaseUrl = BaseUrl::GITHUB_COM.parse().unwrap();
    let (issuer, scope) = (Issuer::AppId(12_345), scope());
    let call = if mint {
        Call::Mint {
            installation_id: 67_890,
            scope: &scope,
        }
    } else {
        Call::Verify
    };
    f(&Asked {
        base_url: &base_url,
        issuer: &issuer,
        quotes: true,
        call,
    })
}
