//! The loop.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use ropewalk_core::{
    ChatRequest, ChatResponse, Error, Extensions, FinishReason, Message, Part, StreamEvent,
};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::event::{AgentEvent, RunResult};
use super::hooks::OnError;
use super::input::{Approvals, Input};
use super::limits::{Exhausted, Limit, Meter};
use super::nested::Parent;
use super::state::RunState;
use super::{Agent, AgentError, AgentStream};
use crate::driven::{Sink, driven};
use crate::safety::{Stage, moderate};
use crate::telemetry;
use crate::trust::untrusted_parts;

/// A run under way.
pub(super) struct Run {
    /// The agent that was run; its limits, memory and moderation count.
    pub(super) root: Agent,
    /// The agent whose turn it is.
    pub(super) agent: Agent,
    pub(super) state: RunState,
    pub(super) meter: Arc<Meter>,
    pub(super) extensions: Extensions,
    sink: Sink<AgentEvent>,
    observed: bool,
    pub(super) asked: Option<Asked>,
    parent: Option<Parent>,
    span: Span,
    begun: Instant,
    /// Of the state, when this part of the run began.
    elapsed: std::time::Duration,
}

/// The last request, kept so that a long conversation is not copied anew for each turn. Only of
/// agents without hooks, which may change a request for one call.
pub(super) struct Asked {
    request: ChatRequest,
    /// How many messages of the state are in it.
    seen: usize,
}

/// Begins a run. Nobody reads the events of one that is not `observed`, but for the last.
pub(super) fn start(agent: Agent, input: Input, observed: bool) -> AgentStream {
    stream(move |sink| async move {
        agent.check().map_err(configuration)?;
        let run_id = input.run_id.unwrap_or_else(random_id);
        let mut state = RunState::new(run_id, agent.inner.name.clone());
        state.conversation = input.conversation;
        state.messages = input.messages;
        state.opening = true;
        let mut run = Run::new(&agent, &agent, state, input.extensions, input.parent, sink);
        run.observed = observed;
        run.check_memory()?;
        let span = run.span.clone();
        let work = async {
            let begun = run.begin().await;
            run.finish(begun).await
        };
        work.instrument(span).await
    })
}

/// Goes on with a run, as [`start`].
pub(super) fn resume(
    root: Agent,
    state: RunState,
    approvals: Approvals,
    observed: bool,
) -> AgentStream {
    stream(move |sink| async move {
        root.check().map_err(configuration)?;
        let Some(agent) = root.find(&state.agent) else {
            let (wanted, name) = (&state.agent, &root.inner.name);
            let message =
                format!("the state belongs to agent `{wanted}`, which `{name}` does not know");
            return Err(configuration(message));
        };
        let mut run = Run::new(
            &root,
            agent,
            state,
            approvals.extensions.clone(),
            None,
            sink,
        );
        run.observed = observed;
        run.check_memory()?;
        let span = run.span.clone();
        let work = async {
            let begun = match run.decide(&approvals).await {
                Ok(()) => run.begin().await,
                wrong => wrong,
            };
            run.finish(begun).await
        };
        work.instrument(span).await
    })
}

fn stream<F, Fut>(work: F) -> AgentStream
where
    F: FnOnce(Sink<AgentEvent>) -> Fut,
    Fut: Future<Output = Result<(), AgentError>> + Send + 'static,
{
    AgentStream(driven(move |sink| work(sink).boxed()))
}

fn configuration(message: String) -> AgentError {
    AgentError::Configuration { message }
}

fn random_id() -> String {
    // The only use of this randomness is that two runs do not share a name.
    format!("run_{:016x}", RandomState::new().build_hasher().finish())
}

impl Run {
    fn new(
        root: &Agent,
        agent: &Agent,
        state: RunState,
        extensions: Extensions,
        parent: Option<Parent>,
        sink: Sink<AgentEvent>,
    ) -> Self {
        let above = parent.as_ref().map(|p| Arc::clone(&p.meter));
        let limits = root.inner.limits;
        Self {
            root: root.clone(),
            agent: agent.clone(),
            meter: Arc::new(Meter::new(limits, state.spent, state.elapsed, above)),
            elapsed: state.elapsed,
            span: telemetry::invoke_agent(&agent.inner.name, &*agent.inner.model, &state),
            state,
            extensions,
            sink,
            observed: true,
            asked: None,
            parent,
            begun: Instant::now(),
        }
    }

    /// Returns a copy of the state with what was spent until now.
    pub(super) fn snapshot(&mut self) -> Box<RunState> {
        self.state.spent = self.meter.spent();
        self.state.elapsed = self.elapsed + self.begun.elapsed();
        Box::new(self.state.clone())
    }

    /// Tells what happened, if somebody listens.
    pub(super) async fn tell(&self, event: impl FnOnce() -> AgentEvent) {
        if self.observed {
            self.sink.send(event()).await;
        }
    }

    pub(super) fn failed(&mut self, source: Error) -> AgentError {
        AgentError::Failed {
            source: Box::new(source),
            state: self.snapshot(),
        }
    }

    pub(super) fn limit(&mut self, limit: Limit) -> AgentError {
        AgentError::Limit {
            limit,
            state: self.snapshot(),
        }
    }

    /// Refuses a conversation that could not be remembered.
    fn check_memory(&self) -> Result<(), AgentError> {
        match (&self.state.conversation, &self.root.inner.memory) {
            (Some(conversation), None) => {
                let name = &self.root.inner.name;
                Err(configuration(format!(
                    "agent `{name}` has no memory to keep {conversation:?}; set Agent::memory"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Takes up memory and has the input judged, unless that was done before.
    async fn begin(&mut self) -> Result<(), AgentError> {
        if !self.state.opening {
            return Ok(());
        }
        let root = Arc::clone(&self.root.inner);
        let input = self.state.said().to_vec();
        if let (Some(memory), Some(conversation)) = (&root.memory, self.state.conversation.clone())
        {
            let query: Vec<String> = input.iter().map(Message::text).collect();
            let loaded = memory.load(&conversation, &query.join("\n")).await;
            let loaded = loaded.map_err(|e| self.memory_failed(e))?;
            self.state.remembered = loaded.len();
            self.state.messages = loaded;
            self.state.messages.extend_from_slice(&input);
        }
        let said: Vec<Part> = input
            .into_iter()
            .flat_map(|m| m.content)
            .filter(|p| !matches!(p, Part::ToolCall(_) | Part::ToolResult(_)))
            .collect();
        self.judge(Stage::Input, said).await?;
        self.state.opening = false;
        Ok(())
    }

    fn memory_failed(&mut self, source: Error) -> AgentError {
        AgentError::Memory {
            source: Box::new(source),
            state: self.snapshot(),
        }
    }

    async fn judge(&mut self, stage: Stage, said: Vec<Part>) -> Result<(), AgentError> {
        let Some(model) = self.root.inner.moderation.clone() else {
            return Ok(());
        };
        match moderate(&*model, said).await {
            Err(error) => Err(self.failed(error)),
            Ok(None) => Ok(()),
            Ok(Some(moderation)) => Err(AgentError::Flagged {
                stage,
                moderation: Box::new(moderation),
                state: self.snapshot(),
            }),
        }
    }

    /// Runs to the end, after what came before it.
    async fn finish(&mut self, before: Result<(), AgentError>) -> Result<(), AgentError> {
        let end = match before {
            Ok(()) => self.until_answer().boxed().await,
            Err(error) => Err(error),
        };
        let spent = self.meter.spent();
        telemetry::finish(&self.span, &spent, end.as_ref().err());
        if self.root.inner.trace_content {
            telemetry::content(&self.span, &self.state);
        }
        if let Some(last) = end? {
            self.sink.send(last).await;
        }
        Ok(())
    }

    /// Calls model and tools in turn; returns the last event.
    async fn until_answer(&mut self) -> Result<Option<AgentEvent>, AgentError> {
        loop {
            if let Some(reason) = self.state.answered.clone() {
                return self.answer(reason).await.map(Some);
            }
            if !self.state.pending.is_empty() && !self.call_tools().await? {
                return Ok(Some(AgentEvent::NeedsApproval(self.snapshot())));
            }
            self.turn().await?;
        }
    }

    /// Returns an error when nothing may be begun.
    pub(super) fn check_limits(&mut self) -> Result<(), AgentError> {
        let turns = self.root.inner.limits.turns;
        if self.state.turns >= turns {
            return Err(self.limit(Limit::Turns(turns)));
        }
        match self.meter.exhausted() {
            None => Ok(()),
            Some(Exhausted::Limit(limit)) => Err(self.limit(limit)),
            Some(Exhausted::Unmetered(what)) => Err(AgentError::Unmetered {
                what,
                state: self.snapshot(),
            }),
        }
    }

    /// Waits for something until the deadline.
    pub(super) async fn in_time<F: Future>(&mut self, work: F) -> Result<F::Output, AgentError> {
        let Some(deadline) = self.meter.deadline() else {
            return Ok(work.await);
        };
        match tokio::time::timeout_at(deadline, work).await {
            Ok(output) => Ok(output),
            Err(_) => {
                let limit = self.meter.time_limit();
                Err(self.limit(limit))
            }
        }
    }

    /// Calls the model once.
    async fn turn(&mut self) -> Result<(), AgentError> {
        self.check_limits()?;
        let agent = Arc::clone(&self.agent.inner);
        let mut request = self.request();
        if !agent.hooks.is_empty() {
            let before = untrusted_parts(&request.messages);
            for hooks in &agent.hooks {
                let seen = hooks.before_model(&self.state, &mut request).await;
                seen.map_err(|e| self.failed(e))?;
            }
            // The conversation does not hold what is for this call only.
            self.state.shown_untrusted |= untrusted_parts(&request.messages) > before;
        }
        self.state.turns += 1;
        let turn = self.state.turns;
        let span = telemetry::turn(&agent.name, &*agent.model, turn);
        let name = || agent.name.clone();
        let event = || AgentEvent::Turn {
            agent: name(),
            turn,
        };
        self.tell(event).await;
        let asked = self.ask(&request).instrument(span.clone()).await?;
        if agent.hooks.is_empty() && !self.agent.reacts() {
            let seen = self.state.messages.len();
            self.asked = Some(Asked { request, seen });
        }
        let mut response = match asked {
            Ok(response) => response,
            Err(error) => {
                telemetry::turn_failed(&span, &error);
                if let Some(partial) = error.partial() {
                    self.account(partial);
                }
                for hooks in &agent.hooks {
                    if hooks.on_error(&self.state, &error).await == OnError::Retry {
                        tracing::debug!(%error, "calling the model again");
                        return Ok(());
                    }
                }
                return Err(self.failed(error));
            }
        };
        telemetry::turn_done(&span, &response);
        self.account(&response);
        for hooks in &agent.hooks {
            let seen = hooks.after_model(&self.state, &mut response).await;
            seen.map_err(|e| self.failed(e))?;
        }
        self.take_up(response)
    }

    /// Returns the next request: the last one and what was said since, if it can be had.
    fn request(&mut self) -> ChatRequest {
        let Some(Asked { mut request, seen }) = self.asked.take() else {
            return self.agent.request(&self.state);
        };
        let since = &self.state.messages[seen..];
        request.messages.extend_from_slice(since);
        request
    }

    /// Adds up what a reply took.
    fn account(&self, response: &ChatResponse) {
        let own = self.agent.inner.pricing.as_ref();
        let outer = || self.parent.as_ref()?.pricing.as_ref();
        let prices = own.or(self.root.inner.pricing.as_ref()).or_else(outer);
        let cost = prices.and_then(|prices| prices.cost_of(response));
        self.meter.add(&response.usage, cost);
    }

    /// Streams the reply of the model; the outer error is a limit.
    async fn ask(
        &mut self,
        request: &ChatRequest,
    ) -> Result<Result<ChatResponse, Error>, AgentError> {
        let model = Arc::clone(&self.agent.inner.model);
        let mut events = match self.in_time(model.stream(request)).await? {
            Ok(events) => events,
            Err(error) => return Ok(Err(error)),
        };
        let mut response = None;
        while let Some(event) = self.in_time(events.next()).await? {
            match event {
                Ok(StreamEvent::Finished(whole)) => {
                    let event = || AgentEvent::Model(StreamEvent::Finished(whole.clone()));
                    self.tell(event).await;
                    response = Some(*whole);
                }
                Ok(event) => self.tell(|| AgentEvent::Model(event)).await,
                Err(error) => return Ok(Err(error)),
            }
        }
        let cut = || Error::new(ropewalk_core::ErrorKind::Truncated, "the reply did not end");
        Ok(response.ok_or_else(cut))
    }

    /// Ends the run with the last message.
    async fn answer(&mut self, finish_reason: FinishReason) -> Result<AgentEvent, AgentError> {
        let answer = self.state.messages.last();
        let output = answer.map(Message::text).unwrap_or_default();
        let said = answer.into_iter().flat_map(|m| &m.content);
        let said = said.filter(|p| p.as_text().is_some()).cloned().collect();
        self.judge(Stage::Output, said).await?;
        let mut state = *self.snapshot();
        state.answered = None;
        let result = RunResult {
            output,
            messages: state.said().to_vec(),
            finish_reason,
            usage: state.spent.usage,
            cost: state.spent.known_cost(),
            turns: state.turns,
            tool_calls: state.tool_calls,
            agent: state.agent.clone(),
            state,
        };
        let agent = Arc::clone(&self.agent.inner);
        for hooks in &agent.hooks {
            let seen = hooks.on_done(&self.state, &result).await;
            seen.map_err(|e| self.failed(e))?;
        }
        let memory = self.root.inner.memory.clone();
        if let (Some(memory), Some(id)) = (memory, self.state.conversation.clone()) {
            let kept = memory.append(&id, &result.messages).await;
            kept.map_err(|e| self.memory_failed(e))?;
        }
        Ok(AgentEvent::Done(Box::new(result)))
    }
}

impl Run {
    /// Returns what a run inside of this one must know.
    pub(super) fn as_parent(&self) -> Parent {
        let inherited = self.parent.as_ref().and_then(|p| p.pricing.clone());
        Parent {
            meter: Arc::clone(&self.meter),
            pricing: self.root.inner.pricing.clone().or(inherited),
            taint: self.taint(),
        }
    }
}
