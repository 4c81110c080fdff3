//! The manifests that `-f` names, found as kubectl finds them.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Failure;
use crate::domain::quote;

/// Of the files of a folder, those that end so.
const ENDINGS: [&str; 3] = ["json", "yaml", "yml"];

/// What there is to check in files, and what that is made of.
#[derive(Default)]
pub(super) struct Manifests {
    /// Tokens and ClusterTokens.
    pub tokens: Vec<Value>,
    /// Apps.
    pub apps: Vec<Value>,
}

impl Manifests {
    /// Reads files and folders; `-` is standard input.
    ///
    /// # Errors
    /// Names the file that cannot be read, and the one that holds nothing to check.
    pub fn read(named: &[PathBuf]) -> Result<Self, Failure> {
        let mut found = Manifests::default();
        for named in named {
            let before = found.count();
            for file in files(named).map_err(|error| unreadable(named, &error))? {
                found.add(&file)?;
            }
            if found.count() == before {
                let named = named.display();
                return Err(Failure::Usage(format!("{named} holds no Token, ClusterToken or App")));
            }
        }
        if found.tokens.is_empty() {
            let cure = "add one that names the App, which is checked with it";
            return Err(Failure::Usage(format!("there is no Token and no ClusterToken: {cure}")));
        }
        Ok(found)
    }

    fn count(&self) -> usize {
        self.tokens.len() + self.apps.len()
    }

    fn add(&mut self, file: &Path) -> Result<(), Failure> {
        let mut text = String::new();
        let read = if file == Path::new("-") {
            io::stdin().read_to_string(&mut text).map(drop)
        } else {
            std::fs::read_to_string(file).map(|read| text = read)
        };
        read.map_err(|error| unreadable(file, &error))?;
        let documents = serde_saphyr::from_multiple::<Value>(&text)
            .map_err(|error| Failure::Usage(format!("{}: {}", file.display(), no_yaml(&error))))?;
        documents.into_iter().for_each(|document| self.gather(document));
        Ok(())
    }

    /// Takes the object that a document is, or each of a list, as `kubectl get -o yaml` writes it.
    fn gather(&mut self, mut document: Value) {
        match document.get("kind").and_then(Value::as_str) {
            Some("Token" | "ClusterToken") => self.tokens.push(document),
            Some("App") => self.apps.push(document),
            Some("List" | "TokenList" | "ClusterTokenList" | "AppList") => {
                let items = document.get_mut("items").and_then(Value::as_array_mut);
                let items = items.map(std::mem::take).unwrap_or_default();
                items.into_iter().for_each(|item| self.gather(item));
            }
            _ => {}
        }
    }
}

/// The file, or those of the folder, by name; not those of folders in it.
fn files(named: &Path) -> io::Result<Vec<PathBuf>> {
    if !named.is_dir() {
        return Ok(vec![named.to_owned()]);
    }
    let is_manifest = |path: &PathBuf| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        ending.is_some_and(|ending| ENDINGS.contains(&ending)) && !path.is_dir()
    };
    let all = std::fs::read_dir(named)?.map(|entry| entry.map(|entry| entry.path()));
    let mut all: Vec<_> = all.collect::<io::Result<_>>()?;
    all.retain(is_manifest);
    all.sort();
    Ok(all)
}

fn unreadable(file: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("{} cannot be read: {error}", file.display()))
}

/// Why a text is no YAML, without the text around the place: it may be a Secret's.
fn no_yaml(error: &serde_saphyr::Error) -> String {
    match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key, location } => {
            let key = key.as_deref().map_or_else(|| "a key".to_owned(), quote);
            format!(
                "{key} is given twice (line {}, column {}): keep one",
                location.line(),
                location.column()
            )
        }
        error => format!("it is no YAML: {}", quote(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        no_yaml(&serde_saphyr::from_multiple::<Value>(text).expect_err(text))
    }

    #[test]
    fn a_text_that_is_no_yaml_is_told_with_the_place_and_without_its_content() {
        assert_eq!(
            told("a: 1\nb: 2\na: 3\n"),
            "a is given twice (line 3, column 1): keep one"
        );
        for text in ["a: hidden\n- b", "a: {b: hidden", "a: hidden\nb: 'hidden"] {
            let told = told(text);
            assert!(told.contains("line ") && !told.contains("hidden"), "{told}");
        }
    }
}
