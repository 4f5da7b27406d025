//! The way back: a model's description as GGUF metadata and as `config.json`.

use ropewalk_gguf::Value as Meta;
use serde_json::{Value, json};

use crate::rope::{long_rope_attention_factor, yarn_mscale};
use crate::{Error, Family, ModelSpec, NameLayout, Result, Role, RopeScaling, StoredTensor};

/// A value that a format has no place for.
fn inexpressible<T>(file: &str, problem: &str) -> Result<T> {
    Err(Error::Inconsistent {
        file: file.to_owned(),
        problem: problem.to_owned(),
    })
}

/// The f64 with the shortest decimal that reads as this f32, so that 1e-5 is written as 1e-5.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

fn count(value: usize) -> Meta {
    Meta::U32(u32::try_from(value).unwrap_or(u32::MAX))
}

impl ModelSpec {
    /// The metadata that describe this model in a GGUF file, from `general.architecture` on.
    ///
    /// The keys are those of `convert_hf_to_gguf.py`; tokenizer, name and file type are the
    /// caller's. [`gguf_rope_tensors`](Self::gguf_rope_tensors) belong to them.
    ///
    /// # Errors
    /// [`Error::Inconsistent`] for what GGUF cannot say: windows in some layers only, dynamic
    /// rope, YaRN without rounding.
    pub fn gguf_metadata(&self) -> Result<Vec<(String, Meta)>> {
        const FILE: &str = "GGUF metadata";
        let arch = self.family.gguf_architecture();
        let mut out = vec![("general.architecture".to_owned(), Meta::from(arch))];
        let mut set = |key: &str, value: Meta| out.push((format!("{arch}.{key}"), value));
        set("vocab_size", count(self.vocab_size));
        set("context_length", count(self.max_positions));
        set("embedding_length", count(self.hidden));
        set("block_count", count(self.layers));
        set("feed_forward_length", count(self.ffn));
        set("attention.head_count", count(self.heads));
        set("attention.head_count_kv", count(self.kv_heads));
        set("attention.key_length", count(self.head_dim));
        set("attention.value_length", count(self.head_dim));
        set("attention.layer_norm_rms_epsilon", Meta::F32(self.norm_eps));
        let window = self.window.first().copied().flatten();
        if self.window.iter().any(|w| *w != window) {
            return inexpressible(FILE, "a sliding window in some layers only has no key");
        }
        match window {
            Some(w) => set("attention.sliding_window", count(w)),
            // Zero tells llama.cpp that there is none; a missing key means 2047.
            None if self.family == Family::Phi3 => set("attention.sliding_window", count(0)),
            None => {}
        }
        set("rope.dimension_count", count(self.rope.dims));
        set("rope.freq_base", Meta::F32(self.rope.base));
        match &self.rope.scaling {
            RopeScaling::None | RopeScaling::Llama3 { .. } | RopeScaling::Factors(_) => {}
            RopeScaling::Linear { factor } => {
                set("rope.scaling.type", Meta::from("linear"));
                set("rope.scaling.factor", Meta::F32(*factor));
            }
            RopeScaling::LongRope {
                original_max,
                attention_factor,
                ..
            } => {
                set("rope.scaling.type", Meta::from("longrope"));
                set("rope.scaling.original_context_length", count(*original_max));
                set("rope.scaling.attn_factor", Meta::F32(*attention_factor));
            }
            RopeScaling::Yarn {
                truncate: false, ..
            } => {
                return inexpressible(FILE, "YaRN without rounding has no key");
            }
            RopeScaling::Yarn {
                factor,
                original_max,
                beta_fast,
                beta_slow,
                attention_factor,
                ..
            } => {
                set("rope.scaling.type", Meta::from("yarn"));
                set("rope.scaling.factor", Meta::F32(*factor));
                set("rope.scaling.original_context_length", count(*original_max));
                set("rope.scaling.yarn_beta_fast", Meta::F32(*beta_fast));
                set("rope.scaling.yarn_beta_slow", Meta::F32(*beta_slow));
                // llama.cpp multiplies the paper's magnitude scale by this.
                let own = yarn_mscale(f64::from(*factor), 1.0) as f32;
                if own != *attention_factor {
                    set(
                        "rope.scaling.attn_factor",
                        Meta::F32(attention_factor / own),
                    );
                }
            }
            RopeScaling::Dynamic { .. } => {
                return inexpressible(FILE, "dynamic rope has no key");
            }
        }
        let ids = self
            .eos_ids
            .iter()
            .zip(["eos", "eot", "eom"])
            .map(|(id, name)| (name, *id));
        let ids = ids.chain(self.bos_id.map(|id| ("bos", id)));
        for (name, id) in ids.chain(self.pad_id.map(|id| ("padding", id))) {
            out.push((format!("tokenizer.ggml.{name}_token_id"), Meta::U32(id)));
        }
        Ok(out)
    }

    /// Tensors of f32 that hold rope settings in a GGUF file: names and values.
    #[must_use]
    pub fn gguf_rope_tensors(&self) -> Vec<(&'static str, Vec<f32>)> {
        match &self.rope.scaling {
            RopeScaling::LongRope { short, long, .. } => vec![
                ("rope_factors_long.weight", long.clone()),
                ("rope_factors_short.weight", short.clone()),
            ],
            RopeScaling::Factors(factors) => vec![("rope_freqs.weight", factors.clone())],
            RopeScaling::Llama3 { .. } => {
                let plain = crate::RopeSpec::new(self.rope.dims, self.rope.base).inv_freq(0);
                let scaled = self.rope.inv_freq(0);
                vec![(
                    "rope_freqs.weight",
                    plain.iter().zip(scaled).map(|(p, s)| p / s).collect(),
                )]
            }
            _ => Vec::new(),
        }
    }

    /// The row order of a tensor in a GGUF file: row `r` there is row `order[r]` of the Hugging
    /// Face tensor. `None` where both are the same.
    #[must_use]
    pub fn gguf_order(&self, tensor: &StoredTensor) -> Option<Vec<usize>> {
        let role: Role = *tensor.roles.first()?;
        let weight = self.weight(role, tensor.layer, NameLayout::Gguf)?;
        weight.permute_heads?;
        let mut order = vec![0; weight.rows.len()];
        for row in 0..order.len() {
            if let Some(slot) = order.get_mut(weight.source_row(row)) {
                *slot = row;
            }
        }
        Some(order)
    }

    /// The content of a `config.json` in the spelling of transformers 4, which version 5 reads
    /// too.
    ///
    /// # Errors
    /// [`Error::Inconsistent`] for rope divisors that came from a GGUF file, and for windows
    /// that the family cannot have.
    pub fn to_hf(&self) -> Result<Value> {
        const FILE: &str = "config.json";
        let mut config = json!({
            "architectures": [self.family.architecture()],
            "model_type": self.family.model_type(),
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden,
            "intermediate_size": self.ffn,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "max_position_embeddings": self.max_positions,
            "rms_norm_eps": decimal(self.norm_eps),
            "hidden_act": "silu",
            "tie_word_embeddings": self.tied,
            "rope_theta": decimal(self.rope.base),
            "bos_token_id": self.bos_id,
            "pad_token_id": self.pad_id,
            "eos_token_id": match self.eos_ids.as_slice() {
                [] => Value::Null,
                [one] => json!(one),
                many => json!(many),
            },
        });
        if let Some(dtype) = self.dtype {
            config["torch_dtype"] = json!(dtype.name());
        }
        let first = self.window.first().copied().flatten();
        let uniform = self.window.iter().all(|w| *w == first);
        match self.family {
            Family::Llama if first.is_none() && uniform => {
                config["attention_bias"] = json!(self.qkv_bias);
                config["mlp_bias"] = json!(self.mlp_bias);
            }
            Family::Mistral | Family::Phi3 if uniform => config["sliding_window"] = json!(first),
            Family::Qwen2 | Family::Qwen3 => {
                if self.family == Family::Qwen3 {
                    config["attention_bias"] = json!(self.qkv_bias);
                }
                let window = self.window.iter().copied().flatten().next();
                let start = self.window.iter().position(Option::is_some);
                let kind = |w: &Option<usize>| match w {
                    Some(_) => "sliding_attention",
                    None => "full_attention",
                };
                config["use_sliding_window"] = json!(window.is_some());
                config["sliding_window"] = json!(window);
                config["max_window_layers"] = json!(start.unwrap_or(self.layers));
                config["layer_types"] = self.window.iter().map(kind).collect();
            }
            _ => return inexpressible(FILE, "the family has no such sliding windows"),
        }
        if self.rope.dims != self.head_dim {
            config["partial_rotary_factor"] = json!(self.rope.dims as f64 / self.head_dim as f64);
        }
        if let RopeScaling::LongRope { original_max, .. } = &self.rope.scaling {
            config["original_max_position_embeddings"] = json!(original_max);
        }
        config["rope_scaling"] = self.hf_rope_scaling()?;
        Ok(config)
    }

    fn hf_rope_scaling(&self) -> Result<Value> {
        let list = |v: &[f32]| v.iter().map(|x| decimal(*x)).collect::<Vec<_>>();
        Ok(match &self.rope.scaling {
            RopeScaling::None => Value::Null,
            RopeScaling::Linear { factor } => {
                json!({"rope_type": "linear", "factor": decimal(*factor)})
            }
            RopeScaling::Dynamic { factor, .. } => {
                json!({"rope_type": "dynamic", "factor": decimal(*factor)})
            }
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max,
            } => {
                json!({
                    "rope_type": "llama3",
                    "factor": decimal(*factor),
                    "low_freq_factor": decimal(*low_freq_factor),
                    "high_freq_factor": decimal(*high_freq_factor),
                    "original_max_position_embeddings": original_max,
                })
            }
            RopeScaling::LongRope {
                short,
                long,
                original_max,
                attention_factor,
            } => {
                let mut out = json!({
                    "type": "longrope", "short_factor": list(short), "long_factor": list(long),
                });
                // Version 4 refuses more than three keys, so the usual factor is left out.
                let ratio = self.max_positions as f64 / *original_max as f64;
                if long_rope_attention_factor(ratio, *original_max) != *attention_factor {
                    out["attention_factor"] = json!(decimal(*attention_factor));
                }
                out
            }
            RopeScaling::Yarn {
                factor,
                original_max,
                beta_fast,
                beta_slow,
                truncate,
                attention_factor,
            } => {
                let mut out = json!({
                    "rope_type": "yarn",
                    "factor": decimal(*factor),
                    "original_max_position_embeddings": original_max,
                    "beta_fast": decimal(*beta_fast),
                    "beta_slow": decimal(*beta_slow),
                    "attention_factor": decimal(*attention_factor),
                });
                if !truncate {
                    out["truncate"] = json!(false);
                }
                out
            }
            RopeScaling::Factors(_) => {
                return inexpressible(
                    "config.json",
                    "rope divisors of a GGUF file have no key; start from the original model",
                );
            }
        })
    }
}
