//! What a run begins and goes on with.

use std::collections::BTreeMap;

use ropewalk_core::{Content, Extensions, Message, Part};

use super::nested::Parent;

/// What a run begins with; a text is enough.
///
/// ```
/// use ropewalk_agents::Input;
///
/// let input = Input::new("And back?").conversation("ada");
/// assert_eq!(input.messages[0].text(), "And back?");
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Input {
    /// What is said, usually one message of the user.
    pub messages: Vec<Message>,
    /// The conversation in the agent's memory that this continues.
    pub conversation: Option<String>,
    /// Id of the run for traces and tools; a random one when not set.
    pub run_id: Option<String>,
    /// Values for tools that the model does not see.
    pub extensions: Extensions,
    pub(super) parent: Option<Parent>,
}

impl Input {
    /// Creates an input of one message of the user.
    pub fn new(content: impl Into<Content>) -> Self {
        Self::from(vec![Message::user(content)])
    }

    /// Sets the conversation in the agent's memory.
    #[must_use]
    pub fn conversation(mut self, id: impl Into<String>) -> Self {
        self.conversation = Some(id.into());
        self
    }

    /// Sets the id of the run.
    #[must_use]
    pub fn run_id(mut self, id: impl Into<String>) -> Self {
        self.run_id = Some(id.into());
        self
    }

    /// Sets the values for tools. They are not part of the state: a resumed run takes those of
    /// [`Approvals::extensions`].
    #[must_use]
    pub fn extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = extensions;
        self
    }
}

impl From<Vec<Message>> for Input {
    fn from(messages: Vec<Message>) -> Self {
        Self {
            messages,
            ..Self::default()
        }
    }
}

impl From<Message> for Input {
    fn from(message: Message) -> Self {
        Self::from(vec![message])
    }
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Input {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<Vec<Part>> for Input {
    fn from(parts: Vec<Part>) -> Self {
        Self::new(parts)
    }
}

impl From<Content> for Input {
    fn from(content: Content) -> Self {
        Self::new(content)
    }
}

/// Decisions on the calls that wait for approval, by their ids. A call without a decision goes on
/// waiting.
#[derive(Debug, Clone, Default)]
pub struct Approvals {
    pub(super) all: bool,
    pub(super) decisions: BTreeMap<String, Result<(), String>>,
    pub(super) extensions: Extensions,
}

impl Approvals {
    /// Creates no decisions; enough for runs that wait for none.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Approves every call that waits and has no other decision.
    #[must_use]
    pub fn all() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    /// Approves a call.
    #[must_use]
    pub fn approve(mut self, call_id: impl Into<String>) -> Self {
        self.decisions.insert(call_id.into(), Ok(()));
        self
    }

    /// Denies a call; the model is told the reason.
    #[must_use]
    pub fn deny(mut self, call_id: impl Into<String>, reason: impl Into<String>) -> Self {
        self.decisions.insert(call_id.into(), Err(reason.into()));
        self
    }

    /// Sets the values for tools, which are not part of the state.
    #[must_use]
    pub fn extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = extensions;
        self
    }
}
