//! The formats whose codes index a table or have one to four levels.

use super::{each, factor};
use crate::float::f16_to_f32;

/// The 16 values of IQ4_NL and IQ4_XS (`kvalues_iq4nl` in `ggml-common.h`).
pub(crate) const UNEVEN: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// Twice the 16 values of FP4, one sign bit, two of exponent, one of mantissa (E2M1, OCP
/// Microscaling Formats 1.0, table 5).
pub(crate) const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Half of `2^(e - 127)`, the E8M0 scale of MXFP4; the table above holds doubled values.
pub(crate) fn e8m0_half(e: u8) -> f32 {
    f32::from_bits(if e < 2 {
        0x0020_0000 << e
    } else {
        u32::from(e - 1) << 23
    })
}

/// Half of an unsigned E4M3 number with bias 7, the scale of NVFP4. 0x7f is NaN and means zero.
pub(crate) fn e4m3_half(x: u8) -> f32 {
    if x == 0x7f {
        return 0.0;
    }
    // The exponent's bits move to those of an f32, whose bias is 120 larger: 2^119 is half of it.
    f32::from_bits(u32::from(x & 0x7f) << 20) * f32::from_bits((119 + 127) << 23)
}

/// f16 scale, 16 bytes of indices: `d * value`.
pub(super) fn iq4_nl(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 18], y: &mut [f32; 32]| {
        let d = factor(block, 0);
        for j in 0..16 {
            let q = block[2 + j];
            y[j] = d * f32::from(UNEVEN[usize::from(q & 15)]);
            y[j + 16] = d * f32::from(UNEVEN[usize::from(q >> 4)]);
        }
    });
}

/// f16 factor, eight 6-bit scales (two bytes of upper pairs, four of low halves), 128 bytes of
/// indices: `d * (sc - 32) * value` per 32 values.
pub(super) fn iq4_xs(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 136], y: &mut [f32; 256]| {
        let d = factor(block, 0);
        let upper = u16::from_le_bytes([block[2], block[3]]);
        for (group, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let low = block[4 + group / 2] >> (4 * (group % 2)) & 15;
            let high = (upper >> (2 * group) & 3) as u8;
            let dl = d * f32::from((low | high << 4) as i8 - 32);
            for j in 0..16 {
                let q = block[8 + 16 * group + j];
                y[j] = dl * f32::from(UNEVEN[usize::from(q & 15)]);
                y[j + 16] = dl * f32::from(UNEVEN[usize::from(q >> 4)]);
            }
        }
    });
}

/// Power-of-two scale in one byte, 16 bytes of FP4: `d * value`.
pub(super) fn mxfp4(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 17], y: &mut [f32; 32]| {
        let d = e8m0_half(block[0]);
        for j in 0..16 {
            let q = block[1 + j];
            y[j] = d * f32::from(E2M1[usize::from(q & 15)]);
            y[j + 16] = d * f32::from(E2M1[usize::from(q >> 4)]);
        }
    });
}

/// Four E4M3 scales, then eight bytes of FP4 for each: `d * value` per 16 values.
pub(super) fn nvfp4(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 36], y: &mut [f32; 64]| {
        for (group, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let d = e4m3_half(block[group]);
            for j in 0..8 {
                let q = block[4 + 8 * group + j];
                y[j] = d * f32::from(E2M1[usize::from(q & 15)]);
                y[j + 8] = d * f32::from(E2M1[usize::from(q >> 4)]);
            }
        }
    });
}

/// f16 scale, 128 signs: `d` where the bit is set, else `-d`.
pub(super) fn q1_0(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 18], y: &mut [f32; 128]| {
        let d = factor(block, 0);
        for (j, y) in y.iter_mut().enumerate() {
            *y = if block[2 + j / 8] >> (j % 8) & 1 == 1 {
                d
            } else {
                -d
            };
        }
    });
}

/// f16 scale, 16 bytes of four values from the lowest bits: `d * (q - 1)`.
pub(super) fn q2_0(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 18], y: &mut [f32; 64]| {
        let d = factor(block, 0);
        for (j, y) in y.iter_mut().enumerate() {
            let q = block[2 + j / 4] >> (2 * (j % 4)) & 3;
            *y = d * f32::from(q as i8 - 1);
        }
    });
}

/// 64 bytes of two-bit values, f16 scale: `d * (q - 1)`.
pub(super) fn tq2_0(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 66], y: &mut [f32; 256]| {
        let d = factor(block, 64);
        for (half, y) in y.as_chunks_mut::<128>().0.iter_mut().enumerate() {
            for (shift, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                for l in 0..32 {
                    let q = block[32 * half + l] >> (2 * shift) & 3;
                    y[l] = d * f32::from(q as i8 - 1);
                }
            }
        }
    });
}

/// 48 bytes of five ternary digits, 4 bytes of four, f16 scale: `d * (digit - 1)`.
///
/// A byte is a fraction of 256 in base three: multiplying by 3^n drops n digits, and the next one is
/// the integer part of three times the rest.
pub(super) fn tq1_0(bytes: &[u8], out: &mut [f32]) {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    each(bytes, out, |block: &[u8; 54], y: &mut [f32; 256]| {
        let d = f16_to_f32(u16::from_le_bytes([block[52], block[53]]));
        let mut at = 0;
        for (bytes, digits) in [(&block[..32], 5), (&block[32..48], 5), (&block[48..52], 4)] {
            for power in &POWERS[..digits] {
                for byte in bytes {
                    let digit = (u16::from(byte.wrapping_mul(*power)) * 3) >> 8;
                    y[at] = d * f32::from(digit as i8 - 1);
                    at += 1;
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_scales() {
        assert_eq!(e8m0_half(0), 2.0_f32.powi(-128));
        assert_eq!(e8m0_half(1), 2.0_f32.powi(-127));
        assert_eq!(e8m0_half(2), 2.0_f32.powi(-126));
        assert_eq!(e8m0_half(127), 0.5);
        assert_eq!(e8m0_half(255), 2.0_f32.powi(127));
        assert_eq!(e4m3_half(0), 0.0);
        assert_eq!(e4m3_half(1), 2.0_f32.powi(-10));
        assert_eq!(e4m3_half(0x38), 0.5);
        assert_eq!(e4m3_half(0x7e), 224.0);
        assert_eq!(e4m3_half(0x7f), 0.0);
    }
}
