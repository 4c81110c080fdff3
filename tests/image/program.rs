//! The program of an image, unpacked, and run as it is or by QEMU.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::process::Folder;
use serde_json::Value;

/// Rust's and QEMU's name of a processor, by that of images.
const PROCESSORS: [(&str, &str); 2] = [("amd64", "x86_64"), ("arm64", "aarch64")];

/// An image, unpacked.
pub struct Image {
    folder: Folder,
    pub index: Value,
    pub config: Value,
}

impl Image {
    /// That of the archive that `GTM_IMAGE` names.
    #[expect(clippy::disallowed_methods, reason = "what `make image-run` tells the tests")]
    pub fn open() -> Image {
        let archive = env::var_os("GTM_IMAGE").expect("GTM_IMAGE is not set: run `make image-run`");
        let folder = Folder::new().expect("a folder");
        let layout = folder.path().join("layout");
        extract(Path::new(&archive), &layout);
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().expect("a digest");
            layout.join("blobs").join(digest.replace(':', "/"))
        };
        let index = json(&layout.join("index.json"));
        let manifest = json(&blob(&index["manifests"][0]));
        let config = json(&blob(&manifest["config"]));
        extract(&blob(&manifest["layers"][0]), &folder.path().join("root"));
        Image { folder, index, config }
    }

    /// The image's processor, as its configuration names it.
    pub fn processor(&self) -> &str {
        self.config["architecture"].as_str().expect("a processor")
    }

    /// The bytes that a node holds of it.
    pub fn size(&self) -> u64 {
        let root = self.folder.path().join("root");
        let files = ["gtm", "etc/ssl/certs/ca-certificates.crt"].map(|file| root.join(file));
        files.iter().map(|file| fs::metadata(file).expect("a file").len()).sum()
    }

    /// What runs its program here.
    pub fn program(&self) -> PathBuf {
        let program = self.folder.path().join("root/gtm");
        let known = PROCESSORS.iter().find(|(name, _)| *name == self.processor());
        let (_, machine) = known.expect("a processor that images are built for");
        if *machine == env::consts::ARCH {
            return program;
        }
        let text = format!("#!/bin/sh\nexec qemu-{machine}-static '{}' \"$@\"\n", program.display());
        let wrapper = self.folder.write("gtm", text).expect("a wrapper");
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o700)).expect("it can be run");
        wrapper
    }

    /// What a command of the program printed, without any environment.
    pub fn run(&self, arguments: &[&OsString]) -> String {
        let output = Command::new(self.program()).args(arguments).env_clear().output();
        let output = output.expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a text");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }
}

fn extract(archive: &Path, into: &Path) {
    fs::create_dir_all(into).expect("a folder");
    let done = Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(into).status();
    assert!(done.expect("tar starts").success(), "{}", archive.display());
}

fn json(file: &Path) -> Value {
    let text = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&text).expect("JSON")
}
