//! Integration tests of the engine.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

mod bad_input;
mod blocks;
mod bnb;
mod caches;
mod chat;
mod convert;
mod eval;
mod families;
mod golden;
mod laws;
mod llama;
mod llama_cpp;
mod memory;
mod packed;
mod paged;
mod profile;
mod quantize;
mod stories;
mod tiny;
