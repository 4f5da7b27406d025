//! Caches in pages: what they share, what writing leaves alone, what a pool gives and takes.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use ropewalk_gguf::TensorType;
use ropewalk_local::{
    ActiveAdapter, Adapter, Cache, CachePool, CacheType, Error, LoadOptions, Model, PrefixCache,
    Step,
};
use ropewalk_spec::testing::{Seeded, prompt};
use ropewalk_spec::{ModelSpec, RopeScaling};

use crate::families::{exact, from_gguf};
use crate::golden::cases;

const PAGE: usize = 128;

/// A model of two layers for 1,024 positions.
fn model(kind: CacheType) -> Model {
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": 320, "hidden_size": 32,
        "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 1024, "rms_norm_eps": 1e-5,
        "hidden_act": "silu", "rope_theta": 10000.0,
    });
    let spec = ModelSpec::from_hf(&config).unwrap();
    let weights = Arc::new(Seeded::new(spec.clone(), 7).source());
    let options = LoadOptions::default().with_cache(kind);
    Model::from_parts(spec, weights, &options).unwrap()
}

const KINDS: [CacheType; 3] = [CacheType::F32, CacheType::F16, CacheType::Q8_0];

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| x.to_bits()).collect()
}

/// The logits after `ids` and one more token, computed from nothing.
fn fresh(model: &Model, ids: &[u32], next: u32) -> Vec<u32> {
    let ids = [ids, &[next]].concat();
    bits(&model.forward(&mut model.new_cache(), &ids).unwrap())
}

/// Asserts that a sequence goes on as if it had been computed from nothing.
#[track_caller]
fn goes_on(model: &Model, cache: &mut Cache) {
    let (before, want) = (cache.len(), fresh(model, cache.tokens(), 5));
    assert_eq!(bits(&model.forward(cache, &[5]).unwrap()), want);
    cache.truncate(before);
}

#[test]
fn forks_share_pages_until_one_writes() {
    for kind in KINDS {
        let model = model(kind);
        let pool = model.new_pool(4096).unwrap();
        let ids = prompt(3, 300, 320);
        let mut first = pool.new_cache();
        model.forward(&mut first, &ids).unwrap();
        assert_eq!((pool.pages_in_use(), first.pages()), (3, 3));
        let mut forks: Vec<Cache> = [300, 256, 200, 128, 0].map(|n| first.fork(n)).into();
        assert_eq!(forks[2].tokens(), &ids[..200]);
        assert_eq!(pool.pages_in_use(), 3, "forks hold what is there");
        // A whole page more, a copy of the third, of the second, a new one, a new one.
        for (fork, want) in forks.iter_mut().zip([4, 5, 6, 7, 8]) {
            model.forward(fork, &[9, 8]).unwrap();
            assert_eq!(pool.pages_in_use(), want, "{kind:?}");
        }
        goes_on(&model, &mut first);
        for fork in &mut forks {
            assert_eq!(fork.tokens()[fork.len() - 2..], [9, 8]);
            goes_on(&model, fork);
        }
        // The last holder of a page writes in place.
        drop(forks);
        assert_eq!(pool.pages_in_use(), 3);
        model.forward(&mut first, &[1]).unwrap();
        assert_eq!((pool.pages_in_use(), pool.pages_peak()), (3, 8));
        drop(first);
        assert_eq!((pool.pages_in_use(), pool.pages_allocated()), (0, 8));
        pool.shrink();
        assert_eq!(pool.pages_allocated(), 0);
    }
}

#[test]
fn forks_that_run_together_take_one_copy_less_than_they_are() {
    let model = model(CacheType::F16);
    let pool = model.new_pool(3 * PAGE).unwrap();
    let mut caches = vec![pool.new_cache()];
    model.forward(&mut caches[0], &[7; 20]).unwrap();
    caches.extend([(); 2].map(|()| caches[0].clone()));
    let mut steps: Vec<Step<'_>> = caches.iter_mut().map(|c| Step::new(c, &[4])).collect();
    let rows = model.forward_batch(&mut steps).unwrap();
    assert_eq!(pool.pages_in_use(), 3);
    let want = fresh(&model, &[7; 20], 4);
    assert!(rows.iter().all(|row| bits(row) == want));
}

#[test]
fn a_pool_without_a_page_changes_nothing() {
    let model = model(CacheType::F16);
    let pool = model.new_pool(3 * PAGE - 5).unwrap();
    assert_eq!(pool.pages_limit(), Some(3));
    let (mut one, mut two) = (pool.new_cache(), pool.new_cache());
    let ids = prompt(4, 3 * PAGE + 1, 320);
    model.forward(&mut one, &ids[..120]).unwrap();
    model.forward(&mut two, &ids[..100]).unwrap();
    // The first step alone would fit, both do not: neither runs.
    let mut steps = [
        Step::new(&mut one, &ids[120..140]),
        Step::new(&mut two, &ids[100..140]),
    ];
    let full = model.forward_batch(&mut steps).unwrap_err();
    assert!(
        matches!(
            full,
            Error::CacheFull {
                needed: 1,
                free: 0,
                limit: 3
            }
        ),
        "{full:?}"
    );
    assert_eq!(
        full.to_string(),
        "the cache pool has 0 of its 3 pages left and 1 are needed; end or shorten a sequence, or make the pool larger"
    );
    assert_eq!((one.len(), two.len(), pool.pages_in_use()), (120, 100, 2));
    goes_on(&model, &mut one);
    goes_on(&model, &mut two);
    // A copy of a shared page is a page too.
    model.forward(&mut one, &ids[120..140]).unwrap();
    let mut fork = two.clone();
    assert!(matches!(
        model.forward(&mut fork, &[3]),
        Err(Error::CacheFull { .. })
    ));
    assert_eq!((fork.tokens(), pool.pages_in_use()), (&ids[..100], 3));
    drop(one);
    goes_on(&model, &mut fork);
    // More than the pool ever had.
    let long = model.forward(&mut pool.new_cache(), &ids).unwrap_err();
    assert!(
        matches!(long, Error::CacheFull { limit: 3, .. }),
        "{long:?}"
    );
}

#[test]
fn pools_of_no_token_or_of_more_than_there_is_memory_are_refused() {
    let model = model(CacheType::F32);
    assert!(matches!(model.new_pool(0), Err(Error::Option { .. })));
    for tokens in [1 << 50, usize::MAX] {
        let refused = model.new_pool(tokens).unwrap_err();
        assert!(matches!(refused, Error::CacheSize { .. }), "{refused}");
    }
}

#[test]
fn memory_stays_at_its_peak_over_many_requests() {
    let model = model(CacheType::Q8_0);
    let pool = model.new_pool(8 * PAGE).unwrap();
    let prefixes = PrefixCache::new(&pool);
    for i in 0..60u64 {
        let ids = prompt(i, 20 + 29 * (i as usize % 9), 320);
        let mut cache = prefixes.find(&ids[..ids.len() - 1], &[]);
        let rest = ids[cache.len()..].to_vec();
        model.forward(&mut cache, &rest).unwrap();
        prefixes.keep(&cache);
    }
    assert!(pool.pages_peak() == 8 && pool.pages_allocated() == 8);
    assert_eq!(prefixes.pages(), pool.pages_in_use());
    drop(prefixes);
    assert_eq!((pool.pages_in_use(), pool.pages_allocated()), (0, 8));
}

fn long_rope() -> (Model, usize) {
    let case = cases().into_iter().find(|c| c.name == "phi35").unwrap();
    let model = from_gguf(case.model.gguf(|_| TensorType::F32).unwrap(), &exact());
    let RopeScaling::LongRope { original_max, .. } = model.spec().rope.scaling else {
        panic!("{:?}", model.spec().rope);
    };
    (model, original_max)
}

#[test]
fn long_rope_computes_shared_pages_again_elsewhere() {
    let (model, limit) = long_rope();
    let ids = prompt(3, limit + 8, 320);
    let pool = model.new_pool(2048).unwrap();
    let mut short = pool.new_cache();
    model.forward(&mut short, &ids[..limit - 2]).unwrap();
    let mut long = short.clone();
    let got = model.forward(&mut long, &ids[limit - 2..]).unwrap();
    let want = model.forward(&mut model.new_cache(), &ids).unwrap();
    assert_eq!(bits(&got), bits(&want));
    assert_eq!(long.tokens(), ids);
    let pages = |n: usize| n.div_ceil(PAGE);
    assert_eq!(pool.pages_in_use(), pages(limit - 2) + pages(limit + 8));
    goes_on(&model, &mut short);

    // Nor does a prompt take keys that were turned otherwise.
    let prefixes = PrefixCache::new(&pool);
    prefixes.keep(&short);
    assert_eq!(prefixes.find(&ids, &[]).len(), 0);
    assert_eq!(prefixes.find(&ids[..limit], &[]).len(), limit - 2);
    prefixes.keep(&long);
    assert_eq!(prefixes.find(&ids, &[]).len(), limit + 8);
    assert_eq!(prefixes.find(&ids[..limit], &[]).len(), limit - 2);
    goes_on(&model, &mut prefixes.find(&ids, &[]));
}

/// What a test does to some caches; places are taken modulo their number.
#[derive(Debug, Clone)]
enum Op {
    Append(usize, u64, usize),
    Fork(usize, usize),
    Truncate(usize, usize),
    Drop(usize),
}

/// A cache as plain vectors: its tokens, and pages that are counted.
#[derive(Clone, Default)]
struct Plain {
    tokens: Vec<u32>,
    pages: Vec<Rc<()>>,
}

impl Plain {
    /// Appends where pages allow it, as counted by hand.
    fn append(&mut self, ids: &[u32], free: usize) -> bool {
        let (first, end) = (
            self.tokens.len() / PAGE,
            (self.tokens.len() + ids.len()).div_ceil(PAGE),
        );
        let shared = |p: &&mut Rc<()>| Rc::strong_count(p) > 1;
        let copies = self.pages.iter_mut().skip(first).filter(shared).count();
        if copies + end.saturating_sub(self.pages.len()) > free {
            return false;
        }
        self.pages
            .iter_mut()
            .skip(first)
            .filter(shared)
            .for_each(|p| *p = Rc::default());
        self.pages.resize_with(end, Rc::default);
        self.tokens.extend_from_slice(ids);
        true
    }
}

fn distinct(all: &[(Cache, Plain)]) -> usize {
    let mut pages: Vec<*const ()> = all
        .iter()
        .flat_map(|(_, p)| p.pages.iter().map(Rc::as_ptr))
        .collect();
    pages.sort();
    pages.dedup();
    pages.len()
}

fn play(model: &Model, pool: &Arc<CachePool>, ops: Vec<Op>) {
    let mut all: Vec<(Cache, Plain)> = vec![(pool.new_cache(), Plain::default())];
    for op in ops {
        let n = all.len();
        match op {
            Op::Append(at, seed, len) => {
                let free = 7 - distinct(&all);
                let (cache, plain) = &mut all[at % n];
                let ids = prompt(seed, len, 320);
                let fits = plain.append(&ids, free);
                let ran = model.forward(cache, &ids);
                assert_eq!(ran.is_ok(), fits, "{ran:?}");
            }
            Op::Fork(at, len) => {
                let (cache, plain) = &all[at % n];
                let (cache, mut plain) = (cache.fork(len), plain.clone());
                plain.tokens.truncate(len);
                plain.pages.truncate(plain.tokens.len().div_ceil(PAGE));
                all.push((cache, plain));
            }
            Op::Truncate(at, len) => {
                let (cache, plain) = &mut all[at % n];
                cache.truncate(len);
                plain.tokens.truncate(len);
                plain.pages.truncate(plain.tokens.len().div_ceil(PAGE));
            }
            Op::Drop(at) => drop(all.swap_remove(at % n)),
        }
        if all.is_empty() {
            all.push((pool.new_cache(), Plain::default()));
        }
        assert_eq!(pool.pages_in_use(), distinct(&all));
        assert!(
            all.iter()
                .all(|(cache, plain)| cache.tokens() == plain.tokens)
        );
    }
    // What is there gives the logits of the same tokens computed from nothing.
    while let Some((mut cache, plain)) = all.pop() {
        if cache.len() % PAGE == 0 && pool.pages_free() == Some(0) {
            continue;
        }
        let want = fresh(model, &plain.tokens, 5);
        match model.forward(&mut cache, &[5]) {
            Ok(got) => assert_eq!(bits(&got), want),
            Err(e) => assert!(matches!(e, Error::CacheFull { .. }), "{e}"),
        }
    }
    assert_eq!(pool.pages_in_use(), 0);
}

#[test]
fn random_operations_agree_with_plain_vectors() {
    let op = prop_oneof![
        4 => (0usize..9, 0u64..99, 1usize..200).prop_map(|(at, seed, len)| Op::Append(at, seed, len)),
        3 => (0usize..9, 0usize..400).prop_map(|(at, len)| Op::Fork(at, len)),
        2 => (0usize..9, 0usize..400).prop_map(|(at, len)| Op::Truncate(at, len)),
        1 => (0usize..9).prop_map(Op::Drop),
        1 => Just(Op::Drop(0)),
    ];
    for kind in KINDS {
        let model = model(kind);
        let config = Config {
            cases: 8,
            failure_persistence: None,
            ..Config::default()
        };
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let result = TestRunner::new_with_rng(config, rng).run(
            &proptest::collection::vec(op.clone(), 1..30),
            |ops| {
                play(&model, &model.new_pool(7 * PAGE).unwrap(), ops);
                Ok(())
            },
        );
        if let Err(e) = result {
            panic!("{kind:?}: {e}");
        }
    }
}

#[test]
fn prefixes_are_found_by_pages_and_by_tokens() {
    for kind in KINDS {
        let model = model(kind);
        let pool = model.new_pool(8192).unwrap();
        let prefixes = PrefixCache::new(&pool);
        let ids = prompt(6, 400, 320);
        assert!(prefixes.find(&ids, &[]).is_empty());
        let mut cache = pool.new_cache();
        model.forward(&mut cache, &ids).unwrap();
        prefixes.keep(&cache);
        drop(cache);
        assert_eq!(
            (
                prefixes.pages(),
                prefixes.pages_unused(),
                pool.pages_in_use()
            ),
            (4, 4, 4)
        );
        let mut other = ids.clone();
        for (differs, want) in [
            (399, 399),
            (390, 390),
            (384, 384),
            (200, 200),
            (128, 128),
            (3, 3),
            (0, 0),
        ] {
            other[differs] = (other[differs] + 1) % 320;
            let mut cache = prefixes.find(&other, &[]);
            assert_eq!(cache.tokens(), &other[..want], "{kind:?}");
            assert_eq!(pool.pages_in_use(), 4);
            model.forward(&mut cache, &other[want..]).unwrap();
            goes_on(&model, &mut cache);
        }
        // Shorter and longer prompts.
        for len in [1, 127, 128, 129, 383, 399, 400] {
            assert_eq!(prefixes.find(&ids[..len], &[]).tokens(), &ids[..len]);
        }
        let longer = [&ids[..], &[1, 2]].concat();
        assert_eq!(prefixes.find(&longer, &[]).tokens(), ids);
        prefixes.clear();
        assert_eq!((prefixes.pages(), pool.pages_in_use()), (0, 0));
    }
}

#[test]
fn a_sequence_that_goes_on_takes_the_place_of_its_beginning() {
    let model = model(CacheType::F16);
    let pool = model.new_pool(8192).unwrap();
    let prefixes = PrefixCache::new(&pool);
    let ids = prompt(8, 700, 320);
    let mut cache = pool.new_cache();
    for (from, to, kept) in [
        (0, 50, 1),
        (50, 100, 1),
        (100, 300, 3),
        (300, 384, 3),
        (384, 385, 4),
    ] {
        model.forward(&mut cache, &ids[from..to]).unwrap();
        prefixes.keep(&cache);
        assert_eq!(prefixes.pages(), kept, "{to}");
    }
    // A beginning of what is kept adds nothing.
    prefixes.keep(&cache.fork(370));
    prefixes.keep(&cache.fork(256));
    assert_eq!(prefixes.pages(), 4);
    drop(cache);
    assert_eq!(prefixes.pages_unused(), 4);
    // Whole pages alone: the sequence goes on without a copy.
    prefixes.clear();
    let mut cache = pool.new_cache();
    model.forward(&mut cache, &ids[..300]).unwrap();
    prefixes.keep_whole(&cache);
    model.forward(&mut cache, &ids[300..301]).unwrap();
    assert_eq!((prefixes.pages(), pool.pages_in_use()), (2, 3));
    // Not what another pool holds.
    prefixes.clear();
    let mut other = model.new_cache();
    model.forward(&mut other, &ids[..300]).unwrap();
    prefixes.keep(&other);
    assert_eq!(prefixes.pages(), 0);
}

#[test]
fn pages_of_prefixes_make_room_for_sequences() {
    let model = model(CacheType::F16);
    let pool = model.new_pool(6 * PAGE).unwrap();
    let prefixes = PrefixCache::new(&pool);
    let run = |seed| {
        let ids = prompt(seed, 2 * PAGE, 320);
        let mut cache = prefixes.find(&ids, &[]);
        if cache.is_empty() {
            model.forward(&mut cache, &ids).unwrap();
        }
        prefixes.keep(&cache);
        (ids, cache)
    };
    let found = |ids: &[u32]| prefixes.find(ids, &[]).len();
    let (a, b, c) = (run(1).0, run(2).0, run(3).0);
    assert_eq!((pool.pages_free(), prefixes.pages_unused()), (Some(0), 6));
    // The first was used last; of the second one page is given up, its end.
    assert_eq!(found(&a), 2 * PAGE);
    let mut one = pool.new_cache();
    model.forward(&mut one, &[1; 10]).unwrap();
    assert_eq!(
        (found(&b), found(&c), found(&a)),
        (PAGE, 2 * PAGE, 2 * PAGE)
    );
    // What a sequence holds is never given up.
    let held = prefixes.find(&a, &[]);
    let mut two = pool.new_cache();
    let full = model.forward(&mut two, &[1; 4 * PAGE]).unwrap_err();
    assert!(
        matches!(
            full,
            Error::CacheFull {
                needed: 4,
                free: 3,
                ..
            }
        ),
        "{full:?}"
    );
    model.forward(&mut two, &[1; 3 * PAGE]).unwrap();
    assert_eq!((found(&a), found(&b), found(&c)), (2 * PAGE, 0, 0));
    assert_eq!(held.tokens(), a);
    goes_on(&model, &mut one);
    drop((one, two, held));

    let few = PrefixCache::new(&pool).with_max_pages(3);
    for seed in 4..8 {
        let mut cache = pool.new_cache();
        model
            .forward(&mut cache, &prompt(seed, 2 * PAGE, 320))
            .unwrap();
        few.keep(&cache);
        assert!(few.pages() <= 3);
    }
    assert_eq!(few.find(&prompt(7, 2 * PAGE, 320), &[]).len(), 2 * PAGE);
}

#[test]
fn prefixes_never_cross_adapters() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data");
    let model = Model::open(data.join("ropewalk-tiny.gguf"), &exact()).unwrap();
    let adapter = Adapter::open(&model, data.join("lora-pirate")).unwrap();
    let one: [ActiveAdapter; 1] = [adapter.clone().into()];
    let half = [ActiveAdapter::new(adapter).with_scale(0.5)];
    let run = |cache: &mut Cache, ids: &[u32]| {
        let step = Step::new(cache, ids).with_adapters(&one);
        bits(&model.forward_batch(&mut [step]).unwrap()[0])
    };
    let ids = prompt(2, 140, 300);
    let pool = model.new_pool(1024).unwrap();
    let prefixes = PrefixCache::new(&pool);
    let mut cache = pool.new_cache();
    run(&mut cache, &ids[..139]);
    prefixes.keep(&cache);
    assert_eq!(prefixes.find(&ids, &[]).len(), 0);
    assert_eq!(prefixes.find(&ids, &half).len(), 0);
    let mut found = prefixes.find(&ids, &one);
    assert_eq!(found.len(), 139);
    let want = run(&mut model.new_cache(), &ids);
    assert_eq!(run(&mut found, &ids[139..]), want);
    assert!(
        model.forward(&mut found, &[1]).is_err(),
        "other adapters than its keys"
    );
}
