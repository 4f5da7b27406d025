//! Attention: projections, rotation, cache, scores.

use ropewalk_kernels::attention::{AttentionSeq, AttentionShape, KvPage, attention_batch};
use ropewalk_kernels::ops::{self, RopeStyle};

use super::pass::{Pass, add_bias, recycle};
use super::profile::Stage;
use super::watch::{Point, watch};
use super::{Attention, Decoder, Scratch, Span};
use crate::Result;
use crate::cache::PAGE;
use crate::rope::length_class;

impl Decoder {
    /// Computes attention of the rows in `acts`; the output, without its bias, is in `out`.
    pub(super) fn attention(
        &self,
        p: &Pass<'_>,
        weights: &Attention,
        index: usize,
        s: &mut Scratch,
        spans: &mut [Span<'_>],
    ) -> Result<()> {
        let parts = [
            (&weights.q, &mut s.q),
            (&weights.k, &mut s.k),
            (&weights.v, &mut s.v),
        ];
        p.project(&mut s.acts, (&mut s.clock, Stage::Qkv), parts)?;
        watch!(s, Point::Attention, self.spec.hidden, s.acts);
        self.turn(p, weights, index, s, spans)?;

        let spec = &self.spec;
        let (q_dim, kv_dim) = (spec.q_dim(), spec.kv_dim());
        let mut shape = AttentionShape::new(spec.heads, spec.kv_heads, spec.head_dim)
            .with_window(spec.window.get(index).copied().flatten())
            .with_softcap(spec.attention_softcap);
        if let Some(scale) = spec.attention_scale {
            shape = shape.with_scale(scale);
        }
        let (mut q, mut k, mut v) = (&s.q[..], &s.k[..], &s.v[..]);
        for span in spans.iter_mut() {
            let n = span.ids.len() * kv_dim;
            let (keys, values) = (take(&mut k, n), take(&mut v, n));
            span.cache.store(index, p.isa, &shape, keys, values)?;
        }
        let mut pages: Vec<KvPage<'_>> = recycle(std::mem::take(&mut s.pages));
        let ends = spans.iter().map(|span| span.cache.len() + span.ids.len());
        for (span, end) in spans.iter().zip(ends) {
            pages.extend(span.cache.reading(index, end));
        }
        let mut seqs = recycle(std::mem::take(&mut s.seqs));
        let mut mixed = s.inner.input(p.rows, q_dim);
        let mut rest = &pages[..];
        for span in spans.iter() {
            let (n, first_pos) = (span.ids.len(), span.cache.len());
            let (out, later) = mixed.split_at_mut(n * q_dim);
            mixed = later;
            seqs.push(AttentionSeq {
                q: take(&mut q, n * q_dim),
                first_pos,
                pages: take(&mut rest, (first_pos + n).div_ceil(PAGE)),
                page_len: PAGE,
                out,
            });
        }
        attention_batch(p.pool, p.isa, &shape, &mut seqs, &mut s.attention)?;
        s.seqs = recycle(seqs);
        s.pages = recycle(pages);
        s.clock.lap(Stage::Attention);
        let parts = [(&weights.o, &mut s.out)];
        p.project(&mut s.inner, (&mut s.clock, Stage::Output), parts)?;
        watch!(s, Point::AttentionOutput, q_dim, s.inner);
        Ok(())
    }

    /// Adds the biases of q, k and v, normalises q and k and rotates them.
    fn turn(
        &self,
        p: &Pass<'_>,
        weights: &Attention,
        index: usize,
        s: &mut Scratch,
        spans: &[Span<'_>],
    ) -> Result<()> {
        let spec = &self.spec;
        let (q_dim, kv_dim) = (spec.q_dim(), spec.kv_dim());
        let rope = spec.rotates(index).then(|| spec.rope_of(index));
        let local = spec.rope_local.as_ref();
        let is_local = rope.is_some_and(|r| local.is_some_and(|l| std::ptr::eq(l, r)));
        let tables = &s.rope[usize::from(is_local)];
        let positions = spans.iter().flat_map(|span| {
            let first = span.cache.len();
            let class = rope.map(|rope| length_class(rope, span.total));
            (first..first + span.ids.len()).map(move |at| class.map(|c| tables.at(at, c)))
        });
        let keys =
            s.k.chunks_exact_mut(kv_dim)
                .zip(s.v.chunks_exact_mut(kv_dim));
        let rows = s.q.chunks_exact_mut(q_dim).zip(keys).zip(positions);
        p.each(q_dim + 2 * kv_dim, rows, |((q, (k, v)), angles)| {
            add_bias(p.isa, q, weights.q.bias.as_deref())?;
            add_bias(p.isa, k, weights.k.bias.as_deref())?;
            add_bias(p.isa, v, weights.v.bias.as_deref())?;
            if let Some((q_norm, k_norm)) = &weights.qk_norm {
                ops::rms_norm_in_place(p.isa, q, q_norm, spec.norm_eps)?;
                ops::rms_norm_in_place(p.isa, k, k_norm, spec.norm_eps)?;
            }
            let Some((cos, sin)) = angles else {
                return Ok(());
            };
            ops::rope(p.isa, RopeStyle::SplitHalf, q, spec.head_dim, cos, sin)?;
            ops::rope(p.isa, RopeStyle::SplitHalf, k, spec.head_dim, cos, sin)
        })
    }
}

fn take<'a, T>(from: &mut &'a [T], n: usize) -> &'a [T] {
    let (head, rest) = from.split_at(n);
    *from = rest;
    head
}
