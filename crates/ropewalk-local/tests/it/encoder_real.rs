//! The real all-MiniLM-L6-v2, where it is at hand.

use std::fs;
use std::path::{Path, PathBuf};

use ropewalk_core::EmbedKind;
use ropewalk_core::testing::{data_dir, secret};
use ropewalk_local::{EmbedderOptions, EncoderOptions, LocalEmbedder};
use ropewalk_spec::testing::values;
use serde_json::Value;

/// The folder: `$ROPEWALK_DATA/models/all-MiniLM-L6-v2`, or `$ROPEWALK_MINILM`.
fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("ROPEWALK_MINILM").filter(|path| !path.is_empty());
    if named.is_some() {
        return secret("ROPEWALK_MINILM").map(PathBuf::from);
    }
    data_dir("models/all-MiniLM-L6-v2")
}

fn floats(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect()
}

#[test]
fn real_vectors_equal_sentence_transformers() {
    let Some(dir) = folder() else { return };
    let texts: Vec<String> =
        serde_json::from_str(include_str!("../fixtures/encoder/minilm_texts.json")).unwrap();
    let expected: Vec<Value> =
        serde_json::from_str(include_str!("../fixtures/encoder/minilm_real.json")).unwrap();
    assert_eq!((texts.len(), expected.len()), (31, 31));
    let model = LocalEmbedder::open(&dir).unwrap();
    assert_eq!((model.width(), model.max_tokens()), (384, 256));
    let found = model.embed_texts(&texts, EmbedKind::Document).unwrap();
    let mut worst = 0.0_f64;
    for (i, (vector, expected)) in found.vectors.iter().zip(&expected).enumerate() {
        let sampled = vector.iter().step_by(12).map(|x| f64::from(*x));
        for (a, b) in sampled.zip(floats(&expected["every_12th"])) {
            worst = worst.max((a - b).abs());
            assert!((a - b).abs() <= 1e-5, "text {i}: {a} is not {b}");
        }
        // All values take part in these sums, whose errors add up as the root of their number.
        for (row, b) in floats(&expected["sums"]).into_iter().enumerate() {
            let signs = values(1, &format!("signs{row}"), &[1, 384], false);
            let terms = signs.iter().zip(vector);
            let a: f64 = terms.map(|(s, x)| f64::from(s.signum() * x)).sum();
            assert!((a - b).abs() <= 2e-5, "text {i}, sum {row}: {a} is not {b}");
        }
        let tokens = expected["tokens"].as_u64().unwrap() as usize;
        let cut = found.truncated.iter().find(|t| t.index == i);
        assert_eq!(
            cut.map(|t| t.tokens),
            (tokens > 256).then_some(tokens),
            "text {i}"
        );
    }
    println!("largest difference from sentence-transformers: {worst:.1e}");
}

#[test]
fn the_recorded_vector_comes_back() {
    let (Some(dir), Some(file)) = (folder(), data_dir("minilm_well_hi_there.json")) else {
        return;
    };
    let recorded: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let recorded = recorded
        .as_array()
        .or_else(|| recorded["vector"].as_array())
        .unwrap();
    let model = LocalEmbedder::open(&dir).unwrap();
    let found = model
        .embed_texts(&["Well hi there"], EmbedKind::Document)
        .unwrap();
    assert_eq!(recorded.len(), 384);
    for (a, b) in found.vectors[0].iter().zip(recorded) {
        assert!(
            (f64::from(*a) - b.as_f64().unwrap()).abs() <= 1e-5,
            "{a} is not {b}"
        );
    }
}

/// Paragraphs of the knowledge base.
fn paragraphs(dir: &Path, out: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            paragraphs(&path, out);
        } else if path.extension().is_some_and(|e| e == "md") {
            let text = fs::read_to_string(path).unwrap();
            let parts = text.split("\n\n").map(str::trim).filter(|p| p.len() > 40);
            out.extend(parts.map(str::to_owned));
        }
    }
}

#[test]
fn eight_bits_keep_the_direction_of_real_texts() {
    let (Some(dir), Some(base)) = (folder(), data_dir("knowledge-base")) else {
        return;
    };
    let mut texts = Vec::new();
    paragraphs(&base, &mut texts);
    // Every fourth, so that a debug build takes seconds.
    let texts: Vec<String> = texts.into_iter().step_by(4).collect();
    assert!(texts.len() > 100, "{} paragraphs", texts.len());
    let open = |encoder: EncoderOptions| {
        LocalEmbedder::open_with(&dir, &EmbedderOptions::default().with_encoder(encoder)).unwrap()
    };
    let full = open(EncoderOptions::default());
    let small = open(EncoderOptions::default().with_int8());
    let full = full
        .embed_texts(&texts, EmbedKind::Document)
        .unwrap()
        .vectors;
    let small = small
        .embed_texts(&texts, EmbedKind::Document)
        .unwrap()
        .vectors;
    let cosine = |(a, b): (&Vec<f32>, &Vec<f32>)| {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>()
    };
    let all: Vec<f64> = full.iter().zip(&small).map(cosine).collect();
    let least = all.iter().copied().fold(1.0, f64::min);
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    println!(
        "cosine of int8 to f32 over {} texts: least {least:.5}, mean {mean:.5}",
        all.len()
    );
    assert!(least >= 0.999, "least {least}, mean {mean}");
}
