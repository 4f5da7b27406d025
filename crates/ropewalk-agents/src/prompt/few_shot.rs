//! Examples in a prompt.

use ropewalk_core::Message;

use super::error::PromptError;
use super::template::Prompt;
use super::vars::Vars;

/// Worked examples, shown to the model as earlier turns or as text.
///
/// ```
/// use ropewalk_agents::FewShot;
///
/// let examples = FewShot::new("{word}", "{antonym}")?
///     .example([("word", "hot"), ("antonym", "cold")])
///     .example([("word", "tall"), ("antonym", "short")]);
/// assert_eq!(examples.as_messages()?.len(), 4);
/// assert_eq!(examples.as_text()?, "Input: hot\nOutput: cold\n\nInput: tall\nOutput: short");
/// # Ok::<(), ropewalk_agents::PromptError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FewShot {
    input: Prompt,
    output: Prompt,
    examples: Vec<Vars>,
    labels: (String, String),
}

impl FewShot {
    /// Creates an empty set from the templates of a question and its answer.
    ///
    /// # Errors
    /// [`PromptError::Syntax`].
    pub fn new(input: impl AsRef<str>, output: impl AsRef<str>) -> Result<Self, PromptError> {
        Ok(Self {
            input: Prompt::new(input)?,
            output: Prompt::new(output)?,
            examples: Vec::new(),
            labels: ("Input".into(), "Output".into()),
        })
    }

    /// Adds an example.
    #[must_use]
    pub fn example(mut self, vars: impl Into<Vars>) -> Self {
        self.examples.push(vars.into());
        self
    }

    /// Sets the words before question and answer in [`as_text`](Self::as_text), `Input` and
    /// `Output` unless set.
    #[must_use]
    pub fn with_labels(mut self, input: impl Into<String>, output: impl Into<String>) -> Self {
        self.labels = (input.into(), output.into());
        self
    }

    /// Returns the examples as turns of a user and the assistant.
    ///
    /// # Errors
    /// [`PromptError::Missing`] when an example lacks a value.
    pub fn as_messages(&self) -> Result<Vec<Message>, PromptError> {
        let mut messages = Vec::new();
        for vars in &self.examples {
            messages.push(Message::user(self.input.content(vars)?));
            messages.push(Message::assistant(self.output.content(vars)?));
        }
        Ok(messages)
    }

    /// Returns the examples as text, an empty line between two.
    ///
    /// # Errors
    /// As [`as_messages`](Self::as_messages).
    pub fn as_text(&self) -> Result<String, PromptError> {
        let (question, answer) = &self.labels;
        let one = |vars: &Vars| {
            let (input, output) = (self.input.format(vars)?, self.output.format(vars)?);
            Ok(format!("{question}: {input}\n{answer}: {output}"))
        };
        let all: Result<Vec<String>, PromptError> = self.examples.iter().map(one).collect();
        Ok(all?.join("\n\n"))
    }
}
