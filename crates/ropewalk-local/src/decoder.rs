//! The one decoder: every family runs through this forward pass.

use ropewalk_kernels::attention::{
    AttentionScratch, AttentionSeq, AttentionShape, KvMut, KvRef, attention_batch, kv_store,
};
use ropewalk_kernels::ops::{self, RopeStyle};
use ropewalk_kernels::{Acts, Isa, Job, Matrix, Pool, matmul};
use ropewalk_spec::ModelSpec;

use crate::cache::Store;
use crate::load::Embedding;
use crate::rope::{RopeTables, length_class};
use crate::rows::{chunks_of, for_each};
use crate::{Cache, Result};

/// A weight matrix and its bias.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weights: Matrix,
    pub(crate) bias: Option<Vec<f32>>,
}

/// The weights of one block.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) attn_norm: Vec<f32>,
    pub(crate) q: Linear,
    pub(crate) k: Linear,
    pub(crate) v: Linear,
    pub(crate) o: Linear,
    /// RMS norms over each head of q and k.
    pub(crate) qk_norm: Option<(Vec<f32>, Vec<f32>)>,
    pub(crate) ffn_norm: Vec<f32>,
    pub(crate) gate: Linear,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
}

#[derive(Debug)]
pub(crate) struct Decoder {
    pub(crate) spec: ModelSpec,
    pub(crate) embedding: Embedding,
    pub(crate) layers: Vec<Layer>,
    pub(crate) output_norm: Vec<f32>,
    pub(crate) head: Matrix,
}

/// A run of new tokens of one sequence.
#[derive(Debug)]
pub(crate) struct Span<'a> {
    pub(crate) cache: &'a mut Cache,
    pub(crate) ids: &'a [u32],
    /// Length of the sequence when all of its step is done; long RoPE depends on it.
    pub(crate) total: usize,
    /// Rows at the beginning whose logits nobody wants.
    pub(crate) skip_logits: usize,
}

/// Buffers that every pass uses again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    acts: Acts,
    rope: RopeTables,
    attention: AttentionScratch,
    x: Vec<f32>,
    normed: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    mixed: Vec<f32>,
    out: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    logits: Vec<f32>,
}

/// What the rows of a pass have in common.
struct Pass<'a> {
    pool: &'a Pool,
    isa: Isa,
    rows: usize,
}

impl Decoder {
    pub(crate) fn weight_bytes(&self) -> usize {
        let linear = |l: &Linear| l.weights.bytes() + l.bias.as_ref().map_or(0, |b| 4 * b.len());
        let layer = |l: &Layer| {
            [&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down]
                .map(linear)
                .iter()
                .sum::<usize>()
                + 4 * (l.attn_norm.len() + l.ffn_norm.len())
        };
        self.layers.iter().map(layer).sum::<usize>() + self.head.bytes()
    }

    /// Runs all spans through the network and appends them to their caches.
    ///
    /// Returns the logits each span asked for, `[rows, vocab]`.
    pub(crate) fn pass(
        &self,
        pool: &Pool,
        isa: Isa,
        s: &mut Scratch,
        spans: &mut [Span<'_>],
    ) -> Result<Vec<Vec<f32>>> {
        let spec = &self.spec;
        let p = Pass {
            pool,
            isa,
            rows: spans.iter().map(|s| s.ids.len()).sum(),
        };
        resize(&mut s.x, p.rows * spec.hidden);
        let ids = spans.iter().flat_map(|s| s.ids.iter().copied());
        for (row, id) in s.x.chunks_exact_mut(spec.hidden).zip(ids) {
            self.embedding.row(id, row)?;
        }
        s.rope.grow(&spec.rope, spans.iter().map(|span| span.total));
        for (i, layer) in self.layers.iter().enumerate() {
            self.attention(&p, layer, i, s, spans)?;
            self.feed_forward(&p, layer, s)?;
        }
        let out = self.logits(&p, s, spans)?;
        for span in spans.iter_mut() {
            span.cache.tokens.extend_from_slice(span.ids);
        }
        Ok(out)
    }

    fn attention(
        &self,
        p: &Pass<'_>,
        layer: &Layer,
        index: usize,
        s: &mut Scratch,
        spans: &mut [Span<'_>],
    ) -> Result<()> {
        let spec = &self.spec;
        p.norm(&s.x, &layer.attn_norm, spec.norm_eps, &mut s.normed)?;
        let parts = [&layer.q, &layer.k, &layer.v];
        p.linear(
            &mut s.acts,
            &s.normed,
            spec.hidden,
            &parts,
            [&mut s.q, &mut s.k, &mut s.v],
        )?;

        let rope = &s.rope;
        let (q_dim, kv_dim) = (spec.q_dim(), spec.kv_dim());
        let positions = spans.iter().flat_map(|span| {
            let (first, class) = (span.cache.len(), length_class(&spec.rope, span.total));
            (first..first + span.ids.len()).map(move |at| rope.at(at, class))
        });
        resize(&mut s.mixed, p.rows * q_dim);
        let heads =
            s.q.chunks_exact_mut(q_dim)
                .zip(s.k.chunks_exact_mut(kv_dim));
        let rows = heads.zip(s.mixed.chunks_exact_mut(q_dim)).zip(positions);
        p.each(rows, |(((q, k), spare), (cos, sin))| {
            if let Some((q_norm, k_norm)) = &layer.qk_norm {
                for (x, norm) in [(&mut *q, q_norm), (&mut *k, k_norm)] {
                    let out = &mut spare[..x.len()];
                    ops::rms_norm(p.isa, x, norm, spec.norm_eps, out)?;
                    x.copy_from_slice(out);
                }
            }
            ops::rope(p.isa, RopeStyle::SplitHalf, q, spec.head_dim, cos, sin)?;
            ops::rope(p.isa, RopeStyle::SplitHalf, k, spec.head_dim, cos, sin)
        })?;

        let shape = AttentionShape::new(spec.heads, spec.kv_heads, spec.head_dim)
            .with_window(spec.window[index]);
        let mut seqs = Vec::with_capacity(spans.len());
        let (mut q, mut k, mut v) = (&s.q[..], &s.k[..], &s.v[..]);
        let mut mixed = &mut s.mixed[..];
        for span in spans.iter_mut() {
            let n = span.ids.len();
            let (first, capacity) = (span.cache.len(), span.cache.capacity());
            let store = &mut span.cache.layers[index];
            for (cache, rows) in [(&mut store.k, &mut k), (&mut store.v, &mut v)] {
                let rows = take(rows, n * kv_dim);
                kv_store(p.isa, &shape, rows, first, capacity, kv_mut(cache))?;
            }
            let (out, rest) = std::mem::take(&mut mixed).split_at_mut(n * q_dim);
            mixed = rest;
            seqs.push(AttentionSeq {
                q: take(&mut q, n * q_dim),
                first_pos: first,
                k: kv_ref(&store.k),
                v: kv_ref(&store.v),
                capacity,
                out,
            });
        }
        attention_batch(p.pool, p.isa, &shape, &mut seqs, &mut s.attention)?;
        p.linear(&mut s.acts, &s.mixed, q_dim, &[&layer.o], [&mut s.out])?;
        p.add(&mut s.x, &s.out)
    }

    fn feed_forward(&self, p: &Pass<'_>, layer: &Layer, s: &mut Scratch) -> Result<()> {
        let spec = &self.spec;
        p.norm(&s.x, &layer.ffn_norm, spec.norm_eps, &mut s.normed)?;
        let parts = [&layer.gate, &layer.up];
        p.linear(
            &mut s.acts,
            &s.normed,
            spec.hidden,
            &parts,
            [&mut s.gate, &mut s.up],
        )?;
        resize(&mut s.mixed, p.rows * spec.ffn);
        let gated = s
            .gate
            .chunks_exact(spec.ffn)
            .zip(s.up.chunks_exact(spec.ffn));
        let rows = s.mixed.chunks_exact_mut(spec.ffn).zip(gated);
        p.each(rows, |(out, (gate, up))| {
            ops::silu_mul(p.isa, gate, up, out)
        })?;
        p.linear(
            &mut s.acts,
            &s.mixed,
            spec.ffn,
            &[&layer.down],
            [&mut s.out],
        )?;
        p.add(&mut s.x, &s.out)
    }

    fn logits(&self, p: &Pass<'_>, s: &mut Scratch, spans: &[Span<'_>]) -> Result<Vec<Vec<f32>>> {
        let (hidden, vocab) = (self.spec.hidden, self.spec.vocab_size);
        let mut rows = s.x.chunks_exact(hidden);
        let mut chosen = Vec::new();
        let mut counts = Vec::with_capacity(spans.len());
        for span in spans {
            let skip = span.skip_logits;
            counts.push(span.ids.len() - skip);
            chosen.extend(rows.by_ref().take(span.ids.len()).skip(skip));
        }
        let mut out = vec![Vec::new(); spans.len()];
        if chosen.is_empty() {
            return Ok(out);
        }
        let picked: Vec<f32> = chosen.concat();
        let p = Pass {
            rows: chosen.len(),
            ..*p
        };
        p.norm(
            &picked,
            &self.output_norm,
            self.spec.norm_eps,
            &mut s.normed,
        )?;
        s.acts
            .prepare(p.pool, p.isa, &s.normed, p.rows, hidden, &[&self.head])?;
        resize(&mut s.logits, p.rows * vocab);
        matmul(p.pool, &s.acts, &mut [Job::new(&self.head, &mut s.logits)])?;
        let mut rest = &s.logits[..];
        for (out, n) in out.iter_mut().zip(counts) {
            out.extend_from_slice(take(&mut rest, n * vocab));
        }
        Ok(out)
    }
}

impl Pass<'_> {
    /// Runs `f` on every item, on all threads when there are several rows.
    fn each<T: Send>(
        &self,
        mut items: impl Iterator<Item = T>,
        f: impl Fn(T) -> Result<(), ropewalk_kernels::Error> + Sync,
    ) -> Result<()> {
        if self.rows == 1 {
            // A generated token: sharing it would cost more than the work.
            items.try_for_each(f)?;
        } else {
            for_each(self.pool, items.collect(), f)?;
        }
        Ok(())
    }

    fn norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut Vec<f32>) -> Result<()> {
        let width = weight.len();
        resize(out, self.rows * width);
        let rows = out.chunks_exact_mut(width).zip(x.chunks_exact(width));
        self.each(rows, |(out, x)| {
            ops::rms_norm(self.isa, x, weight, eps, out)
        })
    }

    fn add(&self, x: &mut [f32], y: &[f32]) -> Result<()> {
        let width = chunks_of(x.len(), self.rows);
        let rows = x.chunks_mut(width).zip(y.chunks(width));
        self.each(rows, |(x, y)| ops::add(self.isa, x, y))
    }

    /// Multiplies the same rows by several matrices, in one phase.
    fn linear<const N: usize>(
        &self,
        acts: &mut Acts,
        x: &[f32],
        width: usize,
        parts: &[&Linear; N],
        outs: [&mut Vec<f32>; N],
    ) -> Result<()> {
        acts.prepare(
            self.pool,
            self.isa,
            x,
            self.rows,
            width,
            &parts.map(|l| &l.weights),
        )?;
        let mut outs = outs;
        let mut jobs: Vec<Job<'_>> = Vec::with_capacity(N);
        for (part, out) in parts.iter().zip(&mut outs) {
            resize(out, self.rows * part.weights.rows());
            jobs.push(Job::new(&part.weights, out));
        }
        matmul(self.pool, acts, &mut jobs)?;
        for (part, out) in parts.iter().zip(outs) {
            if let Some(bias) = &part.bias {
                for row in out.chunks_exact_mut(bias.len()) {
                    ops::add(self.isa, row, bias)?;
                }
            }
        }
        Ok(())
    }
}

fn kv_ref(store: &Store) -> KvRef<'_> {
    match store {
        Store::F32(x) => KvRef::F32(x),
        Store::F16(x) => KvRef::F16(x),
    }
}

fn kv_mut(store: &mut Store) -> KvMut<'_> {
    match store {
        Store::F32(x) => KvMut::F32(x),
        Store::F16(x) => KvMut::F16(x),
    }
}

fn take<'a, T>(from: &mut &'a [T], n: usize) -> &'a [T] {
    let (head, rest) = from.split_at(n);
    *from = rest;
    head
}

/// Sets the length without clearing what every pass overwrites.
fn resize(v: &mut Vec<f32>, len: usize) {
    if v.len() < len {
        v.resize(len, 0.0);
    } else {
        v.truncate(len);
    }
}
