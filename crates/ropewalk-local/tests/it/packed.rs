//! Packed types against f32 weights of the same values.

use ropewalk_gguf::TensorType;
use ropewalk_kernels::Isa;
use ropewalk_local::{CacheType, LoadOptions, Model};
use ropewalk_spec::testing::TempDir;

use crate::families::{exact, from_gguf};
use crate::golden::{GoldenCase, cases};

/// Types that have packed kernels.
const TYPES: [TensorType; 15] = [
    TensorType::F16,
    TensorType::BF16,
    TensorType::Q8_0,
    TensorType::Q4_0,
    TensorType::Q4_1,
    TensorType::Q5_0,
    TensorType::Q5_1,
    TensorType::Q2_K,
    TensorType::Q3_K,
    TensorType::Q4_K,
    TensorType::Q5_K,
    TensorType::Q6_K,
    TensorType::IQ4_NL,
    TensorType::IQ4_XS,
    TensorType::MXFP4,
];

/// Some of those that are decoded row by row.
const DECODED: [TensorType; 4] = [
    TensorType::IQ3_S,
    TensorType::IQ2_S,
    TensorType::TQ1_0,
    TensorType::TQ2_0,
];

fn wide() -> impl Iterator<Item = GoldenCase> {
    cases().into_iter().filter(GoldenCase::is_wide)
}

/// All types for one family, for the others those that are quantised quickly.
fn types(all: bool) -> impl Iterator<Item = TensorType> {
    let quick = TYPES.len() - if all { 0 } else { 3 };
    TYPES.into_iter().take(quick)
}

fn logits(model: &Model) -> Vec<f32> {
    let ids = ropewalk_spec::testing::prompt(11, 24, model.spec().vocab_size);
    model.forward_all(&mut model.new_cache(), &ids).unwrap()
}

/// Root of the mean squared difference, relative to that of the values.
fn error(found: &[f32], want: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let difference: f64 = found.iter().zip(want).map(|(a, b)| square(a - b)).sum();
    (difference / want.iter().copied().map(square).sum::<f64>()).sqrt()
}

/// The median of the errors of the rows.
fn median(found: &[f32], want: &[f32], vocab: usize) -> f64 {
    let rows = found.chunks_exact(vocab).zip(want.chunks_exact(vocab));
    let mut errors: Vec<f64> = rows.map(|(a, b)| error(a, b)).collect();
    errors.sort_by(f64::total_cmp);
    errors[errors.len() / 2]
}

#[test]
fn packed_weights_compute_what_their_values_say() {
    for (i, case) in wide().enumerate() {
        for ty in types(i == 0) {
            let want = logits(&from_gguf(
                case.model.gguf_dequantized(|_| ty).unwrap(),
                &exact(),
            ));
            let found = logits(&from_gguf(case.model.gguf(|_| ty).unwrap(), &exact()));
            // Float weights differ by summation alone. Other types round activations to 8 bits
            // per block of 32 or 256: with a largest value of 3 standard deviations that is
            // 3 / 127 / sqrt(12) = 0.7 % noise per product, and there are seven per layer.
            let limit = if ty.block_size() == 1 { 1e-5 } else { 0.05 };
            let e = if case.model.spec.experts.is_some() {
                // Rounding may put another expert first, which changes a row altogether.
                median(&found, &want, case.model.spec.vocab_size)
            } else {
                error(&found, &want)
            };
            assert!(e <= limit, "{} {ty}: relative error {e:.2e}", case.name);
            assert!(
                ty.block_size() == 1 || e > 0.0,
                "{} {ty}: nothing was packed",
                case.name
            );
        }
    }
}

#[test]
fn types_without_packed_kernels_compute_what_their_values_say() {
    let case = wide().next().unwrap();
    for ty in DECODED {
        let want = logits(&from_gguf(
            case.model.gguf_dequantized(|_| ty).unwrap(),
            &exact(),
        ));
        let bytes = case.model.gguf(|_| ty).unwrap();
        let found = logits(&from_gguf(bytes.clone(), &exact()));
        let e = error(&found, &want);
        assert!(e <= 1e-5, "{ty}: relative error {e:.2e}");
        // From a mapped file the rows are read where they lie.
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.join("model.gguf"), bytes).unwrap();
        let mapped = Model::open(dir.join("model.gguf"), &exact()).unwrap();
        let threads = mapped.threads();
        assert!(logits(&mapped) == found, "{ty}: {threads} threads");
    }
}

#[test]
fn instruction_sets_agree() {
    let tiers = Isa::available();
    let mut decided = 0;
    let (mut quantised, mut unmoved) = (0, 0);
    for (i, case) in wide().enumerate() {
        for ty in types(i == 0) {
            let bytes = case.model.gguf(|_| ty).unwrap();
            let run = |isa: Isa| {
                let options = LoadOptions::default()
                    .with_isa(isa)
                    .with_cache(CacheType::F32);
                logits(&from_gguf(bytes.clone(), &options))
            };
            let want = run(Isa::Scalar);
            let mut vectors: Option<Vec<f32>> = None;
            for &isa in &tiers {
                let found = run(isa);
                // Vector tiers do the same operations in the same order. The scalar tier rounds
                // products before it adds them.
                if isa != Isa::Scalar {
                    let first = vectors.get_or_insert_with(|| found.clone());
                    assert!(found == *first, "{} {ty}: {isa} differs", case.name);
                }
                // The integer sums are equal; what differs is the last bit of float sums. Where that
                // moves an activation over the edge between two 8-bit values, the next layer
                // sees a step of 1/127 of its block, so the outputs part by a fraction of the
                // rounding noise itself (0.05, see above).
                let limit = if ty.block_size() == 1 { 1e-5 } else { 0.015 };
                let label = format!("{} {ty} {}", case.name, isa.name());
                let e = error(&found, &want);
                assert!(e <= limit, "{label}: relative error {e:.2e}");
                if isa != Isa::Scalar && ty.block_size() > 1 {
                    quantised += 1;
                    unmoved += usize::from(e < 1e-6);
                }
                let largest = want.iter().fold(0f32, |m, x| m.max(x.abs()));
                let tolerance = limit as f32 * largest;
                let vocab = case.model.spec.vocab_size;
                for (row, want) in found.chunks_exact(vocab).zip(want.chunks_exact(vocab)) {
                    let best =
                        |x: &[f32]| (0..x.len()).max_by(|&a, &b| x[a].total_cmp(&x[b])).unwrap();
                    let first = want[best(want)];
                    let second = want
                        .iter()
                        .copied()
                        .filter(|x| *x < first)
                        .fold(f32::MIN, f32::max);
                    if first - second > 10.0 * tolerance {
                        assert_eq!(best(row), best(want), "{label}");
                        decided += 1;
                    }
                }
            }
        }
    }
    // Where no activation crosses an edge the tiers agree like float weights, so a kernel that is
    // wrong cannot hide behind the wider limit.
    assert!(
        2 * unmoved > quantised,
        "only {unmoved} of {quantised} runs had no activation cross an edge"
    );
    assert!(
        decided > 100,
        "only {decided} tokens were clear enough to compare"
    );
    for isa in [Isa::Avx2, Isa::AvxVnni, Isa::Avx512Vnni] {
        if !tiers.contains(&isa) {
            println!("not run: {} is not on this machine", isa.name());
        }
    }
}
