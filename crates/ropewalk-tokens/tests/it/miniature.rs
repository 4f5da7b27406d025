//! Small vocabularies of each kind against the reference libraries (`fixtures/make_vocab.py`).

use std::path::PathBuf;

use ropewalk_gguf::Gguf;
use ropewalk_tokens::{
    BatchOptions, BpeTrainOptions, EncodeOptions, Padding, PreTokenizer, Side, Tokenizer,
    VocabMetadata, train_bpe,
};
use serde::Deserialize;
use serde_json::Value;

use crate::support::FileMetadata;

pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

pub(crate) fn gguf(kind: &str) -> Tokenizer {
    let file = Gguf::open(fixture(&format!("{kind}.gguf"))).unwrap();
    Tokenizer::from_metadata(&FileMetadata(file)).unwrap()
}

pub(crate) fn json(kind: &str) -> Tokenizer {
    Tokenizer::from_file(fixture(&format!("{kind}.json"))).unwrap()
}

fn golden(kind: &str) -> Value {
    let text = std::fs::read_to_string(fixture("vocab_golden.json")).unwrap();
    let mut golden: Value = serde_json::from_str(&text).unwrap();
    golden[kind].take()
}

fn read<T: for<'de> Deserialize<'de>>(value: &Value) -> T {
    T::deserialize(value).unwrap()
}

/// What the reference says about one text.
#[derive(Deserialize)]
struct Full {
    ids: Vec<u32>,
    offsets: Vec<(usize, usize)>,
    special_mask: Vec<u8>,
    decoded: String,
    clean: String,
}

fn check_full(tokenizer: &Tokenizer, text: &str, full: &Full, offsets: bool) {
    assert_eq!(tokenizer.encode(text, true).unwrap(), full.ids, "{text:?}");
    let encoding = tokenizer
        .encode_with(text, &EncodeOptions::default())
        .unwrap();
    assert_eq!(encoding.ids, full.ids, "{text:?}");
    assert_eq!(encoding.special_mask, full.special_mask, "{text:?}");
    assert_eq!(encoding.attention_mask, vec![1; full.ids.len()]);
    if offsets {
        let got: Vec<_> = encoding
            .offsets
            .iter()
            .map(|range| (range.start, range.end))
            .collect();
        assert_eq!(got, full.offsets, "{text:?}");
    }
    assert_eq!(
        tokenizer.decode(&full.ids, false).unwrap(),
        full.decoded,
        "{text:?}"
    );
    assert_eq!(
        tokenizer.decode(&full.ids, true).unwrap(),
        full.clean,
        "{text:?}"
    );
}

/// Checks both forms of a vocabulary against `texts` and `full`.
fn check_both(kind: &str, offsets: bool) {
    let golden = golden(kind);
    let texts: Vec<String> = read(&golden["texts"]);
    let full: Vec<Full> = read(&golden["full"]);
    assert!(texts.len() == full.len() && texts.len() > 30);
    let (json, gguf) = (json(kind), gguf(kind));
    for (text, full) in texts.iter().zip(&full) {
        check_full(&json, text, full, true);
        check_full(&gguf, text, full, offsets);
    }
    assert_eq!(json.vocab_size(), gguf.vocab_size());
    for id in 0..json.vocab_size() as u32 {
        assert_eq!(json.piece(id), gguf.piece(id), "{id}");
        assert_eq!(json.decode_bytes(id), gguf.decode_bytes(id), "{id}");
    }
}

#[test]
fn byte_level_vocabulary_in_both_forms() {
    check_both("bytelevel", true);
}

#[test]
fn character_vocabulary_with_byte_fallback_in_both_forms() {
    check_both("spaces", true);
}

#[test]
fn wordpiece_vocabulary_in_both_forms() {
    check_both("wordpiece", true);
}

#[test]
fn every_family_splits_as_its_pattern() {
    struct With(FileMetadata, String);
    impl VocabMetadata for With {
        fn str(&self, key: &str) -> Option<&str> {
            if key == "tokenizer.ggml.pre" {
                Some(&self.1)
            } else {
                self.0.str(key)
            }
        }
        fn u32(&self, key: &str) -> Option<u32> {
            self.0.u32(key)
        }
        fn bool(&self, key: &str) -> Option<bool> {
            self.0.bool(key)
        }
        fn strings(&self, key: &str) -> Option<Vec<&[u8]>> {
            self.0.strings(key)
        }
        fn f32s(&self, key: &str) -> Option<Vec<f32>> {
            self.0.f32s(key)
        }
        fn i32s(&self, key: &str) -> Option<Vec<i32>> {
            self.0.i32s(key)
        }
    }
    let golden = golden("bytelevel");
    let texts: Vec<String> = read(&golden["texts"]);
    let families = golden["pre"].as_object().unwrap();
    assert_eq!(families.len(), 9);
    for (name, ids) in families {
        let file = FileMetadata(Gguf::open(fixture("bytelevel.gguf")).unwrap());
        let tokenizer = Tokenizer::from_metadata(&With(file, name.clone())).unwrap();
        let ids: Vec<Vec<u32>> = read(ids);
        for (text, ids) in texts.iter().zip(ids) {
            assert_eq!(
                tokenizer.encode(text, false).unwrap(),
                ids,
                "{name} {text:?}"
            );
        }
    }
}

#[test]
fn sentencepiece_vocabulary() {
    let golden = golden("spm");
    let texts: Vec<String> = read(&golden["texts"]);
    let ids: Vec<Vec<u32>> = read(&golden["ids"]);
    let decoded: Vec<String> = read(&golden["decoded"]);
    let tokenizer = gguf("spm");
    for ((text, ids), decoded) in texts.iter().zip(&ids).zip(&decoded) {
        assert_eq!(tokenizer.encode(text, false).unwrap(), *ids, "{text:?}");
        assert_eq!(tokenizer.decode(ids, false).unwrap(), *decoded, "{text:?}");
    }
    assert_eq!(tokenizer.encode("", true).unwrap(), [1]);
    // A space is put in front after any special token, as llama.cpp does.
    let spaced = tokenizer.encode("b", false).unwrap();
    assert_eq!(
        tokenizer.encode("<|user|>b", false).unwrap(),
        [&[3], &spaced[..]].concat()
    );
    assert_eq!(tokenizer.encode("</s>", false).unwrap(), [2]);
    let full: Vec<Full> = read(&golden["json"]);
    let json = json("spm");
    for (text, full) in texts.iter().zip(&full) {
        check_full(&json, text, full, true);
    }
}

#[test]
fn batches_are_those_of_transformers() {
    let golden = golden("bytelevel");
    let batch = &golden["batch"];
    let texts: Vec<String> = read(&batch["texts"]);
    let side = |value: &Value| {
        if value == "left" {
            Side::Left
        } else {
            Side::Right
        }
    };
    let mut cases = 0;
    for tokenizer in [json("bytelevel"), gguf("bytelevel")] {
        for case in batch["made"].as_array().unwrap() {
            let given = &case["options"];
            let length = given["max_length"].as_u64().map(|length| length as usize);
            let mut options = BatchOptions::default();
            options.pad_id = Some(read(&batch["pad"]));
            options.padding = match &given["padding"] {
                Value::Bool(true) => Padding::Longest,
                Value::Bool(false) => Padding::None,
                _ => Padding::Fixed(length.unwrap()),
            };
            options.padding_side = side(&given["padding_side"]);
            options.truncation_side = side(&given["truncation_side"]);
            options.pad_to_multiple_of = given["pad_to_multiple_of"]
                .as_u64()
                .map(|multiple| multiple as usize);
            options.max_length = length.filter(|_| given["truncation"] == true);
            options.add_special = given["add_special_tokens"] != false;
            let rows = tokenizer.encode_batch(&texts, &options).unwrap();
            let ids: Vec<_> = rows.iter().map(|row| row.ids.clone()).collect();
            let attention: Vec<_> = rows.iter().map(|row| row.attention_mask.clone()).collect();
            let special: Vec<_> = rows.iter().map(|row| row.special_mask.clone()).collect();
            assert_eq!(ids, read::<Vec<Vec<u32>>>(&case["ids"]), "{given}");
            assert_eq!(
                attention,
                read::<Vec<Vec<u8>>>(&case["attention_mask"]),
                "{given}"
            );
            assert_eq!(
                special,
                read::<Vec<Vec<u8>>>(&case["special_mask"]),
                "{given}"
            );
            cases += 1;
        }
    }
    assert_eq!(cases, 22);
}

#[test]
fn rows_too_short_for_the_added_tokens_are_refused() {
    let tokenizer = json("wordpiece");
    let added = tokenizer.special_count();
    assert_eq!(added, 2);
    let mut options = BatchOptions::default();
    for length in 0..added {
        options.max_length = Some(length);
        let error = tokenizer
            .encode_batch(&["the ticket"], &options)
            .unwrap_err();
        assert!(error.to_string().contains("max_length"), "{error}");
    }
    options.max_length = Some(added);
    let rows = tokenizer.encode_batch(&["the ticket"], &options).unwrap();
    assert_eq!(rows[0].len(), added);
    options.add_special = false;
    options.max_length = Some(1);
    let rows = tokenizer.encode_batch(&["the ticket"], &options).unwrap();
    assert_eq!(rows[0].len(), 1);
}

#[test]
fn padding_without_a_padding_token_is_refused() {
    let mut options = BatchOptions::default();
    options.padding = Padding::Longest;
    let error = gguf("spm")
        .encode_batch(&["a"], &options)
        .unwrap_err()
        .to_string();
    assert!(error.contains("pad_id"), "{error}");
}

#[test]
fn training_gives_the_merges_of_the_reference() {
    let corpus = std::fs::read_to_string(fixture("vocab_corpus.txt")).unwrap();
    let golden = golden("train");
    let mut options = BpeTrainOptions::default();
    options.vocab_size = 900;
    options.pre = PreTokenizer::Llama3;
    let trained = train_bpe(corpus.split('\0'), &options).unwrap();
    assert_eq!(trained.merges(), read::<Vec<String>>(&golden["merges"]));
    assert_eq!(trained.tokens(), read::<Vec<String>>(&golden["tokens"]));
}
