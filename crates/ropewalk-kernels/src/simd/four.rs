//! Four vectors as one of 64 lanes.
//!
//! A polynomial is one long chain of multiply-adds. Of four chains side by side, instruction by
//! instruction, the waiting ones hide the latency of the others; one after the other they would fill
//! the scheduler of the CPU before the next one begins. Each lane has the bits of the single vector.

use super::{LANES, Lanes};

#[derive(Clone, Copy)]
pub(crate) struct Four<L>([L; 4]);

/// Applies a method of the parts, part by part.
macro_rules! each {
    ($x:expr => $method:ident($($arg:expr),*)) => {{
        let [a, b, c, d] = $x.0;
        // SAFETY: the tier of the parts is available, as for the caller.
        unsafe {
            Self([
                a.$method($($arg.0[0]),*),
                b.$method($($arg.0[1]),*),
                c.$method($($arg.0[2]),*),
                d.$method($($arg.0[3]),*),
            ])
        }
    }};
}

/// Returns the part of `n` elements that falls to vector `i`.
#[inline(always)]
fn share(n: usize, i: usize) -> usize {
    n.saturating_sub(i * LANES).min(LANES)
}

// SAFETY (all blocks below): the tier is available, and the caller vouches for 64 elements behind a
// pointer, or `n <= 64`.
#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one condition for all, stated above"
)]
impl<L: Lanes> Lanes for Four<L> {
    const WIDE: bool = L::WIDE;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([unsafe { L::splat(x) }; 4])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        Self([0, 1, 2, 3].map(|i| unsafe { L::load(p.add(i * LANES)) }))
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        let part = |i: usize| unsafe { L::load_part(p.wrapping_add(i * LANES), share(n, i)) };
        Self([0, 1, 2, 3].map(part))
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        for (i, x) in self.0.into_iter().enumerate() {
            unsafe { x.store(p.add(i * LANES)) };
        }
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        for (i, x) in self.0.into_iter().enumerate() {
            unsafe { x.store_part(p.wrapping_add(i * LANES), share(n, i)) };
        }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        each!(self => add(b))
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        each!(self => sub(b))
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        each!(self => mul(b))
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        each!(self => div(b))
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        each!(self => fma(b, c))
    }
    #[inline(always)]
    unsafe fn fma1(a: f32, b: f32, c: f32) -> f32 {
        unsafe { L::fma1(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        each!(self => max(b))
    }
    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        each!(self => min(b))
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        each!(self => abs())
    }
    #[inline(always)]
    unsafe fn select_gt(self, b: Self, x: Self, y: Self) -> Self {
        each!(self => select_gt(b, x, y))
    }
    #[inline(always)]
    unsafe fn scale(self, n: Self) -> Self {
        each!(self => scale(n))
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let [a, b, c, d] = self.0;
        unsafe { a.add(b).add(c.add(d)).sum() }
    }
    #[inline(always)]
    unsafe fn maximum(self) -> f32 {
        let [a, b, c, d] = self.0;
        unsafe { a.max(b).max(c.max(d)).maximum() }
    }
    #[inline(always)]
    unsafe fn deinterleave(self, b: Self) -> (Self, Self) {
        let ([s, t, u, v], [w, x, y, z]) = (self.0, b.0);
        let pairs = unsafe {
            [
                s.deinterleave(t),
                u.deinterleave(v),
                w.deinterleave(x),
                y.deinterleave(z),
            ]
        };
        (Self(pairs.map(|p| p.0)), Self(pairs.map(|p| p.1)))
    }
    #[inline(always)]
    unsafe fn interleave(self, b: Self) -> (Self, Self) {
        let pairs = [0, 1, 2, 3].map(|i| unsafe { self.0[i].interleave(b.0[i]) });
        let [s, t, u, v] = pairs;
        (Self([s.0, s.1, t.0, t.1]), Self([u.0, u.1, v.0, v.1]))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        Self([0, 1, 2, 3].map(|i| unsafe { L::load_i8(p.add(i * LANES)) }))
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        Self([0, 1, 2, 3].map(|i| unsafe { L::load_f16(p.add(i * LANES)) }))
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self {
        Self([0, 1, 2, 3].map(|i| unsafe { L::load_bf16(p.add(i * LANES)) }))
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16) {
        for (i, x) in self.0.into_iter().enumerate() {
            unsafe { x.store_f16(p.add(i * LANES)) };
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16) {
        for (i, x) in self.0.into_iter().enumerate() {
            unsafe { x.store_bf16(p.add(i * LANES)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::simd::{Kernel, dispatch};
    use crate::testing::random;

    const MANY: usize = 4 * LANES;

    struct Halves(Vec<f32>);

    impl Kernel for Halves {
        type Output = [[f32; MANY]; 5];
        #[inline(always)]
        unsafe fn run<L: Lanes>(self) -> Self::Output {
            let mut out = [[0.0; MANY]; 5];
            // SAFETY: 128 elements of input, 64 of each output.
            unsafe {
                let (a, b) = (
                    Four::<L>::load(self.0.as_ptr()),
                    Four::<L>::load(self.0.as_ptr().add(MANY)),
                );
                let (even, odd) = a.deinterleave(b);
                even.store(out[0].as_mut_ptr());
                odd.store(out[1].as_mut_ptr());
                let (low, high) = even.interleave(odd);
                low.store(out[2].as_mut_ptr());
                high.store(out[3].as_mut_ptr());
                Four::<L>::load_part(self.0.as_ptr(), 37).store_part(out[4].as_mut_ptr(), 50);
            }
            out
        }
    }

    #[test]
    fn lanes_are_where_a_vector_of_64_has_them() {
        let x = random(3, 2 * MANY);
        for isa in Isa::available() {
            let [even, odd, low, high, part] = dispatch(isa, Halves(x.clone()));
            for i in 0..MANY {
                assert_eq!((even[i], odd[i]), (x[2 * i], x[2 * i + 1]), "{isa} {i}");
                assert_eq!((low[i], high[i]), (x[i], x[MANY + i]), "{isa} {i}");
                assert_eq!(part[i], if i < 37 { x[i] } else { 0.0 }, "{isa} {i}");
            }
        }
    }

    struct Reduce(Vec<f32>);

    impl Kernel for Reduce {
        type Output = (f32, f32);
        #[inline(always)]
        unsafe fn run<L: Lanes>(self) -> (f32, f32) {
            // SAFETY: 64 elements.
            unsafe {
                let x = Four::<L>::load(self.0.as_ptr());
                (x.sum(), x.maximum())
            }
        }
    }

    #[test]
    fn reductions_take_every_lane() {
        let x: Vec<f32> = (0u16..64).map(|i| f32::from(i * 37 % 64)).collect();
        for isa in Isa::available() {
            assert_eq!(dispatch(isa, Reduce(x.clone())), (2016.0, 63.0), "{isa}");
        }
    }
}
