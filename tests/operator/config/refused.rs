//! A configuration that is not used: what works goes on, App objects too, and whoever looks after the operator hears of it.

use std::time::Duration;

use lab::github::{Fault, Installation, Route};
use lab::wait::eventually;
use serde_json::json;
use tokio::time::sleep;

use super::keys::{begun_with, counted, logged};
use crate::apps::of_app;
use crate::world::{SOON, World};

const REFUSED: &str = "the new configuration is not used";
pub const USED: &str = "the configuration has changed and is used from now on";

/// Longer than an App object takes to hear of settings, and to look at them.
const HEARD: Duration = Duration::from_secs(3);

pub fn written(world: &World) -> String {
    std::fs::read_to_string(world.folder.path().join("gtm.yaml")).expect("the configuration is there")
}

/// Writes a configuration, and waits until the operator has said this of it.
pub async fn write_until(world: &World, text: &str, said: &str) {
    let before = world.operator.logs().len();
    world.folder.write("gtm.yaml", text).expect("it is written");
    eventually(2 * SOON, said, async || {
        let logs = world.operator.logs();
        let news = logs.get(before..).unwrap_or_default();
        if news.contains(said) {
            Ok(())
        } else {
            Err(news.to_owned())
        }
    })
    .await;
}

/// An App object with a key that it may use by `allowed_keys`, at the configuration's GitHub, and a Token of it.
async fn of_the_configuration(world: &World) {
    let key = world.folder.path().join("key.pem").display().to_string();
    let app = json!({"provider": "file", "key": key, "baseURL": null});
    world.app("team", app).await;
    world.token("t", of_app("team")).await;
    world.ready("t").await;
}

fn allowing(world: &World, config: &str) -> String {
    format!("{config}\nallowed_keys:\n  \"{}\": [\"*\"]\n", world.namespace)
}

/// App objects go on as before.
async fn nothing_has_changed(world: &World, request: &str) {
    sleep(HEARD).await;
    world.app_condition("team", "Ready", "True", "").await;
    let before = world.settled("t").await;
    world.request("t", request).await;
    world.good_token("t", Some(&before)).await;
    world.ready("t").await;
}

#[tokio::test]
async fn what_is_refused_reaches_no_app_object_and_what_is_right_does_at_once() {
    let world = World::new().await;
    let right = allowing(&world, &written(&world));
    write_until(&world, &right, USED).await;
    of_the_configuration(&world).await;

    let no_certificate = world.folder.write("ca.pem", "nonsense").expect("it is written");
    let (bare, _) = right.split_once("allowed_keys").expect("it has some");
    let wrong_pair = bare.replace(&format!("app_id: {}", world.github.app_id()), "app_id: 1");
    let bundled = format!("{right}ca_bundle: {}\n", no_certificate.display());
    for (n, (text, said)) in [
        ("", "the former one stays in use"),
        (&*wrong_pair, "does not accept the JWT of appID 1"),
        (&*bundled, "holds no certificate"),
    ]
    .into_iter()
    .enumerate()
    {
        write_until(&world, text, said).await;
        nothing_has_changed(&world, &n.to_string()).await;
    }
    write_until(&world, &format!("{bare}allowed_keys: {{other: ['*']}}\n"), USED).await;
    world.app_condition("team", "Ready", "False", "KeyNotAllowed").await;
}

#[tokio::test]
async fn where_app_objects_alone_work_what_is_emptied_or_trusts_nobody_is_refused() {
    let (world, right) = begun_with(|_| "{}".to_owned()).await;
    let base_url = right
        .lines()
        .find(|line| line.starts_with("base_url"))
        .expect("it has one");
    let settings = allowing(&world, base_url);
    write_until(&world, &settings, USED).await;
    of_the_configuration(&world).await;

    write_until(&world, "", "what it said before stays in use").await;
    nothing_has_changed(&world, "1").await;
    let no_certificate = world.folder.write("ca.pem", "nonsense").expect("it is written");
    let bundled = format!("{settings}ca_bundle: {}\n", no_certificate.display());
    write_until(&world, &bundled, "holds no certificate").await;
    nothing_has_changed(&world, "2").await;
    counted(&world.operator, 3.0).await;
}

#[tokio::test]
async fn another_github_that_cannot_be_asked_leaves_the_app_in_use_until_it_can() {
    let world = World::new().await;
    world.token("demo", json!({})).await;
    let first = world.settled("demo").await;
    let right = written(&world);
    let url = world.github.url();
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let dead = format!("http://{}", port.local_addr().expect("an address"));
    drop(port);
    write_until(&world, &right.replace(url, &dead), REFUSED).await;
    world.request("demo", "1").await;
    let second = world.good_token("demo", Some(&first)).await;

    // The same stand-in by another name, which does not say for now who asks.
    world.github.fail_while(Some(Route::App), Fault::Unavailable(503));
    let elsewhere = right.replace("127.0.0.1", "localhost");
    write_until(&world, &elsewhere, "GitHub at http://localhost").await;
    world.request("demo", "2").await;
    world.good_token("demo", Some(&second)).await;
    assert!(!world.operator.logs().contains(USED), "{}", world.operator.logs());
    world.github.clear_faults();
    logged(&world.operator, USED).await;
    world.ready("demo").await;
    world.settled("demo").await;
}

#[tokio::test]
async fn an_installation_that_is_not_there_is_waited_for_with_the_former_one() {
    let world = World::new().await;
    world.token("demo", json!({})).await;
    let first = world.settled("demo").await;
    let right = written(&world);
    let placed = |line: &str| right.replace("installation_id: 67890", line);
    write_until(
        &world,
        &placed("installation_id: 99"),
        "installation_id: GitHub lists no installation 99",
    )
    .await;
    write_until(
        &world,
        &placed("owner: nobody"),
        "nobody has no installation of the App",
    )
    .await;
    counted(&world.operator, 4.0).await;
    let said = world.operator.logs().matches("nobody has no installation").count();
    assert_eq!(said, 1, "it is not logged each time");
    world.request("demo", "1").await;
    world.good_token("demo", Some(&first)).await;
    world.ready("demo").await;

    world.github.install(Installation {
        id: 99,
        account: "nobody".into(),
        repositories: Vec::new(),
        ..Installation::default()
    });
    eventually(Duration::from_secs(90), "it is used", async || {
        let last = world.github.mints().last().map(|mint| mint.installation);
        if last == Some(99) {
            Ok(())
        } else {
            Err(format!("{last:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn an_app_that_has_never_worked_does_not_stand_in_the_way() {
    let (world, right) = begun_with(|right| right.replace("127.0.0.1", "127.0.0.2")).await;
    world.token("demo", json!({"retryInterval": "1s"})).await;
    world.condition("demo", "Ready", "False", "GitHubUnavailable").await;
    write_until(
        &world,
        &right.replace("127.0.0.1", "127.0.0.3"),
        "the startup App does not work",
    )
    .await;
    eventually(SOON, "the Token is told of the new place", async || {
        let status = world.status("demo").await;
        let told = status
            .condition("Ready")
            .is_some_and(|c| c.message.contains("127.0.0.3"));
        if told { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    write_until(&world, &right, USED).await;
    world.ready("demo").await;
}

#[tokio::test]
async fn a_limit_needs_no_answer_of_github() {
    let world = World::new().await;
    world.token("demo", json!({})).await;
    world.ready("demo").await;
    world.github.fail_while(Some(Route::App), Fault::Unavailable(503));
    let lower = format!("{}rate_limit: 30\n", written(&world));
    write_until(&world, &lower, USED).await;
}
