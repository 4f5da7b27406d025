//! Integration tests of `ropewalk-tokens`.

mod support;
mod tool_calls;
mod train;
mod vectors;
