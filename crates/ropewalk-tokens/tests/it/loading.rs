//! Loading from directories and metadata, and what is said about bad ones.

use std::collections::HashMap;
use std::path::PathBuf;

use proptest::prelude::*;
use ropewalk_tokens::{Error, Tokenizer, VocabMetadata};

/// Metadata made by hand.
#[derive(Default, Clone, Debug)]
struct Made {
    strs: HashMap<&'static str, String>,
    u32s: HashMap<&'static str, u32>,
    bools: HashMap<&'static str, bool>,
    strings: HashMap<&'static str, Vec<Vec<u8>>>,
    f32s: HashMap<&'static str, Vec<f32>>,
    i32s: HashMap<&'static str, Vec<i32>>,
}

impl VocabMetadata for Made {
    fn str(&self, key: &str) -> Option<&str> {
        self.strs.get(key).map(String::as_str)
    }
    fn u32(&self, key: &str) -> Option<u32> {
        self.u32s.get(key).copied()
    }
    fn bool(&self, key: &str) -> Option<bool> {
        self.bools.get(key).copied()
    }
    fn strings(&self, key: &str) -> Option<Vec<&[u8]>> {
        Some(self.strings.get(key)?.iter().map(Vec::as_slice).collect())
    }
    fn f32s(&self, key: &str) -> Option<Vec<f32>> {
        self.f32s.get(key).cloned()
    }
    fn i32s(&self, key: &str) -> Option<Vec<i32>> {
        self.i32s.get(key).cloned()
    }
}

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";

fn bytes(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn gpt2() -> Made {
    let mut made = Made::default();
    made.strs.insert(MODEL, "gpt2".to_owned());
    made.strs.insert(PRE, "qwen2".to_owned());
    made.strings
        .insert(TOKENS, bytes(&["a", "b", "ab", "Ġ", "Ġab", "<|im_end|>"]));
    made.strings.insert(MERGES, bytes(&["a b", "Ġ ab"]));
    made.i32s.insert(TYPES, vec![1, 1, 1, 1, 1, 4]);
    made
}

fn load(made: &Made) -> Result<Tokenizer, Error> {
    Tokenizer::from_metadata(made)
}

#[test]
fn a_vocabulary_made_by_hand_works() {
    let tokenizer = load(&gpt2()).unwrap();
    assert_eq!(
        tokenizer.encode("ab ab<|im_end|>ba", true).unwrap(),
        [2, 4, 5, 1, 0]
    );
    assert_eq!(
        tokenizer.decode(&[2, 4, 5], false).unwrap(),
        "ab ab<|im_end|>"
    );
    // An end token is special, whatever the file calls it.
    assert_eq!(tokenizer.decode(&[2, 4, 5], true).unwrap(), "ab ab");
    assert_eq!(tokenizer.end_ids(), [5]);
    assert_eq!((tokenizer.bos(), tokenizer.adds_bos()), (None, false));
    // Bytes without a token are dropped, and offsets still slice the text.
    assert_eq!(tokenizer.encode("aéb", false).unwrap(), [0, 1]);
    assert_eq!(tokenizer.piece(4).as_deref(), Some("Ġab"));
    assert_eq!(tokenizer.token_to_id("Ġab"), Some(4));
    assert_eq!(tokenizer.token_to_id("nothing"), None);
}

#[test]
fn bad_metadata_is_named() {
    let cases: [(&str, fn(&mut Made)); 10] = [
        (MODEL, |made| {
            drop(made.strs.remove(MODEL));
        }),
        ("`t5`", |made| {
            drop(made.strs.insert(MODEL, "t5".to_owned()));
        }),
        (TOKENS, |made| {
            drop(made.strings.remove(TOKENS));
        }),
        (TOKENS, |made| {
            drop(made.strings.insert(TOKENS, Vec::new()));
        }),
        (TYPES, |made| {
            drop(made.i32s.insert(TYPES, vec![1]));
        }),
        (MERGES, |made| {
            drop(made.strings.remove(MERGES));
        }),
        (MERGES, |made| {
            drop(made.strings.insert(MERGES, bytes(&["ab"])));
        }),
        ("`nonsense`", |made| {
            drop(made.strs.insert(PRE, "nonsense".to_owned()));
        }),
        (SCORES, |made| {
            drop(made.strs.insert(MODEL, "llama".to_owned()));
        }),
        ("unknown_token_id", |made| {
            drop(made.strs.insert(MODEL, "bert".to_owned()));
        }),
    ];
    for (name, spoil) in cases {
        let mut made = gpt2();
        spoil(&mut made);
        let error = load(&made).unwrap_err().to_string();
        assert!(
            error.contains(name) && !error.contains('\n'),
            "{name}: {error}"
        );
    }
}

#[test]
fn bad_files_are_named() {
    let error = Tokenizer::from_file("/nowhere/tokenizer.json")
        .unwrap_err()
        .to_string();
    assert!(error.contains("`/nowhere/tokenizer.json`"), "{error}");
    for bad in ["", "{}", "[1]", "{\"model\": {\"type\": \"BPE\"}}"] {
        assert!(
            matches!(
                Tokenizer::from_bytes(bad.as_bytes()),
                Err(Error::Parse { .. })
            ),
            "{bad}"
        );
    }
}

/// A model directory that is removed again.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path =
            std::env::temp_dir().join(format!("ropewalk-tokens-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let vocab = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/bytelevel.json");
        std::fs::copy(vocab, path.join("tokenizer.json")).unwrap();
        for (file, text) in files {
            std::fs::write(path.join(file), text).unwrap();
        }
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn a_directory_tells_the_special_tokens_and_the_template() {
    let folder = Folder::new(
        "full",
        &[
            (
                "tokenizer_config.json",
                r#"{"eos_token": {"content": "<|im_end|>"}, "chat_template": [
                    {"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]}"#,
            ),
            (
                "special_tokens_map.json",
                r#"{"bos_token": "<|im_start|>", "eos_token": "nothing"}"#,
            ),
            ("generation_config.json", r#"{"eos_token_id": [7, 9]}"#),
        ],
    );
    let tokenizer = Tokenizer::from_dir(&folder.0).unwrap();
    let id = |name| tokenizer.token_to_id(name);
    assert_eq!(tokenizer.bos(), id("<|im_start|>"));
    assert_eq!(tokenizer.bos_token().as_deref(), Some("<|im_start|>"));
    assert_eq!(tokenizer.eos(), id("<|im_end|>"));
    assert_eq!(tokenizer.end_ids(), [7, 9, id("<|im_end|>").unwrap()]);
    assert_eq!(tokenizer.pad(), id("<|pad|>"));
    assert!(tokenizer.adds_bos());
    assert_eq!(tokenizer.chat_template(), Some("D"));
    std::fs::write(folder.0.join("chat_template.jinja"), "J").unwrap();
    assert_eq!(
        Tokenizer::from_dir(&folder.0).unwrap().chat_template(),
        Some("J")
    );
}

/// A token that the files say there is none of is not guessed.
#[test]
fn a_token_that_is_null_is_none() {
    let files = [(
        "tokenizer_config.json",
        r#"{"pad_token": null, "bos_token": null}"#,
    )];
    let folder = Folder::new("null", &files);
    let tokenizer = Tokenizer::from_dir(&folder.0).unwrap();
    assert_eq!((tokenizer.pad(), tokenizer.bos()), (None, None));
    let folder = Folder::new("unsaid", &[("tokenizer_config.json", "{}")]);
    let guessed = Tokenizer::from_dir(&folder.0).unwrap();
    assert_eq!(guessed.pad(), guessed.token_to_id("<|pad|>"));
    assert!(guessed.pad().is_some());
}

#[test]
fn a_directory_with_a_broken_file_names_it() {
    let folder = Folder::new("broken", &[("tokenizer_config.json", "{")]);
    let error = Tokenizer::from_dir(&folder.0).unwrap_err().to_string();
    assert!(error.contains("tokenizer_config.json"), "{error}");
    std::fs::remove_file(folder.0.join("tokenizer.json")).unwrap();
    let error = Tokenizer::from_dir(&folder.0).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
}

proptest! {
    /// No metadata makes loading or encoding panic.
    #[test]
    fn any_metadata_is_refused_or_usable(
        model in proptest::sample::select(vec!["gpt2", "llama", "gemma4", "bert"]),
        tokens in proptest::collection::vec("[ab▁Ġ ]{0,3}|<0x[0-9A-G]{2}>|<[a-z]>", 1..12),
        types in proptest::collection::vec(0i32..8, 12),
        scores in proptest::collection::vec(any::<f32>(), 12),
        merges in proptest::collection::vec("[ab▁Ġ]{0,2} [ab▁Ġ]{0,2}", 0..6),
        ids in proptest::collection::vec(any::<u8>(), 5),
        text in "[ab ▁é\n<>]{0,12}",
    ) {
        let mut made = Made::default();
        let count = tokens.len();
        made.strs.insert(MODEL, model.to_owned());
        made.strings.insert(TOKENS, tokens.iter().map(|token| token.as_bytes().to_vec()).collect());
        made.strings.insert(MERGES, merges.iter().map(|merge| merge.as_bytes().to_vec()).collect());
        made.i32s.insert(TYPES, types[..count].to_vec());
        made.f32s.insert(SCORES, scores[..count].to_vec());
        let names = ["bos", "eos", "unknown", "padding"];
        let keys = [
            "tokenizer.ggml.bos_token_id",
            "tokenizer.ggml.eos_token_id",
            "tokenizer.ggml.unknown_token_id",
            "tokenizer.ggml.padding_token_id",
        ];
        for (key, id) in keys.iter().zip(&ids).take(names.len()) {
            made.u32s.insert(key, u32::from(*id) % 16);
        }
        if let Ok(tokenizer) = load(&made) {
            let ids = tokenizer.encode(&text, true).unwrap_or_default();
            prop_assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            tokenizer.decode(&ids, false).unwrap();
            let encoding = tokenizer.encode_with(&text, &Default::default()).unwrap_or_default();
            for range in encoding.offsets {
                prop_assert!(text.get(range).is_some());
            }
        }
    }
}
