//! Names and shapes of the weights of encoders.

use self::EncoderRole as R;
use super::EncoderSpec;
use crate::{NameLayout, Result, TensorSource, Weight, WeightRef};

/// What a weight is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EncoderRole {
    /// Token embeddings, `[vocab, hidden]`.
    Embed,
    /// Position embeddings, `[positions, hidden]`.
    PosEmbed,
    /// Token-type embeddings, `[types, hidden]`.
    TypeEmbed,
    /// Norm of the summed embeddings, `[hidden]`.
    EmbedNorm,
    /// Its summand.
    EmbedNormBias,
    /// Queries, `[hidden, hidden]`.
    Q,
    /// Their bias.
    QBias,
    /// Keys, `[hidden, hidden]`.
    K,
    /// Their bias.
    KBias,
    /// Values, `[hidden, hidden]`.
    V,
    /// Their bias.
    VBias,
    /// Output of attention, `[hidden, hidden]`.
    O,
    /// Its bias.
    OBias,
    /// Norm of attention, `[hidden]`: before it where norms come first, else after its sum.
    AttnNorm,
    /// Its summand.
    AttnNormBias,
    /// The half of a gated layer that the activation applies to, `[ffn, hidden]`.
    Gate,
    /// Its bias.
    GateBias,
    /// The first matrix of the feed-forward layer, `[ffn, hidden]`.
    Up,
    /// Its bias.
    UpBias,
    /// The last matrix of the feed-forward layer, `[hidden, ffn]`.
    Down,
    /// Its bias.
    DownBias,
    /// Norm of the feed-forward layer, `[hidden]`.
    FfnNorm,
    /// Its summand.
    FfnNormBias,
    /// Norm of the last hidden states, `[hidden]`, where norms come first.
    FinalNorm,
    /// Its summand.
    FinalNormBias,
    /// First matrix of the classification head, `[hidden, hidden]`; BERT's pooler.
    HeadDense,
    /// Its bias.
    HeadDenseBias,
    /// Norm in the classification head, `[hidden]`.
    HeadNorm,
    /// Its summand.
    HeadNormBias,
    /// Last matrix of the classification head, `[labels, hidden]`.
    Classifier,
    /// Its bias.
    ClassifierBias,
}

impl EncoderRole {
    /// Roles outside of blocks.
    pub const GLOBAL: [Self; 13] = [
        Self::Embed,
        Self::PosEmbed,
        Self::TypeEmbed,
        Self::EmbedNorm,
        Self::EmbedNormBias,
        Self::FinalNorm,
        Self::FinalNormBias,
        Self::HeadDense,
        Self::HeadDenseBias,
        Self::HeadNorm,
        Self::HeadNormBias,
        Self::Classifier,
        Self::ClassifierBias,
    ];

    /// Roles that each block has.
    pub const BLOCK: [Self; 18] = [
        Self::Q,
        Self::QBias,
        Self::K,
        Self::KBias,
        Self::V,
        Self::VBias,
        Self::O,
        Self::OBias,
        Self::AttnNorm,
        Self::AttnNormBias,
        Self::Gate,
        Self::GateBias,
        Self::Up,
        Self::UpBias,
        Self::Down,
        Self::DownBias,
        Self::FfnNorm,
        Self::FfnNormBias,
    ];

    /// Whether the weight multiplies normalised features.
    #[must_use]
    pub const fn is_norm(self) -> bool {
        matches!(
            self,
            Self::EmbedNorm | Self::AttnNorm | Self::FfnNorm | Self::FinalNorm | Self::HeadNorm
        )
    }
}

/// A module of a checkpoint: `path.weight` and `path.bias`.
pub(super) struct Entry {
    /// The weights whose rows it stacks, and their biases.
    parts: &'static [(EncoderRole, Option<EncoderRole>)],
    /// Its path, `{}` for the number of the block.
    path: &'static str,
    /// Whether it lies below the prefix.
    inside: bool,
}

/// The names of a family.
pub(super) struct Scheme {
    /// What may stand before the names of the encoder proper.
    prefixes: &'static [&'static str],
    entries: &'static [Entry],
}

const fn entry(
    parts: &'static [(EncoderRole, Option<EncoderRole>)],
    path: &'static str,
    inside: bool,
) -> Entry {
    Entry {
        parts,
        path,
        inside,
    }
}

macro_rules! scheme {
    ($prefixes:expr; $($path:literal $(in $inside:literal)?: $($role:ident $(+ $bias:ident)?),+;)+) => {
        Scheme {
            prefixes: &$prefixes,
            entries: &[$(entry(
                &[$((R::$role, scheme!(@bias $($bias)?))),+],
                $path,
                true $(&& $inside)?,
            )),+],
        }
    };
    (@bias) => { None };
    (@bias $bias:ident) => { Some(R::$bias) };
}

pub(super) const BERT: Scheme = scheme! { ["", "bert."];
    "embeddings.word_embeddings": Embed;
    "embeddings.position_embeddings": PosEmbed;
    "embeddings.token_type_embeddings": TypeEmbed;
    "embeddings.LayerNorm": EmbedNorm + EmbedNormBias;
    "encoder.layer.{}.attention.self.query": Q + QBias;
    "encoder.layer.{}.attention.self.key": K + KBias;
    "encoder.layer.{}.attention.self.value": V + VBias;
    "encoder.layer.{}.attention.output.dense": O + OBias;
    "encoder.layer.{}.attention.output.LayerNorm": AttnNorm + AttnNormBias;
    "encoder.layer.{}.intermediate.dense": Up + UpBias;
    "encoder.layer.{}.output.dense": Down + DownBias;
    "encoder.layer.{}.output.LayerNorm": FfnNorm + FfnNormBias;
    "pooler.dense": HeadDense + HeadDenseBias;
    "classifier" in false: Classifier + ClassifierBias;
};

pub(super) const ROBERTA: Scheme = scheme! { ["", "roberta."];
    "embeddings.word_embeddings": Embed;
    "embeddings.position_embeddings": PosEmbed;
    "embeddings.token_type_embeddings": TypeEmbed;
    "embeddings.LayerNorm": EmbedNorm + EmbedNormBias;
    "encoder.layer.{}.attention.self.query": Q + QBias;
    "encoder.layer.{}.attention.self.key": K + KBias;
    "encoder.layer.{}.attention.self.value": V + VBias;
    "encoder.layer.{}.attention.output.dense": O + OBias;
    "encoder.layer.{}.attention.output.LayerNorm": AttnNorm + AttnNormBias;
    "encoder.layer.{}.intermediate.dense": Up + UpBias;
    "encoder.layer.{}.output.dense": Down + DownBias;
    "encoder.layer.{}.output.LayerNorm": FfnNorm + FfnNormBias;
    "classifier.dense" in false: HeadDense + HeadDenseBias;
    "classifier.out_proj" in false: Classifier + ClassifierBias;
};

pub(super) const DISTIL_BERT: Scheme = scheme! { ["", "distilbert."];
    "embeddings.word_embeddings": Embed;
    "embeddings.position_embeddings": PosEmbed;
    "embeddings.LayerNorm": EmbedNorm + EmbedNormBias;
    "transformer.layer.{}.attention.q_lin": Q + QBias;
    "transformer.layer.{}.attention.k_lin": K + KBias;
    "transformer.layer.{}.attention.v_lin": V + VBias;
    "transformer.layer.{}.attention.out_lin": O + OBias;
    "transformer.layer.{}.sa_layer_norm": AttnNorm + AttnNormBias;
    "transformer.layer.{}.ffn.lin1": Up + UpBias;
    "transformer.layer.{}.ffn.lin2": Down + DownBias;
    "transformer.layer.{}.output_layer_norm": FfnNorm + FfnNormBias;
    "pre_classifier" in false: HeadDense + HeadDenseBias;
    "classifier" in false: Classifier + ClassifierBias;
};

pub(super) const MODERN_BERT: Scheme = scheme! { ["", "model."];
    "embeddings.tok_embeddings": Embed;
    "embeddings.norm": EmbedNorm + EmbedNormBias;
    "layers.{}.attn_norm": AttnNorm + AttnNormBias;
    "layers.{}.attn.Wqkv": Q + QBias, K + KBias, V + VBias;
    "layers.{}.attn.Wo": O + OBias;
    "layers.{}.mlp_norm": FfnNorm + FfnNormBias;
    "layers.{}.mlp.Wi": Gate + GateBias, Up + UpBias;
    "layers.{}.mlp.Wo": Down + DownBias;
    "final_norm": FinalNorm + FinalNormBias;
    "head.dense" in false: HeadDense + HeadDenseBias;
    "head.norm" in false: HeadNorm + HeadNormBias;
    "classifier" in false: Classifier + ClassifierBias;
};

/// Architecture `bert` of llama.cpp (`MODEL_TENSORS` of its Python package).
pub(super) const GGUF: Scheme = scheme! { [""];
    "token_embd": Embed;
    "position_embd": PosEmbed;
    "token_types": TypeEmbed;
    "token_embd_norm": EmbedNorm + EmbedNormBias;
    "blk.{}.attn_q": Q + QBias;
    "blk.{}.attn_k": K + KBias;
    "blk.{}.attn_v": V + VBias;
    "blk.{}.attn_output": O + OBias;
    "blk.{}.attn_output_norm": AttnNorm + AttnNormBias;
    "blk.{}.ffn_up": Up + UpBias;
    "blk.{}.ffn_down": Down + DownBias;
    "blk.{}.layer_output_norm": FfnNorm + FfnNormBias;
};

impl EncoderSpec {
    /// The shape of a weight, `None` if this model has none of this role in this layer.
    #[must_use]
    pub fn shape(&self, role: EncoderRole, layer: usize) -> Option<Vec<usize>> {
        let (hidden, ffn) = (self.hidden, self.ffn);
        let vector = |present: bool, n: usize| present.then(|| vec![n]);
        let matrix = |present: bool, n: usize, k: usize| present.then(|| vec![n, k]);
        let head = self.head.as_ref();
        let final_norm = self.norm_first;
        // ModernBERT normalises embeddings, so its first layer does not.
        let attn_norm = !(self.norm_first && layer == 0);
        match role {
            R::Embed => Some(vec![self.vocab_size, hidden]),
            R::PosEmbed => matrix(
                self.rope.is_none(),
                self.max_tokens + self.position_offset,
                hidden,
            ),
            R::TypeEmbed => matrix(self.type_vocab > 0, self.type_vocab, hidden),
            R::EmbedNorm | R::FfnNorm => Some(vec![hidden]),
            R::EmbedNormBias | R::FfnNormBias => vector(self.norm_bias, hidden),
            R::AttnNorm => vector(attn_norm, hidden),
            R::AttnNormBias => vector(attn_norm && self.norm_bias, hidden),
            R::Q | R::K | R::V | R::O => Some(vec![hidden, hidden]),
            R::QBias | R::KBias | R::VBias | R::OBias => vector(self.attention_bias, hidden),
            R::Gate => matrix(self.gated, ffn, hidden),
            R::GateBias => vector(self.gated && self.mlp_bias, ffn),
            R::Up => Some(vec![ffn, hidden]),
            R::UpBias => vector(self.mlp_bias, ffn),
            R::Down => Some(vec![hidden, ffn]),
            R::DownBias => vector(self.mlp_bias, hidden),
            R::FinalNorm => vector(final_norm, hidden),
            R::FinalNormBias => vector(final_norm && self.norm_bias, hidden),
            R::HeadDense => matrix(head.is_some(), hidden, hidden),
            R::HeadDenseBias => vector(head.is_some_and(|h| h.bias), hidden),
            R::HeadNorm => vector(head.is_some_and(|h| h.norm), hidden),
            R::HeadNormBias => vector(head.is_some_and(|h| h.norm) && self.norm_bias, hidden),
            R::Classifier => head.map(|h| vec![h.labels, hidden]),
            R::ClassifierBias => head.map(|h| vec![h.labels]),
        }
    }

    /// Where a weight lies in files of a layout; `None` if the model has no such weight there.
    ///
    /// `layer` is ignored for [`EncoderRole::GLOBAL`]. Names without a prefix come first; the
    /// aliases are those with one (`bert.`), and `gamma` and `beta` of old norms.
    #[must_use]
    pub fn weight(&self, role: EncoderRole, layer: usize, layout: NameLayout) -> Option<WeightRef> {
        let scheme = match layout {
            NameLayout::HuggingFace => self.family.profile().scheme,
            NameLayout::Gguf => &GGUF,
        };
        let shape = self.shape(role, layer)?;
        let part_of = |&(weight, bias): &(R, Option<R>)| weight == role || bias == Some(role);
        let entry = scheme
            .entries
            .iter()
            .find(|e| e.parts.iter().any(part_of))?;
        let (mut start, mut total) = (0, 0);
        let mut is_bias = false;
        for &(weight, bias) in entry.parts {
            if weight == role || bias == Some(role) {
                (start, is_bias) = (total, bias == Some(role));
            }
            total += self.shape(weight, layer)?.first().copied()?;
        }
        let count = *shape.first()?;
        let mut stored = shape.clone();
        *stored.first_mut()? = total;
        let path = entry.path.replace("{}", &layer.to_string());
        let (kind, old) = if is_bias {
            ("bias", "beta")
        } else {
            ("weight", "gamma")
        };
        let prefixes = if entry.inside { scheme.prefixes } else { &[""] };
        let mut names: Vec<String> = prefixes
            .iter()
            .map(|p| format!("{p}{path}.{kind}"))
            .collect();
        if path.ends_with("LayerNorm") {
            names.extend(prefixes.iter().map(|p| format!("{p}{path}.{old}")));
        }
        let mut names = names.into_iter();
        Some(WeightRef {
            name: names.next()?,
            aliases: names.collect(),
            rows: start..start + count,
            stored,
            shape,
            permute_heads: None,
            groups: None,
            transposed: false,
            add_one: false,
        })
    }

    /// Every weight of the model with its layer.
    pub fn weights(&self) -> impl Iterator<Item = (EncoderRole, usize)> + '_ {
        let global = R::GLOBAL.into_iter().map(|role| (role, 0));
        let block = (0..self.layers).flat_map(|i| R::BLOCK.into_iter().map(move |r| (r, i)));
        global
            .chain(block)
            .filter(|&(role, layer)| self.shape(role, layer).is_some())
    }

    /// Reads one weight; `None` if this model has no such weight.
    ///
    /// # Errors
    /// [`Error::MissingTensor`](crate::Error::MissingTensor),
    /// [`Error::TensorShape`](crate::Error::TensorShape), an unusable type.
    pub fn read<'a>(
        &self,
        source: &'a (impl TensorSource + ?Sized),
        role: EncoderRole,
        layer: usize,
    ) -> Result<Option<Weight<'a>>> {
        let place = self.weight(role, layer, source.layout());
        place.map(|place| place.read(source)).transpose()
    }

    /// Checks that every tensor of the model is there with the right shape, without reading values.
    ///
    /// # Errors
    /// [`Error::MissingTensor`](crate::Error::MissingTensor),
    /// [`Error::TensorShape`](crate::Error::TensorShape) or
    /// [`Error::TensorType`](crate::Error::TensorType) for the first tensor at fault.
    pub fn check(&self, source: &(impl TensorSource + ?Sized)) -> Result<()> {
        let layout = source.layout();
        self.weights()
            .filter_map(|(role, layer)| self.weight(role, layer, layout))
            .try_for_each(|place| place.check(source))
    }
}
