//! Files that are written from the chart. `GTM_BLESS=1 cargo test --test chart` writes them anew.

use crate::helm::path;

/// Compares a file below the package's folder with what it is to be.
pub fn is(file: &str, wanted: &str) {
    let file = path(file);
    if is_blessing() {
        std::fs::write(&file, wanted).expect("the file is written");
        return;
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    let lines = || found.lines().zip(wanted.lines());
    let differs = lines().position(|(found, wanted)| found != wanted);
    assert!(
        found == wanted,
        "{} is not what the chart says now, first in line {:?}; `make chart` writes it anew: look at the difference",
        file.display(),
        differs.map_or_else(|| lines().count() + 1, |line| line + 1)
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "a person asks for new files through the environment"
)]
fn is_blessing() -> bool {
    std::env::var("GTM_BLESS").is_ok_and(|value| value == "1")
}
