//! Replies in the shape of the OpenAI API, as llama-cpp-python gives them.

use ropewalk_core::{ChatResponse, StreamEvent, TokenLogprob, ToolCall};
use serde_json::{Map, Value, json};

use crate::sample::Sampled;

/// What all JSON of one call has in common.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
}

impl Envelope {
    fn wrap(&self, object: &str, choice: &Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "choices": [choice],
        })
    }

    fn chunk(&self, delta: &Value, finish: &Value) -> Value {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        self.wrap("chat.completion.chunk", &choice)
    }

    /// The first chunk of a chat.
    pub(super) fn chat_start(&self) -> Value {
        self.chunk(&json!({"role": "assistant"}), &Value::Null)
    }

    /// The chunk of an event, if it has one.
    pub(super) fn chat_delta(&self, event: &StreamEvent) -> Option<Value> {
        let delta = match event {
            StreamEvent::TextDelta { text, .. } => json!({"content": text}),
            StreamEvent::ReasoningDelta { text, .. } => json!({"reasoning_content": text}),
            StreamEvent::ToolCallStarted { index, id, name } => json!({"tool_calls": [{
                "index": index, "id": id, "type": "function",
                "function": {"name": name, "arguments": ""},
            }]}),
            StreamEvent::ToolCallDelta { index, json } => json!({"tool_calls": [{
                "index": index, "function": {"arguments": json},
            }]}),
            _ => return None,
        };
        Some(self.chunk(&delta, &Value::Null))
    }

    /// The last chunk of a chat.
    pub(super) fn chat_end(&self, response: &ChatResponse) -> Value {
        self.chunk(&json!({}), &json!(response.finish_reason.as_str()))
    }

    /// The whole reply of a chat.
    pub(super) fn chat(&self, response: &ChatResponse, logprobs: bool) -> Value {
        let text = response.message.text();
        let calls: Vec<Value> = response.message.tool_calls().map(tool_call).collect();
        let mut message = json!({"role": "assistant", "content": text});
        let reasoning = response.message.reasoning();
        if !reasoning.is_empty() {
            message["reasoning_content"] = json!(reasoning);
        }
        if !calls.is_empty() {
            message["content"] = if text.is_empty() {
                Value::Null
            } else {
                json!(text)
            };
            message["tool_calls"] = json!(calls);
        }
        let logprobs = logprobs.then(|| {
            let content: Vec<Value> = response.logprobs.iter().map(chat_logprob).collect();
            json!({"content": content, "refusal": null})
        });
        let choice = json!({
            "index": 0,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": response.finish_reason.as_str(),
        });
        let mut out = self.wrap("chat.completion", &choice);
        let prompt = response.usage.input_tokens.unwrap_or_default();
        let made = response.usage.output_tokens.unwrap_or_default();
        out["usage"] = usage(prompt, made);
        out
    }

    /// A chunk of a completion.
    pub(super) fn text_delta(&self, piece: &str) -> Value {
        let choice = json!({"text": piece, "index": 0, "logprobs": null, "finish_reason": null});
        self.wrap("text_completion", &choice)
    }

    /// The last chunk of a completion.
    pub(super) fn text_end(&self, reason: &str) -> Value {
        let choice = json!({"text": "", "index": 0, "logprobs": null, "finish_reason": reason});
        self.wrap("text_completion", &choice)
    }

    /// A whole completion.
    pub(super) fn text(
        &self,
        text: &str,
        logprobs: Option<&Value>,
        reason: &str,
        (prompt, made): (usize, usize),
    ) -> Value {
        let choice =
            json!({"text": text, "index": 0, "logprobs": logprobs, "finish_reason": reason});
        let mut out = self.wrap("text_completion", &choice);
        out["usage"] = usage(prompt as u64, made as u64);
        out
    }
}

fn usage(prompt: u64, made: u64) -> Value {
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": made,
        "total_tokens": prompt + made,
    })
}

fn tool_call(call: &ToolCall) -> Value {
    json!({
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    })
}

fn chat_logprob(entry: &TokenLogprob) -> Value {
    let one = |(token, logprob): &(String, f32)| json!({"token": token, "logprob": logprob, "bytes": null});
    json!({
        "token": entry.token,
        "bytes": null,
        "logprob": entry.logprob,
        "top_logprobs": entry.top.iter().map(one).collect::<Vec<_>>(),
    })
}

/// The log probabilities of a completion, whose text begins `start` characters into the whole.
pub(super) fn text_logprobs(
    tokens: &[Sampled],
    start: usize,
    piece: impl Fn(u32) -> String,
) -> Value {
    let mut at = start;
    let (mut texts, mut offsets) = (Vec::new(), Vec::new());
    let (mut own, mut top) = (Vec::new(), Vec::new());
    for token in tokens {
        let text = piece(token.id);
        offsets.push(at);
        at += text.chars().count();
        let mut others: Map<String, Value> = token
            .top
            .iter()
            .map(|&(id, logprob)| (piece(id), json!(logprob)))
            .collect();
        others.insert(text.clone(), json!(token.logprob));
        texts.push(text);
        own.push(token.logprob);
        top.push(others);
    }
    json!({
        "tokens": texts,
        "text_offset": offsets,
        "token_logprobs": own,
        "top_logprobs": top,
    })
}
