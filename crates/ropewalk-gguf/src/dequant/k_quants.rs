//! The formats with super-blocks of 256 (`QK_K`).

use super::{each, factor};
use crate::pack::scale_min;

/// 16 bytes of scales (low half) and minimums (high half), 64 bytes of 2-bit values, f16 factors of
/// scales and minimums: `d * sc * q - dmin * m` per 16 values.
pub(super) fn q2_k(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 84], y: &mut [f32; 256]| {
        let (d, dmin) = (factor(block, 80), factor(block, 82));
        for (half, y) in y.as_chunks_mut::<128>().0.iter_mut().enumerate() {
            let qs = &block[16 + 32 * half..][..32];
            for (group, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let sc = block[8 * half + group];
                let (dl, ml) = (d * f32::from(sc & 15), dmin * f32::from(sc >> 4));
                let (shift, qs) = (2 * (group / 2), &qs[16 * (group % 2)..][..16]);
                for l in 0..16 {
                    y[l] = dl * f32::from((qs[l] >> shift) & 3) - ml;
                }
            }
        }
    });
}

/// 32 bytes of third bits, 64 bytes of 2-bit values, 12 bytes of 6-bit scales, f16 factor:
/// `d * (sc - 32) * q` per 16 values, where `q` is 4 lower when its third bit is clear.
pub(super) fn q3_k(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 110], y: &mut [f32; 256]| {
        let d = factor(block, 108);
        let scales: &[u8; 12] = block[96..].first_chunk().unwrap_or(&[0; 12]);
        let hmask = &block[..32];
        for (half, y) in y.as_chunks_mut::<128>().0.iter_mut().enumerate() {
            let qs = &block[32 + 32 * half..][..32];
            for (group, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let sc = 8 * half + group;
                let low = scales[sc % 8] >> (4 * (sc / 8)) & 15;
                let high = scales[8 + sc % 4] >> (2 * (sc / 4)) & 3;
                let dl = d * f32::from((low | high << 4) as i8 - 32);
                let (shift, bit) = (2 * (group / 2), 4 * half + group / 2);
                let (qs, hm) = (
                    &qs[16 * (group % 2)..][..16],
                    &hmask[16 * (group % 2)..][..16],
                );
                for l in 0..16 {
                    let third = ((hm[l] >> bit) & 1) << 2;
                    y[l] = dl * f32::from(((qs[l] >> shift) & 3 | third) as i8 - 4);
                }
            }
        }
    });
}

/// f16 factors of scales and minimums, 12 bytes of 6-bit scales and minimums, 128 bytes:
/// `d * sc * q - dmin * m` per 32 values.
pub(super) fn q4_k(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 144], y: &mut [f32; 256]| {
        let (d, dmin) = (factor(block, 0), factor(block, 2));
        let (scales, mins) = scale_min(block[4..].first_chunk().unwrap_or(&[0; 12]));
        for (pair, y) in y.as_chunks_mut::<64>().0.iter_mut().enumerate() {
            let qs = &block[16 + 32 * pair..][..32];
            let (j, k) = (2 * pair, 2 * pair + 1);
            let (d1, m1) = (d * f32::from(scales[j]), dmin * f32::from(mins[j]));
            let (d2, m2) = (d * f32::from(scales[k]), dmin * f32::from(mins[k]));
            for l in 0..32 {
                y[l] = d1 * f32::from(qs[l] & 15) - m1;
                y[l + 32] = d2 * f32::from(qs[l] >> 4) - m2;
            }
        }
    });
}

/// As [`q4_k`] with 32 bytes of fifth bits before the 128 bytes.
pub(super) fn q5_k(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 176], y: &mut [f32; 256]| {
        let (d, dmin) = (factor(block, 0), factor(block, 2));
        let (scales, mins) = scale_min(block[4..].first_chunk().unwrap_or(&[0; 12]));
        let qh = &block[16..48];
        for (pair, y) in y.as_chunks_mut::<64>().0.iter_mut().enumerate() {
            let qs = &block[48 + 32 * pair..][..32];
            let (j, k) = (2 * pair, 2 * pair + 1);
            let (d1, m1) = (d * f32::from(scales[j]), dmin * f32::from(mins[j]));
            let (d2, m2) = (d * f32::from(scales[k]), dmin * f32::from(mins[k]));
            for l in 0..32 {
                let (h1, h2) = ((qh[l] >> j & 1) << 4, (qh[l] >> k & 1) << 4);
                y[l] = d1 * f32::from(qs[l] & 15 | h1) - m1;
                y[l + 32] = d2 * f32::from(qs[l] >> 4 | h2) - m2;
            }
        }
    });
}

/// 128 bytes of low halves, 64 bytes of upper bit pairs, 16 signed scales, f16 factor:
/// `d * sc * (q - 32)` per 16 values.
pub(super) fn q6_k(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 210], y: &mut [f32; 256]| {
        let d = factor(block, 208);
        for (half, y) in y.as_chunks_mut::<128>().0.iter_mut().enumerate() {
            let (ql, qh) = (&block[64 * half..][..64], &block[128 + 32 * half..][..32]);
            for (quarter, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                let at = 192 + 8 * half + 2 * quarter;
                let d1 = d * f32::from(block[at] as i8);
                let d2 = d * f32::from(block[at + 1] as i8);
                let ql = &ql[32 * (quarter % 2)..][..32];
                let (low_shift, high_shift) = (4 * (quarter / 2), 2 * quarter);
                for l in 0..32 {
                    let q = ql[l] >> low_shift & 15 | (qh[l] >> high_shift & 3) << 4;
                    y[l] = if l < 16 { d1 } else { d2 } * f32::from(q as i8 - 32);
                }
            }
        }
    });
}

/// f32 scale, 256 signed bytes, 16 sums (not needed here): `d * q`.
pub(super) fn q8_k(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 292], y: &mut [f32; 256]| {
        let d = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
        for l in 0..256 {
            y[l] = d * f32::from(block[4 + l] as i8);
        }
    });
}
