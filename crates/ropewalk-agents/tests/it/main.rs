//! Integration tests of `ropewalk-agents`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod embedding;
mod history;
mod memory;
mod prompt;
mod router;
mod step;
