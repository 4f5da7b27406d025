//! Vector exponential.
use crate::simd::Lanes;

/// Returns `e^x` to about 1 ulp, with gradual underflow, infinity above 88.73 and NaN kept.
///
/// Cody and Waite 1980: `x = n ln 2 + r` with `|r| <= ln 2 / 2`, the Taylor polynomial of degree 7
/// at `r` (truncation below 6e-9 relative), times `2^n`.
///
/// # Safety
/// The tier of `L` is available.
#[inline(always)]
pub(crate) unsafe fn exp<L: Lanes>(x: L) -> L {
    /// Adding and subtracting it rounds to a whole number.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    /// The upper 16 bits of ln 2 and the rest: `n` times the first is exact.
    const LN2: (f32, f32) = (0.693_145_75, 1.428_606_8e-6);
    const TAYLOR: [f32; 6] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0];
    // SAFETY: forwarded to the caller.
    unsafe {
        let x = L::splat(128.0).min(L::splat(-128.0).max(x));
        let n = x
            .fma(L::splat(std::f32::consts::LOG2_E), L::splat(ROUND))
            .sub(L::splat(ROUND));
        let r = n.fma(L::splat(-LN2.0), x);
        let r = n.fma(L::splat(-LN2.1), r);
        let mut p = L::splat(1.0 / 5040.0);
        for c in TAYLOR {
            p = p.fma(r, L::splat(c));
        }
        p.fma(r, L::splat(1.0)).scale(n)
    }
}
