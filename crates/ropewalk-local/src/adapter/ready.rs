//! The matrices of an adapter, packed for the machine and found by where they belong.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use ropewalk_kernels::{Isa, Matrix, Pool, ops};
use ropewalk_spec::adapter::{Change, LoraAdapter, LowRank, Update};
use ropewalk_spec::{Role, Weight};

use super::dora::Lengths;
use crate::decoder::{Attention, Decoder, FeedForward, Layer, Linear};
use crate::load::packed_format;
use crate::{Error, Model, Result};

/// Where a matrix stands in a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Site {
    /// One that no adapter changes.
    None,
    /// A projection of a block, by its number among those of all blocks.
    Block(usize),
    Head,
    Embed,
}

impl Site {
    /// Returns the place of a weight, or of the matrix that a bias belongs to.
    pub(crate) fn of(role: Role, layer: Option<usize>) -> Self {
        let place = match role {
            Role::Q | Role::QBias => 0,
            Role::K | Role::KBias => 1,
            Role::V | Role::VBias => 2,
            Role::O | Role::OBias => 3,
            Role::Gate | Role::GateBias => 4,
            Role::Up | Role::UpBias => 5,
            Role::Down | Role::DownBias => 6,
            Role::Head => return Self::Head,
            Role::Embed => return Self::Embed,
            _ => return Self::None,
        };
        layer.map_or(Self::None, |layer| Self::Block(7 * layer + place))
    }
}

/// What an adapter does at one place.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) low: Option<Pair>,
    /// The weight in place of that of the model.
    pub(super) whole: Option<Matrix>,
    /// What the bias of the model changes by.
    pub(super) bias: Option<Vec<f32>>,
}

/// `scale * B A`
#[derive(Debug)]
pub(super) struct Pair {
    /// `[rank, in]`; parts of one stored matrix share it.
    pub(super) a: Arc<Matrix>,
    /// `[out, rank]`
    pub(super) b: Matrix,
    /// Added to what B gives, `[out]`.
    pub(super) bias: Option<Vec<f32>>,
    pub(super) scale: f32,
    /// What the sum is multiplied with, for DoRA.
    pub(super) lengths: Option<Lengths>,
}

/// What an adapter does to embeddings.
#[derive(Debug, Default)]
pub(super) struct Embedding {
    /// The rows in place of those of the model.
    whole: Option<Weight<'static>>,
    low: Option<Columns>,
}

/// `scale * B A` of a table, column by column.
#[derive(Debug)]
struct Columns {
    /// `[vocab, rank]` and `[rank, hidden]`: A and B turned.
    a: Vec<f32>,
    b: Vec<f32>,
    rank: usize,
    scale: f32,
}

/// All that an adapter does.
#[derive(Debug)]
pub(super) struct Ready {
    parts: HashMap<Site, Part>,
    pub(super) embedding: Option<Embedding>,
}

/// Packs matrices on this thread, so that loading disturbs nobody.
struct Packer {
    isa: Isa,
    pool: Pool,
}

impl Packer {
    fn pack(&self, weight: &Weight<'_>) -> Result<Matrix> {
        let failed = || Error::TensorType {
            name: "adapter".to_owned(),
            ty: weight.ty.name().to_owned(),
        };
        let format = packed_format(weight.ty).ok_or_else(failed)?;
        let [n, k] = weight.shape[..] else {
            return Err(failed());
        };
        let pool = &self.pool;
        Ok(Matrix::pack(self.isa, format, &weight.data, n, k, pool)?)
    }
}

impl Ready {
    pub(super) fn new(model: &Model, adapter: &LoraAdapter) -> Result<Self> {
        let packer = Packer {
            isa: model.isa(),
            pool: Pool::new(NonZeroUsize::MIN),
        };
        let mut this = Self {
            parts: HashMap::new(),
            embedding: None,
        };
        let mut shared: Vec<(Arc<Weight<'static>>, Arc<Matrix>)> = Vec::new();
        for update in &adapter.updates {
            let site = Site::of(update.role, update.layer);
            let fail = |what: &str| Error::Adapter {
                name: adapter.name.clone(),
                problem: format!("{what}; merge it with `LoadOptions::with_merged`"),
            };
            if site == Site::None {
                let role = update.role;
                return Err(fail(&format!(
                    "changes {role:?}, which cannot run beside the model"
                )));
            }
            match &update.change {
                Change::LowRank(low)
                    if low.magnitude.is_some() && !matches!(site, Site::Block(_)) =>
                {
                    return Err(fail("is DoRA of the head or the embeddings"));
                }
                Change::LowRank(low) if site == Site::Embed => {
                    let embedding = this.embedding.get_or_insert_default();
                    embedding.low = Some(Columns::new(low)?);
                }
                Change::LowRank(low) => {
                    let known = shared.iter().find(|(w, _)| Arc::ptr_eq(w, &low.a));
                    let a = match known {
                        Some((_, packed)) => Arc::clone(packed),
                        None => {
                            let packed = Arc::new(packer.pack(&low.a)?);
                            shared.push((Arc::clone(&low.a), Arc::clone(&packed)));
                            packed
                        }
                    };
                    let base = linear_of(model.decoder(), update.role, update.layer);
                    let lengths = match base {
                        Some(l) => Lengths::new(&l.weights, low, (packer.isa, &packer.pool))?,
                        None => None,
                    };
                    this.parts.entry(site).or_default().low = Some(Pair {
                        lengths,
                        a,
                        b: packer.pack(&low.b)?,
                        bias: low.bias.clone(),
                        scale: low.scale,
                    });
                }
                Change::Replace(weight) => this.replace(model, &packer, site, update, weight)?,
                _ => return Err(fail("has a change that this version does not know")),
            }
        }
        Ok(this)
    }

    fn replace(
        &mut self,
        model: &Model,
        packer: &Packer,
        site: Site,
        update: &Update,
        weight: &Weight<'static>,
    ) -> Result<()> {
        let decoder = model.decoder();
        if weight.shape.len() == 1 {
            let mut bias = weight.to_f32()?;
            let base = linear_of(decoder, update.role, update.layer);
            if let Some(base) = base.and_then(|l| l.bias.as_ref()) {
                bias.iter_mut().zip(base).for_each(|(x, base)| *x -= base);
            }
            self.parts.entry(site).or_default().bias = Some(bias);
            return Ok(());
        }
        // PEFT stores tables along with their change, as they were.
        let tabled = site == Site::Embed || model.spec().tied;
        if tabled && matches!(site, Site::Embed | Site::Head) && is_table(decoder, weight)? {
            return Ok(());
        }
        if site == Site::Embed {
            self.embedding.get_or_insert_default().whole = Some(weight.clone());
        } else {
            self.parts.entry(site).or_default().whole = Some(packer.pack(weight)?);
        }
        Ok(())
    }

    pub(super) fn part(&self, site: Site) -> Option<&Part> {
        self.parts.get(&site)
    }

    /// Returns where whole weights take the place of those of the model.
    pub(super) fn whole_sites(&self) -> impl Iterator<Item = Site> + '_ {
        let whole = self.parts.iter().filter(|(_, part)| part.whole.is_some());
        let embeds = self.embedding.as_ref().is_some_and(|e| e.whole.is_some());
        let embeds = embeds.then_some(Site::Embed);
        whole.map(|(&site, _)| site).chain(embeds)
    }

    pub(super) fn bytes(&self) -> usize {
        let floats = |v: &Option<Vec<f32>>| 4 * v.as_ref().map_or(0, Vec::len);
        let part = |part: &Part| {
            let whole = part.whole.as_ref().map_or(0, Matrix::bytes);
            let low = part.low.as_ref();
            let low = low.map_or(0, |l| {
                let lengths = l.lengths.as_ref().map_or(0, Lengths::bytes);
                l.b.bytes() + floats(&l.bias) + lengths
            });
            whole + low + floats(&part.bias)
        };
        // Those that are shared count once.
        let mut firsts: Vec<&Arc<Matrix>> = Vec::new();
        for low in self.parts.values().filter_map(|p| p.low.as_ref()) {
            if !firsts.iter().any(|a| Arc::ptr_eq(a, &low.a)) {
                firsts.push(&low.a);
            }
        }
        let embedding = self.embedding.as_ref().map_or(0, |e| {
            let whole = e.whole.as_ref().map_or(0, |w| w.data.len());
            let low = e.low.as_ref();
            whole + low.map_or(0, |l| 4 * (l.a.len() + l.b.len()))
        });
        let parts: usize = self.parts.values().map(part).sum();
        parts + firsts.iter().map(|a| a.bytes()).sum::<usize>() + embedding
    }
}

impl Columns {
    fn new(low: &LowRank) -> Result<Self> {
        let rank = low.rank();
        let turn = |values: &[f32], columns: usize| -> Vec<f32> {
            let column = |c: usize| values.iter().skip(c).step_by(columns.max(1)).copied();
            (0..columns).flat_map(column).collect()
        };
        let vocab = low.a.shape.last().copied().unwrap_or(0);
        Ok(Self {
            a: turn(&low.a.to_f32()?, vocab),
            b: turn(&low.b.to_f32()?, rank),
            rank,
            scale: low.scale,
        })
    }
}

impl Embedding {
    /// Changes the embedding of a token; `room` has a value per feature.
    pub(super) fn apply(&self, isa: Isa, id: usize, scale: f32, row: &mut [f32]) -> Result<()> {
        if let Some(whole) = &self.whole {
            let decode = ropewalk_gguf::dequantizer(whole.ty);
            let size = whole.ty.row_bytes(row.len()).unwrap_or(0);
            let bytes = whole.data.get(id * size..(id + 1) * size);
            if let (Some(decode), Some(bytes)) = (decode, bytes) {
                decode(bytes, row);
            }
        }
        if let Some(low) = &self.low {
            let column = low.a.get(id * low.rank..).unwrap_or_default();
            for (a, b) in column
                .iter()
                .zip(low.b.chunks_exact(row.len()))
                .take(low.rank)
            {
                ops::add_scaled(isa, row, b, scale * low.scale * a)?;
            }
        }
        Ok(())
    }
}

/// Returns the projection of a block that a weight or a bias belongs to.
fn linear_of(decoder: &Decoder, role: Role, layer: Option<usize>) -> Option<&Linear> {
    let Layer {
        attention: Attention { q, k, v, o, .. },
        feed_forward,
        ..
    } = decoder.layers.get(layer?)?;
    let mlp = match feed_forward {
        FeedForward::Dense(mlp) => Some(mlp),
        FeedForward::Mixture(_) => None,
    };
    Some(match role {
        Role::Q | Role::QBias => q,
        Role::K | Role::KBias => k,
        Role::V | Role::VBias => v,
        Role::O | Role::OBias => o,
        Role::Gate | Role::GateBias => mlp?.gate.as_ref()?,
        Role::Up | Role::UpBias => &mlp?.up,
        Role::Down | Role::DownBias => &mlp?.down,
        _ => return None,
    })
}

/// Returns whether a weight holds the embeddings of the model.
fn is_table(decoder: &Decoder, weight: &Weight<'_>) -> Result<bool> {
    let hidden = decoder.spec.hidden;
    let values = weight.to_f32()?;
    let mut row = vec![0.0; hidden];
    let mut rows = values.chunks_exact(hidden).enumerate();
    Ok(rows.all(|(id, values)| decoder.embedding.row(id, &mut row).is_some() && row == values))
}
