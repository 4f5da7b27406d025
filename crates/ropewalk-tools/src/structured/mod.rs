//! Typed values out of replies: tags, lists, classes, growing values, parsers of text.

pub(crate) mod fence;
pub(crate) mod list;
pub(crate) mod parsers;
pub(crate) mod partial;
#[cfg(feature = "regex")]
pub(crate) mod regex;
pub(crate) mod stream;
pub(crate) mod tag;
pub(crate) mod windows;
