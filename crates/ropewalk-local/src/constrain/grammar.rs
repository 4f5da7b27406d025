//! What a reply must spell.

use std::sync::Arc;

use ropewalk_core::{ToolChoice, ToolSpec};
use ropewalk_tokens::Tokenizer;
use ropewalk_tokens::reasoning::ReasoningTags;
use ropewalk_tokens::tool_calls::ToolCallFormat;
use serde_json::{Value, json};

use super::compiled::{self, CompiledGrammar};
use super::schema::{Prepared, SchemaOptions};
use super::tools::Calls;
use super::{Vocabulary, gbnf, lark};
use crate::{Error, Result};

/// Longest text of a grammar, in bytes.
const LONGEST: usize = 1 << 20;
/// Deepest nesting of brackets in it.
const DEEPEST: usize = 100;
/// Most rules of it.
const MOST_RULES: usize = 2_000;

/// A set of texts, one of which a reply must be.
///
/// ```
/// use ropewalk_local::constrain::Grammar;
///
/// let phone = Grammar::regex(r"\+\d{2} \d{3} \d{4}")?;
/// let mood = Grammar::choice(["happy", "sad"])?;
/// let sum = Grammar::gbnf(r#"root ::= [0-9]+ ("+" [0-9]+)*"#)?;
/// assert!(Grammar::gbnf("root ::= missing").is_err());
/// # Ok::<(), ropewalk_local::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Grammar {
    form: Form,
    forcing: bool,
}

#[derive(Debug, Clone)]
enum Form {
    Text { kind: &'static str, lark: String },
    Reply(Box<Reply>),
}

/// The parts that a reply of a chat model may have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    /// The reply may or must begin with reasoning between these tags.
    pub(crate) thinking: Option<Thinking>,
    /// It may be JSON.
    pub(crate) json: Option<Prepared>,
    /// It may call tools.
    pub(crate) calls: Option<Calls>,
    /// It may be any text, up to the opening of a call.
    pub(crate) free: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Thinking {
    pub(crate) tags: ReasoningTags,
    /// The prompt holds the opening tag.
    pub(crate) opened: bool,
}

impl Grammar {
    /// Returns the texts that are JSON of a schema.
    ///
    /// ```
    /// use ropewalk_local::Error;
    /// use ropewalk_local::constrain::Grammar;
    /// use serde_json::json;
    ///
    /// assert!(Grammar::json_schema(&json!({"type": "string", "maxLength": 9})).is_ok());
    /// let unknown = Grammar::json_schema(&json!({"items": {"not": {"type": "null"}}}));
    /// let Err(Error::SchemaKeyword { keyword, path, .. }) = unknown else { panic!() };
    /// assert_eq!((&*keyword, &*path), ("not", "#/items"));
    /// ```
    ///
    /// # Errors
    /// [`Error::SchemaKeyword`] for a keyword that cannot be enforced, [`Error::Grammar`] for what is
    /// no schema, [`Error::GrammarSize`] for one that is too large.
    pub fn json_schema(schema: &Value) -> Result<Self> {
        Self::json_schema_with(schema, &SchemaOptions::new())
    }

    /// Returns the texts that are JSON of a schema, with options.
    ///
    /// # Errors
    /// As [`json_schema`](Self::json_schema).
    pub fn json_schema_with(schema: &Value, options: &SchemaOptions) -> Result<Self> {
        Ok(Self::reply(Reply {
            json: Some(Prepared::new(schema, options)?),
            ..Reply::default()
        }))
    }

    /// Returns the texts that are any JSON value.
    ///
    /// # Errors
    /// None at present.
    pub fn any_json() -> Result<Self> {
        Self::json_schema(&json!({}))
    }

    /// Returns the texts that a regular expression matches as a whole, in the syntax of the crate
    /// [`regex`](https://docs.rs/regex/latest/regex/#syntax) without look-around; `\d`, `\w` and `\s`
    /// stand for ASCII. `^` and `$` around it are allowed and mean nothing.
    ///
    /// # Errors
    /// [`Error::GrammarSize`], and [`Error::Grammar`] for a backslash at the end; any other wrong expression is found
    /// when the grammar is compiled.
    pub fn regex(pattern: &str) -> Result<Self> {
        check_size("regular expression", pattern)?;
        let backslashes = pattern.len() - pattern.trim_end_matches('\\').len();
        if backslashes % 2 == 1 {
            return Err(Error::Grammar {
                kind: "regular expression",
                reason: "it ends with a backslash that escapes nothing".to_owned(),
            });
        }
        let lark = format!("start: TEXT\nTEXT: {}", lark::regex(pattern));
        Ok(Self::text("regular expression", lark))
    }

    /// Returns the given texts.
    ///
    /// # Errors
    /// [`Error::Unsatisfiable`] when there are none, [`Error::GrammarSize`].
    pub fn choice<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Self> {
        let texts: Vec<String> = texts
            .into_iter()
            .map(|t| lark::literal(t.as_ref()))
            .collect();
        if texts.is_empty() {
            return Err(Error::Unsatisfiable {
                kind: "choice",
                reason: "it has no texts".to_owned(),
            });
        }
        let lark = format!("start: TEXT\nTEXT: {}", texts.join(" | "));
        check_size("choice", &lark)?;
        Ok(Self::text("choice", lark))
    }

    /// Returns the texts of a grammar in the dialect of Lark that
    /// [llguidance](https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md) reads: rules in lower case,
    /// terminals in upper case, beginning with `start`. A terminal takes as much text as it can, so `A: /a+/` in
    /// `start: A "a"` leaves no `a`; [`gbnf`](Self::gbnf) has no terminals and knows no such rule.
    ///
    /// # Errors
    /// [`Error::GrammarSize`]; a wrong grammar is found when it is compiled.
    pub fn lark(grammar: &str) -> Result<Self> {
        check_size("Lark grammar", grammar)?;
        let rules = grammar.lines().filter(|line| line.contains(':')).count();
        check_rules("Lark grammar", rules)?;
        Ok(Self::text("Lark grammar", grammar.to_owned()))
    }

    /// Returns the texts of a grammar in GBNF, the notation of
    /// [llama.cpp](https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md), beginning with `root`: literals,
    /// classes, `.`, groups, `|`, `*`, `+`, `?`, `{m}`, `{m,}`, `{m,n}`, comments, escapes `\n \r \t \\ \" \[ \] \x \u \U`.
    /// Left recursion is allowed; token literals such as `<[1000]>` are not.
    ///
    /// # Errors
    /// [`Error::Grammar`] with line and column, [`Error::Unsatisfiable`] when `root` never ends,
    /// [`Error::GrammarSize`].
    pub fn gbnf(grammar: &str) -> Result<Self> {
        check_size("GBNF grammar", grammar)?;
        let lark = gbnf::to_lark(grammar)?;
        Ok(Self::text("GBNF grammar", lark))
    }

    /// Returns the texts that call tools as models of a format write calls: one call of the tool for
    /// [`ToolChoice::Tool`], one to eight of any for [`ToolChoice::Required`], any text with such calls in it for
    /// [`ToolChoice::Auto`]. Arguments fit the schemas of the tools.
    ///
    /// Where models of a format write calls in more than one way, the first in the table of
    /// [`ToolCallFormat`] is taken; [`LocalModel`](crate::LocalModel) takes the one its template shows.
    ///
    /// # Errors
    /// [`Error::Grammar`] for a format that has no grammar (`Auto`, `Gemma`), [`ToolChoice::None`], [`ToolChoice::Auto`]
    /// where calls cannot be told from text (`Llama3`, `Pythonic`), and names that the format cannot write; as [`json_schema`](Self::json_schema) for the parameters.
    pub fn tool_calls(
        format: ToolCallFormat,
        tools: &[ToolSpec],
        choice: &ToolChoice,
    ) -> Result<Self> {
        let calls = Calls::new(format, "", tools, choice, true, &SchemaOptions::new())?;
        Ok(Self::reply(Reply {
            free: *choice == ToolChoice::Auto,
            calls: Some(calls),
            ..Reply::default()
        }))
    }

    /// Returns a grammar that was made here, for a part of a schema.
    pub(super) fn lark_unchecked(lark: String) -> Self {
        Self::text("JSON schema", lark)
    }

    pub(crate) fn reply(reply: Reply) -> Self {
        Self {
            form: Form::Reply(Box::new(reply)),
            forcing: true,
        }
    }

    fn text(kind: &'static str, lark: String) -> Self {
        Self {
            form: Form::Text { kind, lark },
            forcing: true,
        }
    }

    /// Sets whether tokens that the grammar leaves no choice in are forced, as the tokenizer cuts the text; the
    /// default. Without it the model chooses how forced text is cut, by a pass for every token.
    #[must_use]
    pub fn with_forced_tokens(mut self, on: bool) -> Self {
        self.forcing = on;
        self
    }

    /// Compiles the grammar for the tokens of a tokenizer. [`Vocabulary::compile`] saves the work on the vocabulary
    /// where there are several grammars.
    ///
    /// # Errors
    /// As [`Vocabulary::compile`].
    pub fn compile(&self, tokenizer: &Tokenizer) -> Result<Arc<CompiledGrammar>> {
        Vocabulary::new(tokenizer)?.compile(self)
    }

    pub(super) fn kind(&self) -> &'static str {
        match &self.form {
            Form::Text { kind, .. } => kind,
            Form::Reply(reply) if reply.calls.is_some() => "grammar of tool calls",
            Form::Reply(_) => "JSON schema",
        }
    }

    pub(super) fn forces_tokens(&self) -> bool {
        self.forcing
    }

    /// Returns the whole grammar as it is compiled.
    pub(super) fn to_lark(&self, vocabulary: &Vocabulary) -> String {
        match &self.form {
            Form::Text { lark, .. } => lark.clone(),
            Form::Reply(reply) => reply.to_lark(vocabulary),
        }
    }

    /// Turns what the compiler says into an error that names what the caller wrote.
    pub(super) fn explain(&self, vocabulary: &Vocabulary, message: &str) -> Error {
        let kind = self.kind();
        let reason = compiled::reason(message);
        let has = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
        if let Form::Reply(reply) = &self.form {
            for prepared in reply.schemas() {
                if let Some(error) = prepared.blame(vocabulary) {
                    return error;
                }
            }
        }
        if has(&["nsatisfiable", "NoExtension", "no_extension", "no tokens"]) {
            return Error::Unsatisfiable { kind, reason };
        }
        if has(&[
            "too large",
            "too big",
            "too complex",
            "limit",
            "fuel",
            "too many",
        ]) {
            return Error::GrammarSize { kind, reason };
        }
        Error::Grammar { kind, reason }
    }
}

impl Reply {
    fn schemas(&self) -> impl Iterator<Item = &Prepared> {
        let calls = self.calls.iter().flat_map(Calls::schemas);
        self.json.iter().chain(calls)
    }

    fn to_lark(&self, vocabulary: &Vocabulary) -> String {
        let mut rules = String::new();
        let mut answers = Vec::new();
        if let Some(json) = &self.json {
            answers.push("json".to_owned());
            rules += &format!("json: %json {}\n", json.root());
        }
        if let Some(calls) = &self.calls {
            answers.push(calls.to_lark(vocabulary, self.free, &mut rules));
        }
        rules += &format!("answer: {}\n", answers.join(" | "));
        let Some(Thinking { tags, opened }) = self.thinking else {
            return format!("start: answer\n{rules}");
        };
        let marks = tags.marks();
        let close = tags.close();
        rules += &match vocabulary.special(close) {
            Some(id) => format!("thoughts: THOUGHTS <[{id}]>\nTHOUGHTS: /(?s:.*)/\n"),
            None => format!("thoughts[suffix={}]: /(?s:.*)/\n", lark::literal(close)),
        };
        rules += "SPACE: /[ \\t\\r\\n]{1,4}/\n";
        let start = match (
            opened,
            self.free && vocabulary.special(tags.open()).is_none(),
        ) {
            (true, _) => "thoughts SPACE? answer".to_owned(),
            // Any text may stand there, the tags among it.
            (false, true) => "answer".to_owned(),
            (false, false) => {
                let open = lark::with_marks(tags.open(), &marks, vocabulary);
                format!("answer | {open} thoughts SPACE? answer")
            }
        };
        format!("start: {start}\n{rules}")
    }
}

/// Refuses a text that is too long or too deep to be read.
pub(super) fn check_size(kind: &'static str, text: &str) -> Result<()> {
    let refused = |reason: String| Err(Error::GrammarSize { kind, reason });
    if text.len() > LONGEST {
        let reason = format!("it has {} bytes, {LONGEST} are allowed", text.len());
        return refused(reason);
    }
    let (mut depth, mut deepest) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > DEEPEST {
        let reason = format!("its brackets nest {deepest} deep, {DEEPEST} are allowed");
        return refused(reason);
    }
    Ok(())
}

/// Refuses a grammar of too many rules.
pub(super) fn check_rules(kind: &'static str, rules: usize) -> Result<()> {
    if rules > MOST_RULES {
        let reason = format!("it has {rules} rules, {MOST_RULES} are allowed");
        return Err(Error::GrammarSize { kind, reason });
    }
    Ok(())
}
