//! Renewals, and the kubelet that brings them late.

use std::cell::Cell;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::DeleteParams;
use lab::process::Port;
use lab::wait::eventually;
use serde_json::json;

use crate::world::{LEAF, OWN, ROOT, SOON, World, der, secrets, text};

/// Counts of what has gone well.
#[derive(Default)]
struct Load {
    over: Cell<bool>,
    pods: Cell<usize>,
    handshakes: Cell<usize>,
}

impl Load {
    /// Sends pods through the API server until it is over; the first that gets no token.
    async fn inject(&self, world: &World) -> Result<(), String> {
        while !self.over.get() {
            let pod = world.dry_run(&[("github.as-code.io/token", "ci")]).await?;
            if !pod.annotations().contains_key("github.as-code.io/status") {
                return Err(format!("{pod:?}"));
            }
            self.pods.set(self.pods.get() + 1);
        }
        Ok(())
    }

    /// Makes connections that trust what a configuration trusts, until it is over: the API server keeps its own. The first that fails.
    async fn shake(&self, world: &World) -> Result<(), String> {
        while !self.over.get() {
            for trust in world.trust().await? {
                world.served(&trust.bundle).await?;
                self.handshakes.set(self.handshakes.get() + 1);
            }
        }
        Ok(())
    }

    /// Waits until there has been more of both.
    async fn more(&self) {
        let (pods, handshakes) = (self.pods.get() + 20, self.handshakes.get() + 20);
        eventually(SOON, "more pods and connections", async || {
            let now = (self.pods.get(), self.handshakes.get());
            (now.0 > pods && now.1 > handshakes)
                .then_some(())
                .ok_or(format!("{now:?}"))
        })
        .await;
    }

    /// The former certificate is served for a while, then the kubelet brings this one.
    async fn brought_late(&self, world: &World, former: &Secret, leaf: &Secret) {
        let authority = text(leaf, "ca.crt");
        self.more().await;
        assert_eq!(world.served(&authority).await.unwrap(), der(former));
        world.mount(leaf);
        eventually(SOON, "the new one is served", async || {
            let found = world.served(&authority).await?;
            (found == der(leaf)).then_some(()).ok_or("the former is".to_owned())
        })
        .await;
        self.more().await;
    }
}

/// Asks for a renewal, as `cmctl renew` does.
async fn renew(world: &World, certificate: &str) {
    let condition = json!([{"op": "add", "path": "/status/conditions/-", "value": {
        "type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "of a test"}}]);
    let condition = condition.to_string();
    let patch = ["patch", "certificate", certificate, "--subresource=status"];
    let patch = [&["-n", OWN][..], &patch, &["--type=json", "-p", &condition]].concat();
    world.cluster.kubectl(&patch).await.unwrap();
}

/// The webhook's certificate is renewed twice, then its authority, which the next renewal of the webhook's certificate tells. The
/// authority's two certificates.
async fn renewals(world: &World, load: &Load) -> [String; 2] {
    let (first, before) = (world.secret(LEAF[1]).await, world.trust().await.unwrap());
    renew(world, LEAF[0]).await;
    let second = world.successor(&first).await;
    assert_ne!(text(&first, "tls.key"), text(&second, "tls.key"));
    load.brought_late(world, &first, &second).await;

    let gone = DeleteParams::default();
    secrets(&world.client).delete(LEAF[1], &gone).await.unwrap();
    let third = world.successor(&second).await;
    load.brought_late(world, &second, &third).await;
    // Whoever has changed a bundle and put it back would be seen in the generations.
    assert_eq!(world.trust().await.unwrap(), before);

    let authority = world.secret(ROOT[1]).await;
    renew(world, ROOT[0]).await;
    let next = eventually(SOON, "another certificate of the authority", async || {
        let found = world.secret(ROOT[1]).await;
        let same = text(&found, "tls.crt") == text(&authority, "tls.crt");
        (!same).then_some(found).ok_or("the former")
    })
    .await;
    assert_eq!(text(&next, "tls.key"), text(&authority, "tls.key"));
    load.more().await;
    assert_eq!(world.secret(LEAF[1]).await.data, third.data);
    assert_eq!(world.trust().await.unwrap(), before);

    renew(world, LEAF[0]).await;
    let fourth = world.successor(&third).await;
    assert_eq!(text(&fourth, "ca.crt"), text(&next, "tls.crt"));
    world.trusted(&fourth).await;
    load.brought_late(world, &third, &fourth).await;
    [authority, next].map(|secret| text(&secret, "tls.crt"))
}

/// Renews all while pods are made and connections opened; the authority's two certificates.
async fn under_load(world: &World) -> [String; 2] {
    let load = Load::default();
    let script = async {
        let authorities = renewals(world, &load).await;
        load.over.set(true);
        Ok(authorities)
    };
    let ((), (), authorities) = tokio::try_join!(load.inject(world), load.shake(world), script).unwrap();
    let logs = world.operator.logs();
    assert_eq!(logs.matches("a new certificate is served").count(), 4, "{logs}");
    authorities
}

/// A replica of before the certificate was mounted, while cert-manager writes the bundle already.
#[tokio::test]
async fn a_replica_with_an_authority_of_its_own_does_not_undo_what_the_injector_writes() {
    let world = World::with_certs("").await;
    let port = Port::take().unwrap();
    let bind = format!("--webhook-bind-address={}", port.address());
    let _former = world
        .replica
        .clone()
        .leader_elect(true)
        .arg(bind)
        .start()
        .await
        .unwrap();
    // As of one that was there first: it knows of no other authority.
    let unknown = json!({"data": {"previous.crt": null}}).to_string();
    let own = "github-token-manager-webhook-ca";
    let patch = ["-n", OWN, "patch", "secret", own, "--type=merge", "-p", &unknown];
    eventually(SOON, "its authority", async || world.cluster.kubectl(&patch).await).await;
    let authority = text(&world.secret(own).await, "ca.crt");
    let trust = eventually(SOON, "both are trusted", async || {
        let found = world.trust().await?;
        let both = found.iter().all(|trust| trust.bundle.contains(&authority));
        both.then_some(found.clone()).ok_or(format!("{found:?}"))
    })
    .await;
    let load = Load::default();
    let script = async {
        load.more().await;
        world.apply_again().await;
        load.more().await;
        load.over.set(true);
        Ok(())
    };
    tokio::try_join!(load.inject(&world), load.shake(&world), script).unwrap();
    let found = world.trust().await.unwrap();
    assert_eq!(found.map(|trust| trust.generation), trust.map(|trust| trust.generation));
}

async fn bundles(world: &World) -> [String; 2] {
    world.trust().await.unwrap().map(|trust| trust.bundle)
}

#[tokio::test]
async fn no_renewal_fails_a_pod_or_a_connection_however_late_the_kubelet_is() {
    let world = World::with_certs("").await;
    let [former, next] = under_load(&world).await;
    let both = former + &next;
    assert_eq!(bundles(&world).await, [both.clone(), both]);
}

#[tokio::test]
async fn nor_does_one_where_the_injector_forgets_the_former_authority_at_once_as_before_1_19() {
    let world = World::with_certs("CAInjectorMerging=false").await;
    let [_, next] = under_load(&world).await;
    assert_eq!(bundles(&world).await, [next.clone(), next]);
}
