//! The crate's error.

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
}
