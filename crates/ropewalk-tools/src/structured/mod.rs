//! Typed values out of replies: tags, lists, classes, growing values, parsers of text.

pub(crate) mod fence;
pub(crate) mod partial;
pub(crate) mod windows;
