//! The metadata of a vocabulary, as a GGUF file stores it.

/// Typed look-ups in a file's metadata, for [`Tokenizer::from_metadata`](crate::Tokenizer::from_metadata).
///
/// Implemented by the reader of the file, so that this crate knows no file format. Every method returns
/// `None` when the key is missing or holds another type. Integer look-ups may convert between widths.
pub trait VocabMetadata {
    /// Returns a string.
    fn str(&self, key: &str) -> Option<&str>;
    /// Returns an unsigned number.
    fn u32(&self, key: &str) -> Option<u32>;
    /// Returns a flag.
    fn bool(&self, key: &str) -> Option<bool>;
    /// Returns a list of byte strings, which need not be UTF-8.
    fn strings(&self, key: &str) -> Option<Vec<&[u8]>>;
    /// Returns a list of floating-point numbers.
    fn f32s(&self, key: &str) -> Option<Vec<f32>>;
    /// Returns a list of signed numbers.
    fn i32s(&self, key: &str) -> Option<Vec<i32>>;
}
