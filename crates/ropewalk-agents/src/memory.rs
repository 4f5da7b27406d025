//! What of a conversation a model is shown again.

mod policy;
mod summary;
mod turns;
mod vector;

use std::sync::Arc;

use ropewalk_core::{ChatHistory, DynChatHistory, Message, Result};

pub use policy::{Buffer, DynMemoryPolicy, MemoryPolicy, TokenBuffer, Window};
pub use summary::Summary;
pub use turns::{Turns, repair};
pub use vector::{Recall, RetrieverMemory};

/// A history and the policy that decides what of it a model is shown.
///
/// Whatever the policy, what [`load`](Self::load) returns is a conversation that providers accept:
/// whole turns, every call with its results, no result without its call, the instructions kept.
///
/// ```
/// use ropewalk_agents::{InMemoryHistory, Memory, Window};
/// use ropewalk_core::Message;
///
/// let memory = Memory::new(InMemoryHistory::new(), Window::new(1));
/// # futures_executor::block_on(async {
/// memory.append("ada", &[Message::user("1"), Message::assistant("one")]).await?;
/// memory.append("ada", &[Message::user("2"), Message::assistant("two")]).await?;
/// let shown = memory.load("ada", "And 3?").await?;
/// assert_eq!(shown, [Message::user("2"), Message::assistant("two")]);
/// # Ok::<(), ropewalk_core::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Memory {
    history: DynChatHistory,
    policy: DynMemoryPolicy,
}

impl Memory {
    /// Creates a memory.
    pub fn new(history: impl ChatHistory + 'static, policy: impl MemoryPolicy + 'static) -> Self {
        Self {
            history: Arc::new(history),
            policy: Arc::new(policy),
        }
    }

    /// Returns what to show of a conversation before a message that says `query`.
    ///
    /// # Errors
    /// Whatever keeps the history or the policy's model from answering.
    pub async fn load(&self, conversation: &str, query: &str) -> Result<Vec<Message>> {
        let all = repair(self.history.load(conversation).await?);
        let shown = self.policy.shape(conversation, all, query).await?;
        Ok(repair(shown))
    }

    /// Appends messages, all or none. Give it whole turns.
    ///
    /// # Errors
    /// Whatever keeps the history from writing.
    pub async fn append(&self, conversation: &str, messages: &[Message]) -> Result<()> {
        self.history.append(conversation, messages).await
    }

    /// Forgets a conversation.
    ///
    /// # Errors
    /// Whatever keeps the history from writing.
    pub async fn clear(&self, conversation: &str) -> Result<()> {
        self.policy.forget(conversation);
        self.history.clear(conversation).await
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}
