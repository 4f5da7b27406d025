//! Parameter counts and published footprints.

use ropewalk_spec::{Footprint, ModelSpec, memory};
use serde_json::json;

use crate::fixtures::all;

#[test]
fn parameters_equal_those_of_transformers() {
    for fixture in all() {
        let count = memory(&fixture.spec()).parameters;
        assert_eq!(
            Some(count),
            fixture.answers["parameters"].as_u64(),
            "{}",
            fixture.name
        );
    }
}

fn llama(hidden: usize, ffn: usize, layers: usize, heads: usize, tied: bool) -> Footprint {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": 128_256, "hidden_size": hidden,
        "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": 8, "head_dim": if hidden == 2048 { 64 } else { 128 },
        "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
        "hidden_act": "silu", "tie_word_embeddings": tied,
    });
    memory(&ModelSpec::from_hf(&config).unwrap())
}

/// Megabytes (10^6 bytes) with one decimal, as the sources print them.
fn megabytes(f: &Footprint) -> [String; 5] {
    [f.fp32, f.bf16, f.int8, f.nf4, f.nf4_double_quant].map(|b| format!("{:.1}", b as f64 / 1e6))
}

#[test]
fn footprints_are_the_published_ones() {
    // Llama 3.1 8B.
    let f = llama(4096, 14_336, 32, 32, false);
    assert_eq!(f.parameters, 8_030_261_248);
    assert_eq!(
        megabytes(&f),
        ["32121.0", "16060.5", "9081.2", "5591.5", "5702.3"]
    );
    // Llama 3.2 3B.
    let f = llama(3072, 8192, 28, 24, true);
    assert_eq!(f.parameters, 3_212_749_824);
    assert_eq!(
        megabytes(&f),
        ["12851.0", "6425.5", "3606.9", "2197.6", "2242.4"]
    );
    // Llama 3.2 1B.
    let f = llama(2048, 8192, 16, 32, true);
    assert_eq!(f.parameters, 1_235_814_400);
    assert_eq!(
        megabytes(&f),
        ["4943.3", "2471.6", "1498.6", "1012.0", "1027.5"]
    );
}
