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
    /// Adds the products of `code`, which is vector `V` of a sub-block, with the four activations
    /// of each of `M` rows (1, 2 or a multiple of 4), which are words `V * M..` of `acts`; reads
    /// the whole groups of four words that these are in.
    unsafe fn add<const V: usize, const M: usize>(
        sums: &mut [Self::Sum; M],
        code: int8x16_t,
        acts: *const i32,
    );
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
    unsafe fn add<const V: usize, const M: usize>(
        sums: &mut [WideSum; M],
        code: int8x16_t,
        acts: *const i32,
    ) {
        for i in 0..M {
            // SAFETY: the caller vouches for the word.
            unsafe {
                let x = vreinterpretq_s8_s32(vld1q_dup_s32(acts.add(V * M + i)));
                let [low, high] = sums[i].products;
                sums[i].products = [
                    vmlal_s8(low, vget_low_s8(code), vget_low_s8(x)),
                    vmlal_high_s8(high, code, x),
                ];
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
    unsafe fn add<const V: usize, const M: usize>(
        sums: &mut [int32x4_t; M],
        code: int8x16_t,
        acts: *const i32,
    ) {
        const { assert!(M <= 2 || M.is_multiple_of(4)) };
        // SAFETY: the caller vouches for the groups of words.
        unsafe {
            // Known when the kernel is compiled, as is `M`.
            let first = V * M % 4;
            let mut x = vld1q_s32(acts.add(V * M - first));
            if M == 1 {
                sums[0] = match first {
                    0 => sdot::<0>(sums[0], code, x),
                    1 => sdot::<1>(sums[0], code, x),
                    2 => sdot::<2>(sums[0], code, x),
                    _ => sdot::<3>(sums[0], code, x),
                };
            } else if M == 2 && first == 0 {
                sums[0] = sdot::<0>(sums[0], code, x);
                sums[1] = sdot::<1>(sums[1], code, x);
            } else if M == 2 {
                sums[0] = sdot::<2>(sums[0], code, x);
                sums[1] = sdot::<3>(sums[1], code, x);
            } else {
                for i in (0..M).step_by(4) {
                    x = if i == 0 {
                        x
                    } else {
                        vld1q_s32(acts.add(V * M + i))
                    };
                    sums[i] = sdot::<0>(sums[i], code, x);
                    sums[i + 1] = sdot::<1>(sums[i + 1], code, x);
                    sums[i + 2] = sdot::<2>(sums[i + 2], code, x);
                    sums[i + 3] = sdot::<3>(sums[i + 3], code, x);
                }
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
