//! Integration tests of `ropewalk-tokens`.

mod support;
mod train;
mod vectors;
