//! Names of stored tensors, one table per scheme.

use super::{NameLayout, Role};
use crate::{Family, ModelSpec, Residual};

/// How a stored tensor holds its weights.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Rows one after the other.
    Plain,
    /// A matrix of one row that GGUF files hold as a vector.
    Flat,
    /// `[in, out]` in Hugging Face files.
    Transposed,
    /// Rows of q, k and v alternate per key head in Hugging Face files.
    Grouped,
    /// A tensor per expert in Hugging Face files, one stack in GGUF.
    Experts,
}

/// A stored tensor of one block or of the model, and the weights it holds.
pub(super) struct Stored {
    hf: &'static str,
    gguf: &'static str,
    pub(super) parts: &'static [Role],
    pub(super) form: Form,
}

const fn stored(hf: &'static str, gguf: &'static str, parts: &'static [Role]) -> Stored {
    Stored {
        hf,
        gguf,
        parts,
        form: Form::Plain,
    }
}

impl Stored {
    const fn form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }
}

/// The names of one scheme.
pub(super) struct Scheme {
    /// Before every Hugging Face name but that of the head; the first is written, all are read.
    prefixes: &'static [&'static str],
    /// Before the number of the block.
    layers: &'static str,
    global: &'static [Stored],
    /// The head, which has no prefix, and its other names.
    head: &'static Stored,
    head_aliases: &'static [&'static str],
    /// Names after `model.layers.N.` and `blk.N.`.
    block: &'static [&'static [Stored]],
}

const EMBED: Stored = stored("embed_tokens.weight", "token_embd.weight", &[Role::Embed]);
const OUTPUT_NORM: Stored = stored("norm.weight", "output_norm.weight", &[Role::OutputNorm]);
const OUTPUT_NORM_BIAS: Stored = stored("norm.bias", "output_norm.bias", &[Role::OutputNormBias]);
const HEAD: Stored = stored("lm_head.weight", "output.weight", &[Role::Head]);

const NORMS: &[Stored] = &[
    stored(
        "input_layernorm.weight",
        "attn_norm.weight",
        &[Role::AttnNorm],
    ),
    stored(
        "input_layernorm.bias",
        "attn_norm.bias",
        &[Role::AttnNormBias],
    ),
    stored(
        "post_attention_layernorm.weight",
        "ffn_norm.weight",
        &[Role::FfnNorm],
    ),
    stored(
        "post_attention_layernorm.bias",
        "ffn_norm.bias",
        &[Role::FfnNormBias],
    ),
];

/// Gemma 2 and 3; OLMo 2 has those after the parts alone.
const NORMS_AROUND: &[Stored] = &[
    stored(
        "input_layernorm.weight",
        "attn_norm.weight",
        &[Role::AttnNorm],
    ),
    stored(
        "post_attention_layernorm.weight",
        "post_attention_norm.weight",
        &[Role::AttnPostNorm],
    ),
    stored(
        "pre_feedforward_layernorm.weight",
        "ffn_norm.weight",
        &[Role::FfnNorm],
    ),
    stored(
        "post_feedforward_layernorm.weight",
        "post_ffw_norm.weight",
        &[Role::FfnPostNorm],
    ),
];

const ATTENTION: &[Stored] = &[
    stored("self_attn.q_proj.weight", "attn_q.weight", &[Role::Q]),
    stored("self_attn.k_proj.weight", "attn_k.weight", &[Role::K]),
    stored("self_attn.v_proj.weight", "attn_v.weight", &[Role::V]),
    stored("self_attn.o_proj.weight", "attn_output.weight", &[Role::O]),
    stored("self_attn.q_proj.bias", "attn_q.bias", &[Role::QBias]),
    stored("self_attn.k_proj.bias", "attn_k.bias", &[Role::KBias]),
    stored("self_attn.v_proj.bias", "attn_v.bias", &[Role::VBias]),
    stored("self_attn.o_proj.bias", "attn_output.bias", &[Role::OBias]),
    stored(
        "self_attn.q_norm.weight",
        "attn_q_norm.weight",
        &[Role::QNorm],
    ),
    stored(
        "self_attn.k_norm.weight",
        "attn_k_norm.weight",
        &[Role::KNorm],
    ),
];

const GATED: &[Stored] = &[
    stored("mlp.gate_proj.weight", "ffn_gate.weight", &[Role::Gate]),
    stored("mlp.up_proj.weight", "ffn_up.weight", &[Role::Up]),
    stored("mlp.down_proj.weight", "ffn_down.weight", &[Role::Down]),
    stored("mlp.gate_proj.bias", "ffn_gate.bias", &[Role::GateBias]),
    stored("mlp.up_proj.bias", "ffn_up.bias", &[Role::UpBias]),
    stored("mlp.down_proj.bias", "ffn_down.bias", &[Role::DownBias]),
];

const LLAMA: Scheme = Scheme {
    prefixes: &["model."],
    layers: "layers",
    global: &[EMBED, OUTPUT_NORM, OUTPUT_NORM_BIAS],
    head: &HEAD,
    head_aliases: &[],
    block: &[NORMS, ATTENTION, GATED],
};

const AROUND: Scheme = Scheme {
    // The last two are those of models that also see.
    prefixes: &["model.", "language_model.model.", "model.language_model."],
    head_aliases: &["language_model.lm_head.weight"],
    block: &[NORMS_AROUND, ATTENTION, GATED],
    ..LLAMA
};

/// Phi-3 stacks the rows of q, k, v and of gate, up.
const PHI3: Scheme = Scheme {
    block: &[
        NORMS,
        &[
            stored(
                "self_attn.qkv_proj.weight",
                "attn_qkv.weight",
                &[Role::Q, Role::K, Role::V],
            ),
            stored("self_attn.o_proj.weight", "attn_output.weight", &[Role::O]),
            stored(
                "mlp.gate_up_proj.weight",
                "ffn_up.weight",
                &[Role::Gate, Role::Up],
            ),
            stored("mlp.down_proj.weight", "ffn_down.weight", &[Role::Down]),
        ],
    ],
    ..LLAMA
};

const STARCODER2: Scheme = Scheme {
    block: &[
        NORMS,
        ATTENTION,
        &[
            stored("mlp.c_fc.weight", "ffn_up.weight", &[Role::Up]),
            stored("mlp.c_fc.bias", "ffn_up.bias", &[Role::UpBias]),
            stored("mlp.c_proj.weight", "ffn_down.weight", &[Role::Down]),
            stored("mlp.c_proj.bias", "ffn_down.bias", &[Role::DownBias]),
        ],
    ],
    ..LLAMA
};

const MIXTRAL: Scheme = Scheme {
    block: &[
        NORMS,
        ATTENTION,
        &[
            stored(
                "block_sparse_moe.gate.weight",
                "ffn_gate_inp.weight",
                &[Role::Router],
            ),
            stored(
                "block_sparse_moe.experts.{}.w1.weight",
                "ffn_gate_exps.weight",
                &[Role::ExpertGate],
            )
            .form(Form::Experts),
            stored(
                "block_sparse_moe.experts.{}.w3.weight",
                "ffn_up_exps.weight",
                &[Role::ExpertUp],
            )
            .form(Form::Experts),
            stored(
                "block_sparse_moe.experts.{}.w2.weight",
                "ffn_down_exps.weight",
                &[Role::ExpertDown],
            )
            .form(Form::Experts),
        ],
    ],
    ..LLAMA
};

const QWEN_MOE: Scheme = Scheme {
    block: &[
        NORMS,
        ATTENTION,
        GATED,
        &[
            stored("mlp.gate.weight", "ffn_gate_inp.weight", &[Role::Router]),
            stored(
                "mlp.experts.{}.gate_proj.weight",
                "ffn_gate_exps.weight",
                &[Role::ExpertGate],
            )
            .form(Form::Experts),
            stored(
                "mlp.experts.{}.up_proj.weight",
                "ffn_up_exps.weight",
                &[Role::ExpertUp],
            )
            .form(Form::Experts),
            stored(
                "mlp.experts.{}.down_proj.weight",
                "ffn_down_exps.weight",
                &[Role::ExpertDown],
            )
            .form(Form::Experts),
            stored(
                "mlp.shared_expert_gate.weight",
                "ffn_gate_inp_shexp.weight",
                &[Role::SharedRouter],
            )
            .form(Form::Flat),
            stored(
                "mlp.shared_expert.gate_proj.weight",
                "ffn_gate_shexp.weight",
                &[Role::SharedGate],
            ),
            stored(
                "mlp.shared_expert.up_proj.weight",
                "ffn_up_shexp.weight",
                &[Role::SharedUp],
            ),
            stored(
                "mlp.shared_expert.down_proj.weight",
                "ffn_down_shexp.weight",
                &[Role::SharedDown],
            ),
        ],
    ],
    ..LLAMA
};

const GPT_GLOBAL: &[Stored] = &[
    stored("wte.weight", "token_embd.weight", &[Role::Embed]),
    stored("wpe.weight", "position_embd.weight", &[Role::PosEmbed]),
    stored("ln_f.weight", "output_norm.weight", &[Role::OutputNorm]),
    stored("ln_f.bias", "output_norm.bias", &[Role::OutputNormBias]),
];

const GPT_NORMS: &[Stored] = &[
    stored("ln_1.weight", "attn_norm.weight", &[Role::AttnNorm]),
    stored("ln_1.bias", "attn_norm.bias", &[Role::AttnNormBias]),
    stored("ln_2.weight", "ffn_norm.weight", &[Role::FfnNorm]),
    stored("ln_2.bias", "ffn_norm.bias", &[Role::FfnNormBias]),
];

const GPT_BIASES: &[Stored] = &[
    stored("mlp.c_fc.bias", "ffn_up.bias", &[Role::UpBias]),
    stored("mlp.c_proj.bias", "ffn_down.bias", &[Role::DownBias]),
];

const GPT2: Scheme = Scheme {
    // The files of OpenAI's models have no prefix.
    prefixes: &["transformer.", ""],
    layers: "h",
    global: GPT_GLOBAL,
    head: &HEAD,
    head_aliases: &[],
    block: &[
        GPT_NORMS,
        &[
            stored(
                "attn.c_attn.weight",
                "attn_qkv.weight",
                &[Role::Q, Role::K, Role::V],
            )
            .form(Form::Transposed),
            stored(
                "attn.c_attn.bias",
                "attn_qkv.bias",
                &[Role::QBias, Role::KBias, Role::VBias],
            ),
            stored("attn.c_proj.weight", "attn_output.weight", &[Role::O]).form(Form::Transposed),
            stored("attn.c_proj.bias", "attn_output.bias", &[Role::OBias]),
            stored("mlp.c_fc.weight", "ffn_up.weight", &[Role::Up]).form(Form::Transposed),
            stored("mlp.c_proj.weight", "ffn_down.weight", &[Role::Down]).form(Form::Transposed),
        ],
        GPT_BIASES,
    ],
};

const GPT_NEO: Scheme = Scheme {
    block: &[
        GPT_NORMS,
        &[
            stored("attn.attention.q_proj.weight", "attn_q.weight", &[Role::Q]),
            stored("attn.attention.k_proj.weight", "attn_k.weight", &[Role::K]),
            stored("attn.attention.v_proj.weight", "attn_v.weight", &[Role::V]),
            stored(
                "attn.attention.out_proj.weight",
                "attn_output.weight",
                &[Role::O],
            ),
            stored(
                "attn.attention.out_proj.bias",
                "attn_output.bias",
                &[Role::OBias],
            ),
            stored("mlp.c_fc.weight", "ffn_up.weight", &[Role::Up]),
            stored("mlp.c_proj.weight", "ffn_down.weight", &[Role::Down]),
        ],
        GPT_BIASES,
    ],
    ..GPT2
};

const FOUR_H: &[Stored] = &[
    stored("mlp.dense_h_to_4h.weight", "ffn_up.weight", &[Role::Up]),
    stored("mlp.dense_h_to_4h.bias", "ffn_up.bias", &[Role::UpBias]),
    stored("mlp.dense_4h_to_h.weight", "ffn_down.weight", &[Role::Down]),
    stored("mlp.dense_4h_to_h.bias", "ffn_down.bias", &[Role::DownBias]),
];

const GPT_NEOX: Scheme = Scheme {
    prefixes: &["gpt_neox."],
    layers: "layers",
    global: &[
        stored("embed_in.weight", "token_embd.weight", &[Role::Embed]),
        stored(
            "final_layer_norm.weight",
            "output_norm.weight",
            &[Role::OutputNorm],
        ),
        stored(
            "final_layer_norm.bias",
            "output_norm.bias",
            &[Role::OutputNormBias],
        ),
    ],
    head: &stored("embed_out.weight", "output.weight", &[Role::Head]),
    head_aliases: &[],
    block: &[
        NORMS,
        &[
            stored(
                "attention.query_key_value.weight",
                "attn_qkv.weight",
                &[Role::Q, Role::K, Role::V],
            )
            .form(Form::Grouped),
            stored(
                "attention.query_key_value.bias",
                "attn_qkv.bias",
                &[Role::QBias, Role::KBias, Role::VBias],
            )
            .form(Form::Grouped),
            stored("attention.dense.weight", "attn_output.weight", &[Role::O]),
            stored("attention.dense.bias", "attn_output.bias", &[Role::OBias]),
        ],
        FOUR_H,
    ],
};

const FALCON_ATTENTION: &[Stored] = &[
    stored(
        "self_attention.query_key_value.weight",
        "attn_qkv.weight",
        &[Role::Q, Role::K, Role::V],
    )
    .form(Form::Grouped),
    stored(
        "self_attention.query_key_value.bias",
        "attn_qkv.bias",
        &[Role::QBias, Role::KBias, Role::VBias],
    )
    .form(Form::Grouped),
    stored(
        "self_attention.dense.weight",
        "attn_output.weight",
        &[Role::O],
    ),
    stored(
        "self_attention.dense.bias",
        "attn_output.bias",
        &[Role::OBias],
    ),
];

/// Falcon 7B and 11B: one norm for both parts.
const FALCON: Scheme = Scheme {
    prefixes: &["transformer."],
    layers: "h",
    global: &[
        stored(
            "word_embeddings.weight",
            "token_embd.weight",
            &[Role::Embed],
        ),
        stored("ln_f.weight", "output_norm.weight", &[Role::OutputNorm]),
        stored("ln_f.bias", "output_norm.bias", &[Role::OutputNormBias]),
    ],
    head: &HEAD,
    head_aliases: &[],
    block: &[NORMS, FALCON_ATTENTION, FOUR_H],
};

/// Falcon 40B and 180B. GGUF files call the norm before attention `attn_norm_2`.
const FALCON_TWO_NORMS: Scheme = Scheme {
    block: &[
        &[
            stored("ln_attn.weight", "attn_norm_2.weight", &[Role::AttnNorm]),
            stored("ln_attn.bias", "attn_norm_2.bias", &[Role::AttnNormBias]),
            stored("ln_mlp.weight", "attn_norm.weight", &[Role::FfnNorm]),
            stored("ln_mlp.bias", "attn_norm.bias", &[Role::FfnNormBias]),
        ],
        FALCON_ATTENTION,
        FOUR_H,
    ],
    ..FALCON
};

/// The scheme of a model's family.
pub(super) const fn scheme(spec: &ModelSpec) -> &'static Scheme {
    match spec.family {
        Family::Llama
        | Family::Mistral
        | Family::Qwen2
        | Family::Qwen3
        | Family::Gemma
        | Family::SmolLm3
        | Family::Granite => &LLAMA,
        Family::Gemma2 | Family::Gemma3 | Family::Olmo2 => &AROUND,
        Family::Phi3 => &PHI3,
        Family::Starcoder2 => &STARCODER2,
        Family::Mixtral => &MIXTRAL,
        Family::Qwen2Moe | Family::Qwen3Moe => &QWEN_MOE,
        Family::Gpt2 => &GPT2,
        Family::GptNeo => &GPT_NEO,
        Family::GptNeoX => &GPT_NEOX,
        Family::Falcon if matches!(spec.residual, Residual::ParallelOneNorm) => &FALCON,
        Family::Falcon => &FALCON_TWO_NORMS,
    }
}

impl Scheme {
    /// The tensors outside of blocks.
    pub(super) fn globals(&self) -> impl Iterator<Item = &'static Stored> + use<> {
        self.global.iter().chain(std::iter::once(self.head))
    }

    /// The tensors that a block may have.
    pub(super) fn block(&self) -> impl Iterator<Item = &'static Stored> + use<> {
        self.block.iter().flat_map(|part| part.iter())
    }

    /// The tensor that holds a weight.
    pub(super) fn entry(&self, role: Role) -> Option<&'static Stored> {
        self.globals()
            .chain(self.block())
            .find(|e| e.parts.contains(&role))
    }
}

impl Stored {
    /// The names of the tensor in a layout; the first is the one that is written. `{}` stands
    /// for the number of an expert.
    pub(super) fn names(
        &self,
        scheme: &Scheme,
        layer: Option<usize>,
        layout: NameLayout,
    ) -> Vec<String> {
        if layout == NameLayout::Gguf {
            return match layer {
                None => vec![self.gguf.to_owned()],
                Some(n) => vec![format!("blk.{n}.{}", self.gguf)],
            };
        }
        if self.parts.contains(&Role::Head) {
            let names = std::iter::once(&self.hf).chain(scheme.head_aliases);
            return names.map(|&name| name.to_owned()).collect();
        }
        let full = |prefix: &&str| match layer {
            None => format!("{prefix}{}", self.hf),
            Some(n) => format!("{prefix}{}.{n}.{}", scheme.layers, self.hf),
        };
        scheme.prefixes.iter().map(full).collect()
    }
}
