//! What both wires of OpenAI need.

use ropewalk_core::schemars::Schema;
use ropewalk_core::{
    CacheHint, ChatRequest, Error, FinishReason, Media, MediaSource, Message, Part, Result,
    SchemaDialect, TokenLogprob, ToolChoice, Usage,
};
use serde_json::{Map, Value, json};

use crate::dialect::Dialect;
use crate::native::{count, inline, schema, set};
use crate::wire::Notes;

/// The body of a request while it is filled, and what could not be put there.
#[derive(Debug)]
pub(super) struct Body<'a> {
    pub(super) dialect: &'a Dialect,
    pub(super) fields: Map<String, Value>,
    pub(super) notes: Notes,
}

impl<'a> Body<'a> {
    pub(super) fn new(dialect: &'a Dialect, model: &str, request: &ChatRequest) -> Self {
        let mut fields = Map::new();
        fields.insert("model".into(), model.into());
        Self {
            dialect,
            fields,
            notes: Notes::new(request.on_unsupported),
        }
    }

    pub(super) fn set(&mut self, field: &str, value: impl Into<Value>) {
        self.fields.insert(field.to_owned(), value.into());
    }

    /// Sets the field of an option, or notes that the server has none.
    pub(super) fn option(
        &mut self,
        option: &'static str,
        field: Option<&str>,
        value: Option<impl Into<Value>>,
    ) -> Result<()> {
        match (value, field) {
            (Some(value), Some(field)) => self.set(field, value),
            (Some(_), None) => self.notes.leave_out(option, self.no_such(option))?,
            (None, _) => {}
        }
        Ok(())
    }

    fn no_such(&self, option: &str) -> String {
        let Dialect { name, sampling, .. } = self.dialect;
        const SAMPLING: [&str; 6] = [
            "temperature",
            "top_p",
            "seed",
            "frequency_penalty",
            "presence_penalty",
            "logprobs",
        ];
        if !sampling && SAMPLING.contains(&option) {
            return "the model takes no options of sampling".into();
        }
        format!("{name} has no such option")
    }

    /// Sets how long the prompt is cached, and by which key. `marks`: whether the wire can mark
    /// texts, where the server takes marks.
    pub(super) fn caching(
        &mut self,
        marks: bool,
        cache: Option<CacheHint>,
        key: Option<&str>,
        messages: &[Message],
    ) -> Result<()> {
        let keyed = self.dialect.cache_key;
        self.option("cache_key", keyed.then_some("prompt_cache_key"), key)?;
        let in_parts = messages.iter().flat_map(|m| &m.content).filter_map(hint);
        match strongest(cache.into_iter().chain(in_parts)) {
            // Prompts are cached for minutes without being asked to.
            None | Some(CacheHint::Short) if keyed => {}
            None => {}
            Some(_) if marks && self.dialect.cache_control => {}
            Some(_) if keyed => self.set("prompt_cache_retention", "24h"),
            Some(_) => {
                let reason = "the server takes no hints about caching";
                self.notes.leave_out("cache", reason)?;
            }
        }
        Ok(())
    }

    /// Returns the schema of a strict tool or format and whether it is enforced: one that strict
    /// mode cannot express is sent as it is.
    pub(super) fn schema(
        &mut self,
        of: &str,
        schema_: &Schema,
        strict: bool,
        otherwise: SchemaDialect,
    ) -> Result<(Value, bool)> {
        if strict && self.dialect.strict {
            match SchemaDialect::OpenAiStrict.apply(schema_) {
                Ok(_) => {
                    let strict = SchemaDialect::OpenAiStrict;
                    return Ok((schema(strict, schema_, &mut self.notes)?, true));
                }
                Err(error) => {
                    let option = format!("{of}.strict");
                    self.notes.leave_out(option, error.message().to_owned())?;
                }
            }
        } else if strict && otherwise == SchemaDialect::OpenAi {
            let reason = format!("{} has no strict tools", self.dialect.name);
            self.notes.leave_out(format!("{of}.strict"), reason)?;
        }
        Ok((schema(otherwise, schema_, &mut self.notes)?, false))
    }
}

fn hint(part: &Part) -> Option<CacheHint> {
    match part {
        Part::Text { cache, .. } => *cache,
        _ => None,
    }
}

fn strongest(hints: impl Iterator<Item = CacheHint>) -> Option<CacheHint> {
    hints.max_by_key(|h| *h == CacheHint::Long)
}

/// Returns the address of media: their own, or a `data:` URL of their bytes.
pub(super) fn address(media: &Media, default_mime: &str) -> Option<String> {
    if let MediaSource::Url(url) = &media.source {
        return Some(url.clone());
    }
    inline(media, default_mime).map(|(mime, data)| format!("data:{mime};base64,{data}"))
}

/// Returns the name of a file, which the API demands beside its data.
pub(super) fn file_name(media: &Media) -> &str {
    media.name.as_deref().unwrap_or("document.pdf")
}

/// JSON mode is refused unless the prompt asks for JSON in words: nothing is added to the prompt
/// behind the caller's back, the request fails before it is sent.
pub(super) fn asks_for_json(messages: &[Message]) -> Result<()> {
    let parts = messages.iter().flat_map(|m| &m.content);
    let asked = parts
        .filter_map(Part::as_text)
        .any(|t| t.to_ascii_lowercase().contains("json"));
    if asked {
        return Ok(());
    }
    Err(Error::invalid_request(
        "response_format: JSON mode needs the word JSON in the prompt; ask for JSON in the \
         instructions, or give a schema",
    ))
}

/// Returns the words for a choice of tools, or the tool that `named` wraps.
pub(super) fn tool_choice(
    choice: &ToolChoice,
    required: &str,
    named: impl FnOnce(&str) -> Value,
) -> Option<Value> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some("none".into()),
        ToolChoice::Required => Some(required.into()),
        ToolChoice::Tool(name) => Some(named(name)),
        _ => None,
    }
}

/// Returns the reason for the end of a reply, in all the words compatible servers use.
pub(super) fn finish_reason(word: &str) -> FinishReason {
    match word {
        "" | "stop" | "eos" | "eos_token" | "end_turn" | "stop_sequence" => FinishReason::Stop,
        "length" | "max_tokens" | "max_output_tokens" | "model_length" => FinishReason::Length,
        "tool_calls" | "function_call" | "tool_use" => FinishReason::ToolCalls,
        "content_filter" | "safety" => FinishReason::ContentFilter,
        other => FinishReason::from(other),
    }
}

/// Reads usage under the names of Chat Completions and of Responses.
///
/// `apart`: the server counts reasoning beside the completion, in the total only (xAI, Gemini).
pub(super) fn usage(usage: &Value, apart: bool) -> Option<Usage> {
    let either = |new: &str, old: &str| count(usage, new).or_else(|| count(usage, old));
    let detail = |new: &str, old: &str, key: &str| {
        let details = usage.get(new).or_else(|| usage.get(old))?;
        count(details, key)
    };
    let input = |key| detail("input_tokens_details", "prompt_tokens_details", key);
    let output = |key| detail("output_tokens_details", "completion_tokens_details", key);
    let mut read = Usage::default();
    read.input_tokens = either("input_tokens", "prompt_tokens");
    read.output_tokens = either("output_tokens", "completion_tokens");
    // DeepSeek and Perplexity name some parts at the top.
    read.cached_input_tokens =
        input("cached_tokens").or_else(|| count(usage, "prompt_cache_hit_tokens"));
    read.cache_write_tokens = input("cache_write_tokens");
    read.input_audio_tokens = input("audio_tokens");
    read.reasoning_tokens = output("reasoning_tokens").or_else(|| count(usage, "reasoning_tokens"));
    read.output_audio_tokens = output("audio_tokens");
    if let (true, Some(total), Some(input)) =
        (apart, count(usage, "total_tokens"), read.input_tokens)
    {
        let rest = total.saturating_sub(input);
        read.output_tokens = read.output_tokens.map(|o| o.max(rest));
    }
    (read != Usage::default()).then_some(read)
}

/// Reads generated tokens and the likeliest beside them.
pub(super) fn logprobs(tokens: &Value) -> Vec<TokenLogprob> {
    let entry = |value: &Value| {
        let token = value.get("token")?.as_str()?.to_owned();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "logarithms of probabilities need no more digits"
        )]
        let logprob = value.get("logprob")?.as_f64()? as f32;
        Some((token, logprob))
    };
    let tokens = tokens.as_array().into_iter().flatten();
    let read = tokens.filter_map(|token| {
        let (text, logprob) = entry(token)?;
        let top = token.get("top_logprobs").and_then(Value::as_array);
        let top = top.into_iter().flatten().filter_map(entry).collect();
        Some(TokenLogprob::new(text, logprob).with_top(top))
    });
    read.collect()
}

/// Returns `{"type": "input_audio"}` for sound in a format the API takes.
pub(super) fn sound(media: &Media) -> Option<Value> {
    let (mime, data) = inline(media, "")?;
    let format = match mime.as_str() {
        "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => "wav",
        "audio/mpeg" | "audio/mp3" => "mp3",
        _ => return None,
    };
    Some(json!({"type": "input_audio", "input_audio": {"data": data, "format": format}}))
}

/// Sets a field if the value is there.
pub(super) fn with(mut object: Value, key: &str, value: Option<impl Into<Value>>) -> Value {
    if let Some(map) = object.as_object_mut() {
        set(map, key, value);
    }
    object
}
