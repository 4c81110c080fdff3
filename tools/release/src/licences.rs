//! The licences of what is in the binary, as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::Package;

use crate::Error;
use crate::parts::shipped;
use crate::source::Source;

/// How deep in a crate's folder licences of C code that it brings along are looked for.
const DEPTH: usize = 3;

/// What a static program of the gnu target has in it beside crates.
const BESIDE: &str = "\
Rust's standard library: MIT OR Apache-2.0, https://www.rust-lang.org/policies/licenses.
GNU C library, linked statically: LGPL-2.1-or-later, https://www.gnu.org/software/libc/. Whoever wants to link the program with
another version of it builds it from its source: `make image`.
";

/// Every licence text once, with the crates that it is of; first a line for each crate.
///
/// # Errors
/// When a text cannot be read, or a crate states no licence at all.
pub fn texts(source: &Source) -> Result<String, Error> {
    let mut list = String::new();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let shipped = shipped(source)?;
    // Our own have no source but this one, and its licence.
    for (package, _) in shipped.iter().filter(|(package, _)| package.source.is_some()) {
        let name = format!("{} {}", package.name, package.version);
        let stated = package
            .license
            .clone()
            .or_else(|| package.license_file.as_ref().map(ToString::to_string));
        let stated = stated.ok_or_else(|| Error::wrong(format!("{name} states no licence")))?;
        list += &format!("{name}: {stated}\n");
        for text in of(package)? {
            texts.entry(text).or_default().insert(name.clone());
        }
    }
    let mut all = format!("The program contains\n\n{list}\n{BESIDE}");
    for (text, packages) in texts {
        let packages: Vec<String> = packages.into_iter().collect();
        all += &format!("\n{}\n{}\n\n{}\n", "=".repeat(80), packages.join(", "), text.trim_end());
    }
    Ok(all)
}

fn of(package: &Package) -> Result<Vec<String>, Error> {
    let folder: PathBuf = package.manifest_path.parent().map(Into::into).unwrap_or_default();
    let mut found = Vec::new();
    let mut pending = vec![(folder, 0)];
    while let Some((folder, depth)) = pending.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::file(&folder))? {
            let path = entry.map_err(Error::file(&folder))?.path();
            if path.is_dir() && depth < DEPTH {
                pending.push((path, depth + 1));
            } else if path.is_file() && is_licence(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    let read = |path: &PathBuf| fs::read(path).map_err(Error::file(path));
    let texts = found
        .iter()
        .map(|path| read(path).map(|bytes| String::from_utf8_lossy(&bytes).replace('\r', "")));
    texts.collect()
}

fn is_licence(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
    let code = path
        .extension()
        .is_some_and(|extension| ["rs", "c", "h", "py", "go", "sh"].iter().any(|code| extension == *code));
    let starts = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT", "UNLICENSE"];
    !code && starts.iter().any(|start| name.starts_with(start))
}
