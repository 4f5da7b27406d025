//! Options, tools and the form of the reply, as Responses has them.

use ropewalk_core::{
    ChatRequest, Effort, Options, Part, ResponseFormat, Result, SchemaDialect, ToolSpec,
};
use serde_json::{Map, Value, json};

use super::super::effort::level;
use super::super::shared::{Body, asks_for_json, tool_choice, with};
use crate::dialect::{EffortStyle, LEVELS};
use crate::native::number;

/// Puts everything but the input into the body.
pub(super) fn encode(body: &mut Body<'_>, request: &ChatRequest) -> Result<()> {
    let Options {
        temperature,
        top_p,
        top_k,
        max_tokens,
        stop,
        seed,
        frequency_penalty,
        presence_penalty,
        logprobs,
        reasoning,
        parallel_tool_calls,
        cache,
        cache_key,
        user,
    } = &request.options;
    let dialect = body.dialect;
    let sampling = |field| dialect.sampling.then_some(field);
    body.option(
        "temperature",
        sampling("temperature"),
        temperature.map(number),
    )?;
    body.option("top_p", sampling("top_p"), top_p.map(number))?;
    body.option("top_k", None, *top_k)?;
    body.option("max_tokens", Some("max_output_tokens"), *max_tokens)?;
    body.option("stop", None, (!stop.is_empty()).then_some(true))?;
    body.option("seed", None, *seed)?;
    body.option("frequency_penalty", None, frequency_penalty.map(number))?;
    body.option("presence_penalty", None, presence_penalty.map(number))?;
    body.option("logprobs", sampling("top_logprobs"), *logprobs)?;
    let mut include = Vec::new();
    if logprobs.is_some() && dialect.sampling {
        include.push("message.output_text.logprobs");
    }
    if let Some(effort) = reasoning {
        think(body, *effort)?;
    }
    if reasons(request, dialect.sampling) {
        include.push("reasoning.encrypted_content");
    }
    if !include.is_empty() {
        body.set("include", include);
    }
    body.caching(false, *cache, cache_key.as_deref(), &request.messages)?;
    body.option("user", dialect.user, user.as_deref())?;
    tools(body, request, *parallel_tool_calls)?;
    format(body, request)
}

/// Returns whether the model reasons, as far as the request tells: models that do not refuse to be
/// asked for encrypted reasoning, and nothing is guessed from their name.
fn reasons(request: &ChatRequest, sampling: bool) -> bool {
    let parts = request.messages.iter().flat_map(|m| &m.content);
    let mut kept = parts.filter_map(Part::as_reasoning);
    match request.options.reasoning {
        Some(Effort::Off | Effort::Budget(0)) => false,
        Some(_) => true,
        None => !sampling || kept.any(|r| r.redacted.is_some()),
    }
}

fn think(body: &mut Body<'_>, effort: Effort) -> Result<()> {
    let levels = match body.dialect.effort {
        EffortStyle::Level(levels) | EffortStyle::Switch(levels) => levels,
        _ => LEVELS,
    };
    let level = level(effort, levels, &mut body.notes)?;
    let mut reasoning = Map::new();
    if let Some(level) = level {
        reasoning.insert("effort".into(), level.into());
    }
    let summary = body.dialect.reasoning_summary;
    if let (Some(summary), false) = (summary, level == Some("none")) {
        reasoning.insert("summary".into(), summary.into());
    }
    body.set("reasoning", reasoning);
    Ok(())
}

fn tools(body: &mut Body<'_>, request: &ChatRequest, parallel: Option<bool>) -> Result<()> {
    if request.tools.is_empty() {
        return Ok(());
    }
    let specs: Result<Vec<Value>> = request.tools.iter().map(|t| tool(body, t)).collect();
    body.set("tools", specs?);
    let named = |name: &str| json!({"type": "function", "name": name});
    if let Some(choice) = tool_choice(&request.tool_choice, "required", named) {
        body.set("tool_choice", choice);
    }
    if let Some(parallel) = parallel {
        body.set("parallel_tool_calls", parallel);
    }
    Ok(())
}

/// A tool. `strict` is always said: without it the API takes it as true.
fn tool(body: &mut Body<'_>, spec: &ToolSpec) -> Result<Value> {
    let of = format!("tools.{}", spec.name);
    let (parameters, strict) =
        body.schema(&of, &spec.parameters, spec.strict, SchemaDialect::OpenAi)?;
    let tool = json!({
        "type": "function",
        "name": spec.name,
        "parameters": parameters,
        "strict": strict,
    });
    let description = Some(spec.description.as_str()).filter(|d| !d.is_empty());
    Ok(with(tool, "description", description))
}

fn format(body: &mut Body<'_>, request: &ChatRequest) -> Result<()> {
    let format = match &request.response_format {
        ResponseFormat::JsonSchema {
            name,
            schema,
            strict,
        } if body.dialect.json.has_schema() => {
            let generic = SchemaDialect::Generic;
            let (schema, enforced) = body.schema("response_format", schema, *strict, generic)?;
            let strict = if body.dialect.strict {
                enforced
            } else {
                *strict
            };
            json!({"type": "json_schema", "name": name, "schema": schema, "strict": strict})
        }
        ResponseFormat::JsonSchema { .. } | ResponseFormat::Json => {
            if matches!(request.response_format, ResponseFormat::JsonSchema { .. }) {
                let reason = "the server enforces no schema";
                body.notes.leave_out("response_format.schema", reason)?;
            }
            if body.dialect.json_word {
                asks_for_json(&request.messages)?;
            }
            json!({"type": "json_object"})
        }
        _ => return Ok(()),
    };
    body.set("text", json!({"format": format}));
    Ok(())
}
