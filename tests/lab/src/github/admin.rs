//! `/_lab`: the stand-in, driven by another process.

use axum::body::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::answer::{Answer, error, json_answer, raw};
use super::call::Call;
use super::fault::FaultRule;
use super::key::AppKey;
use super::record::MintRequest;
use super::settings::{Installation, Permissions};
use super::shared::Shared;
use super::world::Installed;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneToken {
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    installation: u64,
    #[serde(default)]
    request: MintRequest,
}

/// Answers a request of the lab.
pub(super) fn answer(call: &Call) -> Answer {
    let segments = call.segments();
    let path = segments.get(1..).unwrap_or_default();
    let answer = match (call.method.as_str(), path) {
        ("GET", [what]) => read(call, what),
        (_, ["installations", id, verb]) => change_installation(call, id, verb),
        _ => act(call, path),
    };
    answer.unwrap_or_else(|problem| error(400, &problem))
}

fn read(call: &Call, what: &str) -> Result<Answer, String> {
    let state = call.shared.state();
    let records = &state.records;
    let since = call.number("since").unwrap_or(0);
    Ok(match what {
        "state" => {
            drop(state);
            json_answer(200, &overview(&call.shared))
        }
        "key" => match state.keys.last() {
            Some(key) => raw(200, "application/x-pem-file", key.pkcs1_pem()),
            None => return Err("the App has no key; POST /_lab/rotate-key".to_owned()),
        },
        "mints" => json_answer(200, &records.mints.get(since..).unwrap_or_default()),
        "requests" => json_answer(200, &records.requests),
        "revocations" => json_answer(200, &records.revocations),
        "tokens" => {
            let tokens: Vec<_> = records.mints.iter().map(|mint| &*mint.token).collect();
            json_answer(200, &tokens)
        }
        _ => {
            return Err(format!(
                "GET /_lab/{what}: use state, key, mints, requests, revocations or tokens"
            ));
        }
    })
}

fn overview(shared: &Shared) -> Value {
    let state = shared.state();
    let installations: Vec<_> = state.world.all().into_iter().map(Installed::describe).collect();
    json!({
        "url": shared.url,
        "app_id": shared.app_id,
        "client_id": shared.client_id,
        "now": state.now(),
        "knobs": state.knobs,
        "faults": state.faults.rules(),
        "counts": state.records.counts,
        "installations": installations,
    })
}

fn act(call: &Call, path: &[&str]) -> Result<Answer, String> {
    let shared = &call.shared;
    let done = json!({});
    let result = match (call.method.as_str(), path) {
        ("PATCH", ["knobs"]) => turn_knobs(shared, &call.body)?,
        ("POST", ["faults"]) => {
            shared.add_fault(parse::<FaultRule>(&call.body)?);
            done
        }
        ("DELETE", ["faults"]) => {
            shared.clear_faults();
            done
        }
        ("POST", ["token-state"]) => {
            let OneToken { token } = parse(&call.body)?;
            json!(shared.state().token_state(&token))
        }
        ("POST", ["would-issue"]) => {
            let Question { installation, request } = parse(&call.body)?;
            json!(shared.state().would_issue(installation, &request))
        }
        ("POST", ["installations"]) => {
            let now = shared.now();
            shared.state().world.install(parse::<Installation>(&call.body)?, now);
            done
        }
        ("POST", ["rotate-key"]) => {
            let key = AppKey::generate().map_err(|error| error.to_string())?;
            let pem = key.pkcs1_pem();
            shared.state().keys = vec![key];
            return Ok(raw(200, "application/x-pem-file", pem));
        }
        ("POST", ["reset-limits"]) => {
            shared.state().meters.reset();
            done
        }
        (method, path) => return Err(format!("{method} /_lab/{} is unknown", path.join("/"))),
    };
    Ok(json_answer(200, &result))
}

fn change_installation(call: &Call, id: &str, verb: &str) -> Result<Answer, String> {
    let number: u64 = id.parse().map_err(|_| format!("installation {id}: not a number"))?;
    let now = call.shared.now();
    let mut state = call.shared.state();
    let world = &mut state.world;
    let suspend = |since: Option<Timestamp>| move |one: &mut Installed| one.suspended_at = since;
    let mut id = number;
    let found = match (call.method.as_str(), verb) {
        ("POST", "suspend") => world.change(number, suspend(Some(now))),
        ("POST", "unsuspend") => world.change(number, suspend(None)),
        ("POST", "uninstall") => world.uninstall(number),
        ("POST", "reinstall") => world.reinstall(number, now).map(|new| id = new).is_some(),
        ("POST", "grant") => {
            let permissions: Permissions = parse(&call.body)?;
            world.change(number, |installed| installed.permissions = permissions)
        }
        (method, _) => return Err(format!("{method} /_lab/installations/{number}/{verb} is unknown")),
    };
    if found {
        Ok(json_answer(200, &json!({"id": id})))
    } else {
        Err(format!("installation {number}: none"))
    }
}

/// Lays the given knobs over the present ones.
fn turn_knobs(shared: &Shared, body: &Bytes) -> Result<Value, String> {
    let changes: serde_json::Map<String, Value> = parse(body)?;
    let mut state = shared.state();
    let mut knobs = serde_json::to_value(&state.knobs).map_err(|error| error.to_string())?;
    for (name, value) in changes {
        knobs[name] = value;
    }
    state.knobs = serde_json::from_value(knobs.clone()).map_err(|error| error.to_string())?;
    Ok(knobs)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the body is not what is needed: {error}"))
}
