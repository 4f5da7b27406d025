//! How large a model is before anything is loaded.

use crate::{ModelSpec, Role};

/// Parameters and bytes of a model's weights.
///
/// The quantised figures are those of `get_memory_footprint()` in transformers with
/// bitsandbytes: matrices inside the blocks are packed, embeddings, head, norms and biases stay
/// at 2 bytes per value. `nf4_double_quant` also counts the block constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Footprint {
    /// Values, a tied head counted once.
    pub parameters: u64,
    /// Values in the matrices of the blocks.
    pub linear_parameters: u64,
    /// Bytes at 4 bytes per value.
    pub fp32: u64,
    /// Bytes at 2 bytes per value.
    pub bf16: u64,
    /// Bytes with int8 matrices (`LLM.int8()`), without their row scales.
    pub int8: u64,
    /// Bytes with 4-bit NF4 matrices, packed values alone.
    pub nf4: u64,
    /// The same with the constants of double quantisation: one byte per 64 values and one f32
    /// per 256 such bytes.
    pub nf4_double_quant: u64,
}

/// Counts parameters and bytes from the configuration alone.
///
/// ```
/// # let config = serde_json::json!({"architectures": ["LlamaForCausalLM"], "vocab_size": 128256,
/// #   "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
/// #   "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072,
/// #   "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "hidden_act": "silu"});
/// let spec = ropewalk_spec::ModelSpec::from_hf(&config)?; // Llama 3.1 8B
/// let size = ropewalk_spec::memory(&spec);
/// assert_eq!(size.parameters, 8_030_261_248);
/// assert_eq!(size.nf4 / 100_000, 55_915); // 5,591.5 MB
/// # Ok::<(), ropewalk_spec::Error>(())
/// ```
#[must_use]
pub fn memory(spec: &ModelSpec) -> Footprint {
    let mut parameters = 0_u64;
    let mut linear = 0_u64;
    let mut constants = 0_u64;
    let mut count = |role: Role, times: u64| {
        let Some(shape) = spec.shape(role) else {
            return;
        };
        let n: u64 = shape.iter().map(|&d| d as u64).product();
        parameters = parameters.saturating_add(n.saturating_mul(times));
        if role.is_linear() {
            let blocks = n.div_ceil(64);
            linear = linear.saturating_add(n.saturating_mul(times));
            constants = constants.saturating_add((blocks + 4 * blocks.div_ceil(256)) * times);
        }
    };
    for role in Role::GLOBAL {
        count(role, u64::from(!(role == Role::Head && spec.tied)));
    }
    for role in Role::BLOCK {
        count(
            role,
            (0..spec.layers).filter(|&i| spec.has(role, i)).count() as u64,
        );
    }
    let rest = (parameters - linear).saturating_mul(2);
    let nf4 = rest.saturating_add(linear / 2);
    Footprint {
        parameters,
        linear_parameters: linear,
        fp32: parameters.saturating_mul(4),
        bf16: parameters.saturating_mul(2),
        int8: rest.saturating_add(linear),
        nf4,
        nf4_double_quant: nf4.saturating_add(constants),
    }
}
