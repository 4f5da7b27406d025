//! Typed steps.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use ropewalk_agents::{
    AsText, ChatPrompt, DynStep, ExtractStep, ModelStep, Prompt, RetryPolicy, Sleeper, Step,
    StepContext, StepEvent, StepExt, TokioSleeper, Vars, chain, step_fn,
};
use ropewalk_core::schemars::{self, JsonSchema};
use ropewalk_core::testing::ScriptedModel;
use ropewalk_core::{ChatRequest, Error, ErrorKind, Options, Result, async_trait};
use serde::{Deserialize, Serialize};

/// Fails so often before it gives its input back.
fn flaky(failures: usize, error: fn() -> Error) -> (impl Step<String, String>, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let step = step_fn(move |input: String| {
        let fails = seen.fetch_add(1, Ordering::SeqCst) < failures;
        async move { if fails { Err(error()) } else { Ok(input) } }
    });
    (step, calls)
}

fn busy() -> Error {
    Error::new(ErrorKind::Overloaded, "busy")
}

#[derive(Clone, Default)]
struct NoWait(Arc<Mutex<Vec<Duration>>>);

#[async_trait]
impl Sleeper for NoWait {
    async fn sleep(&self, time: Duration) {
        self.0.lock().unwrap().push(time);
    }
}

async fn events<O: Send + 'static>(
    step: impl Step<ChatRequest, O> + 'static,
) -> Result<(Vec<String>, O)> {
    let mut stream = step.call_stream("hi".into());
    let (mut deltas, mut output) = (Vec::new(), None);
    while let Some(event) = stream.next().await {
        assert!(output.is_none(), "an event after the end");
        match event? {
            StepEvent::Delta(text) => deltas.push(text),
            StepEvent::Done(value) => output = Some(value),
            _ => {}
        }
    }
    Ok((deltas, output.unwrap()))
}

fn says(text: &str) -> ModelStep {
    ModelStep::new(ScriptedModel::new().with_chunk(3).reply(text))
}

#[tokio::test]
async fn a_typed_chain_from_struct_to_struct() {
    #[derive(Serialize)]
    struct Question {
        city: String,
    }
    #[derive(Deserialize, JsonSchema, Debug, PartialEq)]
    struct Weather {
        degrees: i32,
    }
    let model = ScriptedModel::new().reply(r#"{"degrees": 21}"#);
    let forecast = chain(
        ChatPrompt::new()
            .user("Weather in {city}?")
            .typed::<Question>(),
    ) | chain(ExtractStep::<Weather>::new(model));
    let hot = forecast.map(|w| w.degrees > 20);
    let question = Question {
        city: "Rome".into(),
    };
    assert!(hot.call(question).await.unwrap());
}

#[tokio::test]
async fn text_streams_through_steps_that_keep_it() {
    let (deltas, output) = events(says("hello world").then(AsText).named("talk"))
        .await
        .unwrap();
    assert_eq!(deltas, ["hel", "lo ", "wor", "ld"]);
    assert_eq!(output, "hello world");
    let (deltas, output) = events(chain(says("abcd")) | chain(AsText)).await.unwrap();
    assert_eq!((deltas.concat(), output), ("abcd".into(), "abcd".into()));
}

#[tokio::test]
async fn text_that_is_changed_does_not_stream() {
    let shout = says("hello").text().map(|text: String| text.to_uppercase());
    let (deltas, output) = events(shout).await.unwrap();
    assert!(deltas.is_empty());
    assert_eq!(output, "HELLO");
    // Of two models in a row, the last one streams.
    let ask = step_fn(|text: String| async move { Ok(ChatRequest::from(text)) });
    let two = says("first").text().then(ask).then(says("second").text());
    let (deltas, output) = events(two).await.unwrap();
    assert_eq!(
        (deltas.concat(), output),
        ("second".into(), "second".into())
    );
}

#[tokio::test]
async fn both_run_at_the_same_time() {
    let wait = || {
        step_fn(|n: u64| async move {
            tokio::time::sleep(Duration::from_secs(n)).await;
            Ok(n)
        })
    };
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let sum = wait().both(wait()).map(|(a, b)| a + b);
    assert_eq!(sum.call(10).await.unwrap(), 20);
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_batch_keeps_order_and_limit() {
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, peak) = (Arc::clone(&running), Arc::clone(&most));
    let step = step_fn(move |n: u64| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(100 - n)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            match n {
                3 => Err(Error::invalid_request("three")),
                n => Ok(n * 10),
            }
        }
    });
    let results = step.batch(0..9, 4).await;
    let numbers: Vec<u64> = results.iter().map(|r| *r.as_ref().unwrap_or(&99)).collect();
    assert_eq!(numbers, [0, 10, 20, 99, 40, 50, 60, 70, 80]);
    assert_eq!(most.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn fallbacks_go_in_order_and_tell_all_failures() {
    let (first, first_calls) = flaky(usize::MAX, busy);
    let (second, second_calls) = flaky(1, || Error::new(ErrorKind::Server, "down"));
    let third: DynStep<String, String> = says_third();
    let step = first
        .named("one")
        .with_fallbacks([second.named("two").shared(), third]);
    assert_eq!(step.call("x".into()).await.unwrap(), "third: x");
    assert_eq!(step.call("y".into()).await.unwrap(), "y");
    assert_eq!(first_calls.load(Ordering::SeqCst), 2);
    assert_eq!(second_calls.load(Ordering::SeqCst), 2);

    let (a, _) = flaky(9, busy);
    let (b, _) = flaky(9, || Error::new(ErrorKind::Authentication, "no key"));
    let both = a.named("one").with_fallbacks([b.named("two").shared()]);
    let error = both.call("x".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(!error.is_retryable());
    assert_eq!(
        error.message(),
        "all 2 steps failed: one: overloaded: busy; two: authentication: no key"
    );
    assert!(error.find_source::<Error>().is_some());
}

fn says_third() -> DynStep<String, String> {
    step_fn(|x: String| async move { Ok(format!("third: {x}")) }).shared()
}

#[tokio::test]
async fn a_stream_falls_back_only_before_the_first_delta() {
    use ropewalk_core::WireDelta;
    let at_once = ModelStep::new(ScriptedModel::new().error(busy()));
    let step = at_once
        .with_fallbacks([says("backup").shared()])
        .then(AsText);
    let (deltas, output) = events(step).await.unwrap();
    assert_eq!(
        (deltas.concat(), output),
        ("backup".into(), "backup".into())
    );

    let text = |text: &str| WireDelta::Text {
        slot: 0,
        text: text.into(),
    };
    let model = ScriptedModel::new().breaks_after([text("half")], busy());
    let late = ModelStep::new(model).with_fallbacks([says("backup").shared()]);
    assert_eq!(
        events(late).await.unwrap_err().kind(),
        ErrorKind::Overloaded
    );
}

#[tokio::test]
async fn retry_waits_as_told_and_gives_up() {
    let clock = NoWait::default();
    let policy = RetryPolicy::new(3)
        .with_waits(Duration::from_millis(100), Duration::from_millis(250))
        .with_sleeper(clock.clone());
    let (step, calls) = flaky(3, busy);
    let step = step.with_retry(policy.clone());
    assert_eq!(step.call("x".into()).await.unwrap(), "x");
    assert_eq!(calls.load(Ordering::SeqCst), 4);
    let waits: Vec<u128> = clock
        .0
        .lock()
        .unwrap()
        .iter()
        .map(Duration::as_millis)
        .collect();
    assert!((75..=100).contains(&waits[0]), "{waits:?}");
    assert!((150..=200).contains(&waits[1]), "{waits:?}");
    assert!((187..=250).contains(&waits[2]), "{waits:?}");

    let (step, calls) = flaky(9, busy);
    assert!(
        step.with_retry(policy.clone())
            .call("x".into())
            .await
            .is_err()
    );
    assert_eq!(calls.load(Ordering::SeqCst), 4);

    let (step, calls) = flaky(9, || Error::invalid_request("no"));
    assert!(
        step.with_retry(policy.clone())
            .call("x".into())
            .await
            .is_err()
    );
    assert_eq!(calls.load(Ordering::SeqCst), 1);

    let asked = busy().with_retry_after(Duration::from_secs(7));
    assert_eq!(policy.wait(0, &asked), Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn retry_with_the_clock_of_tokio() {
    let start = tokio::time::Instant::now();
    let (step, _) = flaky(2, busy);
    let policy = RetryPolicy::new(2).with_seed(5).with_sleeper(TokioSleeper);
    step.with_retry(policy).call("x".into()).await.unwrap();
    assert!((1125..=1502).contains(&start.elapsed().as_millis()));
}

#[tokio::test]
async fn a_stream_is_tried_again_before_the_first_delta() {
    let model = ScriptedModel::new().error(busy()).reply("late");
    let policy = RetryPolicy::new(1).with_sleeper(NoWait::default());
    let step = ModelStep::new(model).with_retry(policy).then(AsText);
    let (deltas, output) = events(step).await.unwrap();
    assert_eq!((deltas.concat(), output), ("late".into(), "late".into()));
}

#[tokio::test]
async fn bound_options_reach_the_model_and_the_outer_ones_win() {
    let model = Arc::new(ScriptedModel::echo());
    let inner = Options {
        temperature: Some(0.5),
        seed: Some(1),
        ..Options::default()
    };
    let outer = Options {
        seed: Some(2),
        stop: vec!["x".into()],
        ..Options::default()
    };
    let step = chain(Prompt::new("{q}").unwrap()) | chain(ModelStep::new(Arc::clone(&model)));
    let step = step.bind(inner).named("n").bind(outer);
    step.call(Vars::new().with("q", "hi")).await.unwrap();
    let options = &model.requests()[0].options;
    assert_eq!(options.temperature, Some(0.5));
    assert_eq!(options.seed, Some(2));
    assert_eq!(options.stop, ["x"]);

    let context = StepContext::new().with_options(&Options {
        max_tokens: Some(9),
        ..Options::default()
    });
    step.run(Vars::new().with("q", "hi"), &context)
        .await
        .unwrap();
    assert_eq!(model.requests()[1].options.max_tokens, Some(9));
}

#[tokio::test]
async fn a_prompt_that_lacks_a_value_fails_the_chain() {
    let step = chain(ChatPrompt::new().user("{q}")) | chain(says("never"));
    let error = step.call(Vars::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert!(error.message().contains("`q`"), "{error}");
}

/// Tells when it is dropped.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_dropped_stream_stops_its_work() {
    let (begun, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (start, end) = (Arc::clone(&begun), Arc::clone(&dropped));
    let endless = step_fn(move |text: String| {
        start.fetch_add(1, Ordering::SeqCst);
        let guard = Guard(Arc::clone(&end));
        async move {
            let _guard = guard;
            std::future::pending::<()>().await;
            Ok(text)
        }
    });
    let mut stream = says("hello").text().then(endless).call_stream("hi".into());
    let waiting = tokio::time::timeout(Duration::from_millis(20), stream.next()).await;
    assert!(waiting.is_err());
    assert_eq!(begun.load(Ordering::SeqCst), 1);
    assert_eq!(dropped.load(Ordering::SeqCst), 0);
    drop(stream);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}
