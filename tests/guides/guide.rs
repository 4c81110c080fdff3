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

/// The texts that a source gives to a call, such as `block(`.
fn given<'a>(source: &'a str, call: &str) -> impl Iterator<Item = String> + use<'a> {
    let after = source.split(call).skip(1).collect::<Vec<_>>().into_iter();
    // What is no literal is no block by name. Rust writes them as JSON does.
    after.filter_map(|rest| serde_json::Deserializer::from_str(rest).into_iter().next()?.ok())
}

/// A block that nobody follows is an example that nobody checks. `text` is for addresses of pages.
#[test]
fn every_block_of_every_guide_is_followed_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |folder: &str| {
        let entries = std::fs::read_dir(root.join(folder)).expect(folder);
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a text"))
    };
    let tests: Vec<String> = names("tests/guides")
        .filter(|name| name.ends_with(".rs"))
        .map(|name| std::fs::read_to_string(root.join("tests/guides").join(name)).expect("a test"))
        .collect();
    let mut seen = 0;
    for name in names("docs/guides").chain(["../operations.md".to_owned()]) {
        let guide = Guide::read(&name);
        let of_it = tests
            .iter()
            .filter(|test| given(test, "Guide::read(").any(|read| read == name));
        let parts: Vec<String> = of_it
            .flat_map(|test| given(test, "block(").chain(given(test, "follow(")))
            .collect();
        for block in guide.blocks.iter().filter(|block| block.language != "text") {
            assert!(
                ["sh", "yaml"].contains(&&*block.language),
                "{name}: a block of {:?}",
                block.language
            );
            let is_in = |part: &String| {
                guide
                    .blocks
                    .iter()
                    .filter(|other| other.text.contains(part))
                    .eq([block])
            };
            assert!(parts.iter().any(is_in), "{name}: no test follows\n{}", block.text);
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn texts_that_are_given_to_a_call_are_found() {
    let source = "world.follow(guide.block(\"a\\n\\\"b\\\"\"));\nfn block(&self)\noperations.follow(\"c\");";
    assert_eq!(given(source, "block(").collect::<Vec<_>>(), ["a\n\"b\""]);
    assert_eq!(given(source, "follow(").collect::<Vec<_>>(), ["c"]);
}
