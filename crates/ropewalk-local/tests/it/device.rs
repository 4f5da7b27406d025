//! Layers on devices, against the same expectations as those of the CPU.
//!
//! Everything runs on candle's CPU device. With `ROPEWALK_DEVICE=cuda` (or `metal`, `cuda:1`) and
//! that feature it runs there too; without, the case counts as skipped.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use futures_executor::block_on;
use ropewalk_core::testing::{ChatSuite, chat, secret};
use ropewalk_gguf::{Gguf, TensorType};
use ropewalk_local::device::{Device, DeviceBudget, DeviceDtype, DevicePlan, ModelSizes};
use ropewalk_local::{
    CacheType, Error, GenerateOptions, Generation, HeadRule, LoadOptions, LoadQuantize, LocalModel,
    Model, Step, WeightFormat, generate_n,
};
use ropewalk_spec::testing::prompt;

use crate::families::{check, check_logits, exact, from_gguf};
use crate::golden::{GoldenCase, cases, packed_cases};
use crate::memory::{alone, status};

/// The devices that this run tests.
fn devices() -> Vec<Device> {
    let named = secret("ROPEWALK_DEVICE");
    let named = named.map(|name| name.to_string_lossy().parse().unwrap());
    [Device::CandleCpu].into_iter().chain(named).collect()
}

fn parts(case: &GoldenCase, options: &LoadOptions) -> Model {
    let source = Arc::new(case.model.source());
    Model::from_parts(case.model.spec.clone(), source, options).unwrap()
}

fn case(name: &str) -> GoldenCase {
    cases().into_iter().find(|c| c.name == name).unwrap()
}

/// Largest difference, relative to the largest value.
fn difference(found: &[f32], want: &[f32]) -> f32 {
    assert_eq!(found.len(), want.len());
    let most = |x: f32, y: f32| x.max(y);
    let largest = want.iter().map(|x| x.abs()).fold(0.0, most);
    let pairs = found.iter().zip(want);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, most) / largest
}

/// Root of the mean squared difference, relative to that of the values.
fn error(found: &[f32], want: &[f32]) -> f32 {
    let sum = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>();
    let off = sum(&mut found.iter().zip(want).map(|(a, b)| a - b));
    (off / sum(&mut want.iter().copied())).sqrt()
}

#[test]
fn logits_of_every_family_are_those_of_transformers() {
    for device in devices() {
        for case in cases() {
            let model = parts(&case, &exact().with_device(device));
            let plan = model.device_plan().unwrap();
            assert_eq!(plan.layers_on_devices(), case.model.spec.layers);
            assert_eq!(plan.head(), device);
            check(&case, &model, &device.to_string());
        }
    }
}

#[test]
fn layers_on_two_devices_and_the_cpu_give_the_same() {
    for device in devices() {
        for case in cases() {
            // The first golden test says that both are right; here they have to agree.
            let ids = prompt(5, 40, case.model.spec.vocab_size);
            let run = |model: &Model| -> Vec<f32> {
                let mut cache = model.new_cache();
                let mut out = model.forward_all(&mut cache, &ids[..30]).unwrap();
                for id in &ids[30..] {
                    out.extend(model.forward(&mut cache, &[*id]).unwrap());
                }
                out
            };
            let want = run(&parts(&case, &exact()));
            let layers = case.model.spec.layers;
            // One unit each, so that a budget of `n` takes `n` layers.
            let sizes = ModelSizes::new(vec![1; layers], 1);
            let budget = |n: u64| DeviceBudget::new(device).with_bytes(n);
            for budgets in [vec![budget(1)], vec![budget(1), budget(layers as u64 - 1)]] {
                let plan = DevicePlan::auto(&sizes, &budgets);
                assert_eq!(plan.head(), Device::Cpu);
                let on_devices: usize = plan.layers_on_devices();
                assert_eq!(on_devices, if budgets.len() == 1 { 1 } else { layers });
                let model = parts(&case, &exact().with_device_plan(plan));
                let d = difference(&run(&model), &want);
                assert!(
                    d <= 2e-5,
                    "{}: {d}, {on_devices} layers on {device}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn a_pass_gives_the_same_however_the_tokens_come() {
    // Products of one row and of several sum in another order: not the same bits, but far less
    // apart than half-precision weights would be.
    let limit = 1e-5;
    for device in devices() {
        for case in cases() {
            let model = parts(&case, &exact().with_device(device));
            let vocab = case.model.spec.vocab_size;
            let (long, short) = (prompt(6, 40, vocab), prompt(7, 9, vocab));
            let all = |ids: &[u32]| model.forward_all(&mut model.new_cache(), ids).unwrap();
            let want = [all(&long), all(&short)];
            let mut cache = model.new_cache();
            let mut decoded = Vec::new();
            for id in &short {
                decoded.extend(model.forward(&mut cache, &[*id]).unwrap());
            }
            let d = difference(&decoded, &want[1]);
            assert!(d <= limit, "{}: {d} between decode and prefill", case.name);
            let (mut a, mut b) = (model.new_cache(), model.new_cache());
            let mut steps =
                [Step::new(&mut a, &long), Step::new(&mut b, &short)].map(Step::with_all_logits);
            for (found, want) in model.forward_batch(&mut steps).unwrap().iter().zip(&want) {
                let d = difference(found, want);
                assert!(d <= limit, "{}: {d} between batch and single", case.name);
            }
            // Both once more, one token each, and a copy that goes on apart from its original.
            let next = [prompt(8, 1, vocab), prompt(9, 1, vocab)];
            let mut copy = a.clone();
            let alone = model.forward(&mut copy, &next[0]).unwrap();
            let mut other = a.clone();
            model.forward(&mut other, &next[1]).unwrap();
            let mut steps = [Step::new(&mut a, &next[0]), Step::new(&mut b, &next[1])];
            let found = model.forward_batch(&mut steps).unwrap();
            let d = difference(&found[0], &alone);
            assert!(
                d <= limit,
                "{}: {d} between a copy and its original",
                case.name
            );
            // Cut back, the rest is computed again.
            a.truncate(long.len());
            let again = model.forward(&mut a, &next[0]).unwrap();
            assert!(
                difference(&again, &alone) <= limit,
                "{}: truncated",
                case.name
            );
        }
    }
}

#[test]
fn half_precision_stays_close() {
    for device in devices() {
        for name in ["llama3_256", "gemma2_256", "gpt2_256", "qwen3moe_256"] {
            let case = case(name);
            let ids = prompt(11, 24, case.model.spec.vocab_size);
            let run = |model: &Model| model.forward_all(&mut model.new_cache(), &ids).unwrap();
            let want = run(&parts(&case, &exact()));
            // Eight and eleven bits of every product's factors; experts may change places.
            for (dtype, limit) in [(DeviceDtype::F16, 0.01), (DeviceDtype::Bf16, 0.06)] {
                let options = exact().with_device(device).with_device_dtype(dtype);
                let found = run(&parts(&case, &options));
                let vocab = case.model.spec.vocab_size;
                let rows = found.chunks(vocab).zip(want.chunks(vocab));
                let mut errors: Vec<f32> = rows.map(|(a, b)| error(a, b)).collect();
                errors.sort_by(f32::total_cmp);
                let median = errors[errors.len() / 2];
                assert!(median <= limit, "{name} {dtype:?}: {median}");
                assert!(median > 1e-6, "{name} {dtype:?}: nothing was rounded");
            }
            let half = exact().with_cache(CacheType::F16).with_device(device);
            let d = difference(&run(&parts(&case, &half)), &want);
            assert!(d > 1e-7, "{name}: keys were not rounded");
            assert!(d < 0.01 || case.model.spec.experts.is_some(), "{name}: {d}");
        }
    }
}

#[test]
fn quantised_files_stay_quantised() {
    for device in devices() {
        // What transformers computes with the dequantised values.
        for case in packed_cases() {
            let bytes = case.model.gguf(|_| case.packed.unwrap()).unwrap();
            let options = exact().with_device(device);
            let plain = options.clone().with_device_dtype(DeviceDtype::F32);
            check_logits(&case, &from_gguf(bytes, &plain), case.name);
        }
        let case = case("llama3_256");
        let spec = &case.model.spec;
        let ids = prompt(11, 24, case.model.spec.vocab_size);
        let run = |model: &Model| model.forward_all(&mut model.new_cache(), &ids).unwrap();
        let types = [
            (TensorType::Q4_0, true),
            (TensorType::Q4_1, true),
            (TensorType::Q5_0, true),
            (TensorType::Q5_1, true),
            (TensorType::Q8_0, true),
            (TensorType::Q2_K, true),
            (TensorType::Q3_K, true),
            (TensorType::Q4_K, true),
            (TensorType::Q5_K, true),
            (TensorType::Q6_K, true),
            (TensorType::IQ4_XS, false),
            (TensorType::IQ2_S, false),
        ];
        for (ty, stays) in types {
            let want = run(&from_gguf(
                case.model.gguf_dequantized(|_| ty).unwrap(),
                &exact(),
            ));
            let bytes = case.model.gguf(|_| ty).unwrap();
            let model = from_gguf(bytes, &exact().with_device(device));
            // Activations are rounded to 8 bits as on the CPU; types that candle lacks are f16.
            let (e, limit) = (error(&run(&model), &want), if stays { 0.05 } else { 0.01 });
            assert!(e <= limit, "{ty}: relative error {e:.2e}");
            let per_value = if stays {
                ty.type_size() as f64 / ty.block_size() as f64
            } else {
                2.0
            };
            let size = model.memory();
            let matrices = (size.linear_parameters + (spec.vocab_size * spec.hidden) as u64) as f64;
            let size = model.weight_bytes() as f64 / matrices;
            assert!(
                (per_value..per_value + 0.1).contains(&size),
                "{ty}: {size} bytes"
            );
        }
    }
}

#[test]
fn sizes_are_what_loading_takes() {
    for device in devices() {
        for case in cases() {
            let spec = &case.model.spec;
            let source = case.model.source();
            for dtype in [DeviceDtype::Stored, DeviceDtype::F16] {
                let sizes =
                    ModelSizes::measure(spec, &source, dtype, CacheType::F16, (32, 2)).unwrap();
                let options = LoadOptions::default().with_device(device);
                let model = parts(&case, &options.with_device_dtype(dtype));
                let planned = sizes.layers.iter().sum::<u64>() + sizes.head;
                // One norm in both parts of a block is counted for each, and so is a layer norm's
                // bias of zeros.
                let slack = (12 * spec.layers * spec.hidden) as u64;
                let found = model.weight_bytes() as u64;
                assert!(
                    found >= planned && found <= planned + slack,
                    "{} {dtype:?}: {found} bytes, planned {planned}",
                    case.name
                );
                assert_eq!(sizes.cache, (2 * 2 * 32 * 2 * spec.kv_dim()) as u64);
            }
        }
    }
}

fn tiny() -> Arc<Gguf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data/ropewalk-tiny.gguf");
    Arc::new(Gguf::open(path).unwrap())
}

#[test]
fn the_shipped_model_says_the_same_on_a_device() {
    // Both round the activations of 8-bit products, each in its own way; in f32 neither does.
    let rule = LoadQuantize::new("f32".parse().unwrap())
        .with_head(HeadRule::Same)
        .with_requantize(true);
    let cpu = LocalModel::from_gguf(tiny(), &exact().with_quantize(rule)).unwrap();
    for device in devices() {
        let options = exact()
            .with_device(device)
            .with_device_dtype(DeviceDtype::F32);
        let model = LocalModel::from_gguf(tiny(), &options).unwrap();
        for text in ["Once upon a time", "What is a rope?", "2 + 2 ="] {
            let ids = cpu.tokenizer().encode(text, true).unwrap();
            let run = |model: &Model| -> Vec<u32> {
                let options = GenerateOptions::greedy(48).with_stop_ids([]);
                let mut cache = model.new_cache();
                let tokens = Generation::new(model, &mut cache, &ids, &options).unwrap();
                tokens.map(|t| t.unwrap().id).collect()
            };
            assert_eq!(run(model.model()), run(cpu.model()), "{device}: {text}");
        }
        let options = GenerateOptions::greedy(4).with_stop_ids([]);
        let ids = cpu.tokenizer().encode("Once", true).unwrap();
        for output in generate_n(model.model(), &ids, &options, 3).unwrap() {
            assert_eq!(output.ids().len(), 4);
        }
    }
}

#[test]
fn a_model_on_a_device_conforms_to_the_chat_contract() {
    for device in devices() {
        let options = exact()
            .with_device(device)
            .with_device_dtype(DeviceDtype::F32);
        let model = LocalModel::from_gguf(tiny(), &options).unwrap();
        let report = block_on(chat(&model, &ChatSuite::new().with_max_tokens(24)));
        report.into_result().unwrap();
    }
}

#[test]
fn what_devices_cannot_do_is_refused() {
    let case = case("llama2");
    let load = |options: &LoadOptions| {
        let source = Arc::new(case.model.source());
        Model::from_parts(case.model.spec.clone(), source, options)
    };
    let on = exact().with_device(Device::CandleCpu);
    let refused = |options: LoadOptions, want: &str| {
        let e = load(&options).unwrap_err();
        assert!(e.to_string().contains(want), "{e}");
    };
    refused(on.clone().with_cache(CacheType::Q8_0), "use F32 or F16");
    let nf4: WeightFormat = "nf4".parse().unwrap();
    refused(
        on.clone().with_quantize(LoadQuantize::new(nf4)),
        "quantising while loading",
    );
    let plan = DevicePlan::all_on(Device::CandleCpu, &ModelSizes::new(vec![1; 99], 1));
    refused(exact().with_device_plan(plan), "for 99 layers");
    for device in [Device::Cuda(0), Device::Metal(0)] {
        if !device.is_built() {
            let e = load(&exact().with_device(device)).unwrap_err();
            assert!(matches!(e, Error::DeviceFeature { .. }), "{e}");
            let budget = DeviceBudget::new(device).with_bytes(1 << 20);
            let e = load(&exact().with_devices([budget])).unwrap_err();
            assert!(matches!(e, Error::DeviceFeature { .. }), "{e}");
        }
    }
    // A cache that was filled elsewhere has no keys on the device.
    let (cpu, device) = (load(&exact()).unwrap(), load(&on).unwrap());
    let mut cache = cpu.new_cache();
    cpu.forward(&mut cache, &[1, 2]).unwrap();
    let e = device.forward(&mut cache, &[3]).unwrap_err();
    assert!(matches!(e, Error::Cache { .. }), "{e}");
    assert_eq!(cache.tokens(), [1, 2]);
    let mut cache = device.new_cache();
    device.forward(&mut cache, &[1, 2]).unwrap();
    let e = cpu.forward(&mut cache, &[3]).unwrap_err();
    assert!(matches!(e, Error::Cache { .. }), "{e}");
}

#[test]
fn a_budget_decides_what_goes_to_a_device() {
    let case = case("llama3_256");
    let spec = &case.model.spec;
    let source = case.model.source();
    let context = 64;
    let sizes = ModelSizes::measure(
        spec,
        &source,
        DeviceDtype::Stored,
        CacheType::F32,
        (context, 1),
    )
    .unwrap();
    let one = sizes.layers[0] + sizes.cache + sizes.scratch;
    let load = |bytes: u64| {
        let budget = DeviceBudget::new(Device::CandleCpu).with_bytes(bytes);
        let options = exact().with_context(context).with_devices([budget]);
        parts(&case, &options)
    };
    assert!(load(one - 1).device_plan().is_none());
    let model = load(one);
    let plan = model.device_plan().unwrap();
    assert_eq!(plan.layers_on_devices(), 1);
    assert!(plan.to_string().lines().count() == 3, "{plan}");
    let whole = one + sizes.layers[1..].iter().sum::<u64>() + sizes.head;
    let whole = whole + (spec.layers as u64 - 1) * sizes.cache;
    assert_eq!(load(whole).device_plan().unwrap().head(), Device::CandleCpu);
    assert_eq!(load(whole - 1).device_plan().unwrap().head(), Device::Cpu);
}

const FILE: &str = "ROPEWALK_TEST_DEVICE_MEMORY_FILE";

#[test]
fn dropping_a_model_gives_its_memory_back() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let Some(path) = alone(FILE, "device::dropping_a_model_gives_its_memory_back") else {
        return;
    };
    let two = NonZeroUsize::new(2).unwrap();
    let options = LoadOptions::default().with_threads(two);
    let run = || {
        let model = Model::open(&path, &options.clone().with_device(Device::CandleCpu)).unwrap();
        let mut cache = model.new_cache();
        model.forward(&mut cache, &[1, 2, 3, 4]).unwrap();
        (status("VmRSS"), model.weight_bytes())
    };
    // Threads and buffers of candle stay; the second time nothing is added.
    let before = status("VmRSS");
    let (running, weights) = run();
    assert!(running - before > weights, "{running} bytes for {weights}");
    let first = status("VmRSS");
    run();
    let left = status("VmRSS");
    let fixed = 16 << 20;
    assert!(first < before + fixed, "{} bytes are left", first - before);
    assert!(left < first + fixed / 2, "{} bytes more", left - first);
}
