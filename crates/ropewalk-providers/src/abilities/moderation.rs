//! Moderation models behind an API.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, TryStreamExt};
use ropewalk_core::{
    Content, Media, MediaSource, ModerateRequest, ModerateResponse, Moderation, ModerationModel,
    Part, Result, Usage, async_trait,
};
use serde_json::{Map, Value, json};

use super::{Remote, remote_setters, usage_of};
use crate::endpoint::Endpoint;
use crate::wire::Notes;

/// A moderation model in OpenAI's shape, `/moderations`.
///
/// Texts are judged many per call. A content with images is one call: the API answers a list of
/// parts with one judgement. Models whose name begins with `text-moderation` see no images.
#[derive(Debug, Clone)]
pub struct RemoteModeration {
    remote: Remote,
    max_batch: usize,
    concurrency: usize,
}

remote_setters!(RemoteModeration);

/// One call: its input, and the numbers of the contents that it judges.
struct Asked {
    input: Value,
    contents: usize,
}

impl RemoteModeration {
    /// Creates a model that is asked for 32 texts at once, four calls at the same time.
    pub fn new(endpoint: Endpoint, model: impl Into<String>) -> Self {
        Self {
            remote: Remote::new(endpoint, model),
            max_batch: 32,
            concurrency: 4,
        }
    }

    /// Sets the number of texts per call. 0 counts as 1.
    #[must_use]
    pub fn with_batch(mut self, texts: usize) -> Self {
        self.max_batch = texts.max(1);
        self
    }

    /// Sets how many calls run at the same time. 0 counts as 1.
    #[must_use]
    pub fn with_concurrency(mut self, calls: usize) -> Self {
        self.concurrency = calls.max(1);
        self
    }

    /// Returns the input of one content: a text, or a list of parts.
    fn input(&self, content: &Content, notes: &mut Notes) -> Result<Option<Value>> {
        let sees = !self.remote.model.starts_with("text-moderation");
        let mut texts = Vec::new();
        let mut parts = Vec::new();
        let mut images = false;
        for part in &content.0 {
            match part {
                Part::Text { text, .. } => {
                    texts.push(text.as_str());
                    parts.push(json!({"type": "text", "text": text}));
                }
                Part::Image(media) if sees => match image_url(media) {
                    Some(url) => {
                        images = true;
                        parts.push(json!({"type": "image_url", "image_url": {"url": url}}));
                    }
                    None => notes.leave_out("image", "ids of files cannot be judged")?,
                },
                Part::Image(_) => notes.leave_out("image", "the model judges texts only")?,
                Part::Reasoning(_) => notes.leave_out("reasoning", "it is not judged")?,
                Part::ToolCall(call) => {
                    texts.push(&call.arguments);
                    parts.push(json!({"type": "text", "text": call.arguments}));
                }
                Part::ToolResult(_) => {
                    notes.leave_out("tool result", "judge its contents instead")?;
                }
                _ => notes.leave_out("part", "texts and images are judged only")?,
            }
        }
        if images {
            return Ok(Some(Value::Array(parts)));
        }
        let text = texts.join("\n");
        Ok((!text.is_empty()).then_some(Value::String(text)))
    }

    /// Cuts the contents into calls: neighbouring texts together, everything else alone.
    fn calls(&self, contents: &[Content], notes: &mut Notes) -> Result<Vec<Asked>> {
        let mut calls: Vec<Asked> = Vec::new();
        let mut texts: Vec<Value> = Vec::new();
        let flush = |texts: &mut Vec<Value>, calls: &mut Vec<Asked>| {
            if !texts.is_empty() {
                let contents = texts.len();
                let input = Value::Array(std::mem::take(texts));
                calls.push(Asked { input, contents });
            }
        };
        for (i, content) in contents.iter().enumerate() {
            let Some(input) = self.input(content, notes)? else {
                let message = format!("content {i} holds nothing that can be judged");
                return Err(self.remote.invalid(message));
            };
            if input.is_array() {
                flush(&mut texts, &mut calls);
                calls.push(Asked { input, contents: 1 });
                continue;
            }
            texts.push(input);
            if texts.len() == self.max_batch {
                flush(&mut texts, &mut calls);
            }
        }
        flush(&mut texts, &mut calls);
        Ok(calls)
    }

    async fn call(
        &self,
        asked: Asked,
        request: &ModerateRequest,
    ) -> Result<(Value, Vec<Moderation>)> {
        let mut body = Map::new();
        body.insert("model".into(), self.remote.model.as_str().into());
        body.insert("input".into(), asked.input);
        self.remote.merge(&mut body, &request.extra);
        let answer = self.remote.post("/moderations", body).await?;
        let bad = |message: &str| self.remote.bad(answer.request_id.as_deref(), message);
        let results = answer.body.get("results").and_then(Value::as_array);
        let results: Option<Vec<_>> = results.and_then(|r| r.iter().map(judgement).collect());
        let results = results.ok_or_else(|| bad("the reply holds no judgements"))?;
        if results.len() != asked.contents {
            let message = format!(
                "{} judgements came back for {} contents",
                results.len(),
                asked.contents
            );
            return Err(bad(&message));
        }
        Ok((answer.body, results))
    }
}

#[async_trait]
impl ModerationModel for RemoteModeration {
    fn provider(&self) -> &str {
        self.remote.endpoint.provider()
    }

    fn model(&self) -> &str {
        &self.remote.model
    }

    async fn moderate(&self, request: &ModerateRequest) -> Result<ModerateResponse> {
        if request.inputs.is_empty() {
            return Err(self.remote.invalid("there is nothing to judge"));
        }
        let mut notes = Notes::new(request.on_unsupported);
        let calls = self.calls(&request.inputs, &mut notes)?;
        let calls = futures_util::stream::iter(calls)
            .map(|asked| self.call(asked, request))
            .buffered(self.concurrency);
        let answers: Vec<_> = calls.try_collect().await?;
        let mut response = ModerateResponse::new(Vec::with_capacity(request.inputs.len()));
        let mut usage = Usage::default();
        let mut raw = Vec::new();
        for (body, results) in answers {
            usage += usage_of(&body);
            response.model = self.remote.answered(&body);
            response.results.extend(results);
            raw.push(body);
        }
        if self.remote.keep_raw {
            response.raw = Some(if raw.len() == 1 {
                raw.remove(0)
            } else {
                Value::Array(raw)
            });
        }
        Ok(response
            .with_usage(usage)
            .with_warnings(notes.into_warnings()))
    }
}

/// Reads one judgement. Categories that the model did not look at are null and left out.
fn judgement(result: &Value) -> Option<Moderation> {
    let mut judgement = Moderation::default();
    judgement.flagged = result.get("flagged")?.as_bool()?;
    let fields = |name: &str| {
        result
            .get(name)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
    };
    for (name, applies) in fields("categories") {
        if let Some(applies) = applies.as_bool() {
            judgement.categories.insert(name.clone(), applies);
        }
    }
    for (name, score) in fields("category_scores") {
        if let Some(score) = score.as_f64() {
            judgement.scores.insert(name.clone(), score as f32);
        }
    }
    Some(judgement)
}

fn image_url(media: &Media) -> Option<String> {
    match &media.source {
        MediaSource::Url(url) => Some(url.clone()),
        MediaSource::Bytes(bytes) => {
            let mime = media.mime.as_deref().or_else(|| crate::sniff::sniff(bytes));
            let mime = mime.unwrap_or("image/png");
            Some(format!("data:{mime};base64,{}", STANDARD.encode(bytes)))
        }
        _ => None,
    }
}
