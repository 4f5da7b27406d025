//! Prompts, typed steps, memory and agents over any model of ropewalk.
//!
//! Everything here works on [`ChatModel`](ropewalk_core::ChatModel), so it is the same for an API,
//! a model in this process and a scripted one in a test. This crate makes no network calls of its
//! own; [`JsonlHistory`] and `RedbHistory` write files.
//!
//! ```
//! use ropewalk_agents::{Agent, ChatPrompt, InMemoryHistory, Input, Memory, ModelStep, StepExt};
//! use ropewalk_agents::{Vars, Window, chain};
//! use ropewalk_core::testing::ScriptedModel;
//! use ropewalk_tools::{ToolSet, tool};
//! use serde_json::json;
//!
//! /// Returns the price of a ticket in dollars.
//! #[tool(effect = read)]
//! fn price(city: String) -> String {
//!     format!("{city}: 499")
//! }
//!
//! # futures_executor::block_on(async {
//! // A chain: a prompt, then a model, then its text.
//! let model = ScriptedModel::new().reply("bonjour");
//! let translate = chain(ChatPrompt::new().user("Say {text} in {language}."))
//!     | chain(ModelStep::new(model).text());
//! let vars = Vars::from([("text", "hello"), ("language", "French")]);
//! assert_eq!(translate.call(vars).await?, "bonjour");
//!
//! // An agent: a model that calls tools until it can answer, and remembers.
//! let model = ScriptedModel::new()
//!     .tool_call("price", json!({"city": "Oslo"}))
//!     .reply("A ticket to Oslo is $499.");
//! let agent = Agent::new(model)
//!     .instructions("You sell tickets.")
//!     .tools(ToolSet::new().with(price)?)
//!     .memory(Memory::new(InMemoryHistory::new(), Window::new(20)));
//! let run = agent.run(Input::new("What is a ticket to Oslo?").conversation("ada")).await?;
//! assert_eq!(run.output, "A ticket to Oslo is $499.");
//! assert_eq!((run.turns, run.tool_calls), (2, 1));
//! # Ok::<(), ropewalk_core::Error>(()) }).unwrap();
//! ```
//!
//! # Where to look
//!
//! | for | see |
//! | --- | --- |
//! | templates | [`Prompt`], [`ChatPrompt`], [`Vars`], [`FewShot`] |
//! | text from outside in a prompt | [`Vars::untrusted`], [`Fence`] |
//! | steps and chains | [`Step`], [`StepExt`], [`chain()`], [`step_fn`] |
//! | models as steps | [`ModelStep`], [`ExtractStep`], [`AsText`] |
//! | choosing between steps | [`Router`] |
//! | what goes wrong | [`StepExt::with_fallbacks`], [`StepExt::with_retry`], [`RetryPolicy`] |
//! | what is remembered | [`Memory`]: a [history](ropewalk_core::ChatHistory) and a [`MemoryPolicy`] |
//! | histories | [`InMemoryHistory`], [`JsonlHistory`], `RedbHistory` (feature `redb`) |
//! | policies | [`Buffer`], [`Window`], [`TokenBuffer`], [`Summary`], [`Recall`], [`RetrieverMemory`] |
//! | agents | [`Agent`], [`Limits`], [`Hooks`], [`AgentEvent`], [`RunResult`] |
//! | pausing and going on | [`Agent::approvals`], [`RunState`], [`Agent::resume`], [`Approvals`] |
//! | several agents | [`Agent::handoff`], [`Agent::into_tool`] |
//! | models without tools | [`Agent::react`], [`parse_react`] |
//! | which calls are made | [`ToolPolicy`], [`Gate`] |
//! | judging texts | [`Agent::moderation`], [`ModerationStep`], [`Quarantine`], [`scan`] |
//!
//! # Untrusted text
//!
//! A model cannot tell an instruction from a text that looks like one, so what must not happen is
//! not left to it. Every part of a conversation carries a label
//! ([`Trust`](ropewalk_core::Trust)), every tool says what it may change
//! ([`Effect`](ropewalk_core::Effect)), and the [`Gate`] compares the two before a call is made:
//!
//! | step | what happens |
//! | --- | --- |
//! | a text comes in | results of tools, retrieved passages, [`Vars::untrusted`] and media are untrusted unless marked otherwise |
//! | the model writes | what it writes after it has read something untrusted is untrusted too |
//! | memory trims or retells | labels stay; a [`Summary`] has the least trust of what it retells |
//! | the model asks for a call | a tool that writes, reaches out or pays needs approval if anything untrusted was read |
//! | nobody can approve | the call is denied and the model told |
//!
//! The label is only as good as what tools say of themselves: a tool of [`Effect::Unknown`] passes
//! the gate unless it is [strict](Gate::strict).
//!
//! [`Effect::Unknown`]: ropewalk_core::Effect::Unknown
//!
//! # What a run needs
//!
//! Agents and steps run under any executor. Limits on time, time-outs of tools and [`TokioSleeper`]
//! use the clock of tokio and need its runtime. Dropping a future or stream ends the work.
//!
//! Spans of [`tracing`] follow the OpenTelemetry conventions for generative AI: `invoke_agent`,
//! `turn` for each call of the model, `execute_tool`, and `step` for [named](StepExt::named) steps.
//! What was said is in them only after [`Agent::trace_content`].
//!
//! # Features
//!
//! | feature | default | adds |
//! | --- | --- | --- |
//! | `redb` | no | `RedbHistory`: conversations in an embedded database |
//! | `full` | no | all of the above |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod agent;
mod driven;
mod history;
mod memory;
mod prompt;
mod safety;
mod step;
mod telemetry;
mod trust;
mod vector;

pub use agent::{
    Agent, AgentAction, AgentError, AgentEvent, AgentFinish, AgentStep, AgentStream, AgentTool,
    Approvals, BeforeTool, CallStatus, Hooks, Input, Limit, Limits, OnError, PendingCall,
    ReActError, RunResult, RunState, Spent, Typed, parse_react,
};
#[cfg(feature = "redb")]
pub use history::RedbHistory;
pub use history::{InMemoryHistory, JsonlHistory, TornLine};
pub use memory::{
    Buffer, DynMemoryPolicy, Memory, MemoryPolicy, Recall, RetrieverMemory, Summary, TokenBuffer,
    Turns, Window, repair,
};
pub use prompt::{ChatPrompt, Fence, FewShot, Prompt, PromptError, TypedPrompt, Vars};
pub use safety::{
    AllowAll, Decision, Finding, Gate, Moderated, ModerationStep, Quarantine, ScanHooks, Stage,
    TaintScope, ToolPolicy, moderate, scan,
};
pub use step::{
    AsText, Both, Bound, Chain, Destination, DynStep, ExtractStep, Fallback, FnStep, Map,
    ModelStep, Named, Retry, RetryPolicy, Router, Sleeper, Step, StepContext, StepEvent, StepExt,
    Then, TokioSleeper, chain, step_fn,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
