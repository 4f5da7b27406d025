//! Calling an operation.

use ropewalk_core::http::header;
use ropewalk_core::{
    Effect, Error, Tool, ToolContext, ToolError, ToolOutput, ToolSpec, async_trait,
};
use ropewalk_http::{Client, Request, Response};
use schemars::Schema;
use serde_json::{Map, Value};

use super::credential::Login;
use super::encode::{Style, encoded, form, query, scalar, simple};
use super::operation::{BodyKind, Operation, Place, Plan};
use crate::check::checked;

const PROVIDER: &str = "openapi";

pub(super) struct OperationTool {
    spec: ToolSpec,
    operation: Operation,
    plan: Plan,
    base: String,
    logins: Vec<Login>,
    client: Client,
    max_chars: usize,
}

/// What the arguments become.
#[derive(Default)]
struct Sent {
    path: String,
    query: Vec<String>,
    headers: Vec<(String, String)>,
    cookies: Vec<String>,
    object: Map<String, Value>,
    body: Option<Value>,
}

impl OperationTool {
    pub(super) fn new(
        name: String,
        operation: Operation,
        plan: Plan,
        base: String,
        logins: Vec<Login>,
        client: Client,
    ) -> Self {
        let schema = Schema::from(plan.schema.clone());
        Self {
            spec: ToolSpec::new(name, operation.description(), schema),
            operation,
            plan,
            base,
            logins,
            client,
            max_chars: usize::MAX,
        }
    }

    pub(super) fn with_max_chars(mut self, chars: usize) -> Self {
        self.max_chars = chars;
        self
    }

    /// Puts every argument into its place.
    fn place(&self, mut arguments: Map<String, Value>) -> Result<Sent, String> {
        let mut sent = Sent {
            path: self.operation.path.clone(),
            ..Sent::default()
        };
        for field in &self.plan.fields {
            let (argument, name) = (&field.argument, &field.name);
            let Some(value) = arguments.remove(argument) else {
                continue;
            };
            match &field.place {
                Place::Path(style) => {
                    let text = simple(&value, *style, encoded);
                    if text.is_empty() {
                        return Err(format!("`{argument}` is empty, but part of the path"));
                    }
                    sent.path = sent.path.replace(&format!("{{{name}}}"), &text);
                }
                Place::Property => drop(sent.object.insert(name.clone(), value)),
                Place::Body => sent.body = Some(value),
                // Left out is what `null` means in these.
                _ if value.is_null() => {}
                Place::Query(style) => sent.query.extend(query(name, &value, *style)),
                Place::Header => {
                    sent.headers
                        .push((name.clone(), simple(&value, Style::Commas, str::to_owned)));
                }
                Place::Cookie => {
                    let text = simple(&value, Style::Commas, encoded);
                    sent.cookies.push(format!("{}={text}", encoded(name)));
                }
            }
        }
        if let Some(unknown) = arguments.keys().next() {
            let known: Vec<_> = self
                .plan
                .fields
                .iter()
                .map(|f| f.argument.as_str())
                .collect();
            return Err(format!(
                "unknown field `{unknown}`; there are: {}",
                known.join(", ")
            ));
        }
        if sent
            .path
            .split('/')
            .any(|segment| matches!(segment, "." | ".."))
        {
            return Err("a part of the path would be `.` or `..`, which leads elsewhere".into());
        }
        Ok(sent)
    }

    fn request(&self, sent: Sent) -> Result<Request, Error> {
        let mut url = format!("{}/{}", self.base, sent.path.trim_start_matches('/'));
        if !sent.query.is_empty() {
            url = [&url, "?", &sent.query.join("&")].concat();
        }
        let mut request = Request::new(self.operation.method.clone(), url)
            .with_provider(PROVIDER)
            .with_header("accept", "application/json, text/*;q=0.9, */*;q=0.1")?;
        for (name, value) in &sent.headers {
            request = request.with_header(name, value)?;
        }
        let mut cookies = sent.cookies;
        for login in &self.logins {
            request = login.apply(request)?;
            cookies.extend(login.cookie());
        }
        if !cookies.is_empty() {
            request = request.with_header("cookie", &cookies.join("; "))?;
        }
        let object =
            !sent.object.is_empty() || self.plan.fields.iter().any(|f| f.place == Place::Property);
        let body = sent
            .body
            .or_else(|| object.then_some(Value::Object(sent.object)));
        let Some(body) = body else {
            return Ok(request);
        };
        let text = match (self.plan.body, &body) {
            (BodyKind::Form, Value::Object(map)) => form(map),
            (BodyKind::Text | BodyKind::Form, other) => scalar(other),
            _ => body.to_string(),
        };
        Ok(request.with_body(&self.plan.content_type, text))
    }

    fn cut(&self, text: &str) -> String {
        match text.char_indices().nth(self.max_chars) {
            None => text.to_owned(),
            Some((end, _)) => {
                let total = text.chars().count();
                format!(
                    "{}\n[cut: {} of {total} characters]",
                    &text[..end],
                    self.max_chars
                )
            }
        }
    }

    fn output(&self, response: &Response) -> ToolOutput {
        let status = response.status;
        if response.body.is_empty() {
            return ToolOutput::text(format!("done (status {status})"));
        }
        if let Ok(value) = serde_json::from_slice::<Value>(&response.body) {
            let mut output = ToolOutput::text(self.cut(&scalar(&value)));
            output.structured = Some(value);
            return output;
        }
        match std::str::from_utf8(&response.body) {
            Ok(text) => ToolOutput::text(self.cut(text)),
            Err(_) => {
                let kind = response.headers.get(header::CONTENT_TYPE);
                let kind = kind.and_then(|k| k.to_str().ok()).unwrap_or("no type");
                let bytes = response.body.len();
                ToolOutput::text(format!("[{bytes} bytes of {kind}]"))
            }
        }
    }

    /// Tells the model of a bad status with what the API says.
    fn failed(&self, error: &Error) -> Result<ToolOutput, ToolError> {
        let Some(http) = error.http() else {
            return Err(ToolError::failed(error));
        };
        let body = String::from_utf8_lossy(&http.body);
        let text = match serde_json::from_slice::<Value>(&http.body) {
            Ok(value) => self.cut(&scalar(&value)),
            Err(_) if body.trim_start().starts_with('<') => error.message().to_owned(),
            Err(_) => self.cut(body.trim()),
        };
        let joint = if text.is_empty() { "" } else { ": " };
        Ok(ToolOutput::error(format!(
            "status {}{joint}{text}",
            http.status
        )))
    }
}

#[async_trait]
impl Tool for OperationTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self) -> Effect {
        match self.operation.reads() {
            true => Effect::Read,
            false => Effect::External,
        }
    }

    async fn call(&self, arguments: &str, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        let arguments = checked(&self.spec, arguments)?;
        let sent = self.place(arguments).map_err(ToolError::InvalidArguments)?;
        let request = self.request(sent);
        let request = request.map_err(|e| ToolError::InvalidArguments(e.message().to_owned()))?;
        match self.client.send(&request).await {
            Ok(response) => Ok(self.output(&response)),
            Err(error) => self.failed(&error),
        }
    }
}
