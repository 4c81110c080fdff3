//! Which room may know which, and the check of one file.

use crate::paths::{inside, module_of, paths};

/// A file has at most so many lines.
pub const MOST_LINES: usize = 400;

/// One room of the house: a folder of `src` or `core/src`, or a file of that name.
struct Room {
    name: &'static str,
    /// The rooms that it may import from, beside itself.
    knows: &'static [&'static str],
    /// Paths of other crates that it must not use.
    without: &'static [&'static str],
}

/// A clock, the environment, the network, tasks: what decisions do without.
const IMPURE: &[&str] = &[
    "axum",
    "clap",
    "futures",
    "kube::Api",
    "kube::Client",
    "kube::api",
    "kube::client",
    "kube::runtime",
    "reqwest",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "tokio",
    "tracing",
];

const KUBERNETES: &[&str] = &["k8s_openapi", "kube"];

const ROOMS: &[Room] = &[
    Room {
        name: "api",
        knows: &[],
        without: IMPURE,
    },
    Room {
        name: "domain",
        knows: &["api"],
        without: IMPURE,
    },
    Room {
        name: "signer",
        knows: &["api", "domain"],
        without: KUBERNETES,
    },
    Room {
        name: "github",
        knows: &["api", "domain"],
        without: KUBERNETES,
    },
    Room {
        name: "cluster",
        knows: &["api", "domain"],
        without: &[],
    },
    Room {
        name: "telemetry",
        knows: &["api", "domain"],
        without: &[],
    },
    Room {
        name: "config",
        knows: &["api", "domain", "signer", "github", "cluster"],
        without: KUBERNETES,
    },
    Room {
        name: "controller",
        knows: &["api", "domain", "signer", "github", "cluster"],
        without: &[],
    },
    Room {
        name: "webhook",
        knows: &["api", "domain", "signer", "github", "cluster"],
        without: &[],
    },
    Room {
        name: "run",
        knows: &[
            "api",
            "domain",
            "signer",
            "github",
            "cluster",
            "telemetry",
            "config",
            "controller",
            "webhook",
        ],
        without: &[],
    },
    Room {
        name: "cli",
        knows: &[
            "api",
            "domain",
            "signer",
            "github",
            "cluster",
            "telemetry",
            "config",
            "controller",
            "webhook",
            "run",
        ],
        without: &[],
    },
    Room {
        name: "allocator",
        knows: &[],
        without: IMPURE,
    },
    Room {
        name: "main",
        knows: &["allocator", "cli"],
        without: &[],
    },
    Room {
        name: "lib",
        knows: &["api", "domain"],
        without: &[],
    },
];

/// The name of the room that a file belongs to, if it is one of the house.
pub fn room_of(file: &str) -> Option<&'static str> {
    room(file).map(|room| room.name)
}

fn room(file: &str) -> Option<&'static Room> {
    let name = inside(file)?.split('/').next()?;
    let name = name.strip_suffix(".rs").unwrap_or(name);
    ROOMS.iter().find(|room| room.name == name)
}

/// What is wrong with the imports of a file.
pub fn violations(file: &str, text: &str) -> Vec<String> {
    let Some(room) = room(file) else {
        return vec![format!(
            "{file}: no room of this house; say in tests/architecture/rules.rs what it may know"
        )];
    };
    let module = module_of(file);
    let wrong = paths(&module, text).into_iter().filter_map(|path| wrong(room, &path));
    wrong.map(|why| format!("{file}: {why}")).collect()
}

fn wrong(room: &Room, path: &[String]) -> Option<String> {
    let shown = path.join("::");
    let Some(("crate", rest)) = path.split_first().map(|(head, rest)| (head.as_str(), rest)) else {
        let forbidden = |prefix: &&str| shown == *prefix || shown.starts_with(&format!("{prefix}::"));
        let prefix = room.without.iter().find(|prefix| forbidden(prefix))?;
        return Some(format!("{shown}: {} does without {prefix}", room.name));
    };
    match rest.first().map(String::as_str) {
        None | Some("*" | "self") => Some(format!("{shown}: the whole crate is no import; name the room")),
        Some(name) if name == room.name || room.knows.contains(&name) => None,
        Some(name) => Some(format!("{shown}: {} must not know {name}", room.name)),
    }
}

/// Says so if a file is too long.
pub fn too_long(file: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > MOST_LINES)
        .then(|| format!("{file} has {lines} lines, but at most {MOST_LINES} can be read at once: split it"))
}
