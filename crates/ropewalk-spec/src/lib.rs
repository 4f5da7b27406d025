//! Model families as data: what a configuration says, how weights are called, where they lie.
//!
//! A decoder-only model is a handful of numbers ([`ModelSpec`]), a table of weight names
//! ([`Role`], [`ModelSpec::weight`]) and files ([`TensorSource`]). This crate reads the numbers
//! from `config.json` (transformers 4 and 5) or from GGUF metadata, finds each weight in
//! safetensors or GGUF whatever the family calls it, cuts fused tensors apart and undoes the row
//! order of llama.cpp. It computes nothing, so that inference and training share it; and it
//! refuses settings it does not understand, because a rope key that is skipped gives a model that
//! runs and answers nonsense.
//!
//! ```
//! use ropewalk_spec::{ModelSpec, NameLayout, Role, describe, memory};
//!
//! let config = serde_json::json!({
//!     "architectures": ["Phi3ForCausalLM"],
//!     "vocab_size": 320, "hidden_size": 48, "intermediate_size": 100,
//!     "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
//!     "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "hidden_act": "silu",
//! });
//! let spec = ModelSpec::from_hf(&config)?;
//!
//! // Phi-3 stacks q, k and v in one tensor; k is rows 48 to 71 of it.
//! let k = spec.weight(Role::K, Some(0), NameLayout::HuggingFace).unwrap();
//! assert_eq!(k.name, "model.layers.0.self_attn.qkv_proj.weight");
//! assert_eq!((k.rows, k.shape), (48..72, vec![24, 48]));
//!
//! assert_eq!(memory(&spec).parameters, 73_584);
//! assert!(describe(&spec).contains("(0-1): 2 x Phi3DecoderLayer("));
//! # Ok::<(), ropewalk_spec::Error>(())
//! ```
//!
//! Families: Llama, Mistral, Qwen 2 and 3 with and without experts, Phi-3 and 4, Gemma 1 to 3,
//! Mixtral, StarCoder 2, SmolLM3, OLMo 2, Granite, GPT-2, GPT-NeoX, GPT-Neo and Falcon
//! ([`Family`]). What a program brings along goes through [`Registry`].
//!
//! Adapters of these models, as PEFT and llama.cpp save them, are read by [`adapter::LoraAdapter`] and written as GGUF.
//!
//! Encoders are data as well: [`EncoderSpec`] for BERT, DistilBERT, RoBERTa, XLM-RoBERTa and
//! ModernBERT ([`EncoderFamily`]), [`SentenceSpec`] for what sentence-transformers puts behind them.
//!
//! ```
//! use ropewalk_spec::{EncoderRole, EncoderSpec, NameLayout};
//!
//! let config = serde_json::json!({
//!     "architectures": ["ModernBertModel"], "vocab_size": 320, "hidden_size": 48,
//!     "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
//! });
//! let spec = EncoderSpec::from_hf(&config)?;
//! assert_eq!(spec.window, [None, Some(64), Some(64), None]);
//! let k = spec.weight(EncoderRole::K, 1, NameLayout::HuggingFace).unwrap();
//! assert_eq!((k.name.as_str(), k.rows), ("layers.1.attn.Wqkv.weight", 48..96));
//! # Ok::<(), ropewalk_spec::Error>(())
//! ```
//!
//! | file | what it holds |
//! | --- | --- |
//! | `family/profiles.rs` | per family: names of keys, defaults, the block |
//! | `names/tables.rs` | per naming scheme: names and forms of weights in both kinds of files |
//! | `adapter/` | LoRA adapters, read and written |
//! | `encoder/` | families of encoders: profiles, names, configurations, folders |
//! | `hf.rs`, `gguf.rs`, `export/` | configurations and metadata, read and written |
//!
//! | feature | adds |
//! | --- | --- |
//! | `testing` | module `testing`: seeded weights, and model directories and GGUF files made of them |
//! | `full` | all of the above |
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod adapter;
mod describe;
mod encoder;
mod error;
mod export;
mod family;
mod gguf;
mod hf;
mod map;
mod memory;
mod model;
mod names;
mod registry;
mod rope;
mod safetensors_dir;
mod source;
#[cfg(feature = "testing")]
pub mod testing;

pub use self::describe::describe;
pub use self::encoder::{
    DenseSpec, EncoderFamily, EncoderHead, EncoderRole, EncoderSpec, HeadActivation, PoolingMode,
    PoolingSpec, SentenceModule, SentenceSpec,
};
pub use self::error::{Error, Result};
pub use self::family::Family;
pub use self::gguf::GgufSource;
pub use self::memory::{Footprint, memory};
pub use self::model::{
    Activation, Dtype, Experts, ModelSpec, Norm, NormPlace, Positions, QkNorm, Residual,
};
pub use self::names::{NameLayout, Role, StoredTensor, WeightRef};
pub use self::registry::{Architecture, Registry, Renamed};
pub use self::rope::{RopeScaling, RopeSpec};
pub use self::safetensors_dir::{RawTensor, SafetensorsDir};
pub use self::source::{Coding, TensorData, TensorSource, Weight};

/// What configurations are read from and written to.
pub use serde_json;
