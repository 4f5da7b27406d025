//! What tells the families apart, as data.

use super::HeadActivation;
use super::names::{self, Scheme};
use crate::Activation;

/// A family.
pub(super) struct Profile {
    /// Prefixes of class names in transformers.
    pub(super) names: &'static [&'static str],
    /// `model_type` in `config.json`.
    pub(super) model_types: &'static [&'static str],
    /// The usual name of a key, and that of the family.
    pub(super) keys: &'static [(&'static str, &'static str)],
    /// What an absent key means: the defaults of the configuration class.
    pub(super) defaults: &'static [(&'static str, f64)],
    /// Positions begin after the padding id.
    pub(super) offset_positions: bool,
    /// The block of ModernBERT: rotation, norms first, gates, windows.
    pub(super) modern: bool,
    /// Activation of the classification head.
    pub(super) head: HeadActivation,
    /// Names of weights.
    pub(super) scheme: &'static Scheme,
}

impl Profile {
    /// How the family calls a key.
    pub(super) fn key(&self, usual: &'static str) -> &'static str {
        let own = self.keys.iter().find(|(name, _)| *name == usual);
        own.map_or(usual, |(_, own)| own)
    }

    pub(super) fn default(&self, usual: &str) -> Option<f64> {
        let found = self.defaults.iter().find(|(name, _)| *name == usual);
        found.map(|(_, value)| *value)
    }
}

/// Defaults of `configuration_bert.py`, which the families share but for what follows.
const BERT_DEFAULTS: &[(&str, f64)] = &[
    ("type_vocab_size", 2.0),
    ("layer_norm_eps", 1e-12),
    ("max_position_embeddings", 512.0),
];

const ROBERTA_DEFAULTS: &[(&str, f64)] = &[
    ("type_vocab_size", 2.0),
    ("layer_norm_eps", 1e-12),
    ("max_position_embeddings", 512.0),
    ("pad_token_id", 1.0),
];

pub(super) const BERT: Profile = Profile {
    names: &["Bert"],
    model_types: &["bert"],
    keys: &[],
    defaults: BERT_DEFAULTS,
    offset_positions: false,
    modern: false,
    head: HeadActivation::Tanh,
    scheme: &names::BERT,
};

pub(super) const DISTIL_BERT: Profile = Profile {
    names: &["DistilBert"],
    model_types: &["distilbert"],
    keys: &[
        ("hidden_size", "dim"),
        ("num_hidden_layers", "n_layers"),
        ("num_attention_heads", "n_heads"),
        ("intermediate_size", "hidden_dim"),
        ("hidden_act", "activation"),
    ],
    defaults: &[
        ("type_vocab_size", 0.0),
        ("layer_norm_eps", 1e-12),
        ("max_position_embeddings", 512.0),
    ],
    offset_positions: false,
    modern: false,
    head: HeadActivation::Relu,
    scheme: &names::DISTIL_BERT,
};

pub(super) const ROBERTA: Profile = Profile {
    names: &["Roberta", "Camembert"],
    model_types: &["roberta", "camembert"],
    keys: &[],
    defaults: ROBERTA_DEFAULTS,
    offset_positions: true,
    modern: false,
    head: HeadActivation::Tanh,
    scheme: &names::ROBERTA,
};

pub(super) const XLM_ROBERTA: Profile = Profile {
    names: &["XLMRoberta"],
    model_types: &["xlm-roberta"],
    keys: &[],
    defaults: ROBERTA_DEFAULTS,
    offset_positions: true,
    modern: false,
    head: HeadActivation::Tanh,
    scheme: &names::ROBERTA,
};

/// `configuration_modernbert.py`.
pub(super) const MODERN_BERT: Profile = Profile {
    names: &["ModernBert"],
    model_types: &["modernbert"],
    keys: &[
        ("hidden_act", "hidden_activation"),
        ("layer_norm_eps", "norm_eps"),
    ],
    defaults: &[
        ("type_vocab_size", 0.0),
        ("layer_norm_eps", 1e-5),
        ("max_position_embeddings", 8192.0),
        ("local_attention", 128.0),
        ("global_attn_every_n_layers", 3.0),
        ("global_rope_theta", 160_000.0),
        ("local_rope_theta", 10_000.0),
    ],
    offset_positions: false,
    modern: true,
    head: HeadActivation::Other(Activation::Gelu),
    scheme: &names::MODERN_BERT,
};
