//! Writing exchanges down and playing them back, for tests and examples without a key.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use ropewalk_core::{
    Capabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, ErrorKind, Result,
    StreamEvent, async_trait,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// One line of a recording.
#[derive(Debug, Serialize, Deserialize)]
struct Exchange {
    provider: String,
    model: String,
    key: String,
    request: Value,
    response: ChatResponse,
}

/// Returns a name for all that a request sends to a model, equal for equal requests alone: the
/// SHA-256 of its JSON, in hexadecimal digits. Who shares a cache with others must not be able to
/// make a request with the name of another.
pub(super) fn fingerprint(provider: &str, model: &str, request: &ChatRequest) -> Result<String> {
    let mut request = request.clone();
    (request.timeout, request.keep_raw) = (None, false);
    let text = serde_json::to_string(&(provider, model, &request))
        .map_err(|e| Error::from_error(ErrorKind::InvalidRequest, e))?;
    let digest = Sha256::digest(text.as_bytes());
    Ok(digest.iter().map(|b| format!("{b:02x}")).collect())
}

/// Writes beside the file and renames, so that readers see all of it or nothing.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension(format!("{:016x}.tmp", fastrand::u64(..)));
    let written = std::fs::File::create(&beside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        std::fs::remove_file(&beside).ok();
    }
    written
}

/// Passes a stream on and hands its whole reply to `act` before `Finished` is given out; an error
/// of `act` takes its place.
pub(super) fn on_finish(
    stream: ChatStream,
    model: &dyn ChatModel,
    act: impl Fn(&mut ChatResponse) -> Result<()> + Send + Sync + 'static,
) -> ChatStream {
    let (provider, name) = (model.provider().to_owned(), model.model().to_owned());
    let events = stream.map(move |event| match event {
        Ok(StreamEvent::Finished(mut response)) => {
            act(&mut response)?;
            Ok(StreamEvent::Finished(response))
        }
        event => event,
    });
    ChatStream::from_events(provider, name, events)
}

type Writer = Box<dyn Fn(&ChatResponse) -> Result<()> + Send + Sync>;

/// Appends every answered call of a model to a JSONL file that [`Replay`] reads.
///
/// Requests and replies hold no key; what users wrote is in them.
#[derive(Debug)]
pub struct Record<M> {
    model: M,
    path: PathBuf,
    file: Arc<Mutex<std::fs::File>>,
}

impl<M: ChatModel> Record<M> {
    /// Wraps a model; the file is made or appended to.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when the file cannot be opened.
    pub fn new(model: M, path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&path);
        let file = file.map_err(|e| {
            let message = format!("cannot write the recording {}: {e}", path.display());
            Error::new(ErrorKind::Configuration, message)
        })?;
        let file = Arc::new(Mutex::new(file));
        Ok(Self { model, path, file })
    }

    fn writer(&self, request: &ChatRequest) -> Result<Writer> {
        let key = fingerprint(self.model.provider(), self.model.model(), request)?;
        let (provider, model) = (
            self.model.provider().to_owned(),
            self.model.model().to_owned(),
        );
        let request = serde_json::to_value(request)
            .map_err(|e| Error::from_error(ErrorKind::InvalidRequest, e))?;
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        Ok(Box::new(move |response: &ChatResponse| {
            let failed = |e: &dyn fmt::Display| {
                let message = format!("cannot write the recording {}: {e}", path.display());
                Error::new(ErrorKind::Other, message)
            };
            let exchange = Exchange {
                provider: provider.clone(),
                model: model.clone(),
                key: key.clone(),
                request: request.clone(),
                response: response.clone(),
            };
            let mut line = serde_json::to_string(&exchange).map_err(|e| failed(&e))?;
            line.push('\n');
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(line.as_bytes()).map_err(|e| failed(&e))
        }))
    }
}

#[async_trait]
impl<M: ChatModel> ChatModel for Record<M> {
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
        let write = self.writer(request)?;
        let response = self.model.chat(request).await?;
        write(&response)?;
        Ok(response)
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let write = self.writer(request)?;
        let stream = self.model.stream(request).await?;
        Ok(on_finish(stream, self, move |response| write(response)))
    }

    async fn count_tokens(&self, request: &ChatRequest) -> Result<Option<u64>> {
        self.model.count_tokens(request).await
    }
}

/// Answers from a recording, without the model that was recorded.
///
/// Equal requests get their replies in the order they were recorded; the last one repeats.
#[derive(Debug)]
pub struct Replay {
    provider: String,
    model: String,
    capabilities: Capabilities,
    path: PathBuf,
    replies: Mutex<HashMap<String, VecDeque<ChatResponse>>>,
}

impl Replay {
    /// Reads a recording of one model.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when the file cannot be read, is empty, has a bad line (named)
    /// or more than one model.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let text = std::fs::read_to_string(&path).map_err(|e| bad(&path, &e.to_string()))?;
        Self::read(&text, path)
    }

    /// As [`open`](Self::open), from the text of a recording, for those built into a program.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_text(text: &str) -> Result<Self> {
        Self::read(text, PathBuf::from("in memory"))
    }

    fn read(text: &str, path: PathBuf) -> Result<Self> {
        let mut replies: HashMap<String, VecDeque<ChatResponse>> = HashMap::new();
        let mut whose: Option<(String, String)> = None;
        for (number, line) in text
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.trim().is_empty())
        {
            let exchange: Exchange = serde_json::from_str(line)
                .map_err(|e| bad(&path, &format!("line {}: {e}", number + 1)))?;
            let this = (exchange.provider, exchange.model);
            if *whose.get_or_insert_with(|| this.clone()) != this {
                return Err(bad(
                    &path,
                    "it holds more than one model; record each in its own file",
                ));
            }
            replies
                .entry(exchange.key)
                .or_default()
                .push_back(exchange.response);
        }
        let (provider, model) = whose.ok_or_else(|| bad(&path, "it is empty"))?;
        Ok(Self {
            provider,
            model,
            capabilities: Capabilities::default(),
            path,
            replies: Mutex::new(replies),
        })
    }

    /// Sets what the recorded model could do, which decides how typed replies are asked for.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }
}

fn bad(path: &Path, problem: &str) -> Error {
    let message = format!("cannot use the recording {}: {problem}", path.display());
    Error::new(ErrorKind::Configuration, message)
}

#[async_trait]
impl ChatModel for Replay {
    fn provider(&self) -> &str {
        &self.provider
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse> {
        request.validate()?;
        let key = fingerprint(&self.provider, &self.model, request)?;
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(kept) = replies.get_mut(&key) else {
            let last = request
                .messages
                .last()
                .map(ropewalk_core::Message::text)
                .unwrap_or_default();
            let last: String = last.chars().take(60).collect();
            let message = format!(
                "the recording {} has no reply to this request (its last message: {last:?}); record it again",
                self.path.display()
            );
            return Err(
                Error::new(ErrorKind::NotFound, message).with_provider(self.provider.clone())
            );
        };
        let reply = match kept.len() {
            0 | 1 => kept.front().cloned(),
            _ => kept.pop_front(),
        };
        reply.ok_or_else(|| bad(&self.path, "it has a request without a reply"))
    }
}
