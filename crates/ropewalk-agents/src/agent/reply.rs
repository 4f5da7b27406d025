//! From a reply to the state of a run.

use std::collections::HashSet;

use ropewalk_core::{ChatResponse, Message, Part, Role, ToolCall, Trust};

use super::AgentError;
use super::react::{self, AgentStep};
use super::run::Run;
use super::state::PendingCall;
use crate::safety::TaintScope;
use crate::trust::{least_of, least_trust, text_with_trust};

impl Run {
    /// Makes the reply part of the conversation.
    pub(super) fn take_up(&mut self, mut response: ChatResponse) -> Result<(), AgentError> {
        if self.agent.reacts() && !self.read_react(&mut response) {
            return Ok(());
        }
        distinct_ids(&mut response.message.content);
        self.state.scratch.clear();
        if !self.taint().is_trusted() {
            // What was written under the influence of a text is no more trusted than the text.
            for part in &mut response.message.content {
                if let Part::Text { trust, .. } = part {
                    *trust = Trust::Untrusted;
                }
            }
        }
        let calls: Vec<ToolCall> = response.message.tool_calls().cloned().collect();
        self.state.messages.push(response.message);
        if calls.is_empty() {
            self.state.answered = Some(response.finish_reason);
            return Ok(());
        }
        self.state.pending = calls.into_iter().map(PendingCall::new).collect();
        self.count_repeats()
    }

    /// Turns text into a call or an answer. Returns false when it is neither, which the model is
    /// then told.
    fn read_react(&mut self, response: &mut ChatResponse) -> bool {
        if response.message.tool_calls().next().is_some() {
            return true;
        }
        let text = response.text();
        match react::parse_react(&text) {
            Ok(AgentStep::Finish(finish)) => {
                response.message.content = vec![Part::text(finish.answer)];
                true
            }
            Ok(AgentStep::Action(action)) => {
                let tool = self.agent.inner.tools.get(&action.tool);
                let arguments = react::arguments(&action.input, tool.map(|t| t.spec()));
                let id = format!("react_{}_{}", self.state.turns, self.state.messages.len());
                let call = ToolCall::new(id, action.tool, arguments);
                let thought = Some(action.thought).filter(|t| !t.is_empty());
                let parts = thought.map(Part::text).into_iter();
                response.message.content = parts.chain([Part::ToolCall(call)]).collect();
                true
            }
            Err(error) => {
                let reply = text_with_trust(text, self.taint());
                // An empty reply has nothing to be corrected in.
                if !response.text().trim().is_empty() {
                    self.state.scratch.push(Message::assistant(reply));
                }
                self.state.scratch.push(react::complaint(error));
                false
            }
        }
    }

    /// Returns the least trust of what the model has read.
    pub(super) fn taint(&self) -> Trust {
        if self.state.shown_untrusted {
            return Trust::Untrusted;
        }
        let messages = &self.state.messages;
        let start = match self.agent.inner.taint_scope {
            TaintScope::Context => 0,
            TaintScope::SinceUser => {
                let last = messages.iter().rposition(|m| m.role == Role::User);
                last.unwrap_or(0)
            }
        };
        let read = messages[start..].iter().map(least_trust);
        let instructions = least_of(&self.agent.inner.instructions.0);
        read.min()
            .map_or(instructions, |least| least.min(instructions))
    }

    /// Refuses a call that was made too often.
    fn count_repeats(&mut self) -> Result<(), AgentError> {
        let Some(times) = self.root.inner.repeats else {
            return Ok(());
        };
        for i in 0..self.state.pending.len() {
            let call = &self.state.pending[i].call;
            let tool = call.name.clone();
            let arguments = serde_json::from_str::<serde_json::Value>(&call.arguments);
            let arguments = arguments.map_or_else(|_| call.arguments.clone(), |v| v.to_string());
            let count = self
                .state
                .repeats
                .entry(format!("{tool} {arguments}"))
                .or_default();
            *count += 1;
            if *count > times {
                let state = self.snapshot();
                return Err(AgentError::Repeated { tool, times, state });
            }
        }
        Ok(())
    }
}

/// Gives calls ids of their own, so that an approval of one is not one of another.
fn distinct_ids(parts: &mut [Part]) {
    let mut taken = HashSet::new();
    for part in parts {
        let Part::ToolCall(call) = part else {
            continue;
        };
        let mut number = 1;
        let mut id = call.id.clone();
        while id.is_empty() || !taken.insert(id.clone()) {
            number += 1;
            id = format!("{}_{number}", call.id);
        }
        call.id = id;
    }
}
