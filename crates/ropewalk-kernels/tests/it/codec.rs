//! Codes, scales and values against bitsandbytes (`fixtures/make_bnb.py`), and the laws of the
//! codecs on every tier.

use std::num::NonZeroUsize;

use proptest::prelude::*;
use ropewalk_kernels::codec::{DoubleScales, FourBit, dynamic, int8};
use ropewalk_kernels::{Acts, Error, Isa, Job, Matrix, Pool, matmul};
use serde_json::Value;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../fixtures/bnb.json")).unwrap()
}

fn fnv(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let step = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The values of an input, as the head of the script says.
fn values(name: &str, n: usize) -> Vec<f32> {
    let seed = fnv(name.bytes());
    let mut x: Vec<f32> = (1..=n as u64)
        .map(|i| {
            let mut z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            (z >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    x.iter_mut().step_by(97).for_each(|x| *x *= 9.0);
    let zeros = 1000.min(n)..1200.min(n);
    x[zeros].fill(0.0);
    x
}

fn hex(v: &Value) -> Vec<u8> {
    let text = v.as_str().unwrap();
    let byte = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn floats(v: &Value) -> Vec<f32> {
    let bytes = hex(v);
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect()
}

fn hash(v: &Value) -> u64 {
    v.as_str().unwrap().parse().unwrap()
}

fn size(case: &Value, key: &str) -> usize {
    case[key].as_u64().unwrap() as usize
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn bytes(x: &[f32]) -> impl Iterator<Item = u8> {
    x.iter().flat_map(|x| x.to_le_bytes())
}

fn signed(x: &[i8]) -> impl Iterator<Item = u8> {
    x.iter().map(|x| x.cast_unsigned())
}

/// Every tier of this machine, without a pool and with one of three threads.
fn machines() -> Vec<(Isa, Option<Pool>)> {
    let pool = || Pool::new(NonZeroUsize::new(3).unwrap());
    let both = |isa| [(isa, None), (isa, Some(pool()))];
    Isa::available().into_iter().flat_map(both).collect()
}

#[test]
fn four_bit_codes_are_those_of_bitsandbytes() {
    let cases = fixture();
    for case in cases["four_bit"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let (n, block) = (size(case, "n"), size(case, "block"));
        let code = match case["kind"].as_str().unwrap() {
            "nf4" => FourBit::Nf4,
            _ => FourBit::Fp4,
        };
        let x = values(name, n);
        for (isa, pool) in machines() {
            let what = format!("{name} on {isa}");
            let mut packed = vec![0; n.div_ceil(2)];
            let mut scales = vec![0.0; n.div_ceil(block)];
            code.quantize(isa, pool.as_ref(), block, &x, &mut packed, &mut scales)
                .unwrap();
            assert_eq!(
                bits(&scales),
                bits(&floats(&case["absmax"])),
                "{what}: scales"
            );
            if !case["packed"].is_null() {
                assert_eq!(packed, hex(&case["packed"]), "{what}: codes");
            }
            assert_eq!(
                fnv(packed.iter().copied()),
                hash(&case["packed_fnv"]),
                "{what}: codes"
            );
            let mut back = vec![f32::NAN; n];
            code.dequantize(isa, pool.as_ref(), block, &packed, &scales, &mut back)
                .unwrap();
            assert_eq!(fnv(bytes(&back)), hash(&case["back_fnv"]), "{what}: values");
        }
    }
}

#[test]
fn the_dynamic_map_is_that_of_bitsandbytes() {
    assert_eq!(bits(dynamic::map()), bits(&floats(&fixture()["map"])));
}

#[test]
fn double_quantised_scales_are_those_of_bitsandbytes() {
    for case in fixture()["double"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let n = size(case, "n");
        let scales: Vec<f32> = values(name, n).iter().map(|x| x.abs() + 0.5).collect();
        let offset = floats(&case["offset"])[0];
        let centred: Vec<f32> = scales.iter().map(|x| x - offset).collect();
        let (mut codes, mut absmax) = (vec![0; n], vec![0.0; n.div_ceil(256)]);
        dynamic::quantize(dynamic::map(), 256, &centred, &mut codes, &mut absmax).unwrap();
        assert_eq!(codes, hex(&case["codes"]), "{name}");
        assert_eq!(bits(&absmax), bits(&floats(&case["absmax"])), "{name}");
        let stored = DoubleScales::new(codes.clone(), absmax, offset).unwrap();
        assert_eq!(
            bits(&stored.dequantize()),
            bits(&floats(&case["back"])),
            "{name}"
        );

        // Our own mean is rounded once; PyTorch's may differ in its last bit.
        let own = DoubleScales::quantize(&scales).unwrap();
        assert!(
            (own.offset - offset).abs() <= offset * 1.2e-7,
            "{name}: {}",
            own.offset
        );
        let step = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= 1;
        assert!(own.codes.iter().zip(&codes).all(step), "{name}");
        let mut back = vec![0.0; n];
        dynamic::dequantize(dynamic::map(), 256, &own.codes, &own.absmax, &mut back).unwrap();
        let sum: Vec<f32> = back.iter().map(|x| x + own.offset).collect();
        assert_eq!(bits(&own.dequantize()), bits(&sum), "{name}");
    }
}

#[test]
fn int8_rows_and_products_are_those_of_bitsandbytes() {
    for case in fixture()["int8"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let (m, n, k) = (size(case, "m"), size(case, "n"), size(case, "k"));
        let mut w = values(&format!("{name}-w"), n * k);
        w[k..2 * k].fill(0.0);
        let x = values(&format!("{name}-x"), m * k);
        for (isa, pool) in machines() {
            let what = format!("{name} on {isa}");
            let (mut codes, mut scales) = (vec![0; n * k], vec![0.0; n]);
            int8::quantize(isa, pool.as_ref(), &w, k, &mut codes, &mut scales).unwrap();
            assert_eq!(
                fnv(signed(&codes)),
                hash(&case["codes_fnv"]),
                "{what}: codes"
            );
            assert_eq!(
                bits(&scales),
                bits(&floats(&case["scales"])),
                "{what}: scales"
            );
            let mut back = vec![0.0; n * k];
            int8::dequantize(&codes, k, &scales, &mut back).unwrap();
            assert_eq!(fnv(bytes(&back)), hash(&case["back_fnv"]), "{what}: values");
            for (key, threshold) in [("plain", 0.0), ("mixed", 6.0)] {
                let case = &case[key];
                let acts = int8::Decomposed::new(isa, &x, k, threshold).unwrap();
                let columns: Vec<u64> = acts.outliers.iter().map(|&c| c as u64).collect();
                assert_eq!(Value::from(columns), case["outliers"], "{what}: outliers");
                assert_eq!(
                    fnv(signed(&acts.codes)),
                    hash(&case["codes_fnv"]),
                    "{what}, {key}"
                );
                assert_eq!(
                    bits(&acts.scales),
                    bits(&floats(&case["scales"])),
                    "{what}, {key}"
                );
                let mut out = vec![0.0; m * n];
                let weights = (&codes[..], &scales[..]);
                int8::matmul(isa, pool.as_ref(), &x, k, weights, threshold, &mut out).unwrap();
                for (got, want) in out.iter().zip(floats(&case["out"])) {
                    // The outlier columns are summed in another order there.
                    assert!(
                        (got - want).abs() <= 2e-6 * want.abs().max(1.0),
                        "{what}, {key}"
                    );
                }
            }
        }
    }
}

#[test]
fn outlier_columns_bound_the_error_of_int8_products() {
    let (m, n, k) = (4, 8, 512);
    let tame = |name| -> Vec<f32> {
        let x = values(name, m.max(n) * k);
        x.iter().map(|x| x.clamp(-1.0, 1.0)).collect()
    };
    let w = tame("bound-w");
    let mut x = tame("bound-x")[..m * k].to_vec();
    // Two features a hundred times larger than the rest.
    (0..m).for_each(|i| (x[i * k + 7], x[i * k + 300]) = (90.0, -100.0));
    let exact: Vec<f64> = (0..m * n)
        .map(|i| {
            let (x, w) = (&x[i / n * k..][..k], &w[i % n * k..][..k]);
            x.iter()
                .zip(w)
                .map(|(x, w)| f64::from(*x) * f64::from(*w))
                .sum()
        })
        .collect();
    let (mut codes, mut scales) = (vec![0; n * k], vec![0.0; n]);
    int8::quantize(Isa::best(), None, &w, k, &mut codes, &mut scales).unwrap();
    let error = |threshold: f32| {
        let mut out = vec![0.0; m * n];
        let weights = (&codes[..], &scales[..]);
        int8::matmul(Isa::best(), None, &x, k, weights, threshold, &mut out).unwrap();
        let square = |(a, b): (&f32, &f64)| (f64::from(*a) - b).powi(2);
        (out.iter().zip(&exact).map(square).sum::<f64>() / (m * n) as f64).sqrt()
    };
    let (with, without) = (error(6.0), error(0.0));
    assert!(
        with * 5.0 < without,
        "{with} with outlier columns, {without} without"
    );
    // Half a step of each side over k terms of independent sign, and the rounding of the weights
    // in the two outlier columns.
    let scale = f64::from(scales.iter().fold(0.0f32, |m, x| m.max(*x)));
    let step = scale / 254.0;
    let bound = step * ((k as f64).sqrt() + 90.0 + 100.0) + (k as f64).sqrt() * scale / 254.0;
    assert!(with < bound, "{with} is not below {bound}");
}

#[test]
fn what_cannot_be_coded_is_refused() {
    let isa = Isa::best();
    let nf4 = |block, x: &[f32], packed: usize, scales: usize| {
        FourBit::Nf4.quantize(
            isa,
            None,
            block,
            x,
            &mut vec![0; packed],
            &mut vec![0.0; scales],
        )
    };
    for block in [0, 1, 16, 63, 100, 8192] {
        assert_eq!(
            nf4(block, &[0.0; 64], 32, 1),
            Err(Error::BlockSize { found: block })
        );
    }
    assert!(matches!(
        nf4(64, &[0.0; 64], 31, 1),
        Err(Error::Length { .. })
    ));
    assert!(matches!(
        nf4(64, &[0.0; 65], 33, 1),
        Err(Error::Length { .. })
    ));
    assert_eq!(nf4(64, &[], 0, 0), Ok(()));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = vec![0.5; 40_000];
        x[33_333] = bad;
        for (isa, pool) in machines() {
            let (mut packed, mut scales) = (vec![0; 20_000], vec![0.0; 625]);
            let got = FourBit::Nf4.quantize(isa, pool.as_ref(), 64, &x, &mut packed, &mut scales);
            let error = got.unwrap_err();
            assert!(
                matches!(error, Error::NotFinite { index: 33_333, .. }),
                "{error}"
            );
            assert!(error.to_string().contains("value 33333"), "{error}");
            let (mut codes, mut scales) = (vec![0; 40_000], vec![0.0; 400]);
            let got = int8::quantize(isa, pool.as_ref(), &x, 100, &mut codes, &mut scales);
            assert!(matches!(got, Err(Error::NotFinite { index: 33_333, .. })));
        }
        assert!(matches!(
            DoubleScales::quantize(&x),
            Err(Error::NotFinite { index: 33_333, .. })
        ));
        assert!(int8::Decomposed::new(isa, &x, 100, 6.0).is_err());
    }
    // Beyond f16, in which int8 rows are coded.
    let got = int8::quantize(isa, None, &[1.0, 7e4], 2, &mut [0; 2], &mut [0.0]);
    assert!(matches!(got, Err(Error::NotFinite { index: 1, .. })));
    assert!(int8::quantize(isa, None, &[1.0; 5], 2, &mut [0; 5], &mut [0.0; 2]).is_err());
    assert!(int8::quantize(isa, None, &[1.0; 4], 0, &mut [0; 4], &mut [0.0; 2]).is_err());
    assert!(DoubleScales::new(vec![0; 257], vec![0.0], 0.0).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every tier gives the same bits, and every value comes back as the nearest of its block.
    #[test]
    fn four_bit_is_nearest_and_alike_on_all_tiers(
        x in prop::collection::vec(-8.0f32..8.0, 1..700),
        size in 5u32..10,
        fp4 in any::<bool>(),
    ) {
        let code = if fp4 { FourBit::Fp4 } else { FourBit::Nf4 };
        let block = 1usize << size;
        let run = |isa| {
            let (mut packed, mut scales) = (vec![0; x.len().div_ceil(2)], vec![0.0; x.len().div_ceil(block)]);
            code.quantize(isa, None, block, &x, &mut packed, &mut scales).unwrap();
            let mut back = vec![0.0; x.len()];
            code.dequantize(isa, None, block, &packed, &scales, &mut back).unwrap();
            (packed, bits(&scales), back)
        };
        let (packed, scales, back) = run(Isa::Scalar);
        for isa in Isa::available() {
            let (p, s, b) = run(isa);
            prop_assert_eq!((&p, &s, bits(&b)), (&packed, &scales, bits(&back)), "{}", isa);
        }
        for (i, (&x, &y)) in x.iter().zip(&back).enumerate() {
            let scale = f32::from_bits(scales[i / block]);
            let nearest = code.table().iter().map(|c| (c * scale - x).abs()).fold(f32::MAX, f32::min);
            prop_assert!((y - x).abs() <= nearest + 1e-6 * scale);
        }
    }
}

/// A product with a matrix on one tier and `threads` threads.
fn product(weights: &Matrix, x: &[f32], threads: usize) -> Vec<f32> {
    let pool = Pool::new(NonZeroUsize::new(threads).unwrap());
    let (k, n) = (weights.cols(), weights.rows());
    let m = x.len() / k;
    let mut acts = Acts::new();
    acts.prepare(&pool, weights.isa(), x, m, k, &[weights])
        .unwrap();
    let mut out = vec![f32::NAN; m * n];
    matmul(&pool, &acts, &mut [Job::new(weights, &mut out)]).unwrap();
    out
}

/// Asserts that rows alone, together and on several threads give the same bits, and that these
/// are within `relative` of the exact products with `w`.
fn check_products(weights: &Matrix, x: &[f32], w: &[f32], relative: f64) {
    let (n, k) = (weights.rows(), weights.cols());
    let all = product(weights, x, 1);
    assert_eq!(bits(&all), bits(&product(weights, x, 3)), "threads");
    for (i, row) in x.chunks_exact(k).enumerate() {
        assert_eq!(
            bits(&product(weights, row, 2)),
            bits(&all[i * n..][..n]),
            "row {i}"
        );
    }
    for (i, got) in all.iter().enumerate() {
        let (x, w) = (&x[i / n * k..][..k], &w[i % n * k..][..k]);
        let terms = || x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
        let norm = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let difference = (f64::from(*got) - terms().sum::<f64>()).abs();
        let allowed = relative * norm(x) * norm(w) + 1e-6;
        assert!(
            difference <= allowed,
            "{}, element {i}: off by {difference}",
            weights.isa()
        );
    }
}

#[test]
fn four_bit_matrices_multiply_what_they_decode_to() {
    let pool = Pool::new(NonZeroUsize::new(2).unwrap());
    for (code, block, n, k, m) in [
        (FourBit::Nf4, 64, 100, 448, 13),
        (FourBit::Fp4, 64, 16, 64, 1),
        (FourBit::Nf4, 128, 3, 640, 5),
        (FourBit::Nf4, 32, 33, 96, 4),
        (FourBit::Nf4, 1024, 5, 2048, 2),
    ] {
        let w = values(&format!("matrix-{n}-{k}"), n * k);
        let x = values(&format!("acts-{m}-{k}"), m * k);
        for isa in Isa::available() {
            let (mut packed, mut scales) = (vec![0; n * k / 2], vec![0.0; n * k / block]);
            code.quantize(isa, None, block, &w, &mut packed, &mut scales)
                .unwrap();
            let mut back = vec![0.0; n * k];
            code.dequantize(isa, None, block, &packed, &scales, &mut back)
                .unwrap();
            let parts = (&packed[..], &scales[..]);
            let weights = Matrix::pack_four_bit(isa, code, block, parts, (n, k), &pool).unwrap();
            assert_eq!(weights.format_name(), code.name());
            assert_eq!(
                weights.bytes(),
                n.next_multiple_of(16) * (k / 2 + k / block * 4)
            );
            check_products(&weights, &x, &back, 1e-6);
            // One column at a time: the decoded weights themselves.
            let mut one = vec![0.0; k];
            for column in [0, 1, 7, 8, 63, k / 2, k - 1] {
                one.fill(0.0);
                one[column.min(k - 1)] = 1.0;
                let got = product(&weights, &one, 1);
                let want: Vec<f32> = back.chunks(k).map(|r| r[column.min(k - 1)] + 0.0).collect();
                assert_eq!(got, want, "{isa}, column {column}");
            }
        }
    }
}

#[test]
fn int8_matrices_multiply_with_exact_integer_sums() {
    let pool = Pool::new(NonZeroUsize::new(2).unwrap());
    for (n, k, m) in [(100, 448, 13), (16, 32, 1), (3, 1024, 5)] {
        let w = values(&format!("int8-{n}-{k}"), n * k);
        let x = values(&format!("acts-{m}-{k}"), m * k);
        for isa in Isa::available() {
            let (mut codes, mut scales) = (vec![0; n * k], vec![0.0; n]);
            int8::quantize(isa, None, &w, k, &mut codes, &mut scales).unwrap();
            let mut back = vec![0.0; n * k];
            int8::dequantize(&codes, k, &scales, &mut back).unwrap();
            let weights = Matrix::pack_int8(isa, (&codes, &scales), (n, k), &pool).unwrap();
            assert_eq!(weights.format_name(), "int8");
            assert!(
                weights.bytes() >= n * k
                    && weights.bytes()
                        <= n.next_multiple_of(16) * (k.next_multiple_of(128) * 34 / 32 + 4)
            );
            check_products(&weights, &x, &back, 5e-3);
        }
    }
}

#[test]
fn matrices_that_do_not_fit_are_refused() {
    let pool = Pool::new(NonZeroUsize::MIN);
    let four = |packed: usize, scales: usize, block: usize, shape: (usize, usize)| {
        let parts = (&vec![0u8; packed][..], &vec![0f32; scales][..]);
        Matrix::pack_four_bit(Isa::Scalar, FourBit::Nf4, block, parts, shape, &pool).map(|_| ())
    };
    assert_eq!(four(64, 2, 64, (2, 64)), Ok(()));
    assert_eq!(four(0, 0, 64, (0, 64)), Ok(()));
    assert!(matches!(
        four(48, 2, 64, (1, 96)),
        Err(Error::Block {
            block: 64,
            cols: 96,
            ..
        })
    ));
    assert!(matches!(
        four(63, 2, 64, (2, 64)),
        Err(Error::Length { .. })
    ));
    assert!(matches!(
        four(64, 1, 64, (2, 64)),
        Err(Error::Length { .. })
    ));
    assert!(matches!(
        four(0, 0, 64, (usize::MAX, 64)),
        Err(Error::TooLarge { .. })
    ));
    assert!(matches!(
        four(0, 0, 48, (1, 48)),
        Err(Error::BlockSize { found: 48 })
    ));
    let int8 = |codes: usize, scales: usize, shape: (usize, usize)| {
        let parts = (&vec![1i8; codes][..], &vec![0f32; scales][..]);
        Matrix::pack_int8(Isa::Scalar, parts, shape, &pool).map(|_| ())
    };
    assert_eq!(int8(64, 2, (2, 32)), Ok(()));
    assert!(matches!(int8(66, 2, (2, 33)), Err(Error::Block { .. })));
    assert!(matches!(int8(64, 1, (2, 32)), Err(Error::Length { .. })));
    assert!(matches!(int8(63, 2, (2, 32)), Err(Error::Length { .. })));
}
