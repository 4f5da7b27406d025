//! Answers as values.

use ropewalk_core::schemars::JsonSchema;
use ropewalk_core::{ChatModelExt, ChatResponse, ExtractOptions, Message};
use serde::de::DeserializeOwned;

use super::event::RunResult;
use super::input::Input;
use super::limits::{Exhausted, Limit, Meter};
use super::{Agent, AgentError};
use crate::safety::{Stage, moderate};

/// A value and the run it comes from.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Typed<T> {
    /// The value.
    pub value: T,
    /// The run; its usage, cost and turns include the reading of the value.
    pub run: RunResult,
}

impl Agent {
    /// Runs until the model answers, then reads a `T` out of the answer: directly when it is the
    /// JSON of one, else by asking the model for it without tools. Asking counts as turns.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`AgentError::Failed`] with
    /// [`ErrorKind::Schema`](ropewalk_core::ErrorKind::Schema) when no `T` comes.
    pub async fn run_typed<T: DeserializeOwned + JsonSchema + Send>(
        &self,
        input: impl Into<Input>,
    ) -> Result<Typed<T>, AgentError> {
        let mut run = self.run(input).await?;
        if let Ok(value) = serde_json::from_str(run.output.trim()) {
            return Ok(Typed { value, run });
        }
        let left = self.turns_left(&mut run)?;
        let agent = self.find(&run.agent).unwrap_or(self);
        let mut request = agent.plain_request(&run.state);
        let ask = "Give your answer again, in the form asked for.";
        request.messages.push(Message::user(ask));
        let options = ExtractOptions::new().with_retries((left - 1).min(2));
        match agent.inner.model.extract_with::<T>(request, &options).await {
            Ok(extracted) => {
                self.judge_reply(&run, &extracted.response).await?;
                let prices = agent.inner.pricing.as_ref().or(self.inner.pricing.as_ref());
                let (provider, model) = (&extracted.response.provider, &extracted.response.model);
                let cost = prices.and_then(|p| p.cost(provider, model, &extracted.usage));
                run.usage += extracted.usage;
                run.cost = run.cost.zip(cost).map(|(a, b)| a + b);
                run.turns += extracted.attempts;
                Ok(Typed {
                    value: extracted.value,
                    run,
                })
            }
            Err(source) => Err(AgentError::Failed {
                source: Box::new(source),
                state: Box::new(run.state),
            }),
        }
    }

    /// Returns how many more turns a run may take, at least one.
    fn turns_left(&self, run: &mut RunResult) -> Result<u32, AgentError> {
        let limits = self.inner.limits;
        let meter = Meter::new(limits, run.state.spent, run.state.elapsed, None);
        let limit = match (limits.turns.saturating_sub(run.turns), meter.exhausted()) {
            (0, _) => Limit::Turns(limits.turns),
            (_, Some(Exhausted::Limit(limit))) => limit,
            (_, Some(Exhausted::Unmetered(what))) => {
                let state = Box::new(run.state.clone());
                return Err(AgentError::Unmetered { what, state });
            }
            (left, None) => return Ok(left),
        };
        Err(AgentError::Limit {
            limit,
            state: Box::new(run.state.clone()),
        })
    }

    /// The value may say what the answer did not.
    async fn judge_reply(&self, run: &RunResult, reply: &ChatResponse) -> Result<(), AgentError> {
        let Some(model) = &self.inner.moderation else {
            return Ok(());
        };
        let calls = reply.message.tool_calls().map(|c| c.arguments.clone());
        let said = [reply.text()]
            .into_iter()
            .chain(calls)
            .filter(|t| !t.is_empty());
        let state = || Box::new(run.state.clone());
        match moderate(&**model, said).await {
            Ok(None) => Ok(()),
            Ok(Some(moderation)) => Err(AgentError::Flagged {
                stage: Stage::Output,
                moderation: Box::new(moderation),
                state: state(),
            }),
            Err(source) => Err(AgentError::Failed {
                source: Box::new(source),
                state: state(),
            }),
        }
    }
}
