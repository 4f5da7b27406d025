//! Batches: many requests handed over at once, answered within a day at a lower price.
//!
//! | for | see |
//! | --- | --- |
//! | a run of any number of rows that survives the end of the process | [`BatchRun`], [`BatchRow`], [`BatchReply`] |
//! | the batches of OpenAI themselves | [`Batches`], [`BatchObject`] |
//! | another provider's batches in the same run | [`BatchService`] |
//! | what is kept between two processes | [`BatchState`], [`BatchPart`] |
//!
//! ```no_run
//! use ropewalk_core::{ChatRequest, NoProgress};
//! use ropewalk_providers::OpenAi;
//! use ropewalk_providers::batch::{BatchOptions, BatchRow, BatchRun};
//! use ropewalk_providers::resources::Wait;
//!
//! # async fn prices(items: Vec<String>) -> ropewalk_core::Result<()> {
//! let openai = OpenAi::from_env()?;
//! let model = openai.chat("gpt-4.1-nano");
//! let mut rows = Vec::new();
//! for (i, item) in items.iter().enumerate() {
//!     let request = ChatRequest::new().user(format!("What does this cost? {item}"));
//!     rows.push(BatchRow::chat(format!("item-{i}"), &model, &request)?);
//! }
//! // Run again after a crash, this goes on where it was.
//! let options = BatchOptions::new().with_max_rows(1000);
//! let mut run = BatchRun::open(openai.batches(), "prices", rows, &options).await?;
//! run.wait(&Wait::default(), &NoProgress).await?;
//! for reply in run.replies().await? {
//!     let text = reply.chat(&model)?.text();
//! }
//! # Ok(()) }
//! ```

mod openai;
mod options;
mod row;
mod run;
mod service;
mod state;

pub use openai::{BatchObject, Batches};
pub use options::{BatchOptions, BatchSummary};
pub use row::{BatchReply, BatchRow};
pub use run::BatchRun;
pub use service::{BatchLimits, BatchPhase, BatchService, BatchStatus, NewBatch, RowReply};
pub use state::{BatchPart, BatchState, PartPhase};
