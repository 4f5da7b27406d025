//! Hidden states and logits of encoders, as transformers computes them, and the laws of a pass.
//!
//! `tests/fixtures/make_encoder.py` wrote the expected values; its head says how weights follow
//! from their seeds. Hidden states are of size 1 to 4; two f32 programs that sum in different
//! orders differ by 1e-6 or so after a few layers, so 1e-5 leaves no room for another formula.

use std::num::NonZeroUsize;
use std::sync::Arc;

use ropewalk_gguf::{Gguf, TensorInfo, TensorType, Writer};
use ropewalk_local::{Encoder, EncoderInput, EncoderOptions, Error};
use ropewalk_spec::testing::{MemorySource, encoder, prompt};
use ropewalk_spec::{EncoderSpec, NameLayout};
use serde_json::Value;

const TOLERANCE: f32 = 1e-5;

struct Case {
    name: String,
    spec: EncoderSpec,
    seed: u64,
    runs: Vec<Value>,
}

fn cases() -> Vec<Case> {
    let all: Value = serde_json::from_str(include_str!("../fixtures/encoder/states.json")).unwrap();
    let all = all.as_object().unwrap().clone();
    all.into_iter()
        .map(|(name, case)| Case {
            name,
            spec: EncoderSpec::from_hf(&case["config"]).unwrap(),
            seed: case["seed"].as_u64().unwrap(),
            runs: case["runs"].as_array().unwrap().clone(),
        })
        .collect()
}

fn case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    let list = value.as_array().unwrap().iter();
    list.map(|x| x.as_f64().unwrap() as f32).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    let list = value.as_array().unwrap().iter();
    list.map(|x| x.as_u64().unwrap() as u32).collect()
}

fn input(run: &Value) -> EncoderInput {
    EncoderInput::new(ids(&run["ids"])).with_types(ids(&run["types"]))
}

fn open(case: &Case, source: MemorySource, options: &EncoderOptions) -> Encoder {
    Encoder::from_parts(case.spec.clone(), Arc::new(source), options).unwrap()
}

fn threads(n: usize) -> EncoderOptions {
    EncoderOptions::default().with_threads(NonZeroUsize::new(n).unwrap())
}

fn assert_close(found: &[f32], expected: &[f32], place: &str) {
    assert_eq!(found.len(), expected.len(), "{place}: width");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= TOLERANCE,
            "{place}, value {i}: {a} is not {b}"
        );
    }
}

#[test]
fn states_and_logits_equal_transformers() {
    for case in cases() {
        let model = open(&case, encoder(&case.spec, case.seed), &threads(2));
        let inputs: Vec<_> = case.runs.iter().map(input).collect();
        if case.spec.head.is_some() {
            let logits = model.logits(&inputs).unwrap();
            for (run, logits) in case.runs.iter().zip(logits) {
                let place = format!(
                    "{}, {} tokens",
                    case.name,
                    run["ids"].as_array().unwrap().len()
                );
                assert_close(&logits, &floats(&run["logits"]), &place);
            }
            continue;
        }
        let states = model.hidden_states(&inputs).unwrap();
        for (run, states) in case.runs.iter().zip(states) {
            for (row, expected) in run["rows"].as_object().unwrap() {
                let at = row.parse::<usize>().unwrap() * case.spec.hidden;
                let place = format!(
                    "{}, row {row} of {}",
                    case.name,
                    states.len() / case.spec.hidden
                );
                assert_close(
                    &states[at..at + case.spec.hidden],
                    &floats(expected),
                    &place,
                );
            }
        }
    }
}

#[test]
fn every_family_is_among_the_cases() {
    let cases = cases();
    for family in ropewalk_spec::EncoderFamily::ALL {
        let of = |head: bool| {
            cases
                .iter()
                .any(|c| c.spec.family == family && c.spec.head.is_some() == head)
        };
        assert!(of(true) && of(false), "{family}");
    }
}

#[test]
fn names_with_a_prefix_and_old_norms_are_found() {
    for (name, prefix) in [
        ("bert", "bert."),
        ("distilbert", "distilbert."),
        ("modernbert", "model."),
    ] {
        let case = case(name);
        let expected = open(&case, encoder(&case.spec, case.seed), &threads(1));
        let renamed = encoder(&case.spec, case.seed).renamed(|name| {
            let old = name.replace("LayerNorm.weight", "LayerNorm.gamma");
            format!(
                "{prefix}{}",
                old.replace("LayerNorm.bias", "LayerNorm.beta")
            )
        });
        let found = open(&case, renamed, &threads(1));
        let inputs = [input(&case.runs[1])];
        assert_eq!(
            found.hidden_states(&inputs).unwrap(),
            expected.hidden_states(&inputs).unwrap(),
            "{name}"
        );
    }
}

/// Texts of many lengths, also longer than a pass.
fn texts(vocab: usize, longest: usize) -> Vec<EncoderInput> {
    let lengths = [3, 1, 40, 17, longest, 8, 8, 29, 2, 60];
    let one = |(i, n): (usize, usize)| EncoderInput::new(prompt(i as u64, n, vocab));
    lengths.into_iter().enumerate().map(one).collect()
}

#[test]
fn a_text_gives_the_same_bits_in_every_company() {
    for name in ["bert", "xlm_roberta", "modernbert"] {
        let case = case(name);
        let source = || encoder(&case.spec, case.seed);
        let texts = texts(case.spec.vocab_size, 90);
        let small = NonZeroUsize::new(64).unwrap();
        let one = open(&case, source(), &threads(1));
        let alone: Vec<Vec<f32>> = texts
            .iter()
            .flat_map(|text| one.hidden_states(std::slice::from_ref(text)).unwrap())
            .collect();
        for n in [1, 2, 5] {
            for options in [threads(n), threads(n).with_tokens_per_pass(small)] {
                let model = open(&case, source(), &options);
                assert_eq!(
                    model.hidden_states(&texts).unwrap(),
                    alone,
                    "{name}, {n} threads"
                );
                let mut turned = model
                    .hidden_states(&texts.iter().rev().cloned().collect::<Vec<_>>())
                    .unwrap();
                turned.reverse();
                assert_eq!(turned, alone, "{name}, {n} threads, the other way round");
            }
        }
    }
}

#[test]
fn eight_bits_stay_near_and_are_the_same_in_every_company() {
    let mut case = case("bert");
    (case.spec.hidden, case.spec.head_dim, case.spec.ffn) = (64, 16, 96);
    let source = || encoder(&case.spec, case.seed);
    let texts = texts(case.spec.vocab_size, 90);
    let full = open(&case, source(), &threads(2));
    let small = open(&case, source(), &threads(2).with_int8());
    // 34 bytes for 32 weights in place of 128, and rows that fill the tiles.
    assert!(small.weight_bytes() * 3 < full.weight_bytes());
    let (full, coded) = (
        full.hidden_states(&texts).unwrap(),
        small.hidden_states(&texts).unwrap(),
    );
    for (a, b) in full.iter().flatten().zip(coded.iter().flatten()) {
        // Two layers of random weights: about 1 % of values of size 1 each.
        assert!((a - b).abs() < 0.15, "{a} became {b}");
    }
    assert_ne!(full, coded);
    let again = open(&case, source(), &threads(3).with_int8());
    for (text, expected) in texts.iter().zip(&coded) {
        let alone = again.hidden_states(std::slice::from_ref(text)).unwrap();
        assert_eq!(&alone[0], expected);
    }
}

#[test]
fn wrong_input_is_named() {
    let case = case("roberta");
    let model = open(&case, encoder(&case.spec, case.seed), &threads(1));
    let run = |ids: Vec<u32>| model.hidden_states(&[EncoderInput::new(ids)]).unwrap_err();
    assert!(matches!(run(vec![]), Error::EmptyPrompt));
    assert!(matches!(
        run(vec![1, 300]),
        Error::TokenId {
            id: 300,
            vocab: 300
        }
    ));
    // 98 rows of positions, the first two of which are never used.
    assert!(matches!(
        run(vec![7; 97]),
        Error::Context {
            wanted: 97,
            limit: 96
        }
    ));
    assert!(
        model
            .hidden_states(&[EncoderInput::new(vec![7; 96])])
            .is_ok()
    );
    assert_eq!(model.hidden_states(&[]).unwrap(), Vec::<Vec<f32>>::new());
    let types = EncoderInput::new([7, 8]).with_types([0]);
    assert!(matches!(
        model.hidden_states(&[types]).unwrap_err(),
        Error::Option { .. }
    ));
    assert!(matches!(
        model.logits(&[]).unwrap_err(),
        Error::MissingTensor { .. }
    ));

    let parts = |spec: &EncoderSpec, source: MemorySource, options: &EncoderOptions| {
        Encoder::from_parts(spec.clone(), Arc::new(source), options)
            .unwrap_err()
            .to_string()
    };
    let plain = threads(1);
    let mut source = encoder(&case.spec, 1);
    source.remove("encoder.layer.1.output.dense.weight");
    assert_eq!(
        parts(&case.spec, source, &plain),
        "the weights hold no tensor `encoder.layer.1.output.dense.weight`, which this model needs; \
         a file is missing or the configuration is of another model"
    );
    let mut wide = case.spec.clone();
    wide.ffn = 96;
    let error = parts(&wide, encoder(&case.spec, 1), &plain);
    assert!(
        error.contains("has shape [80], the configuration says [96]")
            || error.contains("has shape [80, 48], the configuration says [96, 48]"),
        "{error}"
    );
    let mut odd = case.spec.clone();
    odd.heads = 5;
    assert!(parts(&odd, encoder(&case.spec, 1), &plain).contains("do not split into 5 heads"));
    // 48 columns are no whole blocks of 32.
    let error = parts(&case.spec, encoder(&case.spec, 1), &plain.with_int8());
    assert!(error.contains("Q8_0 with 48 and 80 columns"), "{error}");
}

#[test]
fn a_checkpoint_holds_each_tensor_once() {
    for case in cases() {
        let mut names: Vec<_> = case
            .spec
            .weights()
            .filter_map(|(role, layer)| case.spec.weight(role, layer, NameLayout::HuggingFace))
            .map(|at| (at.name, at.rows.start))
            .collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "{}", case.name);
    }
}

/// A GGUF file of architecture `bert`, as llama.cpp's converter lays it out.
pub(crate) fn gguf(spec: &EncoderSpec, source: &MemorySource, mut writer: Writer) -> Vec<u8> {
    writer.set("general.architecture", "bert");
    for (key, value) in [
        ("block_count", spec.layers),
        ("embedding_length", spec.hidden),
        ("feed_forward_length", spec.ffn),
        ("attention.head_count", spec.heads),
        ("context_length", spec.max_tokens),
    ] {
        writer.set(format!("bert.{key}"), value as u32);
    }
    writer.set("bert.attention.layer_norm_epsilon", spec.norm_eps);
    let mut tensors = Vec::new();
    for (role, layer) in spec.weights() {
        let Some(at) = spec.weight(role, layer, NameLayout::Gguf) else {
            continue;
        };
        let values = spec
            .read(source, role, layer)
            .unwrap()
            .unwrap()
            .to_f32()
            .unwrap();
        let info = TensorInfo::from_shape(&at.name, &at.shape, TensorType::F32).unwrap();
        writer.tensor(info).unwrap();
        tensors.push((at.name, values));
    }
    let mut out = writer.begin(Vec::new()).unwrap();
    for (name, values) in tensors {
        out.tensor_f32(&name, &values).unwrap();
    }
    out.finish().unwrap()
}

#[test]
fn gguf_files_give_the_same_bits() {
    let case = case("bert");
    let source = encoder(&case.spec, case.seed);
    let file = gguf(&case.spec, &source, Writer::new());
    let file = Arc::new(Gguf::from_bytes(file).unwrap());
    let found = Encoder::from_gguf(Arc::clone(&file), &threads(2)).unwrap();
    let expected = open(&case, source, &threads(2));
    let inputs: Vec<_> = case.runs.iter().map(input).collect();
    assert_eq!(
        found.hidden_states(&inputs).unwrap(),
        expected.hidden_states(&inputs).unwrap()
    );
    let error = ropewalk_local::Model::from_gguf(file, &ropewalk_local::LoadOptions::default());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("holds an encoder (Bert)"), "{error}");
}
