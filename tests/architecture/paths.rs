//! Every path that a Rust file names, written out from the crate's root.

/// Our crates' names for themselves and each other; the second's rooms are the first's, too.
const OURS: [&str; 2] = ["github_token_manager", "gtm_core"];

/// The path of a file of one of our crates in there.
pub fn inside(file: &str) -> Option<&str> {
    file.strip_prefix("core/").unwrap_or(file).strip_prefix("src/")
}

/// The modules that a file is in: `core/src/domain/plan/tests.rs` is `domain::plan::tests`.
pub fn module_of(file: &str) -> Vec<String> {
    let inside = inside(file).unwrap_or(file).trim_end_matches(".rs");
    let parts = inside.split('/').filter(|part| !["mod", "lib", "main"].contains(part));
    parts.map(str::to_owned).collect()
}

/// Every path of a text, with groups taken apart. Those of this crate begin with `crate`, whichever way they are written.
pub fn paths(module: &[String], text: &str) -> Vec<Vec<String>> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    // For each open brace, whether it opened a module; together they are where we are.
    let mut braces: Vec<bool> = Vec::new();
    let mut here = module.to_vec();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let before = at
            .checked_sub(1)
            .and_then(|before| tokens.get(before))
            .map_or("", String::as_str);
        match token.as_str() {
            "mod" if tokens.get(at + 2).is_some_and(|next| next == "{") => {
                here.extend(tokens.get(at + 1).cloned());
                braces.push(true);
                at += 3;
                continue;
            }
            "{" => braces.push(false),
            "}" if braces.pop() == Some(true) => drop(here.pop()),
            _ => {}
        }
        // `pub(crate)` and `pub(in crate::x)` say who may know us, not whom we know.
        let visibility = before == "in" || (before == "(" && !is_joined(&tokens, at));
        if is_word(token) && before != "." && !visibility && (is_joined(&tokens, at) || is_renamed(&tokens, at)) {
            let mut written = Vec::new();
            at = tree(&tokens, at, &[], &mut written);
            found.extend(written.into_iter().map(|path| from_root(&here, path)));
        } else {
            at += 1;
        }
    }
    found
}

/// A path goes on behind this word.
fn is_joined(tokens: &[String], at: usize) -> bool {
    tokens.get(at + 1).is_some_and(|next| next == "::")
}

/// `use crate as root;`
fn is_renamed(tokens: &[String], at: usize) -> bool {
    tokens.get(at).is_some_and(|word| word == "crate") && tokens.get(at + 1).is_some_and(|next| next == "as")
}

/// Takes a path apart, from the word at `at`; returns where it ends.
fn tree(tokens: &[String], mut at: usize, before: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("{") => {
                at += 1;
                while let Some(token) = tokens.get(at).filter(|token| *token != "}") {
                    at = match token.as_str() {
                        "as" => at + 2,
                        word if is_word(word) || word == "*" => tree(tokens, at, &path, found),
                        _ => at + 1,
                    };
                }
                return at + 1;
            }
            Some(word) if is_word(word) || word == "*" => {
                path.push(word.to_owned());
                at += 1;
            }
            _ => break,
        }
        if tokens.get(at).is_none_or(|next| next != "::") {
            break;
        }
        at += 1;
    }
    found.push(path);
    at
}

/// Writes `self`, `super` and our own crate's name out.
fn from_root(here: &[String], path: Vec<String>) -> Vec<String> {
    let relative = path.first().is_some_and(|head| head == "self" || head == "super");
    let mut whole: Vec<String> = if relative { here.to_vec() } else { Vec::new() };
    if relative {
        whole.insert(0, "crate".to_owned());
    }
    for (index, word) in path.into_iter().enumerate() {
        match word.as_str() {
            "self" if index == 0 => {}
            "super" if whole.len() > 1 => drop(whole.pop()),
            ours if index == 0 && OURS.contains(&ours) => whole.push("crate".to_owned()),
            _ => whole.push(word),
        }
    }
    whole
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words that no path ends with, so that a `::` behind them begins one.
const KEYWORDS: &[&str] = &[
    "as", "const", "dyn", "else", "for", "if", "impl", "in", "let", "match", "move", "mut", "ref", "return", "static",
    "use", "where", "while",
];

/// Words, `::` and single other characters; no comments, no texts, no lifetimes.
fn tokens(text: &str) -> Vec<String> {
    let mut rest = text;
    let mut found: Vec<String> = Vec::new();
    while let Some(first) = rest.chars().next() {
        let raw = rest
            .strip_prefix("r#")
            .filter(|name| name.starts_with(|c: char| c.is_alphabetic()));
        let length = if let Some(length) = skipped(rest) {
            length
        } else if raw.is_some() {
            "r#".len()
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            found.push(rest[..end].to_owned());
            end
        } else if rest.starts_with("::") {
            found.push("::".to_owned());
            2
        } else {
            found.push(first.to_string());
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    // A path may begin with `::` or `$`: what follows is what counts.
    let ends_none = |before: usize| !is_word(&found[before]) || KEYWORDS.contains(&found[before].as_str());
    let leading = |at: usize| found[at] == "::" && at.checked_sub(1).is_none_or(ends_none);
    let kept = (0..found.len()).filter(|at| !leading(*at) && found[*at] != "$");
    kept.map(|at| found[at].clone()).collect()
}

/// The length of what says nothing at the beginning of `rest`: space, comments, texts, characters, lifetimes.
fn skipped(rest: &str) -> Option<usize> {
    if rest.starts_with(char::is_whitespace) {
        return Some(rest.len() - rest.trim_start().len());
    }
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    if let Some(quoted) = ["b\"", "c\"", "\""].into_iter().find(|start| rest.starts_with(start)) {
        return Some(closed(rest, quoted.len(), '"'));
    }
    let prefix = ["br", "cr", "r"].into_iter().find(|start| rest.starts_with(start));
    if let Some(after) = prefix.and_then(|start| rest.strip_prefix(start)) {
        let hashes = after.len() - after.trim_start_matches('#').len();
        if after[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = rest.len() - after.len() + hashes + 1;
            return Some(rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len()));
        }
    }
    let quote = rest.strip_prefix("b'").or_else(|| rest.strip_prefix('\''))?;
    let mut inside = quote.chars();
    let start = rest.len() - quote.len();
    match (inside.next(), inside.next()) {
        (Some('\\'), _) => Some(closed(rest, start, '\'')),
        (Some(c), Some('\'')) => Some(start + c.len_utf8() + 1),
        // A lifetime: the quote alone says nothing, but its name is no path either.
        _ => Some(
            start
                + quote
                    .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                    .unwrap_or(quote.len()),
        ),
    }
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// Where a text that begins at `start` is closed.
fn closed(rest: &str, start: usize, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest[start..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return start + at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}
