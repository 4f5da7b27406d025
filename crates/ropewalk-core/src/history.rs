//! Where conversations are kept.

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;
use crate::message::Message;

/// A store of conversations, each under an id.
///
/// What part of a conversation is sent to a model is not decided here: memories on top of this
/// trim by whole turns.
#[async_trait]
pub trait ChatHistory: Send + Sync {
    /// Returns a conversation, oldest message first; empty when there is none of this id.
    ///
    /// # Errors
    /// Whatever keeps the store from answering.
    async fn load(&self, conversation: &str) -> Result<Vec<Message>>;

    /// Appends messages, all or none.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    async fn append(&self, conversation: &str, messages: &[Message]) -> Result<()>;

    /// Forgets a conversation; there need not be one.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    async fn clear(&self, conversation: &str) -> Result<()>;
}

/// A shared history of any type.
pub type DynChatHistory = Arc<dyn ChatHistory>;

crate::forward::forward! { H: ChatHistory =>
    async fn load(&self, conversation: &str) -> Result<Vec<Message>> {
        (**self).load(conversation).await
    }

    async fn append(&self, conversation: &str, messages: &[Message]) -> Result<()> {
        (**self).append(conversation, messages).await
    }

    async fn clear(&self, conversation: &str) -> Result<()> {
        (**self).clear(conversation).await
    }
}
