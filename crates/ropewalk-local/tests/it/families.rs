//! Every family against the logits that transformers computes.

use std::sync::Arc;

use ropewalk_gguf::{Gguf, TensorType};
use ropewalk_local::{
    Cache, CacheType, GenerateOptions, Generation, LoadOptions, Model, Step, generate_n,
};
use ropewalk_spec::Dtype;
use ropewalk_spec::testing::TempDir;

use crate::golden::{GoldenCase, Run, cases, directory};

pub(crate) fn exact() -> LoadOptions {
    LoadOptions::default().with_cache(CacheType::F32)
}

pub(crate) fn from_gguf(bytes: Vec<u8>, options: &LoadOptions) -> Model {
    Model::from_gguf(Arc::new(Gguf::from_bytes(bytes).unwrap()), options).unwrap()
}

/// Appends tokens and returns a row of logits for each.
fn rows(model: &Model, cache: &mut Cache, ids: &[u32]) -> Vec<Vec<f32>> {
    let all = model.forward_all(cache, ids).unwrap();
    all.chunks_exact(model.spec().vocab_size)
        .map(<[f32]>::to_vec)
        .collect()
}

/// Runs the prompt as the case says: one forward, or one and then token by token.
fn logits(model: &Model, run: &Run) -> Vec<Vec<f32>> {
    let mut cache = model.new_cache();
    let mut out = rows(model, &mut cache, &run.tokens[..run.prefill]);
    for id in &run.tokens[run.prefill..] {
        out.extend(rows(model, &mut cache, &[*id]));
    }
    out
}

pub(crate) fn check(case: &GoldenCase, model: &Model, from: &str) {
    let label = format!("{} from {from}", case.name);
    check_logits(case, model, &label);
    check_greedy(case, model, &label);
}

/// Compares the logits of all runs, one after another and the ragged ones in one batch.
pub(crate) fn check_logits(case: &GoldenCase, model: &Model, label: &str) {
    for run in &case.runs {
        let found = logits(model, run);
        for row in &run.rows {
            run.check(row, &found[row.position], run.tolerance(), label);
        }
    }
    // The ragged ones once more, in one batch.
    let ragged: Vec<&Run> = case
        .runs
        .iter()
        .filter(|r| r.name.starts_with("ragged"))
        .collect();
    assert_eq!(ragged.len(), 3, "{label}: ragged runs");
    let mut caches: Vec<Cache> = ragged.iter().map(|_| model.new_cache()).collect();
    let mut steps: Vec<Step<'_>> = caches
        .iter_mut()
        .zip(&ragged)
        .map(|(cache, run)| Step::new(cache, &run.tokens).with_all_logits())
        .collect();
    let together = model.forward_batch(&mut steps).unwrap();
    for (run, found) in ragged.iter().zip(together) {
        let found: Vec<&[f32]> = found.chunks_exact(model.spec().vocab_size).collect();
        for row in &run.rows {
            run.check(row, found[row.position], run.tolerance(), label);
        }
    }
}

fn check_greedy(case: &GoldenCase, model: &Model, label: &str) {
    let greedy = &case.greedy;
    assert!(
        greedy.min_margin > 1e-4,
        "{label}: the greedy path is too close to call"
    );
    let options = GenerateOptions::greedy(greedy.ids.len()).with_stop_ids([]);
    let mut cache = model.new_cache();
    let found: Vec<u32> = Generation::new(model, &mut cache, &greedy.prompt, &options)
        .unwrap()
        .map(|t| t.unwrap().id)
        .collect();
    assert_eq!(found, greedy.ids, "{label}: greedy ids");
    for output in generate_n(model, &greedy.prompt, &options, 2).unwrap() {
        assert_eq!(
            output.ids(),
            greedy.ids,
            "{label}: greedy ids, two sequences"
        );
    }
}

#[test]
fn logits_from_gguf_are_those_of_transformers() {
    let mut left_out = Vec::new();
    for case in cases() {
        match case.model.gguf(|_| TensorType::F32) {
            Ok(bytes) => check(&case, &from_gguf(bytes, &exact()), "GGUF"),
            Err(e) => left_out.push(format!("{}: {e}", case.name)),
        }
    }
    // GGUF has no key for a window in some layers only.
    assert_eq!(left_out.len(), 1, "{left_out:?}");
    assert!(left_out[0].starts_with("qwen2_window: "), "{left_out:?}");
}

#[test]
fn logits_from_directories_are_those_of_transformers() {
    for case in cases() {
        let dir = TempDir::new().unwrap();
        case.model.write_hf(dir.path(), |_| Dtype::F32, 2).unwrap();
        check(
            &case,
            &Model::open(dir.path(), &exact()).unwrap(),
            "a directory",
        );
    }
}

#[test]
fn a_sharded_directory_in_three_types_loads() {
    let (path, case) = directory();
    let model = Model::open(&path, &exact()).unwrap();
    for run in &case.runs {
        let found = logits(&model, run);
        for row in &run.rows {
            run.check(row, &found[row.position], run.tolerance(), case.name);
        }
    }
}

#[test]
fn the_module_tree_and_footprint_need_no_weights() {
    let (path, _) = directory();
    let model = Model::open(&path, &exact()).unwrap();
    assert!(
        model.describe().starts_with("LlamaForCausalLM("),
        "{}",
        model.describe()
    );
    assert_eq!(model.memory().fp32, 4 * model.memory().parameters);
}
