//! What each family says differently, as one table.

use super::Family;
use crate::{Activation, Norm, NormPlace, Positions, QkNorm, Residual};

/// A flag of a configuration that says whether biases are there.
#[derive(Clone, Copy)]
pub(crate) enum Flag {
    Never,
    Always,
    Key(&'static str),
}

/// Which layers see a window alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Windows {
    /// None.
    Never,
    /// All, if the configuration names a window.
    All,
    /// All, if `use_sliding_window` says so.
    Flagged,
    /// Those that `layer_types` marks, or else what [`Layers`] says; `use_sliding_window` is
    /// asked first where the second value is true.
    Some(Layers, bool),
    /// `attention_types` of GPT-Neo.
    LocalGlobal,
}

/// Which layers see a window when there is no list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layers {
    /// From `max_window_layers` on.
    FromMax,
    /// The even ones below `max_window_layers`.
    EvenBelowMax,
    /// All but every `sliding_window_pattern`-th.
    ButEach,
    /// Those that do not rotate.
    Unrotated,
}

/// The keys of a configuration that describe experts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpertKeys {
    Mixtral,
    Qwen,
}

/// What a family says differently from Llama.
pub(crate) struct Profile {
    /// Prefix of the class names of transformers.
    pub(crate) name: &'static str,
    /// What follows it in `architectures`.
    pub(crate) head: &'static str,
    /// Class of the decoder without head, after the prefix.
    pub(crate) model: &'static str,
    pub(crate) model_type: &'static str,
    pub(crate) gguf: &'static str,
    /// Keys of `config.json`: the usual one and the one this family has. The last one that is
    /// there counts; the first is written.
    pub(crate) keys: &'static [(&'static str, &'static str)],
    /// What transformers takes where a key is absent.
    pub(crate) defaults: &'static [(&'static str, f64)],
    /// Keys that must be there although Llama can do without.
    pub(crate) required: &'static [&'static str],
    /// Keys about rope that this family reads beyond the usual ones.
    pub(crate) rope_keys: &'static [&'static str],
    /// GGUF keys after the architecture that this family reads beyond Llama's.
    pub(crate) gguf_keys: &'static [&'static str],
    /// `gelu` means its approximation by tanh.
    pub(crate) gelu_is_tanh: bool,
    /// Embeddings are multiplied by the root of their width.
    pub(crate) scaled_embeddings: bool,
    /// Biases of q, k, v; of o; of the feed-forward layer.
    pub(crate) biases: [Flag; 3],
    pub(crate) windows: Windows,
    /// In GGUF, every n-th layer sees everything and no key says so.
    pub(crate) gguf_pattern: usize,
    pub(crate) experts: Option<ExpertKeys>,
    pub(crate) normalise_experts: bool,
    pub(crate) qk_norm: Option<QkNorm>,
    /// The activation where the configuration names none, and the only one in GGUF.
    pub(crate) activation: Activation,
    pub(crate) gated: bool,
    pub(crate) norm: Norm,
    pub(crate) norm_place: NormPlace,
    pub(crate) residual: Residual,
    pub(crate) positions: Positions,
    /// q and k lie interleaved in GGUF.
    pub(crate) permuted: bool,
}

const ATTENTION_BIAS: Flag = Flag::Key("attention_bias");
const KV: &[&str] = &["num_key_value_heads"];

const LLAMA: Profile = Profile {
    name: "Llama",
    head: "ForCausalLM",
    model: "Model",
    model_type: "llama",
    gguf: "llama",
    keys: &[],
    defaults: &[],
    required: &[],
    rope_keys: &[],
    gguf_keys: &[],
    gelu_is_tanh: false,
    scaled_embeddings: false,
    biases: [ATTENTION_BIAS, ATTENTION_BIAS, Flag::Key("mlp_bias")],
    windows: Windows::Never,
    gguf_pattern: 0,
    experts: None,
    normalise_experts: false,
    qk_norm: None,
    activation: Activation::Silu,
    gated: true,
    norm: Norm::Rms,
    norm_place: NormPlace::Before,
    residual: Residual::Sequential,
    positions: Positions::Rotary,
    permuted: true,
};

const MISTRAL: Profile = Profile {
    name: "Mistral",
    model_type: "mistral",
    defaults: &[("sliding_window", 4096.0)],
    required: KV,
    biases: [Flag::Never; 3],
    windows: Windows::All,
    ..LLAMA
};

const QWEN2: Profile = Profile {
    name: "Qwen2",
    model_type: "qwen2",
    gguf: "qwen2",
    defaults: &[("max_window_layers", 28.0)],
    required: KV,
    biases: [Flag::Always, Flag::Never, Flag::Never],
    windows: Windows::Some(Layers::FromMax, true),
    permuted: false,
    ..LLAMA
};

const QWEN3: Profile = Profile {
    name: "Qwen3",
    model_type: "qwen3",
    gguf: "qwen3",
    required: &["num_key_value_heads", "head_dim"],
    biases: [ATTENTION_BIAS, ATTENTION_BIAS, Flag::Never],
    qk_norm: Some(QkNorm::Head),
    ..QWEN2
};

const PHI3: Profile = Profile {
    name: "Phi3",
    model_type: "phi3",
    gguf: "phi3",
    rope_keys: &["partial_rotary_factor"],
    biases: [Flag::Never; 3],
    windows: Windows::All,
    permuted: false,
    ..LLAMA
};

const GEMMA: Profile = Profile {
    name: "Gemma",
    model_type: "gemma",
    gguf: "gemma",
    keys: &[("hidden_act", "hidden_activation")],
    defaults: &[("tie_word_embeddings", 1.0)],
    required: &["num_key_value_heads", "head_dim"],
    gelu_is_tanh: true,
    scaled_embeddings: true,
    activation: Activation::GeluTanh,
    biases: [ATTENTION_BIAS, ATTENTION_BIAS, Flag::Never],
    norm: Norm::RmsPlusOne,
    permuted: false,
    ..LLAMA
};

const GEMMA2: Profile = Profile {
    name: "Gemma2",
    model_type: "gemma2",
    gguf: "gemma2",
    defaults: &[
        ("tie_word_embeddings", 1.0),
        ("sliding_window", 4096.0),
        ("sliding_window_pattern", 2.0),
        ("query_pre_attn_scalar", 256.0),
        ("attn_logit_softcapping", 50.0),
        ("final_logit_softcapping", 30.0),
    ],
    gguf_keys: &[
        "attention.scale",
        "attention.sliding_window_pattern",
        "attn_logit_softcapping",
        "final_logit_softcapping",
    ],
    gelu_is_tanh: false,
    windows: Windows::Some(Layers::ButEach, false),
    gguf_pattern: 2,
    norm_place: NormPlace::Around,
    ..GEMMA
};

const GEMMA3: Profile = Profile {
    name: "Gemma3",
    model: "TextModel",
    model_type: "gemma3_text",
    gguf: "gemma3",
    // The text part of the models that see has no more than what differs from these.
    defaults: &[
        ("tie_word_embeddings", 1.0),
        ("vocab_size", 262_208.0),
        ("num_attention_heads", 8.0),
        ("num_key_value_heads", 4.0),
        ("head_dim", 256.0),
        ("max_position_embeddings", 131_072.0),
        ("rms_norm_eps", 1e-6),
        ("rope_theta", 1e6),
        ("rope_local_base_freq", 1e4),
        ("sliding_window", 4096.0),
        ("sliding_window_pattern", 6.0),
        ("query_pre_attn_scalar", 256.0),
    ],
    required: &[],
    rope_keys: &["rope_local_base_freq"],
    gguf_keys: &[
        "attention.scale",
        "attention.sliding_window_pattern",
        "attn_logit_softcapping",
        "final_logit_softcapping",
    ],
    gguf_pattern: 6,
    qk_norm: Some(QkNorm::Head),
    ..GEMMA2
};

const MIXTRAL: Profile = Profile {
    name: "Mixtral",
    model_type: "mixtral",
    defaults: &[("rope_theta", 1e6)],
    gguf_keys: &["expert_count", "expert_used_count"],
    experts: Some(ExpertKeys::Mixtral),
    normalise_experts: true,
    ..MISTRAL
};

const EXPERT_KEYS: &[&str] = &[
    "expert_count",
    "expert_used_count",
    "expert_feed_forward_length",
    "expert_shared_feed_forward_length",
    "expert_weights_norm",
];

const QWEN2_MOE: Profile = Profile {
    name: "Qwen2Moe",
    model_type: "qwen2_moe",
    gguf: "qwen2moe",
    defaults: &[
        ("qkv_bias", 1.0),
        ("max_window_layers", 28.0),
        ("decoder_sparse_step", 1.0),
    ],
    gguf_keys: EXPERT_KEYS,
    biases: [Flag::Key("qkv_bias"), Flag::Never, Flag::Never],
    windows: Windows::Some(Layers::EvenBelowMax, true),
    experts: Some(ExpertKeys::Qwen),
    ..QWEN2
};

const QWEN3_MOE: Profile = Profile {
    name: "Qwen3Moe",
    model_type: "qwen3_moe",
    gguf: "qwen3moe",
    defaults: &[("decoder_sparse_step", 1.0)],
    gguf_keys: EXPERT_KEYS,
    windows: Windows::Flagged,
    experts: Some(ExpertKeys::Qwen),
    normalise_experts: true,
    ..QWEN3
};

const STARCODER2: Profile = Profile {
    name: "Starcoder2",
    model_type: "starcoder2",
    gguf: "starcoder2",
    keys: &[("rms_norm_eps", "norm_epsilon")],
    defaults: &[("tie_word_embeddings", 1.0), ("use_bias", 1.0)],
    required: KV,
    biases: [Flag::Key("use_bias"); 3],
    windows: Windows::All,
    activation: Activation::GeluTanh,
    gated: false,
    norm: Norm::Layer,
    permuted: false,
    ..LLAMA
};

const SMOL_LM3: Profile = Profile {
    name: "SmolLM3",
    model_type: "smollm3",
    gguf: "smollm3",
    defaults: &[
        ("tie_word_embeddings", 1.0),
        ("rope_theta", 2e6),
        ("no_rope_layer_interval", 4.0),
    ],
    required: KV,
    rope_keys: &["no_rope_layers", "no_rope_layer_interval"],
    windows: Windows::Some(Layers::Unrotated, true),
    ..LLAMA
};

const OLMO2: Profile = Profile {
    name: "Olmo2",
    model_type: "olmo2",
    gguf: "olmo2",
    biases: [ATTENTION_BIAS, ATTENTION_BIAS, Flag::Never],
    qk_norm: Some(QkNorm::All),
    norm_place: NormPlace::After,
    permuted: false,
    ..LLAMA
};

const GRANITE: Profile = Profile {
    name: "Granite",
    model_type: "granite",
    gguf: "granite",
    defaults: &[
        ("attention_multiplier", 1.0),
        ("embedding_multiplier", 1.0),
        ("residual_multiplier", 1.0),
        ("logits_scaling", 1.0),
    ],
    gguf_keys: &[
        "attention.scale",
        "embedding_scale",
        "residual_scale",
        "logit_scale",
    ],
    ..LLAMA
};

const GPT2: Profile = Profile {
    name: "GPT2",
    head: "LMHeadModel",
    model_type: "gpt2",
    gguf: "gpt2",
    keys: &[
        ("hidden_size", "n_embd"),
        ("num_hidden_layers", "n_layer"),
        ("num_attention_heads", "n_head"),
        ("max_position_embeddings", "n_positions"),
        ("intermediate_size", "n_inner"),
        ("rms_norm_eps", "layer_norm_epsilon"),
        ("hidden_act", "activation_function"),
    ],
    defaults: &[
        ("tie_word_embeddings", 1.0),
        ("rms_norm_eps", 1e-5),
        ("scale_attn_weights", 1.0),
    ],
    gguf_keys: &["attention.scale"],
    biases: [Flag::Always; 3],
    activation: Activation::GeluTanh,
    gated: false,
    norm: Norm::Layer,
    positions: Positions::Learned,
    permuted: false,
    ..LLAMA
};

const GPT_NEOX: Profile = Profile {
    name: "GPTNeoX",
    model_type: "gpt_neox",
    gguf: "gptneox",
    keys: &[
        ("rms_norm_eps", "layer_norm_eps"),
        ("rope_theta", "rotary_emb_base"),
        ("partial_rotary_factor", "rotary_pct"),
    ],
    defaults: &[
        ("rms_norm_eps", 1e-5),
        ("partial_rotary_factor", 0.25),
        ("attention_bias", 1.0),
        ("use_parallel_residual", 1.0),
    ],
    rope_keys: &["partial_rotary_factor"],
    biases: [ATTENTION_BIAS, ATTENTION_BIAS, Flag::Always],
    activation: Activation::Gelu,
    gated: false,
    norm: Norm::Layer,
    residual: Residual::Parallel,
    permuted: false,
    ..LLAMA
};

const GPT_NEO: Profile = Profile {
    name: "GPTNeo",
    head: "ForCausalLM",
    model_type: "gpt_neo",
    gguf: "gptneo",
    keys: &[
        ("num_hidden_layers", "num_layers"),
        ("num_attention_heads", "num_heads"),
        ("rms_norm_eps", "layer_norm_epsilon"),
        ("hidden_act", "activation_function"),
        ("sliding_window", "window_size"),
    ],
    defaults: &[
        ("tie_word_embeddings", 1.0),
        ("rms_norm_eps", 1e-5),
        ("sliding_window", 256.0),
    ],
    gguf_keys: &["attention.scale", "attention.sliding_window_pattern"],
    biases: [Flag::Never, Flag::Always, Flag::Always],
    windows: Windows::LocalGlobal,
    ..GPT2
};

const FALCON: Profile = Profile {
    name: "Falcon",
    model_type: "falcon",
    gguf: "falcon",
    keys: &[
        ("num_key_value_heads", "num_kv_heads"),
        ("intermediate_size", "ffn_hidden_size"),
        ("rms_norm_eps", "layer_norm_epsilon"),
        ("hidden_act", "activation"),
    ],
    defaults: &[
        ("tie_word_embeddings", 1.0),
        ("rms_norm_eps", 1e-5),
        ("max_position_embeddings", 2048.0),
        ("multi_query", 1.0),
        ("parallel_attn", 1.0),
    ],
    biases: [Flag::Key("bias"); 3],
    activation: Activation::Gelu,
    gated: false,
    norm: Norm::Layer,
    residual: Residual::ParallelOneNorm,
    permuted: false,
    ..LLAMA
};

impl Family {
    pub(crate) const fn profile(self) -> &'static Profile {
        match self {
            Self::Llama => &LLAMA,
            Self::Mistral => &MISTRAL,
            Self::Qwen2 => &QWEN2,
            Self::Qwen3 => &QWEN3,
            Self::Phi3 => &PHI3,
            Self::Gemma => &GEMMA,
            Self::Gemma2 => &GEMMA2,
            Self::Gemma3 => &GEMMA3,
            Self::Mixtral => &MIXTRAL,
            Self::Qwen2Moe => &QWEN2_MOE,
            Self::Qwen3Moe => &QWEN3_MOE,
            Self::Starcoder2 => &STARCODER2,
            Self::SmolLm3 => &SMOL_LM3,
            Self::Olmo2 => &OLMO2,
            Self::Granite => &GRANITE,
            Self::Gpt2 => &GPT2,
            Self::GptNeoX => &GPT_NEOX,
            Self::GptNeo => &GPT_NEO,
            Self::Falcon => &FALCON,
        }
    }
}
