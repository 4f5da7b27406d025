//! A policy that retells what is old.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ropewalk_core::{
    ChatModel, ChatRequest, DynChatModel, Error, ErrorKind, Message, Part, Result, Role,
    TokenCounter, Trust,
};

use super::policy::{MemoryPolicy, TokenBuffer};
use super::turns::Turns;
use crate::prompt::Fence;
use crate::trust::{least_trust, text_with_trust};

/// Shows the last turns as they are and what was before them as a summary that a model writes.
///
/// A summary is kept and continued: each turn is summarised once. It is shown as a message of the
/// user after the instructions, and is marked untrusted when something it retells was, so that
/// retelling does not wash off where a text came from.
#[derive(Clone)]
pub struct Summary {
    model: DynChatModel,
    keep: Keep,
    kept: Arc<Mutex<HashMap<String, Retold>>>,
}

#[derive(Clone)]
enum Keep {
    Turns(usize),
    Tokens(TokenBuffer),
}

/// The summary of the first turns of a conversation.
#[derive(Clone)]
struct Retold {
    turns: usize,
    /// Of these turns, to notice a conversation that was changed.
    hash: u64,
    text: String,
    trust: Trust,
}

impl Summary {
    /// Creates a policy that shows the last two turns as they are.
    pub fn new(model: impl ChatModel + 'static) -> Self {
        Self {
            model: Arc::new(model),
            keep: Keep::Turns(2),
            kept: Arc::default(),
        }
    }

    /// Sets how many of the last turns are shown as they are.
    #[must_use]
    pub fn keep_turns(mut self, turns: usize) -> Self {
        self.keep = Keep::Turns(turns);
        self
    }

    /// Shows as they are the last turns that have at most so many tokens, as [`TokenBuffer`] does;
    /// the summary is not counted.
    #[must_use]
    pub fn keep_tokens(mut self, max: usize, counter: impl TokenCounter + 'static) -> Self {
        self.keep = Keep::Tokens(TokenBuffer::new(max, counter));
        self
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Retold>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn retell(&self, conversation: &str, old: &[Vec<Message>]) -> Result<Retold> {
        let known = self.kept().get(conversation).cloned();
        let known = known.filter(|r| r.turns <= old.len() && r.hash == hash(&old[..r.turns]));
        let start = known.as_ref().map_or(0, |r| r.turns);
        if let Some(retold) = known.as_ref().filter(|_| start == old.len()) {
            return Ok(retold.clone());
        }
        let new: Vec<&Message> = old[start..].iter().flatten().collect();
        let least = new.iter().map(|m| least_trust(m)).min();
        let least = least.unwrap_or(Trust::Trusted);
        let trust = known.as_ref().map_or(least, |r| r.trust.min(least));
        let before = known.map(|r| r.text).unwrap_or_default();
        let text = self.ask(&before, &transcript(&new)).await?;
        let retold = Retold {
            turns: old.len(),
            hash: hash(old),
            text,
            trust,
        };
        self.kept().insert(conversation.to_owned(), retold.clone());
        Ok(retold)
    }

    async fn ask(&self, before: &str, new: &str) -> Result<String> {
        let fence = Fence::for_texts(None, [before, new].into_iter());
        let rule = format!(
            "Summarise a conversation so that it can be continued: facts, names, numbers, \
             decisions and open questions, in few sentences. {}",
            fence.rule()
        );
        let request = ChatRequest::new().system(rule).user([
            Part::text("Summary so far:\n"),
            Part::untrusted_text(fence.wrap(before)),
            Part::text("\nWhat was said since:\n"),
            Part::untrusted_text(fence.wrap(new)),
            Part::text("\nWrite the new summary, and nothing else."),
        ]);
        let response = self.model.chat(&request).await?;
        let text = response.text();
        if text.trim().is_empty() {
            let message = "the summary is empty";
            return Err(Error::new(ErrorKind::Decode, message)
                .with_provider(response.provider.clone())
                .with_partial(response));
        }
        Ok(text)
    }
}

impl std::fmt::Debug for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Summary")
            .field("model", &self.model.model())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl MemoryPolicy for Summary {
    async fn shape(
        &self,
        conversation: &str,
        messages: Vec<Message>,
        _query: &str,
    ) -> Result<Vec<Message>> {
        let turns = Turns::of(messages);
        let first = match &self.keep {
            Keep::Turns(keep) => turns.turns.len().saturating_sub(*keep),
            Keep::Tokens(buffer) => buffer.first_shown(&turns),
        };
        if first == 0 {
            return Ok(turns.join_from(0, Vec::new()));
        }
        let retold = self.retell(conversation, &turns.turns[..first]).await?;
        let fence = Fence::for_texts(None, std::iter::once(retold.text.as_str()));
        let text = format!(
            "Summary of what was said before:\n{}",
            fence.wrap(&retold.text)
        );
        let summary = Message::user(text_with_trust(text, retold.trust));
        Ok(turns.join_from(first, vec![summary]))
    }

    fn forget(&self, conversation: &str) {
        self.kept().remove(conversation);
    }
}

fn hash(turns: &[Vec<Message>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for message in turns.iter().flatten() {
        message.role.hash(&mut hasher);
        transcript(&[message]).hash(&mut hasher);
    }
    hasher.finish()
}

/// The readable text of messages, a line per part.
fn transcript(messages: &[&Message]) -> String {
    let mut text = String::new();
    for message in messages {
        for part in &message.content {
            let (who, said) = match part {
                Part::Text { text, .. } => (message.role.as_str(), text.clone()),
                Part::ToolCall(call) => ("call", format!("{} {}", call.name, call.arguments)),
                Part::ToolResult(result) => (Role::Tool.as_str(), result.text()),
                other => (message.role.as_str(), format!("[{}]", other.kind())),
            };
            text.push_str(&format!("{who}: {said}\n"));
        }
    }
    text
}
