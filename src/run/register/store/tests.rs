use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gtm-store-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn places(&self, name: &str) -> Places {
        Places {
            file: Some(self.0.join(name)),
            secret: None,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn the_file_is_there_before_the_key_and_only_its_owner_reads_it() {
    let folder = Folder::new("kept");
    let path = folder.0.join("key.pem");
    let mut store = Store::claim(&folder.places("key.pem")).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(store.kept(), Vec::<String>::new());
    assert_eq!(store.keep(&SecretString::from("PEM\n")).await, Vec::<String>::new());
    assert_eq!(store.kept(), [path.display().to_string()]);
    drop(store);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "PEM\n");
}

#[tokio::test]
async fn without_a_key_the_file_goes_again() {
    let folder = Folder::new("dropped");
    drop(Store::claim(&folder.places("key.pem")).await.unwrap());
    assert!(!folder.0.join("key.pem").exists());
}

#[tokio::test]
async fn a_file_whose_folder_goes_meanwhile_does_not_count_as_kept() {
    let folder = Folder::new("moved");
    let inner = folder.0.join("inner");
    std::fs::create_dir(&inner).unwrap();
    let mut store = Store::claim(&folder.places("inner/key.pem")).await.unwrap();
    assert_eq!(store.check().await, Ok(()));
    std::fs::remove_dir_all(&inner).unwrap();
    for told in [
        store.check().await.unwrap_err(),
        store.keep(&SecretString::from("PEM\n")).await.join("; "),
    ] {
        assert!(
            told.starts_with("--key-file ") && told.contains("make its folder again"),
            "{told}"
        );
    }
    assert_eq!(store.kept(), Vec::<String>::new());
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(inner.join("key.pem"), "theirs").unwrap();
    drop(store);
    assert_eq!(std::fs::read_to_string(inner.join("key.pem")).unwrap(), "theirs");
}

#[tokio::test]
async fn what_cannot_be_written_is_told_before_anything_is_asked_for() {
    let folder = Folder::new("refused");
    std::fs::write(folder.0.join("there.pem"), "mine").unwrap();
    std::os::unix::fs::symlink("nowhere", folder.0.join("link.pem")).unwrap();
    for (name, told) in [
        ("there.pem", "it is not overwritten: give another path"),
        ("link.pem", "it is not overwritten"),
        ("no/folder.pem", "make its folder first"),
        ("there.pem/x", "give a path in a folder"),
    ] {
        let error = Store::claim(&folder.places(name)).await.err().unwrap();
        assert!(
            error.starts_with("--key-file ") && error.contains(name) && error.contains(told),
            "{error}"
        );
    }
    assert_eq!(std::fs::read_to_string(folder.0.join("there.pem")).unwrap(), "mine");
}

#[test]
fn every_refusal_of_a_secret_names_it_and_the_cure() {
    let key = SecretKey {
        namespace: "ops".into(),
        name: "app-key".into(),
    };
    let said = || "said".to_owned();
    for (error, told) in [
        (ClusterError::Exists, "is not overwritten"),
        (ClusterError::Missing, "kubectl create namespace ops"),
        (
            ClusterError::NamespaceUnavailable(said()),
            "kubectl create namespace ops",
        ),
        (ClusterError::Invalid(said()), "small letters"),
        (ClusterError::Forbidden(said()), "right to create Secrets"),
        (ClusterError::Unauthorized, "does not accept the credentials"),
        (ClusterError::Unavailable(said()), "KUBECONFIG"),
    ] {
        let text = problem(&key, &error);
        assert!(
            text.starts_with("--secret ops/app-key: ") && text.contains(told),
            "{text}"
        );
    }
}
