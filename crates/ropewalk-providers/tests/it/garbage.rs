//! No decoder panics, whatever comes, and none takes it for a whole reply without its end marker.

use proptest::prelude::*;
use ropewalk_core::ErrorKind;
use ropewalk_http::Frame;
use ropewalk_providers::{AnthropicWire, GeminiWire, OllamaWire, TgiWire, Wire};
use serde_json::{Map, Value};

use crate::native::{collect, fixture, whole};

fn wires() -> Vec<Box<dyn Wire>> {
    vec![
        Box::new(AnthropicWire::new()),
        Box::new(GeminiWire::new()),
        Box::new(OllamaWire::new()),
        Box::new(TgiWire::new()),
        #[cfg(feature = "bedrock")]
        Box::new(ropewalk_providers::ConverseWire::new()),
    ]
}

/// The names and words that the wires look at.
fn words() -> Vec<String> {
    let files = [
        "anthropic/stream.sse",
        "gemini/reply.json",
        "ollama/reply.json",
        "tgi/reply.json",
        "bedrock/stream.jsonl",
        "bedrock/reply.json",
    ];
    let text: String = files.iter().map(|f| fixture(f)).collect();
    let quoted = text.split('"').skip(1).step_by(2);
    let mut words: Vec<String> = quoted
        .filter(|w| w.len() < 40)
        .map(str::to_owned)
        .chain([
            "error".into(),
            "message_stop".into(),
            "promptFeedback".into(),
        ])
        .collect();
    words.sort();
    words.dedup();
    words
}

fn json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(words());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2i64..9).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let object = prop::collection::vec((word.clone(), inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|entries| Value::from(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json(values in prop::collection::vec(json(), 1..6), name in prop::sample::select(words())) {
        for wire in wires() {
            let mut decoder = wire.decoder();
            let mut deltas = Vec::new();
            for value in &values {
                let _result = whole(&*wire, value.clone());
                let frame = Frame::new(value.to_string()).with_event(name.clone());
                if decoder.frame(&frame, &mut deltas).is_err() {
                    break;
                }
            }
            let _result = decoder.finish(&mut deltas);
        }
    }

    #[test]
    fn a_fixture_with_one_value_replaced(at in 0usize..60, by in json()) {
        let replies = ["anthropic", "gemini", "ollama", "tgi", "bedrock"];
        for (wire, name) in wires().iter().zip(replies) {
            let mut body: Value = serde_json::from_str(&fixture(&format!("{name}/reply.json"))).unwrap();
            let mut left = at;
            replace(&mut body, &mut left, &by);
            let _result = whole(&**wire, body);
        }
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for wire in wires() {
            let error = collect(&*wire, &bytes, &[]).unwrap_err();
            let kind = error.kind();
            prop_assert!(matches!(kind, ErrorKind::Decode | ErrorKind::Truncated), "{error}");
        }
    }
}

/// Replaces the value at a position of a walk through a document.
fn replace(value: &mut Value, left: &mut usize, by: &Value) {
    if *left == 0 {
        *value = by.clone();
    }
    *left = left.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|v| replace(v, left, by)),
        Value::Object(map) => map.values_mut().for_each(|v| replace(v, left, by)),
        _ => {}
    }
}
