//! NEON micro-kernel: up to 6 rows by 16 columns, 24 accumulators of four lanes.
use super::{PANEL, Tile};
use crate::simd::Lanes;
use crate::simd::neon::Neon;

pub(super) const ROWS: usize = 6;

/// # Safety
/// As [`super::tile`]; needs NEON.
pub(super) unsafe fn tile(t: &Tile) {
    // SAFETY: forwarded to the caller.
    unsafe {
        match t.rows {
            1 => kernel::<1>(t),
            2 => kernel::<2>(t),
            3 => kernel::<3>(t),
            4 => kernel::<4>(t),
            5 => kernel::<5>(t),
            _ => kernel::<6>(t),
        }
    }
}

#[target_feature(enable = "neon")]
unsafe fn kernel<const MR: usize>(t: &Tile) {
    // SAFETY: the caller vouches for every element these pointers reach; a partial panel is read
    // and written by `cols` elements.
    unsafe {
        let mut acc = [Neon::splat(0.0); MR];
        let (mut a, mut b) = (t.a, t.b);
        for _ in 0..t.k {
            let columns = Neon::load(b);
            for (i, acc) in acc.iter_mut().enumerate() {
                *acc = Neon::splat(*a.wrapping_add(i * t.a_row)).fma(columns, *acc);
            }
            a = a.wrapping_add(t.a_step);
            b = b.wrapping_add(t.b_step);
        }
        let (alpha, beta) = (Neon::splat(t.alpha), Neon::splat(t.beta));
        for (i, acc) in acc.into_iter().enumerate() {
            let c = t.c.wrapping_add(i * t.c_row);
            let whole = t.cols == PANEL;
            let result = if t.beta == 0.0 {
                alpha.mul(acc)
            } else {
                let old = if whole {
                    Neon::load(c)
                } else {
                    Neon::load_part(c, t.cols)
                };
                alpha.fma(acc, beta.mul(old))
            };
            if whole {
                result.store(c);
            } else {
                result.store_part(c, t.cols);
            }
        }
    }
}
