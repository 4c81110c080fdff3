//! An image as an OCI archive: a tar of an image layout
//! (<https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>), which containerd, Podman, Skopeo and Docker from 25
//! on read.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::archive::tar;
use crate::authorities;
use crate::binary::Arch;

/// Whom the program runs as: nobody in particular, without a name.
pub const USER: &str = "65532:65532";
/// The program's path in the image, without the leading slash.
pub const PROGRAM: &str = "gtm";

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What an image is made of.
#[derive(Clone, Debug)]
pub struct Image {
    /// The static program.
    pub program: Vec<u8>,
    /// For which processor.
    pub arch: Arch,
    /// Repository and tag, as `NAME:TAG`.
    pub name: String,
    /// The version of the program.
    pub version: String,
    /// What it is, in a sentence.
    pub description: String,
    /// The SPDX expression of its licence.
    pub licence: String,
    /// The commit that it is made of, where that is known.
    pub revision: Option<String>,
    /// When that was made, in seconds since 1970.
    pub epoch: u64,
}

/// An archive, and the digest by which its image is known.
#[derive(Debug)]
pub struct Packed {
    /// The archive's bytes.
    pub archive: Vec<u8>,
    /// Of the image's manifest: `sha256:...`.
    pub digest: String,
}

/// Packs an image. The same image gives the same bytes.
///
/// # Errors
/// When a path does not go into a tar archive.
pub fn pack(image: &Image) -> io::Result<Packed> {
    let files = BTreeMap::from([
        (PROGRAM.to_owned(), (image.program.clone(), 0o755)),
        (authorities::PATH.to_owned(), (authorities::pem().into_bytes(), 0o644)),
    ]);
    let layer = tar(&files, image.epoch)?;
    let diff = digest(&layer);
    let mut blobs = Blobs::default();
    let layer = blobs.add(LAYER, gzip(&layer)?);
    let config = blobs.add(CONFIG, bytes(&config(image, &diff)));
    let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    manifest["annotations"] = labels(image);
    let mut manifest = blobs.add(MANIFEST, bytes(&manifest));
    let digest = manifest["digest"].as_str().unwrap_or_default().to_owned();
    manifest["platform"] = json!({"architecture": image.arch.name(), "os": "linux"});
    let tag = image.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    // The first is of the standard; containerd and Docker name what they load by the second.
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": image.name});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]});
    let mut files = blobs.0;
    files.insert("index.json".to_owned(), (bytes(&index), 0o644));
    let layout = json!({"imageLayoutVersion": "1.0.0"});
    files.insert("oci-layout".to_owned(), (bytes(&layout), 0o644));
    let archive = tar(&files, image.epoch)?;
    Ok(Packed { archive, digest })
}

#[derive(Default)]
struct Blobs(BTreeMap<String, (Vec<u8>, u32)>);

impl Blobs {
    /// Keeps a blob under its digest, and describes it.
    fn add(&mut self, media_type: &str, content: Vec<u8>) -> Value {
        let digest = digest(&content);
        let size = content.len();
        let path = format!("blobs/{}", digest.replace(':', "/"));
        self.0.insert(path, (content, 0o644));
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }
}

fn config(image: &Image, diff: &str) -> Value {
    json!({
        "architecture": image.arch.name(),
        "os": "linux",
        "created": created(image),
        "config": {
            "User": USER,
            "Entrypoint": [format!("/{PROGRAM}")],
            "Cmd": ["manager"],
            "WorkingDir": "/",
            "Labels": labels(image),
        },
        "rootfs": {"type": "layers", "diff_ids": [diff]},
        "history": [{"created": created(image), "comment": "one static program and the certificate authorities it trusts"}],
    })
}

/// The keys of <https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md>.
fn labels(image: &Image) -> Value {
    let mut labels = json!({
        "org.opencontainers.image.title": "github-token-manager",
        "org.opencontainers.image.description": image.description,
        "org.opencontainers.image.version": image.version,
        "org.opencontainers.image.licenses": image.licence,
        "org.opencontainers.image.created": created(image),
    });
    if let Some(revision) = &image.revision {
        labels["org.opencontainers.image.revision"] = json!(revision);
    }
    labels
}

fn created(image: &Image) -> String {
    let seconds = i64::try_from(image.epoch).unwrap_or_default();
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

fn digest(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn gzip(content: &[u8]) -> io::Result<Vec<u8>> {
    // Without a time and a name in its header.
    let mut writer = GzBuilder::new().write(Vec::new(), Compression::best());
    writer.write_all(content)?;
    writer.finish()
}
