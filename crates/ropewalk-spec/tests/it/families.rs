//! What published configurations and files of the families hold beyond the recorded ones.

use ropewalk_gguf::{Gguf, TensorType, quantize};
use ropewalk_spec::testing::Seeded;
use ropewalk_spec::{
    Activation, Family, GgufSource, ModelSpec, NameLayout, Positions, Residual, Role, RopeScaling,
    TensorSource, memory,
};
use serde_json::{Value, json};

use crate::fixtures::{all, refusal};

fn read(config: &Value) -> ModelSpec {
    ModelSpec::from_hf(config).unwrap_or_else(|e| panic!("{e}"))
}

fn changed(name: &str, changes: &Value) -> Value {
    let mut config = all().iter().find(|f| f.name == name).unwrap().new.clone();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

#[test]
fn gpt2_as_published_is_read() {
    let spec = read(&json!({
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.1, "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256,
        "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "gpt2",
        "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024,
        "resid_pdrop": 0.1, "summary_activation": null, "vocab_size": 50257
    }));
    assert_eq!(
        (spec.family, spec.positions),
        (Family::Gpt2, Positions::Learned)
    );
    assert_eq!((spec.ffn, spec.tied, spec.head_dim), (3072, true, 64));
    assert_eq!(spec.activation, Activation::GeluTanh);
    assert_eq!(memory(&spec).parameters, 124_439_808);
    assert!(!spec.rotates(0));
}

#[test]
fn falcon_as_published_is_read() {
    let spec = read(&json!({
        "alibi": false, "architectures": ["FalconForCausalLM"], "bias": false,
        "bos_token_id": 11, "eos_token_id": 11, "hidden_size": 4544,
        "layer_norm_epsilon": 1e-05, "model_type": "falcon", "multi_query": true,
        "new_decoder_architecture": false, "num_attention_heads": 71, "num_hidden_layers": 32,
        "parallel_attn": true, "vocab_size": 65024
    }));
    assert_eq!((spec.kv_heads, spec.head_dim, spec.ffn), (1, 64, 18_176));
    assert_eq!(
        (spec.residual, spec.max_positions),
        (Residual::ParallelOneNorm, 2048)
    );
    assert_eq!(memory(&spec).parameters, 6_921_720_704);
    let spec = read(&json!({
        "alibi": false, "architectures": ["FalconForCausalLM"], "bias": false,
        "hidden_size": 8192, "layer_norm_epsilon": 1e-05, "model_type": "falcon",
        "new_decoder_architecture": true, "num_attention_heads": 128, "num_hidden_layers": 60,
        "num_kv_heads": 8, "parallel_attn": true, "vocab_size": 65024
    }));
    assert_eq!((spec.kv_heads, spec.residual), (8, Residual::Parallel));
    let name = |role, layout| spec.weight(role, Some(0), layout).unwrap().name;
    assert_eq!(
        name(Role::AttnNorm, NameLayout::Gguf),
        "blk.0.attn_norm_2.weight"
    );
    assert_eq!(
        name(Role::FfnNorm, NameLayout::Gguf),
        "blk.0.attn_norm.weight"
    );
    assert_eq!(
        name(Role::FfnNorm, NameLayout::HuggingFace),
        "transformer.h.0.ln_mlp.weight"
    );
}

#[test]
fn the_text_part_of_gemma_3_is_read() {
    let spec = read(&json!({
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
        "eos_token_id": [1, 106], "torch_dtype": "bfloat16",
        "text_config": {
            "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
            "num_hidden_layers": 34, "sliding_window": 1024,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}
        },
        "vision_config": {"hidden_size": 1152}
    }));
    assert_eq!((spec.heads, spec.kv_heads, spec.head_dim), (8, 4, 256));
    assert_eq!(
        (spec.vocab_size, spec.eos_ids.as_slice()),
        (262_208, &[1, 106][..])
    );
    assert_eq!(spec.rope.scaling, RopeScaling::Linear { factor: 8.0 });
    let local = spec.rope_local.as_ref().unwrap();
    assert_eq!((spec.rope.base, local.base), (1e6, 1e4));
    assert_eq!(local.scaling, RopeScaling::None);
    assert_eq!((spec.window[4], spec.window[5]), (Some(1024), None));
    assert!(std::ptr::eq(spec.rope_of(4), local));
    // 1 / sqrt(256) is what the key says.
    assert_eq!(
        (spec.attention_scale, spec.embedding_scale),
        (None, 2560f32.sqrt())
    );
    let place = spec
        .weight(Role::Q, Some(2), NameLayout::HuggingFace)
        .unwrap();
    assert_eq!(
        place.aliases[0],
        "language_model.model.layers.2.self_attn.q_proj.weight"
    );
}

#[test]
fn what_no_family_does_is_refused() {
    let cases = [
        ("falcon", json!({"alibi": true}), "`alibi` is true"),
        (
            "falcon",
            json!({"parallel_attn": false}),
            "`parallel_attn` is false",
        ),
        (
            "falcon_40b",
            json!({"num_ln_in_parallel_attn": 3}),
            "is 3, not 1 or 2",
        ),
        (
            "gemma2",
            json!({"use_bidirectional_attention": true}),
            "before",
        ),
        (
            "gpt2",
            json!({"scale_attn_by_inverse_layer_idx": true}),
            "scale per layer",
        ),
        (
            "gpt2",
            json!({"n_embd": null, "hidden_size": null}),
            "`n_embd` is missing",
        ),
        ("gpt2", json!({"rotary_dim": 8}), "rotary_dim"),
        (
            "gpt_neo",
            json!({"attention_layers": ["global"]}),
            "names 1 layers of 4",
        ),
        (
            "gpt_neo",
            json!({"attention_layers": ["a", "b", "c", "d"]}),
            "`global` or `local`",
        ),
        (
            "gpt_neo",
            json!({"attention_layers": null, "attention_types": [[["global"], 9]]}),
            "names 5 layers of 4",
        ),
        (
            "smollm3",
            json!({"no_rope_layers": [1]}),
            "1 entries for 5 layers",
        ),
        (
            "mixtral",
            json!({"num_experts_per_tok": 5}),
            "5 of 4 experts",
        ),
        (
            "mixtral",
            json!({"num_local_experts": 100_000}),
            "number of experts is 100000",
        ),
        (
            "qwen2_moe",
            json!({"decoder_sparse_step": 0}),
            "`decoder_sparse_step` is 0",
        ),
        (
            "qwen3_moe",
            json!({"moe_intermediate_size": 0}),
            "expert feed-forward size is 0",
        ),
        (
            "granite",
            json!({"logits_scaling": 0.0}),
            "logit scale is inf",
        ),
        (
            "gemma2",
            json!({"attn_logit_softcapping": 0.0}),
            "soft cap of scores is 0",
        ),
        (
            "gemma3",
            json!({"rope_parameters": {"rope_type": "default"}}),
            "rope_parameters.rope_type",
        ),
        (
            "starcoder2",
            json!({"hidden_act": "relu"}),
            "`hidden_act` is `relu`",
        ),
        (
            "starcoder2",
            json!({"num_key_value_heads": null}),
            "is missing",
        ),
    ];
    for (name, changes, expected) in cases {
        let message = refusal(&changed(name, &changes));
        assert!(message.contains(expected), "{name} {changes}: {message}");
    }
}

#[test]
fn absent_keys_have_the_defaults_of_the_classes() {
    let mut gemma = changed("gemma2", &json!({}));
    for key in [
        "layer_types",
        "final_logit_softcapping",
        "attn_logit_softcapping",
        "sliding_window",
        "query_pre_attn_scalar",
        "tie_word_embeddings",
    ] {
        gemma.as_object_mut().unwrap().remove(key);
    }
    let spec = read(&gemma);
    assert_eq!(
        (spec.attention_softcap, spec.logit_softcap),
        (Some(50.0), Some(30.0))
    );
    assert_eq!(spec.window, [Some(4096), None, Some(4096)]);
    assert_eq!((spec.attention_scale, spec.tied), (Some(0.0625), true));
    // A null says that there is none.
    let off = changed("gemma2", &json!({"attn_logit_softcapping": null}));
    assert_eq!(read(&off).attention_softcap, None);

    let mut smol = changed("smollm3", &json!({}));
    smol.as_object_mut().unwrap().remove("no_rope_layers");
    smol["no_rope_layer_interval"] = json!(2);
    assert_eq!(read(&smol).rope_layers, [true, false, true, false, true]);
    assert_eq!(
        read(&changed(
            "qwen3_moe",
            &json!({"mlp_only_layers": [0, 1, 2]})
        ))
        .experts,
        None
    );
}

#[test]
fn files_of_gpt2_with_and_without_prefix_are_read() {
    let spec = all().iter().find(|f| f.name == "gpt2").unwrap().spec();
    let model = Seeded::new(spec.clone(), 5);
    let (plain, bare) = (model.source(), model.source());
    let bare = bare.renamed(|name| name.trim_start_matches("transformer.").to_owned());
    spec.check(&bare).unwrap();
    for (role, layer) in spec.weights() {
        let values = |source: &dyn TensorSource| {
            spec.read(source, role, layer)
                .unwrap()
                .unwrap()
                .to_f32()
                .unwrap()
        };
        assert_eq!(values(&plain), values(&bare), "{role:?}");
    }
    // The file holds [in, out]; what is read is [out, in].
    let place = spec
        .weight(Role::Up, Some(0), NameLayout::HuggingFace)
        .unwrap();
    assert!(place.transposed);
    let stored = bare.tensor("h.0.mlp.c_fc.weight").unwrap().unwrap();
    assert_eq!(stored.shape, [48, 192]);
    let value = |i: usize| f32::from_le_bytes(stored.data[4 * i..][..4].try_into().unwrap());
    let read = spec.read(&bare, Role::Up, Some(0)).unwrap().unwrap();
    assert_eq!(read.shape, [192, 48]);
    assert_eq!(read.to_f32().unwrap()[5 * 48 + 7], value(7 * 192 + 5));
}

#[test]
fn packed_matrices_cannot_be_transposed() {
    let spec = all().iter().find(|f| f.name == "gpt2").unwrap().spec();
    let mut source = Seeded::new(spec.clone(), 5).source();
    let packed = quantize(TensorType::Q8_0, &vec![1.0; 48 * 192]).unwrap();
    let name = "transformer.h.0.mlp.c_fc.weight";
    source.insert(name, vec![48, 192], TensorType::Q8_0, packed);
    let error = spec
        .read(&source, Role::Up, Some(0))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is stored transposed, which Q8_0"),
        "{error}"
    );
}

#[test]
fn rows_of_grouped_tensors_lie_per_key_head() {
    let spec = all()
        .iter()
        .find(|f| f.name == "falcon_40b")
        .unwrap()
        .spec();
    // Two key heads, two queries each, heads of 12: q q k v, q q k v.
    let hf = |role| spec.weight(role, Some(0), NameLayout::HuggingFace).unwrap();
    let (q, k, v) = (hf(Role::Q), hf(Role::K), hf(Role::V));
    assert_eq!(
        (q.source_row(0), q.source_row(23), q.source_row(24)),
        (0, 23, 48)
    );
    assert_eq!((k.source_row(0), k.source_row(12)), (24, 72));
    assert_eq!((v.source_row(11), v.source_row(12)), (47, 84));
    let gguf = spec.weight(Role::V, Some(0), NameLayout::Gguf).unwrap();
    assert_eq!((gguf.rows.clone(), gguf.groups), (72..96, None));
}

#[test]
fn experts_are_one_by_one_or_stacked() {
    let spec = all().iter().find(|f| f.name == "mixtral").unwrap().spec();
    let model = Seeded::new(spec.clone(), 6);
    let source = model.source();
    let stacked =
        GgufSource::new(Gguf::from_bytes(model.gguf(|_| TensorType::F32).unwrap()).unwrap());
    let place = spec
        .expert(Role::ExpertDown, 1, 3, NameLayout::HuggingFace)
        .unwrap();
    assert_eq!(
        place.name,
        "model.layers.1.block_sparse_moe.experts.3.w2.weight"
    );
    assert!(
        spec.weight(Role::ExpertDown, Some(1), NameLayout::HuggingFace)
            .is_none()
    );
    assert!(
        spec.expert(Role::ExpertDown, 1, 4, NameLayout::Gguf)
            .is_none()
    );
    assert!(spec.expert(Role::Down, 1, 0, NameLayout::Gguf).is_none());
    for role in [Role::ExpertGate, Role::ExpertUp, Role::ExpertDown] {
        let whole = spec.read(&source, role, Some(1)).unwrap().unwrap();
        let other = spec.read(&stacked, role, Some(1)).unwrap().unwrap();
        assert_eq!((&whole.shape, &whole.data), (&other.shape, &other.data));
        let size = whole.data.len() / 4;
        for expert in 0..4 {
            for from in [&source as &dyn TensorSource, &stacked] {
                let one = spec.read_expert(from, role, 1, expert).unwrap().unwrap();
                assert_eq!(&*one.data, &whole.data[expert * size..][..size]);
                assert_eq!(one.shape, whole.shape[1..]);
            }
        }
    }
}

#[test]
fn norms_of_gemma_are_read_as_one_plus_w() {
    let spec = all().iter().find(|f| f.name == "gemma").unwrap().spec();
    let mut source = Seeded::new(spec.clone(), 6).source();
    // 1 + 2^-9 is no bf16; the sum is made in f32.
    let halves: Vec<u8> = [0x3B00_u16; 48]
        .iter()
        .flat_map(|h| h.to_le_bytes())
        .collect();
    source.insert("model.norm.weight", vec![48], TensorType::BF16, halves);
    let read = spec.read(&source, Role::OutputNorm, None).unwrap().unwrap();
    assert_eq!(read.ty, TensorType::F32);
    assert_eq!(read.to_f32().unwrap(), [1.0 + 1.0 / 512.0; 48]);
    let gguf = spec
        .weight(Role::OutputNorm, None, NameLayout::Gguf)
        .unwrap();
    assert!(!gguf.add_one);
}

#[test]
fn the_largest_gemmas_are_known_by_their_depth() {
    let changes = json!({"num_hidden_layers": 46, "layer_types": null,
                         "query_pre_attn_scalar": 12, "head_dim": 16});
    let spec = read(&changed("gemma2", &changes));
    assert_eq!(spec.attention_scale, Some(12f64.powf(-0.5) as f32));
    let mut bytes = Seeded::new(spec.clone(), 6)
        .gguf(|_| TensorType::F16)
        .unwrap();
    // Files of llama.cpp lack the key; another one of the same length takes its place.
    let key = b"gemma2.attention.scale";
    let at = bytes.windows(key.len()).position(|w| w == key).unwrap();
    bytes[at..at + key.len()].copy_from_slice(b"gemma2.attention.other");
    let back = ModelSpec::from_gguf(&Gguf::from_bytes(bytes).unwrap()).unwrap();
    assert_eq!(back.attention_scale, spec.attention_scale);
}

#[test]
fn a_block_that_no_key_describes_is_not_written() {
    let llama = all().iter().find(|f| f.name == "llama2").unwrap().spec();
    let with = |change: fn(&mut ModelSpec)| {
        let mut spec = llama.clone();
        change(&mut spec);
        (spec.gguf_metadata().is_err(), spec.to_hf().is_err())
    };
    assert_eq!(with(|_| ()), (false, false));
    assert_eq!(with(|s| s.logit_softcap = Some(30.0)), (true, true));
    assert_eq!(with(|s| s.embedding_scale = 2.0), (true, true));
    assert_eq!(with(|s| s.residual = Residual::Parallel), (true, true));
    assert_eq!(with(|s| s.rope_layers = vec![true, false]), (true, true));
    // config.json can name an activation, GGUF cannot.
    assert_eq!(with(|s| s.activation = Activation::Gelu), (true, false));
}

#[test]
fn weights_without_a_name_are_refused() {
    let mut spec = all().iter().find(|f| f.name == "mixtral").unwrap().spec();
    spec.experts.as_mut().unwrap().layers[1] = false;
    let message = spec.validate().unwrap_err().to_string();
    assert_eq!(message, "config: a Mixtral has no name for Gate");
    let mut spec = all().iter().find(|f| f.name == "phi3").unwrap().spec();
    spec.qkv_bias = true;
    assert!(spec.validate().is_err());
}

#[test]
fn the_form_of_gelu_survives() {
    // The largest GPT-NeoX has the approximation, Pythia the function.
    let spec = read(&changed("gpt_neox", &json!({"hidden_act": "gelu_fast"})));
    assert_eq!(spec.activation, Activation::GeluTanh);
    let bytes = Seeded::new(spec, 6).gguf(|_| TensorType::F16).unwrap();
    let back = ModelSpec::from_gguf(&Gguf::from_bytes(bytes).unwrap()).unwrap();
    assert_eq!(back.activation, Activation::GeluTanh);
}

#[test]
fn widths_of_experts_come_from_the_matrices_of_old_files() {
    let spec = all().iter().find(|f| f.name == "qwen2_moe").unwrap().spec();
    let mut bytes = Seeded::new(spec.clone(), 6)
        .gguf(|_| TensorType::F16)
        .unwrap();
    for key in [
        "qwen2moe.expert_feed_forward_length",
        "qwen2moe.expert_shared_feed_forward_length",
    ] {
        let at = bytes
            .windows(key.len())
            .position(|w| w == key.as_bytes())
            .unwrap();
        bytes[at + 9] = b'x';
    }
    let back = ModelSpec::from_gguf(&Gguf::from_bytes(bytes).unwrap()).unwrap();
    assert_eq!(back.experts, spec.experts);
}
