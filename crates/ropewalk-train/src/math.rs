//! The arithmetic behind the differentiable operations, over plain row-major slices. Reductions over rows go through
//! blocks of a fixed size whose partial sums are added in order.

use crate::compute::{Compute, Mat};

/// Rows per part of a parallel loop.
const ROWS: usize = 64;

/// `e^x` to about 2 ulp for `x <= 88`, 0 below -87; written so that the compiler vectorises it.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let k = (x * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0; // round to nearest
    let r = x - k * 0.693_359_4 - k * -2.121_944_4e-4; // Cody and Waite
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let y = p * r * r + r + 1.0;
    y * f32::from_bits(((k as i32 + 127) << 23) as u32)
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut s = [0.0f32; 16];
    let (ca, cb) = (a.chunks_exact(16), b.chunks_exact(16));
    let tail: f32 = ca
        .remainder()
        .iter()
        .zip(cb.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in ca.zip(cb) {
        for i in 0..16 {
            s[i] += x[i] * y[i];
        }
    }
    s.iter().sum::<f32>() + tail
}

fn sum(a: &[f32]) -> f32 {
    let mut s = [0.0f32; 16];
    let c = a.chunks_exact(16);
    let tail: f32 = c.remainder().iter().sum();
    for x in c {
        for i in 0..16 {
            s[i] += x[i];
        }
    }
    s.iter().sum::<f32>() + tail
}

/// `y = x / sqrt(mean(x^2) + eps) * w`, row by row; also `1 / sqrt(...)` of each row into `inv`.
pub(crate) fn rms_norm(
    c: &Compute,
    x: &[f32],
    w: &[f32],
    eps: f32,
    y: &mut [f32],
    inv: &mut [f32],
) {
    let d = w.len();
    let parts: Vec<_> = x
        .chunks(ROWS * d)
        .zip(y.chunks_mut(ROWS * d))
        .zip(inv.chunks_mut(ROWS))
        .collect();
    c.each(parts, |_, ((x, y), inv)| {
        for ((x, y), inv) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)).zip(inv) {
            let r = 1.0 / (dot(x, x) / d as f32 + eps).sqrt();
            *inv = r;
            for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                *y = x * r * w;
            }
        }
    });
}

/// Gradients of [`rms_norm`]: `dx = r (g w - x r^2 mean(g w x))`, `dw = sum over rows of g x r`.
pub(crate) fn rms_norm_grad(
    c: &Compute,
    x: &[f32],
    w: &[f32],
    inv: &[f32],
    g: &[f32],
    dx: &mut [f32],
    dw: &mut [f32],
) {
    let d = w.len();
    let mut partial = vec![0.0f32; inv.len().div_ceil(ROWS) * d];
    let parts: Vec<_> = x
        .chunks(ROWS * d)
        .zip(g.chunks(ROWS * d))
        .zip(inv.chunks(ROWS))
        .zip(dx.chunks_mut(ROWS * d).zip(partial.chunks_mut(d)))
        .collect();
    c.each(parts, |_, (((x, g), inv), (dx, dw))| {
        for (((x, g), &r), dx) in x
            .chunks_exact(d)
            .zip(g.chunks_exact(d))
            .zip(inv)
            .zip(dx.chunks_exact_mut(d))
        {
            for (((dx, x), g), (w, dw)) in
                dx.iter_mut().zip(x).zip(g).zip(w.iter().zip(dw.iter_mut()))
            {
                *dx = g * w;
                *dw += g * x * r;
            }
            let k = dot(dx, x) / d as f32 * r * r;
            for (dx, x) in dx.iter_mut().zip(x) {
                *dx = r * (*dx - x * k);
            }
        }
    });
    dw.fill(0.0);
    for p in partial.chunks_exact(d) {
        for (dw, p) in dw.iter_mut().zip(p) {
            *dw += p;
        }
    }
}

/// `y = silu(gate) * up`, rows of `x` being `gate | up`.
pub(crate) fn swiglu(c: &Compute, x: &[f32], f: usize, y: &mut [f32]) {
    let parts: Vec<_> = x.chunks(ROWS * 2 * f).zip(y.chunks_mut(ROWS * f)).collect();
    c.each(parts, |_, (x, y)| {
        for (x, y) in x.chunks_exact(2 * f).zip(y.chunks_exact_mut(f)) {
            let (gate, up) = x.split_at(f);
            for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
                *y = g / (1.0 + exp(-g)) * u;
            }
        }
    });
}

/// Gradient of [`swiglu`] in its whole input.
pub(crate) fn swiglu_grad(c: &Compute, x: &[f32], f: usize, dy: &[f32], dx: &mut [f32]) {
    let parts: Vec<_> = x
        .chunks(ROWS * 2 * f)
        .zip(dy.chunks(ROWS * f))
        .zip(dx.chunks_mut(ROWS * 2 * f))
        .collect();
    c.each(parts, |_, ((x, dy), dx)| {
        for ((x, dy), dx) in x
            .chunks_exact(2 * f)
            .zip(dy.chunks_exact(f))
            .zip(dx.chunks_exact_mut(2 * f))
        {
            let (gate, up) = x.split_at(f);
            let (dgate, dup) = dx.split_at_mut(f);
            for ((((g, u), dy), dg), du) in gate.iter().zip(up).zip(dy).zip(dgate).zip(dup) {
                let s = 1.0 / (1.0 + exp(-g));
                *du = dy * g * s;
                *dg = dy * u * s * (1.0 + g * (1.0 - s));
            }
        }
    });
}

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
fn split<'a>(mut data: &'a mut [f32], lengths: impl Iterator<Item = usize>) -> Vec<&'a mut [f32]> {
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

/// Softmax of one row in place; returns the maximum and the logarithm of the sum of exponentials above it.
pub(crate) fn softmax(r: &mut [f32]) -> (f32, f32) {
    let mut max = f32::NEG_INFINITY;
    for &v in r.iter() {
        max = max.max(v);
    }
    for v in r.iter_mut() {
        *v = exp(*v - max);
    }
    let total = sum(r);
    let k = 1.0 / total;
    for v in r.iter_mut() {
        *v *= k;
    }
    (max, total.ln())
}

/// What the loss head gives back.
#[derive(Debug, Default)]
pub(crate) struct HeadOut {
    /// Weighted negative log-likelihood, summed, in nats.
    pub(crate) loss: f64,
    /// Gradient in the hidden rows.
    pub(crate) dh: Vec<f32>,
    /// Gradient in the output matrix.
    pub(crate) dw: Vec<f32>,
}

/// Cross-entropy of `softmax(h w^T)` against `targets`, in blocks of 512 rows, so that no `[tokens, vocabulary]` tensor
/// exists; rows of weight zero are dropped first. With `grad` also the gradients of `loss / denom`.
pub(crate) fn cross_entropy(
    c: &Compute,
    h: &[f32],
    w: &[f32],
    d: usize,
    targets: &[u32],
    weights: &[f32],
    denom: f64,
    grad: bool,
) -> HeadOut {
    const BLOCK: usize = 512;
    let v = w.len() / d;
    let live: Vec<usize> = (0..targets.len()).filter(|&i| weights[i] != 0.0).collect();
    let mut out = HeadOut::default();
    if grad {
        (out.dh, out.dw) = (vec![0.0; h.len()], vec![0.0; w.len()]);
    }
    let (mut x, mut dx, mut logits) = (
        vec![0.0f32; BLOCK * d],
        vec![0.0f32; BLOCK * d],
        vec![0.0f32; BLOCK * v],
    );
    for block in live.chunks(BLOCK) {
        let n = block.len();
        for (x, &i) in x.chunks_exact_mut(d).zip(block) {
            x.copy_from_slice(&h[i * d..(i + 1) * d]);
        }
        c.gemm(
            [n, v, d],
            1.0,
            Mat::new(&x, d),
            Mat::new(w, d).t(),
            0.0,
            &mut logits,
            v,
        );
        let mut losses = vec![0.0f64; n];
        let parts: Vec<_> = logits[..n * v]
            .chunks_mut(32 * v)
            .zip(losses.chunks_mut(32))
            .zip(block.chunks(32))
            .collect();
        c.each(parts, |_, ((rows, losses), block)| {
            for ((r, l), &i) in rows.chunks_exact_mut(v).zip(losses).zip(block) {
                let t = targets[i] as usize;
                let z = r[t];
                let (max, log) = softmax(r);
                *l = f64::from(weights[i]) * f64::from(max + log - z);
                if grad {
                    r[t] -= 1.0;
                    let k = (f64::from(weights[i]) / denom) as f32;
                    for p in r.iter_mut() {
                        *p *= k;
                    }
                }
            }
        });
        out.loss += losses.iter().sum::<f64>();
        if grad {
            c.gemm(
                [n, d, v],
                1.0,
                Mat::new(&logits, v),
                Mat::new(w, d),
                0.0,
                &mut dx,
                d,
            );
            c.gemm(
                [v, d, n],
                1.0,
                Mat::new(&logits, v).t(),
                Mat::new(&x, d),
                1.0,
                &mut out.dw,
                d,
            );
            for (dx, &i) in dx.chunks_exact(d).zip(block) {
                out.dh[i * d..(i + 1) * d].copy_from_slice(dx);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_library() {
        for i in -8600..=860 {
            let x = i as f32 * 0.01;
            let (a, b) = (exp(x), x.exp());
            assert!((a - b).abs() <= 3e-7 * b, "{x}: {a} {b}");
        }
        assert!(exp(-1000.0) < 2e-38);
    }

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
