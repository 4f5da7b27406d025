//! NEON lanes: four registers.
//!
//! Conversions from and to half precision are baseline instructions (`fcvtl`, `fcvtn`) without a
//! stable intrinsic, so they are written in assembly.
use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;

use super::Lanes;

#[derive(Clone, Copy)]
pub(crate) struct Neon([float32x4_t; 4]);

/// Returns the values of four half-precision numbers.
#[inline(always)]
pub(crate) fn widen_f16(x: uint16x4_t) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: a register operation of every AArch64 CPU with NEON.
    unsafe {
        asm!(
            "fcvtl {wide:v}.4s, {x:v}.4h",
            wide = lateout(vreg) wide, x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    wide
}

/// Rounds to half precision, to nearest even.
#[inline(always)]
fn round_f16(x: float32x4_t) -> uint16x4_t {
    let half: uint16x4_t;
    // SAFETY: as above.
    unsafe {
        asm!(
            "fcvtn {half:v}.4h, {x:v}.4s",
            half = lateout(vreg) half, x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    half
}

#[inline(always)]
fn round_bf16(x: float32x4_t) -> uint16x4_t {
    // SAFETY: register operations of every AArch64 CPU with NEON.
    unsafe {
        let bits = vreinterpretq_u32_f32(x);
        let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
        let up = vaddq_u32(vaddq_u32(bits, odd), vdupq_n_u32(0x7fff));
        let quiet = vorrq_u32(bits, vdupq_n_u32(0x0040_0000));
        vshrn_n_u32::<16>(vbslq_u32(vceqq_f32(x, x), up, quiet))
    }
}

/// Returns `x * 2^n`; halves of `n` keep both factors normal.
#[inline(always)]
fn scale4(x: float32x4_t, n: float32x4_t) -> float32x4_t {
    // SAFETY: register operations of every AArch64 CPU with NEON.
    unsafe {
        let n = vcvtnq_s32_f32(n);
        let half = vshrq_n_s32::<1>(n);
        let power = |n| {
            let biased = vaddq_s32(n, vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        };
        vmulq_f32(vmulq_f32(x, power(half)), power(vsubq_s32(n, half)))
    }
}

/// Returns the columns of a 4 x 4 matrix given by rows.
#[inline(always)]
pub(crate) fn transpose4(r: [float32x4_t; 4]) -> [float32x4_t; 4] {
    // SAFETY: register operations of every AArch64 CPU with NEON.
    unsafe {
        let pairs = |x, y| {
            let (even, odd) = (vtrn1q_f32(x, y), vtrn2q_f32(x, y));
            (vreinterpretq_f64_f32(even), vreinterpretq_f64_f32(odd))
        };
        let ((a, b), (c, d)) = (pairs(r[0], r[1]), pairs(r[2], r[3]));
        [
            vreinterpretq_f32_f64(vtrn1q_f64(a, c)),
            vreinterpretq_f32_f64(vtrn1q_f64(b, d)),
            vreinterpretq_f32_f64(vtrn2q_f64(a, c)),
            vreinterpretq_f32_f64(vtrn2q_f64(b, d)),
        ]
    }
}

impl Neon {
    #[inline(always)]
    fn map(self, f: impl Fn(float32x4_t) -> float32x4_t) -> Self {
        Self(from_fn(|i| f(self.0[i])))
    }

    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Self {
        Self(from_fn(|i| f(self.0[i], b.0[i])))
    }
}

/// Returns `a` where it is greater, else `b`.
#[inline(always)]
fn larger(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    // SAFETY: register operations of every AArch64 CPU with NEON.
    unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
}

// SAFETY (all blocks below): the tier is available, and the caller vouches for the elements behind
// a pointer.
#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one condition for all, stated above"
)]
impl Lanes for Neon {
    const WIDE: bool = false;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Self([vdupq_n_f32(x); 4]) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        unsafe { Self(from_fn(|i| vld1q_f32(p.add(4 * i)))) }
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        let mut lanes = [0.0f32; 16];
        unsafe {
            std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), n);
            Self::load(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        for i in 0..4 {
            unsafe { vst1q_f32(p.add(4 * i), self.0[i]) };
        }
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        let mut lanes = [0.0f32; 16];
        unsafe {
            self.store(lanes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), p, n);
        }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        self.zip(b, |x, y| unsafe { vaddq_f32(x, y) })
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        self.zip(b, |x, y| unsafe { vsubq_f32(x, y) })
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        self.zip(b, |x, y| unsafe { vmulq_f32(x, y) })
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        self.zip(b, |x, y| unsafe { vdivq_f32(x, y) })
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        Self(from_fn(|i| unsafe { vfmaq_f32(c.0[i], self.0[i], b.0[i]) }))
    }
    #[inline(always)]
    unsafe fn fma1(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        self.zip(b, larger)
    }
    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        self.zip(b, |x, y| unsafe { vbslq_f32(vcltq_f32(x, y), x, y) })
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        self.map(|x| unsafe { vabsq_f32(x) })
    }
    #[inline(always)]
    unsafe fn select_gt(self, b: Self, x: Self, y: Self) -> Self {
        Self(from_fn(|i| unsafe {
            vbslq_f32(vcgtq_f32(self.0[i], b.0[i]), x.0[i], y.0[i])
        }))
    }
    #[inline(always)]
    unsafe fn scale(self, n: Self) -> Self {
        self.zip(n, scale4)
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let [a, b, c, d] = self.0;
        unsafe {
            let v = vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d));
            vpadds_f32(vadd_f32(vget_low_f32(v), vget_high_f32(v)))
        }
    }
    #[inline(always)]
    unsafe fn maximum(self) -> f32 {
        let [a, b, c, d] = self.0;
        let v = larger(larger(a, c), larger(b, d));
        unsafe {
            let v = larger(v, vextq_f32::<2>(v, v));
            vgetq_lane_f32::<0>(larger(v, vextq_f32::<1>(v, v)))
        }
    }
    #[inline(always)]
    unsafe fn deinterleave(self, b: Self) -> (Self, Self) {
        let at = |i: usize| if i < 4 { self.0[i] } else { b.0[i - 4] };
        unsafe {
            (
                Self(from_fn(|i| vuzp1q_f32(at(2 * i), at(2 * i + 1)))),
                Self(from_fn(|i| vuzp2q_f32(at(2 * i), at(2 * i + 1)))),
            )
        }
    }
    #[inline(always)]
    unsafe fn interleave(self, b: Self) -> (Self, Self) {
        let [x0, x1, x2, x3] = self.0;
        let [y0, y1, y2, y3] = b.0;
        let merge = |x, y, z, w| unsafe {
            Self([
                vzip1q_f32(x, y),
                vzip2q_f32(x, y),
                vzip1q_f32(z, w),
                vzip2q_f32(z, w),
            ])
        };
        (merge(x0, y0, x1, y1), merge(x2, y2, x3, y3))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        unsafe {
            let bytes = vld1q_s8(p);
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            let words = [
                vmovl_s16(vget_low_s16(low)),
                vmovl_high_s16(low),
                vmovl_s16(vget_low_s16(high)),
                vmovl_high_s16(high),
            ];
            Self(words.map(|w| vcvtq_f32_s32(w)))
        }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        Self(from_fn(|i| widen_f16(unsafe { vld1_u16(p.add(4 * i)) })))
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self {
        Self(from_fn(|i| unsafe {
            vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(p.add(4 * i))))
        }))
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16) {
        for i in 0..4 {
            unsafe { vst1_u16(p.add(4 * i), round_f16(self.0[i])) };
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16) {
        for i in 0..4 {
            unsafe { vst1_u16(p.add(4 * i), round_bf16(self.0[i])) };
        }
    }
}
