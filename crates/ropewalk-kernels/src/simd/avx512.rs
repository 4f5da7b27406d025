//! AVX-512 lanes: one register.
use std::arch::x86_64::*;

use super::Lanes;

#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Avx512(__m512);

#[inline(always)]
fn mask(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

#[inline(always)]
unsafe fn indices(i: [i32; 16]) -> __m512i {
    // SAFETY: needs AVX-512F, which the caller has.
    unsafe { _mm512_loadu_si512(i.as_ptr().cast()) }
}

/// Returns the columns of a 16 x 16 matrix given by rows.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn transpose16(r: [__m512; 16]) -> [__m512; 16] {
    let z = _mm512_setzero_ps();
    let (mut a, mut b) = ([z; 16], [z; 16]);
    for i in 0..8 {
        a[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for i in 0..4 {
        for h in 0..2 {
            let lo = _mm512_castps_pd(a[4 * i + h]);
            let hi = _mm512_castps_pd(a[4 * i + 2 + h]);
            b[4 * i + 2 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(lo, hi));
            b[4 * i + 2 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(lo, hi));
        }
    }
    // b[4 g + c] holds, in its 128-bit lane l, rows 4 g .. 4 g + 4 of column 4 l + c.
    for c in 0..4 {
        let lo = _mm512_shuffle_f32x4::<0x88>(b[c], b[4 + c]);
        let hi = _mm512_shuffle_f32x4::<0x88>(b[8 + c], b[12 + c]);
        a[c] = _mm512_shuffle_f32x4::<0x88>(lo, hi);
        a[8 + c] = _mm512_shuffle_f32x4::<0xdd>(lo, hi);
        let lo = _mm512_shuffle_f32x4::<0xdd>(b[c], b[4 + c]);
        let hi = _mm512_shuffle_f32x4::<0xdd>(b[8 + c], b[12 + c]);
        a[4 + c] = _mm512_shuffle_f32x4::<0x88>(lo, hi);
        a[12 + c] = _mm512_shuffle_f32x4::<0xdd>(lo, hi);
    }
    a
}

// SAFETY (all blocks below): the tier is available, and the caller vouches for the elements behind
// a pointer.
#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one condition for all, stated above"
)]
impl Lanes for Avx512 {
    const WIDE: bool = true;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self(unsafe { _mm512_set1_ps(x) })
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        Self(unsafe { _mm512_loadu_ps(p) })
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        Self(unsafe { _mm512_maskz_loadu_ps(mask(n), p) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        unsafe { _mm512_storeu_ps(p, self.0) };
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        unsafe { _mm512_mask_storeu_ps(p, mask(n), self.0) };
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        Self(unsafe { _mm512_add_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        Self(unsafe { _mm512_sub_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        Self(unsafe { _mm512_mul_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        Self(unsafe { _mm512_div_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    unsafe fn fma1(a: f32, b: f32, c: f32) -> f32 {
        let (a, b, c) = unsafe { (_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c)) };
        unsafe { _mm_cvtss_f32(_mm_fmadd_ss(a, b, c)) }
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        Self(unsafe { _mm512_max_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        Self(unsafe { _mm512_min_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        Self(unsafe { _mm512_abs_ps(self.0) })
    }
    #[inline(always)]
    unsafe fn select_gt(self, b: Self, x: Self, y: Self) -> Self {
        unsafe {
            let greater = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, b.0);
            Self(_mm512_mask_blend_ps(greater, y.0, x.0))
        }
    }
    #[inline(always)]
    unsafe fn scale(self, n: Self) -> Self {
        Self(unsafe { _mm512_scalef_ps(self.0, n.0) })
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        unsafe {
            let high = _mm512_extractf32x8_ps::<1>(self.0);
            let v = _mm256_add_ps(_mm512_castps512_ps256(self.0), high);
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
        }
    }
    #[inline(always)]
    unsafe fn maximum(self) -> f32 {
        unsafe {
            let high = _mm512_extractf32x8_ps::<1>(self.0);
            let v = _mm256_max_ps(_mm512_castps512_ps256(self.0), high);
            let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)))
        }
    }
    #[inline(always)]
    unsafe fn deinterleave(self, b: Self) -> (Self, Self) {
        unsafe {
            let even = indices([0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30]);
            let odd = indices([1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31]);
            (
                Self(_mm512_permutex2var_ps(self.0, even, b.0)),
                Self(_mm512_permutex2var_ps(self.0, odd, b.0)),
            )
        }
    }
    #[inline(always)]
    unsafe fn interleave(self, b: Self) -> (Self, Self) {
        unsafe {
            let low = indices([0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23]);
            let high = indices([8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31]);
            (
                Self(_mm512_permutex2var_ps(self.0, low, b.0)),
                Self(_mm512_permutex2var_ps(self.0, high, b.0)),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        unsafe {
            let wide = _mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()));
            Self(_mm512_cvtepi32_ps(wide))
        }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) })
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
        }
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16) {
        unsafe {
            let half = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0);
            _mm256_storeu_si256(p.cast(), half);
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16) {
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let up = _mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7fff));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
            let top = _mm512_srli_epi32::<16>(_mm512_mask_blend_epi32(nan, up, quiet));
            _mm256_storeu_si256(p.cast(), _mm512_cvtepi32_epi16(top));
        }
    }
}
