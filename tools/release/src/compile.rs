//! Compiles the operator as one static binary that names nothing of the machine it was built on.
//!
//! With `crt-static`, Rust links glibc into the binary on the gnu targets. Since glibc 2.34 that holds for its name resolution
//! too, files and DNS: nothing is loaded when the program runs.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::binary::Arch;
use crate::source::{PACKAGE, Source};

/// The program's name.
const PROGRAM: &str = "gtm";

/// Folders of this machine, and what stands for them in the binary.
#[derive(Debug)]
pub struct Places(Vec<(String, &'static str)>);

impl Places {
    /// Of this machine; `target` is the folder that is compiled into.
    ///
    /// # Errors
    /// When there is no Rust.
    pub fn find(source: &Source, target: &Path) -> Result<Self, Error> {
        let text = |path: &Path| path.display().to_string();
        let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let cargo = env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
        let rustc = Command::new("rustc").args(["--print", "sysroot"]).output();
        let rustc =
            rustc.map_err(|error| Error::wrong(format!("rustc: {error}; install Rust from https://rustup.rs")))?;
        let sysroot = String::from_utf8_lossy(&rustc.stdout).trim().to_owned();
        // Of two that fit, compilers take the last: the target folder may be inside of the source's.
        Ok(Places(vec![
            (text(&cargo), "/cargo"),
            (text(&source.root), "/src"),
            (text(target), "/target"),
            (sysroot, "/rust"),
        ]))
    }

    /// The folders that the binary must not name.
    pub fn folders(&self) -> Vec<String> {
        let renamed = self.0.iter().filter(|(folder, name)| folder != name);
        renamed.map(|(folder, _)| folder.clone()).collect()
    }

    fn rust_flags(&self) -> String {
        let remap = self
            .0
            .iter()
            .map(|(folder, name)| format!("--remap-path-prefix={folder}={name}"));
        let fixed = ["-C".to_owned(), "target-feature=+crt-static".to_owned()];
        let flags: Vec<String> = remap.chain(fixed).collect();
        // As `CARGO_ENCODED_RUSTFLAGS` has them.
        flags.join("\u{1f}")
    }

    fn c_flags(&self) -> String {
        let sources = self.0.iter().filter(|(_, name)| *name != "/rust");
        let remap = sources.map(|(folder, name)| format!("-ffile-prefix-map={folder}={name}"));
        remap.collect::<Vec<_>>().join(" ")
    }
}

/// Compiles for `arch` into the folder `target`; returns the program.
///
/// # Errors
/// What is missing for it, and how to get it; or that the compiler failed.
pub fn compile(source: &Source, arch: Arch, target: &Path, places: &Places) -> Result<PathBuf, Error> {
    let triple = arch.target();
    missing(arch)?;
    let variable = triple.replace('-', "_");
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(&source.root)
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            PACKAGE,
            "--bin",
            PROGRAM,
            "--target",
            triple,
        ])
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_ENCODED_RUSTFLAGS", places.rust_flags())
        .env(format!("CFLAGS_{variable}"), places.c_flags())
        .env("SOURCE_DATE_EPOCH", source.epoch.to_string());
    if Arch::host() != Some(arch) {
        let linker = OsString::from(arch.linker());
        cargo.env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), &linker);
        cargo.env(format!("CC_{variable}"), linker);
    }
    let status = cargo.status().map_err(Error::file("cargo"))?;
    if !status.success() {
        return Err(Error::wrong(format!(
            "cargo build failed ({status}); its output is above"
        )));
    }
    Ok(target.join(triple).join("release").join(PROGRAM))
}

/// Says all that is missing to compile for `arch`.
fn missing(arch: Arch) -> Result<(), Error> {
    let triple = arch.target();
    let mut missing = Vec::new();
    let library = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", triple])
        .output();
    let library = library.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    if !library.is_ok_and(|folder| Path::new(&folder).is_dir()) {
        missing.push(format!(
            "Rust's standard library for {triple}: rustup target add {triple}"
        ));
    }
    if Arch::host() != Some(arch) {
        let linker = arch.linker();
        if Command::new(linker).arg("--version").output().is_err() {
            missing.push(format!(
                "{linker}: apt-get install {} libc6-dev-{arch}-cross",
                arch.debian()
            ));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::wrong(format!(
        "an image for {arch} cannot be built here; missing is\n  {}",
        missing.join("\n  ")
    )))
}
