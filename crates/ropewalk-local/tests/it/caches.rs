//! Caches that were cut, copied, or made for another model.

use ropewalk_gguf::TensorType;
use ropewalk_local::{
    CacheType, Error, GenerateOptions, Generation, LoadOptions, Model, Step, generate_n,
};
use ropewalk_spec::RopeScaling;

use crate::families::{exact, from_gguf};
use crate::golden::cases;

fn model(name: &str, options: &LoadOptions) -> Model {
    let case = cases().into_iter().find(|c| c.name == name).unwrap();
    from_gguf(case.model.gguf(|_| TensorType::F32).unwrap(), options)
}

#[test]
fn a_sequence_cut_below_the_switch_of_long_rope_is_computed_again() {
    let model = model("phi35", &exact());
    let RopeScaling::LongRope { original_max, .. } = model.spec().rope.scaling else {
        panic!("{:?}", model.spec().rope);
    };
    let ids = ropewalk_spec::testing::prompt(3, original_max + 8, 320);
    let short = &ids[..original_max - 4];
    let want = model.forward(&mut model.new_cache(), short).unwrap();
    let mut cache = model.new_cache();
    model.forward(&mut cache, &ids).unwrap();
    cache.truncate(short.len() - 2);
    let found = model
        .forward(&mut cache, &short[short.len() - 2..])
        .unwrap();
    assert!(found == want);
    assert_eq!(cache.tokens(), short);
}

#[test]
fn a_cache_of_another_model_is_refused() {
    let (narrow, wide) = (model("llama2", &exact()), model("llama3_256", &exact()));
    let mut cache = wide.new_cache();
    let refused = narrow.forward(&mut cache, &[1, 2]).unwrap_err();
    assert!(matches!(refused, Error::Cache { .. }), "{refused}");
    assert!(
        refused.to_string().contains("Model::new_cache"),
        "{refused}"
    );
    assert!(cache.is_empty());
}

#[test]
fn an_empty_prompt_leaves_the_cache_alone() {
    let model = model("llama2", &exact());
    let mut cache = model.new_cache();
    model.forward(&mut cache, &[1, 2, 3]).unwrap();
    let refused = Generation::new(&model, &mut cache, &[], &GenerateOptions::greedy(1));
    assert!(matches!(refused, Err(Error::EmptyPrompt)));
    assert_eq!(cache.tokens(), [1, 2, 3]);
}

#[test]
fn one_sequence_ends_as_several_do_when_two_limits_meet() {
    let model = model("llama2", &exact().with_context(6));
    for max in 1..=5 {
        let options = GenerateOptions::greedy(max).with_stop_ids([]);
        let mut cache = model.new_cache();
        let mut alone = Generation::new(&model, &mut cache, &[1, 2, 3], &options).unwrap();
        let ids: Vec<u32> = alone.by_ref().map(|t| t.unwrap().id).collect();
        let finish = alone.finish();
        for output in generate_n(&model, &[1, 2, 3], &options, 2).unwrap() {
            assert_eq!(
                (output.ids(), Some(output.finish)),
                (ids.clone(), finish),
                "{max}"
            );
            // Outputs compare equal to themselves also without log probabilities.
            assert_eq!(output, output.clone());
        }
    }
}

#[test]
fn a_long_prompt_can_be_given_up_and_taken_up_again() {
    let model = model("llama3_256", &exact());
    let prompt = ropewalk_spec::testing::prompt(3, 1_300, 320);
    let options = GenerateOptions::greedy(3).with_stop_ids([]);
    let mut cache = model.new_cache();
    let mut asked = 0;
    let given_up = Generation::watched(&model, &mut cache, &prompt, &options, &mut || {
        asked += 1;
        asked < 2
    });
    assert!(matches!(given_up, Err(Error::Cancelled)));
    assert_eq!((asked, cache.len()), (2, 1_024));
    let again = Generation::new(&model, &mut cache, &prompt, &options).unwrap();
    assert_eq!(again.timings().cached_tokens, 1_024);
    let resumed: Vec<u32> = again.map(|t| t.unwrap().id).collect();
    let mut fresh = model.new_cache();
    let whole = Generation::new(&model, &mut fresh, &prompt, &options).unwrap();
    assert_eq!(resumed, whole.map(|t| t.unwrap().id).collect::<Vec<_>>());
}

#[test]
fn caches_of_bytes_change_logits_by_little_and_take_little_room() {
    // Heads of 16 and of 64 features, with and without a window and norms of q and k.
    for name in ["llama2", "llama3_256", "qwen3_256", "mistral", "gemma2"] {
        let ids = ropewalk_spec::testing::prompt(5, 60, 300);
        let wanted = model(name, &exact());
        let want = wanted.forward_all(&mut wanted.new_cache(), &ids).unwrap();
        let spread = want.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for (kind, bound) in [(CacheType::F16, 2e-3), (CacheType::Q8_0, 3e-2)] {
            let model = model(name, &exact().with_cache(kind));
            let mut cache = model.new_cache();
            let got = model.forward_all(&mut cache, &ids).unwrap();
            let off = want
                .iter()
                .zip(&got)
                .fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(
                off > 0.0 && off < bound * spread,
                "{name} {kind:?}: {off} of {spread}"
            );
            let spec = model.spec();
            let per_head = match kind {
                CacheType::F16 => 2 * spec.head_dim,
                _ => spec.head_dim + 2 * spec.head_dim.div_ceil(32),
            };
            let bytes = 2 * spec.layers * spec.kv_heads * per_head * ids.len();
            assert_eq!(cache.bytes(), bytes, "{name} {kind:?}");
        }
    }
}

#[test]
fn every_cache_gives_the_same_bits_however_it_was_filled() {
    let ids = ropewalk_spec::testing::prompt(9, 150, 320);
    for kind in [CacheType::F32, CacheType::F16, CacheType::Q8_0] {
        let model = model("llama3_256", &exact().with_cache(kind));
        let mut whole = model.new_cache();
        let want = model.forward(&mut whole, &ids).unwrap();
        // Token by token, after a cut in the middle of sixteen keys, and from a copy.
        let mut one = model.new_cache();
        model.forward(&mut one, &ids[..130]).unwrap();
        let mut copy = one.clone();
        one.truncate(119);
        for id in &ids[119..149] {
            model.forward(&mut one, &[*id]).unwrap();
        }
        model.forward(&mut copy, &ids[130..149]).unwrap();
        let mut steps = [
            Step::new(&mut one, &ids[149..]),
            Step::new(&mut copy, &ids[149..]),
        ];
        for got in model.forward_batch(&mut steps).unwrap() {
            assert_eq!(got, want, "{kind:?}");
        }
    }
}
