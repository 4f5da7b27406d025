//! From the residual stream to logits.

use ropewalk_kernels::ops;

use super::pass::{Pass, resize};
use super::profile::Stage;
use super::watch::{Point, watch};
use super::{Decoder, Scratch, Span};
use crate::Result;
use crate::adapter::Site;

impl Decoder {
    /// Computes the logits that the spans ask for, `[rows, vocab]` each.
    pub(super) fn logits(
        &self,
        p: &Pass<'_>,
        s: &mut Scratch,
        spans: &[Span<'_>],
    ) -> Result<Vec<Vec<f32>>> {
        let (spec, vocab) = (&self.spec, self.spec.vocab_size);
        let wanted = |span: &Span<'_>| span.ids.len() - span.skip_logits;
        let rows = spans.iter().map(wanted).sum();
        if rows == 0 {
            return Ok(vec![Vec::new(); spans.len()]);
        }
        // A pass whose head is on a device has ended there.
        let Some((output_norm, head)) = &self.head else {
            return Ok(vec![Vec::new(); spans.len()]);
        };
        let asked = spans
            .iter()
            .flat_map(|span| (0..span.ids.len()).map(|i| i >= span.skip_logits));
        let adapters = p.adapters.map(|batch| batch.select(asked.clone()));
        let outer = p;
        let p = Pass {
            rows,
            adapters: adapters.as_ref(),
            ..*outer
        };
        let stream = s.x.chunks_exact(spec.hidden).zip(asked);
        let chosen = stream.filter(|(_, asked)| *asked).map(|(x, _)| x);
        let out = s.acts.input(p.rows, spec.hidden);
        let rows = out.chunks_exact_mut(spec.hidden).zip(chosen);
        p.each(spec.hidden, rows, |(out, x)| p.norm(x, output_norm, out))?;
        if s.hidden {
            let mut rest = s.acts.input_rows();
            let split = spans.iter().map(|span| {
                let (head, tail) = rest.split_at(wanted(span) * spec.hidden);
                rest = tail;
                head.to_vec()
            });
            return Ok(split.collect());
        }
        watch!(s, Point::Head, spec.hidden, s.acts);
        resize(&mut s.logits, p.rows * vocab);
        let parts = [(head, Site::Head, s.logits.as_mut_slice())];
        p.multiply(&mut s.acts, (&mut s.clock, Stage::Head), parts)?;
        let (scale, cap) = (spec.logit_scale, spec.logit_softcap);
        let scaled = (scale - 1.0).abs() > f32::EPSILON;
        if scaled || cap.is_some() {
            p.each(vocab, s.logits.chunks_exact_mut(vocab), |row| {
                if scaled {
                    ops::scale(p.isa, row, scale);
                }
                if let Some(cap) = cap {
                    ops::softcap(p.isa, row, cap);
                }
                Ok::<_, ropewalk_kernels::Error>(())
            })?;
        }
        let out = if let [_] = spans {
            vec![std::mem::take(&mut s.logits)]
        } else {
            let mut rest = &s.logits[..];
            let split = spans.iter().map(|span| {
                let (head, tail) = rest.split_at(wanted(span) * vocab);
                rest = tail;
                head.to_vec()
            });
            split.collect()
        };
        if let (Some(batch), Some(own)) = (outer.adapters, adapters) {
            batch.restore(own.into_buffers());
        }
        s.clock.lap(Stage::Head);
        Ok(out)
    }
}
