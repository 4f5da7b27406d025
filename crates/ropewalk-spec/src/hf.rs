//! `config.json` of transformers 4 and 5.

pub(crate) mod json;
mod layers;
mod rope;

use std::path::Path;

use serde_json::Value;

use self::json::Object;
use crate::family::{Flag, Profile};
use crate::{Activation, Dtype, Error, Family, ModelSpec, Residual, Result};

/// The name errors use when only the content of a file is known.
const FILE: &str = "config.json";

impl ModelSpec {
    /// Reads the content of a `config.json`.
    ///
    /// Keys that transformers always writes must be there; the others have its defaults. Both
    /// spellings of the rope settings are read: `rope_theta` with `rope_scaling` (version 4)
    /// and `rope_parameters` (version 5).
    ///
    /// # Errors
    /// A missing or unusable key, an unknown architecture or rope type, a rope key that nothing
    /// reads, quantised weights, sizes that contradict each other.
    ///
    /// ```
    /// let config = serde_json::json!({
    ///     "architectures": ["Qwen2ForCausalLM"],
    ///     "vocab_size": 320, "hidden_size": 48, "intermediate_size": 100,
    ///     "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    ///     "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "hidden_act": "silu",
    ///     "rope_theta": 1000000.0
    /// });
    /// let spec = ropewalk_spec::ModelSpec::from_hf(&config)?;
    /// assert_eq!((spec.head_dim, spec.group(), spec.qkv_bias), (12, 2, true));
    /// # Ok::<(), ropewalk_spec::Error>(())
    /// ```
    pub fn from_hf(config: &Value) -> Result<Self> {
        Self::from_hf_named(config, FILE)
    }

    /// Reads `config.json` in a model directory, and `generation_config.json` beside it for
    /// more end-of-text tokens.
    ///
    /// # Errors
    /// As [`from_hf`](Self::from_hf); also when the directory or its configuration cannot be
    /// read.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let path = dir.join("config.json");
        let mut spec = Self::from_hf_named(&json::read(&path)?, &path.display().to_string())?;
        let path = dir.join("generation_config.json");
        if path.is_file() {
            let value = json::read(&path)?;
            let file = path.display().to_string();
            for id in Object::new(&value, &file)?.ids("eos_token_id")? {
                if !spec.eos_ids.contains(&id) {
                    spec.eos_ids.push(id);
                }
            }
        }
        Ok(spec)
    }

    fn from_hf_named(config: &Value, file: &str) -> Result<Self> {
        if let Some(text) = text_part(config) {
            return Self::from_hf_named(&text, file);
        }
        let config = Object::new(config, file)?;
        let family = family(&config)?;
        let profile = family.profile();
        let config = config.of(profile);
        refuse(&config)?;
        if let Some(key) = profile
            .required
            .iter()
            .find(|k| config.present(k).is_none())
        {
            return Err(config.missing(key));
        }
        let sizes = [
            config.count("vocab_size")?,
            config.count("hidden_size")?,
            config.count("num_hidden_layers")?,
            config.count("num_attention_heads")?,
            0,
        ];
        let [_, hidden, layers, heads, _] = sizes;
        // Before lists of one entry per layer are allocated.
        if layers > 1 << 10 {
            return Err(config.invalid("num_hidden_layers", &format!("is {layers}, above 1024")));
        }
        let mut spec = Self::new(family, sizes);
        spec.ffn = match config.count_or_none("intermediate_size")? {
            Some(ffn) => ffn,
            None if WIDE_BY_FOUR.contains(&family) => hidden.saturating_mul(4),
            None => return Err(config.missing("intermediate_size")),
        };
        spec.kv_heads = kv_heads(&config, family, heads)?;
        spec.head_dim = match config.count_or_none("head_dim")? {
            Some(n) => n,
            None if heads > 0 && hidden % heads == 0 => hidden / heads,
            None => {
                return Err(config.inconsistent(format!(
                    "hidden_size {hidden} is not a multiple of num_attention_heads {heads}"
                )));
            }
        };
        spec.max_positions = config.count("max_position_embeddings")?;
        spec.norm_eps = config.number("rms_norm_eps")? as f32;
        (spec.rope, spec.rope_local) = rope::read(&config, &spec)?;
        spec.rope_layers = layers::rotated(&config, family, layers)?;
        spec.window = layers::windows(&config, profile, layers, &spec.rope_layers)?;
        let flag = |flag: &Flag| match flag {
            Flag::Never => Ok(false),
            Flag::Always => Ok(true),
            Flag::Key(key) => config.flag(key),
        };
        let [qkv, o, mlp] = &profile.biases;
        (spec.qkv_bias, spec.o_bias, spec.mlp_bias) = (flag(qkv)?, flag(o)?, flag(mlp)?);
        spec.tied = config.flag("tie_word_embeddings")?;
        spec.activation = activation(&config, profile)?;
        spec.residual = residual(&config, family)?;
        let scale = |key: &str| Ok::<_, Error>(config.number_or_none(key)?.map(|x| x as f32));
        spec.attention_scale =
            attention_scale(&config, family)?.filter(|s| *s != spec.usual_attention_scale());
        spec.attention_softcap = scale("attn_logit_softcapping")?;
        spec.logit_softcap = scale("final_logit_softcapping")?;
        if let Some(x) = scale("embedding_multiplier")? {
            spec.embedding_scale = x;
        }
        spec.residual_scale = scale("residual_multiplier")?.unwrap_or(1.0);
        spec.logit_scale = scale("logits_scaling")?.map_or(1.0, |x| 1.0 / x);
        spec.experts = layers::experts(&config, profile, layers)?;
        spec.eos_ids = config.ids("eos_token_id")?;
        spec.bos_id = config.ids("bos_token_id")?.first().copied();
        spec.pad_id = config.ids("pad_token_id")?.first().copied();
        spec.dtype = dtype(&config)?;
        spec.validate_in(file)?;
        Ok(spec)
    }
}

/// Families whose feed-forward layer is four times as wide as the rest where no key says so.
const WIDE_BY_FOUR: [Family; 3] = [Family::Gpt2, Family::GptNeo, Family::Falcon];

/// Keys that change results in a way that nothing here does, and what they ask for.
const REFUSED: [(&str, &str); 5] = [
    ("lm_head_bias", "is true; no family here has this bias"),
    (
        "alibi",
        "is true; positions by biases on scores are not supported",
    ),
    (
        "use_bidirectional_attention",
        "is true; a decoder attends to what came before",
    ),
    (
        "scale_attn_by_inverse_layer_idx",
        "is true; a scale per layer is not supported",
    ),
    ("add_cross_attention", "is true; there is no encoder here"),
];

fn refuse(config: &Object<'_>) -> Result<()> {
    if let Some(packing) = config.present("quantization_config") {
        let method = packing.get("quant_method").and_then(Value::as_str);
        if method != Some("bitsandbytes") {
            let problem = format!(
                "asks for weights packed by {}, which are not read (bitsandbytes is); use the \
                 unquantised model or a GGUF",
                method.map_or("an unnamed method".to_owned(), |m| format!("`{m}`"))
            );
            return Err(config.invalid("quantization_config", &problem));
        }
    }
    for (key, problem) in REFUSED {
        if config.flag(key)? {
            return Err(config.invalid(key, problem));
        }
    }
    Ok(())
}

/// The configuration of the language model inside one that also sees.
fn text_part(config: &Value) -> Option<Value> {
    let first = config.get("architectures").and_then(|a| a.get(0)?.as_str());
    let kind = config.get("model_type").and_then(Value::as_str);
    if first != Some("Gemma3ForConditionalGeneration") && (first, kind) != (None, Some("gemma3")) {
        return None;
    }
    let mut text = config.get("text_config")?.as_object()?.clone();
    for key in [
        "eos_token_id",
        "bos_token_id",
        "pad_token_id",
        "torch_dtype",
        "dtype",
        "tie_word_embeddings",
        "quantization_config",
    ] {
        if let Some(value) = config.get(key) {
            text.entry(key).or_insert_with(|| value.clone());
        }
    }
    text.insert(
        "architectures".to_owned(),
        serde_json::json!(["Gemma3ForCausalLM"]),
    );
    Some(Value::Object(text))
}

fn kv_heads(config: &Object<'_>, family: Family, heads: usize) -> Result<usize> {
    if family == Family::Falcon && !config.flag("new_decoder_architecture")? {
        return Ok(if config.flag("multi_query")? {
            1
        } else {
            heads
        });
    }
    Ok(config
        .count_or_none("num_key_value_heads")?
        .unwrap_or(heads))
}

fn residual(config: &Object<'_>, family: Family) -> Result<Residual> {
    Ok(match family {
        Family::GptNeoX if !config.flag("use_parallel_residual")? => Residual::Sequential,
        Family::Falcon if config.flag("new_decoder_architecture")? => {
            match config.count_or_none("num_ln_in_parallel_attn")? {
                None | Some(2) => Residual::Parallel,
                Some(1) => Residual::ParallelOneNorm,
                Some(n) => {
                    return Err(
                        config.invalid("num_ln_in_parallel_attn", &format!("is {n}, not 1 or 2"))
                    );
                }
            }
        }
        Family::Falcon if !config.flag("parallel_attn")? => {
            return Err(config.invalid(
                "parallel_attn",
                "is false; only the parallel block is supported",
            ));
        }
        _ => family.profile().residual,
    })
}

/// What scores are multiplied by, where the configuration says so.
fn attention_scale(config: &Object<'_>, family: Family) -> Result<Option<f32>> {
    Ok(match family {
        Family::Gpt2 if !config.flag("scale_attn_weights")? => Some(1.0),
        Family::GptNeo => Some(1.0),
        _ => match config.number_or_none("query_pre_attn_scalar")? {
            Some(scalar) => Some(scalar.powf(-0.5) as f32),
            None => config
                .number_or_none("attention_multiplier")?
                .map(|x| x as f32),
        },
    })
}

fn family(config: &Object<'_>) -> Result<Family> {
    let architecture = match config.present("architectures").and_then(Value::as_array) {
        Some(list) => list.first().and_then(Value::as_str),
        None => None,
    };
    let found = match architecture {
        Some(name) => Family::ALL.into_iter().find(|f| f.architecture() == name),
        None => {
            let name = config
                .text("model_type")?
                .ok_or_else(|| config.missing("architectures"))?;
            Family::ALL.into_iter().find(|f| f.model_type() == name)
        }
    };
    found.ok_or_else(|| Error::UnknownArchitecture {
        file: config.file().to_owned(),
        name: match architecture {
            Some(name) => name.to_owned(),
            None => config
                .text("model_type")
                .ok()
                .flatten()
                .unwrap_or_default()
                .to_owned(),
        },
        supported: Family::ALL.map(Family::architecture).join(", "),
    })
}

fn activation(config: &Object<'_>, profile: &Profile) -> Result<Activation> {
    let name = config.text("hidden_act")?;
    match name.map(Activation::from_name) {
        None => Ok(profile.activation),
        Some(Some(Activation::Gelu)) if profile.gelu_is_tanh => Ok(Activation::GeluTanh),
        Some(Some(activation)) => Ok(activation),
        Some(None) => Err(config.invalid(
            "hidden_act",
            &format!(
                "is `{}`; supported: silu, gelu, gelu_new, gelu_pytorch_tanh",
                name.unwrap_or_default()
            ),
        )),
    }
}

/// `dtype` of version 5, `torch_dtype` of version 4.
fn dtype(config: &Object<'_>) -> Result<Option<Dtype>> {
    for key in ["dtype", "torch_dtype"] {
        let Some(name) = config.text(key)? else {
            continue;
        };
        return match name.trim_start_matches("torch.") {
            "float32" | "float" => Ok(Some(Dtype::F32)),
            "float16" | "half" => Ok(Some(Dtype::F16)),
            "bfloat16" => Ok(Some(Dtype::Bf16)),
            "auto" => Ok(None),
            other => Err(config.invalid(
                key,
                &format!("is `{other}`; supported: float32, float16, bfloat16"),
            )),
        };
    }
    Ok(None)
}
