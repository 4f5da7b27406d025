//! The crate's error.

use crate::Isa;

/// Why a kernel refused its operands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A slice does not hold what the shape asks for.
    #[error("{what} has {found} elements, its shape needs {needed}")]
    Length {
        /// The operand.
        what: &'static str,
        /// Elements the shape needs.
        needed: usize,
        /// Elements there are.
        found: usize,
    },
    /// A row length is not a multiple of the format's block.
    #[error(
        "{cols} columns are not a multiple of the {block} values of a {format} block; use an unquantised format for this matrix"
    )]
    Block {
        /// The weight format.
        format: &'static str,
        /// Values of one block.
        block: usize,
        /// Columns of the matrix.
        cols: usize,
    },
    /// A shape whose size in bytes does not fit the address space.
    #[error("{rows} x {cols} {format} values are more than memory can address; check the shape")]
    TooLarge {
        /// The weight format.
        format: &'static str,
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
    },
    /// Memory for a packed matrix could not be had.
    #[error("cannot allocate {bytes} bytes for packed weights; use a smaller model or format")]
    OutOfMemory {
        /// The size asked for.
        bytes: usize,
    },
    /// A tier that this machine lacks.
    #[error("this machine has no {isa}; use `Isa::best()`")]
    IsaUnavailable {
        /// The tier.
        isa: Isa,
    },
    /// Activations that were not prepared for a matrix.
    #[error("activations were not prepared for {what}; pass the matrix to `Acts::prepare`")]
    NotPrepared {
        /// What is missing: a form or a tier.
        what: &'static str,
    },
    /// A block size that no codec has.
    #[error("a block of {found} values; use a power of two from 32 to 4096")]
    BlockSize {
        /// What was asked for.
        found: usize,
    },
    /// A value that cannot be quantised.
    #[error("{what}: value {index} is not a finite number; check the tensor")]
    NotFinite {
        /// The operand.
        what: &'static str,
        /// Its index.
        index: usize,
    },
}
