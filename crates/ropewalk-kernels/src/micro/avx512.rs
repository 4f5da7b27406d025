//! AVX-512 micro-kernel: up to 8 rows by 48 columns, 24 accumulators.
use std::arch::x86_64::*;

use super::{PANEL, Tile};

pub(super) const ROWS: usize = 8;
pub(super) const PANELS: usize = 3;

type Kernel = unsafe fn(&Tile);

macro_rules! row {
    ($($mr:literal),*) => { [$([kernel::<$mr, 1> as Kernel, kernel::<$mr, 2>, kernel::<$mr, 3>]),*] };
}

static KERNELS: [[Kernel; PANELS]; ROWS] = row!(1, 2, 3, 4, 5, 6, 7, 8);

/// # Safety
/// As [`super::tile`]; needs AVX-512F.
pub(super) unsafe fn tile(t: &Tile) {
    // SAFETY: forwarded to the caller.
    unsafe { KERNELS[t.rows - 1][(t.cols - 1) / PANEL](t) }
}

#[target_feature(enable = "avx512f")]
unsafe fn kernel<const MR: usize, const NV: usize>(t: &Tile) {
    // SAFETY: the caller vouches for every element these pointers reach; the last panel is written
    // under a mask of the valid columns.
    unsafe {
        for i in 0..MR {
            for v in 0..NV {
                _mm_prefetch::<_MM_HINT_T0>(t.c.wrapping_add(i * t.c_row + v * PANEL).cast());
            }
        }
        let mut acc = [[_mm512_setzero_ps(); NV]; MR];
        let (mut a, mut b) = (t.a, t.b);
        for _ in 0..t.k {
            let mut columns = [_mm512_setzero_ps(); NV];
            for v in 0..NV {
                columns[v] = _mm512_loadu_ps(b.wrapping_add(v * t.b_panel));
            }
            for i in 0..MR {
                let x = _mm512_set1_ps(*a.wrapping_add(i * t.a_row));
                for v in 0..NV {
                    acc[i][v] = _mm512_fmadd_ps(x, columns[v], acc[i][v]);
                }
            }
            a = a.wrapping_add(t.a_step);
            b = b.wrapping_add(t.b_step);
        }
        let last: __mmask16 = 0xffff >> (NV * PANEL - t.cols);
        let (alpha, beta) = (_mm512_set1_ps(t.alpha), _mm512_set1_ps(t.beta));
        for i in 0..MR {
            for v in 0..NV {
                let mask = if v + 1 == NV { last } else { 0xffff };
                let c = t.c.wrapping_add(i * t.c_row + v * PANEL);
                let r = if t.beta == 0.0 {
                    _mm512_mul_ps(alpha, acc[i][v])
                } else {
                    let old = _mm512_mul_ps(beta, _mm512_maskz_loadu_ps(mask, c));
                    _mm512_fmadd_ps(alpha, acc[i][v], old)
                };
                _mm512_mask_storeu_ps(c, mask, r);
            }
        }
    }
}
