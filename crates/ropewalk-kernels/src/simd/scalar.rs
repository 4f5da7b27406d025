//! Portable lanes, left to the compiler to vectorise.
use super::{LANES, Lanes};

#[derive(Clone, Copy)]
pub(crate) struct Scalar([f32; LANES]);

/// Returns `a * b + c`, fused where the target fuses in hardware.
#[inline(always)]
pub(crate) fn fmadd(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

/// Returns the value of a half-precision number (IEEE 754 binary16).
#[inline(always)]
pub(crate) fn f16_to_f32(h: u16) -> f32 {
    let (sign, magnitude) = (u32::from(h & 0x8000) << 16, u32::from(h & 0x7fff));
    let bits = if magnitude >= 0x7c00 {
        // Infinity, or a NaN made quiet.
        let quiet = if magnitude > 0x7c00 { 0x0040_0000 } else { 0 };
        0x7f80_0000 | (magnitude << 13) | quiet
    } else if magnitude >= 0x0400 {
        (magnitude << 13) + (112 << 23)
    } else {
        // Subnormal: a whole number of 2^-24.
        (magnitude as f32 * f32::from_bits(0x3380_0000)).to_bits()
    };
    f32::from_bits(sign | bits)
}

/// Rounds to half precision, to nearest even.
#[inline(always)]
pub(crate) fn f32_to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    let half = if magnitude > 0x7f80_0000 {
        0x7e00 | (magnitude >> 13) as u16 & 0x01ff
    } else if magnitude >= 0x4780_0000 {
        0x7c00
    } else if magnitude >= 0x3880_0000 {
        let rebased = magnitude - (112 << 23);
        ((rebased + 0x0fff + ((rebased >> 13) & 1)) >> 13) as u16
    } else {
        // Adding 0.5 leaves the number of 2^-24 in the low mantissa bits, rounded by the adder.
        (f32::from_bits(magnitude) + 0.5).to_bits() as u16
    };
    sign | half
}

/// Rounds to bfloat16, to nearest even; a NaN becomes quiet.
#[inline(always)]
pub(crate) fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x0040;
    }
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// Returns the value of a bfloat16 number.
#[inline(always)]
pub(crate) fn bf16_to_f32(b: u16) -> f32 {
    f32::from_bits(u32::from(b) << 16)
}

impl Scalar {
    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> Self {
        Self(self.0.map(f))
    }

    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }

    #[inline(always)]
    fn fold(self, f: impl Fn(f32, f32) -> f32) -> f32 {
        let mut lanes = self.0;
        let mut width = LANES;
        while width > 1 {
            width /= 2;
            for i in 0..width {
                lanes[i] = f(lanes[i], lanes[i + width]);
            }
        }
        lanes[0]
    }
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn power(n: f32) -> f32 {
    f32::from_bits(((n as i32 + 127) as u32) << 23)
}

// SAFETY (all blocks below): the caller vouches for the elements behind a pointer.
#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one condition for all, stated above"
)]
impl Lanes for Scalar {
    const WIDE: bool = false;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; LANES])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        Self(unsafe { p.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        let mut lanes = [0.0; LANES];
        unsafe { std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), n) };
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        unsafe { p.cast::<[f32; LANES]>().write_unaligned(self.0) };
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), p, n) };
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        self.zip(b, |x, y| x + y)
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        self.zip(b, |x, y| x - y)
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        self.zip(b, |x, y| x * y)
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        self.zip(b, |x, y| x / y)
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        Self(std::array::from_fn(|i| fmadd(self.0[i], b.0[i], c.0[i])))
    }
    #[inline(always)]
    unsafe fn fma1(a: f32, b: f32, c: f32) -> f32 {
        fmadd(a, b, c)
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        self.zip(b, larger)
    }
    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        self.zip(b, |x, y| if x < y { x } else { y })
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        self.map(f32::abs)
    }
    #[inline(always)]
    unsafe fn select_gt(self, b: Self, x: Self, y: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if self.0[i] > b.0[i] { x.0[i] } else { y.0[i] }
        }))
    }
    #[inline(always)]
    unsafe fn scale(self, n: Self) -> Self {
        self.zip(n, |x, n| {
            // Adding and subtracting 1.5 * 2^23 rounds to a whole number.
            let half = (n * 0.5 + 12_582_912.0) - 12_582_912.0;
            x * power(half) * power(n - half)
        })
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        self.fold(|x, y| x + y)
    }
    #[inline(always)]
    unsafe fn maximum(self) -> f32 {
        self.fold(larger)
    }
    #[inline(always)]
    unsafe fn deinterleave(self, b: Self) -> (Self, Self) {
        let at = |i: usize| if i < LANES { self.0[i] } else { b.0[i - LANES] };
        (
            Self(std::array::from_fn(|i| at(2 * i))),
            Self(std::array::from_fn(|i| at(2 * i + 1))),
        )
    }
    #[inline(always)]
    unsafe fn interleave(self, b: Self) -> (Self, Self) {
        let at = |i: usize| {
            if i.is_multiple_of(2) {
                self.0[i / 2]
            } else {
                b.0[i / 2]
            }
        };
        (
            Self(std::array::from_fn(at)),
            Self(std::array::from_fn(|i| at(LANES + i))),
        )
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        Self(unsafe { p.cast::<[i8; LANES]>().read_unaligned() }.map(f32::from))
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        Self(unsafe { p.cast::<[u16; LANES]>().read_unaligned() }.map(f16_to_f32))
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self {
        Self(unsafe { p.cast::<[u16; LANES]>().read_unaligned() }.map(bf16_to_f32))
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16) {
        unsafe {
            p.cast::<[u16; LANES]>()
                .write_unaligned(self.0.map(f32_to_f16));
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16) {
        unsafe {
            p.cast::<[u16; LANES]>()
                .write_unaligned(self.0.map(f32_to_bf16));
        }
    }
}
