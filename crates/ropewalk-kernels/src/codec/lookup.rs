//! From 4-bit indices to f32, on every tier.
#![allow(unsafe_code, reason = "std::arch intrinsics on raw pointers")]

use crate::Isa;

/// Writes `table[index] * scale` for blocks of `block` values; the tier is available.
pub(super) fn blocks(
    isa: Isa,
    table: &[f32; 16],
    block: usize,
    packed: &[u8],
    scales: &[f32],
    out: &mut [f32],
) {
    let blocks = out.chunks_mut(block).zip(packed.chunks(block / 2));
    for ((out, packed), &scale) in blocks.zip(scales) {
        let table = table.map(|x| x * scale);
        match isa {
            // SAFETY: the tier is available.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => unsafe { avx512(&table, packed, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni => unsafe { avx2(&table, packed, out) },
            _ => scalar(&table, packed, out),
        }
    }
}

/// Writes the values of `packed`, as many as `out` holds.
#[inline(always)]
fn scalar(table: &[f32; 16], packed: &[u8], out: &mut [f32]) {
    for (pair, &byte) in out.chunks_mut(2).zip(packed) {
        let values = [table[usize::from(byte >> 4)], table[usize::from(byte & 15)]];
        pair.copy_from_slice(&values[..pair.len()]);
    }
}

/// # Safety
/// Needs AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(table: &[f32; 16], packed: &[u8], out: &mut [f32]) {
    use std::arch::x86_64::*;
    let (lines, rest) = out.as_chunks_mut::<16>();
    let (words, last) = packed.as_chunks::<8>();
    let words = words.iter().take(lines.len());
    // SAFETY: a line is 16 values, the table too.
    unsafe {
        let table = _mm512_loadu_ps(table.as_ptr());
        // A byte goes to both halves of 64 bits; the first takes its high four bits.
        let shift = _mm512_set1_epi64(4);
        for (line, word) in lines.iter_mut().zip(words) {
            let bytes = _mm_cvtsi64_si128(i64::from_le_bytes(*word));
            let x = _mm512_cvtepu8_epi64(bytes);
            let both = _mm512_or_si512(_mm512_slli_epi64::<32>(x), x);
            // Only the low four bits of an index count.
            let index = _mm512_srlv_epi32(both, shift);
            _mm512_storeu_ps(line.as_mut_ptr(), _mm512_permutexvar_ps(index, table));
        }
    }
    let done = lines.len() * 8;
    debug_assert!(last.len() < 8);
    scalar(table, &packed[done..], rest);
}

/// # Safety
/// Needs AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2(table: &[f32; 16], packed: &[u8], out: &mut [f32]) {
    use std::arch::x86_64::*;
    let (lines, rest) = out.as_chunks_mut::<8>();
    let words = packed.as_chunks::<4>().0.iter().take(lines.len());
    // SAFETY: a line is 8 values, the table 16.
    unsafe {
        let low = _mm256_loadu_ps(table.as_ptr());
        let high = _mm256_loadu_ps(table.as_ptr().add(8));
        let shift = _mm256_set1_epi64x(4);
        for (line, word) in lines.iter_mut().zip(words) {
            let bytes = _mm_cvtsi32_si128(i32::from_le_bytes(*word));
            let pairs = _mm256_cvtepu8_epi32(_mm_unpacklo_epi8(bytes, bytes));
            let index = _mm256_srlv_epi32(pairs, shift);
            // Permutes use the low three bits; the fourth chooses the half of the table.
            let half = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index));
            let (a, b) = (
                _mm256_permutevar8x32_ps(low, index),
                _mm256_permutevar8x32_ps(high, index),
            );
            _mm256_storeu_ps(line.as_mut_ptr(), _mm256_blendv_ps(a, b, half));
        }
    }
    let done = lines.len() * 4;
    scalar(table, &packed[done..], rest);
}
