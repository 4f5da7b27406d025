//! Which tensor gets which type: the rules of llama.cpp (`src/llama-quant.cpp`), in its order.

use super::plan::{QuantizePlan, Target, is_embedding, layer, matches};
use crate::{Error, FileType as F, Gguf, Metadata, Result, TensorInfo, TensorType as T};

/// Parts of the names of matrices that are small or delicate and stay as they are.
const KEPT: [&str; 35] = [
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
];

/// What the rules ask of a model.
#[derive(Debug)]
pub(super) struct Model {
    falcon: bool,
    layers: usize,
    experts: usize,
    /// Query heads per key and value head.
    group: usize,
    /// Seventy billion parameters with eight heads to a value head.
    seventy: bool,
    /// The token embeddings are the output matrix too.
    tied: bool,
    /// Tensors of attention values.
    values: usize,
}

impl Model {
    pub(super) fn of(input: &Gguf, tensors: &[&TensorInfo]) -> Result<Self> {
        let metadata = input.metadata();
        let arch = metadata.str("general.architecture")?.unwrap_or_default();
        let layers = metadata
            .usize(&format!("{arch}.block_count"))?
            .unwrap_or_default();
        let heads = first(metadata, &format!("{arch}.attention.head_count"))?.unwrap_or_default();
        let pairs = first(metadata, &format!("{arch}.attention.head_count_kv"))?.unwrap_or(heads);
        let seventy = match arch {
            "llama" => layers == 80 && heads != pairs,
            "qwen2" | "olmo" | "deci" => layers == 80,
            "jais2" => layers == 68,
            _ => false,
        };
        Ok(Self {
            falcon: arch == "falcon",
            layers,
            experts: metadata
                .usize(&format!("{arch}.expert_count"))?
                .unwrap_or_default(),
            group: heads.checked_div(pairs).unwrap_or_default(),
            seventy,
            tied: !tensors.iter().any(|info| info.name == "output.weight"),
            values: tensors
                .iter()
                .filter(|info| Role::of(&info.name).is_value())
                .count(),
        })
    }
}

/// Returns a number, or the first of an array with one per layer.
fn first(metadata: &Metadata, key: &str) -> Result<Option<usize>> {
    if let Some(crate::Value::Array(_)) = metadata.get(key) {
        let all = metadata.u32s(key)?.unwrap_or_default();
        return Ok(all.first().map(|&n| n as usize));
    }
    metadata.usize(key)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Output,
    Embedding,
    Qkv,
    KvB,
    V,
    K,
    Q,
    AttentionOutput,
    Up,
    Gate,
    Down,
    Other,
}

impl Role {
    fn of(name: &str) -> Self {
        const PARTS: [(&str, Role); 9] = [
            ("attn_qkv.weight", Role::Qkv),
            ("attn_kv_b.weight", Role::KvB),
            ("attn_v.weight", Role::V),
            ("attn_k.weight", Role::K),
            ("attn_q.weight", Role::Q),
            ("attn_output.weight", Role::AttentionOutput),
            ("ffn_up", Role::Up),
            ("ffn_gate", Role::Gate),
            ("ffn_down", Role::Down),
        ];
        if name == "output.weight" {
            return Self::Output;
        }
        if is_embedding(name) {
            return Self::Embedding;
        }
        let found = PARTS.iter().find(|(part, _)| name.contains(part));
        found.map_or(Self::Other, |&(_, role)| role)
    }

    fn is_value(self) -> bool {
        matches!(self, Self::V | Self::Qkv | Self::KvB)
    }
}

/// Goes through the tensors in order; some rules count those before.
pub(super) struct Rules<'a> {
    plan: &'a QuantizePlan,
    model: &'a Model,
    /// Tensors seen of attention values and FFN outputs, gates and inputs.
    values: usize,
    downs: usize,
    gates: usize,
    ups: usize,
}

impl<'a> Rules<'a> {
    pub(super) fn new(plan: &'a QuantizePlan, model: &'a Model) -> Self {
        Self {
            plan,
            model,
            values: 0,
            downs: 0,
            gates: 0,
            ups: 0,
        }
    }

    pub(super) fn choose(&mut self, info: &TensorInfo) -> Result<Target> {
        let target = |ty, instead_of| Target {
            name: info.name.clone(),
            ty,
            instead_of,
        };
        let Some(file_type) = self.plan.file_type else {
            return Ok(target(info.ty, None));
        };
        if !self.may_change(info) {
            return Ok(target(info.ty, None));
        }
        let role = Role::of(&info.name);
        let named = self
            .plan
            .overrides
            .iter()
            .find(|(pattern, _)| matches(pattern, &info.name))
            .map(|&(_, ty)| ty);
        // A table of embeddings per layer is large and has a name of its own to be set by.
        let own_name = info.name == "per_layer_token_embd.weight" && named.is_some();
        let fixed = match role {
            Role::Embedding if !own_name => self.plan.embedding,
            Role::Output => self.plan.output,
            _ => None,
        };
        if let Some(ty) = fixed {
            return match ty.row_bytes(info.cols()) {
                Some(_) => Ok(target(ty, None)),
                None => Err(misfit(info, ty)),
            };
        }
        let base = file_type.tensor_type();
        if !base.is_quantized() && named.is_none() {
            return Ok(target(base, None));
        }
        let ty = match named {
            Some(ty) => ty,
            None if self.plan.pure => base,
            None => self.mixture(file_type, base, info, role)?,
        };
        let fitting = fitting(info, ty)?;
        Ok(target(fitting, (fitting != ty).then_some(ty)))
    }

    /// Reports whether the tensor is a matrix that may be quantised at all.
    fn may_change(&self, info: &TensorInfo) -> bool {
        let name = info.name.as_str();
        let kept = KEPT.iter().any(|part| name.contains(part))
            || matches!(name, "position_embd.weight" | "token_types.weight")
            || (self.plan.keep_output && name == "output.weight");
        let matrix = info.dims.iter().skip(1).any(|&dim| dim > 1);
        matrix && name.ends_with("weight") && !kept
    }

    /// Returns place and number of layers of an FFN tensor. Models with experts may hold them in
    /// any order, so there the name decides.
    fn place(&self, info: &TensorInfo, seen: usize) -> Result<(usize, usize)> {
        let n = self.model.layers;
        if self.model.experts <= 1 {
            return Ok((seen, n));
        }
        match layer(&info.name) {
            Some(at) if at < n => Ok((at, n)),
            _ => Err(Error::write(
                &info.name,
                format!("its name gives no layer below {n}"),
            )),
        }
    }

    fn mixture(&mut self, file: F, base: T, info: &TensorInfo, role: Role) -> Result<T> {
        let model = self.model;
        if role == Role::Output || (model.tied && role == Role::Embedding) {
            return Ok(self.output(file, base, info));
        }
        if file == F::MXFP4_MOE {
            let stack = info.dims.get(2).is_some_and(|&n| n > 1);
            return Ok(if stack { T::MXFP4 } else { T::Q8_0 });
        }
        if role == Role::Embedding {
            return Ok(self.plan.embedding.unwrap_or(match file {
                F::IQ2_XXS | F::IQ2_XS | F::IQ1_S | F::IQ1_M => T::Q2_K,
                F::IQ2_S | F::IQ2_M | F::IQ3_XXS => T::IQ3_S,
                F::TQ1_0 | F::TQ2_0 | F::Q2_0 => T::Q4_K,
                _ => base,
            }));
        }
        if matches!(
            file,
            F::IQ2_XXS | F::IQ2_XS | F::IQ1_S | F::IQ2_S | F::IQ2_M | F::IQ1_M
        ) {
            return Ok(self.two_bits(file, base, role));
        }
        Ok(match role {
            Role::V | Role::Qkv | Role::KvB => {
                self.values += 1;
                self.value(file, base)
            }
            Role::K if model.experts == 8 => T::Q8_0,
            Role::K | Role::Q if file == F::IQ3_XS => T::IQ3_XXS,
            Role::K | Role::Q if file == F::IQ3_XXS => T::IQ2_S,
            Role::Down => {
                let (at, n) = self.place(info, self.downs)?;
                self.downs += 1;
                self.down(file, base, at, n)
            }
            Role::AttentionOutput => self.attention_output(file, base),
            Role::Gate => {
                let (at, n) = self.place(info, self.gates)?;
                self.gates += 1;
                middle(file, base, at, n)
            }
            Role::Up => {
                let (at, n) = self.place(info, self.ups)?;
                self.ups += 1;
                middle(file, base, at, n)
            }
            _ => base,
        })
    }

    fn output(&self, file: F, base: T, info: &TensorInfo) -> T {
        if let Some(ty) = self.plan.output {
            return ty;
        }
        match file {
            F::MXFP4_MOE => T::Q8_0,
            _ if self.model.falcon || base.row_bytes(info.cols()).is_none() => T::Q8_0,
            F::IQ2_XXS | F::IQ2_XS | F::IQ3_XXS | F::IQ1_S | F::IQ2_S | F::IQ2_M | F::IQ1_M => {
                T::Q5_K
            }
            _ if base == T::Q8_0 => T::Q8_0,
            _ => T::Q6_K,
        }
    }

    /// The mixtures below three bits.
    fn two_bits(&mut self, file: F, base: T, role: Role) -> T {
        let model = self.model;
        let larger = matches!(file, F::IQ2_S | F::IQ2_M);
        let more = if larger { T::IQ3_S } else { T::Q2_K };
        match role {
            Role::V | Role::Qkv | Role::KvB => {
                if model.group >= 4 || model.experts >= 4 {
                    T::Q4_K
                } else {
                    more
                }
            }
            Role::K if model.experts == 8 => T::Q4_K,
            Role::Down => {
                self.downs += 1;
                if self.downs <= model.layers / 8 {
                    more
                } else {
                    base
                }
            }
            Role::AttentionOutput if model.experts == 8 => T::Q5_K,
            Role::AttentionOutput if matches!(file, F::IQ1_S | F::IQ1_M) => T::IQ2_XXS,
            Role::AttentionOutput if larger => T::IQ3_S,
            _ => base,
        }
    }

    /// Attention values, which are the smaller the more heads share them; one is counted already.
    fn value(&self, file: F, base: T) -> T {
        let model = self.model;
        let (at, shared) = (self.values - 1, model.group >= 4);
        let ty = match file {
            F::Q2_K if shared => T::Q4_K,
            F::Q2_K => T::Q3_K,
            F::Q2_K_S | F::IQ3_XXS | F::IQ3_XS | F::IQ3_S if shared => T::Q4_K,
            F::IQ3_XXS if self.plan.importance.is_none() => T::IQ3_S,
            F::IQ3_M => T::Q4_K,
            F::Q3_K_M if at < 2 => T::Q5_K,
            F::Q3_K_M => T::Q4_K,
            F::Q3_K_L => T::Q5_K,
            F::IQ4_NL | F::IQ4_XS if shared => T::Q5_K,
            F::Q4_K_M | F::Q5_K_M if more_bits(at, model.values) => T::Q6_K,
            F::Q4_K_S if at < 4 => T::Q5_K,
            _ => base,
        };
        match ty {
            _ if model.experts == 8 => T::Q8_0,
            T::Q3_K | T::Q4_K if model.seventy => T::Q5_K,
            ty => ty,
        }
    }

    /// FFN outputs.
    fn down(&self, file: F, base: T, at: usize, n: usize) -> T {
        let falcon = self.model.falcon;
        let measured = self.plan.importance.is_some();
        let early = at < n / 8;
        match file {
            F::Q2_K => T::Q3_K,
            F::Q2_K_S if early => T::Q4_K,
            F::IQ3_XXS if !measured && early => T::Q4_K,
            F::IQ3_XXS if !measured => T::Q3_K,
            F::Q3_K_M if at < n / 16 => T::Q5_K,
            F::Q3_K_M if !falcon || more_bits(at, n) => T::Q4_K,
            F::Q3_K_M => T::Q3_K,
            F::IQ3_M if early || (self.model.experts == 8 && more_bits(at, n)) => T::Q4_K,
            F::Q3_K_L if falcon => T::Q4_K,
            F::Q3_K_L => T::Q5_K,
            F::Q4_K_M if falcon && at < n / 16 => T::Q6_K,
            F::Q4_K_M if falcon && more_bits(at, n) => T::Q5_K,
            F::Q4_K_M if falcon => T::Q4_K,
            F::Q4_K_M | F::Q5_K_M if more_bits(at, n) => T::Q6_K,
            F::IQ4_NL | F::IQ4_XS if early && !measured => T::Q5_K,
            F::Q4_K_S if early && !falcon => T::Q5_K,
            F::Q4_0 if early && measured => T::Q4_1,
            F::Q5_0 if early && measured => T::Q5_1,
            _ => base,
        }
    }

    fn attention_output(&self, file: F, base: T) -> T {
        if self.model.falcon {
            return if file == F::Q3_K_L { T::Q4_K } else { base };
        }
        if self.model.experts == 8 {
            return match file {
                F::Q2_K
                | F::IQ3_XS
                | F::IQ3_XXS
                | F::Q3_K_S
                | F::Q3_K_M
                | F::IQ4_NL
                | F::Q4_K_S
                | F::Q4_K_M
                | F::IQ3_S
                | F::IQ3_M
                | F::IQ4_XS => T::Q5_K,
                _ => base,
            };
        }
        match file {
            F::Q2_K => T::Q3_K,
            F::IQ3_XXS => T::IQ3_S,
            F::Q3_K_M | F::IQ3_M => T::Q4_K,
            F::Q3_K_L => T::Q5_K,
            _ => base,
        }
    }
}

/// FFN gates and inputs of the middle layers get fewer bits in one mixture.
fn middle(file: F, base: T, at: usize, n: usize) -> T {
    if file == F::IQ3_XS && at >= n / 8 && at < n.saturating_mul(7) / 8 {
        T::IQ3_XXS
    } else {
        base
    }
}

/// The first and last eighth of the layers, and every third between.
fn more_bits(at: usize, n: usize) -> bool {
    at < n / 8 || at >= n.saturating_mul(7) / 8 || (at - n / 8) % 3 == 2
}

fn misfit(info: &TensorInfo, ty: T) -> Error {
    let problem = format!(
        "rows of {} values are not whole blocks of {ty}; choose another type for it",
        info.cols()
    );
    Error::write(&info.name, problem)
}

/// Returns `ty`, or what stands in for it where rows are not whole blocks of it.
fn fitting(info: &TensorInfo, ty: T) -> Result<T> {
    if ty.row_bytes(info.cols()).is_some() {
        return Ok(ty);
    }
    let smaller = match ty.fallback() {
        Some(smaller) => smaller,
        None if ty.block_size() <= 32 => ty,
        None => return Err(misfit(info, ty)),
    };
    Ok(match smaller.row_bytes(info.cols()) {
        Some(_) => smaller,
        None => T::F16,
    })
}
