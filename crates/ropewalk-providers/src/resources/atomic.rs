//! Files that are there whole or not at all: written beside their place, then renamed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ropewalk_core::{Error, ErrorKind, Result};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

/// A file on its way. Dropping it before [`finish`](Self::finish) removes it.
#[derive(Debug)]
pub(crate) struct Part {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    finished: bool,
}

impl Part {
    /// Creates the file beside its place, under a name of its own.
    pub(crate) async fn create(path: &Path) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_nanos();
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}-{now:x}.part", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = File::create_new(&temporary).await;
        Ok(Self {
            file: file.map_err(|e| failed("create", path, e))?,
            temporary,
            path: path.to_owned(),
            finished: false,
        })
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes).await;
        written.map_err(|e| failed("write", &self.path, e))
    }

    /// Moves the file to its place.
    pub(crate) async fn finish(mut self) -> Result<()> {
        let path = self.path.clone();
        let failed = |e| failed("write", &path, e);
        self.file.flush().await.map_err(failed)?;
        self.file.sync_all().await.map_err(failed)?;
        let moved = tokio::fs::rename(&self.temporary, &path).await;
        moved.map_err(failed)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing can be done about a file that cannot be removed.
            drop(std::fs::remove_file(&self.temporary));
        }
    }
}

/// Writes a whole file.
pub(crate) async fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut part = Part::create(path).await?;
    part.write(bytes).await?;
    part.finish().await
}

/// Reads a whole file; `None` when there is none.
pub(crate) async fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match tokio::fs::read(path).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("read", path, e)),
    }
}

pub(crate) fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    let message = format!("cannot {what} {}: {error}", path.display());
    Error::new(ErrorKind::Configuration, message).with_source(error)
}
