//! What is where on the Hub: `hf:owner/name[@revision][/file]`.

use std::fmt;
use std::str::FromStr;

use ropewalk_core::{Error, ErrorKind, Result};

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RepoKind {
    /// A model; its name stands alone.
    #[default]
    Model,
    /// A data set; its name begins with `datasets/`.
    Dataset,
    /// An application; its name begins with `spaces/`.
    Space,
}

impl RepoKind {
    /// Returns the part of paths that tells this kind, as addresses, names and folders spell it.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
            Self::Space => "spaces",
        }
    }

    /// Returns what stands before the name in addresses of pages and files.
    fn prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
            Self::Space => "spaces/",
        }
    }
}

/// A repository of the Hub at a revision, and perhaps a file in it.
///
/// ```
/// use ropewalk_http::hub::HubName;
///
/// let name: HubName = "hf:owner/model-GGUF@v1.0/q4/model.gguf".parse()?;
/// assert_eq!((name.repo(), name.revision()), ("owner/model-GGUF", "v1.0"));
/// assert_eq!(name.file(), Some("q4/model.gguf"));
/// assert_eq!(name.to_string(), "hf:owner/model-GGUF@v1.0/q4/model.gguf");
/// # Ok::<(), ropewalk_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HubName {
    kind: RepoKind,
    repo: String,
    revision: String,
    file: Option<String>,
}

/// The revision that holds unless another is named.
const MAIN: &str = "main";

impl HubName {
    /// Names a model repository, `owner/name`, at its main revision.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when the name cannot be one.
    pub fn model(repo: impl Into<String>) -> Result<Self> {
        Self::new(RepoKind::Model, repo)
    }

    /// Names a repository of any kind at its main revision.
    ///
    /// # Errors
    /// As [`model`](Self::model).
    pub fn new(kind: RepoKind, repo: impl Into<String>) -> Result<Self> {
        let repo = repo.into();
        let parts: Vec<&str> = repo.split('/').collect();
        if !(1..=2).contains(&parts.len()) || !parts.iter().all(|part| is_repo_part(part)) {
            return bad(format!(
                "{repo:?} is no repository; write owner/name with letters, digits, '-', '_' and '.'"
            ));
        }
        Ok(Self {
            kind,
            repo,
            revision: MAIN.to_owned(),
            file: None,
        })
    }

    /// Sets the revision: a branch, a tag, `refs/pr/N` or a commit.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when it cannot be one.
    pub fn with_revision(mut self, revision: impl Into<String>) -> Result<Self> {
        self.revision = revision.into();
        check_path(&self.revision, "revision")?;
        Ok(self)
    }

    /// Sets the file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] for a path that leaves the repository.
    pub fn with_file(mut self, file: impl Into<String>) -> Result<Self> {
        let file = file.into();
        check_path(&file, "file")?;
        self.file = Some(file);
        Ok(self)
    }

    /// Returns what the repository holds.
    #[must_use]
    pub fn kind(&self) -> RepoKind {
        self.kind
    }

    /// Returns `owner/name`.
    #[must_use]
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// Returns the revision; `main` unless another was named.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Returns the file that was named.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// Returns whether the revision is a commit, which never changes.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }

    /// Returns the address of the page where people see the repository and accept its terms.
    pub(super) fn page(&self, endpoint: &str) -> String {
        format!("{endpoint}/{}{}", self.kind.prefix(), self.repo)
    }

    /// Returns the address of a file at a revision.
    pub(super) fn address(&self, endpoint: &str, file: &str) -> String {
        let revision = escape(&self.revision, false);
        let file = escape(file, true);
        format!("{}/resolve/{revision}/{file}", self.page(endpoint))
    }

    /// Returns the address of what the Hub knows of the revision.
    pub(super) fn listing(&self, endpoint: &str) -> String {
        let (folder, repo) = (self.kind.folder(), &self.repo);
        let revision = escape(&self.revision, false);
        format!("{endpoint}/api/{folder}/{repo}/revision/{revision}?blobs=true")
    }

    /// Returns the name of the folder in the cache.
    pub(super) fn cache_folder(&self) -> String {
        format!("{}--{}", self.kind.folder(), self.repo.replace('/', "--"))
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf:{}{}", self.kind.prefix(), self.repo)?;
        if self.revision != MAIN {
            write!(f, "@{}", escape(&self.revision, false))?;
        }
        match &self.file {
            Some(file) => write!(f, "/{file}"),
            None => Ok(()),
        }
    }
}

impl FromStr for HubName {
    type Err = Error;

    /// Reads `hf:owner/name[@revision][/file]`; `hf:` may be left out, `datasets/` and `spaces/`
    /// before the owner tell other kinds. A slash in a revision is written `%2F`.
    fn from_str(text: &str) -> Result<Self> {
        let rest = text.strip_prefix("hf:").unwrap_or(text);
        let (kind, rest) = [RepoKind::Dataset, RepoKind::Space]
            .into_iter()
            .find_map(|kind| Some((kind, rest.strip_prefix(kind.prefix())?)))
            .unwrap_or((RepoKind::Model, rest));
        let mut parts = rest.splitn(3, '/');
        let owner = parts.next().unwrap_or_default();
        let Some(name) = parts.next() else {
            // Old models have no owner.
            let (repo, revision) = split_revision(owner);
            return Self::new(kind, repo)?.at(revision);
        };
        let (name, revision) = split_revision(name);
        let named = Self::new(kind, format!("{owner}/{name}"))?.at(revision)?;
        match parts.next() {
            Some(file) => named.with_file(file),
            None => Ok(named),
        }
    }
}

impl HubName {
    fn at(self, revision: Option<&str>) -> Result<Self> {
        match revision {
            Some(revision) => self.with_revision(revision.replace("%2F", "/").replace("%2f", "/")),
            None => Ok(self),
        }
    }
}

fn split_revision(name: &str) -> (&str, Option<&str>) {
    name.split_once('@')
        .map_or((name, None), |(name, revision)| (name, Some(revision)))
}

/// Returns whether a revision is the name of a commit.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The rules of `huggingface_hub/utils/_validators.py::validate_repo_id`.
fn is_repo_part(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: char| !matches!(c, '-' | '.');
    (1..=96).contains(&part.len())
        && part.chars().all(allowed)
        && part.starts_with(edge)
        && part.ends_with(edge)
        && !part.contains("--")
        && !part.contains("..")
}

/// Refuses what would lead out of a folder when it is joined to it.
pub(super) fn check_path(path: &str, what: &str) -> Result<()> {
    let good = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.contains(['\\', ':'])
            && !part.chars().any(char::is_control)
    };
    if path.len() <= 1024 && path.split('/').all(good) {
        Ok(())
    } else {
        bad(format!(
            "{path:?} is no {what} of a repository; write a relative path without '..'"
        ))
    }
}

/// Percent-encodes what may not stand in a path; slashes stay where they divide it.
fn escape(text: &str, slashes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b'/' if slashes => out.push('/'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn bad<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::InvalidRequest, message).with_provider(super::PROVIDER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (text, repo, revision, file) in [
            ("hf:a/b", "a/b", "main", None),
            ("gpt2", "gpt2", "main", None),
            ("gpt2@v2", "gpt2", "v2", None),
            (
                "hf:a/b@refs%2Fpr%2F1/x/y.gguf",
                "a/b",
                "refs/pr/1",
                Some("x/y.gguf"),
            ),
            (
                "hf:datasets/a/b/train.csv",
                "a/b",
                "main",
                Some("train.csv"),
            ),
        ] {
            let name: HubName = text.parse().unwrap();
            assert_eq!(
                (name.repo(), name.revision(), name.file()),
                (repo, revision, file),
                "{text}"
            );
            assert_eq!(name.to_string().parse::<HubName>().unwrap(), name);
        }
        let name: HubName = "hf:datasets/a/b@refs%2Fpr%2F1/x y.txt".parse().unwrap();
        assert_eq!(
            name.address("https://hub.test", name.file().unwrap()),
            "https://hub.test/datasets/a/b/resolve/refs%2Fpr%2F1/x%20y.txt"
        );
        assert_eq!(name.cache_folder(), "datasets--a--b");
    }

    #[test]
    fn what_leaves_the_repository_is_refused() {
        for text in [
            "hf:",
            "hf:/b",
            "hf:a/",
            "hf:a/b@",
            "hf:a/b@../x",
            "hf:a/b/../../x",
            "hf:a/b//x",
            "hf:a/b/x\\..\\y",
            "hf:a/.b",
            "hf:a/b--c",
            "hf:a/b c",
            "hf:a/b/c:d",
            "hf:a/b/\0",
        ] {
            let error = text.parse::<HubName>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{text}");
        }
    }
}
