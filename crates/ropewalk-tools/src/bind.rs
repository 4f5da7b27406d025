//! Models with tools bound to them.

use ropewalk_core::{
    Capabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, Options, Result, ToolChoice,
    ToolSpec, async_trait,
};

use crate::runner::offer;
use crate::set::ToolSet;

/// A model that offers the same tools, and uses the same options, in every request.
///
/// What a request says itself wins: its tools of the same name, its tool choice unless that is
/// `Auto`, and each option it sets.
///
/// ```
/// use ropewalk_core::testing::ScriptedModel;
/// use ropewalk_core::{ChatModelExt, ToolChoice};
/// use ropewalk_tools::{ChatModelTools, ToolSet, tool};
///
/// /// The time of day.
/// #[tool(effect = read)]
/// fn clock() -> String {
///     "12:00".into()
/// }
///
/// # futures_executor::block_on(async {
/// let tools = ToolSet::new().with(clock)?;
/// let model = ScriptedModel::new().reply("noon");
/// let model = model.with_tools(&tools).with_tool_choice(ToolChoice::None);
/// model.ask("What time is it?").await?;
/// let asked = &model.inner().requests()[0];
/// assert_eq!(asked.tools[0].name, "clock");
/// assert_eq!(asked.tool_choice, ToolChoice::None);
/// # Ok::<(), ropewalk_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct WithTools<M> {
    model: M,
    specs: Vec<ToolSpec>,
    choice: ToolChoice,
    options: Options,
}

/// Binds tools to any [`ChatModel`].
pub trait ChatModelTools: ChatModel + Sized {
    /// Returns a model that offers these tools in every request. It does not run them; see
    /// [`ToolRunner`](crate::ToolRunner).
    fn with_tools(self, tools: &ToolSet) -> WithTools<Self> {
        WithTools::new(self, tools)
    }
}

impl<M: ChatModel> ChatModelTools for M {}

impl<M> WithTools<M> {
    /// Binds tools to a model.
    pub fn new(model: M, tools: &ToolSet) -> Self {
        Self {
            model,
            specs: tools.specs(),
            choice: ToolChoice::Auto,
            options: Options::default(),
        }
    }

    /// Sets whether tools may, must or must not be called.
    #[must_use]
    pub fn with_tool_choice(mut self, choice: ToolChoice) -> Self {
        self.choice = choice;
        self
    }

    /// Sets the options of requests that leave them open.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Returns the model itself.
    pub fn inner(&self) -> &M {
        &self.model
    }

    fn bind(&self, request: &ChatRequest) -> ChatRequest {
        let mut request = request.clone();
        offer(&mut request, self.specs.iter());
        if request.tool_choice == ToolChoice::Auto {
            request.tool_choice = self.choice.clone();
        }
        request.options = or_else(request.options, &self.options);
        request
    }
}

/// Fills in the options that are open.
fn or_else(own: Options, other: &Options) -> Options {
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
    } = own;
    Options {
        temperature: temperature.or(other.temperature),
        top_p: top_p.or(other.top_p),
        top_k: top_k.or(other.top_k),
        max_tokens: max_tokens.or(other.max_tokens),
        stop: if stop.is_empty() {
            other.stop.clone()
        } else {
            stop
        },
        seed: seed.or(other.seed),
        frequency_penalty: frequency_penalty.or(other.frequency_penalty),
        presence_penalty: presence_penalty.or(other.presence_penalty),
        logprobs: logprobs.or(other.logprobs),
        reasoning: reasoning.or(other.reasoning),
        parallel_tool_calls: parallel_tool_calls.or(other.parallel_tool_calls),
        cache: cache.or(other.cache),
        cache_key: cache_key.or_else(|| other.cache_key.clone()),
        user: user.or_else(|| other.user.clone()),
    }
}

#[async_trait]
impl<M: ChatModel> ChatModel for WithTools<M> {
    fn provider(&self) -> &str {
        self.model.provider()
    }

    fn model(&self) -> &str {
        self.model.model()
    }

    fn capabilities(&self) -> Capabilities {
        self.model.capabilities()
    }

    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse> {
        self.model.chat(&self.bind(request)).await
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        self.model.stream(&self.bind(request)).await
    }

    async fn count_tokens(&self, request: &ChatRequest) -> Result<Option<u64>> {
        self.model.count_tokens(&self.bind(request)).await
    }
}
