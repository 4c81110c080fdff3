//! The image, packed from one program: what is in it, and that it is the same each time.

use std::collections::BTreeMap;
use std::io::Read as _;

use release::binary::{self, Arch};
use release::oci::{Image, Packed, pack};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

fn image() -> Image {
    Image {
        program: b"a program".to_vec(),
        arch: Arch::Amd64,
        name: "localhost/github-token-manager:1.2.3".into(),
        version: "1.2.3".into(),
        description: "keeps tokens".into(),
        licence: "Apache-2.0".into(),
        revision: Some("abc".into()),
        epoch: 1_700_000_000,
    }
}

/// The files of an archive: content, mode, owner, time.
fn files(archive: &[u8]) -> BTreeMap<String, (Vec<u8>, u32, u64, u64)> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let header = entry.header().clone();
        let owner = header.uid().unwrap() + header.gid().unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (path, (content, header.mode().unwrap(), owner, header.mtime().unwrap()))
    });
    entries.collect()
}

/// A blob that a descriptor describes, after its digest and size were checked.
fn blob(packed: &Packed, descriptor: &Value) -> Vec<u8> {
    let digest = descriptor["digest"].as_str().unwrap();
    let hex = digest.strip_prefix("sha256:").unwrap();
    let content = files(&packed.archive)[&format!("blobs/sha256/{hex}")].0.clone();
    let found: String = Sha256::digest(&content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(found, hex);
    assert_eq!(descriptor["size"], content.len());
    content
}

fn json(content: &[u8]) -> Value {
    serde_json::from_slice(content).unwrap()
}

/// Manifest and configuration.
fn read(packed: &Packed) -> (Value, Value) {
    let index = json(&files(&packed.archive)["index.json"].0);
    let manifest = json(&blob(packed, &index["manifests"][0]));
    let config = json(&blob(packed, &manifest["config"]));
    (manifest, config)
}

fn layer(packed: &Packed) -> Vec<u8> {
    let (manifest, config) = read(packed);
    let mut layer = Vec::new();
    let compressed = blob(packed, &manifest["layers"][0]);
    flate2::read::GzDecoder::new(&compressed[..])
        .read_to_end(&mut layer)
        .unwrap();
    let found: String = Sha256::digest(&layer)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{found}"));
    layer
}

#[test]
fn the_same_program_gives_the_same_image_and_another_one_another() {
    let (first, second) = (pack(&image()).unwrap(), pack(&image()).unwrap());
    assert!(first.archive == second.archive);
    assert_eq!(first.digest, second.digest);
    let other = Image {
        program: b"another".to_vec(),
        ..image()
    };
    assert_ne!(pack(&other).unwrap().digest, first.digest);
}

#[test]
fn it_is_a_layout_that_names_its_image() {
    let packed = pack(&image()).unwrap();
    let all = files(&packed.archive);
    assert_eq!(json(&all["oci-layout"].0)["imageLayoutVersion"], "1.0.0");
    let index = json(&all["index.json"].0);
    let manifest = &index["manifests"][0];
    assert_eq!(manifest["digest"], packed.digest);
    assert_eq!(manifest["platform"]["architecture"], "amd64");
    assert_eq!(
        manifest["annotations"]["io.containerd.image.name"],
        "localhost/github-token-manager:1.2.3"
    );
    assert_eq!(manifest["annotations"]["org.opencontainers.image.ref.name"], "1.2.3");
    let blobs = all
        .keys()
        .filter(|path| path.starts_with("blobs/sha256/") && !path.ends_with('/'));
    assert_eq!(blobs.count(), 3, "manifest, configuration, layer: {:?}", all.keys());
    assert!(
        all.values()
            .all(|(_, _, owner, time)| (*owner, *time) == (0, 1_700_000_000))
    );
}

#[test]
fn it_runs_the_program_as_nobody_and_says_what_it_is() {
    let (_, config) = read(&pack(&image()).unwrap());
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/gtm"]));
    assert_eq!(config["config"]["Cmd"], serde_json::json!(["manager"]));
    assert_eq!(
        (&config["os"], &config["architecture"]),
        (&"linux".into(), &"amd64".into())
    );
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    let labels = &config["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], "1.2.3");
    assert_eq!(labels["org.opencontainers.image.revision"], "abc");
    assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0");
}

#[test]
fn nothing_is_in_it_but_the_program_and_the_authorities() {
    let layer = files(&layer(&pack(&image()).unwrap()));
    let all: Vec<(&str, u32)> = layer
        .iter()
        .map(|(path, (_, mode, _, _))| (path.as_str(), *mode))
        .collect();
    let wanted = [
        ("etc/", 0o755),
        ("etc/ssl/", 0o755),
        ("etc/ssl/certs/", 0o755),
        ("etc/ssl/certs/ca-certificates.crt", 0o644),
        ("gtm", 0o755),
    ];
    assert_eq!(all, wanted, "no file has another mode, setuid least of all");
    assert_eq!(layer["gtm"].0, b"a program");
    let pem = String::from_utf8(layer["etc/ssl/certs/ca-certificates.crt"].0.clone()).unwrap();
    let (begin, end) = (
        pem.matches("-----BEGIN CERTIFICATE-----\n"),
        pem.matches("-----END CERTIFICATE-----\n"),
    );
    let count = begin.count();
    assert!(count > 100 && count == end.count(), "{count}");
    assert!(pem.lines().all(|line| line.len() <= 64));
}

#[test]
fn a_program_that_is_no_static_one_for_that_processor_is_refused() {
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let host = Arch::host().unwrap();
    let dynamic = binary::check(&own, host, &[]).unwrap_err().to_string();
    assert!(
        dynamic.contains("not static") && dynamic.contains("crt-static"),
        "{dynamic}"
    );
    let other = match host {
        Arch::Amd64 => Arch::Arm64,
        Arch::Arm64 => Arch::Amd64,
    };
    let foreign = binary::check(&own, other, &[]).unwrap_err().to_string();
    assert!(foreign.contains("not for"), "{foreign}");
    let text = binary::check(b"#!/bin/sh", host, &[]).unwrap_err().to_string();
    assert!(text.contains("no ELF"), "{text}");
}
