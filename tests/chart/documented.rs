//! `docs/rbac.md` names each right that the chart gives, and no other.

use std::collections::BTreeSet;

use crate::helm::read;
use crate::rights::{Right, granted};

/// The rights in the tables of a text: columns for group, resource, verbs and why. An empty cell says what is above it.
fn documented(text: &str) -> BTreeSet<Right> {
    let (mut group, mut resources) = (String::new(), Vec::new());
    let mut rights = BTreeSet::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", of, what, verbs, _, ""] = cells[..] else {
            continue;
        };
        if verbs == "verbs" || verbs.starts_with('-') {
            continue;
        }
        match of {
            "" => {}
            "(core)" => group = String::new(),
            named => named.clone_into(&mut group),
        }
        if !what.is_empty() {
            resources = what.split(", ").map(str::to_owned).collect();
        }
        // What is more than a word, such as "of its own name only", narrows the verb before it.
        for verb in verbs.split(", ").filter(|verb| !verb.contains(' ')) {
            let verb = verb.trim_end_matches('*').to_owned();
            rights.extend(
                resources
                    .iter()
                    .map(|resource| (group.clone(), resource.clone(), verb.clone())),
            );
        }
    }
    rights
}

#[test]
fn each_right_has_its_line_in_the_docs() {
    assert_eq!(documented(&read("docs/rbac.md")), granted(""));
}
