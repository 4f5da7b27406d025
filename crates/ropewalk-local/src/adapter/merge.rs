//! Adapters that become part of the weights while a model loads.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ropewalk_gguf::{TensorType, can_quantize, quantize, requires_importance};
use ropewalk_kernels::{Isa, Pool, ops};
use ropewalk_spec::adapter::{Change, LoraAdapter, LowRank};
use ropewalk_spec::{ModelSpec, Role, Weight};

use crate::rows::for_each;
use crate::{Error, LoadOptions, Result};

/// An adapter that is merged while a model loads: a file or directory, or what was read of one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AdapterSource {
    /// A PEFT directory or a GGUF file.
    Path(PathBuf),
    /// An adapter that was read, or trained, already.
    Adapter(Arc<LoraAdapter>),
}

impl From<&str> for AdapterSource {
    fn from(path: &str) -> Self {
        Self::Path(path.into())
    }
}

impl From<&Path> for AdapterSource {
    fn from(path: &Path) -> Self {
        Self::Path(path.into())
    }
}

impl From<PathBuf> for AdapterSource {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<LoraAdapter> for AdapterSource {
    fn from(adapter: LoraAdapter) -> Self {
        Self::Adapter(Arc::new(adapter))
    }
}

impl From<Arc<LoraAdapter>> for AdapterSource {
    fn from(adapter: Arc<LoraAdapter>) -> Self {
        Self::Adapter(adapter)
    }
}

/// All that is merged, by the weight it belongs to.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    adapters: Vec<(Arc<LoraAdapter>, f32)>,
    /// Indices of an adapter and of an update in it.
    at: HashMap<(Role, Option<usize>), Vec<(usize, usize)>>,
    /// The type of merged weights; `None` means as they are stored.
    ty: Option<TensorType>,
}

impl Merge {
    /// Reads the adapters that the options name.
    pub(crate) fn open(options: &LoadOptions, spec: &ModelSpec) -> Result<Self> {
        let floats = [TensorType::F32, TensorType::F16, TensorType::BF16];
        if let Some(ty) = options.merged_type.filter(|ty| !floats.contains(ty)) {
            return Err(Error::Option {
                name: "merged type",
                value: ty.name().to_owned(),
                allowed: "F32, F16 or BF16; other types come by `with_quantize`",
            });
        }
        let mut this = Self {
            ty: options.merged_type,
            ..Self::default()
        };
        for (source, scale) in &options.merged {
            if !scale.is_finite() {
                return Err(Error::Option {
                    name: "adapter scale",
                    value: scale.to_string(),
                    allowed: "a finite number",
                });
            }
            let adapter = match source {
                AdapterSource::Path(path) => Arc::new(LoraAdapter::open(path, spec)?),
                AdapterSource::Adapter(adapter) => {
                    adapter.check(spec)?;
                    Arc::clone(adapter)
                }
            };
            if *scale == 0.0 {
                continue;
            }
            for (i, update) in adapter.updates.iter().enumerate() {
                let list = this.at.entry((update.role, update.layer)).or_default();
                list.push((this.adapters.len(), i));
            }
            this.adapters.push((adapter, *scale));
        }
        Ok(this)
    }

    fn changes(&self, role: Role, at: Option<usize>) -> impl Iterator<Item = (&Change, f32)> {
        let list = self.at.get(&(role, at)).map(Vec::as_slice);
        list.unwrap_or_default().iter().filter_map(|&(adapter, i)| {
            let (adapter, scale) = self.adapters.get(adapter)?;
            Some((&adapter.updates.get(i)?.change, *scale))
        })
    }

    /// Returns whether a weight changes.
    pub(crate) fn touches(&self, role: Role, at: Option<usize>) -> bool {
        self.at.contains_key(&(role, at))
    }

    /// Changes a matrix. It is coded again as it was stored, unless another type is asked for or
    /// `coded` says that it will be anyway.
    pub(crate) fn matrix<'a>(
        &self,
        (role, at): (Role, Option<usize>),
        weight: Weight<'a>,
        coded: bool,
        (isa, pool): (Isa, &Pool),
    ) -> Result<Weight<'a>> {
        if !self.touches(role, at) {
            return Ok(weight);
        }
        let mut values = weight.to_f32()?;
        let width = weight.shape.last().copied().unwrap_or(0);
        // As beside the model: first the weight that takes the place, then what is added.
        let mut whole = 0;
        for (change, _) in self.changes(role, at) {
            if let Change::Replace(other) = change {
                values = other.to_f32()?;
                whole += 1;
            }
        }
        if whole > 1 {
            return Err(Error::Option {
                name: "merged adapters",
                value: format!("{whole} whole weights for {role:?}"),
                allowed: "one that replaces it",
            });
        }
        for (change, scale) in self.changes(role, at) {
            match change {
                Change::LowRank(low) if role == Role::Embed => {
                    embeddings(&mut values, width, low, scale, pool)?;
                }
                Change::LowRank(low) => add(&mut values, width, low, scale, (isa, pool))?,
                Change::Replace(_) => {}
                _ => {
                    return Err(Error::Option {
                        name: "merged adapter",
                        value: format!("another change of {role:?}"),
                        allowed: "what this version knows",
                    });
                }
            }
        }
        let ty = match self.ty {
            Some(ty) => ty,
            None if coded => TensorType::F32,
            None => weight.ty,
        };
        if !can_quantize(ty) || requires_importance(ty) {
            return Err(Error::Option {
                name: "merged type",
                value: format!("{ty} for {role:?}"),
                allowed: "`with_merged_type(TensorType::F16)`: this type cannot be written again",
            });
        }
        let data = quantize(ty, &values).map_err(|source| Error::Convert {
            what: format!("{role:?} with its adapter"),
            source: Box::new(source),
        })?;
        let coding = weight.coding.filter(|_| self.ty.is_none());
        let whole = Weight::new(weight.shape, ty, Cow::Owned(data));
        Ok(match coding {
            Some(coding) => whole.with_coding(coding),
            None => whole,
        })
    }

    /// Changes a vector: a norm or a bias; one that the model lacks may come into being.
    pub(crate) fn vector(
        &self,
        role: Role,
        at: Option<usize>,
        vector: Option<Vec<f32>>,
    ) -> Result<Option<Vec<f32>>> {
        let mut vector = vector;
        for (change, _) in self.changes(role, at) {
            if let Change::Replace(other) = change {
                vector = Some(other.to_f32()?);
            }
        }
        let matrix = match role {
            Role::QBias => Role::Q,
            Role::KBias => Role::K,
            Role::VBias => Role::V,
            Role::OBias => Role::O,
            Role::GateBias => Role::Gate,
            Role::UpBias => Role::Up,
            Role::DownBias => Role::Down,
            _ => return Ok(vector),
        };
        for (change, scale) in self.changes(matrix, at) {
            let Change::LowRank(LowRank {
                bias: Some(bias),
                scale: own,
                ..
            }) = change
            else {
                continue;
            };
            let sum = vector.get_or_insert_with(|| vec![0.0; bias.len()]);
            sum.iter_mut()
                .zip(bias)
                .for_each(|(x, b)| *x += scale * own * b);
        }
        Ok(vector)
    }
}

/// Adds `scale * B A` to the rows of a matrix, and brings them to their lengths for DoRA.
fn add(
    values: &mut [f32],
    width: usize,
    low: &LowRank,
    scale: f32,
    (isa, pool): (Isa, &Pool),
) -> Result<()> {
    let (a, b, rank) = (low.a.to_f32()?, low.b.to_f32()?, low.rank());
    let rows = values.chunks_exact_mut(width).zip(b.chunks_exact(rank));
    let rows: Vec<_> = rows.enumerate().collect();
    for_each(pool, rows, |(i, (row, b))| {
        for (a, b) in a.chunks_exact(width).zip(b) {
            ops::add_scaled(isa, row, a, scale * low.scale * b)?;
        }
        if let Some(length) = low.magnitude.as_ref().and_then(|m| m.get(i)) {
            let square: f64 = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
            ops::scale(isa, row, length / square.sqrt() as f32);
        }
        Ok::<_, ropewalk_kernels::Error>(())
    })?;
    Ok(())
}

/// The same for a table of embeddings, whose A has a column per token.
fn embeddings(
    values: &mut [f32],
    width: usize,
    low: &LowRank,
    scale: f32,
    pool: &Pool,
) -> Result<()> {
    if low.magnitude.is_some() {
        return Err(Error::Option {
            name: "merged adapter",
            value: "DoRA of the embeddings".to_owned(),
            allowed: "DoRA of linear layers",
        });
    }
    let (a, b, rank) = (low.a.to_f32()?, low.b.to_f32()?, low.rank());
    let vocab = low.a.shape.last().copied().unwrap_or(0);
    let rows: Vec<_> = values.chunks_exact_mut(width).enumerate().collect();
    for_each(pool, rows, |(token, row)| {
        let column: Vec<f32> = (0..rank).map(|i| a[i * vocab + token]).collect();
        for (x, b) in row.iter_mut().zip(b.chunks_exact(rank)) {
            let sum: f32 = b.iter().zip(&column).map(|(b, a)| b * a).sum();
            *x += scale * low.scale * sum;
        }
        Ok::<_, ropewalk_kernels::Error>(())
    })?;
    Ok(())
}
