//! Reading `config.json`: both spellings, defaults, refusals.

use ropewalk_spec::{Dtype, Error, Family, ModelSpec, RopeScaling};
use serde_json::{Value, json};

use crate::fixtures::{all, refusal, tiny, tiny_with};

#[test]
fn both_spellings_give_the_same_model() {
    for fixture in all() {
        let old = ModelSpec::from_hf(&fixture.old).unwrap();
        assert_eq!(old, fixture.spec(), "{}", fixture.name);
        assert_eq!(old.dtype, Some(Dtype::Bf16), "{}", fixture.name);
    }
}

fn spec(name: &str) -> ModelSpec {
    all().iter().find(|f| f.name == name).unwrap().spec()
}

#[test]
fn families_set_their_flags() {
    let llama = spec("llama2_bias");
    assert_eq!(llama.family, Family::Llama);
    assert!(llama.qkv_bias && llama.o_bias && llama.mlp_bias && llama.qk_norm.is_none());
    assert_eq!(
        (llama.eos_ids, llama.bos_id, llama.pad_id),
        (vec![2, 3], Some(1), None)
    );

    let llama = spec("llama3");
    assert!(llama.tied && !llama.qkv_bias);
    assert_eq!(
        (llama.head_dim, llama.q_dim(), llama.kv_dim(), llama.group()),
        (64, 256, 128, 2)
    );
    assert_eq!((llama.rope.base, llama.rope.dims), (500_000.0, 64));

    let mistral = spec("mistral");
    assert_eq!(
        (mistral.family, mistral.window),
        (Family::Mistral, vec![Some(16); 2])
    );
    assert_eq!(spec("mistral_full").window, [None, None]);

    let qwen = spec("qwen2_window");
    assert!(qwen.qkv_bias && !qwen.o_bias && qwen.qk_norm.is_none());
    assert_eq!(qwen.window, [None, Some(12), Some(12)]);

    let qwen = spec("qwen3_yarn");
    assert!(qwen.qkv_bias && qwen.o_bias && qwen.qk_norm.is_some());
    assert_eq!(qwen.rope.attention_factor(), 1.5);

    let phi = spec("phi4_mini");
    assert_eq!(
        (phi.head_dim, phi.rope.dims, phi.rope.switch_length()),
        (16, 12, Some(1024))
    );
    assert_eq!(spec("phi3").window, [Some(2047), Some(2047)]);
}

#[test]
fn windows_follow_the_layers_when_no_list_is_given() {
    let config = tiny_with(
        "Qwen2",
        json!({"num_hidden_layers": 4, "use_sliding_window": true, "sliding_window": 8,
               "max_window_layers": 3}),
    );
    assert_eq!(
        ModelSpec::from_hf(&config).unwrap().window,
        [None, None, None, Some(8)]
    );
    let off = tiny_with(
        "Qwen2",
        json!({"sliding_window": 8, "max_window_layers": 0}),
    );
    assert_eq!(ModelSpec::from_hf(&off).unwrap().window, [None, None]);
    let class_default = ModelSpec::from_hf(&tiny("Mistral")).unwrap();
    assert_eq!(class_default.window, [Some(4096), Some(4096)]);
}

#[test]
fn the_first_name_of_long_rope_is_read() {
    for name in ["su", "yarn", "longrope"] {
        let config = tiny_with(
            "Phi3",
            json!({"original_max_position_embeddings": 32,
                   "rope_scaling": {"type": name, "short_factor": [1, 1, 1, 1, 1, 1],
                                    "long_factor": [1, 2, 3, 4, 5, 6]}}),
        );
        let spec = ModelSpec::from_hf(&config).unwrap();
        let RopeScaling::LongRope {
            original_max,
            attention_factor,
            ..
        } = spec.rope.scaling
        else {
            panic!("{name}: {:?}", spec.rope)
        };
        // sqrt(1 + ln(128 / 32) / ln(32))
        assert_eq!((original_max, attention_factor), (32, 1.183_216));
    }
}

#[test]
fn missing_keys_are_named() {
    for key in [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
        "rms_norm_eps",
    ] {
        let mut config = tiny("Llama");
        config.as_object_mut().unwrap().remove(key);
        let error = ModelSpec::from_hf(&config).unwrap_err();
        let Error::MissingKey { file, key: named } = error else {
            panic!("{key}: {error}")
        };
        assert_eq!((file.as_str(), named.as_str()), ("config.json", key));
    }
    for (family, key) in [
        ("Mistral", "num_key_value_heads"),
        ("Qwen2", "num_key_value_heads"),
        ("Qwen3", "head_dim"),
    ] {
        let config = tiny_with(family, json!({key: null}));
        assert!(
            refusal(&config).contains(&format!("`{key}` is missing")),
            "{family}"
        );
    }
    // Llama 1 and 2 had as many key heads as heads and did not say so.
    let config = tiny_with(
        "Llama",
        json!({"num_key_value_heads": null, "head_dim": null}),
    );
    let spec = ModelSpec::from_hf(&config).unwrap();
    assert_eq!(
        (spec.kv_heads, spec.head_dim, spec.rope.base),
        (4, 12, 10_000.0)
    );
}

#[test]
fn unusable_values_are_named() {
    let cases: [(&str, Value, &str); 17] = [
        (
            "Llama",
            json!({"hidden_size": "48"}),
            "`hidden_size` is \"48\", not a count",
        ),
        ("Llama", json!({"hidden_size": -1}), "`hidden_size` is -1"),
        ("Llama", json!({"hidden_size": 0}), "hidden size is 0"),
        (
            "Llama",
            json!({"num_hidden_layers": 1_000_000_000_u64}),
            "above 1024",
        ),
        (
            "Llama",
            json!({"vocab_size": 1_u64 << 60}),
            "vocabulary size",
        ),
        (
            "Llama",
            json!({"num_key_value_heads": 3}),
            "4 heads cannot be shared among 3",
        ),
        (
            "Llama",
            json!({"num_key_value_heads": 0}),
            "key-value heads is 0",
        ),
        (
            "Llama",
            json!({"head_dim": null, "hidden_size": 50}),
            "not a multiple",
        ),
        ("Llama", json!({"head_dim": 13}), "not an even number"),
        (
            "Llama",
            json!({"hidden_act": "relu"}),
            "`hidden_act` is `relu`",
        ),
        ("Llama", json!({"rms_norm_eps": -1}), "norm epsilon"),
        (
            "Llama",
            json!({"attention_bias": 1}),
            "`attention_bias` is 1",
        ),
        (
            "Llama",
            json!({"eos_token_id": "</s>"}),
            "`eos_token_id` holds",
        ),
        (
            "Phi3",
            json!({"lm_head_bias": true}),
            "`lm_head_bias` is true",
        ),
        (
            "Llama",
            json!({"torch_dtype": "int8"}),
            "`torch_dtype` is `int8`",
        ),
        (
            "Llama",
            json!({"quantization_config": {"bits": 4, "quant_method": "gptq"}}),
            "`quantization_config` asks for weights packed by `gptq`",
        ),
        (
            "Llama",
            json!({"layer_types": ["sliding_attention", "full_attention"]}),
            "layer_types",
        ),
    ];
    for (family, changes, expected) in cases {
        let message = refusal(&tiny_with(family, &changes));
        assert!(message.contains(expected), "{changes}: {message}");
        assert!(message.starts_with("config.json: "), "{message}");
    }
}

#[test]
fn sliding_layers_need_a_window() {
    let layers = json!(["full_attention", "sliding_attention"]);
    let config = tiny_with("Qwen3", json!({"layer_types": layers}));
    assert!(refusal(&config).contains("sliding_window is off"));
    let config = tiny_with("Qwen3", json!({"layer_types": ["full_attention"]}));
    assert!(refusal(&config).contains("1 entries for 2 layers"));
    let config = tiny_with(
        "Qwen3",
        json!({"layer_types": ["full_attention", "linear_attention"]}),
    );
    assert!(refusal(&config).contains("linear_attention"));
    let config = tiny_with("Mistral", json!({"sliding_window": 0}));
    assert!(refusal(&config).contains("0 positions"));
}

#[test]
fn unknown_architectures_list_the_known() {
    let message = refusal(&tiny("Mamba"));
    assert!(
        message.starts_with(
            "config.json: unsupported architecture `MambaForCausalLM`; supported: \
             LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, \
             Phi3ForCausalLM, GemmaForCausalLM"
        ),
        "{message}"
    );
    for family in Family::ALL {
        assert!(message.contains(&family.architecture()), "{family}");
    }
    assert!(refusal(&json!({"model_type": "t5"})).contains("architecture `t5`"));
    assert!(refusal(&json!({})).contains("`architectures` is missing"));
    assert!(refusal(&json!([1])).contains("not an object"));
    let by_type = tiny_with(
        "Llama",
        json!({"architectures": null, "model_type": "qwen2"}),
    );
    assert_eq!(ModelSpec::from_hf(&by_type).unwrap().family, Family::Qwen2);
}

#[test]
fn rope_settings_that_nothing_reads_are_refused() {
    let long = json!({"type": "su", "short_factor": [1, 1], "long_factor": [1, 1]});
    let cases: [(&str, Value, &str); 14] = [
        (
            "Llama",
            json!({"rope_scaling": {"rope_type": "ntk", "factor": 2}}),
            "rope type `ntk`",
        ),
        (
            "Llama",
            json!({"rope_scaling": {"rope_type": "linear", "factor": 2, "beta_fast": 32}}),
            "rope_scaling.beta_fast",
        ),
        (
            "Qwen2",
            json!({"rope_parameters": {"rope_type": "default", "mrope_section": [2, 2, 2]}}),
            "rope_parameters.mrope_section",
        ),
        (
            "Llama",
            json!({"rope_local_base_freq": 10000}),
            "rope_local_base_freq",
        ),
        ("Llama", json!({"rotary_dim": 6}), "rotary_dim"),
        ("Qwen2", json!({"use_mrope": true}), "use_mrope"),
        (
            "Llama",
            json!({"partial_rotary_factor": 0.5}),
            "partial_rotary_factor",
        ),
        (
            "Llama",
            json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}}),
            "rope_parameters.full_attention",
        ),
        (
            "Llama",
            json!({"rope_scaling": {"rope_type": "linear"}}),
            "rope_scaling.factor",
        ),
        (
            "Llama",
            json!({"rope_scaling": {"type": "llama3", "rope_type": "linear"}}),
            "both",
        ),
        (
            "Llama",
            json!({"rope_scaling": "linear"}),
            "`rope_scaling` is not an object",
        ),
        ("Llama", json!({"rope_theta": 0}), "rope base"),
        (
            "Phi3",
            json!({"rope_scaling": long, "original_max_position_embeddings": 32}),
            "2 values for 6 frequencies",
        ),
        (
            "Llama",
            json!({"rope_parameters": {"rope_type": "default", "rope_theta": 10000},
                   "rope_scaling": {"rope_type": "linear", "factor": 2}}),
            "say different things",
        ),
    ];
    for (family, changes, expected) in cases {
        let message = refusal(&tiny_with(family, &changes));
        assert!(message.contains(expected), "{changes}: {message}");
    }
    // Null and the value that changes nothing are fine.
    let config = tiny_with(
        "Llama",
        json!({"rope_scaling": null, "rope_interleaved": false, "use_mrope": false, "rope_aaa": null, "partial_rotary_factor": 1.0}),
    );
    assert!(ModelSpec::from_hf(&config).is_ok());
}
