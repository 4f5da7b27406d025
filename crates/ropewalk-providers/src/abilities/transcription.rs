//! Transcription models behind an API.

use http::Method;
use ropewalk_core::{
    Result, Segment, TranscribeRequest, Transcript, TranscriptionModel, async_trait,
};
use serde_json::{Map, Value, json};

use super::{Remote, extension, form_of, remote_setters, usage_of};
use crate::endpoint::Endpoint;
use crate::sniff::sniff_sound;
use crate::wire::Notes;

/// What a transcription model is asked to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TranscriptFormat {
    /// What says most for the model: `verbose_json` for Whisper and unknown models,
    /// `diarized_json` for those that tell speakers apart, `json` for the other models of OpenAI.
    #[default]
    Auto,
    /// Text and usage.
    Json,
    /// Text, language, length and segments.
    Verbose,
    /// Text with speakers.
    Diarized,
    /// Text alone.
    Text,
}

/// A transcription model in OpenAI's shape: `/audio/transcriptions`, and `/audio/translations`
/// when the request asks for English.
///
/// A format set by way of `extra` (`srt`, `vtt`) gives its text as it is.
#[derive(Debug, Clone)]
pub struct RemoteTranscription {
    remote: Remote,
    format: TranscriptFormat,
    max_bytes: usize,
}

remote_setters!(RemoteTranscription);

impl RemoteTranscription {
    /// Creates a model that takes files of up to 25 MiB, OpenAI's limit.
    pub fn new(endpoint: Endpoint, model: impl Into<String>) -> Self {
        Self {
            remote: Remote::new(endpoint, model),
            format: TranscriptFormat::Auto,
            max_bytes: 25 << 20,
        }
    }

    /// Sets what the model is asked to answer.
    #[must_use]
    pub fn with_format(mut self, format: TranscriptFormat) -> Self {
        self.format = format;
        self
    }

    /// Sets the largest file that is sent, in bytes.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    fn auto(&self) -> TranscriptFormat {
        let model = self.remote.model.as_str();
        match self.format {
            TranscriptFormat::Auto if model.contains("diarize") => TranscriptFormat::Diarized,
            TranscriptFormat::Auto if model.starts_with("gpt-") => TranscriptFormat::Json,
            TranscriptFormat::Auto => TranscriptFormat::Verbose,
            format => format,
        }
    }

    fn fields(&self, request: &TranscribeRequest, notes: &mut Notes) -> Result<Map<String, Value>> {
        let TranscribeRequest {
            audio: _,
            language,
            prompt,
            translate,
            word_times,
            on_unsupported: _,
            extra,
            ..
        } = request;
        let mut format = self.auto();
        let mut body = Map::new();
        body.insert("model".into(), self.remote.model.as_str().into());
        if let Some(language) = language {
            if *translate {
                notes.leave_out("language", "the API finds out what it translates from")?;
            } else {
                body.insert("language".into(), language.as_str().into());
            }
        }
        if let Some(prompt) = prompt {
            if format == TranscriptFormat::Diarized {
                notes.leave_out("prompt", "models that tell speakers apart take none")?;
            } else {
                body.insert("prompt".into(), prompt.as_str().into());
            }
        }
        if *word_times {
            let told_apart = matches!(format, TranscriptFormat::Diarized)
                || self.remote.model.starts_with("gpt-");
            if *translate {
                notes.leave_out("word_times", "translations have times of segments only")?;
            } else if told_apart {
                notes.leave_out(
                    "word_times",
                    "the model gives no times of words; whisper-1 does",
                )?;
            } else {
                format = TranscriptFormat::Verbose;
                body.insert("timestamp_granularities".into(), json!(["word", "segment"]));
            }
        }
        let name = match format {
            TranscriptFormat::Diarized => {
                // Wanted for more than 30 s of sound.
                body.insert("chunking_strategy".into(), "auto".into());
                "diarized_json"
            }
            TranscriptFormat::Json => "json",
            TranscriptFormat::Text => "text",
            TranscriptFormat::Verbose | TranscriptFormat::Auto => "verbose_json",
        };
        body.insert("response_format".into(), name.into());
        self.remote.merge(&mut body, extra);
        Ok(body)
    }
}

#[async_trait]
impl TranscriptionModel for RemoteTranscription {
    fn provider(&self) -> &str {
        self.remote.endpoint.provider()
    }

    fn model(&self) -> &str {
        &self.remote.model
    }

    async fn transcribe(&self, request: &TranscribeRequest) -> Result<Transcript> {
        let audio = &request.audio;
        if audio.data.is_empty() {
            return Err(self.remote.invalid("the sound is empty"));
        }
        if audio.data.len() > self.max_bytes {
            let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
            let message = format!(
                "the sound has {:.1} MiB, more than the {:.1} MiB one call takes: cut it, or encode it smaller",
                mib(audio.data.len()),
                mib(self.max_bytes)
            );
            return Err(self.remote.invalid(message));
        }
        let mut notes = Notes::new(request.on_unsupported);
        let body = self.fields(request, &mut notes)?;
        let plain = match body.get("response_format").and_then(Value::as_str) {
            Some("text" | "srt" | "vtt") => true,
            Some(_) | None => false,
        };
        let mime = match audio.mime.as_str() {
            "" => sniff_sound(&audio.data).unwrap_or("application/octet-stream"),
            mime => mime,
        };
        // The format is told from the extension.
        let name = audio.name.clone();
        let name = name.unwrap_or_else(|| format!("audio.{}", extension(mime)));
        let form = form_of(&body).file("file", name, mime, audio.data.clone());
        let path = if request.translate {
            "/audio/translations"
        } else {
            "/audio/transcriptions"
        };
        let sent = self
            .remote
            .endpoint
            .request(Method::POST, path)?
            .with_form(&form);
        if plain {
            let reply = self.remote.endpoint.client().send(&sent).await?;
            let text = String::from_utf8_lossy(&reply.body).trim_end().to_owned();
            let transcript = Transcript::new(text).with_model(self.remote.model.clone());
            return Ok(transcript.with_warnings(notes.into_warnings()));
        }
        let answer = self.remote.send(&sent).await?;
        let Some(mut transcript) = transcript_of(&answer.body) else {
            return Err(self
                .remote
                .bad(answer.request_id.as_deref(), "the reply holds no text"));
        };
        if transcript.model.is_empty() {
            transcript.model.clone_from(&self.remote.model);
        }
        transcript.raw = self.remote.keep_raw.then_some(answer.body);
        Ok(transcript.with_warnings(notes.into_warnings()))
    }
}

/// Reads a reply in any of the JSON formats.
fn transcript_of(body: &Value) -> Option<Transcript> {
    let mut transcript = Transcript::new(body.get("text")?.as_str()?);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let seconds = |value: &Value| value.as_f64().map(|s| s as f32);
    let list = |name: &str, field: &str| {
        let items = body.get(name).and_then(Value::as_array);
        let items = items.into_iter().flatten();
        let segment = |item: &Value| {
            let start = seconds(item.get("start")?)?;
            let end = seconds(item.get("end")?)?;
            let mut segment = Segment::new(start, end, item.get(field)?.as_str()?);
            segment.speaker = item.get("speaker").and_then(text);
            Some(segment)
        };
        items.filter_map(segment).collect()
    };
    transcript.segments = list("segments", "text");
    transcript.words = list("words", "word");
    let language = body
        .get("language")
        .or_else(|| body.pointer("/languages/0/code"));
    transcript.language = language.and_then(text);
    let duration = body
        .get("duration")
        .or_else(|| body.pointer("/usage/seconds"));
    transcript.duration = duration.and_then(seconds);
    transcript.usage = usage_of(body);
    transcript.model = body.get("model").and_then(text).unwrap_or_default();
    Some(transcript)
}
