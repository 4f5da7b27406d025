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

/// Tells the system that a part of a map will not be read soon: its pages need not stay in memory.
/// Bytes from elsewhere are left alone.
pub(crate) fn release(map: &Mmap, part: &[u8]) {
    #[cfg(unix)]
    if let Some(at) = (part.as_ptr() as usize).checked_sub(map.as_ptr() as usize)
        && at
            .checked_add(part.len())
            .is_some_and(|end| end <= map.len())
    {
        // SAFETY: the map is read-only and of a file that nobody changes (see `open`), so pages that
        // are dropped hold the same bytes when they are touched again.
        let advised = unsafe {
            map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, at, part.len())
        };
        // Advice that is not taken costs memory, no more.
        drop(advised);
    }
    #[cfg(not(unix))]
    let _ = (map, part);
}
