//! Golden files: what is rendered, as it was last looked at by a person. `GTM_BLESS=1 cargo test` writes them anew.

use std::path::Path;

/// The repository's folder.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Compares `actual` with the file of this path below the repository's folder.
pub fn assert_golden(path: &str, actual: &str) {
    let file = Path::new(ROOT).join(path);
    if is_blessing() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{path}: {error}; GTM_BLESS=1 cargo test writes it: look at the difference"));
    assert!(
        expected == actual,
        "{path} is not what is rendered now; GTM_BLESS=1 cargo test writes it anew: look at the difference.\n{}",
        first_difference(&expected, actual)
    );
}

/// The folders below this one, each with the content of its file `name`: what golden tests start from.
pub fn cases(folder: &str, name: &str) -> Vec<(String, String)> {
    let root = Path::new(ROOT).join(folder);
    let entries = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap());
    let case = |entry: std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path().join(name)).unwrap();
        (entry.file_name().into_string().unwrap(), text)
    };
    let mut cases: Vec<(String, String)> = entries.map(case).collect();
    cases.sort();
    cases
}

fn is_blessing() -> bool {
    std::env::var("GTM_BLESS").is_ok_and(|value| value == "1")
}

fn first_difference(expected: &str, actual: &str) -> String {
    let end = "(end of file)";
    let (mut left, mut right) = (expected.lines(), actual.lines());
    for number in 1.. {
        match (left.next(), right.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (a, b) => return format!("line {number}:\n- {}\n+ {}", a.unwrap_or(end), b.unwrap_or(end)),
        }
    }
    "only the ends of lines differ".to_owned()
}
