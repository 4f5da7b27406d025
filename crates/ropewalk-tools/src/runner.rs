//! The plain loop of a model and its tools.

use ropewalk_core::{
    ChatModel, ChatRequest, ChatResponse, Error, ErrorKind, Message, Result, ToolCall, ToolChoice,
    ToolContext, Usage,
};

use crate::set::ToolSet;

/// Asks a model, runs the tools it calls, and asks again, until it answers.
///
/// Each turn appends the message of the model and, right after it, one message with the results in
/// the order of the calls. What the model can mend (arguments that do not parse, a tool that is not
/// there or fails) goes back to it as an error result. A tool choice that demands a call holds for
/// the first turn only, since it would otherwise demand calls for ever.
///
/// Every call the model asks for is made, whatever it has read: with tools that change something,
/// and results or prompts that hold text from outside, use an agent of the crate `ropewalk-agents`,
/// whose gate looks at both, and which has limits on cost and time, hooks, approval and handoff.
///
/// ```
/// use ropewalk_core::testing::ScriptedModel;
/// use ropewalk_tools::{ToolRunner, ToolSet, tool};
/// use serde_json::json;
///
/// /// Price of a ticket.
/// #[tool(effect = read)]
/// fn price(city: String) -> String {
///     format!("${}99 to {city}", city.len())
/// }
///
/// let model = ScriptedModel::new().tool_call("price", json!({"city": "Oslo"})).reply("It is $499.");
/// # futures_executor::block_on(async {
/// let tools = ToolSet::new().with(price)?;
/// let run = ToolRunner::new(tools).run(&model, "What is a ticket to Oslo?").await?;
/// assert_eq!(run.response.text(), "It is $499.");
/// assert_eq!(run.turns, 2);
/// assert_eq!(run.messages[2].results().next().unwrap().text(), "$499 to Oslo");
/// # Ok::<(), ropewalk_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct ToolRunner {
    tools: ToolSet,
    max_turns: u32,
    concurrency: usize,
    context: ToolContext,
}

/// How a run of [`ToolRunner`] ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ToolRun {
    /// The answer: the last reply of the model.
    pub response: ChatResponse,
    /// The whole conversation, from the request's first message to the answer.
    pub messages: Vec<Message>,
    /// Tokens of all turns together.
    pub usage: Usage,
    /// How many times the model was asked.
    pub turns: u32,
}

impl ToolRunner {
    /// Creates a runner that asks the model at most 10 times and runs at most
    /// [`ToolSet::CONCURRENCY`] tools at once.
    #[must_use]
    pub fn new(tools: ToolSet) -> Self {
        Self {
            tools,
            max_turns: 10,
            concurrency: ToolSet::CONCURRENCY,
            context: ToolContext::default(),
        }
    }

    /// Sets how many times the model is asked at most.
    #[must_use]
    pub fn with_max_turns(mut self, turns: u32) -> Self {
        self.max_turns = turns;
        self
    }

    /// Sets how many tools run at once, at least 1.
    #[must_use]
    pub fn with_concurrency(mut self, calls: usize) -> Self {
        self.concurrency = calls;
        self
    }

    /// Sets what the tools get to see: the id of the run and its values. The ids of calls and the
    /// numbers of turns are filled in.
    #[must_use]
    pub fn with_context(mut self, context: ToolContext) -> Self {
        self.context = context;
        self
    }

    /// Runs until the model answers without calling a tool. The tools are added to those of the
    /// request, which can only be answered by the tools of this runner.
    ///
    /// # Errors
    /// [`ErrorKind::MaxTurns`] with the last reply in [`Error::partial`] when the model still calls
    /// tools; [`ErrorKind::Tool`] when a tool ends the run; whatever keeps the model from answering.
    pub async fn run<M: ChatModel + ?Sized>(
        &self,
        model: &M,
        request: impl Into<ChatRequest> + Send,
    ) -> Result<ToolRun> {
        let mut request = request.into();
        offer(&mut request, self.tools.iter().map(|t| t.spec()));
        let mut usage = Usage::default();
        let mut context = self.context.clone();
        for turn in 0..self.max_turns {
            let response = model.chat(&request).await?;
            usage += response.usage;
            let calls = match Route::of(&response) {
                Route::Tools(calls) => calls,
                Route::Finish(_) => {
                    let mut messages = request.messages;
                    messages.push(response.message.clone());
                    let turns = turn + 1;
                    return Ok(ToolRun {
                        response,
                        messages,
                        usage,
                        turns,
                    });
                }
            };
            if turn + 1 == self.max_turns {
                return Err(still_calling(response, self.max_turns));
            }
            context.turn = turn;
            let results = self
                .tools
                .call_all(&calls, &context, self.concurrency)
                .await?;
            request = request
                .message(response.message)
                .message(Message::tool_results(results));
            if matches!(
                request.tool_choice,
                ToolChoice::Required | ToolChoice::Tool(_)
            ) {
                request.tool_choice = ToolChoice::Auto;
            }
        }
        let message = "max_turns is 0: the model may not be asked; raise it";
        Err(Error::new(ErrorKind::MaxTurns, message))
    }
}

fn still_calling(response: ChatResponse, limit: u32) -> Error {
    let names: Vec<&str> = response
        .message
        .tool_calls()
        .map(|c| c.name.as_str())
        .collect();
    let message = format!(
        "the model was asked {limit} times (max_turns) and still calls {}; raise max_turns, or \
         look at why the results do not satisfy it",
        names.join(", ")
    );
    Error::new(ErrorKind::MaxTurns, message)
        .with_provider(response.provider.clone())
        .with_partial(response)
}

/// Adds the specs whose names the request does not have.
pub(crate) fn offer<'a>(
    request: &mut ChatRequest,
    specs: impl Iterator<Item = &'a ropewalk_core::ToolSpec>,
) {
    for spec in specs {
        if request.tools.iter().all(|t| t.name != spec.name) {
            request.tools.push(spec.clone());
        }
    }
}

/// Where a reply leads: to tools or to the end.
///
/// ```
/// use ropewalk_core::{ChatResponse, Message, ToolCall};
/// use ropewalk_tools::Route;
///
/// let call = ToolCall::new("call_1", "search", "{}");
/// let reply = ChatResponse::new("p", "m", Message::assistant(vec![call.clone().into()]));
/// assert_eq!(Route::of(&reply), Route::Tools(vec![call]));
/// let reply = ChatResponse::new("p", "m", Message::assistant("42"));
/// assert_eq!(Route::of(&reply), Route::Finish(&reply));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Route<'a> {
    /// The model wants these tools called, in this order.
    Tools(Vec<ToolCall>),
    /// The model is done: this is its answer.
    Finish(&'a ChatResponse),
}

impl<'a> Route<'a> {
    /// Returns where `response` leads.
    #[must_use]
    pub fn of(response: &'a ChatResponse) -> Self {
        let calls: Vec<ToolCall> = response.message.tool_calls().cloned().collect();
        if calls.is_empty() {
            Self::Finish(response)
        } else {
            Self::Tools(calls)
        }
    }
}
