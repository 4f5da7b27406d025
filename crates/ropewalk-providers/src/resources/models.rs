//! Which models there are.

use http::Method;
use ropewalk_core::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ListOptions, all, checked, object};
use crate::endpoint::Endpoint;

/// The models of an account or a server, `/models`.
#[derive(Debug, Clone)]
pub struct Models {
    endpoint: Endpoint,
}

/// A model as the API lists it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListedModel {
    /// The name that requests give.
    pub id: String,
    /// When it was made, in seconds since 1970; servers give all kinds of values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Value>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owned_by: Option<String>,
    /// What else the server says: context length, prices, loras.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Models {
    /// Creates the resource.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Returns all models, in the order of the server, however many pages they are.
    ///
    /// # Errors
    /// Those of the API, and [`ErrorKind::Decode`](ropewalk_core::ErrorKind::Decode).
    pub async fn list(&self) -> Result<Vec<ListedModel>> {
        all(&self.endpoint, "/models", &ListOptions::new()).await
    }

    /// Returns one model.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](ropewalk_core::ErrorKind::NotFound), else as [`list`](Self::list).
    pub async fn retrieve(&self, id: &str) -> Result<ListedModel> {
        let path = format!("/models/{}", checked(&self.endpoint, id)?);
        object(&self.endpoint, Method::GET, &path, None).await
    }

    /// Deletes a fine-tuned model.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    pub async fn delete(&self, id: &str) -> Result<()> {
        let path = format!("/models/{}", checked(&self.endpoint, id)?);
        object::<Value>(&self.endpoint, Method::DELETE, &path, None).await?;
        Ok(())
    }
}
