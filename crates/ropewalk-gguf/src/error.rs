use std::io;
use std::path::Path;

use crate::TensorType;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a GGUF file could not be read, decoded or written.
///
/// Every message is one line that names the file, key or tensor and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation on a file.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: Box<str>,
        /// The system's reason.
        source: io::Error,
    },
    /// The path names something that is not a GGUF file this crate reads: another format, a
    /// directory, an old version or the other byte order.
    #[error("`{path}` {problem}")]
    NotGguf {
        /// The file.
        path: Box<str>,
        /// What it is instead and what to do.
        problem: Box<str>,
    },
    /// The file ends before its contents do.
    #[error(
        "`{path}` is truncated: {what} needs {needed} bytes at offset {offset}, the file has {len}; \
         copy or download it again"
    )]
    Truncated {
        /// The file.
        path: Box<str>,
        /// The item being read.
        what: Box<str>,
        /// Where the item starts, in bytes from the start of the file.
        offset: u64,
        /// How many bytes it needs.
        needed: u64,
        /// Length of the file in bytes.
        len: u64,
    },
    /// A count, type, name or offset in the file contradicts the format.
    #[error("`{path}` is malformed: {problem}")]
    Malformed {
        /// The file.
        path: Box<str>,
        /// What is wrong and where.
        problem: Box<str>,
    },
    /// The files of a split model do not belong together or are incomplete.
    #[error("`{path}` is part of a split model: {problem}")]
    Split {
        /// The file that was asked for.
        path: Box<str>,
        /// What is missing or contradictory.
        problem: Box<str>,
    },
    /// A metadata key holds another type than was asked for.
    #[error("metadata key `{key}` holds {found}, {wanted} is wanted")]
    ValueType {
        /// The key.
        key: Box<str>,
        /// Type (and value, where that is the problem) in the file.
        found: Box<str>,
        /// Type that was asked for.
        wanted: &'static str,
    },
    /// The file has no tensor of this name.
    #[error("`{path}` has no tensor `{name}`; it is not a model of the expected architecture")]
    MissingTensor {
        /// The file.
        path: Box<str>,
        /// The name that was asked for.
        name: Box<str>,
    },
    /// This crate cannot convert the tensor type.
    #[error("cannot {action} {ty}; convert the tensor to one of {supported}")]
    Unsupported {
        /// `dequantise` or `quantise to`.
        action: &'static str,
        /// The type.
        ty: TensorType,
        /// The types that work.
        supported: &'static str,
    },
    /// A buffer does not have the length its type and shape ask for.
    #[error("{what}: {found} given, {expected} expected")]
    Length {
        /// What was measured, with its unit.
        what: Box<str>,
        /// The length it should have.
        expected: u64,
        /// The length it has.
        found: u64,
    },
    /// A value cannot be represented in the target type.
    #[error("value {value} at index {index} does not fit {ty}; {hint}")]
    Range {
        /// The target type.
        ty: TensorType,
        /// Position in the input.
        index: usize,
        /// The value.
        value: f32,
        /// What to do.
        hint: &'static str,
    },
    /// A tensor of a file could not be converted.
    #[error("cannot convert tensor `{name}`")]
    Tensor {
        /// The tensor.
        name: Box<str>,
        /// Why.
        source: Box<Self>,
    },
    /// Importance values are unusable or do not fit the tensor they are for.
    #[error("importance of {name}: {problem}")]
    Importance {
        /// The tensor or file.
        name: Box<str>,
        /// What is wrong and what to do.
        problem: Box<str>,
    },
    /// The writer was asked for something a GGUF file cannot hold, or in the wrong order.
    #[error("cannot write `{name}`: {problem}")]
    Write {
        /// The key or tensor.
        name: Box<str>,
        /// What is wrong.
        problem: Box<str>,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: shown(path),
            source,
        }
    }

    pub(crate) fn not_gguf(path: &str, problem: impl Into<Box<str>>) -> Self {
        Self::NotGguf {
            path: path.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn malformed(path: &str, problem: impl Into<Box<str>>) -> Self {
        Self::Malformed {
            path: path.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn split(path: &Path, problem: impl Into<Box<str>>) -> Self {
        Self::Split {
            path: shown(path),
            problem: problem.into(),
        }
    }

    pub(crate) fn write(name: &str, problem: impl Into<Box<str>>) -> Self {
        Self::Write {
            name: name.escape_debug().to_string().into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn importance(name: &str, problem: impl Into<Box<str>>) -> Self {
        Self::Importance {
            name: name.escape_debug().to_string().into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn length(what: impl Into<Box<str>>, expected: usize, found: usize) -> Self {
        Self::Length {
            what: what.into(),
            expected: expected as u64,
            found: found as u64,
        }
    }
}

pub(crate) fn shown(path: &Path) -> Box<str> {
    path.display().to_string().into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn errors_are_small() {
        assert!(size_of::<super::Error>() <= 128);
    }
}
