//! The formats of a cache as sixteen lanes: of keys, sixteen positions of one feature; of values,
//! sixteen features of one position.
use super::{KvRef, Q8_BLOCK};
use crate::simd::line::Line;
use crate::simd::{LANES, Lanes};

/// Part of a cache from some position of a head on, widened to f32 exactly.
pub(super) trait Format: Copy {
    /// Bytes of a value.
    const BYTES: usize;
    /// The factors of sixteen lanes.
    type Scale<L: Lanes>: Copy;

    /// Returns where the values begin.
    fn start(self) -> *const u8;

    /// Returns the factors of features `block * Q8_BLOCK..` of the keys of a panel.
    ///
    /// # Safety
    /// As all methods here: the tier of `L` is available, and what is asked for is in the cache.
    unsafe fn key_scale<L: Lanes>(self, panel: usize, block: usize) -> Self::Scale<L>;

    /// Returns feature `d` of the keys of a panel.
    ///
    /// # Safety
    /// As above.
    unsafe fn key<L: Lanes>(self, panel: usize, d: usize, scale: Self::Scale<L>) -> L;

    /// Returns the factor of features `block * Q8_BLOCK..` of a value.
    ///
    /// # Safety
    /// As above.
    unsafe fn value_scale<L: Lanes>(self, row: usize, block: usize) -> Self::Scale<L>;

    /// Returns features `d..d + width` of a value and zeros.
    ///
    /// # Safety
    /// As above.
    unsafe fn value<L: Lanes>(self, row: usize, d: usize, width: usize, scale: Self::Scale<L>)
    -> L;
}

/// Floats of some width.
pub(super) struct Floats<E: Line> {
    pub(super) start: *const E::Bits,
    pub(super) dim: usize,
}

impl<E: Line> Clone for Floats<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E: Line> Copy for Floats<E> {}

impl<E: Line> Format for Floats<E> {
    const BYTES: usize = size_of::<E::Bits>();
    type Scale<L: Lanes> = ();

    fn start(self) -> *const u8 {
        self.start.cast()
    }

    #[inline(always)]
    unsafe fn key_scale<L: Lanes>(self, _: usize, _: usize) {}

    #[inline(always)]
    unsafe fn key<L: Lanes>(self, panel: usize, d: usize, (): ()) -> L {
        // SAFETY: forwarded to the caller.
        unsafe { E::load(self.start.add((panel * self.dim + d) * LANES)) }
    }

    #[inline(always)]
    unsafe fn value_scale<L: Lanes>(self, _: usize, _: usize) {}

    #[inline(always)]
    unsafe fn value<L: Lanes>(self, row: usize, d: usize, width: usize, (): ()) -> L {
        // SAFETY: forwarded to the caller.
        unsafe {
            let start = self.start.add(row * self.dim + d);
            if width == LANES {
                E::load(start)
            } else {
                E::load_part(start, width)
            }
        }
    }
}

/// Bytes with a factor for each block of features.
#[derive(Clone, Copy)]
pub(super) struct Bytes {
    pub(super) start: *const i8,
    /// Halves, `[panels, blocks, 16]`; used for keys.
    pub(super) scales: *const u16,
    /// Floats `[rows, blocks]`, widened once a span; used for values.
    pub(super) wide: *const f32,
    pub(super) dim: usize,
}

impl Bytes {
    #[inline(always)]
    fn blocks(self) -> usize {
        self.dim.div_ceil(Q8_BLOCK)
    }
}

impl Format for Bytes {
    const BYTES: usize = 1;
    type Scale<L: Lanes> = L;

    fn start(self) -> *const u8 {
        self.start.cast()
    }

    #[inline(always)]
    unsafe fn key_scale<L: Lanes>(self, panel: usize, block: usize) -> L {
        // SAFETY: forwarded to the caller.
        unsafe { L::load_f16(self.scales.add((panel * self.blocks() + block) * LANES)) }
    }

    #[inline(always)]
    unsafe fn key<L: Lanes>(self, panel: usize, d: usize, scale: L) -> L {
        // A byte times a half is a float without rounding.
        // SAFETY: forwarded to the caller.
        unsafe { L::load_i8(self.start.add((panel * self.dim + d) * LANES)).mul(scale) }
    }

    #[inline(always)]
    unsafe fn value_scale<L: Lanes>(self, row: usize, block: usize) -> L {
        // SAFETY: forwarded to the caller.
        unsafe { L::splat(*self.wide.add(row * self.blocks() + block)) }
    }

    #[inline(always)]
    unsafe fn value<L: Lanes>(self, row: usize, d: usize, width: usize, scale: L) -> L {
        // SAFETY: forwarded to the caller.
        unsafe {
            let start = self.start.add(row * self.dim + d);
            if width == LANES {
                return L::load_i8(start).mul(scale);
            }
            let mut lanes = [0i8; LANES];
            std::ptr::copy_nonoverlapping(start, lanes.as_mut_ptr(), width);
            L::load_i8(lanes.as_ptr()).mul(scale)
        }
    }
}

impl KvRef<'_> {
    /// Returns the address of position `at` (counted over all heads).
    pub(super) fn address(&self, at: usize, dim: usize) -> *const u8 {
        match self {
            Self::F32(x) => x.as_ptr().wrapping_add(at * dim).cast(),
            Self::F16(x) => x.as_ptr().wrapping_add(at * dim).cast(),
            Self::Q8_0 { values, .. } => values.as_ptr().wrapping_add(at * dim).cast(),
        }
    }
}

/// Calls `$run` with the format of a cache from position `$at` (counted over all heads);
/// `$wide` are the widened factors of the values from there.
macro_rules! with_format {
    ($cache:expr, $at:expr, $dim:expr, $wide:expr, |$format:ident| $run:expr) => {{
        let (at, dim): (usize, usize) = ($at, $dim);
        match $cache {
            $crate::attention::KvRef::F32(x) => {
                let start = x.as_ptr().wrapping_add(at * dim);
                let $format =
                    $crate::attention::format::Floats::<$crate::simd::line::F32> { start, dim };
                $run
            }
            $crate::attention::KvRef::F16(x) => {
                let start = x.as_ptr().wrapping_add(at * dim);
                let $format =
                    $crate::attention::format::Floats::<$crate::simd::line::F16> { start, dim };
                $run
            }
            $crate::attention::KvRef::Q8_0 { values, scales } => {
                let blocks = dim.div_ceil($crate::attention::Q8_BLOCK);
                let $format = $crate::attention::format::Bytes {
                    start: values.as_ptr().wrapping_add(at * dim),
                    scales: scales.as_ptr().wrapping_add(at * blocks),
                    wide: $wide,
                    dim,
                };
                $run
            }
        }
    }};
}
pub(super) use with_format;
