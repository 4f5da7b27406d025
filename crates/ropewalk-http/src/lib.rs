//! The HTTP client of the ropewalk crates: what every caller of an API needs and none should write
//! again.
//!
//! | for | see |
//! | --- | --- |
//! | a request that can be sent again, its secrets kept out of every output | [`Request`], [`Form`] |
//! | time-outs, retry and size limits | [`Client`], [`ClientOptions`], [`RetryPolicy`] |
//! | a reply that arrives piece by piece, cut into frames | [`Streaming`], [`Framing`], [`SseFramer`], [`NdjsonFramer`] |
//! | another way to move bytes (tests, recordings, a client of one's own) | [`Transport`], [`ReqwestTransport`] |
//! | what an API says in its error objects | [`ApiError`] |
//! | pages that a model or a document names | [`Fetcher`], [`is_public`] |
//! | files of the Hugging Face Hub, in the cache of the Python library | `hub` (feature) |
//!
//! ```
//! use std::sync::Arc;
//! use ropewalk_core::{Result, async_trait, http};
//! use ropewalk_http::{Client, ClientOptions, Reply, Request, Transport};
//!
//! /// Answers 503 once, then 200.
//! struct Moody(std::sync::atomic::AtomicU32);
//!
//! #[async_trait]
//! impl Transport for Moody {
//!     async fn send(&self, _: &Request) -> Result<Reply> {
//!         let first = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
//!         let status = if first { 503 } else { 200 };
//!         let status = http::StatusCode::from_u16(status).unwrap_or_default();
//!         Ok(Reply::new(status, http::HeaderMap::new(), r#"{"ok": true}"#))
//!     }
//! }
//!
//! # let mut runtime = tokio::runtime::Builder::new_current_thread();
//! # runtime.enable_time().start_paused(true).build().unwrap().block_on(async {
//! let client = Client::with_transport(Arc::new(Moody(0.into())), ClientOptions::new());
//! let response = client.send(&Request::get("https://api.test/v1/models")).await?;
//! assert_eq!((response.attempts, response.json()?["ok"].as_bool()), (2, Some(true)));
//! # Ok::<(), ropewalk_core::Error>(()) }).unwrap();
//! ```
//!
//! # Limits
//!
//! | what | default |
//! | --- | --- |
//! | connecting | 10 s |
//! | an attempt that is no stream | 600 s |
//! | a stream that stands still | 120 s; a whole stream has no limit |
//! | attempts | 3, waits of 0.5 s and 1 s less up to a quarter, or as the server asks up to 120 s |
//! | a whole reply, a line of a stream, an event of one | 256 MiB, 16 MiB, 16 MiB |
//!
//! Needs a tokio runtime with time and network.
//!
//! # Features
//!
//! | feature | default | adds |
//! | --- | --- | --- |
//! | `rustls` | yes | TLS by rustls with ring and the system's certificates |
//! | `native-tls` | no | TLS by the platform's library |
//! | `testing` | no | `testing`: a transport that answers from a script |
//! | `hub` | no | `hub`: files of the Hugging Face Hub |
//! | `full` | no | `rustls`, `testing`, `hub` |
#![cfg_attr(docsrs, feature(doc_cfg))]

mod client;
mod failure;
mod fetch;
mod frame;
mod guard;
#[cfg(feature = "hub")]
pub mod hub;
mod multipart;
mod options;
mod request;
mod retry;
#[cfg(feature = "testing")]
pub mod testing;
mod transport;

pub use client::{Client, Response, Streaming};
pub use failure::{ApiError, request_id};
pub use fetch::{FetchOptions, Fetcher, Page};
pub use frame::{Frame, Framer, Framing, MAX_LINE, NdjsonFramer, SseFramer};
pub use guard::is_public;
pub use multipart::Form;
pub use options::ClientOptions;
pub use request::Request;
pub use retry::{RetryPolicy, is_retryable, retry_after};
pub use transport::{ConnectOptions, Reply, ReqwestTransport, Transport};
