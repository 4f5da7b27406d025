//! Counting tokens without knowing the tokenizer.

use std::sync::Arc;

use crate::message::Message;
use crate::part::Part;

/// Counts the tokens of texts; implemented by tokenizers.
///
/// Memories, splitters and budgets take one of these, so that they need no tokenizer themselves.
pub trait TokenCounter: Send + Sync {
    /// Returns how many tokens `text` has, without special tokens around it.
    fn count(&self, text: &str) -> usize;

    /// Returns how many tokens a conversation takes.
    ///
    /// Unless overridden by something that knows the chat template, this is the tokens of all
    /// readable text plus four per message, the usual overhead of role markers (OpenAI cookbook,
    /// "How to count tokens"). Media are not counted.
    fn count_messages(&self, messages: &[Message]) -> usize {
        const PER_MESSAGE: usize = 4;
        messages
            .iter()
            .map(|m| PER_MESSAGE + count_parts(self, &m.content))
            .sum()
    }
}

fn count_parts<C: TokenCounter + ?Sized>(counter: &C, parts: &[Part]) -> usize {
    let count = |part: &Part| match part {
        Part::Text { text, .. } => counter.count(text),
        Part::Reasoning(reasoning) => counter.count(&reasoning.text),
        Part::ToolCall(call) => counter.count(&call.name) + counter.count(&call.arguments),
        Part::ToolResult(result) => count_parts(counter, &result.content),
        _ => 0,
    };
    parts.iter().map(count).sum()
}

impl<C: TokenCounter + ?Sized> TokenCounter for Arc<C> {
    fn count(&self, text: &str) -> usize {
        (**self).count(text)
    }

    fn count_messages(&self, messages: &[Message]) -> usize {
        (**self).count_messages(messages)
    }
}

impl<C: TokenCounter + ?Sized> TokenCounter for Box<C> {
    fn count(&self, text: &str) -> usize {
        (**self).count(text)
    }

    fn count_messages(&self, messages: &[Message]) -> usize {
        (**self).count_messages(messages)
    }
}

impl<C: TokenCounter + ?Sized> TokenCounter for &C {
    fn count(&self, text: &str) -> usize {
        (**self).count(text)
    }

    fn count_messages(&self, messages: &[Message]) -> usize {
        (**self).count_messages(messages)
    }
}

/// An estimate for when no tokenizer is at hand: one token per so many characters, rounded up.
///
/// Four characters per token is the usual figure for English; other languages and code take fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CharsPerToken(pub usize);

impl Default for CharsPerToken {
    fn default() -> Self {
        Self(4)
    }
}

impl TokenCounter for CharsPerToken {
    fn count(&self, text: &str) -> usize {
        text.chars().count().div_ceil(self.0.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::{ToolCall, ToolResult};

    #[test]
    fn counts_all_readable_text() {
        let counter = CharsPerToken(1);
        let messages = [
            Message::user("abc"),
            Message::assistant(Part::ToolCall(ToolCall::new("id", "f", "{}"))),
            Message::tool(ToolResult::new("id", "f", "12")),
        ];
        assert_eq!(counter.count_messages(&messages), 3 * 4 + 3 + 3 + 2);
        assert_eq!(CharsPerToken::default().count("héllo"), 2);
        assert_eq!(CharsPerToken(0).count("ab"), 2);
    }
}
