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

/// Decodes units of eight columns of a tile (see [`super::tiles`]) to lines of 16 rows.
///
/// # Safety
/// The tier is available; `scales` are 64 bytes, `units` whole units of 64, and `out` has room for
/// eight lines per unit.
pub(super) unsafe fn units(
    isa: Isa,
    table: &[f32; 16],
    scales: &[u8],
    units: &[u8],
    out: *mut f32,
) {
    debug_assert!(scales.len() == 64 && units.len().is_multiple_of(64));
    // SAFETY: forwarded to the caller.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => units_avx512(table, scales, units, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni => units_avx2(table, scales, units, out),
            _ => units_scalar(table, scales, units, out),
        }
    }
}

unsafe fn units_scalar(table: &[f32; 16], scales: &[u8], units: &[u8], mut out: *mut f32) {
    let scales = scales.as_chunks::<4>().0;
    for unit in units.chunks_exact(64) {
        for column in 0..8 {
            for (word, scale) in unit.as_chunks::<4>().0.iter().zip(scales) {
                let index = u32::from_le_bytes(*word) >> (4 * column) & 15;
                // SAFETY: forwarded to the caller.
                unsafe {
                    out.write(table[index as usize] * f32::from_le_bytes(*scale));
                    out = out.add(1);
                }
            }
        }
    }
}

/// # Safety
/// As [`units`]; needs AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn units_avx512(table: &[f32; 16], scales: &[u8], units: &[u8], mut out: *mut f32) {
    use std::arch::x86_64::*;
    // SAFETY: forwarded to the caller; only the low four bits of an index count.
    unsafe {
        let table = _mm512_loadu_ps(table.as_ptr());
        let scale = _mm512_loadu_ps(scales.as_ptr().cast());
        for unit in units.chunks_exact(64) {
            let words = _mm512_loadu_si512(unit.as_ptr().cast());
            macro_rules! column {
                ($($shift:literal)*) => {$(
                    let index = _mm512_srli_epi32::<$shift>(words);
                    let value = _mm512_permutexvar_ps(index, table);
                    _mm512_storeu_ps(out, _mm512_mul_ps(value, scale));
                    out = out.add(16);
                )*};
            }
            column!(0 4 8 12 16 20 24 28);
        }
    }
}

/// # Safety
/// As [`units`]; needs AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn units_avx2(table: &[f32; 16], scales: &[u8], units: &[u8], mut out: *mut f32) {
    use std::arch::x86_64::*;
    // SAFETY: forwarded to the caller.
    unsafe {
        let low = _mm256_loadu_ps(table.as_ptr());
        let high = _mm256_loadu_ps(table.as_ptr().add(8));
        let scales = [0, 8].map(|i| _mm256_loadu_ps(scales.as_ptr().cast::<f32>().add(i)));
        for unit in units.chunks_exact(64) {
            let mut words =
                [0, 1].map(|i| _mm256_loadu_si256(unit.as_ptr().cast::<__m256i>().add(i)));
            for _ in 0..8 {
                for (words, scale) in words.iter_mut().zip(scales) {
                    // Permutes use the low three bits; the fourth chooses the half of the table.
                    let half = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(*words));
                    let a = _mm256_permutevar8x32_ps(low, *words);
                    let b = _mm256_permutevar8x32_ps(high, *words);
                    let value = _mm256_blendv_ps(a, b, half);
                    _mm256_storeu_ps(out, _mm256_mul_ps(value, scale));
                    out = out.add(8);
                    *words = _mm256_srli_epi32::<4>(*words);
                }
            }
        }
    }
}
