//! Streamable HTTP over the HTTP client of this project.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, ErrorData, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, HttpStatusError, SseError, StreamableHttpClient, StreamableHttpError,
    StreamableHttpPostResponse,
};
use ropewalk_core::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use ropewalk_core::{Bytes, Error, ErrorKind, Result};
use ropewalk_http::{Reply, Request, Transport};
use sse_stream::{Sse, SseStream};

use super::PROVIDER;
use super::options::McpOptions;

const SESSION: &str = "mcp-session-id";
const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json";
/// Largest reply that is no stream, and largest event of a stream, in bytes.
const MAX_REPLY: usize = 16 << 20;
/// Most of a failed reply that is read, in bytes.
const MAX_FAILURE: usize = 64 << 10;

type Failure = StreamableHttpError<Error>;
type Events = BoxStream<'static, std::result::Result<Sse, SseError>>;

#[derive(Clone)]
pub(super) struct Backend {
    transport: Arc<dyn Transport>,
    /// Carries the caller's secrets; the method and address are set anew.
    template: Request,
}

impl Backend {
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        url: &str,
        options: &McpOptions,
    ) -> Result<Self> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            let message = format!("the address {url:?} is neither http nor https");
            return Err(super::error(ErrorKind::Configuration, message));
        }
        let mut template = Request::get(url).with_provider(PROVIDER);
        if let Some(token) = &options.token {
            template = template.with_secret_header("authorization", "Bearer ", token)?;
        }
        for (name, value) in &options.headers {
            template = template.with_secret_header(name, "", value)?;
        }
        Ok(Self {
            transport,
            template,
        })
    }

    fn request(
        &self,
        method: Method,
        session: Option<&str>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> std::result::Result<Request, Failure> {
        let mut request = self.template.clone();
        request.method = method;
        request = request
            .with_header("accept", &[EVENTS, JSON].join(", "))
            .map_err(Failure::Client)?;
        if let Some(session) = session {
            request = request
                .with_header(SESSION, session)
                .map_err(Failure::Client)?;
        }
        request.headers.extend(headers);
        Ok(request)
    }

    /// Sends and refuses what asks for a login.
    async fn send(&self, request: &Request) -> std::result::Result<Reply, Failure> {
        let reply = self
            .transport
            .send(request)
            .await
            .map_err(Failure::Client)?;
        let login = matches!(
            reply.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        );
        if login {
            let challenge = text_of(&reply.headers, header::WWW_AUTHENTICATE.as_str());
            let challenge = challenge.unwrap_or_else(|| reply.status.to_string());
            return Err(Failure::AuthRequired(AuthRequiredError::new(challenge)));
        }
        Ok(reply)
    }
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn is(headers: &HeaderMap, kind: &str) -> bool {
    let found = text_of(headers, header::CONTENT_TYPE.as_str());
    found.is_some_and(|f| f.to_ascii_lowercase().starts_with(kind))
}

/// Reads a whole body.
async fn collect(reply: Reply, limit: usize) -> std::result::Result<Vec<u8>, Failure> {
    let mut body = reply.body;
    let mut whole = Vec::new();
    while let Some(piece) = body.try_next().await.map_err(Failure::Client)? {
        if whole.len() + piece.len() > limit {
            return Err(Failure::ResponseBodyTooLarge { max_size: limit });
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

/// Cuts a body into events, none of them larger than `limit` bytes.
fn events(reply: Reply, limit: usize) -> Events {
    // Bytes since the last empty line, and of the line under way.
    let (mut event, mut line) = (0_usize, 0_usize);
    let bounded = reply.body.and_then(move |piece: Bytes| {
        for byte in &piece {
            match byte {
                b'\n' | b'\r' if line == 0 => event = 0,
                b'\n' | b'\r' => line = 0,
                _ => (event, line) = (event + 1, line + 1),
            }
            if event > limit {
                let message = format!("an event of the stream is larger than {limit} bytes");
                return std::future::ready(Err(Error::new(ErrorKind::Decode, message)));
            }
        }
        std::future::ready(Ok(piece))
    });
    SseStream::from_bytes_stream(bounded).boxed()
}

/// Makes of a refused `server/discover` what the client takes as a sign of an older server.
fn older_server(
    message: &ClientJsonRpcMessage,
    status: StatusCode,
    body: &str,
) -> Option<ServerJsonRpcMessage> {
    let ClientJsonRpcMessage::Request(request) = message else {
        return None;
    };
    let discovers = matches!(request.request, ClientRequest::DiscoverRequest(_));
    if !discovers || !status.is_client_error() {
        return None;
    }
    let error = match serde_json::from_str(body) {
        Ok(ServerJsonRpcMessage::Error(error)) => error.error,
        _ => ErrorData::invalid_request(format!("HTTP {status}"), None),
    };
    Some(ServerJsonRpcMessage::error(error, Some(request.id.clone())))
}

/// Makes an error of a bad status, or the JSON-RPC error that it carries.
async fn refused(
    reply: Reply,
    message: &ClientJsonRpcMessage,
) -> std::result::Result<StreamableHttpPostResponse, Failure> {
    let (status, json) = (reply.status, is(&reply.headers, JSON));
    let retry_after = text_of(&reply.headers, header::RETRY_AFTER.as_str());
    let body = collect(reply, MAX_FAILURE).await.unwrap_or_default();
    let body = String::from_utf8_lossy(&body);
    if let Some(message) = older_server(message, status, &body) {
        return Ok(StreamableHttpPostResponse::Json(message, None));
    }
    if let (true, Ok(error @ ServerJsonRpcMessage::Error(_))) = (json, serde_json::from_str(&body))
    {
        return Ok(StreamableHttpPostResponse::Json(error, None));
    }
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return Err(HttpStatusError::new(status.as_u16(), retry_after).into());
    }
    let start: String = body.chars().take(200).collect();
    Err(Failure::UnexpectedServerResponse(Cow::Owned(format!(
        "HTTP {status}: {start}"
    ))))
}

impl StreamableHttpClient for Backend {
    type Error = Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        login: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> std::result::Result<StreamableHttpPostResponse, Failure> {
        self.post_message_with_max_sse_event_size(uri, message, session, login, headers, MAX_REPLY)
            .await
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        _: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
        max_event: usize,
    ) -> std::result::Result<StreamableHttpPostResponse, Failure> {
        let body = serde_json::to_value(&message)?;
        let request = self.request(Method::POST, session.as_deref(), headers)?;
        let reply = self.send(&request.with_json(&body)).await?;
        let asks = matches!(message, ClientJsonRpcMessage::Request(_));
        match reply.status {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {
                return Ok(StreamableHttpPostResponse::Accepted);
            }
            StatusCode::NOT_FOUND if session.is_some() => return Err(Failure::SessionExpired),
            status if !status.is_success() => return refused(reply, &message).await,
            _ => {}
        }
        let session = text_of(&reply.headers, SESSION);
        if is(&reply.headers, EVENTS) {
            return Ok(StreamableHttpPostResponse::Sse(
                events(reply, max_event),
                session,
            ));
        }
        let kind = text_of(&reply.headers, header::CONTENT_TYPE.as_str());
        let json = is(&reply.headers, JSON);
        let body = collect(reply, MAX_REPLY).await?;
        match serde_json::from_slice(&body) {
            Ok(answer) if json => Ok(StreamableHttpPostResponse::Json(answer, session)),
            // Nobody waits for an answer to a notification, whatever came.
            _ if !asks => Ok(StreamableHttpPostResponse::Accepted),
            Err(e) if json => Err(e.into()),
            _ => Err(Failure::UnexpectedContentType(kind)),
        }
    }

    async fn delete_session(
        &self,
        _: Arc<str>,
        session: Arc<str>,
        _: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> std::result::Result<(), Failure> {
        let request = self.request(Method::DELETE, Some(&session), headers)?;
        let status = self.send(&request).await?.status;
        match status.is_success() || status == StatusCode::METHOD_NOT_ALLOWED {
            true => Ok(()),
            false => Err(Failure::ServerDoesNotSupportDeleteSession),
        }
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        login: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> std::result::Result<Events, Failure> {
        self.get_stream_with_max_sse_event_size(uri, session, last_event, login, headers, MAX_REPLY)
            .await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        _: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        _: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
        max_event: usize,
    ) -> std::result::Result<Events, Failure> {
        let mut request = self.request(Method::GET, session.as_deref(), headers)?;
        if let Some(id) = last_event {
            request = request
                .with_header("last-event-id", &id)
                .map_err(Failure::Client)?;
        }
        let reply = self.send(&request).await?;
        match reply.status {
            StatusCode::METHOD_NOT_ALLOWED => Err(Failure::ServerDoesNotSupportSse),
            status if !status.is_success() => {
                Err(HttpStatusError::new(status.as_u16(), None).into())
            }
            _ if is(&reply.headers, EVENTS) => Ok(events(reply, max_event)),
            _ => Err(Failure::UnexpectedContentType(text_of(
                &reply.headers,
                header::CONTENT_TYPE.as_str(),
            ))),
        }
    }
}
