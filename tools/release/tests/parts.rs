//! The list of parts, and the licences.

use std::collections::BTreeSet;

use release::binary::Arch;
use release::source::Source;
use release::{licences, parts};

fn source() -> Source {
    Source::read(Arch::Amd64.target()).unwrap()
}

#[test]
fn every_part_is_listed_once_with_a_licence_and_every_reference_leads_somewhere() {
    let bill = parts::bill(&source()).unwrap();
    assert_eq!(
        (&bill["bomFormat"], &bill["specVersion"]),
        (&"CycloneDX".into(), &"1.6".into())
    );
    assert_eq!(bill["metadata"]["component"]["name"], "github-token-manager");
    let components = bill["components"].as_array().unwrap();
    assert!(components.len() > 200, "{}", components.len());
    let mut known = BTreeSet::from([bill["metadata"]["component"]["bom-ref"].as_str().unwrap()]);
    for component in components {
        assert!(known.insert(component["bom-ref"].as_str().unwrap()), "{component}");
        let licence = component["licenses"][0]["expression"].as_str().unwrap_or_default();
        assert!(!licence.is_empty() && !licence.contains('/'), "{component}");
    }
    for dependency in bill["dependencies"].as_array().unwrap() {
        let needs = dependency["dependsOn"].as_array().unwrap().iter();
        for reference in needs.chain([&dependency["ref"]]) {
            assert!(known.contains(reference.as_str().unwrap()), "{reference}");
        }
    }
    let names: Vec<&str> = components
        .iter()
        .map(|component| component["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"rustls") && names.contains(&"aws-lc-sys") && names.contains(&"glibc"));
    for absent in ["proptest", "gtm-lab", "ring", "openssl-sys", "windows-sys"] {
        assert!(!names.contains(&absent), "{absent} is not in the program");
    }
}

#[test]
fn the_licences_are_there_as_text_c_code_included() {
    let texts = licences::texts(&source()).unwrap();
    for part in [
        "Permission is hereby granted",
        "Apache License",
        "jemalloc",
        "OpenSSL",
        "GNU C library",
    ] {
        assert!(texts.contains(part), "{part}");
    }
    assert!(!texts.contains(env!("CARGO_MANIFEST_DIR")));
}
