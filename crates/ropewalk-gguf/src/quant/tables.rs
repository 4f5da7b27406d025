//! Encoders of the formats whose codes index a table. Layouts and tables: `dequant/tables.rs`.

use super::iq_search::{largest, part, weigh};
use super::k_quants::each;
use super::lanes::nearest;
use crate::dequant::{E2M1, UNEVEN, e4m3_half, e8m0_half};
use crate::float::f32_to_f16;

/// Below this the largest value of a block counts as zero (`GROUP_MAX_EPS` in `ggml-quants.c`).
const ZERO: f32 = 1e-15;

/// Returns the index of the nearest of the 16 uneven values.
#[inline(always)]
fn nearest_uneven(x: f32) -> u8 {
    let twice = x + x;
    UNEVEN.iter().zip(&UNEVEN[1..]).fold(0, |n, (&a, &b)| {
        n + u8::from(twice >= f32::from(i16::from(a) + i16::from(b)))
    })
}

/// Fits a scale to 32 values (`quantize_row_iq4_nl_impl` in `ggml-quants.c`): of 16 step sizes the
/// one whose least-squares scale explains most.
fn uneven_scale(x: &[f32; 32], importance: Option<&[f32; 32]>, variance: f32) -> f32 {
    let weights = weigh(x, importance, variance, |xx| xx);
    let peak = peak(x);
    if peak.abs() < ZERO {
        return 0.0;
    }
    let products = |inverse: f32| {
        let (mut xq, mut qq) = (0.0, 0.0);
        for (x, w) in x.iter().zip(&weights) {
            let q = f32::from(UNEVEN[usize::from(nearest_uneven(inverse * x))]);
            xq += w * q * x;
            qq += w * q * q;
        }
        (xq, qq)
    };
    let lowest = i32::from(UNEVEN[0]);
    let (xq, qq) = products(1.0 / (-peak / lowest as f32));
    let mut scale = if qq > 0.0 { xq / qq } else { 0.0 };
    let mut best = scale * xq;
    for step in -7..=7 {
        let (xq, qq) = products((step + lowest) as f32 / peak);
        if qq > 0.0 && xq * xq > best * qq {
            scale = xq / qq;
            best = scale * xq;
        }
    }
    // Importance so large that sums overflow says nothing.
    if scale.is_finite() {
        scale
    } else {
        peak / lowest as f32
    }
}

/// Returns the value of largest magnitude, the first of equals.
fn peak(x: &[f32]) -> f32 {
    x.iter()
        .fold(0.0_f32, |a, &b| if b.abs() > a.abs() { b } else { a })
}

/// Returns twice the mean square.
fn variance(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |sum, x| sum + x * x) * (2.0 / x.len() as f32)
}

/// Writes the indices of 32 values at a scale, those of the second half in the upper bits.
fn put_uneven(x: &[f32; 32], scale: f32, out: &mut [u8]) {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    for (j, byte) in out[..16].iter_mut().enumerate() {
        *byte = nearest_uneven(inverse * x[j]) | nearest_uneven(inverse * x[j + 16]) << 4;
    }
}

pub(super) fn iq4_nl(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let importance = importance.map(|w| w.as_chunks().0);
    let blocks = out.as_chunks_mut::<18>().0;
    for (i, (x, block)) in x.as_chunks().0.iter().zip(blocks).enumerate() {
        let scale = uneven_scale(x, importance.and_then(|w| w.get(i)), variance(x));
        block[..2].copy_from_slice(&f32_to_f16(scale).to_le_bytes());
        put_uneven(x, scale, &mut block[2..]);
    }
}

pub(super) fn iq4_xs(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    each(
        x,
        importance,
        out,
        |x, importance, block: &mut [u8; 136]| {
            let variance = variance(x);
            let scales: [f32; 8] = std::array::from_fn(|i| {
                let (x, importance) = part(x, importance, i);
                uneven_scale(x, importance, variance)
            });
            let peak = scales
                .iter()
                .fold(0.0_f32, |a, &b| if b.abs() > a.abs() { b } else { a });
            let d = -peak / 32.0;
            let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
            let mut upper = 0_u16;
            for (i, (x, scale)) in x.as_chunks().0.iter().zip(scales).enumerate() {
                let code = nearest(inverse * scale).clamp(-32, 31);
                put_uneven(x, d * code as f32, &mut block[8 + 16 * i..]);
                let code = (code + 32) as u8;
                block[4 + i / 2] |= (code & 15) << (4 * (i % 2));
                upper |= u16::from(code >> 4) << (2 * i);
            }
            block[..2].copy_from_slice(&f32_to_f16(d).to_le_bytes());
            block[2..4].copy_from_slice(&upper.to_le_bytes());
        },
    );
}

/// Returns the index of the FP4 number that is nearest at a scale, the first of equals.
#[inline(always)]
fn nearest_e2m1(x: f32, scale: f32) -> u8 {
    let mut best = (f32::INFINITY, 0);
    for (i, q) in E2M1.iter().enumerate() {
        let miss = (f32::from(*q) * scale - x).abs();
        if miss < best.0 {
            best = (miss, i as u8);
        }
    }
    best.1
}

/// The scale is the power of two that gives the largest value a magnitude of 4 to 8, of which FP4
/// reaches 6. For values below 2^-125, which ggml does not handle, it is the least.
pub(super) fn mxfp4(x: &[f32], out: &mut [u8]) {
    for (x, block) in x
        .as_chunks::<32>()
        .0
        .iter()
        .zip(out.as_chunks_mut::<17>().0)
    {
        let largest = largest(x);
        // Rounded to f32 before the floor, as `log2f` is.
        let log = f64::from(largest).log2() as f32;
        block[0] = if largest > 0.0 {
            (log.floor() - 2.0 + 127.0) as u8
        } else {
            0
        };
        let scale = e8m0_half(block[0]);
        for j in 0..16 {
            block[1 + j] = nearest_e2m1(x[j], scale) | nearest_e2m1(x[j + 16], scale) << 4;
        }
    }
}

/// Codes a scale as unsigned E4M3, halves up. As in ggml (`ggml_fp32_to_ue4m3`), what rounds to 256
/// or more becomes the largest number, 448.
fn e4m3(x: f32) -> u8 {
    if x < 1.0 / 64.0 {
        return ((x * 512.0 + 0.5) as u8).min(7);
    }
    // The exponent's bias becomes 7 and the mantissa three bits, rounded by the fourth.
    let code = ((x.to_bits() >> 19) - (120 << 4)).div_ceil(2);
    if code < 15 << 3 { code as u8 } else { 0x7e }
}

pub(super) fn nvfp4(x: &[f32], out: &mut [u8]) {
    for (x, block) in x
        .as_chunks::<64>()
        .0
        .iter()
        .zip(out.as_chunks_mut::<36>().0)
    {
        for (i, x) in x.as_chunks::<16>().0.iter().enumerate() {
            block[i] = e4m3(largest(x) / 6.0);
            let scale = e4m3_half(block[i]);
            for j in 0..8 {
                block[4 + 8 * i + j] =
                    nearest_e2m1(x[j], scale) | nearest_e2m1(x[j + 8], scale) << 4;
            }
        }
    }
}
