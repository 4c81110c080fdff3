//! How much is under way and in a minute: of mints, revocations and the rest, and of clients that follow each other.

use std::num::NonZeroU32;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use tokio::time::timeout;

use super::super::{Budget, Limits, MintScope};
use super::TOKEN;
use super::server::{Setup, reply, setup, token_answer};

const SHORT: Duration = Duration::from_millis(100);

fn limits(concurrent: u32, per_minute: u32) -> Limits {
    Limits {
        concurrent: NonZeroU32::new(concurrent),
        per_minute: NonZeroU32::new(per_minute),
    }
}

/// A client whose GitHub never answers.
async fn unanswered(limits: Limits) -> Setup {
    setup(limits, [(None, Vec::new(), String::new())]).await
}

#[tokio::test]
async fn mints_revocations_and_all_else_are_so_many_at_once_together() {
    let setup = unanswered(limits(8, 1_000)).await;
    let (scope, token) = (MintScope::default(), TOKEN.into());
    let mints = join_all((0..20).map(|_| setup.mint(1, &scope)));
    let revocations = join_all((0..20).map(|_| setup.revoke(&token, Duration::from_secs(10))));
    let probes = join_all((0..20).map(|_| setup.client.verify(&token)));
    let looks = join_all((0..20).map(|_| setup.client.app()));
    let all = async { tokio::join!(mints, revocations, probes, looks) };
    assert!(timeout(5 * SHORT, all).await.is_err());
    assert_eq!(setup.server.seen().len(), 8);
}

#[tokio::test]
async fn revocations_that_hang_leave_three_quarters_to_mints() {
    for (concurrent, revoking, minting) in [(8, 2, 6), (2, 1, 1)] {
        let setup = unanswered(limits(concurrent, 1_000)).await;
        let token = TOKEN.into();
        let mut revocations = Box::pin(join_all((0..20).map(|_| setup.revoke(&token, Duration::from_secs(10)))));
        assert!(timeout(SHORT, &mut revocations).await.is_err());
        assert_eq!(setup.server.seen().len(), revoking);
        let turns: Vec<_> = std::iter::from_fn(|| setup.client.mint_turn().now_or_never())
            .take(20)
            .collect();
        assert_eq!(turns.len(), minting);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_follows_another_counts_what_that_asked_for_and_has_under_way() {
    let (former, next) = (
        setup(limits(10, 5), [token_answer()]).await,
        setup(limits(4, 6), [token_answer()]).await,
    );
    let under_way = [former.client.mint_turn().await, former.client.mint_turn().await];
    drop(former.client.revocation_turn().await);
    // Somebody was quicker than whoever says whom it follows.
    drop(next.client.mint_turn().await);
    next.client.inherit(&former.client);
    assert_eq!(
        next.client.budget(),
        Budget::Left(3),
        "its own limit, and the past of both"
    );
    // Who holds on to the former one counts, too.
    let third = former.client.mint_turn().await;
    assert_eq!(next.client.budget(), Budget::Left(2));
    let _fourth = next
        .client
        .mint_turn()
        .now_or_never()
        .expect("the fourth of four at once");
    assert!(
        next.client.mint_turn().now_or_never().is_none(),
        "a fifth of four at once"
    );
    drop((under_way, third));
    drop(next.client.mint_turn().now_or_never().expect("the sixth of six"));
    assert!(next.client.mint_turn().now_or_never().is_none(), "a seventh of six");
    next.client.inherit(&former.client);
    assert_eq!(next.client.budget(), Budget::NONE, "following twice is following once");
    let revocations: Vec<_> = (0..6)
        .filter_map(|_| next.client.revocation_turn().now_or_never().map(drop))
        .collect();
    assert_eq!(revocations.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn who_waits_at_a_client_while_that_comes_to_follow_another_waits_where_that_does() {
    let (former, next) = (
        setup(limits(1, 100), [token_answer()]).await,
        setup(limits(1, 100), [token_answer()]).await,
    );
    let (theirs, own) = (former.client.mint_turn().await, next.client.mint_turn().await);
    let mut waiting = std::pin::pin!(next.client.mint_turn());
    assert!(futures::poll!(&mut waiting).is_pending());
    next.client.inherit(&former.client);
    drop(own);
    assert!(futures::poll!(&mut waiting).is_pending(), "one is under way");
    drop(theirs);
    drop(timeout(SHORT, waiting).await.expect("it hears of it"));
}

#[tokio::test]
async fn several_revocations_in_a_row_that_github_does_not_take_are_told_until_it_takes_one() {
    let answers = [503, 204, 503, 503, 503, 204].map(|status| reply(status, ""));
    let setup = setup(Limits::default(), answers).await;
    let mut told = Vec::new();
    for _ in 0..6 {
        let _ = setup.revoke(&TOKEN.into(), Duration::from_secs(10)).await;
        told.push(setup.client.takes_no_revocation_for().is_some());
    }
    assert_eq!(told, [false, false, false, false, true, false]);
}
