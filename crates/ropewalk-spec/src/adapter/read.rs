//! From the two matrices of a stored tensor to the changes of its weights.

use std::borrow::Cow;
use std::sync::Arc;

use ropewalk_gguf::TensorType;

use super::modules::Module;
use super::{Change, LowRank, Update};
use crate::{Result, TensorData, Weight};

/// What a file holds for one matrix, in the shapes of [`LowRank`].
pub(super) struct Pair {
    pub(super) a: Weight<'static>,
    pub(super) b: Weight<'static>,
    pub(super) bias: Option<Vec<f32>>,
    pub(super) magnitude: Option<Vec<f32>>,
    pub(super) scale: f32,
}

impl Pair {
    /// Cuts the rows of each weight out of those of the stored tensor.
    pub(super) fn updates(self, module: &Module) -> Vec<Update> {
        let a = Arc::new(self.a);
        let part = |part: &super::modules::Part| {
            // B of embeddings has a row per feature, not per token.
            let whole = module.is(crate::Role::Embed);
            let rows: Vec<usize> = if whole {
                (0..self.b.shape.first().copied().unwrap_or(0)).collect()
            } else {
                let count = part.at.shape.first().copied().unwrap_or(0);
                (0..count).map(|row| part.at.source_row(row)).collect()
            };
            let cut = |values: &Vec<f32>| {
                let take = |&row: &usize| values.get(row).copied().unwrap_or(0.0);
                rows.iter().map(take).collect::<Vec<f32>>()
            };
            Update {
                role: part.role,
                layer: part.layer,
                change: Change::LowRank(LowRank {
                    a: Arc::clone(&a),
                    b: choose(&self.b, &rows),
                    scale: self.scale,
                    bias: self.bias.as_ref().map(cut),
                    magnitude: self.magnitude.as_ref().map(cut),
                }),
            }
        };
        module.parts.iter().map(part).collect()
    }
}

/// Chooses rows of a matrix of floats.
fn choose(weight: &Weight<'static>, rows: &[usize]) -> Weight<'static> {
    let columns = weight.shape.last().copied().unwrap_or(0);
    let size = weight.ty.row_bytes(columns).unwrap_or(0);
    let mut data = Vec::with_capacity(rows.len() * size);
    for &row in rows {
        if let Some(bytes) = weight.data.get(row * size..(row + 1) * size) {
            data.extend_from_slice(bytes);
        }
    }
    Weight {
        shape: vec![rows.len(), columns],
        ty: weight.ty,
        data: Cow::Owned(data),
        coding: None,
    }
}

/// Copies a tensor out of its file; types of blocks become f32.
pub(super) fn owned(tensor: TensorData<'_>) -> Result<Weight<'static>> {
    let floats = matches!(
        tensor.ty,
        TensorType::F32 | TensorType::F16 | TensorType::BF16
    );
    let weight = Weight {
        shape: tensor.shape,
        ty: tensor.ty,
        data: tensor.data,
        coding: None,
    };
    if floats {
        return Ok(Weight {
            shape: weight.shape,
            ty: weight.ty,
            data: Cow::Owned(weight.data.into_owned()),
            coding: None,
        });
    }
    let values = weight.to_f32()?;
    Ok(from_f32(weight.shape, &values))
}

/// A weight of f32 values.
pub(super) fn from_f32(shape: Vec<usize>, values: &[f32]) -> Weight<'static> {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes());
    Weight {
        shape,
        ty: TensorType::F32,
        data: Cow::Owned(bytes.collect()),
        coding: None,
    }
}

/// Exchanges rows and columns of a matrix of floats.
pub(super) fn transposed(weight: &Weight<'static>) -> Result<Weight<'static>> {
    let [rows, columns] = weight.shape[..] else {
        return Ok(weight.clone());
    };
    let values = weight.to_f32()?;
    let mut turned = Vec::with_capacity(values.len());
    for column in 0..columns {
        turned.extend(values.iter().skip(column).step_by(columns).take(rows));
    }
    Ok(from_f32(vec![columns, rows], &turned))
}

impl Pair {
    /// Says what of the shapes does not fit a module, if anything.
    pub(super) fn misfit(&self, module: &Module) -> Option<String> {
        let (inputs, outputs) = module.sizes()?;
        // The table of embeddings is multiplied from its other side.
        let (inputs, outputs) = if module.is(crate::Role::Embed) {
            (outputs, inputs)
        } else {
            (inputs, outputs)
        };
        let name = &module.name;
        let (a, b) = (&self.a.shape, &self.b.shape);
        let rank = a.first().copied().unwrap_or(0);
        if rank == 0 || a[..] != [rank, inputs] || b[..] != [outputs, rank] {
            return Some(format!(
                "{name} (A {a:?} and B {b:?}; the base has {inputs} inputs and {outputs} outputs)"
            ));
        }
        for (what, vector) in [("bias", &self.bias), ("magnitude", &self.magnitude)] {
            if let Some(vector) = vector.as_ref().filter(|v| v.len() != outputs) {
                let found = vector.len();
                return Some(format!("{name} ({what} [{found}] for {outputs} outputs)"));
            }
        }
        None
    }
}
