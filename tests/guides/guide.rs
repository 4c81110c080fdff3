//! A guide is its fenced blocks: what a reader would copy.

use std::path::Path;

/// A fenced block: its language, the file name behind that if there is one, its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub language: String,
    pub file: Option<String>,
    pub text: String,
}

/// A guide of `docs/guides`.
#[derive(Clone, Debug)]
pub struct Guide {
    name: String,
    pub text: String,
    pub blocks: Vec<Block>,
}

impl Guide {
    pub fn read(name: &str) -> Guide {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides").join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let blocks = blocks(&text);
        Guide {
            name: name.to_owned(),
            text,
            blocks,
        }
    }

    /// The one block with this in it.
    #[track_caller]
    pub fn block(&self, part: &str) -> &Block {
        let mut found = self.blocks.iter().filter(|block| block.text.contains(part));
        match (found.next(), found.next()) {
            (Some(block), None) => block,
            (first, _) => panic!(
                "{}: {part:?} is in {} blocks",
                self.name,
                if first.is_none() { "no" } else { "several" }
            ),
        }
    }
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let mut words = info.split_whitespace().map(str::to_owned);
        let inside = lines.by_ref().take_while(|line| *line != "```");
        let text = inside.map(|line| format!("{line}\n")).collect();
        blocks.push(Block {
            language: words.next().unwrap_or_default(),
            file: words.next(),
            text,
        });
    }
    blocks
}

#[test]
fn blocks_have_a_language_a_file_and_a_text() {
    let found = blocks("a\n```sh\nls\nps\n```\nb\n```yaml token.yaml\nkind: Token\n```\n");
    let block = |language: &str, file: Option<&str>, text: &str| Block {
        language: language.into(),
        file: file.map(Into::into),
        text: text.into(),
    };
    assert_eq!(
        found,
        [
            block("sh", None, "ls\nps\n"),
            block("yaml", Some("token.yaml"), "kind: Token\n")
        ]
    );
}

/// A block that nobody runs is an example that nobody checks: only these languages are used, and `text` is for addresses of pages.
#[test]
fn every_block_of_every_guide_is_one_that_a_test_can_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("docs/guides") {
        let name = entry.expect("an entry").file_name().into_string().expect("a text");
        for block in Guide::read(&name).blocks {
            let known = ["sh", "yaml", "text", "hcl"].contains(&block.language.as_str());
            assert!(known, "{name}: a block of {:?}", block.language);
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}
