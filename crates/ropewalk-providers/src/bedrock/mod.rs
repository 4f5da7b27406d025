//! Amazon Bedrock: models of many makers behind Converse.

mod decode;
mod eventstream;
mod messages;
mod sigv4;
mod wire;

use std::sync::Arc;

use ropewalk_core::{Capabilities, Error, ErrorKind, Result};
use ropewalk_http::{Client, ClientOptions, ReqwestTransport, Transport};

use crate::chat::RemoteChat;
use crate::endpoint::{Auth, Endpoint};
use crate::key::ApiKey;
use crate::settings::Settings;

pub use sigv4::{AwsCredentials, SigV4Transport};
pub use wire::ConverseWire;

/// Bedrock in one region, with an API key or with access keys of AWS.
///
/// ```
/// use ropewalk_core::ChatModelExt;
/// use ropewalk_http::ClientOptions;
/// use ropewalk_http::testing::{Canned, Double};
/// use ropewalk_providers::{AwsCredentials, Bedrock};
/// use serde_json::json;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let double = Double::new([Canned::json(&json!({
///     "output": {"message": {"role": "assistant", "content": [{"text": "Hello."}]}},
///     "stopReason": "end_turn",
/// }))]);
/// let bedrock = Bedrock::signed("us-east-1", AwsCredentials::new("AKIAX", "secret"))?;
/// let bedrock = bedrock.with_transport(double, ClientOptions::new());
/// assert_eq!(bedrock.chat("amazon.nova-x-v1:0").ask("Say hello.").await?, "Hello.");
/// # Ok::<(), ropewalk_core::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Bedrock {
    endpoint: Endpoint,
    region: String,
    credentials: Option<AwsCredentials>,
}

impl Bedrock {
    /// Creates the API with a Bedrock API key, sent as `Authorization: Bearer`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a region of other characters than letters, digits and `-`,
    /// or when no HTTP client can be made.
    pub fn new(region: &str, key: impl Into<ApiKey>) -> Result<Self> {
        Self::of(region, Some(key.into()), None)
    }

    /// Creates the API with access keys: requests are signed (Signature Version 4).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn signed(region: &str, credentials: AwsCredentials) -> Result<Self> {
        let secrets: Vec<String> = credentials.secrets().map(str::to_owned).collect();
        let mut this = Self::of(region, None, Some(credentials))?;
        // A refused signature is answered with what was signed.
        for secret in secrets {
            this.endpoint = this.endpoint.with_secret(secret);
        }
        let options = ClientOptions::new();
        let transport = ReqwestTransport::new(&options.connect)?;
        Ok(this.with_transport(Arc::new(transport), options))
    }

    fn of(region: &str, key: Option<ApiKey>, credentials: Option<AwsCredentials>) -> Result<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if region.is_empty() || !region.chars().all(fits) {
            let message = format!("{region:?} is no region of AWS");
            let error = Error::new(ErrorKind::Configuration, message);
            return Err(error.with_provider(wire::PROVIDER));
        }
        let base = format!("https://bedrock-runtime.{region}.amazonaws.com");
        Ok(Self {
            endpoint: Endpoint::new(wire::PROVIDER, base, Auth::Bearer, key)?,
            region: region.to_owned(),
            credentials,
        })
    }

    /// Creates the API from the environment; see [`from_settings`](Self::from_settings).
    ///
    /// # Errors
    /// As `from_settings`.
    pub fn from_env() -> Result<Self> {
        Self::from_settings(&Settings::from_env())
    }

    /// Creates the API in `AWS_REGION` or `AWS_DEFAULT_REGION`, with the key in
    /// `AWS_BEARER_TOKEN_BEDROCK`, else with `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, if
    /// set, `AWS_SESSION_TOKEN`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when no region is set, [`ErrorKind::Authentication`] when no
    /// key is.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let regions = ["AWS_REGION", "AWS_DEFAULT_REGION"];
        let region = regions.into_iter().find_map(|name| settings.get(name));
        let region = region.ok_or_else(|| {
            let message = "set AWS_REGION to the region of the models";
            Error::new(ErrorKind::Configuration, message).with_provider(wire::PROVIDER)
        })?;
        if let Some(key) = settings.get("AWS_BEARER_TOKEN_BEDROCK") {
            return Self::new(region, key);
        }
        match AwsCredentials::from_settings(settings) {
            Some(credentials) => Self::signed(region, credentials),
            None => Err(Endpoint::missing_key(
                wire::PROVIDER,
                "AWS_BEARER_TOKEN_BEDROCK or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )),
        }
    }

    /// Returns where the API is and how it is told who asks.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sets another base URL, for example of a private endpoint.
    #[must_use]
    pub fn with_base_url(mut self, url: impl Into<String>) -> Self {
        self.endpoint = self.endpoint.with_base_url(url);
        self
    }

    /// Sets what moves bytes, with time-outs and retry. Access keys sign what goes through it.
    #[must_use]
    pub fn with_transport(mut self, transport: Arc<dyn Transport>, options: ClientOptions) -> Self {
        let transport = match &self.credentials {
            Some(credentials) => Arc::new(SigV4Transport::new(
                transport,
                credentials.clone(),
                self.region.clone(),
                "bedrock",
            )),
            None => transport,
        };
        let client = Client::with_transport(transport, options);
        self.endpoint = self.endpoint.with_client(client);
        self
    }

    /// Returns a chat model by its id, or the ARN of a model or inference profile.
    pub fn chat(&self, model: impl Into<String>) -> RemoteChat {
        let mut capabilities = Capabilities::default();
        capabilities.tools = true;
        capabilities.parallel_tools = true;
        capabilities.vision = true;
        capabilities.sampling = true;
        capabilities.streaming = true;
        RemoteChat::new(
            ConverseWire::new(),
            self.endpoint.clone(),
            model,
            capabilities,
        )
    }
}
