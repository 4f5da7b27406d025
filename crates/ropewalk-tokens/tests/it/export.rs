//! Vocabularies of Hugging Face files as the keys of GGUF files.

use std::fs;
use std::path::PathBuf;

use ropewalk_gguf::Gguf;
use ropewalk_tokens::{Error, Tokenizer, VocabMetadata};
use serde_json::{Value, json};

use crate::miniature::{fixture, gguf, json};
use crate::support::FileMetadata;

/// A directory that is removed when dropped.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("ropewalk-export-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), bytes).unwrap();
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn texts(kind: &str) -> Vec<String> {
    let text = fs::read_to_string(fixture("vocab_golden.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let texts = golden[kind]["texts"].as_array().unwrap();
    texts
        .iter()
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

fn same_ids(kind: &str, left: &Tokenizer, right: &Tokenizer) {
    let texts = texts(kind);
    assert!(texts.len() > 20);
    for text in texts {
        for add_special in [true, false] {
            let (a, b) = (
                left.encode(&text, add_special),
                right.encode(&text, add_special),
            );
            assert_eq!(a.unwrap(), b.unwrap(), "{text:?}");
        }
    }
}

#[test]
fn byte_level_keys_are_those_of_the_reference() {
    let tokenizer = json("bytelevel");
    let export = tokenizer.export(None).unwrap();
    let file = FileMetadata(Gguf::open(fixture("bytelevel.gguf")).unwrap());
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    for name in ["model", "pre"] {
        assert_eq!(export.str(&key(name)), file.str(&key(name)), "{name}");
    }
    for name in ["tokens", "merges"] {
        assert_eq!(
            export.strings(&key(name)),
            file.strings(&key(name)),
            "{name}"
        );
    }
    assert_eq!(
        export.i32s(&key("token_type")),
        file.i32s(&key("token_type"))
    );
    // Nothing beside the file says that the tokens around a text are bos and eos.
    assert_eq!(export.warnings.len(), 1, "{:?}", export.warnings);
    assert!(export.warnings[0].contains("<|im_start|> <|im_end|>"));
    let again = Tokenizer::from_metadata(&export).unwrap();
    for text in texts("bytelevel") {
        let ids = tokenizer.encode(&text, false).unwrap();
        assert_eq!(again.encode(&text, false).unwrap(), ids, "{text:?}");
    }
    assert_eq!(again.end_ids(), tokenizer.end_ids());
}

#[test]
fn sentencepiece_keys_merge_as_the_file_does() {
    let tokenizer = json("spm");
    let export = tokenizer.export(None).unwrap();
    assert_eq!(
        (&*export.model, export.add_space_prefix, export.add_bos),
        ("llama", true, true)
    );
    let file = FileMetadata(Gguf::open(fixture("spm.gguf")).unwrap());
    let tokens = "tokenizer.ggml.tokens";
    assert_eq!(export.strings(tokens), file.strings(tokens));
    let types = "tokenizer.ggml.token_type";
    let mut expected = file.i32s(types).unwrap();
    // `<|user|>` is a control token by its looks, user-defined in the other file.
    expected[3] = 3;
    assert!(export.types == expected);
    same_ids(
        "spm",
        &gguf("spm"),
        &Tokenizer::from_metadata(&export).unwrap(),
    );
}

#[test]
fn a_vocabulary_gets_as_many_rows_as_the_model_has() {
    let export = json("spm").export(None).unwrap();
    let len = export.tokens.len();
    let padded = export.clone().with_rows(len + 3).unwrap();
    assert_eq!(
        padded.tokens[len..],
        [0, 1, 2].map(|i| format!("[PAD{}]", len + i))
    );
    assert_eq!((padded.types[len], padded.scores.len()), (5, len + 3));
    assert_eq!(export.clone().with_rows(len).unwrap(), export);
    let error = export.with_rows(len - 1).unwrap_err().to_string();
    assert!(error.contains(&format!("{len} tokens")), "{error}");
}

#[test]
fn what_has_no_keys_is_an_error_or_a_warning() {
    let error = gguf("spm").export(None).unwrap_err();
    assert!(matches!(error, Error::Export { .. }), "{error}");
    let error = json("wordpiece").export(None).unwrap_err().to_string();
    assert!(error.contains("WordPiece"), "{error}");

    let text = fs::read_to_string(fixture("bytelevel.json")).unwrap();
    let mut file: Value = serde_json::from_str(&text).unwrap();
    file["pre_tokenizer"]["pretokenizers"][0]["pattern"] = json!({"Regex": "[a-z]+|[^a-z]+"});
    let load = |file: &Value| Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap();
    let error = load(&file).export(None).unwrap_err().to_string();
    assert!(error.contains("[a-z]+|[^a-z]+"), "{error}");
    // A name that is given is taken, and what it does differently is told.
    let named = load(&file).export(Some("qwen2")).unwrap();
    assert_eq!(named.pre, "qwen2");
    assert!(
        named.warnings.iter().any(|w| w.contains("other ids")),
        "{:?}",
        named.warnings
    );
    assert!(load(&file).export(Some("nope")).is_err());

    let mut file: Value = serde_json::from_str(&text).unwrap();
    file["normalizer"] = json!({"type": "NFC"});
    let warnings = load(&file).export(None).unwrap().warnings;
    assert!(warnings[0].contains("NFC"), "{warnings:?}");
}

#[test]
fn special_tokens_and_templates_come_from_the_files_beside() {
    let dir = Dir::new("beside");
    dir.put(
        "tokenizer.json",
        fs::read(fixture("bytelevel.json")).unwrap(),
    );
    let config = json!({
        "bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}, "pad_token": "<|pad|>",
        "chat_template": [
            {"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"},
        ],
    });
    dir.put("tokenizer_config.json", config.to_string());
    let export = Tokenizer::from_dir(&dir.0).unwrap().export(None).unwrap();
    let ids = (
        export.bos,
        export.eos,
        export.pad,
        export.add_bos,
        export.add_eos,
    );
    assert_eq!(ids, (Some(1997), Some(1998), Some(1999), true, true));
    assert_eq!(export.chat_template.as_deref(), Some("plain"));
    let keys: Vec<_> = export.entries().into_iter().map(|(key, _)| key).collect();
    assert!(
        keys.contains(&"tokenizer.chat_template.tool_use".to_owned()),
        "{keys:?}"
    );
}

/// A field of a protocol buffer with bytes as its value.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut len = bytes.len();
    while len > 0x7f {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    [out, bytes.to_vec()].concat()
}

/// The vocabulary of `spm.gguf` as a `tokenizer.model`.
fn model(model_type: u8) -> Vec<u8> {
    let file = FileMetadata(Gguf::open(fixture("spm.gguf")).unwrap());
    let tokens = file.strings("tokenizer.ggml.tokens").unwrap();
    let scores = file.f32s("tokenizer.ggml.scores").unwrap();
    let types = file.i32s("tokenizer.ggml.token_type").unwrap();
    let mut out = Vec::new();
    for ((token, score), ty) in tokens.iter().zip(scores).zip(types) {
        let score = [&[2 << 3 | 5], &score.to_le_bytes()[..]].concat();
        let piece = [field(1, token), score, vec![3 << 3, ty as u8]].concat();
        out.extend(field(1, &piece));
    }
    out.extend(field(2, &[3 << 3, model_type]));
    out.extend(field(3, &[3 << 3, 1]));
    out
}

#[test]
fn tokenizer_model_of_sentencepiece() {
    let dir = Dir::new("spm");
    dir.put("tokenizer.model", model(2));
    let tokenizer = Tokenizer::from_dir(&dir.0).unwrap();
    same_ids("spm", &gguf("spm"), &tokenizer);
    let export = tokenizer.export(None).unwrap();
    assert_eq!(
        (export.bos, export.eos, export.unk),
        (Some(1), Some(2), Some(0))
    );
    same_ids(
        "spm",
        &gguf("spm"),
        &Tokenizer::from_metadata(&export).unwrap(),
    );

    dir.put("added_tokens.json", r#"{"<|new|>": 2003}"#);
    let more = Tokenizer::from_dir(&dir.0).unwrap();
    assert_eq!(
        (more.token_to_id("<|new|>"), more.vocab_size()),
        (Some(2003), 2004)
    );
    dir.put("added_tokens.json", r#"{"<|far|>": 4000000000}"#);
    assert!(Tokenizer::from_dir(&dir.0).is_err());
    dir.put("added_tokens.json", "{}");
    dir.put("tokenizer.model", model(1));
    let error = Tokenizer::from_dir(&dir.0).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("unigram"), "{cause}");
    let cut = model(2);
    dir.put("tokenizer.model", &cut[..cut.len() - 3]);
    assert!(Tokenizer::from_dir(&dir.0).is_err());
}

#[test]
fn vocab_and_merges_in_files_of_their_own() {
    let text = fs::read_to_string(fixture("bytelevel.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let merges = file["model"]["merges"].as_array().unwrap().iter();
    let merges = merges.map(|m| format!("{} {}\n", m[0].as_str().unwrap(), m[1].as_str().unwrap()));
    let dir = Dir::new("pairs");
    dir.put("vocab.json", file["model"]["vocab"].to_string());
    dir.put(
        "merges.txt",
        format!("#version: 0.2\n{}", merges.collect::<String>()),
    );
    let added = json!({"<|im_start|>": 1997, "<|im_end|>": 1998, "<|pad|>": 1999});
    dir.put("added_tokens.json", added.to_string());
    dir.put(
        "tokenizer_config.json",
        r#"{"tokenizer_class": "Qwen2Tokenizer"}"#,
    );
    let tokenizer = Tokenizer::from_dir(&dir.0).unwrap();
    let whole = json("bytelevel");
    // The rules of Qwen 2 compose characters first, which those of the file do not.
    for text in texts("bytelevel").iter().filter(|t| !t.contains('\u{301}')) {
        assert_eq!(
            tokenizer.encode(text, false).unwrap(),
            whole.encode(text, false).unwrap(),
            "{text:?}"
        );
    }
    assert_eq!(tokenizer.export(None).unwrap().pre, "qwen2");
    dir.put(
        "tokenizer_config.json",
        r#"{"tokenizer_class": "GPT2TokenizerFast"}"#,
    );
    let tokenizer = Tokenizer::from_dir(&dir.0).unwrap();
    assert_eq!(tokenizer.export(None).unwrap().pre, "gpt-2");
    dir.put(
        "tokenizer_config.json",
        r#"{"tokenizer_class": "XyzTokenizer"}"#,
    );
    let error = Tokenizer::from_dir(&dir.0).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("XyzTokenizer"), "{cause}");
}
