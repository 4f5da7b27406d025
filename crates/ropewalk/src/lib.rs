//! Strands of LLM engineering in Rust: one crate that re-exports the ropewalk family under features
