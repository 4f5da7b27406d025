//! The HTTP client of the ropewalk crates.
