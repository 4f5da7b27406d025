//! The one chat model of this crate: a wire over an endpoint.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_core::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use ropewalk_core::{
    Capabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, ErrorKind, Result,
    StreamAssembler, StreamEvent, WireDelta, async_trait,
};
use ropewalk_http::{Frame, Framing, Request};
use serde_json::Value;
use tracing::Instrument;

use crate::decorate::{chat_span, followed, settled};
use crate::endpoint::Endpoint;
use crate::wire::{Decoder, Notes, Wire};

/// A chat model behind an API.
///
/// Made by a provider, for example `OpenAi::chat`. Cheap to clone.
#[derive(Clone)]
pub struct RemoteChat {
    wire: Arc<dyn Wire>,
    endpoint: Endpoint,
    model: String,
    capabilities: Capabilities,
}

impl RemoteChat {
    /// Creates a model of any wire at any endpoint.
    pub fn new(
        wire: impl Wire + 'static,
        endpoint: Endpoint,
        model: impl Into<String>,
        capabilities: Capabilities,
    ) -> Self {
        Self {
            wire: Arc::new(wire),
            endpoint,
            model: model.into(),
            capabilities,
        }
    }

    /// Sets what the model can do, where the provider's usual abilities do not hold.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Sets the endpoint, for example the same with another key.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// Returns the endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the wire.
    #[must_use]
    pub fn wire(&self) -> &dyn Wire {
        &*self.wire
    }

    fn encode(&self, request: &ChatRequest, stream: bool) -> Result<(Request, Notes)> {
        request.validate()?;
        let call = self.wire.encode(&self.model, request, stream)?;
        let mut sent = self
            .endpoint
            .request_of(&call)?
            .with_timeout(request.timeout);
        if stream {
            sent = sent.with_header("accept", self.wire.accept())?;
        }
        Ok((sent, call.notes))
    }

    fn assembler(&self, request: &ChatRequest) -> StreamAssembler {
        // Wires without ids of calls get some that no other turn of the conversation has.
        let prefix = format!("call_{}_", request.messages.len());
        let provider = self.endpoint.provider().to_owned();
        StreamAssembler::new(provider, self.model.clone()).with_call_prefix(prefix)
    }

    fn whole(
        &self,
        body: Value,
        keep_raw: bool,
        mut assembler: StreamAssembler,
    ) -> Result<ChatResponse> {
        let raw = keep_raw.then(|| body.clone());
        let mut whole = None;
        for delta in self.endpoint.named(self.wire.decode(body))? {
            if let Some(StreamEvent::Finished(response)) = assembler.push(delta).pop() {
                whole = Some(*response);
            }
        }
        let mut response = match whole {
            Some(response) => response,
            None => self.endpoint.named(assembler.finish())?,
        };
        response.raw = raw.or(response.raw);
        Ok(response)
    }

    async fn ask(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let started = Instant::now();
        let (sent, notes) = self.encode(request, false)?;
        let reply = self.endpoint.client().send(&sent).await?;
        let assembler = with_request_id(self.assembler(request), reply.request_id())
            .with_warnings(notes.into_warnings())
            .with_start(started, reply.attempts);
        let body = self.endpoint.named(reply.json())?;
        let mut response = self.whole(body, request.keep_raw, assembler)?;
        response.timing.first_token = None;
        Ok(response)
    }

    async fn open(&self, request: &ChatRequest) -> Result<ChatStream> {
        let started = Instant::now();
        let (sent, notes) = self.encode(request, true)?;
        let reply = self.endpoint.client().stream(&sent).await?;
        let assembler = with_request_id(self.assembler(request), reply.request_id())
            .with_warnings(notes.into_warnings())
            .with_start(started, reply.attempts);
        if reply.is("text/html") {
            let message = "the reply is an HTML page, which a proxy or a wrong base URL gives";
            return Err(self.endpoint.name(Error::new(ErrorKind::Decode, message)));
        }
        // Some gateways answer whole although asked to stream.
        if reply.is("application/json") && self.wire.framing() == Framing::Sse {
            let body = reply.whole().await?;
            let body = serde_json::from_slice(&body).map_err(|e| {
                let message = format!("the reply is no JSON: {e}");
                self.endpoint.name(Error::new(ErrorKind::Decode, message))
            })?;
            return Ok(ChatStream::from_response(self.whole(
                body,
                request.keep_raw,
                assembler,
            )?));
        }
        let framer = self.wire.framer(self.endpoint.client().options().max_line);
        let reading = Reading {
            frames: reply.frames_by(framer),
            decoder: self.wire.decoder(),
            endpoint: self.endpoint.clone(),
            raw: request.keep_raw.then(Vec::new),
            deltas: Vec::new(),
            ready: VecDeque::new(),
            over: false,
        };
        Ok(ChatStream::from_deltas(assembler, reading.deltas()))
    }
}

fn with_request_id(assembler: StreamAssembler, id: Option<String>) -> StreamAssembler {
    match id {
        Some(id) => assembler.with_request_id(id),
        None => assembler,
    }
}

/// Reads what is left of a body after the provider's end marker, usually nothing but its own end: a
/// connection of HTTP/1 can be used again only then.
fn finish_body(mut frames: BoxStream<'static, Result<Frame>>) {
    const PATIENCE: Duration = Duration::from_secs(1);
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move {
            let rest = async { while let Some(Ok(_)) = frames.next().await {} };
            tokio::time::timeout(PATIENCE, rest).await.ok();
        });
    }
}

/// The reading of one streamed reply.
struct Reading {
    frames: BoxStream<'static, Result<Frame>>,
    decoder: Box<dyn Decoder>,
    endpoint: Endpoint,
    /// The frames as JSON, when the caller wants them.
    raw: Option<Vec<Value>>,
    /// Room for the deltas of one frame.
    deltas: Vec<WireDelta>,
    ready: VecDeque<Result<WireDelta>>,
    over: bool,
}

impl Reading {
    fn deltas(self) -> impl Stream<Item = Result<WireDelta>> + Send + 'static {
        futures_util::stream::unfold(self, |mut reading| async move {
            loop {
                if let Some(delta) = reading.ready.pop_front() {
                    return Some((delta, reading));
                }
                if reading.over {
                    return None;
                }
                reading.read().await;
            }
        })
    }

    /// Makes the deltas of the next frame, or of the end, ready.
    async fn read(&mut self) {
        let frame = self.frames.next().await;
        let deltas = &mut self.deltas;
        let result = match frame {
            Some(Ok(frame)) => {
                if let (Some(raw), Ok(value)) = (&mut self.raw, frame.json()) {
                    raw.push(value);
                }
                self.decoder.frame(&frame, deltas)
            }
            Some(Err(error)) => Err(error),
            None => {
                self.over = true;
                self.decoder.finish(deltas)
            }
        };
        let ended = deltas.iter().position(|d| *d == WireDelta::End);
        if let (Some(end), Some(raw)) = (ended, self.raw.take_if(|_| ended.is_some())) {
            deltas.insert(end, WireDelta::Raw(Value::Array(raw)));
        }
        self.over |= result.is_err() || ended.is_some();
        if ended.is_some() {
            finish_body(std::mem::replace(
                &mut self.frames,
                futures_util::stream::empty().boxed(),
            ));
        }
        let error = result.err().map(|e| Err(self.endpoint.name(e)));
        self.ready.extend(deltas.drain(..).map(Ok).chain(error));
    }
}

#[async_trait]
impl ChatModel for RemoteChat {
    fn provider(&self) -> &str {
        self.endpoint.provider()
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let span = chat_span(self, request, self.endpoint.host());
        let result = self.ask(request).instrument(span.clone()).await;
        let result = result.map_err(|e| self.endpoint.name(e));
        settled(&span, result.as_ref());
        result
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let span = chat_span(self, request, self.endpoint.host());
        let result = self.open(request).instrument(span.clone()).await;
        match result.map_err(|e| self.endpoint.name(e)) {
            Ok(stream) => Ok(followed(stream, self, span, false)),
            Err(error) => {
                settled(&span, Err(&error));
                Err(error)
            }
        }
    }

    async fn count_tokens(&self, request: &ChatRequest) -> Result<Option<u64>> {
        request.validate()?;
        let Some(call) = self.wire.encode_count(&self.model, request)? else {
            return Ok(None);
        };
        let sent = self.endpoint.request_of(&call)?;
        let sent = sent.with_timeout(request.timeout);
        let body = self.endpoint.json_of(&sent).await?;
        match self.wire.decode_count(&body) {
            Some(count) => Ok(Some(count)),
            None => {
                let message = "the reply to the question for tokens holds no count";
                Err(self.endpoint.name(Error::new(ErrorKind::Decode, message)))
            }
        }
    }
}

impl fmt::Debug for RemoteChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteChat")
            .field("model", &self.model)
            .field("wire", &self.wire)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
