//! Greedy decoding with the trained weights, many prompts at once: enough to evaluate a model between checkpoints.

use candle_core::Result as TensorResult;

use crate::compute::{Compute, Mat};
use crate::error::Result;
use crate::math;
use crate::model::Lm;
use crate::ops;

/// A copy of the weights for decoding.
struct Weights {
    params: Vec<Vec<f32>>,
}

/// Keys and values of one layer of one sequence, `[position, kv heads * dim]` each.
#[derive(Default, Clone)]
struct Cache {
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Lm {
    /// Continues each prompt greedily for at most `max_new` ids, stopping after `eos` (which is not returned). All
    /// sequences advance together; a result depends on its own prompt alone.
    ///
    /// # Errors
    /// When a weight cannot be read.
    pub fn greedy(&self, prompts: &[Vec<u32>], max_new: usize, eos: u32) -> Result<Vec<Vec<u32>>> {
        let read = |p: &crate::model::Param| ops::with(p.var.as_tensor(), <[f32]>::to_vec);
        let w = Weights {
            params: self
                .params()
                .iter()
                .map(read)
                .collect::<TensorResult<_>>()?,
        };
        let mut out = vec![Vec::new(); prompts.len()];
        for (prompts, out) in prompts.chunks(64).zip(out.chunks_mut(64)) {
            self.group(&w, prompts, max_new, eos, out);
        }
        Ok(out)
    }

    fn group(
        &self,
        w: &Weights,
        prompts: &[Vec<u32>],
        max_new: usize,
        eos: u32,
        out: &mut [Vec<u32>],
    ) {
        let context = self.config().context;
        let mut caches = vec![vec![Cache::default(); self.config().layers]; prompts.len()];
        let mut live: Vec<usize> = (0..prompts.len())
            .filter(|&i| !prompts[i].is_empty())
            .collect();
        // Prefill: each prompt keeps its last `context - 1` ids.
        let tail = |p: &Vec<u32>| p[p.len().saturating_sub(context - 1)..].to_vec();
        let mut feed: Vec<Vec<u32>> = live.iter().map(|&i| tail(&prompts[i])).collect();
        for _ in 0..max_new {
            if live.is_empty() {
                break;
            }
            let next = self.forward(w, &live, &feed, &mut caches);
            let mut keep = Vec::new();
            feed.clear();
            for (&i, id) in live.iter().zip(next) {
                if id == eos {
                    continue;
                }
                out[i].push(id);
                if prompts[i].len().min(context - 1) + out[i].len() < context {
                    keep.push(i);
                    feed.push(vec![id]);
                }
            }
            live = keep;
        }
    }

    /// Feeds new ids to each live sequence and returns the likeliest next id of each.
    fn forward(
        &self,
        w: &Weights,
        live: &[usize],
        feed: &[Vec<u32>],
        caches: &mut [Vec<Cache>],
    ) -> Vec<u32> {
        let (cfg, c) = (self.config(), self.compute());
        let (d, f, heads) = (cfg.hidden, cfg.ffn, cfg.attention());
        let (row, qd) = (heads.row(), heads.q * heads.dim);
        let t: usize = feed.iter().map(Vec::len).sum();
        let mut x = Vec::with_capacity(t * d);
        for &id in feed.iter().flatten() {
            let at = id as usize % cfg.vocab * d;
            x.extend_from_slice(&w.params[0][at..at + d]);
        }
        let (mut n, mut inv) = (vec![0.0; t * d], vec![0.0; t]);
        let (mut qkv, mut a) = (vec![0.0; t * row], vec![0.0; t * qd]);
        let (mut gu, mut m) = (vec![0.0; t * 2 * f], vec![0.0; t * f]);
        for (layer, p) in (0..cfg.layers).map(|l| (l, &w.params[1 + 6 * l..])) {
            math::rms_norm(c, &x, &p[0], cfg.norm_eps, &mut n, &mut inv);
            c.gemm(
                [t, row, d],
                1.0,
                Mat::new(&n, d),
                Mat::new(&p[1], d).t(),
                0.0,
                &mut qkv,
                row,
            );
            let mut at = 0;
            for (&i, ids) in live.iter().zip(feed) {
                let rows = at..at + ids.len();
                at = rows.end;
                let (x, y) = (
                    &mut qkv[rows.start * row..rows.end * row],
                    &mut a[rows.start * qd..rows.end * qd],
                );
                self.attend(c, &mut caches[i][layer], x, y);
            }
            c.gemm(
                [t, d, qd],
                1.0,
                Mat::new(&a, qd),
                Mat::new(&p[2], qd).t(),
                1.0,
                &mut x,
                d,
            );
            math::rms_norm(c, &x, &p[3], cfg.norm_eps, &mut n, &mut inv);
            c.gemm(
                [t, 2 * f, d],
                1.0,
                Mat::new(&n, d),
                Mat::new(&p[4], d).t(),
                0.0,
                &mut gu,
                2 * f,
            );
            math::swiglu(c, &gu, f, &mut m);
            c.gemm(
                [t, d, f],
                1.0,
                Mat::new(&m, f),
                Mat::new(&p[5], f).t(),
                1.0,
                &mut x,
                d,
            );
        }
        let mut last = Vec::with_capacity(feed.len() * d);
        let mut at = 0;
        for ids in feed {
            at += ids.len();
            last.extend_from_slice(&x[(at - 1) * d..at * d]);
        }
        let (b, v) = (feed.len(), cfg.vocab);
        let (mut h, mut logits) = (vec![0.0; b * d], vec![0.0; b * v]);
        math::rms_norm(
            c,
            &last,
            &w.params[1 + 6 * cfg.layers],
            cfg.norm_eps,
            &mut h,
            &mut inv[..b],
        );
        c.gemm(
            [b, v, d],
            1.0,
            Mat::new(&h, d),
            Mat::new(&w.params[0], d).t(),
            0.0,
            &mut logits,
            v,
        );
        let best = |r: &[f32]| {
            let mut at = 0;
            for (i, &l) in r.iter().enumerate() {
                if l > r[at] {
                    at = i;
                }
            }
            at as u32
        };
        logits.chunks_exact(v).map(best).collect()
    }

    /// Appends the rows of one sequence to its cache and attends to all of it.
    fn attend(&self, c: &Compute, cache: &mut Cache, x: &mut [f32], y: &mut [f32]) {
        let h = self.config().attention();
        let (row, kvd, qd, scale) = (
            h.row(),
            h.kv * h.dim,
            h.q * h.dim,
            1.0 / (h.dim as f32).sqrt(),
        );
        let first = cache.k.len() / kvd;
        self.rope().rows(x, h, first, false);
        for r in x.chunks_exact(row) {
            cache.k.extend_from_slice(&r[qd..qd + kvd]);
            cache.v.extend_from_slice(&r[qd + kvd..]);
        }
        let (n, total) = (x.len() / row, cache.k.len() / kvd);
        let mut p = vec![0.0; n * total];
        for head in 0..h.q {
            let at = head / (h.q / h.kv) * h.dim;
            let (q, k, v) = (
                Mat::new(&x[head * h.dim..], row),
                Mat::new(&cache.k[at..], kvd),
                Mat::new(&cache.v[at..], kvd),
            );
            c.gemm([n, total, h.dim], scale, q, k.t(), 0.0, &mut p, total);
            for (i, r) in p.chunks_exact_mut(total).enumerate() {
                math::softmax(&mut r[..=first + i]);
                r[first + i + 1..].fill(0.0);
            }
            c.gemm(
                [n, h.dim, total],
                1.0,
                Mat::new(&p, total),
                v,
                0.0,
                &mut y[head * h.dim..],
                qd,
            );
        }
    }
}
