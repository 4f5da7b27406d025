//! The forward pass: tokens of several texts in, hidden states out.

use ropewalk_kernels::bidirectional::{BidirectionalShape, Rows, bidirectional};
use ropewalk_kernels::ops::RopeStyle;
use ropewalk_kernels::{Acts, Isa, Job, Pool, matmul, ops};

use super::weights::{Layer, Linear, Weights};
use crate::decoder::{NormWeights, resize};
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
    /// Tokens of each text.
    pub(super) lens: Vec<usize>,
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
    /// The position of each token in its text.
    positions: Vec<usize>,
}

/// What the rows of a pass have in common.
struct Pass<'a> {
    pool: &'a Pool,
    isa: Isa,
    rows: usize,
    /// Rows that a thread takes at once.
    block: usize,
    eps: f32,
}

/// Rows below which sharing them among threads costs more than working through them.
const ALONE: usize = 16;

impl Pass<'_> {
    /// Runs `f` on blocks of rows, on all threads when there are many.
    fn each<T: Send, E: Send + Into<Error>>(
        &self,
        mut blocks: impl Iterator<Item = T>,
        f: impl Fn(T) -> Result<(), E> + Sync,
    ) -> Result<()> {
        if self.block >= self.rows {
            blocks.try_for_each(f)
        } else {
            for_each(self.pool, blocks.collect(), f)
        }
        .map_err(Into::into)
    }

    /// Returns rows of `width` values, block by block.
    fn blocks<'x>(&self, x: &'x mut [f32], width: usize) -> std::slice::ChunksMut<'x, f32> {
        x.chunks_mut(self.block * width)
    }

    fn norm(&self, x: &mut [f32], norm: &NormWeights) -> Result<(), ropewalk_kernels::Error> {
        ops::layer_norm_in_place(self.isa, x, &norm.weight, norm.bias.as_deref(), self.eps)
    }

    fn add_bias(&self, x: &mut [f32], bias: Option<&[f32]>) -> Result<(), ropewalk_kernels::Error> {
        bias.map_or(Ok(()), |bias| ops::add_bias(self.isa, x, bias))
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
        let out = self.blocks(acts.input(self.rows, width), width);
        self.each(
            out.zip(x.chunks(self.block * width)),
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
        part: &[f32],
        bias: Option<&[f32]>,
        norm: Option<&NormWeights>,
    ) -> Result<()> {
        let width = x.len() / self.rows;
        let blocks = self.blocks(x, width).zip(part.chunks(self.block * width));
        self.each(blocks, |(x, part)| match norm {
            Some(norm) => {
                let both = (&*norm.weight, norm.bias.as_deref());
                ops::add_layer_norm(self.isa, x, part, bias, both, self.eps)
            }
            None => {
                ops::add(self.isa, x, part)?;
                self.add_bias(x, bias)
            }
        })
    }
}

impl Weights {
    /// Runs texts through the network on some threads of the pool, one or all; returns the hidden
    /// states of their tokens, `[rows, hidden]`. Ids, types and lengths are those of the model.
    pub(super) fn pass<'s>(
        &self,
        (pool, threads): (&Pool, usize),
        isa: Isa,
        s: &'s mut Scratch,
        batch: &Batch,
    ) -> Result<&'s [f32]> {
        let (spec, rows) = (&self.spec, batch.ids.len());
        let p = Pass {
            pool,
            isa,
            rows,
            block: if threads == 1 || rows <= ALONE {
                rows
            } else {
                rows.div_ceil(4 * threads)
            },
            eps: spec.norm_eps,
        };
        if p.rows == 0 {
            return Ok(&[]);
        }
        s.positions.clear();
        s.positions
            .extend(batch.lens.iter().flat_map(|&len| 0..len));
        self.embed(&p, s, batch)?;
        let longest = batch.lens.iter().copied().max().unwrap_or(0);
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
            p.add(&mut s.x, &s.out, layer.o.bias.as_deref(), after)?;
            let (before, after) = if spec.norm_first {
                (Some(&layer.ffn_norm), None)
            } else {
                (None, Some(&layer.ffn_norm))
            };
            p.input(&s.x, before, &mut s.acts)?;
            self.feed_forward(&p, layer, s)?;
            p.add(&mut s.x, &s.out, layer.down.bias.as_deref(), after)?;
        }
        if let Some(norm) = &self.final_norm {
            p.each(p.blocks(&mut s.x, spec.hidden), |x| p.norm(x, norm))?;
        }
        Ok(&s.x)
    }

    /// Writes the normalised sum of the embeddings of each token to the stream.
    fn embed(&self, p: &Pass<'_>, s: &mut Scratch, batch: &Batch) -> Result<()> {
        let spec = &self.spec;
        resize(&mut s.x, p.rows * spec.hidden);
        // Room for what is added.
        let room = s.acts.input(p.rows, spec.hidden);
        let blocks = p.blocks(&mut s.x, spec.hidden);
        let blocks = blocks.zip(p.blocks(room, spec.hidden)).enumerate();
        let positions = &s.positions;
        p.each(blocks, |(block, (rows, room))| {
            let rows = rows.chunks_exact_mut(spec.hidden);
            let rows = rows.zip(room.chunks_exact_mut(spec.hidden));
            for ((row, room), token) in rows.zip(block * p.block..) {
                let (id, position) = (batch.ids[token], positions[token]);
                let vocab = spec.vocab_size;
                let outside = || Error::TokenId { id, vocab };
                self.embedding.row(id as usize, row).ok_or_else(outside)?;
                if let Some(types) = &self.types {
                    let kind = batch.types.get(token).copied().unwrap_or(0);
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
                p.norm(row, &self.embedding_norm)?;
            }
            Ok::<_, Error>(())
        })
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
        let blocks = p.blocks(&mut s.q, width).zip(p.blocks(&mut s.k, width));
        let blocks = blocks.zip(p.blocks(&mut s.v, width)).enumerate();
        let positions = &s.positions;
        p.each(blocks, |(block, ((queries, keys), values))| {
            p.add_bias(queries, q.bias.as_deref())?;
            p.add_bias(keys, k.bias.as_deref())?;
            p.add_bias(values, v.bias.as_deref())?;
            let Some(tables) = tables else {
                return Ok(());
            };
            let rows = queries.chunks_exact_mut(width);
            let rows = rows.zip(keys.chunks_exact_mut(width));
            for ((query, key), &position) in rows.zip(&positions[block * p.block..]) {
                let (cos, sin) = tables.at(position, 0);
                for x in [query, key] {
                    ops::rope(p.isa, RopeStyle::SplitHalf, x, spec.head_dim, cos, sin)?;
                }
            }
            Ok::<_, ropewalk_kernels::Error>(())
        })?;
        let shape = BidirectionalShape::new(spec.heads, spec.head_dim).with_window(window);
        let rows = |x| Rows::new(x, width);
        bidirectional(
            p.pool,
            p.isa,
            &shape,
            &batch.lens,
            rows(&s.q),
            rows(&s.k),
            rows(&s.v),
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
            let out = p.blocks(s.inner.input(p.rows, ffn), ffn);
            let parts = p.blocks(&mut s.gate, ffn).zip(p.blocks(&mut s.up, ffn));
            p.each(out.zip(parts), |(out, (gates, ups))| {
                p.add_bias(gates, gate.bias.as_deref())?;
                p.add_bias(ups, up_bias)?;
                ops::gate(p.isa, activation, gates, ups, out)
            })?;
        } else {
            s.acts.prepare_input(p.pool, p.isa, [&up.weights])?;
            let out = s.inner.input(p.rows, ffn);
            matmul(p.pool, &s.acts, &mut [Job::new(&up.weights, out)])?;
            p.each(p.blocks(out, ffn), |rows| match up_bias {
                Some(bias) => ops::bias_activate(p.isa, activation, rows, bias),
                None => {
                    ops::activate(p.isa, activation, rows);
                    Ok(())
                }
            })?;
        }
        p.project(&mut s.inner, [(down, &mut s.out)])
    }
}
