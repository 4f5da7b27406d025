//! What the double says: an answer in one piece, the same streamed, and turns of two tool calls.

use bytes::Bytes;
use serde_json::{Value, json};

/// Turns with tool calls before the answer of a run.
pub const TURNS: usize = 10;
/// Pieces of text of a streamed answer.
pub const PIECES: usize = 64;
/// One piece of the answer.
pub const PIECE: &str = "some words ";
/// Instructions of the agents.
pub const INSTRUCTIONS: &str = "You help with travel. Look up what you are asked and add it up.";
/// What is asked.
pub const QUESTION: &str = "What do ten trips cost, and what is the weather there?";

/// The answer as text.
pub fn text() -> String {
    PIECE.repeat(PIECES)
}

/// Ids, names and arguments of the calls of one turn.
pub fn calls(turn: usize) -> [(String, &'static str, String); 2] {
    [
        (
            format!("call_{turn}_a"),
            "add",
            format!(r#"{{"a":{turn},"b":40}}"#),
        ),
        (
            format!("call_{turn}_b"),
            "weather",
            format!(r#"{{"city":"Oslo {turn}"}}"#),
        ),
    ]
}

/// Bodies of replies.
pub struct Replies {
    answer: [Bytes; 2],
    turns: Vec<[Bytes; 2]>,
}

impl Replies {
    pub fn new() -> Self {
        let words = (0..PIECES).map(|_| json!({"content": PIECE})).collect();
        let answer = json!({"role": "assistant", "content": text(), "refusal": null});
        let turns = (0..TURNS).map(|turn| {
            let of = |indexed: bool| -> Vec<Value> {
                let calls = calls(turn).into_iter().enumerate();
                calls
                    .map(|(i, (id, name, arguments))| {
                        let function = json!({"name": name, "arguments": arguments});
                        let mut call = json!({"id": id, "type": "function", "function": function});
                        if indexed {
                            call["index"] = json!(i);
                        }
                        call
                    })
                    .collect()
            };
            let message = json!({"role": "assistant", "content": null, "tool_calls": of(false)});
            let deltas = of(true)
                .into_iter()
                .map(|c| json!({"tool_calls": [c]}))
                .collect();
            [whole(message, "tool_calls"), streamed(deltas, "tool_calls")]
        });
        Self {
            answer: [whole(answer, "stop"), streamed(words, "stop")],
            turns: turns.collect(),
        }
    }

    /// Returns the reply to the body of a request: calls when it offers tools and holds less than
    /// [`TURNS`] pairs of results, otherwise the answer. Also whether it is streamed.
    pub fn of(&self, request: &[u8]) -> (Bytes, bool) {
        let streamed = count(request, br#""stream":true"#) > 0;
        let replies = match count(request, br#""tools":["#) {
            0 => &self.answer,
            _ => {
                let turn = count(request, br#""role":"tool""#) / 2;
                self.turns.get(turn).unwrap_or(&self.answer)
            }
        };
        (replies[usize::from(streamed)].clone(), streamed)
    }
}

fn count(haystack: &[u8], needle: &[u8]) -> usize {
    let mut rest = haystack;
    let mut found = 0;
    while let Some(quote) = rest.iter().position(|b| *b == b'"') {
        rest = &rest[quote..];
        found += usize::from(rest.starts_with(needle));
        rest = &rest[1..];
    }
    found
}

fn usage() -> Value {
    json!({"prompt_tokens": 200, "completion_tokens": 128, "total_tokens": 328,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0}})
}

fn whole(message: Value, finish: &str) -> Bytes {
    let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish});
    let reply = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000,
        "model": "gpt-4o-mini", "choices": [choice], "usage": usage(),
        "service_tier": "default", "system_fingerprint": "fp_1"});
    reply.to_string().into()
}

fn streamed(deltas: Vec<Value>, finish: &str) -> Bytes {
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk",
            "created": 1_700_000_000, "model": "gpt-4o-mini", "service_tier": "default",
            "system_fingerprint": "fp_1", "choices": choices, "usage": usage});
        format!("data: {chunk}\n\n")
    };
    let choice = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        chunk(json!([choice]), Value::Null)
    };
    let mut body = choice(json!({"role": "assistant", "content": ""}), Value::Null);
    for delta in deltas {
        body.push_str(&choice(delta, Value::Null));
    }
    body.push_str(&choice(json!({}), json!(finish)));
    body.push_str(&chunk(json!([]), usage()));
    body.push_str("data: [DONE]\n\n");
    body.into()
}
