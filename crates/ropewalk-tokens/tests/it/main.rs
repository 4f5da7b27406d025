//! Integration tests of `ropewalk-tokens`.

mod train;
