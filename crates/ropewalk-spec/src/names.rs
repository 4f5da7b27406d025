//! Names, shapes and order of weights, per family and file format.

use std::ops::Range;

use crate::{Family, ModelSpec};

/// What a weight does in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Role {
    /// Token embeddings, `[vocab, hidden]`.
    Embed,
    /// Norm after the last block, `[hidden]`.
    OutputNorm,
    /// Output head, `[vocab, hidden]`; the embedding table when tied.
    Head,
    /// Norm before attention, `[hidden]`.
    AttnNorm,
    /// Query projection, `[heads * head_dim, hidden]`.
    Q,
    /// Key projection, `[kv_heads * head_dim, hidden]`.
    K,
    /// Value projection, `[kv_heads * head_dim, hidden]`.
    V,
    /// Attention output projection, `[hidden, heads * head_dim]`.
    O,
    /// Query bias.
    QBias,
    /// Key bias.
    KBias,
    /// Value bias.
    VBias,
    /// Attention output bias, `[hidden]`.
    OBias,
    /// Norm of each query head, `[head_dim]`.
    QNorm,
    /// Norm of each key head, `[head_dim]`.
    KNorm,
    /// Norm before the feed-forward layer, `[hidden]`.
    FfnNorm,
    /// Gate projection, `[ffn, hidden]`; the activation applies to it.
    Gate,
    /// Up projection, `[ffn, hidden]`.
    Up,
    /// Down projection, `[hidden, ffn]`.
    Down,
    /// Gate bias, `[ffn]`.
    GateBias,
    /// Up bias, `[ffn]`.
    UpBias,
    /// Down bias, `[hidden]`.
    DownBias,
    /// Position table, `[max_positions, hidden]`.
    PosEmbed,
    /// Bias of the norm after the last block.
    OutputNormBias,
    /// Bias of the norm before attention.
    AttnNormBias,
    /// Bias of the norm before the feed-forward layer.
    FfnNormBias,
    /// Norm after attention, before the residual addition, `[hidden]`.
    AttnPostNorm,
    /// Norm after the feed-forward layer, before the residual addition, `[hidden]`.
    FfnPostNorm,
    /// Router of the experts, `[experts, hidden]`.
    Router,
    /// Gate projections of all experts, `[experts, ffn, hidden]`; one at a time by
    /// [`ModelSpec::read_expert`].
    ExpertGate,
    /// Up projections of all experts, `[experts, ffn, hidden]`.
    ExpertUp,
    /// Down projections of all experts, `[experts, hidden, ffn]`.
    ExpertDown,
    /// Gate of the shared expert's output, `[1, hidden]`.
    SharedRouter,
    /// Gate projection of the shared expert, `[shared ffn, hidden]`.
    SharedGate,
    /// Up projection of the shared expert, `[shared ffn, hidden]`.
    SharedUp,
    /// Down projection of the shared expert, `[hidden, shared ffn]`.
    SharedDown,
}

impl Role {
    /// Roles that a model has once.
    pub const GLOBAL: [Self; 3] = [Self::Embed, Self::OutputNorm, Self::Head];

    /// Roles that each block may have.
    pub const BLOCK: [Self; 18] = [
        Self::AttnNorm,
        Self::Q,
        Self::K,
        Self::V,
        Self::O,
        Self::QBias,
        Self::KBias,
        Self::VBias,
        Self::OBias,
        Self::QNorm,
        Self::KNorm,
        Self::FfnNorm,
        Self::Gate,
        Self::Up,
        Self::Down,
        Self::GateBias,
        Self::UpBias,
        Self::DownBias,
    ];

    /// Whether the weight is a matrix inside a block: the part that int8 and NF4 loading
    /// quantise and that LoRA adapts.
    #[must_use]
    pub const fn is_linear(self) -> bool {
        matches!(
            self,
            Self::Q | Self::K | Self::V | Self::O | Self::Gate | Self::Up | Self::Down
        )
    }

    /// Whether the weight multiplies normalised features.
    #[must_use]
    pub const fn is_norm(self) -> bool {
        matches!(
            self,
            Self::AttnNorm | Self::FfnNorm | Self::OutputNorm | Self::QNorm | Self::KNorm
        )
    }
}

/// Which names and which row order a file uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NameLayout {
    /// `model.layers.0.self_attn.q_proj.weight`, rows for split-half rotation.
    HuggingFace,
    /// `blk.0.attn_q.weight`, rows for the rotation llama.cpp uses for the architecture.
    Gguf,
}

/// Where a weight lies: a stored tensor, a range of its rows and their order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WeightRef {
    /// Name of the stored tensor.
    pub name: String,
    /// Rows of the stored tensor that belong to this weight (elements, for a vector).
    pub rows: Range<usize>,
    /// Shape of the stored tensor, row-major: `[out, in]` or `[n]`.
    pub stored: Vec<usize>,
    /// Shape of this weight, row-major.
    pub shape: Vec<usize>,
    /// `Some(h)`: the rows of each of `h` heads alternate between the two halves (interleaved
    /// rotation) and [`source_row`](Self::source_row) puts them back.
    pub permute_heads: Option<usize>,
}

impl WeightRef {
    /// The row of the stored tensor that holds row `row` of this weight in split-half order.
    ///
    /// Inverts `LlamaModel.permute` of `convert_hf_to_gguf.py`, which stores row `j * half + i`
    /// of a head (`j` is 0 or 1) as row `2 * i + j`.
    #[must_use]
    pub fn source_row(&self, row: usize) -> usize {
        let Some(heads) = self.permute_heads else {
            return self.rows.start + row;
        };
        let size = self.rows.len() / heads;
        let (head, within) = (row / size, row % size);
        let half = size / 2;
        self.rows.start + head * size + 2 * (within % half) + within / half
    }
}

/// A stored tensor of one block or of the model, and the weights it holds.
struct Stored {
    hf: &'static str,
    gguf: &'static str,
    parts: &'static [Role],
}

const fn stored(hf: &'static str, gguf: &'static str, parts: &'static [Role]) -> Stored {
    Stored { hf, gguf, parts }
}

const GLOBAL: &[Stored] = &[
    stored(
        "model.embed_tokens.weight",
        "token_embd.weight",
        &[Role::Embed],
    ),
    stored(
        "model.norm.weight",
        "output_norm.weight",
        &[Role::OutputNorm],
    ),
    stored("lm_head.weight", "output.weight", &[Role::Head]),
];

/// Names after `model.layers.N.` and `blk.N.`.
const SPLIT: &[Stored] = &[
    stored(
        "input_layernorm.weight",
        "attn_norm.weight",
        &[Role::AttnNorm],
    ),
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
    stored(
        "post_attention_layernorm.weight",
        "ffn_norm.weight",
        &[Role::FfnNorm],
    ),
    stored("mlp.gate_proj.weight", "ffn_gate.weight", &[Role::Gate]),
    stored("mlp.up_proj.weight", "ffn_up.weight", &[Role::Up]),
    stored("mlp.down_proj.weight", "ffn_down.weight", &[Role::Down]),
    stored("mlp.gate_proj.bias", "ffn_gate.bias", &[Role::GateBias]),
    stored("mlp.up_proj.bias", "ffn_up.bias", &[Role::UpBias]),
    stored("mlp.down_proj.bias", "ffn_down.bias", &[Role::DownBias]),
];

/// The same for Phi-3, which stacks the rows of q, k, v and of gate, up.
const FUSED: &[Stored] = &[
    stored(
        "input_layernorm.weight",
        "attn_norm.weight",
        &[Role::AttnNorm],
    ),
    stored(
        "self_attn.qkv_proj.weight",
        "attn_qkv.weight",
        &[Role::Q, Role::K, Role::V],
    ),
    stored("self_attn.o_proj.weight", "attn_output.weight", &[Role::O]),
    stored(
        "post_attention_layernorm.weight",
        "ffn_norm.weight",
        &[Role::FfnNorm],
    ),
    stored(
        "mlp.gate_up_proj.weight",
        "ffn_up.weight",
        &[Role::Gate, Role::Up],
    ),
    stored("mlp.down_proj.weight", "ffn_down.weight", &[Role::Down]),
];

/// A tensor as a file holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredTensor {
    /// Name in a Hugging Face file.
    pub hf: String,
    /// Name in a GGUF file.
    pub gguf: String,
    /// Shape, row-major, the same in both.
    pub shape: Vec<usize>,
    /// The weights whose rows it stacks, in order.
    pub roles: &'static [Role],
    /// The block, `None` outside of blocks.
    pub layer: Option<usize>,
}

const fn table(family: Family) -> &'static [Stored] {
    if family.is_fused() { FUSED } else { SPLIT }
}

impl ModelSpec {
    /// The shape of a weight, `None` if this model has none of this role.
    #[must_use]
    pub fn shape(&self, role: Role) -> Option<Vec<usize>> {
        let (hidden, q, kv, ffn) = (self.hidden, self.q_dim(), self.kv_dim(), self.ffn);
        let bias = |present: bool, n: usize| present.then(|| vec![n]);
        match role {
            Role::Embed | Role::Head => Some(vec![self.vocab_size, hidden]),
            Role::OutputNorm | Role::AttnNorm | Role::FfnNorm => Some(vec![hidden]),
            Role::Q => Some(vec![q, hidden]),
            Role::K | Role::V => Some(vec![kv, hidden]),
            Role::O => Some(vec![hidden, q]),
            Role::QBias => bias(self.qkv_bias, q),
            Role::KBias | Role::VBias => bias(self.qkv_bias, kv),
            Role::OBias => bias(self.o_bias, hidden),
            Role::QNorm | Role::KNorm => bias(self.qk_norm.is_some(), self.head_dim),
            Role::Gate | Role::Up => Some(vec![ffn, hidden]),
            Role::Down => Some(vec![hidden, ffn]),
            Role::GateBias | Role::UpBias => bias(self.mlp_bias, ffn),
            Role::DownBias => bias(self.mlp_bias, hidden),
            // Filled in with the tables of the families that have them.
            _ => None,
        }
    }

    /// Where a weight lies in files of a layout: stored name, rows, order.
    ///
    /// `layer` is ignored for [`Role::GLOBAL`] and 0 where missing. `None` if this model has no
    /// such weight. A tied [`Role::Head`] is the embedding table.
    #[must_use]
    pub fn weight(
        &self,
        role: Role,
        layer: Option<usize>,
        layout: NameLayout,
    ) -> Option<WeightRef> {
        let shape = self.shape(role)?;
        let stored_role = if role == Role::Head && self.tied {
            Role::Embed
        } else {
            role
        };
        let global = Role::GLOBAL.contains(&role);
        let entries = if global { GLOBAL } else { table(self.family) };
        let entry = entries.iter().find(|e| e.parts.contains(&stored_role))?;
        let layer = if global {
            None
        } else {
            Some(layer.unwrap_or(0))
        };

        let mut start = 0;
        let mut total = 0;
        for &part in entry.parts {
            if part == stored_role {
                start = total;
            }
            total += self.shape(part)?.first().copied()?;
        }
        let count = shape.first().copied()?;
        let mut stored = shape.clone();
        *stored.first_mut()? = total;
        let permuted = layout == NameLayout::Gguf && self.family.permutes_in_gguf();
        let permute_heads = match role {
            Role::Q | Role::QBias if permuted => Some(self.heads),
            Role::K | Role::KBias if permuted => Some(self.kv_heads),
            _ => None,
        };
        let rows = start..start + count;
        Some(WeightRef {
            name: entry.name(layer, layout),
            rows,
            stored,
            shape,
            permute_heads,
        })
    }

    /// Where the matrix of one expert lies; `None` if the layer has no such expert.
    #[must_use]
    pub fn expert(
        &self,
        role: Role,
        layer: usize,
        expert: usize,
        layout: NameLayout,
    ) -> Option<WeightRef> {
        let experts = self.experts.as_ref().filter(|e| expert < e.count)?;
        let _ = (role, layer, layout, experts);
        None
    }

    /// Every weight of the model with its layer, a tied head left out.
    pub fn weights(&self) -> impl Iterator<Item = (Role, Option<usize>)> + '_ {
        let global = Role::GLOBAL
            .into_iter()
            .filter(|&role| !(role == Role::Head && self.tied))
            .map(|role| (role, None));
        let block = (0..self.layers).flat_map(move |layer| {
            Role::BLOCK
                .into_iter()
                .filter(|&role| self.shape(role).is_some())
                .map(move |role| (role, Some(layer)))
        });
        global.chain(block)
    }

    /// Every tensor that a complete file of this model holds, fused ones as one, in file order.
    pub fn stored_tensors(&self) -> impl Iterator<Item = StoredTensor> + '_ {
        let make = |entry: &Stored, layer: Option<usize>| {
            let shapes: Option<Vec<_>> = entry.parts.iter().map(|&r| self.shape(r)).collect();
            let shapes = shapes?;
            let mut shape = shapes.first()?.clone();
            *shape.first_mut()? = shapes.iter().filter_map(|s| s.first()).sum();
            Some(StoredTensor {
                hf: entry.name(layer, NameLayout::HuggingFace),
                gguf: entry.name(layer, NameLayout::Gguf),
                shape,
                roles: entry.parts,
                layer,
            })
        };
        let global = GLOBAL
            .iter()
            .filter(|e| !(self.tied && e.parts.contains(&Role::Head)))
            .filter_map(move |e| make(e, None));
        let block = (0..self.layers).flat_map(move |layer| {
            table(self.family)
                .iter()
                .filter_map(move |e| make(e, Some(layer)))
        });
        global.chain(block)
    }
}

impl Stored {
    fn name(&self, layer: Option<usize>, layout: NameLayout) -> String {
        match (layout, layer) {
            (NameLayout::HuggingFace, None) => self.hf.to_owned(),
            (NameLayout::HuggingFace, Some(n)) => format!("model.layers.{n}.{}", self.hf),
            (NameLayout::Gguf, None) => self.gguf.to_owned(),
            (NameLayout::Gguf, Some(n)) => format!("blk.{n}.{}", self.gguf),
        }
    }
}
