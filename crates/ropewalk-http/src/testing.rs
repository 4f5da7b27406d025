//! A transport for tests: answers from a script, keeps what was asked.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ropewalk_core::{Error, ErrorKind, Result, async_trait};
use serde_json::Value;

use crate::client::Client;
use crate::options::ClientOptions;
use crate::request::Request;
use crate::transport::{Reply, Transport};

/// One scripted reply.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Canned {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// Bytes per piece of the body; 0 gives it whole.
    chunk: usize,
    wait: Duration,
    /// How the body ends.
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Reset,
    Stall,
    NoReply,
}

impl Canned {
    /// Creates a reply of any type.
    pub fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let reply = Self {
            status: StatusCode::from_u16(status).unwrap_or_default(),
            headers: HeaderMap::new(),
            body: body.into(),
            chunk: 0,
            wait: Duration::ZERO,
            end: End::Whole,
        };
        reply.with_header("content-type", content_type)
    }

    /// Creates a JSON reply with status 200.
    #[must_use]
    pub fn json(body: &Value) -> Self {
        Self::new(200, "application/json", body.to_string())
    }

    /// Creates a JSON reply with another status.
    #[must_use]
    pub fn error(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// Creates a stream of server-sent events from its text.
    pub fn sse(body: impl Into<String>) -> Self {
        Self::new(200, "text/event-stream", body.into())
    }

    /// Creates a stream of JSON lines from its text.
    pub fn ndjson(body: impl Into<String>) -> Self {
        Self::new(200, "application/x-ndjson", body.into())
    }

    /// Creates a connection that never comes about.
    #[must_use]
    pub fn unreachable() -> Self {
        let mut reply = Self::new(200, "", "");
        reply.end = End::NoReply;
        reply
    }

    /// Sets a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Cuts the body into pieces of so many bytes.
    #[must_use]
    pub fn in_pieces_of(mut self, bytes: usize) -> Self {
        self.chunk = bytes;
        self
    }

    /// Waits before the headers, and before each piece.
    #[must_use]
    pub fn slowly(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Breaks the connection after the body.
    #[must_use]
    pub fn then_reset(mut self) -> Self {
        self.end = End::Reset;
        self
    }

    /// Sends nothing more after the body, without ending it.
    #[must_use]
    pub fn then_stall(mut self) -> Self {
        self.end = End::Stall;
        self
    }

    fn pieces(&self) -> Vec<Result<Bytes>> {
        let size = if self.chunk == 0 {
            self.body.len().max(1)
        } else {
            self.chunk
        };
        let mut pieces: Vec<_> = (0..self.body.len())
            .step_by(size)
            .map(|at| Ok(self.body.slice(at..(at + size).min(self.body.len()))))
            .collect();
        if self.end == End::Reset {
            pieces.push(Err(Error::new(ErrorKind::Connection, "connection reset")));
        }
        pieces
    }
}

/// A [`Transport`] without a network: gives its replies in order and keeps the requests.
///
/// ```
/// use ropewalk_http::testing::{Canned, Double};
///
/// let double = Double::new([Canned::error(503, &serde_json::json!({})), Canned::json(&serde_json::json!([1]))]);
/// let client = double.client();
/// # let _ = client;
/// assert_eq!(double.requests().len(), 0);
/// ```
#[derive(Default)]
pub struct Double {
    replies: Mutex<VecDeque<Canned>>,
    requests: Mutex<Vec<Request>>,
    times: Mutex<Vec<tokio::time::Instant>>,
}

impl fmt::Debug for Double {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = locked(&self.replies).len();
        write!(f, "Double({left} replies left)")
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Double {
    /// Creates a transport with these replies.
    pub fn new(replies: impl IntoIterator<Item = Canned>) -> Arc<Self> {
        Arc::new(Self {
            replies: Mutex::new(replies.into_iter().collect()),
            ..Self::default()
        })
    }

    /// Appends a reply.
    pub fn push(&self, reply: Canned) {
        locked(&self.replies).push_back(reply);
    }

    /// Returns a client over this transport, with defaults and a fixed seed.
    #[must_use]
    pub fn client(self: &Arc<Self>) -> Client {
        self.client_with(ClientOptions::new().with_seed(1))
    }

    /// Returns a client over this transport.
    #[must_use]
    pub fn client_with(self: &Arc<Self>, options: ClientOptions) -> Client {
        Client::with_transport(Arc::clone(self) as Arc<dyn Transport>, options)
    }

    /// Returns what was asked so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        locked(&self.requests).clone()
    }

    /// Returns the JSON bodies of what was asked so far; `null` where there is none.
    #[must_use]
    pub fn bodies(&self) -> Vec<Value> {
        let parse = |r: &Request| serde_json::from_slice(&r.body).unwrap_or_default();
        locked(&self.requests).iter().map(parse).collect()
    }

    /// Returns the time between one request and the next, by tokio's clock.
    #[must_use]
    pub fn waits(&self) -> Vec<Duration> {
        locked(&self.times)
            .windows(2)
            .map(|w| w[1] - w[0])
            .collect()
    }
}

#[async_trait]
impl Transport for Double {
    async fn send(&self, request: &Request) -> Result<Reply> {
        locked(&self.requests).push(request.clone());
        locked(&self.times).push(tokio::time::Instant::now());
        let next = locked(&self.replies).pop_front();
        let Some(canned) = next else {
            let message = format!("the script has no reply for {}", request.shown_url());
            return Err(Error::new(ErrorKind::Other, message));
        };
        if canned.end == End::NoReply {
            return Err(Error::new(ErrorKind::Connection, "connection refused"));
        }
        if !canned.wait.is_zero() {
            tokio::time::sleep(canned.wait).await;
        }
        let wait = canned.wait;
        let pieces = futures_util::stream::iter(canned.pieces()).then(move |piece| async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            piece
        });
        let body = match canned.end {
            End::Stall => pieces.chain(futures_util::stream::pending()).boxed(),
            _ => pieces.boxed(),
        };
        Ok(Reply {
            status: canned.status,
            headers: canned.headers,
            body,
        })
    }
}
