//! Products of signed bytes, summed over the four values of each row.
use std::arch::aarch64::*;
use std::arch::asm;

/// How a tier multiplies four values of each of four rows with four activations.
///
/// # Safety
/// Every method may only run where the tier is available.
pub(super) trait Dot {
    /// Running sums of four rows.
    type Sum: Copy;
    /// What one lane of the running sums holds.
    const CAPACITY: i32;

    unsafe fn zero() -> Self::Sum;
    /// Adds the products of `code` with the four activations in word `index`; reads the whole
    /// group of four words that `index` is in.
    unsafe fn add(sum: Self::Sum, code: int8x16_t, acts: *const i32, index: usize) -> Self::Sum;
    /// Makes room for as many products as after [`Self::zero`].
    unsafe fn widen(sum: Self::Sum) -> Self::Sum;
    /// Returns the sum of each row.
    unsafe fn finish(sum: Self::Sum) -> int32x4_t;
}

/// Returns how many products of codes of at most this magnitude with activations fit a lane.
pub(super) const fn limit<D: Dot>(magnitude: i32) -> i32 {
    D::CAPACITY / (127 * magnitude)
}

/// Baseline NEON: products in 16 bits, one lane per value; pairs of lanes are added in 32 bits when
/// they are full.
pub(super) struct Widening;

/// Sums of [`Widening`]: values of two rows in each register.
#[derive(Clone, Copy)]
pub(super) struct WideSum {
    products: [int16x8_t; 2],
    pairs: [int32x4_t; 2],
}

impl Dot for Widening {
    type Sum = WideSum;
    const CAPACITY: i32 = i16::MAX as i32;

    #[inline(always)]
    unsafe fn zero() -> WideSum {
        // SAFETY: register operations of every AArch64 CPU with NEON.
        unsafe {
            WideSum {
                products: [vdupq_n_s16(0); 2],
                pairs: [vdupq_n_s32(0); 2],
            }
        }
    }

    #[inline(always)]
    unsafe fn add(sum: WideSum, code: int8x16_t, acts: *const i32, index: usize) -> WideSum {
        // SAFETY: the caller vouches for the word.
        unsafe {
            let x = vreinterpretq_s8_s32(vld1q_dup_s32(acts.add(index)));
            let low = vmlal_s8(sum.products[0], vget_low_s8(code), vget_low_s8(x));
            let high = vmlal_high_s8(sum.products[1], code, x);
            WideSum {
                products: [low, high],
                ..sum
            }
        }
    }

    #[inline(always)]
    unsafe fn widen(sum: WideSum) -> WideSum {
        // SAFETY: register operations of every AArch64 CPU with NEON.
        unsafe {
            WideSum {
                products: [vdupq_n_s16(0); 2],
                pairs: [
                    vpadalq_s16(sum.pairs[0], sum.products[0]),
                    vpadalq_s16(sum.pairs[1], sum.products[1]),
                ],
            }
        }
    }

    #[inline(always)]
    unsafe fn finish(sum: WideSum) -> int32x4_t {
        // SAFETY: register operations of every AArch64 CPU with NEON.
        unsafe {
            let [low, high] = Self::widen(sum).pairs;
            vpaddq_s32(low, high)
        }
    }
}

/// `sdot`, whose intrinsic is not stable.
pub(super) struct DotProduct;

/// Adds to each lane of `sum` the products of its four codes with the four bytes of lane `LANE`.
#[inline(always)]
unsafe fn sdot<const LANE: usize>(sum: int32x4_t, code: int8x16_t, acts: int32x4_t) -> int32x4_t {
    let result: int32x4_t;
    // SAFETY: a register operation; the caller's tier has the dot product.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {code:v}.16b, {acts:v}.4b[{lane}]",
            sum = inlateout(vreg) sum => result,
            code = in(vreg) code,
            acts = in(vreg) acts,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    result
}

impl Dot for DotProduct {
    type Sum = int32x4_t;
    const CAPACITY: i32 = i32::MAX;

    #[inline(always)]
    unsafe fn zero() -> int32x4_t {
        // SAFETY: a register operation of every AArch64 CPU with NEON.
        unsafe { vdupq_n_s32(0) }
    }

    #[inline(always)]
    unsafe fn add(sum: int32x4_t, code: int8x16_t, acts: *const i32, index: usize) -> int32x4_t {
        // SAFETY: the caller vouches for the group of words.
        unsafe {
            let acts = vld1q_s32(acts.add(index & !3));
            // The index is known when the kernel is compiled.
            match index & 3 {
                0 => sdot::<0>(sum, code, acts),
                1 => sdot::<1>(sum, code, acts),
                2 => sdot::<2>(sum, code, acts),
                _ => sdot::<3>(sum, code, acts),
            }
        }
    }

    #[inline(always)]
    unsafe fn widen(sum: int32x4_t) -> int32x4_t {
        sum
    }

    #[inline(always)]
    unsafe fn finish(sum: int32x4_t) -> int32x4_t {
        sum
    }
}
