//! Files of the Hugging Face Hub, in the cache that the Python library uses.
//!
//! ```no_run
//! use ropewalk_http::hub::{Hub, HubName};
//!
//! # async fn run() -> ropewalk_core::Result<()> {
//! let hub = Hub::from_env()?;
//! let name: HubName = "hf:sentence-transformers/all-MiniLM-L6-v2".parse()?;
//! let config = hub.file(&name, "config.json").await?;
//! let folder = hub.snapshot(&name, |file| file.ends_with(".json")).await?;
//! assert!(config.starts_with(folder));
//! # Ok(()) }
//! ```
//!
//! | what | how |
//! | --- | --- |
//! | cache | `models--owner--name/{refs,blobs,snapshots}`, as `huggingface_hub` lays it out: both find each other's files |
//! | a file that is there | for a commit no request; for a branch or tag one `HEAD`, and what is cached if the Hub cannot be reached |
//! | a download that broke off | goes on where it ended, now and in a later process |
//! | contents | size and, for large files, SHA-256 are checked before the file gets its name |
//! | two at once | a lock file of the contents, the one that `huggingface_hub` takes |
//! | token | sent to the host of the Hub only, never to the storage it redirects to; in no output |
//! | gated and private repositories | an error that names the page with the terms |
//!
//! Contents come over plain HTTP, also those that the Hub keeps in its Xet storage, which it serves
//! through a bridge; the Xet protocol itself (`hf_xet`) is not spoken.

mod cache;
mod download;
mod fetch;
mod name;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ropewalk_core::{DynProgress, Error, ErrorKind, Progress, Result};
use serde_json::Value;

use crate::client::Client;
use crate::options::ClientOptions;
use cache::RepoCache;
pub use name::{HubName, RepoKind};

/// Name of this provider in errors.
pub const PROVIDER: &str = "hub";
/// Where the Hub is.
pub const ENDPOINT: &str = "https://huggingface.co";

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubFile {
    /// Path in the repository, with slashes.
    pub path: String,
    /// Size in bytes, where the Hub says it.
    pub size: Option<u64>,
}

/// Fetches files of the Hub into a cache. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    client: Client,
    endpoint: String,
    token: Option<String>,
    cache: PathBuf,
    offline: bool,
    progress: Option<DynProgress>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("offline", &self.offline)
            .field("token", &self.token.is_some())
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Creates a source with a cache folder, without a token.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when no HTTP client can be made.
    pub fn new(cache: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self {
            client: Client::new(ClientOptions::new())?,
            endpoint: ENDPOINT.to_owned(),
            token: None,
            cache: cache.into(),
            offline: false,
            progress: None,
        })
    }

    /// Creates a source from the variables that `huggingface_hub` reads.
    ///
    /// | variable | means |
    /// | --- | --- |
    /// | `HF_HUB_CACHE`, else `HF_HOME`/hub, else `XDG_CACHE_HOME`/huggingface/hub, else ~/.cache/huggingface/hub | the cache |
    /// | `HF_TOKEN`, else the file `HF_TOKEN_PATH`, else `HF_HOME`/token | the token |
    /// | `HF_ENDPOINT` | where the Hub is |
    /// | `HF_HUB_OFFLINE` | `1`, `true`, `yes` or `on`: ask nobody |
    ///
    /// # Errors
    /// As [`new`](Self::new); [`ErrorKind::Configuration`] when there is no home folder.
    pub fn from_env() -> Result<Self> {
        Self::from_vars(&|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
    }

    fn from_vars(var: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let under = |base: &str, rest: &str| var(base).map(|base| PathBuf::from(base).join(rest));
        let home = under("HF_HOME", "")
            .or_else(|| under("XDG_CACHE_HOME", "huggingface"))
            .or_else(|| under("HOME", ".cache/huggingface"))
            .or_else(|| under("USERPROFILE", ".cache/huggingface"));
        let cache = var("HF_HUB_CACHE").map(PathBuf::from);
        let cache = cache
            .or_else(|| Some(home.as_ref()?.join("hub")))
            .ok_or_else(|| {
                let message = "no folder for files of the Hub: set HF_HOME or HF_HUB_CACHE";
                Error::new(ErrorKind::Configuration, message).with_provider(PROVIDER)
            })?;
        let mut hub = Self::new(cache)?;
        let file = under("HF_TOKEN_PATH", "").or_else(|| Some(home?.join("token")));
        let stored = || std::fs::read_to_string(file?).ok();
        let token = var("HF_TOKEN").or_else(stored).map(|t| t.trim().to_owned());
        hub.token = token.filter(|t| !t.is_empty());
        if let Some(endpoint) = var("HF_ENDPOINT") {
            hub = hub.with_endpoint(endpoint);
        }
        let on = |v: String| matches!(v.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on");
        hub.offline = var("HF_HUB_OFFLINE").is_some_and(on);
        Ok(hub)
    }

    /// Sets where the Hub is.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = endpoint.into().trim_end_matches('/').to_owned();
        self
    }

    /// Sets the token, which is in no output.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets whether only what is in the cache may be used.
    #[must_use]
    pub fn with_offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Sets who sees how many bytes of which file have come.
    #[must_use]
    pub fn with_progress(mut self, progress: impl Progress + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// Sets the client that asks.
    #[must_use]
    pub fn with_client(mut self, client: Client) -> Self {
        self.client = client;
        self
    }

    /// Returns the cache folder.
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Returns the path of a file on this machine, fetched if it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a repository, revision or file that is not there, also offline;
    /// [`ErrorKind::Authentication`] and [`ErrorKind::PermissionDenied`] for gated and private ones,
    /// with the page to go to; [`ErrorKind::Connection`] and [`ErrorKind::Timeout`] when the Hub
    /// cannot be reached and the cache has nothing; [`ErrorKind::Decode`] when contents are not what
    /// the Hub announced.
    pub async fn file(&self, name: &HubName, file: &str) -> Result<PathBuf> {
        name::check_path(file, "file")?;
        let cache = RepoCache::new(&self.cache, name);
        let kept = || cache.find(&cache.commit(name.revision())?, file);
        if self.offline || name.is_pinned() {
            match kept() {
                Some(path) => return Ok(path),
                None if self.offline => return Err(self.not_kept(name, file)),
                None => {}
            }
        }
        let found = match self.metadata(name, file).await {
            Ok(found) => found,
            // The Hub is away; what it gave last time is better than nothing.
            Err(error) if error.kind().is_transient() => return kept().ok_or(error),
            Err(error) => return Err(error),
        };
        cache.remember(name.revision(), &found.commit)?;
        if let Some(path) = cache.find(&found.commit, file) {
            return Ok(path);
        }
        let blob = cache.blob(&found.etag)?;
        let lock = cache.lock(&found.etag).await?;
        if !blob.is_file() {
            self.download(name, file, &found, &blob).await?;
        }
        drop(lock);
        cache.link(&found.commit, file, &blob)
    }

    /// Returns the files of a repository; offline, those in the cache.
    ///
    /// # Errors
    /// As [`file`](Self::file).
    pub async fn files(&self, name: &HubName) -> Result<Vec<HubFile>> {
        Ok(self.list(name).await?.1)
    }

    /// Fetches all files that `wanted` says yes to, and returns the folder they are in.
    ///
    /// # Errors
    /// As [`file`](Self::file); files that have come stay.
    pub async fn snapshot(
        &self,
        name: &HubName,
        wanted: impl Fn(&str) -> bool + Send,
    ) -> Result<PathBuf> {
        let (commit, files) = self.list(name).await?;
        let cache = RepoCache::new(&self.cache, name);
        // All files are of one commit, also if the branch moves on meanwhile.
        let pinned = name.clone().with_revision(commit.clone())?;
        for file in files.iter().filter(|f| wanted(&f.path)) {
            self.file(&pinned, &file.path).await?;
        }
        cache.remember(name.revision(), &commit)?;
        Ok(cache.snapshot(&commit))
    }

    /// Returns the commit of the revision and its files.
    async fn list(&self, name: &HubName) -> Result<(String, Vec<HubFile>)> {
        let cache = RepoCache::new(&self.cache, name);
        let kept = || {
            let commit = cache.commit(name.revision())?;
            let files = files_under(&cache.snapshot(&commit));
            (!files.is_empty()).then_some((commit, files))
        };
        if self.offline {
            return kept().ok_or_else(|| self.not_kept(name, "its files"));
        }
        let listing = match self.listing(name).await {
            Ok(listing) => listing,
            Err(error) if error.kind().is_transient() => return kept().ok_or(error),
            Err(error) => return Err(error),
        };
        read_listing(&listing).ok_or_else(|| {
            let message = format!("{name}: the list of files holds no commit or no files");
            Error::new(ErrorKind::Decode, message).with_provider(PROVIDER)
        })
    }

    fn not_kept(&self, name: &HubName, file: &str) -> Error {
        let message = format!(
            "{name}: {file} is not in {} and the Hub may not be asked (HF_HUB_OFFLINE); fetch it once online",
            self.cache.display()
        );
        Error::new(ErrorKind::NotFound, message).with_provider(PROVIDER)
    }
}

fn read_listing(listing: &Value) -> Option<(String, Vec<HubFile>)> {
    let commit = listing["sha"].as_str().filter(|c| name::is_commit(c))?;
    let files = listing["siblings"].as_array()?.iter().filter_map(|f| {
        let path = f["rfilename"].as_str()?;
        name::check_path(path, "file").ok()?;
        Some(HubFile {
            path: path.to_owned(),
            size: f["size"].as_u64(),
        })
    });
    Some((commit.to_owned(), files.collect()))
}

/// Returns the files below a folder, sorted, with slashes.
fn files_under(folder: &Path) -> Vec<HubFile> {
    let mut files = Vec::new();
    let mut open = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = open.pop() {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries {
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            match std::fs::metadata(entry.path()) {
                Ok(meta) if meta.is_dir() => open.push((entry.path(), format!("{path}/"))),
                Ok(meta) => files.push(HubFile {
                    path,
                    size: Some(meta.len()),
                }),
                Err(_) => {}
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_mean_what_they_mean_in_python() {
        let vars = |set: &'static [(&str, &str)]| {
            move |name: &str| {
                let value = set.iter().find(|(n, _)| *n == name);
                value.map(|(_, v)| (*v).to_owned())
            }
        };
        let home = Hub::from_vars(&vars(&[("HOME", "/h"), ("HF_TOKEN", " t\n")])).unwrap();
        assert_eq!(home.cache, Path::new("/h/.cache/huggingface/hub"));
        assert_eq!((home.token.as_deref(), home.offline), (Some("t"), false));
        let set = [
            ("HF_HOME", "/x"),
            ("HF_ENDPOINT", "https://mirror.test/"),
            ("HF_HUB_OFFLINE", "YES"),
        ];
        let hub = Hub::from_vars(&|name: &str| {
            set.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        })
        .unwrap();
        assert_eq!((hub.cache.to_str(), hub.offline), (Some("/x/hub"), true));
        assert_eq!(hub.endpoint, "https://mirror.test");
        assert!(Hub::from_vars(&|_| None).is_err());
        assert!(!format!("{home:?}").contains("\"t\""));
    }
}
