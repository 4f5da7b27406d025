//! Integration tests: one binary, a module per topic.

mod blocks;
mod codec;
mod limits;
mod quantised;
