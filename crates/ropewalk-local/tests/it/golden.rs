//! Expected logits of small models, as `transformers` computes them in f32.
//!
//! `tests/fixtures/make_golden.py` wrote the files; its head says how weights and prompts follow
//! from their seeds. Tolerances: f32 sums of at most 512 terms in another order differ by about
//! 1e-6 relative per layer, angles at position 2,000 by their last bit (1.2e-4 rad times the
//! smaller frequencies). [`Run::tolerance`] allows 2e-5 of the largest logit plus 1e-5, which is
//! ten times what a scalar f32 decoder shows and a hundred times less than any real error makes.

use std::path::PathBuf;

use ropewalk_gguf::TensorType;
use ropewalk_spec::ModelSpec;
use ropewalk_spec::testing::{Seeded, prompt};
use serde_json::Value;

/// A model with seeded weights and what it should compute.
pub(crate) struct GoldenCase {
    pub(crate) name: &'static str,
    /// Shape and seed; makes directories and GGUF files.
    pub(crate) model: Seeded,
    /// Block type that all matrices went through before `transformers` computed with them:
    /// `model.gguf(|_| ty)` is the same model packed, `model.gguf_dequantized(|_| ty)` in f32.
    pub(crate) packed: Option<TensorType>,
    pub(crate) runs: Vec<Run>,
    pub(crate) greedy: Greedy,
}

impl GoldenCase {
    /// Whether every row is whole 256-value blocks, so that all packed types apply.
    pub(crate) fn is_wide(&self) -> bool {
        self.name.contains("_256")
    }
}

/// Logits at some positions of a prompt.
///
/// `prefill` and `rows` are one forward, `decode` one forward over the first `prefill` tokens and
/// then one token at a time with a cache, `ragged0..2` the members of one batch, `long` a forward
/// past position 2,048, `switch` (long rope alone) a prompt that passes the length at which the
/// frequencies change: position `p` is what a forward over `0..=p` gives.
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) tokens: Vec<u32>,
    /// Tokens of the first forward.
    pub(crate) prefill: usize,
    pub(crate) rows: Vec<Row>,
    /// Largest absolute logit of the rows.
    pub(crate) max_abs: f32,
}

/// The logits at one position.
pub(crate) struct Row {
    pub(crate) position: usize,
    pub(crate) argmax: u32,
    /// How far the largest logit is above the next.
    pub(crate) margin: f32,
    /// Every `stride`-th logit, from token 0 on.
    pub(crate) stride: usize,
    pub(crate) logits: Vec<f32>,
}

/// Greedy continuation of a prompt.
pub(crate) struct Greedy {
    pub(crate) prompt: Vec<u32>,
    pub(crate) ids: Vec<u32>,
    /// The smallest distance between the best two logits on the way.
    pub(crate) min_margin: f32,
}

impl Run {
    /// The largest difference that another order of summation explains.
    pub(crate) fn tolerance(&self) -> f32 {
        2e-5 * self.max_abs + 1e-5
    }

    /// The largest difference between a full row of logits at `row.position` and the expected
    /// values; fails if it or the greedy token is wrong.
    pub(crate) fn check(&self, row: &Row, logits: &[f32], tolerance: f32, case: &str) -> f32 {
        let place = format!("{case}, {}, position {}", self.name, row.position);
        let sampled: Vec<f32> = logits.iter().copied().step_by(row.stride).collect();
        assert_eq!(sampled.len(), row.logits.len(), "{place}: vocabulary");
        let mut worst = 0.0_f32;
        for (i, (found, expected)) in sampled.iter().zip(&row.logits).enumerate() {
            let difference = (found - expected).abs();
            assert!(
                difference <= tolerance,
                "{place}, token {}: {found} is not {expected} within {tolerance}",
                i * row.stride
            );
            worst = worst.max(difference);
        }
        if row.margin > 10.0 * tolerance {
            let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
            assert_eq!(best, Some(row.argmax as usize), "{place}: greedy token");
        }
        worst
    }
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../fixtures/golden/", $name, ".json")))),*]
    };
}

/// All models, small ones of hidden size 48 or the like and, with `_256` in their names, wide ones.
pub(crate) fn cases() -> Vec<GoldenCase> {
    files![
        "llama2",
        "llama3",
        "llama_linear",
        "mistral",
        "qwen2",
        "qwen2_window",
        "qwen3",
        "phi3",
        "phi35",
        "llama3_256",
        "mistral_256",
        "qwen2_256",
        "qwen3_256",
        "phi3_256",
        "falcon",
        "falcon_two_norms",
        "gemma",
        "gemma2",
        "gemma2_256",
        "gemma3",
        "gpt2",
        "gpt2_256",
        "gpt2_untied",
        "gptneo",
        "gptneox",
        "gptneox_sequential",
        "granite",
        "mixtral",
        "olmo2",
        "phi4",
        "qwen2moe",
        "qwen2moe_mixed",
        "qwen3moe",
        "qwen3moe_256",
        "qwen3moe_mixed",
        "smollm3",
        "starcoder2",
    ]
    .map(|(name, text)| read(name, text))
    .into()
}

/// One model of hidden size 256 whose matrices PyPI gguf rounded to three block types.
pub(crate) fn packed_cases() -> Vec<GoldenCase> {
    files!["llama3_256_q8_0", "llama3_256_q4_0", "llama3_256_q5_1"]
        .map(|(name, text)| read(name, text))
        .into()
}

/// The model that is committed as a directory: two shards in f32, f16 and bf16. Its weights are
/// rounded to these types, so they come from the files, not from `model`.
pub(crate) fn directory() -> (PathBuf, GoldenCase) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama3-hf");
    let case = read(
        "llama3-hf",
        include_str!("../fixtures/llama3-hf/expected.json"),
    );
    (path, case)
}

fn read(name: &'static str, text: &str) -> GoldenCase {
    let json: Value = serde_json::from_str(text).unwrap();
    let spec = ModelSpec::from_hf(&json["config"]).unwrap();
    let vocab = spec.vocab_size;
    let greedy = &json["greedy"];
    let tokens = |v: &Value| prompt(v["seed"].as_u64().unwrap(), size(&v["length"]), vocab);
    GoldenCase {
        name,
        runs: json["runs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| run(r, tokens(r), vocab))
            .collect(),
        greedy: Greedy {
            prompt: tokens(greedy),
            ids: ids(&greedy["ids"]),
            min_margin: greedy["min_margin"].as_f64().unwrap() as f32,
        },
        packed: json["packed"]
            .as_str()
            .map(|name| *TensorType::ALL.iter().find(|t| t.name() == name).unwrap()),
        model: Seeded::new(spec, json["seed"].as_u64().unwrap()),
    }
}

fn run(json: &Value, tokens: Vec<u32>, vocab: usize) -> Run {
    let stride = size(&json["stride"]);
    let logits = floats(&json["logits"]);
    let per_row = vocab.div_ceil(stride);
    let margins = floats(&json["margin"]);
    let positions = json["positions"].as_array().unwrap();
    assert_eq!(logits.len(), per_row * positions.len());
    let rows = positions
        .iter()
        .zip(ids(&json["argmax"]))
        .zip(margins)
        .zip(logits.chunks(per_row));
    Run {
        name: json["name"].as_str().unwrap().to_owned(),
        tokens,
        prefill: size(&json["prefill"]),
        rows: rows
            .map(|(((position, argmax), margin), logits)| Row {
                position: size(position),
                argmax,
                margin,
                stride,
                logits: logits.to_vec(),
            })
            .collect(),
        max_abs: json["max_abs"].as_f64().unwrap() as f32,
    }
}

fn size(json: &Value) -> usize {
    json.as_u64().unwrap() as usize
}

fn ids(json: &Value) -> Vec<u32> {
    json.as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_u64().unwrap() as u32)
        .collect()
}

/// f32 in little-endian hexadecimal.
fn floats(json: &Value) -> Vec<f32> {
    let text = json.as_str().unwrap();
    text.as_bytes()
        .chunks(8)
        .map(|chunk| {
            let digits = std::str::from_utf8(chunk).unwrap();
            f32::from_bits(u32::from_str_radix(digits, 16).unwrap().swap_bytes())
        })
        .collect()
}
