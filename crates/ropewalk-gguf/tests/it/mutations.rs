//! Random damage to valid files: an error or a file whose every tensor can be read, no panic, and
//! memory in proportion to the file.

use proptest::prelude::*;
use ropewalk_gguf::{Gguf, TensorInfo, TensorType, Writer};

use crate::allocations::peak;
use crate::sample::SAMPLE;

#[derive(Clone, Debug)]
enum Damage {
    Flip { at: usize, bit: u8 },
    Byte { at: usize, value: u8 },
    Word { at: usize, value: u64 },
    Cut { at: usize },
    Remove { at: usize, n: usize },
    Repeat { at: usize, n: usize },
}

fn damage() -> impl Strategy<Value = Damage> {
    // Most of the interesting bytes are in the header.
    let at = prop_oneof![3 => 0..1500_usize, 1 => 0..SAMPLE.len()];
    let word = prop_oneof![
        Just(u64::MAX),
        Just(1 << 63),
        Just(1 << 32),
        Just(0),
        any::<u64>(),
        0..300_u64
    ];
    prop_oneof![
        (at.clone(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        (at.clone(), any::<u8>()).prop_map(|(at, value)| Damage::Byte { at, value }),
        (at.clone(), word).prop_map(|(at, value)| Damage::Word { at, value }),
        at.clone().prop_map(|at| Damage::Cut { at }),
        (at.clone(), 1..40_usize).prop_map(|(at, n)| Damage::Remove { at, n }),
        (at, 1..40_usize).prop_map(|(at, n)| Damage::Repeat { at, n }),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let clamp = |at: usize| at.min(bytes.len());
    match *damage {
        Damage::Flip { at, bit } => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        Damage::Byte { at, value } => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        Damage::Word { at, value } => {
            if let Some(word) = bytes.get_mut(at..at + 8) {
                word.copy_from_slice(&value.to_le_bytes());
            }
        }
        Damage::Cut { at } => bytes.truncate(at),
        Damage::Remove { at, n } => drop(bytes.drain(clamp(at)..clamp(at + n))),
        Damage::Repeat { at, n } => {
            let copy = bytes[clamp(at)..clamp(at + n)].to_vec();
            let at = clamp(at);
            drop(bytes.splice(at..at, copy));
        }
    }
}

/// Reads everything that can be read.
fn exhaust(file: &Gguf) {
    for tensor in file.iter() {
        assert_eq!(tensor.data.len(), tensor.info.n_bytes());
        assert_eq!(file.tensor(&tensor.info.name).unwrap().info, tensor.info);
        if let Ok(values) = tensor.to_f32() {
            assert_eq!(values.len(), tensor.info.n_elements());
        }
        let mut row = vec![0.0; tensor.info.cols().min(1 << 16)];
        drop(tensor.row_f32(0, &mut row));
    }
    for (key, value) in file.metadata() {
        assert_eq!(file.metadata().get(key).unwrap().ty(), value.ty());
    }
}

/// A file with two blocks of each type.
fn every_type() -> Vec<u8> {
    let mut writer = Writer::new();
    for &ty in TensorType::ALL {
        let shape = [2, ty.block_size()];
        let info = TensorInfo::from_shape(ty.name(), &shape, ty).unwrap();
        writer.tensor(info).unwrap();
    }
    let mut out = writer.begin(Vec::new()).unwrap();
    for &ty in TensorType::ALL {
        let data: Vec<u8> = (0..2 * ty.type_size())
            .map(|i| (i * 37 + 11) as u8)
            .collect();
        out.tensor_data(ty.name(), &data).unwrap();
    }
    out.finish().unwrap()
}

#[test]
fn every_type_is_read_from_a_file() {
    let file = Gguf::from_bytes(every_type()).unwrap();
    for tensor in file.iter() {
        let values = tensor.to_f32();
        assert_eq!(values.is_ok(), tensor.info.ty != TensorType::I64);
    }
    exhaust(&file);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn damaged_tensors_of_every_type_are_refused_or_read(
        list in prop::collection::vec((0..5000_usize, any::<u8>()), 1..20),
    ) {
        let mut bytes = every_type();
        for (at, value) in list {
            apply(&mut bytes, &Damage::Byte { at, value });
        }
        if let Ok(file) = Gguf::from_bytes(bytes) {
            exhaust(&file);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn damaged_files_are_refused_or_read(list in prop::collection::vec(damage(), 1..4)) {
        let mut bytes = SAMPLE.to_vec();
        for damage in &list {
            apply(&mut bytes, damage);
        }
        let len = bytes.len();
        let shared: std::sync::Arc<[u8]> = bytes.into();
        let (result, allocated) = peak(|| Gguf::from_bytes(shared));
        prop_assert!(allocated <= 16 * len + 65_536, "{allocated} bytes for a file of {len}");
        match result {
            Ok(file) => exhaust(&file),
            Err(error) => prop_assert!(!error.to_string().contains('\n')),
        }
    }
}
