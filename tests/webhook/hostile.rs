//! Whoever reaches the port may send anything, and nothing.

use std::time::Duration;

use lab::wait::eventually;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{SOON, World, pod};

fn review(change: impl FnOnce(&mut Value)) -> Value {
    let mut review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u",
        "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "default", "operation": "CREATE",
        "object": {"metadata": {}, "spec": {"containers": [{"name": "a"}]}}}});
    change(&mut review);
    review
}

#[tokio::test]
async fn garbage_gets_a_4xx_that_says_what_is_wrong_and_the_next_request_is_answered() {
    let world = World::new().await;
    let client = world.https().await;
    let send = async |path: &str, kind: &str, body: Vec<u8>| {
        let sent = client
            .post(world.url(path))
            .header(CONTENT_TYPE, kind)
            .body(body)
            .send()
            .await
            .unwrap();
        (sent.status(), sent.text().await.unwrap())
    };
    let json = "application/json";
    let of = |change: &dyn Fn(&mut Value)| serde_json::to_vec(&review(|review| change(review))).unwrap();
    let long = "a".repeat(7_900_000);
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let (bad, none) = (StatusCode::BAD_REQUEST, "no AdmissionReview");
    for (path, served) in [
        ("/inject", json!({"group": "", "version": "v1", "kind": "Pod"})),
        (
            "/validate",
            json!({"group": "github.as-code.io", "version": "v1", "kind": "Token"}),
        ),
        (
            "/validate",
            json!({"group": "github.as-code.io", "version": "v1", "kind": "TokenPolicy"}),
        ),
    ] {
        let of = |change: &dyn Fn(&mut Value)| {
            of(&|review| {
                review["request"]["kind"] = served.clone();
                change(review);
            })
        };
        let cases: Vec<(&str, Vec<u8>, StatusCode, &str)> = vec![
            (json, b"".to_vec(), bad, none),
            (json, b"\xff\xfe{".to_vec(), bad, none),
            (json, deep.clone(), bad, none),
            (
                json,
                b"{}".to_vec(),
                bad,
                "send an AdmissionReview of admission.k8s.io/v1",
            ),
            (
                "text/plain",
                of(&|_| {}),
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "application/json",
            ),
            (
                json,
                of(&|r| r["apiVersion"] = "admission.k8s.io/v1beta1".into()),
                bad,
                "v1beta1",
            ),
            (
                json,
                of(&|r| r["kind"] = "Status".into()),
                bad,
                "'Status' is not served",
            ),
            (
                json,
                of(&|r| r["request"]["kind"]["kind"] = "Node".into()),
                bad,
                "'Node'",
            ),
            (json, of(&|r| r["request"]["uid"] = "".into()), bad, "request.uid"),
            (
                json,
                of(&|r| r["request"]["uid"] = long.as_str().into()),
                bad,
                "request.uid",
            ),
            (
                json,
                of(&|r| r["request"]["namespace"] = "team-b/tokens/x?y=".into()),
                bad,
                "request.namespace: 'team-b/tokens/x?y=' is no namespace: write at most 63",
            ),
            (
                json,
                of(&|r| r["request"]["namespace"] = long.as_str().into()),
                bad,
                "request.namespace",
            ),
            (json, of(&|r| r["request"]["operation"] = json!({"a": 1})), bad, none),
            (json, of(&|_| {})[..90].to_vec(), bad, none),
            (
                json,
                vec![b' '; 8 * 1024 * 1024 + 1],
                StatusCode::PAYLOAD_TOO_LARGE,
                "8 MiB",
            ),
        ];
        for (kind, body, status, text) in cases {
            let (found, said) = send(path, kind, body).await;
            assert_eq!(found, status, "{path}: {said}");
            assert!(said.contains(text), "{path}: {said:?} lacks {text:?}");
            assert!(said.len() < 1_000, "{path}: {} bytes", said.len());
        }
    }
    let (status, _) = send("/nowhere", json, of(&|_| {})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let numbers: &dyn Fn(&mut Value) =
        &|r| r["request"]["object"]["metadata"]["annotations"] = json!({"github.as-code.io/token": 1});
    let (status, said) = send("/inject", json, of(numbers)).await;
    assert_eq!(status, bad);
    assert!(said.contains("expected a string"), "{said}");
    let (status, said) = send("/inject", json, of(&|r| r["request"]["object"] = "a pod".into())).await;
    assert_eq!(status, bad);
    assert!(said.contains(none), "{said}");
    for (change, value) in [
        ("operation", "UPDATE"),
        ("operation", "DELETE"),
        ("subResource", "ephemeralcontainers"),
    ] {
        let asks = of(&|r| {
            r["request"][change] = value.into();
            r["request"]["object"]["metadata"]["annotations"] = json!({"github.as-code.io/token": "../x"});
        });
        let (status, answer) = send("/inject", json, asks).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(
            (status, &answer["response"]),
            (StatusCode::OK, &json!({"uid": "u", "allowed": true}))
        );
    }
    for path in ["/inject", "/validate"] {
        let got = client.get(world.url(path)).send().await.unwrap();
        assert_eq!(got.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
    let (status, answer) = send("/inject", json, of(&|_| {})).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["response"]["allowed"]), (StatusCode::OK, &json!(true)));
    assert!(answer["response"].get("patch").is_none());
    assert!(world.operator.process().check_running().is_ok());
}

/// An object of our kinds that is none, at `/validate`: the review is understood, so it is refused with what is wrong.
#[tokio::test]
async fn an_object_that_is_none_is_refused_and_what_is_not_asked_about_is_let_in() {
    let world = World::new().await;
    let client = world.https().await;
    let answer = async |kind: &str, change: &dyn Fn(&mut Value)| {
        let body = review(|review| {
            review["request"]["kind"] = json!({"group": "github.as-code.io", "version": "v1", "kind": kind});
            review["request"]["object"] = json!({"metadata": {"name": "x", "namespace": "default"}, "spec": {}});
            change(review);
        });
        let sent = client.post(world.url("/validate")).json(&body).send().await.unwrap();
        assert_eq!(sent.status(), StatusCode::OK);
        sent.json::<Value>().await.unwrap()["response"].clone()
    };
    for kind in ["Token", "ClusterToken", "TokenPolicy"] {
        for object in [
            json!("a token"),
            json!(["a"]),
            json!({"metadata": {"name": "x", "namespace": "default"}, "spec": 5}),
            json!({"metadata": {"name": "x", "namespace": "default"}, "spec": {"permissions": "all"}}),
        ] {
            let response = answer(kind, &|review| review["request"]["object"] = object.clone()).await;
            assert_eq!(response["allowed"], false, "{kind} {object}: {response}");
            assert_eq!(response["status"]["code"], 403, "{response}");
            let message = response["status"]["message"].as_str().unwrap();
            assert!(
                message.starts_with("the object cannot be read: "),
                "{kind} {object}: {message}"
            );
        }
        for (field, value) in [("operation", "DELETE"), ("subResource", "status")] {
            let change = |review: &mut Value| {
                review["request"][field] = value.into();
                review["request"]["object"] = json!({"spec": 5});
            };
            let response = answer(kind, &change).await;
            assert_eq!(response, json!({"uid": "u", "allowed": true}), "{kind} {field}");
        }
    }
    assert!(world.operator.process().check_running().is_ok());
}

#[tokio::test]
async fn a_pod_of_three_megabytes_and_one_of_a_thousand_annotations_are_answered() {
    let world = World::new().await;
    world.token("ci", json!({})).await;
    let names = (0..1000).map(|n| (format!("x{n}"), "y".to_owned())).collect::<Vec<_>>();
    let mut all: Vec<(&str, &str)> = names
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    all.push(("token", "ci"));
    let many = world.dry_run(&pod("many", &all, json!({}))).await.unwrap();
    assert!(crate::world::note(&many).is_some());

    let large = |value: usize| {
        let env: Vec<Value> = (0..1_000)
            .map(|n| json!({"name": format!("V{n}"), "value": "x".repeat(value)}))
            .collect();
        let spec = json!({"containers": [{"name": "app", "image": "x", "env": env}]});
        pod("large", &[("token", "ci")], spec)
    };
    // As large as the API server takes one: its limit is 3 MiB, of what it is sent.
    let largest = large(3_080);
    assert!((3_000_000..3 << 20).contains(&serde_json::to_vec(&largest).unwrap().len()));
    let made = world.dry_run(&largest).await.unwrap();
    assert!(crate::world::note(&made).is_some());
    let error = world.dry_run(&large(3_200)).await.unwrap_err();
    assert!(error.contains("limit is 3145728"), "{error}");
}

#[tokio::test]
async fn an_owner_that_cannot_exist_gets_no_event_and_takes_no_memory() {
    let world = World::new().await;
    let client = world.https().await;
    let refused = async |owner: Value| {
        let body = review(|review| {
            review["request"]["namespace"] = world.namespace.as_str().into();
            review["request"]["object"]["metadata"] =
                json!({"annotations": {"github.as-code.io/token": "nowhere"}, "ownerReferences": [owner]});
        });
        let sent = client.post(world.url("/inject")).json(&body).send().await.unwrap();
        let answer: Value = sent.json().await.unwrap();
        assert_eq!(answer["response"]["allowed"], false, "{answer}");
    };
    let owner = |name: String, uid: String| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": uid, "controller": true});
    for number in 0..60 {
        refused(owner(
            format!("r{number}"),
            format!("{number}{}", "u".repeat(1_000_000)),
        ))
        .await;
    }
    for _ in 0..2 {
        refused(owner("real".to_owned(), "u".to_owned())).await;
    }
    // Events are written one after the other.
    let told = eventually(SOON, "one Event, told twice", async || {
        let all = world.events().await?.into_iter();
        let told: Vec<_> = all
            .map(|event| {
                (
                    event.regarding.and_then(|about| about.name),
                    event.series.map(|series| series.count),
                )
            })
            .collect();
        if told.iter().any(|(_, times)| *times == Some(2)) {
            Ok(told)
        } else {
            Err(format!("{told:?}"))
        }
    })
    .await;
    assert_eq!(told, [(Some("real".to_owned()), Some(2))]);
    let memory = world.operator.usage().unwrap().resident >> 20;
    assert!(memory < 128, "{memory} MiB");
}

/// Opens connections that say nothing, or only the beginning of a handshake.
async fn hang(address: std::net::SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for n in 0..count {
        let Ok(mut stream) = TcpStream::connect(address).await else {
            continue;
        };
        if n % 2 == 0 {
            // A record that announces more than it brings.
            let _ = stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00]).await;
        }
        held.push(stream);
    }
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_hanging_handshakes_hold_up_nobody() {
    let world = World::new().await;
    let client = world.https().await;
    let address = world.port.address();
    let attack = tokio::spawn(async move { hang(address, 10_000).await });
    let body = review(|_| {});
    let (mut answered, mut slowest) = (0, Duration::ZERO);
    // Each on a connection of its own, while the others come in, and after they all have.
    while !attack.is_finished() || answered < 50 {
        let pem = world.bundle().await;
        let fresh = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only(reqwest::Certificate::from_pem_bundle(pem.as_bytes()).unwrap())
            .timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let started = tokio::time::Instant::now();
        let answer = fresh.post(world.url("/inject")).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        slowest = slowest.max(started.elapsed());
        answered += 1;
    }
    let held = attack.await.unwrap();
    assert!(held.len() >= 10_000, "{}", held.len());
    assert!(
        slowest < Duration::from_secs(4),
        "the API server waits 5 s: {slowest:?}"
    );
    assert_eq!(
        client
            .post(world.url("/inject"))
            .json(&body)
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
    let memory = world.operator.usage().unwrap().resident >> 20;
    println!("slowest of {answered}: {slowest:?}; memory {memory} MiB");
    assert!(memory < 128, "{memory} MiB");
}

#[tokio::test]
async fn a_handshake_that_hangs_and_a_body_that_never_comes_are_cut_off() {
    let world = World::new().await;
    let mut silent = TcpStream::connect(world.port.address()).await.unwrap();
    let mut end = [0; 1];
    let cut = tokio::time::timeout(Duration::from_secs(8), silent.read(&mut end)).await;
    assert!(matches!(cut, Ok(Ok(0) | Err(_))), "{cut:?}");

    let client = world.https().await;
    let never = futures::stream::pending::<Result<hyper::body::Frame<axum::body::Bytes>, std::io::Error>>();
    let body = reqwest::Body::wrap(http_body_util::StreamBody::new(never));
    let sent = client
        .post(world.url("/inject"))
        .header(CONTENT_TYPE, "application/json")
        .body(body)
        .send();
    let answer = tokio::time::timeout(Duration::from_secs(9), sent)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
}
