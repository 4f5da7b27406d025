//! The arithmetic behind the differentiable operations, over plain row-major slices. Reductions over rows go through
//! blocks of a fixed size whose partial sums are added in order.

mod attention;

pub(crate) use attention::{Heads, Rope, attention, attention_grad, probs_len};

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
#[expect(clippy::too_many_arguments, reason = "slices of one operation")]
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
}
