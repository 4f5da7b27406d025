//! The rules every [`Tool`] must keep.

use futures_util::future::{join, ready};

use super::report::{Report, Stop, Verdict, begin_and_drop, ensure, skip};
use crate::part::Part;
use crate::tool::{Tool, ToolContext, ToolError, ToolOutput};
use crate::validate::{describes_object, is_name};

/// What the suite calls a tool with.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ToolSuite {
    /// JSON text of arguments the tool accepts.
    pub arguments: String,
    /// Context of the calls.
    pub context: ToolContext,
    /// Whether calling the tool several times is harmless.
    pub repeatable: bool,
}

impl ToolSuite {
    /// Creates a suite for a tool that may be called several times with these arguments.
    pub fn new(arguments: impl Into<String>) -> Self {
        let context = ToolContext::new("call_1");
        Self {
            arguments: arguments.into(),
            context,
            repeatable: true,
        }
    }

    /// Sets the context of the calls.
    #[must_use]
    pub fn with_context(mut self, context: ToolContext) -> Self {
        self.context = context;
        self
    }

    /// Sets whether calling the tool several times is harmless.
    #[must_use]
    pub fn with_repeatable(mut self, repeatable: bool) -> Self {
        self.repeatable = repeatable;
        self
    }
}

/// Checks the contract of [`Tool`].
///
/// The names of the checks, in order: `name`, `schema`, `description`, `call`,
/// `malformed_arguments`, `wrong_arguments`, `empty_arguments`, `concurrent`, `drop`.
pub async fn tool<T: Tool + ?Sized>(tool: &T, suite: &ToolSuite) -> Report {
    let mut report = Report::new(format!("tool {}", tool.spec().name));
    report.check("name", ready(name(tool))).await;
    report.check("schema", ready(schema(tool))).await;
    report.check("description", ready(description(tool))).await;
    report.check("call", call(tool, suite)).await;
    report
        .check("malformed_arguments", malformed_arguments(tool, suite))
        .await;
    report
        .check("wrong_arguments", wrong_arguments(tool, suite))
        .await;
    report
        .check("empty_arguments", empty_arguments(tool, suite))
        .await;
    report.check("concurrent", concurrent(tool, suite)).await;
    report.check("drop", drop_call(tool, suite)).await;
    report
}

fn name<T: Tool + ?Sized>(tool: &T) -> Verdict {
    let name = &tool.spec().name;
    ensure(is_name(name), || {
        format!("{name:?} is not 1 to 64 letters, digits, `_` or `-`")
    })
}

fn schema<T: Tool + ?Sized>(tool: &T) -> Verdict {
    let schema = &tool.spec().parameters;
    ensure(describes_object(schema), || {
        "the parameters are not of type `object`".into()
    })
}

fn description<T: Tool + ?Sized>(tool: &T) -> Verdict {
    ensure(!tool.spec().description.trim().is_empty(), || {
        "the tool has no description".into()
    })
}

async fn run<T: Tool + ?Sized>(tool: &T, suite: &ToolSuite) -> Result<ToolOutput, Stop> {
    let output = tool.call(&suite.arguments, &suite.context).await;
    output.map_err(|e| Stop::Fail(format!("the good arguments were refused: {e}")))
}

async fn call<T: Tool + ?Sized>(tool: &T, suite: &ToolSuite) -> Verdict {
    let output = run(tool, suite).await?;
    ensure(!output.is_error, || {
        "the good arguments gave an error result".into()
    })?;
    let shown = |p: &Part| {
        !matches!(
            p,
            Part::ToolCall(_) | Part::ToolResult(_) | Part::Reasoning(_)
        )
    };
    ensure(output.content.iter().all(shown), || {
        "a result may hold only text and media".into()
    })
}

async fn malformed_arguments<T: Tool + ?Sized>(tool: &T, suite: &ToolSuite) -> Verdict {
    refused(tool, suite, "{\"broken").await?;
    refused(tool, suite, "[]").await
}

/// The model must hear of it and may repair: `InvalidArguments`, not a failure that ends the run.
async fn refused<T: Tool + ?Sized>(tool: &T, suite: &ToolSuite, arguments: &str) -> Verdict {
    let result = tool.call(arguments, &suite.context).await;
    let refused = matches!(result, Err(ToolError::InvalidArguments(_)));
    ensure(refused, || {
        format!("{arguments} gave {result:?}, not InvalidArguments")
    })
}

async fn wrong_arguments<T: Tool + ?Sized>(tool: &T, suite: &ToolSuite) -> Verdict {
    let schema = tool.spec().parameters.as_value();
    let required = schema["required"]
        .as_array()
        .and_then(|r| r.first())
        .and_then(|r| r.as_str());
    let Some(field) = required else {
        return skip("no argument is required");
    };
    // No schema of a single type accepts both.
    let (a, b) = (
        format!("{{{field:?}: [[]]}}"),
        format!("{{{field:?}: false}}"),
    );
    let (a, b) = (
        tool.call(&a, &suite.context).await,
        tool.call(&b, &suite.context).await,
    );
    let refused = [&a, &b]
        .iter()
        .any(|r| matches!(r, Err(ToolError::InvalidArguments(_))));
    ensure(refused, || {
        format!("{field:?} is never refused: {a:?}, {b:?}")
    })
}

async fn empty_arguments<T: Tool + ?Sized>(tool: &T, suite: &ToolSuite) -> Verdict {
    let requires = tool.spec().parameters.as_value()["required"].as_array();
    let has_required = requires.is_some_and(|r| !r.is_empty());
    if !suite.repeatable && !has_required {
        return skip("the tool may be called only once");
    }
    for arguments in ["", "null", "{}"] {
        let result = tool.call(arguments, &suite.context).await;
        let invalid = matches!(result, Err(ToolError::InvalidArguments(_)));
        ensure(invalid == has_required, || {
            format!("{arguments:?} gave {result:?}; it must count as {{}}")
        })?;
    }
    Ok(())
}

async fn concurrent<T: Tool + ?Sized>(tool: &T, suite: &ToolSuite) -> Verdict {
    if !suite.repeatable {
        return skip("the tool may be called only once");
    }
    let (a, b) = join(run(tool, suite), run(tool, suite)).await;
    a.and(b).map(drop)
}

async fn drop_call<T: Tool + ?Sized>(tool: &T, suite: &ToolSuite) -> Verdict {
    if !suite.repeatable {
        return skip("the tool may be called only once");
    }
    begin_and_drop(tool.call(&suite.arguments, &suite.context)).await;
    run(tool, suite).await.map(drop)
}
