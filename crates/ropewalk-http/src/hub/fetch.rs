//! Requests to the Hub: redirects, retry, and what its refusals mean.

use std::time::SystemTime;

use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use http::{HeaderMap, Method, header};
use ropewalk_core::{Error, ErrorKind, Result};
use serde_json::Value;

use super::name::HubName;
use super::{Hub, PROVIDER};
use crate::client::idle_limited;
use crate::request::Request;
use crate::transport::Reply;

/// What the Hub says about a file before its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metadata {
    /// The commit that the revision stands for.
    pub(super) commit: String,
    /// The name of the contents: their SHA-256 for large files.
    pub(super) etag: String,
    pub(super) size: Option<u64>,
    /// Where the contents are.
    pub(super) location: String,
}

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 10;
/// Largest listing of a repository.
const MAX_LISTING: usize = 64 << 20;

impl Hub {
    fn request(&self, method: Method, url: &str) -> Result<Request> {
        let mut request = Request::new(method, url)
            .with_provider(PROVIDER)
            .with_header("accept-encoding", "identity")?;
        // The storage behind the Hub has keys of its own in its addresses and gets no token.
        if let (Some(token), true) = (&self.token, self.is_own(url)) {
            request = request.with_secret_header("authorization", "Bearer ", token)?;
        }
        Ok(request)
    }

    /// Returns whether an address is on the host of the Hub itself.
    fn is_own(&self, url: &str) -> bool {
        let origin = |text: &str| url::Url::parse(text).ok().map(|u| u.origin());
        origin(url).is_some_and(|o| o.is_tuple() && Some(o) == origin(&self.endpoint))
    }

    /// Sends, again where that can help; any status is a reply.
    async fn send(&self, request: &Request) -> Result<Reply> {
        if tokio::runtime::Handle::try_current().is_err() {
            let message = "the Hub needs the runtime of tokio: ask inside of its Runtime::block_on";
            return Err(Error::new(ErrorKind::Configuration, message).with_provider(PROVIDER));
        }
        let options = self.client.options();
        let transport = self.client.transport();
        let mut number = 0;
        loop {
            let limit = request.timeout.unwrap_or(options.timeout);
            let sent = tokio::time::timeout(limit, transport.send(request)).await;
            let error = match sent {
                Ok(Ok(reply)) if !crate::is_retryable(reply.status, &reply.headers) => {
                    return Ok(reply);
                }
                Ok(Ok(reply)) => self.refusal(request, reply).await,
                Ok(Err(error)) => error,
                Err(_) => {
                    let message = format!("no reply within {} s", limit.as_secs_f64());
                    Error::new(ErrorKind::Timeout, message)
                }
            };
            let Some(wait) = options.retry.wait(number, &error, 0.5) else {
                return Err(error.with_provider(PROVIDER).mask(&request.secrets()));
            };
            number += 1;
            tokio::time::sleep(wait).await;
        }
    }

    async fn refusal(&self, request: &Request, reply: Reply) -> Error {
        let idle = self.client.options().idle_timeout;
        let body = head_of(idle_limited(reply.body, idle), 1 << 16).await;
        // Without its body a refusal still has its status.
        let body = body.unwrap_or_default();
        let now = SystemTime::now();
        crate::failure::of_reply(&request.provider, reply.status, reply.headers, body, now)
    }

    /// Asks what a file is, without its contents.
    pub(super) async fn metadata(&self, name: &HubName, file: &str) -> Result<Metadata> {
        let mut url = name.address(&self.endpoint, file);
        let mut commit = None;
        for _ in 0..MAX_REDIRECTS {
            let request = self.request(Method::HEAD, &url)?;
            let reply = self.send(&request).await?;
            let next = redirect(&url, &reply)?;
            commit = commit.or_else(|| text(&reply.headers, "x-repo-commit"));
            // Renamed repositories are elsewhere on the same host; the storage is on another, and
            // the reply that leads there says what the file is.
            let told = text(&reply.headers, "x-linked-etag").is_some();
            if let Some(next) = next.as_ref().filter(|next| !told && self.is_own(next)) {
                url.clone_from(next);
                continue;
            }
            if !reply.status.is_success() && next.is_none() {
                return Err(self.explain(name, Some(file), reply).await);
            }
            return metadata_of(name, file, commit, next.unwrap_or(url), &reply.headers);
        }
        Err(too_many(&url))
    }

    /// Asks for contents from a byte on; the flag says whether the server began there.
    pub(super) async fn contents(
        &self,
        name: &HubName,
        file: &str,
        location: &str,
        mut from: u64,
    ) -> Result<(BoxStream<'static, Result<Bytes>>, bool)> {
        let mut url = location.to_owned();
        for _ in 0..MAX_REDIRECTS {
            let mut request = self.request(Method::GET, &url)?;
            if from > 0 {
                request = request.with_header("range", &format!("bytes={from}-"))?;
            }
            let reply = self.send(&request).await?;
            if let Some(next) = redirect(&url, &reply)? {
                url = next;
            } else if reply.status.is_success() {
                let range = text(&reply.headers, "content-range").unwrap_or_default();
                let partial = reply.status == http::StatusCode::PARTIAL_CONTENT;
                if !partial || range.starts_with(&format!("bytes {from}-")) {
                    return Ok((reply.body, partial));
                }
                let message =
                    format!("{name}: {file} was asked for from byte {from}, but {range:?} came");
                return Err(Error::new(ErrorKind::Decode, message).with_provider(PROVIDER));
            } else if reply.status == http::StatusCode::RANGE_NOT_SATISFIABLE && from > 0 {
                // What was kept is of other contents.
                from = 0;
            } else {
                return Err(self.explain(name, Some(file), reply).await);
            }
        }
        Err(too_many(&url))
    }

    /// Asks what the Hub knows of a revision: its commit and its files.
    pub(super) async fn listing(&self, name: &HubName) -> Result<Value> {
        let mut url = name.listing(&self.endpoint);
        for _ in 0..MAX_REDIRECTS {
            let request = self.request(Method::GET, &url)?;
            let reply = self.send(&request).await?;
            if let Some(next) = redirect(&url, &reply)? {
                url = next;
            } else if reply.status.is_success() {
                let idle = self.client.options().idle_timeout;
                let body = head_of(idle_limited(reply.body, idle), MAX_LISTING).await;
                let body = body.map_err(|e| e.with_provider(PROVIDER))?;
                return serde_json::from_slice(&body).map_err(|e| {
                    let message = format!("{name}: the list of files cannot be read: {e}");
                    Error::new(ErrorKind::Decode, message).with_provider(PROVIDER)
                });
            } else {
                return Err(self.explain(name, None, reply).await);
            }
        }
        Err(too_many(&url))
    }

    /// Says what a refusal means and what to do (`huggingface_hub/utils/_http.py`:
    /// `X-Error-Code`).
    async fn explain(&self, name: &HubName, file: Option<&str>, reply: Reply) -> Error {
        let code = text(&reply.headers, "x-error-code").unwrap_or_default();
        let (page, status) = (name.page(&self.endpoint), reply.status.as_u16());
        let known = self.token.is_some();
        let (kind, message) = match (code.as_str(), status) {
            ("GatedRepo", _) if known => (
                ErrorKind::PermissionDenied,
                format!(
                    "{name} is gated: accept its terms at {page} with the account of the token"
                ),
            ),
            ("GatedRepo", _) => (
                ErrorKind::Authentication,
                format!(
                    "{name} is gated: accept its terms at {page}, then set HF_TOKEN to a token of that account"
                ),
            ),
            ("RevisionNotFound", _) => (
                ErrorKind::NotFound,
                format!(
                    "{name}: there is no revision {:?}; see {page}/tree/main",
                    name.revision()
                ),
            ),
            ("EntryNotFound", _) => (
                ErrorKind::NotFound,
                format!(
                    "{name}: there is no file {:?}; see {page}/tree/main",
                    file.unwrap_or_default()
                ),
            ),
            // The Hub does not tell strangers which private repositories exist.
            ("RepoNotFound", _) | (_, 401) if !known => (
                ErrorKind::NotFound,
                format!(
                    "{name} is not there, or private: check the name at {page}, or set HF_TOKEN"
                ),
            ),
            (_, 401) => (
                ErrorKind::Authentication,
                format!(
                    "{name}: the token was refused; see {}/settings/tokens",
                    self.endpoint
                ),
            ),
            (_, 403) => (
                ErrorKind::PermissionDenied,
                format!(
                    "{name}: the token may not read it; give it that right at {}/settings/tokens, or accept the terms at {page}",
                    self.endpoint
                ),
            ),
            ("RepoNotFound", _) | (_, 404) => (
                ErrorKind::NotFound,
                format!("{name} is not there, or the token may not see it: check {page}"),
            ),
            _ => {
                let request = Request::get(page).with_provider(PROVIDER);
                return self.refusal(&request, reply).await;
            }
        };
        Error::new(kind, message).with_provider(PROVIDER)
    }
}

fn metadata_of(
    name: &HubName,
    file: &str,
    commit: Option<String>,
    location: String,
    headers: &HeaderMap,
) -> Result<Metadata> {
    let missing = |what: &str| {
        let message = format!("{name}: the server did not say the {what} of {file}; is it a Hub?");
        Error::new(ErrorKind::Decode, message).with_provider(PROVIDER)
    };
    let etag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag"));
    let etag = etag
        .as_deref()
        .map(|t| t.trim_start_matches("W/").trim_matches('"'));
    let size = text(headers, "x-linked-size").or_else(|| text(headers, "content-length"));
    let commit = commit.filter(|c| super::name::is_commit(c));
    Ok(Metadata {
        commit: commit.ok_or_else(|| missing("commit"))?,
        etag: etag
            .filter(|t| !t.is_empty())
            .ok_or_else(|| missing("contents"))?
            .to_owned(),
        size: size.and_then(|s| s.parse().ok()),
        location,
    })
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// Returns where a reply leads.
fn redirect(url: &str, reply: &Reply) -> Result<Option<String>> {
    if !reply.status.is_redirection() {
        return Ok(None);
    }
    let bad = |what: String| Error::new(ErrorKind::Decode, what).with_provider(PROVIDER);
    let target = text(&reply.headers, header::LOCATION.as_str());
    let target = target.ok_or_else(|| bad("a redirect of the Hub does not say where to".into()))?;
    let next = url::Url::parse(url).and_then(|base| base.join(&target));
    // The address may hold keys, so it is not shown.
    let next = next.map_err(|e| bad(format!("a redirect of the Hub cannot be read: {e}")))?;
    if next.scheme() == "http" && url.starts_with("https:") {
        return Err(bad("a redirect of the Hub leaves https".into()));
    }
    Ok(Some(next.into()))
}

fn too_many(url: &str) -> Error {
    let host = url::Url::parse(url).ok();
    let host = host
        .as_ref()
        .and_then(|u| u.host_str())
        .unwrap_or("the Hub");
    let message = format!("{host} redirects more than {MAX_REDIRECTS} times");
    Error::new(ErrorKind::Connection, message).with_provider(PROVIDER)
}

async fn head_of(mut body: BoxStream<'static, Result<Bytes>>, limit: usize) -> Result<Bytes> {
    let mut whole = Vec::new();
    while let Some(piece) = body.next().await {
        let piece = piece?;
        whole.extend_from_slice(&piece[..piece.len().min(limit - whole.len())]);
        if whole.len() == limit {
            break;
        }
    }
    Ok(whole.into())
}
