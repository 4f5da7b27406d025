//! Spans with the names of the OpenTelemetry conventions for generative AI
//! (`semantic-conventions-genai`, "Invoke agent span").
//!
//! `otel.name` is what exporters show: the names of `tracing` spans are fixed.

use ropewalk_core::{ChatModel, ChatResponse, Error};
use tracing::{Span, field};

use crate::agent::{AgentError, RunState, Spent};

/// A step of a chain that has a name.
pub(crate) fn step_span(name: &str) -> Span {
    tracing::info_span!("step", otel.name = format!("step {name}"), step.name = name)
}

/// A run of an agent.
pub(crate) fn invoke_agent(name: &str, model: &dyn ChatModel, state: &RunState) -> Span {
    tracing::info_span!(
        "invoke_agent",
        otel.name = format!("invoke_agent {name}"),
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.name = name,
        gen_ai.provider.name = model.provider(),
        gen_ai.request.model = model.model(),
        gen_ai.conversation.id = state.conversation.as_deref(),
        run.id = state.run_id,
        gen_ai.usage.input_tokens = field::Empty,
        gen_ai.usage.output_tokens = field::Empty,
        gen_ai.input.messages = field::Empty,
        gen_ai.output.messages = field::Empty,
        error.r#type = field::Empty,
    )
}

/// Notes how a run ended.
pub(crate) fn finish(span: &Span, spent: &Spent, error: Option<&AgentError>) {
    if let Some(tokens) = spent.usage.input_tokens {
        span.record("gen_ai.usage.input_tokens", tokens);
    }
    if let Some(tokens) = spent.usage.output_tokens {
        span.record("gen_ai.usage.output_tokens", tokens);
    }
    if let Some(error) = error {
        span.record("error.type", error.kind().as_str());
    }
}

/// Notes what was said: the messages up to the model's first, and the others.
pub(crate) fn content(span: &Span, state: &RunState) {
    let is_answer = |m: &ropewalk_core::Message| m.role == ropewalk_core::Role::Assistant;
    let new = state.said();
    let first = new.iter().position(is_answer).unwrap_or(new.len());
    let (input, output) = new.split_at(first);
    if let Ok(json) = serde_json::to_string(input) {
        span.record("gen_ai.input.messages", json);
    }
    if let Ok(json) = serde_json::to_string(output) {
        span.record("gen_ai.output.messages", json);
    }
}

/// One call of the model within a run; transports have a span `chat` of their own inside of it.
pub(crate) fn turn(agent: &str, model: &dyn ChatModel, turn: u32) -> Span {
    tracing::info_span!(
        "turn",
        otel.name = format!("turn {turn}"),
        turn,
        gen_ai.agent.name = agent,
        gen_ai.provider.name = model.provider(),
        gen_ai.request.model = model.model(),
        gen_ai.response.model = field::Empty,
        gen_ai.response.id = field::Empty,
        gen_ai.response.finish_reasons = field::Empty,
        gen_ai.usage.input_tokens = field::Empty,
        gen_ai.usage.output_tokens = field::Empty,
        error.r#type = field::Empty,
    )
}

/// Notes the reply of a call.
pub(crate) fn turn_done(span: &Span, response: &ChatResponse) {
    if span.is_disabled() {
        return;
    }
    span.record("gen_ai.response.model", response.model.as_str());
    if let Some(id) = &response.id {
        span.record("gen_ai.response.id", id.as_str());
    }
    let reasons = format!("[\"{}\"]", response.finish_reason);
    span.record("gen_ai.response.finish_reasons", reasons);
    if let Some(tokens) = response.usage.input_tokens {
        span.record("gen_ai.usage.input_tokens", tokens);
    }
    if let Some(tokens) = response.usage.output_tokens {
        span.record("gen_ai.usage.output_tokens", tokens);
    }
}

/// Notes that a call failed.
pub(crate) fn turn_failed(span: &Span, error: &Error) {
    span.record("error.type", error.kind().as_str());
}
