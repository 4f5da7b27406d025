//! The `#[tool]` attribute; use it through `ropewalk-tools`.
