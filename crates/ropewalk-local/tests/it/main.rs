//! Integration tests of the engine.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

mod adapters;
mod bad_input;
mod beams;
mod blocks;
mod bnb;
mod caches;
mod chat;
#[cfg(feature = "constrained")]
mod constrain;
mod convert;
#[cfg(feature = "candle")]
mod device;
mod encoder;
mod encoder_folders;
mod encoder_real;
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
mod samplers;
mod schedule;
mod stories;
mod tiny;
mod view;
