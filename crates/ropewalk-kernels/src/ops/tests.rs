use super::*;
use crate::Isa;
use crate::testing::{close, random};

/// Lengths around every boundary the loops have.
const LENGTHS: [usize; 12] = [1, 7, 8, 15, 16, 17, 20, 63, 64, 65, 172, 401];

fn wide(seed: u64, n: usize, size: f32) -> Vec<f32> {
    random(seed, n).iter().map(|x| x * size).collect()
}

/// Checks one operation against an f64 function on every tier and length, and that two halves give
/// the same bits as the whole.
fn check_unary(
    size: f32,
    tolerance: f64,
    run: impl Fn(Isa, &mut [f32]),
    want: impl Fn(f64) -> f64,
) {
    for isa in Isa::available() {
        for n in LENGTHS {
            let x = wide(n as u64, n, size);
            let mut got = x.clone();
            run(isa, &mut got);
            for (&x, &y) in x.iter().zip(&got) {
                let want = want(f64::from(x));
                let error = (f64::from(y) - want).abs();
                assert!(
                    error <= tolerance * want.abs().max(1e-6),
                    "{isa:?} f({x}) = {y}, not {want}"
                );
            }
            let mut parts = x.clone();
            let (left, right) = parts.split_at_mut(n / 3);
            run(isa, left);
            run(isa, right);
            assert_eq!(got, parts, "{isa:?} in two parts");
        }
    }
}

/// `erf` by its Taylor series near 0 and the continued fraction of `erfc` far from it.
fn erf(x: f64) -> f64 {
    if x.abs() < 3.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let mut fraction = 0.0;
    for n in (1..60).rev() {
        fraction = f64::from(n) / 2.0 / (x.abs() + fraction);
    }
    let tail = (-x * x).exp() / ((x.abs() + fraction) * std::f64::consts::PI.sqrt());
    (1.0 - tail).copysign(x)
}

#[test]
fn exp_is_within_two_ulp() {
    let two_ulp = 2.0 * f64::from(f32::EPSILON);
    check_unary(87.0, two_ulp, exp, f64::exp);
    check_unary(1.0, two_ulp, exp, f64::exp);
}

#[test]
fn exp_handles_the_ends() {
    let x = [
        f32::NEG_INFINITY,
        -1e9,
        -103.0,
        -88.0,
        0.0,
        88.7,
        89.0,
        1e9,
        f32::INFINITY,
        f32::NAN,
    ];
    for isa in Isa::available() {
        let mut y = x;
        exp(isa, &mut y);
        assert_eq!(y[..2], [0.0, 0.0]);
        assert_eq!(y[2], (-103f64).exp() as f32, "subnormal, {isa:?}");
        assert!((y[3] / (-88f64).exp() as f32 - 1.0).abs() < 1e-6);
        assert_eq!(y[4], 1.0);
        assert!((f64::from(y[5]) / f64::from(x[5]).exp() - 1.0).abs() < 1e-6);
        assert_eq!(y[6..9], [f32::INFINITY; 3]);
        assert!(y[9].is_nan());
    }
}

#[test]
fn activations_equal_their_formulas() {
    let silu = |x: f64| x / (1.0 + (-x).exp());
    check_unary(
        20.0,
        1e-6,
        |isa, x| activate(isa, Activation::Silu, x),
        silu,
    );
    let gelu = |x: f64| 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2));
    // In the tail the rounding of an exponent near 9 is a relative error of the result.
    check_unary(
        4.0,
        4e-6,
        |isa, x| activate(isa, Activation::GeluErf, x),
        gelu,
    );
    check_unary(
        1.0,
        5e-7,
        |isa, x| activate(isa, Activation::GeluErf, x),
        gelu,
    );
    let tanh = |x: f64| {
        let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
        x / (1.0 + (-2.0 * u).exp())
    };
    check_unary(
        3.0,
        2e-6,
        |isa, x| activate(isa, Activation::GeluTanh, x),
        tanh,
    );
    check_unary(
        5.0,
        0.0,
        |isa, x| activate(isa, Activation::Relu, x),
        |x| x.max(0.0),
    );
}

#[test]
fn activations_are_finite_far_out() {
    for isa in Isa::available() {
        for activation in [Activation::Silu, Activation::GeluErf, Activation::GeluTanh] {
            let mut x = [-1e4, -100.0, -10.0, 10.0, 100.0, 1e4];
            activate(isa, activation, &mut x);
            let want = [0.0, 0.0, 0.0, 10.0, 100.0, 1e4];
            for (x, want) in x.iter().zip(want) {
                assert!(
                    (x - want).abs() <= 5e-4,
                    "{isa:?} {activation:?}: {x}, not {want}"
                );
            }
        }
    }
}

#[test]
fn a_gate_multiplies_the_activation() {
    for isa in Isa::available() {
        for n in LENGTHS {
            let (g, u) = (wide(1, n, 5.0), random(2, n));
            for activation in [
                Activation::Silu,
                Activation::GeluErf,
                Activation::GeluTanh,
                Activation::Relu,
            ] {
                let mut want = g.clone();
                activate(isa, activation, &mut want);
                want.iter_mut().zip(&u).for_each(|(w, u)| *w *= u);
                let mut got = vec![0.0; n];
                gate(isa, activation, &g, &u, &mut got).unwrap();
                assert_eq!(got, want, "{isa:?} {activation:?}");
            }
            let (mut a, mut b) = (vec![0.0; n], vec![0.0; n]);
            silu_mul(isa, &g, &u, &mut a).unwrap();
            gate(isa, Activation::Silu, &g, &u, &mut b).unwrap();
            assert_eq!(a, b);
        }
    }
}

#[test]
fn adds_and_scales() {
    for isa in Isa::available() {
        for n in LENGTHS {
            let (mut x, y) = (random(1, n), random(2, n));
            let want: Vec<f32> = x.iter().zip(&y).map(|(x, y)| (x + y) * 0.3).collect();
            add(isa, &mut x, &y).unwrap();
            scale(isa, &mut x, 0.3);
            assert_eq!(x, want);
            let before = x.clone();
            add_scaled(isa, &mut x, &y, -1.7).unwrap();
            for ((x, y), b) in x.iter().zip(&y).zip(before) {
                let want = f64::from(b) - f64::from(1.7f32) * f64::from(*y);
                assert!(
                    (f64::from(*x) - want).abs() < 5e-7,
                    "{isa:?} {x}, not {want}"
                );
            }
        }
    }
}

#[test]
fn soft_caps_equal_their_formula() {
    for (size, cap) in [(1.0, 30.0f32), (200.0, 30.0), (60.0, 50.0)] {
        let exact = f64::from(cap);
        check_unary(
            size,
            1e-6,
            |isa, x| softcap(isa, x, cap),
            |x| exact * (x / exact).tanh(),
        );
    }
}

#[test]
fn norms_equal_their_formulas() {
    for isa in Isa::available() {
        for n in LENGTHS {
            let rows = 3;
            let x: Vec<f32> = random(1, rows * n).iter().map(|x| x * 3.0 + 0.5).collect();
            let (w, b) = (random(2, n), random(3, n));
            let (mut rms, mut layer) = (vec![0.0; rows * n], vec![0.0; rows * n]);
            rms_norm(isa, &x, &w, 1e-5, &mut rms).unwrap();
            layer_norm(isa, &x, &w, Some(&b), 1e-5, &mut layer).unwrap();
            for r in 0..rows {
                let row: Vec<f64> = x[r * n..][..n].iter().map(|&x| f64::from(x)).collect();
                let mean = row.iter().sum::<f64>() / n as f64;
                let square = row.iter().map(|x| x * x).sum::<f64>() / n as f64;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
                for i in 0..n {
                    let (w, b) = (f64::from(w[i]), f64::from(b[i]));
                    let want = row[i] / (square + 1e-5).sqrt() * w;
                    assert!(
                        (f64::from(rms[r * n + i]) - want).abs() < 2e-6,
                        "{isa:?} n={n}"
                    );
                    let want = (row[i] - mean) / (variance + 1e-5).sqrt() * w + b;
                    // With one element the variance is 0 and only eps keeps the quotient finite.
                    let limit = if n == 1 { 1e-3 } else { 5e-6 };
                    assert!(
                        (f64::from(layer[r * n + i]) - want).abs() < limit,
                        "{isa:?} n={n}"
                    );
                }
                let mut alone = vec![0.0; n];
                rms_norm(isa, &x[r * n..][..n], &w, 1e-5, &mut alone).unwrap();
                assert_eq!(alone, rms[r * n..][..n], "a row alone");
            }
            let mut same = x.clone();
            rms_norm_in_place(isa, &mut same, &w, 1e-5).unwrap();
            assert_eq!(same, rms, "{isa:?} in place");
            same.copy_from_slice(&x);
            layer_norm_in_place(isa, &mut same, &w, Some(&b), 1e-5).unwrap();
            assert_eq!(same, layer, "{isa:?} in place");
            let mut plain = vec![0.0; rows * n];
            layer_norm(isa, &x, &w, None, 1e-5, &mut plain).unwrap();
            for (i, (p, l)) in plain.iter().zip(&layer).enumerate() {
                assert!((p + b[i % n] - l).abs() < 1e-5);
            }
        }
    }
}

/// Returns the tables (cos, sin) for `positions` positions, each `[positions, frequencies]`.
///
/// The angle at position `t` is `t * frequency`, and both functions are multiplied by `magnitude`
/// (1 but for scaled variants). Angles are formed in f32, as Hugging Face does, and the functions
/// taken in f64, so that the tables do not depend on a platform's `sinf`.
fn rope_tables(
    frequencies: &[f32],
    positions: std::ops::Range<usize>,
    magnitude: f32,
) -> (Vec<f32>, Vec<f32>) {
    positions
        .flat_map(|t| {
            frequencies.iter().map(move |&f| {
                let (sin, cos) = f64::from(t as f32 * f).sin_cos();
                (cos as f32 * magnitude, sin as f32 * magnitude)
            })
        })
        .unzip()
}

#[test]
fn rope_rotates_each_pair() {
    for isa in Isa::available() {
        for (head_dim, rope_dim) in [(8, 8), (20, 20), (64, 64), (80, 32), (96, 96), (128, 64)] {
            let (heads, half) = (3, rope_dim / 2);
            let frequencies: Vec<f32> = (0..half)
                .map(|i| 1e4f32.powf(-2.0 * i as f32 / rope_dim as f32))
                .collect();
            let (cos, sin) = rope_tables(&frequencies, 5..7, 1.0);
            let (cos, sin) = (&cos[half..], &sin[half..]);
            for style in [RopeStyle::SplitHalf, RopeStyle::Interleaved] {
                let x = random(9, heads * head_dim);
                let mut got = x.clone();
                rope(isa, style, &mut got, head_dim, cos, sin).unwrap();
                let mut want: Vec<f32> = x.clone();
                for h in 0..heads {
                    for i in 0..half {
                        let (a, b) = match style {
                            RopeStyle::SplitHalf => (i, i + half),
                            RopeStyle::Interleaved => (2 * i, 2 * i + 1),
                        };
                        let (a, b) = (h * head_dim + a, h * head_dim + b);
                        let (c, s) = (f64::from(cos[i]), f64::from(sin[i]));
                        want[a] = (f64::from(x[a]) * c - f64::from(x[b]) * s) as f32;
                        want[b] = (f64::from(x[b]) * c + f64::from(x[a]) * s) as f32;
                    }
                }
                close(&got, &want, 2e-7, "rope");
            }
        }
    }
}

#[test]
fn rope_at_position_zero_changes_nothing() {
    let (cos, sin) = rope_tables(&[1.0, 0.1], 0..1, 1.0);
    let mut x = random(1, 8);
    rope(Isa::best(), RopeStyle::SplitHalf, &mut x, 4, &cos, &sin).unwrap();
    assert_eq!(x, random(1, 8));
}

#[test]
fn softmax_and_log_sum_exp_equal_their_formulas() {
    for isa in Isa::available() {
        for n in LENGTHS.into_iter().chain([3000]) {
            let x = wide(n as u64, 2 * n, 30.0);
            let mut got = x.clone();
            softmax(isa, &mut got, n).unwrap();
            for (x, got) in x.chunks(n).zip(got.chunks(n)) {
                let total: f64 = x.iter().map(|&x| f64::from(x).exp()).sum();
                let want: Vec<f32> = x
                    .iter()
                    .map(|&x| (f64::from(x).exp() / total) as f32)
                    .collect();
                close(got, &want, 1e-6, "softmax");
                let log = f64::from(log_sum_exp(isa, x));
                assert!((log - total.ln()).abs() < 1e-6 * total.ln().abs().max(1.0));
            }
        }
        assert_eq!(log_sum_exp(isa, &[]), f32::NEG_INFINITY);
        assert_eq!(log_sum_exp(isa, &[f32::NEG_INFINITY; 3]), f32::NEG_INFINITY);
    }
}

#[test]
fn argmax_takes_the_first_largest() {
    for isa in Isa::available() {
        for n in LENGTHS {
            let mut x = random(n as u64, n);
            x[n / 2] = 2.0;
            x[n - 1] = 2.0;
            x[0] = if n > 1 { f32::NAN } else { 2.0 };
            assert_eq!(argmax(isa, &x), Some(n / 2), "{isa:?} n={n}");
        }
        assert_eq!(argmax(isa, &[]), None);
        assert_eq!(argmax(isa, &[f32::NAN]), None);
        assert_eq!(argmax(isa, &[f32::NEG_INFINITY; 20]), Some(0));
    }
}

#[test]
fn every_half_widens_and_comes_back() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    for isa in Isa::available() {
        let (mut half, mut brain) = (vec![0.0; all.len()], vec![0.0; all.len()]);
        f16_to_f32(isa, &all, &mut half).unwrap();
        bf16_to_f32(isa, &all, &mut brain).unwrap();
        let (mut half_back, mut brain_back) = (vec![0; all.len()], vec![0; all.len()]);
        f32_to_f16(isa, &half, &mut half_back).unwrap();
        f32_to_bf16(isa, &brain, &mut brain_back).unwrap();
        for (i, &bits) in all.iter().enumerate() {
            let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
            let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
            if exponent == 31 {
                assert_eq!(half[i].is_nan(), mantissa != 0.0);
                let quiet = if mantissa == 0.0 { 0 } else { 0x0200 };
                assert_eq!(half_back[i], bits | quiet, "{isa:?} {bits:#x}");
            } else {
                let want = if exponent == 0 {
                    sign * mantissa * 2f64.powi(-24)
                } else {
                    sign * (1.0 + mantissa / 1024.0) * 2f64.powi(exponent - 15)
                };
                assert_eq!(f64::from(half[i]), want, "{isa:?} {bits:#x}");
                assert_eq!(half_back[i], bits);
            }
            assert_eq!(brain[i].to_bits(), u32::from(bits) << 16);
            let quiet = if brain[i].is_nan() { 0x0040 } else { 0 };
            assert_eq!(brain_back[i], bits | quiet);
        }
    }
}

#[test]
fn narrowing_rounds_to_the_nearest_even_neighbour() {
    let mut x = wide(1, 4000, 1.0);
    // Every size from the subnormal halves to overflow, and exact ties.
    for (i, x) in x.iter_mut().enumerate() {
        *x *= 2f32.powi(i as i32 % 50 - 30);
    }
    x.extend([
        65504.0,
        65519.9,
        65520.0,
        -65520.0,
        2f32.powi(-25),
        2f32.powi(-24) * 1.5,
    ]);
    x.extend([
        1.0 + 2f32.powi(-11),
        1.0 + 3.0 * 2f32.powi(-11),
        1.0 + 2f32.powi(-8),
    ]);
    for isa in Isa::available() {
        let (mut half, mut brain) = (vec![0; x.len()], vec![0; x.len()]);
        f32_to_f16(isa, &x, &mut half).unwrap();
        f32_to_bf16(isa, &x, &mut brain).unwrap();
        let nearest = |bits: u16, x: f32, widen: &dyn Fn(u16) -> f32| {
            let distance = |b: u16| (f64::from(widen(b)) - f64::from(x)).abs();
            let (here, below, above) = (
                distance(bits),
                distance(bits.wrapping_sub(1)),
                distance(bits + 1),
            );
            let even = bits.is_multiple_of(2);
            let beats = |other: f64| here < other || (here == other && even) || other.is_nan();
            beats(above) && (bits & 0x7fff == 0 || beats(below))
        };
        for (i, &x) in x.iter().enumerate() {
            if x.abs() < 65520.0 {
                let ok = nearest(half[i], x, &crate::simd::scalar::f16_to_f32);
                // The largest half has infinity above it.
                assert!(
                    ok || half[i] & 0x7fff == 0x7bff,
                    "{isa:?}: f16({x}) = {:#x}",
                    half[i]
                );
            } else {
                assert_eq!(half[i] & 0x7fff, 0x7c00);
            }
            assert!(
                nearest(brain[i], x, &crate::simd::scalar::bf16_to_f32),
                "{isa:?}: bf16({x})"
            );
        }
    }
}

#[test]
fn fused_passes_equal_their_parts() {
    for isa in Isa::available() {
        for n in LENGTHS {
            let rows = 3;
            let (x, y) = (wide(1, rows * n, 4.0), wide(2, rows * n, 2.0));
            let (bias, w, b) = (random(3, n), random(4, n), random(5, n));
            let mut biased = x.clone();
            add_bias(isa, &mut biased, &bias).unwrap();
            for (i, got) in biased.iter().enumerate() {
                assert_eq!(*got, x[i] + bias[i % n], "{isa} n={n}");
            }
            for activation in [
                Activation::Silu,
                Activation::GeluErf,
                Activation::GeluTanh,
                Activation::Relu,
            ] {
                let (mut got, mut want) = (x.clone(), biased.clone());
                bias_activate(isa, activation, &mut got, &bias).unwrap();
                activate(isa, activation, &mut want);
                assert_eq!(got, want, "{isa} {activation:?} n={n}");
            }
            for (bias, b) in [(Some(&*bias), Some(&*b)), (None, None)] {
                let (mut got, mut want) = (x.clone(), x.clone());
                add_layer_norm(isa, &mut got, &y, bias, (&w, b), 1e-5).unwrap();
                add(isa, &mut want, &y).unwrap();
                if let Some(bias) = bias {
                    add_bias(isa, &mut want, bias).unwrap();
                }
                layer_norm_in_place(isa, &mut want, &w, b, 1e-5).unwrap();
                assert_eq!(got, want, "{isa} n={n}");
            }
        }
    }
}

#[test]
fn refuses_unequal_lengths() {
    let isa = Isa::best();
    let (mut x, y) = ([0.0; 6], [0.0; 4]);
    assert!(add(isa, &mut x, &y).is_err());
    assert!(silu_mul(isa, &y, &y, &mut x).is_err());
    assert!(rms_norm(isa, &[0.0; 6], &y, 1e-5, &mut x).is_err());
    assert!(rms_norm(isa, &[0.0; 8], &y, 1e-5, &mut x).is_err());
    assert!(rms_norm(isa, &[0.0; 6], &[], 1e-5, &mut x).is_err());
    assert!(layer_norm(isa, &[0.0; 6], &[0.0; 3], Some(&y), 1e-5, &mut x).is_err());
    assert!(add_bias(isa, &mut x, &y).is_err());
    assert!(add_bias(isa, &mut x, &[]).is_err());
    assert!(bias_activate(isa, Activation::Relu, &mut x, &y).is_err());
    let three = [0.0; 3];
    assert!(add_layer_norm(isa, &mut x, &y, None, (&three, None), 1e-5).is_err());
    assert!(add_layer_norm(isa, &mut x, &[0.0; 6], Some(&y), (&three, None), 1e-5).is_err());
    assert!(add_layer_norm(isa, &mut x, &[0.0; 6], None, (&three, Some(&y)), 1e-5).is_err());
    assert!(rope(isa, RopeStyle::SplitHalf, &mut x, 4, &[1.0], &[0.0]).is_err());
    assert!(rope(isa, RopeStyle::SplitHalf, &mut x, 3, &[1.0; 2], &[0.0; 2]).is_err());
    assert!(softmax(isa, &mut x, 4).is_err());
    assert!(f16_to_f32(isa, &[0; 3], &mut x).is_err());
}

#[test]
fn all_tiers_with_fused_multiply_add_give_equal_bits() {
    let tiers: Vec<Isa> = Isa::available()
        .into_iter()
        .filter(|&isa| isa != Isa::Scalar)
        .collect();
    let (x, w) = (wide(1, 1003, 40.0), wide(2, 1003, 3.0));
    let run = |isa: Isa| {
        let mut all = Vec::new();
        for activation in [Activation::Silu, Activation::GeluErf, Activation::GeluTanh] {
            let mut out = vec![0.0; x.len()];
            gate(isa, activation, &w, &x, &mut out).unwrap();
            all.extend(out);
        }
        let mut out = vec![0.0; x.len()];
        rms_norm(isa, &x, &w, 1e-6, &mut out).unwrap();
        all.extend_from_slice(&out);
        layer_norm(isa, &x, &w, Some(&w), 1e-6, &mut out).unwrap();
        all.extend_from_slice(&out);
        out.copy_from_slice(&x);
        softmax(isa, &mut out, x.len()).unwrap();
        all.extend_from_slice(&out);
        all.push(log_sum_exp(isa, &x));
        all.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    for pair in tiers.windows(2) {
        assert_eq!(run(pair[0]), run(pair[1]), "{} and {}", pair[0], pair[1]);
    }
}
