//! Where an API is and how it is told who asks.

use std::borrow::Cow;
use std::fmt;

use http::Method;
use ropewalk_core::{Error, ErrorKind, Result};
use ropewalk_http::{Client, ClientOptions, Request};
use serde_json::Value;

use crate::key::ApiKey;
use crate::wire::Call;

/// How the key is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Auth {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// A header of this name.
    Header(Cow<'static, str>),
    /// A parameter of the address.
    Query(Cow<'static, str>),
    /// Not at all.
    None,
}

/// An API: its address, key, headers and the HTTP client. Every provider is one of these and a
/// [`Wire`](crate::Wire).
#[derive(Clone)]
pub struct Endpoint {
    provider: Cow<'static, str>,
    base_url: String,
    auth: Auth,
    key: Option<ApiKey>,
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
    idempotency: Option<&'static str>,
    /// Secrets besides the key, which requests do not hold but replies may.
    secrets: Vec<String>,
    client: Client,
}

impl Endpoint {
    /// Creates an endpoint with the default [`ClientOptions`].
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when no HTTP client can be made. The address is looked at when
    /// a request is sent.
    pub fn new(
        provider: impl Into<Cow<'static, str>>,
        base_url: impl Into<String>,
        auth: Auth,
        key: Option<ApiKey>,
    ) -> Result<Self> {
        let client = Client::new(ClientOptions::default())?;
        let endpoint = Self {
            provider: provider.into(),
            base_url: String::new(),
            auth,
            key,
            headers: Vec::new(),
            query: Vec::new(),
            idempotency: None,
            secrets: Vec::new(),
            client,
        };
        Ok(endpoint.with_base_url(base_url))
    }

    /// Returns the provider's name.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// Returns the base URL, without a slash at its end.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Returns the host of the base URL, for traces.
    pub(crate) fn host(&self) -> &str {
        let rest = self.base_url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split(['/', '?']).next().unwrap_or("");
        authority.rsplit('@').next().unwrap_or("")
    }

    /// Returns the HTTP client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the key, if there is one.
    #[must_use]
    pub fn key(&self) -> Option<&ApiKey> {
        self.key.as_ref()
    }

    /// Sets the provider's name, as replies and errors give it.
    #[must_use]
    pub fn with_provider(mut self, provider: impl Into<Cow<'static, str>>) -> Self {
        self.provider = provider.into();
        self
    }

    /// Sets another base URL; a slash at its end does not matter.
    #[must_use]
    pub fn with_base_url(mut self, url: impl Into<String>) -> Self {
        let url: String = url.into();
        url.trim_end_matches('/').clone_into(&mut self.base_url);
        self
    }

    /// Sets how the key is sent.
    #[must_use]
    pub fn with_auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Sets the key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<ApiKey>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sends a header with every request.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends a parameter of the address with every request.
    #[must_use]
    pub fn with_query(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    /// Sends a new random key with every POST request, in a header of this name; the attempts of
    /// one request share it, so that a repeated one is not carried out twice.
    #[must_use]
    pub fn with_idempotency_key(mut self, header: &'static str) -> Self {
        self.idempotency = Some(header);
        self
    }

    /// Sets the HTTP client: time-outs, retry, proxy or a transport of one's own.
    #[must_use]
    pub fn with_client(mut self, client: Client) -> Self {
        self.client = client;
        self
    }

    /// Sets time-outs, retry and proxy.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when no HTTP client can be made of them.
    pub fn with_client_options(self, options: ClientOptions) -> Result<Self> {
        Ok(self.with_client(Client::new(options)?))
    }

    /// Masks a secret in all errors, besides the key.
    #[cfg(feature = "bedrock")]
    pub(crate) fn with_secret(mut self, secret: impl Into<String>) -> Self {
        self.secrets.push(secret.into());
        self
    }

    /// Makes a request to `path`, which begins with a slash, below the base URL.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when the key or a header cannot be sent.
    pub fn request(&self, method: Method, path: &str) -> Result<Request> {
        let url = format!("{}{path}", self.base_url);
        let key = self.idempotency.filter(|_| method == Method::POST);
        let mut request = Request::new(method, url).with_provider(self.provider.clone());
        if let Some(header) = key {
            request = request.with_header(header, &unique())?;
        }
        if let Some(key) = &self.key {
            key.check(&self.provider)?;
            let secret = key.expose();
            request = match &self.auth {
                Auth::Bearer => request.with_secret_header("authorization", "Bearer ", secret)?,
                Auth::Header(name) => request.with_secret_header(name, "", secret)?,
                Auth::Query(name) => request.with_secret_query(name, secret),
                Auth::None => request,
            };
        }
        for secret in &self.secrets {
            request = request.with_secret(secret.as_str());
        }
        for (name, value) in &self.headers {
            request = request.with_header(name, value)?;
        }
        for (name, value) in &self.query {
            request = request.with_query(name, value);
        }
        Ok(request)
    }

    /// Makes the request of an encoded call.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn request_of(&self, call: &Call) -> Result<Request> {
        let mut request = self
            .request(Method::POST, &call.path)?
            .with_json(&call.body);
        for (name, value) in &call.headers {
            request = request.with_header(name, value)?;
        }
        Ok(request)
    }

    /// Sends a request without a body and parses the reply.
    ///
    /// # Errors
    /// As [`Client::send`], and [`ErrorKind::Decode`] when the reply is no JSON.
    pub async fn get_json(&self, path: &str) -> Result<Value> {
        self.json_of(&self.request(Method::GET, path)?).await
    }

    /// Posts JSON and parses the reply.
    ///
    /// # Errors
    /// As [`get_json`](Self::get_json).
    pub async fn post_json(&self, path: &str, body: &Value) -> Result<Value> {
        self.json_of(&self.request(Method::POST, path)?.with_json(body))
            .await
    }

    /// Sends any request and parses the reply.
    ///
    /// # Errors
    /// As [`get_json`](Self::get_json).
    pub async fn json_of(&self, request: &Request) -> Result<Value> {
        let response = self.client.send(request).await?;
        self.named(response.json())
    }

    /// Gives errors of decoding this provider's name and masks its key in them.
    pub(crate) fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|e| self.name(e))
    }

    pub(crate) fn name(&self, error: Error) -> Error {
        let key = self.key.as_ref().map(ApiKey::expose);
        let others = self.secrets.iter().map(String::as_str);
        let secrets: Vec<&str> = key.into_iter().chain(others).collect();
        error.with_provider(self.provider.clone()).mask(&secrets)
    }

    /// Fails when the provider needs a key and there is none.
    pub(crate) fn missing_key(provider: &str, variable: &str) -> Error {
        let message = format!("no API key: set {variable} or hand one in");
        Error::new(ErrorKind::Authentication, message).with_provider(provider.to_owned())
    }
}

/// Returns 128 bits in hex that no other call returns: the standard library's random state comes
/// from the system.
fn unique() -> String {
    use std::hash::{BuildHasher, RandomState};
    let half = || RandomState::new().hash_one(());
    format!("ropewalk-{:016x}{:016x}", half(), half())
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("provider", &self.provider)
            .field(
                "base_url",
                &Request::get(self.base_url.as_str()).shown_url(),
            )
            .field("auth", &self.auth)
            .field("key", &self.key)
            .field(
                "headers",
                &self.headers.iter().map(|(n, _)| n).collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}
