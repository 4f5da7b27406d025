//! Handing a conversation over.

use std::sync::Arc;

use ropewalk_core::ToolSpec;
use ropewalk_core::schemars::{self, JsonSchema};

use super::Agent;

/// Arguments of the tool by which a conversation is handed over.
#[derive(JsonSchema)]
struct Transfer {
    /// Why the other agent should take over.
    #[expect(dead_code, reason = "for the model's own use; part of the schema")]
    reason: Option<String>,
}

impl Agent {
    /// Returns the name of the tool that hands over to this agent.
    pub(super) fn transfer_name(&self) -> String {
        format!("transfer_to_{}", self.inner.name)
    }

    pub(super) fn transfer_spec(&self) -> ToolSpec {
        let name = &self.inner.name;
        let description = format!("Hands the conversation over to the agent `{name}`.");
        ToolSpec::of::<Transfer>(self.transfer_name(), description)
    }

    /// Returns the agent that a call of this name hands over to.
    pub(super) fn handoff_of(&self, tool: &str) -> Option<&Self> {
        let name = tool.strip_prefix("transfer_to_")?;
        self.inner.handoffs.iter().find(|a| a.inner.name == name)
    }

    /// Finds an agent of this name among this one and those it hands over to.
    pub(super) fn find(&self, name: &str) -> Option<&Self> {
        if self.inner.name == name {
            return Some(self);
        }
        self.inner.handoffs.iter().find_map(|a| a.find(name))
    }

    /// Says what keeps the agent from running.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_beside(&mut Vec::new())
    }

    fn check_beside<'a>(&'a self, checked: &mut Vec<&'a Self>) -> Result<(), String> {
        let agent = &*self.inner;
        let name = &agent.name;
        match checked.iter().find(|other| other.inner.name == *name) {
            Some(other) if Arc::ptr_eq(&other.inner, &self.inner) => return Ok(()),
            Some(_) => {
                return Err(format!(
                    "two different agents are called `{name}`, so that a state could not tell whose \
                     turn it is; set Agent::name"
                ));
            }
            None => checked.push(self),
        }
        if let Some(problem) = &agent.problem {
            return Err(format!("agent `{name}`: {problem}"));
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if !(1..=52).contains(&name.len()) || !name.bytes().all(allowed) {
            return Err(format!(
                "agent name {name:?} must be 1 to 52 letters, digits, `_` or `-`"
            ));
        }
        if agent.limits.cost.is_some() && agent.pricing.is_none() {
            return Err(format!(
                "agent `{name}` has a limit on cost but no prices; set Agent::pricing"
            ));
        }
        for (i, other) in agent.handoffs.iter().enumerate() {
            let transfer = other.transfer_name();
            let twice = agent.handoffs[..i]
                .iter()
                .any(|a| a.inner.name == other.inner.name);
            if twice || agent.tools.get(&transfer).is_some() {
                return Err(format!("agent `{name}` has two tools called `{transfer}`"));
            }
            other.check_beside(checked)?;
        }
        Ok(())
    }
}
