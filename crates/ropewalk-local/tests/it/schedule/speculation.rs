//! Guessed tokens: the same replies in fewer passes.

use std::sync::Arc;

use ropewalk_local::constrain::{Constrain, TokenConstraint, TokenMask};
use ropewalk_local::sample::SamplerOptions;
use ropewalk_local::{
    GenerateOptions, Generation, LoadOptions, Model, Result, Scheduler, SchedulerOptions,
    Speculate, generate_n,
};
use ropewalk_spec::testing::prompt;

use super::{VOCAB, alone, model, reply, tiny};
use crate::families::exact;
use crate::golden::cases;

/// Counts from 0 to 9, again and again; every third time 4 comes twice.
#[derive(Debug, Clone, Default)]
struct Counting(u32);

impl Counting {
    fn next(&self) -> u32 {
        match self.0 % 31 {
            n @ 0..=24 => n % 10,
            n => (n - 1) % 10,
        }
    }
}

impl Constrain for Counting {
    fn start(&self) -> Result<Box<dyn TokenConstraint>> {
        Ok(Box::new(self.clone()))
    }
}

impl TokenConstraint for Counting {
    fn mask(&mut self, mask: &mut TokenMask) -> Result<()> {
        mask.allow(self.next());
        Ok(())
    }

    fn accept(&mut self, id: u32) -> Result<()> {
        assert_eq!(id, self.next());
        self.0 += 1;
        Ok(())
    }

    fn allowed_prefix(&mut self, ids: &[u32]) -> usize {
        let mut ahead = self.clone();
        let allowed = |&&id: &&u32| {
            let next = ahead.next();
            ahead.0 += 1;
            id == next && ahead.0 <= 120
        };
        ids.iter().take_while(allowed).count()
    }

    fn is_complete(&self) -> bool {
        self.0 == 120
    }
}

#[test]
fn guesses_change_no_token() {
    let model = model(2);
    let scheduler = Scheduler::new(Arc::clone(&model), &SchedulerOptions::new()).unwrap();
    let phrase = prompt(8, 12, VOCAB);
    let ids = phrase.repeat(4);
    let (mut accepted, mut together) = (0, 0);
    for sampler in [
        SamplerOptions::greedy(),
        SamplerOptions::default()
            .with_temperature(0.02)
            .with_seed(3),
        SamplerOptions::balanced().with_seed(5),
    ] {
        let plain = GenerateOptions::greedy(150)
            .with_stop_ids([])
            .with_sampler(sampler)
            .with_logprobs(3);
        let want = alone(&model, &ids, &plain);
        for speculate in [
            Speculate::new(),
            Speculate::new().with_ngram(1, 2).with_max_draft(3),
            Speculate::new().with_ngram(1, 6).with_max_draft(32),
        ] {
            let options = plain.clone().with_speculation(speculate);
            let mut cache = model.new_cache();
            let mut generation = Generation::new(&model, &mut cache, &ids, &options).unwrap();
            let tokens: Vec<_> = generation.by_ref().map(Result::unwrap).collect();
            assert!((tokens, generation.finish()) == want, "{speculate:?}");
            let timings = generation.timings();
            assert!(timings.drafted_tokens > 0, "{timings:?}");
            assert!(timings.accepted_tokens <= timings.drafted_tokens);
            // Every pass gives one token and those that were guessed.
            assert_eq!(timings.decode_steps + timings.accepted_tokens, 149);
            accepted += timings.accepted_tokens;
            // What the cache holds is what it says: another prompt goes on from it.
            let held = cache.tokens().to_vec();
            assert!(
                ids.iter()
                    .chain(want.0.iter().map(|t| &t.id))
                    .copied()
                    .collect::<Vec<_>>()
                    .starts_with(&held)
            );
            let fresh = model
                .forward(&mut model.new_cache(), &[&held[..], &[7]].concat())
                .unwrap();
            assert!(model.forward(&mut cache, &[7]).unwrap() == fresh);
            let mut handle = scheduler.submit(&ids, &options).unwrap();
            let tokens: Vec<_> = handle.by_ref().map(Result::unwrap).collect();
            assert!((tokens, handle.finish()) == want, "{speculate:?}");
            // Where the prompt is kept already, the first guess comes one token earlier.
            together += handle.timings().accepted_tokens;
        }
    }
    assert!(accepted > 100 && together > 100, "{accepted} {together}");
    assert!(scheduler.stats().accepted_tokens > 0);
    let several = GenerateOptions::greedy(40).with_sampler(SamplerOptions::balanced());
    let guessed = several.clone().with_speculation(Speculate::new());
    let want = generate_n(&model, &ids, &several, 3).unwrap();
    assert_eq!(generate_n(&model, &ids, &guessed, 3).unwrap(), want);
}

#[test]
fn a_constraint_cuts_guesses() {
    let model = model(1);
    let options = GenerateOptions::greedy(500)
        .with_stop_ids([])
        .with_constraint(Arc::new(Counting::default()));
    let want = alone(&model, &[300, 301], &options);
    assert_eq!(want.0.len(), 120);
    let guess = options.with_speculation(Speculate::new().with_max_draft(16));
    let scheduler = Scheduler::new(model, &SchedulerOptions::new()).unwrap();
    let mut handle = scheduler.submit(&[300, 301], &guess).unwrap();
    let tokens: Vec<_> = handle.by_ref().map(Result::unwrap).collect();
    assert_eq!((tokens, handle.finish()), want);
    let timings = handle.timings();
    // What the constraint forbids was not run, so nothing was guessed wrongly.
    assert_eq!(timings.drafted_tokens, timings.accepted_tokens);
    assert!(timings.accepted_tokens > 60, "{timings:?}");
}

#[test]
fn guesses_stop_where_the_angles_change() {
    let case = cases().into_iter().find(|c| c.name == "phi35").unwrap();
    let source = Arc::new(case.model.source());
    let model = Model::from_parts(case.model.spec.clone(), source, &exact()).unwrap();
    let length = model.spec().rope.switch_length().unwrap();
    let ids = prompt(3, 6, VOCAB).repeat(length / 6 - 1);
    let plain = GenerateOptions::greedy(40).with_stop_ids([]);
    let want = alone(&model, &ids, &plain);
    let options = plain.with_speculation(Speculate::new().with_ngram(1, 3).with_max_draft(16));
    assert_eq!(alone(&model, &ids, &options), want);
    let scheduler = Scheduler::new(Arc::new(model), &SchedulerOptions::new()).unwrap();
    assert_eq!(reply(scheduler.submit(&ids, &options).unwrap()), want);
}

#[test]
fn copies_take_fewer_passes() {
    // The shipped model repeats what a tool said.
    let model = Model::from_gguf(tiny(), &LoadOptions::default()).unwrap();
    let json = include_str!("../../../../../examples/data/tiny_greedy.json");
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    let (mut passes, mut tokens) = (0, 0);
    for case in json["cases"].as_array().unwrap() {
        let ids = case["prompt_ids"].as_array().unwrap().iter();
        let ids: Vec<u32> = ids.map(|id| id.as_u64().unwrap() as u32).collect();
        let plain = GenerateOptions::greedy(64);
        let options = plain.clone().with_speculation(Speculate::new());
        let mut cache = model.new_cache();
        let mut generation = Generation::new(&model, &mut cache, &ids, &options).unwrap();
        let found: Vec<_> = generation.by_ref().map(Result::unwrap).collect();
        assert_eq!(found, alone(&model, &ids, &plain).0);
        passes += 1 + generation.timings().decode_steps;
        tokens += found.len();
    }
    assert!(passes < tokens, "{passes} passes for {tokens} tokens");
}
