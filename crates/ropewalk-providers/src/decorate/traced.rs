//! Spans with the names of OpenTelemetry's conventions for generative AI
//! (`semantic-conventions-genai`, in development; read on 2026-11-20).

use futures_util::StreamExt;
use ropewalk_core::{
    Capabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, Options, Result,
    StreamEvent, async_trait,
};
use tracing::field::{Empty, display};
use tracing::{Instrument, Span};

/// Opens the span of a chat call; [`settled`] and [`followed`] fill in what is known later.
pub(crate) fn chat_span(model: &dyn ChatModel, request: &ChatRequest, server: &str) -> Span {
    let span = tracing::info_span!(
        "chat",
        otel.name = Empty,
        otel.kind = "client",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = Empty,
        gen_ai.request.model = Empty,
        gen_ai.request.max_tokens = Empty,
        gen_ai.request.temperature = Empty,
        gen_ai.request.top_p = Empty,
        gen_ai.response.id = Empty,
        gen_ai.response.model = Empty,
        gen_ai.response.finish_reasons = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        server.address = Empty,
        duration_ms = Empty,
        error.type = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    span.record("otel.name", display(format_args!("chat {}", model.model())));
    span.record("gen_ai.provider.name", model.provider());
    span.record("gen_ai.request.model", model.model());
    let Options {
        max_tokens,
        temperature,
        top_p,
        ..
    } = &request.options;
    if let Some(tokens) = max_tokens {
        span.record("gen_ai.request.max_tokens", tokens);
    }
    for (name, value) in [
        ("gen_ai.request.temperature", temperature),
        ("gen_ai.request.top_p", top_p),
    ] {
        if let Some(value) = value {
            span.record(name, f64::from(*value));
        }
    }
    if !server.is_empty() {
        span.record("server.address", server);
    }
    span
}

/// Records how a call ended.
pub(crate) fn settled(span: &Span, result: Result<&ChatResponse, &Error>) {
    if span.is_disabled() {
        return;
    }
    match result {
        Ok(response) => {
            if let Some(id) = &response.id {
                span.record("gen_ai.response.id", id.as_str());
            }
            span.record("gen_ai.response.model", response.model.as_str());
            span.record(
                "gen_ai.response.finish_reasons",
                response.finish_reason.as_str(),
            );
            if let Some(tokens) = response.usage.input_tokens {
                span.record("gen_ai.usage.input_tokens", tokens);
            }
            if let Some(tokens) = response.usage.output_tokens {
                span.record("gen_ai.usage.output_tokens", tokens);
            }
            let total = u64::try_from(response.timing.total.as_millis()).unwrap_or(u64::MAX);
            span.record("duration_ms", total);
        }
        Err(error) => {
            span.record("error.type", error.kind().as_str());
        }
    }
}

/// Keeps a span open until its stream ends or is dropped.
pub(crate) fn followed(
    stream: ChatStream,
    model: &dyn ChatModel,
    span: Span,
    content: bool,
) -> ChatStream {
    if span.is_disabled() {
        return stream;
    }
    let (provider, name) = (model.provider().to_owned(), model.model().to_owned());
    let events = stream.inspect(move |event| match event {
        Ok(StreamEvent::Finished(response)) => {
            settled(&span, Ok(response));
            show_reply(&span, content, response);
        }
        Err(error) => settled(&span, Err(error)),
        Ok(_) => {}
    });
    ChatStream::from_events(provider, name, events)
}

/// What was said, as an event inside the span, only on request: it is personal.
fn show_request(span: &Span, content: bool, request: &ChatRequest) {
    if content && !span.is_disabled() {
        let messages = serde_json::to_string(&request.messages).unwrap_or_default();
        tracing::info!(parent: span, gen_ai.input.messages = messages, "gen_ai.input");
    }
}

fn show_reply(span: &Span, content: bool, response: &ChatResponse) {
    if content && !span.is_disabled() {
        let message = serde_json::to_string(&response.message).unwrap_or_default();
        tracing::info!(parent: span, gen_ai.output.messages = message, "gen_ai.output");
    }
}

/// Opens a `tracing` span around every call of a model: operation, provider, model, tokens, finish
/// reason and time, under the names of OpenTelemetry. What was said is left out unless asked for.
///
/// The models of this crate open their spans themselves; this is for others, and for content.
#[derive(Debug, Clone)]
pub struct Traced<M> {
    model: M,
    content: bool,
}

impl<M: ChatModel> Traced<M> {
    /// Wraps a model.
    pub fn new(model: M) -> Self {
        Self {
            model,
            content: false,
        }
    }

    /// Sets whether what was said is recorded, too (`gen_ai.input.messages`,
    /// `gen_ai.output.messages`).
    #[must_use]
    pub fn with_content(mut self, content: bool) -> Self {
        self.content = content;
        self
    }
}

#[async_trait]
impl<M: ChatModel> ChatModel for Traced<M> {
    fn provider(&self) -> &str {
        self.model.provider()
    }

    fn model(&self) -> &str {
        self.model.model()
    }

    fn capabilities(&self) -> Capabilities {
        self.model.capabilities()
    }

    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let span = chat_span(self, request, "");
        show_request(&span, self.content, request);
        let result = self.model.chat(request).instrument(span.clone()).await;
        settled(&span, result.as_ref());
        if let Ok(response) = &result {
            show_reply(&span, self.content, response);
        }
        result
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let span = chat_span(self, request, "");
        show_request(&span, self.content, request);
        match self.model.stream(request).instrument(span.clone()).await {
            Ok(stream) => Ok(followed(stream, self, span, self.content)),
            Err(error) => {
                settled(&span, Err(&error));
                Err(error)
            }
        }
    }

    async fn count_tokens(&self, request: &ChatRequest) -> Result<Option<u64>> {
        self.model.count_tokens(request).await
    }
}
