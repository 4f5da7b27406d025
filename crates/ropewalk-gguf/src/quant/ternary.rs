//! Encoders of the types with two or three levels. Layouts: `dequant/tables.rs`.

use super::iq_search::largest;
use crate::float::f32_to_f16;

/// Returns the largest magnitude, which is the scale of the types with three levels, and the digits
/// 0 to 2 of the values, rounded halves away from zero.
fn digits<const N: usize>(x: &[f32; N]) -> (f32, [u8; N]) {
    let d = largest(x);
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let digit = |x: f32| {
        let x = x * inverse;
        1 + u8::from(x >= 0.5) - u8::from(x <= -0.5)
    };
    (d, x.map(digit))
}

/// Five digits, the first the most significant, as a fraction of 256 rounded up.
fn pack(digits: impl Iterator<Item = u8>) -> u8 {
    let number = digits.fold(0, |number, digit| number * 3 + u16::from(digit));
    (number * 256).div_ceil(243) as u8
}

pub(super) fn tq1_0(x: &[f32], out: &mut [u8]) {
    for (x, block) in x
        .as_chunks::<256>()
        .0
        .iter()
        .zip(out.as_chunks_mut::<54>().0)
    {
        let (d, q) = digits(x);
        for (m, byte) in block[..32].iter_mut().enumerate() {
            *byte = pack((0..5).map(|n| q[m + 32 * n]));
        }
        for (m, byte) in block[32..48].iter_mut().enumerate() {
            *byte = pack((0..5).map(|n| q[160 + m + 16 * n]));
        }
        for (m, byte) in block[48..52].iter_mut().enumerate() {
            // Four digits; the fifth is zero.
            *byte = pack((0..4).map(|n| q[240 + m + 4 * n]).chain([0]));
        }
        block[52..].copy_from_slice(&f32_to_f16(d).to_le_bytes());
    }
}

pub(super) fn tq2_0(x: &[f32], out: &mut [u8]) {
    for (x, block) in x
        .as_chunks::<256>()
        .0
        .iter()
        .zip(out.as_chunks_mut::<66>().0)
    {
        let (d, q) = digits(x);
        for (half, q) in q.as_chunks::<128>().0.iter().enumerate() {
            for m in 0..32 {
                block[32 * half + m] = (0..4).fold(0, |byte, n| byte | q[m + 32 * n] << (2 * n));
            }
        }
        block[64..].copy_from_slice(&f32_to_f16(d).to_le_bytes());
    }
}

/// The fourth level, twice the scale, is not used.
pub(super) fn q2_0(x: &[f32], out: &mut [u8]) {
    let blocks = out.as_chunks_mut::<18>().0;
    for (x, block) in x.as_chunks::<64>().0.iter().zip(blocks) {
        let (d, q) = digits(x);
        block[..2].copy_from_slice(&f32_to_f16(d).to_le_bytes());
        for (byte, q) in block[2..].iter_mut().zip(q.as_chunks::<4>().0) {
            *byte = q[0] | q[1] << 2 | q[2] << 4 | q[3] << 6;
        }
    }
}

/// The scale is the mean magnitude.
pub(super) fn q1_0(x: &[f32], out: &mut [u8]) {
    for (x, block) in x
        .as_chunks::<128>()
        .0
        .iter()
        .zip(out.as_chunks_mut::<18>().0)
    {
        let d = x.iter().fold(0.0, |sum, x| sum + x.abs()) / 128.0;
        block[..2].copy_from_slice(&f32_to_f16(d).to_le_bytes());
        for (byte, x) in block[2..].iter_mut().zip(x.as_chunks::<8>().0) {
            *byte = (0..8).fold(0, |bits, j| bits | u8::from(x[j] >= 0.0) << j);
        }
    }
}
