//! Rotary embedding and causal attention inside packed documents.

use super::{dot, softmax};
use crate::compute::{Compute, Mat};

/// Sizes of an attention layer. A row of its input is `q heads | k heads | v heads`, each head `dim` wide.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Heads {
    pub(crate) q: usize,
    pub(crate) kv: usize,
    pub(crate) dim: usize,
}

impl Heads {
    pub(crate) fn row(self) -> usize {
        (self.q + 2 * self.kv) * self.dim
    }
}

/// Cosines and sines of the rotary embedding (Su et al. 2021), half-split layout: entry `p * dim / 2 + i` is the angle
/// `p * theta^(-2 i / dim)`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rope {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Rope {
    pub(crate) fn new(dim: usize, theta: f64, positions: usize) -> Self {
        let half = dim / 2;
        let angle = |p: usize, i: usize| {
            let inv = 1.0f32 / (theta as f32).powf(2.0 * i as f32 / dim as f32);
            p as f32 * inv
        };
        let table = |f: fn(f32) -> f32| {
            (0..positions * half)
                .map(|j| f(angle(j / half, j % half)))
                .collect()
        };
        Self {
            cos: table(f32::cos),
            sin: table(f32::sin),
            half,
        }
    }

    /// Rotates one head at position `p`, or back when `inverse`.
    pub(crate) fn apply(&self, head: &mut [f32], p: usize, inverse: bool) {
        let at = p * self.half..(p + 1) * self.half;
        let (lo, hi) = head.split_at_mut(self.half);
        for (((a, b), c), s) in lo
            .iter_mut()
            .zip(hi)
            .zip(&self.cos[at.clone()])
            .zip(&self.sin[at])
        {
            let s = if inverse { -s } else { *s };
            (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
        }
    }

    /// Rotates the query and key heads of every row; row `i` is at position `first + i`.
    pub(crate) fn rows(&self, rows: &mut [f32], h: Heads, first: usize, inverse: bool) {
        for (i, row) in rows.chunks_exact_mut(h.row()).enumerate() {
            for head in row[..(h.q + h.kv) * h.dim].chunks_exact_mut(h.dim) {
                self.apply(head, first + i, inverse);
            }
        }
    }
}

/// Cuts `data` at `starts * width` into one slice per document.
fn split(mut data: &mut [f32], lengths: impl Iterator<Item = usize>) -> Vec<&mut [f32]> {
    let mut out = Vec::new();
    for n in lengths {
        let (head, tail) = data.split_at_mut(n);
        out.push(head);
        data = tail;
    }
    out
}

fn lengths(starts: &[usize]) -> impl Iterator<Item = usize> + '_ {
    starts.windows(2).map(|w| w[1] - w[0])
}

/// The number of attention probabilities of a packed batch.
pub(crate) fn probs_len(starts: &[usize], h: Heads) -> usize {
    lengths(starts).map(|n| n * n * h.q).sum()
}

/// Causal self-attention inside each document. `x` holds rows after projection; they are rotated in place, the
/// probabilities are kept in `probs` (`[q heads, n, n]` per document) and the result goes to `y`, `[tokens, q * dim]`.
pub(crate) fn attention(
    c: &Compute,
    x: &mut [f32],
    starts: &[usize],
    h: Heads,
    rope: &Rope,
    probs: &mut [f32],
    y: &mut [f32],
) {
    let (row, out, scale) = (h.row(), h.q * h.dim, 1.0 / (h.dim as f32).sqrt());
    let xs = split(x, lengths(starts).map(|n| n * row));
    let ps = split(probs, lengths(starts).map(|n| n * n * h.q));
    let ys = split(y, lengths(starts).map(|n| n * out));
    let parts: Vec<_> = xs.into_iter().zip(ps).zip(ys).collect();
    c.each(parts, |_, ((x, p), y)| {
        let n = x.len() / row;
        rope.rows(x, h, 0, false);
        for (head, p) in p.chunks_exact_mut((n * n).max(1)).enumerate() {
            let kv = head / (h.q / h.kv);
            let q = Mat::new(&x[head * h.dim..], row);
            let k = Mat::new(&x[(h.q + kv) * h.dim..], row);
            let v = Mat::new(&x[(h.q + h.kv + kv) * h.dim..], row);
            c.gemm([n, n, h.dim], scale, q, k.t(), 0.0, p, n);
            for (i, r) in p.chunks_exact_mut(n).enumerate() {
                softmax(&mut r[..=i]);
                r[i + 1..].fill(0.0);
            }
            c.gemm(
                [n, h.dim, n],
                1.0,
                Mat::new(p, n),
                v,
                0.0,
                &mut y[head * h.dim..],
                out,
            );
        }
    });
}

/// Gradient of [`attention`] in its rows before rotation. `x` are the rotated rows it left behind.
#[expect(clippy::too_many_arguments, reason = "slices of one operation")]
pub(crate) fn attention_grad(
    c: &Compute,
    x: &[f32],
    starts: &[usize],
    h: Heads,
    rope: &Rope,
    probs: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    let (row, out, scale) = (h.row(), h.q * h.dim, 1.0 / (h.dim as f32).sqrt());
    let mut at = 0;
    let mut parts = Vec::new();
    for (w, dx) in starts
        .windows(2)
        .zip(split(dx, lengths(starts).map(|n| n * row)))
    {
        let n = w[1] - w[0];
        parts.push((
            &x[w[0] * row..w[1] * row],
            &probs[at..at + n * n * h.q],
            &dy[w[0] * out..w[1] * out],
            dx,
        ));
        at += n * n * h.q;
    }
    c.each(parts, |_, (x, p, dy, dx)| {
        let n = x.len() / row;
        let mut ds = vec![0.0f32; n * n];
        dx.fill(0.0);
        for (head, p) in p.chunks_exact((n * n).max(1)).enumerate() {
            let kv = head / (h.q / h.kv);
            let (qo, ko, vo) = (head * h.dim, (h.q + kv) * h.dim, (h.q + h.kv + kv) * h.dim);
            let g = Mat::new(&dy[head * h.dim..], out);
            c.gemm(
                [n, n, h.dim],
                1.0,
                g,
                Mat::new(&x[vo..], row).t(),
                0.0,
                &mut ds,
                n,
            );
            for (i, (ds, p)) in ds.chunks_exact_mut(n).zip(p.chunks_exact(n)).enumerate() {
                let mean = dot(&ds[..=i], &p[..=i]);
                for (ds, p) in ds[..=i].iter_mut().zip(p) {
                    *ds = p * (*ds - mean);
                }
                ds[i + 1..].fill(0.0);
            }
            c.gemm(
                [n, h.dim, n],
                1.0,
                Mat::new(p, n).t(),
                g,
                1.0,
                &mut dx[vo..],
                row,
            );
            c.gemm(
                [n, h.dim, n],
                scale,
                Mat::new(&ds, n),
                Mat::new(&x[ko..], row),
                0.0,
                &mut dx[qo..],
                row,
            );
            c.gemm(
                [n, h.dim, n],
                scale,
                Mat::new(&ds, n).t(),
                Mat::new(&x[qo..], row),
                1.0,
                &mut dx[ko..],
                row,
            );
        }
        rope.rows(dx, h, 0, true);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_is_undone_by_its_inverse() {
        let rope = Rope::new(8, 10_000.0, 40);
        let x: Vec<f32> = (0..8).map(|i| i as f32 - 3.5).collect();
        let mut y = x.clone();
        rope.apply(&mut y, 33, false);
        assert!((y[0] - x[0]).abs() > 1e-3);
        rope.apply(&mut y, 33, true);
        assert!(x.iter().zip(&y).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
