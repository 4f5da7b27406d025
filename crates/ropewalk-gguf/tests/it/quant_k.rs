//! The encoders of Q4_0 to Q6_K against blocks of llama.cpp, without and with importance
//! (`../fixtures/make_quant_iq.py`).

use proptest::prelude::*;
use ropewalk_gguf::{TensorType, dequantize, quantize_with};

use crate::golden::Take;
use crate::quant_iq::{COLUMNS, importance, number, rmse, values, weight};

const QUANT_K: &[u8] = include_bytes!("../fixtures/quant_k.bin");

const TYPES: [TensorType; 10] = [
    TensorType::Q4_0,
    TensorType::Q4_1,
    TensorType::Q5_0,
    TensorType::Q5_1,
    TensorType::Q8_0,
    TensorType::Q2_K,
    TensorType::Q3_K,
    TensorType::Q4_K,
    TensorType::Q5_K,
    TensorType::Q6_K,
];

fn values_of(ty: TensorType, blocks: &[u8], n: usize) -> Vec<f32> {
    let mut y = vec![0.0; n];
    dequantize(ty, blocks, &mut y).unwrap();
    y
}

#[test]
fn bytes_equal_those_of_llama_cpp() {
    let (x, w) = (values(), importance());
    let mut take = Take(QUANT_K);
    let mut cases = 0;
    while !take.0.is_empty() {
        let ty = TensorType::from_u32(take.u32()).unwrap();
        let weighted = take.u32() == 1;
        let n_bytes = take.u32() as usize;
        let theirs = take.bytes(n_bytes);
        let ours = quantize_with(ty, &x, COLUMNS, weighted.then_some(&w[..])).unwrap();
        let equal = ours.iter().zip(theirs).filter(|(a, b)| a == b).count();
        assert_eq!((ours.len(), equal), (n_bytes, n_bytes), "{ty} {weighted}");
        cases += 1;
    }
    assert_eq!(cases, 2 * TYPES.len());
}

#[test]
fn a_fine_search_is_even_importance() {
    let x = &values()[1024..];
    let ones = vec![1.0; COLUMNS];
    for ty in TYPES.into_iter().filter(|&ty| ty != TensorType::Q8_0) {
        let error = |w: Option<&[f32]>| {
            let blocks = quantize_with(ty, x, COLUMNS, w).unwrap();
            rmse(x, &values_of(ty, &blocks, x.len()))
        };
        let (fine, plain) = (error(Some(&ones)), error(None));
        // Weights that grow with the value suit Q5_K better here.
        let limit = if ty == TensorType::Q5_K { 1.02 } else { 1.0 };
        assert!(fine < limit * plain, "{ty}: {fine} {plain}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_is_coded_has_finite_values(
        x in prop::collection::vec(number(), 512),
        w in prop::option::of(prop::collection::vec(weight(), 256)),
    ) {
        for ty in TYPES {
            let bytes = quantize_with(ty, &x, 256, w.as_deref()).unwrap();
            let y = values_of(ty, &bytes, 512);
            let bad = y.iter().position(|y| !y.is_finite());
            prop_assert!(bad.is_none(), "{} {:?}", ty, bad);
        }
    }
}
