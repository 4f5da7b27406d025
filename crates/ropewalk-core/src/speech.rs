//! Models that speak.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use serde_json::Value;

use crate::error::Result;
use crate::media::Audio;
use crate::reply::{Extra, reply_setters, request_setters};
use crate::request::OnUnsupported;
use crate::response::{Usage, Warning};

/// Text to be spoken.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct SpeechRequest {
    /// The text.
    pub text: String,
    /// Name of the voice.
    pub voice: Option<String>,
    /// Format of the sound, for example `mp3` or `wav`.
    pub format: Option<String>,
    /// Speed, 1 being normal.
    pub speed: Option<f32>,
    /// How to speak, where the model takes such a thing.
    pub instructions: Option<String>,
    /// What to do with what the model cannot honour.
    pub on_unsupported: OnUnsupported,
    /// Fields merged last into the request body, by provider name; `*` for all.
    pub extra: Extra,
}

impl SpeechRequest {
    /// Creates a request with the model's default voice and format.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Sets the voice.
    #[must_use]
    pub fn with_voice(mut self, voice: impl Into<String>) -> Self {
        self.voice = Some(voice.into());
        self
    }

    /// Sets the format of the sound.
    #[must_use]
    pub fn with_format(mut self, format: impl Into<String>) -> Self {
        self.format = Some(format.into());
        self
    }

    /// Sets the speed, 1 being normal.
    #[must_use]
    pub fn with_speed(mut self, speed: f32) -> Self {
        self.speed = Some(speed);
        self
    }

    /// Sets how to speak.
    #[must_use]
    pub fn with_instructions(mut self, instructions: impl Into<String>) -> Self {
        self.instructions = Some(instructions.into());
        self
    }
}

/// A text that was spoken.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SpeechResponse {
    /// The sound.
    pub audio: Audio,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// Tokens used.
    pub usage: Usage,
    /// What was not honoured.
    pub warnings: Vec<Warning>,
    /// The provider's reply, where it says more than the fields above.
    pub raw: Option<Value>,
}

impl SpeechResponse {
    /// Creates a response from the sound.
    #[must_use]
    pub fn new(audio: Audio) -> Self {
        Self {
            audio,
            model: String::new(),
            usage: Usage::default(),
            warnings: Vec::new(),
            raw: None,
        }
    }
}

request_setters!(SpeechRequest);
reply_setters!(SpeechResponse);

/// Speech that arrives piece by piece: a [`Stream`] of the pieces of a sound file.
#[non_exhaustive]
pub struct SpeechStream {
    /// MIME type of the pieces put together.
    pub mime: String,
    /// The model that answers, as the provider names it.
    pub model: String,
    /// What is not honoured.
    pub warnings: Vec<Warning>,
    pieces: BoxStream<'static, Result<Bytes>>,
}

impl SpeechStream {
    /// Creates a stream from the MIME type and the pieces.
    pub fn new(
        mime: impl Into<String>,
        pieces: impl Stream<Item = Result<Bytes>> + Send + 'static,
    ) -> Self {
        Self {
            mime: mime.into(),
            model: String::new(),
            warnings: Vec::new(),
            pieces: pieces.boxed(),
        }
    }

    /// Sets the model that answers, as the provider names it.
    #[must_use]
    pub fn with_model(mut self, model: impl Into<String>) -> Self {
        self.model = model.into();
        self
    }

    /// Adds warnings.
    #[must_use]
    pub fn with_warnings(mut self, warnings: impl IntoIterator<Item = Warning>) -> Self {
        self.warnings.extend(warnings);
        self
    }
}

impl From<SpeechResponse> for SpeechStream {
    /// The whole sound as one piece.
    fn from(response: SpeechResponse) -> Self {
        let Audio { data, mime, .. } = response.audio;
        Self::new(mime, futures_util::stream::iter([Ok(data)]))
            .with_model(response.model)
            .with_warnings(response.warnings)
    }
}

impl Stream for SpeechStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.poll_next_unpin(cx)
    }
}

impl fmt::Debug for SpeechStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpeechStream")
            .field("mime", &self.mime)
            .field("model", &self.model)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// A model that turns text into sound.
#[async_trait]
pub trait SpeechModel: Send + Sync {
    /// Returns who runs the model.
    fn provider(&self) -> &str;

    /// Returns the name of the model.
    fn model(&self) -> &str;

    /// Speaks a text.
    ///
    /// # Errors
    /// Whatever keeps the model from answering.
    async fn speak(&self, request: &SpeechRequest) -> Result<SpeechResponse>;

    /// Speaks piece by piece; the pieces concatenated are the file `speak` returns.
    ///
    /// # Errors
    /// As `speak`.
    async fn speak_stream(&self, request: &SpeechRequest) -> Result<SpeechStream> {
        Ok(self.speak(request).await?.into())
    }
}

/// A shared speech model of any type.
pub type DynSpeechModel = Arc<dyn SpeechModel>;

crate::forward::forward! { M: SpeechModel =>
    fn provider(&self) -> &str { (**self).provider() }
    fn model(&self) -> &str { (**self).model() }

    async fn speak(&self, request: &SpeechRequest) -> Result<SpeechResponse> {
        (**self).speak(request).await
    }

    async fn speak_stream(&self, request: &SpeechRequest) -> Result<SpeechStream> {
        (**self).speak_stream(request).await
    }
}
