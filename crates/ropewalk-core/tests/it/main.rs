//! Integration tests of `ropewalk-core`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod assembler;
mod conformance;
mod corpus;
mod embed;
mod extract;
mod forwards;
mod redact;
mod schema;
mod stream;
