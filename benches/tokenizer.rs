//! Tokenizer throughput in bytes of text per second, beside the `tokenizers` and `tiktoken-rs` crates on
//! the same vocabularies.
//!
//! `cargo bench --bench tokenizer` takes a play and real vocabularies from `$ROPEWALK_DATA`; without it, the
//! miniature vocabulary of the tests and its training text. One thread, no special tokens.

use std::path::{Path, PathBuf};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ropewalk_gguf::{Gguf, Metadata};
use ropewalk_tokens::{PreTokenizer, Tokenizer, VocabMetadata};
use serde_json::json;

struct FileMetadata(Gguf);

impl FileMetadata {
    fn keys(&self) -> &Metadata {
        self.0.metadata()
    }
}

impl VocabMetadata for FileMetadata {
    fn str(&self, key: &str) -> Option<&str> {
        self.keys().str(key).ok().flatten()
    }
    fn u32(&self, key: &str) -> Option<u32> {
        self.keys().u32(key).ok().flatten()
    }
    fn bool(&self, key: &str) -> Option<bool> {
        self.keys().bool(key).ok().flatten()
    }
    fn strings(&self, key: &str) -> Option<Vec<&[u8]>> {
        Some(self.keys().strings(key).ok().flatten()?.iter().collect())
    }
    fn f32s(&self, key: &str) -> Option<Vec<f32>> {
        self.keys().f32s(key).ok().flatten().map(Into::into)
    }
    fn i32s(&self, key: &str) -> Option<Vec<i32>> {
        self.keys().i32s(key).ok().flatten().map(Into::into)
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/ropewalk-tokens/tests/fixtures")
}

/// A vocabulary's name and file.
type Vocabulary = (String, PathBuf);

/// Vocabulary files and texts, by name.
fn inputs() -> (Vec<Vocabulary>, Vec<(&'static str, String)>) {
    let read = |path: PathBuf| std::fs::read_to_string(path).expect("a text");
    let Some(data) = std::env::var_os("ROPEWALK_DATA").map(PathBuf::from) else {
        let corpus = read(fixtures().join("vocab_corpus.txt")).replace('\0', "\n");
        let kinds = ["bytelevel", "spm", "spaces"];
        let file = |kind: &str| (kind.to_owned(), fixtures().join(format!("{kind}.gguf")));
        return (kinds.map(file).into(), vec![("corpus", corpus)]);
    };
    let names = ["llama-bpe", "qwen2", "gpt-2", "llama-spm", "gemma-4"];
    let file = |name: &str| {
        (
            name.to_owned(),
            data.join(format!("tokenizers/{name}.gguf")),
        )
    };
    let mixed = read(data.join("tokenizers/qwen35.gguf.inp")).repeat(40);
    let texts = vec![("english", read(data.join("hamlet.txt"))), ("mixed", mixed)];
    (names.map(file).into(), texts)
}

/// The same byte-level vocabulary in the `tokenizers` library.
fn peer(metadata: &FileMetadata) -> Option<tokenizers::Tokenizer> {
    let pre = PreTokenizer::from_name(metadata.str("tokenizer.ggml.pre")?).ok()?;
    if metadata.str("tokenizer.ggml.model")? != "gpt2" {
        return None;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let tokens = metadata.strings("tokenizer.ggml.tokens")?;
    let vocab: serde_json::Map<_, _> = tokens
        .iter()
        .enumerate()
        .map(|(id, token)| (text(token), id.into()))
        .collect();
    let merges: Vec<String> = metadata
        .strings("tokenizer.ggml.merges")?
        .into_iter()
        .map(text)
        .collect();
    let split = |pattern| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let mut stages: Vec<_> = pre.patterns().iter().map(split).collect();
    stages.push(json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
    }));
    let file = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": stages},
        "post_processor": null, "decoder": {
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
        },
        "model": {
            "type": "BPE", "vocab": vocab, "merges": merges,
            "ignore_merges": pre == PreTokenizer::Llama3,
        },
    });
    tokenizers::Tokenizer::from_bytes(serde_json::to_vec(&file).ok()?).ok()
}

fn bench(criterion: &mut Criterion) {
    let (files, texts) = inputs();
    for (name, path) in &files {
        let metadata = FileMetadata(Gguf::open(path).expect("a vocabulary"));
        let ours = Tokenizer::from_metadata(&metadata).expect("a known vocabulary");
        let theirs = peer(&metadata);
        for (kind, text) in &texts {
            let ids = ours.encode(text, false).expect("ids");
            let mut group = criterion.benchmark_group(format!("tokenizer/{name}/{kind}"));
            group
                .throughput(Throughput::Bytes(text.len() as u64))
                .sample_size(10);
            let id = |who, what| BenchmarkId::new(what, who);
            group.bench_function(id("ropewalk", "encode"), |b| {
                b.iter(|| ours.encode(text, false).expect("ids"));
            });
            group.bench_function(id("ropewalk", "decode"), |b| {
                b.iter(|| ours.decode(&ids, false).expect("text"));
            });
            if let Some(theirs) = &theirs {
                let encode = || theirs.encode_fast(&**text, false).expect("ids");
                assert_eq!(encode().get_ids(), ids, "{name}/{kind}");
                group.bench_function(id("tokenizers", "encode"), |b| b.iter(encode));
                group.bench_function(id("tokenizers", "decode"), |b| {
                    b.iter(|| theirs.decode(&ids, false).expect("text"));
                });
            }
            if name == "llama-bpe" {
                let tiktoken = tiktoken_rs::cl100k_base_singleton();
                group.bench_function(id("tiktoken-rs cl100k", "encode"), |b| {
                    b.iter(|| tiktoken.encode_ordinary(text));
                });
            }
            group.finish();
        }
        criterion.bench_function(&format!("tokenizer/{name}/load"), |b| {
            b.iter(|| Tokenizer::from_metadata(&metadata).expect("a known vocabulary"));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = bench
}
criterion_main!(benches);
