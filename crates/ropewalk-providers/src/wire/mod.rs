//! The languages that APIs speak, as pure functions: from a request to JSON, from JSON to deltas.
//!
//! A wire does no I/O. It is tested by its input and output alone, the same decoder serves `chat`
//! and `stream`, and replies of batches go through it too.

mod notes;

use std::fmt;

use ropewalk_core::{ChatRequest, Result, WireDelta};
use ropewalk_http::{Frame, Framer, Framing};
use serde_json::{Map, Value};

pub use notes::Notes;

/// An encoded request.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Call {
    /// Path below the base URL, with a leading slash; parameters may follow a `?`.
    pub path: String,
    /// Headers beyond those of the endpoint.
    pub headers: Vec<(&'static str, String)>,
    /// The JSON body.
    pub body: Value,
    /// What was not honoured.
    pub notes: Notes,
}

impl Call {
    /// Creates a call without headers of its own.
    pub fn new(path: impl Into<String>, body: impl Into<Value>, notes: Notes) -> Self {
        Self {
            path: path.into(),
            headers: Vec::new(),
            body: body.into(),
            notes,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Turns the frames of one streamed reply into deltas.
pub trait Decoder: Send {
    /// Takes a frame and appends the deltas that follow from it.
    ///
    /// The decoder pushes [`WireDelta::End`] when the provider's end marker comes, and only then:
    /// a stream without it is cut.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](ropewalk_core::ErrorKind::Decode) for what the wire does not speak, the
    /// kind of an error object that came in band.
    fn frame(&mut self, frame: &Frame, deltas: &mut Vec<WireDelta>) -> Result<()>;

    /// Takes the end of the body. Wires whose end marker is the end itself push
    /// [`WireDelta::End`] here if what came is whole.
    ///
    /// # Errors
    /// As `frame`.
    fn finish(&mut self, deltas: &mut Vec<WireDelta>) -> Result<()> {
        let _ = deltas;
        Ok(())
    }
}

/// A language of chat APIs.
pub trait Wire: Send + Sync + fmt::Debug {
    /// Returns the provider's name, which replies and errors carry and
    /// [`ChatRequest::extra`] is keyed by.
    fn provider(&self) -> &str;

    /// Encodes a request that [`ChatRequest::validate`] has passed.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](ropewalk_core::ErrorKind::Unsupported) under
    /// [`OnUnsupported::Error`](ropewalk_core::OnUnsupported::Error), or for what cannot be left out;
    /// [`ErrorKind::Schema`](ropewalk_core::ErrorKind::Schema) for a schema the wire cannot express.
    fn encode(&self, model: &str, request: &ChatRequest, stream: bool) -> Result<Call>;

    /// Decodes a whole reply. The deltas end with [`WireDelta::End`].
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](ropewalk_core::ErrorKind::Decode) when it is no reply of this wire.
    fn decode(&self, body: Value) -> Result<Vec<WireDelta>>;

    /// Returns a decoder for one streamed reply.
    fn decoder(&self) -> Box<dyn Decoder>;

    /// Returns how streamed replies are cut.
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    /// Returns a framer for one streamed reply; of [`framing`](Self::framing) unless the wire has
    /// one of its own.
    fn framer(&self, max_line: usize) -> Box<dyn Framer> {
        self.framing().framer(max_line)
    }

    /// Returns the `accept` header of streamed requests.
    fn accept(&self) -> &'static str {
        self.framing().accept()
    }

    /// Encodes a question for the number of tokens of a prompt, when the API has one.
    ///
    /// # Errors
    /// As `encode`.
    fn encode_count(&self, model: &str, request: &ChatRequest) -> Result<Option<Call>> {
        let _ = (model, request);
        Ok(None)
    }

    /// Decodes the answer to [`encode_count`](Self::encode_count).
    fn decode_count(&self, body: &Value) -> Option<u64> {
        let _ = body;
        None
    }
}

/// Merges the fields a caller wants in the body besides: those of `*` first, then the provider's.
pub fn merge_extra(body: &mut Map<String, Value>, request: &ChatRequest, provider: &str) {
    merge(body, &request.extra, provider);
}

/// As [`merge_extra`], for requests of the other abilities.
pub(crate) fn merge(
    body: &mut Map<String, Value>,
    extra: &std::collections::BTreeMap<String, Map<String, Value>>,
    provider: &str,
) {
    for key in ["*", provider] {
        for (name, value) in extra.get(key).into_iter().flatten() {
            body.insert(name.clone(), value.clone());
        }
    }
}
