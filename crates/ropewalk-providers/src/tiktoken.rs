//! Tokens of OpenAI's models, counted on this machine.

use ropewalk_core::{Error, ErrorKind, Message, Part, Result, TokenCounter};
use tiktoken_rs::CoreBPE;

/// Counts tokens as OpenAI's models do, with the encoding of a model (`o200k_base`, `cl100k_base` and
/// so on). The ranks are built in, about 5 MB.
///
/// ```
/// use ropewalk_core::TokenCounter;
/// use ropewalk_providers::Tiktoken;
///
/// let counter = Tiktoken::for_model("gpt-4o-mini")?;
/// assert_eq!(counter.count("tiktoken is great!"), 6);
/// # Ok::<(), ropewalk_core::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Tiktoken {
    encoding: &'static CoreBPE,
}

impl Tiktoken {
    /// Returns the counter of a model, by its name (`gpt-4o`, `ft:gpt-4o-mini:…`,
    /// `text-embedding-3-small`).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the encoding of the model is not known.
    pub fn for_model(model: &str) -> Result<Self> {
        let encoding = tiktoken_rs::bpe_for_model(model).map_err(|_| {
            let message = format!("the token encoding of {model:?} is not known");
            Error::new(ErrorKind::Unsupported, message)
        })?;
        Ok(Self { encoding })
    }

    fn parts(&self, parts: &[Part]) -> usize {
        let count = |part: &Part| match part {
            Part::Text { text, .. } => self.count(text),
            Part::ToolCall(call) => self.count(&call.name) + self.count(&call.arguments),
            Part::ToolResult(result) => self.parts(&result.content),
            _ => 0,
        };
        parts.iter().map(count).sum()
    }
}

impl TokenCounter for Tiktoken {
    fn count(&self, text: &str) -> usize {
        self.encoding.encode_ordinary(text).len()
    }

    /// Three tokens per message, one more for a name, and three that begin the reply (OpenAI
    /// cookbook, "How to count tokens with tiktoken"). Pictures and tools are not counted.
    fn count_messages(&self, messages: &[Message]) -> usize {
        const PER_MESSAGE: usize = 3;
        const REPLY: usize = 3;
        let one = |m: &Message| {
            let name = m.name.as_ref().map_or(0, |n| self.count(n) + 1);
            PER_MESSAGE + self.count(m.role.as_str()) + name + self.parts(&m.content)
        };
        messages.iter().map(one).sum::<usize>() + REPLY
    }
}

impl std::fmt::Debug for Tiktoken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tiktoken").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the cookbook with its published counts: 129 for `gpt-3.5-turbo` and
    /// `gpt-4`, 124 for `gpt-4o` and `gpt-4o-mini`.
    #[test]
    fn counts_as_the_cookbook_does() {
        let system = "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.";
        let named = |name: &str, text: &str| Message::system(text).with_name(name);
        let messages = [
            Message::system(system),
            named(
                "example_user",
                "New synergies will help drive top-line growth.",
            ),
            named(
                "example_assistant",
                "Things working well together will increase revenue.",
            ),
            named(
                "example_user",
                "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
            ),
            named(
                "example_assistant",
                "Let's talk later when we're less busy about how to do better.",
            ),
            Message::user(
                "This late pivot means we don't have time to boil the ocean for the client deliverable.",
            ),
        ];
        for (model, expected) in [
            ("gpt-3.5-turbo", 129),
            ("gpt-4", 129),
            ("gpt-4o", 124),
            ("gpt-4o-mini", 124),
        ] {
            let counter = Tiktoken::for_model(model).unwrap();
            assert_eq!(counter.count_messages(&messages), expected, "{model}");
        }
        assert!(Tiktoken::for_model("claude-haiku-4-5").is_err());
    }
}
