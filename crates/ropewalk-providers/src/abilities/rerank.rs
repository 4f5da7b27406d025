//! Rerank models behind an API.

use ropewalk_core::{Ranked, RerankModel, RerankRequest, RerankResponse, Result, async_trait};
use serde_json::{Map, Value};

use super::{Remote, RerankShape, remote_setters, usage_of};
use crate::endpoint::{Auth, Endpoint};
use crate::key::ApiKey;

/// A model that sorts documents, behind an API of any [`RerankShape`].
///
/// No documents give no places and no call.
#[derive(Debug, Clone)]
pub struct RemoteRerank {
    remote: Remote,
    shape: RerankShape,
}

remote_setters!(RemoteRerank);

impl RemoteRerank {
    /// Creates a model.
    pub fn new(endpoint: Endpoint, model: impl Into<String>, shape: RerankShape) -> Self {
        Self {
            remote: Remote::new(endpoint, model),
            shape,
        }
    }

    /// Creates a model of Cohere, for example `rerank-v3.5`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](ropewalk_core::ErrorKind::Configuration) when no HTTP client
    /// can be made; so for all of these.
    pub fn cohere(key: impl Into<ApiKey>, model: impl Into<String>) -> Result<Self> {
        Self::hosted(
            "cohere",
            "https://api.cohere.com",
            key.into(),
            model,
            RerankShape::COHERE,
        )
    }

    /// Creates a model of Jina, for example `jina-reranker-v2-base-multilingual`.
    ///
    /// # Errors
    /// As [`cohere`](Self::cohere).
    pub fn jina(key: impl Into<ApiKey>, model: impl Into<String>) -> Result<Self> {
        Self::hosted(
            "jina",
            "https://api.jina.ai/v1",
            key.into(),
            model,
            RerankShape::JINA,
        )
    }

    /// Creates a model of Voyage, for example `rerank-2.5`.
    ///
    /// # Errors
    /// As [`cohere`](Self::cohere).
    pub fn voyage(key: impl Into<ApiKey>, model: impl Into<String>) -> Result<Self> {
        Self::hosted(
            "voyage",
            "https://api.voyageai.com/v1",
            key.into(),
            model,
            RerankShape::VOYAGE,
        )
    }

    /// Creates the model of a text-embeddings-inference server, for example
    /// `http://localhost:8080`.
    ///
    /// # Errors
    /// As [`cohere`](Self::cohere).
    pub fn tei(base_url: impl Into<String>, model: impl Into<String>) -> Result<Self> {
        let endpoint = Endpoint::new("tei", base_url, Auth::None, None)?;
        Ok(Self::new(endpoint, model, RerankShape::TEI))
    }

    /// Creates the model of a llama.cpp server, for example `http://localhost:8080/v1`.
    ///
    /// # Errors
    /// As [`cohere`](Self::cohere).
    pub fn llama_cpp(base_url: impl Into<String>, model: impl Into<String>) -> Result<Self> {
        let endpoint = Endpoint::new("llamacpp", base_url, Auth::None, None)?;
        Ok(Self::new(endpoint, model, RerankShape::LLAMA_CPP))
    }

    fn hosted(
        provider: &'static str,
        base_url: &str,
        key: ApiKey,
        model: impl Into<String>,
        shape: RerankShape,
    ) -> Result<Self> {
        let endpoint = Endpoint::new(provider, base_url, Auth::Bearer, Some(key))?;
        Ok(Self::new(endpoint, model, shape))
    }

    /// Sets another endpoint, for example one with a proxy.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: Endpoint) -> Self {
        self.remote.endpoint = endpoint;
        self
    }

    fn body(&self, request: &RerankRequest) -> Map<String, Value> {
        // No shape leaves anything out, so there is nothing to warn of.
        let RerankRequest {
            query,
            documents,
            top_n,
            on_unsupported: _,
            extra,
            ..
        } = request;
        let shape = &self.shape;
        let mut body = Map::new();
        if shape.model {
            body.insert("model".into(), self.remote.model.as_str().into());
        }
        body.insert("query".into(), query.as_str().into());
        body.insert(shape.documents.into(), documents.as_slice().into());
        if let (Some(field), Some(top_n)) = (shape.top_n, top_n) {
            body.insert(field.into(), (*top_n).into());
        }
        for (name, value) in shape.fixed {
            if let Ok(value) = serde_json::from_str(value) {
                body.insert((*name).into(), value);
            }
        }
        self.remote.merge(&mut body, extra);
        body
    }

    fn places(&self, body: &Value, documents: usize) -> Result<Vec<Ranked>, String> {
        let list = match self.shape.results {
            "" => Some(body),
            field => body.get(field),
        };
        let list = list.and_then(Value::as_array);
        let list = list.ok_or("the reply holds no places")?;
        let mut seen = vec![false; documents];
        let mut places = Vec::with_capacity(list.len());
        for (i, item) in list.iter().enumerate() {
            let index = item.get("index").and_then(Value::as_u64);
            let index = index.and_then(|index| usize::try_from(index).ok());
            let score = item.get(self.shape.score).and_then(Value::as_f64);
            let (Some(index), Some(score)) = (index, score) else {
                return Err(format!("place {i} has no index or no {}", self.shape.score));
            };
            match seen.get_mut(index) {
                Some(seen) if !*seen => *seen = true,
                Some(_) => return Err(format!("document {index} has two places")),
                None => return Err(format!("there is no document {index}")),
            }
            places.push(Ranked::new(index, score as f32));
        }
        places.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index)));
        Ok(places)
    }
}

#[async_trait]
impl RerankModel for RemoteRerank {
    fn provider(&self) -> &str {
        self.remote.endpoint.provider()
    }

    fn model(&self) -> &str {
        &self.remote.model
    }

    async fn rerank(&self, request: &RerankRequest) -> Result<RerankResponse> {
        if request.query.trim().is_empty() {
            return Err(self.remote.invalid("the query is empty"));
        }
        if request.documents.is_empty() || request.top_n == Some(0) {
            return Ok(RerankResponse::new(Vec::new()).with_model(self.remote.model.clone()));
        }
        let answer = self
            .remote
            .post(self.shape.path, self.body(request))
            .await?;
        let places = self.places(&answer.body, request.documents.len());
        let mut places = places.map_err(|m| self.remote.bad(answer.request_id.as_deref(), m))?;
        places.truncate(request.top_n.unwrap_or(usize::MAX));
        let mut response = RerankResponse::new(places)
            .with_model(self.remote.answered(&answer.body))
            .with_usage(usage_of(&answer.body));
        response.raw = self.remote.keep_raw.then_some(answer.body);
        Ok(response)
    }
}
