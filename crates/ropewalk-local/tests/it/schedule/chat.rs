//! Chats through a scheduler.

use std::ops::ControlFlow;

use futures_executor::block_on;
use futures_util::StreamExt;
use ropewalk_core::testing::{ChatSuite, chat};
use ropewalk_core::{ChatModel, ChatRequest, ErrorKind, FinishReason, StreamEvent};
use ropewalk_local::{GenerateOptions, LoadOptions, LocalModel, SchedulerOptions, Speculate};

use super::{Gate, tiny};

fn plain() -> LocalModel {
    LocalModel::from_gguf(tiny(), &LoadOptions::default()).unwrap()
}

fn scheduled(options: &SchedulerOptions) -> LocalModel {
    plain().with_scheduler(options).unwrap()
}

fn go_on(_: &StreamEvent) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn requests() -> Vec<ChatRequest> {
    let ask = |text: &str| ChatRequest::new().user(text).max_tokens(40);
    vec![
        ask("Hello!"),
        ask("What is GGUF?").temperature(0.9).seed(4),
        ask("How much is a ticket to Paris?").stop("."),
        ask("Who painted the Mona Lisa?").logprobs(2),
        ask("What does ropewalk-gguf do?").temperature(0.5).seed(1),
        ask("Thanks!").max_tokens(3),
    ]
}

#[test]
fn conforms_to_the_chat_contract() {
    let model = scheduled(&SchedulerOptions::new());
    let suite = ChatSuite::new().with_max_tokens(24);
    block_on(chat(&model, &suite)).into_result().unwrap();
    assert!(model.scheduler().unwrap().stats().finished > 0);
}

#[test]
fn replies_are_those_without_a_scheduler() {
    let (alone, model) = (plain(), scheduled(&SchedulerOptions::new()));
    let guessing = model.clone().with_speculation(Speculate::new());
    let ask =
        |model: &LocalModel, request: &ChatRequest| model.respond(request, &mut go_on).unwrap();
    let want: Vec<_> = requests().iter().map(|r| ask(&alone, r)).collect();
    std::thread::scope(|s| {
        for model in [&model, &guessing] {
            for (request, want) in requests().into_iter().zip(&want) {
                s.spawn(move || {
                    let found = ask(model, &request).response;
                    let want = &want.response;
                    assert_eq!(found.message, want.message);
                    assert_eq!(found.finish_reason, want.finish_reason);
                    assert_eq!(found.logprobs, want.logprobs);
                    assert_eq!(found.usage.output_tokens, want.usage.output_tokens);
                    let streamed =
                        block_on(async { model.stream(&request).await?.collect().await });
                    assert_eq!(streamed.unwrap().message, want.message);
                });
            }
        }
    });
    let stats = model.scheduler().unwrap().stats();
    assert_eq!(stats.failed, 0, "{stats:?}");
    assert!(stats.accepted_tokens > 0, "{stats:?}");
}

#[test]
fn a_dropped_stream_cancels_also_in_the_queue() {
    let model = scheduled(&SchedulerOptions::new().with_max_sequences(1));
    let scheduler = model.scheduler().unwrap();
    let (gate, open) = Gate::new();
    let gated = GenerateOptions::greedy(2).with_constraint(gate);
    let first = scheduler.submit(&[1], &gated).unwrap();
    let request = ChatRequest::new().user("Hello!");
    drop(block_on(model.stream(&request)).unwrap());
    drop(open);
    assert_eq!(first.count(), 2);
    // It may have come after the first one ended, and is forgotten at the step that meets it.
    while scheduler.stats().cancelled == 0 {
        let next = scheduler.submit(&[2], &GenerateOptions::greedy(1)).unwrap();
        assert_eq!(next.count(), 1);
    }
    assert_eq!(scheduler.stats().cancelled, 1);
    // One that runs.
    let mut stream = block_on(model.stream(&request)).unwrap();
    block_on(stream.next()).unwrap().unwrap();
    drop(stream);
    let next = scheduler.submit(&[2], &GenerateOptions::greedy(1)).unwrap();
    assert_eq!(next.count(), 1);
}

#[test]
fn a_long_prompt_can_be_given_up() {
    let model = scheduled(&SchedulerOptions::new().with_step_tokens(64));
    let request = ChatRequest::new().user("hello ".repeat(100));
    let reply = model
        .respond(&request, &mut |_| ControlFlow::Break(()))
        .unwrap();
    let cancelled = FinishReason::Other("cancelled".into());
    assert_eq!(reply.response.finish_reason, cancelled);
    assert_eq!(reply.response.text(), "");
    let late = request.timeout(std::time::Duration::ZERO);
    let e = model.respond(&late, &mut go_on).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Timeout);
}

#[test]
fn a_full_queue_is_an_overload() {
    let options = SchedulerOptions::new()
        .with_max_sequences(1)
        .with_max_waiting(1);
    let model = scheduled(&options);
    let scheduler = model.scheduler().unwrap();
    let (gate, open) = Gate::new();
    let gated = GenerateOptions::greedy(1).with_constraint(gate);
    let mut handles = vec![scheduler.submit(&[1], &gated).unwrap()];
    // Another one may wait as soon as the first has left the queue for the gate.
    let waiting = loop {
        match scheduler.submit(&[2], &GenerateOptions::greedy(1)) {
            Ok(handle) => break handle,
            Err(_) => std::thread::yield_now(),
        }
    };
    handles.push(waiting);
    let e = model.respond(&requests()[0], &mut go_on).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Overloaded);
    assert!(e.is_retryable());
    drop(open);
    assert!(handles.into_iter().all(|handle| handle.count() == 1));
}
