//! The recorded answers of transformers.

use std::borrow::Borrow;
use std::sync::LazyLock;

use ropewalk_spec::ModelSpec;
use serde_json::{Map, Value, json};

/// One configuration of `make_fixtures.py`.
pub(crate) struct Fixture {
    pub(crate) name: String,
    /// `config.json` of transformers 4 and 5.
    pub(crate) old: Value,
    pub(crate) new: Value,
    /// Module tree, parameter count, rope tables.
    pub(crate) answers: Value,
}

impl Fixture {
    pub(crate) fn spec(&self) -> ModelSpec {
        ModelSpec::from_hf(&self.new).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }
}

pub(crate) fn all() -> &'static [Fixture] {
    static ALL: LazyLock<Vec<Fixture>> = LazyLock::new(read);
    &ALL
}

fn read() -> Vec<Fixture> {
    let parse = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
    let old = parse(include_str!("../fixtures/configs_v4.json"));
    let new = parse(include_str!("../fixtures/families.json"));
    assert_eq!(old.len(), new.len());
    new.into_iter()
        .map(|(name, answers)| Fixture {
            old: old[&name].clone(),
            new: answers["config"].clone(),
            answers,
            name,
        })
        .collect()
}

/// f32 in little-endian hexadecimal.
pub(crate) fn floats(value: &Value) -> Vec<f32> {
    let text = value.as_str().unwrap().as_bytes();
    text.chunks(8)
        .map(|digits| {
            let digits = std::str::from_utf8(digits).unwrap();
            f32::from_bits(u32::from_str_radix(digits, 16).unwrap().swap_bytes())
        })
        .collect()
}

/// A small configuration of a family, without optional keys.
pub(crate) fn tiny(family: &str) -> Value {
    json!({
        "architectures": [format!("{family}ForCausalLM")],
        "vocab_size": 320, "hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12,
        "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    })
}

/// The same with some keys set; null removes nothing but reads as absent.
pub(crate) fn tiny_with(family: &str, changes: impl Borrow<Value>) -> Value {
    let mut config = tiny(family);
    for (key, value) in changes.borrow().as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

/// What reading a configuration says when it fails.
pub(crate) fn refusal(config: &Value) -> String {
    ModelSpec::from_hf(config)
        .map(|s| format!("read as {s:?}"))
        .unwrap_err()
        .to_string()
}
