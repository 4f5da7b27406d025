//! Tool sets: names, schemas, calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use futures_executor::block_on;
use proptest::prelude::*;
use ropewalk_core::schemars::{Schema, json_schema};
use ropewalk_core::{
    Effect, ErrorKind, FnTool, Tool, ToolCall, ToolContext, ToolError, ToolOutput, ToolSpec,
    async_trait, tool_fn,
};
use ropewalk_tools::{ToolFailure, ToolSet, ToolSetError, tool};
use serde_json::{Map, Value};

struct Fixed(ToolSpec);

impl Fixed {
    fn new(name: &str, description: &str) -> Self {
        let schema = json_schema!({"type": "object", "properties": {}});
        Self(ToolSpec::new(name, description, schema))
    }

    fn of(schema: Schema) -> Self {
        Self(ToolSpec::new("f", "", schema))
    }
}

#[async_trait]
impl Tool for Fixed {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, _: &str, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        Ok(ToolOutput::text(format!(
            "{} {}",
            self.0.name, context.call_id
        )))
    }
}

/// Works.
#[tool(effect = read)]
fn good(x: i64) -> i64 {
    x
}

/// Fails.
#[tool]
fn bad() -> Result<(), &'static str> {
    Err("out of order")
}

/// Panics.
#[tool]
fn broken() -> String {
    panic!("secret detail")
}

/// Ends the run.
#[tool(effect = pay)]
fn fatal() -> Result<(), ToolError> {
    Err(ToolError::Fatal("no licence".into()))
}

fn all() -> ToolSet {
    let set = ToolSet::new().with(good).and_then(|s| s.with(bad));
    set.and_then(|s| s.with(broken))
        .and_then(|s| s.with(fatal))
        .unwrap()
}

#[test]
fn refuses_names_clashes_and_schemas() {
    for name in ["", "my tool", "tür", &"a".repeat(65)] {
        let error = ToolSet::new().with(Fixed::new(name, "x")).unwrap_err();
        assert_eq!(error, ToolSetError::BadName { name: name.into() });
    }
    let clash = ToolSet::new().with(Fixed::new("price", "Of tickets"));
    let clash = clash
        .unwrap()
        .with(Fixed::new("price", "Of hotels"))
        .unwrap_err();
    assert_eq!(
        clash.to_string(),
        "two tools are called `price`: \"Of tickets\" and \"Of hotels\"; rename one of them, or \
         leave it out with ToolSet::filter"
    );
    let error = ropewalk_core::Error::from(clash);
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.find_source::<ToolSetError>().is_some());

    // As a course had it: properties, but no type.
    let course = json_schema!({
        "properties": {"destination_city": {"type": "string"}},
        "required": ["destination_city"],
    });
    let cases = [
        (
            course,
            "has no `type`; add `\"type\": \"object\"` beside `properties`",
        ),
        (json_schema!({"type": "array"}), "has the type \"array\""),
        (
            json_schema!({"type": ["object", "null"]}),
            "has the type [\"object\",\"null\"]",
        ),
        (Schema::from(true), "is not a JSON object"),
    ];
    for (schema, expected) in cases {
        let error = ToolSet::new().with(Fixed::of(schema)).unwrap_err();
        assert!(matches!(error, ToolSetError::BadSchema { .. }));
        let error = error.to_string();
        assert!(
            error.starts_with("tool `f`: ") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn keeps_order_and_finds_by_name() {
    let set = all();
    assert_eq!(set.names(), ["good", "bad", "broken", "fatal"]);
    assert_eq!(set.specs().len(), set.len());
    assert_eq!(set.effect("good"), Some(Effect::Read));
    assert_eq!(set.effect("bad"), Some(Effect::Unknown));
    assert_eq!(set.effect("none"), None);
    assert_eq!(format!("{set:?}"), r#"{"good", "bad", "broken", "fatal"}"#);
    let reads = set.clone().filter(|t| t.effect() <= Effect::Read);
    assert_eq!(reads.names(), ["good"]);
    let merged = reads.merge(ToolSet::new().with(bad).unwrap()).unwrap();
    assert_eq!(merged.names(), ["good", "bad"]);
    assert_eq!(merged.get("bad").unwrap().spec().description, "Fails.");
    assert!(merged.merge(set).is_err());
    assert!(ToolSet::new().is_empty());
}

#[test]
fn tells_the_model_what_it_can_mend() {
    let set = all();
    let call = |name: &str, arguments: &str| {
        let call = ToolCall::new("c", name, arguments);
        block_on(set.call_all(&[call], &ToolContext::default(), 8)).map(|mut r| r.remove(0))
    };
    let fine = call("good", r#"{"x": 4}"#).unwrap();
    assert_eq!((fine.text().as_str(), fine.is_error), ("4", false));
    let cases = [
        ("good", r#"{"x": "#, "invalid arguments for `good`: EOF"),
        (
            "good",
            "{}",
            "invalid arguments for `good`: missing field `x`",
        ),
        (
            "good",
            r#"{"x":1,"y":2}"#,
            "unknown field `y`, expected `x`",
        ),
        ("bad", "", "out of order"),
        (
            "worse",
            "{}",
            "there is no tool `worse`; there are: good, bad, broken, fatal",
        ),
        ("broken", "null", "the tool `broken` failed"),
    ];
    for (name, arguments, expected) in cases {
        let result = call(name, arguments).unwrap();
        assert!(
            result.is_error && result.text().contains(expected),
            "{}",
            result.text()
        );
        assert_eq!((result.call_id.as_str(), result.name.as_str()), ("c", name));
    }
    let error = call("fatal", "{}").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tool);
    assert_eq!(
        error.to_string(),
        "tool: the tool `fatal` ended the run: no licence"
    );
    assert!(
        std::error::Error::source(&error).is_none(),
        "what the line says is not said twice"
    );
    let panic = block_on(set.call(&ToolCall::new("c", "broken", ""), &ToolContext::default()));
    let panic = panic.unwrap_err();
    assert!(matches!(&panic, ToolFailure::Panicked { message, .. } if message == "secret detail"));
    assert_eq!(panic.kind(), "panicked");
}

/// A tool that is ready only when `together` calls of it are under way at once.
fn meeting(together: usize, peak: Arc<AtomicUsize>) -> impl Tool {
    let inside = Arc::new(AtomicUsize::new(0));
    tool_fn("meet", "Meets.", move |_: Map<String, Value>| {
        let (inside, peak) = (inside.clone(), peak.clone());
        async move {
            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
            peak.fetch_max(now, Ordering::SeqCst);
            std::future::poll_fn(|cx| {
                if peak.load(Ordering::SeqCst) >= together {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            inside.fetch_sub(1, Ordering::SeqCst);
            Ok("met")
        }
    })
}

#[test]
fn runs_as_many_at_once_as_allowed() {
    for limit in [1, 3, 8] {
        let peak = Arc::new(AtomicUsize::new(0));
        let set = ToolSet::new().with(meeting(limit, peak.clone())).unwrap();
        let calls: Vec<_> = (0..10)
            .map(|i| ToolCall::new(format!("c{i}"), "meet", ""))
            .collect();
        let results = block_on(set.call_all(&calls, &ToolContext::default(), limit)).unwrap();
        assert_eq!(results.len(), 10);
        assert_eq!(peak.load(Ordering::SeqCst), limit);
    }
}

/// A tool that is ready after as many polls as it is told.
fn slow() -> FnTool<
    impl Fn(Polls) -> futures_util::future::BoxFuture<'static, Result<String, ToolError>>,
    Polls,
> {
    tool_fn("slow", "Takes its time.", |Polls { polls, say }: Polls| {
        let mut left = polls;
        let wait = std::future::poll_fn(move |cx| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        Box::pin(async move {
            wait.await;
            Ok(say)
        }) as _
    })
}

#[derive(serde::Deserialize, ropewalk_core::schemars::JsonSchema)]
#[schemars(crate = "ropewalk_core::schemars")]
struct Polls {
    polls: u8,
    say: String,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn results_are_in_the_order_of_calls(polls in prop::collection::vec(0u8..20, 0..12), limit in 0usize..6) {
        let set = ToolSet::new().with(slow()).unwrap();
        let call = |(i, polls): (usize, &u8)| {
            let arguments = serde_json::json!({"polls": polls, "say": i.to_string()});
            ToolCall::new(format!("c{i}"), "slow", arguments.to_string())
        };
        let calls: Vec<_> = polls.iter().enumerate().map(call).collect();
        let results = block_on(set.call_all(&calls, &ToolContext::default(), limit)).unwrap();
        prop_assert_eq!(results.len(), calls.len());
        for (i, (result, call)) in results.iter().zip(&calls).enumerate() {
            prop_assert_eq!(&result.call_id, &call.id);
            prop_assert_eq!(result.text(), i.to_string());
        }
    }

    #[test]
    fn any_name_is_taken_or_refused(name in "[ -~é]{0,70}") {
        let fits = (1..=64).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let set = ToolSet::new().with(Fixed::new(&name, "x"));
        prop_assert_eq!(set.is_ok(), fits);
        if let Ok(set) = set {
            let call = ToolCall::new("id", &name, "anything");
            let result = block_on(set.answer(&call, &ToolContext::default())).unwrap();
            prop_assert_eq!(result.text(), format!("{name} id"));
        }
    }
}
