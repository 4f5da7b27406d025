//! What the benchmarks share: models of real shapes with made-up weights.

use std::io;
use std::path::PathBuf;

use ropewalk_gguf::{TensorInfo, TensorType, Writer, quantize};
use ropewalk_spec::ModelSpec;
use serde_json::json;

/// The sizes of a model; its weights do not matter for speed.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Name in tables.
    pub name: &'static str,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// Vocabulary.
    pub vocab: usize,
}

/// Llama 3.2 1B with a separate head.
pub const ONE_B: Shape = Shape {
    name: "1B",
    hidden: 2048,
    layers: 16,
    heads: 32,
    kv_heads: 8,
    ffn: 8192,
    vocab: 128_256,
};

/// Qwen 2.5 0.5B as a Llama.
pub const HALF_B: Shape = Shape {
    name: "0.5B",
    hidden: 896,
    layers: 24,
    heads: 14,
    kv_heads: 2,
    ffn: 4864,
    vocab: 32_000,
};

/// Small enough for a test run.
pub const TEST: Shape = Shape {
    name: "test",
    hidden: 256,
    layers: 2,
    heads: 4,
    kv_heads: 2,
    ffn: 512,
    vocab: 512,
};

/// Writes a model of this shape to the temporary directory, unless it is there, and returns its
/// path.
///
/// # Errors
/// When the file cannot be written.
pub fn synthetic(shape: &Shape, ty: TensorType) -> io::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("ropewalk-bench-{}-{ty}.gguf", shape.name));
    if path.is_file() {
        return Ok(path);
    }
    let spec = ModelSpec::from_hf(&json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "vocab_size": shape.vocab, "hidden_size": shape.hidden, "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads, "head_dim": shape.hidden / shape.heads,
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
        "tie_word_embeddings": false,
    }))
    .map_err(io::Error::other)?;
    let mut writer = Writer::new();
    for (key, value) in spec.gguf_metadata().map_err(io::Error::other)? {
        writer.set(key, value);
    }
    let tensors: Vec<_> = spec.stored_tensors().collect();
    let ty_of = |shape: &[usize]| {
        if shape.len() == 2 {
            ty
        } else {
            TensorType::F32
        }
    };
    for t in &tensors {
        let info = TensorInfo::from_shape(&t.gguf, &t.shape, ty_of(&t.shape));
        writer
            .tensor(info.map_err(io::Error::other)?)
            .map_err(io::Error::other)?;
    }
    let mut out = writer.create(&path).map_err(io::Error::other)?;
    for t in &tensors {
        let data = if t.shape.len() == 2 {
            repeated(t.shape[0], t.shape[1], ty)?
        } else {
            vec![1f32; t.shape[0]]
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect()
        };
        out.tensor_data(&t.gguf, &data).map_err(io::Error::other)?;
    }
    out.finish().map_err(io::Error::other)?;
    Ok(path)
}

/// A few rows of noise, again and again: every row is a valid one, and making it is quick.
fn repeated(rows: usize, cols: usize, ty: TensorType) -> io::Result<Vec<u8>> {
    const DISTINCT: usize = 17;
    let mut state = 88_172_645_463_325_252u64;
    let noise: Vec<f32> = (0..DISTINCT * cols)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.07
        })
        .collect();
    let block = quantize(ty, &noise).map_err(io::Error::other)?;
    let row = block.len() / DISTINCT;
    Ok((0..rows)
        .flat_map(|r| block[r % DISTINCT * row..][..row].iter().copied())
        .collect())
}

/// Returns the middle of the values; they are sorted on the way.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
