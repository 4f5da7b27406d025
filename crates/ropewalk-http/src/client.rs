//! Time-outs, retry and size limits over any transport.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use ropewalk_core::{Error, ErrorKind, Result};
use tokio::time::{Instant, timeout, timeout_at};

use crate::failure::{self, request_id};
use crate::frame::{Frame, Framing};
use crate::options::ClientOptions;
use crate::request::Request;
use crate::transport::{Reply, ReqwestTransport, Transport};

/// Most of a failed reply that is read, in bytes.
const MAX_FAILURE: usize = 1 << 20;
/// Longest time that the body of a failed reply is read.
const FAILURE_LIMIT: Duration = Duration::from_secs(10);

/// Sends requests with time-outs, retry and size limits. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Arc<dyn Transport>,
    options: ClientOptions,
    random: Mutex<fastrand::Rng>,
}

/// A whole reply with a good status.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Response {
    /// The status, 200 to 299.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// How many times the request was sent.
    pub attempts: u32,
}

impl Response {
    /// Returns the provider's id of the request.
    #[must_use]
    pub fn request_id(&self) -> Option<String> {
        request_id(&self.headers)
    }

    /// Parses the body as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] with the content type and the beginning of what came instead.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).map_err(|e| {
            let kind = self.headers.get(http::header::CONTENT_TYPE);
            let kind = kind
                .and_then(|k| k.to_str().ok())
                .unwrap_or("no content type");
            let start = String::from_utf8_lossy(&self.body[..self.body.len().min(120)]);
            let message = format!("the reply ({kind}) is no JSON ({e}): {start}");
            Error::new(ErrorKind::Decode, message)
        })
    }
}

/// A reply with a good status whose body arrives piece by piece. Dropping it ends the exchange.
pub struct Streaming {
    /// The status, 200 to 299.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// How many times the request was sent.
    pub attempts: u32,
    body: BoxStream<'static, Result<Bytes>>,
    max_line: usize,
    max_body: usize,
}

impl fmt::Debug for Streaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming")
            .field("status", &self.status)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

impl Streaming {
    /// Returns the provider's id of the request.
    #[must_use]
    pub fn request_id(&self) -> Option<String> {
        request_id(&self.headers)
    }

    /// Returns whether the content type begins with `kind`.
    #[must_use]
    pub fn is(&self, kind: &str) -> bool {
        let found = self.headers.get(http::header::CONTENT_TYPE);
        found.is_some_and(|v| {
            v.as_bytes()
                .to_ascii_lowercase()
                .starts_with(kind.as_bytes())
        })
    }

    /// Returns the pieces of the body as they arrive.
    #[must_use]
    pub fn bytes(self) -> BoxStream<'static, Result<Bytes>> {
        self.body
    }

    /// Reads the whole body, for servers that do not stream although asked to.
    ///
    /// # Errors
    /// As the pieces, and [`ErrorKind::Decode`] when it is too large.
    pub async fn whole(self) -> Result<Bytes> {
        collect(self.body, self.max_body).await
    }

    /// Cuts the body into frames.
    #[must_use]
    pub fn frames(self, framing: Framing) -> BoxStream<'static, Result<Frame>> {
        let framer = framing.framer(self.max_line);
        self.frames_by(framer)
    }

    /// Cuts the body into frames with a framer of one's own.
    #[must_use]
    pub fn frames_by(self, framer: Box<dyn crate::Framer>) -> BoxStream<'static, Result<Frame>> {
        let state = (self.body, framer, false);
        let batches =
            futures_util::stream::unfold(state, |(mut body, mut framer, over)| async move {
                if over {
                    return None;
                }
                let mut frames = Vec::new();
                let (result, over) = match body.next().await {
                    Some(Ok(bytes)) => (framer.push(&bytes, &mut frames), false),
                    Some(Err(error)) => (Err(error), true),
                    None => (framer.finish(&mut frames), true),
                };
                let over = over || result.is_err();
                let items = frames.into_iter().map(Ok).chain(result.err().map(Err));
                Some((
                    futures_util::stream::iter(items.collect::<Vec<_>>()),
                    (body, framer, over),
                ))
            });
        batches.flatten().boxed()
    }
}

impl Client {
    /// Creates a client that connects by itself.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a bad proxy address or unreadable certificates.
    pub fn new(options: ClientOptions) -> Result<Self> {
        let transport = ReqwestTransport::new(&options.connect)?;
        Ok(Self::with_transport(Arc::new(transport), options))
    }

    /// Creates a client over a transport of one's own.
    #[must_use]
    pub fn with_transport(transport: Arc<dyn Transport>, options: ClientOptions) -> Self {
        let random = match options.seed {
            Some(seed) => fastrand::Rng::with_seed(seed),
            None => fastrand::Rng::new(),
        };
        let inner = Inner {
            transport,
            options,
            random: Mutex::new(random),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Returns how this client works.
    #[must_use]
    pub fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    /// Returns what moves the bytes, for one that is put around it.
    #[must_use]
    pub fn transport(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.inner.transport)
    }

    /// Sends a request and reads the whole reply.
    ///
    /// # Errors
    /// A status other than 200 to 299 as the kind that status and body call for, with
    /// [`Error::http`]; [`ErrorKind::Timeout`], [`ErrorKind::Connection`]; [`ErrorKind::Decode`]
    /// for a reply that is too large. Never anything with a secret of the request in it.
    pub async fn send(&self, request: &Request) -> Result<Response> {
        let mut attempts = Attempts::of(request)?;
        loop {
            match self.send_once(request, attempts.number + 1).await {
                Ok(response) => return Ok(response),
                Err(error) => attempts.wait_after(error, &self.inner).await?,
            }
        }
    }

    /// Sends a request and returns when the first piece of the body is there. Until then failures
    /// are retried, afterwards never: what was seen cannot be unsaid.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn stream(&self, request: &Request) -> Result<Streaming> {
        let mut attempts = Attempts::of(request)?;
        loop {
            match self.stream_once(request, attempts.number + 1).await {
                Ok(streaming) => return Ok(streaming),
                Err(error) => attempts.wait_after(error, &self.inner).await?,
            }
        }
    }

    async fn send_once(&self, request: &Request, attempts: u32) -> Result<Response> {
        let options = &self.inner.options;
        let limit = request.timeout.unwrap_or(options.timeout);
        let exchange = async {
            let reply = self.start(request).await?;
            let body = collect(reply.body, options.max_body).await?;
            Ok(Response {
                status: reply.status,
                headers: reply.headers,
                body,
                attempts,
            })
        };
        within(limit, "no whole reply", exchange).await
    }

    async fn stream_once(&self, request: &Request, attempts: u32) -> Result<Streaming> {
        let options = &self.inner.options;
        let limit = request.timeout.unwrap_or(options.timeout);
        let reply = within(limit, "no reply", self.start(request)).await?;
        // Fused: an empty body is asked again after its end.
        let mut body = idle_limited(reply.body, options.idle_timeout).fuse();
        let first = body.next().await.transpose()?;
        let body = futures_util::stream::iter(first.map(Ok)).chain(body);
        let about = request.clone();
        let body = body.map(move |piece| piece.map_err(|e| named(e, &about)));
        Ok(Streaming {
            status: reply.status,
            headers: reply.headers,
            attempts,
            body: body.boxed(),
            max_line: options.max_line,
            max_body: options.max_body,
        })
    }

    /// Sends once; a bad status is an error.
    async fn start(&self, request: &Request) -> Result<Reply> {
        let reply = self.inner.transport.send(request).await?;
        if reply.status.is_success() {
            return Ok(reply);
        }
        let body = collect_up_to(reply.body, MAX_FAILURE).await;
        let now = SystemTime::now();
        let provider = &request.provider;
        Err(failure::of_reply(
            provider,
            reply.status,
            reply.headers,
            body,
            now,
        ))
    }
}

/// The attempts at one request.
struct Attempts<'r> {
    request: &'r Request,
    started: Instant,
    /// How many have failed.
    number: u32,
}

impl<'r> Attempts<'r> {
    /// Fails outside of tokio's runtime, where its timers and sockets would panic.
    fn of(request: &'r Request) -> Result<Self> {
        if tokio::runtime::Handle::try_current().is_err() {
            let message = "HTTP needs the runtime of tokio: ask under #[tokio::main] or inside of \
                           its Runtime::block_on";
            return Err(request.error(ErrorKind::Configuration, message));
        }
        Ok(Self {
            request,
            started: Instant::now(),
            number: 0,
        })
    }

    /// Waits until the request may be sent again, or gives the error back.
    async fn wait_after(&mut self, error: Error, client: &Inner) -> Result<()> {
        let error = named(error, self.request);
        let random = {
            let random = client.random.lock();
            random.unwrap_or_else(PoisonError::into_inner).f64()
        };
        let wait = client.options.retry.wait(self.number, &error, random);
        self.number += 1;
        let Some(wait) = wait else {
            return Err(counted(error, self.number));
        };
        let milliseconds = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(
            provider = %self.request.provider,
            attempt = self.number,
            wait_ms = milliseconds(wait),
            elapsed_ms = milliseconds(self.started.elapsed()),
            error.type = error.kind().as_str(),
            "retrying"
        );
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

/// Sets who was asked and masks the request's secrets.
fn named(error: Error, request: &Request) -> Error {
    error
        .with_provider(request.provider.clone())
        .mask(&request.secrets())
}

/// Says how many times the request was sent.
fn counted(error: Error, attempts: u32) -> Error {
    match error.http().cloned() {
        Some(mut http) => {
            http.attempts = attempts;
            error.with_http(http)
        }
        None => error,
    }
}

async fn within<T>(
    limit: Duration,
    what: &str,
    exchange: impl Future<Output = Result<T>>,
) -> Result<T> {
    match timeout(limit, exchange).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(
            ErrorKind::Timeout,
            format!("{what} within {} s", limit.as_secs_f64()),
        )),
    }
}

pub(crate) fn idle_limited(
    body: BoxStream<'static, Result<Bytes>>,
    limit: Duration,
) -> BoxStream<'static, Result<Bytes>> {
    futures_util::stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        match timeout(limit, body.next()).await {
            Ok(piece) => Some((piece?, Some(body))),
            Err(_) => {
                let message = format!("the stream stood still for {} s", limit.as_secs_f64());
                Some((Err(Error::new(ErrorKind::Timeout, message)), None))
            }
        }
    })
    .boxed()
}

async fn collect(mut body: BoxStream<'static, Result<Bytes>>, limit: usize) -> Result<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece?;
        if whole.len() + piece.len() > limit {
            let message = format!("the reply is larger than {limit} bytes");
            return Err(Error::new(ErrorKind::Decode, message));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// The body of a failure is for the message only: what does not come is not missed.
async fn collect_up_to(mut body: BoxStream<'static, Result<Bytes>>, limit: usize) -> Bytes {
    let mut whole = BytesMut::new();
    let deadline = Instant::now() + FAILURE_LIMIT;
    while let Ok(Some(Ok(piece))) = timeout_at(deadline, body.next()).await {
        let room = limit - whole.len();
        whole.extend_from_slice(&piece[..piece.len().min(room)]);
        if whole.len() == limit {
            break;
        }
    }
    whole.freeze()
}
