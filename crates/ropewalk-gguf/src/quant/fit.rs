//! Scale search for small groups of weights.
//!
//! Both searches try a grid of step sizes around the one that just covers the range. For each they
//! round the weights to levels and then solve for the scale (and offset) that fits these levels
//! best, a closed-form weighted least-squares problem; alternating rounding and solving then
//! continues from the best candidate while it helps. Errors are weighted by `rms + |x|`: a
//! large weight multiplies its activation's error more often than it is drowned by others.

/// Steps of the grid on either side of the covering step size, and their width in levels.
const STEPS: i32 = 4;
const STEP: f32 = 0.22;
/// Rounds of rounding and solving after the grid.
const REFINEMENTS: usize = 3;

/// `x = scale * q - min` for levels `q` from zero.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Affine {
    pub(super) scale: f32,
    pub(super) min: f32,
}

/// Sums `f` over `0..N` in eight lanes. One running sum would be a chain of dependent additions,
/// which the compiler must not reorder. `N` is a multiple of eight.
#[inline(always)]
fn sum<const N: usize>(f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0; 8];
    for start in (0..N).step_by(8) {
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total += f(start + lane);
        }
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// Returns the weights of the errors.
pub(super) fn importance<const N: usize>(x: &[f32; N]) -> [f32; N] {
    let rms = (sum::<N>(|i| x[i] * x[i]) / N as f32).sqrt();
    x.map(|x| rms + x.abs())
}

/// Rounds to the nearest integer within bounds of small magnitude, ties to even.
///
/// Adding 1.5 * 2^23 leaves no bits for a fraction; the compiler turns this into SIMD code, which
/// `round_ties_even` is not on baseline x86-64.
#[inline(always)]
pub(super) fn round_within(x: f32, lo: f32, hi: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    // As comparisons, NaN becomes `lo` and each bound is one instruction.
    let x = if x > lo { x } else { lo };
    let x = if x < hi { x } else { hi };
    (x + MAGIC) - MAGIC
}

/// Returns levels `0..=top` of `x` under `fit`.
#[inline(always)]
pub(super) fn affine_levels<const N: usize>(x: &[f32; N], fit: Affine, top: f32) -> [f32; N] {
    let inverse = if fit.scale > 0.0 {
        1.0 / fit.scale
    } else {
        0.0
    };
    x.map(|x| round_within((x + fit.min) * inverse, 0.0, top))
}

/// Returns the weighted squared error of levels `q`.
#[inline(always)]
pub(super) fn affine_error<const N: usize>(
    x: &[f32; N],
    w: &[f32; N],
    q: &[f32; N],
    fit: Affine,
) -> f32 {
    sum::<N>(|i| {
        let e = fit.scale * q[i] - fit.min - x[i];
        w[i] * e * e
    })
}

/// Finds a fit with `scale >= 0` and `min >= 0` for levels `0..=top`.
pub(super) fn fit_affine<const N: usize>(x: &[f32; N], w: &[f32; N], top: f32) -> Affine {
    let lo = x.iter().fold(0.0_f32, |lo, &x| lo.min(x));
    let hi = x.iter().fold(lo, |hi, &x| hi.max(x));
    if hi <= lo {
        return Affine {
            scale: 0.0,
            min: -lo,
        };
    }
    let mut best = Affine {
        scale: (hi - lo) / top,
        min: -lo,
    };
    let mut best_error = affine_error(x, w, &affine_levels(x, best, top), best);
    let totals = [sum::<N>(|i| w[i]), sum::<N>(|i| w[i] * x[i])];
    let mut improve = |q: &[f32; N]| -> Option<Affine> {
        let fit = solve_affine(x, w, totals, q)?;
        let error = affine_error(x, w, q, fit);
        if error >= best_error {
            return None;
        }
        (best, best_error) = (fit, error);
        Some(fit)
    };
    let mut winner = None;
    for step in -STEPS..=STEPS {
        let scale = (hi - lo) / (top + STEP * step as f32);
        let q = affine_levels(x, Affine { scale, min: -lo }, top);
        winner = improve(&q).or(winner);
    }
    for _ in 0..REFINEMENTS {
        let Some(fit) = winner else { break };
        winner = improve(&affine_levels(x, fit, top));
    }
    best
}

/// Solves for scale and offset of given levels; with an offset that would have the wrong sign, for
/// the scale alone. `totals` are the sums of `w` and of `w x`.
fn solve_affine<const N: usize>(
    x: &[f32; N],
    w: &[f32; N],
    totals: [f32; 2],
    q: &[f32; N],
) -> Option<Affine> {
    let [sw, sx] = totals;
    let (sq, sqq) = (sum::<N>(|i| w[i] * q[i]), sum::<N>(|i| w[i] * q[i] * q[i]));
    let sxq = sum::<N>(|i| w[i] * x[i] * q[i]);
    let determinant = sw * sqq - sq * sq;
    if determinant <= 0.0 {
        return None;
    }
    let offset = (sqq * sx - sq * sxq) / determinant;
    let fit = if offset > 0.0 {
        Affine {
            scale: sxq / sqq,
            min: 0.0,
        }
    } else {
        Affine {
            scale: (sw * sxq - sq * sx) / determinant,
            min: -offset,
        }
    };
    (fit.scale > 0.0 && fit.scale.is_finite() && fit.min.is_finite()).then_some(fit)
}

/// Returns levels `-n..=n - 1` of `x` for a scale of either sign.
#[inline(always)]
pub(super) fn symmetric_levels<const N: usize>(x: &[f32; N], scale: f32, n: f32) -> [f32; N] {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    x.map(|x| round_within(x * inverse, -n, n - 1.0))
}

/// Finds `scale` of either sign such that `scale * q` fits `x` for levels `-n..=n - 1`.
pub(super) fn fit_symmetric<const N: usize>(x: &[f32; N], w: &[f32; N], n: f32) -> f32 {
    let peak = x.iter().fold(
        0.0,
        |peak: f32, &x| if x.abs() > peak.abs() { x } else { peak },
    );
    if peak == 0.0 {
        return 0.0;
    }
    // With the best scale for levels q, the error falls by (sum w x q)^2 / (sum w q^2).
    let mut best = (0.0, peak / -n);
    let mut improve = |q: &[f32; N]| -> Option<f32> {
        let sxq = sum::<N>(|i| w[i] * q[i] * x[i]);
        let sqq = sum::<N>(|i| w[i] * q[i] * q[i]);
        let (gain, scale) = (sxq * sxq / sqq, sxq / sqq);
        if gain > best.0 && scale.is_finite() {
            best = (gain, scale);
            return Some(scale);
        }
        None
    };
    let mut winner = None;
    for step in -STEPS..=STEPS {
        let q = symmetric_levels(x, peak / -(n + STEP * step as f32), n);
        winner = improve(&q).or(winner);
    }
    for _ in 0..REFINEMENTS {
        let Some(scale) = winner else { break };
        winner = improve(&symmetric_levels(x, scale, n));
    }
    best.1
}

/// Returns the weighted squared error of levels `q` under `scale`.
#[inline(always)]
pub(super) fn symmetric_error<const N: usize>(
    x: &[f32; N],
    w: &[f32; N],
    q: &[f32; N],
    scale: f32,
) -> f32 {
    affine_error(x, w, q, Affine { scale, min: 0.0 })
}
