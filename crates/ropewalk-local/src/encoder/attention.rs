//! Attention among all tokens of each text.

use ropewalk_kernels::{Isa, Pool, ops, sgemm};

use crate::Result;
use crate::rows::for_each;

/// Heads and what scores are multiplied by; `window` is the distance up to which tokens see each
/// other.
pub(super) struct Shape {
    pub(super) heads: usize,
    pub(super) head_dim: usize,
    pub(super) scale: f32,
    pub(super) window: Option<usize>,
}

/// Rows of queries that are scored together.
const BLOCK: usize = 128;

/// Writes to `out` what each token takes from the tokens of its text.
///
/// `ends` says after which row each text ends. For one tier, rows depend on their own text alone.
///
/// # Shapes
/// - `q`, `k`, `v`, `out`: `[rows, heads * head_dim]`
pub(super) fn attention(
    (pool, isa): (&Pool, Isa),
    shape: &Shape,
    ends: &[usize],
    (q, k, v): (&[f32], &[f32], &[f32]),
    scratch: &mut Vec<f32>,
    out: &mut [f32],
) -> Result<()> {
    let Shape {
        heads, head_dim, ..
    } = *shape;
    let width = heads * head_dim;
    scratch.resize(q.len(), 0.0);
    let mut tasks = Vec::with_capacity(ends.len() * heads);
    let mut rest = &mut scratch[..];
    let mut first = 0;
    for &end in ends {
        for head in 0..heads {
            let (part, later) = rest.split_at_mut((end - first) * head_dim);
            rest = later;
            tasks.push((first, head, part));
        }
        first = end;
    }
    for_each(pool, tasks, |(first, head, part)| {
        let n = part.len() / head_dim;
        let at = first * width + head * head_dim;
        let mut scores = vec![0.0; n.min(BLOCK) * n];
        for (block, part) in part.chunks_mut(BLOCK * head_dim).enumerate() {
            let (start, rows) = (block * BLOCK, part.len() / head_dim);
            let scores = &mut scores[..rows * n];
            let q = &q[at + start * width..];
            sgemm(
                pool,
                isa,
                false,
                true,
                rows,
                n,
                head_dim,
                shape.scale,
                q,
                width,
                &k[at..],
                width,
                0.0,
                scores,
                n,
            )?;
            if let Some(window) = shape.window {
                for (i, row) in scores.chunks_exact_mut(n).enumerate() {
                    let row_at = start + i;
                    for (j, score) in row.iter_mut().enumerate() {
                        if j.abs_diff(row_at) > window {
                            *score = f32::NEG_INFINITY;
                        }
                    }
                }
            }
            ops::softmax(isa, scores, n)?;
            sgemm(
                pool,
                isa,
                false,
                false,
                rows,
                head_dim,
                n,
                1.0,
                scores,
                n,
                &v[at..],
                width,
                0.0,
                part,
                head_dim,
            )?;
        }
        Ok::<_, ropewalk_kernels::Error>(())
    })?;
    let mut first = 0;
    for &end in ends {
        let text = &scratch[first * width..end * width];
        let rows = out[first * width..end * width].chunks_exact_mut(width);
        for (i, row) in rows.enumerate() {
            for (head, part) in row.chunks_exact_mut(head_dim).enumerate() {
                let at = (head * (end - first) + i) * head_dim;
                part.copy_from_slice(&text[at..at + head_dim]);
            }
        }
        first = end;
    }
    Ok(())
}
