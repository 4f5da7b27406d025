//! Portable dot products over ggml blocks: the reference that every other tier must equal.
//!
//! The integer parts are exact. The f32 part has one order of operations on all tiers, so their
//! results are equal bit for bit; it is written down here.

use super::activation::{
    SMALL_SCALE, SMALL_SCALED_SUM, SMALL_SUM, SMALL_WORDS, SUPER_SCALE, SUPER_SUMS16, SUPER_WORDS,
};
use super::block32::{self, Small, half_exponent, offset};
use super::superblock::{self, Super};
use super::{Format, SMALL, SUPER, block32 as b32, superblock as sb};
use crate::f16;

/// Returns the product of one row of ggml blocks with one row of quantised activations.
pub(crate) fn dot(format: Format, row: &[u8], acts: &[i32]) -> f32 {
    match format {
        Format::Q2_K => super_dot::<sb::Q2K>(row, acts),
        Format::Q3_K => super_dot::<sb::Q3K>(row, acts),
        Format::Q4_K => super_dot::<sb::Q4K>(row, acts),
        Format::Q5_K => super_dot::<sb::Q5K>(row, acts),
        Format::Q6_K => super_dot::<sb::Q6K>(row, acts),
        Format::IQ4_XS => super_dot::<sb::Iq4Xs>(row, acts),
        Format::Q4_0 => small_dot::<b32::Q40>(row, acts),
        Format::Q4_1 => small_dot::<b32::Q41>(row, acts),
        Format::Q5_0 => small_dot::<b32::Q50>(row, acts),
        Format::Q5_1 => small_dot::<b32::Q51>(row, acts),
        Format::Q8_0 => small_dot::<b32::Q80>(row, acts),
        Format::IQ4_NL => small_dot::<b32::Iq4Nl>(row, acts),
        Format::MXFP4 => small_dot::<b32::Mxfp4>(row, acts),
        // These have kernels over f32 activations.
        Format::F32 | Format::F16 | Format::BF16 => f32::NAN,
    }
}

/// Returns the exact integer product of codes and activations.
fn code_dot(codes: &[u8], words: &[i32]) -> i32 {
    let groups = codes.chunks_exact(4).zip(words);
    groups.fold(0, |sum, (c, w)| {
        let q = w.to_ne_bytes().map(u8::cast_signed);
        sum + (0..4)
            .map(|i| i32::from(c[i]) * i32::from(q[i]))
            .sum::<i32>()
    })
}

/// Returns sum `j` of 16 values.
fn sum16(acts: &[i32], j: usize) -> i32 {
    let word = acts[SUPER_SUMS16 + j / 2];
    if j.is_multiple_of(2) {
        i32::from(word as i16)
    } else {
        word >> 16
    }
}

fn super_dot<F: Super>(row: &[u8], acts: &[i32]) -> f32 {
    let mut block = superblock::Block::new();
    let mut result = 0.0f32;
    let blocks = row
        .chunks_exact(F::BLOCK_BYTES)
        .zip(acts.chunks_exact(SUPER_WORDS));
    for (bytes, acts) in blocks {
        F::read(bytes, &mut block);
        if let Some(table) = F::TABLE {
            block
                .codes
                .iter_mut()
                .for_each(|c| *c = table[usize::from(*c)]);
        }
        let (mut sum, mut correction) = (0i32, 0i32);
        for j in 0..16 {
            let codes = &block.codes[16 * j..][..16];
            let scale = i32::from(block.scales[j]);
            sum += scale * code_dot(codes, &acts[4 * j..][..4]);
            let factor = if F::OFFSET == 0 {
                i32::from(block.mins[j])
            } else {
                scale
            };
            correction += factor * sum16(acts, j);
        }
        let d = f16::to_f32(block.d);
        let value = if F::OFFSET == 0 {
            (correction as f32).mul_add(-f16::to_f32(block.dmin), sum as f32 * d)
        } else {
            (sum - F::OFFSET * correction) as f32 * d
        };
        result = value.mul_add(f32::from_bits(acts[SUPER_SCALE].cast_unsigned()), result);
    }
    debug_assert_eq!(
        row.len() / F::BLOCK_BYTES * SUPER,
        acts.len() / SUPER_WORDS * SUPER
    );
    result
}

fn small_dot<F: Small>(row: &[u8], acts: &[i32]) -> f32 {
    let mut block = block32::Block::new();
    let mut result = 0.0f32;
    let blocks = row
        .chunks_exact(F::BLOCK_BYTES)
        .zip(acts.chunks_exact(SMALL_WORDS));
    for (bytes, acts) in blocks {
        F::read(bytes, &mut block);
        if let Some(table) = F::TABLE {
            block
                .codes
                .iter_mut()
                .for_each(|c| *c = table[usize::from(*c)]);
        }
        let mut sum = code_dot(&block.codes, &acts[..SMALL / 4]);
        sum -= offset(F::OFFSET_BITS) * (acts[SMALL_SUM] / -128);
        let d = if F::EXPONENT {
            half_exponent(block.d as u8)
        } else {
            f16::to_f32(block.d)
        };
        let scale = d * f32::from_bits(acts[SMALL_SCALE].cast_unsigned());
        result = (sum as f32).mul_add(scale, result);
        if F::MIN {
            let scaled_sum = f32::from_bits(acts[SMALL_SCALED_SUM].cast_unsigned());
            result = f16::to_f32(block.m).mul_add(scaled_sum, result);
        }
    }
    result
}
