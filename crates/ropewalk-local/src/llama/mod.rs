//! The knobs of llama-cpp-python under their names, for people who come from there.
//!
//! [`Llama`] takes what `llama_cpp.Llama` takes and returns what it returns: JSON in the shape of
//! the OpenAI API. It is a thin layer over [`LocalModel`], which has types where this has JSON.
//!
//! ```no_run
//! use ropewalk_local::llama::{Llama, LlamaOptions};
//! use serde_json::json;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let llama = Llama::open("model.gguf", LlamaOptions::new().with_n_ctx(2048).with_n_threads(8))?;
//! let reply = llama.create_chat_completion(&json!({
//!     "messages": [{"role": "user", "content": "What is a ropewalk?"}],
//!     "temperature": 0.0,
//!     "max_tokens": 64,
//!     "stop": ["\n\n"],
//! }))?;
//! println!("{}", reply["choices"][0]["message"]["content"]);
//! # Ok(()) }
//! ```
//!
//! | knob of `Llama(...)` | here | without this layer |
//! | --- | --- | --- |
//! | `model_path` | [`Llama::open`] | [`LocalModel::open_with`] |
//! | `n_ctx` (512; 0 is the model's own) | [`LlamaOptions::with_n_ctx`] | [`LoadOptions::with_context`] |
//! | `n_threads`, `n_threads_batch` | [`LlamaOptions::with_n_threads`] | [`LoadOptions::with_threads`] |
//! | `type_k`, `type_v` | [`LlamaOptions::with_type_kv`]: both alike, F32, F16 or Q8_0 | [`LoadOptions::with_cache`] |
//! | `seed` | [`LlamaOptions::with_seed`]; 0 unless given, never random | [`SamplerOptions::seed`] |
//! | `chat_format` | [`LlamaOptions::with_chat_format`]: [`CHAT_FORMATS`] | [`LocalModel::with_template`] |
//! | `verbose` | [`LlamaOptions::with_verbose`] and [`LlamaOptions::with_log`] | [`LoadOptions::with_progress`], [`Timings`] |
//! | `logits_all` | nothing to set: log probabilities are always at hand | [`Model::forward_all`] |
//! | `n_batch` | passes have 512 rows; another value is reported | |
//! | `n_gpu_layers`, `embedding` | reported as unsupported unless 0 or false | |
//!
//! Knobs that the table leaves out have no counterpart here.
//!
//! What cannot be honoured follows [`LlamaOptions::with_on_unsupported`]: a line to the log (which is
//! the default), an error, or nothing. Parameters of the two calls are those of
//! `create_chat_completion` and `create_completion`, with their defaults; one that neither knows is
//! an error that lists them.
//!
//! [`Model::forward_all`]: crate::Model::forward_all
//! [`SamplerOptions::seed`]: crate::sample::SamplerOptions::seed

mod formats;
mod reply;
mod request;

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ropewalk_core::{Error, ErrorKind, OnUnsupported, Result, StreamEvent};
use ropewalk_gguf::TensorType;
use serde_json::Value;

use self::formats::Format;
use self::reply::Envelope;
use self::request::Call;
use crate::{
    CacheType, Finish, GenerateOptions, Generation, LoadOptions, LocalModel, StopStrings, Timings,
};

pub use self::formats::CHAT_FORMATS;

/// Receives lines of the log.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// Rows of a forward pass, which `n_batch` cannot change.
const BATCH: usize = 512;
/// `n_ctx` unless given.
const CONTEXT: usize = 512;

/// The knobs of `llama_cpp.Llama`.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct LlamaOptions {
    n_ctx: Option<usize>,
    n_threads: Option<NonZeroUsize>,
    n_batch: Option<usize>,
    n_gpu_layers: i32,
    embedding: bool,
    seed: u64,
    chat_format: Option<String>,
    type_k: Option<TensorType>,
    type_v: Option<TensorType>,
    verbose: bool,
    log: Option<Log>,
    on_unsupported: OnUnsupported,
    load: LoadOptions,
}

impl fmt::Debug for LlamaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlamaOptions")
            .field("n_ctx", &self.n_ctx)
            .field("n_threads", &self.n_threads)
            .field("seed", &self.seed)
            .field("chat_format", &self.chat_format)
            .field("verbose", &self.verbose)
            .finish_non_exhaustive()
    }
}

impl LlamaOptions {
    /// Returns the defaults of llama-cpp-python, but quiet and with seed 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the context in tokens; 0 means as long as the model was made for.
    #[must_use]
    pub fn with_n_ctx(mut self, tokens: usize) -> Self {
        self.n_ctx = Some(tokens);
        self
    }

    /// Sets the number of threads; 0 means as many as the process may use.
    #[must_use]
    pub fn with_n_threads(mut self, threads: usize) -> Self {
        self.n_threads = NonZeroUsize::new(threads);
        self
    }

    /// Asks for another number of prompt tokens per pass than 512, which is reported.
    #[must_use]
    pub fn with_n_batch(mut self, tokens: usize) -> Self {
        self.n_batch = Some(tokens);
        self
    }

    /// Asks for layers on a GPU (-1: all). There is none: anything but 0 is reported.
    #[must_use]
    pub fn with_n_gpu_layers(mut self, layers: i32) -> Self {
        self.n_gpu_layers = layers;
        self
    }

    /// Asks for embeddings, which is reported: [`Llama`] generates text.
    #[must_use]
    pub fn with_embedding(mut self, wanted: bool) -> Self {
        self.embedding = wanted;
        self
    }

    /// Sets the seed of calls that give none.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Uses a prompt format by name, one of [`CHAT_FORMATS`], in place of the model's template.
    #[must_use]
    pub fn with_chat_format(mut self, name: impl Into<String>) -> Self {
        self.chat_format = Some(name.into());
        self
    }

    /// Sets the types of cached keys and values: `type_k` and `type_v`.
    #[must_use]
    pub fn with_type_kv(mut self, k: TensorType, v: TensorType) -> Self {
        (self.type_k, self.type_v) = (Some(k), Some(v));
        self
    }

    /// Logs what was loaded and how long each call took.
    #[must_use]
    pub fn with_verbose(mut self, on: bool) -> Self {
        self.verbose = on;
        self
    }

    /// Sets who receives the log; nothing is printed without.
    #[must_use]
    pub fn with_log(mut self, log: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.log = Some(Arc::new(log));
        self
    }

    /// Sets what happens to knobs that cannot be honoured.
    #[must_use]
    pub fn with_on_unsupported(mut self, what: OnUnsupported) -> Self {
        self.on_unsupported = what;
        self
    }

    /// Sets what llama.cpp has no knob for; the knobs above win.
    #[must_use]
    pub fn with_load(mut self, options: LoadOptions) -> Self {
        self.load = options;
        self
    }

    fn say(&self, line: &str) {
        if let Some(log) = &self.log {
            log(line);
        }
    }

    /// Treats a knob that cannot be honoured.
    fn refuse(&self, knob: &str, reason: &str) -> Result<()> {
        let message = format!("{knob}: {reason}");
        match self.on_unsupported {
            OnUnsupported::Error => {
                return Err(Error::new(ErrorKind::Unsupported, message).with_provider("local"));
            }
            OnUnsupported::Ignore => {}
            _ => self.say(&format!("warning: {message}")),
        }
        Ok(())
    }

    fn cache(&self) -> Result<Option<CacheType>> {
        let one = |ty: TensorType| match ty {
            TensorType::F32 => Ok(CacheType::F32),
            TensorType::F16 => Ok(CacheType::F16),
            TensorType::Q8_0 => Ok(CacheType::Q8_0),
            other => Err(Error::from(crate::Error::Option {
                name: "type_k",
                value: other.name().to_owned(),
                allowed: "F32, F16 or Q8_0 for both keys and values",
            })),
        };
        let (Some(k), Some(v)) = (self.type_k, self.type_v) else {
            return Ok(None);
        };
        if k != v {
            return Err(Error::from(crate::Error::Option {
                name: "type_k and type_v",
                value: format!("{k} and {v}"),
                allowed: "one type for both",
            }));
        }
        one(k).map(Some)
    }

    fn check(&self) -> Result<()> {
        if self.n_gpu_layers != 0 {
            self.refuse("n_gpu_layers", "this build computes on the CPU alone")?;
        }
        if self.n_batch.is_some_and(|n| n != BATCH) {
            self.refuse("n_batch", "prompts run in passes of 512 tokens")?;
        }
        if self.embedding {
            self.refuse("embedding", "this model generates text alone")?;
        }
        Ok(())
    }

    fn load_options(&self, longest: usize) -> Result<LoadOptions> {
        let mut options = self.load.clone();
        options.context = Some(match self.n_ctx {
            Some(0) => longest,
            Some(n) => n,
            None => options.context.unwrap_or(CONTEXT.min(longest)),
        });
        options.threads = self.n_threads.or(options.threads);
        options.cache = self.cache()?.unwrap_or(options.cache);
        Ok(options)
    }
}

/// A model behind the interface of `llama_cpp.Llama`.
#[derive(Debug)]
pub struct Llama {
    model: LocalModel,
    options: LlamaOptions,
    format: Option<&'static Format>,
    /// What replies call the model: its path, as there.
    name: String,
    calls: AtomicU64,
}

impl Llama {
    /// Loads a GGUF file or a Hugging Face directory.
    ///
    /// # Errors
    /// As [`LocalModel::open_with`]; [`ErrorKind::Unsupported`] for a knob that cannot be honoured
    /// where [`LlamaOptions::with_on_unsupported`] says so; an unknown `chat_format`.
    pub fn open(path: impl AsRef<Path>, options: LlamaOptions) -> Result<Self> {
        let path = path.as_ref();
        options.check()?;
        let format = options.chat_format.as_deref();
        let format = format.map(formats::find).transpose()?;
        let longest = crate::load::open(path)?.spec.max_positions;
        let load = options.load_options(longest)?;
        let mut model = LocalModel::open_with(path, &load)?;
        if let Some(format) = format {
            model = model.with_template(format.template)?;
        }
        let this = Self {
            model,
            format,
            name: path.display().to_string(),
            calls: AtomicU64::new(0),
            options,
        };
        let inner = this.model.model();
        this.tell(|| {
            format!(
                "loaded {}: n_ctx = {}, n_threads = {}, {}, {} MiB of weights",
                this.name,
                inner.context(),
                inner.threads(),
                inner.isa(),
                inner.weight_bytes() >> 20
            )
        });
        Ok(this)
    }

    /// Returns the model below.
    pub fn model(&self) -> &LocalModel {
        &self.model
    }

    /// Returns the tokens of the context.
    pub fn n_ctx(&self) -> usize {
        self.model.model().context()
    }

    /// Returns the size of the vocabulary.
    pub fn n_vocab(&self) -> usize {
        self.model.model().spec().vocab_size
    }

    /// Returns the ids of a text, behind the beginning-of-text token if the model wants one.
    ///
    /// # Errors
    /// When the text cannot be tokenized.
    pub fn tokenize(&self, text: &str, add_bos: bool) -> Result<Vec<u32>> {
        let ids = self.model.tokenizer().encode(text, add_bos);
        ids.map_err(|e| Error::from_error(ErrorKind::Inference, e).with_provider("local"))
    }

    /// Returns the text of ids, without special tokens.
    ///
    /// # Errors
    /// An id that is not in the vocabulary.
    pub fn detokenize(&self, ids: &[u32]) -> Result<String> {
        let text = self.model.tokenizer().decode(ids, true);
        text.map_err(|e| Error::from_error(ErrorKind::InvalidRequest, e).with_provider("local"))
    }

    /// Answers `{"messages": [...], ...}` with a `chat.completion`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] for a parameter that is unknown or out of range; else as
    /// [`LocalModel::respond`].
    pub fn create_chat_completion(&self, request: &Value) -> Result<Value> {
        self.chat(request, &mut |_| ControlFlow::Continue(()), false)
    }

    /// The same with `chat.completion.chunk`s as they come; `Break` ends the reply. Returns what
    /// [`create_chat_completion`](Self::create_chat_completion) would.
    ///
    /// # Errors
    /// As [`create_chat_completion`](Self::create_chat_completion).
    pub fn create_chat_completion_stream(
        &self,
        request: &Value,
        on_chunk: &mut dyn FnMut(&Value) -> ControlFlow<()>,
    ) -> Result<Value> {
        self.chat(request, on_chunk, true)
    }

    fn chat(
        &self,
        request: &Value,
        on_chunk: &mut dyn FnMut(&Value) -> ControlFlow<()>,
        stream: bool,
    ) -> Result<Value> {
        let mut call = Call::chat(request, &self.options)?;
        call.stop(self.format.into_iter().flat_map(|f| f.stop));
        let envelope = self.envelope("chatcmpl", &call);
        let model = self.model.clone().with_sampler(call.sampler());
        let mut flow = ControlFlow::Continue(());
        if stream {
            flow = on_chunk(&envelope.chat_start());
        }
        let chat = call.into_chat();
        let reply = model.respond(&chat, &mut |event: &StreamEvent| {
            if flow.is_continue()
                && stream
                && let Some(chunk) = envelope.chat_delta(event)
            {
                flow = on_chunk(&chunk);
            }
            flow
        })?;
        if stream && flow.is_continue() {
            // The caller has all there is; whether it wants more does not matter.
            let _ended = on_chunk(&envelope.chat_end(&reply.response));
        }
        for warning in &reply.response.warnings {
            self.options.say(&format!("warning: {warning}"));
        }
        self.timings(&reply.timings);
        Ok(envelope.chat(&reply.response, chat.options.logprobs.is_some()))
    }

    /// Continues `{"prompt": "...", ...}` (a text or a list of ids) with a `text_completion`.
    ///
    /// # Errors
    /// As [`create_chat_completion`](Self::create_chat_completion).
    pub fn create_completion(&self, request: &Value) -> Result<Value> {
        self.completion(request, &mut |_| ControlFlow::Continue(()), false)
    }

    /// The same with chunks as they come; `Break` ends the text. Returns what
    /// [`create_completion`](Self::create_completion) would.
    ///
    /// # Errors
    /// As [`create_chat_completion`](Self::create_chat_completion).
    pub fn create_completion_stream(
        &self,
        request: &Value,
        on_chunk: &mut dyn FnMut(&Value) -> ControlFlow<()>,
    ) -> Result<Value> {
        self.completion(request, on_chunk, true)
    }

    fn completion(
        &self,
        request: &Value,
        on_chunk: &mut dyn FnMut(&Value) -> ControlFlow<()>,
        stream: bool,
    ) -> Result<Value> {
        let call = Call::completion(request, &self.options)?;
        let envelope = self.envelope("cmpl", &call);
        let prompt = match &call.prompt {
            request::Prompt::Text(text) => self.tokenize(text, true)?,
            request::Prompt::Ids(ids) => ids.clone(),
        };
        let options = GenerateOptions {
            max_tokens: call.max_tokens,
            sampler: call.sampler(),
            stop_ids: None,
            logprobs: call.logprobs,
            ..GenerateOptions::default()
        };
        let (model, tokenizer) = (self.model.model(), self.model.tokenizer());
        let mut cache = model.new_cache();
        let mut generation = Generation::new(model, &mut cache, &prompt, &options)?;
        let mut stop = StopStrings::new(call.stops.iter().cloned());
        let mut decoder = tokenizer.decode_stream(true);
        let failed = |e| Error::from_error(ErrorKind::Inference, e).with_provider("local");
        let (mut text, mut tokens) = (String::new(), Vec::new());
        let mut flow = ControlFlow::Continue(());
        let mut show = |piece: &str, text: &mut String| {
            text.push_str(piece);
            if stream && !piece.is_empty() {
                return on_chunk(&envelope.text_delta(piece));
            }
            ControlFlow::Continue(())
        };
        while flow.is_continue() && stop.hit().is_none() {
            let Some(token) = generation.next().transpose()? else {
                break;
            };
            if let Some(piece) = decoder.push(token.id).map_err(failed)? {
                flow = show(&stop.push(&piece), &mut text);
            }
            tokens.push(token);
        }
        if flow.is_continue() && stop.hit().is_none() {
            let rest = stop.push(&decoder.finish()) + &stop.finish();
            flow = show(&rest, &mut text);
        }
        let reason = match generation.finish() {
            _ if stop.hit().is_some() => "stop",
            Some(Finish::MaxTokens | Finish::Context) => "length",
            _ => "stop",
        };
        if stream && flow.is_continue() {
            let _ended = on_chunk(&envelope.text_end(reason));
        }
        self.timings(&generation.timings());
        let before = if call.echo {
            self.detokenize(&prompt)?
        } else {
            String::new()
        };
        let logprobs = call.logprobs.map(|_| {
            let piece = |id: u32| {
                let bytes = tokenizer.decode_bytes(id).unwrap_or_default();
                String::from_utf8_lossy(&bytes).into_owned()
            };
            let start = self.detokenize(&prompt).map_or(0, |t| t.chars().count());
            reply::text_logprobs(&tokens, start, piece)
        });
        let usage = (prompt.len(), tokens.len());
        Ok(envelope.text(&(before + &text), logprobs.as_ref(), reason, usage))
    }

    fn envelope(&self, kind: &str, call: &Call) -> Envelope {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        Envelope {
            id: format!("{kind}-{:x}-{number:x}", now.as_nanos()),
            created: now.as_secs(),
            model: call.model.clone().unwrap_or_else(|| self.name.clone()),
        }
    }

    fn tell(&self, line: impl FnOnce() -> String) {
        if self.options.verbose {
            self.options.say(&line());
        }
    }

    fn timings(&self, t: &Timings) {
        self.tell(|| {
            format!(
                "prompt: {} tokens, {} cached, {:.1} ms, {:.1} tokens/s; generated: {} tokens, {:.1} \
                 ms, {:.1} tokens/s",
                t.prompt_tokens,
                t.cached_tokens,
                1e3 * t.prefill.as_secs_f64(),
                t.prefill_rate(),
                t.generated_tokens,
                1e3 * t.decode.as_secs_f64(),
                t.decode_rate()
            )
        });
    }
}
