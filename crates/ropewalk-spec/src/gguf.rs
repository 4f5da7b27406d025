//! Metadata and tensors of GGUF files.

use std::path::Path;
use std::sync::Arc;

use ropewalk_gguf::{Gguf, Metadata, Value};

use crate::rope::{long_rope_attention_factor, yarn_mscale};
use crate::{
    Activation, Error, Experts, Family, ModelSpec, NameLayout, Norm, Positions, Residual, Result,
    RopeScaling, RopeSpec, TensorData, TensorSource,
};

/// Rope keys after `{arch}.rope.` that are applied or known to change nothing.
const ROPE_KEYS: [&str; 13] = [
    "dimension_count",
    "freq_base",
    "freq_base_swa",
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

/// Keys that change results, which only some families here read; 0 means off.
const REFUSED: [&str; 15] = [
    "expert_count",
    "expert_used_count",
    "expert_shared_count",
    "expert_group_count",
    "expert_weights_scale",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "attention.scale",
    "attention.output_scale",
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "attention.sliding_window_pattern",
    "attn_logit_softcapping",
    "final_logit_softcapping",
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
    /// Mistral files say `llama` and give a [`Family::Llama`], those with experts a
    /// [`Family::Mixtral`]. A window is read where the file names one
    /// (`{arch}.attention.sliding_window`), which llama.cpp's converter writes for Phi-3 and
    /// Gemma alone. Activations and scales that no key holds are those of the architecture.
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
        let keys = Keys { meta, arch: name };
        let family = family(&keys)?;
        let profile = family.profile();
        let read = profile.gguf_keys;
        for key in REFUSED.into_iter().filter(|key| !read.contains(key)) {
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
        let sizes = [
            vocab_size,
            keys.count("embedding_length")?,
            keys.count("block_count")?,
            keys.count("attention.head_count")?,
            keys.count("feed_forward_length")?,
        ];
        let [_, hidden, layers, heads, _] = sizes;
        if layers > 1 << 10 {
            return Keys::fail(format!("{layers} layers are more than 1024"));
        }
        let mut spec = Self::new(family, sizes);
        spec.head_dim = match keys.optional("attention.key_length")? {
            Some(n) => n,
            None if heads > 0 && hidden % heads == 0 => hidden / heads,
            None => {
                return Keys::fail(format!("{hidden} features do not split into {heads} heads"));
            }
        };
        if let Some(n) = keys
            .optional("attention.value_length")?
            .filter(|&n| n != spec.head_dim)
        {
            return Keys::fail(format!(
                "keys have {} features per head, values have {n}",
                spec.head_dim
            ));
        }
        spec.kv_heads = keys.optional("attention.head_count_kv")?.unwrap_or(heads);
        spec.max_positions = keys.count("context_length")?;
        if let Some(name) = meta.str(&keys.full(ACTIVATION_KEY))? {
            spec.activation = Activation::from_name(name).ok_or_else(|| Error::InvalidKey {
                file: FILE.to_owned(),
                key: keys.full(ACTIVATION_KEY),
                problem: format!("is `{name}`; supported: silu, gelu, gelu_pytorch_tanh"),
            })?;
        }
        let eps = eps_key(spec.norm);
        spec.norm_eps = keys.float(eps)?.ok_or_else(|| keys.missing(eps))?;
        if spec.positions == Positions::Rotary {
            spec.rope = rope(gguf, &keys, spec.head_dim, spec.max_positions)?;
        }
        if family == Family::Gemma3 {
            let base = keys.float("rope.freq_base_swa")?.unwrap_or(10_000.0);
            spec.rope_local = Some(RopeSpec::new(spec.rope.dims, base));
        }
        spec.rope_layers = rotated(&keys, family, layers)?;
        spec.window = windows(&keys, profile.gguf_pattern, layers)?;
        spec.qkv_bias =
            shape("blk.0.attn_q.bias").is_some() || shape("blk.0.attn_qkv.bias").is_some();
        spec.o_bias = shape("blk.0.attn_output.bias").is_some();
        spec.mlp_bias =
            shape("blk.0.ffn_gate.bias").is_some() || shape("blk.0.ffn_up.bias").is_some();
        spec.tied = shape("output.weight").is_none();
        spec.residual = match family {
            Family::GptNeoX if keys.flag("use_parallel_residual")? == Some(false) => {
                Residual::Sequential
            }
            Family::Falcon if shape("blk.0.attn_norm_2.weight").is_some() => Residual::Parallel,
            _ => profile.residual,
        };
        // llama.cpp knows the largest Gemmas, whose scale no key holds, by their depth.
        let scale = match (keys.float("attention.scale")?, family, layers) {
            (Some(scale), ..) if scale != 0.0 => Some(scale),
            (_, Family::Gemma2, 46) | (_, Family::Gemma3, 62) => {
                Some((hidden as f64 / heads as f64).powf(-0.5) as f32)
            }
            (_, Family::GptNeo, _) => Some(1.0),
            _ => None,
        };
        spec.attention_scale = scale.filter(|s| *s != spec.usual_attention_scale());
        let cap = |key: &str| Ok::<_, Error>(keys.float(key)?.filter(|c| *c != 0.0));
        spec.attention_softcap = cap("attn_logit_softcapping")?;
        spec.logit_softcap = cap("final_logit_softcapping")?;
        if let Some(scale) = cap("embedding_scale")? {
            spec.embedding_scale = scale;
        }
        spec.residual_scale = cap("residual_scale")?.unwrap_or(1.0);
        // llama.cpp divides by this key.
        spec.logit_scale = cap("logit_scale")?.map_or(1.0, |s| 1.0 / s);
        if profile.experts.is_some() {
            spec.experts = experts(gguf, &keys, &spec)?;
        }
        spec.eos_ids = eos_ids(meta)?;
        spec.bos_id = meta.u32("tokenizer.ggml.bos_token_id")?;
        spec.pad_id = meta.u32("tokenizer.ggml.padding_token_id")?;
        spec.validate_in(FILE)?;
        Ok(spec)
    }
}

/// The activation, where it is not that of the architecture.
pub(crate) const ACTIVATION_KEY: &str = "hidden_activation";

/// The key of the epsilon of norms.
pub(crate) const fn eps_key(norm: Norm) -> &'static str {
    match norm {
        Norm::Layer => "attention.layer_norm_epsilon",
        Norm::Rms | Norm::RmsPlusOne => "attention.layer_norm_rms_epsilon",
    }
}

fn family(keys: &Keys<'_>) -> Result<Family> {
    if keys.arch == "llama" && keys.optional("expert_count")?.is_some_and(|n| n > 0) {
        return Ok(Family::Mixtral);
    }
    let mut known = Family::ALL.into_iter();
    known
        .find(|f| f.gguf_architecture() == keys.arch)
        .ok_or_else(|| {
            let mut names: Vec<&str> = Vec::new();
            for name in Family::ALL.map(Family::gguf_architecture) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            Error::UnknownArchitecture {
                file: FILE.to_owned(),
                name: keys.arch.to_owned(),
                supported: names.join(", "),
            }
        })
}

/// The layers that a window holds in, from a list or a period, or else from the architecture.
fn windows(keys: &Keys<'_>, usual: usize, layers: usize) -> Result<Vec<Option<usize>>> {
    let window = keys
        .optional("attention.sliding_window")?
        .filter(|&w| w > 0);
    let key = keys.full("attention.sliding_window_pattern");
    let each = match keys.meta.get(&key) {
        None => usual,
        Some(Value::Array(_)) => {
            let list = keys.meta.bools(&key)?.unwrap_or_default();
            if list.len() != layers {
                return Keys::fail(format!(
                    "`{key}` has {} entries for {layers} layers",
                    list.len()
                ));
            }
            return Ok(list.iter().map(|s| window.filter(|_| *s)).collect());
        }
        Some(_) => keys.meta.usize(&key)?.unwrap_or(0),
    };
    let slides = |i: usize| each == 0 || !(i + 1).is_multiple_of(each);
    Ok((0..layers).map(|i| window.filter(|_| slides(i))).collect())
}

/// llama.cpp leaves out the rotation in every fourth layer of SmolLM3, and in all of Granite
/// when a flag says so.
fn rotated(keys: &Keys<'_>, family: Family, layers: usize) -> Result<Vec<bool>> {
    let finetuned = keys.flag("rope.scaling.finetuned")?;
    Ok(match family {
        Family::SmolLm3 if layers >= UNROTATED => smol_rotation(layers),
        Family::Granite if finetuned == Some(false) => vec![false; layers],
        _ => Vec::new(),
    })
}

/// SmolLM3 does not rotate in every layer of this number.
const UNROTATED: usize = 4;

/// The layers that rotate in a SmolLM3 file; empty for all.
pub(crate) fn smol_rotation(layers: usize) -> Vec<bool> {
    if layers < UNROTATED {
        return Vec::new();
    }
    (1..=layers).map(|i| !i.is_multiple_of(UNROTATED)).collect()
}

fn experts(gguf: &Gguf, keys: &Keys<'_>, spec: &ModelSpec) -> Result<Option<Experts>> {
    let Some(count) = keys.optional("expert_count")?.filter(|&n| n > 0) else {
        return Ok(None);
    };
    let used = keys.count("expert_used_count")?;
    let name = |layer: usize, part: &str| format!("blk.{layer}.{part}.weight");
    let sparse = |&layer: &usize| gguf.tensor(&name(layer, "ffn_gate_inp")).is_some();
    let first = (0..spec.layers).find(sparse).unwrap_or(0);
    // Old files name no widths; the matrices have them.
    let width = |key: &str, part: &str| {
        let shape = gguf.tensor(&name(first, part)).map(|t| t.info.shape());
        let rows = shape.and_then(|s| s.iter().rev().nth(1).copied());
        Ok::<_, Error>(keys.optional(key)?.filter(|&n| n > 0).or(rows))
    };
    let ffn = width("expert_feed_forward_length", "ffn_gate_exps")?.unwrap_or(spec.ffn);
    let usual = spec.family.profile().normalise_experts;
    let normalise = keys.flag("expert_weights_norm")?.unwrap_or(usual);
    let mut experts = Experts::new(count, used, ffn, normalise, spec.layers);
    experts.shared = width("expert_shared_feed_forward_length", "ffn_gate_shexp")?;
    for (i, has) in experts.layers.iter_mut().enumerate() {
        *has = sparse(&i);
    }
    Ok(Some(experts))
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

    fn flag(&self, key: &str) -> Result<Option<bool>> {
        Ok(self.meta.bool(&self.full(key))?)
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

    fn release(&self, data: &[u8]) {
        self.gguf.release(data);
    }
}
