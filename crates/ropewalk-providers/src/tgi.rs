//! Hugging Face text-generation-inference: its own API, which continues one text.

use ropewalk_core::{
    Capabilities, ChatRequest, ErrorKind, FinishReason, Message, Options, Part, ResponseFormat,
    Result, Role, SchemaDialect, TokenLogprob, ToolResult, Usage, WireDelta,
};
use ropewalk_http::Frame;
use serde_json::{Map, Value, json};

use crate::chat::RemoteChat;
use crate::endpoint::{Auth, Endpoint};
use crate::key::ApiKey;
use crate::native::{
    count, endpoint_methods, leave_part_out, merge_nested, no_error, no_names, no_reply, number,
    schema, set, text,
};
use crate::settings::Settings;
use crate::wire::{Call, Decoder, Notes, Wire};

const PROVIDER: &str = "tgi";

/// A server of text-generation-inference, or a Hugging Face Inference Endpoint that runs it.
///
/// For chats with tools use its OpenAI-compatible API instead; this one gives the probabilities of
/// tokens, grammars, and models without a chat template.
///
/// ```
/// use ropewalk_http::testing::{Canned, Double};
/// use ropewalk_providers::Tgi;
/// use serde_json::{Map, json};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let double = Double::new([Canned::json(&json!({"generated_text": " blue."}))]);
/// let tgi = Tgi::new("http://127.0.0.1:8080")?.with_client(double.client());
/// let output = tgi.generate("The sky is", Map::new()).await?;
/// assert_eq!(output.text, " blue.");
/// # Ok::<(), ropewalk_core::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tgi {
    endpoint: Endpoint,
}

endpoint_methods!(Tgi);

/// A continued text.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TgiOutput {
    /// The text after the prompt.
    pub text: String,
    /// Why it ended, when the server says.
    pub finish_reason: Option<FinishReason>,
    /// The generated tokens with their probabilities, special ones too.
    pub tokens: Vec<TokenLogprob>,
    /// The seed that was drawn or given, when the server sampled.
    pub seed: Option<u64>,
    /// Everything the server said.
    pub raw: Value,
}

impl Tgi {
    /// Creates the API at an address, without a key.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when no HTTP client can be made.
    pub fn new(base_url: impl Into<String>) -> Result<Self> {
        Ok(Self {
            endpoint: Endpoint::new(PROVIDER, base_url, Auth::Bearer, None)?,
        })
    }

    /// Creates the API from the environment; see [`from_settings`](Self::from_settings).
    ///
    /// # Errors
    /// As `from_settings`.
    pub fn from_env() -> Result<Self> {
        Self::from_settings(&Settings::from_env())
    }

    /// Creates the API at `TGI_BASE_URL`, with the token in `HF_TOKEN`, if set.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when `TGI_BASE_URL` is not set.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let url = settings.get("TGI_BASE_URL").ok_or_else(|| {
            let message = "set TGI_BASE_URL to the address of the server";
            ropewalk_core::Error::new(ErrorKind::Configuration, message).with_provider(PROVIDER)
        })?;
        let this = Self::new(url)?;
        Ok(match settings.get("HF_TOKEN") {
            Some(token) => this.with_key(token),
            None => this,
        })
    }

    /// Sets the token of an Inference Endpoint, sent as `Authorization: Bearer`.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<ApiKey>) -> Self {
        self.endpoint = self.endpoint.with_key(key);
        self
    }

    /// Returns a chat model; a server runs one model, whose name is for replies and traces only.
    pub fn chat(&self, model: impl Into<String>) -> RemoteChat {
        let mut capabilities = Capabilities::default();
        capabilities.json_schema = true;
        capabilities.sampling = true;
        capabilities.streaming = true;
        RemoteChat::new(TgiWire::new(), self.endpoint.clone(), model, capabilities)
    }

    /// Continues a text. The parameters are the server's own, for example `max_new_tokens`;
    /// `details` is asked for unless they say otherwise.
    ///
    /// # Errors
    /// Whatever keeps the server from answering.
    pub async fn generate(
        &self,
        prompt: &str,
        parameters: Map<String, Value>,
    ) -> Result<TgiOutput> {
        let mut all = Map::new();
        all.insert("details".into(), true.into());
        all.extend(parameters);
        let body = json!({"inputs": prompt, "parameters": all});
        let reply = self.endpoint.post_json("/generate", &body).await?;
        self.endpoint.named(output(reply))
    }
}

fn output(mut raw: Value) -> Result<TgiOutput> {
    // The root path, which some endpoints map here, answers with a list.
    if let Some(first) = raw.get_mut(0) {
        raw = first.take();
    }
    no_error(&raw, PROVIDER)?;
    let details = &raw["details"];
    let mut tops = details["top_tokens"].as_array().into_iter().flatten();
    let tokens = details["tokens"].as_array().into_iter().flatten();
    let tokens = tokens.map(|t| logprob(t, tops.next())).collect();
    Ok(TgiOutput {
        text: raw["generated_text"]
            .as_str()
            .ok_or_else(|| no_reply(&raw, "generated_text"))?
            .to_owned(),
        finish_reason: text(details, "finish_reason").map(|r| finish_reason(&r)),
        tokens,
        seed: count(details, "seed"),
        raw,
    })
}

/// The API of text-generation-inference (huggingface.github.io/text-generation-inference), as a
/// chat.
///
/// A request of one user message is that text. Longer ones are written out, each message after the
/// name of its role, with an empty line between them, and the model goes on after the last name:
///
/// ```text
/// System: Be brief.
///
/// User: Hi
///
/// Assistant:
/// ```
///
/// Temperature 0 is greedy search; a JSON schema is a grammar. The API knows no tools, media,
/// presence penalty, reasoning, cache hints and users. Probabilities of tokens always come; the
/// length of the prompt is reported by streams only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TgiWire;

impl TgiWire {
    /// Creates the wire.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

fn prompt(messages: &[Message], notes: &mut Notes) -> Result<String> {
    no_names(messages, notes)?;
    let mut turns = Vec::new();
    for message in messages {
        let mut words = String::new();
        for part in &message.content {
            let results = part.as_tool_result().map(ToolResult::text);
            match (part, results) {
                (Part::Text { text, cache, .. }, _) => {
                    let reason = "the server caches by itself";
                    notes.unsupported("cache", cache.as_ref(), reason)?;
                    words.push_str(text);
                }
                (_, Some(text)) => words.push_str(&text),
                // Thoughts of earlier turns are not part of the conversation.
                (Part::Reasoning(_), _) => {}
                (other, _) => leave_part_out(other, "the API takes text only", notes)?,
            }
        }
        turns.push((message.role, words));
    }
    if let [(Role::User, only)] = turns.as_slice() {
        return Ok(only.clone());
    }
    let goes_on = matches!(turns.last(), Some((Role::Assistant, _)));
    let name = |role| match role {
        Role::System => "System",
        Role::User => "User",
        Role::Assistant => "Assistant",
        Role::Tool => "Tool",
    };
    let written = turns
        .iter()
        .map(|(r, words)| format!("{}: {words}", name(*r)));
    let mut lines: Vec<String> = written.collect();
    if !goes_on {
        lines.push("Assistant:".to_owned());
    }
    Ok(lines.join("\n\n"))
}

fn parameters(request: &ChatRequest, notes: &mut Notes) -> Result<Map<String, Value>> {
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
        parallel_tool_calls: _,
        cache,
        cache_key,
        user,
    } = &request.options;
    let mut parameters = Map::new();
    parameters.insert("details".into(), true.into());
    let greedy = *temperature == Some(0.0);
    // The server refuses a temperature of 0 and a top-p of 1, which change nothing.
    let warmth = temperature.filter(|t| *t > 0.0);
    let nucleus = top_p.filter(|p| *p < 1.0);
    let samples = !greedy && (warmth.is_some() || nucleus.is_some() || top_k.is_some());
    set(&mut parameters, "do_sample", samples.then_some(true));
    if !greedy {
        set(&mut parameters, "temperature", warmth.map(number));
        set(&mut parameters, "top_p", nucleus.map(number));
        set(&mut parameters, "top_k", *top_k);
    }
    set(&mut parameters, "max_new_tokens", *max_tokens);
    let stops = (!stop.is_empty()).then(|| stop.clone());
    set(&mut parameters, "stop", stops);
    set(&mut parameters, "seed", *seed);
    let penalty = frequency_penalty.map(number);
    set(&mut parameters, "frequency_penalty", penalty);
    set(&mut parameters, "top_n_tokens", logprobs.filter(|n| *n > 0));
    let wanted = match &request.response_format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonSchema {
            // The API has no place for the name, and always enforces the schema.
            name: _,
            schema: wanted,
            strict: _,
        } => Some(schema(SchemaDialect::Generic, wanted, notes)?),
        _ => Some(json!({"type": "object"})),
    };
    let grammar = wanted.map(|schema| json!({"type": "json", "value": schema}));
    set(&mut parameters, "grammar", grammar);
    // Without tools the number of calls in a turn is no matter.
    let tools = (!request.tools.is_empty()).then_some(&request.tools);
    notes.unsupported("tools", tools, "this API has none")?;
    let none = "the API has no such option";
    notes.unsupported("presence_penalty", presence_penalty.as_ref(), none)?;
    notes.unsupported("reasoning", reasoning.as_ref(), none)?;
    notes.unsupported("cache", cache.as_ref(), "the server caches by itself")?;
    notes.unsupported("cache_key", cache_key.as_ref(), none)?;
    notes.unsupported("user", user.as_ref(), none)?;
    Ok(parameters)
}

impl Wire for TgiWire {
    fn provider(&self) -> &'static str {
        PROVIDER
    }

    fn encode(&self, _model: &str, request: &ChatRequest, stream: bool) -> Result<Call> {
        let mut notes = Notes::new(request.on_unsupported);
        let mut body = Map::new();
        let inputs = prompt(&request.messages, &mut notes)?;
        body.insert("inputs".into(), inputs.into());
        let parameters = parameters(request, &mut notes)?;
        body.insert("parameters".into(), parameters.into());
        merge_nested(&mut body, request, PROVIDER, "parameters");
        let path = if stream {
            "/generate_stream"
        } else {
            "/generate"
        };
        Ok(Call::new(path, body, notes))
    }

    fn decode(&self, body: Value) -> Result<Vec<WireDelta>> {
        let output = output(body)?;
        let details = &output.raw["details"];
        let prefill = details["prefill"].as_array().map_or(0, Vec::len) as u64;
        let mut usage = usage(details);
        usage.input_tokens = Some(prefill).filter(|n| *n > 0);
        let mut deltas = vec![WireDelta::text(output.text), WireDelta::Usage(usage)];
        if !output.tokens.is_empty() {
            deltas.push(WireDelta::Logprobs(output.tokens));
        }
        deltas.extend(output.finish_reason.map(WireDelta::FinishReason));
        deltas.push(WireDelta::End);
        Ok(deltas)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(TokenDecoder)
    }
}

/// Decodes a stream of tokens; the last one carries the whole text.
#[derive(Debug)]
struct TokenDecoder;

impl Decoder for TokenDecoder {
    fn frame(&mut self, frame: &Frame, deltas: &mut Vec<WireDelta>) -> Result<()> {
        let event = frame.json()?;
        no_error(&event, PROVIDER)?;
        let token = &event["token"];
        if !token.is_object() {
            return Err(no_reply(&event, "token"));
        }
        let special = token["special"] == true;
        let piece = text(token, "text").filter(|_| !special);
        deltas.push(WireDelta::text(piece.unwrap_or_default()));
        let logprob = logprob(token, event.get("top_tokens"));
        deltas.push(WireDelta::Logprobs(vec![logprob]));
        if event["generated_text"].is_string() {
            let details = &event["details"];
            deltas.push(WireDelta::Usage(usage(details)));
            let reason = text(details, "finish_reason").map(|r| finish_reason(&r));
            deltas.extend(reason.map(WireDelta::FinishReason));
            deltas.push(WireDelta::End);
        }
        Ok(())
    }
}

fn usage(details: &Value) -> Usage {
    let mut usage = Usage::default();
    usage.input_tokens = count(details, "input_length");
    usage.output_tokens = count(details, "generated_tokens");
    usage
}

fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        "eos_token" | "stop_sequence" => FinishReason::Stop,
        other => other.into(),
    }
}

fn logprob(token: &Value, top: Option<&Value>) -> TokenLogprob {
    let pair = |v: &Value| {
        let word = text(v, "text").unwrap_or_default();
        (word, v["logprob"].as_f64().unwrap_or(0.0) as f32)
    };
    let (word, logprob) = pair(token);
    let top = top.and_then(Value::as_array).into_iter().flatten();
    TokenLogprob::new(word, logprob).with_top(top.map(pair).collect())
}
