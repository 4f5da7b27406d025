//! Sixteen f32 lanes, the same arithmetic in every tier.
//!
//! An operation is written once over [`Lanes`] and compiled for each tier by [`dispatch`]. All
//! tiers have 16 lanes and reduce them in the same tree; the vector tiers give equal bits, and so
//! does the scalar tier where it fuses multiply-adds (`scalar::fmadd`), else it differs by the
//! rounding of the product.
#![allow(unsafe_code, reason = "std::arch intrinsics on raw pointers")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod four;
pub(crate) mod line;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::transpose8;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::transpose16;

pub(crate) use four::Four;

use crate::Isa;

/// Lanes of one vector.
pub(crate) const LANES: usize = 16;

/// Sixteen f32 lanes of one tier.
///
/// # Safety
/// Every method but those of the scalar tier may only run where the tier is available, which
/// [`dispatch`] makes sure of; methods that take a pointer access that many elements of it.
pub(crate) trait Lanes: Copy {
    /// Whether the tier has 32 registers of 16 lanes (else 8 pairs of registers).
    const WIDE: bool;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(p: *const f32) -> Self;
    /// Loads `n <= 16` elements and zeros.
    unsafe fn load_part(p: *const f32, n: usize) -> Self;
    unsafe fn store(self, p: *mut f32);
    unsafe fn store_part(self, p: *mut f32, n: usize);
    unsafe fn add(self, b: Self) -> Self;
    unsafe fn sub(self, b: Self) -> Self;
    unsafe fn mul(self, b: Self) -> Self;
    unsafe fn div(self, b: Self) -> Self;
    /// Returns `self * b + c`.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    /// Returns `self * b + c` on single values, rounded as [`Self::fma`] does.
    unsafe fn fma1(a: f32, b: f32, c: f32) -> f32;
    /// Returns `self` where it is greater, else `b` (so `b` where either is not a number).
    unsafe fn max(self, b: Self) -> Self;
    /// Returns `self` where it is less, else `b` (so `b` where either is not a number).
    unsafe fn min(self, b: Self) -> Self;
    unsafe fn abs(self) -> Self;
    /// Returns `x` where `self > b`, else `y`.
    unsafe fn select_gt(self, b: Self, x: Self, y: Self) -> Self;
    /// Returns `self * 2^n` for whole `n` in -252..=254, rounded once.
    unsafe fn scale(self, n: Self) -> Self;
    /// Returns the sum of the lanes: halves added until one is left.
    unsafe fn sum(self) -> f32;
    /// Returns the largest lane.
    unsafe fn maximum(self) -> f32;
    /// Returns the even and the odd elements of the 32 in `(self, b)`.
    unsafe fn deinterleave(self, b: Self) -> (Self, Self);
    /// Inverse of [`Self::deinterleave`].
    unsafe fn interleave(self, b: Self) -> (Self, Self);
    unsafe fn load_i8(p: *const i8) -> Self;
    unsafe fn load_f16(p: *const u16) -> Self;
    unsafe fn load_bf16(p: *const u16) -> Self;
    /// Rounds to nearest even.
    unsafe fn store_f16(self, p: *mut u16);
    /// Rounds to nearest even; a NaN becomes quiet.
    unsafe fn store_bf16(self, p: *mut u16);
}

/// An operation written over any tier's lanes. `run` is `#[inline(always)]` in every
/// implementation, as is all it calls, so that it is compiled with the tier's instructions.
pub(crate) trait Kernel {
    type Output;

    /// # Safety
    /// The tier of `L` is available.
    unsafe fn run<L: Lanes>(self) -> Self::Output;
}

/// Runs the kernel compiled for `isa`, or for the best tier where this machine lacks it.
pub(crate) fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    // SAFETY: `usable` returns a tier that this machine has.
    unsafe { dispatch_usable(isa.usable(), kernel) }
}

/// Runs the kernel compiled for `isa`.
///
/// # Safety
/// The tier is available on this machine.
#[inline]
pub(crate) unsafe fn dispatch_usable<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    // SAFETY: forwarded to the caller.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => run_avx512(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni => run_avx2(kernel),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon | Isa::NeonDot => run_neon(kernel),
            _ => kernel.run::<scalar::Scalar>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: forwarded to the caller.
    unsafe { kernel.run::<avx512::Avx512>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: forwarded to the caller.
    unsafe { kernel.run::<avx2::Avx2>() }
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn run_neon<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: forwarded to the caller.
    unsafe { kernel.run::<neon::Neon>() }
}
