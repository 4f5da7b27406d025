//! Speech models behind an API.

use futures_util::StreamExt;
use http::{HeaderMap, Method};
use ropewalk_core::{
    Audio, Result, SpeechModel, SpeechRequest, SpeechResponse, SpeechStream, async_trait,
};
use ropewalk_http::Request;
use serde_json::{Map, Value};

use super::Remote;
use crate::endpoint::Endpoint;
use crate::wire::Notes;

/// A speech model in OpenAI's shape, `/audio/speech`.
///
/// The API wants a voice; a request without one gets [`DEFAULT_VOICE`](Self::DEFAULT_VOICE). The
/// default format is MP3. The reply is the sound alone: there is no usage, and `raw` stays empty.
#[derive(Debug, Clone)]
pub struct RemoteSpeech {
    remote: Remote,
    voice: String,
}

impl RemoteSpeech {
    /// The voice of requests that name none.
    pub const DEFAULT_VOICE: &'static str = "alloy";

    /// Creates a model.
    pub fn new(endpoint: Endpoint, model: impl Into<String>) -> Self {
        Self {
            remote: Remote::new(endpoint, model),
            voice: Self::DEFAULT_VOICE.to_owned(),
        }
    }

    /// Sets the voice of requests that name none.
    #[must_use]
    pub fn with_voice(mut self, voice: impl Into<String>) -> Self {
        self.voice = voice.into();
        self
    }

    /// Returns the endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.remote.endpoint
    }

    fn request(&self, request: &SpeechRequest) -> Result<(Request, Notes, String)> {
        let SpeechRequest {
            text,
            voice,
            format,
            speed,
            instructions,
            on_unsupported,
            extra,
            ..
        } = request;
        if text.trim().is_empty() {
            return Err(self
                .remote
                .invalid("the text is empty: there is nothing to say"));
        }
        let mut notes = Notes::new(*on_unsupported);
        let mut body = Map::new();
        body.insert("model".into(), self.remote.model.as_str().into());
        body.insert("input".into(), text.as_str().into());
        body.insert(
            "voice".into(),
            voice.as_ref().unwrap_or(&self.voice).as_str().into(),
        );
        if let Some(format) = format {
            body.insert("response_format".into(), format.as_str().into());
        }
        if let Some(speed) = speed {
            if !speed.is_finite() || *speed <= 0.0 {
                let message = format!("speed {speed} is none: 1 is normal, OpenAI takes 0.25 to 4");
                return Err(self.remote.invalid(message));
            }
            // Through its shortest form, so that 1.1 does not become 1.100000023841858.
            let speed = speed
                .to_string()
                .parse::<f64>()
                .unwrap_or(f64::from(*speed));
            body.insert("speed".into(), speed.into());
        }
        if let Some(instructions) = instructions {
            if self.remote.model.starts_with("tts-1") {
                notes.leave_out("instructions", "tts-1 and tts-1-hd take none")?;
            } else {
                body.insert("instructions".into(), instructions.as_str().into());
            }
        }
        self.remote.merge(&mut body, extra);
        let format = body.get("response_format").and_then(Value::as_str);
        let mime = mime_of(format.unwrap_or("mp3")).to_owned();
        let sent = self
            .remote
            .endpoint
            .request(Method::POST, "/audio/speech")?;
        Ok((sent.with_json(&Value::Object(body)), notes, mime))
    }

    /// Returns the type that the headers give, and refuses what is no sound.
    fn mime(&self, headers: &HeaderMap, told: String) -> Result<String> {
        let kind = headers.get(http::header::CONTENT_TYPE);
        let kind = kind
            .and_then(|k| k.to_str().ok())
            .unwrap_or_default()
            .to_ascii_lowercase();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if kind.starts_with("audio/") {
            return Ok(kind.to_owned());
        }
        if kind.starts_with("text/") || kind == "application/json" {
            let id = ropewalk_http::request_id(headers);
            return Err(self
                .remote
                .bad(id.as_deref(), format!("the reply is {kind}, no sound")));
        }
        Ok(told)
    }
}

#[async_trait]
impl SpeechModel for RemoteSpeech {
    fn provider(&self) -> &str {
        self.remote.endpoint.provider()
    }

    fn model(&self) -> &str {
        &self.remote.model
    }

    async fn speak(&self, request: &SpeechRequest) -> Result<SpeechResponse> {
        let (sent, notes, told) = self.request(request)?;
        let reply = self.remote.endpoint.client().send(&sent).await?;
        let mime = self.mime(&reply.headers, told)?;
        if reply.body.is_empty() {
            return Err(self
                .remote
                .bad(reply.request_id().as_deref(), "the sound is empty"));
        }
        Ok(SpeechResponse::new(Audio::new(reply.body, mime))
            .with_model(self.remote.model.clone())
            .with_warnings(notes.into_warnings()))
    }

    async fn speak_stream(&self, request: &SpeechRequest) -> Result<SpeechStream> {
        let (sent, notes, told) = self.request(request)?;
        let reply = self.remote.endpoint.client().stream(&sent).await?;
        let mime = self.mime(&reply.headers, told)?;
        let request_id = reply.request_id();
        let mut pieces = reply.bytes().peekable();
        if std::pin::Pin::new(&mut pieces).peek().await.is_none() {
            return Err(self.remote.bad(request_id.as_deref(), "the sound is empty"));
        }
        Ok(SpeechStream::new(mime, pieces)
            .with_model(self.remote.model.clone())
            .with_warnings(notes.into_warnings()))
    }
}

/// Returns the MIME type of a format of the API.
fn mime_of(format: &str) -> &'static str {
    match format {
        "mp3" => "audio/mpeg",
        "opus" => "audio/ogg",
        "aac" => "audio/aac",
        "flac" => "audio/flac",
        "wav" => "audio/wav",
        "pcm" => "audio/pcm",
        _ => "application/octet-stream",
    }
}
