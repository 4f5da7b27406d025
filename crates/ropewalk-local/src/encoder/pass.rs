//! The forward pass: tokens of several texts in, hidden states out.

use ropewalk_kernels::ops::RopeStyle;
use ropewalk_kernels::{Acts, Isa, Job, Pool, matmul, ops};

use super::attention::{Shape, attention};
use super::weights::{Layer, Linear, Weights};
use crate::decoder::{NormWeights, add_bias, resize};
use crate::rope::RopeTables;
use crate::rows::for_each;
use crate::{Error, Result};

/// Texts that run together, one after the other without padding.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The tokens of all texts.
    pub(super) ids: Vec<u32>,
    /// The type of each token; where the model has types.
    pub(super) types: Vec<u32>,
    /// Tokens up to the end of each text.
    pub(super) ends: Vec<usize>,
}

/// Buffers that every pass uses again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    acts: Acts,
    inner: Acts,
    /// Of all layers, and of those with a window where they differ.
    rope: [RopeTables; 2],
    /// The residual stream, `[rows, hidden]`.
    x: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    /// What a part adds to the stream, `[rows, hidden]`.
    out: Vec<f32>,
    heads: Vec<f32>,
}

/// What the rows of a pass have in common.
struct Pass<'a> {
    pool: &'a Pool,
    isa: Isa,
    rows: usize,
    eps: f32,
}

/// Values below which sharing rows among threads costs more than working through them.
const ALONE: usize = 1 << 14;

impl Pass<'_> {
    /// Runs `f` on every item, on all threads when there are some thousand values.
    fn each<T: Send, E: Send + Into<Error>>(
        &self,
        values_per_row: usize,
        mut items: impl Iterator<Item = T>,
        f: impl Fn(T) -> Result<(), E> + Sync,
    ) -> Result<()> {
        if self.rows * values_per_row <= ALONE {
            items.try_for_each(f)
        } else {
            for_each(self.pool, items.collect(), f)
        }
        .map_err(Into::into)
    }

    fn norm(&self, x: &mut [f32], norm: &NormWeights) -> Result<(), ropewalk_kernels::Error> {
        ops::layer_norm_in_place(self.isa, x, &norm.weight, norm.bias.as_deref(), self.eps)
    }

    /// Multiplies the rows in `acts` by several matrices, in one phase. Biases are left to whoever
    /// takes the rows next.
    fn project<const N: usize>(
        &self,
        acts: &mut Acts,
        mut parts: [(&Linear, &mut Vec<f32>); N],
    ) -> Result<()> {
        acts.prepare_input(self.pool, self.isa, parts.iter().map(|(l, _)| &l.weights))?;
        let mut jobs = parts.each_mut().map(|(linear, out)| {
            resize(out, self.rows * linear.weights.rows());
            Job::new(&linear.weights, out)
        });
        Ok(matmul(self.pool, acts, &mut jobs)?)
    }

    /// Writes rows, normalised if there is a norm, to where projections take them from.
    fn input(&self, x: &[f32], norm: Option<&NormWeights>, acts: &mut Acts) -> Result<()> {
        let width = x.len() / self.rows;
        let out = acts.input(self.rows, width).chunks_exact_mut(width);
        self.each(
            width,
            out.zip(x.chunks_exact(width)),
            |(out, x)| match norm {
                Some(NormWeights { weight, bias }) => {
                    ops::layer_norm(self.isa, x, weight, bias.as_deref(), self.eps, out)
                }
                None => {
                    out.copy_from_slice(x);
                    Ok(())
                }
            },
        )
    }

    /// Adds what a part computed, and its bias, to the stream, which is normalised then if there is
    /// a norm.
    fn add(
        &self,
        x: &mut [f32],
        part: &mut [f32],
        bias: Option<&[f32]>,
        norm: Option<&NormWeights>,
    ) -> Result<()> {
        let width = x.len() / self.rows;
        let rows = x.chunks_exact_mut(width).zip(part.chunks_exact_mut(width));
        self.each(width, rows, |(x, part)| {
            add_bias(self.isa, part, bias)?;
            ops::add(self.isa, x, part)?;
            norm.map_or(Ok(()), |norm| self.norm(x, norm))
        })
    }
}

impl Weights {
    /// Runs texts through the network; returns the hidden states of their tokens,
    /// `[rows, hidden]`. Ids, types and lengths are those of the model.
    pub(super) fn pass<'s>(
        &self,
        pool: &Pool,
        isa: Isa,
        s: &'s mut Scratch,
        batch: &Batch,
    ) -> Result<&'s [f32]> {
        let spec = &self.spec;
        let p = Pass {
            pool,
            isa,
            rows: batch.ids.len(),
            eps: spec.norm_eps,
        };
        if p.rows == 0 {
            return Ok(&[]);
        }
        self.embed(&p, s, batch)?;
        let longest = positions(batch).map(|at| at + 1).max().unwrap_or(0);
        let ropes = [&spec.rope, &spec.rope_local];
        for (tables, rope) in s.rope.iter_mut().zip(ropes) {
            if let Some(rope) = rope {
                tables.grow(rope, [longest].into_iter());
            }
        }
        for (i, layer) in self.layers.iter().enumerate() {
            let (before, after) = if spec.norm_first {
                (layer.attention_norm.as_ref(), None)
            } else {
                (None, layer.attention_norm.as_ref())
            };
            p.input(&s.x, before, &mut s.acts)?;
            self.attention(&p, layer, i, s, batch)?;
            p.add(&mut s.x, &mut s.out, layer.o.bias.as_deref(), after)?;
            let (before, after) = if spec.norm_first {
                (Some(&layer.ffn_norm), None)
            } else {
                (None, Some(&layer.ffn_norm))
            };
            p.input(&s.x, before, &mut s.acts)?;
            self.feed_forward(&p, layer, s)?;
            p.add(&mut s.x, &mut s.out, layer.down.bias.as_deref(), after)?;
        }
        if let Some(norm) = &self.final_norm {
            let rows = s.x.chunks_exact_mut(spec.hidden);
            p.each(spec.hidden, rows, |x| p.norm(x, norm))?;
        }
        Ok(&s.x)
    }

    /// Writes the normalised sum of the embeddings of each token to the stream.
    fn embed(&self, p: &Pass<'_>, s: &mut Scratch, batch: &Batch) -> Result<()> {
        let spec = &self.spec;
        resize(&mut s.x, p.rows * spec.hidden);
        // Room for what is added.
        let room = s.acts.input(p.rows, spec.hidden);
        let types = batch.types.iter().copied().chain(std::iter::repeat(0));
        let tokens = batch.ids.iter().zip(types).zip(positions(batch));
        let rows = s.x.chunks_exact_mut(spec.hidden);
        let rows = rows.zip(room.chunks_exact_mut(spec.hidden)).zip(tokens);
        p.each(
            spec.hidden,
            rows,
            |((row, room), ((&id, kind), position))| {
                let vocab = spec.vocab_size;
                let outside = || Error::TokenId { id, vocab };
                self.embedding.row(id as usize, row).ok_or_else(outside)?;
                if let Some(types) = &self.types {
                    types.row(kind as usize, room).ok_or_else(outside)?;
                    ops::add(p.isa, row, room)?;
                }
                if let Some(positions) = &self.positions {
                    let limit = Error::Context {
                        wanted: position + 1,
                        limit: spec.max_tokens,
                    };
                    positions
                        .row(spec.position_offset + position, room)
                        .ok_or(limit)?;
                    ops::add(p.isa, row, room)?;
                }
                Ok::<_, Error>(p.norm(row, &self.embedding_norm)?)
            },
        )
    }

    /// Computes attention for the rows in `acts`; the output, without its bias, is in `out`.
    fn attention(
        &self,
        p: &Pass<'_>,
        layer: &Layer,
        index: usize,
        s: &mut Scratch,
        batch: &Batch,
    ) -> Result<()> {
        let spec = &self.spec;
        let Layer { q, k, v, o, .. } = layer;
        p.project(&mut s.acts, [(q, &mut s.q), (k, &mut s.k), (v, &mut s.v)])?;
        let window = spec.window.get(index).copied().flatten();
        let local = window.is_some() && spec.rope_local.is_some();
        let tables = spec.rope_of(index).map(|_| &s.rope[usize::from(local)]);
        let width = spec.hidden;
        let rows = s.q.chunks_exact_mut(width).zip(s.k.chunks_exact_mut(width));
        let rows = rows.zip(s.v.chunks_exact_mut(width)).zip(positions(batch));
        p.each(3 * width, rows, |(((query, key), value), position)| {
            add_bias(p.isa, query, q.bias.as_deref())?;
            add_bias(p.isa, key, k.bias.as_deref())?;
            add_bias(p.isa, value, v.bias.as_deref())?;
            let Some(tables) = tables else {
                return Ok(());
            };
            let (cos, sin) = tables.at(position, 0);
            ops::rope(p.isa, RopeStyle::SplitHalf, query, spec.head_dim, cos, sin)?;
            ops::rope(p.isa, RopeStyle::SplitHalf, key, spec.head_dim, cos, sin)
        })?;
        let shape = Shape {
            heads: spec.heads,
            head_dim: spec.head_dim,
            scale: (spec.head_dim as f32).sqrt().recip(),
            window,
        };
        attention(
            (p.pool, p.isa),
            &shape,
            &batch.ends,
            (&s.q, &s.k, &s.v),
            &mut s.heads,
            s.inner.input(p.rows, width),
        )?;
        p.project(&mut s.inner, [(o, &mut s.out)])
    }

    /// Computes the feed-forward layer for the rows in `acts`; the output, without its bias, is in
    /// `out`.
    fn feed_forward(&self, p: &Pass<'_>, layer: &Layer, s: &mut Scratch) -> Result<()> {
        let (ffn, activation) = (self.spec.ffn, self.activation);
        let Layer { gate, up, down, .. } = layer;
        let up_bias = up.bias.as_deref();
        if let Some(gate) = gate {
            p.project(&mut s.acts, [(gate, &mut s.gate), (up, &mut s.up)])?;
            let out = s.inner.input(p.rows, ffn).chunks_exact_mut(ffn);
            let parts = s.gate.chunks_exact_mut(ffn).zip(s.up.chunks_exact_mut(ffn));
            p.each(ffn, out.zip(parts), |(out, (gate_row, up_row))| {
                add_bias(p.isa, gate_row, gate.bias.as_deref())?;
                add_bias(p.isa, up_row, up_bias)?;
                ops::gate(p.isa, activation, gate_row, up_row, out)
            })?;
        } else {
            s.acts.prepare_input(p.pool, p.isa, [&up.weights])?;
            let out = s.inner.input(p.rows, ffn);
            matmul(p.pool, &s.acts, &mut [Job::new(&up.weights, out)])?;
            p.each(ffn, out.chunks_exact_mut(ffn), |row| {
                add_bias(p.isa, row, up_bias)?;
                ops::activate(p.isa, activation, row);
                Ok::<_, ropewalk_kernels::Error>(())
            })?;
        }
        p.project(&mut s.inner, [(down, &mut s.out)])
    }
}

/// The position of each token in its text.
fn positions(batch: &Batch) -> impl Iterator<Item = usize> + '_ {
    let firsts = std::iter::once(0).chain(batch.ends.iter().copied());
    let spans = firsts.zip(&batch.ends);
    spans.flat_map(|(first, &end)| 0..end - first)
}
