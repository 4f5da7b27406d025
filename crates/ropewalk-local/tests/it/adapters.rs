//! Adapters beside and in the weights, against PEFT and llama.cpp.
//!
//! `tests/fixtures/make_peft.py` wrote the directories and logits, with the seeded weights of
//! `make_golden.py` as bases. Sums of at most 256 terms in another order differ by about 1e-6 of the
//! largest logit; a wrong scale, row order or layer by more than 5 % (the script checks that).

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ropewalk_core::ChatRequest;
use ropewalk_gguf::{Gguf, TensorType};
use ropewalk_local::{
    ActiveAdapter, Adapter, CacheType, Error, GenerateOptions, Generation, LoadOptions, LocalModel,
    Model, Step, generate_n,
};
use ropewalk_spec::adapter::LoraAdapter;
use ropewalk_spec::testing::{MemorySource, Seeded};
use ropewalk_spec::{ModelSpec, NameLayout};
use serde_json::{Value, json};

use crate::families::{exact, from_gguf};
use crate::golden::{GoldenCase, cases};

/// The largest difference, of the largest logit.
const TOLERANCE: f32 = 1e-5;

fn fixture(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/fixtures/peft").join(name)
}

struct Expected {
    case: GoldenCase,
    tokens: Vec<u32>,
    max_abs: f32,
    logits: Vec<f32>,
}

impl Expected {
    fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(fixture(name).join("logits.json")).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let base = json["case"].as_str().unwrap();
        let hex = json["logits"].as_str().unwrap().as_bytes();
        let float = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).unwrap();
            f32::from_bits(u32::from_str_radix(digits, 16).unwrap().swap_bytes())
        };
        let ids = json["tokens"].as_array().unwrap().iter();
        Self {
            case: cases().into_iter().find(|c| c.name == base).unwrap(),
            tokens: ids.map(|v| v.as_u64().unwrap() as u32).collect(),
            max_abs: json["max_abs"].as_f64().unwrap() as f32,
            logits: hex.chunks(8).map(float).collect(),
        }
    }

    fn base(&self, options: &LoadOptions) -> Model {
        let source = Arc::new(self.case.model.source());
        Model::from_parts(self.case.model.spec.clone(), source, options).unwrap()
    }

    /// The largest difference, of the largest logit.
    fn distance(&self, logits: &[f32]) -> f32 {
        distance(&self.logits, logits, self.max_abs)
    }
}

fn distance(a: &[f32], b: &[f32], max_abs: f32) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max) / max_abs
}

fn all(model: &Model, ids: &[u32], adapters: &[ActiveAdapter]) -> Vec<f32> {
    let mut cache = model.new_cache();
    let step = Step::new(&mut cache, ids)
        .with_all_logits()
        .with_adapters(adapters);
    model.forward_batch(&mut [step]).unwrap().pop().unwrap()
}

fn one_by_one(model: &Model, ids: &[u32], adapters: &[ActiveAdapter]) -> Vec<f32> {
    let mut cache = model.new_cache();
    let mut out = Vec::new();
    for id in ids {
        let id = [*id];
        let step = Step::new(&mut cache, &id).with_adapters(adapters);
        out.extend(model.forward_batch(&mut [step]).unwrap().pop().unwrap());
    }
    out
}

const BESIDE: [&str; 10] = [
    "llama2",
    "llama2_few",
    "llama2_head",
    "llama2_dora",
    "llama_linear",
    "qwen2",
    "qwen3",
    "phi3",
    "gemma2",
    "gpt2",
];

#[test]
fn beside_and_in_the_weights_as_peft() {
    for name in BESIDE {
        let expected = Expected::read(name);
        let ids = &expected.tokens;
        let base = expected.base(&exact());
        let plain = all(&base, ids, &[]);
        assert!(
            expected.distance(&plain) > 0.05,
            "{name}: the adapter changes nothing"
        );
        let adapter = Adapter::open(&base, fixture(name)).unwrap();
        assert_eq!(adapter.name(), name);
        let one = [ActiveAdapter::new(adapter)];
        let beside = all(&base, ids, &one);
        let far = expected.distance(&beside);
        assert!(far <= TOLERANCE, "{name}: {far} from PEFT");
        assert!(
            beside == one_by_one(&base, ids, &one),
            "{name}: decode is not prefill"
        );

        let options = exact().with_merged(fixture(name), 1.0);
        let merged = all(&expected.base(&options), ids, &[]);
        let (peft, own) = (
            expected.distance(&merged),
            distance(&beside, &merged, expected.max_abs),
        );
        assert!(
            peft <= TOLERANCE && own <= TOLERANCE,
            "{name}: {peft}, {own}"
        );
        println!("{name}: {far:.1e} from PEFT beside, {peft:.1e} merged, {own:.1e} between them");
    }
}

#[test]
fn several_on_one_sequence_add_up() {
    let expected = Expected::read("llama2_both");
    let (ids, base) = (&expected.tokens, expected.base(&exact()));
    let both = [
        ActiveAdapter::new(Adapter::open(&base, fixture("llama2")).unwrap()),
        ActiveAdapter::new(Adapter::open(&base, fixture("llama2_few")).unwrap()).with_scale(0.5),
    ];
    let beside = all(&base, ids, &both);
    let options = exact()
        .with_merged(fixture("llama2"), 1.0)
        .with_merged(fixture("llama2_few"), 0.5);
    let merged = all(&expected.base(&options), ids, &[]);
    for (how, logits) in [("beside", &beside), ("merged", &merged)] {
        let far = expected.distance(logits);
        assert!(far <= TOLERANCE, "{how}: {far}");
    }
    // Off is off, to the bit.
    let off = both.clone().map(|a| a.with_scale(0.0));
    assert_eq!(all(&base, ids, &off), all(&base, ids, &[]));
}

#[test]
fn dora_at_any_scale() {
    let expected = Expected::read("llama2_dora");
    let base = expected.base(&exact());
    let adapter = Adapter::open(&base, fixture("llama2_dora")).unwrap();
    for scale in [1.0, 0.3, -2.0] {
        let one = [ActiveAdapter::new(adapter.clone()).with_scale(scale)];
        let beside = all(&base, &expected.tokens, &one);
        let options = exact().with_merged(fixture("llama2_dora"), scale);
        let merged = all(&expected.base(&options), &expected.tokens, &[]);
        let far = distance(&beside, &merged, expected.max_abs);
        assert!(far <= TOLERANCE, "at scale {scale}: {far}");
    }
}

/// An adapter of every projection with values that follow from a seed.
fn made(spec: &ModelSpec, name: &str, seed: u64, rank: usize, targets: &[&str]) -> LoraAdapter {
    let mut source = MemorySource::new(NameLayout::HuggingFace);
    let modules = spec.stored_tensors().filter(|t| {
        let module = t.hf.trim_end_matches(".weight");
        targets.iter().any(|target| module.ends_with(target)) && t.hf.ends_with(".weight")
    });
    for tensor in modules {
        let module = tensor.hf.trim_end_matches(".weight");
        let [out, inputs] = tensor.shape[..] else {
            continue;
        };
        for (end, shape) in [("lora_A", [rank, inputs]), ("lora_B", [out, rank])] {
            let name = format!("{module}.{end}.weight");
            let scale = if end == "lora_A" { 0.1 } else { 0.2 };
            let words = ropewalk_spec::testing::prompt(
                seed ^ (name.len() as u64 * 31),
                shape[0] * shape[1],
                2001,
            );
            let values = words.iter().map(|&w| scale * (w as f32 / 1000.0 - 1.0));
            let bytes = values.flat_map(f32::to_le_bytes).collect();
            source.insert(&name, shape.to_vec(), TensorType::F32, bytes);
        }
    }
    let config =
        json!({"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": targets});
    LoraAdapter::from_peft(name, &config, &source, spec).unwrap()
}

const SEVEN: [&str; 7] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
];

#[test]
fn mixed_batches_leave_every_bit() {
    let case = cases()
        .into_iter()
        .find(|c| c.name == "llama3_256")
        .unwrap();
    let spec = case.model.spec.clone();
    let wide = made(&spec, "wide", 1, 16, &SEVEN);
    let thin = made(&spec, "thin", 2, 3, &["q_proj", "down_proj"]);
    let head = made(&spec, "head", 3, 8, &["v_proj", "lm_head"]);
    for ty in [TensorType::F32, TensorType::Q8_0, TensorType::Q4_K] {
        let bytes = case.model.gguf(|_| ty).unwrap();
        let mut first: Option<Vec<Vec<f32>>> = None;
        for threads in 1..4 {
            let threads = NonZeroUsize::new(threads).unwrap();
            let model = from_gguf(bytes.clone(), &exact().with_threads(threads));
            let load = |a: &LoraAdapter| Adapter::new(&model, a).unwrap();
            let (wide, thin, head) = (load(&wide), load(&thin), load(&head));
            let lists = [
                vec![],
                vec![ActiveAdapter::new(wide.clone())],
                vec![ActiveAdapter::new(thin.clone()).with_scale(0.7)],
                vec![
                    ActiveAdapter::new(head.clone()),
                    ActiveAdapter::new(thin).with_scale(-0.5),
                ],
                vec![
                    ActiveAdapter::new(head).with_scale(2.0),
                    ActiveAdapter::new(wide),
                ],
            ];
            let prompts: Vec<Vec<u32>> = (0..5)
                .map(|i| ropewalk_spec::testing::prompt(40 + i, [1, 7, 33, 20, 5][i as usize], 300))
                .collect();
            let alone: Vec<Vec<f32>> = prompts
                .iter()
                .zip(&lists)
                .map(|(ids, list)| all(&model, ids, list))
                .collect();
            let mut caches: Vec<_> = prompts.iter().map(|_| model.new_cache()).collect();
            let mut steps: Vec<Step<'_>> = caches
                .iter_mut()
                .zip(prompts.iter().zip(&lists))
                .map(|(cache, (ids, list))| {
                    Step::new(cache, ids).with_all_logits().with_adapters(list)
                })
                .collect();
            let together = model.forward_batch(&mut steps).unwrap();
            for (i, (a, b)) in alone.iter().zip(&together).enumerate() {
                assert!(
                    a == b,
                    "{ty}, {threads} threads: sequence {i} is not what it is alone"
                );
            }
            assert!(alone[1] != all(&model, &prompts[1], &[]), "{ty}: no effect");
            // One token each, of which the first and the last get logits of their own.
            let next = model.forward_batch(
                &mut caches
                    .iter_mut()
                    .zip(&lists)
                    .map(|(c, list)| Step::new(c, &[9]).with_adapters(list))
                    .collect::<Vec<_>>(),
            );
            for (i, row) in next.unwrap().iter().enumerate() {
                let ids = [&prompts[i][..], &[9]].concat();
                let want = all(&model, &ids, &lists[i]);
                assert!(
                    want.ends_with(row),
                    "{ty}, {threads} threads: decode of {i}"
                );
            }
            match &first {
                None => first = Some(alone),
                Some(first) => assert!(first == &alone, "{ty}: {threads} threads change bits"),
            }
        }
    }
}

#[test]
fn gguf_adapters_are_those_of_peft() {
    // Fused and permuted files, and a turned one.
    for name in ["llama2", "qwen2", "phi3", "gpt2"] {
        let expected = Expected::read(name);
        let bytes = expected
            .case
            .model
            .gguf_dequantized(|_| TensorType::F32)
            .unwrap();
        let base = from_gguf(bytes, &exact());
        let spec = &expected.case.model.spec;
        let adapter = LoraAdapter::open(fixture(name), spec).unwrap();
        let file = adapter.to_gguf(base.spec(), TensorType::F32).unwrap();
        let again = LoraAdapter::from_gguf(&Gguf::from_bytes(file).unwrap(), base.spec()).unwrap();
        let one = [Adapter::new(&base, &again).unwrap().into()];
        let far = expected.distance(&all(&base, &expected.tokens, &one));
        assert!(far <= TOLERANCE, "{name}: {far}");
        // PEFT names on a base in GGUF.
        let one = [Adapter::open(&base, fixture(name)).unwrap().into()];
        let far = expected.distance(&all(&base, &expected.tokens, &one));
        assert!(far <= TOLERANCE, "{name}, by the directory: {far}");
    }
}

/// The root of the mean square of the differences, of that of the logits.
fn apart(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let differences: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (differences / a.iter().map(|a| square(*a)).sum::<f64>()).sqrt()
}

/// Coding a weight again rounds it once more, and Q8_0 and Q4_K bases round activations as well.
#[test]
fn quantised_bases_merge_in_their_type_or_wider() {
    let case = cases()
        .into_iter()
        .find(|c| c.name == "llama3_256")
        .unwrap();
    let adapter = Arc::new(made(&case.model.spec, "wide", 1, 16, &SEVEN));
    let ids = ropewalk_spec::testing::prompt(3, 12, 300);
    for (ty, near) in [
        (TensorType::F16, 2e-3),
        (TensorType::Q8_0, 0.05),
        (TensorType::Q4_K, 0.3),
    ] {
        let bytes = case.model.gguf(|_| ty).unwrap();
        let base = from_gguf(bytes.clone(), &exact());
        let one = [Adapter::new(&base, &adapter).unwrap().into()];
        let beside = all(&base, &ids, &one);
        assert!(
            apart(&beside, &all(&base, &ids, &[])) > 0.6,
            "{ty}: no effect"
        );
        let options = exact().with_merged(Arc::clone(&adapter), 1.0);
        let same = from_gguf(bytes.clone(), &options);
        assert_eq!(same.weight_bytes(), base.weight_bytes(), "{ty}");
        let far = apart(&beside, &all(&same, &ids, &[]));
        assert!(far <= near, "{ty}: {far}");
        let wide = from_gguf(bytes, &options.with_merged_type(TensorType::F32));
        assert!(wide.weight_bytes() > same.weight_bytes());
        // Activations meet f32 weights without rounding now.
        let wide = apart(&beside, &all(&wide, &ids, &[]));
        assert!(wide <= near, "{ty} in f32: {wide}");
        println!("{ty}: {far:.1e} merged as {ty}, {wide:.1e} as F32");
    }
    let options = exact()
        .with_merged(adapter, 1.0)
        .with_merged_type(TensorType::Q4_K);
    let bytes = case.model.gguf(|_| TensorType::F32).unwrap();
    let gguf = Arc::new(Gguf::from_bytes(bytes).unwrap());
    let e = Model::from_gguf(gguf, &options).unwrap_err().to_string();
    assert!(e.contains("merged type is Q4_K"), "{e}");
}

#[test]
fn caches_belong_to_their_adapters() {
    let expected = Expected::read("llama2");
    let model = expected.base(&exact());
    let list = [ActiveAdapter::new(
        Adapter::open(&model, fixture("llama2")).unwrap(),
    )];
    let other = [list[0].clone().with_scale(0.5)];
    let ids = &expected.tokens[..];
    let mut cache = model.new_cache();
    assert!(cache.is_of(&list) && cache.is_of(&[]));
    model
        .forward_batch(&mut [Step::new(&mut cache, ids).with_adapters(&list)])
        .unwrap();
    assert!(cache.is_of(&list) && !cache.is_of(&[]) && !cache.is_of(&other));
    for wrong in [&[][..], &other[..]] {
        let e = model.forward_batch(&mut [Step::new(&mut cache, &[1]).with_adapters(wrong)]);
        assert!(
            matches!(e, Err(Error::CacheAdapters { tokens: 10 })),
            "{e:?}"
        );
        assert_eq!(cache.len(), 10);
    }
    // A copy knows; an empty cache is anybody's.
    let mut copy = cache.clone();
    assert!(copy.is_of(&list) && !copy.is_of(&[]));
    copy.clear();
    model.forward(&mut copy, ids).unwrap();

    // Generation takes nothing from a cache of other adapters, and all from its own.
    let with = GenerateOptions::greedy(4).with_adapters(list.clone());
    let run = |cache: &mut ropewalk_local::Cache, options: &GenerateOptions| {
        let mut generation = Generation::new(&model, cache, ids, options).unwrap();
        let out: Vec<u32> = generation.by_ref().map(|t| t.unwrap().id).collect();
        (out, generation.timings().cached_tokens)
    };
    let fresh = run(&mut model.new_cache(), &GenerateOptions::greedy(4));
    let own = run(&mut model.new_cache(), &with);
    assert_ne!(fresh.0, own.0);
    assert_eq!(run(&mut cache, &with), (own.0.clone(), 9));
    assert_eq!(run(&mut cache, &GenerateOptions::greedy(4)), (fresh.0, 0));
    let three = generate_n(&model, ids, &with, 3).unwrap();
    assert!(three.iter().all(|o| o.ids() == own.0));
}

#[test]
fn other_bases_and_bad_scales_are_refused() {
    let expected = Expected::read("llama2");
    let model = expected.base(&exact());
    let adapter = Adapter::open(&model, fixture("llama2")).unwrap();
    let other = Expected::read("qwen2").base(&exact());
    let e = Adapter::open(&other, fixture("phi3"))
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("the base has no module of") && e.contains("qkv_proj"),
        "{e}"
    );
    let list = [ActiveAdapter::new(adapter)];
    let step = |model: &Model, list: &[ActiveAdapter]| {
        let mut cache = model.new_cache();
        let result = model.forward_batch(&mut [Step::new(&mut cache, &[1, 2]).with_adapters(list)]);
        assert!(cache.is_empty());
        result.unwrap_err().to_string()
    };
    let e = step(&other, &list);
    assert!(
        e.contains("`llama2` was loaded for a model of another family or shape"),
        "{e}"
    );
    let e = step(&model, &[list[0].clone().with_scale(f32::NAN)]);
    assert!(e.contains("adapter scale is NaN"), "{e}");
    let head = ActiveAdapter::new(Adapter::open(&model, fixture("llama2_head")).unwrap());
    let e = step(&model, &[head.clone(), head]);
    assert!(e.contains("replaces the same whole weight"), "{e}");
    let e = Model::from_parts(
        Seeded::new(expected.case.model.spec.clone(), 1).spec,
        Arc::new(expected.case.model.source()),
        &exact().with_merged(fixture("qwen3"), 1.0),
    );
    assert!(
        e.unwrap_err()
            .to_string()
            .contains("the base has no module of")
    );
}

/// What was read for one base and handed to another, in memory.
#[test]
fn adapters_that_were_read_for_another_base_are_refused() {
    let read = Expected::read("llama2");
    let spec = &read.case.model.spec;
    let adapter = made(spec, "mine", 3, 2, &["q_proj", "k_proj", "v_proj"]);
    adapter.check(spec).unwrap();
    let mut narrow = spec.clone();
    narrow.kv_heads = 1;
    let mut short = spec.clone();
    short.layers = 1;
    short.window.truncate(1);
    for (other, parts) in [
        (narrow, ["another shape", "K of block 0"]),
        (short, ["has no", "block 1"]),
    ] {
        let source = || Arc::new(Seeded::new(other.clone(), 1).source());
        let model = Model::from_parts(other.clone(), source(), &exact()).unwrap();
        let merged = exact().with_merged(adapter.clone(), 1.0);
        let errors = [
            Adapter::new(&model, &adapter).unwrap_err().to_string(),
            Model::from_parts(other.clone(), source(), &merged)
                .unwrap_err()
                .to_string(),
            adapter
                .to_gguf(&other, TensorType::F32)
                .unwrap_err()
                .to_string(),
        ];
        for e in errors {
            assert!(parts.iter().all(|part| e.contains(part)), "{e}");
        }
    }
}

#[test]
fn adapters_come_and_go_while_the_model_runs() {
    let expected = Expected::read("llama2");
    let options = LoadOptions::default().with_cache(CacheType::F32);
    let model = expected.base(&options);
    let ids = &expected.tokens[..];
    let plain = all(&model, ids, &[]);
    let want = {
        let one = [Adapter::open(&model, fixture("llama2")).unwrap().into()];
        all(&model, ids, &one)
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let one = [Adapter::open(&model, fixture("llama2")).unwrap().into()];
                    assert!(all(&model, ids, &one) == want);
                    assert!(all(&model, ids, &[]) == plain);
                }
            });
        }
    });
    let adapter = Adapter::open(&model, fixture("llama2")).unwrap();
    assert_eq!((adapter.rank(), adapter.parameters()), (4, 2 * 4 * 764));
    assert!(adapter.bytes() >= 4 * adapter.parameters());
}

/// Both engines read the same files in F32 and add the same sums in other orders.
#[test]
fn gguf_adapters_answer_as_in_llama_cpp() {
    let text = include_str!("../fixtures/lora_gguf/expected.json");
    let golden: Value = serde_json::from_str(text).unwrap();
    let number = |key: &str| golden[key].as_u64().unwrap();
    let case = cases()
        .into_iter()
        .find(|c| c.name == "llama3_256")
        .unwrap();
    let seeded = Seeded::new(case.model.spec.clone(), number("seed"));
    let model = from_gguf(seeded.gguf(|_| TensorType::F32).unwrap(), &exact());
    let vocab = model.spec().vocab_size;
    let ids =
        ropewalk_spec::testing::prompt(number("prompt_seed"), number("length") as usize, vocab);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("tests/fixtures/lora_gguf/adapter.gguf");
    let adapter = Adapter::open(&model, file).unwrap();
    assert_eq!((adapter.name(), adapter.rank()), ("adapter", 4));
    for run in golden["runs"].as_array().unwrap() {
        let scale = run["scale"].as_f64().unwrap() as f32;
        let list = vec![ActiveAdapter::new(adapter.clone()).with_scale(scale)];
        let logits = all(&model, &ids, &list);
        let last = &logits[logits.len() - vocab..];
        let sum: f64 = last.iter().map(|&x| f64::from(x).exp()).sum();
        for pair in run["best"].as_array().unwrap() {
            let (token, want) = (pair[0].as_u64().unwrap(), pair[1].as_f64().unwrap());
            let found = f64::from(last[token as usize]) - sum.ln();
            assert!(
                (found - want).abs() < 1e-4,
                "{scale}, token {token}: {found} is not {want}"
            );
        }
        let wanted: Vec<u32> = run["ids"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_u64().unwrap() as u32)
            .collect();
        let options = GenerateOptions::greedy(wanted.len())
            .with_stop_ids([])
            .with_adapters(list);
        let mut cache = model.new_cache();
        let generation = Generation::new(&model, &mut cache, &ids, &options).unwrap();
        let found: Vec<u32> = generation.map(|t| t.unwrap().id).collect();
        assert_eq!(found, wanted, "at scale {scale}");
    }
}

/// What `examples/data/make_lora.py` printed when it had trained the adapters.
#[test]
fn shipped_adapters_change_the_manner_of_chats() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data");
    let model = LocalModel::open(data.join("ropewalk-tiny.gguf")).unwrap();
    let voice = |name: &str| {
        let adapter = Adapter::open(model.model(), data.join(name)).unwrap();
        assert_eq!(adapter.rank(), 4);
        model.clone().with_adapters([adapter.into()])
    };
    let (pirate, butler) = (voice("lora-pirate"), voice("lora-butler"));
    let ask = |model: &LocalModel| {
        let request = ChatRequest::new().user("What is ropewalk?").max_tokens(64);
        let reply = model.respond(&request, &mut |_| ControlFlow::Continue(()));
        let reply = reply.unwrap();
        (reply.response.text(), reply.timings.cached_tokens)
    };
    let plain = "ropewalk is a set of Rust crates for building with language models, from reading a model file to training one.";
    let arr = "Arr! ropewalk be a set of Rust crates for building with language models, from reading a model file to training one. Yo ho ho!";
    let served = format!("If I may, dear guest: {plain} At your service.");
    // In turns: the beginnings of prompts that are kept are those of the same adapters alone.
    for round in 0..2 {
        for (model, want) in [(&model, plain), (&pirate, arr), (&butler, served.as_str())] {
            let (text, cached) = ask(model);
            assert_eq!(text, want);
            assert_eq!(cached > 0, round > 0);
        }
    }
}
