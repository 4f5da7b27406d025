//! Quantised products: against f64, across tiers, across every way to cut the work.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::num::NonZeroUsize;
use std::sync::Arc;

use proptest::prelude::*;
use ropewalk_kernels::{Acts, Error, Format, Isa, Job, Matrix, Pool, matmul};

use crate::blocks::{Random, quantised, random_rows, values};

fn pool(threads: usize) -> Pool {
    Pool::new(NonZeroUsize::new(threads).unwrap())
}

/// `x` `[m, k]` times one matrix of `n` rows.
pub(crate) fn product(
    pool: &Pool,
    isa: Isa,
    format: Format,
    bytes: &[u8],
    (m, n, k): (usize, usize, usize),
    x: &[f32],
) -> Vec<f32> {
    let weights = Matrix::pack(isa, format, bytes, n, k, pool).unwrap();
    let mut acts = Acts::new();
    acts.prepare(pool, isa, x, m, k, &[&weights]).unwrap();
    let mut out = vec![f32::NAN; m * n];
    matmul(pool, &acts, &mut [Job::new(&weights, &mut out)]).unwrap();
    out
}

/// What the kernels should make of a row of activations: 8-bit blocks, as documented on `Acts`.
fn quantise(x: &[f32], block: usize) -> Vec<f64> {
    x.chunks(block)
        .flat_map(|x| {
            let max = x.iter().fold(0f32, |m, v| m.max(v.abs()));
            let (d, inverse) = if max < 1e-30 {
                (0.0, 0.0)
            } else {
                (max / 127.0, 127.0 / max)
            };
            x.iter()
                .map(move |v| f64::from(d) * f64::from((v * inverse).round_ties_even()))
        })
        .collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn products_equal_the_f64_product_of_dequantised_values() {
    let pool = pool(1);
    for format in quantised() {
        let mut random = Random(7 + format as u64);
        let (m, n, k) = (2, 19, 512);
        let bytes = random_rows(format, n, k, &mut random);
        let x = random.floats(m * k);
        for isa in Isa::available() {
            let got = product(&pool, isa, format, &bytes, (m, n, k), &x);
            for (i, x) in x.chunks(k).enumerate() {
                let q = quantise(x, format.block_size());
                for (r, row) in bytes.chunks(bytes.len() / n).enumerate() {
                    let w = values(format, row);
                    let dot = |x: &[f64]| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
                    let size = w.iter().map(|w| w * w).sum::<f64>().sqrt() * (k as f64).sqrt();
                    let got = f64::from(got[i * n + r]);
                    // Exact integers: what is left is the rounding of a handful of f32 operations.
                    let error = (got - dot(&q)).abs() / size;
                    assert!(error < 1e-6, "{format} {isa} row {r}: off by {error:e}");
                    // With 8-bit activations, as llama.cpp's tests allow (0.02 of unit rows).
                    let x: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
                    let error = (got - dot(&x)).abs() / size;
                    assert!(
                        error < 0.002,
                        "{format} {isa} row {r}: quantised to {error:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn all_tiers_equal_the_scalar_tier_bit_for_bit() {
    let pool = pool(2);
    for isa in Isa::ALL {
        if !isa.is_available() {
            eprintln!("not on this machine: {isa}");
        }
    }
    for format in quantised() {
        let block = format.block_size();
        for (seed, blocks) in [1, 2, 3, 5, 8].into_iter().enumerate() {
            let mut random = Random(1000 * seed as u64 + format as u64);
            let (m, n, k) = (3 + 5 * seed, 33 - seed, blocks * block);
            let bytes = random_rows(format, n, k, &mut random);
            let x = random.floats(m * k);
            let want = product(&pool, Isa::Scalar, format, &bytes, (m, n, k), &x);
            for isa in Isa::available() {
                let got = product(&pool, isa, format, &bytes, (m, n, k), &x);
                assert_eq!(bits(&got), bits(&want), "{format} {isa} {m}x{n}x{k}");
            }
        }
    }
}

#[test]
fn extreme_codes_and_activations_do_not_saturate() {
    let pool = pool(1);
    for format in quantised() {
        let (n, k) = (16, 512);
        for (fill, sign) in [
            (0xff, 1.0),
            (0xff, -1.0),
            (0x00, 1.0),
            (0x80, -1.0),
            (0x7f, 1.0),
        ] {
            let mut random = Random(3);
            let mut bytes = random_rows(format, n, k, &mut random);
            let scales = bytes.clone();
            bytes.fill(fill);
            // Keep finite scales; everything else is at a limit.
            for (b, s) in bytes
                .chunks_mut(format.block_bytes())
                .zip(scales.chunks(format.block_bytes()))
            {
                let at: &[usize] = match format {
                    Format::Q2_K => &[80, 82],
                    Format::Q3_K => &[108],
                    Format::Q6_K => &[208],
                    Format::MXFP4 => &[],
                    Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
                    _ => &[0],
                };
                for &at in at {
                    b[at..at + 2].copy_from_slice(&s[at..at + 2]);
                }
                if format == Format::MXFP4 {
                    b[0] = s[0];
                }
            }
            let mut x = vec![sign; k];
            x.iter_mut().skip(1).step_by(7).for_each(|v| *v = -*v);
            let all = [vec![sign; k], x].concat();
            let want = product(&pool, Isa::Scalar, format, &bytes, (2, n, k), &all);
            for isa in Isa::available() {
                let got = product(&pool, isa, format, &bytes, (2, n, k), &all);
                assert_eq!(bits(&got), bits(&want), "{format} {isa} {fill:#x} {sign}");
            }
            let row = values(format, &bytes[..bytes.len() / n]);
            let q = quantise(&all[..k], format.block_size());
            let sum: f64 = row.iter().zip(&q).map(|(w, x)| w * x).sum();
            let size: f64 = row.iter().map(|w| w.abs()).sum();
            assert!(
                (f64::from(want[0]) - sum).abs() <= 1e-5 * size,
                "{format} {fill:#x}"
            );
        }
    }
}

#[test]
fn a_row_does_not_depend_on_its_neighbours() {
    let (n, k) = (21, 768);
    let pools = [pool(1), pool(2)];
    for isa in Isa::available() {
        for format in quantised() {
            let mut random = Random(format as u64);
            let bytes = random_rows(format, n, k, &mut random);
            let x = random.floats(17 * k);
            let alone: Vec<Vec<f32>> = x
                .chunks(k)
                .map(|x| product(&pools[0], isa, format, &bytes, (1, n, k), x))
                .collect();
            for m in 1..=17 {
                let got = product(&pools[m % 2], isa, format, &bytes, (m, n, k), &x[..m * k]);
                for (i, row) in got.chunks(n).enumerate() {
                    assert_eq!(bits(row), bits(&alone[i]), "{format} {isa} row {i} of {m}");
                }
            }
        }
    }
}

#[test]
fn activations_written_in_place_equal_those_that_are_copied() {
    let (pool, isa, k) = (pool(2), Isa::best(), 256);
    let mut random = Random(11);
    let floats = random.floats(20 * k);
    let floats: Vec<u8> = floats.iter().flat_map(|v| v.to_le_bytes()).collect();
    let matrices = [
        (Format::F32, floats),
        (Format::Q4_K, random_rows(Format::Q4_K, 20, k, &mut random)),
        (Format::Q8_0, random_rows(Format::Q8_0, 20, k, &mut random)),
    ]
    .map(|(format, bytes)| Matrix::pack(isa, format, &bytes, 20, k, &pool).unwrap());
    let mut acts = Acts::new();
    let nothing = acts.prepare_input(&pool, isa, &matrices);
    assert!(matches!(nothing, Err(Error::NotPrepared { .. })));
    for m in [7, 1, 12] {
        let x = random.floats(m * k);
        let run = |acts: &Acts| {
            let mut outs: [Vec<f32>; 3] = std::array::from_fn(|_| vec![f32::NAN; m * 20]);
            for (weights, out) in matrices.iter().zip(&mut outs) {
                matmul(&pool, acts, &mut [Job::new(weights, out)]).unwrap();
            }
            outs.map(|out| bits(&out))
        };
        let all: Vec<&Matrix> = matrices.iter().collect();
        acts.prepare(&pool, isa, &x, m, k, &all).unwrap();
        let want = run(&acts);
        assert!(acts.prepare_input(&pool, isa, &matrices).is_err());
        acts.input(m, k).copy_from_slice(&x);
        acts.prepare_input(&pool, isa, &matrices).unwrap();
        assert_eq!(acts.input_rows(), x);
        assert_eq!(run(&acts), want, "{m} rows");
    }
}

#[test]
fn jobs_with_activations_of_their_own_equal_calls_of_their_own() {
    let (isa, k) = (Isa::best(), 512);
    let jobs = [
        (Format::Q4_K, 100, 5),
        (Format::F32, 20, 1),
        (Format::Q8_0, 333, 0),
        (Format::Q8_0, 48, 17),
    ];
    let mut random = Random(7);
    for threads in 1..=3 {
        let pool = pool(threads);
        let (mut weights, mut acts, mut want) = (Vec::new(), Vec::new(), Vec::new());
        for (format, n, m) in jobs {
            let bytes = match format {
                Format::F32 => {
                    let floats = random.floats(n * k);
                    floats.iter().flat_map(|v| v.to_le_bytes()).collect()
                }
                _ => random_rows(format, n, k, &mut random),
            };
            let x = random.floats(m * k);
            want.push(product(&pool, isa, format, &bytes, (m, n, k), &x));
            let matrix = Matrix::pack(isa, format, &bytes, n, k, &pool).unwrap();
            let mut own = Acts::new();
            own.prepare(&pool, isa, &x, m, k, &[&matrix]).unwrap();
            weights.push(matrix);
            acts.push(own);
        }
        let mut outs: Vec<Vec<f32>> = want.iter().map(|w| vec![f32::NAN; w.len()]).collect();
        let mut together: Vec<Job<'_>> = weights
            .iter()
            .zip(&acts)
            .zip(&mut outs)
            .map(|((w, acts), out)| Job::new(w, out).with_acts(acts))
            .collect();
        matmul(&pool, &Acts::new(), &mut together).unwrap();
        for (got, want) in outs.iter().zip(&want) {
            assert_eq!(bits(got), bits(want), "{threads} threads");
        }
    }
}

#[test]
fn threads_and_neighbouring_jobs_change_nothing() {
    let isa = Isa::best();
    let (m, k) = (5, 512);
    let shapes = [
        (Format::Q4_K, 100),
        (Format::Q6_K, 7),
        (Format::Q8_0, 333),
        (Format::F32, 20),
    ];
    let mut random = Random(99);
    let sources: Vec<Vec<u8>> = shapes
        .iter()
        .map(|&(format, n)| match format {
            Format::F32 => random
                .floats(n * k)
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect(),
            _ => random_rows(format, n, k, &mut random),
        })
        .collect();
    let x = random.floats(m * k);
    let one = pool(1);
    let want: Vec<Vec<f32>> = shapes
        .iter()
        .zip(&sources)
        .map(|(&(format, n), bytes)| product(&one, isa, format, bytes, (m, n, k), &x))
        .collect();
    for threads in 1..=4 {
        let pool = pool(threads);
        let weights: Vec<Matrix> = shapes
            .iter()
            .zip(&sources)
            .map(|(&(format, n), bytes)| Matrix::pack(isa, format, bytes, n, k, &pool).unwrap())
            .collect();
        let mut acts = Acts::new();
        let all: Vec<&Matrix> = weights.iter().collect();
        // Twice: the second time over used buffers, after a larger shape.
        acts.prepare(&pool, isa, &random.floats(40 * k), 40, k, &all)
            .unwrap();
        acts.prepare(&pool, isa, &x, m, k, &all).unwrap();
        let mut outs: Vec<Vec<f32>> = shapes.iter().map(|&(_, n)| vec![0.0; m * n]).collect();
        let mut jobs: Vec<Job<'_>> = weights
            .iter()
            .zip(&mut outs)
            .map(|(w, out)| Job::new(w, out))
            .collect();
        matmul(&pool, &acts, &mut jobs).unwrap();
        for ((got, want), (format, _)) in outs.iter().zip(&want).zip(shapes) {
            assert_eq!(bits(got), bits(want), "{format} with {threads} threads");
        }
    }
}

#[test]
fn rows_with_a_nan_or_an_infinity_give_nan_and_zero_rows_give_zero() {
    let pool = pool(1);
    for isa in Isa::available() {
        for format in [Format::Q4_K, Format::Q8_0] {
            let (n, k) = (16, 512);
            let mut random = Random(5);
            let bytes = random_rows(format, n, k, &mut random);
            let mut x = random.floats(5 * k);
            x[300] = f32::NAN;
            x[k + 511] = f32::NEG_INFINITY;
            x[2 * k..3 * k].fill(0.0);
            x[3 * k..4 * k].fill(f32::MIN_POSITIVE / 2.0);
            let got = product(&pool, isa, format, &bytes, (5, n, k), &x);
            assert!(got[..2 * n].iter().all(|v| v.is_nan()), "{format} {isa}");
            assert!(
                got[2 * n..4 * n].iter().all(|&v| v == 0.0),
                "{format} {isa}"
            );
            assert!(got[4 * n..].iter().all(|v| v.is_finite()), "{format} {isa}");
        }
    }
}

#[test]
fn packed_sizes_stay_within_three_percent_of_the_source() {
    let pool = pool(1);
    for isa in Isa::available() {
        for format in quantised() {
            let block = format.block_size();
            // Columns of whole tiles.
            let wide = block.max(128);
            for (n, k) in [(16, wide), (64, 2048), (1, block), (17, 5 * block)] {
                let bytes = random_rows(format, n, k, &mut Random(1));
                let weights = Matrix::pack(isa, format, &bytes, n, k, &pool).unwrap();
                // The source of a matrix of whole tiles.
                let (rows, cols) = (n.next_multiple_of(16), k.next_multiple_of(wide));
                let source = rows * format.row_bytes(cols).unwrap();
                let ratio = weights.bytes() as f64 / source as f64;
                assert!(ratio <= 1.03, "{format} {isa} {n} x {k}: {ratio}");
                assert_eq!(weights.format_name(), format.name());
            }
        }
    }
}

#[test]
fn rows_of_a_foreign_format_are_decoded_and_multiplied() {
    let pool = pool(2);
    // One byte per value: (byte - 128) / 4.
    fn decode(src: &[u8], dst: &mut [f32]) {
        for (d, s) in dst.iter_mut().zip(src) {
            *d = (f32::from(*s) - 128.0) / 4.0;
        }
    }
    let (m, n, k) = (3, 37, 45);
    let mut random = Random(8);
    let bytes: Vec<u8> = (0..n * k).map(|_| random.next() as u8).collect();
    let x = random.floats(m * k);
    for isa in Isa::available() {
        let source = Arc::new(bytes.clone());
        let weights = Matrix::from_rows(source, n, k, k, decode, isa).unwrap();
        let mut acts = Acts::new();
        acts.prepare(&pool, isa, &x, m, k, &[&weights]).unwrap();
        let mut out = vec![0.0; m * n];
        matmul(&pool, &acts, &mut [Job::new(&weights, &mut out)]).unwrap();
        for (i, x) in x.chunks(k).enumerate() {
            for (r, row) in bytes.chunks(k).enumerate() {
                let want: f64 = row
                    .iter()
                    .zip(x)
                    .map(|(&w, &x)| (f64::from(w) - 128.0) / 4.0 * f64::from(x))
                    .sum();
                assert!((f64::from(out[i * n + r]) - want).abs() < 1e-3, "{isa}");
            }
        }
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let pool = pool(1);
    let isa = Isa::best();
    let pack = |format, len: usize, n, k| {
        Matrix::pack(isa, format, &vec![0; len], n, k, &pool).map(|m| m.bytes())
    };
    assert!(matches!(
        pack(Format::Q8_0, 0, 0, usize::MAX / 64 * 32),
        Err(Error::TooLarge { .. })
    ));
    assert!(matches!(
        pack(Format::Q8_0, 0, 1, 33),
        Err(Error::Block { cols: 33, .. })
    ));
    assert!(matches!(
        pack(Format::Q4_K, 0, 1, 128),
        Err(Error::Block { block: 256, .. })
    ));
    assert!(matches!(
        pack(Format::Q8_0, 33, 1, 32),
        Err(Error::Length { needed: 34, .. })
    ));
    assert!(matches!(
        pack(Format::Q8_0, 35, 1, 32),
        Err(Error::Length { needed: 34, .. })
    ));
    let huge = usize::MAX / 64 * 32;
    assert!(matches!(
        pack(Format::Q8_0, 0, usize::MAX, huge),
        Err(Error::TooLarge { .. })
    ));
    assert_eq!(pack(Format::Q8_0, 0, 0, 32), Ok(0));

    let weights = Matrix::pack(isa, Format::Q8_0, &[0; 68], 2, 32, &pool).unwrap();
    let other = Matrix::pack(isa, Format::Q4_K, &[0; 144], 1, 256, &pool).unwrap();
    let mut acts = Acts::new();
    let mut out = [0.0; 2];
    let unprepared = matmul(&pool, &acts, &mut [Job::new(&weights, &mut out)]);
    assert!(matches!(unprepared, Err(Error::NotPrepared { .. })));
    let short = acts.prepare(&pool, isa, &[0.0; 31], 1, 32, &[&weights]);
    assert!(matches!(
        short,
        Err(Error::Length {
            needed: 32,
            found: 31,
            ..
        })
    ));
    let wrong_width = acts.prepare(&pool, isa, &[0.0; 32], 1, 32, &[&other]);
    assert!(matches!(wrong_width, Err(Error::Length { .. })));
    acts.prepare(&pool, isa, &[0.0; 32], 1, 32, &[&weights])
        .unwrap();
    let short = matmul(&pool, &acts, &mut [Job::new(&weights, &mut out[..1])]);
    assert!(matches!(
        short,
        Err(Error::Length {
            needed: 2,
            found: 1,
            ..
        })
    ));
    let scalar = Matrix::pack(Isa::Scalar, Format::Q8_0, &[0; 68], 2, 32, &pool).unwrap();
    if isa != Isa::Scalar {
        let mixed = matmul(&pool, &acts, &mut [Job::new(&scalar, &mut out)]);
        assert!(matches!(mixed, Err(Error::NotPrepared { .. })));
        let mixed = acts.prepare(&pool, isa, &[0.0; 32], 1, 32, &[&scalar]);
        assert!(matches!(mixed, Err(Error::NotPrepared { .. })));
    }
    acts.prepare(&pool, isa, &[], 0, 32, &[&weights]).unwrap();
    assert_eq!(
        matmul(&pool, &acts, &mut [Job::new(&weights, &mut [])]),
        Ok(())
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_size_equals_the_scalar_tier(
        format in proptest::sample::select(quantised()),
        m in 1usize..30,
        n in 1usize..70,
        blocks in 1usize..6,
        threads in 1usize..4,
        seed: u64,
    ) {
        let k = blocks * format.block_size();
        let mut random = Random(seed);
        let bytes = random_rows(format, n, k, &mut random);
        let x = random.floats(m * k);
        let pool = pool(threads);
        let want = product(&pool, Isa::Scalar, format, &bytes, (m, n, k), &x);
        for isa in Isa::available() {
            let got = product(&pool, isa, format, &bytes, (m, n, k), &x);
            prop_assert_eq!(bits(&got), bits(&want), "{} {} {}x{}x{}", format, isa, m, n, k);
        }
    }
}
