//! Rate limits.

use std::time::Duration;

use futures::future::join_all;
use lab::github::{Fault, Limits, PrimaryLimit, Route, SecondaryLimit};
use serde_json::json;

use crate::client::{Client, until};

const SECONDARY: &str = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";

fn secondary(limit: SecondaryLimit) -> Limits {
    Limits {
        secondary: Some(limit),
        primary: None,
    }
}

#[tokio::test]
async fn a_mint_costs_five_points_of_the_minute() {
    let client = Client::start().await;
    client.github.set_limits(secondary(SecondaryLimit {
        points: 15,
        ..SecondaryLimit::default()
    }));
    for _ in 0..3 {
        client.token(json!({})).await;
    }
    assert!(!client.github.would_issue(client.installation()));
    let reply = client.mint(json!({})).await;
    reply.is(403, SECONDARY);
    assert_eq!(reply.header("retry-after"), Some("60"));
    assert_eq!(client.github.counts().secondary_violations, 1);
    client.get_as_app("/app").await.is(403, SECONDARY);
    client.github.reset_limits();
    client.token(json!({})).await;
}

#[tokio::test]
async fn no_more_than_the_limit_at_once() {
    let client = Client::start().await;
    client.github.set_limits(secondary(SecondaryLimit {
        concurrent: 3,
        status: 429,
        ..SecondaryLimit::default()
    }));
    client.github.fail_while(Some(Route::Mint), Fault::Hang);
    let refusals = async {
        until("two are refused", || client.github.counts().secondary_violations == 2).await;
        client.github.clear_faults();
    };
    let (replies, ()) = tokio::join!(join_all((0..5).map(|_| client.mint(json!({})))), refusals);
    let mut statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 201, 201, 429, 429]);
    assert_eq!(client.github.counts().most_at_once, 3);
    client.mint(json!({})).await.is(429, SECONDARY);
}

#[tokio::test]
async fn the_primary_limit_says_what_is_left_and_when_it_ends() {
    let client = Client::start().await;
    client.github.set_limits(Limits {
        secondary: None,
        primary: Some(PrimaryLimit {
            requests: 2,
            window: Duration::from_secs(600),
            status: 403,
        }),
    });
    let first = client.mint(json!({})).await;
    assert_eq!(first.header("x-ratelimit-remaining"), Some("1"));
    let token = first.json["token"].as_str().unwrap().to_owned();
    client.token(json!({})).await;
    let refused = client.mint(json!({})).await;
    refused.is(403, "API rate limit exceeded for app ID 12345.");
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    let reset: i64 = refused.header("x-ratelimit-reset").unwrap().parse().unwrap();
    let ahead = reset - client.github.now().as_second();
    assert!((595..=600).contains(&ahead), "{ahead}");
    assert_eq!(client.github.counts().primary_violations, 1);
    let own = client.get("/rate_limit", &token).await;
    assert_eq!(
        own.json["rate"]["remaining"], 1,
        "a token has its installation's quota: {}",
        own.json
    );
}

#[tokio::test]
async fn without_limits_nothing_is_counted_against_anyone() {
    let client = Client::start().await;
    let replies = join_all((0..250).map(|_| client.mint(json!({})))).await;
    assert!(replies.iter().all(|reply| reply.status == 201));
    assert_eq!(client.github.counts().secondary_violations, 0);
    assert_eq!(replies[0].header("x-ratelimit-remaining"), None);
}
