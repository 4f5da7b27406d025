//! What goes wrong in one request, and requests that are given up.

use std::sync::Arc;

use futures_executor::block_on;
use ropewalk_local::constrain::{Constrain, TokenConstraint, TokenMask};
use ropewalk_local::sample::SamplerOptions;
use ropewalk_local::{
    Error, Finish, GenerateOptions, Result, Scheduler, SchedulerOptions, Speculate,
};
use ropewalk_spec::testing::prompt;

use super::{Gate, VOCAB, alone, model, reply};

/// Goes wrong after some tokens.
#[derive(Debug, Clone)]
struct Faulty {
    left: usize,
    panics: bool,
}

impl Constrain for Faulty {
    fn start(&self) -> Result<Box<dyn TokenConstraint>> {
        Ok(Box::new(self.clone()))
    }
}

impl TokenConstraint for Faulty {
    fn mask(&mut self, mask: &mut TokenMask) -> Result<()> {
        if self.left == 0 && self.panics {
            panic!("the constraint is at its end");
        }
        if self.left > 0 {
            (0..VOCAB as u32).for_each(|id| mask.allow(id));
        }
        // With no id at all there is nothing to choose from.
        Ok(())
    }

    fn accept(&mut self, _id: u32) -> Result<()> {
        self.left -= 1;
        Ok(())
    }

    fn is_complete(&self) -> bool {
        false
    }
}

#[test]
fn a_request_that_fails_fails_alone() {
    let model = model(2);
    let ids = |seed| prompt(seed, 40, VOCAB);
    let good = GenerateOptions::greedy(40).with_stop_ids([]);
    let want: Vec<_> = (0..4).map(|i| alone(&model, &ids(i), &good)).collect();
    let scheduler = Scheduler::new(model, &SchedulerOptions::new()).unwrap();
    let faulty = |panics| Arc::new(Faulty { left: 5, panics });
    let (mut panics, mut fails) = (Vec::new(), Vec::new());
    let mut others = Vec::new();
    for i in 0..4 {
        let options = good.clone().with_constraint(faulty(true));
        panics.push(scheduler.submit(&ids(10 + i), &options).unwrap());
        others.push(scheduler.submit(&ids(i), &good).unwrap());
        let options = good.clone().with_constraint(faulty(false));
        fails.push(scheduler.submit(&ids(20 + i), &options).unwrap());
    }
    for (handle, want) in others.into_iter().zip(&want) {
        assert_eq!(&reply(handle), want);
    }
    for mut handle in panics {
        let tokens: Vec<_> = handle.by_ref().collect();
        assert_eq!(tokens.len(), 6);
        let e = tokens[5].as_ref().unwrap_err();
        assert!(matches!(e, Error::Panicked { .. }), "{e}");
        assert!(
            e.to_string().contains("the constraint is at its end"),
            "{e}"
        );
        assert_eq!((handle.finish(), handle.next().is_none()), (None, true));
    }
    for handle in fails {
        let tokens: Vec<_> = handle.collect();
        assert!(
            matches!(tokens[5], Err(Error::NoCandidates { .. })),
            "{tokens:?}"
        );
    }
    let stats = scheduler.stats();
    assert_eq!((stats.finished, stats.failed, stats.cancelled), (4, 8, 0));
}

#[test]
fn what_can_never_run_is_refused_at_once() {
    let model = model(1);
    let new = |options: SchedulerOptions| Scheduler::new(Arc::clone(&model), &options);
    let scheduler = new(SchedulerOptions::new()
        .with_pool_tokens(256)
        .with_max_sequences(2))
    .unwrap();
    let plain = GenerateOptions::greedy(4);
    let bad = |sampler| GenerateOptions::greedy(4).with_sampler(sampler);
    let guess = GenerateOptions::greedy(4).with_speculation(Speculate::new().with_max_draft(0));
    for (ids, options, message) in [
        (vec![], plain.clone(), "the prompt is empty"),
        (
            vec![1, 900],
            plain.clone(),
            "token id 900 is not in the vocabulary of 320",
        ),
        (
            vec![1; 1025],
            plain.clone(),
            "1025 tokens do not fit the context of 1024",
        ),
        (
            vec![1; 257],
            plain.clone(),
            "the cache pool has 2 of its 2 pages left and 3 are needed",
        ),
        (
            vec![1],
            bad(SamplerOptions::default().with_temperature(-1.0)),
            "temperature is -1",
        ),
        (vec![1], guess, "max_draft of speculation is 0"),
    ] {
        let e = scheduler.submit(&ids, &options).unwrap_err().to_string();
        assert!(e.starts_with(message), "{e}");
    }
    for (options, message) in [
        (
            SchedulerOptions::new().with_max_sequences(0),
            "max_sequences is 0",
        ),
        (
            SchedulerOptions::new().with_step_tokens(0),
            "step_tokens is 0",
        ),
        (
            SchedulerOptions::new().with_pool_tokens(0),
            "pool_tokens is 0",
        ),
        (
            SchedulerOptions::new().with_max_waiting(0),
            "max_waiting is 0",
        ),
        // More sequences than memory.
        (
            SchedulerOptions::new().with_pool_tokens(256),
            "max_sequences is 16; use at most one",
        ),
        (
            SchedulerOptions::new().with_pool_tokens(1 << 60),
            "a context of 1152921504606846976 tokens",
        ),
    ] {
        let e = new(options).unwrap_err().to_string();
        assert!(e.starts_with(message), "{e}");
    }
    // The scheduler still runs.
    assert_eq!(reply(scheduler.submit(&[1], &plain).unwrap()).0.len(), 4);
}

#[test]
fn a_full_queue_refuses() {
    let options = SchedulerOptions::new()
        .with_max_sequences(1)
        .with_max_waiting(2);
    let scheduler = Scheduler::new(model(1), &options).unwrap();
    let (gate, open) = Gate::new();
    let gated = GenerateOptions::greedy(2).with_constraint(gate);
    let mut first = scheduler.submit(&[1], &gated).unwrap();
    let plain = GenerateOptions::greedy(2);
    // The first may still be on its way from the queue.
    let mut waiting = Vec::new();
    let e = loop {
        match scheduler.submit(&[2], &plain) {
            Ok(handle) => waiting.push(handle),
            Err(e) => break e,
        }
        assert!(waiting.len() <= 2);
    };
    assert!(matches!(e, Error::QueueFull { limit: 2 }), "{e}");
    drop(open);
    assert_eq!(first.by_ref().count(), 2);
    for handle in waiting {
        assert_eq!(handle.count(), 2);
    }
    assert_eq!(scheduler.submit(&[3], &plain).unwrap().count(), 2);
}

#[test]
fn a_dropped_handle_gives_its_pages_back() {
    let model = model(2);
    let options = SchedulerOptions::new().with_prefix_tokens(0);
    let scheduler = Scheduler::new(model, &options).unwrap();
    let long = GenerateOptions::default().with_stop_ids([]);
    let short = GenerateOptions::greedy(3);
    for take in [0, 1] {
        let (gate, open) = Gate::new();
        let gated = long.clone().with_constraint(gate);
        let mut handle = scheduler.submit(&prompt(1, 300, VOCAB), &gated).unwrap();
        let mut other = scheduler.submit(&prompt(2, 30, VOCAB), &long).unwrap();
        if take == 0 {
            drop(handle);
            other.cancel();
            drop(open);
            assert!(other.by_ref().all(|token| token.is_ok()));
        } else {
            drop(open);
            handle.next().unwrap().unwrap();
            other.next().unwrap().unwrap();
            drop((handle, other));
        }
        assert_eq!(reply(scheduler.submit(&[5], &short).unwrap()).0.len(), 3);
        let stats = scheduler.stats();
        assert_eq!((stats.running, stats.waiting, stats.pages), (0, 0, 0));
        assert_eq!(
            (stats.cancelled, stats.finished),
            (2 * (take + 1), take + 1)
        );
    }
}

#[test]
fn a_sequence_that_fills_the_pool_ends() {
    let model = model(1);
    let options = SchedulerOptions::new()
        .with_pool_tokens(256)
        .with_max_sequences(2);
    let scheduler = Scheduler::new(Arc::clone(&model), &options).unwrap();
    for guess in [false, true] {
        let mut long = GenerateOptions::default().with_stop_ids([]);
        let ids = prompt(3, 200, VOCAB);
        let want = alone(&model, &ids, &long).0;
        if guess {
            long = long.with_speculation(Speculate::new());
        }
        let (tokens, finish) = reply(scheduler.submit(&ids, &long).unwrap());
        assert_eq!(finish, Some(Finish::Context));
        // The last needs no keys.
        assert_eq!(tokens, want[..57]);
    }
    // A context that ends before the pool does.
    let scheduler = Scheduler::new(Arc::clone(&model), &SchedulerOptions::new()).unwrap();
    let long = GenerateOptions::default().with_stop_ids([]);
    let ids = prompt(4, 1000, VOCAB);
    let want = alone(&model, &ids, &long);
    assert_eq!((want.0.len(), want.1), (25, Some(Finish::Context)));
    assert_eq!(reply(scheduler.submit(&ids, &long).unwrap()), want);
    // No token at all.
    let none = GenerateOptions::greedy(0);
    let found = reply(scheduler.submit(&ids, &none).unwrap());
    assert_eq!(found, (Vec::new(), Some(Finish::MaxTokens)));
}

#[test]
fn the_end_of_a_scheduler_ends_its_requests() {
    let scheduler =
        Scheduler::new(model(1), &SchedulerOptions::new().with_max_sequences(1)).unwrap();
    let (gate, open) = Gate::new();
    let gated = GenerateOptions::default()
        .with_stop_ids([])
        .with_constraint(gate);
    let running = scheduler.submit(&[1, 2], &gated).unwrap();
    let waiting = scheduler.submit(&[3], &GenerateOptions::greedy(9)).unwrap();
    let end = std::thread::spawn(move || drop(scheduler));
    drop(open);
    let last = running.last().unwrap();
    assert!(matches!(last, Err(Error::SchedulerEnded)), "{last:?}");
    let tokens: Vec<_> = waiting.collect();
    assert!(
        matches!(tokens[..], [Err(Error::SchedulerEnded)]),
        "{tokens:?}"
    );
    end.join().unwrap();
}

#[test]
fn tokens_come_as_a_stream_too() {
    use futures_util::StreamExt;

    let model = model(1);
    let (ids, options) = (prompt(1, 20, VOCAB), GenerateOptions::greedy(12));
    let want = alone(&model, &ids, &options);
    let scheduler = Scheduler::new(model, &SchedulerOptions::new()).unwrap();
    let streams: Vec<_> = (0..3)
        .map(|_| scheduler.submit(&ids, &options).unwrap().into_stream())
        .collect();
    block_on(async {
        for mut stream in streams {
            let mut tokens = Vec::new();
            while let Some(token) = stream.next().await {
                tokens.push(token.unwrap());
            }
            assert_eq!((tokens, stream.handle().finish()), want);
            let timings = stream.handle().timings();
            assert_eq!(
                (timings.prompt_tokens, timings.generated_tokens),
                (20, want.0.len())
            );
        }
    });
}
