//! A tool of a server.

use rmcp::ServiceError;
use rmcp::model::{CallToolRequestParams, ErrorCode, ToolAnnotations};
use ropewalk_core::{Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec, async_trait};
use schemars::Schema;
use serde_json::Map;

use super::client::McpClient;
use super::options::McpOptions;
use super::{content, why_failed};
use crate::check::checked;

/// Longest description that is shown to a model, in characters.
const MAX_DESCRIPTION: usize = 4000;

pub(super) struct McpTool {
    client: McpClient,
    spec: ToolSpec,
    effect: Effect,
    /// The name the server knows it by.
    theirs: String,
}

impl McpTool {
    pub(super) fn new(
        client: McpClient,
        name: String,
        tool: rmcp::model::Tool,
        options: &McpOptions,
    ) -> Self {
        let mut parameters = Map::clone(&tool.input_schema);
        // Some servers leave out what the protocol asks for.
        parameters.entry("type").or_insert_with(|| "object".into());
        parameters
            .entry("properties")
            .or_insert_with(|| Map::new().into());
        let description = tool.description.as_deref().or(tool.title.as_deref());
        let mut description = description.unwrap_or("").to_owned();
        if let Some((end, _)) = description.char_indices().nth(MAX_DESCRIPTION) {
            description.truncate(end);
            description.push_str(" [cut]");
        }
        Self {
            client,
            spec: ToolSpec::new(name, description, Schema::from(parameters)),
            effect: effect_of(tool.annotations.as_ref(), options.trust_hints),
            theirs: tool.name.into_owned(),
        }
    }
}

/// Returns what the hints of a server say a call may change.
fn effect_of(hints: Option<&ToolAnnotations>, trusted: bool) -> Effect {
    let Some(hints) = hints else {
        return Effect::Unknown;
    };
    let reads = hints.read_only_hint;
    match (reads, hints.destructive_hint, hints.open_world_hint) {
        (Some(true), _, _) if trusted => Effect::Read,
        (Some(true), _, _) => Effect::Unknown,
        (_, Some(true), _) => Effect::External,
        // Whatever else it changes is its own.
        (_, _, Some(false)) if trusted => Effect::Write,
        (Some(false), _, _) | (_, Some(false), _) => Effect::External,
        (None, None, _) => Effect::Unknown,
    }
}

#[async_trait]
impl Tool for McpTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self) -> Effect {
        self.effect
    }

    async fn call(&self, arguments: &str, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        let arguments = checked(&self.spec, arguments)?;
        let mut params = CallToolRequestParams::new(self.theirs.clone());
        params.arguments = Some(arguments);
        let limit = self.client.call_timeout();
        // Giving up tells the server so.
        let outcome = tokio::time::timeout(limit, self.client.peer().call_tool_once(params)).await;
        let server = self.client.server();
        match outcome {
            Ok(Ok(response)) => content::output(response),
            Ok(Err(ServiceError::McpError(e))) if e.code == ErrorCode::INVALID_PARAMS => {
                Err(ToolError::InvalidArguments(e.message.into_owned()))
            }
            Ok(Err(ServiceError::McpError(e))) => Err(ToolError::Failed(e.message.into_owned())),
            Ok(Err(e)) => {
                let cause = why_failed(&e);
                Err(ToolError::Failed(format!(
                    "the MCP server {server:?}: {cause}"
                )))
            }
            Err(_) => {
                let seconds = limit.as_secs_f64();
                let message =
                    format!("the MCP server {server:?} gave no result within {seconds} s");
                Err(ToolError::Failed(message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_become_effects() {
        let hints = |read, destructive, open| {
            let hints = ToolAnnotations::from_raw(None, read, destructive, None, open);
            [true, false].map(|trusted| effect_of(Some(&hints), trusted))
        };
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(hints(yes, None, None), [Effect::Read, Effect::Unknown]);
        assert_eq!(hints(yes, yes, yes), [Effect::Read, Effect::Unknown]);
        assert_eq!(hints(None, yes, no), [Effect::External; 2]);
        assert_eq!(hints(no, no, no), [Effect::Write, Effect::External]);
        assert_eq!(hints(no, None, None), [Effect::External; 2]);
        assert_eq!(hints(None, no, None), [Effect::External; 2]);
        assert_eq!(hints(None, None, yes), [Effect::Unknown; 2]);
        assert_eq!(effect_of(None, true), Effect::Unknown);
    }
}
