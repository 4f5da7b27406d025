//! From the state of a run to a request.

use ropewalk_core::{ChatRequest, Message};

use super::Agent;
use super::react;
use super::state::RunState;

impl Agent {
    /// Returns whether tools are described in the prompt rather than offered to the model.
    pub(super) fn reacts(&self) -> bool {
        let agent = &*self.inner;
        let has_tools = !agent.tools.is_empty() || !agent.handoffs.is_empty();
        has_tools && (agent.react || !agent.model.capabilities().tools)
    }

    /// Makes a request of the conversation without tools.
    pub(super) fn plain_request(&self, state: &RunState) -> ChatRequest {
        let agent = &*self.inner;
        let mut request = ChatRequest::new().options(agent.options.clone());
        if !agent.instructions.0.is_empty() {
            let instructions = Message::system(agent.instructions.clone());
            request.messages.push(instructions);
        }
        if self.reacts() {
            request
                .messages
                .extend(state.messages.iter().map(react::as_text));
        } else {
            request.messages.extend_from_slice(&state.messages);
        }
        request
    }

    /// Makes the request of the next call of the model.
    pub(super) fn request(&self, state: &RunState) -> ChatRequest {
        let agent = &*self.inner;
        let mut specs = agent.tools.specs();
        specs.extend(agent.handoffs.iter().map(Self::transfer_spec));
        if !self.reacts() {
            return self.plain_request(state).tools(specs);
        }
        let mut request = ChatRequest::new().options(agent.options.clone());
        request.options.stop.push(react::STOP.into());
        let rules = react::instructions(&agent.instructions, &specs);
        request.messages.push(Message::system(rules));
        let said = state.messages.iter().chain(&state.scratch);
        request.messages.extend(said.map(react::as_text));
        request
    }
}
