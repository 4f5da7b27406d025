//! Directories that bitsandbytes has quantised, against their logits in transformers
//! (`fixtures/make_bnb.py`).

use std::path::{Path, PathBuf};

use ropewalk_gguf::TensorType;
use ropewalk_local::{LoadQuantize, Model, WeightFormat};
use ropewalk_spec::testing::TempDir;
use serde_json::Value;

use crate::families::exact;

/// Each case, the largest difference of logits relative to the largest, and its bits per weight.
const CASES: [(&str, f32, f64); 6] = [
    ("llama_nf4_double", 2e-5, 4.5),
    ("qwen2_nf4", 2e-5, 4.5),
    // Its codes are stored as if they were bf16.
    ("qwen2_nf4_storage", 2e-5, 4.5),
    ("phi3_fp4_double", 2e-5, 4.5),
    // Activations are rounded to 8 bits.
    ("llama_int8", 0.05, 17.5),
    ("llama_nf4_skip", 2e-5, 18.0),
];

fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/bnb")
        .join(name)
}

fn golden(name: &str) -> (Vec<u32>, Vec<f32>) {
    let text = std::fs::read_to_string(dir(name).join("logits.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let list = |v: &Value| v.as_array().unwrap().clone();
    let (tokens, rows) = (list(&json["tokens"]), list(&json["logits"]));
    let ids = tokens.iter().map(|x| x.as_u64().unwrap() as u32);
    let logits = rows
        .iter()
        .flat_map(list)
        .map(|x| x.as_f64().unwrap() as f32);
    (ids.collect(), logits.collect())
}

/// The largest difference to the golden logits, relative to the largest of them.
fn difference(model: &Model, name: &str) -> f32 {
    let (ids, want) = golden(name);
    let found = model.forward_all(&mut model.new_cache(), &ids).unwrap();
    assert_eq!(found.len(), want.len());
    let size = want.iter().fold(0f32, |m, x| m.max(x.abs()));
    let worst = found.iter().zip(&want).map(|(a, b)| (a - b).abs());
    worst.fold(0f32, f32::max) / size
}

#[test]
fn quantised_directories_compute_what_transformers_does() {
    for (name, tolerance, bits) in CASES {
        let model = Model::open(dir(name), &exact()).unwrap();
        let off = difference(&model, name);
        assert!(off <= tolerance, "{name}: {off:.2e}");
        let spec = model.spec();
        let head = 4 * spec.vocab_size * spec.hidden + 4 * spec.hidden;
        let embedding = if spec.tied { 1 } else { 2 } * spec.vocab_size * spec.hidden;
        let weights = model.memory().parameters as usize - embedding;
        let found = 8.0 * (model.weight_bytes() - head) as f64 / weights as f64;
        assert!(found <= bits + 0.7, "{name}: {found} bits per weight");
    }
}

#[test]
fn a_rule_codes_them_otherwise() {
    for (name, _, _) in CASES {
        let rule = LoadQuantize::new(WeightFormat::Gguf(TensorType::F32));
        let plain = Model::open(dir(name), &exact().with_quantize(rule)).unwrap();
        let off = difference(&plain, name);
        assert!(off <= 2e-5, "{name} in f32: {off:.2e}");
        let rule = LoadQuantize::new(WeightFormat::Gguf(TensorType::Q8_0));
        let eight = Model::open(dir(name), &exact().with_quantize(rule)).unwrap();
        let off = difference(&eight, name);
        assert!(off > 2e-5 && off <= 0.05, "{name} in Q8_0: {off:.2e}");
        assert!(eight.weight_bytes() < plain.weight_bytes());
    }
}

#[test]
fn damaged_descriptions_are_refused() {
    let copy = |change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let to = TempDir::new().unwrap();
        let from = dir("llama_nf4_double");
        std::fs::copy(from.join("config.json"), to.join("config.json")).unwrap();
        let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
        std::fs::write(to.join("model.safetensors"), change(bytes)).unwrap();
        let error = Model::open(to.path(), &exact()).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", cause.unwrap_or_default())
    };
    let swap = |from: &'static str, to: &'static str| {
        assert_eq!(from.len(), to.len());
        move |mut bytes: Vec<u8>| {
            let at = |w: &[u8]| w == from.as_bytes();
            let first = bytes.windows(from.len()).rposition(at).unwrap();
            bytes[first..first + to.len()].copy_from_slice(to.as_bytes());
            bytes
        }
    };
    for (from, to, expected) in [
        ("\"blocksize\": 64", "\"blocksixe\": 64", "`blocksize`"),
        ("\"blocksize\": 64", "\"blocksize\": 63", "scales for"),
        ("\"nested_offset\"", "\"nested_offzet\"", "`nested_offset`"),
        (
            "\"nested_blocksize\": 256",
            "\"nested_blocksize\": 255",
            "256",
        ),
        ("\"quant_type\"", "\"quant_type\x01", "no JSON"),
        ("\"shape\": [64, ", "\"shape\": [65, ", "another size"),
    ] {
        let message = copy(&swap(from, to));
        assert!(message.contains(expected), "{from}: {message}");
    }
}
