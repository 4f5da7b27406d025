//! One binary for all integration tests of this crate.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod framing;
#[cfg(feature = "hub")]
mod hub;
mod sockets;
