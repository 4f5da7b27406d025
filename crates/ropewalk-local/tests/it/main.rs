//! Integration tests of the engine.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

mod bad_input;
mod blocks;
mod caches;
mod chat;
mod families;
mod golden;
mod laws;
mod packed;
mod stories;
mod tiny;
