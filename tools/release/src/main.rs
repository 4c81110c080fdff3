//! `release image`: the image, its list of parts, and the licences.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use release::binary::{self, Arch};
use release::compile::{Places, compile};
use release::oci::{Image, pack};
use release::source::{PACKAGE, Source};
use release::{Error, licences, parts};

/// Makes what is shipped.
#[derive(Parser)]
#[command(name = "release", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the image as an OCI archive, its list of parts and the licences; print their paths and the image's digest.
    Image(ImageArgs),
}

#[derive(clap::Args)]
struct ImageArgs {
    /// For which processor: amd64 or arm64 [default: this machine's]
    #[arg(long)]
    arch: Option<Arch>,

    /// The repository that the image is named by
    #[arg(long, default_value = "localhost/github-token-manager")]
    repository: String,

    /// The tag [default: the version]
    #[arg(long)]
    tag: Option<String>,

    /// The folder to compile in; what is written is in its folder `image`
    #[arg(long, env = "CARGO_TARGET_DIR", default_value = "target")]
    target: PathBuf,
}

fn main() -> ExitCode {
    let Command::Image(args) = Cli::parse().command;
    match image(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("release: {error}");
            ExitCode::FAILURE
        }
    }
}

fn image(args: &ImageArgs) -> Result<(), Error> {
    let arch = args.arch.or_else(Arch::host);
    let arch = arch.ok_or_else(|| Error::wrong("this machine is neither amd64 nor arm64: name one with --arch"))?;
    let source = Source::read(arch.target())?;
    let target = std::path::absolute(&args.target).map_err(Error::file(&args.target))?;
    let places = Places::find(&source, &target)?;
    let program = compile(&source, arch, &target, &places)?;
    let program = fs::read(&program).map_err(Error::file(program))?;
    within(program.len())?;
    binary::check(&program, arch, &places.folders())?;

    let package = source.package()?;
    let version = package.version.to_string();
    let tag = args.tag.clone().unwrap_or_else(|| version.clone());
    let packed = pack(&Image {
        program,
        arch,
        name: format!("{}:{tag}", args.repository),
        description: package.description.clone().unwrap_or_default(),
        licence: package.license.clone().unwrap_or_default(),
        revision: source.revision.clone(),
        epoch: source.epoch,
        version: version.clone(),
    })
    .map_err(Error::file("the archive"))?;

    let folder = target.join("image");
    fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
    let stem = format!("{PACKAGE}-{version}-{arch}");
    let parts = format!("{:#}\n", parts::bill(&source)?);
    write(&folder.join(format!("{stem}.cdx.json")), parts.as_bytes())?;
    write(
        &folder.join(format!("{stem}.licenses.txt")),
        licences::texts(&source)?.as_bytes(),
    )?;
    write(&folder.join(format!("{stem}.tar")), &packed.archive)?;
    println!("{}", packed.digest);
    Ok(())
}

/// The image is at most this large as a node unpacks it, in bytes; the certificate authorities are 0.2 MB of it.
const MOST: usize = 25_000_000 - 250_000;

/// Refuses a program that makes the image too large.
fn within(program: usize) -> Result<(), Error> {
    if program <= MOST {
        return Ok(());
    }
    Err(Error::wrong(format!(
        "the program has {program} bytes, and the image may have 25 MB: `cargo bloat --release` shows what has grown"
    )))
}

fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    fs::write(path, content).map_err(Error::file(path))?;
    println!("{}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_past_25_megabytes_is_refused() {
        within(MOST).unwrap();
        let error = within(MOST + 1).unwrap_err().to_string();
        assert!(error.contains("24750001 bytes") && error.contains("25 MB"), "{error}");
    }
}
