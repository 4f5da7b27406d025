//! Steps that ask a model.

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use ropewalk_core::schemars::JsonSchema;
use ropewalk_core::{
    ChatModel, ChatModelExt, ChatRequest, ChatResponse, DynChatModel, ExtractOptions, Result,
    StreamEvent,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Step, StepContext, StepEvent, StepExt, Then};
use crate::driven::driven;
use crate::prompt::{ChatPrompt, Prompt, TypedPrompt, Vars};

/// A prompt makes a request of values.
#[async_trait]
impl Step<Vars, ChatRequest> for ChatPrompt {
    async fn run(&self, input: Vars, _context: &StepContext) -> Result<ChatRequest> {
        Ok(self.format(&input)?)
    }
}

/// A typed prompt makes a request of the fields of a struct.
#[async_trait]
impl<T: Serialize + Send + 'static> Step<T, ChatRequest> for TypedPrompt<T> {
    async fn run(&self, input: T, _context: &StepContext) -> Result<ChatRequest> {
        Ok(self.format(&input)?)
    }
}

/// A template of one text makes a request of one message.
#[async_trait]
impl Step<Vars, ChatRequest> for Prompt {
    async fn run(&self, input: Vars, _context: &StepContext) -> Result<ChatRequest> {
        Ok(ChatRequest::from(self.content(&input)?))
    }
}

/// Asks a model; its text streams.
#[derive(Clone)]
pub struct ModelStep {
    model: DynChatModel,
}

impl ModelStep {
    /// Creates a step that asks this model.
    pub fn new(model: impl ChatModel + 'static) -> Self {
        Self {
            model: Arc::new(model),
        }
    }

    /// Reduces the reply to its text.
    #[must_use]
    pub fn text(self) -> Then<ChatRequest, ChatResponse, String> {
        self.then(AsText)
    }
}

impl std::fmt::Debug for ModelStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelStep")
            .field("provider", &self.model.provider())
            .field("model", &self.model.model())
            .finish()
    }
}

#[async_trait]
impl Step<ChatRequest, ChatResponse> for ModelStep {
    async fn run(&self, mut input: ChatRequest, context: &StepContext) -> Result<ChatResponse> {
        context.apply(&mut input);
        self.model.chat(&input).await
    }

    fn stream(
        self: Arc<Self>,
        mut input: ChatRequest,
        context: StepContext,
    ) -> BoxStream<'static, Result<StepEvent<ChatResponse>>> {
        context.apply(&mut input);
        driven(move |sink| {
            async move {
                let mut events = self.model.stream(&input).await?;
                while let Some(event) = events.next().await {
                    match event? {
                        StreamEvent::TextDelta { text, .. } => {
                            sink.send(StepEvent::Delta(text)).await;
                        }
                        StreamEvent::Finished(response) => {
                            sink.send(StepEvent::Done(*response)).await;
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
            .boxed()
        })
    }

    fn name(&self) -> &str {
        self.model.model()
    }
}

/// Reduces a reply to its text, letting the text stream.
#[derive(Debug, Clone, Copy, Default)]
pub struct AsText;

#[async_trait]
impl Step<ChatResponse, String> for AsText {
    async fn run(&self, input: ChatResponse, _context: &StepContext) -> Result<String> {
        Ok(input.text())
    }

    fn keeps_text(&self) -> bool {
        true
    }
}

/// Asks a model for a value of type `T`.
pub struct ExtractStep<T> {
    model: DynChatModel,
    options: ExtractOptions,
    output: PhantomData<fn() -> T>,
}

impl<T> ExtractStep<T> {
    /// Creates a step that asks this model.
    pub fn new(model: impl ChatModel + 'static) -> Self {
        Self {
            model: Arc::new(model),
            options: ExtractOptions::default(),
            output: PhantomData,
        }
    }

    /// Sets how the value is asked for.
    #[must_use]
    pub fn with_options(mut self, options: ExtractOptions) -> Self {
        self.options = options;
        self
    }
}

#[async_trait]
impl<T: DeserializeOwned + JsonSchema + Send + 'static> Step<ChatRequest, T> for ExtractStep<T> {
    async fn run(&self, mut input: ChatRequest, context: &StepContext) -> Result<T> {
        context.apply(&mut input);
        let extracted = self.model.extract_with(input, &self.options).await?;
        Ok(extracted.value)
    }

    fn name(&self) -> &str {
        self.model.model()
    }
}
