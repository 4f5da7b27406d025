//! One binary for all integration tests of this crate.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod attribute;
mod builtin_calculator;
mod builtin_clock;
#[cfg(feature = "sqlite")]
mod builtin_sqlite;
#[cfg(feature = "web")]
mod builtin_web;
#[cfg(feature = "mcp")]
mod mcp;
#[cfg(feature = "openapi")]
mod openapi;
mod partial;
mod runner;
mod set;
mod structured;
mod telemetry;
