use std::sync::{Arc, Mutex};

use futures::future::ready;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tokio::time::timeout;
use tower::{BoxError, service_fn};

use crate::cluster::Metadata;
use crate::cluster::lanes::Lanes;

use super::*;

/// What becomes of a watcher within a minute where the API server gives these answers and then begins an answer without an end: what it
/// asks and what it tells, in order.
async fn minute(answers: impl IntoIterator<Item = (u16, String), IntoIter: Send + 'static>) -> Vec<String> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let (asked, answers) = (log.clone(), Arc::new(Mutex::new(answers.into_iter())));
    let open = move || {
        let (asked, answers) = (asked.clone(), answers.clone());
        service_fn(move |request: Request<Body>| {
            let mut asked = asked.lock().unwrap();
            asked.push(meant(request.uri().query().unwrap_or_default()));
            assert!(asked.len() < 100, "there is no end of requests: {asked:?}");
            let (code, body) = match answers.lock().unwrap().next() {
                Some((code, text)) => (code, Full::from(text).map_err(BoxError::from).boxed_unsync()),
                None => (
                    200,
                    StreamBody::new(stream::pending::<Result<Frame<Bytes>, _>>()).boxed_unsync(),
                ),
            };
            let answer = Response::builder().status(code);
            ready(answer.body(body).map_err(BoxError::from))
        })
    };
    let lanes = Arc::new(Lanes::new(open));
    let service = service_fn(move |request| {
        let lanes = lanes.clone();
        async move { lanes.watch::<_, Full<Bytes>, _>(request).await }
    });
    let secrets: Api<Metadata> = Api::all(Client::new(service, "default"));
    let events = follow(secrets, watcher::Config::default().page_size(2));
    let told = events.for_each(|event| {
        let told = match event {
            Ok(Event::Init) => "begin",
            Ok(Event::InitApply(_) | Event::Apply(_) | Event::Delete(_)) => "object",
            Ok(Event::InitDone) => "listed",
            Err(_) => "error",
        };
        log.lock().unwrap().push(told.to_owned());
        ready(())
    });
    timeout(Duration::from_secs(60), told).await.unwrap_err();
    log.lock().unwrap().clone()
}

/// What a request is about.
fn meant(query: &str) -> String {
    let value = |name: &str| {
        query
            .split('&')
            .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    };
    match (value("watch"), value("limit"), value("continue")) {
        (Some(_), ..) => format!("watch from {}", value("resourceVersion").unwrap_or_default()),
        (None, Some(_), None) => "first page".to_owned(),
        (None, Some(_), Some(_)) => "next page".to_owned(),
        (None, None, _) => "whole list".to_owned(),
    }
}

/// A list of one object, or a page of one where there is more.
fn list(version: &str, more: bool) -> (u16, String) {
    let metadata = json!({"resourceVersion": version, "continue": if more { "more" } else { "" }});
    let object = json!({"metadata": {"name": "a", "namespace": "b", "resourceVersion": version}});
    let list = json!({"kind": "SecretList", "apiVersion": "v1", "metadata": metadata, "items": [object]});
    (200, list.to_string())
}

fn status(code: u16, cause: &str) -> (u16, String) {
    let details = json!({"causes": [{"reason": cause, "message": "no", "field": ""}]});
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "no", "reason": "x",
        "details": details, "code": code});
    (code, status.to_string())
}

const LISTED: [&str; 4] = ["begin", "first page", "object", "listed"];

#[tokio::test(start_paused = true)]
async fn a_watch_whose_version_the_api_server_does_not_have_lists_anew_and_another_that_fails_goes_on() {
    for (code, cause) in [
        (410, ""),
        (504, "ResourceVersionTooLarge"),
        (400, "ResourceVersionTooLarge"),
    ] {
        let told = minute([list("1", false), status(code, cause), list("2", false)]).await;
        let anew = [&LISTED[..], &["watch from 1", "error"], &LISTED, &["watch from 2"]].concat();
        assert_eq!(told, anew, "{code} {cause}");
    }
    for code in [403, 429, 500, 503, 504] {
        let told = minute([list("1", false), status(code, "")]).await;
        let on = [&LISTED[..], &["watch from 1", "error", "watch from 1"]].concat();
        assert_eq!(told, on, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_watch_has_told_and_was_not_understood_is_listed() {
    let after =
        r#"{"type":"BOOKMARK","object":{"kind":"Secret","apiVersion":"v1","metadata":{"resourceVersion":"5"}}}"#;
    for line in [
        r#"{"type":"ADDED","object":7}"#,
        r#"{"type":"SURPRISE","object":{}}"#,
        "<html>",
    ] {
        let watch = (200, format!("{line}\n{after}\n"));
        let told = minute([list("1", false), watch, list("2", false)]).await;
        let anew = [&LISTED[..], &["watch from 1", "error"], &LISTED, &["watch from 2"]].concat();
        assert_eq!(told, anew, "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_loses_its_place_between_pages_is_asked_for_whole_once() {
    let gone = || status(410, "");
    let paged = ["begin", "first page", "object", "next page", "error"];
    let told = minute([list("1", true), gone(), list("2", false), gone(), list("3", false)]).await;
    let whole = ["begin", "whole list", "object", "listed", "watch from 2", "error"];
    assert_eq!(told, [&paged[..], &whole, &LISTED, &["watch from 3"]].concat());
    // One that is too much is asked for in pages again.
    let told = minute([list("1", true), gone(), status(500, ""), list("2", false)]).await;
    let refused = ["begin", "whole list", "error"];
    assert_eq!(told, [&paged[..], &refused, &LISTED, &["watch from 2"]].concat());
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_at_once_are_taken_up_less_and_less_often() {
    let told = minute(std::iter::once(list("1", false)).chain(std::iter::repeat((200, String::new())))).await;
    // After 0.25, 0.5, 1 and 2 s, and the longest pause from then on.
    let watches = 1 + 4 + (60_000 - 3_750) / 4_000;
    let expected = std::iter::repeat_n(["watch from 1", "error"], watches).flatten();
    assert_eq!(told, LISTED.into_iter().chain(expected).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_always_refused_is_asked_for_less_and_less_often() {
    let begun = Instant::now();
    // As a watcher tells it.
    let told = stream::iter([Ok(Event::<()>::Init), Err(())]).cycle();
    let failures = told
        .backoff(Pause::default())
        .filter(|told| std::future::ready(told.is_err()));
    failures.take(16).for_each(|_| std::future::ready(())).await;
    // 0.25, 0.5, 1 and 2 s, and the longest from then on.
    assert_eq!(begun.elapsed(), Duration::from_millis(3750) + LONGEST_PAUSE * 11);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_has_worked_again_is_taken_up_soon() {
    let mut pause = Pause::default();
    while pause.next() != Some(LONGEST_PAUSE) {}
    tokio::time::advance(LONGEST_PAUSE + QUIET).await;
    assert_eq!(pause.next(), Some(SHORTEST_PAUSE));
}
