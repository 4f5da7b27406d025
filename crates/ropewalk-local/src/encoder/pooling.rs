//! From hidden states to one vector.

use ropewalk_kernels::{Isa, ops};
use ropewalk_spec::PoolingMode;

/// Writes the vector of each mode, one after the other, to `out`, `[modes, width]`.
///
/// `rows` are hidden states, `[tokens, width]`; the first `skip` of them are a prompt that does
/// not count. `sentence_transformer/modules/pooling.py` of sentence-transformers.
pub(super) fn pool(
    isa: Isa,
    modes: &[PoolingMode],
    width: usize,
    rows: &[f32],
    skip: usize,
    out: &mut Vec<f32>,
) {
    let tokens = rows.len() / width.max(1);
    // A text that is cut inside its prompt is all prompt.
    let skip = if skip < tokens { skip } else { 0 };
    let counted = || rows.chunks_exact(width).enumerate().skip(skip);
    for mode in modes {
        let at = out.len();
        match mode {
            PoolingMode::Cls => out.extend_from_slice(&rows[skip * width..(skip + 1) * width]),
            PoolingMode::LastToken => out.extend_from_slice(&rows[(tokens - 1) * width..]),
            PoolingMode::Max => {
                out.resize(at + width, f32::NEG_INFINITY);
                for (_, row) in counted() {
                    for (max, x) in out[at..].iter_mut().zip(row) {
                        *max = max.max(*x);
                    }
                }
            }
            _ => {
                out.resize(at + width, 0.0);
                let mut total = 0.0;
                for (i, row) in counted() {
                    let weight = if *mode == PoolingMode::WeightedMean {
                        (i + 1) as f32
                    } else {
                        1.0
                    };
                    total += weight;
                    for (sum, x) in out[at..].iter_mut().zip(row) {
                        *sum += weight * x;
                    }
                }
                let divisor = if *mode == PoolingMode::MeanSqrtLen {
                    total.sqrt()
                } else {
                    total
                };
                ops::scale(isa, &mut out[at..], divisor.recip());
            }
        }
    }
}

/// Divides a vector by its Euclidean norm; one of zeros stays as it is.
pub(super) fn normalize(x: &mut [f32]) {
    let norm = x
        .iter()
        .map(|x| f64::from(*x) * f64::from(*x))
        .sum::<f64>()
        .sqrt();
    // `torch.nn.functional.normalize`.
    let factor = (1.0 / norm.max(1e-12)) as f32;
    for x in x {
        *x *= factor;
    }
}
