//! Tools that ask the web. Their addresses can be set, so that they work against doubles too.

mod duckduckgo;
mod fetch;
mod markup;
mod readable;
mod weather;
mod wikipedia;
mod wmo;

use ropewalk_core::ToolError;
use ropewalk_http::{Client, Request};
use serde_json::Value;

pub use duckduckgo::DuckDuckGo;
pub use fetch::HttpFetch;
pub use readable::{Link, Readable, readable};
pub use weather::Weather;
pub use wikipedia::Wikipedia;
pub use wmo::weather_code;

/// Largest reply of an API that is read, in bytes.
const MAX_REPLY: usize = 4 << 20;

/// Sends a request and returns the body of the reply, for the model to hear of failures.
async fn body(client: &Client, request: &Request) -> Result<Vec<u8>, ToolError> {
    let response = client.send(request).await.map_err(ToolError::failed)?;
    if response.body.len() > MAX_REPLY {
        let provider = &request.provider;
        let message = format!("{provider}: the reply is larger than {MAX_REPLY} bytes");
        return Err(ToolError::Failed(message));
    }
    Ok(response.body.into())
}

/// Sends a request for JSON.
async fn json(client: &Client, request: &Request) -> Result<Value, ToolError> {
    let body = body(client, request).await?;
    serde_json::from_slice(&body).map_err(|e| {
        let provider = &request.provider;
        ToolError::Failed(format!("{provider}: the reply is no JSON: {e}"))
    })
}

/// Returns the text at a JSON pointer, empty when there is none.
fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or("").trim()
}
