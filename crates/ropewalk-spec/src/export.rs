//! The way back: a model's description as GGUF metadata and as `config.json`.

use ropewalk_gguf::Value as Meta;
use serde_json::{Value, json};

use crate::family::{ExpertKeys, Flag, Windows};
use crate::gguf::{ACTIVATION_KEY, eps_key, smol_rotation};
use crate::rope::{long_rope_attention_factor, yarn_mscale};
use crate::{
    Activation, Error, Experts, Family, ModelSpec, Positions, Residual, Result, RopeScaling,
};

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

/// How errors call the two formats.
const GGUF: &str = "GGUF metadata";
const HF: &str = "config.json";

/// Metadata in the making.
struct Metadata {
    arch: &'static str,
    entries: Vec<(String, Meta)>,
}

impl Metadata {
    /// Adds a key under the architecture's name.
    fn set(&mut self, key: &str, value: Meta) {
        self.entries.push((format!("{}.{key}", self.arch), value));
    }

    fn count(&mut self, key: &str, value: usize) {
        self.set(key, Meta::U32(u32::try_from(value).unwrap_or(u32::MAX)));
    }
}

impl ModelSpec {
    /// The metadata that describe this model in a GGUF file, from `general.architecture` on.
    ///
    /// The keys are those of `convert_hf_to_gguf.py`; tokenizer, name and file type are the
    /// caller's. [`gguf_rope_tensors`](Self::gguf_rope_tensors) belong to them. Keys that
    /// llama.cpp does not read for an architecture, but this crate does, are written only where
    /// the value is not the usual one: the scale of scores of GPT-2 and Gemma, whether weights of
    /// experts sum to 1 in Qwen, windows of Mistral, which form of GELU, everything of GPT-Neo. llama.cpp refuses
    /// layers without experts among those with, and Falcon with biases.
    ///
    /// # Errors
    /// [`Error::Inconsistent`] for what GGUF cannot say: windows in some layers only (but for
    /// Gemma 2, Gemma 3 and GPT-Neo), dynamic rope, YaRN without rounding, a block that is not
    /// that of the family.
    pub fn gguf_metadata(&self) -> Result<Vec<(String, Meta)>> {
        self.expressible()?;
        let profile = self.family.profile();
        let arch = profile.gguf;
        let mut keys = Metadata {
            arch,
            entries: vec![("general.architecture".to_owned(), Meta::from(arch))],
        };
        keys.count("vocab_size", self.vocab_size);
        keys.count("context_length", self.max_positions);
        keys.count("embedding_length", self.hidden);
        keys.count("block_count", self.layers);
        keys.count("feed_forward_length", self.ffn);
        keys.count("attention.head_count", self.heads);
        keys.count("attention.head_count_kv", self.kv_heads);
        keys.count("attention.key_length", self.head_dim);
        keys.count("attention.value_length", self.head_dim);
        keys.set(eps_key(self.norm), Meta::F32(self.norm_eps));
        if self.approximates() {
            keys.set(ACTIVATION_KEY, Meta::from(self.activation.hf_name()));
        }
        self.window_keys(&mut keys)?;
        self.scale_keys(&mut keys);
        if let Some(experts) = &self.experts {
            self.expert_keys(&mut keys, experts)?;
        }
        if self.family == Family::GptNeoX {
            let parallel = self.residual == Residual::Parallel;
            keys.set("use_parallel_residual", Meta::from(parallel));
        }
        if self.positions == Positions::Rotary {
            self.rope_metadata(&mut keys)?;
        }
        let mut out = keys.entries;
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

    /// Fails if the block differs from that of the family in a way that no key says.
    fn expressible(&self) -> Result<()> {
        let profile = self.family.profile();
        let scaled = if profile.scaled_embeddings {
            (self.hidden as f32).sqrt()
        } else {
            1.0
        };
        let reads = |key: &str| profile.gguf_keys.contains(&key);
        let one = |x: f32| (x - 1.0).abs() < f32::EPSILON;
        let rotation = match self.family {
            Family::SmolLm3 => smol_rotation(self.layers),
            _ => Vec::new(),
        };
        let residual_says = matches!(self.family, Family::GptNeoX | Family::Falcon);
        let checks = [
            (
                self.activation == profile.activation || self.approximates(),
                "its activation",
            ),
            (self.gated == profile.gated, "its feed-forward layer"),
            (self.norm == profile.norm, "its norms"),
            (
                self.norm_place == profile.norm_place,
                "the place of its norms",
            ),
            (self.qk_norm == profile.qk_norm, "its norms of q and k"),
            (self.positions == profile.positions, "its positions"),
            (
                self.residual == profile.residual || residual_says,
                "its residuals",
            ),
            (self.rope_layers == rotation, "the layers that rotate"),
            (
                self.rope_local.is_none() || self.family == Family::Gemma3,
                "two rotations",
            ),
            (
                reads("embedding_scale") || self.embedding_scale == scaled,
                "a scale of embeddings",
            ),
            (
                reads("residual_scale") || one(self.residual_scale),
                "a scale of residuals",
            ),
            (
                reads("logit_scale") || one(self.logit_scale),
                "a scale of logits",
            ),
            (
                reads("attention.scale") || self.attention_scale.is_none(),
                "a scale of scores",
            ),
            (
                reads("attn_logit_softcapping")
                    || (self.attention_softcap.is_none() && self.logit_softcap.is_none()),
                "soft caps",
            ),
            (
                profile.experts.is_some() || self.experts.is_none(),
                "experts",
            ),
        ];
        match checks.into_iter().find(|(ok, _)| !ok) {
            None => Ok(()),
            Some((_, what)) => inexpressible(
                GGUF,
                &format!("an architecture `{}` has no key for {what}", profile.gguf),
            ),
        }
    }

    /// Whether the activation is the other form of GELU than the family's. llama.cpp has one
    /// kernel for both.
    fn approximates(&self) -> bool {
        let gelu = |a| matches!(a, Activation::Gelu | Activation::GeluTanh);
        let usual = self.family.profile().activation;
        self.activation != usual && gelu(self.activation) && gelu(usual)
    }

    fn window_keys(&self, keys: &mut Metadata) -> Result<()> {
        let window = self.window.iter().copied().flatten().next();
        if self.window.iter().any(|w| w.is_some() && *w != window) {
            return inexpressible(GGUF, "windows of different widths have no key");
        }
        match window {
            Some(w) => keys.count("attention.sliding_window", w),
            // Zero tells llama.cpp that there is none; a missing key means 2047.
            None if self.family == Family::Phi3 => keys.count("attention.sliding_window", 0),
            None => {}
        }
        let each = self.family.profile().gguf_pattern;
        let usual = |i: usize| each == 0 || !(i + 1).is_multiple_of(each);
        let mut slides = self.window.iter().map(Option::is_some).enumerate();
        if window.is_none() || slides.all(|(i, s)| s == usual(i)) {
            return Ok(());
        }
        let pattern = "attention.sliding_window_pattern";
        if !self.family.profile().gguf_keys.contains(&pattern) {
            return inexpressible(GGUF, "a sliding window in some layers only has no key");
        }
        let list: Vec<bool> = self.window.iter().map(Option::is_some).collect();
        keys.set(pattern, Meta::from(list));
        Ok(())
    }

    fn scale_keys(&self, keys: &mut Metadata) {
        let granite = self.family == Family::Granite;
        let scale = self.attention_scale;
        if let Some(scale) = scale.or_else(|| granite.then(|| self.usual_attention_scale())) {
            keys.set("attention.scale", Meta::F32(scale));
        }
        if granite {
            keys.set("embedding_scale", Meta::F32(self.embedding_scale));
            keys.set("residual_scale", Meta::F32(self.residual_scale));
            // llama.cpp divides by this key.
            keys.set("logit_scale", Meta::F32(1.0 / self.logit_scale));
        }
        for (key, cap) in [
            ("attn_logit_softcapping", self.attention_softcap),
            ("final_logit_softcapping", self.logit_softcap),
        ] {
            if let Some(cap) = cap {
                keys.set(key, Meta::F32(cap));
            }
        }
    }

    fn expert_keys(&self, keys: &mut Metadata, experts: &Experts) -> Result<()> {
        let profile = self.family.profile();
        let reads = |key: &str| profile.gguf_keys.contains(&key);
        keys.count("expert_count", experts.count);
        keys.count("expert_used_count", experts.used);
        if reads("expert_feed_forward_length") {
            keys.count("expert_feed_forward_length", experts.ffn);
        } else if experts.ffn != self.ffn {
            return inexpressible(GGUF, "the width of the experts has no key");
        }
        if let Some(width) = experts.shared {
            keys.count("expert_shared_feed_forward_length", width);
        }
        if experts.normalise != profile.normalise_experts {
            if !reads("expert_weights_norm") {
                return inexpressible(GGUF, "whether weights of experts sum to 1 has no key");
            }
            keys.set("expert_weights_norm", Meta::from(experts.normalise));
        }
        Ok(())
    }

    fn rope_metadata(&self, keys: &mut Metadata) -> Result<()> {
        keys.count("rope.dimension_count", self.rope.dims);
        keys.set("rope.freq_base", Meta::F32(self.rope.base));
        if let Some(local) = &self.rope_local {
            if local.scaling != RopeScaling::None || local.dims != self.rope.dims {
                return inexpressible(GGUF, "the local rotation has no key but for its base");
            }
            keys.set("rope.freq_base_swa", Meta::F32(local.base));
        }
        match &self.rope.scaling {
            RopeScaling::None | RopeScaling::Llama3 { .. } | RopeScaling::Factors(_) => {}
            RopeScaling::Linear { factor } => {
                keys.set("rope.scaling.type", Meta::from("linear"));
                keys.set("rope.scaling.factor", Meta::F32(*factor));
            }
            RopeScaling::LongRope {
                original_max,
                attention_factor,
                ..
            } => {
                keys.set("rope.scaling.type", Meta::from("longrope"));
                keys.count("rope.scaling.original_context_length", *original_max);
                keys.set("rope.scaling.attn_factor", Meta::F32(*attention_factor));
            }
            RopeScaling::Yarn {
                truncate: false, ..
            } => {
                return inexpressible(GGUF, "YaRN without rounding has no key");
            }
            RopeScaling::Yarn {
                factor,
                original_max,
                beta_fast,
                beta_slow,
                attention_factor,
                ..
            } => {
                keys.set("rope.scaling.type", Meta::from("yarn"));
                keys.set("rope.scaling.factor", Meta::F32(*factor));
                keys.count("rope.scaling.original_context_length", *original_max);
                keys.set("rope.scaling.yarn_beta_fast", Meta::F32(*beta_fast));
                keys.set("rope.scaling.yarn_beta_slow", Meta::F32(*beta_slow));
                // llama.cpp multiplies the paper's magnitude scale by this.
                let own = yarn_mscale(f64::from(*factor), 1.0) as f32;
                if own != *attention_factor {
                    keys.set(
                        "rope.scaling.attn_factor",
                        Meta::F32(attention_factor / own),
                    );
                }
            }
            RopeScaling::Dynamic { .. } => {
                return inexpressible(GGUF, "dynamic rope has no key");
            }
        }
        Ok(())
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

    /// The content of a `config.json` in the spelling of transformers 4, which version 5 reads
    /// too.
    ///
    /// # Errors
    /// [`Error::Inconsistent`] for rope divisors that came from a GGUF file, and for what the
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
