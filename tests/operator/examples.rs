//! What README and docs show is taken by a real API server.

use std::path::Path;

use crate::world::cluster;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test]
async fn every_manifest_of_readme_and_docs_is_accepted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = read(&root.join("README.md")) + &read(&root.join("docs/pods.md"));
    let blocks = readme
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let mut manifests: Vec<(String, String)> = blocks.map(|text| ("README.md".into(), text.into())).collect();
    let entries =
        ["docs/examples", "webhook-config/examples"].map(|folder| std::fs::read_dir(root.join(folder)).unwrap());
    for entry in entries.into_iter().flatten() {
        let path = entry.unwrap().path();
        manifests.push((path.display().to_string(), read(&path)));
    }
    assert!(manifests.len() >= 5, "{manifests:?}");

    let cluster = cluster().lease().await.unwrap();
    cluster.apply(&read(&root.join("deploy/rbac.yaml"))).await.unwrap();
    let args = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
    for (place, manifest) in manifests {
        let namespace = manifest.lines().find_map(|line| line.strip_prefix("  namespace: "));
        if let Some(namespace) = namespace {
            let object = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n");
            cluster.apply(&object).await.unwrap();
        }
        let answer = cluster.kubectl_with_input(&args, &manifest).await;
        answer.unwrap_or_else(|error| panic!("{place}: {error}"));
    }
}
