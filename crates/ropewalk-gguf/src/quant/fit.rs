//! Scale search for small groups of weights: the searches of `ggml-quants.c`, eight groups at a
//! time and operation by operation in its order, so that results are equal to the last bit.
//!
//! All of them try a grid of step sizes around the one that just covers the range. For each they
//! round the weights to levels and solve for the scale (and offset) that fits these levels best, a
//! closed-form weighted least-squares problem.

use super::lanes::{Lanes, nearest};

/// Below this magnitude a group counts as zero (`GROUP_MAX_EPS`).
const NOTHING: f32 = 1e-15;

/// Step sizes to try: the range is divided into `first`, `first + step`, ... more levels than there
/// are, `steps + 1` times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) first: f32,
    pub(super) step: f32,
    pub(super) steps: u8,
}

/// `x = scale * q - min` for levels `q` from zero, for eight groups.
#[derive(Clone, Copy, Debug)]
pub(super) struct Affine {
    pub(super) scale: Lanes,
    pub(super) min: Lanes,
    /// Levels are `round(inverse * (x - low))`.
    inverse: Lanes,
    low: Lanes,
}

impl Affine {
    /// Returns levels `0..=top` of value `x` of each group.
    #[inline(always)]
    pub(super) fn levels(&self, x: Lanes, top: f32) -> Lanes {
        (self.inverse * (x - self.low)).nearest().within(0.0, top)
    }
}

/// Finds a fit with `min >= 0` for levels `0..=top` (`make_qkx2_quants`, `make_qkx3_quants`). The
/// error is the weighted sum of squares, or of magnitudes where `ABSOLUTE`.
#[inline(always)]
pub(super) fn affine<const N: usize, const ABSOLUTE: bool>(
    x: &[Lanes; N],
    w: &[Lanes; N],
    top: f32,
    grid: Grid,
) -> Affine {
    let zero = Lanes::default();
    let (mut low, mut high) = (x[0], x[0]);
    let (mut sum_w, mut sum_x) = (w[0], w[0] * x[0]);
    for (&x, &w) in x.iter().zip(w).skip(1) {
        low = low.above(x).select(x, low);
        high = x.above(high).select(x, high);
        sum_w = sum_w + w;
        sum_x = sum_x + w * x;
    }
    low = low.above(zero).select(zero, low);
    let uneven = high.above(low);
    let top_lanes = Lanes::all(top);
    let inverse = top_lanes / (high - low);
    let mut best = Affine {
        scale: Lanes::all(1.0) / inverse,
        min: low,
        inverse,
        low,
    };
    let error = |q: &[Lanes; N], scale: Lanes, min: Lanes| {
        let mut sum = zero;
        for i in 0..N {
            let e = scale * q[i] + min - x[i];
            sum = sum + w[i] * if ABSOLUTE { e.abs() } else { e * e };
        }
        sum
    };
    let mut q = [zero; N];
    for (q, &x) in q.iter_mut().zip(x) {
        *q = best.levels(x, top);
    }
    let mut best_error = error(&q, best.scale, best.min);
    for step in 0..=grid.steps {
        let wider = Lanes::all(grid.first + grid.step * f32::from(step) + top);
        let inverse = wider / (high - best.min);
        let (mut sum_q, mut sum_qq, mut sum_xq) = (zero, zero, zero);
        for i in 0..N {
            q[i] = (inverse * (x[i] - best.min)).nearest().within(0.0, top);
            let wq = w[i] * q[i];
            sum_q = sum_q + wq;
            sum_qq = sum_qq + wq * q[i];
            sum_xq = sum_xq + wq * x[i];
        }
        let determinant = sum_w * sum_qq - sum_q * sum_q;
        let scale = (sum_w * sum_xq - sum_x * sum_q) / determinant;
        let min = (sum_qq * sum_x - sum_q * sum_xq) / determinant;
        let outside = min.above(zero);
        let scale = outside.select(sum_xq / sum_qq, scale);
        let min = outside.select(zero, min);
        let step_error = error(&q, scale, min);
        let better = determinant.above(zero).and(best_error.above(step_error));
        best = Affine {
            scale: better.select(scale, best.scale),
            inverse: better.select(inverse, best.inverse),
            low: better.select(best.min, best.low),
            min: better.select(min, best.min),
        };
        best_error = better.select(step_error, best_error);
    }
    Affine {
        scale: uneven.select(best.scale, zero),
        min: -uneven.select(best.min, low),
        inverse: uneven.select(best.inverse, zero),
        low: uneven.select(best.low, low),
    }
}

/// `x = scale * q` for levels `q` from `-n` to `n - 1`, for eight groups.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symmetric {
    pub(super) scale: Lanes,
    /// Levels are `round(inverse * x)`; NaN for a group without any.
    inverse: Lanes,
}

impl Symmetric {
    /// Returns levels, offset to start at zero, of value `x` of each group; zero throughout for a
    /// group that counts as zero.
    #[inline(always)]
    pub(super) fn levels(&self, x: Lanes, n: f32) -> Lanes {
        let q = (self.inverse * x).nearest().within(-n, n - 1.0) + Lanes::all(n);
        self.inverse
            .differs(self.inverse)
            .select(Lanes::default(), q)
    }
}

/// Returns the value of largest magnitude, the first of equals, with its sign, and where it is large
/// enough to count.
#[inline(always)]
fn peak<const N: usize>(x: &[Lanes; N]) -> (Lanes, Lanes) {
    let (mut peak, mut largest) = (Lanes::default(), Lanes::default());
    for &x in x {
        let larger = x.abs().above(largest);
        peak = larger.select(x, peak);
        largest = larger.select(x.abs(), largest);
    }
    (peak, largest)
}

/// Finds scales of either sign for levels `-n..=n - 1` (`make_qx_quants`).
#[inline(always)]
pub(super) fn symmetric<const N: usize>(x: &[Lanes; N], w: &[Lanes; N], n: f32) -> Symmetric {
    let zero = Lanes::default();
    let (peak, largest) = peak(x);
    let sums = |inverse: Lanes| {
        let (mut sum_xq, mut sum_qq) = (zero, zero);
        for i in 0..N {
            let q = (inverse * x[i]).nearest().within(-n, n - 1.0);
            sum_xq = sum_xq + w[i] * x[i] * q;
            sum_qq = sum_qq + w[i] * q * q;
        }
        (sum_xq, sum_qq)
    };
    let mut inverse = Lanes::all(-n) / peak;
    let (sum_xq, sum_qq) = sums(inverse);
    let mut scale = sum_qq.differs(zero).select(sum_xq / sum_qq, zero);
    let mut best = scale * sum_xq;
    for step in (-9..=9_i8).filter(|&step| step != 0) {
        let candidate = Lanes::all(-(n + 0.1 * f32::from(step))) / peak;
        let (sum_xq, sum_qq) = sums(candidate);
        let better = sum_qq
            .above(zero)
            .and((sum_xq * sum_xq).above(best * sum_qq));
        inverse = better.select(candidate, inverse);
        scale = better.select(sum_xq / sum_qq, scale);
        best = better.select(scale * sum_xq, best);
    }
    let nothing = Lanes::all(NOTHING).above(largest);
    Symmetric {
        scale: nothing.select(zero, scale),
        inverse: nothing.select(Lanes::all(f32::NAN), inverse),
    }
}

/// Finds scales of either sign for levels `-n..=n - 1` with errors weighted by `x * x`, moving one
/// level at a time (`make_q3_quants`). Returns scales and levels offset to start at zero.
#[inline(always)]
pub(super) fn descend<const N: usize>(x: &[Lanes; N], n: f32) -> (Lanes, [Lanes; N]) {
    let zero = Lanes::default();
    let (peak, largest) = peak(x);
    let something = Lanes::all(NOTHING).above(largest).not();
    let inverse = Lanes::all(-n) / peak;
    let (mut sum_xq, mut sum_qq) = (zero, zero);
    let mut q = [zero; N];
    for i in 0..N {
        q[i] = (inverse * x[i]).nearest().within(-n, n - 1.0);
        let w = x[i] * x[i];
        sum_xq = sum_xq + w * x[i] * q[i];
        sum_qq = sum_qq + w * q[i] * q[i];
    }
    for _ in 0..5 {
        let mut changed = false;
        for i in 0..N {
            let w = x[i] * x[i];
            let rest_xq = sum_xq - w * x[i] * q[i];
            let rest_qq = sum_qq - w * q[i] * q[i];
            let level = (x[i] * rest_qq / rest_xq).nearest().within(-n, n - 1.0);
            let (new_xq, new_qq) = (rest_xq + w * x[i] * level, rest_qq + w * level * level);
            let better = rest_xq
                .above(zero)
                .and(level.differs(q[i]))
                .and(new_qq.above(zero))
                .and((new_xq * new_xq * sum_qq).above(sum_xq * sum_xq * new_qq));
            q[i] = better.select(level, q[i]);
            sum_xq = better.select(new_xq, sum_xq);
            sum_qq = better.select(new_qq, sum_qq);
            changed |= better.and(something).any();
        }
        if !changed {
            break;
        }
    }
    let scale = something
        .and(sum_qq.above(zero))
        .select(sum_xq / sum_qq, zero);
    (scale, q.map(|q| something.select(q + Lanes::all(n), zero)))
}

/// Codes the non-negative scales (or minimums) `x` of a super-block with weights `w` as `0..=top`
/// and returns their common factor (`make_qp_quants`).
pub(super) fn codes<const G: usize>(x: &[f32; G], w: &[f32; G], top: i32) -> (f32, [u8; G]) {
    let n = top as f32;
    let largest = x.iter().fold(0.0, |a: f32, &x| if a > x { a } else { x });
    if largest < NOTHING {
        return (0.0, [0; G]);
    }
    let error = |scale: f32, q: &dyn Fn(f32) -> f32| {
        x.iter().zip(w).fold(0.0, |sum, (&x, &w)| {
            let e = x - scale * q(x);
            sum + w * e * e
        })
    };
    let mut inverse = n / largest;
    let mut best = error(1.0 / inverse, &|x| f32::from(nearest(inverse * x) as u8));
    for step in (-4..=4_i8).filter(|&step| step != 0) {
        let candidate = (0.1 * f32::from(step) + n) / largest;
        let e = error(1.0 / candidate, &|x| nearest(candidate * x).min(top) as f32);
        if e < best {
            (best, inverse) = (e, candidate);
        }
    }
    let mut q = [0_u8; G];
    let (mut sum_xq, mut sum_qq) = (0.0, 0.0);
    for i in 0..G {
        let level = nearest(inverse * x[i]).min(top);
        q[i] = level as u8;
        let level = level as f32;
        sum_xq += w[i] * x[i] * level;
        sum_qq += w[i] * level * level;
    }
    for _ in 0..5 {
        let mut changed = false;
        for i in 0..G {
            let old = f32::from(q[i]);
            let (rest_xq, rest_qq) = (sum_xq - w[i] * x[i] * old, sum_qq - w[i] * old * old);
            if !(rest_xq > 0.0 && rest_qq > 0.0) {
                continue;
            }
            let level = nearest(x[i] * rest_qq / rest_xq).min(top);
            if level == i32::from(q[i]) {
                continue;
            }
            let number = level as f32;
            let (new_xq, new_qq) = (
                rest_xq + w[i] * x[i] * number,
                rest_qq + w[i] * number * number,
            );
            if new_xq * new_xq * sum_qq > sum_xq * sum_xq * new_qq {
                (q[i], sum_xq, sum_qq) = (level as u8, new_xq, new_qq);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    (if sum_qq > 0.0 { sum_xq / sum_qq } else { 0.0 }, q)
}
