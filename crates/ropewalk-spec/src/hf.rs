//! `config.json` of transformers 4 and 5.

pub(crate) mod json;
mod rope;

use std::path::Path;

use serde_json::Value;

use self::json::Object;
use crate::{
    Activation, Dtype, Error, Family, ModelSpec, Norm, NormPlace, Positions, QkNorm, Residual,
    Result,
};

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
        let config = Object::new(config, file)?;
        let family = family(&config)?;
        if config.present("quantization_config").is_some() {
            return Err(config.invalid(
                "quantization_config",
                "asks for packed weights, which are not read; use the unquantised model or a GGUF",
            ));
        }
        if config.flag("lm_head_bias")? {
            return Err(config.invalid("lm_head_bias", "is true; no family here has this bias"));
        }
        if config.flag("lm_head_bias")? {
            return Err(config.invalid("lm_head_bias", "is true; no family here has this bias"));
        }
        let hidden = config.count("hidden_size")?;
        let heads = config.count("num_attention_heads")?;
        let layers = config.count("num_hidden_layers")?;
        let kv_heads = match (family, config.count_or_none("num_key_value_heads")?) {
            (_, Some(n)) => n,
            // The classes default to other numbers, which no file relies on.
            (Family::Mistral | Family::Qwen2 | Family::Qwen3, None) => {
                return Err(config.missing("num_key_value_heads"));
            }
            (_, None) => heads,
        };
        let head_dim = match config.count_or_none("head_dim")? {
            Some(n) => n,
            None if family == Family::Qwen3 => return Err(config.missing("head_dim")),
            None if heads > 0 && hidden % heads == 0 => hidden / heads,
            None => {
                return Err(config.inconsistent(format!(
                    "hidden_size {hidden} is not a multiple of num_attention_heads {heads}"
                )));
            }
        };
        let max_positions = config.count("max_position_embeddings")?;
        let attention_bias = config.flag("attention_bias")?;
        let (qkv_bias, o_bias, mlp_bias) = match family {
            Family::Llama => (attention_bias, attention_bias, config.flag("mlp_bias")?),
            Family::Qwen2 => (true, false, false),
            Family::Qwen3 => (attention_bias, attention_bias, false),
            Family::Mistral | Family::Phi3 => (false, false, false),
        };
        // Before the list of windows is allocated.
        if layers > 1 << 10 {
            return Err(config.invalid("num_hidden_layers", &format!("is {layers}, above 1024")));
        }
        let spec = Self {
            family,
            vocab_size: config.count("vocab_size")?,
            hidden,
            layers,
            heads,
            kv_heads,
            head_dim,
            ffn: config.count("intermediate_size")?,
            max_positions,
            norm_eps: config.number("rms_norm_eps")? as f32,
            rope: rope::read(&config, family, head_dim, max_positions)?,
            window: windows(&config, family, layers)?,
            qkv_bias,
            o_bias,
            mlp_bias,
            qk_norm: (family == Family::Qwen3).then_some(QkNorm::Head),
            tied: config.flag("tie_word_embeddings")?,
            activation: activation(&config)?,
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
            eos_ids: config.ids("eos_token_id")?,
            bos_id: config.ids("bos_token_id")?.first().copied(),
            pad_id: config.ids("pad_token_id")?.first().copied(),
            dtype: dtype(&config)?,
        };
        spec.validate_in(file)?;
        Ok(spec)
    }
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

fn activation(config: &Object<'_>) -> Result<Activation> {
    match config.text("hidden_act")? {
        None | Some("silu" | "swish") => Ok(Activation::Silu),
        Some(other) => Err(config.invalid("hidden_act", &format!("is `{other}`; supported: silu"))),
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

/// The sliding window of each layer.
fn windows(config: &Object<'_>, family: Family, layers: usize) -> Result<Vec<Option<usize>>> {
    let window = config.count_or_none("sliding_window")?;
    let uniform = match family {
        Family::Llama => None,
        // The default of the class, for files that leave the key out.
        Family::Mistral if config.get("sliding_window").is_none() => Some(4096),
        Family::Mistral | Family::Phi3 => window,
        Family::Qwen2 | Family::Qwen3 => return qwen_windows(config, window, layers),
    };
    if let Some(types) = config.present("layer_types") {
        let wanted = if uniform.is_some() {
            "sliding_attention"
        } else {
            "full_attention"
        };
        let same = types
            .as_array()
            .is_some_and(|l| l.iter().all(|t| t == wanted));
        if !same {
            return Err(config.invalid(
                "layer_types",
                &format!("mixes layers, {family} has the same attention in all"),
            ));
        }
    }
    Ok(vec![uniform; layers])
}

/// `use_sliding_window` turns the window on, for the layers from `max_window_layers` on or for
/// those that `layer_types` marks.
fn qwen_windows(
    config: &Object<'_>,
    window: Option<usize>,
    layers: usize,
) -> Result<Vec<Option<usize>>> {
    let window = if config.flag("use_sliding_window")? {
        window
    } else {
        None
    };
    let Some(types) = config.present("layer_types") else {
        let first = config.count_or_none("max_window_layers")?.unwrap_or(28);
        return Ok((0..layers).map(|i| window.filter(|_| i >= first)).collect());
    };
    let types = types
        .as_array()
        .ok_or_else(|| config.invalid("layer_types", "is not a list"))?;
    if types.len() != layers {
        return Err(config.inconsistent(format!(
            "layer_types has {} entries for {layers} layers",
            types.len()
        )));
    }
    types
        .iter()
        .map(|t| match t.as_str() {
            Some("full_attention") => Ok(None),
            Some("sliding_attention") if window.is_some() => Ok(window),
            Some("sliding_attention") => Err(config.inconsistent(
                "layer_types has sliding layers, but sliding_window is off".to_owned(),
            )),
            _ => Err(config.invalid(
                "layer_types",
                &format!("holds {t}; supported: full_attention, sliding_attention"),
            )),
        })
        .collect()
}
