//! Perplexity, divergence and importance, against llama.cpp and against plain sums.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use ropewalk_gguf::{Gguf, TensorType};
use ropewalk_local::eval::{
    EvalOptions, Progress, Scoring, divergence, divergence_from, importance, perplexity,
    save_logits,
};
use ropewalk_local::{Error, LoadOptions, Model};
use ropewalk_spec::testing::{TempDir, prompt};

use crate::families::{exact, from_gguf};
use crate::golden::cases;

fn go(_: &Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn model(name: &str, ty: TensorType, options: &LoadOptions) -> Model {
    let case = cases().into_iter().find(|c| c.name == name).unwrap();
    from_gguf(case.model.gguf(|_| ty).unwrap(), options)
}

/// `ln` of the softmax in f64.
fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().fold(f64::MIN, |m, &x| m.max(f64::from(x)));
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - max).exp()).sum();
    logits
        .iter()
        .map(|&x| f64::from(x) - max - sum.ln())
        .collect()
}

/// The text of the conversations beside the model that ships.
fn conversations() -> (Model, Vec<u32>) {
    let data = |name: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../examples/data")
            .join(name)
    };
    let gguf = Gguf::open(data("ropewalk-tiny.gguf")).unwrap();
    let model = Model::from_gguf(Arc::new(gguf), &LoadOptions::default()).unwrap();
    let json = std::fs::read_to_string(data("tiny_greedy.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let ids = json["cases"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|case| ["prompt_ids", "greedy_ids"].map(|key| case[key].as_array().unwrap()));
    (
        model,
        ids.flatten().map(|x| x.as_u64().unwrap() as u32).collect(),
    )
}

#[test]
fn is_what_llama_cpp_finds() {
    let golden = include_str!("../fixtures/perplexity.json");
    let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
    let (model, ids) = conversations();
    assert_eq!(golden["tokens"].as_u64().unwrap() as usize, ids.len());
    for case in golden["cases"].as_array().unwrap() {
        let context = case["context"].as_u64().unwrap() as usize;
        let mut options = EvalOptions::new()
            .with_context(context)
            .with_bos(case["bos"].as_u64().map(|id| id as u32));
        if let Some(stride) = case["stride"].as_u64() {
            options = options.with_scoring(Scoring::Stride(stride as usize));
        }
        let found = perplexity(&model, &ids, &options, go).unwrap();
        assert_eq!(found.tokens as u64, case["scored"].as_u64().unwrap());
        let (nll, error) = (
            case["nll"].as_f64().unwrap(),
            case["nll_error"].as_f64().unwrap(),
        );
        // Weights in Q8_0: both round activations to bytes, each in its own way.
        assert!((found.nll - nll).abs() < 0.01, "{case}: {}", found.nll);
        assert!(
            (found.nll_error - error).abs() < 0.01 * error.max(0.1),
            "{case}: {found:?}"
        );
    }
}

#[test]
fn is_the_mean_over_the_rows_of_one_forward() {
    let model = model("llama3_256", TensorType::F32, &exact());
    let ids = prompt(4, 100, 320);
    let options = EvalOptions::new().with_context(40);
    let mut seen = Vec::new();
    let found = perplexity(&model, &ids, &options, |p| {
        seen.push((p.done, p.windows, p.so_far.tokens));
        ControlFlow::Continue(())
    })
    .unwrap();
    // Two windows; rows 20..39 of each are scored by the tokens after them.
    assert_eq!(seen, [(1, 2, 19), (2, 2, 38)]);
    let mut nll = Vec::new();
    for window in ids.chunks_exact(40) {
        let logits = model.forward_all(&mut model.new_cache(), window).unwrap();
        for (i, row) in logits.chunks_exact(320).enumerate().take(39).skip(20) {
            nll.push(-log_softmax(row)[window[i + 1] as usize]);
        }
    }
    let n = nll.len() as f64;
    let mean = nll.iter().sum::<f64>() / n;
    let variance = nll.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    assert!((found.nll - mean).abs() < 1e-5, "{} {mean}", found.nll);
    assert!((found.nll_error - (variance / (n - 1.0)).sqrt()).abs() < 1e-5);
    assert!((found.value() - mean.exp()).abs() < 1e-2);

    // A stride that is the window scores all tokens but the first of each.
    let strided = options.clone().with_scoring(Scoring::Stride(40));
    let strided = perplexity(&model, &ids, &strided, go).unwrap();
    assert_eq!((strided.tokens, strided.windows), (97, 3));
    let first = perplexity(&model, &ids, &options.with_windows(1), go).unwrap();
    assert_eq!(first.tokens, 19);
}

#[test]
fn divergence_is_what_plain_sums_give_and_survives_a_file() {
    let base = model("llama3_256", TensorType::F32, &exact());
    let other = model("llama3_256", TensorType::Q4_0, &exact());
    let ids = prompt(6, 96, 320);
    let options = EvalOptions::new().with_context(32).with_bos(Some(1));
    let found = divergence(&base, &other, &ids, &options, go).unwrap();

    let (mut kl, mut same, mut differences, mut ratio) = (vec![], 0, vec![], 0.0);
    for window in ids.chunks_exact(32) {
        let mut run = window.to_vec();
        run[0] = 1;
        let [p, q] = [&base, &other].map(|m| m.forward_all(&mut m.new_cache(), &run).unwrap());
        for i in 16..31 {
            let [p, q] = [&p, &q].map(|x| log_softmax(&x[i * 320..][..320]));
            kl.push(
                p.iter()
                    .zip(&q)
                    .map(|(p, q)| p.exp() * (p - q))
                    .sum::<f64>(),
            );
            let top = |x: &[f64]| (0..320).max_by(|&a, &b| x[a].total_cmp(&x[b])).unwrap();
            same += usize::from(top(&p) == top(&q));
            let next = window[i + 1] as usize;
            differences.push(q[next].exp() - p[next].exp());
            ratio += p[next] - q[next];
        }
    }
    kl.sort_by(f64::total_cmp);
    let n = kl.len() as f64;
    assert_eq!(n, 45.0);
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-5 * b.abs().max(0.1), "{a} {b}");
    close(found.kl.mean, kl.iter().sum::<f64>() / n);
    close(found.kl.median, kl[22]);
    close(found.kl.min, kl[0]);
    close(found.kl.max, kl[44]);
    close(found.kl.percent_99, 0.44 * kl[43] + 0.56 * kl[44]);
    close(found.same_top, same as f64 / n);
    close(
        found.rms_probability,
        (differences.iter().map(|x| x * x).sum::<f64>() / n).sqrt(),
    );
    close(found.mean_probability, differences.iter().sum::<f64>() / n);
    close(found.ln_ratio, ratio / n);
    close(found.ln_ratio, found.model.nll - found.base.nll);
    assert!(found.kl.mean > 1e-4 && found.same_top < 1.0, "{found:?}");

    let dir = TempDir::new().unwrap();
    let path = dir.join("base.logp");
    let saved = save_logits(&path, &base, &ids, &options, go).unwrap();
    close(saved.nll, found.base.nll);
    let read = divergence_from(&path, &other, go).unwrap();
    assert!((read.kl.mean - found.kl.mean).abs() < 1e-4, "{read:?}");
    close(read.ln_ratio, found.ln_ratio);
    close(read.same_top, found.same_top);
    assert_eq!(read.model.tokens, 45);
    let itself = divergence_from(&path, &base, go).unwrap();
    assert!(itself.kl.max.abs() < 1e-5, "{itself:?}");
    assert!(itself.same_top == 1.0 && itself.ln_ratio.abs() < 1e-6);

    // A model is no distance from itself.
    let none = divergence(&base, &base, &ids, &options, go).unwrap();
    assert!(none.kl.max.abs() < 1e-6 && none.same_top == 1.0 && none.ln_ratio == 0.0);
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let base = model("llama2", TensorType::F32, &exact());
    let dir = TempDir::new().unwrap();
    let path = dir.join("base.logp");
    let ids = prompt(2, 64, 320);
    save_logits(&path, &base, &ids, &EvalOptions::new().with_context(32), go).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8], model: &Model| {
        std::fs::write(&path, bytes).unwrap();
        let e = divergence_from(&path, model, go).unwrap_err();
        assert!(matches!(e, Error::LogitsFile { .. }), "{e}");
        e.to_string()
    };
    for len in [0, 7, 40, 64, 100, whole.len() - 1] {
        refused(&whole[..len], &base);
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(refused(&longer, &base).contains("bytes"));
    let mut strange = whole.clone();
    strange[0] = b'X';
    assert!(refused(&strange, &base).contains("no file of log-probabilities"));
    // Numbers of rows and tokens that no file can hold.
    for field in [48, 56] {
        let mut huge = whole.clone();
        huge[field..field + 8].fill(0xff);
        refused(&huge, &base);
    }
    let mut vocabulary = whole.clone();
    vocabulary[8] += 1;
    assert!(refused(&vocabulary, &base).contains("321"));
    let missing = divergence_from(dir.join("none"), &base, go).unwrap_err();
    assert!(matches!(missing, Error::LogitsFile { .. }));
}

#[test]
fn what_cannot_be_evaluated_is_told() {
    let model = model("llama2", TensorType::F32, &exact());
    let ids = prompt(2, 64, 320);
    let run = |ids: &[u32], options: EvalOptions| perplexity(&model, ids, &options, go);
    let options = EvalOptions::new();
    let short = run(&ids[..20], options.clone().with_context(32)).unwrap_err();
    assert!(matches!(
        short,
        Error::ShortText {
            found: 20,
            needed: 32
        }
    ));
    for context in [0, 1, model.context() + 1] {
        let e = run(&ids, options.clone().with_context(context)).unwrap_err();
        assert!(matches!(e, Error::Option { .. }), "{e}");
    }
    for stride in [0, 33] {
        let options = options
            .clone()
            .with_context(32)
            .with_scoring(Scoring::Stride(stride));
        assert!(matches!(run(&ids, options), Err(Error::Option { .. })));
    }
    let strided = options
        .clone()
        .with_context(32)
        .with_scoring(Scoring::Stride(16));
    assert!(matches!(
        run(&ids[..1], strided),
        Err(Error::ShortText { .. })
    ));
    let mut foreign = ids.clone();
    foreign[31] = 320;
    let e = run(&foreign, options.clone().with_context(32)).unwrap_err();
    assert!(matches!(e, Error::TokenId { id: 320, .. }), "{e}");
    let stopped = perplexity(&model, &ids, &options.with_context(32), |_| {
        ControlFlow::Break(())
    });
    assert!(matches!(stopped, Err(Error::Cancelled)));
}

#[test]
fn importance_is_the_sum_of_squares_of_what_enters() {
    let mut model = model("llama2", TensorType::F32, &exact());
    let ids = prompt(8, 70, 320);
    let options = EvalOptions::new().with_context(32);
    let found = importance(&mut model, &ids, &options, true, go).unwrap();
    assert_eq!((found.chunks, found.chunk_size), (2, 32));
    let spec = model.spec().clone();
    let expected = 7 * spec.layers + 1;
    assert_eq!(found.entries.len(), expected, "{:?}", found.entries.keys());
    let entry = |name: &str| &found.entries[name];
    for (name, columns) in [
        ("blk.0.attn_q.weight", spec.hidden),
        ("blk.1.attn_output.weight", spec.q_dim()),
        ("blk.0.ffn_down.weight", spec.ffn),
        ("output.weight", spec.hidden),
    ] {
        assert_eq!(entry(name).sums.len(), columns, "{name}");
    }
    assert_eq!(entry("blk.0.attn_q.weight"), entry("blk.0.attn_v.weight"));
    assert_eq!(entry("blk.1.ffn_up.weight"), entry("blk.1.ffn_gate.weight"));
    // All 64 tokens of the windows pass every layer and the head.
    assert_eq!(entry("blk.1.ffn_down.weight").counts, [64.0]);
    assert_eq!(entry("output.weight").counts, [64.0]);
    // The first layer's input is the normalised embedding of the tokens.
    let case = cases().into_iter().find(|c| c.name == "llama2").unwrap();
    let tensors: Vec<_> = spec.stored_tensors().collect();
    let values = |name: &str| {
        let tensor = tensors.iter().find(|t| t.gguf == name).unwrap();
        case.model.values(tensor, &tensor.hf)
    };
    let (table, norm) = (
        values("token_embd.weight"),
        values("blk.0.attn_norm.weight"),
    );
    let mut want = vec![0.0f64; spec.hidden];
    for &id in &ids[..64] {
        let row = &table[id as usize * spec.hidden..][..spec.hidden];
        let mean = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / spec.hidden as f64;
        let scale = 1.0 / (mean + f64::from(spec.norm_eps)).sqrt();
        for ((want, x), w) in want.iter_mut().zip(row).zip(&norm) {
            *want += (f64::from(*x) * scale * f64::from(*w)).powi(2);
        }
    }
    for (got, want) in entry("blk.0.attn_q.weight").sums.iter().zip(want) {
        assert!(
            (f64::from(*got) - want).abs() < 1e-4 * want.max(1e-3),
            "{got} {want}"
        );
    }
    // Nobody watches afterwards, and a file brings it all back.
    model.forward(&mut model.new_cache(), &ids[..3]).unwrap();
    let bytes = found.to_bytes().unwrap();
    assert_eq!(
        ropewalk_gguf::ImportanceMatrix::from_bytes(bytes).unwrap(),
        found
    );
}

#[test]
fn importance_counts_the_tokens_of_each_expert() {
    for name in ["mixtral", "qwen2moe"] {
        let mut model = model(name, TensorType::F32, &exact());
        let ids = prompt(8, 64, 300);
        let options = EvalOptions::new().with_context(32);
        let found = importance(&mut model, &ids, &options, false, go).unwrap();
        let experts = model.spec().experts.clone().unwrap();
        let layer = (0..model.spec().layers)
            .find(|&l| model.spec().has_experts(l))
            .unwrap();
        for part in ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"] {
            let entry = &found.entries[&format!("blk.{layer}.{part}.weight")];
            assert_eq!(entry.counts.len(), experts.count);
            assert_eq!(entry.counts.iter().sum::<f32>(), 64.0 * experts.used as f32);
            let columns = if part == "ffn_down_exps" {
                experts.ffn
            } else {
                model.spec().hidden
            };
            assert_eq!(entry.sums.len(), experts.count * columns);
        }
        // What enters the router enters the experts that it chooses: the sums agree.
        let router = &found.entries[&format!("blk.{layer}.ffn_gate_inp.weight")];
        assert_eq!(router.counts, [64.0]);
        let up = &found.entries[&format!("blk.{layer}.ffn_up_exps.weight")];
        let hidden = model.spec().hidden;
        for column in 0..hidden {
            let of_experts: f32 = up.sums.iter().skip(column).step_by(hidden).sum();
            let want = router.sums[column] * experts.used as f32;
            assert!(
                (of_experts - want).abs() < 1e-3 * want.max(1e-3),
                "{name} {column}"
            );
        }
        assert!(!found.entries.contains_key("output.weight"));
    }
}
