//! Portable micro-kernel: up to 4 rows by 16 columns, left to the compiler to vectorise.
use super::{PANEL, Tile};

pub(super) const ROWS: usize = 4;

/// Returns `a * b + c`, fused where the target fuses in hardware.
#[inline(always)]
fn fmadd(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

/// # Safety
/// As [`super::tile`].
pub(super) unsafe fn tile(t: &Tile) {
    // SAFETY: forwarded to the caller.
    unsafe {
        match t.rows {
            1 => kernel::<1>(t),
            2 => kernel::<2>(t),
            3 => kernel::<3>(t),
            _ => kernel::<4>(t),
        }
    }
}

unsafe fn kernel<const MR: usize>(t: &Tile) {
    let mut acc = [[0.0f32; PANEL]; MR];
    let (mut a, mut b) = (t.a, t.b);
    for _ in 0..t.k {
        // SAFETY: the caller vouches for 16 elements at each step of `b` and MR rows of `a`.
        let columns = unsafe { b.cast::<[f32; PANEL]>().read_unaligned() };
        for (i, acc) in acc.iter_mut().enumerate() {
            // SAFETY: as above.
            let x = unsafe { *a.wrapping_add(i * t.a_row) };
            for j in 0..PANEL {
                acc[j] = fmadd(x, columns[j], acc[j]);
            }
        }
        a = a.wrapping_add(t.a_step);
        b = b.wrapping_add(t.b_step);
    }
    for (i, acc) in acc.iter().enumerate() {
        for (j, &sum) in acc.iter().enumerate().take(t.cols) {
            // SAFETY: the caller vouches for MR rows of `cols` elements of `c`.
            let c = unsafe { &mut *t.c.wrapping_add(i * t.c_row + j) };
            *c = if t.beta == 0.0 {
                t.alpha * sum
            } else {
                fmadd(t.alpha, sum, t.beta * *c)
            };
        }
    }
}
