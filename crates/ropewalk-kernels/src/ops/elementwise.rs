//! Element-wise operations and the loops they share.
use super::same_length;
use crate::simd::{Four, Kernel, LANES, Lanes, dispatch};
use crate::{Error, Isa};

/// A function of one lane.
pub(super) trait Unary: Copy {
    unsafe fn apply<L: Lanes>(self, x: L) -> L;
}

/// A function of two lanes.
pub(super) trait Binary: Copy {
    unsafe fn apply<L: Lanes>(self, x: L, y: L) -> L;
}

/// Replaces every element of `x` by `f(x)`.
pub(super) fn map_in_place<F: Unary>(isa: Isa, x: &mut [f32], f: F) {
    struct Map<'a, F>(&'a mut [f32], F);
    impl<F: Unary> Kernel for Map<'_, F> {
        type Output = ();
        #[inline(always)]
        unsafe fn run<L: Lanes>(self) {
            let (p, n, whole) = (
                self.0.as_mut_ptr(),
                self.0.len(),
                self.0.len() / LANES * LANES,
            );
            // SAFETY: whole vectors, then the rest, all inside the slice.
            unsafe {
                let mut i = 0;
                while i + 4 * LANES <= n {
                    self.1.apply(Four::<L>::load(p.add(i))).store(p.add(i));
                    i += 4 * LANES;
                }
                while i < whole {
                    self.1.apply(L::load(p.add(i))).store(p.add(i));
                    i += LANES;
                }
                if whole < n {
                    let x = L::load_part(p.add(whole), n - whole);
                    self.1.apply(x).store_part(p.add(whole), n - whole);
                }
            }
        }
    }
    dispatch(isa, Map(x, f));
}

/// The pointers of an element-wise function of two slices of `n` elements.
pub(super) struct Zip<F> {
    x: *const f32,
    y: *const f32,
    out: *mut f32,
    n: usize,
    f: F,
}

impl<F: Binary> Kernel for Zip<F> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let whole = self.n / LANES * LANES;
        // SAFETY: the constructors below checked that each slice has `n` elements.
        unsafe {
            let mut i = 0;
            while i + 4 * LANES <= self.n {
                let x = Four::<L>::load(self.x.add(i));
                let y = Four::<L>::load(self.y.add(i));
                self.f.apply(x, y).store(self.out.add(i));
                i += 4 * LANES;
            }
            while i < whole {
                let (x, y) = (L::load(self.x.add(i)), L::load(self.y.add(i)));
                self.f.apply(x, y).store(self.out.add(i));
                i += LANES;
            }
            if whole < self.n {
                let rest = self.n - whole;
                let x = L::load_part(self.x.add(whole), rest);
                let y = L::load_part(self.y.add(whole), rest);
                self.f.apply(x, y).store_part(self.out.add(whole), rest);
            }
        }
    }
}

/// Writes `f(x, y)` to `out`.
pub(super) fn zip<F: Binary>(
    isa: Isa,
    what: &'static str,
    (x, y): (&[f32], &[f32]),
    out: &mut [f32],
    f: F,
) -> Result<(), Error> {
    same_length(what, x.len(), y.len())?;
    same_length(what, x.len(), out.len())?;
    let (n, out) = (x.len(), out.as_mut_ptr());
    dispatch(
        isa,
        Zip {
            x: x.as_ptr(),
            y: y.as_ptr(),
            out,
            n,
            f,
        },
    );
    Ok(())
}

/// Replaces every element of `x` by `f(x, y)`.
pub(super) fn zip_in_place<F: Binary>(
    isa: Isa,
    what: &'static str,
    x: &mut [f32],
    y: &[f32],
    f: F,
) -> Result<(), Error> {
    same_length(what, x.len(), y.len())?;
    let (n, out) = (x.len(), x.as_mut_ptr());
    dispatch(
        isa,
        Zip {
            x: out,
            y: y.as_ptr(),
            out,
            n,
            f,
        },
    );
    Ok(())
}

/// Adds `y` to `x`.
///
/// # Errors
/// [`Error::Length`] when the lengths differ.
pub fn add(isa: Isa, x: &mut [f32], y: &[f32]) -> Result<(), Error> {
    #[derive(Clone, Copy)]
    struct Add;
    impl Binary for Add {
        #[inline(always)]
        unsafe fn apply<L: Lanes>(self, x: L, y: L) -> L {
            // SAFETY: forwarded to the caller.
            unsafe { x.add(y) }
        }
    }
    zip_in_place(isa, "add", x, y, Add)
}

/// Adds `factor * y` to `x`, with one rounding on tiers with a fused multiply-add.
///
/// # Errors
/// [`Error::Length`] when the lengths differ.
pub fn add_scaled(isa: Isa, x: &mut [f32], y: &[f32], factor: f32) -> Result<(), Error> {
    #[derive(Clone, Copy)]
    struct AddScaled(f32);
    impl Binary for AddScaled {
        #[inline(always)]
        unsafe fn apply<L: Lanes>(self, x: L, y: L) -> L {
            // SAFETY: forwarded to the caller.
            unsafe { y.fma(L::splat(self.0), x) }
        }
    }
    zip_in_place(isa, "add_scaled", x, y, AddScaled(factor))
}

/// Multiplies `x` by a factor.
pub fn scale(isa: Isa, x: &mut [f32], factor: f32) {
    #[derive(Clone, Copy)]
    struct Scale(f32);
    impl Unary for Scale {
        #[inline(always)]
        unsafe fn apply<L: Lanes>(self, x: L) -> L {
            // SAFETY: forwarded to the caller.
            unsafe { x.mul(L::splat(self.0)) }
        }
    }
    map_in_place(isa, x, Scale(factor));
}

/// Replaces each element by its exponential, within 2 ulp.
pub fn exp(isa: Isa, x: &mut [f32]) {
    #[derive(Clone, Copy)]
    struct Exp;
    impl Unary for Exp {
        #[inline(always)]
        unsafe fn apply<L: Lanes>(self, x: L) -> L {
            // SAFETY: forwarded to the caller.
            unsafe { super::exp::exp(x) }
        }
    }
    map_in_place(isa, x, Exp);
}

/// Replaces each element `x` by `cap tanh(x / cap)`, which bounds it (Gemma 2 report, section 2).
pub fn softcap(isa: Isa, x: &mut [f32], cap: f32) {
    #[derive(Clone, Copy)]
    struct Softcap(f32);
    impl Unary for Softcap {
        #[inline(always)]
        unsafe fn apply<L: Lanes>(self, x: L) -> L {
            // SAFETY: forwarded to the caller.
            unsafe {
                let cap = L::splat(self.0);
                super::tanh::tanh(x.div(cap)).mul(cap)
            }
        }
    }
    map_in_place(isa, x, Softcap(cap));
}
