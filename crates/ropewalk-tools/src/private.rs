//! What the code that `#[tool]` writes is made of. Not part of the public interface.

use std::fmt::Display;
use std::marker::PhantomData;

pub use ropewalk_core::{
    Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec, async_trait, parse_arguments,
    schemars,
};
pub use serde;
pub use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;

/// Makes the spec of a tool; the schema has no `$schema` and no `title`, which would only be
/// tokens to pay for.
pub fn spec<A: JsonSchema>(name: &str, description: &str, strict: bool) -> ToolSpec {
    let mut settings = SchemaSettings::default();
    settings.meta_schema = None;
    let mut schema = settings.into_generator().into_root_schema_for::<A>();
    schema.remove("title");
    // A struct without fields has a bare `type`; some providers insist on the other keys.
    schema
        .ensure_object()
        .entry("properties")
        .or_insert_with(|| serde_json::json!({}));
    ToolSpec::new(name, description, schema).with_strict(strict)
}

/// Returns a value of the run's extensions.
///
/// # Errors
/// [`ToolError::Fatal`] naming the type: the model cannot mend a program that forgot it.
pub fn extension<'a, T: Send + Sync + 'static>(
    tool: &str,
    context: &'a ToolContext,
) -> Result<&'a T, ToolError> {
    context.extensions.get().ok_or_else(|| {
        let kind = std::any::type_name::<T>();
        let message = format!(
            "`{tool}` takes a value of type `{kind}` from its context, which has none: put it there \
             with ToolContext::with_extensions, or Input::extensions of an agent"
        );
        ToolError::Fatal(message.into())
    })
}

/// Stands for the type of a returned value while the compiler picks what becomes of it: the
/// methods below are found by how many references they are away ("autoref specialization").
#[derive(Debug)]
pub struct Probe<T>(PhantomData<fn() -> T>);

impl<T> Probe<T> {
    pub fn of(_: &T) -> Self {
        Self(PhantomData)
    }
}

/// `Result<_, ToolError>`: the error as it is.
#[derive(Debug)]
pub struct OwnError;

pub trait ReturnsOwnError {
    fn outcome(&self) -> OwnError {
        OwnError
    }
}

impl<T> ReturnsOwnError for &&Probe<Result<T, ToolError>> {}

impl OwnError {
    pub fn open<T>(self, value: Result<T, ToolError>) -> Result<T, ToolError> {
        value
    }
}

/// `Result<_, E>`: the text of the error goes to the model.
#[derive(Debug)]
pub struct AnyError;

pub trait ReturnsError {
    fn outcome(&self) -> AnyError {
        AnyError
    }
}

impl<T, E> ReturnsError for &Probe<Result<T, E>> {}

impl AnyError {
    pub fn open<T, E: Display>(self, value: Result<T, E>) -> Result<T, ToolError> {
        value.map_err(ToolError::failed)
    }
}

/// No `Result`.
#[derive(Debug)]
pub struct NoError;

pub trait ReturnsValue {
    fn outcome(&self) -> NoError {
        NoError
    }
}

impl<T> ReturnsValue for Probe<T> {}

impl NoError {
    pub fn open<T>(self, value: T) -> Result<T, ToolError> {
        Ok(value)
    }
}

/// `()`: the model is told that it is done.
#[derive(Debug)]
pub struct Nothing;

pub trait GivesNothing {
    fn output(&self) -> Nothing {
        Nothing
    }
}

impl GivesNothing for &&Probe<()> {}

impl Nothing {
    pub fn convert(self, (): ()) -> Result<ToolOutput, ToolError> {
        Ok(ToolOutput::text("done"))
    }
}

/// `Into<ToolOutput>`: text, JSON values, parts, outputs.
#[derive(Debug)]
pub struct Output;

pub trait GivesOutput {
    fn output(&self) -> Output {
        Output
    }
}

impl<T: Into<ToolOutput>> GivesOutput for &Probe<T> {}

impl Output {
    pub fn convert<T: Into<ToolOutput>>(self, value: T) -> Result<ToolOutput, ToolError> {
        Ok(value.into())
    }
}

/// Anything else must be serializable.
#[derive(Debug)]
pub struct Json;

pub trait GivesJson {
    fn output(&self) -> Json {
        Json
    }
}

impl<T> GivesJson for Probe<T> {}

impl Json {
    pub fn convert<T: Serialize>(self, value: T) -> Result<ToolOutput, ToolError> {
        ToolOutput::json(&value)
    }
}
