//! Typed values that grow while the model writes them.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use ropewalk_core::schemars::JsonSchema;
use ropewalk_core::{
    ChatModel, ChatRequest, ChatResponse, ChatStream, ExtractMode, ExtractPlan, Result, StreamEvent,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::partial::PartialJson;

/// A step of [`extract_stream`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Growing<T> {
    /// What has been said so far: more than in the step before, see
    /// [`PartialJson`](crate::PartialJson).
    Partial(Value),
    /// The end. Always last and exactly once on success.
    Done {
        /// The value.
        value: T,
        /// The reply it was read from, with the tokens used.
        response: Box<ChatResponse>,
    },
}

/// The stream of [`extract_stream`]. Dropping it cancels the call.
pub struct ExtractStream<T> {
    events: ChatStream,
    plan: ExtractPlan,
    reader: Reader,
    /// Position of the part that holds the value, when it is a tool call.
    call: Option<u32>,
    /// What was told last.
    told: Option<Value>,
    over: bool,
    kind: PhantomData<fn() -> T>,
}

/// Asks for a value of type `T` and yields what is known of it while the model writes.
///
/// The value is asked for as [`extract`](ropewalk_core::ChatModelExt::extract) does, in the mode
/// given. A stream cannot be asked again: a reply that does not fit is an error of kind
/// [`Schema`](ropewalk_core::ErrorKind::Schema), after the partial values. Each partial value is a
/// copy of what came, made when that is more than before.
///
/// ```
/// use futures_util::StreamExt;
/// use ropewalk_core::schemars::{self, JsonSchema};
/// use ropewalk_core::testing::ScriptedModel;
/// use ropewalk_core::ExtractMode;
/// use ropewalk_tools::{Growing, extract_stream};
/// use serde::Deserialize;
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Joke { setup: String, punchline: String }
///
/// let reply = r#"{"setup": "Why?", "punchline": "Because."}"#;
/// let model = ScriptedModel::new().reply(reply).with_chunk(12);
/// # futures_executor::block_on(async {
/// let mut joke = extract_stream::<Joke, _>(&model, "A joke.", ExtractMode::Prompt).await?;
/// let mut seen = Vec::new();
/// while let Some(step) = joke.next().await {
///     match step? {
///         Growing::Partial(value) => seen.push(value["punchline"].as_str().map(str::to_owned)),
///         Growing::Done { value, .. } => assert_eq!(value.punchline, "Because."),
///         _ => {}
///     }
/// }
/// let texts: Vec<&str> = seen.iter().flatten().map(String::as_str).collect();
/// assert_eq!(texts, ["Beca", "Because."]);
/// # Ok::<(), ropewalk_core::Error>(()) }).unwrap();
/// ```
///
/// # Errors
/// Whatever keeps the model from beginning to answer.
pub async fn extract_stream<T, M>(
    model: &M,
    request: impl Into<ChatRequest> + Send,
    mode: ExtractMode,
) -> Result<ExtractStream<T>>
where
    T: DeserializeOwned + JsonSchema,
    M: ChatModel + ?Sized,
{
    let mut request = request.into();
    let plan = ExtractPlan::of::<T, M>(model, &request, mode);
    plan.prepare(&mut request);
    Ok(ExtractStream {
        events: model.stream(&request).await?,
        plan,
        reader: Reader::default(),
        call: None,
        told: None,
        over: false,
        kind: PhantomData,
    })
}

impl<T: DeserializeOwned> ExtractStream<T> {
    /// Returns the step an event of the model stands for, if it stands for one.
    fn step(&mut self, event: StreamEvent) -> Option<Result<Growing<T>>> {
        let piece = match event {
            StreamEvent::Finished(response) => {
                self.over = true;
                let value = self.plan.read(&response);
                return Some(value.map(|value| Growing::Done { value, response }));
            }
            StreamEvent::ToolCallStarted { index, name, .. } => {
                if self.plan.tool() == Some(name.as_str()) && self.call.is_none() {
                    self.call = Some(index);
                }
                return None;
            }
            StreamEvent::ToolCallDelta { index, json } if self.call == Some(index) => json,
            StreamEvent::TextDelta { text, .. } if self.call.is_none() => text,
            _ => return None,
        };
        if !self.reader.push(&piece) {
            return None;
        }
        let value = self.reader.json.value()?;
        let value = match self.plan.field() {
            Some(field) => value.get(field)?,
            None => value,
        };
        // Keys, white space and half of a number say nothing yet.
        if self.told.as_ref() == Some(value) {
            return None;
        }
        self.told = Some(value.clone());
        Some(Ok(Growing::Partial(value.clone())))
    }
}

impl<T: DeserializeOwned> Stream for ExtractStream<T> {
    type Item = Result<Growing<T>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.over {
            let event = match ready!(Pin::new(&mut self.events).poll_next(cx)) {
                Some(Ok(event)) => event,
                other => {
                    self.over = true;
                    return Poll::Ready(other.and_then(Result::err).map(Err));
                }
            };
            if let Some(step) = self.step(event) {
                return Poll::Ready(Some(step));
            }
        }
        Poll::Ready(None)
    }
}

impl<T> fmt::Debug for ExtractStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtractStream")
            .field("plan", &self.plan)
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}

/// Finds the object in text that may have prose or a code fence around it.
#[derive(Debug, Default)]
struct Reader {
    json: PartialJson,
    begun: bool,
}

impl Reader {
    /// Reads more and returns whether it belonged to the object.
    fn push(&mut self, text: &str) -> bool {
        let mut rest = text;
        let mut read = false;
        while !rest.is_empty() {
            if !self.begun {
                let Some(at) = rest.find('{') else { break };
                rest = &rest[at..];
                self.begun = true;
            }
            if self.json.is_complete() {
                break;
            }
            let before = self.json.offset();
            let failed = self.json.push(rest).is_err();
            if failed && !self.json.is_complete() {
                // Braces of prose; the object comes later.
                rest = &rest[self.json.offset() - before..];
                *self = Self::default();
                continue;
            }
            read = true;
            break;
        }
        read
    }
}
