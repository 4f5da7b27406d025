//! A model's description as `config.json`.

use serde_json::{Value, json};

use super::inexpressible;
use crate::family::{ExpertKeys, Flag, Windows};
use crate::rope::long_rope_attention_factor;
use crate::{Activation, Family, ModelSpec, Positions, Residual, Result, RopeScaling};

/// How errors call the format.
const HF: &str = "config.json";

/// The f64 with the shortest decimal that reads as this f32, so that 1e-5 is written as 1e-5.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

impl ModelSpec {
    /// The content of a `config.json` in the spelling of transformers 4, which version 5 reads
    /// too.
    ///
    /// # Errors
    /// [`Error::Inconsistent`](crate::Error::Inconsistent) for rope divisors that came from a GGUF file, and for what the
    /// family cannot have: windows, scales, another block.
    pub fn to_hf(&self) -> Result<Value> {
        let profile = self.family.profile();
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
            "hidden_act": match self.activation {
                // What the configurations of the older classes say.
                Activation::GeluTanh if self.positions == Positions::Learned => "gelu_new",
                activation => activation.hf_name(),
            },
            "tie_word_embeddings": self.tied,
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
        for (flag, value) in profile
            .biases
            .iter()
            .zip([self.qkv_bias, self.o_bias, self.mlp_bias])
        {
            if let Flag::Key(key) = flag {
                config[*key] = json!(value);
            }
        }
        self.hf_windows(&mut config)?;
        self.hf_scales(&mut config);
        self.hf_experts(&mut config);
        if self.positions == Positions::Rotary {
            self.hf_rope(&mut config)?;
        }
        self.hf_block(&mut config);
        if let Some(map) = config.as_object_mut() {
            for (usual, own) in profile.keys {
                if let Some(value) = map.remove(*usual) {
                    map.insert((*own).to_owned(), value);
                }
            }
        }
        // What the family cannot have is what reading this gives differently.
        let back = Self::from_hf(&config)?;
        match self.differs(&back) {
            None => Ok(config),
            Some(what) => inexpressible(
                HF,
                &format!("a {} has no key for {what}", self.family.name()),
            ),
        }
    }

    /// The first part of the block in which two models differ, in words.
    fn differs(&self, other: &Self) -> Option<&'static str> {
        let checks = [
            (self.window == other.window, "its sliding windows"),
            (
                (self.qkv_bias, self.o_bias, self.mlp_bias)
                    == (other.qkv_bias, other.o_bias, other.mlp_bias),
                "its biases",
            ),
            (
                (self.qk_norm, self.norm, self.norm_place)
                    == (other.qk_norm, other.norm, other.norm_place),
                "its norms",
            ),
            (
                (self.gated, self.activation) == (other.gated, other.activation),
                "its feed-forward layer",
            ),
            (self.kv_heads == other.kv_heads, "its key-value heads"),
            (self.residual == other.residual, "its residuals"),
            (self.positions == other.positions, "its positions"),
            (
                self.rope_layers == other.rope_layers,
                "the layers that rotate",
            ),
            (
                self.rope_local.is_some() == other.rope_local.is_some(),
                "its rotations",
            ),
            (
                self.attention_scale.is_some() == other.attention_scale.is_some()
                    && self.attention_softcap == other.attention_softcap
                    && self.logit_softcap == other.logit_softcap
                    && self.embedding_scale == other.embedding_scale
                    && self.residual_scale == other.residual_scale
                    && (self.logit_scale / other.logit_scale - 1.0).abs() < 1e-6,
                "its scales",
            ),
            (self.experts == other.experts, "its experts"),
        ];
        let mut checks = checks.into_iter();
        checks.find(|(same, _)| !same).map(|(_, what)| what)
    }

    fn hf_windows(&self, config: &mut Value) -> Result<()> {
        let window = self.window.iter().copied().flatten().next();
        if self.window.iter().any(|w| w.is_some() && *w != window) {
            return inexpressible(HF, "windows of different widths have no key");
        }
        let kind = |w: &Option<usize>| match w {
            Some(_) => "sliding_attention",
            None => "full_attention",
        };
        let types: Value = self.window.iter().map(kind).collect();
        match self.family.profile().windows {
            Windows::Never => {}
            Windows::All => config["sliding_window"] = json!(window),
            Windows::Flagged => {
                config["use_sliding_window"] = json!(window.is_some());
                config["sliding_window"] = json!(window);
            }
            Windows::Some(_, asks) => {
                if asks {
                    let start = self.window.iter().position(Option::is_some);
                    config["use_sliding_window"] = json!(window.is_some());
                    config["max_window_layers"] = json!(start.unwrap_or(self.layers));
                }
                config["sliding_window"] = json!(window);
                config["layer_types"] = types;
            }
            Windows::LocalGlobal => {
                let name = |w: &Option<usize>| if w.is_some() { "local" } else { "global" };
                let names: Vec<&str> = self.window.iter().map(name).collect();
                if let Some(window) = window {
                    config["window_size"] = json!(window);
                }
                config["attention_types"] = json!([[names, 1]]);
            }
        }
        Ok(())
    }

    fn hf_scales(&self, config: &mut Value) {
        let scale = self
            .attention_scale
            .unwrap_or_else(|| self.usual_attention_scale());
        match self.family {
            Family::Gemma2 | Family::Gemma3 => {
                let scalar = f64::from(scale).powi(-2);
                let near = scalar.round();
                let same = near.powf(-0.5) as f32 == scale;
                config["query_pre_attn_scalar"] = json!(if same { near } else { scalar });
                config["attn_logit_softcapping"] = json!(self.attention_softcap.map(decimal));
                config["final_logit_softcapping"] = json!(self.logit_softcap.map(decimal));
            }
            Family::Granite => {
                config["attention_multiplier"] = json!(decimal(scale));
                config["embedding_multiplier"] = json!(decimal(self.embedding_scale));
                config["residual_multiplier"] = json!(decimal(self.residual_scale));
                config["logits_scaling"] = json!(decimal(1.0 / self.logit_scale));
            }
            Family::Gpt2 => config["scale_attn_weights"] = json!(self.attention_scale.is_none()),
            _ => {}
        }
    }

    fn hf_experts(&self, config: &mut Value) {
        let (Some(keys), Some(experts)) = (self.family.profile().experts, &self.experts) else {
            return;
        };
        config["num_experts_per_tok"] = json!(experts.used);
        if keys == ExpertKeys::Mixtral {
            config["num_local_experts"] = json!(experts.count);
            return;
        }
        let dense: Vec<usize> = (0..self.layers).filter(|&i| !self.has_experts(i)).collect();
        config["num_experts"] = json!(experts.count);
        config["moe_intermediate_size"] = json!(experts.ffn);
        config["norm_topk_prob"] = json!(experts.normalise);
        config["decoder_sparse_step"] = json!(1);
        config["mlp_only_layers"] = json!(dense);
        if let Some(width) = experts.shared {
            config["shared_expert_intermediate_size"] = json!(width);
        }
    }

    fn hf_rope(&self, config: &mut Value) -> Result<()> {
        config["rope_theta"] = json!(decimal(self.rope.base));
        if self.rope.dims != self.head_dim || self.family == Family::GptNeoX {
            config["partial_rotary_factor"] = json!(self.rope.dims as f64 / self.head_dim as f64);
        }
        if let RopeScaling::LongRope { original_max, .. } = &self.rope.scaling {
            config["original_max_position_embeddings"] = json!(original_max);
        }
        config["rope_scaling"] = self.hf_rope_scaling()?;
        if let Some(local) = &self.rope_local {
            if local.scaling != RopeScaling::None || local.dims != self.head_dim {
                return inexpressible(HF, "the local rotation has no key but for its base");
            }
            config["rope_local_base_freq"] = json!(decimal(local.base));
        }
        if self.family == Family::SmolLm3 {
            let rotates = |i: usize| u8::from(self.rotates(i));
            config["no_rope_layers"] = (0..self.layers).map(rotates).collect();
        }
        Ok(())
    }

    fn hf_block(&self, config: &mut Value) {
        match self.family {
            Family::GptNeoX => {
                let parallel = self.residual == Residual::Parallel;
                config["use_parallel_residual"] = json!(parallel);
            }
            Family::Falcon => {
                let one = self.residual == Residual::ParallelOneNorm;
                let old = one && (self.kv_heads == 1 || self.kv_heads == self.heads);
                config["new_decoder_architecture"] = json!(!old);
                config["multi_query"] = json!(self.kv_heads == 1);
                config["parallel_attn"] = json!(true);
                if !old {
                    config["num_ln_in_parallel_attn"] = json!(if one { 1 } else { 2 });
                }
            }
            _ => {}
        }
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
