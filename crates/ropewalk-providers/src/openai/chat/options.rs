//! Options, tools and the form of the reply, as Chat Completions has them.

use ropewalk_core::{
    ChatRequest, Effort, Options, ResponseFormat, Result, SchemaDialect, ToolChoice, ToolSpec,
};
use serde_json::{Value, json};

use super::super::effort::level;
use super::super::shared::{Body, asks_for_json, tool_choice, with};
use crate::dialect::{EffortStyle, JsonSupport};
use crate::native::number;

/// Puts everything but the messages into the body.
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
    let penalty = |field| sampling(field).filter(|_| dialect.penalties);
    body.option(
        "temperature",
        sampling("temperature"),
        temperature.map(number),
    )?;
    body.option("top_p", sampling("top_p"), top_p.map(number))?;
    let top_k_field = sampling("top_k").filter(|_| dialect.top_k);
    body.option("top_k", top_k_field, *top_k)?;
    body.option("max_tokens", Some(dialect.max_tokens), *max_tokens)?;
    let stops = (!stop.is_empty()).then(|| json!(stop));
    body.option("stop", dialect.stop.then_some("stop"), stops)?;
    body.option("seed", dialect.seed.filter(|_| dialect.sampling), *seed)?;
    body.option(
        "frequency_penalty",
        penalty("frequency_penalty"),
        frequency_penalty.map(number),
    )?;
    body.option(
        "presence_penalty",
        penalty("presence_penalty"),
        presence_penalty.map(number),
    )?;
    let logprobs_field = sampling("logprobs").filter(|_| dialect.logprobs);
    body.option("logprobs", logprobs_field, logprobs.map(|_| true))?;
    if let (Some(_), Some(top @ 1..)) = (logprobs_field, *logprobs) {
        body.set("top_logprobs", top);
    }
    if let Some(effort) = reasoning {
        think(body, *effort)?;
    }
    body.caching(true, *cache, cache_key.as_deref(), &request.messages)?;
    body.option("user", dialect.user, user.as_deref())?;
    tools(body, request, *parallel_tool_calls)?;
    format(body, request)
}

fn think(body: &mut Body<'_>, effort: Effort) -> Result<()> {
    match body.dialect.effort {
        EffortStyle::Level(levels) => {
            if let Some(level) = level(effort, levels, &mut body.notes)? {
                body.set("reasoning_effort", level);
            }
        }
        EffortStyle::Object => {
            let reasoning = match effort {
                Effort::Off | Effort::Budget(0) => json!({"effort": "none"}),
                Effort::Budget(tokens) => json!({"max_tokens": tokens}),
                effort => {
                    const LEVELS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh"];
                    json!({"effort": level(effort, LEVELS, &mut body.notes)?})
                }
            };
            body.set("reasoning", reasoning);
        }
        EffortStyle::Switch(levels) => {
            let off = matches!(effort, Effort::Off | Effort::Budget(0));
            let kind = if off { "disabled" } else { "enabled" };
            body.set("thinking", json!({"type": kind}));
            if !off && let Some(level) = level(effort, levels, &mut body.notes)? {
                body.set("reasoning_effort", level);
            }
        }
        EffortStyle::None => {
            let reason = "the server cannot be told how much to think";
            body.notes.leave_out("reasoning", reason)?;
        }
    }
    Ok(())
}

fn tools(body: &mut Body<'_>, request: &ChatRequest, parallel: Option<bool>) -> Result<()> {
    let dialect = body.dialect;
    // A server that cannot be told to call none gets none to call.
    let hidden = !dialect.tool_choice && request.tool_choice == ToolChoice::None;
    if request.tools.is_empty() || hidden {
        return Ok(());
    }
    if !dialect.tools {
        return body.notes.leave_out("tools", "the server calls no tools");
    }
    let specs: Result<Vec<Value>> = request.tools.iter().map(|t| tool(body, t)).collect();
    body.set("tools", specs?);
    let choice = tool_choice(
        &request.tool_choice,
        dialect.required_tool,
        |name| json!({"type": "function", "function": {"name": name}}),
    );
    body.option(
        "tool_choice",
        dialect.tool_choice.then_some("tool_choice"),
        choice,
    )?;
    let field = dialect.parallel_tool_calls.then_some("parallel_tool_calls");
    body.option("parallel_tool_calls", field, parallel)
}

fn tool(body: &mut Body<'_>, spec: &ToolSpec) -> Result<Value> {
    let of = format!("tools.{}", spec.name);
    let (parameters, strict) =
        body.schema(&of, &spec.parameters, spec.strict, SchemaDialect::OpenAi)?;
    let description = Some(spec.description.as_str()).filter(|d| !d.is_empty());
    let function = json!({"name": spec.name, "parameters": parameters});
    let function = with(function, "description", description);
    let function = with(function, "strict", strict.then_some(true));
    Ok(json!({"type": "function", "function": function}))
}

fn format(body: &mut Body<'_>, request: &ChatRequest) -> Result<()> {
    let dialect = body.dialect;
    let (name, schema, strict) = match &request.response_format {
        ResponseFormat::Text => return Ok(()),
        ResponseFormat::JsonSchema {
            name,
            schema,
            strict,
        } if dialect.json.has_schema() => (name, schema, *strict),
        other => {
            if matches!(other, ResponseFormat::JsonSchema { .. }) {
                let reason = "the server enforces no schema";
                body.notes.leave_out("response_format.schema", reason)?;
            }
            if dialect.json != JsonSupport::Schema && dialect.json != JsonSupport::Object {
                let reason = "the server has no mode for JSON without a schema";
                return body.notes.leave_out("response_format", reason);
            }
            if dialect.json_word {
                asks_for_json(&request.messages)?;
            }
            body.set("response_format", json!({"type": "json_object"}));
            return Ok(());
        }
    };
    let generic = SchemaDialect::Generic;
    let (schema, enforced) = body.schema("response_format", schema, strict, generic)?;
    let strict = if dialect.strict { enforced } else { strict };
    body.set(
        "response_format",
        json!({
            "type": "json_schema",
            "json_schema": {"name": name, "schema": schema, "strict": strict},
        }),
    );
    Ok(())
}
