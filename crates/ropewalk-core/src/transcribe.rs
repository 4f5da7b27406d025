//! Models that write down what is said.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Result;
use crate::media::Audio;
use crate::reply::{Extra, reply_setters, request_setters};
use crate::request::OnUnsupported;
use crate::response::{Usage, Warning};

/// Sound to be written down.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TranscribeRequest {
    /// The sound.
    pub audio: Audio,
    /// Language spoken, as ISO 639-1; detected when `None`.
    pub language: Option<String>,
    /// Text that came before, or names to be spelled right.
    pub prompt: Option<String>,
    /// Translate into English.
    pub translate: bool,
    /// Return the time of each word.
    pub word_times: bool,
    /// What to do with what the model cannot honour.
    pub on_unsupported: OnUnsupported,
    /// Fields merged last into the request body, by provider name; `*` for all.
    pub extra: Extra,
}

impl TranscribeRequest {
    /// Creates a request with the language detected.
    #[must_use]
    pub fn new(audio: Audio) -> Self {
        Self {
            audio,
            language: None,
            prompt: None,
            translate: false,
            word_times: false,
            on_unsupported: OnUnsupported::default(),
            extra: Extra::new(),
        }
    }

    /// Sets the language spoken.
    #[must_use]
    pub fn with_language(mut self, language: impl Into<String>) -> Self {
        self.language = Some(language.into());
        self
    }

    /// Sets the text that came before.
    #[must_use]
    pub fn with_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.prompt = Some(prompt.into());
        self
    }

    /// Sets whether to translate into English.
    #[must_use]
    pub fn with_translate(mut self, translate: bool) -> Self {
        self.translate = translate;
        self
    }

    /// Sets whether to return the time of each word.
    #[must_use]
    pub fn with_word_times(mut self, word_times: bool) -> Self {
        self.word_times = word_times;
        self
    }
}

/// A stretch of speech.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Segment {
    /// Begin, in seconds.
    pub start: f32,
    /// End, in seconds.
    pub end: f32,
    /// What was said.
    pub text: String,
    /// Who said it, when speakers are told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
}

impl Segment {
    /// Creates a segment; times in seconds.
    pub fn new(start: f32, end: f32, text: impl Into<String>) -> Self {
        Self {
            start,
            end,
            text: text.into(),
            speaker: None,
        }
    }
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Transcript {
    /// The whole text.
    pub text: String,
    /// Language spoken, as the provider names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Length of the sound, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f32>,
    /// The text in stretches of a few seconds, when the model reports them.
    pub segments: Vec<Segment>,
    /// The text word by word, when asked for.
    pub words: Vec<Segment>,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// Tokens used.
    pub usage: Usage,
    /// What was not honoured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// The provider's reply, where it says more than the fields above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<Value>,
}

impl Transcript {
    /// Creates a transcript with text only; the fields are public.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }
}

request_setters!(TranscribeRequest);
reply_setters!(Transcript);

/// A model that turns sound into text.
#[async_trait]
pub trait TranscriptionModel: Send + Sync {
    /// Returns who runs the model.
    fn provider(&self) -> &str;

    /// Returns the name of the model.
    fn model(&self) -> &str;

    /// Writes down what is said.
    ///
    /// # Errors
    /// Whatever keeps the model from answering.
    async fn transcribe(&self, request: &TranscribeRequest) -> Result<Transcript>;
}

/// A shared transcription model of any type.
pub type DynTranscriptionModel = Arc<dyn TranscriptionModel>;

crate::forward::forward! { M: TranscriptionModel =>
    fn provider(&self) -> &str { (**self).provider() }
    fn model(&self) -> &str { (**self).model() }

    async fn transcribe(&self, request: &TranscribeRequest) -> Result<Transcript> {
        (**self).transcribe(request).await
    }
}
