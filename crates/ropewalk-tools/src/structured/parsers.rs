//! Parsers of replies that are plain text.

use std::fmt;
use std::marker::PhantomData;

use ropewalk_core::schemars::{JsonSchema, schema_for};
use ropewalk_core::{
    ChatModel, ChatRequest, ChatResponse, Error, ErrorKind, Message, Result, Role, Usage,
};
use serde::de::DeserializeOwned;

use super::fence::FenceStripper;

/// Reads a value from the text of a reply, and tells the model how to write it.
///
/// For models that neither enforce schemas nor call tools, and for forms that are no JSON.
/// [`ask_parsed`] puts the instructions into a request and gives the model another try.
pub trait OutputParser: Send + Sync {
    /// What is read.
    type Output: Send;

    /// Returns what to tell the model about the form of its reply.
    fn format_instructions(&self) -> String;

    /// Reads the text of a reply.
    ///
    /// # Errors
    /// What is wrong, in words fit for the model.
    fn parse(&self, text: &str) -> std::result::Result<Self::Output, String>;
}

/// A value that was read, and what it took.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Parsed<T> {
    /// The value.
    pub value: T,
    /// Tokens of all attempts together.
    pub usage: Usage,
    /// How many times the model was asked.
    pub attempts: u32,
    /// The reply the value was read from.
    pub response: ChatResponse,
}

/// Asks a model for a reply that `parser` reads; one that it does not read goes back to the model
/// with what is wrong, at most `retries` times.
///
/// ```
/// use ropewalk_core::testing::ScriptedModel;
/// use ropewalk_tools::{ListParser, ask_parsed};
///
/// let model = ScriptedModel::new().reply("red, green , blue");
/// # futures_executor::block_on(async {
/// let colours = ask_parsed(&model, "Three colours.", &ListParser::commas(), 2).await?;
/// assert_eq!(colours.value, ["red", "green", "blue"]);
/// let asked = &model.requests()[0];
/// assert!(asked.messages[0].text().contains("separated by commas"));
/// # Ok::<(), ropewalk_core::Error>(()) }).unwrap();
/// ```
///
/// # Errors
/// [`ErrorKind::Schema`] with the last reply in [`Error::partial`] when no attempt is read; whatever
/// keeps the model from answering.
pub async fn ask_parsed<P, M>(
    model: &M,
    request: impl Into<ChatRequest> + Send,
    parser: &P,
    retries: u32,
) -> Result<Parsed<P::Output>>
where
    P: OutputParser + ?Sized,
    M: ChatModel + ?Sized,
{
    let mut request = request.into();
    instruct(&mut request, parser.format_instructions());
    let mut usage = Usage::default();
    let mut attempts = 0;
    loop {
        let response = model.chat(&request).await?;
        attempts += 1;
        usage += response.usage;
        let problem = match parser.parse(&response.text()) {
            Ok(value) => {
                return Ok(Parsed {
                    value,
                    usage,
                    attempts,
                    response,
                });
            }
            Err(problem) => problem,
        };
        let called = response.message.tool_calls().next().is_some();
        if attempts > retries || called {
            let message = format!("the reply was not in the form asked for: {problem}");
            return Err(Error::new(ErrorKind::Schema, message)
                .with_provider(response.provider.clone())
                .with_partial(response));
        }
        let again = format!("{problem}\nCorrect this and answer again in the form asked for.");
        request = request.message(response.message).user(again);
    }
}

/// Appends to the leading system message, or makes one.
fn instruct(request: &mut ChatRequest, instructions: String) {
    match request.messages.first_mut() {
        Some(first) if first.role == Role::System => {
            let part = ropewalk_core::Part::text(format!("\n\n{instructions}"));
            first.content.push(part);
        }
        _ => request.messages.insert(0, Message::system(instructions)),
    }
}

/// Reads JSON of a type, alone, in a code fence or amid prose.
pub struct JsonParser<T>(PhantomData<fn() -> T>);

impl<T: DeserializeOwned + JsonSchema> JsonParser<T> {
    /// Creates a parser.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: DeserializeOwned + JsonSchema> Default for JsonParser<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for JsonParser<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonParser")
    }
}

/// How many places of a reply are tried as the beginning of the value.
const TRIES: usize = 64;

impl<T: DeserializeOwned + JsonSchema + Send> OutputParser for JsonParser<T> {
    type Output = T;

    fn format_instructions(&self) -> String {
        let mut schema = schema_for!(T);
        schema.remove("$schema");
        format!(
            "Answer with JSON that matches this schema, and nothing else:\n{}",
            schema.as_value()
        )
    }

    fn parse(&self, text: &str) -> std::result::Result<T, String> {
        let text = FenceStripper::strip(text);
        let problem = match serde_json::from_str(text.trim()) {
            Ok(value) => return Ok(value),
            Err(problem) => problem,
        };
        let begins = text.match_indices(['{', '[']).map(|(at, _)| at).take(TRIES);
        let mut values = begins.filter_map(|at| {
            serde_json::Deserializer::from_str(&text[at..])
                .into_iter()
                .next()?
                .ok()
        });
        values
            .next()
            .ok_or_else(|| format!("the JSON does not fit: {problem}"))
    }
}

/// Reads a list of short texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListParser {
    commas: bool,
}

impl ListParser {
    /// Creates a parser of `a, b, c`.
    #[must_use]
    pub fn commas() -> Self {
        Self { commas: true }
    }

    /// Creates a parser of one item per line; bullets and numbers before them are left out.
    #[must_use]
    pub fn lines() -> Self {
        Self { commas: false }
    }
}

impl OutputParser for ListParser {
    type Output = Vec<String>;

    fn format_instructions(&self) -> String {
        match self.commas {
            true => "Answer with the items separated by commas, and nothing else: a, b, c".into(),
            false => "Answer with one item per line, and nothing else.".into(),
        }
    }

    fn parse(&self, text: &str) -> std::result::Result<Vec<String>, String> {
        let text = FenceStripper::strip(text);
        let separators: &[char] = if self.commas { &[',', '\n'] } else { &['\n'] };
        let items = text.split(separators).map(|item| bare(item.trim()));
        let items: Vec<String> = items.filter(|i| !i.is_empty()).map(str::to_owned).collect();
        if items.is_empty() {
            Err("the list is empty".into())
        } else {
            Ok(items)
        }
    }
}

/// Returns an item without its bullet or number.
fn bare(item: &str) -> &str {
    let bullet = item
        .strip_prefix(['-', '*', '•'])
        .filter(|rest| rest.starts_with(' '));
    let digits = item.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = digits
        .strip_prefix(['.', ')'])
        .filter(|rest| digits.len() < item.len() && rest.starts_with(' '));
    bullet.or(number).unwrap_or(item).trim()
}

/// Reads one of several labels, however it is cased, quoted or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnumParser {
    labels: Vec<String>,
}

impl EnumParser {
    /// Creates a parser of these labels; see [`labels`](crate::labels) for those of an enum.
    pub fn new<L: Into<String>>(labels: impl IntoIterator<Item = L>) -> Self {
        Self {
            labels: labels.into_iter().map(Into::into).collect(),
        }
    }
}

impl OutputParser for EnumParser {
    type Output = String;

    fn format_instructions(&self) -> String {
        format!(
            "Answer with exactly one of these, and nothing else: {}",
            self.labels.join(", ")
        )
    }

    fn parse(&self, text: &str) -> std::result::Result<String, String> {
        let said = text
            .trim()
            .trim_matches(['"', '\'', '`', '*', '.', '!', ' ', '\n'])
            .to_lowercase();
        let found = self
            .labels
            .iter()
            .find(|label| label.to_lowercase() == said);
        found.cloned().ok_or_else(|| {
            format!(
                "the answer must be exactly one of: {}",
                self.labels.join(", ")
            )
        })
    }
}
