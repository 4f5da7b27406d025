//! Parameters of the calls.

use ropewalk_core::{ChatRequest, Error, ErrorKind, ResponseFormat, Result, ToolChoice, ToolSpec};
use serde_json::{Map, Value, json};

use super::LlamaOptions;
use crate::sample::{Mirostat, Penalties, SamplerOptions};

/// Tokens that penalties look back at (`last_n_tokens_size`).
const LAST_TOKENS: usize = 64;
/// The most alternatives of a token.
const MOST_LOGPROBS: usize = 100;

/// What a completion continues.
#[derive(Debug)]
pub(super) enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

/// The parameters of one call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) prompt: Prompt,
    pub(super) model: Option<String>,
    pub(super) max_tokens: Option<usize>,
    pub(super) stops: Vec<String>,
    pub(super) echo: bool,
    pub(super) logprobs: Option<usize>,
    chat: ChatRequest,
    sampler: SamplerOptions,
    /// The algorithm, 0 for none, and its numbers.
    mirostat_mode: i64,
    mirostat: Mirostat,
}

fn invalid(key: &str, problem: &str) -> Error {
    let message = format!("{key} {problem}");
    Error::new(ErrorKind::InvalidRequest, message).with_provider("local")
}

fn number(key: &str, value: &Value) -> Result<f32> {
    let number = value.as_f64().map(|x| x as f32);
    number.ok_or_else(|| invalid(key, &format!("is {value}, not a number")))
}

fn count(key: &str, value: &Value) -> Result<i64> {
    let count = value.as_i64();
    count.ok_or_else(|| invalid(key, &format!("is {value}, not a whole number")))
}

fn flag(key: &str, value: &Value) -> Result<bool> {
    let flag = value.as_bool();
    flag.ok_or_else(|| invalid(key, &format!("is {value}, not true or false")))
}

fn text(key: &str, value: &Value) -> Result<String> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| invalid(key, &format!("is {value}, not a string")))
}

impl Call {
    fn new(options: &LlamaOptions, temperature: f32, max_tokens: Option<usize>) -> Self {
        let mut chat = ChatRequest::new();
        chat.on_unsupported = options.on_unsupported;
        Self {
            prompt: Prompt::Text(String::new()),
            model: None,
            max_tokens,
            stops: Vec::new(),
            echo: false,
            logprobs: None,
            chat,
            mirostat_mode: 0,
            mirostat: Mirostat::v2(),
            sampler: SamplerOptions {
                temperature,
                top_k: 40,
                top_p: 0.95,
                min_p: 0.05,
                seed: options.seed,
                penalties: Penalties {
                    last_n: Some(LAST_TOKENS),
                    ..SamplerOptions::default().penalties
                },
                ..SamplerOptions::default()
            },
        }
    }

    /// Reads the parameters of `create_chat_completion`.
    pub(super) fn chat(request: &Value, options: &LlamaOptions) -> Result<Self> {
        let mut this = Self::new(options, 0.2, None);
        let (mut wanted, mut top) = (false, None);
        for (key, value) in parameters(request)? {
            match key.as_str() {
                "messages" => {
                    let parsed: ChatRequest = serde_json::from_value(json!({"messages": value}))
                        .map_err(|e| invalid(key, &format!("cannot be read: {e}")))?;
                    this.chat.messages = parsed.messages;
                }
                "tools" => this.chat.tools = tools(value)?,
                "tool_choice" => this.chat.tool_choice = tool_choice(value)?,
                "logprobs" => wanted = flag(key, value)?,
                "top_logprobs" => top = Some(alternatives(key, value)?),
                "response_format" => this.chat.response_format = response_format(value)?,
                _ => this.common(key, value, options)?,
            }
        }
        if this.chat.messages.is_empty() {
            return Err(invalid("messages", "is missing or empty"));
        }
        this.logprobs = (wanted || top.is_some()).then(|| top.unwrap_or(0));
        Ok(this)
    }

    /// Reads the parameters of `create_completion`.
    pub(super) fn completion(request: &Value, options: &LlamaOptions) -> Result<Self> {
        let mut this = Self::new(options, 0.8, Some(16));
        let mut given = false;
        for (key, value) in parameters(request)? {
            match key.as_str() {
                "prompt" => {
                    given = true;
                    this.prompt = prompt(key, value)?;
                }
                "echo" => this.echo = flag(key, value)?,
                "logprobs" => this.logprobs = Some(alternatives(key, value)?),
                "suffix" => options.refuse(key, "text is only continued, not filled in")?,
                _ => this.common(key, value, options)?,
            }
        }
        if !given {
            return Err(invalid("prompt", "is missing"));
        }
        Ok(this)
    }

    /// Reads a parameter of both calls.
    fn common(&mut self, key: &str, value: &Value, options: &LlamaOptions) -> Result<()> {
        let sampler = &mut self.sampler;
        let penalties = &mut sampler.penalties;
        match key {
            "temperature" => sampler.temperature = number(key, value)?,
            "top_p" => sampler.top_p = number(key, value)?,
            "min_p" => sampler.min_p = number(key, value)?,
            "typical_p" => sampler.typical_p = number(key, value)?,
            // There, 0 and less mean all.
            "top_k" => sampler.top_k = usize::try_from(count(key, value)?).unwrap_or(0),
            "presence_penalty" => penalties.presence = number(key, value)?,
            "frequency_penalty" => penalties.frequency = number(key, value)?,
            "repeat_penalty" => penalties.repetition = number(key, value)?,
            "seed" => {
                let seed = value.as_u64();
                sampler.seed =
                    seed.ok_or_else(|| invalid(key, "must be given; it is not drawn at random"))?;
            }
            "max_tokens" => {
                let n = usize::try_from(count(key, value)?).ok();
                self.max_tokens = n.filter(|n| *n > 0);
            }
            "stop" => {
                self.stops = match value {
                    Value::Array(list) => {
                        list.iter().map(|v| text(key, v)).collect::<Result<_>>()?
                    }
                    one => vec![text(key, one)?],
                };
            }
            "model" => self.model = Some(text(key, value)?),
            "logit_bias" => {
                let map = value.as_object();
                let map = map.ok_or_else(|| invalid(key, "is not an object of ids"))?;
                for (id, bias) in map {
                    let number = number(key, bias)?;
                    let id = id.parse();
                    let id = id.map_err(|_| invalid(key, "has a key that is no token id"))?;
                    sampler.logit_bias.push((id, number));
                }
            }
            "stream" => {
                if flag(key, value)? {
                    return Err(invalid(
                        key,
                        "is a method here: call the one with `_stream`",
                    ));
                }
            }
            "mirostat_mode" => {
                self.mirostat_mode = count(key, value)?;
                if !(0..=2).contains(&self.mirostat_mode) {
                    return Err(invalid(key, &format!("is {value}; use 0, 1 or 2")));
                }
            }
            "tfs_z" => {
                if number(key, value)? != 1.0 {
                    options.refuse(key, "llama.cpp has removed it, and it is not here")?;
                }
            }
            // They act only with the mode above.
            "mirostat_tau" => self.mirostat.tau = number(key, value)?,
            "mirostat_eta" => self.mirostat.eta = number(key, value)?,
            "grammar" | "logits_processor" | "stopping_criteria" => {
                options.refuse(key, "it is not a part of this interface")?;
            }
            "functions" | "function_call" => {
                options.refuse(key, "use `tools` and `tool_choice`")?;
            }
            _ => {
                let known = "messages or prompt, temperature, top_p, top_k, min_p, typical_p, \
                             max_tokens, stop, seed, presence_penalty, frequency_penalty, \
                             repeat_penalty, mirostat_mode, mirostat_tau, mirostat_eta, logit_bias, logprobs, top_logprobs, echo, tools, \
                             tool_choice, response_format, model";
                return Err(invalid(
                    &format!("parameter `{key}`"),
                    &format!("is unknown; use {known}"),
                ));
            }
        }
        Ok(())
    }

    /// Adds stop strings.
    pub(super) fn stop<'a>(&mut self, more: impl Iterator<Item = &'a &'a str>) {
        self.stops.extend(more.map(|s| (*s).to_owned()));
    }

    pub(super) fn sampler(&self) -> SamplerOptions {
        let mut sampler = self.sampler.clone();
        if self.mirostat_mode != 0 && sampler.temperature > 0.0 {
            // There it stands in the place of the filters and of the temperature.
            sampler.temperature = 1.0;
            sampler.mirostat = Some(Mirostat {
                version: match self.mirostat_mode {
                    1 => Mirostat::v1().version,
                    _ => Mirostat::v2().version,
                },
                ..self.mirostat
            });
        }
        sampler
    }

    /// The request that a chat model takes; the sampler is set apart.
    pub(super) fn into_chat(self) -> ChatRequest {
        let mut chat = self.chat;
        chat.options.max_tokens = self
            .max_tokens
            .map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        chat.options.stop = self.stops;
        chat.options.logprobs = self.logprobs.map(|n| u8::try_from(n).unwrap_or(u8::MAX));
        chat
    }
}

/// The parameters that are given; null means left out.
fn parameters(request: &Value) -> Result<impl Iterator<Item = (&String, &Value)>> {
    let map: &Map<String, Value> = request
        .as_object()
        .ok_or_else(|| invalid("the request", "is not a JSON object of parameters"))?;
    Ok(map.iter().filter(|(_, value)| !value.is_null()))
}

fn prompt(key: &str, value: &Value) -> Result<Prompt> {
    let Value::Array(list) = value else {
        return Ok(Prompt::Text(text(key, value)?));
    };
    let id = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids: Option<Vec<u32>> = list.iter().map(id).collect();
    let ids = ids.ok_or_else(|| invalid(key, "is neither a string nor a list of token ids"))?;
    Ok(Prompt::Ids(ids))
}

/// Reads `[{"type": "function", "function": {"name", "description", "parameters"}}]`.
fn tools(value: &Value) -> Result<Vec<ToolSpec>> {
    let wrong = |problem: &str| invalid("tools", problem);
    let list = value.as_array().ok_or_else(|| wrong("is not a list"))?;
    let one = |tool: &Value| {
        let function = tool.get("function").unwrap_or(tool);
        let mut spec = function.clone();
        if let Some(map) = spec.as_object_mut() {
            map.entry("parameters")
                .or_insert_with(|| json!({"type": "object", "properties": {}}));
        }
        serde_json::from_value(spec).map_err(|e| wrong(&format!("cannot be read: {e}")))
    };
    list.iter().map(one).collect()
}

fn tool_choice(value: &Value) -> Result<ToolChoice> {
    match value.as_str() {
        Some("auto") => return Ok(ToolChoice::Auto),
        Some("none") => return Ok(ToolChoice::None),
        Some("required") => return Ok(ToolChoice::Required),
        _ => {}
    }
    let name = value.pointer("/function/name").and_then(Value::as_str);
    let name = name.ok_or_else(|| {
        invalid(
            "tool_choice",
            "is neither auto, none, required nor a function",
        )
    })?;
    Ok(ToolChoice::Tool(name.to_owned()))
}

/// Reads the form of the reply: `{"type": "json_object"}`, with a `schema` in llama.cpp's way or in OpenAI's.
fn response_format(value: &Value) -> Result<ResponseFormat> {
    let schema = match value.get("type").and_then(Value::as_str) {
        Some("text") => return Ok(ResponseFormat::Text),
        Some("json_object") => value.get("schema"),
        Some("json_schema") => value.pointer("/json_schema/schema"),
        _ => {
            let known = "is neither of the type text nor json_object nor json_schema";
            return Err(invalid("response_format", known));
        }
    };
    let Some(schema) = schema else {
        return Ok(ResponseFormat::Json);
    };
    let schema = serde_json::from_value(schema.clone());
    let schema = schema.map_err(|_| invalid("response_format", "holds no schema"))?;
    Ok(ResponseFormat::JsonSchema {
        name: "response".to_owned(),
        schema,
        strict: true,
    })
}

/// Reads how many alternatives of each token are asked for.
fn alternatives(key: &str, value: &Value) -> Result<usize> {
    let n = usize::try_from(count(key, value)?).ok();
    let n = n.filter(|n| *n <= MOST_LOGPROBS);
    n.ok_or_else(|| invalid(key, &format!("is {value}; use 0 to {MOST_LOGPROBS}")))
}
