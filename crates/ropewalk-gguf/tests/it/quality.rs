//! Round-trip errors of the encoders.

use ropewalk_gguf::{TensorType, dequantize, quantize};

fn round_trip(ty: TensorType, x: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    dequantize(ty, &quantize(ty, x).unwrap(), &mut out).unwrap();
    out
}

fn squared_error(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

/// Normally distributed numbers by the Box-Muller transform of a small generator.
fn normal(n: usize, mut state: u64) -> Vec<f32> {
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f64 + 0.5) / f64::from(1 << 24)
    };
    (0..n)
        .map(|_| {
            let (u, v) = (uniform(), uniform());
            ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
        })
        .collect()
}

/// llama.cpp's own limits (`tests/test-quantize-fns.cpp`): `sqrt(sum of squares) / n` on its wave.
#[test]
fn errors_stay_within_the_limits_of_llama_cpp() {
    let x: Vec<f32> = (0..4096).map(|i| 0.1 + 2.0 * (i as f32).cos()).collect();
    for (ty, limit) in [
        (TensorType::Q8_0, 0.002),
        (TensorType::Q5_1, 0.002),
        (TensorType::Q5_0, 0.002),
        (TensorType::Q4_1, 0.002),
        (TensorType::Q4_0, 0.002),
        (TensorType::Q6_K, 0.002),
        (TensorType::Q5_K, 0.002),
        (TensorType::Q4_K, 0.002),
        (TensorType::Q3_K, 0.004),
        (TensorType::Q2_K, 0.0075),
    ] {
        let error = squared_error(&x, &round_trip(ty, &x)).sqrt() / x.len() as f64;
        assert!(error <= limit, "{ty}: {error}");
    }
}

/// Root mean square error relative to the standard deviation of normal weights. The limits are 3 %
/// above what the encoders reach, so a worse search fails.
#[test]
fn errors_on_normal_weights() {
    let x = normal(256 * 256, 7);
    for (ty, limit) in [
        (TensorType::Q8_0, 0.0055),
        (TensorType::Q6_K, 0.0183),
        (TensorType::Q5_K, 0.0371),
        (TensorType::Q4_K, 0.0735),
        (TensorType::Q3_K, 0.1554),
        (TensorType::Q2_K, 0.3060),
    ] {
        let error = (squared_error(&x, &round_trip(ty, &x)) / x.len() as f64).sqrt();
        assert!(error <= limit, "{ty}: {error}");
    }
}

#[test]
fn edge_blocks_are_coded_well() {
    let types = [
        (TensorType::Q2_K, 0.3),
        (TensorType::Q3_K, 0.2),
        (TensorType::Q4_K, 0.08),
        (TensorType::Q5_K, 0.04),
        (TensorType::Q6_K, 0.03),
    ];
    let mut one = vec![0.0; 256];
    one[100] = 7.0;
    let blocks: [(&str, Vec<f32>); 6] = [
        ("zeros", vec![0.0; 256]),
        ("constant", vec![0.7; 256]),
        ("negative constant", vec![-0.7; 256]),
        ("one value", one),
        (
            "positive",
            (0..256).map(|i| 1.0 + (i % 16) as f32 / 16.0).collect(),
        ),
        ("large", normal(256, 3).iter().map(|x| x * 1e4).collect()),
    ];
    for (ty, limit) in types {
        for (name, x) in &blocks {
            let y = round_trip(ty, x);
            let norm = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
            let error = squared_error(x, &y);
            assert!(
                error <= limit * limit * norm,
                "{ty} {name}: {}",
                (error / norm).sqrt()
            );
        }
    }
}

#[test]
fn coding_is_independent_of_neighbouring_blocks() {
    let x = normal(1024, 11);
    for ty in [
        TensorType::Q4_0,
        TensorType::Q3_K,
        TensorType::Q4_K,
        TensorType::Q6_K,
    ] {
        let whole = quantize(ty, &x).unwrap();
        let parts: Vec<u8> = x
            .chunks(256)
            .flat_map(|x| quantize(ty, x).unwrap())
            .collect();
        assert_eq!(whole, parts, "{ty}");
    }
}
