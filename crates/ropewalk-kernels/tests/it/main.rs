//! Integration tests: one binary, a module per topic.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod blocks;
mod codec;
mod limits;
mod quantised;
