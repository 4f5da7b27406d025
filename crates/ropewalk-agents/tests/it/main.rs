//! Integration tests of `ropewalk-agents`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod agent;
mod approval;
mod attack;
mod desk;
mod embedding;
mod history;
mod hooks;
mod limits;
mod memory;
mod prompt;
mod react;
mod resume;
mod router;
mod safety;
mod step;
mod team;
mod telemetry;
