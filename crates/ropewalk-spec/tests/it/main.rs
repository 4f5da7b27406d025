//! Configurations, names and files against what transformers makes of the same.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod adapter;
mod config;
mod describe;
mod encoder;
mod export;
mod families;
mod files;
mod fixtures;
mod fuzz;
mod memory;
mod names;
mod reference;
mod registry;
mod rope;
