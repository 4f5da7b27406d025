//! What must hold bit for bit, for every family and instruction set.

use std::num::NonZeroUsize;
use std::sync::Arc;

use ropewalk_gguf::TensorType;
use ropewalk_kernels::Isa;
use ropewalk_local::{Cache, CacheType, LoadOptions, Model, Step};

use crate::families::from_gguf;
use crate::golden::{GoldenCase, cases};

fn one_of_each() -> Vec<GoldenCase> {
    cases().into_iter().filter(GoldenCase::is_wide).collect()
}

/// Ids that every model here has.
fn tokens(n: usize, seed: u64) -> Vec<u32> {
    ropewalk_spec::testing::prompt(seed, n, 300)
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
    each(|label, model| {
        let single = model(1);
        let (long, short) = (tokens(single.context().min(300), 1), tokens(17, 2));
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
fn every_family_gives_the_same_bits_however_it_is_run() {
    for case in cases() {
        let source = Arc::new(case.model.source());
        let model = |threads| {
            let options = LoadOptions::default().with_threads(NonZeroUsize::new(threads).unwrap());
            Model::from_parts(case.model.spec.clone(), source.clone(), &options).unwrap()
        };
        let vocab = case.model.spec.vocab_size;
        let ids = |n, seed| ropewalk_spec::testing::prompt(seed, n, vocab);
        let (long, short) = (ids(60, 6), ids(9, 7));
        let single = model(1);
        let want = [prefill(&single, &long), prefill(&single, &short)];
        // Long RoPE turns the first positions otherwise once a sequence has passed a length.
        let switches = case.model.spec.rope.switch_length();
        let same = if switches.is_some_and(|length| length < long.len()) {
            want[0].len() - vocab
        } else {
            0
        };
        assert!(
            want[0][same..] == one_by_one(&single, &long)[same..],
            "{}: decode",
            case.name
        );
        let three = model(3);
        assert!(
            want[1] == one_by_one(&three, &short),
            "{}: threads",
            case.name
        );
        let (mut a, mut b) = (three.new_cache(), three.new_cache());
        let mut steps =
            [Step::new(&mut a, &long), Step::new(&mut b, &short)].map(Step::with_all_logits);
        let found = three.forward_batch(&mut steps).unwrap();
        assert!(found == want, "{}: batch", case.name);
        // One row each: the experts of both are multiplied in one phase.
        let next = [ids(1, 8), ids(1, 9)];
        let alone = [(&long, &next[0]), (&short, &next[1])].map(|(prompt, ids)| {
            let mut cache = single.new_cache();
            single.forward(&mut cache, prompt).unwrap();
            single.forward(&mut cache, ids).unwrap()
        });
        let mut steps = [Step::new(&mut a, &next[0]), Step::new(&mut b, &next[1])];
        let found = three.forward_batch(&mut steps).unwrap();
        assert!(found == alone, "{}: two tokens", case.name);
    }
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
