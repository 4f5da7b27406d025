//! Models that speak.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use serde_json::{Map, Value};

use crate::error::Result;
use crate::media::Audio;

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
    /// Further fields of the request body.
    pub extra: Map<String, Value>,
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
    async fn speak(&self, request: &SpeechRequest) -> Result<Audio>;

    /// Speaks piece by piece; the pieces concatenated are the file `speak` returns.
    ///
    /// # Errors
    /// As `speak`.
    async fn speak_stream(
        &self,
        request: &SpeechRequest,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let audio = self.speak(request).await?;
        Ok(futures_util::stream::iter([Ok(audio.data)]).boxed())
    }
}

/// A shared speech model of any type.
pub type DynSpeechModel = Arc<dyn SpeechModel>;

crate::forward::forward! { M: SpeechModel =>
    fn provider(&self) -> &str { (**self).provider() }
    fn model(&self) -> &str { (**self).model() }

    async fn speak(&self, request: &SpeechRequest) -> Result<Audio> {
        (**self).speak(request).await
    }

    async fn speak_stream(
        &self,
        request: &SpeechRequest,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        (**self).speak_stream(request).await
    }
}
