//! Rotary position embedding.
use super::{same_length, whole_rows};
use crate::simd::{Kernel, LANES, Lanes, dispatch};
use crate::{Error, Isa};

/// Which features form a rotated pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RopeStyle {
    /// Feature `i` with `i + rope_dim / 2`: GPT-NeoX and Hugging Face.
    SplitHalf,
    /// Feature `2 i` with `2 i + 1`: the original paper and Llama files in GGUF.
    Interleaved,
}

struct Rotate<'a> {
    style: RopeStyle,
    x: &'a mut [f32],
    head_dim: usize,
    cos: &'a [f32],
    sin: &'a [f32],
}

impl Kernel for Rotate<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let half = self.cos.len();
        let whole = half / LANES * LANES;
        let (cos, sin) = (self.cos.as_ptr(), self.sin.as_ptr());
        for head in self.x.chunks_exact_mut(self.head_dim) {
            let p = head.as_mut_ptr();
            // SAFETY: `2 * half <= head_dim` was checked; both tables have `half` elements.
            unsafe {
                let mut i = 0;
                while i < whole {
                    let (c, s) = (L::load(cos.add(i)), L::load(sin.add(i)));
                    match self.style {
                        RopeStyle::SplitHalf => {
                            let (a, b) = (L::load(p.add(i)), L::load(p.add(half + i)));
                            let (a, b) = rotate(a, b, c, s);
                            a.store(p.add(i));
                            b.store(p.add(half + i));
                        }
                        RopeStyle::Interleaved => {
                            let low = p.add(2 * i);
                            let high = low.add(LANES);
                            let (a, b) = L::load(low).deinterleave(L::load(high));
                            let (a, b) = rotate(a, b, c, s);
                            let (a, b) = a.interleave(b);
                            a.store(low);
                            b.store(high);
                        }
                    }
                    i += LANES;
                }
                for i in whole..half {
                    let (at_a, at_b) = match self.style {
                        RopeStyle::SplitHalf => (i, half + i),
                        RopeStyle::Interleaved => (2 * i, 2 * i + 1),
                    };
                    let (a, b, c, s) = (*p.add(at_a), *p.add(at_b), *cos.add(i), *sin.add(i));
                    *p.add(at_a) = L::fma1(a, c, -(b * s));
                    *p.add(at_b) = L::fma1(b, c, a * s);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn rotate<L: Lanes>(a: L, b: L, c: L, s: L) -> (L, L) {
    // SAFETY: forwarded to the caller.
    unsafe { (a.fma(c, L::splat(0.0).sub(b.mul(s))), b.fma(c, a.mul(s))) }
}

/// Rotates the first `rope_dim` features of each head of one position, in place.
///
/// # Shapes
/// - `x`: `[heads, head_dim]`
/// - `cos`, `sin`: `[rope_dim / 2]`, the row of the tables at this position; `rope_dim` may be
///   smaller than `head_dim`, the rest stays as it is
///
/// # Errors
/// [`Error::Length`] when `x` is not whole heads, the tables differ in length or do not fit a head.
///
/// Su et al. 2021, RoFormer, eq. 34; `modeling_llama.py::apply_rotary_pos_emb`.
pub fn rope(
    isa: Isa,
    style: RopeStyle,
    x: &mut [f32],
    head_dim: usize,
    cos: &[f32],
    sin: &[f32],
) -> Result<(), Error> {
    whole_rows("rope x", x.len(), head_dim)?;
    same_length("rope sin", cos.len(), sin.len())?;
    if cos.len() > head_dim / 2 {
        return Err(Error::Length {
            what: "rope head",
            needed: 2 * cos.len(),
            found: head_dim,
        });
    }
    if !x.is_empty() {
        dispatch(
            isa,
            Rotate {
                style,
                x,
                head_dim,
                cos,
                sin,
            },
        );
    }
    Ok(())
}
