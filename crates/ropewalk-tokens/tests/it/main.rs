//! Integration tests of `ropewalk-tokens`.

mod anchors;
mod support;
mod template;
mod tool_calls;
mod train;
mod vectors;
