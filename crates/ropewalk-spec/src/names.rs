//! Names, shapes and order of weights, per family and file format.

use std::ops::Range;

use crate::{ModelSpec, Norm, NormPlace, Positions, QkNorm, Residual};

use self::tables::{Form, Scheme, Stored};

pub use self::role::Role;

mod role;
mod tables;

/// Which names and which row order a file uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NameLayout {
    /// `model.layers.0.self_attn.q_proj.weight`, rows for split-half rotation.
    HuggingFace,
    /// `blk.0.attn_q.weight`, rows for the rotation llama.cpp uses for the architecture.
    Gguf,
}

/// Where a weight lies: a stored tensor, which of its rows and in what order and form.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WeightRef {
    /// Name of the stored tensor.
    pub name: String,
    /// Names it has in other files of the same layout (GPT-2 with and without `transformer.`).
    pub aliases: Vec<String>,
    /// Rows of the stored tensor that belong to this weight (elements, for a vector); in a
    /// stack of matrices, counted through the stack. With [`groups`](Self::groups), the first
    /// row and the number of rows.
    pub rows: Range<usize>,
    /// Shape of the stored tensor, row-major: `[out, in]`, `[n]` or `[experts, out, in]`;
    /// `[in, out]` if [`transposed`](Self::transposed).
    pub stored: Vec<usize>,
    /// Shape of this weight, row-major.
    pub shape: Vec<usize>,
    /// `Some(h)`: the rows of each of `h` heads alternate between the two halves (interleaved
    /// rotation) and [`source_row`](Self::source_row) puts them back.
    pub permute_heads: Option<usize>,
    /// `Some((size, stride))`: the rows lie in groups of `size`, one group every `stride` rows,
    /// as where q, k and v of a head follow each other (GPT-NeoX, Falcon).
    pub groups: Option<(usize, usize)>,
    /// The stored matrix is `[in, out]` (GPT-2 in Hugging Face files); its columns count as
    /// rows here.
    pub transposed: bool,
    /// 1 is added to the stored values (norms of Gemma in Hugging Face files).
    pub add_one: bool,
}

impl WeightRef {
    /// The row of the stored tensor that holds row `row` of this weight in split-half order.
    ///
    /// Inverts `LlamaModel.permute` of `convert_hf_to_gguf.py`, which stores row `j * half + i`
    /// of a head (`j` is 0 or 1) as row `2 * i + j`.
    #[must_use]
    pub fn source_row(&self, row: usize) -> usize {
        if let Some((size, stride)) = self.groups {
            return self.rows.start + row / size * stride + row % size;
        }
        let Some(heads) = self.permute_heads else {
            return self.rows.start + row;
        };
        let size = self.rows.len() / heads;
        let (head, within) = (row / size, row % size);
        let half = size / 2;
        self.rows.start + head * size + 2 * (within % half) + within / half
    }
}

/// A tensor as files hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredTensor {
    /// Name in a Hugging Face file; that of expert 0 where each expert has a tensor of its own,
    /// see [`hf_names`](Self::hf_names).
    pub hf: String,
    /// Name in a GGUF file.
    pub gguf: String,
    /// Shape in a GGUF file, row-major.
    pub shape: Vec<usize>,
    /// Shape in a Hugging Face file, of one expert where each has a tensor of its own.
    pub hf_shape: Vec<usize>,
    /// The weights whose rows it stacks, in order.
    pub roles: &'static [Role],
    /// The block, `None` outside of blocks.
    pub layer: Option<usize>,
    /// Number of experts whose matrices a GGUF file stacks in it.
    pub experts: Option<usize>,
    template: String,
}

impl StoredTensor {
    /// Its names in a Hugging Face file: one, or one per expert.
    #[must_use]
    pub fn hf_names(&self) -> Vec<String> {
        match self.experts {
            None => vec![self.hf.clone()],
            Some(count) => (0..count).map(|e| numbered(&self.template, e)).collect(),
        }
    }
}

/// Puts the number of an expert into a name.
fn numbered(template: &str, expert: usize) -> String {
    template.replace("{}", &expert.to_string())
}

impl ModelSpec {
    /// The shape of a weight, `None` if no layer of this model has one of this role.
    #[must_use]
    pub fn shape(&self, role: Role) -> Option<Vec<usize>> {
        let (hidden, q, kv, ffn) = (self.hidden, self.q_dim(), self.kv_dim(), self.ffn);
        let experts = self.experts.as_ref();
        let all_experts = experts.is_some_and(|e| !e.layers.contains(&false));
        if role.is_dense() && all_experts {
            return None;
        }
        let before = self.norm_place != NormPlace::After;
        let after = self.norm_place != NormPlace::Before;
        let layer_norm = self.norm == Norm::Layer;
        let second = before && self.residual != Residual::ParallelOneNorm;
        let vector = |present: bool, n: usize| present.then(|| vec![n]);
        let across = self.qk_norm == Some(QkNorm::All);
        let head = |heads: usize| {
            if across {
                heads * self.head_dim
            } else {
                self.head_dim
            }
        };
        match role {
            Role::Embed | Role::Head => Some(vec![self.vocab_size, hidden]),
            Role::PosEmbed => {
                (self.positions == Positions::Learned).then(|| vec![self.max_positions, hidden])
            }
            Role::OutputNorm => Some(vec![hidden]),
            Role::AttnNorm => vector(before, hidden),
            Role::FfnNorm => vector(second, hidden),
            Role::OutputNormBias => vector(layer_norm, hidden),
            Role::AttnNormBias => vector(before && layer_norm, hidden),
            Role::FfnNormBias => vector(second && layer_norm, hidden),
            Role::AttnPostNorm | Role::FfnPostNorm => vector(after, hidden),
            Role::Q => Some(vec![q, hidden]),
            Role::K | Role::V => Some(vec![kv, hidden]),
            Role::O => Some(vec![hidden, q]),
            Role::QBias => vector(self.qkv_bias, q),
            Role::KBias | Role::VBias => vector(self.qkv_bias, kv),
            Role::OBias => vector(self.o_bias, hidden),
            Role::QNorm => vector(self.qk_norm.is_some(), head(self.heads)),
            Role::KNorm => vector(self.qk_norm.is_some(), head(self.kv_heads)),
            Role::Gate => self.gated.then(|| vec![ffn, hidden]),
            Role::Up => Some(vec![ffn, hidden]),
            Role::Down => Some(vec![hidden, ffn]),
            Role::GateBias => vector(self.mlp_bias && self.gated, ffn),
            Role::UpBias => vector(self.mlp_bias, ffn),
            Role::DownBias => vector(self.mlp_bias, hidden),
            Role::Router => experts.map(|e| vec![e.count, hidden]),
            Role::ExpertGate | Role::ExpertUp => experts.map(|e| vec![e.count, e.ffn, hidden]),
            Role::ExpertDown => experts.map(|e| vec![e.count, hidden, e.ffn]),
            Role::SharedRouter => experts.and_then(|e| e.shared).map(|_| vec![1, hidden]),
            Role::SharedGate | Role::SharedUp => experts
                .and_then(|e| e.shared)
                .map(|width| vec![width, hidden]),
            Role::SharedDown => experts
                .and_then(|e| e.shared)
                .map(|width| vec![hidden, width]),
        }
    }

    /// Whether the model has a weight of this role in layer `layer` (ignored for
    /// [`Role::GLOBAL`]).
    #[must_use]
    pub fn has(&self, role: Role, layer: usize) -> bool {
        let sparse = self.has_experts(layer);
        let other = (role.is_dense() && sparse) || (role.is_sparse() && !sparse);
        !other && self.shape(role).is_some()
    }

    /// Where a weight lies in files of a layout: stored name, rows, order.
    ///
    /// `layer` is ignored for [`Role::GLOBAL`] and 0 where missing. `None` if this model has no
    /// such weight there, and for the stacked experts in Hugging Face files, which hold them one
    /// by one ([`expert`](Self::expert)). A tied [`Role::Head`] is the embedding table.
    #[must_use]
    pub fn weight(
        &self,
        role: Role,
        layer: Option<usize>,
        layout: NameLayout,
    ) -> Option<WeightRef> {
        let layer = layer.unwrap_or(0);
        if !self.has(role, layer) || (role.is_expert() && layout == NameLayout::HuggingFace) {
            return None;
        }
        self.place(role, layer, layout, None)
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
        let count = self.experts.as_ref()?.count;
        if !role.is_expert() || !self.has(role, layer) || expert >= count {
            return None;
        }
        self.place(role, layer, layout, Some(expert))
    }

    fn place(
        &self,
        role: Role,
        layer: usize,
        layout: NameLayout,
        expert: Option<usize>,
    ) -> Option<WeightRef> {
        let stored_role = if role == Role::Head && self.tied {
            Role::Embed
        } else {
            role
        };
        let scheme = tables::scheme(self);
        let entry = scheme.entry(stored_role)?;
        let hf = layout == NameLayout::HuggingFace;
        let mut shape = self.shape(role)?;
        let in_block = !Role::GLOBAL.contains(&role);
        let mut names = entry.names(scheme, in_block.then_some(layer), layout);
        if let Some(expert) = expert {
            names = names.iter().map(|n| numbered(n, expert)).collect();
            shape.remove(0);
        }
        let mut names = names.into_iter();

        let (mut start, mut total) = (0, 0);
        for &part in entry.parts {
            if part == stored_role {
                start = total;
            }
            total += self.shape(part)?.first().copied()?;
        }
        let count = shape.first().copied()?;
        let mut stored = shape.clone();
        *stored.first_mut()? = total;
        let mut rows = start..start + count;
        let mut groups = None;
        let mut transposed = false;
        match entry.form {
            Form::Plain => {}
            Form::Flat => {
                if !hf {
                    stored.remove(0);
                    rows = 0..shape.iter().product();
                }
            }
            Form::Transposed => {
                transposed = hf;
                if hf {
                    stored.reverse();
                }
            }
            Form::Grouped => {
                if hf {
                    // Per key head: its query heads, the key, the value.
                    let (queries, one) = (self.group() * self.head_dim, self.head_dim);
                    let (offset, size) = match role {
                        Role::Q | Role::QBias => (0, queries),
                        Role::K | Role::KBias => (queries, one),
                        _ => (queries + one, one),
                    };
                    groups = Some((size, queries + 2 * one));
                    rows = offset..offset + count;
                }
            }
            Form::Experts => match expert {
                Some(_) if hf => {
                    stored.clone_from(&shape);
                    rows = 0..count;
                }
                Some(expert) => {
                    stored = self.shape(role)?;
                    rows = expert * count..(expert + 1) * count;
                }
                None => {
                    let total = shape.iter().take(2).product();
                    rows = 0..total;
                }
            },
        }
        let permuted = !hf && self.family.permutes_in_gguf();
        let permute_heads = match role {
            Role::Q | Role::QBias if permuted => Some(self.heads),
            Role::K | Role::KBias if permuted => Some(self.kv_heads),
            _ => None,
        };
        Some(WeightRef {
            name: names.next()?,
            aliases: names.collect(),
            rows,
            stored,
            shape,
            permute_heads,
            groups,
            transposed,
            add_one: hf && self.norm == Norm::RmsPlusOne && role.is_norm(),
        })
    }

    /// A weight of this model that the names of its family do not cover.
    pub(crate) fn nameless(&self) -> Option<Role> {
        let scheme = tables::scheme(self);
        let mut roles = Role::GLOBAL.into_iter().chain(Role::BLOCK);
        roles.find(|&role| self.shape(role).is_some() && scheme.entry(role).is_none())
    }

    /// Every weight of the model with its layer, a tied head left out.
    pub fn weights(&self) -> impl Iterator<Item = (Role, Option<usize>)> + '_ {
        let global = Role::GLOBAL
            .into_iter()
            .filter(|&role| !(role == Role::Head && self.tied) && self.has(role, 0))
            .map(|role| (role, None));
        let block = (0..self.layers).flat_map(move |layer| {
            Role::BLOCK
                .into_iter()
                .filter(move |&role| self.has(role, layer))
                .map(move |role| (role, Some(layer)))
        });
        global.chain(block)
    }

    /// Every tensor that a complete file of this model holds, fused ones as one and experts
    /// stacked as in GGUF files.
    pub fn stored_tensors(&self) -> impl Iterator<Item = StoredTensor> + '_ {
        let scheme = tables::scheme(self);
        let global = scheme
            .globals()
            .filter(|e| !(self.tied && e.parts.contains(&Role::Head)))
            .filter_map(move |e| self.stored(scheme, e, None));
        let block = (0..self.layers).flat_map(move |layer| {
            scheme
                .block()
                .filter_map(move |e| self.stored(scheme, e, Some(layer)))
        });
        global.chain(block)
    }

    fn stored(
        &self,
        scheme: &Scheme,
        entry: &Stored,
        layer: Option<usize>,
    ) -> Option<StoredTensor> {
        let present = |&role: &Role| self.has(role, layer.unwrap_or(0)).then(|| self.shape(role));
        let shapes: Option<Vec<_>> = entry.parts.iter().map(|r| present(r).flatten()).collect();
        let shapes = shapes?;
        let mut shape = shapes.first()?.clone();
        *shape.first_mut()? = shapes.iter().filter_map(|s| s.first()).sum();
        let mut hf_shape = shape.clone();
        let mut experts = None;
        match entry.form {
            Form::Plain | Form::Grouped => {}
            Form::Flat => {
                shape.remove(0);
            }
            Form::Transposed => hf_shape.reverse(),
            Form::Experts => experts = Some(hf_shape.remove(0)),
        }
        let name = |layout| entry.names(scheme, layer, layout).into_iter().next();
        let template = name(NameLayout::HuggingFace)?;
        Some(StoredTensor {
            hf: numbered(&template, 0),
            gguf: name(NameLayout::Gguf)?,
            shape,
            hf_shape,
            roles: entry.parts,
            layer,
            experts,
            template,
        })
    }
}
