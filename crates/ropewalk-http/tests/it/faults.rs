//! The fault matrix: what is sent how often, and what is waited for in between. On a transport in
//! this process under tokio's paused clock.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use ropewalk_core::{Error, ErrorKind};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_http::{Client, ClientOptions, Framing, Request, RetryPolicy};
use serde_json::json;

/// No random part, so that waits are exact.
fn client(double: &Arc<Double>) -> Client {
    let mut retry = RetryPolicy::new();
    retry.jitter = 0.0;
    double.client_with(ClientOptions::new().with_retry(retry).with_seed(1))
}

fn request() -> Request {
    Request::post("https://api.test/v1/chat")
        .with_provider("test")
        .with_json(&json!({"a": 1}))
}

struct Outcome {
    kind: Option<ErrorKind>,
    attempts: usize,
    waits: Vec<f64>,
}

/// Asks whole and as a stream; both must fare alike.
async fn fare(replies: &[Canned]) -> Outcome {
    let mut outcomes = Vec::new();
    for streamed in [false, true] {
        let double = Double::new(replies.iter().cloned());
        let client = client(&double);
        let result: Result<u32, Error> = if streamed {
            client.stream(&request()).await.map(|s| s.attempts)
        } else {
            client.send(&request()).await.map(|r| r.attempts)
        };
        let attempts = double.requests().len();
        match &result {
            Ok(n) => assert_eq!(*n as usize, attempts),
            Err(e) => {
                assert_eq!(e.provider(), "test");
                if let Some(http) = e.http() {
                    assert_eq!(http.attempts as usize, attempts);
                }
            }
        }
        let waits = double.waits().iter().map(Duration::as_secs_f64).collect();
        let kind = result.err().map(|e| e.kind());
        outcomes.push(Outcome {
            kind,
            attempts,
            waits,
        });
    }
    let streamed = outcomes.pop().unwrap();
    let whole = outcomes.pop().unwrap();
    assert_eq!(whole.kind, streamed.kind);
    assert_eq!(whole.attempts, streamed.attempts);
    whole
}

fn close(found: &[f64], wanted: &[f64]) -> bool {
    let near = |(f, w): (&f64, &f64)| (f - w).abs() < 0.01;
    found.len() == wanted.len() && found.iter().zip(wanted).all(near)
}

#[tokio::test(start_paused = true)]
async fn statuses_and_retry_after_forms() {
    let ok = || Canned::json(&json!({"ok": true}));
    let fail = |status| Canned::error(status, &json!({"error": {"message": "m"}}));
    let with = |name: &str, value: &str| fail(429).with_header(name, value);
    let in_ten = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(10));
    let quota = || {
        let body = json!({"error": {"message": "m", "code": "insufficient_quota"}});
        Canned::error(429, &body)
    };
    type Row = (
        &'static str,
        Vec<Canned>,
        Option<ErrorKind>,
        usize,
        Vec<f64>,
    );
    let rows: Vec<Row> = vec![
        ("408", vec![fail(408), ok()], None, 2, vec![0.5]),
        ("409", vec![fail(409), ok()], None, 2, vec![0.5]),
        ("429", vec![fail(429), ok()], None, 2, vec![0.5]),
        ("500", vec![fail(500), ok()], None, 2, vec![0.5]),
        (
            "503 twice",
            vec![fail(503), fail(503), ok()],
            None,
            3,
            vec![0.5, 1.0],
        ),
        ("529", vec![fail(529), ok()], None, 2, vec![0.5]),
        (
            "always 429",
            vec![fail(429), fail(429), fail(429), ok()],
            Some(ErrorKind::RateLimited),
            3,
            vec![0.5, 1.0],
        ),
        (
            "always 503",
            vec![fail(503), fail(503), fail(503), ok()],
            Some(ErrorKind::Overloaded),
            3,
            vec![0.5, 1.0],
        ),
        (
            "always 500",
            vec![fail(500), fail(500), fail(500), ok()],
            Some(ErrorKind::Server),
            3,
            vec![0.5, 1.0],
        ),
        (
            "retry-after-ms",
            vec![with("retry-after-ms", "1250"), ok()],
            None,
            2,
            vec![1.25],
        ),
        (
            "retry-after seconds",
            vec![with("retry-after", "3"), ok()],
            None,
            2,
            vec![3.0],
        ),
        (
            "retry-after fraction",
            vec![with("retry-after", "0.75"), ok()],
            None,
            2,
            vec![0.75],
        ),
        (
            "retry-after 120",
            vec![with("retry-after", "120"), ok()],
            None,
            2,
            vec![120.0],
        ),
        (
            "retry-after 121",
            vec![with("retry-after", "121"), ok()],
            Some(ErrorKind::RateLimited),
            1,
            vec![],
        ),
        (
            "retry-after past",
            vec![with("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), ok()],
            None,
            2,
            vec![0.5],
        ),
        (
            "retry-after nonsense",
            vec![with("retry-after", "soon"), ok()],
            None,
            2,
            vec![0.5],
        ),
        (
            "x-should-retry: false",
            vec![with("x-should-retry", "false"), ok()],
            Some(ErrorKind::RateLimited),
            1,
            vec![],
        ),
        (
            "400 x-should-retry: true",
            vec![fail(400).with_header("x-should-retry", "true"), ok()],
            None,
            2,
            vec![0.5],
        ),
        (
            "quota",
            vec![quota(), ok()],
            Some(ErrorKind::QuotaExceeded),
            1,
            vec![],
        ),
        (
            "400",
            vec![fail(400), ok()],
            Some(ErrorKind::InvalidRequest),
            1,
            vec![],
        ),
        (
            "401",
            vec![fail(401), ok()],
            Some(ErrorKind::Authentication),
            1,
            vec![],
        ),
        (
            "403",
            vec![fail(403), ok()],
            Some(ErrorKind::PermissionDenied),
            1,
            vec![],
        ),
        (
            "404",
            vec![fail(404), ok()],
            Some(ErrorKind::NotFound),
            1,
            vec![],
        ),
        (
            "413",
            vec![fail(413), ok()],
            Some(ErrorKind::ContextLengthExceeded),
            1,
            vec![],
        ),
        (
            "422",
            vec![fail(422), ok()],
            Some(ErrorKind::InvalidRequest),
            1,
            vec![],
        ),
        (
            "no connection",
            vec![Canned::unreachable(), ok()],
            None,
            2,
            vec![0.5],
        ),
        (
            "never a connection",
            vec![Canned::unreachable(); 3],
            Some(ErrorKind::Connection),
            3,
            vec![0.5, 1.0],
        ),
        (
            "reset before the first byte",
            vec![Canned::sse("").then_reset(), ok()],
            None,
            2,
            vec![0.5],
        ),
        (
            "html page",
            vec![Canned::new(502, "text/html", "<html>"), ok()],
            None,
            2,
            vec![0.5],
        ),
    ];
    println!("{} rows", rows.len());
    for (name, replies, kind, attempts, waits) in rows {
        let outcome = fare(&replies).await;
        assert_eq!(outcome.kind, kind, "{name}");
        assert_eq!(outcome.attempts, attempts, "{name}");
        assert!(close(&outcome.waits, &waits), "{name}: {:?}", outcome.waits);
    }
    // A date is read against the real clock, which the paused one does not stop: one second of room.
    let outcome = fare(&[with("retry-after", &in_ten), ok()]).await;
    assert!(
        (8.0..=10.0).contains(&outcome.waits[0]),
        "{:?}",
        outcome.waits
    );
}

#[tokio::test(start_paused = true)]
async fn waits_have_a_bounded_random_part() {
    for seed in 0..20 {
        let fail = Canned::error(500, &json!({}));
        let double = Double::new([fail.clone(), fail.clone(), fail]);
        let client = double.client_with(ClientOptions::new().with_seed(seed));
        client.send(&request()).await.unwrap_err();
        let waits = double.waits();
        for (wait, full) in waits.iter().zip([0.5, 1.0]) {
            let part = wait.as_secs_f64() / full;
            assert!((0.745..=1.005).contains(&part), "{wait:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_retried_after_the_first_byte() {
    let cut = Canned::sse("data: hello\n\n").then_reset();
    let double = Double::new([cut, Canned::sse("data: again\n\n")]);
    let stream = client(&double).stream(&request()).await.unwrap();
    let frames: Vec<_> = stream.frames(Framing::Sse).collect().await;
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[0].as_ref().unwrap().data, "hello");
    assert_eq!(
        frames[1].as_ref().unwrap_err().kind(),
        ErrorKind::Connection
    );
    assert_eq!(double.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_no_total_limit_but_an_idle_one() {
    let drip = Canned::sse("data: x\n\n".repeat(20))
        .in_pieces_of(9)
        .slowly(Duration::from_secs(100));
    let double = Double::new([drip]);
    let stream = client(&double).stream(&request()).await.unwrap();
    let frames: Vec<_> = stream.frames(Framing::Sse).collect().await;
    assert_eq!(frames.iter().filter(|f| f.is_ok()).count(), 20);
    assert_eq!(frames.len(), 20);

    let double = Double::new([Canned::sse("data: x\n\n").then_stall()]);
    let started = tokio::time::Instant::now();
    let stream = client(&double).stream(&request()).await.unwrap();
    let frames: Vec<_> = stream.frames(Framing::Sse).collect().await;
    assert_eq!(frames[1].as_ref().unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(started.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn a_failure_whose_body_stands_still_is_that_failure() {
    let stalls = Canned::error(401, &json!({"error": {"message": "no"}})).then_stall();
    let double = Double::new([stalls]);
    let started = tokio::time::Instant::now();
    let error = client(&double).send(&request()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.message().contains("no (HTTP 401)"), "{error}");
    assert_eq!(started.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_whole_reply_has_a_total_limit_per_attempt() {
    let slow = Canned::json(&json!({"ok": 1})).slowly(Duration::from_secs(400));
    let double = Double::new(vec![slow; 3]);
    let started = tokio::time::Instant::now();
    let error = client(&double).send(&request()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(started.elapsed().as_secs_f64(), 3.0 * 600.0 + 1.5);
    let short = request().with_timeout(Some(Duration::from_secs(1)));
    let double = Double::new([Canned::json(&json!(1)).slowly(Duration::from_secs(2))]);
    let once = double.client_with(ClientOptions::new().with_retry(RetryPolicy::none()));
    let error = once.send(&short).await.unwrap_err();
    assert!(error.to_string().contains("within 1 s"), "{error}");
}

#[tokio::test]
async fn an_empty_stream_just_ends() {
    let double = Double::new([Canned::new(200, "audio/mpeg", "")]);
    let streaming = client(&double).stream(&request()).await.unwrap();
    assert_eq!(streaming.bytes().count().await, 0);
}

#[tokio::test(start_paused = true)]
async fn replies_have_a_size() {
    let double = Double::new([Canned::new(200, "text/plain", vec![b'x'; 11])]);
    let small = double.client_with(ClientOptions::new().with_max_body(10));
    let error = small.send(&request()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("10 bytes"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_json_says_what_it_is() {
    let double = Double::new([Canned::new(200, "text/html", "<html>Sign in</html>")]);
    let response = client(&double).send(&request()).await.unwrap();
    let error = response.json().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("text/html"), "{error}");
    let double = Double::new([Canned::new(200, "application/json", vec![b'"', 0xff, b'"'])]);
    let response = client(&double).send(&request()).await.unwrap();
    assert_eq!(response.json().unwrap_err().kind(), ErrorKind::Decode);
}

#[tokio::test(start_paused = true)]
async fn secrets_are_in_no_error() {
    let key = "not-a-known-form-of-key-42";
    let echo = json!({"error": {"message": format!("bad key {key}"), "code": key}});
    let double = Double::new([Canned::error(401, &echo).with_header("x-echo", key)]);
    let request = request().with_secret_header("x-api-key", "", key).unwrap();
    let error = client(&double).send(&request).await.unwrap_err();
    let http = error.http().unwrap();
    let shown = format!(
        "{error} {error:?} {http:?} {:?} {:?}",
        http.headers, http.body
    );
    assert!(!shown.contains(key), "{shown}");
}
