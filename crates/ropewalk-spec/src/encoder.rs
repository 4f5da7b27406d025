//! Encoders: what their configurations say and how their weights are called.
//!
//! An encoder reads a whole text at once and gives one vector per token. One forward pass runs
//! every family, as the fields of an [`EncoderSpec`] say.

mod config;
mod gguf;
mod names;
mod profiles;
mod sentence;

use crate::{Activation, Error, Result, RopeSpec};

pub use self::names::EncoderRole;
pub use self::sentence::{DenseSpec, PoolingMode, PoolingSpec, SentenceModule, SentenceSpec};

use self::profiles::Profile;

/// A family of encoders: a configuration mapping and a table of weight names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EncoderFamily {
    /// BERT, and what copies it: MiniLM, BGE, E5, GTE, Arctic Embed.
    Bert,
    /// DistilBERT: half the layers, no token types, no pooler.
    DistilBert,
    /// RoBERTa and CamemBERT: BERT whose positions begin after the padding id.
    Roberta,
    /// XLM-RoBERTa: the same with a multilingual unigram vocabulary (multilingual E5, BGE-M3 and
    /// BGE rerankers).
    XlmRoberta,
    /// ModernBERT: rotation, norms before the parts, gated layers, windows in two of three layers.
    ModernBert,
}

impl EncoderFamily {
    /// Every family, in the order in which errors list them.
    pub const ALL: [Self; 5] = [
        Self::Bert,
        Self::DistilBert,
        Self::Roberta,
        Self::XlmRoberta,
        Self::ModernBert,
    ];

    /// The prefix of the family's class names in transformers, such as `Bert`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.profile().names[0]
    }

    /// `model_type` of `config.json`, such as `bert`.
    #[must_use]
    pub const fn model_type(self) -> &'static str {
        self.profile().model_types[0]
    }

    const fn profile(self) -> &'static Profile {
        match self {
            Self::Bert => &profiles::BERT,
            Self::DistilBert => &profiles::DISTIL_BERT,
            Self::Roberta => &profiles::ROBERTA,
            Self::XlmRoberta => &profiles::XLM_ROBERTA,
            Self::ModernBert => &profiles::MODERN_BERT,
        }
    }
}

impl std::fmt::Display for EncoderFamily {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The activation between the two matrices of a classification head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadActivation {
    /// Hyperbolic tangent (BERT, RoBERTa).
    Tanh,
    /// `max(x, 0)` (DistilBERT).
    Relu,
    /// One of the activations of feed-forward layers (ModernBERT).
    Other(Activation),
}

/// What turns the hidden states of a text into scores: pool, dense, activation, norm, classify.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EncoderHead {
    /// Scores per text; 1 for rerankers.
    pub labels: usize,
    /// Whether hidden states are averaged; the first token's is taken otherwise.
    pub mean: bool,
    /// What follows the dense layer.
    pub activation: HeadActivation,
    /// Whether the dense layer has a bias.
    pub bias: bool,
    /// Whether a layer norm follows the activation.
    pub norm: bool,
}

/// The numbers that define an encoder.
///
/// Its hidden states are `[tokens, hidden]`. See [`EncoderSpec::from_hf`] and
/// [`EncoderSpec::from_gguf`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EncoderSpec {
    /// The family, which decides the names of weights.
    pub family: EncoderFamily,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Features of a hidden state.
    pub hidden: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Features per head; `heads * head_dim` is `hidden`.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// Tokens of the longest text.
    pub max_tokens: usize,
    /// The first row of the position table that is used: RoBERTa's padding id plus 1. 0 elsewhere.
    pub position_offset: usize,
    /// Rows of the table of token types; 0 if there is none.
    pub type_vocab: usize,
    /// Epsilon of the norms.
    pub norm_eps: f32,
    /// Whether norms have summands besides factors.
    pub norm_bias: bool,
    /// Whether norms stand before the parts, with one at the end, and not after the residual sums.
    pub norm_first: bool,
    /// Activation of the feed-forward layer.
    pub activation: Activation,
    /// Whether the activation multiplies a second projection.
    pub gated: bool,
    /// Whether the projections of attention have biases.
    pub attention_bias: bool,
    /// Whether the feed-forward layer has biases.
    pub mlp_bias: bool,
    /// Per layer, the distance up to which tokens see each other; `None` for all.
    pub window: Vec<Option<usize>>,
    /// Rotation of queries and keys; `None` where positions are learned.
    pub rope: Option<RopeSpec>,
    /// Rotation in layers with a window, where it differs.
    pub rope_local: Option<RopeSpec>,
    /// The classification head, if the model has one.
    pub head: Option<EncoderHead>,
    /// The padding token.
    pub pad_id: Option<u32>,
}

/// More layers than any encoder has; checked before lists of one entry per layer are made.
const MAX_LAYERS: usize = 1 << 10;

impl EncoderSpec {
    /// The rotation of a layer.
    #[must_use]
    pub fn rope_of(&self, layer: usize) -> Option<&RopeSpec> {
        let local = self.window.get(layer).copied().flatten().is_some();
        let own = if local {
            self.rope_local.as_ref()
        } else {
            None
        };
        own.or(self.rope.as_ref())
    }

    /// Checks that the sizes fit each other.
    ///
    /// # Errors
    /// [`Error::Inconsistent`] with the first contradiction.
    pub fn validate(&self) -> Result<()> {
        self.validate_in("the specification")
    }

    fn validate_in(&self, file: &str) -> Result<()> {
        let fail = |problem: String| {
            Err(Error::Inconsistent {
                file: file.to_owned(),
                problem,
            })
        };
        let sizes = [
            ("vocabulary", self.vocab_size),
            ("hidden size", self.hidden),
            ("number of layers", self.layers),
            ("number of heads", self.heads),
            ("feed-forward width", self.ffn),
            ("longest text", self.max_tokens),
        ];
        for (name, size) in sizes {
            if size == 0 || size > 1 << 30 {
                return fail(format!("the {name} is {size}"));
            }
        }
        if self.layers > MAX_LAYERS {
            return fail(format!("{} layers are more than {MAX_LAYERS}", self.layers));
        }
        if self.heads.checked_mul(self.head_dim) != Some(self.hidden) {
            return fail(format!(
                "{} features do not split into {} heads of {}",
                self.hidden, self.heads, self.head_dim
            ));
        }
        if self.window.len() != self.layers {
            let windows = self.window.len();
            return fail(format!("{windows} windows for {} layers", self.layers));
        }
        for rope in [&self.rope, &self.rope_local].into_iter().flatten() {
            if rope.dims > self.head_dim || !rope.dims.is_multiple_of(2) {
                return fail(format!(
                    "{} of {} features per head cannot be rotated",
                    rope.dims, self.head_dim
                ));
            }
        }
        if self.head.as_ref().is_some_and(|head| head.labels == 0) {
            return fail("the classification head has no labels".to_owned());
        }
        if self.position_offset > 1 << 30 || self.type_vocab > 1 << 30 {
            return fail("a table of embeddings has over 2^30 rows".to_owned());
        }
        Ok(())
    }
}
