//! Which tensors the file gets, and from which weights.

use std::collections::{HashMap, HashSet};

use ropewalk_gguf::TensorType;
use ropewalk_spec::{ModelSpec, NameLayout, Role, TensorSource, WeightRef};

use super::OutType;
use crate::{Error, Result};

/// A tensor of the file.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) ty: TensorType,
    /// The weights that it stacks.
    pub(super) parts: Vec<Part>,
}

/// A weight inside a tensor of the file.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) role: Role,
    pub(super) layer: Option<usize>,
    pub(super) expert: Option<usize>,
    /// Where it lies in the file.
    pub(super) place: WeightRef,
}

/// The weights of a model and where a file has them; each expert is one.
fn parts(spec: &ModelSpec) -> Vec<Part> {
    let mut out = Vec::new();
    for (role, layer) in spec.weights() {
        let experts = match &spec.experts {
            Some(experts) if role.is_expert() => experts.count,
            _ => 0,
        };
        let experts = (0..experts).map(Some);
        let whole = (!role.is_expert()).then_some(None);
        out.extend(experts.chain(whole).filter_map(|expert| {
            Some(Part {
                role,
                layer,
                expert,
                place: place(spec, role, layer, expert, NameLayout::Gguf)?,
            })
        }));
    }
    out
}

/// Where a layout has a weight.
fn place(
    spec: &ModelSpec,
    role: Role,
    layer: Option<usize>,
    expert: Option<usize>,
    layout: NameLayout,
) -> Option<WeightRef> {
    match expert {
        Some(expert) => spec.expert(role, layer?, expert, layout),
        None => spec.weight(role, layer, layout),
    }
}

/// The tensors of the file in order.
pub(super) fn targets(
    spec: &ModelSpec,
    source: &dyn TensorSource,
    outtype: OutType,
) -> Result<Vec<Target>> {
    let mut by_name: HashMap<String, usize> = HashMap::new();
    let mut targets: Vec<Target> = Vec::new();
    for part in parts(spec) {
        let name = part.place.name.clone();
        if let Some(target) = by_name.get(&name).and_then(|&at| targets.get_mut(at)) {
            target.parts.push(part);
            continue;
        }
        let from = place(spec, part.role, part.layer, part.expert, source.layout());
        let from = from.ok_or_else(|| Error::MissingTensor { name: name.clone() })?;
        let shape = part.place.stored.clone();
        let columns = shape.last().copied().unwrap_or(1);
        let ty = if stays_f32(&part, &shape) {
            TensorType::F32
        } else {
            outtype.of(from.find(source)?.1.ty, columns)
        };
        by_name.insert(name.clone(), targets.len());
        targets.push(Target {
            name,
            shape,
            ty,
            parts: vec![part],
        });
    }
    Ok(targets)
}

/// What `convert_hf_to_gguf.py` keeps in f32 (`prepare_tensors`).
fn stays_f32(part: &Part, shape: &[usize]) -> bool {
    shape.len() < 2
        || matches!(
            part.role,
            Role::PosEmbed | Role::Router | Role::SharedRouter
        )
        || part.place.name.ends_with("_norm.weight")
}

/// Says which tensors of the directory the file has no place for, if there are such.
pub(super) fn unused(spec: &ModelSpec, source: &dyn TensorSource) -> Option<String> {
    let used: HashSet<String> = parts(spec)
        .into_iter()
        .filter_map(|part| place(spec, part.role, part.layer, part.expert, source.layout()))
        .flat_map(|place| std::iter::once(place.name).chain(place.aliases))
        .collect();
    // Buffers that older versions of transformers stored, and the second name of a tied head.
    let known = [
        ".rotary_emb.inv_freq",
        ".masked_bias",
        ".attn.bias",
        ".attention.bias",
    ];
    let tied = |name: &str| spec.tied && (name == "lm_head.weight" || name == "embed_out.weight");
    let names = source.names();
    let mut lost: Vec<&String> = names
        .iter()
        .filter(|name| !used.contains(*name) && !tied(name))
        .filter(|name| !known.iter().any(|end| name.ends_with(end)))
        .collect();
    lost.sort();
    let first = lost.first()?;
    Some(format!(
        "{} tensors are no part of the language model and are left out, such as {first}",
        lost.len()
    ))
}
