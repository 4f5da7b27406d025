use std::num::NonZeroUsize;

use super::*;
use crate::ops;
use crate::testing::{properties, random};

/// Weights as bytes of a format, and the values those bytes stand for.
fn weights(format: Format, n: usize, k: usize) -> (Vec<u8>, Vec<f32>) {
    let values = random(11, n * k);
    let isa = Isa::Scalar;
    let (mut half, mut back) = (vec![0u16; n * k], vec![0.0; n * k]);
    match format {
        Format::F32 => {
            return (
                values.iter().flat_map(|x| x.to_le_bytes()).collect(),
                values,
            );
        }
        Format::F16 => {
            ops::f32_to_f16(isa, &values, &mut half).unwrap();
            ops::f16_to_f32(isa, &half, &mut back).unwrap();
        }
        _ => {
            ops::f32_to_bf16(isa, &values, &mut half).unwrap();
            ops::bf16_to_f32(isa, &half, &mut back).unwrap();
        }
    }
    (half.iter().flat_map(|x| x.to_le_bytes()).collect(), back)
}

fn pack(format: Format, src: &[u8], n: usize, k: usize) -> DenseMatrix {
    // Source bytes of a mapped file have any alignment.
    let mut shifted = vec![0u8];
    shifted.extend_from_slice(src);
    let pool = Pool::new(NonZeroUsize::new(2).unwrap());
    DenseMatrix::pack(format, &shifted[1..], n, k, &pool)
        .unwrap()
        .unwrap()
}

fn multiply(w: &DenseMatrix, isa: Isa, x: &[f32], m: usize, cuts: &[usize]) -> Vec<f32> {
    let mut out = vec![f32::NAN; m * w.n];
    let output = Output {
        start: out.as_mut_ptr(),
        stride: w.n,
    };
    for cut in cuts.windows(2) {
        // SAFETY: the tests use available tiers and whole operands.
        unsafe { w.mul_tiles(isa, x, m, cut[0]..cut[1], output) };
    }
    out
}

const FORMATS: [Format; 3] = [Format::F32, Format::F16, Format::BF16];
const SHAPES: [(usize, usize); 8] = [
    (1, 1),
    (16, 8),
    (17, 20),
    (50, 172),
    (33, 193),
    (96, 400),
    (129, 64),
    (40, 1030),
];

#[test]
fn equals_the_reference() {
    for format in FORMATS {
        for (n, k) in SHAPES {
            let (bytes, values) = weights(format, n, k);
            let w = pack(format, &bytes, n, k);
            for m in [1, 2, 3, 4, 5, 9, 17] {
                let x = random(12, m * k);
                for isa in Isa::available() {
                    let got = multiply(&w, isa, &x, m, &[0, w.tiles()]);
                    for i in 0..m {
                        for j in 0..n {
                            let terms = x[i * k..][..k].iter().zip(&values[j * k..][..k]);
                            let terms = terms.map(|(&x, &w)| f64::from(x) * f64::from(w));
                            let want: f64 = terms.clone().sum();
                            let size: f64 = terms.map(f64::abs).sum();
                            let error = (f64::from(got[i * n + j]) - want).abs();
                            assert!(error <= 1e-6 * size, "{format:?} {isa:?} [{n}, {k}] m={m}");
                        }
                    }
                }
            }
        }
    }
}

fn check_identity(format: Format, n: usize, k: usize) {
    let (bytes, _) = weights(format, n, k);
    let w = pack(format, &bytes, n, k);
    let m = 19;
    let x = random(13, m * k);
    for isa in Isa::available() {
        let all = multiply(&w, isa, &x, m, &[0, w.tiles()]);
        let each: Vec<usize> = (0..=w.tiles()).collect();
        assert_eq!(all, multiply(&w, isa, &x, m, &each), "tile by tile");
        let mut first = 0;
        for rows in [1, 2, 3, 4, 5, 1, 3] {
            let part = &x[first * k..][..rows * k];
            let got = multiply(&w, isa, part, rows, &[0, w.tiles()]);
            let want = &all[first * n..][..rows * n];
            let same = want
                .iter()
                .zip(&got)
                .all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{format:?} {isa:?} [{n}, {k}] rows {rows}");
            first += rows;
        }
    }
}

#[test]
fn rows_and_ranges_do_not_change_a_bit() {
    for format in FORMATS {
        for (n, k) in SHAPES {
            check_identity(format, n, k);
        }
    }
    properties(
        12,
        &(0usize..3, 1usize..150, 1usize..600),
        |(format, n, k)| {
            check_identity(FORMATS[format], n, k);
        },
    );
}

#[test]
fn an_empty_row_gives_zero() {
    let w = pack(Format::F16, &[], 20, 0);
    assert_eq!(multiply(&w, Isa::best(), &[], 2, &[0, 2]), [0.0; 40]);
}

#[test]
fn refuses_wrong_sizes() {
    let pool = Pool::new(NonZeroUsize::MIN);
    let pack = |format, len: usize, n, k| DenseMatrix::pack(format, &vec![0; len], n, k, &pool);
    assert!(pack(Format::Q4_K, 0, 0, 0).is_none());
    assert!(matches!(
        pack(Format::F32, 15, 2, 2),
        Some(Err(Error::Length { .. }))
    ));
    assert!(matches!(
        pack(Format::F16, 8, usize::MAX, 2),
        Some(Err(Error::TooLarge { .. }))
    ));
    assert!(matches!(pack(Format::BF16, 8, 2, 2), Some(Ok(_))));
}
