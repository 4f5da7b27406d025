//! Folders of sentence-transformers: vectors and scores of small models with trained vocabularies.
//!
//! `tests/fixtures/make_encoder.py` made the folders and the expected values; weights follow from
//! a seed. Vectors are of size 1, so 1e-5 is about what two f32 programs differ by.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use futures_executor::block_on;
use ropewalk_core::testing::embeddings;
use ropewalk_core::{
    EmbedKind, EmbedRequest, EmbeddingModel, ErrorKind, OnUnsupported, RerankModel, RerankRequest,
};
use ropewalk_gguf::TensorType;
use ropewalk_local::{
    EmbedderOptions, Encoder, EncoderOptions, Error, LocalEmbedder, LocalModel, LocalReranker,
    RerankerOptions, ScoreActivation,
};
use ropewalk_spec::testing::{MemorySource, Seeded, TempDir, encoder, values};
use ropewalk_spec::{EncoderSpec, ModelSpec, NameLayout, PoolingMode};
use serde_json::Value;

const TOLERANCE: f32 = 1e-5;

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// A folder with its weights, and what is expected of it.
fn folder(name: &str) -> (TempDir, Value) {
    let dir = TempDir::new().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoder");
    copy(&fixtures.join(name), dir.path());
    let expected = fs::read(dir.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let seed = expected["seed"].as_u64().unwrap();
    let source = if name == "yes_no" {
        Seeded::new(ModelSpec::from_dir(dir.path()).unwrap(), seed).source()
    } else if name == "qwen" {
        let spec = ModelSpec::from_dir(dir.path()).unwrap();
        // A bare model: names without `model.`, from which the seeds follow.
        let mut bare = MemorySource::new(NameLayout::HuggingFace);
        for tensor in spec.stored_tensors() {
            let name = tensor.hf.trim_start_matches("model.");
            let seeded = Seeded::new(spec.clone(), seed).values(&tensor, name);
            let bytes = seeded.iter().flat_map(|v| v.to_le_bytes()).collect();
            bare.insert(name, tensor.hf_shape.clone(), TensorType::F32, bytes);
        }
        bare
    } else {
        encoder(&EncoderSpec::from_dir(dir.path()).unwrap(), seed)
    };
    source.save(dir.join("model.safetensors")).unwrap();
    if name == "distil" {
        let mut dense = MemorySource::new(NameLayout::HuggingFace);
        for (name, shape) in [("linear.weight", vec![20, 48]), ("linear.bias", vec![20])] {
            let values = values(seed, name, &shape, false);
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            dense.insert(name, shape, TensorType::F32, bytes);
        }
        dense.save(dir.join("2_Dense/model.safetensors")).unwrap();
    }
    (dir, expected)
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().unwrap().iter();
    list.map(|x| x.as_str().unwrap().to_owned()).collect()
}

fn close(found: &[f32], expected: &Value, place: &str) {
    let expected = expected.as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{place}: width");
    let scale = expected
        .iter()
        .fold(1.0, |m: f64, x| m.max(x.as_f64().unwrap().abs()));
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let b = b.as_f64().unwrap() as f32;
        // Vectors that are not normalised reach 10 (sums over the root of the length).
        let bound = TOLERANCE * scale as f32;
        assert!((a - b).abs() <= bound, "{place}, value {i}: {a} is not {b}");
    }
}

fn options(threads: usize) -> EmbedderOptions {
    let threads = NonZeroUsize::new(threads).unwrap();
    EmbedderOptions::default().with_encoder(EncoderOptions::default().with_threads(threads))
}

const FOLDERS: [&str; 6] = ["minilm", "distil", "roberta", "xlm", "modern", "qwen"];

#[test]
fn vectors_equal_sentence_transformers() {
    for name in FOLDERS {
        let (dir, expected) = folder(name);
        let texts = strings(&expected["texts"]);
        let model = LocalEmbedder::open_with(dir.path(), &options(2)).unwrap();
        for (kind, key) in [
            (EmbedKind::Query, "query"),
            (EmbedKind::Document, "document"),
        ] {
            let found = model.embed_texts(&texts, kind).unwrap();
            for (i, vector) in found.vectors.iter().enumerate() {
                close(
                    vector,
                    &expected[key][i],
                    &format!("{name}, {key}, text {i}"),
                );
            }
        }
        // Without a prompt, as `encode` gives it.
        let mut plain = options(2);
        if expected["plain"] != expected["document"] {
            plain = plain.with_prompt(
                EmbedKind::Document,
                if name == "xlm" { "text: " } else { "" },
            );
        }
        let model = LocalEmbedder::open_with(dir.path(), &plain).unwrap();
        let found = model.embed_texts(&texts, EmbedKind::Document).unwrap();
        for (i, vector) in found.vectors.iter().enumerate() {
            close(
                vector,
                &expected["plain"][i],
                &format!("{name}, plain, text {i}"),
            );
        }
        if name != "xlm" {
            let tokens: Vec<usize> = expected["tokens"]
                .as_array()
                .unwrap()
                .iter()
                .map(|n| n.as_u64().unwrap() as usize)
                .collect();
            let cut = tokens
                .iter()
                .enumerate()
                .filter(|(_, n)| **n > model.max_tokens());
            let found: Vec<_> = found
                .truncated
                .iter()
                .map(|t| (t.index, &t.tokens))
                .collect();
            assert_eq!(found, cut.collect::<Vec<_>>(), "{name}");
        }
    }
}

#[test]
fn scores_equal_sentence_transformers() {
    for name in ["ce_bert", "ce_xlm", "ce_modern"] {
        let (dir, expected) = folder(name);
        let raw = RerankerOptions::default().with_activation(ScoreActivation::Identity);
        let model = LocalReranker::open(dir.path()).unwrap();
        let logits = LocalReranker::open_with(dir.path(), &raw).unwrap();
        for (i, pair) in expected["pairs"].as_array().unwrap().iter().enumerate() {
            let pair = strings(pair);
            for (model, key) in [(&model, "scores"), (&logits, "logits")] {
                let found = model.score(&pair[0], &pair[1..]).unwrap();
                let expected = expected[key][i].as_f64().unwrap() as f32;
                let score = found.scores[0];
                assert!(
                    (score - expected).abs() <= TOLERANCE,
                    "{name}, {key} {i}: {score} is not {expected}"
                );
            }
        }
    }
}

#[test]
fn embedders_conform() {
    for name in ["minilm", "qwen"] {
        let (dir, _) = folder(name);
        let model = LocalEmbedder::open(dir.path()).unwrap();
        block_on(embeddings(&model)).into_result().unwrap();
    }
}

#[test]
fn rerankers_conform() {
    let (dir, _) = folder("ce_bert");
    let model = LocalReranker::open(dir.path()).unwrap();
    block_on(ropewalk_core::testing::reranking(&model))
        .into_result()
        .unwrap();
}

#[test]
fn a_text_has_one_vector_whatever_stands_beside_it() {
    let (dir, expected) = folder("minilm");
    let texts = strings(&expected["texts"]);
    let one = LocalEmbedder::open_with(dir.path(), &options(1)).unwrap();
    let four = LocalEmbedder::open_with(dir.path(), &options(4)).unwrap();
    let many: Vec<&str> = texts.iter().map(String::as_str).cycle().take(70).collect();
    let together = four
        .embed_texts(&many, EmbedKind::Document)
        .unwrap()
        .vectors;
    for (text, vector) in many.iter().zip(&together) {
        let alone = one
            .embed_texts(&[text], EmbedKind::Document)
            .unwrap()
            .vectors;
        assert_eq!(&alone[0], vector);
    }
}

#[test]
fn short_vectors_begin_like_long_ones() {
    let (dir, expected) = folder("minilm");
    let texts = strings(&expected["texts"]);
    let model = LocalEmbedder::open(dir.path()).unwrap();
    let whole = model
        .embed_texts(&texts, EmbedKind::Document)
        .unwrap()
        .vectors;
    let short = model
        .embed_short(&texts, EmbedKind::Document, 16)
        .unwrap()
        .vectors;
    for (whole, short) in whole.iter().zip(&short) {
        let norm = whole[..16].iter().map(|x| x * x).sum::<f32>().sqrt();
        for (a, b) in whole[..16].iter().zip(short) {
            assert!((a / norm - b).abs() < 1e-6);
        }
    }
    for asked in [0, 49] {
        let request = EmbedRequest::new(["x"]).with_dimensions(asked);
        let error = block_on(EmbeddingModel::embed(&model, &request)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        let message = error.to_string();
        assert!(message.contains("this model gives 1 to 48"), "{message}");
    }
}

#[test]
fn what_is_cut_is_told() {
    let (dir, expected) = folder("minilm");
    let mut texts = strings(&expected["texts"]);
    texts.push("ten ".repeat(100));
    let model = LocalEmbedder::open(dir.path()).unwrap();
    let reply = block_on(EmbeddingModel::embed(&model, &EmbedRequest::new(texts))).unwrap();
    let [warning] = &reply.warnings[..] else {
        panic!("{:?}", reply.warnings)
    };
    assert_eq!(warning.option, "inputs");
    assert!(
        warning.reason.contains("lost their end"),
        "{}",
        warning.reason
    );
    let raw = reply.raw.unwrap();
    let last = raw["truncated"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (last["index"].as_u64(), last["kept"].as_u64()),
        (Some(10), Some(24))
    );
    let (dir, _) = folder("ce_bert");
    let model = LocalReranker::open(dir.path()).unwrap();
    let request = RerankRequest::new("short", ["ten ".repeat(100), "x".to_owned()]);
    let reply = block_on(model.rerank(&request)).unwrap();
    assert_eq!(reply.raw.unwrap()["truncated"][0]["index"], 0);
    assert!(
        reply.warnings[0]
            .reason
            .contains("1 of 2 were longer than 40 tokens")
    );
}

#[test]
fn fields_for_a_body_are_not_dropped_silently() {
    let (dir, _) = folder("minilm");
    let model = LocalEmbedder::open(dir.path()).unwrap();
    let request = EmbedRequest::new(["x"]).with_extra("local", "truncate", "START");
    let reply = block_on(EmbeddingModel::embed(&model, &request)).unwrap();
    assert_eq!(reply.warnings[0].option, "extra");
    let strict = request.with_on_unsupported(OnUnsupported::Error);
    let error = block_on(EmbeddingModel::embed(&model, &strict)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn prompts_are_those_of_the_folder_unless_chosen() {
    let (dir, _) = folder("xlm");
    let model = LocalEmbedder::open(dir.path()).unwrap();
    assert_eq!(model.prompt(EmbedKind::Query), "query: ");
    assert_eq!(model.prompt(EmbedKind::Clustering), "text: ");
    let (dir, _) = folder("roberta");
    let model = LocalEmbedder::open(dir.path()).unwrap();
    assert_eq!(model.prompt(EmbedKind::Query), "");
    let e5 = LocalEmbedder::open_with(dir.path(), &EmbedderOptions::default().with_e5_prompts());
    assert_eq!(e5.unwrap().prompt(EmbedKind::Document), "passage: ");
    let asked = EmbedderOptions::default().with_instruction("find rope");
    let asked = LocalEmbedder::open_with(dir.path(), &asked).unwrap();
    assert_eq!(
        asked.prompt(EmbedKind::Query),
        "Instruct: find rope\nQuery:"
    );
}

#[test]
fn a_plain_folder_is_pooled_by_the_mean() {
    let (dir, expected) = folder("minilm");
    let texts = strings(&expected["texts"]);
    let full = LocalEmbedder::open(dir.path()).unwrap();
    let full = full.embed_texts(&texts[..3], EmbedKind::Document).unwrap();
    fs::remove_file(dir.join("modules.json")).unwrap();
    let plain = EmbedderOptions::default().with_normalize(true);
    let plain = plain.with_prompt(EmbedKind::Document, "passage: ");
    let plain = LocalEmbedder::open_with(dir.path(), &plain).unwrap();
    let plain = plain.embed_texts(&texts[..3], EmbedKind::Document).unwrap();
    assert_eq!(plain.vectors, full.vectors);
}

#[test]
fn wrong_folders_are_named() {
    let error = |path: &Path| LocalEmbedder::open(path).unwrap_err().to_string();
    assert!(error(Path::new("/no/such/folder")).contains("not found; give a model directory"));
    let (dir, _) = folder("minilm");
    // An encoder where a decoder is needed, and the other way round.
    let message = LocalModel::open(dir.path()).unwrap_err().to_string();
    assert!(
        message.contains("holds an encoder (Bert)") && message.contains("LocalEmbedder"),
        "{message}"
    );
    let message = LocalReranker::open(dir.path()).unwrap_err().to_string();
    assert!(
        message.contains("holds Bert without a classification head"),
        "{message}"
    );
    let (qwen, _) = folder("qwen");
    let message = Encoder::open(qwen.path(), &EncoderOptions::default())
        .unwrap_err()
        .to_string();
    assert!(message.contains("holds a decoder (Qwen3)"), "{message}");
    fs::remove_file(qwen.join("modules.json")).unwrap();
    assert!(
        error(qwen.path()).contains("EmbedderOptions::with_pooling"),
        "{}",
        error(qwen.path())
    );
    let chosen = EmbedderOptions::default().with_pooling(PoolingMode::Mean);
    assert!(LocalEmbedder::open_with(qwen.path(), &chosen).is_ok());

    let models =
        "[{\"type\": \"a.Transformer\", \"path\": \"\"}, {\"type\": \"a.LSTM\", \"path\": \"x\"}]";
    fs::write(dir.join("modules.json"), models).unwrap();
    let full = |e: &dyn std::error::Error| {
        let source = e.source().map(ToString::to_string).unwrap_or_default();
        format!("{e}: {source}")
    };
    let message = full(&LocalEmbedder::open(dir.path()).unwrap_err());
    assert!(
        message.contains("module `a.LSTM` is not supported"),
        "{message}"
    );
    let up = "[{\"type\": \"a.Transformer\", \"path\": \"../x\"}]";
    fs::write(dir.join("modules.json"), up).unwrap();
    let message = full(&LocalEmbedder::open(dir.path()).unwrap_err());
    assert!(message.contains("outside of the folder"), "{message}");

    let (dir, _) = folder("minilm");
    fs::write(
        dir.join("1_Pooling/config.json"),
        "{\"pooling_mode\": \"median\"}",
    )
    .unwrap();
    let message = full(&LocalEmbedder::open(dir.path()).unwrap_err());
    assert!(message.contains("supported: cls, max, mean"), "{message}");

    // The vocabulary of another model.
    let (dir, _) = folder("minilm");
    let config = fs::read_to_string(dir.join("config.json")).unwrap();
    fs::write(
        dir.join("config.json"),
        config.replace("\"vocab_size\": 300", "\"vocab_size\": 40"),
    )
    .unwrap();
    let spec = EncoderSpec::from_dir(dir.path()).unwrap();
    encoder(&spec, 1)
        .save(dir.join("model.safetensors"))
        .unwrap();
    let found = LocalEmbedder::open(dir.path()).unwrap_err();
    assert!(
        matches!(found, Error::Vocabulary { rows: 40, .. }),
        "{found}"
    );
}

#[test]
fn empty_lists_are_refused() {
    let (dir, _) = folder("minilm");
    let none: [&str; 0] = [];
    let model = LocalEmbedder::open(dir.path()).unwrap();
    let found = model.embed_texts(&none, EmbedKind::Query);
    assert!(matches!(found.unwrap_err(), Error::NoTexts));
    let long =
        EmbedderOptions::default().with_encoder(EncoderOptions::default().with_max_tokens(97));
    let found = LocalEmbedder::open_with(dir.path(), &long).unwrap_err();
    assert!(
        matches!(
            found,
            Error::ContextLength {
                wanted: 97,
                limit: 96
            }
        ),
        "{found}"
    );
}

#[test]
fn gguf_files_give_the_vectors_of_their_folder() {
    let (dir, expected) = folder("minilm");
    let texts = strings(&expected["texts"]);
    let tokenizer: Value =
        serde_json::from_slice(&fs::read(dir.join("tokenizer.json")).unwrap()).unwrap();
    let vocab = tokenizer["model"]["vocab"].as_object().unwrap();
    let mut tokens = vec![String::new(); vocab.len()];
    for (piece, id) in vocab {
        // How llama.cpp's converter spells beginnings and continuations.
        let spelled = match piece.strip_prefix("##") {
            Some(rest) => rest.to_owned(),
            None if piece.starts_with('[') && piece.ends_with(']') => piece.clone(),
            None => format!("▁{piece}"),
        };
        tokens[id.as_u64().unwrap() as usize] = spelled;
    }
    let mut writer = ropewalk_gguf::Writer::new();
    writer.set("tokenizer.ggml.model", "bert");
    let tokens: ropewalk_gguf::StringArray = tokens.iter().collect();
    writer.set("tokenizer.ggml.tokens", tokens);
    for (key, id) in [
        ("unknown", 1_u32),
        ("cls", 2),
        ("seperator", 3),
        ("padding", 0),
        ("mask", 4),
    ] {
        writer.set(format!("tokenizer.ggml.{key}_token_id"), id);
    }
    writer.set("bert.pooling_type", 1_u32);
    let spec = EncoderSpec::from_dir(dir.path()).unwrap();
    let source = encoder(&spec, expected["seed"].as_u64().unwrap());
    let file = crate::encoder::gguf(&spec, &source, writer);
    let path = dir.join("model.gguf");
    fs::write(&path, file).unwrap();
    let options = options(2).with_prompt(EmbedKind::Document, "passage: ");
    let encoder = options.encoder.clone().with_max_tokens(24);
    let model = LocalEmbedder::open_with(&path, &options.with_encoder(encoder)).unwrap();
    let found = model.embed_texts(&texts, EmbedKind::Document).unwrap();
    for (i, vector) in found.vectors.iter().enumerate() {
        close(vector, &expected["document"][i], &format!("text {i}"));
    }
}

#[test]
fn a_decoder_judges_with_yes_and_no() {
    let (dir, expected) = folder("yes_no");
    let message = LocalReranker::open(dir.path()).unwrap_err().to_string();
    assert!(
        message.contains("RerankerOptions::with_yes_no"),
        "{message}"
    );
    let task = expected["task"].as_str().unwrap();
    let options = RerankerOptions::default().with_yes_no(task);
    let raw = options.clone().with_activation(ScoreActivation::Identity);
    let model = LocalReranker::open_with(dir.path(), &options).unwrap();
    let logits = LocalReranker::open_with(dir.path(), &raw).unwrap();
    assert_eq!(model.max_tokens(), 360);
    let mut cut = 0;
    for (pair, expected) in expected["pairs"]
        .as_array()
        .unwrap()
        .iter()
        .zip(expected["logits"].as_array().unwrap())
    {
        let pair = strings(pair);
        let expected = expected.as_f64().unwrap() as f32;
        let found = logits.score(&pair[0], &pair[1..]).unwrap();
        cut += found.truncated.len();
        // The difference of two logits of size 2, after as many roundings each.
        let logit = found.scores[0];
        assert!(
            (logit - expected).abs() <= 2.0 * TOLERANCE,
            "{logit} is not {expected}"
        );
        let score = model.score(&pair[0], &pair[1..]).unwrap().scores[0];
        assert!((score - 1.0 / (1.0 + (-expected).exp())).abs() <= TOLERANCE);
    }
    assert!(cut > 0);
    block_on(ropewalk_core::testing::reranking(&model))
        .into_result()
        .unwrap();
}
