//! What goes wrong, and who means ill.

use std::net::TcpListener;
use std::time::Duration;

use jiff::SignedDuration;
use lab::github::{Fault, Route};
use lab::process::Signal;

use crate::bench::{Bench, keeps_secrets};

const ONE: &str = "--organization octo-org --key-file key.pem";

#[tokio::test]
async fn who_comes_back_from_elsewhere_is_not_acted_on_and_the_person_still_is() {
    let bench = Bench::new().await;
    let running = bench.create(ONE);
    let back = bench.press(&running).await;
    let (address, query) = back.split_once('?').expect("a query");
    let (_, state) = query.split_once("state=").expect("a state");
    assert_eq!(state.len(), 64, "{state}");
    let code = &bench.registered().code;
    for wrong in [
        format!("{address}?code={code}"),
        format!("{address}?code={code}&state="),
        format!("{address}?code={code}&state={}", "0".repeat(64)),
        format!("{address}?code={code}&state={}", &state[..63]),
        format!("{address}?state={state}"),
        format!("{address}?state={state}&code="),
        format!("{address}?state={state}&code=..%2f..%2fapp"),
        address.to_owned(),
    ] {
        let page = bench.open(&wrong).await;
        assert_eq!(page.status, 400, "{wrong}: {}", page.text);
    }
    let rebound = bench
        .browser
        .open_as(&running.page().await, "evil.example")
        .await
        .expect("it answers");
    assert!(rebound.status == 403 && !rebound.text.contains(state), "{rebound:?}");
    let rebound = bench.browser.open_as(&back, "evil.example").await.expect("it answers");
    assert_eq!(rebound.status, 400);
    assert_eq!(bench.conversions(), 0);
    assert_eq!(bench.open(&back).await.status, 200);
    running.ended(0).await;
    bench.has_key_of(&bench.registered());
}

#[tokio::test]
async fn a_code_is_good_for_an_hour() {
    let bench = Bench::new().await;
    let running = bench.create(ONE);
    let back = bench.press(&running).await;
    bench.github.set_clock_offset(SignedDuration::from_mins(61));
    bench.open(&back).await;
    bench
        .fails(
            &running,
            1,
            &["does not take the code", "for one hour", "/settings/apps"],
        )
        .await;
}

#[tokio::test]
async fn github_is_asked_again_when_it_does_not_answer_and_refusals_say_what_helps() {
    let bench = Bench::new().await;
    let running = bench.create(ONE);
    let back = bench.press(&running).await;
    bench.github.fail_next(2, Some(Route::Other), Fault::Unavailable(503));
    bench.open(&back).await;
    running.ended(0).await;
    bench.has_key_of(&bench.registered());
    assert_eq!(bench.conversions(), 3);

    for (fault, parts) in [
        (Fault::Unavailable(502), ["is not available", "try again with --code"]),
        (Fault::IpAllowList, ["HTTP 403", "try again with --code"]),
    ] {
        std::fs::remove_file(bench.path("key.pem")).ok();
        let running = bench.create(&format!("{ONE} --name {}", parts[0].len()));
        let back = bench.press(&running).await;
        bench.github.fail_while(Some(Route::Other), fault);
        bench.open(&back).await;
        bench.fails(&running, 1, &parts).await;
        bench.github.clear_faults();
        // The code is still good, and so is the way back.
        bench
            .create(&format!("--key-file key.pem --code {}", bench.registered().code))
            .ended(0)
            .await;
        bench.has_key_of(&bench.registered());
    }
}

#[tokio::test]
async fn nobody_is_waited_for_for_ever() {
    let bench = Bench::new().await;
    let running = bench.create(&format!("{ONE} --timeout 1s"));
    bench
        .fails(&running, 1, &["nobody came back from GitHub within 1s", "--timeout"])
        .await;
    assert_eq!(bench.conversions(), 0);
}

#[tokio::test]
async fn ctrl_c_and_its_kin_leave_nothing() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let bench = Bench::new().await;
        let running = bench.create(ONE);
        running.page().await;
        assert!(bench.path("key.pem").exists(), "the place is there before the key");
        running.0.signal(signal).expect("it runs");
        bench.fails(&running, 1, &["interrupted", "nothing is left here"]).await;
    }
}

#[tokio::test]
async fn what_stands_in_the_way_is_told_before_github_is_asked() {
    let bench = Bench::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let running = bench.create(&format!("{ONE} --port {port}"));
    bench
        .fails(&running, 1, &[&format!("--port {port}: "), "give another port"])
        .await;
    let running = bench.create("--secret default/key --key-file key.pem");
    bench.fails(&running, 1, &["no cluster", "KUBECONFIG"]).await;
    let running = bench.create("--key-file no/key.pem --code abc");
    bench
        .fails(&running, 1, &["--key-file", "no/key.pem", "make its folder first"])
        .await;
    std::fs::write(bench.path("mine.pem"), "mine").expect("written");
    let running = bench.create("--key-file mine.pem --code abc");
    bench.fails(&running, 1, &["mine.pem", "it is not overwritten"]).await;
    assert_eq!(std::fs::read_to_string(bench.path("mine.pem")).expect("a text"), "mine");
    assert_eq!(bench.conversions(), 0);
}

#[tokio::test]
async fn an_answer_without_a_key_says_where_one_is_made() {
    let bench = Bench::new().await;
    let running = bench.create(ONE);
    let back = bench.press(&running).await;
    bench.registered().app.remove_keys();
    bench.open(&back).await;
    let parts = [
        "holds no private key",
        "/organizations/octo-org/settings/apps/gtm-octo-org",
    ];
    bench.fails(&running, 1, &parts).await;
}

#[tokio::test]
async fn many_visitors_do_not_keep_the_person_out() {
    let bench = Bench::new().await;
    let running = bench.create(ONE);
    let back = bench.press(&running).await;
    let address = running
        .page()
        .await
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let idle: Vec<_> = (0..8)
        .filter_map(|_| std::net::TcpStream::connect(&address).ok())
        .collect();
    let start = tokio::time::Instant::now();
    bench.open(&back).await;
    let said = running.ended(0).await;
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    keeps_secrets(&said, &bench.registered());
    drop(idle);
}
