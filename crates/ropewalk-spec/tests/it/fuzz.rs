//! Nothing panics on arbitrary input.

use proptest::prelude::*;
use ropewalk_gguf::{Gguf, TensorInfo, TensorType, Value as Meta, Writer};
use ropewalk_spec::testing::TempDir;
use ropewalk_spec::{ModelSpec, NameLayout, SafetensorsDir, TensorSource, describe, memory};
use serde_json::{Value, json};

use crate::fixtures::all;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0_u64..100).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![
            Just("silu"),
            Just("gelu"),
            Just("gelu_new"),
            Just("yarn"),
            Just("longrope"),
            Just("llama3"),
            Just("dynamic")
        ]
        .prop_map(Value::from),
        proptest::collection::vec(any::<f32>(), 0..8).prop_map(|v| json!(v)),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        let key = prop_oneof![
            Just("rope_type"),
            Just("type"),
            Just("factor"),
            Just("rope_theta"),
            Just("original_max_position_embeddings"),
            Just("short_factor"),
            Just("long_factor"),
            Just("partial_rotary_factor"),
        ];
        proptest::collection::btree_map(key, inner, 0..5).prop_map(|m| json!(m))
    })
}

fn meta() -> impl Strategy<Value = Meta> {
    prop_oneof![
        (0_u32..70).prop_map(Meta::from),
        any::<u32>().prop_map(Meta::from),
        any::<i32>().prop_map(Meta::from),
        any::<f32>().prop_map(Meta::from),
        any::<bool>().prop_map(Meta::from),
        prop_oneof![Just("llama"), Just("gelu"), Just("yarn"), Just("gptneo")].prop_map(Meta::from),
        proptest::collection::vec(any::<bool>(), 0..4).prop_map(Meta::from),
        proptest::collection::vec(any::<u32>(), 0..4).prop_map(Meta::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn configurations(which in any::<prop::sample::Index>(), changes in proptest::collection::vec((any::<prop::sample::Index>(), value()), 1..4)) {
        let mut config = which.get(all()).new.clone();
        for (index, value) in changes {
            let keys: Vec<String> = config.as_object().unwrap().keys().cloned().collect();
            let key = index.get(&keys).clone();
            config[key] = value;
        }
        if let Ok(spec) = ModelSpec::from_hf(&config) {
            // What is accepted can be used.
            let rope = &spec.rope;
            let frequencies = rope.inv_freq(spec.max_positions);
            prop_assert_eq!(frequencies.len() * 2, rope.dims);
            prop_assert!(memory(&spec).parameters > 0);
            prop_assert!(describe(&spec).len() > 100);
            for (role, layer) in spec.weights().take(60) {
                prop_assert!(spec.weight(role, layer, NameLayout::Gguf).is_some());
            }
            if let Ok(back) = spec.to_hf() {
                prop_assert!(ModelSpec::from_hf(&back).is_ok(), "{}", back);
            }
        }
    }

    #[test]
    fn metadata(which in any::<prop::sample::Index>(), changes in proptest::collection::vec((any::<prop::sample::Index>(), meta()), 1..4)) {
        let spec = which.get(all()).spec();
        let Ok(keys) = spec.gguf_metadata() else {
            return Ok(());
        };
        let mut writer = Writer::new();
        for (key, value) in &keys {
            writer.set(key.as_str(), value.clone());
        }
        for (index, value) in changes {
            writer.set(index.get(&keys).0.as_str(), value);
        }
        for name in ["token_embd.weight", "blk.0.ffn_gate_inp.weight", "blk.0.ffn_gate_exps.weight"] {
            writer.tensor(TensorInfo::from_shape(name, &[2, 1], TensorType::F32).unwrap()).unwrap();
        }
        let mut out = writer.begin(Vec::new()).unwrap();
        for info in writer.tensors() {
            out.tensor_f32(&info.name, &[1.0; 2]).unwrap();
        }
        let file = Gguf::from_bytes(out.finish().unwrap()).unwrap();
        if let Ok(spec) = ModelSpec::from_gguf(&file) {
            prop_assert!(memory(&spec).parameters > 0);
            prop_assert!(spec.stored_tensors().take(60).count() > 0);
            for (role, layer) in spec.weights().take(60) {
                prop_assert!(spec.weight(role, layer, NameLayout::Gguf).is_some());
            }
        }
    }

    #[test]
    fn safetensors_files(bytes in proptest::collection::vec(any::<u8>(), 0..200), header in "[{}\":,a-z0-9\\[\\]]{0,60}", valid_length in any::<bool>()) {
        let dir = TempDir::new().unwrap();
        let path = dir.join("model.safetensors");
        let mut file = Vec::new();
        if valid_length {
            file.extend_from_slice(&(header.len() as u64).to_le_bytes());
            file.extend_from_slice(header.as_bytes());
        }
        file.extend_from_slice(&bytes);
        std::fs::write(&path, &file).unwrap();
        if let Ok(source) = SafetensorsDir::open(dir.path()) {
            for name in source.names() {
                drop(source.tensor(&name));
            }
        }
    }
}
