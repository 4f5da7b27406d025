//! Row-at-a-time decoding and f32 dot products, for formats without a packed kernel.

use super::Format;
use crate::f16;

/// Returns the decoder of an unquantised format.
pub(crate) fn decoder(format: Format) -> Option<fn(&[u8], &mut [f32])> {
    match format {
        Format::F32 => Some(|src, dst| {
            for (d, s) in dst.iter_mut().zip(src.chunks_exact(4)) {
                *d = f32::from_le_bytes([s[0], s[1], s[2], s[3]]);
            }
        }),
        Format::F16 => Some(|src, dst| {
            for (i, d) in dst.iter_mut().enumerate() {
                *d = f16::read(src, 2 * i);
            }
        }),
        Format::BF16 => Some(|src, dst| {
            for (i, d) in dst.iter_mut().enumerate() {
                *d = f32::from_bits(u32::from(f16::bits(src, 2 * i)) << 16);
            }
        }),
        _ => None,
    }
}

/// Parallel chains of multiply-adds of a dot product.
const LANES: usize = 32;

/// Returns the f32 dot product of two slices of one length.
///
/// Element `i` goes to chain `i % 32`; the chains are then added as a tree, halves onto halves.
/// That order is the same on every tier.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane = a.mul_add(*b, *lane);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane = a.mul_add(*b, *lane);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0]
}
