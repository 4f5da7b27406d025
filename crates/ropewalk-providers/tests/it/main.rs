//! One binary for all integration tests of this crate.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod abilities;
mod anthropic;
mod gemini;
mod decorate;
mod embeddings;
mod golden;
mod native;
