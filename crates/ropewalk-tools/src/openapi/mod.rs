//! Tools from an OpenAPI document, versions 3.0 and 3.1, as JSON.
//!
//! | of an operation | becomes |
//! | --- | --- |
//! | `operationId`, else method and path | the name, made valid and unique |
//! | `summary`, `description` | the description |
//! | parameters in path, query, header and cookie, and a body of JSON or a form | one object of arguments |
//! | GET and HEAD | [`Effect::Read`](ropewalk_core::Effect::Read); other methods are `External` |
//! | the reply | a result; a bad status is an error result |
//!
//! The properties of a plain object in the body stand beside the parameters; any other body is the
//! argument `body`. Where two have one name, the later gets its place as a suffix (`id_query`,
//! `id_body`). References within the document are resolved; what refers to itself is kept in `$defs`.
//!
//! The address comes from the document or the caller, never from the model; values are encoded so
//! that they cannot leave their place. Credentials are given to [`OpenApi`] and are in no schema,
//! result or error. Only reading requests are sent again when they fail.
//!
//! ```
//! use ropewalk_http::ClientOptions;
//! use ropewalk_http::testing::{Canned, Double};
//! use ropewalk_core::{ToolCall, ToolContext};
//! use ropewalk_tools::openapi::{Credential, OpenApi};
//! use serde_json::json;
//!
//! let document = json!({
//!     "openapi": "3.1.0",
//!     "servers": [{"url": "https://fly.test/v1"}],
//!     "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
//!     "security": [{"key": []}],
//!     "paths": {"/fares/{city}": {"get": {
//!         "operationId": "fare",
//!         "parameters": [
//!             {"name": "city", "in": "path", "required": true, "schema": {"type": "string"}},
//!             {"name": "class", "in": "query", "schema": {"enum": ["economy", "business"]}},
//!         ],
//!     }}},
//! });
//! let api = OpenApi::parse(&document.to_string())?
//!     .with_credential("key", Credential::bearer("sk-secret"));
//! let double = Double::new([Canned::json(&json!({"price": 99}))]);
//! let tools = api.tool_set_over(double.clone(), ClientOptions::new())?;
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let call = ToolCall::new("1", "fare", r#"{"city": "São Paulo", "class": "economy"}"#);
//! let result = tools.answer(&call, &ToolContext::default()).await?;
//! assert_eq!(result.text(), r#"{"price":99}"#);
//! let request = &double.requests()[0];
//! assert_eq!(request.url, "https://fly.test/v1/fares/S%C3%A3o%20Paulo?class=economy");
//! assert_eq!(request.headers["authorization"], "Bearer sk-secret");
//! # Ok::<(), ropewalk_core::Error>(()) }).unwrap();
//! # Ok::<(), ropewalk_core::Error>(())
//! ```

mod call;
mod credential;
mod document;
mod encode;
mod error;
mod operation;
mod schema;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use ropewalk_core::{DynTool, Result};
use ropewalk_http::{
    Client, ClientOptions, ConnectOptions, ReqwestTransport, RetryPolicy, Transport,
};

use crate::ToolSet;
use crate::naming::valid_name;
use call::OperationTool;
use document::Document;

pub use credential::Credential;
pub use error::OpenApiError;
pub use operation::Operation;

/// An OpenAPI document and how to call what it describes.
pub struct OpenApi {
    document: Document,
    base: Option<String>,
    credentials: HashMap<String, Credential>,
    keep: Box<dyn Fn(&Operation) -> bool + Send + Sync>,
    max_chars: usize,
}

impl fmt::Debug for OpenApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schemes: Vec<_> = self.credentials.keys().collect();
        f.debug_struct("OpenApi")
            .field("title", &self.title())
            .field("base", &self.base)
            .field("credentials", &schemes)
            .finish_non_exhaustive()
    }
}

impl OpenApi {
    /// Reads a document of at most 32 MiB.
    ///
    /// # Errors
    /// [`OpenApiError`] for what is no JSON, nested too deeply, too large or of another version.
    pub fn parse(text: &str) -> std::result::Result<Self, OpenApiError> {
        Ok(Self {
            document: Document::parse(text)?,
            base: None,
            credentials: HashMap::new(),
            keep: Box::new(|_| true),
            max_chars: 32_000,
        })
    }

    /// Returns the title of the API; empty when there is none.
    #[must_use]
    pub fn title(&self) -> &str {
        self.document.text("/info/title")
    }

    /// Sets the address that paths are appended to, instead of the document's first server.
    #[must_use]
    pub fn with_base_url(mut self, url: impl Into<String>) -> Self {
        self.base = Some(url.into());
        self
    }

    /// Sets the credential for a security scheme of the document.
    #[must_use]
    pub fn with_credential(mut self, scheme: impl Into<String>, credential: Credential) -> Self {
        self.credentials.insert(scheme.into(), credential);
        self
    }

    /// Keeps the operations that `keep` says yes to; the others are not looked at further.
    #[must_use]
    pub fn with_filter(
        mut self,
        keep: impl Fn(&Operation) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.keep = Box::new(keep);
        self
    }

    /// Sets how many characters of a reply the model sees; 32,000.
    #[must_use]
    pub fn with_max_chars(mut self, chars: usize) -> Self {
        self.max_chars = chars;
        self
    }

    /// Returns the operations that pass the filter, path by path in the order of
    /// [`serde_json::Map`]: alphabetical unless its feature `preserve_order` is on.
    ///
    /// # Errors
    /// [`OpenApiError`] for references to paths that lead nowhere.
    pub fn operations(&self) -> std::result::Result<Vec<Operation>, OpenApiError> {
        let mut operations = operation::all(&self.document)?;
        operations.retain(|o| (self.keep)(o));
        Ok(operations)
    }

    /// Makes a tool of each operation, with a client of default options.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](ropewalk_core::ErrorKind::Configuration) with an
    /// [`OpenApiError`] as its source: a reference that leads nowhere, a parameter that cannot be
    /// sent, no address, a missing credential.
    pub fn tools(&self) -> Result<Vec<DynTool>> {
        let transport = ReqwestTransport::new(&ConnectOptions::default())?;
        self.tools_over(Arc::new(transport), ClientOptions::new())
    }

    /// Makes a tool of each operation, over a transport of one's own.
    ///
    /// # Errors
    /// As [`tools`](Self::tools).
    pub fn tools_over(
        &self,
        transport: Arc<dyn Transport>,
        options: ClientOptions,
    ) -> Result<Vec<DynTool>> {
        let once = options.clone().with_retry(RetryPolicy::none());
        let reads = Client::with_transport(Arc::clone(&transport), options);
        let writes = Client::with_transport(transport, once);
        let mut taken = HashSet::new();
        let mut budget = schema::MAX_NODES;
        let mut tools = Vec::new();
        for operation in self.operations()? {
            let plan = operation::plan(&self.document, &operation, &mut budget)?;
            let base = self.document.base(self.base.as_deref(), &operation)?;
            let login = credential::choose(&self.document, &operation, &self.credentials)?;
            let client = if operation.reads() { &reads } else { &writes };
            let name = valid_name(&operation.id, &mut taken);
            let tool = OperationTool::new(name, operation, plan, base, login, client.clone());
            tools.push(Arc::new(tool.with_max_chars(self.max_chars)) as DynTool);
        }
        Ok(tools)
    }

    /// Makes a set of the tools, with a client of default options.
    ///
    /// # Errors
    /// As [`tools`](Self::tools).
    pub fn tool_set(&self) -> Result<ToolSet> {
        Ok(ToolSet::of(self.tools()?)?)
    }

    /// Makes a set of the tools, over a transport of one's own.
    ///
    /// # Errors
    /// As [`tools`](Self::tools).
    pub fn tool_set_over(
        &self,
        transport: Arc<dyn Transport>,
        options: ClientOptions,
    ) -> Result<ToolSet> {
        Ok(ToolSet::of(self.tools_over(transport, options)?)?)
    }
}
