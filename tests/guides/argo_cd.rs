//! `docs/guides/argo-cd.md`, with Argo CD's own reading of its settings and its own git client.

use lab::tools::Tool;

use crate::guide::Guide;
use crate::world::World;

/// What Argo CD finds at the branch `main`, for an Application of this project.
fn commit(world: &World, repository: &str, project: &str) -> std::process::Output {
    let url = world.here(&format!("https://github.com/acme/{repository}"));
    world.try_sh(&format!(
        "kubectl -n argocd get secrets -o json | argo-reader {url} main {project}"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn argo_cd_reads_repositories_with_the_secrets_of_the_guide() {
    let guide = Guide::read("argo-cd.md");
    let world = World::new().await;
    world.program("argo-reader", &Tool::ArgoReader.find().expect("Argo CD's reader"));
    let _operator = world.installed("argocd").await;
    let before = commit(&world, "web", "web");
    assert!(
        !before.status.success(),
        "nothing reads a private repository without a token"
    );

    // The Token for one repository first: it opens that one, and no other.
    world.follow(guide.block("kind: Token\n"));
    world.ready("-n argocd token web");
    let only = commit(&world, "web", "web");
    let other = commit(&world, "web", "default");
    assert!(!other.status.success(), "it is for the project web");
    assert!(only.status.success(), "{}", String::from_utf8_lossy(&only.stderr));
    assert!(!commit(&world, "infrastructure", "web").status.success());

    world.follow(guide.block("kind: ClusterToken"));
    world.follow(guide.block("kubectl wait clustertoken argocd"));
    world.follow(guide.block("gtm check"));
    for repository in ["web", "infrastructure", "fleet"] {
        let found = commit(&world, repository, "default");
        assert!(
            found.status.success(),
            "{repository}: {}",
            String::from_utf8_lossy(&found.stderr)
        );
        assert_eq!(String::from_utf8_lossy(&found.stdout).trim().len(), 40);
    }
}
