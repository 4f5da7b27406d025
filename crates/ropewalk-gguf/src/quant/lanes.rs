//! Eight groups side by side: lane `k` of every operation belongs to group `k`.
//!
//! A fit of one group is a chain of dependent additions, whose order decides the last bit of the
//! sums. Lanes keep that order and still become SIMD code.

use std::array::from_fn;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// Number of groups that are fitted at a time.
pub(super) const LANES: usize = 8;

/// One number of each group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lanes(pub(super) [f32; LANES]);

/// One truth value of each group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask(pub(super) [bool; LANES]);

macro_rules! operators {
    ($($trait:ident $method:ident $op:tt;)*) => {$(
        impl $trait for Lanes {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(from_fn(|k| self.0[k] $op other.0[k]))
            }
        }
    )*};
}

operators! {
    Add add +;
    Sub sub -;
    Mul mul *;
    Div div /;
}

impl Neg for Lanes {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Self(self.0.map(|x| -x))
    }
}

impl Lanes {
    #[inline(always)]
    pub(super) fn all(x: f32) -> Self {
        Self([x; LANES])
    }

    #[inline(always)]
    pub(super) fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }

    #[inline(always)]
    pub(super) fn sqrt(self) -> Self {
        Self(self.0.map(f32::sqrt))
    }

    /// Rounds as [`nearest`] does.
    #[inline(always)]
    pub(super) fn nearest(self) -> Self {
        Self(self.0.map(|x| nearest(x) as f32))
    }

    /// Bounds whole numbers.
    #[inline(always)]
    pub(super) fn within(self, lo: f32, hi: f32) -> Self {
        Self(self.0.map(|x| {
            let x = if x < hi { x } else { hi };
            if x > lo { x } else { lo }
        }))
    }

    #[inline(always)]
    pub(super) fn above(self, other: Self) -> Mask {
        Mask(from_fn(|k| self.0[k] > other.0[k]))
    }

    #[inline(always)]
    pub(super) fn differs(self, other: Self) -> Mask {
        Mask(from_fn(|k| self.0[k] != other.0[k]))
    }
}

impl Mask {
    #[inline(always)]
    pub(super) fn and(self, other: Self) -> Self {
        Self(from_fn(|k| self.0[k] & other.0[k]))
    }

    #[inline(always)]
    pub(super) fn not(self) -> Self {
        Self(self.0.map(|set| !set))
    }

    /// Takes `yes` where the mask is set and `no` elsewhere.
    #[inline(always)]
    pub(super) fn select(self, yes: Lanes, no: Lanes) -> Lanes {
        Lanes(from_fn(|k| if self.0[k] { yes.0[k] } else { no.0[k] }))
    }

    #[inline(always)]
    pub(super) fn any(self) -> bool {
        self.0.iter().fold(false, |any, &set| any | set)
    }
}

/// Rounds to the nearest integer, ties to even, for magnitudes up to 2^22.
///
/// Adding 1.5 * 2^23 leaves no bits for a fraction. Beyond the range the result is that of ggml's
/// `nearest_int`: some number of 23 bits.
#[inline(always)]
pub(super) fn nearest(x: f32) -> i32 {
    ((x + 12_582_912.0).to_bits() & 0x007f_ffff) as i32 - 0x0040_0000
}

/// Arranges eight groups of `N` values so that value `i` of all of them is `result[i]`.
#[inline(always)]
pub(super) fn side_by_side<const N: usize>(x: &[f32]) -> [Lanes; N] {
    let mut result = [Lanes::default(); N];
    for (k, group) in x.as_chunks::<N>().0.iter().take(LANES).enumerate() {
        for (lanes, &x) in result.iter_mut().zip(group) {
            lanes.0[k] = x;
        }
    }
    result
}
