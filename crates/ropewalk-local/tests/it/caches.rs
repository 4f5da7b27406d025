//! Caches that were cut, copied, or made for another model.

use ropewalk_gguf::TensorType;
use ropewalk_local::{Error, GenerateOptions, Generation, LoadOptions, Model, generate_n};
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
