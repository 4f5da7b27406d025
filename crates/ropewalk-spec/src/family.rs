//! The families.

mod profiles;

use crate::{ModelSpec, Positions};

pub(crate) use self::profiles::{ExpertKeys, Flag, Layers, Profile, Windows};

/// A model family: a configuration mapping and a table of weight names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Llama 2 and 3.x, and what copies them (SmolLM 1 and 2, TinyLlama).
    Llama,
    /// Mistral 7B and its successors: Llama with a sliding window.
    Mistral,
    /// Qwen 2 and 2.5: biases on q, k and v.
    Qwen2,
    /// Qwen 3: RMS norm on each head of q and k, `head_dim` of its own.
    Qwen3,
    /// Phi-3, 3.5, 4 and 4-mini: fused qkv and gate-up, long rope, partial rotation.
    Phi3,
    /// Gemma 1: scaled embeddings, norms that hold `w` for `1 + w`, GELU.
    Gemma,
    /// Gemma 2: norms around each part, soft caps, a window in every other layer.
    Gemma2,
    /// Gemma 3: norms around each part and on q and k, two rotations, a window in five of six
    /// layers.
    Gemma3,
    /// Mixtral: Mistral with experts.
    Mixtral,
    /// Qwen 1.5 and 2 with experts, one of them shared.
    Qwen2Moe,
    /// Qwen 3 with experts.
    Qwen3Moe,
    /// StarCoder 2: layer norms, biases, no gate.
    Starcoder2,
    /// SmolLM3: Llama with layers that do not rotate.
    SmolLm3,
    /// OLMo 2: norms after each part and across the heads of q and k.
    Olmo2,
    /// Granite 3: Llama with scales on embeddings, residuals, scores and logits.
    Granite,
    /// GPT-2: learned positions, layer norms, transposed matrices.
    Gpt2,
    /// GPT-NeoX and Pythia: parallel residuals, partial rotation, q, k and v fused per head.
    GptNeoX,
    /// GPT-Neo: learned positions, a window in every other layer, unscaled scores. llama.cpp
    /// does not read its files; the metadata here are called `gptneo`.
    GptNeo,
    /// Falcon 7B, 11B, 40B and 180B: parallel residuals with one norm or two, fused qkv.
    Falcon,
}

impl Family {
    /// Every family, in the order in which errors list them.
    pub const ALL: [Self; 19] = [
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Phi3,
        Self::Gemma,
        Self::Gemma2,
        Self::Gemma3,
        Self::Mixtral,
        Self::Qwen2Moe,
        Self::Qwen3Moe,
        Self::Starcoder2,
        Self::SmolLm3,
        Self::Olmo2,
        Self::Granite,
        Self::Gpt2,
        Self::GptNeoX,
        Self::GptNeo,
        Self::Falcon,
    ];

    /// The prefix of the family's class names in transformers, such as `Llama`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.profile().name
    }

    /// `model_type` of `config.json`, such as `llama`.
    #[must_use]
    pub const fn model_type(self) -> &'static str {
        self.profile().model_type
    }

    /// The entry of `architectures` in `config.json`, such as `LlamaForCausalLM`.
    #[must_use]
    pub fn architecture(self) -> String {
        format!("{}{}", self.name(), self.profile().head)
    }

    /// `general.architecture` of GGUF files. Mistral and Mixtral files say `llama`.
    #[must_use]
    pub const fn gguf_architecture(self) -> &'static str {
        self.profile().gguf
    }

    /// Whether q, k and v are stored as one tensor.
    #[must_use]
    pub const fn is_fused(self) -> bool {
        matches!(self, Self::Phi3 | Self::Gpt2 | Self::GptNeoX | Self::Falcon)
    }

    /// Whether GGUF files store the rows of q and k for interleaved rotation.
    ///
    /// `convert_hf_to_gguf.py` reorders them for the classes that derive from its `LlamaModel`.
    #[must_use]
    pub const fn permutes_in_gguf(self) -> bool {
        self.profile().permuted
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl ModelSpec {
    /// A model with the block of its family and without what a configuration adds: no windows,
    /// biases, experts or scales. `sizes` are vocabulary, hidden size, layers, heads and width of
    /// the feed-forward layer; keys and values have as many heads, positions are 2048, the base
    /// of the rotation 10,000, the epsilon of the norms 1e-5.
    ///
    /// For models that no configuration describes: set the fields and call
    /// [`validate`](Self::validate).
    ///
    /// ```
    /// use ropewalk_spec::{Family, ModelSpec};
    ///
    /// let mut spec = ModelSpec::new(Family::Llama, [256, 64, 2, 4, 128]);
    /// spec.kv_heads = 2;
    /// spec.validate()?;
    /// assert_eq!((spec.head_dim, spec.kv_dim()), (16, 32));
    /// # Ok::<(), ropewalk_spec::Error>(())
    /// ```
    #[must_use]
    pub fn new(family: Family, sizes: [usize; 5]) -> Self {
        let [vocab_size, hidden, layers, heads, ffn] = sizes;
        let profile = family.profile();
        let head_dim = hidden.checked_div(heads).unwrap_or(0);
        let rotary = profile.positions == Positions::Rotary;
        Self {
            family,
            vocab_size,
            hidden,
            layers,
            heads,
            kv_heads: heads,
            head_dim,
            ffn,
            max_positions: 2048,
            norm_eps: 1e-5,
            rope: crate::RopeSpec::new(if rotary { head_dim } else { 0 }, 10_000.0),
            window: vec![None; layers.min(1 << 10)],
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            qk_norm: profile.qk_norm,
            tied: false,
            activation: profile.activation,
            gated: profile.gated,
            norm: profile.norm,
            norm_place: profile.norm_place,
            residual: profile.residual,
            positions: profile.positions,
            rope_local: None,
            rope_layers: Vec::new(),
            attention_scale: None,
            attention_softcap: None,
            logit_softcap: None,
            embedding_scale: if profile.scaled_embeddings {
                (hidden as f32).sqrt()
            } else {
                1.0
            },
            residual_scale: 1.0,
            logit_scale: 1.0,
            experts: None,
            eos_ids: Vec::new(),
            bos_id: None,
            pad_id: None,
            dtype: None,
        }
    }
}
