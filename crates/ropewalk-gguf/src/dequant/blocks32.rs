//! The formats with blocks of 32: value `j` sits in the low half of byte `j`, value `j + 16` in the
//! high half.

use super::{each, factor};

/// Spreads the 32 bits of `mask` over bytes: byte `j` is bit `j`, times 16.
#[inline(always)]
fn fifth_bits(mask: [u8; 4]) -> [u8; 32] {
    let mut bits = [0; 32];
    for (j, bit) in bits.iter_mut().enumerate() {
        *bit = ((mask[j / 8] >> (j % 8)) & 1) << 4;
    }
    bits
}

/// f16 scale, 16 bytes: `d * (q - 8)`.
pub(super) fn q4_0(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 18], y: &mut [f32; 32]| {
        let d = factor(block, 0);
        for j in 0..16 {
            let q = block[2 + j];
            y[j] = d * f32::from((q & 15) as i8 - 8);
            y[j + 16] = d * f32::from((q >> 4) as i8 - 8);
        }
    });
}

/// f16 scale, f16 minimum, 16 bytes: `d * q + m`.
pub(super) fn q4_1(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 20], y: &mut [f32; 32]| {
        let (d, m) = (factor(block, 0), factor(block, 2));
        for j in 0..16 {
            let q = block[4 + j];
            y[j] = d * f32::from(q & 15) + m;
            y[j + 16] = d * f32::from(q >> 4) + m;
        }
    });
}

/// f16 scale, 32 fifth bits, 16 bytes: `d * (q - 16)`.
pub(super) fn q5_0(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 22], y: &mut [f32; 32]| {
        let d = factor(block, 0);
        let high = fifth_bits([block[2], block[3], block[4], block[5]]);
        for j in 0..16 {
            let q = block[6 + j];
            y[j] = d * f32::from((q & 15 | high[j]) as i8 - 16);
            y[j + 16] = d * f32::from((q >> 4 | high[j + 16]) as i8 - 16);
        }
    });
}

/// f16 scale, f16 minimum, 32 fifth bits, 16 bytes: `d * q + m`.
pub(super) fn q5_1(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 24], y: &mut [f32; 32]| {
        let (d, m) = (factor(block, 0), factor(block, 2));
        let high = fifth_bits([block[4], block[5], block[6], block[7]]);
        for j in 0..16 {
            let q = block[8 + j];
            y[j] = d * f32::from(q & 15 | high[j]) + m;
            y[j + 16] = d * f32::from(q >> 4 | high[j + 16]) + m;
        }
    });
}

/// f16 scale, 32 signed bytes: `q * d`.
pub(super) fn q8_0(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 34], y: &mut [f32; 32]| {
        let d = factor(block, 0);
        for j in 0..32 {
            y[j] = f32::from(block[2 + j] as i8) * d;
        }
    });
}

/// f16 scale, f16 scaled sum (not needed here), 32 signed bytes: `q * d`.
pub(super) fn q8_1(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 36], y: &mut [f32; 32]| {
        let d = factor(block, 0);
        for j in 0..32 {
            y[j] = f32::from(block[4 + j] as i8) * d;
        }
    });
}
