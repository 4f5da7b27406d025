//! What one decoder needs to know about a model.

use crate::{Error, Family, Result, RopeSpec};

/// The function inside the feed-forward layer; it applies to the gate, or to the only projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * Phi(x)` by the error function (`gelu` of PyTorch; GPT-NeoX, Falcon).
    Gelu,
    /// Its approximation by tanh (`gelu_new`, `gelu_pytorch_tanh`; GPT-2, Gemma, StarCoder 2).
    GeluTanh,
}

impl Activation {
    /// The activation that a configuration calls so, such as `gelu_new`.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "silu" | "swish" => Some(Self::Silu),
            "gelu" => Some(Self::Gelu),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Some(Self::GeluTanh),
            _ => None,
        }
    }

    /// The name of version 4 and 5 of transformers.
    pub(crate) const fn hf_name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_pytorch_tanh",
        }
    }
}

/// How features are normalised before and after the parts of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Norm {
    /// `x / rms(x) * w` (Zhang and Sennrich 2019).
    Rms,
    /// `x / rms(x) * (1 + w)`, as Gemma stores its weights in Hugging Face files. GGUF files hold
    /// `1 + w`; [`ModelSpec::read`] gives `1 + w` for both.
    RmsPlusOne,
    /// `(x - mean) / std * w + b` (Ba et al. 2016).
    Layer,
}

/// Where a block has its norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NormPlace {
    /// Before attention and before the feed-forward layer.
    Before,
    /// After each of them, before the residual addition (OLMo 2).
    After,
    /// Both (Gemma 2 and 3).
    Around,
}

/// Which features one norm of q and k spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QkNorm {
    /// The features of one head; the weight is `[head_dim]`.
    Head,
    /// The features of all heads together; the weights are `[q_dim]` and `[kv_dim]` (OLMo 2).
    All,
}

/// How attention and feed-forward layer follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Residual {
    /// `x += attn(norm(x)); x += ffn(norm(x))`.
    Sequential,
    /// `x += attn(norm1(x)) + ffn(norm2(x))` (GPT-NeoX, Falcon with two norms).
    Parallel,
    /// `n = norm(x); x += attn(n) + ffn(n)` (Falcon 7B).
    ParallelOneNorm,
}

/// How attention learns of positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Positions {
    /// Rotary embedding, [`ModelSpec::rope`].
    Rotary,
    /// A table `[max_positions, hidden]` added to the embeddings (GPT-2, GPT-Neo).
    Learned,
}

/// A mixture of feed-forward layers in place of one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Experts {
    /// Number of experts.
    pub count: usize,
    /// Experts that each token uses: those with the largest router probabilities.
    pub used: usize,
    /// Width of one expert.
    pub ffn: usize,
    /// Whether the probabilities (softmax over all experts) of those used are scaled to sum to 1.
    pub normalise: bool,
    /// Width of the expert that every token uses, whose output is scaled by the sigmoid of a gate
    /// (Qwen2-MoE).
    pub shared: Option<usize>,
    /// Per layer: whether it has experts; the others have one layer of width [`ModelSpec::ffn`].
    pub layers: Vec<bool>,
}

impl Experts {
    /// Experts in every one of `layers` layers, without a shared one.
    #[must_use]
    pub fn new(count: usize, used: usize, ffn: usize, normalise: bool, layers: usize) -> Self {
        Self {
            count,
            used,
            ffn,
            normalise,
            shared: None,
            layers: vec![true; layers],
        }
    }

    /// What makes the fields unusable, in words.
    fn problem(&self, layers: usize) -> Option<String> {
        for (name, value, limit) in [
            ("expert feed-forward size", self.ffn, MAX_WIDTH),
            (
                "shared expert's feed-forward size",
                self.shared.unwrap_or(1),
                MAX_WIDTH,
            ),
            ("number of experts", self.count, MAX_EXPERTS),
        ] {
            if value == 0 || value > limit {
                return Some(format!(
                    "the {name} is {value}, which is not between 1 and {limit}"
                ));
            }
        }
        if self.used == 0 || self.used > self.count {
            return Some(format!(
                "{} of {} experts cannot be used",
                self.used, self.count
            ));
        }
        if self.layers.len() != layers {
            return Some(format!(
                "experts are given for {} layers of {layers}",
                self.layers.len()
            ));
        }
        None
    }
}

/// The element type that a configuration names for its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// 16-bit float with 5 exponent bits.
    F16,
    /// 16-bit float with 8 exponent bits.
    Bf16,
}

impl Dtype {
    /// The name PyTorch uses, such as `bfloat16`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }
}

/// A decoder-only model as data: what `config.json` or GGUF metadata say.
///
/// All families here share one block: RMS norm, rotary attention with grouped keys and
/// values, residual, RMS norm, gated feed-forward, residual. The fields say what varies.
/// Build one with [`from_hf`](Self::from_hf), [`from_dir`](Self::from_dir) or
/// [`from_gguf`](Self::from_gguf); after changing fields, call [`validate`](Self::validate).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModelSpec {
    /// The family, which decides weight names.
    pub family: Family,
    /// Rows of the embedding table and of the output head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Features per head. `heads * head_dim` need not equal `hidden`.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// Longest sequence the model was made for, in tokens.
    pub max_positions: usize,
    /// Added to the mean square in RMS norms.
    pub norm_eps: f32,
    /// Rotary position embedding.
    pub rope: RopeSpec,
    /// Per layer: `Some(w)` means that position `p` attends to `p - w + 1 ..= p` alone.
    pub window: Vec<Option<usize>>,
    /// Biases on q, k and v.
    pub qkv_bias: bool,
    /// Bias on the attention output.
    pub o_bias: bool,
    /// Biases on gate, up and down.
    pub mlp_bias: bool,
    /// RMS norm over q and k before rotation.
    pub qk_norm: Option<QkNorm>,
    /// The output head is the embedding table.
    pub tied: bool,
    /// The activation of the feed-forward layer.
    pub activation: Activation,
    /// Whether the feed-forward layer is `down(act(gate(x)) * up(x))`; otherwise it is
    /// `down(act(up(x)))` and there is no [`Role::Gate`](crate::Role::Gate).
    pub gated: bool,
    /// The norms of blocks and output.
    pub norm: Norm,
    /// Where a block has its norms.
    pub norm_place: NormPlace,
    /// How attention and feed-forward layer follow each other.
    pub residual: Residual,
    /// How attention learns of positions.
    pub positions: Positions,
    /// Rotation of the layers with a window, where it differs (Gemma 3).
    pub rope_local: Option<RopeSpec>,
    /// Per layer: whether q and k are rotated; empty means in all (SmolLM3 leaves some out).
    pub rope_layers: Vec<bool>,
    /// Scores are multiplied by this; `None` means `1 / sqrt(head_dim)`.
    pub attention_scale: Option<f32>,
    /// `c * tanh(score / c)` on attention scores (Gemma 2).
    pub attention_softcap: Option<f32>,
    /// `c * tanh(logit / c)` on logits (Gemma 2).
    pub logit_softcap: Option<f32>,
    /// Embeddings are multiplied by this (Gemma: `sqrt(hidden)`; Granite).
    pub embedding_scale: f32,
    /// What attention and feed-forward layer add is multiplied by this (Granite).
    pub residual_scale: f32,
    /// Logits are multiplied by this (Granite: the inverse of `logits_scaling`).
    pub logit_scale: f32,
    /// Experts in place of the feed-forward layer.
    pub experts: Option<Experts>,
    /// Tokens that end a generation; may be empty.
    pub eos_ids: Vec<u32>,
    /// The token before every text, if the model has one.
    pub bos_id: Option<u32>,
    /// The padding token, if the configuration names one.
    pub pad_id: Option<u32>,
    /// The element type the configuration names; files may hold others.
    pub dtype: Option<Dtype>,
}

/// Upper bound of every width, so that products fit in 64 bits.
const MAX_WIDTH: usize = 1 << 24;
/// Upper bound of the number of experts.
const MAX_EXPERTS: usize = 1 << 12;
/// Upper bound of the number of layers.
const MAX_LAYERS: usize = 1 << 10;

impl ModelSpec {
    /// What this model has beyond the block of Llama, in words, for code that knows no more than
    /// that: RMS norms before each part, rotary positions in every layer, a gated feed-forward
    /// layer with SiLU, optional biases and per-head norms. `None` if it has nothing else.
    #[must_use]
    pub fn beyond_llama(&self) -> Option<&'static str> {
        let one = |x: f32| (x - 1.0).abs() < f32::EPSILON;
        let checks = [
            (
                self.activation != Activation::Silu,
                "an activation other than SiLU",
            ),
            (!self.gated, "a feed-forward layer without a gate"),
            (self.norm != Norm::Rms, "norms other than plain RMS norms"),
            (
                self.norm_place != NormPlace::Before,
                "norms after attention",
            ),
            (self.residual != Residual::Sequential, "parallel residuals"),
            (self.positions != Positions::Rotary, "learned positions"),
            (self.rope_local.is_some(), "two rotations"),
            (self.rope_layers.contains(&false), "layers without rotation"),
            (self.qk_norm == Some(QkNorm::All), "norms across heads"),
            (
                self.attention_scale.is_some(),
                "an attention scale of its own",
            ),
            (
                self.attention_softcap.is_some() || self.logit_softcap.is_some(),
                "soft caps",
            ),
            (
                !(one(self.embedding_scale) && one(self.residual_scale) && one(self.logit_scale)),
                "scales on embeddings, residuals or logits",
            ),
            (self.experts.is_some(), "experts"),
        ];
        checks
            .into_iter()
            .find(|(has, _)| *has)
            .map(|(_, what)| what)
    }

    /// `1 / sqrt(head_dim)`: the scale of scores where [`attention_scale`](Self::attention_scale)
    /// says nothing.
    #[must_use]
    pub fn usual_attention_scale(&self) -> f32 {
        (self.head_dim as f64).powf(-0.5) as f32
    }

    /// Whether layer `layer` rotates q and k.
    #[must_use]
    pub fn rotates(&self, layer: usize) -> bool {
        self.positions == Positions::Rotary && self.rope_layers.get(layer).copied().unwrap_or(true)
    }

    /// The rotation of layer `layer`.
    #[must_use]
    pub fn rope_of(&self, layer: usize) -> &RopeSpec {
        match &self.rope_local {
            Some(local) if self.window.get(layer).copied().flatten().is_some() => local,
            _ => &self.rope,
        }
    }

    /// Whether layer `layer` has experts.
    #[must_use]
    pub fn has_experts(&self, layer: usize) -> bool {
        let experts = self.experts.as_ref();
        experts.is_some_and(|e| e.layers.get(layer).copied().unwrap_or(false))
    }

    /// Query heads that share one key and value head.
    #[must_use]
    pub const fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Features of all query heads together.
    #[must_use]
    pub const fn q_dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Features of all key heads together, which are also those of all value heads.
    #[must_use]
    pub const fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Checks that the fields agree with each other; the message names `config`.
    ///
    /// # Errors
    /// [`Error::Inconsistent`] for a zero or absurd width, heads that key heads do not divide,
    /// rotated features that are odd or exceed the head, lists of the wrong length, a weight that
    /// the names of the family do not cover.
    pub fn validate(&self) -> Result<()> {
        self.validate_in("config")
    }

    pub(crate) fn validate_in(&self, file: &str) -> Result<()> {
        let fail = |problem: String| {
            Err(Error::Inconsistent {
                file: file.to_owned(),
                problem,
            })
        };
        for (name, value, limit) in [
            ("vocabulary size", self.vocab_size, MAX_WIDTH),
            ("hidden size", self.hidden, MAX_WIDTH),
            ("number of layers", self.layers, MAX_LAYERS),
            ("number of heads", self.heads, MAX_WIDTH),
            ("number of key-value heads", self.kv_heads, MAX_WIDTH),
            ("head size", self.head_dim, MAX_WIDTH),
            ("feed-forward size", self.ffn, MAX_WIDTH),
            (
                "query size",
                self.heads.saturating_mul(self.head_dim),
                MAX_WIDTH,
            ),
            ("context length", self.max_positions, 1 << 30),
        ] {
            if value == 0 || value > limit {
                return fail(format!(
                    "the {name} is {value}, which is not between 1 and {limit}"
                ));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return fail(format!(
                "{} heads cannot be shared among {} key-value heads",
                self.heads, self.kv_heads
            ));
        }
        if !(self.norm_eps >= 0.0 && self.norm_eps < 1.0) {
            return fail(format!("the norm epsilon is {}", self.norm_eps));
        }
        if self.window.len() != self.layers {
            return fail(format!(
                "windows are given for {} layers of {}",
                self.window.len(),
                self.layers
            ));
        }
        if self.window.contains(&Some(0)) {
            return fail("a sliding window of 0 positions sees nothing".to_owned());
        }
        for (name, scale) in [
            ("attention scale", self.attention_scale.unwrap_or(1.0)),
            ("soft cap of scores", self.attention_softcap.unwrap_or(1.0)),
            ("soft cap of logits", self.logit_softcap.unwrap_or(1.0)),
            ("embedding scale", self.embedding_scale),
            ("residual scale", self.residual_scale),
            ("logit scale", self.logit_scale),
        ] {
            if !scale.is_finite() || scale == 0.0 {
                return fail(format!("the {name} is {scale}"));
            }
        }
        if let Some(problem) = self.experts.as_ref().and_then(|e| e.problem(self.layers)) {
            return fail(problem);
        }
        if !self.rope_layers.is_empty() && self.rope_layers.len() != self.layers {
            return fail(format!(
                "rotation is given for {} layers of {}",
                self.rope_layers.len(),
                self.layers
            ));
        }
        if let Some(role) = self.nameless() {
            return fail(format!("a {} has no name for {role:?}", self.family));
        }
        if self.positions == Positions::Learned {
            return Ok(());
        }
        for rope in std::iter::once(&self.rope).chain(&self.rope_local) {
            if rope.dims > self.head_dim {
                return fail(format!(
                    "{} features are rotated, a head has {}",
                    rope.dims, self.head_dim
                ));
            }
            if let Some(problem) = rope.problem() {
                return fail(problem);
            }
        }
        Ok(())
    }
}
