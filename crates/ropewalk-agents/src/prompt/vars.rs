//! The values of a template.

use std::collections::BTreeMap;

use ropewalk_core::Message;
use serde::Serialize;
use serde_json::Value;

use super::error::PromptError;

/// The values of a template, by name.
///
/// ```
/// use ropewalk_agents::{Prompt, Vars};
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct Trip { from: &'static str, to: &'static str, seats: u32 }
///
/// let prompt = Prompt::new("{seats} seats from {from} to {to}")?;
/// let vars = Vars::from_serde(&Trip { from: "Oslo", to: "Rome", seats: 2 })?;
/// assert_eq!(prompt.format(&vars)?, "2 seats from Oslo to Rome");
/// # Ok::<(), ropewalk_agents::PromptError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Vars {
    values: BTreeMap<String, Stored>,
    seed: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
enum Stored {
    Plain(Value),
    Untrusted(String),
    Messages(Vec<Message>),
}

/// A value where it is used.
#[derive(Debug)]
pub(super) enum Var<'v> {
    Plain(&'v Value),
    Untrusted(&'v str),
    Messages(&'v [Message]),
}

impl Vars {
    /// Creates an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the fields of a struct or the entries of a map.
    ///
    /// # Errors
    /// [`PromptError::Value`] when the value is not written as a JSON object.
    pub fn from_serde<T: Serialize + ?Sized>(value: &T) -> Result<Self, PromptError> {
        let problem = |problem: String| PromptError::Value {
            name: std::any::type_name::<T>().to_owned(),
            problem,
        };
        match serde_json::to_value(value).map_err(|e| problem(e.to_string()))? {
            Value::Object(fields) => Ok(fields
                .into_iter()
                .fold(Self::new(), |vars, (name, value)| vars.with(name, value))),
            _ => Err(problem("a struct or map is needed".into())),
        }
    }

    /// Sets a value. Text is inserted as it is, null counts as missing, anything else is inserted
    /// as compact JSON.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.values.insert(name.into(), Stored::Plain(value.into()));
        self
    }

    /// Sets a text from outside. It is inserted between random delimiters that it cannot imitate,
    /// and becomes a part of its own that is marked untrusted. Put [`Fence::RULE`](super::Fence::RULE)
    /// into the instructions, so that the model knows what the delimiters mean.
    #[must_use]
    pub fn untrusted(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.values
            .insert(name.into(), Stored::Untrusted(text.into()));
        self
    }

    /// Sets the messages of a [placeholder](super::ChatPrompt::placeholder).
    #[must_use]
    pub fn messages(
        mut self,
        name: impl Into<String>,
        messages: impl IntoIterator<Item = Message>,
    ) -> Self {
        let messages = messages.into_iter().collect();
        self.values.insert(name.into(), Stored::Messages(messages));
        self
    }

    /// Sets the seed of the delimiters. Choose a new one for each request; without one it follows
    /// from the untrusted texts.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Yields the names that have values, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Takes over the values and the seed of `newer`.
    pub(super) fn merged(mut self, newer: &Self) -> Self {
        let entries = newer.values.iter().map(|(n, v)| (n.clone(), v.clone()));
        self.values.extend(entries);
        self.seed = newer.seed.or(self.seed);
        self
    }

    pub(super) fn seed(&self) -> Option<u64> {
        self.seed
    }

    pub(super) fn untrusted_texts(&self) -> impl Iterator<Item = &str> {
        self.values.values().filter_map(|stored| match stored {
            Stored::Untrusted(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Finds `name`, or for `a.b` the field `b` of `a`.
    pub(super) fn find(&self, name: &str) -> Option<Var<'_>> {
        if let Some(stored) = self.values.get(name) {
            return Some(match stored {
                Stored::Plain(value) => Var::Plain(value),
                Stored::Untrusted(text) => Var::Untrusted(text),
                Stored::Messages(messages) => Var::Messages(messages),
            });
        }
        let mut path = name.split('.');
        let Stored::Plain(root) = self.values.get(path.next()?)? else {
            return None;
        };
        path.try_fold(root, |value, field| match value {
            Value::Array(items) => items.get(field.parse::<usize>().ok()?),
            value => value.get(field),
        })
        .map(Var::Plain)
    }
}

impl<N: Into<String>, V: Into<Value>, const LEN: usize> From<[(N, V); LEN]> for Vars {
    fn from(pairs: [(N, V); LEN]) -> Self {
        pairs
            .into_iter()
            .fold(Self::new(), |vars, (name, value)| vars.with(name, value))
    }
}
