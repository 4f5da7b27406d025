//! Integration tests of `ropewalk-tokens`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "the helpers of tests fail and report as tests do"
)]

mod anchors;
mod export;
mod loading;
mod miniature;
mod pair;
mod stream;
mod support;
mod template;
mod tool_calls;
mod tool_formats;
mod train;
mod vectors;
