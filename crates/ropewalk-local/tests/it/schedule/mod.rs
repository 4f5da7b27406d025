//! Many requests at once: the same replies as one by one, and nothing left behind.

mod chat;
mod failures;
mod memory;
mod speculation;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use ropewalk_gguf::{Gguf, TensorType};
use ropewalk_local::constrain::{Constrain, TokenConstraint, TokenMask};
use ropewalk_local::sample::{Rng, Sampled, SamplerOptions};
use ropewalk_local::{
    ActiveAdapter, Adapter, Finish, GenerateOptions, Generation, LoadOptions, Model, Result,
    Scheduler, SchedulerOptions, Speculate, StopStrings,
};
use ropewalk_spec::testing::prompt;

use crate::golden::cases;

const VOCAB: usize = 320;

/// A small model with seeded weights.
fn model(threads: usize) -> Arc<Model> {
    let case = cases().into_iter().find(|c| c.name == "llama2").unwrap();
    let bytes = case.model.gguf(|_| TensorType::F32).unwrap();
    let options = LoadOptions::default()
        .with_threads(NonZeroUsize::new(threads).unwrap())
        .with_context(1024);
    Arc::new(Model::from_gguf(Arc::new(Gguf::from_bytes(bytes).unwrap()), &options).unwrap())
}

/// The model in the repository.
fn tiny() -> Arc<Gguf> {
    let path = "../../examples/data/ropewalk-tiny.gguf";
    Arc::new(Gguf::open(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap())
}

fn adapter(model: &Model, name: &str) -> Adapter {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/peft");
    Adapter::open(model, root.join(name)).unwrap()
}

/// What a request is alone.
fn alone(model: &Model, ids: &[u32], options: &GenerateOptions) -> (Vec<Sampled>, Option<Finish>) {
    let mut cache = model.new_cache();
    let mut generation = Generation::new(model, &mut cache, ids, options).unwrap();
    let tokens = generation.by_ref().map(Result::unwrap).collect();
    (tokens, generation.finish())
}

fn reply(mut handle: ropewalk_local::Handle) -> (Vec<Sampled>, Option<Finish>) {
    let tokens = handle.by_ref().map(Result::unwrap).collect();
    (tokens, handle.finish())
}

/// A constraint that allows everything, but not before the test has opened a gate.
#[derive(Debug)]
struct Gate(Mutex<Option<Receiver<()>>>);

impl Gate {
    /// Returns the gate and what opens it when it is dropped.
    fn new() -> (Arc<Self>, Sender<()>) {
        let (open, gate) = channel();
        (Arc::new(Self(Mutex::new(Some(gate)))), open)
    }
}

impl Constrain for Gate {
    fn start(&self) -> Result<Box<dyn TokenConstraint>> {
        Ok(Box::new(Gated(self.0.lock().unwrap().take())))
    }
}

#[derive(Debug)]
struct Gated(Option<Receiver<()>>);

impl TokenConstraint for Gated {
    fn mask(&mut self, mask: &mut TokenMask) -> Result<()> {
        if let Some(gate) = self.0.take() {
            // The gate opens when its other end goes.
            gate.recv().unwrap_err();
        }
        (0..VOCAB as u32).for_each(|id| mask.allow(id));
        Ok(())
    }

    fn accept(&mut self, _id: u32) -> Result<()> {
        Ok(())
    }

    fn is_complete(&self) -> bool {
        false
    }
}

/// Only every other id, so that a constraint has a say.
#[derive(Debug, Clone)]
struct Even;

impl Constrain for Even {
    fn start(&self) -> Result<Box<dyn TokenConstraint>> {
        Ok(Box::new(self.clone()))
    }
}

impl TokenConstraint for Even {
    fn mask(&mut self, mask: &mut TokenMask) -> Result<()> {
        (0..VOCAB as u32).step_by(2).for_each(|id| mask.allow(id));
        Ok(())
    }

    fn accept(&mut self, id: u32) -> Result<()> {
        assert_eq!(id % 2, 0);
        Ok(())
    }

    fn is_complete(&self) -> bool {
        false
    }
}

/// Sixteen requests that differ in length, sampler, adapter, constraint and speculation.
fn sixteen(model: &Model) -> Vec<(Vec<u32>, GenerateOptions)> {
    let adapters = ["llama2", "llama2_few"].map(|name| adapter(model, name));
    let system = prompt(99, 150, VOCAB);
    let request = |i: usize| {
        let own = prompt(i as u64, [3, 17, 64, 129, 200, 31][i % 6] + i, VOCAB);
        // A quarter begins alike.
        let ids = match i % 4 {
            1 => [&system[..], &own].concat(),
            _ => own,
        };
        let seed = i as u64;
        let mut sampler = match i % 4 {
            0 => SamplerOptions::greedy(),
            1 => SamplerOptions::balanced().with_seed(seed),
            2 => SamplerOptions::balanced()
                .with_temperature(1.3)
                .with_seed(seed),
            _ => SamplerOptions::default()
                .with_temperature(0.7)
                .with_top_k(9),
        };
        if i.is_multiple_of(5) {
            sampler.penalties.repetition = 1.2;
        }
        let mut options = GenerateOptions::greedy(20 + 9 * i).with_sampler(sampler);
        match i % 3 {
            1 => options = options.with_adapters([ActiveAdapter::new(adapters[0].clone())]),
            2 if i > 6 => {
                let half = ActiveAdapter::new(adapters[1].clone()).with_scale(0.5);
                options = options.with_adapters([half]);
            }
            _ => {}
        }
        if i % 7 == 3 {
            options = options.with_constraint(Arc::new(Even));
        }
        if i.is_multiple_of(2) {
            options = options.with_speculation(Speculate::new());
        }
        if i % 6 == 5 {
            options = options.with_logprobs(2);
        }
        (ids, options)
    };
    (0..16).map(request).collect()
}

#[test]
fn sixteen_together_are_sixteen_alone() {
    for threads in [1, 2] {
        let model = model(threads);
        let requests = sixteen(&model);
        let want: Vec<_> = requests
            .iter()
            .map(|(ids, o)| alone(&model, ids, o))
            .collect();
        for step in [16, 64, 512] {
            // Twelve pages are too few for what runs at once in the end.
            let options = SchedulerOptions::new()
                .with_pool_tokens(12 * 128)
                .with_max_sequences(12)
                .with_step_tokens(step);
            let scheduler = Scheduler::new(Arc::clone(&model), &options).unwrap();
            let handles: Vec<_> = requests
                .iter()
                .map(|(ids, options)| scheduler.submit(ids, options).unwrap())
                .collect();
            let mut cancelled = scheduler
                .submit(
                    &prompt(50, 40, VOCAB),
                    &GenerateOptions::greedy(900).with_stop_ids([]),
                )
                .unwrap();
            let threads: Vec<_> = handles
                .into_iter()
                .map(|handle| std::thread::spawn(move || reply(handle)))
                .collect();
            assert!(cancelled.next().unwrap().is_ok());
            drop(cancelled);
            for (i, (thread, want)) in threads.into_iter().zip(&want).enumerate() {
                let found = thread.join().unwrap();
                assert!(
                    found == *want,
                    "request {i} of {step} rows: {found:?} {want:?}"
                );
            }
            // One more step at least after the handle was dropped.
            let last = scheduler.submit(&[1], &GenerateOptions::greedy(1)).unwrap();
            assert_eq!(last.count(), 1);
            let stats = scheduler.stats();
            assert!(stats.preempted > 0, "{stats:?}");
            assert!(stats.prefix_hits > 0 && stats.steps > 0, "{stats:?}");
            assert_eq!(
                (stats.finished, stats.failed, stats.cancelled),
                (17, 0, 1),
                "{stats:?}"
            );
            assert!(stats.pages_peak <= 12, "{stats:?}");
        }
    }
}

/// Requests that come while others run, in an order that follows from a seed, from several threads.
#[test]
fn replies_do_not_depend_on_arrivals() {
    let model = model(2);
    let requests = Arc::new(sixteen(&model));
    let want: Vec<_> = requests
        .iter()
        .map(|(ids, o)| alone(&model, ids, o))
        .collect();
    for seed in 0..6 {
        let mut rng = Rng::new(seed);
        let mut draw = |n: usize| (rng.next_f64() * n as f64) as usize;
        let options = SchedulerOptions::new()
            .with_max_sequences(1 + draw(7))
            .with_pool_tokens(128 * (7 + draw(9)))
            .with_step_tokens(1 + draw(200))
            .with_prefix_tokens([0, 128, 9999][draw(3)]);
        let scheduler = Arc::new(Scheduler::new(Arc::clone(&model), &options).unwrap());
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let order: Vec<usize> = (0..6).map(|_| draw(16)).collect();
                let waits: Vec<usize> = (0..6).map(|_| draw(5)).collect();
                let (scheduler, requests) = (Arc::clone(&scheduler), Arc::clone(&requests));
                std::thread::spawn(move || {
                    let mut handles = Vec::new();
                    for (i, wait) in order.into_iter().zip(waits) {
                        let (ids, options) = &requests[i];
                        let mut handle = scheduler.submit(ids, options).unwrap();
                        let first = handle.by_ref().take(wait).map(Result::unwrap).collect();
                        handles.push((i, first, handle));
                    }
                    let replies = handles.into_iter().map(|(i, first, handle)| {
                        let mut tokens: Vec<Sampled> = first;
                        let (rest, finish) = reply(handle);
                        tokens.extend(rest);
                        (i, (tokens, finish))
                    });
                    replies.collect::<Vec<_>>()
                })
            })
            .collect();
        for thread in threads {
            for (i, found) in thread.join().unwrap() {
                assert!(found == want[i], "request {i}, seed {seed}, {options:?}");
            }
        }
        let stats = scheduler.stats();
        assert_eq!((stats.finished, stats.failed, stats.cancelled), (18, 0, 0));
    }
}

#[test]
fn prompts_that_begin_alike_are_read_once() {
    let model = model(2);
    let system = prompt(7, 400, VOCAB);
    let scheduler = Scheduler::new(model, &SchedulerOptions::new()).unwrap();
    // All come at once: the others wait until the first has read what they share.
    let (gate, open) = Gate::new();
    let first = GenerateOptions::greedy(1).with_constraint(gate);
    let holder = scheduler.submit(&[1], &first).unwrap();
    let ids = |i: u32| [&system[..], &[i, i + 1, i + 2]].concat();
    let handles: Vec<_> = (10..14)
        .map(|i| {
            scheduler
                .submit(&ids(i), &GenerateOptions::greedy(3))
                .unwrap()
        })
        .collect();
    drop(open);
    let mut cached = Vec::new();
    for mut handle in handles {
        assert_eq!(handle.by_ref().map(Result::unwrap).count(), 3);
        cached.push(handle.timings().cached_tokens);
    }
    drop(holder);
    // Whole pages of 128 while it runs.
    assert_eq!(cached, [0, 384, 384, 384]);
    // Afterwards all that is in common.
    let mut later = scheduler
        .submit(&ids(20), &GenerateOptions::greedy(1))
        .unwrap();
    assert_eq!(later.by_ref().count(), 1);
    assert_eq!(later.timings().cached_tokens, 400);
    let stats = scheduler.stats();
    assert_eq!((stats.prefix_hits, stats.prefix_tokens), (4, 3 * 384 + 400));
}

#[test]
fn stop_strings_meet_text_in_order() {
    // Tokens come in order and one by one, also those that one pass gave.
    let model = model(1);
    let ids = prompt(5, 30, VOCAB);
    let options = GenerateOptions::greedy(60).with_speculation(Speculate::new());
    let scheduler = Scheduler::new(Arc::clone(&model), &SchedulerOptions::new()).unwrap();
    let text = |tokens: &[Sampled]| -> String {
        let mut stop = StopStrings::new(["stop"]);
        tokens
            .iter()
            .map(|t| stop.push(&format!("{} ", t.id)))
            .collect()
    };
    let found = reply(scheduler.submit(&ids, &options).unwrap());
    let plain = GenerateOptions::greedy(60);
    assert_eq!(text(&found.0), text(&alone(&model, &ids, &plain).0));
}
