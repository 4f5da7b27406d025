//! f32 dot products with rows that are decoded one at a time, for formats without a packed kernel.
#![allow(unsafe_code, reason = "vector loads through raw pointers")]

use crate::Isa;
use crate::simd::{Kernel, Lanes, dispatch_usable};

/// Parallel vectors of sums.
const CHAINS: usize = 4;
/// Lanes of a vector.
const WIDTH: usize = crate::simd::LANES;

/// A dot product of two slices of one length.
struct Dot<'a>(&'a [f32], &'a [f32]);

impl Kernel for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> f32 {
        let (a, b, n) = (
            self.0.as_ptr(),
            self.1.as_ptr(),
            self.0.len().min(self.1.len()),
        );
        // SAFETY: all loads stay below `n` in both slices; the tier is the caller's promise.
        unsafe {
            let mut sums = [L::splat(0.0); CHAINS];
            let mut i = 0;
            while i + CHAINS * WIDTH <= n {
                for (c, sum) in sums.iter_mut().enumerate() {
                    let at = i + c * WIDTH;
                    *sum = L::load(a.add(at)).fma(L::load(b.add(at)), *sum);
                }
                i += CHAINS * WIDTH;
            }
            for (c, sum) in sums.iter_mut().enumerate() {
                let at = i + c * WIDTH;
                if at < n {
                    let rest = (n - at).min(WIDTH);
                    let (a, b) = (L::load_part(a.add(at), rest), L::load_part(b.add(at), rest));
                    *sum = a.fma(b, *sum);
                }
            }
            let [a, b, c, d] = sums;
            a.add(b).add(c.add(d)).sum()
        }
    }
}

/// Returns the f32 dot product of two slices of one length.
///
/// # Safety
/// The tier is available on this machine.
pub(crate) unsafe fn dot(isa: Isa, a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len());
    // SAFETY: forwarded to the caller.
    unsafe { dispatch_usable(isa, Dot(a, b)) }
}
