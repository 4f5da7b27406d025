//! AVX2 + FMA micro-kernel: up to 6 rows by 16 columns, 12 accumulators.
use std::arch::x86_64::*;

use super::{PANEL, Tile};

pub(super) const ROWS: usize = 6;

type Kernel = unsafe fn(&Tile);

static KERNELS: [Kernel; ROWS] = [
    kernel::<1>,
    kernel::<2>,
    kernel::<3>,
    kernel::<4>,
    kernel::<5>,
    kernel::<6>,
];

/// # Safety
/// As [`super::tile`]; needs AVX2 and FMA.
pub(super) unsafe fn tile(t: &Tile) {
    // SAFETY: forwarded to the caller.
    unsafe { KERNELS[t.rows - 1](t) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn kernel<const MR: usize>(t: &Tile) {
    // SAFETY: the caller vouches for every element these pointers reach; a partial panel goes
    // through a buffer on the stack.
    unsafe {
        let mut acc = [[_mm256_setzero_ps(); 2]; MR];
        let (mut a, mut b) = (t.a, t.b);
        for _ in 0..t.k {
            let (b0, b1) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.wrapping_add(8)));
            for i in 0..MR {
                let x = _mm256_set1_ps(*a.wrapping_add(i * t.a_row));
                acc[i][0] = _mm256_fmadd_ps(x, b0, acc[i][0]);
                acc[i][1] = _mm256_fmadd_ps(x, b1, acc[i][1]);
            }
            a = a.wrapping_add(t.a_step);
            b = b.wrapping_add(t.b_step);
        }
        let (alpha, beta) = (_mm256_set1_ps(t.alpha), _mm256_set1_ps(t.beta));
        let mut partial = [0.0f32; PANEL];
        for i in 0..MR {
            let row = t.c.wrapping_add(i * t.c_row);
            let whole = t.cols == PANEL;
            let c = if whole { row } else { partial.as_mut_ptr() };
            if !whole && t.beta != 0.0 {
                std::ptr::copy_nonoverlapping(row, c, t.cols);
            }
            for v in 0..2 {
                let r = if t.beta == 0.0 {
                    _mm256_mul_ps(alpha, acc[i][v])
                } else {
                    let old = _mm256_mul_ps(beta, _mm256_loadu_ps(c.wrapping_add(v * 8)));
                    _mm256_fmadd_ps(alpha, acc[i][v], old)
                };
                _mm256_storeu_ps(c.wrapping_add(v * 8), r);
            }
            if !whole {
                std::ptr::copy_nonoverlapping(c, row, t.cols);
            }
        }
    }
}
