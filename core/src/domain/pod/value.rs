//! The values that annotations may have. Each reader says what is wrong and what may stand there; the caller names the
//! annotation and the value.

use std::borrow::Cow;

use crate::domain::name::{NAMES, is_object_name};

/// What is wrong with a value, and the cure.
pub(super) type Wrong = String;

/// The longest path, in bytes.
const LONGEST_PATH: usize = 255;

/// Places that are the node's or the container's own: nothing is mounted at them or below. Those in `/etc` are files:
/// three that the kubelet mounts, three that nearly every image has.
const RESERVED: &[&str] = &[
    "/proc",
    "/sys",
    "/dev",
    "/boot",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/group",
    "/etc/passwd",
    "/etc/shadow",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/local/lib",
    "/run/secrets/kubernetes.io",
];

/// Folders that a mount would hide; below them is fine.
const SHARED: &[&str] = &[
    "/etc",
    "/etc/pki",
    "/etc/ssl",
    "/etc/ssl/certs",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/run",
    "/run/secrets",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/local",
    "/usr/share",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/spool",
    "/var/tmp",
];

/// An absolute path in its one spelling, without `.`, `..` and doubled slashes, that hides nothing of the container's own.
pub(super) fn mount_path(text: &str) -> Result<String, Wrong> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/._-+@=,~".contains(c);
    if !text.starts_with('/') || text.len() > LONGEST_PATH || !text.chars().all(allowed) {
        return Err(format!(
            "is no path that can be used: write an absolute one of letters, digits and /._-+@=,~ with at most {LONGEST_PATH} characters"
        ));
    }
    if text.split('/').any(|part| part == "." || part == "..") {
        return Err("has '.' or '..' in it: write the path out".to_owned());
    }
    let path = normal(text).into_owned();
    let place = real(&path);
    // Memory that every container has; below it is room.
    let in_memory = place.starts_with("/dev/shm/");
    if let Some(taken) = RESERVED.iter().find(|taken| !in_memory && overlap(&place, taken)) {
        return Err(format!("would hide, or lie in, {taken}: choose a folder of its own"));
    }
    if place == "/" || SHARED.contains(&&*place) {
        return Err("would hide what is there: choose a folder of its own".to_owned());
    }
    Ok(path)
}

/// A path without doubled slashes and a slash at its end.
pub(super) fn normal(path: &str) -> Cow<'_, str> {
    let says = |part: &&str| !part.is_empty() && *part != ".";
    if let Some(("", inside)) = path.split_once('/')
        && inside.split('/').all(|part| says(&part))
    {
        return Cow::Borrowed(path);
    }
    let parts: Vec<&str> = path.split('/').filter(says).collect();
    Cow::Owned(["/", &parts.join("/")].concat())
}

/// `/var/run` is `/run` nearly everywhere.
pub(super) fn real(path: &str) -> Cow<'_, str> {
    match path.strip_prefix("/var/run") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Cow::Owned(["/run", rest].concat()),
        _ => Cow::Borrowed(path),
    }
}

/// Whether `path` is `folder`, or below it.
pub(super) fn is_within(path: &str, folder: &str) -> bool {
    let rest = path.strip_prefix(folder);
    folder == "/" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether one of the two lies in the other.
pub(super) fn overlap(a: &str, b: &str) -> bool {
    is_within(a, b) || is_within(b, a)
}

/// A file's mode, with at least one reader.
pub(super) fn mode(text: &str) -> Result<u32, Wrong> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = !digits.is_empty() && digits.len() <= 4 && digits.chars().all(|c| ('0'..='7').contains(&c));
    let mode = octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten();
    mode.filter(|mode| *mode <= 0o777 && mode & 0o444 != 0)
        .ok_or_else(|| "is no octal mode that lets someone read: write one such as 0444 or 0440".to_owned())
}

/// `true` or `false`.
pub(super) fn boolean(text: &str) -> Result<bool, Wrong> {
    text.parse().map_err(|_| "is neither true nor false".to_owned())
}

/// The name of a Token.
pub(super) fn object_name(text: &str) -> Result<&str, Wrong> {
    if is_object_name(text) {
        return Ok(text);
    }
    Err(format!("is no object's name: {NAMES}"))
}

/// What `.ID` may be: it becomes part of a volume's name.
pub(super) fn is_id(text: &str) -> bool {
    text.len() <= 40 && !text.contains('.') && is_object_name(text)
}

/// A list with commas, each entry once, in the order in which they are written.
pub(super) fn list(text: &str) -> Result<Vec<&str>, Wrong> {
    let mut found = Vec::new();
    for entry in text.split(',').map(str::trim) {
        if entry.is_empty() {
            return Err("has an empty entry: write names with commas between them".to_owned());
        }
        if found.contains(&entry) {
            continue;
        }
        if found.len() == MOST_ENTRIES {
            return Err(format!("has more than {MOST_ENTRIES} entries"));
        }
        found.push(entry);
    }
    Ok(found)
}

/// Bounds what one annotation can make of a pod.
const MOST_ENTRIES: usize = 64;

/// The name of a variable that shells can use, too.
pub(super) fn variable(name: &str) -> Result<String, Wrong> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let rest = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.starts_with(first) || !name.chars().all(rest) || name.len() > 128 {
        return Err("names no variable: write letters, digits and '_', such as GH_TOKEN".to_owned());
    }
    if name.starts_with("GIT_CONFIG_") || name.starts_with("GITHUB_TOKEN_FILE") {
        return Err("names a variable that is set otherwise: choose another".to_owned());
    }
    Ok(name.to_owned())
}

/// `HOST` or `HOST:PORT`, as it stands in a remote's URL; in the one spelling that git reduces all to, without HTTPS' own port.
pub(super) fn host(text: &str) -> Result<String, Wrong> {
    let (name, port) = text.split_once(':').unwrap_or((text, "443"));
    let digits = port.chars().all(|c| c.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|port| digits && *port > 0);
    if let Some(port) = port.filter(|_| is_object_name(name)) {
        return Ok(if port == 443 {
            name.to_owned()
        } else {
            format!("{name}:{port}")
        });
    }
    Err("names no host: write a host as it stands in a remote's URL, in lower case, such as github.com or git.example.com:8443".to_owned())
}
