//! Number formats as lines of 16 lanes, and cache hints.
use super::{LANES, Lanes};

/// A number format that widens to f32 lanes exactly.
pub(crate) trait Line {
    type Bits: Copy + Default;

    /// # Safety
    /// The tier of `L` is available and 16 elements follow `p`.
    unsafe fn load<L: Lanes>(p: *const Self::Bits) -> L;

    /// Loads `n <= 16` elements and zeros.
    ///
    /// # Safety
    /// As [`Self::load`], for `n` elements.
    #[inline(always)]
    unsafe fn load_part<L: Lanes>(p: *const Self::Bits, n: usize) -> L {
        let mut lanes = [Self::Bits::default(); LANES];
        // SAFETY: forwarded to the caller.
        unsafe {
            std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), n);
            Self::load(lanes.as_ptr())
        }
    }
}

/// 32-bit floats.
pub(crate) struct F32;
/// IEEE half-precision floats.
pub(crate) struct F16;
/// Brain floats.
pub(crate) struct Bf16;

// SAFETY (all blocks below): forwarded to the caller.
#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one condition for all, stated above"
)]
mod formats {
    use super::{Bf16, F16, F32, Lanes, Line};

    impl Line for F32 {
        type Bits = f32;
        #[inline(always)]
        unsafe fn load<L: Lanes>(p: *const f32) -> L {
            unsafe { L::load(p) }
        }
    }

    impl Line for F16 {
        type Bits = u16;
        #[inline(always)]
        unsafe fn load<L: Lanes>(p: *const u16) -> L {
            unsafe { L::load_f16(p) }
        }
    }

    impl Line for Bf16 {
        type Bits = u16;
        #[inline(always)]
        unsafe fn load<L: Lanes>(p: *const u16) -> L {
            unsafe { L::load_bf16(p) }
        }
    }
}

/// Asks for the cache lines of `bytes` bytes from `p`; never faults.
#[inline(always)]
pub(crate) fn prefetch(p: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..bytes.div_ceil(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address is only a hint.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(line * 64).cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    for line in 0..bytes.div_ceil(64) {
        // SAFETY: as above; the intrinsic is not stable.
        unsafe {
            std::arch::asm!(
                "prfm pldl1keep, [{p}]",
                p = in(reg) p.wrapping_add(line * 64),
                options(readonly, nostack, preserves_flags),
            );
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = (p, bytes);
}
