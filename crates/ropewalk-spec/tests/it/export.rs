//! Descriptions written and read back; refusals of GGUF metadata.

use ropewalk_gguf::{Gguf, TensorInfo, TensorType, Value, Writer};
use ropewalk_spec::testing::Seeded;
use ropewalk_spec::{ModelSpec, RopeScaling};
use serde_json::json;

use crate::fixtures::{all, tiny, tiny_with};

#[test]
fn config_json_is_read_back() {
    for fixture in all() {
        let spec = fixture.spec();
        let written = spec.to_hf().unwrap();
        assert_eq!(
            ModelSpec::from_hf(&written).unwrap(),
            spec,
            "{}",
            fixture.name
        );
    }
}

#[test]
fn divisors_have_no_place_in_config_json() {
    let mut spec = ModelSpec::from_hf(&tiny("Llama")).unwrap();
    spec.rope.scaling = RopeScaling::Factors(vec![1.0; 6]);
    assert!(
        spec.to_hf()
            .unwrap_err()
            .to_string()
            .contains("rope divisors")
    );
    let mut spec = ModelSpec::from_hf(&tiny("Llama")).unwrap();
    spec.window = vec![Some(4), None];
    assert!(spec.to_hf().is_err());
    assert!(
        spec.gguf_metadata()
            .unwrap_err()
            .to_string()
            .contains("some layers")
    );
}

/// The refusal of a GGUF file whose metadata were changed.
fn refusal(change: impl FnOnce(&mut Writer)) -> String {
    let model = Seeded::new(ModelSpec::from_hf(&tiny("Llama")).unwrap(), 1);
    let mut writer = Writer::new();
    for (key, value) in model.spec.gguf_metadata().unwrap() {
        writer.set(key, value);
    }
    let embed = TensorInfo::from_shape("token_embd.weight", &[320, 48], TensorType::F32).unwrap();
    writer.tensor(embed).unwrap();
    change(&mut writer);
    let mut out = writer.begin(Vec::new()).unwrap();
    for info in writer.tensors() {
        out.tensor_f32(&info.name, &vec![1.0; info.n_elements()])
            .unwrap();
    }
    let file = Gguf::from_bytes(out.finish().unwrap()).unwrap();
    ModelSpec::from_gguf(&file)
        .map(|s| format!("read as {s:?}"))
        .unwrap_or_else(|e| e.to_string())
}

#[test]
fn unusable_metadata_are_refused_by_name() {
    let set = |key: &'static str, value: Value| {
        refusal(move |w| {
            w.set(key, value);
        })
    };
    let without = |key: &'static str| {
        refusal(move |w| {
            w.metadata_mut().remove(key);
        })
    };
    let cases = [
        (
            set("general.architecture", "mamba".into()),
            "unsupported architecture `mamba`",
        ),
        (
            without("general.architecture"),
            "`general.architecture` is missing",
        ),
        (
            without("llama.block_count"),
            "`llama.block_count` is missing",
        ),
        (set("llama.block_count", "2".into()), "llama.block_count"),
        (set("llama.block_count", u32::MAX.into()), "more than 1024"),
        (
            set("llama.attention.head_count", 0_u32.into()),
            "number of heads is 0",
        ),
        (
            set("llama.attention.head_count_kv", 3_u32.into()),
            "cannot be shared among 3",
        ),
        (
            set("llama.attention.value_length", 8_u32.into()),
            "values have 8",
        ),
        (
            set("llama.rope.dimension_sections", vec![1_i32, 2].into()),
            "dimension_sections",
        ),
        (
            set("llama.rope.scaling.type", "ntk".into()),
            "unknown rope type `ntk`",
        ),
        (
            set("llama.rope.scaling.type", "yarn".into()),
            "llama.rope.scaling.factor` is missing",
        ),
        (
            set("llama.expert_count", 8_u32.into()),
            "`llama.expert_used_count` is missing",
        ),
        (
            set("llama.expert_weights_scale", 2.5_f32.into()),
            "`llama.expert_weights_scale` asks for",
        ),
        (
            set("llama.final_logit_softcapping", 30.0_f32.into()),
            "`llama.final_logit_softcapping` asks for",
        ),
        (
            set("llama.logit_scale", 2.0_f32.into()),
            "`llama.logit_scale` asks for",
        ),
        (
            set("llama.rope.dimension_count", 7_u32.into()),
            "not an even number",
        ),
    ];
    for (message, expected) in cases {
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let factors = |count: usize, name: &'static str| {
        refusal(move |w| {
            w.tensor(TensorInfo::from_shape(name, &[count], TensorType::F32).unwrap())
                .unwrap();
        })
    };
    assert!(factors(5, "rope_freqs.weight").contains("5 values for 6 frequencies"));
    assert!(factors(6, "rope_freqs.weight").starts_with("read as"));
    assert!(factors(6, "rope_factors_long.weight").contains("does not go with the rope tensors"));
}

#[test]
fn old_linear_scaling_is_read() {
    let text = refusal(|w| {
        w.set("llama.rope.scale_linear", 4.0_f32);
    });
    assert!(text.contains("Linear { factor: 4.0 }"), "{text}");
    let text = refusal(|w| {
        w.set("llama.expert_count", 0_u32);
    });
    assert!(text.starts_with("read as"), "{text}");
}

#[test]
fn mistral_metadata_keep_the_window() {
    let spec = ModelSpec::from_hf(&tiny_with("Mistral", json!({"sliding_window": 9}))).unwrap();
    let file = Gguf::from_bytes(Seeded::new(spec, 2).gguf(|_| TensorType::F16).unwrap()).unwrap();
    assert_eq!(
        ModelSpec::from_gguf(&file).unwrap().window,
        [Some(9), Some(9)]
    );
}
