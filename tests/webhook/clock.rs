//! A clock that jumps a day, forth and back, while pods are created.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use github_token_manager::domain::authority::Terms;
use jiff::{SignedDuration, Timestamp};
use lab::gtm::configurations;
use lab::wait::eventually;
use tokio_util::sync::CancellationToken;

use crate::certificates::call;
use crate::mounted::served;
use crate::rotation::{now, replica};
use crate::world::{SOON, bundle, cluster, read};

const DAY: i64 = 24 * 60 * 60;

/// Seconds by which the clock is wrong, and how often it was read.
static WRONG: AtomicI64 = AtomicI64::new(0);
static READ: AtomicUsize = AtomicUsize::new(0);

fn jumping() -> Timestamp {
    READ.fetch_add(1, Ordering::Relaxed);
    now() + SignedDuration::from_secs(WRONG.load(Ordering::Relaxed))
}

/// Waits until this has grown by as much.
async fn grows(counter: &AtomicUsize, by: usize, what: &str) {
    let wanted = counter.load(Ordering::Relaxed) + by;
    eventually(SOON, what, async || {
        let reached = counter.load(Ordering::Relaxed);
        if reached >= wanted { Ok(()) } else { Err(reached) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_a_day_and_comes_back_fails_no_call() {
    let cluster = cluster().start().await.unwrap();
    cluster.apply(&read("deploy/rbac.yaml")).await.unwrap();
    let client = cluster.client().await.unwrap();
    let namespace = cluster.namespace("test").await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let manifest = configurations(port).unwrap();
    cluster.apply(manifest.split("---\n").next().unwrap()).await.unwrap();
    let stop = CancellationToken::new();
    // A leaf of an hour more than a day is due after a day, and one that is valid from almost two days before serves those whose clocks
    // did not jump.
    let terms = Terms {
        // How often the clock is looked at, too.
        settle: Duration::from_secs(1),
        leaf: Duration::from_secs(25 * 60 * 60),
        backdate: Duration::from_secs(47 * 60 * 60),
        ..Terms::default()
    };
    replica(&client, listener, &stop, terms, jumping);
    let answers = async || {
        let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let once = call(client.clone(), namespace.clone(), over, calls);
        match tokio::time::timeout(Duration::from_millis(500), once).await {
            Err(_) => Ok(()),
            Ok(failed) => Err(format!("{failed:?}")),
        }
    };
    eventually(SOON, "the API server reaches the webhook", answers).await;

    let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = tokio::spawn(call(client.clone(), namespace.clone(), over.clone(), calls.clone()));
    let mut leaf = served(port, &bundle(&client).await).await.unwrap();
    for (wrong, due) in [(DAY, true), (0, false), (-DAY, true), (0, true)] {
        WRONG.store(wrong, Ordering::Relaxed);
        grows(&READ, 4, "the clock is looked at").await;
        grows(&calls, 20, "pods are answered").await;
        assert!(!load.is_finished(), "{:?}", load.await);
        let now = served(port, &bundle(&client).await).await.unwrap();
        assert_eq!(now != leaf, due, "another leaf, {wrong} s from now");
        leaf = now;
    }
    over.store(true, Ordering::Relaxed);
    load.await.unwrap().unwrap();
    stop.cancel();
}
