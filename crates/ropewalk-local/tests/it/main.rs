//! Integration tests of the engine.

mod bad_input;
mod blocks;
mod caches;
mod chat;
mod families;
mod golden;
mod laws;
mod packed;
mod stories;
