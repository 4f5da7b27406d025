//! Strands of LLM engineering in Rust, made to be twisted together.
//!
//! This crate re-exports the family under one name. Each module is a crate of its own and can be
//! used alone; the features decide which are there.
//!
//! | feature | module | what it is for |
//! | --- | --- | --- |
//! | *(always)* | [`core`] | messages, requests, streams, errors, the model and tool traits |
//! | `tokens` (default) | `tokens` | tokenizers, chat templates, tool-call parsing |
//! | `providers` | `providers`, `http` | APIs: OpenAI, Anthropic, Gemini, Ollama and compatible servers |
//! | `tools` | `tools` | tool sets, `#[tool]`, typed replies |
//! | `agents` | `agents` | prompts, typed steps, memory, the agent loop |
//! | `redb` | `agents` | conversations in an embedded database |
//! | `gguf` | `gguf` | GGUF files, read and written |
//! | `kernels` | `kernels` | CPU kernels and the thread pool |
//! | `local` | `local`, `spec` | language models in this process |
//! | `constrained` | in `local` | replies held to JSON schemas, expressions and grammars |
//! | `candle`, `cuda`, `metal` | in `local` | layers on devices by candle: its own CPU device, NVIDIA and Apple GPUs |
//! | `train` | `train` | training from scratch (pulls in candle) |
//! | `bedrock`, `vertex`, `tiktoken` | in `providers` | Amazon Bedrock, Vertex AI, tokens of OpenAI's models |
//! | `web`, `sqlite`, `openapi`, `mcp`, `regex` | in `tools` | built-in tools, tools from documents and servers |
//! | `rustls` (default), `native-tls` | in `http` | TLS |
//! | `testing` | in `core`, `http` | models, tools and servers that answer from a script; conformance suites |
//! | `full` | all | every portable feature: all of these but `native-tls`, `cuda` and `metal` |
//!
//! Code is written against [`core::ChatModel`], so it does not change when the model does:
//!
//! ```
//! use ropewalk::core::{ChatModel, ChatModelExt, Result};
//!
//! async fn headline(model: &dyn ChatModel, text: &str) -> Result<String> {
//!     model.ask(format!("A headline of six words for:\n{text}")).await
//! }
//! ```
#![cfg_attr(
    feature = "tools",
    doc = r#"
A function becomes a tool by an attribute, and nothing but this crate is needed for that:

```
use ropewalk::core::{Tool, ToolContext};
use ropewalk::tools::{ToolSet, tool};

/// Price of a return ticket in dollars.
#[tool(effect = read)]
fn ticket_price(
    /// Where to.
    city: String,
    #[tool(default = 1)] travellers: u32,
    _context: &ToolContext,
) -> Result<u32, String> {
    match city.as_str() {
        "Oslo" => Ok(499 * travellers),
        _ => Err(format!("we do not fly to {city}")),
    }
}

let tools = ToolSet::new().with(ticket_price)?;
let schema = tools.specs()[0].parameters.as_value().clone();
assert_eq!(schema["properties"]["city"]["description"], "Where to.");
assert_eq!(ticket_price::run("Oslo".into(), 2, &ToolContext::default()), Ok(998));
# Ok::<(), ropewalk::tools::ToolSetError>(())
```
"#
)]

#[cfg(feature = "agents")]
pub use ropewalk_agents as agents;
pub use ropewalk_core as core;
#[cfg(feature = "gguf")]
pub use ropewalk_gguf as gguf;
#[cfg(feature = "http")]
pub use ropewalk_http as http;
#[cfg(feature = "kernels")]
pub use ropewalk_kernels as kernels;
#[cfg(feature = "local")]
pub use ropewalk_local as local;
#[cfg(feature = "providers")]
pub use ropewalk_providers as providers;
#[cfg(feature = "local")]
pub use ropewalk_spec as spec;
#[cfg(feature = "tokens")]
pub use ropewalk_tokens as tokens;
#[cfg(feature = "tools")]
pub use ropewalk_tools as tools;
#[cfg(feature = "train")]
pub use ropewalk_train as train;

/// The Rust blocks of the repository's documents, compiled as doc-tests.
#[cfg(all(doctest, feature = "full"))]
mod documents {
    #[doc = include_str!("../../../README.md")]
    struct Readme;

    #[doc = include_str!("../README.md")]
    struct CrateReadme;

    #[doc = include_str!("../../../docs/guide/01-local-model.md")]
    struct LocalModelGuide;

    #[doc = include_str!("../../../docs/guide/02-apis.md")]
    struct ApiGuide;

    #[doc = include_str!("../../../docs/guide/03-tools-and-agents.md")]
    struct ToolGuide;

    #[doc = include_str!("../../../docs/guide/04-model-families.md")]
    struct FamilyGuide;

    #[doc = include_str!("../../../docs/guide/05-more-from-a-model.md")]
    struct MoreGuide;

    #[doc = include_str!("../../../docs/reference/gpu.md")]
    struct GpuReference;
}
