//! Adapter files: what fits, what does not and how that is said, and nothing panics.

use proptest::prelude::*;
use ropewalk_gguf::{Gguf, TensorType, Writer};
use ropewalk_spec::adapter::{Change, LoraAdapter, LowRank, PeftConfig};
use ropewalk_spec::testing::{MemorySource, TempDir};
use ropewalk_spec::{ModelSpec, NameLayout, Role, TensorSource, Weight};
use serde_json::{Value, json};

fn llama() -> ModelSpec {
    ModelSpec::from_hf(&json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": 40, "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
    }))
    .unwrap()
}

fn phi3() -> ModelSpec {
    ModelSpec::from_hf(&json!({
        "architectures": ["Phi3ForCausalLM"], "vocab_size": 40, "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
    }))
    .unwrap()
}

fn config() -> Value {
    json!({
        "peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"],
        "base_model_name_or_path": "somewhere/llama", "bias": "none", "peft_version": "0.21.2",
    })
}

fn bytes(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

fn put(source: &mut MemorySource, name: &str, shape: &[usize]) {
    let count: usize = shape.iter().product();
    let values = (0..count).map(|i| (i as f32 + name.len() as f32) / 64.0);
    source.insert(name, shape.to_vec(), TensorType::F32, bytes(values));
}

/// The tensors that the configuration names.
fn tensors() -> MemorySource {
    let mut source = MemorySource::new(NameLayout::HuggingFace);
    for layer in 0..2 {
        for (module, out) in [("q_proj", 16), ("v_proj", 8)] {
            let name = format!("base_model.model.model.layers.{layer}.self_attn.{module}");
            put(&mut source, &format!("{name}.lora_A.weight"), &[2, 16]);
            put(&mut source, &format!("{name}.lora_B.weight"), &[out, 2]);
        }
    }
    source
}

fn read(config: &Value, source: &MemorySource) -> Result<LoraAdapter, String> {
    let adapter = LoraAdapter::from_peft("style", config, source, &llama());
    adapter.map_err(|e| e.to_string())
}

fn low(adapter: &LoraAdapter, role: Role, layer: usize) -> &LowRank {
    let updates = adapter.updates.iter();
    let mut updates = updates.filter(|u| u.role == role && u.layer == Some(layer));
    match &updates.next_back().unwrap().change {
        Change::LowRank(low) => low,
        _ => panic!("not a low-rank change"),
    }
}

fn values(weight: &Weight<'_>) -> Vec<f32> {
    weight.to_f32().unwrap()
}

#[test]
fn what_fits_is_read() {
    let adapter = read(&config(), &tensors()).unwrap();
    assert_eq!((adapter.updates.len(), adapter.rank()), (4, 2));
    assert_eq!(adapter.parameters(), 2 * (2 * 32 + 2 * 16 + 2 * 8));
    assert_eq!(adapter.base.as_deref(), Some("somewhere/llama"));
    let v = low(&adapter, Role::V, 1);
    assert_eq!(
        (&v.a.shape[..], &v.b.shape[..], v.scale),
        (&[2, 16][..], &[8, 2][..], 2.0)
    );

    // The names of a model that is being trained.
    let named = tensors().renamed(|n| n.replace(".weight", ".style.weight"));
    assert_eq!(read(&config(), &named).unwrap().updates.len(), 4);
}

#[test]
fn factors_follow_ranks_and_patterns() {
    let mut config = config();
    config["use_rslora"] = json!(true);
    config["alpha_pattern"] = json!({"layers.1.self_attn.q_proj": 8, "v_proj$": 1});
    let adapter = read(&config, &tensors()).unwrap();
    let root = 2.0_f32.sqrt();
    for (role, layer, alpha) in [(Role::Q, 0, 4.0), (Role::Q, 1, 8.0), (Role::V, 0, 1.0)] {
        assert!((low(&adapter, role, layer).scale - alpha / root).abs() < 1e-6);
    }
    config["rank_pattern"] = json!({"q_proj": 3});
    let e = read(&config, &tensors()).unwrap_err();
    assert!(
        e.contains("another rank than the configuration says") && e.contains("(2, not 3)"),
        "{e}"
    );
}

#[test]
fn one_error_tells_all_that_is_missing_and_left() {
    let mut source = tensors();
    let prefix = "base_model.model.model.layers";
    source.remove(&format!("{prefix}.0.self_attn.q_proj.lora_B.weight"));
    source.remove(&format!("{prefix}.1.self_attn.v_proj.lora_A.weight"));
    source.remove(&format!("{prefix}.1.self_attn.v_proj.lora_B.weight"));
    put(
        &mut source,
        &format!("{prefix}.0.self_attn.k_proj.lora_A.weight"),
        &[2, 16],
    );
    put(
        &mut source,
        &format!("{prefix}.7.self_attn.q_proj.lora_A.weight"),
        &[2, 16],
    );
    put(&mut source, "optimizer.state", &[2]);
    let mut config = config();
    config["target_modules"] = json!(["q_proj", "v_proj", "query"]);
    config["modules_to_save"] = json!(["lm_head"]);
    let e = read(&config, &source).unwrap_err();
    for part in [
        "style: the adapter cannot be used",
        "the file lacks model.layers.0.self_attn.q_proj.lora_B",
        "the file lacks the module model.layers.1.self_attn.v_proj",
        "the configuration does not name base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight",
        "the base has no module of base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight",
        "nothing uses optimizer.state",
        "the base has no target module query",
        "the file lacks the saved module lm_head",
    ] {
        assert!(e.contains(part), "`{part}` is not in: {e}");
    }
    assert!(!e.contains('\n'), "{e}");
}

#[test]
fn shapes_are_those_of_the_base() {
    let mut source = tensors();
    let name = "base_model.model.model.layers.0.self_attn.v_proj";
    put(&mut source, &format!("{name}.lora_B.weight"), &[16, 2]);
    put(
        &mut source,
        "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight",
        &[2, 32],
    );
    let e = read(&config(), &source).unwrap_err();
    for part in [
        "layers.0.self_attn.v_proj (A [2, 16] and B [16, 2]",
        "layers.1.self_attn.q_proj (A [2, 32]",
    ] {
        assert!(
            e.contains("another shape than the base has") && e.contains(part),
            "{e}"
        );
    }
}

#[test]
fn what_is_not_applied_is_refused_by_name() {
    for (key, value, part) in [
        ("peft_type", json!("IA3"), "`IA3`; only LORA"),
        (
            "use_qalora",
            json!(true),
            "`use_qalora` is a setting that is not applied",
        ),
        ("layer_replication", json!([[0, 2]]), "`layer_replication`"),
        (
            "trainable_token_indices",
            json!([1, 2]),
            "`trainable_token_indices`",
        ),
        (
            "target_parameters",
            json!(["experts.up"]),
            "`target_parameters`",
        ),
        ("some_new_thing", json!(0.5), "`some_new_thing`"),
        (
            "init_lora_weights",
            json!("pissa"),
            "changes the base weights",
        ),
        ("bias", json!("some"), "`bias` is not one of"),
        ("r", json!(0), "`r` is not a rank"),
        (
            "target_modules",
            json!("(q_proj"),
            "`target_modules` is a pattern that cannot be read",
        ),
        (
            "target_modules",
            json!([1]),
            "`target_modules` is not a list of names",
        ),
        (
            "use_dora",
            json!(true),
            "the file lacks model.layers.0.self_attn.q_proj.lora_magnitude_vector",
        ),
        ("lora_bias", json!(true), "lora_B.bias"),
    ] {
        let mut config = config();
        config[key] = value;
        let e = read(&config, &tensors()).unwrap_err();
        assert!(e.contains(part), "{key}: {e}");
    }
    assert!(PeftConfig::from_json(&json!([])).is_err());
    let mut off = config();
    off["use_qalora"] = json!(false);
    off["layer_replication"] = Value::Null;
    read(&off, &tensors()).unwrap();
}

#[test]
fn layers_and_names_choose_modules() {
    let mut config = config();
    config["layers_to_transform"] = json!([1]);
    let e = read(&config, &tensors()).unwrap_err();
    assert!(
        e.contains("does not name") && e.contains("layers.0.self_attn.q_proj"),
        "{e}"
    );
    let mut source = tensors();
    for name in tensors().names() {
        if name.contains("layers.0.") {
            source.remove(&name);
        }
    }
    assert_eq!(read(&config, &source).unwrap().updates.len(), 2);
    let parsed = PeftConfig::from_json(&json!({
        "peft_type": "LORA", "target_modules": r".*\.(q|k)_proj", "exclude_modules": ["layers.0.self_attn.k_proj"],
    }))
    .unwrap();
    assert!(parsed.targets("model.layers.0.self_attn.q_proj", true));
    assert!(!parsed.targets("model.layers.0.self_attn.k_proj", true));
    assert!(parsed.targets("model.layers.1.self_attn.k_proj", true));
    assert!(!parsed.targets("model.layers.1.self_attn.k_proj_extra", true));
    let all = PeftConfig::from_json(&json!({"peft_type": "LORA", "target_modules": "all-linear"}))
        .unwrap();
    assert!(all.targets("model.layers.0.mlp.up_proj", true) && !all.targets("lm_head", false));
}

#[test]
fn pickles_are_refused() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.join("adapter_config.json"), config().to_string()).unwrap();
    let e = LoraAdapter::open(dir.path(), &llama())
        .unwrap_err()
        .to_string();
    assert!(e.contains("adapter_model.safetensors"), "{e}");
    std::fs::write(dir.join("adapter_model.bin"), b"\x80\x02").unwrap();
    let e = LoraAdapter::open(dir.path(), &llama())
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("pickle") && e.contains("safe_serialization=True"),
        "{e}"
    );
    tensors()
        .save(dir.join("adapter_model.safetensors"))
        .unwrap();
    let adapter = LoraAdapter::open(dir.path(), &llama()).unwrap();
    assert_eq!(adapter.updates.len(), 4);
}

#[test]
fn experts_are_refused_by_name() {
    let spec = ModelSpec::from_hf(&json!({
        "architectures": ["MixtralForCausalLM"], "vocab_size": 40, "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
        "hidden_act": "silu", "num_local_experts": 2, "num_experts_per_tok": 1,
    }))
    .unwrap();
    let mut source = MemorySource::new(NameLayout::HuggingFace);
    let name = "base_model.model.model.layers.0.block_sparse_moe.experts.1.w1";
    put(&mut source, &format!("{name}.lora_A.weight"), &[2, 16]);
    let mut config = config();
    config["target_modules"] = json!(["w1"]);
    let e = LoraAdapter::from_peft("moe", &config, &source, &spec).unwrap_err();
    let e = e.to_string();
    assert!(
        e.contains("adapters cannot be applied to model.layers.0.block_sparse_moe.experts"),
        "{e}"
    );
}

#[test]
fn fused_matrices_are_cut_apart() {
    let mut source = MemorySource::new(NameLayout::HuggingFace);
    let name = "base_model.model.model.layers.0.self_attn.qkv_proj";
    put(&mut source, &format!("{name}.lora_A.weight"), &[2, 16]);
    put(&mut source, &format!("{name}.lora_B.weight"), &[32, 2]);
    let mut config = config();
    config["target_modules"] = json!(["qkv_proj"]);
    let adapter = LoraAdapter::from_peft("phi", &config, &source, &phi3()).unwrap();
    let whole = source
        .tensor(&format!("{name}.lora_B.weight"))
        .unwrap()
        .unwrap();
    let parts: Vec<u8> = [Role::Q, Role::K, Role::V]
        .iter()
        .flat_map(|&role| low(&adapter, role, 0).b.data.to_vec())
        .collect();
    assert_eq!(parts, whole.data.to_vec());
    assert_eq!(low(&adapter, Role::K, 0).b.shape, [8, 2]);
    // One A for the three.
    assert_eq!(adapter.parameters(), 2 * 16 + 32 * 2);
}

#[test]
fn gguf_files_hold_the_same() {
    for (spec, config, source) in [(llama(), config(), tensors()), {
        let mut source = MemorySource::new(NameLayout::HuggingFace);
        for (module, shapes) in [
            ("self_attn.qkv_proj", [[2, 16], [32, 2]]),
            ("mlp.gate_up_proj", [[2, 16], [48, 2]]),
            ("mlp.down_proj", [[2, 24], [16, 2]]),
        ] {
            let name = format!("model.layers.0.{module}");
            put(&mut source, &format!("{name}.lora_A.weight"), &shapes[0]);
            put(&mut source, &format!("{name}.lora_B.weight"), &shapes[1]);
        }
        let mut config = config();
        config["target_modules"] = json!(["qkv_proj", "gate_up_proj", "down_proj"]);
        (phi3(), config, source)
    }] {
        let adapter = LoraAdapter::from_peft("style", &config, &source, &spec).unwrap();
        let gguf = adapter.to_gguf(&spec, TensorType::F32).unwrap();
        let gguf = Gguf::from_bytes(gguf).unwrap();
        assert_eq!(
            gguf.metadata().f32("adapter.lora.alpha").unwrap(),
            Some(4.0)
        );
        let again = LoraAdapter::from_gguf(&gguf, &spec).unwrap();
        assert_eq!(
            (again.name.as_str(), again.updates.len()),
            ("style", adapter.updates.len())
        );
        for (a, b) in adapter.updates.iter().zip(&again.updates) {
            assert_eq!((a.role, a.layer), (b.role, b.layer));
            let (Change::LowRank(a), Change::LowRank(b)) = (&a.change, &b.change) else {
                panic!("not low-rank");
            };
            assert_eq!(
                (values(&a.a), values(&a.b), a.scale),
                (values(&b.a), values(&b.b), b.scale)
            );
        }
    }
    // Rows of q stand as llama.cpp turns them.
    let gguf = read(&config(), &tensors())
        .unwrap()
        .to_gguf(&llama(), TensorType::F32)
        .unwrap();
    let gguf = Gguf::from_bytes(gguf).unwrap();
    let q = gguf
        .require("blk.0.attn_q.weight.lora_b")
        .unwrap()
        .to_f32()
        .unwrap();
    let own = read(&config(), &tensors()).unwrap();
    let own = values(&low(&own, Role::Q, 0).b);
    // Head of four rows: 0, 2, 1, 3.
    let rows: Vec<&[f32]> = own.chunks(2).collect();
    assert_eq!(q[..8], [rows[0], rows[2], rows[1], rows[3]].concat());
}

#[test]
fn different_factors_go_into_b() {
    let mut config = config();
    config["alpha_pattern"] = json!({"v_proj": 2});
    let adapter = read(&config, &tensors()).unwrap();
    let gguf = Gguf::from_bytes(adapter.to_gguf(&llama(), TensorType::F32).unwrap()).unwrap();
    assert_eq!(
        gguf.metadata().f32("adapter.lora.alpha").unwrap(),
        Some(0.0)
    );
    let again = LoraAdapter::from_gguf(&gguf, &llama()).unwrap();
    let (a, b) = (low(&adapter, Role::Q, 1), low(&again, Role::Q, 1));
    let scaled: Vec<f32> = values(&a.b).iter().map(|x| x * a.scale).collect();
    assert_eq!((a.scale, b.scale, scaled), (2.0, 1.0, values(&b.b)));
}

#[test]
fn gguf_files_of_other_bases_are_refused() {
    let file = |change: &dyn Fn(&mut Writer)| {
        let mut writer = Writer::new();
        writer
            .set("general.architecture", "llama")
            .set("general.type", "adapter")
            .set("adapter.type", "lora");
        change(&mut writer);
        let gguf = Gguf::from_bytes(writer.begin(Vec::new()).unwrap().finish().unwrap()).unwrap();
        LoraAdapter::from_gguf(&gguf, &llama())
            .unwrap_err()
            .to_string()
    };
    for (key, value, part) in [
        ("general.type", "model", "is a model, not an adapter"),
        ("adapter.type", "control_vector", "only lora"),
        (
            "general.architecture",
            "qwen2",
            "the architecture qwen2, the base is llama",
        ),
        ("general.name", "x", "holds no tensor"),
    ] {
        let e = file(&|w| {
            w.set(key, value);
        });
        assert!(e.contains(part), "{e}");
    }
    // A base of another depth and width.
    let adapter = read(&config(), &tensors()).unwrap();
    let gguf = Gguf::from_bytes(adapter.to_gguf(&llama(), TensorType::F16).unwrap()).unwrap();
    let other = ModelSpec::from_hf(&json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": 40, "hidden_size": 32,
        "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4,
        "num_key_value_heads": 4, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
    }))
    .unwrap();
    let e = LoraAdapter::from_gguf(&gguf, &other)
        .unwrap_err()
        .to_string();
    for part in [
        "another shape than the base has",
        "the base has no blk.1.attn_q.weight",
    ] {
        assert!(e.contains(part), "{e}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_gguf_adapters_do_not_panic(cut in any::<proptest::sample::Index>(), flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4)) {
        let mut file = read(&config(), &tensors()).unwrap().to_gguf(&llama(), TensorType::F16).unwrap();
        for (at, byte) in flips {
            let at = at.index(file.len());
            file[at] = byte;
        }
        file.truncate(cut.index(file.len() + 1));
        if let Ok(gguf) = Gguf::from_bytes(file) {
            let _ = LoraAdapter::from_gguf(&gguf, &llama()).is_ok();
        }
    }

    #[test]
    fn damaged_directories_do_not_panic(cut in any::<proptest::sample::Index>(), flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4)) {
        let dir = TempDir::new().unwrap();
        let path = dir.join("adapter_model.safetensors");
        tensors().save(&path).unwrap();
        std::fs::write(dir.join("adapter_config.json"), config().to_string()).unwrap();
        let mut file = std::fs::read(&path).unwrap();
        for (at, byte) in flips {
            let at = at.index(file.len());
            file[at] = byte;
        }
        file.truncate(cut.index(file.len() + 1));
        std::fs::write(&path, file).unwrap();
        let _ = LoraAdapter::open(dir.path(), &llama()).is_ok();
    }

    #[test]
    fn any_shape_is_read_or_refused(shapes in proptest::collection::vec((0_usize..5, 0_usize..5, 1_usize..3), 8)) {
        let mut source = MemorySource::new(NameLayout::HuggingFace);
        for (name, (rows, columns, dims)) in tensors().names().into_iter().zip(shapes) {
            let shape = if dims == 1 { vec![rows * 8] } else { vec![rows * 8, columns] };
            put(&mut source, &name, &shape);
        }
        prop_assert!(read(&config(), &source).is_err());
    }

    #[test]
    fn any_setting_is_read_or_refused(key in prop_oneof![
        Just("r"), Just("lora_alpha"), Just("rank_pattern"), Just("alpha_pattern"), Just("target_modules"),
        Just("exclude_modules"), Just("layers_to_transform"), Just("layers_pattern"), Just("modules_to_save"),
        Just("bias"), Just("init_lora_weights"), Just("use_dora"), Just("peft_type"),
    ], value in prop_oneof![
        Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|x| json!(x)), ".{0,12}".prop_map(Value::from),
        proptest::collection::vec(".{0,6}", 0..3).prop_map(|v| json!(v)),
        proptest::collection::btree_map(".{0,6}", any::<i32>(), 0..3).prop_map(|m| json!(m)),
    ]) {
        let mut config = config();
        config[key] = value;
        let _ = read(&config, &tensors()).is_ok();
    }
}
