//! One binary for all integration tests of this crate.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod abilities;
mod anthropic;
mod batch_server;
mod batches;
#[cfg(feature = "bedrock")]
mod bedrock;
mod connect;
mod decorate;
mod embeddings;
mod files;
mod fine_tuning;
mod garbage;
mod gemini;
mod golden;
mod models;
mod native;
mod ollama;
mod openai;
mod openai_chat;
mod openai_responses;
mod presets;
mod reuse;
mod secrets;
mod tgi;
#[cfg(feature = "vertex")]
mod vertex;
mod wires;
