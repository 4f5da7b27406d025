//! A model's description as GGUF metadata.

use ropewalk_gguf::Value as Meta;

use super::inexpressible;
use crate::gguf::{ACTIVATION_KEY, eps_key, smol_rotation};
use crate::rope::yarn_mscale;
use crate::{Activation, Experts, Family, ModelSpec, Positions, Residual, Result, RopeScaling};

/// How errors call the format.
const GGUF: &str = "GGUF metadata";

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
    /// [`Error::Inconsistent`](crate::Error::Inconsistent) for what GGUF cannot say: windows in some layers only (but for
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
}
