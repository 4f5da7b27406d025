//! Replies of `generateContent`, whole and streamed.

use std::borrow::Cow;

use ropewalk_core::{
    Error, ErrorKind, FinishReason, Media, Part, Result, TokenLogprob, Usage, WireDelta,
};
use ropewalk_http::Frame;
use serde_json::Value;

use crate::native::{count, no_error, no_reply, text, unbase64};
use crate::wire::Decoder;

/// Decodes a whole reply.
pub(super) fn whole(body: Value, provider: &str) -> Result<Vec<WireDelta>> {
    let mut decoder = GenerateDecoder::new(provider.to_owned().into());
    let mut deltas = Vec::new();
    if body.get("candidates").is_none() && body.get("usageMetadata").is_none() {
        no_error(&body, provider)?;
        blocked(&body)?;
        return Err(no_reply(&body, "candidates"));
    }
    decoder.chunk(body, &mut deltas)?;
    deltas.push(WireDelta::End);
    Ok(deltas)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thought,
}

/// Decodes the pieces of a streamed reply. The API has no end marker: the reply is whole when it
/// said why it ended.
#[derive(Debug)]
pub(super) struct GenerateDecoder {
    provider: Cow<'static, str>,
    started: bool,
    finished: bool,
    /// The slot of the part that may go on, and of which kind it is.
    slot: u32,
    open: Option<Kind>,
}

impl GenerateDecoder {
    pub(super) fn new(provider: Cow<'static, str>) -> Self {
        Self {
            provider,
            started: false,
            finished: false,
            slot: 0,
            open: None,
        }
    }

    fn chunk(&mut self, mut chunk: Value, deltas: &mut Vec<WireDelta>) -> Result<()> {
        no_error(&chunk, &self.provider)?;
        if !std::mem::replace(&mut self.started, true) {
            deltas.push(WireDelta::Started {
                id: text(&chunk, "responseId"),
                model: text(&chunk, "modelVersion"),
            });
        }
        if let Some(usage) = chunk.get("usageMetadata").filter(|u| u.is_object()) {
            deltas.push(WireDelta::Usage(usage_of(usage)));
        }
        let candidates = chunk.get_mut("candidates").and_then(Value::as_array_mut);
        // Further candidates come only to those who ask for them in `extra`.
        let first = candidates
            .into_iter()
            .flatten()
            .find(|c| count(c, "index").unwrap_or(0) == 0);
        let Some(candidate) = first else {
            return blocked(&chunk);
        };
        let parts = candidate.pointer_mut("/content/parts").map(Value::take);
        if let Some(Value::Array(parts)) = parts {
            for part in parts {
                self.part(part, deltas);
            }
        }
        let logprobs = logprobs(&candidate["logprobsResult"]);
        if !logprobs.is_empty() {
            deltas.push(WireDelta::Logprobs(logprobs));
        }
        if let Some(grounding) = candidate.get("groundingMetadata") {
            deltas.push(WireDelta::Unknown(grounding.clone()));
        }
        if let Some(reason) = text(candidate, "finishReason")
            && reason != "FINISH_REASON_UNSPECIFIED"
        {
            self.finished = true;
            deltas.push(WireDelta::FinishReason(finish_reason(&reason)));
        }
        Ok(())
    }

    /// Ends the open part and takes the next slot.
    fn next(&mut self, deltas: &mut Vec<WireDelta>) -> u32 {
        if self.open.take().is_some() {
            deltas.push(WireDelta::PartDone { slot: self.slot });
        }
        self.slot = self.slot.saturating_add(1);
        self.slot
    }

    /// Returns the slot of the open part of this kind, a new one if another is open.
    fn slot(&mut self, kind: Kind, deltas: &mut Vec<WireDelta>) -> u32 {
        if self.open != Some(kind) {
            self.next(deltas);
            self.open = Some(kind);
        }
        self.slot
    }

    fn part(&mut self, part: Value, deltas: &mut Vec<WireDelta>) {
        let signature = text(&part, "thoughtSignature");
        if let Some(call) = part.get("functionCall") {
            let slot = self.next(deltas);
            let arguments = match call.get("args") {
                Some(args @ Value::Object(_)) => args.to_string(),
                _ => "{}".to_owned(),
            };
            deltas.push(WireDelta::ToolCall {
                slot,
                id: text(call, "id"),
                name: text(call, "name"),
                arguments,
            });
            if signature.is_some() {
                deltas.push(WireDelta::ToolCallMeta {
                    slot,
                    item_id: None,
                    signature,
                });
            }
            deltas.push(WireDelta::PartDone { slot });
        } else if let Some(piece) = part.get("text").and_then(Value::as_str) {
            let piece = piece.to_owned();
            if part["thought"] == true {
                let slot = self.slot(Kind::Thought, deltas);
                deltas.push(WireDelta::Reasoning { slot, text: piece });
                if signature.is_some() {
                    deltas.push(meta(slot, signature));
                    self.next(deltas);
                }
                return;
            }
            if !piece.is_empty() {
                let slot = self.slot(Kind::Text, deltas);
                deltas.push(WireDelta::Text { slot, text: piece });
            }
            self.lone_signature(signature, deltas);
        } else if let Some(data) = part.get("inlineData") {
            self.next(deltas);
            deltas.push(WireDelta::Part(media(data)));
            self.lone_signature(signature, deltas);
        } else {
            self.next(deltas);
            let part = Part::opaque(self.provider.to_string(), part);
            deltas.push(WireDelta::Part(part));
        }
    }

    /// Keeps the signature of a text or picture as reasoning without words right after it.
    fn lone_signature(&mut self, signature: Option<String>, deltas: &mut Vec<WireDelta>) {
        if signature.is_some() {
            let slot = self.next(deltas);
            deltas.push(meta(slot, signature));
            deltas.push(WireDelta::PartDone { slot });
        }
    }
}

impl Decoder for GenerateDecoder {
    fn frame(&mut self, frame: &Frame, deltas: &mut Vec<WireDelta>) -> Result<()> {
        self.chunk(frame.json()?, deltas)
    }

    fn finish(&mut self, deltas: &mut Vec<WireDelta>) -> Result<()> {
        if self.finished {
            deltas.push(WireDelta::End);
        }
        Ok(())
    }
}

fn meta(slot: u32, signature: Option<String>) -> WireDelta {
    WireDelta::ReasoningMeta {
        slot,
        signature,
        redacted: None,
        id: None,
    }
}

fn media(data: &Value) -> Part {
    let mime = text(data, "mimeType").unwrap_or_default();
    let bytes = unbase64(data["data"].as_str().unwrap_or_default());
    let media = Media::bytes(bytes, mime.clone());
    match mime.split('/').next() {
        Some("image") => Part::Image(media),
        Some("audio") => Part::Audio(media),
        Some("video") => Part::Video(media),
        _ => Part::Document(media),
    }
}

/// Fails when the prompt was refused; such a reply has no candidates.
fn blocked(body: &Value) -> Result<()> {
    let Some(reason) = body.pointer("/promptFeedback/blockReason") else {
        return Ok(());
    };
    let reason = reason.as_str().unwrap_or("no reason given");
    let message = format!("the prompt was blocked: {reason}");
    Err(Error::new(ErrorKind::ContentFiltered, message))
}

fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_ascii_lowercase()),
    }
}

/// The API's `candidatesTokenCount` excludes thoughts, `promptTokenCount` the results of its own
/// tools.
fn usage_of(counts: &Value) -> Usage {
    let of = |key| count(counts, key);
    let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
    };
    let sound = |key: &str| {
        let details = counts.get(key)?.as_array()?;
        let audio = details.iter().find(|d| d["modality"] == "AUDIO")?;
        count(audio, "tokenCount")
    };
    let mut usage = Usage::default();
    usage.input_tokens = sum(of("promptTokenCount"), of("toolUsePromptTokenCount"));
    usage.cached_input_tokens = of("cachedContentTokenCount");
    usage.reasoning_tokens = of("thoughtsTokenCount");
    usage.output_tokens = sum(of("candidatesTokenCount"), usage.reasoning_tokens);
    usage.input_audio_tokens = sound("promptTokensDetails");
    usage.output_audio_tokens = sound("candidatesTokensDetails");
    usage
}

fn logprobs(result: &Value) -> Vec<TokenLogprob> {
    let list = |key| result.get(key).and_then(Value::as_array);
    let token = |v: &Value| {
        let token = text(v, "token").unwrap_or_default();
        (token, v["logProbability"].as_f64().unwrap_or(0.0) as f32)
    };
    let mut tops = list("topCandidates").into_iter().flatten();
    let chosen = list("chosenCandidates").into_iter().flatten();
    chosen
        .map(|chosen| {
            let (text, logprob) = token(chosen);
            let top = tops.next().and_then(|t| t.get("candidates")?.as_array());
            let top = top.into_iter().flatten().map(token).collect();
            TokenLogprob::new(text, logprob).with_top(top)
        })
        .collect()
}
