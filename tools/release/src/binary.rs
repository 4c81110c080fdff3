//! What must be true of a binary that is alone in its image.

use std::fmt;
use std::str::FromStr;

use object::elf::{DT_NEEDED, PT_DYNAMIC, PT_INTERP};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{Architecture, Endianness, Object as _};

use crate::Error;

/// A kind of processor, as container images name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// x86_64.
    Amd64,
    /// aarch64.
    Arm64,
}

impl Arch {
    /// As in an image's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }

    /// Rust's name of what it compiles to.
    pub fn target(self) -> &'static str {
        match self {
            Arch::Amd64 => "x86_64-unknown-linux-gnu",
            Arch::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The C compiler and linker for it, where it is not the machine's own.
    pub fn linker(self) -> &'static str {
        match self {
            Arch::Amd64 => "x86_64-linux-gnu-gcc",
            Arch::Arm64 => "aarch64-linux-gnu-gcc",
        }
    }

    /// Debian's package with that compiler.
    pub fn debian(self) -> &'static str {
        match self {
            Arch::Amd64 => "gcc-x86-64-linux-gnu",
            Arch::Arm64 => "gcc-aarch64-linux-gnu",
        }
    }

    /// The machine's own.
    pub fn host() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Arch::Amd64),
            "aarch64" => Some(Arch::Arm64),
            _ => None,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Arch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "amd64" => Ok(Arch::Amd64),
            "arm64" => Ok(Arch::Arm64),
            _ => Err(format!("{text} is neither amd64 nor arm64")),
        }
    }
}

/// Checks that a program needs nothing beside it, is for `arch`, and names none of `places` (folders of the machine it was built
/// on).
///
/// # Errors
/// What is wrong with it.
pub fn check(program: &[u8], arch: Arch, places: &[String]) -> Result<(), Error> {
    let file =
        object::File::parse(program).map_err(|error| Error::wrong(format!("the binary is no ELF file: {error}")))?;
    let wanted = match arch {
        Arch::Amd64 => Architecture::X86_64,
        Arch::Arm64 => Architecture::Aarch64,
    };
    if file.architecture() != wanted {
        return Err(Error::wrong(format!(
            "the binary is for {:?}, not for {arch}",
            file.architecture()
        )));
    }
    if let Some(needed) = needed(program)? {
        return Err(Error::wrong(format!(
            "the binary is not static: it needs {needed}; build it with -C target-feature=+crt-static"
        )));
    }
    let named = places.iter().filter(|place| names(program, place));
    let named: Vec<&str> = named.map(String::as_str).collect();
    if !named.is_empty() {
        return Err(Error::wrong(format!(
            "the binary names folders of the machine that it was built on: {}",
            named.join(", ")
        )));
    }
    Ok(())
}

/// The loader or library that a program asks for. A static program that can be loaded anywhere has a dynamic section too, but
/// names no library in it.
fn needed(program: &[u8]) -> Result<Option<String>, Error> {
    let wrong = |error: object::Error| Error::wrong(format!("the binary's headers cannot be read: {error}"));
    let header = object::elf::FileHeader64::<Endianness>::parse(program).map_err(wrong)?;
    let endian = header.endian().map_err(wrong)?;
    for segment in header.program_headers(endian, program).map_err(wrong)? {
        match segment.p_type(endian) {
            PT_INTERP => {
                let loader = segment.data(endian, program).unwrap_or_default();
                return Ok(Some(String::from_utf8_lossy(loader).trim_end_matches('\0').to_owned()));
            }
            PT_DYNAMIC => {
                let entries = segment.dynamic(endian, program).map_err(wrong)?.unwrap_or_default();
                if entries.iter().any(|entry| entry.d_tag.get(endian) == DT_NEEDED) {
                    return Ok(Some("shared libraries".to_owned()));
                }
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Whether a path below `folder` stands in `text`. A folder at the root, such as `/build`, counts only where a path begins: its
/// name is in other paths, too.
fn names(text: &[u8], folder: &str) -> bool {
    let below = format!("{folder}/");
    let at_root = folder.rfind('/') == Some(0);
    let of_path = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    let places = text.windows(below.len()).enumerate();
    let mut found = places.filter(|(_, part)| *part == below.as_bytes());
    !folder.is_empty() && found.any(|(at, _)| !at_root || !text[..at].last().is_some_and(of_path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_at_the_root_is_looked_for_where_a_path_begins() {
        for (text, folder, named) in [
            ("at /build/src/main.rs", "/build", true),
            ("/build/src/main.rs", "/build", true),
            ("at /target/release/build/aws/out/x.c", "/build", false),
            ("src/operation/builders.rs", "/build", false),
            ("text of another/home/me/src/main.rs", "/home/me", true),
            ("at /home/mel/src/main.rs", "/home/me", false),
        ] {
            assert_eq!(names(text.as_bytes(), folder), named, "{folder} in {text}");
        }
    }
}
