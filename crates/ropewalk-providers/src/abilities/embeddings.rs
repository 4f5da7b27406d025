//! Embedding models behind an API.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, TryStreamExt};
use ropewalk_core::{
    EmbedKind, EmbedRequest, EmbedResponse, EmbeddingModel, Result, Usage, async_trait,
};
use serde_json::{Map, Value};

use super::{Answer, EmbedShape, Remote, remote_setters, usage_of};
use crate::endpoint::Endpoint;
use crate::wire::Notes;

/// Limit on the bytes of one call's texts. OpenAI takes 300,000 tokens per call; texts have two to
/// four bytes per token.
const MAX_BYTES: usize = 600_000;

/// An embedding model behind an API.
///
/// Any number of texts is cut into calls, of which a few run at the same time; the vectors come
/// back in the order of the texts. [`EmbeddingModel::max_batch`] is what all calls at one time take.
#[derive(Debug, Clone)]
pub struct RemoteEmbeddings {
    remote: Remote,
    shape: EmbedShape,
    width: Option<usize>,
    max_batch: usize,
    max_bytes: usize,
    concurrency: usize,
    prefixes: Option<(String, String)>,
}

remote_setters!(RemoteEmbeddings);

impl RemoteEmbeddings {
    /// Creates a model. The shape is OpenAI's for the provider `openai`, and
    /// [`EmbedShape::COMPATIBLE`] for any other.
    pub fn new(endpoint: Endpoint, model: impl Into<String>) -> Self {
        let remote = Remote::new(endpoint, model);
        let own = remote.endpoint.provider() == "openai";
        let width = if own {
            known_width(&remote.model)
        } else {
            None
        };
        let shape = if own {
            EmbedShape::OPENAI
        } else {
            EmbedShape::COMPATIBLE
        };
        Self {
            remote,
            max_batch: shape.max_batch,
            shape,
            width,
            max_bytes: MAX_BYTES,
            concurrency: 4,
            prefixes: None,
        }
    }

    /// Sets the shape of the API, and with it the number of texts per call.
    #[must_use]
    pub fn with_shape(mut self, shape: EmbedShape) -> Self {
        self.max_batch = shape.max_batch;
        self.shape = shape;
        self
    }

    /// Sets the width of the model's vectors, so that it is known beforehand and checked.
    #[must_use]
    pub fn with_width(mut self, width: usize) -> Self {
        self.width = Some(width);
        self
    }

    /// Sets the number of texts per call; 2,048 for OpenAI. 0 counts as 1.
    #[must_use]
    pub fn with_batch(mut self, texts: usize) -> Self {
        self.max_batch = texts.max(1);
        self
    }

    /// Sets the bytes of texts per call; 600,000. A longer text goes alone.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets how many calls run at the same time; 4. 0 counts as 1.
    #[must_use]
    pub fn with_concurrency(mut self, calls: usize) -> Self {
        self.concurrency = calls.max(1);
        self
    }

    /// Sets what is put before queries and before all other texts, for models trained so: E5 wants
    /// `query: ` and `passage: `.
    #[must_use]
    pub fn with_prefixes(mut self, query: impl Into<String>, other: impl Into<String>) -> Self {
        self.prefixes = Some((query.into(), other.into()));
        self
    }

    /// Cuts the texts into calls.
    fn batches(&self, inputs: &[String]) -> Vec<Range<usize>> {
        let mut batches = Vec::new();
        let (mut start, mut bytes) = (0, 0usize);
        for (i, text) in inputs.iter().enumerate() {
            let full =
                i - start == self.max_batch || bytes.saturating_add(text.len()) > self.max_bytes;
            if full && i > start {
                batches.push(start..i);
                (start, bytes) = (i, 0);
            }
            bytes = bytes.saturating_add(text.len());
        }
        batches.push(start..inputs.len());
        batches
    }

    fn body(
        &self,
        inputs: &[String],
        request: &EmbedRequest,
        notes: &mut Notes,
    ) -> Result<Map<String, Value>> {
        let EmbedRequest {
            inputs: _,
            kind,
            dimensions,
            on_unsupported: _,
            extra,
            ..
        } = request;
        let shape = &self.shape;
        let mut body = Map::new();
        body.insert("model".into(), self.remote.model.as_str().into());
        let texts = match &self.prefixes {
            Some((query, other)) => {
                let prefix = if *kind == EmbedKind::Query {
                    query
                } else {
                    other
                };
                inputs
                    .iter()
                    .map(|text| format!("{prefix}{text}").into())
                    .collect()
            }
            None => inputs.iter().map(|text| text.as_str().into()).collect(),
        };
        body.insert(shape.input.into(), Value::Array(texts));
        for (name, value) in shape.fixed {
            if let Ok(value) = serde_json::from_str(value) {
                body.insert((*name).into(), value);
            }
        }
        if let Some(field) = shape.kind {
            match shape.kind_value(*kind) {
                Some(value) => drop(body.insert(field.into(), value.into())),
                None => notes.leave_out("kind", "the API has no such kind of vectors")?,
            }
        }
        match (dimensions, shape.dimensions) {
            (Some(width), Some(field)) => drop(body.insert(field.into(), (*width).into())),
            (Some(_), None) => notes.leave_out("dimensions", "the API has one width only")?,
            (None, _) => {}
        }
        self.remote.merge(&mut body, extra);
        Ok(body)
    }

    async fn call(
        &self,
        body: Map<String, Value>,
        texts: usize,
        width: Option<usize>,
    ) -> Result<(Answer, Vec<Vec<f32>>)> {
        let answer = self.remote.post(self.shape.path, body).await?;
        let bad = |message: String| self.remote.bad(answer.request_id.as_deref(), message);
        let vectors = vectors_of(&answer.body).map_err(bad)?;
        if vectors.len() != texts {
            return Err(bad(format!(
                "{} vectors came back for {texts} texts",
                vectors.len()
            )));
        }
        let width = width.or(vectors.first().map(Vec::len)).unwrap_or_default();
        let wrong = vectors
            .iter()
            .position(|v| v.len() != width || v.is_empty());
        if let Some(i) = wrong {
            return Err(bad(format!(
                "vector {i} has {} values, not the {width} expected",
                vectors[i].len()
            )));
        }
        Ok((answer, vectors))
    }
}

#[async_trait]
impl EmbeddingModel for RemoteEmbeddings {
    fn provider(&self) -> &str {
        self.remote.endpoint.provider()
    }

    fn model(&self) -> &str {
        &self.remote.model
    }

    fn dimensions(&self) -> Option<usize> {
        self.width
    }

    fn max_batch(&self) -> usize {
        self.max_batch.saturating_mul(self.concurrency)
    }

    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        if request.inputs.is_empty() {
            return Err(self.remote.invalid("there are no texts to embed"));
        }
        if let Some(i) = request.inputs.iter().position(String::is_empty) {
            let message =
                format!("text {i} is empty, and an empty text has no vector: leave it out");
            return Err(self.remote.invalid(message));
        }
        // A width that the API cannot be asked for is left out with a warning, not checked.
        let asked = request
            .dimensions
            .filter(|_| self.shape.dimensions.is_some());
        let width = asked.map(|d| d as usize).or(self.width);
        let mut warnings = Vec::new();
        let mut calls = Vec::new();
        for range in self.batches(&request.inputs) {
            let mut notes = Notes::new(request.on_unsupported);
            let texts = &request.inputs[range];
            let body = self.body(texts, request, &mut notes)?;
            warnings = notes.into_warnings();
            calls.push((body, texts.len()));
        }
        let calls = futures_util::stream::iter(calls)
            .map(|(body, texts)| self.call(body, texts, width))
            .buffered(self.concurrency);
        let answers: Vec<_> = calls.try_collect().await?;
        let mut response = EmbedResponse::new(self.remote.model.clone(), Vec::new());
        let mut usage = Usage::default();
        let mut raw = Vec::new();
        for (answer, vectors) in answers {
            usage += usage_of(&answer.body);
            response.model = self.remote.answered(&answer.body);
            response.vectors.extend(vectors);
            raw.push(answer.body);
        }
        let first = response.vectors.first().map_or(0, Vec::len);
        if response.vectors.iter().any(|v| v.len() != first) {
            return Err(self
                .remote
                .bad(None, "the calls gave vectors of different widths"));
        }
        if self.remote.keep_raw {
            response.raw = Some(if raw.len() == 1 {
                raw.remove(0)
            } else {
                Value::Array(raw)
            });
        }
        Ok(response.with_usage(usage).with_warnings(warnings))
    }
}

/// Widths of OpenAI's models, as its API reference gives them.
fn known_width(model: &str) -> Option<usize> {
    match model {
        "text-embedding-3-small" | "text-embedding-ada-002" => Some(1536),
        "text-embedding-3-large" => Some(3072),
        _ => None,
    }
}

/// Reads vectors in any of the known shapes: `{"data": [{"index", "embedding"}]}` (OpenAI, Voyage,
/// Jina), `{"embeddings": {"float": […]}}` (Cohere), `{"embeddings": […]}` (Ollama), `[…]` (TEI).
fn vectors_of(body: &Value) -> Result<Vec<Vec<f32>>, String> {
    let rows = [
        body.get("data"),
        body.pointer("/embeddings/float"),
        body.get("embeddings"),
        Some(body),
    ];
    let rows = rows.into_iter().flatten().find_map(Value::as_array);
    let rows = rows.ok_or("the reply holds no vectors")?;
    let index = |row: &Value| row.get("index").and_then(Value::as_u64);
    let mut vectors = Vec::with_capacity(rows.len());
    for (i, row) in rows.iter().enumerate() {
        let vector = vector_of(row.get("embedding").unwrap_or(row))
            .map_err(|m| format!("vector {i} {m}"))?;
        vectors.push((index(row), vector));
    }
    if vectors.iter().any(|(index, _)| index.is_some()) {
        vectors.sort_by_key(|(index, _)| *index);
        let in_order = vectors
            .iter()
            .zip(0..)
            .all(|((index, _), i)| *index == Some(i));
        if !in_order {
            return Err("the numbers of the vectors have gaps or repeat".into());
        }
    }
    Ok(vectors.into_iter().map(|(_, vector)| vector).collect())
}

/// Reads one vector: an array of numbers, or base64 of 32-bit floats, little end first.
fn vector_of(value: &Value) -> Result<Vec<f32>, String> {
    let vector: Vec<f32> = match value {
        Value::Array(numbers) => {
            let numbers = numbers.iter().map(|n| n.as_f64().map(|n| n as f32));
            let numbers: Option<_> = numbers.collect();
            numbers.ok_or("holds something that is no number")?
        }
        Value::String(text) => {
            let bytes = STANDARD
                .decode(text)
                .map_err(|e| format!("is no base64: {e}"))?;
            let (floats, rest) = bytes.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(format!("has {} bytes, no multiple of four", bytes.len()));
            }
            floats.iter().map(|b| f32::from_le_bytes(*b)).collect()
        }
        _ => return Err("is neither an array nor base64".into()),
    };
    if vector.iter().all(|x| x.is_finite()) {
        Ok(vector)
    } else {
        Err("holds a value that is not finite".into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_every_shape() {
        let expected = vec![vec![1.0, -2.5], vec![0.0, 3.0]];
        let base64 =
            |v: &[f32]| STANDARD.encode(v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>());
        for body in [
            json!({"data": [{"index": 1, "embedding": [0, 3]}, {"index": 0, "embedding": [1.0, -2.5]}]}),
            json!({"data": [{"index": 1, "embedding": base64(&[0.0, 3.0])}, {"index": 0, "embedding": base64(&[1.0, -2.5])}]}),
            json!({"data": [{"embedding": [1.0, -2.5]}, {"embedding": [0, 3]}]}),
            json!({"embeddings": {"float": [[1.0, -2.5], [0, 3]]}}),
            json!({"embeddings": [[1.0, -2.5], [0, 3]]}),
            json!([[1.0, -2.5], [0, 3]]),
        ] {
            assert_eq!(vectors_of(&body).unwrap(), expected, "{body}");
        }
    }

    #[test]
    fn refuses_what_is_no_vector() {
        for (body, expected) in [
            (json!({"object": "list"}), "no vectors"),
            (json!({"data": [{"embedding": "AAA"}]}), "base64"),
            (json!({"data": [{"embedding": "AAAA"}]}), "multiple of four"),
            (json!({"data": [{"embedding": [1, "2"]}]}), "no number"),
            (
                json!({"data": [{"embedding": STANDARD.encode(f32::NAN.to_le_bytes())}]}),
                "finite",
            ),
            (
                json!({"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}),
                "repeat",
            ),
            (
                json!({"data": [{"index": 0, "embedding": [1]}, {"embedding": [1]}]}),
                "gaps",
            ),
        ] {
            let error = vectors_of(&body).unwrap_err();
            assert!(error.contains(expected), "{error} / {expected}");
        }
    }
}
