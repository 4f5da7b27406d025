//! Messages in, messages out.

#[cfg(feature = "constrained")]
mod form;
mod output;
mod prompt;
mod run;
mod source;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures_channel::{mpsc, oneshot};
use ropewalk_core::{
    Capabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, ErrorKind, StreamEvent,
};
use ropewalk_gguf::Gguf;
use ropewalk_tokens::Tokenizer;
use ropewalk_tokens::reasoning::ReasoningTags;
use ropewalk_tokens::template::{ChatTemplate, DateTime, TemplateSupport};
use ropewalk_tokens::tool_calls::ToolCallFormat;

use crate::adapter::ActiveAdapter;
use crate::sample::{LogitsProcessor, SamplerOptions, StageFactory};
use crate::{
    Cache, LoadOptions, Model, PrefixCache, Scheduler, SchedulerOptions, Speculate, Timings, load,
    vocab,
};

/// Name of this provider in responses and errors.
pub const PROVIDER: &str = "local";

/// Contexts of keys and values that are kept for prompts that begin as others did.
const KEPT_CONTEXTS: usize = 2;

/// A model with its tokenizer and chat template: a [`ChatModel`] in this process.
///
/// Cloning is cheap; clones share weights. Requests may run at the same time from any threads:
/// each has its own cache and random numbers, so its reply does not depend on the others. A request
/// without a seed uses that of [`with_sampler`](Self::with_sampler), so equal requests get equal
/// replies. Keys and values of the last requests are kept, as many tokens as two contexts, for prompts
/// that begin like theirs.
///
/// ```no_run
/// use ropewalk_core::ChatRequest;
/// use ropewalk_local::LocalModel;
/// use std::ops::ControlFlow;
///
/// // Without any async runtime:
/// let model = LocalModel::open("model.gguf")?;
/// let reply = model.respond(&ChatRequest::new().user("Hello"), &mut |_| ControlFlow::Continue(()))?;
/// println!("{} ({:.0} tokens/s)", reply.response.text(), reply.timings.decode_rate());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LocalModel {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    model: Arc<Model>,
    tokenizer: Tokenizer,
    template: Option<Arc<Template>>,
    name: String,
    sampler: SamplerOptions,
    stages: Vec<StageFactory>,
    adapters: Vec<ActiveAdapter>,
    tool_calls: Option<ToolCallFormat>,
    now: Option<DateTime>,
    prefixes: Arc<PrefixCache>,
    /// Runs all replies together; without one each runs by itself.
    scheduler: Option<Arc<Scheduler>>,
    speculate: Option<Speculate>,
    #[cfg(feature = "constrained")]
    grammars: Arc<form::Grammars>,
}

/// A chat template and what was found out about it.
#[derive(Debug)]
struct Template {
    chat: ChatTemplate,
    #[cfg(feature = "constrained")]
    source: String,
    support: OnceLock<TemplateSupport>,
    /// How it writes tool calls, and what stands around reasoning.
    tool_calls: Option<ToolCallFormat>,
    reasoning: Option<ReasoningTags>,
}

impl Template {
    fn new(source: &str, context: impl FnOnce() -> String) -> crate::Result<Arc<Self>> {
        let chat = ChatTemplate::new(source).map_err(|e| crate::Error::Tokenizer {
            context: context(),
            source: Box::new(e),
        })?;
        let support = OnceLock::new();
        Ok(Arc::new(Self {
            chat,
            #[cfg(feature = "constrained")]
            source: source.to_owned(),
            support,
            tool_calls: ToolCallFormat::detect(source),
            reasoning: ReasoningTags::detect(source),
        }))
    }

    /// Returns what reaches the prompt; renders small conversations, the first time it is asked.
    fn support(&self) -> &TemplateSupport {
        self.support.get_or_init(|| self.chat.support())
    }

    /// Returns whether a turn can hold one call only: the template refuses or hides the second.
    fn one_call(&self) -> bool {
        let support = self.support();
        support.tool_calls && !support.parallel_tool_calls
    }

    /// Returns whether tools reach the prompt.
    fn shows_tools(&self) -> bool {
        self.support().tools
    }
}

/// What [`LocalModel::respond`] returns.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Reply {
    /// The reply, as any chat model gives it.
    pub response: ChatResponse,
    /// How long its parts took.
    pub timings: Timings,
}

impl LocalModel {
    /// Loads a GGUF file or a Hugging Face directory with default options.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn open(path: impl AsRef<Path>) -> crate::Result<Self> {
        Self::open_with(path, &LoadOptions::default())
    }

    /// Loads a GGUF file or a Hugging Face directory.
    ///
    /// # Errors
    /// As [`Model::open`]; also when there is no tokenizer, or the chat template cannot be read.
    pub fn open_with(path: impl AsRef<Path>, options: &LoadOptions) -> crate::Result<Self> {
        let path = &*options.locate(path.as_ref())?;
        let files = load::open(path)?;
        let tokenizer = match &files.gguf {
            Some(gguf) => vocab::tokenizer(path, gguf)?,
            None => Tokenizer::from_dir(path).map_err(tokenizer_error(path))?,
        };
        Self::assemble(path, files, tokenizer, options)
    }

    /// Loads from a GGUF file that is open already, such as one embedded in the program.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn from_gguf(gguf: Arc<Gguf>, options: &LoadOptions) -> crate::Result<Self> {
        let path = Path::new("embedded GGUF");
        let tokenizer = vocab::tokenizer(path, &gguf)?;
        Self::assemble(path, load::gguf(path, gguf)?, tokenizer, options)
    }

    fn assemble(
        path: &Path,
        files: load::Files,
        tokenizer: Tokenizer,
        options: &LoadOptions,
    ) -> crate::Result<Self> {
        let named = files
            .gguf
            .as_ref()
            .and_then(|g| g.metadata().str("general.name").ok()?);
        let stem = || path.file_stem().map(|s| s.to_string_lossy().into_owned());
        let name = named.map(str::to_owned).or_else(stem).unwrap_or_default();
        let unread = || format!("{}: the chat template cannot be read", path.display());
        let template = tokenizer.chat_template();
        let template = template.map(|t| Template::new(t, unread)).transpose()?;
        let mut model = Model::assemble(path, files, options)?;
        model.add_stop_ids(tokenizer.end_ids().iter().copied());
        let pool = model.pool_of(None);
        let kept = KEPT_CONTEXTS * model.context().div_ceil(pool.page_tokens());
        let prefixes = PrefixCache::new(&pool).with_max_pages(kept);
        Ok(Self {
            inner: Arc::new(Inner {
                model: Arc::new(model),
                tokenizer,
                template,
                name,
                sampler: SamplerOptions::default(),
                stages: Vec::new(),
                adapters: Vec::new(),
                tool_calls: options.tool_calls,
                now: None,
                prefixes: Arc::new(prefixes),
                scheduler: None,
                speculate: None,
                #[cfg(feature = "constrained")]
                grammars: Arc::default(),
            }),
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        let old = &*self.inner;
        let mut inner = Inner {
            model: Arc::clone(&old.model),
            tokenizer: old.tokenizer.clone(),
            template: old.template.clone(),
            name: old.name.clone(),
            sampler: old.sampler.clone(),
            stages: old.stages.clone(),
            adapters: old.adapters.clone(),
            tool_calls: old.tool_calls,
            now: old.now,
            prefixes: Arc::clone(&old.prefixes),
            scheduler: old.scheduler.clone(),
            speculate: old.speculate,
            #[cfg(feature = "constrained")]
            grammars: Arc::clone(&old.grammars),
        };
        change(&mut inner);
        self.inner = Arc::new(inner);
        self
    }

    /// Sets how tokens are chosen where a request does not say.
    #[must_use]
    pub fn with_sampler(self, sampler: SamplerOptions) -> Self {
        self.with(|inner| inner.sampler = sampler)
    }

    /// Adds a stage of one's own to the choice of tokens, as
    /// [`GenerateOptions::with_stage`](crate::GenerateOptions::with_stage) does; every request has it.
    #[must_use]
    pub fn with_stage<S: LogitsProcessor + 'static>(
        self,
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        self.with(|inner| inner.stages.push(StageFactory::new(make)))
    }

    /// Sets the adapters of every request; their parts are added up in order, none means the model as
    /// it is. The result shares weights with `self`, which keeps its own adapters.
    ///
    /// ```no_run
    /// use ropewalk_local::{Adapter, LocalModel};
    ///
    /// let model = LocalModel::open("model.gguf")?;
    /// let pirate = Adapter::open(model.model(), "lora-pirate")?;
    /// let pirate = model.clone().with_adapters([pirate.into()]);
    /// # Ok::<(), ropewalk_local::Error>(())
    /// ```
    #[must_use]
    pub fn with_adapters(self, adapters: impl Into<Vec<ActiveAdapter>>) -> Self {
        let adapters = adapters.into();
        self.with(|inner| inner.adapters = adapters)
    }

    /// Sets the name that responses carry.
    #[must_use]
    pub fn with_name(self, name: impl Into<String>) -> Self {
        self.with(|inner| inner.name = name.into())
    }

    /// Sets the date that chat templates may print; without one they print their default.
    #[must_use]
    pub fn with_date(self, now: DateTime) -> Self {
        self.with(|inner| inner.now = Some(now))
    }

    /// Runs all replies of this model and its clones together: those that come at the same time share the reading of
    /// the weights. Each reply stays what it is alone.
    ///
    /// # Errors
    /// As [`Scheduler::new`].
    pub fn with_scheduler(self, options: &SchedulerOptions) -> crate::Result<Self> {
        let scheduler = Arc::new(Scheduler::new(Arc::clone(&self.inner.model), options)?);
        Ok(self.with(|inner| inner.scheduler = Some(scheduler)))
    }

    /// Guesses tokens ahead in every reply, which pays where replies copy from the conversation; the replies stay the
    /// same.
    #[must_use]
    pub fn with_speculation(self, speculate: Speculate) -> Self {
        self.with(|inner| inner.speculate = Some(speculate))
    }

    /// Sets another chat template.
    ///
    /// # Errors
    /// When the template cannot be read.
    pub fn with_template(self, source: &str) -> crate::Result<Self> {
        let template = Template::new(source, || "the chat template cannot be read".to_owned())?;
        Ok(self.with(|inner| inner.template = Some(template)))
    }

    /// Returns how tool calls are read: as [`LoadOptions::tool_calls`] says, else as the chat template writes them,
    /// else [`ToolCallFormat::Auto`].
    pub fn tool_calls(&self) -> ToolCallFormat {
        self.inner.tool_calls()
    }

    /// Returns the name that responses carry.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns the decoder below.
    pub fn model(&self) -> &Model {
        &self.inner.model
    }

    /// Returns what runs the replies of [`with_scheduler`](Self::with_scheduler), for its statistics and for requests
    /// in token ids.
    pub fn scheduler(&self) -> Option<&Scheduler> {
        self.inner.scheduler.as_deref()
    }

    /// Returns the tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.inner.tokenizer
    }

    /// Returns the prompt that a request becomes.
    ///
    /// Messages are put into the template as they are: the text of a control token in them, such as `<|im_end|>`, acts
    /// as that token. Take such text out of what strangers write.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] with the template's own message where it refuses the
    /// messages; [`ErrorKind::Configuration`] when the model has no chat template.
    pub fn render(&self, request: &ChatRequest) -> ropewalk_core::Result<String> {
        self.inner.render(request)
    }

    /// Answers a request on this thread; `on_event` sees the reply as it comes.
    ///
    /// `Break` ends the reply; what came so far is returned with the finish reason `cancelled`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`], [`ErrorKind::ContextLengthExceeded`],
    /// [`ErrorKind::Unsupported`], [`ErrorKind::Timeout`] or [`ErrorKind::Inference`].
    pub fn respond(
        &self,
        request: &ChatRequest,
        on_event: &mut dyn FnMut(&StreamEvent) -> ControlFlow<()>,
    ) -> ropewalk_core::Result<Reply> {
        self.inner.run(self.inner.prepare(request)?, None, on_event)
    }
}

pub(crate) fn tokenizer_error<E: std::error::Error + Send + Sync + 'static>(
    path: &Path,
) -> impl Fn(E) -> crate::Error + '_ {
    move |e| crate::Error::Tokenizer {
        context: format!("{}: cannot load the tokenizer", path.display()),
        source: Box::new(e),
    }
}

impl Inner {
    fn tool_calls(&self) -> ToolCallFormat {
        let shown = || self.template.as_ref()?.tool_calls;
        self.tool_calls
            .or_else(shown)
            .unwrap_or(ToolCallFormat::Auto)
    }

    fn reasoning(&self) -> Option<ReasoningTags> {
        self.template.as_ref()?.reasoning
    }

    /// Returns a cache with the longest beginning of a prompt that is kept.
    fn take_cache(&self, ids: &[u32]) -> Cache {
        self.prefixes.find(ids, &self.adapters)
    }

    /// Keeps what a request has computed.
    fn put_cache(&self, cache: &Cache) {
        self.prefixes.keep(cache);
    }
}

#[async_trait]
impl ChatModel for LocalModel {
    fn provider(&self) -> &str {
        PROVIDER
    }

    fn model(&self) -> &str {
        &self.inner.name
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::default();
        let template = self.inner.template.as_ref();
        can.tools = template.is_some_and(|t| t.shows_tools());
        can.parallel_tools = can.tools && !template.is_some_and(|t| t.one_call());
        can.reasoning = template.is_some_and(|t| t.reasoning.is_some());
        can.sampling = true;
        can.streaming = true;
        #[cfg(feature = "constrained")]
        {
            let shown = template.map_or("", |t| t.source.as_str());
            let format = self.inner.tool_calls();
            can.json_schema = true;
            can.json_schema_with_tools =
                can.tools && crate::constrain::Calls::told_from_json(format, shown);
        }
        can.context_window = Some(self.inner.model.context() as u64);
        can.max_output = can.context_window;
        can
    }

    async fn chat(&self, request: &ChatRequest) -> ropewalk_core::Result<ChatResponse> {
        self.stream(request).await?.collect().await
    }

    /// Runs generation on a thread of its own; dropping the stream ends it.
    async fn stream(&self, request: &ChatRequest) -> ropewalk_core::Result<ChatStream> {
        let (accepted, outcome) = oneshot::channel();
        let (events, stream) = mpsc::unbounded();
        let (inner, request) = (Arc::clone(&self.inner), request.clone());
        let work = move || {
            let job = match inner.prepare(&request) {
                Ok(job) => job,
                Err(e) => return drop(accepted.send(Err(e))),
            };
            if accepted.send(Ok(())).is_err() {
                return;
            }
            let mut forward = |event: &StreamEvent| match events.unbounded_send(Ok(event.clone())) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            };
            let reader = events.clone();
            let wanted = Box::new(move || !reader.is_closed());
            if let Err(e) = inner.run(job, Some(wanted), &mut forward) {
                // The reader may have gone; then there is nobody to tell.
                drop(events.unbounded_send(Err(e)));
            }
        };
        let gone = |e: std::io::Error| Error::inference(e).with_provider(PROVIDER);
        std::thread::Builder::new()
            .name("ropewalk-local".into())
            .spawn(work)
            .map_err(gone)?;
        outcome.await.map_err(|_| {
            Error::new(ErrorKind::Inference, "the generation thread ended").with_provider(PROVIDER)
        })??;
        Ok(ChatStream::new(stream))
    }

    async fn count_tokens(&self, request: &ChatRequest) -> ropewalk_core::Result<Option<u64>> {
        Ok(Some(
            self.inner.encode(&self.inner.render(request)?)?.len() as u64
        ))
    }
}
