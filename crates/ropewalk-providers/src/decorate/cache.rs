//! Answering equal requests from memory or disk.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ropewalk_core::{
    Capabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, ErrorKind, FinishReason,
    Result, async_trait,
};
use tokio::time::Instant;

use super::record::{fingerprint, write_atomically};

/// Keeps replies under a key.
pub trait CacheStore: Send + Sync {
    /// Returns the reply kept under `key`.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    fn get(&self, key: &str) -> Result<Option<ChatResponse>>;

    /// Keeps a reply.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    fn put(&self, key: &str, response: &ChatResponse) -> Result<()>;
}

/// Keeps replies in memory: the last used so many, for so long.
#[derive(Debug)]
pub struct MemoryStore {
    capacity: usize,
    lifetime: Option<Duration>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    replies: HashMap<String, (ChatResponse, Instant, u64)>,
    uses: u64,
}

impl MemoryStore {
    /// Creates a store of at most `capacity` replies.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            lifetime: None,
            kept: Mutex::default(),
        }
    }

    /// Sets after which time a reply is forgotten.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }
}

impl CacheStore for MemoryStore {
    fn get(&self, key: &str) -> Result<Option<ChatResponse>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let uses = kept.uses;
        let Some((reply, since, used)) = kept.replies.get_mut(key) else {
            return Ok(None);
        };
        if self.lifetime.is_some_and(|l| since.elapsed() > l) {
            kept.replies.remove(key);
            return Ok(None);
        }
        *used = uses;
        Ok(Some(reply.clone()))
    }

    fn put(&self, key: &str, response: &ChatResponse) -> Result<()> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let entry = (response.clone(), Instant::now(), kept.uses);
        kept.replies.insert(key.to_owned(), entry);
        if kept.replies.len() > self.capacity {
            let oldest = kept.replies.iter().min_by_key(|(_, (_, _, used))| *used);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                kept.replies.remove(&key);
            }
        }
        Ok(())
    }
}

/// Keeps each reply in a file of a directory.
#[derive(Debug, Clone)]
pub struct DirStore {
    dir: PathBuf,
}

impl DirStore {
    /// Creates a store; the directory is made when something is kept.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.dir.join(format!("{key}.json"))
    }
}

fn failed(what: &str, path: &Path, error: impl fmt::Display) -> Error {
    Error::new(
        ErrorKind::Other,
        format!("cannot {what} {}: {error}", path.display()),
    )
}

impl CacheStore for DirStore {
    fn get(&self, key: &str) -> Result<Option<ChatResponse>> {
        let path = self.path(key);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|e| failed("read the cached reply (delete it)", &path, e)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("read", &path, e)),
        }
    }

    fn put(&self, key: &str, response: &ChatResponse) -> Result<()> {
        let path = self.path(key);
        std::fs::create_dir_all(&self.dir).map_err(|e| failed("make", &self.dir, e))?;
        let bytes = serde_json::to_vec(response).map_err(|e| failed("write", &path, e))?;
        write_atomically(&path, &bytes).map_err(|e| failed("write", &path, e))
    }
}

/// Answers equal requests to one model with the reply it gave before.
///
/// Two requests are equal when all that is sent is: messages, tools, options, format, extra fields.
/// Only replies that ended by themselves or with tool calls are kept. A kept reply says so by
/// [`Timing::attempts`](ropewalk_core::Timing::attempts) 0; a stream replays it. Put a
/// [`Metered`](super::Metered) inside, not around, so that kept replies cost nothing.
#[derive(Clone)]
pub struct Cache<M> {
    model: M,
    store: Arc<dyn CacheStore>,
}

impl<M: ChatModel> Cache<M> {
    /// Wraps a model.
    pub fn new(model: M, store: impl CacheStore + 'static) -> Self {
        let store = Arc::new(store);
        Self { model, store }
    }

    fn key(&self, request: &ChatRequest) -> Result<String> {
        request.validate()?;
        fingerprint(self.provider(), self.model(), request)
    }

    fn kept(&self, key: &str) -> Result<Option<ChatResponse>> {
        let mut reply = self.store.get(key)?;
        if let Some(reply) = &mut reply {
            reply.timing = ropewalk_core::Timing::default();
        }
        Ok(reply)
    }
}

fn worth_keeping(response: &ChatResponse) -> bool {
    matches!(
        response.finish_reason,
        FinishReason::Stop | FinishReason::ToolCalls
    )
}

#[async_trait]
impl<M: ChatModel> ChatModel for Cache<M> {
    fn provider(&self) -> &str {
        self.model.provider()
    }

    fn model(&self) -> &str {
        self.model.model()
    }

    fn capabilities(&self) -> Capabilities {
        self.model.capabilities()
    }

    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let key = self.key(request)?;
        if let Some(reply) = self.kept(&key)? {
            return Ok(reply);
        }
        let reply = self.model.chat(request).await?;
        if worth_keeping(&reply) {
            self.store.put(&key, &reply)?;
        }
        Ok(reply)
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let key = self.key(request)?;
        if let Some(reply) = self.kept(&key)? {
            return Ok(ChatStream::from_response(reply));
        }
        let stream = self.model.stream(request).await?;
        let store = Arc::clone(&self.store);
        Ok(super::record::on_finish(
            stream,
            self,
            move |reply| match worth_keeping(reply) {
                true => store.put(&key, reply),
                false => Ok(()),
            },
        ))
    }

    async fn count_tokens(&self, request: &ChatRequest) -> Result<Option<u64>> {
        self.model.count_tokens(request).await
    }
}

impl<M: ChatModel> fmt::Debug for Cache<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("model", &self.model.model())
            .finish_non_exhaustive()
    }
}
