//! Images without a registry and without a container engine.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use crate::{
    error::{During, Error},
    github::digest::sha256_hex,
    process::Folder,
    tools,
};

/// What holds a pod's namespaces.
pub const PAUSE: &str = "localhost/gtm/pause:1";
/// A shell, the usual commands, and git.
pub const GIT: &str = "localhost/gtm/git:1";

/// What git brings along that nobody here needs: perl, and what only a package's installation needs.
const LEFT_OUT: [&str; 12] = [
    "perl",
    "libperl",
    "liberror-perl",
    "git-man_",
    "debconf_",
    "dpkg_",
    "tar_",
    "gcc-12-base_",
    "openssl_",
    "libgdbm",
    "libdb5",
    "adduser_",
];

/// The archive of [`PAUSE`], built of Kubernetes' own source the first time. Blocks.
///
/// # Errors
/// When the module or a C compiler is missing.
pub fn pause() -> Result<PathBuf, Error> {
    let folder = tools::once("image-pause-1", |folder| {
        let rootfs = Folder::new()?;
        let source = tools::kubernetes_source()?.join("build/pause/linux/pause.c");
        let program = rootfs.path().join("pause");
        run(Command::new("cc")
            .args(["-Os", "-static", "-DVERSION=1", "-o"])
            .arg(&program)
            .arg(source))?;
        run(Command::new("strip").arg(&program))?;
        archive(rootfs.path(), PAUSE, &["/pause"], &folder.join("image.tar"))
    })?;
    Ok(folder.join("image.tar"))
}

/// The archive of [`GIT`], made of Debian's packages the first time. Blocks.
///
/// # Errors
/// When apt cannot download them.
pub fn git() -> Result<PathBuf, Error> {
    let folder = tools::once("image-git-1", |folder| {
        let packages = Folder::new()?;
        let rootfs = Folder::new()?;
        download(
            packages.path(),
            &["git", "ca-certificates", "dash", "coreutils", "libc-bin"],
        )?;
        unpack(&packages.path().join("archives"), rootfs.path())?;
        furnish(rootfs.path())?;
        archive(rootfs.path(), GIT, &["/bin/sh"], &folder.join("image.tar"))
    })?;
    Ok(folder.join("image.tar"))
}

/// Downloads the packages and all that they depend on, whatever is installed here.
fn download(folder: &Path, packages: &[&str]) -> Result<(), Error> {
    let archives = folder.join("archives");
    fs::create_dir_all(archives.join("partial")).during(|| format!("make the folder {}", archives.display()))?;
    let status = folder.join("status");
    fs::write(&status, "").during(|| format!("write {}", status.display()))?;
    run(Command::new("apt-get")
        .args(["-qq", "-y", "--no-install-recommends", "--download-only"])
        .arg("-o")
        .arg(format!("Dir::State::status={}", status.display()))
        .arg("-o")
        .arg(format!("Dir::Cache::archives={}", archives.display()))
        // apt's own user cannot read our folder.
        .args(["-o", "APT::Sandbox::User=root", "install"])
        .args(packages))
}

/// Unpacks packages without running anything of them.
fn unpack(archives: &Path, rootfs: &Path) -> Result<(), Error> {
    let entries = fs::read_dir(archives).during(|| format!("read {}", archives.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".deb") && !LEFT_OUT.iter().any(|left_out| name.starts_with(left_out)) {
            run(Command::new("dpkg-deb").arg("--extract").arg(&path).arg(rootfs))?;
        }
    }
    for unread in ["doc", "man", "locale", "i18n", "info", "perl5"] {
        let unread = rootfs.join("usr/share").join(unread);
        if unread.exists() {
            fs::remove_dir_all(&unread).during(|| format!("remove {}", unread.display()))?;
        }
    }
    Ok(())
}

/// What the scripts of the packages would have made.
fn furnish(rootfs: &Path) -> Result<(), Error> {
    let shell = rootfs.join("bin/sh");
    if !shell.exists() {
        symlink("dash", &shell).during(|| format!("link {}", shell.display()))?;
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532::/tmp:/bin/sh\n";
    for (name, text) in [("etc/passwd", passwd), ("etc/group", "root:x:0:\nnonroot:x:65532:\n")] {
        let path = rootfs.join(name);
        fs::write(&path, text).during(|| format!("write {}", path.display()))?;
    }
    let tmp = rootfs.join("tmp");
    fs::create_dir_all(&tmp).during(|| format!("make the folder {}", tmp.display()))?;
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777)).during(|| format!("open up {}", tmp.display()))
}

/// Writes an image of one layer, `FROM scratch`, that runs as nobody (65532), as an archive of Docker's form
/// (<https://github.com/moby/docker-image-spec>).
///
/// # Errors
/// When tar fails or a file cannot be written.
pub fn archive(rootfs: &Path, reference: &str, entrypoint: &[&str], to: &Path) -> Result<(), Error> {
    let folder = Folder::new()?;
    let layer = folder.path().join("layer.tar");
    let everybody = [
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--sort=name",
        "--mtime=@0",
        "--mode=go+rX,u+rw",
    ];
    run(Command::new("tar")
        .arg("-C")
        .arg(rootfs)
        .args(everybody)
        .arg("-cf")
        .arg(&layer)
        .arg("."))?;
    let content = fs::read(&layer).during(|| format!("read {}", layer.display()))?;
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": entrypoint, "User": "65532:65532", "Env": ["PATH=/usr/bin:/bin:/usr/sbin:/sbin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256_hex(&content))]},
        "history": [{"created": "1970-01-01T00:00:00Z"}],
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]);
    folder.write("config.json", config.to_string())?;
    folder.write("manifest.json", manifest.to_string())?;
    let files = ["manifest.json", "config.json", "layer.tar"];
    run(Command::new("tar")
        .arg("-C")
        .arg(folder.path())
        .arg("-cf")
        .arg(to)
        .args(files))
}

fn run(command: &mut Command) -> Result<(), Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().during(|| format!("start {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Tool(format!("{program} failed ({}): {said}", output.status)))
}
