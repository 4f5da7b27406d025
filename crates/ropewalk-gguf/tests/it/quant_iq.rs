//! The encoders with code books, tables and three levels, against blocks of llama.cpp
//! (`../fixtures/make_quant_iq.py`).

use proptest::prelude::*;
use ropewalk_gguf::{
    Error, TensorType, can_quantize, dequantize, quantize, quantize_with, requires_importance,
};

use crate::golden::Take;

const QUANT_IQ: &[u8] = include_bytes!("../fixtures/quant_iq.bin");
pub(crate) const COLUMNS: usize = 512;

/// The types that are tested here.
const TYPES: [TensorType; 15] = [
    TensorType::IQ1_S,
    TensorType::IQ1_M,
    TensorType::IQ2_XXS,
    TensorType::IQ2_XS,
    TensorType::IQ2_S,
    TensorType::IQ3_XXS,
    TensorType::IQ3_S,
    TensorType::IQ4_NL,
    TensorType::IQ4_XS,
    TensorType::MXFP4,
    TensorType::NVFP4,
    TensorType::TQ1_0,
    TensorType::TQ2_0,
    TensorType::Q1_0,
    TensorType::Q2_0,
];

struct Generator(u32);

impl Generator {
    fn next(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) % n
    }
}

/// Eight rows: zeros and a constant, three values, then blocks of nearly normal ones of many sizes.
pub(crate) fn values() -> Vec<f32> {
    let mut g = Generator(7);
    let mut x = [vec![0.0; 256], vec![0.25; 256]].concat();
    x.extend((0..COLUMNS).map(|_| (g.next(3) as f32 - 1.0) * 0.5));
    for _ in 0..6 * COLUMNS / 32 {
        let scale = 2.0_f32.powi(g.next(6) as i32 - 14);
        for _ in 0..32 {
            let sum: u32 = (0..4).map(|_| g.next(256)).sum();
            x.push((sum as f32 - 510.0) * scale);
        }
    }
    x
}

pub(crate) fn importance() -> Vec<f32> {
    let mut g = Generator(11);
    let product = |g: &mut Generator| g.next(256) * g.next(256) + 1;
    (0..COLUMNS)
        .map(|_| product(&mut g) as f32 / 65536.0)
        .collect()
}

fn round_trip(ty: TensorType, x: &[f32], importance: Option<&[f32]>) -> Vec<f32> {
    let bytes = quantize_with(ty, x, x.len(), importance).unwrap();
    let mut out = vec![0.0; x.len()];
    dequantize(ty, &bytes, &mut out).unwrap();
    out
}

pub(crate) fn rmse(x: &[f32], y: &[f32]) -> f32 {
    let sum: f32 = x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum();
    (sum / x.len() as f32).sqrt()
}

#[test]
fn bytes_equal_those_of_llama_cpp() {
    let (x, w) = (values(), importance());
    let mut take = Take(QUANT_IQ);
    let mut cases = Vec::new();
    while !take.0.is_empty() {
        let ty = TensorType::from_u32(take.u32()).unwrap();
        let weighted = take.u32() == 1;
        let n_bytes = take.u32() as usize;
        let expected = take.bytes(n_bytes);
        let bytes = quantize_with(ty, &x, COLUMNS, weighted.then_some(&w[..])).unwrap();
        let blocks = bytes.chunks(ty.type_size());
        for (i, (ours, theirs)) in blocks.zip(expected.chunks(ty.type_size())).enumerate() {
            assert_eq!(ours, theirs, "{ty} block {i}, importance {weighted}");
        }
        assert_eq!(bytes.len(), n_bytes);
        cases.push((ty, weighted));
    }
    assert_eq!(cases.len(), 21);
    for ty in TYPES {
        assert!(
            can_quantize(ty) && cases.iter().any(|case| case.0 == ty),
            "{ty}"
        );
    }
}

#[test]
fn types_that_need_importance_say_so() {
    for &ty in TensorType::ALL {
        let result = quantize(ty, &[0.5; 256]);
        let refused = matches!(&result, Err(Error::Importance { .. }));
        assert_eq!(refused, requires_importance(ty), "{ty}");
    }
    assert_eq!(
        quantize(TensorType::IQ2_XS, &[0.5; 256])
            .unwrap_err()
            .to_string(),
        "importance of the values: IQ2_XS cannot be coded without; give a number per column \
         (an importance matrix) or choose IQ1_M, IQ2_S or a larger type"
    );
}

#[test]
fn more_bits_and_importance_lower_the_error() {
    let x = &values()[1024..];
    let ones = vec![1.0; x.len()];
    let ascending = [
        TensorType::IQ1_S,
        TensorType::IQ1_M,
        TensorType::IQ2_XXS,
        TensorType::IQ2_XS,
        TensorType::IQ2_S,
        TensorType::IQ3_XXS,
        TensorType::IQ3_S,
        TensorType::IQ4_XS,
        TensorType::IQ4_NL,
    ];
    let errors = ascending.map(|ty| rmse(x, &round_trip(ty, x, Some(&ones))));
    assert!(errors.is_sorted_by(|a, b| a > b), "{errors:?}");

    // Where only some columns matter, importance makes these better.
    let some: Vec<f32> = (0..x.len())
        .map(|i| f32::from(u8::from(i % 4 == 0)))
        .collect();
    let of_some = |y: Vec<f32>| {
        let kept = |v: &[f32]| v.iter().copied().step_by(4).collect::<Vec<_>>();
        rmse(&kept(x), &kept(&y))
    };
    for ty in [
        TensorType::IQ1_M,
        TensorType::IQ2_S,
        TensorType::IQ3_S,
        TensorType::IQ4_XS,
    ] {
        let (with, without) = (
            of_some(round_trip(ty, x, Some(&some))),
            of_some(round_trip(ty, x, None)),
        );
        assert!(with < without, "{ty}: {with} {without}");
    }
}

/// ggml displaces what follows 32 zeros in a block of IQ3_S; see `quant/iq3.rs`.
#[test]
fn zeros_inside_a_block_keep_their_place() {
    let mut g = Generator(3);
    let x: Vec<f32> = (0..256)
        .map(|i| (g.next(255) as f32 - 127.0) * f32::from(u8::from(i / 32 != 2)))
        .collect();
    for ty in TYPES.into_iter().filter(|&ty| ty != TensorType::Q1_0) {
        let y = round_trip(ty, &x, Some(&[1.0; 256]));
        for (i, (x, y)) in x.chunks(32).zip(y.chunks(32)).enumerate() {
            let (error, limit) = (rmse(x, y), if i == 2 { 10.0 } else { 55.0 });
            assert!(error <= limit, "{ty} group {i}: {error}");
        }
    }
}

pub(crate) fn number() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => -1.0_f32..1.0,
        1 => Just(0.0),
        1 => -65504.0_f32..65504.0,
        1 => -1e-12_f32..1e-12,
        1 => any::<f32>().prop_map(|x| if x.abs() <= 65504.0 { x } else { 65504.0 }),
    ]
}

pub(crate) fn weight() -> impl Strategy<Value = f32> {
    prop_oneof![4 => 0.0_f32..10.0, 1 => Just(0.0), 1 => Just(f32::MAX), 1 => 0.0_f32..1e-30]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_is_coded_has_finite_values(
        x in prop::collection::vec(number(), 512),
        w in prop::option::of(prop::collection::vec(weight(), 256)),
    ) {
        for ty in TYPES {
            if w.is_none() && requires_importance(ty) {
                continue;
            }
            let bytes = quantize_with(ty, &x, 256, w.as_deref()).unwrap();
            let mut y = vec![0.0; 512];
            dequantize(ty, &bytes, &mut y).unwrap();
            let bad = y.iter().position(|y| !y.is_finite());
            prop_assert!(bad.is_none(), "{} {:?}", ty, bad);
        }
    }
}
