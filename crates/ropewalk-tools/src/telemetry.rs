//! Spans with the names of the OpenTelemetry conventions for generative AI
//! (`semantic-conventions-genai`, "Execute tool span").

use ropewalk_core::{ToolCall, ToolResult};
use tracing::{Span, field};

use crate::error::ToolFailure;

/// Opens the span of a call. `otel.name` is what exporters show: the names of `tracing` spans
/// cannot hold the name of the tool.
pub(crate) fn execute_tool(call: &ToolCall, content: bool) -> Span {
    let span = tracing::info_span!(
        "execute_tool",
        otel.name = field::Empty,
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = call.name,
        gen_ai.tool.call.id = call.id,
        "gen_ai.tool.type" = "function",
        gen_ai.tool.call.arguments = field::Empty,
        gen_ai.tool.call.result = field::Empty,
        "error.type" = field::Empty,
    );
    if !span.is_disabled() {
        span.record("otel.name", format!("execute_tool {}", call.name));
        if content {
            span.record("gen_ai.tool.call.arguments", call.arguments.as_str());
        }
    }
    span
}

/// Notes how the call ended.
pub(crate) fn finish(span: &Span, outcome: &Result<ToolResult, ToolFailure>, content: bool) {
    if span.is_disabled() {
        return;
    }
    match outcome {
        Ok(result) if result.is_error => {
            span.record("error.type", "error_result");
        }
        Ok(_) => {}
        Err(failure) => {
            span.record("error.type", failure.kind());
        }
    }
    if let (true, Ok(result)) = (content, outcome) {
        span.record("gen_ai.tool.call.result", result.text());
    }
}
