//! The calls of one turn: decided, made, answered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use ropewalk_core::{Effect, Error, Message, ToolCall, ToolContext, ToolResult, Trust};

use super::event::AgentEvent;
use super::hooks::BeforeTool;
use super::input::Approvals;
use super::limits::Limit;
use super::run::Run;
use super::state::CallStatus;
use super::{AgentError, Inner};
use crate::safety::Decision;

impl Run {
    /// Applies decisions, and settles what was under way when the run ended before.
    pub(super) async fn decide(&mut self, approvals: &Approvals) -> Result<(), AgentError> {
        let waiting: HashSet<&str> = self.state.waiting().map(|c| c.id.as_str()).collect();
        let mut named = approvals.decisions.keys();
        if let Some(unknown) = named.find(|id| !waiting.contains(id.as_str())) {
            let message = format!("no call {unknown:?} waits for approval");
            return Err(AgentError::Configuration { message });
        }
        for i in 0..self.state.pending.len() {
            let pending = &self.state.pending[i];
            let decision = approvals.decisions.get(&pending.call.id);
            let result = match (&pending.status, decision) {
                (CallStatus::Started, _) => told(
                    &pending.call,
                    "the call was interrupted; it may have taken effect, so look before calling \
                     again",
                ),
                (CallStatus::Asked, Some(Err(reason))) => {
                    told(&pending.call, &format!("the call was denied: {reason}"))
                }
                (CallStatus::Asked, decision) if decision.is_some() || approvals.all => {
                    self.state.pending[i].status = CallStatus::Allowed;
                    continue;
                }
                _ => continue,
            };
            self.settle(i, result).await;
        }
        Ok(())
    }

    /// Notes the result of a call.
    async fn settle(&mut self, i: usize, result: ToolResult) {
        let pending = &mut self.state.pending[i];
        pending.status = CallStatus::Done(result.clone());
        let call = &self.state.pending[i].call;
        let event = || AgentEvent::ToolFinished {
            call: call.clone(),
            result,
        };
        self.tell(event).await;
    }

    /// Makes the pending calls and gives their results to the model. Returns false when some wait
    /// for approval; the others have been made then.
    pub(super) async fn call_tools(&mut self) -> Result<bool, AgentError> {
        if self.state.pending.iter().any(|p| !is_done(&p.status)) {
            self.check_limits()?;
        }
        let taint = self.taint();
        for i in 0..self.state.pending.len() {
            if self.state.pending[i].status == CallStatus::New {
                self.permit(i, taint).await?;
            }
        }
        self.make_allowed().await?;
        if self.state.waiting().next().is_some() {
            return Ok(false);
        }
        let pending = std::mem::take(&mut self.state.pending);
        let handoff = pending.iter().find_map(|p| match &p.status {
            CallStatus::Done(result) if !result.is_error => self.agent.handoff_of(&p.call.name),
            _ => None,
        });
        let handoff = handoff.cloned();
        let results = pending.into_iter().filter_map(|p| match p.status {
            CallStatus::Done(result) => {
                // What came of a call is no more trusted than what made the model ask for it.
                let trust = result.trust.min(taint);
                Some(result.with_trust(trust))
            }
            _ => None,
        });
        self.state.messages.push(Message::tool_results(results));
        if let Some(next) = handoff {
            let (from, to) = (self.state.agent.clone(), next.inner.name.clone());
            self.state.agent.clone_from(&to);
            self.agent = next;
            self.asked = None;
            self.tell(|| AgentEvent::Handoff { from, to }).await;
        }
        Ok(true)
    }

    /// Decides whether a call may be made.
    async fn permit(&mut self, i: usize, taint: Trust) -> Result<(), AgentError> {
        let call = self.state.pending[i].call.clone();
        let agent = Arc::clone(&self.agent.inner);
        let effect = match self.agent.handoff_of(&call.name) {
            Some(_) => Some(Effect::Read),
            None => agent.tools.effect(&call.name),
        };
        // A tool that is not there does no harm, and the model is told which there are.
        let decision = effect.map(|effect| agent.policy.decide(&call, taint, effect));
        let mut asks = match decision {
            Some(Decision::Deny(reason)) => {
                let result = told(&call, &format!("the call was denied: {reason}"));
                self.settle(i, result).await;
                return Ok(());
            }
            Some(Decision::Ask) => true,
            Some(Decision::Allow) | None => false,
        };
        for hooks in &agent.hooks {
            let said = hooks.before_tool(&self.state, &call).await;
            match said.map_err(|e| self.failed(e))? {
                BeforeTool::Proceed => continue,
                BeforeTool::Ask => asks = true,
                BeforeTool::Skip(mut result) => {
                    result.call_id.clone_from(&call.id);
                    // Results of handoffs that are no errors hand over.
                    result.is_error |= self.agent.handoff_of(&call.name).is_some();
                    self.settle(i, result).await;
                    return Ok(());
                }
                BeforeTool::Stop(reason) => {
                    let state = self.snapshot();
                    return Err(AgentError::Stopped { reason, state });
                }
            }
            break;
        }
        if !asks {
            self.state.pending[i].status = CallStatus::Allowed;
        } else if self.root.inner.approvals {
            self.state.pending[i].status = CallStatus::Asked;
        } else {
            let why = match taint {
                Trust::Untrusted => {
                    "the call was denied: the conversation holds text from outside, `TOOL` changes \
                     something, and nobody is there to approve it"
                }
                Trust::Trusted => "the call was denied: `TOOL` needs approval and nobody is there",
            };
            let result = told(&call, &why.replace("TOOL", &call.name));
            self.settle(i, result).await;
        }
        Ok(())
    }

    /// Makes the calls that may be made, some at the same time.
    async fn make_allowed(&mut self) -> Result<(), AgentError> {
        let allowed = self.state.pending.iter().enumerate();
        let allowed = allowed.filter(|(_, p)| p.status == CallStatus::Allowed);
        let mut next: Vec<usize> = allowed.map(|(i, _)| i).collect();
        let made = self.state.tool_calls as usize + next.len();
        if let Some(max) = self
            .root
            .inner
            .limits
            .tool_calls
            .filter(|max| made > *max as usize)
        {
            return Err(self.limit(Limit::ToolCalls(max)));
        }
        let context = self.tool_context();
        let mut handed_over = false;
        let mut running: FuturesUnordered<BoxFuture<'static, (usize, Result<ToolResult, Error>)>> =
            FuturesUnordered::new();
        next.reverse();
        loop {
            while running.len() < self.agent.inner.concurrency {
                let Some(i) = next.pop() else {
                    break;
                };
                let call = self.begin_call(i).await;
                if let Some(other) = self.agent.handoff_of(&call.name) {
                    let text = match std::mem::replace(&mut handed_over, true) {
                        false => ours(&call, format!("{} takes over.", other.inner.name)),
                        true => told(&call, "only one agent can take over"),
                    };
                    self.settle(i, text).await;
                    continue;
                }
                let agent = Arc::clone(&self.agent.inner);
                let context = context.clone();
                let work = async move { (i, call_one(&agent, &call, &context).await) };
                running.push(work.boxed());
            }
            let Some((i, outcome)) = self.in_time(running.next()).await? else {
                return Ok(());
            };
            match outcome {
                Ok(result) => self.finish_call(i, result).await?,
                Err(source) => {
                    // Not to be made again, whatever it did.
                    return Err(AgentError::Tool {
                        source: Box::new(source),
                        state: self.snapshot(),
                    });
                }
            }
        }
    }

    async fn begin_call(&mut self, i: usize) -> ToolCall {
        self.state.tool_calls += 1;
        self.state.pending[i].status = CallStatus::Started;
        let call = self.state.pending[i].call.clone();
        self.tell(|| AgentEvent::ToolStarted(call.clone())).await;
        call
    }

    async fn finish_call(&mut self, i: usize, mut result: ToolResult) -> Result<(), AgentError> {
        let call = self.state.pending[i].call.clone();
        let agent = Arc::clone(&self.agent.inner);
        // Noted first: a hook that fails does not undo the call.
        self.state.pending[i].status = CallStatus::Done(result.clone());
        for hooks in &agent.hooks {
            let seen = hooks.after_tool(&self.state, &call, &mut result).await;
            seen.map_err(|e| self.failed(e))?;
        }
        self.settle(i, result).await;
        Ok(())
    }

    fn tool_context(&self) -> ToolContext {
        let mut extensions = self.extensions.clone();
        extensions.insert(self.as_parent());
        // Turns are counted from 0 there.
        let turn = self.state.turns.saturating_sub(1);
        ToolContext::default()
            .with_run(self.state.run_id.clone(), turn)
            .with_extensions(extensions)
    }
}

fn is_done(status: &CallStatus) -> bool {
    matches!(status, CallStatus::Done(_))
}

async fn call_one(
    agent: &Inner,
    call: &ToolCall,
    context: &ToolContext,
) -> Result<ToolResult, Error> {
    let own: Option<&Duration> = agent.tool_timeouts.get(&call.name);
    let work = agent.tools.answer(call, context);
    let Some(limit) = own.or(agent.tool_timeout.as_ref()) else {
        return work.await;
    };
    match tokio::time::timeout(*limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => Ok(told(
            call,
            &format!("the call was given up after {limit:?}"),
        )),
    }
}

/// An error result in our own words, which may be trusted.
fn told(call: &ToolCall, text: &str) -> ToolResult {
    ours(call, text.to_owned()).as_error()
}

fn ours(call: &ToolCall, text: String) -> ToolResult {
    ToolResult::to(call, text).with_trust(Trust::Trusted)
}
