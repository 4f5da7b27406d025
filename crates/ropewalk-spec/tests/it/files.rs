//! Directories of safetensors and GGUF files, whole and damaged.

use std::fs;

use ropewalk_gguf::{Gguf, TensorType};
use ropewalk_spec::testing::{Seeded, TempDir};
use ropewalk_spec::{
    Dtype, Error, GgufSource, ModelSpec, NameLayout, Role, SafetensorsDir, StoredTensor,
    TensorSource,
};
use serde_json::{Value, json};

use crate::fixtures::{all, tiny, tiny_with};

fn mixed(t: &StoredTensor) -> Dtype {
    match t.roles[0] {
        Role::Gate | Role::Down => Dtype::Bf16,
        Role::Q | Role::O => Dtype::F16,
        _ => Dtype::F32,
    }
}

/// Every weight through `read` equals the one in memory.
fn same_weights(spec: &ModelSpec, model: &Seeded, found: &dyn TensorSource, tolerance: f32) {
    spec.check(found).unwrap();
    let truth = model.source();
    for (role, layer) in spec.weights().chain([(Role::Head, None)]) {
        let expected = model.spec.read(&truth, role, layer).unwrap().unwrap();
        let actual = spec.read(found, role, layer).unwrap().unwrap();
        assert_eq!(actual.shape, expected.shape, "{role:?}");
        let (actual, expected) = (actual.to_f32().unwrap(), expected.to_f32().unwrap());
        for (a, b) in actual.iter().zip(&expected) {
            assert!((a - b).abs() <= tolerance, "{role:?} of {layer:?}: {a} {b}");
        }
    }
}

#[test]
fn directories_give_back_every_weight() {
    for fixture in all() {
        let model = Seeded::new(fixture.spec(), 11);
        for (shards, dtype, tolerance) in [
            (1, (|_| Dtype::F32) as fn(&StoredTensor) -> Dtype, 0.0),
            (3, mixed, 4e-3),
        ] {
            let dir = TempDir::new().unwrap();
            model.write_hf(dir.path(), dtype, shards).unwrap();
            let spec = ModelSpec::from_dir(dir.path()).unwrap();
            assert_eq!(spec, model.spec, "{}", fixture.name);
            let source = SafetensorsDir::open(dir.path()).unwrap();
            assert_eq!(source.shards(), shards);
            same_weights(&spec, &model, &source, tolerance);
        }
    }
}

/// What metadata say about the block is what was written.
fn same_block(a: &ModelSpec, b: &ModelSpec, name: &str) {
    assert_eq!((a.gated, a.activation), (b.gated, b.activation), "{name}");
    assert_eq!((a.norm, a.norm_place), (b.norm, b.norm_place), "{name}");
    assert_eq!((a.qk_norm, a.residual), (b.qk_norm, b.residual), "{name}");
    assert_eq!(
        (a.positions, &a.rope_layers),
        (b.positions, &b.rope_layers),
        "{name}"
    );
    assert_eq!(a.rope_local, b.rope_local, "{name}");
    assert_eq!(a.attention_scale, b.attention_scale, "{name}");
    assert_eq!(a.attention_softcap, b.attention_softcap, "{name}");
    assert_eq!(a.logit_softcap, b.logit_softcap, "{name}");
    assert_eq!(a.embedding_scale, b.embedding_scale, "{name}");
    assert_eq!(a.residual_scale, b.residual_scale, "{name}");
    assert_eq!(a.logit_scale, b.logit_scale, "{name}");
    assert_eq!(a.experts, b.experts, "{name}");
    assert_eq!(a.rotates(3), b.rotates(3), "{name}");
}

#[test]
fn gguf_files_give_back_every_weight() {
    let mut written = 0;
    for fixture in all() {
        let model = Seeded::new(fixture.spec(), 12);
        let Ok(bytes) = model.gguf(|_| TensorType::F32) else {
            assert!(
                ["llama_dynamic", "qwen2_window"].contains(&fixture.name.as_str()),
                "{}",
                fixture.name
            );
            continue;
        };
        let file = Gguf::from_bytes(bytes).unwrap();
        let spec = ModelSpec::from_gguf(&file).unwrap();
        assert_eq!(
            (spec.layers, spec.head_dim),
            (model.spec.layers, model.spec.head_dim)
        );
        assert_eq!(spec.window, model.spec.window);
        same_block(&spec, &model.spec, &fixture.name);
        assert_eq!(
            (spec.tied, spec.qkv_bias),
            (model.spec.tied, model.spec.qkv_bias)
        );
        assert_eq!(
            (spec.o_bias, spec.mlp_bias),
            (model.spec.o_bias, model.spec.mlp_bias)
        );
        for length in [10, 5000] {
            let pairs = spec
                .rope
                .inv_freq(length)
                .into_iter()
                .zip(model.spec.rope.inv_freq(length));
            for (a, b) in pairs {
                assert!((a / b - 1.0).abs() < 3e-7, "{}: {a} {b}", fixture.name);
            }
        }
        let (a, b) = (
            spec.rope.attention_factor(),
            model.spec.rope.attention_factor(),
        );
        assert!((a - b).abs() < 1e-6, "{}: {a} {b}", fixture.name);
        same_weights(&spec, &model, &GgufSource::new(file), 0.0);
        written += 1;
    }
    assert_eq!(written, all().len() - 2);
}

#[test]
fn packed_rows_keep_their_order() {
    let config = tiny_with(
        "Llama",
        json!({"hidden_size": 256, "intermediate_size": 512}),
    );
    let model = Seeded::new(ModelSpec::from_hf(&config).unwrap(), 3);
    let packed = |t: &StoredTensor| match t.roles[0] {
        // Heads of 12 features: 48 columns are no whole block.
        Role::O => TensorType::F16,
        _ => TensorType::Q4_K,
    };
    let open = |bytes: Vec<u8>| GgufSource::new(Gguf::from_bytes(bytes).unwrap());
    let coded = open(model.gguf(packed).unwrap());
    let decoded = open(model.gguf_dequantized(packed).unwrap());
    let spec = ModelSpec::from_gguf(coded.gguf()).unwrap();
    for (role, layer) in spec.weights() {
        let a = spec.read(&coded, role, layer).unwrap().unwrap();
        let b = spec.read(&decoded, role, layer).unwrap().unwrap();
        assert_eq!(b.ty, TensorType::F32);
        assert_eq!(a.to_f32().unwrap(), b.to_f32().unwrap(), "{role:?}");
    }
}

#[test]
fn generation_settings_add_tokens_that_end() {
    let dir = TempDir::new().unwrap();
    let config = tiny_with("Llama", json!({"eos_token_id": 2}));
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    fs::write(
        dir.join("generation_config.json"),
        r#"{"eos_token_id": [7, 2]}"#,
    )
    .unwrap();
    assert_eq!(ModelSpec::from_dir(dir.path()).unwrap().eos_ids, [2, 7]);
    fs::write(dir.join("generation_config.json"), "{").unwrap();
    let message = ModelSpec::from_dir(dir.path()).unwrap_err().to_string();
    assert!(
        message.contains("generation_config.json is not valid JSON"),
        "{message}"
    );
}

/// A directory with a small model in two shards.
fn sharded() -> (TempDir, ModelSpec) {
    let dir = TempDir::new().unwrap();
    let model = Seeded::new(ModelSpec::from_hf(&tiny("Llama")).unwrap(), 5);
    model.write_hf(dir.path(), |_| Dtype::F32, 2).unwrap();
    (dir, model.spec)
}

const SHARD: &str = "model-00002-of-00002.safetensors";

#[test]
fn damaged_directories_are_refused_by_name() {
    let open = |dir: &TempDir| SafetensorsDir::open(dir.path()).unwrap_err().to_string();

    let empty = TempDir::new().unwrap();
    assert!(
        open(&empty).contains("has neither `model.safetensors` nor"),
        "{}",
        open(&empty)
    );
    let message = ModelSpec::from_dir(empty.path()).unwrap_err().to_string();
    assert!(
        message.starts_with("cannot read ") && message.ends_with("config.json"),
        "{message}"
    );

    let (dir, _) = sharded();
    let whole = fs::read(dir.join(SHARD)).unwrap();
    fs::write(dir.join(SHARD), &whole[..whole.len() - 1]).unwrap();
    assert!(open(&dir).contains("is not a complete safetensors file"));
    for length in [0, 7, 8, 40] {
        fs::write(dir.join(SHARD), &whole[..length]).unwrap();
        assert!(open(&dir).contains(SHARD));
    }
    let mut huge = whole.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(dir.join(SHARD), huge).unwrap();
    assert!(open(&dir).contains("is not a complete safetensors file"));
    fs::remove_file(dir.join(SHARD)).unwrap();
    assert!(open(&dir).contains("lists the shard `model-00002-of-00002.safetensors`, which is"));
}

#[test]
fn damaged_indices_are_refused_by_name() {
    let edit = |change: fn(&mut Value)| {
        let (dir, _) = sharded();
        let path = dir.join("model.safetensors.index.json");
        let mut index = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut index);
        fs::write(&path, index.to_string()).unwrap();
        SafetensorsDir::open(dir.path()).unwrap_err().to_string()
    };
    let message = edit(|index| index["weight_map"] = json!([]));
    assert!(message.contains("has no object `weight_map`"), "{message}");
    let message = edit(|index| index["weight_map"]["model.norm.weight"] = json!("../x"));
    assert!(
        message.contains("`model.norm.weight` in \"../x\", not a file name"),
        "{message}"
    );
    let message = edit(|index| index["weight_map"]["model.extra"] = json!(SHARD));
    assert!(
        message.contains("`model.extra` in `model-00002"),
        "{message}"
    );
}

#[test]
fn overlapping_tensors_are_refused() {
    let dir = TempDir::new().unwrap();
    let header = json!({
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
    })
    .to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&[0; 12]);
    let path = dir.join("model.safetensors");
    fs::write(&path, file).unwrap();
    let message = SafetensorsDir::open_file(&path).unwrap_err().to_string();
    assert!(
        message.contains("is not a complete safetensors file"),
        "{message}"
    );
}

#[test]
fn missing_tensors_and_wrong_shapes_are_named() {
    let spec = ModelSpec::from_hf(&tiny("Llama")).unwrap();
    let mut source = Seeded::new(spec.clone(), 1).source();
    assert_eq!(source.layout(), NameLayout::HuggingFace);
    source.insert("model.norm.weight", vec![47], TensorType::F32, vec![0; 188]);
    let error = spec.check(&source).unwrap_err();
    let Error::TensorShape {
        name,
        expected,
        found,
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (name.as_str(), expected, found),
        ("model.norm.weight", &vec![48], &vec![47])
    );
    assert!(spec.read(&source, Role::OutputNorm, None).is_err());
    source.remove("model.norm.weight");
    let message = spec.check(&source).unwrap_err().to_string();
    assert!(
        message.contains("no tensor `model.norm.weight`"),
        "{message}"
    );
    assert!(spec.read(&source, Role::QBias, Some(0)).unwrap().is_none());
}

#[test]
fn integer_weights_are_refused() {
    let dir = TempDir::new().unwrap();
    let header = json!({"w": {"dtype": "I8", "shape": [4], "data_offsets": [0, 4]}}).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&[0; 4]);
    fs::write(dir.join("model.safetensors"), file).unwrap();
    let source = SafetensorsDir::open(dir.path()).unwrap();
    let message = source.tensor("w").unwrap_err().to_string();
    assert_eq!(
        message,
        "tensor `w` is stored as I8; supported in safetensors: F32, F16, BF16"
    );
}
