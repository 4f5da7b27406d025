//! One binary for all integration tests of this crate.
mod anthropic;
mod native;
mod decorate;
mod abilities;
mod embeddings;
mod golden;
