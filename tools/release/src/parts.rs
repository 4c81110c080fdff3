//! The list of parts of the binary (an SBOM): CycloneDX 1.6, JSON (<https://cyclonedx.org/docs/1.6/json/>).

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use cargo_metadata::{DependencyKind, Node, Package, PackageId};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Error;
use crate::source::{PACKAGE, Source};

/// The packages that are compiled into the program, itself first, and on which others each depends. Those that only run while it
/// is compiled are not among them; procedural macros are, since what they write is.
///
/// # Errors
/// When Cargo did not resolve the dependencies.
pub fn shipped(source: &Source) -> Result<Vec<(&Package, Vec<&PackageId>)>, Error> {
    let root = source.package()?;
    let resolve = source.metadata.resolve.as_ref();
    let resolve = resolve.ok_or_else(|| Error::wrong("cargo metadata resolved no dependencies"))?;
    let nodes: BTreeMap<&PackageId, &Node> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let packages: BTreeMap<&PackageId, &Package> = source
        .metadata
        .packages
        .iter()
        .map(|package| (&package.id, package))
        .collect();
    let linked = linked(source)?;
    let mut seen = BTreeSet::from([&root.id]);
    let mut pending = vec![&root.id];
    let mut found = Vec::new();
    while let Some(id) = pending.pop() {
        let (Some(node), Some(package)) = (nodes.get(id), packages.get(id)) else {
            return Err(Error::wrong(format!("cargo metadata does not describe {id}")));
        };
        let normal =
            |kinds: &[cargo_metadata::DepKindInfo]| kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
        let is_linked = |id: &&PackageId| {
            let package = packages.get(id);
            package.is_some_and(|package| linked.contains(&format!("{} v{}", package.name, package.version)))
        };
        let needs = node
            .deps
            .iter()
            .filter(|dep| normal(&dep.dep_kinds))
            .map(|dep| &dep.pkg);
        let needs: Vec<_> = needs.filter(is_linked).collect();
        pending.extend(needs.iter().copied().filter(|needed| seen.insert(needed)));
        found.push((*package, needs));
    }
    found.sort_by(|(a, _), (b, _)| (a.id != root.id, &a.name, &a.version).cmp(&(b.id != root.id, &b.name, &b.version)));
    Ok(found)
}

/// Names and versions of what is compiled in with the features that are on: `cargo metadata` lists more than that.
fn linked(source: &Source) -> Result<BTreeSet<String>, Error> {
    let output = Command::new("cargo")
        .current_dir(&source.root)
        .args([
            "tree",
            "--locked",
            "--package",
            PACKAGE,
            "--edges",
            "normal",
            "--target",
            source.target,
        ])
        .args(["--prefix", "none", "--no-dedupe", "--format", "{p}"])
        .output()
        .map_err(Error::file("cargo"))?;
    if !output.status.success() {
        return Err(Error::wrong(format!(
            "cargo tree: {}",
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let name = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    Ok(text.lines().map(name).collect())
}

/// The list. The same source gives the same text.
///
/// # Errors
/// As [`shipped`].
pub fn bill(source: &Source) -> Result<Value, Error> {
    let parts = shipped(source)?;
    let names: BTreeMap<&PackageId, String> = parts.iter().map(|(package, _)| (&package.id, purl(package))).collect();
    let refer = |id: &PackageId| names.get(id).cloned().unwrap_or_default();
    let mut components: Vec<Value> = parts
        .iter()
        .skip(1)
        .map(|(package, _)| component(package, "library"))
        .collect();
    components.push(
        json!({"type": "library", "bom-ref": "glibc", "name": "glibc", "scope": "required",
        "description": "linked into the program, of the machine that it was built on",
        "licenses": [{"expression": "LGPL-2.1-or-later"}]}),
    );
    let mut dependencies: Vec<Value> = Vec::new();
    for (package, needs) in &parts {
        let needs: BTreeSet<String> = needs.iter().map(|id| refer(id)).collect();
        dependencies.push(json!({"ref": refer(&package.id), "dependsOn": needs}));
    }
    let seconds = i64::try_from(source.epoch).unwrap_or_default();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": Timestamp::from_second(seconds).unwrap_or_default().to_string(),
            "component": component(source.package()?, "application"),
        },
        "components": components,
        "dependencies": dependencies,
    }))
}

fn component(package: &Package, kind: &str) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": purl(package),
        "name": package.name.as_str(),
        "version": package.version.to_string(),
        "scope": "required",
        "purl": purl(package),
    });
    if let Some(text) = &package.description {
        component["description"] = json!(text.trim());
    }
    if let Some(licence) = &package.license {
        // Cargo still takes the slash that once stood for OR.
        component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
    }
    if let Some(url) = &package.repository {
        component["externalReferences"] = json!([{"type": "vcs", "url": url}]);
    }
    component
}

/// <https://github.com/package-url/purl-spec/blob/main/types-doc/cargo-definition.md>.
fn purl(package: &Package) -> String {
    let version = package.version.to_string().replace('+', "%2B");
    format!("pkg:cargo/{}@{version}", package.name)
}
