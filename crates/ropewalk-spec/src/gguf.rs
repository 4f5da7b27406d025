//! Metadata and tensors of GGUF files.

use std::path::Path;
use std::sync::Arc;

use ropewalk_gguf::{Gguf, Metadata, Value};

use crate::rope::{long_rope_attention_factor, yarn_mscale};
use crate::{
    Activation, Error, Family, ModelSpec, NameLayout, Norm, NormPlace, Positions, QkNorm, Residual,
    Result, RopeScaling, RopeSpec, TensorData, TensorSource,
};

/// Rope keys after `{arch}.rope.` that are applied or known to change nothing.
const ROPE_KEYS: [&str; 12] = [
    "dimension_count",
    "freq_base",
    "scale_linear",
    "scaling.type",
    "scaling.factor",
    "scaling.original_context_length",
    "scaling.attn_factor",
    "scaling.finetuned",
    "scaling.yarn_attn_factor",
    "scaling.yarn_beta_fast",
    "scaling.yarn_beta_slow",
    "scaling.yarn_ext_factor",
];

/// Keys that change results and that no family here has; 0 means off.
const REFUSED: [&str; 9] = [
    "expert_count",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "attention.scale",
    "attention.output_scale",
    "attention.clamp_kqv",
    "attention.sliding_window_pattern",
    "attn_logit_softcapping",
];

/// Divisors of the rope frequencies, in files converted from Llama 3.1 and later.
const FACTORS: &str = "rope_freqs.weight";
/// The same for short and for long sequences, in Phi-3 files.
const FACTORS_SHORT: &str = "rope_factors_short.weight";
const FACTORS_LONG: &str = "rope_factors_long.weight";

impl ModelSpec {
    /// Reads the metadata of a GGUF file; presence of biases and of a head of its own, and the
    /// vocabulary size, come from the tensors.
    ///
    /// Mistral files say `llama` and give a [`Family::Llama`]. A window is read where the file
    /// names one (`{arch}.attention.sliding_window`), which llama.cpp's converter writes for
    /// Phi-3 alone.
    ///
    /// # Errors
    /// A missing or unusable key, an unknown architecture or rope type, a rope key that nothing
    /// reads, sizes that contradict each other.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let meta = gguf.metadata();
        let name = meta
            .str("general.architecture")?
            .ok_or_else(|| Error::MissingKey {
                file: FILE.to_owned(),
                key: "general.architecture".to_owned(),
            })?;
        let family = Family::ALL
            .into_iter()
            .find(|f| f.gguf_architecture() == name);
        let family = family.ok_or_else(|| Error::UnknownArchitecture {
            file: FILE.to_owned(),
            name: name.to_owned(),
            supported: "llama, qwen2, qwen3, phi3".to_owned(),
        })?;
        let keys = Keys { meta, arch: name };

        for key in REFUSED {
            let off = match meta.get(&keys.full(key)) {
                None => true,
                Some(Value::F32(x)) => *x == 0.0,
                Some(value) => value.as_integer() == Some(0),
            };
            if !off {
                return Err(Error::InvalidKey {
                    file: FILE.to_owned(),
                    key: keys.full(key),
                    problem: "asks for something that this family does not do here".to_owned(),
                });
            }
        }
        let hidden = keys.count("embedding_length")?;
        let heads = keys.count("attention.head_count")?;
        let layers = keys.count("block_count")?;
        let head_dim = match keys.optional("attention.key_length")? {
            Some(n) => n,
            None if heads > 0 && hidden % heads == 0 => hidden / heads,
            None => {
                return Keys::fail(format!("{hidden} features do not split into {heads} heads"));
            }
        };
        if let Some(n) = keys
            .optional("attention.value_length")?
            .filter(|&n| n != head_dim)
        {
            return Keys::fail(format!(
                "keys have {head_dim} features per head, values have {n}"
            ));
        }
        if layers > 1 << 10 {
            return Keys::fail(format!("{layers} layers are more than 1024"));
        }
        let shape = |name: &str| gguf.tensor(name).map(|t| t.info.shape());
        let vocab_size = match shape("token_embd.weight").as_deref() {
            Some([vocab, _]) => *vocab,
            Some(_) => return Keys::fail("token_embd.weight is not a matrix".to_owned()),
            None => {
                return Err(Error::MissingTensor {
                    name: "token_embd.weight".to_owned(),
                });
            }
        };
        let max_positions = keys.count("context_length")?;
        let window = keys
            .optional("attention.sliding_window")?
            .filter(|&w| w > 0);
        let spec = Self {
            family,
            vocab_size,
            hidden,
            layers,
            heads,
            kv_heads: keys.optional("attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            ffn: keys.count("feed_forward_length")?,
            max_positions,
            norm_eps: keys
                .float("attention.layer_norm_rms_epsilon")?
                .ok_or_else(|| keys.missing("attention.layer_norm_rms_epsilon"))?,
            rope: rope(gguf, &keys, head_dim, max_positions)?,
            window: vec![window; layers],
            qkv_bias: shape("blk.0.attn_q.bias").is_some(),
            o_bias: shape("blk.0.attn_output.bias").is_some(),
            mlp_bias: shape("blk.0.ffn_gate.bias").is_some(),
            qk_norm: (family == Family::Qwen3).then_some(QkNorm::Head),
            tied: shape("output.weight").is_none(),
            activation: Activation::Silu,
            gated: true,
            norm: Norm::Rms,
            norm_place: NormPlace::Before,
            residual: Residual::Sequential,
            positions: Positions::Rotary,
            rope_local: None,
            rope_layers: Vec::new(),
            attention_scale: None,
            attention_softcap: None,
            logit_softcap: None,
            embedding_scale: 1.0,
            residual_scale: 1.0,
            logit_scale: 1.0,
            experts: None,
            eos_ids: eos_ids(meta)?,
            bos_id: meta.u32("tokenizer.ggml.bos_token_id")?,
            pad_id: meta.u32("tokenizer.ggml.padding_token_id")?,
            dtype: None,
        };
        spec.validate_in(FILE)?;
        Ok(spec)
    }
}

/// How errors call the metadata; the caller knows the path.
const FILE: &str = "GGUF metadata";

/// Keys under the architecture's name.
struct Keys<'a> {
    meta: &'a Metadata,
    arch: &'a str,
}

impl Keys<'_> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.arch)
    }

    fn missing(&self, key: &str) -> Error {
        Error::MissingKey {
            file: FILE.to_owned(),
            key: self.full(key),
        }
    }

    fn fail<T>(problem: String) -> Result<T> {
        Err(Error::Inconsistent {
            file: FILE.to_owned(),
            problem,
        })
    }

    fn count(&self, key: &str) -> Result<usize> {
        self.optional(key)?.ok_or_else(|| self.missing(key))
    }

    fn optional(&self, key: &str) -> Result<Option<usize>> {
        Ok(self.meta.usize(&self.full(key))?)
    }

    fn float(&self, key: &str) -> Result<Option<f32>> {
        Ok(self.meta.f32(&self.full(key))?)
    }
}

/// The tokens after which llama.cpp stops: end of text, of turn, of message.
fn eos_ids(meta: &Metadata) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for name in ["eos", "eot", "eom"] {
        if let Some(id) = meta.u32(&format!("tokenizer.ggml.{name}_token_id"))?
            && !ids.contains(&id)
        {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn rope(gguf: &Gguf, keys: &Keys<'_>, head_dim: usize, max_positions: usize) -> Result<RopeSpec> {
    let prefix = keys.full("rope.");
    for (key, _) in keys.meta.iter() {
        if key
            .strip_prefix(&prefix)
            .is_some_and(|rest| !ROPE_KEYS.contains(&rest))
        {
            return Err(Error::UnreadRopeKey {
                file: FILE.to_owned(),
                key: key.to_owned(),
            });
        }
    }
    let values = |name: &str| gguf.tensor(name).map(|t| t.to_f32()).transpose();
    let factors = values(FACTORS)?;
    let (short, long) = (values(FACTORS_SHORT)?, values(FACTORS_LONG)?);
    let kind = keys.meta.str(&keys.full("rope.scaling.type"))?;
    let factor = match keys.float("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => keys.float("rope.scale_linear")?,
    };
    // A factor of 0 means none, as in llama.cpp.
    let factor = factor.filter(|&f| f != 0.0);
    let original = keys.optional("rope.scaling.original_context_length")?;
    let attention = keys.float("rope.scaling.attn_factor")?;

    let scaling = match (kind, factors, short, long) {
        (Some("yarn"), None, None, None) => {
            let factor = factor.ok_or_else(|| keys.missing("rope.scaling.factor"))?;
            if keys
                .float("rope.scaling.yarn_ext_factor")?
                .is_some_and(|f| f != 1.0)
            {
                let key = keys.full("rope.scaling.yarn_ext_factor");
                return Err(Error::UnreadRopeKey {
                    file: FILE.to_owned(),
                    key,
                });
            }
            // llama.cpp multiplies its own magnitude scale by this factor.
            let own = yarn_mscale(f64::from(factor), 1.0) as f32;
            let given = keys.float("rope.scaling.yarn_attn_factor")?.or(attention);
            RopeScaling::Yarn {
                factor,
                original_max: original.unwrap_or(max_positions),
                beta_fast: keys.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: keys.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                truncate: true,
                attention_factor: given.unwrap_or(1.0) * own,
            }
        }
        (None | Some("none" | "longrope"), None, Some(short), Some(long)) => {
            let original_max =
                original.ok_or_else(|| keys.missing("rope.scaling.original_context_length"))?;
            let ratio = max_positions as f64 / original_max as f64;
            RopeScaling::LongRope {
                short,
                long,
                original_max,
                attention_factor: attention
                    .unwrap_or_else(|| long_rope_attention_factor(ratio, original_max)),
            }
        }
        (None | Some("none"), Some(factors), None, None) => RopeScaling::Factors(factors),
        (None | Some("none" | "linear"), None, None, None) => match factor {
            Some(factor) if factor != 1.0 => RopeScaling::Linear { factor },
            _ => RopeScaling::None,
        },
        (Some(name), None, None, None) => {
            return Err(Error::UnknownRopeType {
                file: FILE.to_owned(),
                name: name.to_owned(),
                supported: "none, linear, yarn, longrope",
            });
        }
        (kind, ..) => {
            let kind = kind.unwrap_or("none");
            return Keys::fail(format!(
                "rope type `{kind}` does not go with the rope tensors of the file"
            ));
        }
    };
    Ok(RopeSpec {
        dims: keys.optional("rope.dimension_count")?.unwrap_or(head_dim),
        base: keys.float("rope.freq_base")?.unwrap_or(10_000.0),
        scaling,
    })
}

/// The tensors of a GGUF file.
#[derive(Debug, Clone)]
pub struct GgufSource {
    gguf: Arc<Gguf>,
}

impl GgufSource {
    /// Opens a file, or the first of a split model.
    ///
    /// # Errors
    /// A missing or damaged file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::new(Gguf::open(path.as_ref())?))
    }

    /// Uses a file that is open already.
    #[must_use]
    pub fn new(gguf: impl Into<Arc<Gguf>>) -> Self {
        Self { gguf: gguf.into() }
    }

    /// The file, for its metadata.
    #[must_use]
    pub const fn gguf(&self) -> &Arc<Gguf> {
        &self.gguf
    }
}

impl TensorSource for GgufSource {
    fn layout(&self) -> NameLayout {
        NameLayout::Gguf
    }

    fn names(&self) -> Vec<String> {
        self.gguf.tensors().iter().map(|t| t.name.clone()).collect()
    }

    fn tensor(&self, name: &str) -> Result<Option<TensorData<'_>>> {
        let tensor = self.gguf.tensor(name);
        Ok(tensor.map(|t| TensorData::new(t.info.shape(), t.info.ty, t.data)))
    }
}
