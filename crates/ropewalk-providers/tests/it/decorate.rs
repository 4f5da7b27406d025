//! Models around models: fallback, rate limit, cache, meter, record and replay.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use ropewalk_core::testing::ScriptedModel;
use ropewalk_core::{
    ChatModel, ChatModelExt, ChatRequest, ChatResponse, Error, ErrorKind, FinishReason, Message,
    StreamEvent, Usage, WireDelta,
};
use ropewalk_providers::{
    Cache, CacheStore, DirStore, Fallback, MemoryStore, Meter, Price, PriceTable, RateLimit,
    Record, Replay,
};

fn failing(kind: ErrorKind) -> ScriptedModel {
    ScriptedModel::respond_with(move |_| Err(Error::new(kind, "out of order")))
        .with_name("a", "first")
}

fn answering(text: &'static str) -> ScriptedModel {
    ScriptedModel::respond_with(move |_| {
        Ok(ChatResponse::new("b", "second", Message::assistant(text)))
    })
    .with_name("b", "second")
}

#[tokio::test]
async fn the_next_model_answers_and_is_named() {
    let chain = Fallback::new(failing(ErrorKind::Server)).or(answering("here"));
    let reply = chain.chat(&ChatRequest::from("hi")).await.unwrap();
    assert_eq!((reply.text().as_str(), &*reply.provider), ("here", "b"));
    let reply = chain
        .ask_stream("hi")
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert_eq!(
        (reply.text().as_str(), reply.model.as_str()),
        ("here", "second")
    );
}

#[tokio::test]
async fn all_failures_are_listed() {
    let second = failing(ErrorKind::RateLimited).with_name("b", "second");
    let chain = Fallback::new(failing(ErrorKind::Server)).or(second);
    for error in [
        chain.ask("hi").await.unwrap_err(),
        chain.ask_stream("hi").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        let text = error.to_string();
        assert!(
            text.contains("a/first: ") && text.contains("b/second: "),
            "{text}"
        );
    }
}

#[tokio::test]
async fn only_chosen_errors_move_on() {
    let second = Arc::new(answering("no"));
    let chain = Fallback::new(failing(ErrorKind::Authentication))
        .or(Arc::clone(&second))
        .when(|e| e.kind() == ErrorKind::ContextLengthExceeded);
    assert_eq!(
        chain.ask("hi").await.unwrap_err().kind(),
        ErrorKind::Authentication
    );
    assert!(second.requests().is_empty());
    // An invalid request is nobody's fault but the caller's.
    let chain = Fallback::new(failing(ErrorKind::Server)).or(Arc::clone(&second));
    assert_eq!(
        chain.chat(&ChatRequest::new()).await.unwrap_err().kind(),
        ErrorKind::InvalidRequest
    );
    assert!(second.requests().is_empty());
}

#[tokio::test]
async fn a_reply_that_is_not_accepted_is_a_failure() {
    let chain = Fallback::new(answering("no json"))
        .or(answering("{\"a\": 1}"))
        .accepting(|r| serde_json::from_str::<serde_json::Value>(&r.text()).is_ok());
    assert_eq!(chain.ask("hi").await.unwrap(), "{\"a\": 1}");
    let events: Vec<_> = chain.ask_stream("hi").await.unwrap().text().collect().await;
    let text: String = events.into_iter().map(Result::unwrap).collect();
    assert_eq!(text, "{\"a\": 1}", "nothing of the refused reply is seen");
}

#[tokio::test]
async fn nothing_is_said_twice() {
    let broken = || Error::new(ErrorKind::Connection, "reset");
    let started = || WireDelta::Started {
        id: None,
        model: None,
    };
    let early = ScriptedModel::new().breaks_after([started()], broken());
    let chain = Fallback::new(early).or(answering("whole"));
    let reply = chain
        .ask_stream("hi")
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert_eq!(reply.text(), "whole");

    let late = ScriptedModel::new().breaks_after([started(), WireDelta::text("ha")], broken());
    let second = Arc::new(answering("whole"));
    let chain = Fallback::new(late).or(Arc::clone(&second));
    let stream = chain.ask_stream("hi").await.unwrap();
    let events: Vec<_> = StreamExt::collect(stream).await;
    assert!(matches!(&events[1], Ok(StreamEvent::TextDelta { text, .. }) if text == "ha"));
    let error = events.last().unwrap().as_ref().unwrap_err();
    assert_eq!(
        (error.kind(), error.partial().unwrap().text().as_str()),
        (ErrorKind::Connection, "ha")
    );
    assert!(second.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failed_model_rests() {
    let first = Arc::new(failing(ErrorKind::Overloaded));
    let chain = Fallback::new(Arc::clone(&first))
        .or(answering("here"))
        .with_cooldown(Duration::from_secs(30));
    for _ in 0..3 {
        chain.ask("hi").await.unwrap();
    }
    assert_eq!(first.requests().len(), 1);
    tokio::time::advance(Duration::from_secs(31)).await;
    chain.ask("hi").await.unwrap();
    assert_eq!(first.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_any_length_is_survived() {
    let first = ScriptedModel::respond_with(|_| {
        let error = Error::new(ErrorKind::RateLimited, "slow down");
        Err(error.with_retry_after(Duration::from_secs(u64::MAX)))
    });
    let chain = Fallback::new(first)
        .or(answering("here"))
        .with_cooldown(Duration::MAX);
    assert_eq!(chain.ask("hi").await.unwrap(), "here");
}

#[tokio::test]
async fn the_last_failure_says_how_long_to_wait() {
    let second = ScriptedModel::respond_with(|_| {
        let partial = ChatResponse::new("b", "second", Message::assistant("ha"));
        let error = Error::new(ErrorKind::RateLimited, "slow down").with_partial(partial);
        Err(error.with_retry_after(Duration::from_secs(7)))
    });
    let chain = Fallback::new(failing(ErrorKind::Server)).or(second);
    let error = chain.ask("hi").await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(error.partial().unwrap().text(), "ha");
}

#[tokio::test(start_paused = true)]
async fn requests_per_minute_are_kept_in_order() {
    let model = RateLimit::new(answering("ok")).requests_per_minute(60);
    let started = tokio::time::Instant::now();
    for _ in 0..60 {
        model.ask("hi").await.unwrap();
    }
    assert_eq!(
        started.elapsed(),
        Duration::ZERO,
        "a burst of a minute's worth goes through"
    );
    for n in 1..=5u64 {
        model.ask("hi").await.unwrap();
        let waited = started.elapsed().as_secs_f64();
        assert!((waited - n as f64).abs() < 0.05, "{n}: {waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_are_put_right_by_usage() {
    let model = ScriptedModel::respond_with(|_| {
        let reply = ChatResponse::new("p", "m", Message::assistant("x"));
        Ok(reply.with_usage(Usage::new(500, 500)))
    });
    let model = RateLimit::new(model).tokens_per_minute(6000);
    let started = tokio::time::Instant::now();
    for _ in 0..6 {
        model.ask("hi").await.unwrap();
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    // The bucket is empty now: the seventh waits for its estimate, which is a few tokens at 100/s.
    model
        .ask_stream("hi")
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let after_seven = started.elapsed();
    assert!(after_seven < Duration::from_secs(1), "{after_seven:?}");
    model.ask("hi").await.unwrap();
    assert!(
        started.elapsed() > Duration::from_secs(9),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn calls_at_the_same_time_are_bounded() {
    let model = Arc::new(RateLimit::new(answering("ok")).concurrent(1));
    let held = model.ask_stream("hi").await.unwrap();
    let other = Arc::clone(&model);
    let waiting = tokio::spawn(async move { other.ask("hi").await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!waiting.is_finished());
    drop(held);
    assert_eq!(waiting.await.unwrap().unwrap(), "ok");
}

#[tokio::test(start_paused = true)]
async fn a_failed_stream_makes_room_at_once() {
    let error = || Error::new(ErrorKind::Connection, "reset");
    let model = ScriptedModel::new()
        .breaks_after([WireDelta::text("ha")], error())
        .reply("ok");
    let model = RateLimit::new(model).concurrent(1);
    let mut failed = model.ask_stream("hi").await.unwrap();
    while let Some(event) = failed.next().await {
        if event.is_err() {
            break;
        }
    }
    let second = tokio::time::timeout(Duration::from_secs(1), model.ask("hi"));
    assert_eq!(second.await.unwrap().unwrap(), "ok");
    drop(failed);
}

/// The first call takes the whole bucket by its estimate and uses little of it.
#[tokio::test(start_paused = true)]
async fn who_waits_holds_nobody_up() {
    let model = ScriptedModel::respond_with(|_| {
        let reply = ChatResponse::new("p", "m", Message::assistant("x"));
        Ok(reply.with_usage(Usage::new(5, 5)))
    });
    let model = Arc::new(RateLimit::new(model).tokens_per_minute(600));
    let large = || ChatRequest::from("hi").max_tokens(590);
    let mut first = model.stream(&large()).await.unwrap();
    let other = Arc::clone(&model);
    let started = tokio::time::Instant::now();
    let second = tokio::spawn(async move { other.chat(&large()).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    while let Some(event) = first.next().await {
        event.unwrap();
    }
    assert_eq!(started.elapsed().as_secs(), 1, "the reply waits for no one");
    second.await.unwrap().unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "what was not used is given to who waits: {:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_dropped_takes_nothing() {
    let model = RateLimit::new(answering("ok")).requests_per_minute(1);
    model.ask("hi").await.unwrap();
    let gives_up = tokio::time::timeout(Duration::from_secs(10), model.ask("hi"));
    assert!(gives_up.await.is_err());
    let started = tokio::time::Instant::now();
    model.ask("hi").await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 50);
}

#[tokio::test(start_paused = true)]
async fn equal_requests_are_answered_once() {
    let model = Arc::new(answering("ok"));
    let store = MemoryStore::new(2).with_lifetime(Duration::from_secs(60));
    let cached = Cache::new(Arc::clone(&model), store);
    let first = cached.chat(&"a".into()).await.unwrap();
    let again = cached
        .chat(&ChatRequest::from("a").timeout(Duration::from_secs(1)))
        .await
        .unwrap();
    assert_eq!(
        (first.timing.attempts, again.timing.attempts),
        (first.timing.attempts, 0)
    );
    assert_eq!(first.text(), again.text());
    let streamed = cached
        .ask_stream("a")
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert_eq!(streamed.text(), "ok");
    assert_eq!(model.requests().len(), 1);
    cached
        .chat(&ChatRequest::from("a").temperature(0.5))
        .await
        .unwrap();
    assert_eq!(model.requests().len(), 2, "an option makes another request");
    cached
        .ask_stream("b")
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    cached.chat(&"b".into()).await.unwrap();
    assert_eq!(model.requests().len(), 3, "streams are kept, too");
    cached.chat(&"a".into()).await.unwrap();
    assert_eq!(
        model.requests().len(),
        4,
        "the least recently used was forgotten"
    );
    tokio::time::advance(Duration::from_secs(61)).await;
    cached.chat(&"b".into()).await.unwrap();
    assert_eq!(model.requests().len(), 5, "what is old is forgotten");
}

#[tokio::test]
async fn cut_replies_are_not_kept_and_files_survive() {
    let dir = std::env::temp_dir().join(format!("ropewalk-cache-{}", std::process::id()));
    let cut = ChatResponse::new("p", "m", Message::assistant("half"))
        .with_finish_reason(FinishReason::Length);
    let model = Arc::new(ScriptedModel::new().response(cut).reply("whole"));
    let cached = Cache::new(Arc::clone(&model), DirStore::new(&dir));
    assert_eq!(cached.ask("q").await.unwrap(), "half");
    assert_eq!(cached.ask("q").await.unwrap(), "whole");
    let other = Cache::new(Arc::clone(&model), DirStore::new(&dir));
    assert_eq!(other.ask("q").await.unwrap(), "whole");
    let file = std::fs::read_dir(&dir)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    std::fs::write(&file, "{").unwrap();
    let error = other.ask("q").await.unwrap_err();
    assert!(error.to_string().contains("delete it"), "{error}");
    std::fs::remove_dir_all(dir).unwrap();
}

/// Can be read from, but not written to.
struct Full;

impl CacheStore for Full {
    fn get(&self, _: &str) -> Result<Option<ChatResponse>, Error> {
        Ok(None)
    }

    fn put(&self, _: &str, _: &ChatResponse) -> Result<(), Error> {
        Err(Error::new(ErrorKind::Other, "the disk is full"))
    }
}

#[tokio::test]
async fn a_reply_that_cannot_be_kept_is_an_answer() {
    let cached = Cache::new(answering("ok"), Full);
    let request = ChatRequest::from("a");
    let streamed = cached.stream(&request).await.unwrap().collect().await;
    for reply in [cached.chat(&request).await, streamed] {
        let reply = reply.unwrap();
        assert_eq!(reply.text(), "ok");
        assert!(
            reply.warnings[0].to_string().contains("disk is full"),
            "{:?}",
            reply.warnings
        );
    }
}

#[tokio::test]
async fn the_raw_reply_is_there_when_asked_for() {
    let model = Arc::new(ScriptedModel::respond_with(|request| {
        let reply = ChatResponse::new("p", "m", Message::assistant("x"));
        Ok(match request.keep_raw {
            true => reply.with_raw(serde_json::json!({"id": 1})),
            false => reply,
        })
    }));
    let cached = Cache::new(Arc::clone(&model), MemoryStore::new(9));
    let mut wants_raw = ChatRequest::from("a");
    wants_raw.keep_raw = true;
    let plain = ChatRequest::from("a");
    assert_eq!(cached.chat(&plain).await.unwrap().raw, None);
    assert!(cached.chat(&wants_raw).await.unwrap().raw.is_some());
    assert!(cached.chat(&wants_raw).await.unwrap().raw.is_some());
    assert_eq!(cached.chat(&plain).await.unwrap().raw, None);
    assert_eq!(model.requests().len(), 2);
}

#[tokio::test]
async fn a_meter_counts_what_is_dropped_or_breaks() {
    let broken = Error::new(ErrorKind::Connection, "reset");
    let usage = WireDelta::Usage(Usage::new(1_000_000, 0));
    let model = ScriptedModel::new()
        .with_name("acme", "m1")
        .reply("dropped")
        .breaks_after([WireDelta::text("ha"), usage], broken);
    let table = PriceTable::new().with("acme/m1", Price::new(1.0, 2.0));
    let meter = Meter::new().with_pricing(table);
    let metered = meter.on(model);
    let mut stream = metered.ask_stream("a").await.unwrap();
    stream.next().await.unwrap().unwrap();
    assert_eq!(meter.totals().dropped, 0);
    drop(stream);
    let totals = meter.totals();
    assert_eq!((totals.calls, totals.errors, totals.dropped), (0, 0, 1));
    assert_eq!(totals.cents(), None);
    let stream = metered.ask_stream("a").await.unwrap();
    stream.collect().await.unwrap_err();
    let totals = meter.totals();
    assert_eq!((totals.calls, totals.errors, totals.dropped), (0, 1, 1));
    assert_eq!((totals.cost, totals.usage), (1.0, Usage::new(1_000_000, 0)));
}

#[tokio::test]
async fn a_meter_adds_up_and_stops_at_the_budget() {
    let reply =
        |n| ChatResponse::new("acme", "m1", Message::assistant("x")).with_usage(Usage::new(n, n));
    let model = ScriptedModel::new()
        .with_name("acme", "m1")
        .response(reply(1_000_000))
        .error(Error::new(ErrorKind::Server, "x"))
        .response(reply(1_000_000))
        .reply("unreachable");
    let table = PriceTable::new().with("acme/m1", Price::new(1.0, 2.0));
    let meter = Meter::new().with_pricing(table).with_budget(5.0);
    let metered = meter.on(model);
    metered.ask("a").await.unwrap();
    metered.ask("a").await.unwrap_err();
    metered
        .ask_stream("a")
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let totals = meter.totals();
    assert_eq!((totals.calls, totals.errors, totals.unpriced), (2, 1, 0));
    assert_eq!(totals.usage, Usage::new(2_000_000, 2_000_000));
    assert_eq!(totals.cents(), Some(600.0));
    let error = metered.ask("a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert!(error.to_string().contains("budget of $5"), "{error}");
    let unpriced = Meter::new();
    unpriced.on(answering("x")).ask("a").await.unwrap();
    assert_eq!(
        (unpriced.totals().unpriced, unpriced.totals().cents()),
        (1, None)
    );
}

#[tokio::test]
async fn a_recording_plays_back_in_order() {
    let path = std::env::temp_dir().join(format!("ropewalk-record-{}.jsonl", std::process::id()));
    std::fs::remove_file(&path).ok();
    let model = ScriptedModel::new()
        .reply("one")
        .reply("two")
        .reply("other");
    let recorded = Record::new(model, &path).unwrap();
    recorded.ask("q").await.unwrap();
    recorded
        .ask_stream("q")
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    recorded
        .ask(ChatRequest::from("q").temperature(1.0))
        .await
        .unwrap();
    drop(recorded);
    let replay = Replay::open(&path).unwrap();
    assert_eq!((replay.provider(), replay.model()), ("scripted", "script"));
    assert_eq!(replay.ask("q").await.unwrap(), "one");
    assert_eq!(
        replay
            .ask_stream("q")
            .await
            .unwrap()
            .collect()
            .await
            .unwrap()
            .text(),
        "two"
    );
    assert_eq!(
        replay.ask("q").await.unwrap(),
        "two",
        "the last one repeats"
    );
    assert_eq!(
        replay
            .ask(ChatRequest::from("q").temperature(1.0))
            .await
            .unwrap(),
        "other"
    );
    let error = replay.ask("unknown question").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("unknown question"), "{error}");
    std::fs::write(&path, "{\"half").unwrap();
    assert!(
        Replay::open(&path)
            .unwrap_err()
            .to_string()
            .contains("line 1")
    );
    std::fs::remove_file(&path).unwrap();
    assert_eq!(
        Replay::open(&path).unwrap_err().kind(),
        ErrorKind::Configuration
    );
    assert_eq!(
        Replay::from_text("\n").unwrap_err().kind(),
        ErrorKind::Configuration
    );
}
