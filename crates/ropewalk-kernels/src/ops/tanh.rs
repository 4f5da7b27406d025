//! Vector hyperbolic tangent.
use super::exp::exp;
use crate::simd::Lanes;

/// Returns `tanh x` to about 2 ulp, 1 and -1 far from zero, NaN kept.
///
/// As Cephes `tanhf` (Moshier 1989): below 0.625 an odd polynomial of degree 11 (relative error
/// 1.3e-7), else `1 - 2 / (1 + e^(2 |x|))` with the sign of `x`.
///
/// # Safety
/// The tier of `L` is available.
#[inline(always)]
pub(crate) unsafe fn tanh<L: Lanes>(x: L) -> L {
    const SMALL: f32 = 0.625;
    const ODD: [f32; 4] = [2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];
    // SAFETY: forwarded to the caller.
    unsafe {
        let (one, zero, size) = (L::splat(1.0), L::splat(0.0), x.abs());
        let square = x.mul(x);
        let mut p = L::splat(-5.704_988_7e-3);
        for c in ODD {
            p = p.fma(square, L::splat(c));
        }
        let near = x.mul(square).fma(p, x);
        let quotient = L::splat(2.0).div(one.add(exp(size.add(size))));
        let far = one.sub(quotient);
        let far = zero.select_gt(x, zero.sub(far), far);
        size.select_gt(L::splat(SMALL), far, near)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::simd::{Kernel, LANES, dispatch};

    struct Tanh([f32; LANES]);

    impl Kernel for Tanh {
        type Output = [f32; LANES];
        #[inline(always)]
        unsafe fn run<L: Lanes>(mut self) -> [f32; LANES] {
            // SAFETY: 16 values.
            unsafe { tanh(L::load(self.0.as_ptr())).store(self.0.as_mut_ptr()) };
            self.0
        }
    }

    #[test]
    fn is_close_to_the_library_function_everywhere() {
        // Every exponent, both signs, and the neighbourhood of the switch in small steps.
        let mut inputs: Vec<f32> = (0..0x7f80u32).map(|x| f32::from_bits(x << 16)).collect();
        inputs.extend((0..1000u16).map(|i| 0.6 + f32::from(i) * 5e-5));
        inputs.extend(inputs.clone().iter().map(|x| -x));
        inputs.extend([f32::INFINITY, f32::NEG_INFINITY]);
        for isa in Isa::available() {
            for chunk in inputs.chunks(LANES) {
                let mut xs = [0.0; LANES];
                xs[..chunk.len()].copy_from_slice(chunk);
                for (x, y) in xs.into_iter().zip(dispatch(isa, Tanh(xs))) {
                    let want = f64::from(x).tanh();
                    let off = (f64::from(y) - want).abs();
                    // One part in two million of the value, or the grid of the subnormals.
                    assert!(
                        off <= 5e-7 * want.abs() + 2e-45,
                        "{isa:?} tanh {x} = {y}, not {want}"
                    );
                }
            }
            assert!(dispatch(isa, Tanh([f32::NAN; LANES]))[0].is_nan());
        }
    }
}
