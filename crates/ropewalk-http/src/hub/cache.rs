//! The cache folder, laid out as `huggingface_hub` of Python does, so that both share their files.
//!
//! ```text
//! models--owner--name/refs/<revision>            the commit that a branch or tag stood for
//! models--owner--name/blobs/<etag>               contents
//! models--owner--name/snapshots/<commit>/<file>  links to contents
//! .locks/models--owner--name/<etag>.lock         held while contents are fetched
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ropewalk_core::{Error, ErrorKind, Result};

use super::PROVIDER;
use super::name::{HubName, check_path, is_commit};

/// The folder of one repository.
#[derive(Debug, Clone)]
pub(super) struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    pub(super) fn new(cache: &Path, name: &HubName) -> Self {
        let folder = name.cache_folder();
        Self {
            locks: cache.join(".locks").join(&folder),
            folder: cache.join(folder),
        }
    }

    /// Returns the commit that a revision stood for when it was last asked for.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Remembers what a revision stands for.
    pub(super) fn remember(&self, revision: &str, commit: &str) -> Result<()> {
        if is_commit(revision) || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let at = self.folder.join("refs").join(revision);
        let write = || {
            create_parent(&at)?;
            let mut file = tempfile_beside(&at)?;
            file.1.write_all(commit.as_bytes())?;
            fs::rename(&file.0, &at)
        };
        write().map_err(|e| io_error(&at, &e))
    }

    /// Returns the folder of a commit.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// Returns a file of a commit if its contents are there.
    pub(super) fn find(&self, commit: &str, file: &str) -> Option<PathBuf> {
        let path = self.snapshot(commit).join(file);
        path.is_file().then_some(path)
    }

    /// Returns where contents are kept.
    pub(super) fn blob(&self, etag: &str) -> Result<PathBuf> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !etag.chars().all(allowed) || etag.len() > 200 {
            let message = format!("the server named contents {etag:?}, which can be no file name");
            return Err(Error::new(ErrorKind::Decode, message).with_provider(PROVIDER));
        }
        check_path(etag, "contents")?;
        Ok(self.folder.join("blobs").join(etag))
    }

    /// Makes a file of a commit out of contents that are there.
    pub(super) fn link(&self, commit: &str, file: &str, blob: &Path) -> Result<PathBuf> {
        let path = self.snapshot(commit).join(file);
        let make = || {
            create_parent(&path)?;
            // A link whose contents were deleted.
            if path.symlink_metadata().is_ok() && !path.is_file() {
                fs::remove_file(&path)?;
            }
            match link_to(blob, &path, file) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                result => result,
            }
        };
        make().map_err(|e| io_error(&path, &e))?;
        Ok(path)
    }

    /// Waits until nobody else fetches these contents, in this process or another.
    pub(super) async fn lock(&self, etag: &str) -> Result<File> {
        let path = self.locks.join(format!("{etag}.lock"));
        let open = || {
            create_parent(&path)?;
            File::options().create(true).append(true).open(&path)
        };
        let file = open().map_err(|e| io_error(&path, &e))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => {
                    return Ok(file);
                }
                Err(TryLockError::Error(e)) => return Err(io_error(&path, &e)),
            }
        }
    }
}

pub(super) fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn tempfile_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let path = path.with_file_name(name);
    Ok((path.clone(), File::create(path)?))
}

/// Links relatively, so that the cache can be moved.
#[cfg(unix)]
fn link_to(blob: &Path, path: &Path, file: &str) -> io::Result<()> {
    let up = "../".repeat(2 + file.matches('/').count());
    let name = blob.file_name().unwrap_or_default();
    std::os::unix::fs::symlink(Path::new(&up).join("blobs").join(name), path)
}

/// Where links need rights, the contents themselves are there, as `huggingface_hub` does it.
#[cfg(not(unix))]
fn link_to(blob: &Path, path: &Path, _file: &str) -> io::Result<()> {
    fs::hard_link(blob, path).or_else(|_| fs::copy(blob, path).map(drop))
}

/// Names the file and what to do.
pub(super) fn io_error(path: &Path, e: &io::Error) -> Error {
    let hint = match e.kind() {
        io::ErrorKind::StorageFull => "; free some space and ask again, what came is kept",
        io::ErrorKind::PermissionDenied => "; choose a cache folder that can be written",
        _ => "",
    };
    let message = format!("{}: {e}{hint}", path.display());
    Error::new(ErrorKind::Other, message).with_provider(PROVIDER)
}
