//! What tests of models, tools and agents need: a scripted model, conformance suites, and the way
//! to real data.
//!
//! Nothing here needs a runtime: suites are async functions that return a [`Report`], to be driven
//! by any executor.
//!
//! ```
//! use ropewalk_core::ChatModelExt;
//! use ropewalk_core::testing::{ChatSuite, ScriptedModel, chat};
//! use serde_json::json;
//!
//! # futures_executor::block_on(async {
//! let model = ScriptedModel::new().tool_call("price", json!({"city": "Oslo"})).reply("$499");
//! let first = model.ask("What is a ticket to Oslo?").await?;
//! assert_eq!(first, "");
//! assert_eq!(model.ask("And now?").await?, "$499");
//! assert_eq!(model.requests().len(), 2);
//!
//! chat(&ScriptedModel::echo(), &ChatSuite::new()).await.into_result().unwrap();
//! # Ok::<(), ropewalk_core::Error>(()) }).unwrap();
//! ```

mod chat_suite;
mod data;
mod embedding_suite;
mod report;
mod rerank_suite;
mod scripted;
mod tool_suite;

pub use chat_suite::{ChatSuite, chat};
pub use data::{SKIP_LOG, data_dir, secret};
pub use embedding_suite::embeddings;
pub use report::{Check, Nonconforming, Outcome, Report};
pub use rerank_suite::reranking;
pub use scripted::ScriptedModel;
pub use tool_suite::{ToolSuite, tool};
