//! Putting an agent together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ropewalk_core::{ChatModel, Content, DynChatModel, ModerationModel, Options, Pricing, Tool};
use ropewalk_tools::ToolSet;

use super::hooks::Hooks;
use super::limits::Limits;
use super::{Agent, Inner};
use crate::memory::Memory;
use crate::safety::{Gate, TaintScope, ToolPolicy};

impl Agent {
    /// Creates an agent named `agent` without instructions and tools.
    pub fn new(model: impl ChatModel + 'static) -> Self {
        let model: DynChatModel = Arc::new(model);
        Self {
            inner: Arc::new(Inner {
                name: "agent".into(),
                model,
                instructions: Content::default(),
                tools: ToolSet::new(),
                handoffs: Vec::new(),
                options: Options::default(),
                limits: Limits::default(),
                concurrency: ToolSet::CONCURRENCY,
                repeats: Some(5),
                tool_timeout: None,
                tool_timeouts: BTreeMap::new(),
                hooks: Vec::new(),
                policy: Arc::new(Gate::new()),
                taint_scope: TaintScope::default(),
                approvals: false,
                memory: None,
                pricing: None,
                moderation: None,
                react: false,
                trace_content: false,
                problem: None,
            }),
        }
    }

    fn set(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.inner));
        self
    }

    /// Sets the name, `[A-Za-z0-9_-]{1,52}`, by which other agents hand over to this one.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        self.set(|a| a.name = name.into())
    }

    /// Sets what the model is told before every conversation.
    #[must_use]
    pub fn instructions(self, instructions: impl Into<Content>) -> Self {
        self.set(|a| a.instructions = instructions.into())
    }

    /// Sets the tools.
    #[must_use]
    pub fn tools(self, tools: ToolSet) -> Self {
        self.set(|a| {
            a.tools = if a.trace_content {
                tools.with_captured_content(true)
            } else {
                tools
            };
        })
    }

    /// Adds a tool. A name that is taken is told when the agent runs.
    #[must_use]
    pub fn tool(self, tool: impl Tool + 'static) -> Self {
        self.set(|a| {
            if let Err(error) = a.tools.add(Arc::new(tool)) {
                a.problem = Some(error.to_string());
            }
        })
    }

    /// Lets the model hand the conversation over to another agent, by a tool
    /// `transfer_to_NAME`. The other agent goes on with its own model, instructions, tools, hooks
    /// and gate, within the limits and the memory of the agent that was run.
    #[must_use]
    pub fn handoff(self, other: Self) -> Self {
        self.set(|a| a.handoffs.push(other))
    }

    /// Sets the options of every request.
    #[must_use]
    pub fn options(self, options: Options) -> Self {
        self.set(|a| a.options = options)
    }

    /// Sets the limits of a run.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        self.set(|a| a.limits = limits)
    }

    /// Sets how many tools run at the same time, 8 unless set, at least 1.
    #[must_use]
    pub fn concurrency(self, tools: usize) -> Self {
        self.set(|a| a.concurrency = tools.max(1))
    }

    /// Sets how often the same tool may be called with the same arguments in a run, 5 unless set;
    /// `None` for any number.
    #[must_use]
    pub fn repeats(self, times: Option<u32>) -> Self {
        self.set(|a| a.repeats = times)
    }

    /// Sets how long a tool may take; the model is told when it took longer. Needs the runtime of
    /// tokio.
    #[must_use]
    pub fn tool_timeout(self, limit: Duration) -> Self {
        self.set(|a| a.tool_timeout = Some(limit))
    }

    /// Sets how long the tool of this name may take.
    #[must_use]
    pub fn tool_timeout_of(self, tool: impl Into<String>, limit: Duration) -> Self {
        self.set(|a| {
            a.tool_timeouts.insert(tool.into(), limit);
        })
    }

    /// Adds hooks; several are asked in the order in which they were added.
    #[must_use]
    pub fn hooks(self, hooks: impl Hooks + 'static) -> Self {
        self.set(|a| a.hooks.push(Arc::new(hooks)))
    }

    /// Sets who decides which calls are made, [`Gate`] unless set.
    #[must_use]
    pub fn policy(self, policy: impl ToolPolicy + 'static) -> Self {
        self.set(|a| a.policy = Arc::new(policy))
    }

    /// Sets how much of the conversation taints a call, all of it unless set.
    #[must_use]
    pub fn taint_scope(self, scope: TaintScope) -> Self {
        self.set(|a| a.taint_scope = scope)
    }

    /// Says whether somebody is there who approves calls. If so, a call that needs approval pauses
    /// the run; if not, which is the default, the model is told that it was denied.
    #[must_use]
    pub fn approvals(self, somebody: bool) -> Self {
        self.set(|a| a.approvals = somebody)
    }

    /// Sets the memory. Runs with a [conversation](super::Input::conversation()) are shown what it holds and appended
    /// to it at their end, all or nothing; runs without one remember nothing.
    #[must_use]
    pub fn memory(self, memory: Memory) -> Self {
        self.set(|a| a.memory = Some(memory))
    }

    /// Sets the prices of models, for [`RunResult::cost`](super::RunResult::cost) and
    /// [`Limits::cost`].
    #[must_use]
    pub fn pricing(self, pricing: impl Pricing + 'static) -> Self {
        self.set(|a| a.pricing = Some(Arc::new(pricing)))
    }

    /// Has the input judged before the first call of the model and the answer before it is
    /// returned; the stream may have told pieces of an answer that is held back in the end.
    #[must_use]
    pub fn moderation(self, model: impl ModerationModel + 'static) -> Self {
        self.set(|a| a.moderation = Some(Arc::new(model)))
    }

    /// Describes the tools in the prompt and reads calls from the text (ReAct, Yao et al. 2023).
    /// Models that say of themselves that they call no tools get this anyway.
    #[must_use]
    pub fn react(self, always: bool) -> Self {
        self.set(|a| a.react = always)
    }

    /// Sets whether traces hold what was said. Off unless set, as it may be private.
    #[must_use]
    pub fn trace_content(self, content: bool) -> Self {
        self.set(|a| {
            a.trace_content = content;
            a.tools = std::mem::take(&mut a.tools).with_captured_content(content);
        })
    }
}
