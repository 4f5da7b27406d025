//! A template of a conversation.

use std::marker::PhantomData;

use ropewalk_core::{ChatRequest, Content, Message, Role};
use serde::Serialize;

use super::error::PromptError;
use super::few_shot::FewShot;
use super::template::Prompt;
use super::vars::{Var, Vars};

/// A template of a conversation: texts with `{variables}`, examples and places for messages.
///
/// ```
/// use ropewalk_agents::{ChatPrompt, Vars};
/// use ropewalk_core::Message;
///
/// let prompt = ChatPrompt::new()
///     .system("You answer questions about {subject}.")
///     .placeholder("history")
///     .user("{question}");
/// let vars = Vars::new()
///     .with("subject", "knots")
///     .messages("history", [Message::user("Hi"), Message::assistant("Hello")])
///     .with("question", "What is a bowline?");
/// assert_eq!(prompt.format(&vars)?.messages.len(), 4);
/// # Ok::<(), ropewalk_agents::PromptError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChatPrompt {
    slots: Vec<Slot>,
    partials: Vars,
    strict: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Slot {
    Template(Role, Result<Prompt, PromptError>),
    Message(Box<Message>),
    Placeholder(String),
    FewShot(FewShot),
}

impl ChatPrompt {
    /// Creates an empty conversation.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a template of instructions. What is wrong with a template is told by
    /// [`check`](Self::check) and [`format`](Self::format).
    #[must_use]
    pub fn system(self, template: impl AsRef<str>) -> Self {
        self.slot(Slot::Template(Role::System, Prompt::new(template)))
    }

    /// Adds a template of a message of the person.
    #[must_use]
    pub fn user(self, template: impl AsRef<str>) -> Self {
        self.slot(Slot::Template(Role::User, Prompt::new(template)))
    }

    /// Adds a template of a message of the model.
    #[must_use]
    pub fn assistant(self, template: impl AsRef<str>) -> Self {
        self.slot(Slot::Template(Role::Assistant, Prompt::new(template)))
    }

    /// Adds a message as it is, without variables.
    #[must_use]
    pub fn message(self, message: Message) -> Self {
        self.slot(Slot::Message(Box::new(message)))
    }

    /// Adds a place for [messages](Vars::messages), for example the history.
    #[must_use]
    pub fn placeholder(self, name: impl Into<String>) -> Self {
        self.slot(Slot::Placeholder(name.into()))
    }

    /// Adds examples as turns.
    #[must_use]
    pub fn few_shot(self, examples: FewShot) -> Self {
        self.slot(Slot::FewShot(examples))
    }

    fn slot(mut self, slot: Slot) -> Self {
        self.slots.push(slot);
        self
    }

    /// Fills in a variable for good; a later value of the same name replaces it.
    #[must_use]
    pub fn partial(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.partials = self.partials.with(name, value);
        self
    }

    /// Sets whether a value that no template uses is an error.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Checks the templates.
    ///
    /// # Errors
    /// The first [`PromptError::Syntax`].
    pub fn check(&self) -> Result<(), PromptError> {
        self.slots.iter().try_for_each(|slot| match slot {
            Slot::Template(_, Err(error)) => Err(error.clone()),
            _ => Ok(()),
        })
    }

    /// Returns the variables and placeholders that still need a value, each once, sorted.
    #[must_use]
    pub fn variables(&self) -> Vec<&str> {
        let mut names = self.all_names();
        names.retain(|name| self.partials.find(name).is_none());
        names
    }

    fn all_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for slot in &self.slots {
            match slot {
                Slot::Template(_, Ok(prompt)) => names.extend(prompt.variables()),
                Slot::Placeholder(name) => names.push(name),
                _ => {}
            }
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Fills in the values and returns the request.
    ///
    /// # Errors
    /// [`PromptError`] of any kind.
    pub fn format(&self, vars: &Vars) -> Result<ChatRequest, PromptError> {
        self.check()?;
        if self.strict {
            self.refuse_unused(vars)?;
        }
        let vars = &self.partials.clone().merged(vars);
        let mut messages = Vec::new();
        for slot in &self.slots {
            match slot {
                Slot::Template(role, Ok(prompt)) => {
                    messages.push(Message::new(*role, Content(prompt.fill(vars)?.0)));
                }
                Slot::Template(_, Err(error)) => return Err(error.clone()),
                Slot::Message(message) => messages.push((**message).clone()),
                Slot::Placeholder(name) => messages.extend_from_slice(placed(name, vars)?),
                Slot::FewShot(examples) => messages.extend(examples.as_messages()?),
            }
        }
        Ok(ChatRequest::new().messages(messages))
    }

    fn refuse_unused(&self, vars: &Vars) -> Result<(), PromptError> {
        let used = |name: &str| {
            self.slots.iter().any(|slot| match slot {
                Slot::Template(_, Ok(prompt)) => prompt.uses(name),
                Slot::Placeholder(place) => place == name,
                _ => false,
            })
        };
        match vars.names().find(|name| !used(name)) {
            None => Ok(()),
            Some(name) => Err(PromptError::Unused {
                name: name.to_owned(),
                known: self.all_names().into_iter().map(str::to_owned).collect(),
            }),
        }
    }

    /// Takes its values from the fields of `T`, so that a chain that begins with the prompt is
    /// typed from end to end.
    #[must_use]
    pub fn typed<T: Serialize>(self) -> TypedPrompt<T> {
        TypedPrompt {
            prompt: self,
            input: PhantomData,
        }
    }
}

fn placed<'v>(name: &str, vars: &'v Vars) -> Result<&'v [Message], PromptError> {
    match vars.find(name) {
        Some(Var::Messages(messages)) => Ok(messages),
        Some(_) => Err(PromptError::Value {
            name: name.to_owned(),
            problem: "a placeholder takes messages; use Vars::messages".into(),
        }),
        None => Err(PromptError::Missing {
            name: name.to_owned(),
            known: vars.names().map(str::to_owned).collect(),
        }),
    }
}

/// A [`ChatPrompt`] whose values are the fields of `T`; made by [`ChatPrompt::typed`].
pub struct TypedPrompt<T> {
    prompt: ChatPrompt,
    input: PhantomData<fn(T)>,
}

impl<T: Serialize> TypedPrompt<T> {
    /// Fills in the fields and returns the request.
    ///
    /// # Errors
    /// [`PromptError`] of any kind.
    pub fn format(&self, value: &T) -> Result<ChatRequest, PromptError> {
        self.prompt.format(&Vars::from_serde(value)?)
    }
}

impl<T> std::fmt::Debug for TypedPrompt<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TypedPrompt").field(&self.prompt).finish()
    }
}

impl<T> Clone for TypedPrompt<T> {
    fn clone(&self) -> Self {
        Self {
            prompt: self.prompt.clone(),
            input: PhantomData,
        }
    }
}
