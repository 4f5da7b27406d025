//! Policies that choose by number.

use std::sync::Arc;

use async_trait::async_trait;
use ropewalk_core::{Message, Result, TokenCounter};

use super::turns::Turns;

/// Decides what of a conversation a model is shown.
#[async_trait]
pub trait MemoryPolicy: Send + Sync {
    /// Returns what to show of `messages` before a message that says `query`. What comes in holds
    /// no orphan results; what goes out keeps the system messages at the beginning and consists
    /// otherwise of whole turns and messages of the policy's own.
    ///
    /// # Errors
    /// Whatever keeps a model or retriever of the policy from answering.
    async fn shape(
        &self,
        conversation: &str,
        messages: Vec<Message>,
        query: &str,
    ) -> Result<Vec<Message>>;

    /// Drops what the policy keeps of a conversation that is cleared.
    fn forget(&self, _conversation: &str) {}
}

/// A shared policy of any type.
pub type DynMemoryPolicy = Arc<dyn MemoryPolicy>;

#[async_trait]
impl MemoryPolicy for DynMemoryPolicy {
    async fn shape(
        &self,
        conversation: &str,
        messages: Vec<Message>,
        query: &str,
    ) -> Result<Vec<Message>> {
        (**self).shape(conversation, messages, query).await
    }

    fn forget(&self, conversation: &str) {
        (**self).forget(conversation);
    }
}

/// Shows everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Buffer;

#[async_trait]
impl MemoryPolicy for Buffer {
    async fn shape(&self, _: &str, messages: Vec<Message>, _: &str) -> Result<Vec<Message>> {
        Ok(messages)
    }
}

/// Shows the last turns.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    turns: usize,
}

impl Window {
    /// Creates a window of so many turns.
    #[must_use]
    pub fn new(turns: usize) -> Self {
        Self { turns }
    }
}

#[async_trait]
impl MemoryPolicy for Window {
    async fn shape(&self, _: &str, messages: Vec<Message>, _: &str) -> Result<Vec<Message>> {
        let turns = Turns::of(messages);
        let first = turns.turns.len().saturating_sub(self.turns);
        Ok(turns.join_from(first, Vec::new()))
    }
}

/// Shows the last turns that together with the instructions have at most so many tokens. A turn
/// that does not fit ends the search, so that what is shown has no gap; instructions are shown
/// even if they alone are too long.
#[derive(Clone)]
pub struct TokenBuffer {
    max: usize,
    counter: Arc<dyn TokenCounter>,
}

impl TokenBuffer {
    /// Creates a buffer of at most `max` tokens.
    pub fn new(max: usize, counter: impl TokenCounter + 'static) -> Self {
        Self {
            max,
            counter: Arc::new(counter),
        }
    }

    /// Returns the number of the first turn that is shown, from 0.
    pub(super) fn first_shown(&self, turns: &Turns) -> usize {
        let mut used = self.counter.count_messages(&turns.instructions);
        let mut first = turns.turns.len();
        while first > 0 {
            used = used.saturating_add(self.counter.count_messages(&turns.turns[first - 1]));
            if used > self.max {
                break;
            }
            first -= 1;
        }
        first
    }
}

impl std::fmt::Debug for TokenBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenBuffer")
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl MemoryPolicy for TokenBuffer {
    async fn shape(&self, _: &str, messages: Vec<Message>, _: &str) -> Result<Vec<Message>> {
        let turns = Turns::of(messages);
        let first = self.first_shown(&turns);
        Ok(turns.join_from(first, Vec::new()))
    }
}
