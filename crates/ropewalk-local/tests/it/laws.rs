//! What must hold bit for bit, for every family and instruction set.

use std::num::NonZeroUsize;

use ropewalk_gguf::TensorType;
use ropewalk_kernels::Isa;
use ropewalk_local::{Cache, CacheType, LoadOptions, Model, Step};

use crate::families::from_gguf;
use crate::golden::{GoldenCase, cases};

fn one_of_each() -> Vec<GoldenCase> {
    cases().into_iter().filter(GoldenCase::is_wide).collect()
}

fn tokens(n: usize, seed: u64) -> Vec<u32> {
    ropewalk_spec::testing::prompt(seed, n, 320)
}

fn prefill(model: &Model, ids: &[u32]) -> Vec<f32> {
    model.forward_all(&mut model.new_cache(), ids).unwrap()
}

fn one_by_one(model: &Model, ids: &[u32]) -> Vec<f32> {
    let mut cache = model.new_cache();
    ids.iter()
        .flat_map(|id| model.forward(&mut cache, &[*id]).unwrap())
        .collect()
}

/// A model of each family, type, cache and instruction set.
fn each(mut f: impl FnMut(&str, &dyn Fn(usize) -> Model)) {
    for isa in Isa::available() {
        for case in one_of_each() {
            for ty in [TensorType::Q4_K, TensorType::Q8_0, TensorType::BF16] {
                let bytes = case.model.gguf(|_| ty).unwrap();
                for kind in [CacheType::F32, CacheType::F16] {
                    let label = format!("{} {ty} {kind:?} {}", case.name, isa.name());
                    f(&label, &|threads| {
                        let options = LoadOptions::default()
                            .with_isa(isa)
                            .with_cache(kind)
                            .with_threads(NonZeroUsize::new(threads).unwrap());
                        from_gguf(bytes.clone(), &options)
                    });
                }
            }
        }
    }
}

#[test]
fn threads_prefill_and_batch_leave_every_bit() {
    // 300 positions cross the spans in which attention is summed.
    let (long, short) = (tokens(300, 1), tokens(17, 2));
    each(|label, model| {
        let single = model(1);
        let want = prefill(&single, &long[..40]);
        assert!(
            want == one_by_one(&single, &long[..40]),
            "{label}: decode is not prefill"
        );
        let pair = model(2);
        assert!(
            want == prefill(&pair, &long[..40]),
            "{label}: 2 threads are not 1"
        );
        assert!(
            want == one_by_one(&pair, &long[..40]),
            "{label}: decode with 2 threads"
        );
        let alone = [prefill(&pair, &long), prefill(&pair, &short)];
        let three = model(3);
        let (mut a, mut b) = (three.new_cache(), three.new_cache());
        let mut steps =
            [Step::new(&mut a, &long), Step::new(&mut b, &short)].map(Step::with_all_logits);
        assert!(
            three.forward_batch(&mut steps).unwrap() == alone,
            "{label}: batch is not alone"
        );
    });
}

#[test]
fn a_prompt_longer_than_one_pass_gives_the_same_bits() {
    let case = &one_of_each()[0];
    let model = from_gguf(
        case.model.gguf(|_| TensorType::Q8_0).unwrap(),
        &LoadOptions::default(),
    );
    let ids = tokens(1_100, 3);
    let whole = model.forward(&mut model.new_cache(), &ids).unwrap();
    let mut cache = model.new_cache();
    let mut last = Vec::new();
    for part in ids.chunks(137) {
        last = model.forward(&mut cache, part).unwrap();
    }
    assert!(whole == last);
}

#[test]
fn truncating_and_cloning_a_cache_changes_nothing() {
    let case = &one_of_each()[0];
    let model = from_gguf(
        case.model.gguf(|_| TensorType::Q4_K).unwrap(),
        &LoadOptions::default(),
    );
    let (ids, other) = (tokens(30, 4), tokens(30, 5));
    let want = model.forward(&mut model.new_cache(), &ids).unwrap();
    let mut cache = model.new_cache();
    model.forward(&mut cache, &ids[..20]).unwrap();
    let mut fork: Cache = cache.clone();
    model.forward(&mut cache, &other).unwrap();
    cache.truncate(20);
    for cache in [&mut cache, &mut fork] {
        assert!(model.forward(cache, &ids[20..]).unwrap() == want);
        assert_eq!(cache.tokens(), ids);
    }
}
