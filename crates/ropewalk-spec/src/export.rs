//! The way back: a model's description as GGUF metadata and as `config.json`.

mod gguf;
mod hf;

use crate::{Error, Result};

/// A value that a format has no place for.
fn inexpressible<T>(file: &str, problem: &str) -> Result<T> {
    Err(Error::Inconsistent {
        file: file.to_owned(),
        problem: problem.to_owned(),
    })
}
