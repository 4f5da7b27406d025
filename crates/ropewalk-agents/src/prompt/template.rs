//! A template of one text.

use std::collections::BTreeSet;

use ropewalk_core::{Content, Message, Part, Role};

use super::error::PromptError;
use super::fence::Fence;
use super::vars::{Var, Vars};

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Variable(String),
}

/// A template of one text with `{variables}`.
///
/// ```
/// use ropewalk_agents::{Prompt, Vars};
///
/// let prompt = Prompt::new("Translate {text} into {language}. Answer as {{\"text\": …}}.")?;
/// let french = prompt.partial("language", "French");
/// assert_eq!(
///     french.format(&Vars::new().with("text", "hello"))?,
///     "Translate hello into French. Answer as {\"text\": …}.",
/// );
/// let error = french.format(&Vars::new().with("txet", "hello")).unwrap_err();
/// assert_eq!(error.to_string(), "variable `text` has no value; known are: language, txet");
/// # Ok::<(), ropewalk_agents::PromptError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    pieces: Vec<Piece>,
    partials: Vars,
    strict: bool,
}

impl Prompt {
    /// Reads a template.
    ///
    /// # Errors
    /// [`PromptError::Syntax`] for a brace without its partner or a name that is not made of
    /// letters, digits, `_` and `.`.
    pub fn new(template: impl AsRef<str>) -> Result<Self, PromptError> {
        Ok(Self {
            pieces: parse(template.as_ref())?,
            partials: Vars::new(),
            strict: false,
        })
    }

    /// Fills in a variable for good; a later value of the same name replaces it.
    #[must_use]
    pub fn partial(&self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        let mut filled = self.clone();
        filled.partials = filled.partials.with(name, value);
        filled
    }

    /// Sets whether a value that the template does not use is an error.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Returns the variables that still need a value, each once, sorted.
    #[must_use]
    pub fn variables(&self) -> Vec<&str> {
        let open = self.names().filter(|n| self.partials.find(n).is_none());
        open.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// Returns whether the template or its chosen values mention a variable of this name.
    pub(super) fn uses(&self, name: &str) -> bool {
        self.names()
            .any(|n| n == name || n.split('.').next() == Some(name))
    }

    /// Fills in the values and returns the text.
    ///
    /// # Errors
    /// [`PromptError::Missing`], [`PromptError::Unused`] when strict, and [`PromptError::Value`]
    /// for a list of messages, which is no text.
    pub fn format(&self, vars: &Vars) -> Result<String, PromptError> {
        Ok(self.content(vars)?.text())
    }

    /// Fills in the values and returns the parts of a message: what was given as
    /// [untrusted](Vars::untrusted) is a part of its own, marked as such and fenced off.
    ///
    /// # Errors
    /// As [`format`](Self::format).
    pub fn content(&self, vars: &Vars) -> Result<Content, PromptError> {
        if self.strict {
            self.refuse_unused(vars)?;
        }
        self.fill(vars)
    }

    fn refuse_unused(&self, vars: &Vars) -> Result<(), PromptError> {
        match vars.names().find(|name| !self.uses(name)) {
            None => Ok(()),
            Some(name) => Err(PromptError::Unused {
                name: name.to_owned(),
                known: self.names().map(str::to_owned).collect(),
            }),
        }
    }

    pub(super) fn fill(&self, vars: &Vars) -> Result<Content, PromptError> {
        let fence = Fence::for_texts(vars.seed(), vars.untrusted_texts());
        let mut parts = Vec::new();
        let mut text = String::new();
        for piece in &self.pieces {
            let name = match piece {
                Piece::Text(plain) => {
                    text.push_str(plain);
                    continue;
                }
                Piece::Variable(name) => name,
            };
            match self.value(name, vars)? {
                Var::Plain(value) => text.push_str(&plain(name, value, || self.known(vars))?),
                Var::Untrusted(inside) => {
                    text.push_str(&fence.open());
                    text.push('\n');
                    parts.push(Part::text(std::mem::take(&mut text)));
                    parts.push(Part::untrusted_text(fence.escape(inside)));
                    text.push('\n');
                    text.push_str(&fence.close());
                }
                Var::Messages(_) => {
                    return Err(PromptError::Value {
                        name: name.clone(),
                        problem: "messages are no text; use ChatPrompt::placeholder".into(),
                    });
                }
            }
        }
        if !text.is_empty() || parts.is_empty() {
            parts.push(Part::text(text));
        }
        Ok(Content(parts))
    }

    fn value<'v>(&'v self, name: &str, vars: &'v Vars) -> Result<Var<'v>, PromptError> {
        let found = vars.find(name).or_else(|| self.partials.find(name));
        found.ok_or_else(|| PromptError::Missing {
            name: name.to_owned(),
            known: self.known(vars),
        })
    }

    fn known(&self, vars: &Vars) -> Vec<String> {
        let names: BTreeSet<&str> = vars.names().chain(self.partials.names()).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// Fills in the values and returns a message of this role.
    ///
    /// # Errors
    /// As [`format`](Self::format).
    pub fn message(&self, role: Role, vars: &Vars) -> Result<Message, PromptError> {
        Ok(Message::new(role, self.content(vars)?))
    }
}

/// Text as it is, null as missing, anything else as compact JSON.
fn plain(
    name: &str,
    value: &serde_json::Value,
    known: impl FnOnce() -> Vec<String>,
) -> Result<String, PromptError> {
    match value {
        serde_json::Value::String(text) => Ok(text.clone()),
        serde_json::Value::Null => Err(PromptError::Missing {
            name: name.to_owned(),
            known: known(),
        }),
        other => Ok(other.to_string()),
    }
}

fn parse(template: &str) -> Result<Vec<Piece>, PromptError> {
    let problem = |at, problem: String| PromptError::Syntax { at, problem };
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut at = 0;
    while let Some(step) = template[at..].find(['{', '}']) {
        text.push_str(&template[at..at + step]);
        at += step;
        let rest = &template[at..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            text.push_str(&rest[..1]);
            at += 2;
            continue;
        }
        if rest.starts_with('}') {
            return Err(problem(
                at,
                "`}` without `{`; write `}}` for a brace".into(),
            ));
        }
        let end = rest.find('}');
        let end =
            end.ok_or_else(|| problem(at, "`{` without `}`; write `{{` for a brace".into()))?;
        let name = rest[1..end].trim();
        if !is_name(name) {
            let shown: String = name.chars().take(40).collect();
            let message = format!("{shown:?} is no variable; write `{{{{` for a brace");
            return Err(problem(at, message));
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        pieces.push(Piece::Variable(name.to_owned()));
        at += end + 1;
    }
    text.push_str(&template[at..]);
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// Segments of letters, digits and `_`, joined by dots.
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || c == '_';
    name.split('.')
        .all(|s| !s.is_empty() && s.chars().all(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_where_a_template_is_wrong() {
        let cases = [
            (
                "a {b",
                "template, byte 2: `{` without `}`; write `{{` for a brace",
            ),
            (
                "a } b",
                "template, byte 2: `}` without `{`; write `}}` for a brace",
            ),
            (
                "{}",
                "template, byte 0: \"\" is no variable; write `{{` for a brace",
            ),
            (
                "{\"a\": 1}",
                "template, byte 0: \"\\\"a\\\": 1\" is no variable; write `{{` for a brace",
            ),
            (
                "é{a..b}",
                "template, byte 2: \"a..b\" is no variable; write `{{` for a brace",
            ),
        ];
        for (template, expected) in cases {
            let error = Prompt::new(template).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn braces_and_spaces() {
        let prompt = Prompt::new("{{{ a }}} {b.c}").unwrap();
        assert_eq!(prompt.variables(), ["a", "b.c"]);
        let vars = Vars::new()
            .with("a", 1)
            .with("b", serde_json::json!({"c": [true]}));
        assert_eq!(prompt.format(&vars).unwrap(), "{1} [true]");
        assert_eq!(Prompt::new("").unwrap().format(&vars).unwrap(), "");
    }
}
