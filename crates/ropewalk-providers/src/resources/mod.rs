//! What OpenAI keeps for an account: files, fine-tuning jobs, models.
//!
//! | for | see |
//! | --- | --- |
//! | uploads and downloads | [`Files`], [`Upload`], [`check_training_data`] |
//! | fine-tuning | [`FineTuning`], [`FineTuneRequest`], [`FineTuningJob`] |
//! | which models there are | [`Models`] |
//! | lists in pages | [`Page`], [`ListOptions`] |
//!
//! Objects are read leniently: an unknown status keeps its name, and unknown fields stay in
//! `other`, so that an object that is read and written again says the same.
//!
//! ```no_run
//! use ropewalk_core::NoProgress;
//! use ropewalk_providers::OpenAi;
//! use ropewalk_providers::resources::{FineTuneRequest, TrainingFormat, Wait};
//!
//! # async fn tune() -> ropewalk_core::Result<()> {
//! let openai = OpenAi::from_env()?;
//! let data = r#"{"messages": [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}]}"#;
//! let file = openai.files().upload_training("train.jsonl", data, TrainingFormat::Chat).await?;
//! let request = FineTuneRequest::new("gpt-4o-mini-2024-07-18", file.id).with_suffix("sums");
//! let job = openai.fine_tuning().create(&request).await?;
//! let job = openai.fine_tuning().wait(&job.id, &Wait::default(), &NoProgress).await?;
//! # let _ = job.fine_tuned_model; Ok(()) }
//! ```

pub(crate) mod atomic;
mod files;
mod fine_tuning;
mod models;
mod training_data;

use http::Method;
use ropewalk_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::endpoint::Endpoint;
use crate::openai::OpenAi;

pub use files::{FileObject, Files, Upload};
pub use fine_tuning::{
    Checkpoint, FineTuneRequest, FineTuning, FineTuningEvent, FineTuningJob, Hyperparameters,
    Integration, JobError, JobStatus, Method as TuningMethod, MethodBody, Metrics, Setting, Wait,
};
pub use models::{ListedModel, Models};
pub use training_data::{TrainingFormat, TrainingSummary, check_training_data};

impl OpenAi {
    /// Returns the files of the account.
    #[must_use]
    pub fn files(&self) -> Files {
        Files::new(self.endpoint.clone())
    }

    /// Returns the fine-tuning jobs of the account.
    #[must_use]
    pub fn fine_tuning(&self) -> FineTuning {
        FineTuning::new(self.endpoint.clone())
    }

    /// Returns the models of the account or server.
    #[must_use]
    pub fn models(&self) -> Models {
        Models::new(self.endpoint.clone())
    }
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ListOptions {
    /// Begin after the object with this id.
    pub after: Option<String>,
    /// Most objects of one page; the API's own when `None`.
    pub limit: Option<u32>,
    /// Other parameters, for example `purpose` and `order`.
    pub filters: Vec<(String, String)>,
}

impl ListOptions {
    /// Creates options for the whole list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the id to begin after.
    #[must_use]
    pub fn with_after(mut self, id: impl Into<String>) -> Self {
        self.after = Some(id.into());
        self
    }

    /// Sets the most objects of one page.
    #[must_use]
    pub fn with_limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Adds a parameter.
    #[must_use]
    pub fn with_filter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.filters.push((name.into(), value.into()));
        self
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Page<T> {
    /// The objects.
    pub data: Vec<T>,
    /// Where the next page begins, for [`ListOptions::after`]; `None` on the last.
    pub next: Option<String>,
}

/// Fetches one page. Lists without pages (`has_more` missing) are one.
pub(crate) async fn page<T: DeserializeOwned>(
    endpoint: &Endpoint,
    path: &str,
    options: &ListOptions,
) -> Result<Page<T>> {
    let mut request = endpoint.request(Method::GET, path)?;
    for (name, value) in &options.filters {
        request = request.with_query(name, value);
    }
    if let Some(after) = &options.after {
        request = request.with_query("after", after);
    }
    if let Some(limit) = options.limit {
        request = request.with_query("limit", &limit.to_string());
    }
    let mut body = endpoint.json_of(&request).await?;
    let more = body["has_more"].as_bool().unwrap_or(false);
    let data = match body.get_mut("data").map(Value::take) {
        Some(Value::Array(data)) => data,
        // Together answers with the list alone.
        None if body.is_array() => body.as_array().cloned().unwrap_or_default(),
        _ => return Err(bad(endpoint, path, "holds no list")),
    };
    let id = |object: &Value| object.get("id")?.as_str().map(str::to_owned);
    let last = body
        .get("last_id")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let next = last.or_else(|| id(data.last()?)).filter(|_| more);
    let data = data.into_iter().map(|object| typed(endpoint, path, object));
    Ok(Page {
        data: data.collect::<Result<_>>()?,
        next,
    })
}

/// Fetches all pages from `options.after` on.
pub(crate) async fn all<T: DeserializeOwned>(
    endpoint: &Endpoint,
    path: &str,
    options: &ListOptions,
) -> Result<Vec<T>> {
    let mut options = options.clone();
    let mut objects = Vec::new();
    loop {
        let page = page(endpoint, path, &options).await?;
        objects.extend(page.data);
        match page.next {
            None => return Ok(objects),
            // Servers that do not know the parameter give the first page for ever.
            next if next == options.after => {
                return Err(bad(endpoint, path, "gives the same page again"));
            }
            next => options.after = next,
        }
    }
}

/// Sends a request and reads the object that comes back.
pub(crate) async fn object<T: DeserializeOwned>(
    endpoint: &Endpoint,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<T> {
    let mut request = endpoint.request(method, path)?;
    if let Some(body) = body {
        request = request.with_json(body);
    }
    typed(endpoint, path, endpoint.json_of(&request).await?)
}

pub(crate) fn typed<T: DeserializeOwned>(
    endpoint: &Endpoint,
    path: &str,
    object: Value,
) -> Result<T> {
    serde_json::from_value(object)
        .map_err(|e| bad(endpoint, path, &format!("is not as expected: {e}")))
}

fn bad(endpoint: &Endpoint, path: &str, what: &str) -> Error {
    let message = format!("the reply of {path} {what}");
    endpoint.name(Error::new(ErrorKind::Decode, message))
}

/// Puts an id into a path.
///
/// # Errors
/// [`ErrorKind::InvalidRequest`] for an id that would change the path.
pub(crate) fn checked<'i>(endpoint: &Endpoint, id: &'i str) -> Result<&'i str> {
    // Ids of fine-tuned models hold colons, those of Hugging Face slashes.
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b);
    if !id.is_empty()
        && id.bytes().all(fits)
        && id.split('/').all(|p| !matches!(p, "" | "." | ".."))
    {
        return Ok(id);
    }
    Err(endpoint.name(Error::invalid_request(format!("{id:?} is no id"))))
}

/// Reads `null` as the default.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
