//! What the steps of a pass share: rows over threads, norms, projections, the residual stream.

use ropewalk_kernels::{Acts, Isa, Job, Matrix, Pool, matmul, ops};
use ropewalk_spec::{ModelSpec, Norm};

use super::profile::{Clock, Stage};
use super::{Linear, NormWeights};
use crate::Result;
use crate::adapter::{Batch, Site};
use crate::rows::for_each;

/// Values below which sharing rows among threads costs more than working through them.
const ALONE: usize = 1 << 14;

/// What the rows of a pass have in common.
pub(crate) struct Pass<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) isa: Isa,
    pub(super) spec: &'a ModelSpec,
    pub(crate) rows: usize,
    /// The rows that run with adapters, if any do.
    pub(super) adapters: Option<&'a Batch<'a>>,
}

impl Pass<'_> {
    /// Runs `f` on every item, on all threads when there are several rows and they have at least
    /// some thousand values together.
    pub(crate) fn each<T: Send, E: Send + Into<crate::Error>>(
        &self,
        values_per_row: usize,
        mut items: impl Iterator<Item = T>,
        f: impl Fn(T) -> Result<(), E> + Sync,
    ) -> Result<()> {
        if self.rows == 1 || self.rows * values_per_row <= ALONE {
            items.try_for_each(f)
        } else {
            for_each(self.pool, items.collect(), f)
        }
        .map_err(Into::into)
    }

    /// Writes normalised rows, or the rows as they are, to where projections take them from.
    pub(super) fn norm_into(
        &self,
        x: &[f32],
        norm: Option<&NormWeights>,
        acts: &mut Acts,
    ) -> Result<()> {
        let width = self.spec.hidden;
        let out = acts.input(self.rows, width);
        let rows = out.chunks_exact_mut(width).zip(x.chunks_exact(width));
        self.each(width, rows, |(out, x)| match norm {
            Some(norm) => self.norm(x, norm, out),
            None => {
                out.copy_from_slice(x);
                Ok(())
            }
        })
    }

    /// Normalises one row as the blocks of the model do.
    pub(super) fn norm(
        &self,
        x: &[f32],
        norm: &NormWeights,
        out: &mut [f32],
    ) -> Result<(), ropewalk_kernels::Error> {
        let (eps, weight) = (self.spec.norm_eps, &norm.weight);
        match self.spec.norm {
            Norm::Layer => ops::layer_norm(self.isa, x, weight, norm.bias.as_deref(), eps, out),
            _ => ops::rms_norm(self.isa, x, weight, eps, out),
        }
    }

    /// Adds what a part computed to the residual stream: its bias, its norm, the scale.
    pub(super) fn add_part(
        &self,
        x: &mut [f32],
        part: &mut [f32],
        bias: &Option<Vec<f32>>,
        norm: &Option<NormWeights>,
    ) -> Result<()> {
        let (width, isa) = (self.spec.hidden, self.isa);
        let (scale, eps) = (self.spec.residual_scale, self.spec.norm_eps);
        let rows = x.chunks_exact_mut(width).zip(part.chunks_exact_mut(width));
        self.each(width, rows, |(x, part)| {
            add_bias(isa, part, bias.as_deref())?;
            if let Some(NormWeights { weight, bias }) = norm {
                match self.spec.norm {
                    Norm::Layer => {
                        ops::layer_norm_in_place(isa, part, weight, bias.as_deref(), eps)?;
                    }
                    _ => ops::rms_norm_in_place(isa, part, weight, eps)?,
                }
            }
            if (scale - 1.0).abs() > f32::EPSILON {
                ops::add_scaled(isa, x, part, scale)
            } else {
                ops::add(isa, x, part)
            }
        })
    }

    /// Multiplies the rows in `acts` by several matrices, in one phase. Biases are left to whoever
    /// takes the rows next.
    pub(super) fn project<const N: usize>(
        &self,
        acts: &mut Acts,
        (clock, stage): (&mut Clock, Stage),
        mut parts: [(&Linear, &mut Vec<f32>); N],
    ) -> Result<()> {
        let parts = parts.each_mut().map(|(linear, out)| {
            resize(out, self.rows * linear.weights.rows());
            (&linear.weights, linear.site, out.as_mut_slice())
        });
        self.multiply(acts, (clock, stage), parts)
    }

    /// Multiplies the rows in `acts` by several matrices, `[rows, out]` each, and adds what adapters
    /// change.
    pub(super) fn multiply<const N: usize>(
        &self,
        acts: &mut Acts,
        (clock, stage): (&mut Clock, Stage),
        mut parts: [(&Matrix, Site, &mut [f32]); N],
    ) -> Result<()> {
        let changes = |b: &&Batch<'_>| b.changes(parts.iter().map(|(_, site, _)| *site));
        if let Some(batch) = self.adapters.filter(changes) {
            batch.multiply(self, acts, &mut parts)?;
        } else {
            let matrices = parts.iter().map(|(weights, ..)| *weights);
            acts.prepare_input(self.pool, self.isa, matrices)?;
            clock.lap(Stage::Norms);
            let mut jobs = parts
                .each_mut()
                .map(|(weights, _, out)| Job::new(weights, out));
            matmul(self.pool, acts, &mut jobs)?;
        }
        clock.lap(stage);
        Ok(())
    }
}

/// Adds a bias to a row.
pub(crate) fn add_bias(
    isa: Isa,
    row: &mut [f32],
    bias: Option<&[f32]>,
) -> Result<(), ropewalk_kernels::Error> {
    bias.map_or(Ok(()), |bias| ops::add(isa, row, bias))
}

/// Sets the length without clearing what every pass overwrites.
pub(crate) fn resize(v: &mut Vec<f32>, len: usize) {
    if v.len() < len {
        v.resize(len, 0.0);
    } else {
        v.truncate(len);
    }
}

/// Returns an empty vector over the same memory, for what differs in lifetimes alone: the standard
/// library collects in place what has the same size and alignment.
pub(super) fn recycle<T, U>(mut v: Vec<T>) -> Vec<U> {
    v.clear();
    v.into_iter().filter_map(|_| None).collect()
}
