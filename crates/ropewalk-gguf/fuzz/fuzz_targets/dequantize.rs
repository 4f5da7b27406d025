//! Arbitrary bytes as blocks of any type: values, of which no panic comes; and arbitrary finite
//! values as the source of any type: blocks that are finite again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ropewalk_gguf::{TensorType, dequantize, dequantizer, quantize_with};

fuzz_target!(|data: &[u8]| {
    let Some((&pick, data)) = data.split_first() else { return };
    let ty = TensorType::ALL[usize::from(pick) % TensorType::ALL.len()];
    if let Some(convert) = dequantizer(ty) {
        convert(data, &mut [0.0; 300]);
        let n = data.len() / ty.type_size() * ty.block_size();
        let mut out = vec![0.0; n];
        let whole = n / ty.block_size() * ty.type_size();
        dequantize(ty, &data[..whole], &mut out).expect("whole blocks");
    }
    let numbers: Vec<f32> = data.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
    let (values, weights) = numbers.split_at(numbers.len() / 2);
    let columns = 256;
    let mut values = values.to_vec();
    values.resize(values.len().next_multiple_of(columns), 0.0);
    let mut weights = weights.to_vec();
    weights.resize(columns, 1.0);
    for importance in [None, Some(&weights[..])] {
        let Ok(blocks) = quantize_with(ty, &values, columns, importance) else { continue };
        if !ty.is_quantized() {
            continue;
        }
        let mut back = vec![0.0; values.len()];
        dequantize(ty, &blocks, &mut back).expect("what is coded can be decoded");
        assert!(back.iter().all(|x| x.is_finite()), "{ty}");
    }
});
