//! Quantised products at the limits: every format on every tier against the scalar tier, with codes,
//! scales, minima and activations where rounding, saturation and special values would show.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::num::NonZeroUsize;

use ropewalk_kernels::{Format, Isa, Pool};

use crate::blocks::{Random, quantised, scales_at};
use crate::quantised::product;

/// f16 scales: zeros, the ends of the subnormal and the normal numbers, ordinary ones, infinities
/// and a NaN.
const HALVES: [u16; 14] = [
    0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x83ff, 0x0400, 0x2c00, 0xb155, 0x7bff, 0xfbff, 0x7c00,
    0xfc00, 0x7e00,
];
/// Exponents of MXFP4: the two subnormal ones, the least normal one, ordinary ones, the largest.
const EXPONENTS: [u8; 7] = [0, 1, 2, 120, 130, 254, 255];
/// What the codes and the packed integer scales of a row are filled with; the last is random.
const FILLS: [Option<u8>; 6] = [
    Some(0),
    Some(0xff),
    Some(0x80),
    Some(0x7f),
    Some(0x55),
    None,
];

/// A row of blocks of one scale and one fill.
fn row(format: Format, k: usize, scale: usize, fill: Option<u8>, random: &mut Random) -> Vec<u8> {
    let len = k / format.block_size() * format.block_bytes();
    let mut row: Vec<u8> = (0..len)
        .map(|_| fill.unwrap_or(random.next() as u8))
        .collect();
    for block in row.chunks_exact_mut(format.block_bytes()) {
        for (i, &at) in scales_at(format).iter().enumerate() {
            // A minimum is ordinary where the scale is special, and the other way round.
            let which = (scale + 7 * i) % HALVES.len();
            block[at..at + 2].copy_from_slice(&HALVES[which].to_le_bytes());
        }
        if format == Format::MXFP4 {
            block[0] = EXPONENTS[scale % EXPONENTS.len()];
        }
    }
    row
}

/// Rows of activations: all of one magnitude, alternating, zero, tiny, huge, random ones after.
fn activations(m: usize, k: usize, random: &mut Random) -> Vec<f32> {
    let mut x = random.floats(m * k);
    for (i, x) in x.chunks_exact_mut(k).enumerate() {
        for (j, x) in x.iter_mut().enumerate() {
            let sign = if j.is_multiple_of(2) { 1.0 } else { -1.0 };
            match i % 8 {
                0 => *x = 1.0,
                1 => *x = -1.0,
                2 => *x = sign,
                3 => *x = 0.0,
                4 => *x *= 1e-29,
                5 => *x *= 1e30,
                _ => {}
            }
        }
    }
    x
}

/// Bits with one pattern for every NaN: which one comes out of an operation differs between CPUs.
fn bits(x: &[f32]) -> Vec<u32> {
    let bits = |v: &f32| if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() };
    x.iter().map(bits).collect()
}

#[test]
fn all_tiers_equal_the_scalar_tier_at_the_limits() {
    let pool = Pool::new(NonZeroUsize::MIN);
    for format in quantised() {
        let mut random = Random(format as u64);
        for n in [1, 15, 17] {
            for m in 1..=13 {
                let k = [1, 3][m % 2] * format.block_size();
                let bytes: Vec<u8> = (0..n)
                    .flat_map(|r| {
                        // Every pair of a scale and a fill comes up: their counts share no row.
                        let (scale, fill) = (r + m, FILLS[(r + 2 * m + n) % FILLS.len()]);
                        row(format, k, scale, fill, &mut random)
                    })
                    .collect();
                let x = activations(m, k, &mut random);
                let want = product(&pool, Isa::Scalar, format, &bytes, (m, n, k), &x);
                for isa in Isa::available() {
                    let got = product(&pool, isa, format, &bytes, (m, n, k), &x);
                    assert_eq!(bits(&got), bits(&want), "{format} {isa} {m}x{n}x{k}");
                }
            }
        }
    }
}

#[test]
fn special_scales_come_out_as_they_went_in() {
    let pool = Pool::new(NonZeroUsize::MIN);
    for format in quantised().into_iter().filter(|&f| f != Format::MXFP4) {
        let k = format.block_size();
        let mut random = Random(11);
        for isa in Isa::available() {
            for scale in 0..HALVES.len() {
                let bytes = row(format, k, scale, Some(0x55), &mut random);
                let got = product(&pool, isa, format, &bytes, (1, 1, k), &vec![1.0; k])[0];
                let of = |half: u16| (half & 0x7fff) >= 0x7c00;
                let special = (0..scales_at(format).len())
                    .any(|i| of(HALVES[(scale + 7 * i) % HALVES.len()]));
                let shown = HALVES[scale];
                assert_eq!(
                    !got.is_finite(),
                    special,
                    "{format} {isa} {shown:#x}: {got}"
                );
            }
        }
    }
}
