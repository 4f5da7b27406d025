//! Arithmetic for models: see [`evaluate`].

mod evaluate;
mod number;

use ropewalk_core::{
    Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec, async_trait, parse_arguments,
};
use schemars::JsonSchema;
use serde::Deserialize;

pub use evaluate::{EvaluateError, evaluate};
pub use number::Number;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The expression, such as `(1299.5 - 20%3) * 4 / round(sqrt(2), 2)`; numbers without separators
    expression: String,
}

/// The tool `calculator`: computes an expression with [`evaluate`] and returns the number.
///
/// ```
/// use ropewalk_core::{Tool, ToolContext};
/// use ropewalk_tools::builtin::Calculator;
///
/// # futures_executor::block_on(async {
/// let arguments = r#"{"expression": "3 * 449.50 + max(20, 2^5)"}"#;
/// let output = Calculator::new().call(arguments, &ToolContext::default()).await?;
/// assert_eq!(output.content[0].as_text(), Some("1380.5"));
/// # Ok::<(), ropewalk_core::ToolError>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Calculator {
    spec: ToolSpec,
}

impl Calculator {
    /// Creates the tool.
    #[must_use]
    pub fn new() -> Self {
        let description = "Computes an arithmetic expression exactly. Operators: + - * / % \
            (remainder) ^ (power). Functions: sqrt abs min max round(x, digits) floor ceil ln log10 \
            log2 exp sin cos tan (radians). Constants: pi e tau.";
        Self {
            spec: crate::__private::spec::<Arguments>("calculator", description, false),
        }
    }
}

impl Default for Calculator {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Tool for Calculator {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self) -> Effect {
        Effect::Read
    }

    async fn call(&self, arguments: &str, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        let arguments: Arguments = parse_arguments(arguments)?;
        let value = evaluate(&arguments.expression).map_err(ToolError::failed)?;
        let mut output = ToolOutput::text(value.to_string()).trusted();
        output.structured = Some(serde_json::json!({ "value": value.as_f64() }));
        Ok(output)
    }
}
