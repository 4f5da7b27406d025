//! Tools for language models, and typed values out of their replies.
//!
//! A function becomes a tool by an attribute: its doc comment is what the model is told, its
//! parameters are the schema of the arguments. Tools stand in a [`ToolSet`], and [`ToolRunner`] is
//! the loop of a model and its tools:
//!
//! ```
//! use ropewalk_core::testing::ScriptedModel;
//! use ropewalk_core::{Extensions, ToolContext};
//! use ropewalk_tools::{ToolRunner, ToolSet, tool};
//! use serde_json::json;
//!
//! struct Fares(Vec<(&'static str, u32)>);
//!
//! /// Price of a return ticket in dollars.
//! #[tool(effect = read)]
//! async fn ticket_price(
//!     /// Where to.
//!     city: &str,
//!     #[tool(default = 1)] travellers: u32,
//!     #[tool(context)] fares: &Fares,
//! ) -> Result<u32, String> {
//!     let fare = fares.0.iter().find(|(name, _)| *name == city);
//!     let (_, price) = fare.ok_or_else(|| format!("we do not fly to {city}"))?;
//!     Ok(price * travellers)
//! }
//!
//! # futures_executor::block_on(async {
//! let mut extensions = Extensions::default();
//! extensions.insert(Fares(vec![("Oslo", 499), ("Rome", 1400)]));
//! let context = ToolContext::new("").with_extensions(extensions);
//!
//! // Stands for any model.
//! let model = ScriptedModel::new()
//!     .tool_call("ticket_price", json!({"city": "Oslo", "travellers": 2}))
//!     .reply("Two tickets to Oslo are $998.");
//! let runner = ToolRunner::new(ToolSet::new().with(ticket_price)?).with_context(context);
//! let run = runner.run(&model, "We are two. What is Oslo?").await?;
//! assert_eq!(run.messages[2].results().next().unwrap().text(), "998");
//! assert_eq!(run.response.text(), "Two tickets to Oslo are $998.");
//! # Ok::<(), ropewalk_core::Error>(()) }).unwrap();
//! ```
//!
//! # Ways to make a tool
//!
//! | from | by | when |
//! | --- | --- | --- |
//! | a function | [`#[tool]`](macro@tool) | nearly always |
//! | a closure | [`tool_fn`](ropewalk_core::tool_fn) | it captures something |
//! | a type of yours | [`Tool`](ropewalk_core::Tool) | the spec is known at run time only |
//! | ready to use | [`builtin`] | arithmetic, time, and more behind features |
//!
//! # Where to look
//!
//! | for | see |
//! | --- | --- |
//! | calling tools | [`ToolSet`], [`ToolRunner`], [`Route`], [`ToolFailure`] |
//! | a model that always has tools | [`ChatModelTools::with_tools`] |
//! | a typed reply | [`extract`](ropewalk_core::ChatModelExt::extract), [`extract_stream`] |
//! | tags, classes, lists of long texts | [`Tagger`], [`classify`], [`Extractor`] |
//! | replies that are plain text | [`ask_parsed`], [`OutputParser`], [`JsonParser`], [`ListParser`], [`EnumParser`] |
//! | replies while they are written | [`PartialJson`], [`FenceStripper`] |
//! | schemas as providers want them | [`SchemaDialect`](ropewalk_core::SchemaDialect) |
//!
//! # What becomes of failures
//!
//! | what happens | the model is told | the program gets |
//! | --- | --- | --- |
//! | no tool of that name | which tools there are | [`ToolFailure::Unknown`] |
//! | arguments that do not fit | what is wrong with them | [`ToolFailure::InvalidArguments`] |
//! | the tool returns an error | its text | [`ToolFailure::Failed`] |
//! | the tool panics | that it failed | [`ToolFailure::Panicked`] |
//! | [`ToolError::Fatal`](ropewalk_core::ToolError::Fatal) | nothing, the run ends | [`ToolFailure::Fatal`] |
//!
//! Each call is a span `execute_tool` of `tracing` with the field names of the OpenTelemetry
//! conventions for generative AI; arguments and results are in it only with
//! [`ToolSet::with_captured_content`].
//!
//! # Features
//!
//! | feature | default | adds |
//! | --- | --- | --- |
//! | `web` | no | tools that fetch pages and ask services; see [`builtin`] |
//! | `sqlite` | no | a tool that reads SQLite files |
//! | `openapi` | no | tools from OpenAPI documents |
//! | `mcp` | no | Model Context Protocol, client and server |
//! | `regex` | no | `RegexParser`: replies read by a regular expression |
//! | `rustls`, `native-tls` | `rustls` | TLS for the features that speak HTTP |
//! | `full` | no | all of the above but `native-tls` |

// The code that `#[tool]` writes names this crate from outside.
#[allow(unused_extern_crates, reason = "used by unit tests only")]
extern crate self as ropewalk_tools;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod bind;
pub mod builtin;
#[cfg(any(feature = "mcp", feature = "openapi"))]
mod check;
mod error;
#[cfg(feature = "mcp")]
pub mod mcp;
#[cfg(any(feature = "mcp", feature = "openapi"))]
mod naming;
mod once;
#[cfg(feature = "openapi")]
pub mod openapi;
mod runner;
mod set;
mod structured;
mod telemetry;

pub use bind::{ChatModelTools, WithTools};
pub use error::{ToolFailure, ToolSetError};
pub use once::Once;
pub use ropewalk_macros::tool;
pub use runner::{Route, ToolRun, ToolRunner};
pub use set::{IntoTool, IsTool, MakesTool, ToolSet};
pub use structured::fence::FenceStripper;
pub use structured::list::{ExtractedList, Extractor};
pub use structured::parsers::{
    EnumParser, JsonParser, ListParser, OutputParser, Parsed, ask_parsed,
};
pub use structured::partial::{PartialJson, PartialJsonError};
#[cfg(feature = "regex")]
pub use structured::regex::RegexParser;
pub use structured::stream::{ExtractStream, Growing, extract_stream};
pub use structured::tag::{Tagger, classify, classify_with, labels};
pub use structured::windows::windows;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// What the compiler refuses: a return type that cannot be shown to the model.
///
/// ```compile_fail,E0277
/// use ropewalk_tools::tool;
///
/// struct Opaque;
///
/// /// Returns what nobody can read.
/// #[tool]
/// fn opaque() -> Opaque {
///     Opaque
/// }
/// ```
///
/// A parameter without a schema:
///
/// ```compile_fail,E0277
/// use ropewalk_tools::tool;
///
/// #[derive(serde::Deserialize)]
/// struct Plain;
///
/// /// Takes what has no schema.
/// #[tool]
/// fn plain(x: Plain) {}
/// ```
///
/// An error that cannot be printed:
///
/// ```compile_fail,E0277
/// use ropewalk_tools::tool;
///
/// struct Mute;
///
/// /// Fails without a word.
/// #[tool]
/// fn mute() -> Result<String, Mute> {
///     Err(Mute)
/// }
/// ```
///
/// A tool of which the model is told nothing:
///
/// ```compile_fail
/// use ropewalk_tools::tool;
///
/// #[tool]
/// fn nameless(x: u8) {}
/// ```
#[cfg(doctest)]
struct Refused;
