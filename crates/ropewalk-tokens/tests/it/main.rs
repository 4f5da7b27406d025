//! Integration tests of `ropewalk-tokens`.

mod anchors;
mod loading;
mod miniature;
mod stream;
mod support;
mod template;
mod tool_calls;
mod train;
mod vectors;
