//! Blocks and values of the `gguf` package (`../fixtures/make_gguf.py`).

use proptest::prelude::*;
use ropewalk_gguf::{TensorType, dequantize, dequantizer, quantize};

const DEQUANT: &[u8] = include_bytes!("../fixtures/dequant.bin");
const DEQUANT_IQ: &[u8] = include_bytes!("../fixtures/dequant_iq.bin");
const QUANT: &[u8] = include_bytes!("../fixtures/quant.bin");

pub(crate) struct Take(pub(crate) &'static [u8]);

impl Take {
    pub(crate) fn bytes(&mut self, n: usize) -> &'static [u8] {
        let (head, rest) = self.0.split_at(n);
        self.0 = rest;
        head
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes(4).try_into().unwrap())
    }

    fn f32s(&mut self, n: usize) -> Vec<f32> {
        let (chunks, _) = self.bytes(4 * n).as_chunks::<4>();
        chunks.iter().map(|x| f32::from_le_bytes(*x)).collect()
    }
}

#[test]
fn dequantised_values_equal_the_reference_bit_for_bit() {
    assert_eq!(compare_dequantised(DEQUANT), 19);
    assert_eq!(compare_dequantised(DEQUANT_IQ), 7);
}

fn compare_dequantised(fixture: &'static [u8]) -> usize {
    let mut take = Take(fixture);
    let mut types = 0;
    while !take.0.is_empty() {
        let ty = TensorType::from_u32(take.u32()).unwrap();
        let (n_bytes, n_values) = (take.u32() as usize, take.u32() as usize);
        let (blocks, expected) = (take.bytes(n_bytes), take.f32s(n_values));
        // Every alignment of the source gives the same values.
        for shift in 0..4 {
            let mut moved = vec![0; shift];
            moved.extend_from_slice(blocks);
            let mut out = vec![f32::NAN; n_values];
            dequantize(ty, &moved[shift..], &mut out).unwrap();
            for (i, (a, b)) in out.iter().zip(&expected).enumerate() {
                assert_eq!(a.to_bits(), b.to_bits(), "{ty} value {i}: {a} is not {b}");
            }
        }
        types += 1;
    }
    types
}

#[test]
fn quantised_bytes_equal_the_reference() {
    let mut take = Take(QUANT);
    let mut types = 0;
    while !take.0.is_empty() {
        let ty = TensorType::from_u32(take.u32()).unwrap();
        let (n_bytes, n_values) = (take.u32() as usize, take.u32() as usize);
        let (values, expected) = (take.f32s(n_values), take.bytes(n_bytes));
        let bytes = quantize(ty, &values).unwrap();
        for (i, (ours, theirs)) in bytes
            .chunks(ty.type_size())
            .zip(expected.chunks(ty.type_size()))
            .enumerate()
        {
            assert_eq!(ours, theirs, "{ty} block {i}");
        }
        assert_eq!(bytes.len(), expected.len());
        types += 1;
    }
    assert_eq!(types, 7);
}

#[test]
fn plain_and_activation_types_convert() {
    let check = |ty, bytes: &[u8], expected: &[f32]| {
        let mut out = vec![0.0; expected.len()];
        dequantize(ty, bytes, &mut out).unwrap();
        assert_eq!(out, expected, "{ty}");
    };
    check(TensorType::F64, &1.1_f64.to_le_bytes(), &[1.1]);
    check(TensorType::I8, &[0x80, 1], &[-128.0, 1.0]);
    check(TensorType::I16, &(-3_i16).to_le_bytes(), &[-3.0]);
    check(
        TensorType::I32,
        &(1_i32 << 30).to_le_bytes(),
        &[1_073_741_824.0],
    );

    let mut q1_0 = vec![0x00, 0x38]; // scale 0.5
    q1_0.extend([0b1000_0001; 16]);
    let expected: Vec<f32> = (0..128)
        .map(|i| if matches!(i % 8, 0 | 7) { 0.5 } else { -0.5 })
        .collect();
    check(TensorType::Q1_0, &q1_0, &expected);

    let mut q2_0 = vec![0x00, 0x38]; // scale 0.5
    q2_0.extend([0b11_10_01_00; 16]);
    let expected: Vec<f32> = (0..64).map(|i| 0.5 * ((i % 4) as f32 - 1.0)).collect();
    check(TensorType::Q2_0, &q2_0, &expected);

    let mut q8_1 = vec![0x00, 0x38, 0xff, 0xff]; // scale 0.5, a sum that is not read
    q8_1.extend((0..32).map(|i| (i - 16) as u8));
    let expected: Vec<f32> = (0..32).map(|i| 0.5 * (i - 16) as f32).collect();
    check(TensorType::Q8_1, &q8_1, &expected);

    let mut q8_k = 0.25_f32.to_le_bytes().to_vec();
    q8_k.extend((0..=255_u8).map(|i| i.wrapping_sub(128)));
    q8_k.extend([0xff; 32]);
    let expected: Vec<f32> = (0..256).map(|i| 0.25 * (i - 128) as f32).collect();
    check(TensorType::Q8_K, &q8_k, &expected);
}

#[test]
fn lengths_and_unsupported_types_are_refused() {
    let text = |ty, bytes: &[u8], n| {
        dequantize(ty, bytes, &mut vec![0.0; n])
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        text(TensorType::Q4_K, &[0; 144], 255),
        "values in whole Q4_K blocks: 255 given, 256 expected"
    );
    assert_eq!(
        text(TensorType::Q4_K, &[0; 143], 256),
        "bytes of 256 Q4_K values: 143 given, 144 expected"
    );
    assert!(text(TensorType::I64, &[0; 8], 1).starts_with("cannot dequantise I64; convert"));
    assert!(dequantizer(TensorType::I64).is_none());

    // The bare function never panics, whatever it is given.
    for &ty in TensorType::ALL {
        let Some(convert) = dequantizer(ty) else {
            assert_eq!(ty, TensorType::I64);
            continue;
        };
        for (n_bytes, n_values) in [(0, 0), (1, 300), (300, 1), (2 * ty.type_size() + 1, 511)] {
            convert(&vec![0xa5; n_bytes], &mut vec![0.0; n_values]);
        }
    }
}

#[test]
fn values_that_do_not_fit_are_named() {
    let text = |ty, values: &[f32]| quantize(ty, values).unwrap_err().to_string();
    let mut values = vec![1.0; 32];
    values[7] = f32::NAN;
    assert_eq!(
        text(TensorType::Q8_0, &values),
        "value NaN at index 7 does not fit Q8_0; \
         scale or clean the tensor, or store it as F32 or BF16"
    );
    values[7] = 1e6;
    assert!(text(TensorType::Q4_0, &values).starts_with("value 1000000 at index 7"));
    assert!(text(TensorType::F16, &values).contains("does not fit F16"));
    assert!(quantize(TensorType::BF16, &values).is_ok());
    values[7] = f32::INFINITY;
    assert_eq!(
        quantize(TensorType::F16, &values).unwrap()[14..16],
        [0x00, 0x7c]
    );
    assert!(text(TensorType::Q6_K, &values).contains("whole Q6_K blocks"));
    assert!(text(TensorType::I8, &[0.0; 32]).starts_with("cannot quantise to I8"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_block_has_values(bytes in prop::collection::vec(any::<u8>(), 292)) {
        for &ty in TensorType::ALL {
            let n = bytes.len() / ty.type_size();
            let mut out = vec![0.5; n * ty.block_size()];
            let done = dequantize(ty, &bytes[..n * ty.type_size()], &mut out);
            prop_assert_eq!(done.is_ok(), ty != TensorType::I64);
        }
    }
}
