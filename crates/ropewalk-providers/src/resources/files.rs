//! Files of an account.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use http::Method;
use ropewalk_core::{Error, Result};
use ropewalk_http::Form;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::training_data::{TrainingFormat, check_training_data};
use super::{ListOptions, Page, all, atomic, checked, object, page, typed};
use crate::endpoint::Endpoint;

/// The files of an account, `/files`.
#[derive(Debug, Clone)]
pub struct Files {
    endpoint: Endpoint,
}

/// A file to be uploaded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Upload {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub data: Bytes,
    /// What it is for: `batch`, `fine-tune`, `user_data`, `vision`, `evals`, `assistants`.
    pub purpose: String,
    /// When it is deleted, counted from its upload; 1 hour to 30 days.
    pub expires_after: Option<Duration>,
}

impl Upload {
    /// Creates an upload.
    pub fn new(
        name: impl Into<String>,
        data: impl Into<Bytes>,
        purpose: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            data: data.into(),
            purpose: purpose.into(),
            expires_after: None,
        }
    }

    /// Sets when the file is deleted, counted from its upload.
    #[must_use]
    pub fn with_expires_after(mut self, time: Duration) -> Self {
        self.expires_after = Some(time);
        self
    }
}

/// A file as the API describes it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileObject {
    /// Its id.
    pub id: String,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// When it was uploaded, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<i64>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// `uploaded`, `processed` or `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// When it is deleted, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// What else the API says.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Files {
    /// Creates the resource.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Uploads a file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](ropewalk_core::ErrorKind::InvalidRequest) for an empty file,
    /// and those of the API.
    pub async fn upload(&self, upload: &Upload) -> Result<FileObject> {
        if upload.data.is_empty() {
            let message = format!("the file {:?} is empty", upload.name);
            return Err(self.endpoint.name(Error::invalid_request(message)));
        }
        let mut form = Form::new().text("purpose", upload.purpose.as_str());
        if let Some(time) = upload.expires_after {
            form = form.text("expires_after[anchor]", "created_at");
            form = form.text("expires_after[seconds]", time.as_secs().to_string());
        }
        let mime = match Path::new(&upload.name).extension().and_then(|e| e.to_str()) {
            Some("jsonl") => "application/jsonl",
            Some("json") => "application/json",
            Some("pdf") => "application/pdf",
            Some("txt" | "md") => "text/plain",
            Some("png") => "image/png",
            Some("jpg" | "jpeg") => "image/jpeg",
            _ => "application/octet-stream",
        };
        let form = form.file("file", upload.name.as_str(), mime, upload.data.clone());
        let request = self
            .endpoint
            .request(Method::POST, "/files")?
            .with_form(&form);
        typed(
            &self.endpoint,
            "/files",
            self.endpoint.json_of(&request).await?,
        )
    }

    /// Uploads a file of this machine.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](ropewalk_core::ErrorKind::Configuration) when it cannot be
    /// read, else as [`upload`](Self::upload).
    pub async fn upload_path(
        &self,
        path: impl AsRef<Path>,
        purpose: impl Into<String>,
    ) -> Result<FileObject> {
        let path = path.as_ref();
        let data = tokio::fs::read(path)
            .await
            .map_err(|e| atomic::failed("read", path, e))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.upload(&Upload::new(name, data, purpose)).await
    }

    /// Checks training data line by line and uploads it with the purpose `fine-tune`.
    ///
    /// # Errors
    /// As [`check_training_data`], then as [`upload`](Self::upload).
    pub async fn upload_training(
        &self,
        name: impl Into<String>,
        data: impl Into<Bytes>,
        format: TrainingFormat,
    ) -> Result<FileObject> {
        let data = data.into();
        let name = name.into();
        check_training_data(&data, format).map_err(|e| {
            let message = format!("{name}: {}", e.message());
            self.endpoint.name(Error::new(e.kind(), message))
        })?;
        self.upload(&Upload::new(name, data, "fine-tune")).await
    }

    /// Returns a page of the list.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn list(&self, options: &ListOptions) -> Result<Page<FileObject>> {
        page(&self.endpoint, "/files", options).await
    }

    /// Returns the whole list, page after page.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn all(&self, options: &ListOptions) -> Result<Vec<FileObject>> {
        all(&self.endpoint, "/files", options).await
    }

    /// Returns the description of a file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](ropewalk_core::ErrorKind::NotFound) and others of the API.
    pub async fn retrieve(&self, id: &str) -> Result<FileObject> {
        object(&self.endpoint, Method::GET, &self.path(id, "")?, None).await
    }

    /// Deletes a file.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    pub async fn delete(&self, id: &str) -> Result<()> {
        object::<Value>(&self.endpoint, Method::DELETE, &self.path(id, "")?, None).await?;
        Ok(())
    }

    /// Returns what a file holds, whole, up to the client's limit.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    pub async fn content(&self, id: &str) -> Result<Bytes> {
        let request = self
            .endpoint
            .request(Method::GET, &self.path(id, "/content")?)?;
        Ok(self.endpoint.client().send(&request).await?.body)
    }

    /// Returns what a file holds, piece by piece, whatever its size.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve); the stream breaks off with the error of the connection.
    pub async fn content_stream(&self, id: &str) -> Result<BoxStream<'static, Result<Bytes>>> {
        let request = self
            .endpoint
            .request(Method::GET, &self.path(id, "/content")?)?;
        Ok(self.endpoint.client().stream(&request).await?.bytes())
    }

    /// Writes what a file holds and returns the number of bytes. The writer is called from the
    /// task that waits for this, so it should not block for long.
    ///
    /// # Errors
    /// As [`content_stream`](Self::content_stream), and
    /// [`ErrorKind::Configuration`](ropewalk_core::ErrorKind::Configuration) when writing fails.
    pub async fn write_to(&self, id: &str, mut writer: impl Write + Send) -> Result<u64> {
        let mut pieces = self.content_stream(id).await?;
        let mut bytes = 0;
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            let written = writer.write_all(&piece);
            written.map_err(|e| atomic::failed("write", Path::new(id), e))?;
            bytes += piece.len() as u64;
        }
        let flushed = writer.flush();
        flushed.map_err(|e| atomic::failed("write", Path::new(id), e))?;
        Ok(bytes)
    }

    /// Downloads a file to a path and returns the number of bytes. The path is there only once the
    /// file is whole; a file that was there before stays until then.
    ///
    /// # Errors
    /// As [`write_to`](Self::write_to).
    pub async fn download(&self, id: &str, path: impl AsRef<Path>) -> Result<u64> {
        let mut pieces = self.content_stream(id).await?;
        let mut part = atomic::Part::create(path.as_ref()).await?;
        let mut bytes = 0;
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            part.write(&piece).await?;
            bytes += piece.len() as u64;
        }
        part.finish().await?;
        Ok(bytes)
    }

    fn path(&self, id: &str, below: &str) -> Result<String> {
        Ok(format!("/files/{}{below}", checked(&self.endpoint, id)?))
    }
}
