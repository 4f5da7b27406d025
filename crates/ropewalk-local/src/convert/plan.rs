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

/// The weights of a model and where a layout has them; each expert is one.
fn parts(spec: &ModelSpec, layout: NameLayout) -> Vec<Part> {
    let mut out = Vec::new();
    for (role, layer) in spec.weights() {
        let stacked = matches!(role, Role::ExpertGate | Role::ExpertUp | Role::ExpertDown);
        let experts = match (&spec.experts, layer) {
            (Some(experts), Some(layer)) if stacked => (0..experts.count)
                .filter_map(|e| Some((Some(e), spec.expert(role, layer, e, layout)?)))
                .collect(),
            _ => Vec::new(),
        };
        let whole = || spec.weight(role, layer, layout).map(|place| (None, place));
        let places = if stacked {
            experts
        } else {
            whole().into_iter().collect()
        };
        out.extend(places.into_iter().map(|(expert, place)| Part {
            role,
            layer,
            expert,
            place,
        }));
    }
    out
}

/// The tensors of the file in order.
pub(super) fn targets(
    spec: &ModelSpec,
    source: &dyn TensorSource,
    outtype: OutType,
) -> Result<Vec<Target>> {
    let mut by_name: HashMap<String, usize> = HashMap::new();
    let mut targets: Vec<Target> = Vec::new();
    let stored = parts(spec, source.layout());
    for (part, from) in parts(spec, NameLayout::Gguf).into_iter().zip(stored) {
        let name = part.place.name.clone();
        if let Some(target) = by_name.get(&name).and_then(|&at| targets.get_mut(at)) {
            target.parts.push(part);
            continue;
        }
        let found = source.tensor(&from.place.name)?;
        let found = found.ok_or(Error::MissingTensor {
            name: from.place.name,
        })?;
        let shape = part.place.stored.clone();
        let columns = shape.last().copied().unwrap_or(1);
        let ty = if stays_f32(&part, &shape) {
            TensorType::F32
        } else {
            outtype.of(found.ty, columns)
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
    let used: HashSet<String> = parts(spec, source.layout())
        .into_iter()
        .map(|p| p.place.name)
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
