//! Embeddings by `batchEmbedContents`.

use ropewalk_core::{
    EmbedKind, EmbedRequest, EmbedResponse, EmbeddingModel, Error, ErrorKind, Result, async_trait,
};
use serde_json::{Map, Value, json};

use super::wire::resource;
use crate::endpoint::Endpoint;
use crate::native::{in_path, no_reply, set};
use crate::wire::merge;

/// An embedding model of the Gemini API; at most 100 texts in one call. Usage is not reported.
#[derive(Debug, Clone)]
pub struct GeminiEmbeddings {
    endpoint: Endpoint,
    model: String,
    width: Option<usize>,
}

impl GeminiEmbeddings {
    pub(super) fn new(endpoint: Endpoint, model: String) -> Self {
        Self {
            endpoint,
            model,
            width: None,
        }
    }

    /// Sets the width of the model's vectors, so that it is known beforehand.
    #[must_use]
    pub fn with_width(mut self, width: usize) -> Self {
        self.width = Some(width);
        self
    }

    fn body(&self, request: &EmbedRequest) -> Value {
        let task = match request.kind {
            EmbedKind::Query => "RETRIEVAL_QUERY",
            EmbedKind::Clustering => "CLUSTERING",
            EmbedKind::Classification => "CLASSIFICATION",
            _ => "RETRIEVAL_DOCUMENT",
        };
        let one = |text: &String| {
            let mut body = Map::new();
            body.insert("model".into(), resource(&self.model).into());
            body.insert("content".into(), json!({"parts": [{"text": text}]}));
            body.insert("taskType".into(), task.into());
            set(&mut body, "outputDimensionality", request.dimensions);
            merge(&mut body, &request.extra, self.endpoint.provider());
            Value::from(body)
        };
        let requests: Vec<Value> = request.inputs.iter().map(one).collect();
        json!({ "requests": requests })
    }

    fn bad(&self, message: impl std::fmt::Display) -> Error {
        let message = format!("{}: {message}", self.model);
        self.endpoint.name(Error::new(ErrorKind::Decode, message))
    }
}

#[async_trait]
impl EmbeddingModel for GeminiEmbeddings {
    fn provider(&self) -> &str {
        self.endpoint.provider()
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn dimensions(&self) -> Option<usize> {
        self.width
    }

    fn max_batch(&self) -> usize {
        100
    }

    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        if request.inputs.is_empty() || request.inputs.iter().any(String::is_empty) {
            let message = "every text to embed must have a character at least";
            return Err(self.endpoint.name(Error::invalid_request(message)));
        }
        let model = resource(self.endpoint.named(in_path(&self.model))?);
        let path = format!("/v1beta/{model}:batchEmbedContents");
        let reply = self.endpoint.post_json(&path, &self.body(request)).await?;
        let Some(rows) = reply["embeddings"].as_array() else {
            return Err(self.endpoint.name(no_reply(&reply, "embeddings")));
        };
        let vector = |row: &Value| {
            let values = row["values"].as_array()?.iter();
            let values: Option<Vec<f32>> = values.map(|v| Some(v.as_f64()? as f32)).collect();
            values.filter(|v| !v.is_empty())
        };
        let vectors: Option<Vec<Vec<f32>>> = rows.iter().map(vector).collect();
        let vectors = vectors.ok_or_else(|| self.bad("a vector holds no numbers"))?;
        if vectors.len() != request.inputs.len() {
            let (came, asked) = (vectors.len(), request.inputs.len());
            return Err(self.bad(format!("{came} vectors came back for {asked} texts")));
        }
        let width = request.dimensions.map(|d| d as usize).or(self.width);
        let width = width.unwrap_or(vectors[0].len());
        if let Some(wrong) = vectors.iter().find(|v| v.len() != width) {
            let found = wrong.len();
            return Err(self.bad(format!("a vector has {found} values, not {width}")));
        }
        Ok(EmbedResponse::new(self.model.clone(), vectors))
    }
}
