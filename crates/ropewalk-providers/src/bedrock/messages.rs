//! From messages to turns.

use ropewalk_core::{
    CacheHint, Error, ErrorKind, Media, MediaSource, Message, Part, Reasoning, Result, Role,
    ToolResult,
};
use serde_json::{Map, Value, json};

use super::wire::PROVIDER;
use crate::native::{
    arguments, inline, is_blank, leave_part_out, no_detail, no_names, plain_id, set,
};
use crate::wire::Notes;

/// The conversation as the API wants it.
pub(super) struct Turns {
    pub(super) system: Vec<Value>,
    pub(super) messages: Vec<Value>,
}

impl Turns {
    pub(super) fn of(
        messages: &[Message],
        cache: Option<CacheHint>,
        notes: &mut Notes,
    ) -> Result<Self> {
        no_names(messages, notes)?;
        let mut encoder = Encoder {
            documents: 0,
            notes,
        };
        let mut system = Vec::new();
        let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
        for message in messages {
            let mut blocks = Vec::new();
            for part in message.content.iter().filter(|p| !is_blank(p)) {
                encoder.part(part, &mut blocks)?;
            }
            let role = match message.role {
                Role::System => {
                    system.append(&mut blocks);
                    continue;
                }
                Role::User | Role::Tool => "user",
                Role::Assistant => "assistant",
            };
            match turns.last_mut() {
                _ if blocks.is_empty() => {}
                Some((last, content)) if *last == role => content.append(&mut blocks),
                _ => turns.push((role, blocks)),
            }
        }
        let user = turns.iter_mut().rfind(|(role, _)| *role == "user");
        if let (Some(hint), Some((_, content))) = (cache, user) {
            content.push(cache_point(hint));
        }
        if turns.is_empty() {
            let message = "no message is left that the API takes";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let turn = |(role, mut content): (&str, Vec<Value>)| {
            // Stable: the results keep their order, and so does the rest.
            content.sort_by_key(|b| b.get("toolResult").is_none() && role == "user");
            json!({ "role": role, "content": content })
        };
        Ok(Self {
            system,
            messages: turns.into_iter().map(turn).collect(),
        })
    }
}

/// Five minutes are the API's default.
fn cache_point(hint: CacheHint) -> Value {
    match hint {
        CacheHint::Long => json!({"cachePoint": {"type": "default", "ttl": "1h"}}),
        _ => json!({"cachePoint": {"type": "default"}}),
    }
}

struct Encoder<'a> {
    /// Documents so far; their names must differ.
    documents: usize,
    notes: &'a mut Notes,
}

impl Encoder<'_> {
    fn part(&mut self, part: &Part, blocks: &mut Vec<Value>) -> Result<()> {
        let block = match part {
            Part::Text { text, cache, .. } => {
                blocks.push(json!({ "text": text }));
                blocks.extend(cache.map(cache_point));
                return Ok(());
            }
            Part::Image(media) => self.media("image", media, "image/png")?,
            Part::Audio(media) => self.media("audio", media, "audio/wav")?,
            Part::Video(media) => self.media("video", media, "video/mp4")?,
            Part::Document(media) => self.media("document", media, "application/pdf")?,
            Part::Reasoning(reasoning) => {
                blocks.extend(thought(reasoning));
                return Ok(());
            }
            Part::ToolCall(call) => Some(json!({"toolUse": {
                "toolUseId": plain_id(&call.id), "name": call.name, "input": arguments(call),
            }})),
            Part::ToolResult(result) => Some(self.result(result)?),
            Part::Opaque {
                provider, value, ..
            } if provider == PROVIDER => Some(value.clone()),
            _ => None,
        };
        match block {
            Some(block) => blocks.push(block),
            None => leave_part_out(part, "the API does not take it", self.notes)?,
        }
        Ok(())
    }

    fn media(&mut self, kind: &str, media: &Media, default_mime: &str) -> Result<Option<Value>> {
        let (mime, source) = match (inline(media, default_mime), &media.source) {
            (Some((mime, data)), _) => (mime, json!({ "bytes": data })),
            (None, MediaSource::Url(uri)) if uri.starts_with("s3://") => {
                let mime = media.mime.as_deref().unwrap_or(default_mime).to_owned();
                (mime, json!({"s3Location": {"uri": uri}}))
            }
            _ => return Ok(None),
        };
        no_detail(media, self.notes)?;
        let mut block = Map::new();
        block.insert("format".into(), extension(&mime).into());
        block.insert("source".into(), source);
        if kind == "document" {
            self.documents += 1;
            let name = name(media.name.as_deref(), self.documents);
            block.insert("name".into(), name.into());
        }
        Ok(Some(json!({ kind: block })))
    }

    fn result(&mut self, result: &ToolResult) -> Result<Value> {
        let mut content = Vec::new();
        for part in result.content.iter().filter(|p| !is_blank(p)) {
            self.part(part, &mut content)?;
        }
        let mut block = Map::new();
        block.insert("toolUseId".into(), plain_id(&result.call_id).into());
        block.insert("content".into(), content.into());
        set(&mut block, "status", result.is_error.then_some("error"));
        Ok(json!({ "toolResult": block }))
    }
}

/// Thoughts count only with the proof that they are this model's own.
fn thought(reasoning: &Reasoning) -> Option<Value> {
    if reasoning.provider.as_deref() != Some(PROVIDER) {
        return None;
    }
    match (&reasoning.signature, &reasoning.redacted) {
        (Some(signature), _) => Some(json!({"reasoningContent": {"reasoningText": {
            "text": reasoning.text, "signature": signature,
        }}})),
        (None, Some(data)) => Some(json!({"reasoningContent": {"redactedContent": data}})),
        (None, None) => None,
    }
}

/// Returns the name of a format as the API has it: mostly the end of the MIME type.
fn extension(mime: &str) -> &str {
    match mime {
        "text/plain" => "txt",
        "text/markdown" => "md",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "audio/mpeg" => "mp3",
        "video/quicktime" => "mov",
        "video/x-matroska" => "mkv",
        "video/3gpp" => "three_gp",
        other => other.rsplit('/').next().unwrap_or(other),
    }
}

/// Names of documents hold letters, digits, single spaces, hyphens and brackets only.
fn name(given: Option<&str>, number: usize) -> String {
    let fits = |c: char| {
        if c.is_ascii_alphanumeric() || "-()[]".contains(c) {
            c
        } else {
            ' '
        }
    };
    let clean: String = given.unwrap_or_default().chars().map(fits).collect();
    let words: Vec<&str> = clean.split_whitespace().collect();
    let words = words.join(" ");
    let shown: String = words.chars().take(180).collect();
    match shown.trim() {
        "" => format!("document {number}"),
        name => format!("{name} {number}"),
    }
}
