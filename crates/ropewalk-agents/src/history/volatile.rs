//! A history that ends with the program.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ropewalk_core::{ChatHistory, Message, Result};

/// Keeps conversations in memory.
#[derive(Debug, Default)]
pub struct InMemoryHistory(Mutex<HashMap<String, Vec<Message>>>);

impl InMemoryHistory {
    /// Creates an empty history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Vec<Message>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ChatHistory for InMemoryHistory {
    async fn load(&self, conversation: &str) -> Result<Vec<Message>> {
        Ok(self.all().get(conversation).cloned().unwrap_or_default())
    }

    async fn append(&self, conversation: &str, messages: &[Message]) -> Result<()> {
        let mut all = self.all();
        let there = all.entry(conversation.to_owned()).or_default();
        there.extend_from_slice(messages);
        Ok(())
    }

    async fn clear(&self, conversation: &str) -> Result<()> {
        self.all().remove(conversation);
        Ok(())
    }
}
