//! Answering equal requests from memory or disk.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ropewalk_core::{
    Capabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, ErrorKind, FinishReason,
    Result, Warning, async_trait,
};
use tokio::time::Instant;

use super::record::{fingerprint, on_finish, write_atomically};

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
    /// The keys by their last use, counted up.
    order: BTreeMap<u64, String>,
    uses: u64,
}

impl Kept {
    fn remove(&mut self, key: &str) {
        if let Some((_, _, used)) = self.replies.remove(key) {
            self.order.remove(&used);
        }
    }

    fn keep(&mut self, key: &str, response: ChatResponse, since: Instant) {
        self.remove(key);
        self.uses += 1;
        self.order.insert(self.uses, key.to_owned());
        let entry = (response, since, self.uses);
        self.replies.insert(key.to_owned(), entry);
    }
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
        let Some((reply, since, _)) = kept.replies.get(key) else {
            return Ok(None);
        };
        let (reply, since) = (reply.clone(), *since);
        if self.lifetime.is_some_and(|l| since.elapsed() > l) {
            kept.remove(key);
            return Ok(None);
        }
        kept.keep(key, reply.clone(), since);
        Ok(Some(reply))
    }

    fn put(&self, key: &str, response: &ChatResponse) -> Result<()> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.keep(key, response.clone(), Instant::now());
        while kept.replies.len() > self.capacity
            && let Some((_, oldest)) = kept.order.pop_first()
        {
            kept.replies.remove(&oldest);
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
/// Two requests are equal when all that is sent is: provider, model, messages, tools, options,
/// format, extra fields. Servers that share a provider's name and a model's need stores of their
/// own. Only replies that ended by themselves or with tool calls are kept. A kept reply says so by
/// [`Timing::attempts`](ropewalk_core::Timing::attempts) 0; a stream replays it. Equal requests at
/// the same time all ask. A reply that cannot be kept is given out with a warning. Put a
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

    /// Returns the reply that is kept, in the form that is asked for.
    fn kept(&self, key: &str, request: &ChatRequest) -> Result<Option<ChatResponse>> {
        let Some(mut reply) = self.store.get(key)? else {
            return Ok(None);
        };
        if request.keep_raw && reply.raw.is_none() {
            return Ok(None);
        }
        reply.raw = reply.raw.filter(|_| request.keep_raw);
        reply.timing = ropewalk_core::Timing::default();
        Ok(Some(reply))
    }
}

/// Keeps a reply that is worth it. One that cannot be kept is an answer all the same.
fn keep(store: &dyn CacheStore, key: &str, reply: &mut ChatResponse) {
    if worth_keeping(reply)
        && let Err(error) = store.put(key, reply)
    {
        let reason = format!("the reply is not kept: {}", error.message());
        reply.warnings.push(Warning::new("cache", reason));
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
        if let Some(reply) = self.kept(&key, request)? {
            return Ok(reply);
        }
        let mut reply = self.model.chat(request).await?;
        keep(&*self.store, &key, &mut reply);
        Ok(reply)
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let key = self.key(request)?;
        if let Some(reply) = self.kept(&key, request)? {
            return Ok(ChatStream::from_response(reply));
        }
        let stream = self.model.stream(request).await?;
        let store = Arc::clone(&self.store);
        let act = move |reply: &mut ChatResponse| {
            keep(&*store, &key, reply);
            Ok(())
        };
        Ok(on_finish(stream, self, act))
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
