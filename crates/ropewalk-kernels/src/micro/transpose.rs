//! Turns rows into panels: `rows x k`, row-major, becomes `k x width`.
use std::ops::Range;

use crate::Isa;

/// Writes `dst[p * width + i] = src[i * stride + p]` for `i < rows`, `p < k`, and zeros for
/// `rows <= i < width`.
///
/// # Safety
/// The tier is available. `src` holds `rows` rows of `k` elements `stride` apart, `dst` has
/// `k * width + 16` elements (the last 16 may be overwritten), `rows <= width <= 16`.
pub(crate) unsafe fn transpose_to_panels(
    isa: Isa,
    src: *const f32,
    stride: usize,
    rows: usize,
    k: usize,
    dst: *mut f32,
    width: usize,
) {
    // SAFETY: forwarded to the caller.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni if width == 16 => x86::by16(src, stride, rows, k, dst),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => {
                x86::by8(src, stride, rows.min(8), k, dst, width, width.min(8));
                if width > 8 {
                    let low = rows.min(8);
                    let next = src.wrapping_add(low * stride);
                    x86::by8(next, stride, rows - low, k, dst.add(8), width, width - 8);
                }
            }
            #[cfg(target_arch = "aarch64")]
            Isa::Neon | Isa::NeonDot => neon::by4(src, stride, rows, k, dst, width),
            _ => portable(src, stride, rows, 0..k, dst, width),
        }
    }
}

/// Writes lines `steps` of all lanes.
unsafe fn portable(
    src: *const f32,
    stride: usize,
    rows: usize,
    steps: Range<usize>,
    dst: *mut f32,
    width: usize,
) {
    for p in steps {
        for i in 0..width {
            // SAFETY: inside the extents the caller vouches for.
            unsafe {
                *dst.add(p * width + i) = if i < rows {
                    *src.add(i * stride + p)
                } else {
                    0.0
                };
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    use crate::simd::neon::transpose4;

    /// Transposes 4 by 4 blocks in registers; what is left of a line or of `k` goes by elements.
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn by4(
        src: *const f32,
        stride: usize,
        rows: usize,
        k: usize,
        dst: *mut f32,
        width: usize,
    ) {
        let whole = k / 4 * 4;
        // SAFETY: loads stay inside existing rows, stores inside lines of `width` lanes.
        unsafe {
            for first in (0..width).step_by(4) {
                for p in (0..whole).step_by(4) {
                    let mut r = [vdupq_n_f32(0.0); 4];
                    for (i, r) in r.iter_mut().enumerate() {
                        if first + i < rows {
                            *r = vld1q_f32(src.add((first + i) * stride + p));
                        }
                    }
                    for (i, line) in transpose4(r).into_iter().enumerate() {
                        let to = dst.add((p + i) * width + first);
                        if first + 4 <= width {
                            vst1q_f32(to, line);
                        } else {
                            let mut lanes = [0.0f32; 4];
                            vst1q_f32(lanes.as_mut_ptr(), line);
                            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, width - first);
                        }
                    }
                }
            }
            super::portable(src, stride, rows, whole..k, dst, width);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use crate::simd::{transpose8, transpose16};

    /// Transposes 16 by 16 blocks in registers.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn by16(
        src: *const f32,
        stride: usize,
        rows: usize,
        k: usize,
        dst: *mut f32,
    ) {
        let mut p = 0;
        while p < k {
            let n = (k - p).min(16);
            let mask: __mmask16 = 0xffff >> (16 - n);
            // SAFETY: loads are masked to `n` columns of existing rows, stores stop after `n` lines.
            unsafe {
                let mut r = [_mm512_setzero_ps(); 16];
                if rows == 16 {
                    for (i, r) in r.iter_mut().enumerate() {
                        *r = _mm512_maskz_loadu_ps(mask, src.add(i * stride + p));
                    }
                } else {
                    for (i, r) in r.iter_mut().enumerate().take(rows) {
                        *r = _mm512_maskz_loadu_ps(mask, src.add(i * stride + p));
                    }
                }
                let t = transpose16(r);
                if n == 16 {
                    for (i, &t) in t.iter().enumerate() {
                        _mm512_storeu_ps(dst.add((p + i) * 16), t);
                    }
                } else {
                    for (i, &t) in t.iter().enumerate().take(n) {
                        _mm512_storeu_ps(dst.add((p + i) * 16), t);
                    }
                }
            }
            p += n;
        }
    }

    /// Transposes 8 by 8 blocks in registers; `valid <= 8` lanes of each line are kept.
    ///
    /// Lines are stored whole in ascending order, so what spills past `valid` is overwritten by
    /// the next line or lies in the slack, except where `width > 8`, which stores exactly 8.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn by8(
        src: *const f32,
        stride: usize,
        rows: usize,
        k: usize,
        dst: *mut f32,
        width: usize,
        valid: usize,
    ) {
        debug_assert!(
            valid == 8 || width <= 8,
            "a partial second half would spill"
        );
        let whole = k / 8 * 8;
        // SAFETY: loads stay inside existing rows, stores inside `k * width + 8`.
        unsafe {
            let mut p = 0;
            while p < whole {
                let mut r = [_mm256_setzero_ps(); 8];
                for (i, r) in r.iter_mut().enumerate() {
                    if i < rows {
                        *r = _mm256_loadu_ps(src.add(i * stride + p));
                    }
                }
                for (i, t) in transpose8(r).into_iter().enumerate() {
                    _mm256_storeu_ps(dst.add((p + i) * width), t);
                }
                p += 8;
            }
            for p in whole..k {
                for i in 0..valid {
                    *dst.add(p * width + i) = if i < rows {
                        *src.add(i * stride + p)
                    } else {
                        0.0
                    };
                }
            }
        }
    }
}
