//! Read-only memory maps of weight files.
#![expect(
    unsafe_code,
    reason = "memory maps are unsafe because others may change the file"
)]

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::{Error, Result};

/// Maps a whole file.
pub(crate) fn open(path: &Path) -> Result<Mmap> {
    let fail = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(fail)?;
    // SAFETY: the map is read-only and only ever seen as bytes, of which every pattern is valid.
    // A file that another process shortens meanwhile ends this one with SIGBUS; weight files are
    // documented as not to be changed while a model is open.
    unsafe { Mmap::map(&file) }.map_err(fail)
}
