//! Access to whole files: a memory map where the system has one, otherwise a copy.

#![expect(
    unsafe_code,
    reason = "maps and advice about them are unsafe because others may change the file"
)]

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

/// The bytes of one file.
pub(crate) enum Bytes {
    Static(&'static [u8]),
    Shared(Arc<[u8]>),
    Read(Vec<u8>),
    Map(memmap2::Mmap),
}

impl Bytes {
    /// Maps the file; reads it where mapping is not possible.
    pub(crate) fn map(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        // SAFETY: the map is read-only and private to this process, and nothing here keeps an index
        // or length taken from tensor data. Whoever changes the file while it is mapped changes
        // these bytes, and shortening it can end the process with a bus error; `Gguf::open` forbids
        // both and `Gguf::read` is the way around it.
        match unsafe { memmap2::Mmap::map(&file) } {
            Ok(map) => Ok(Self::Map(map)),
            Err(_) => read(file),
        }
    }

    /// Tells the system that a part of a map will not be read soon: its pages need not stay in
    /// memory. Bytes from elsewhere are left alone.
    pub(crate) fn release(&self, part: &[u8]) {
        #[cfg(unix)]
        if let Self::Map(map) = self
            && let Some(at) = (part.as_ptr() as usize).checked_sub(map.as_ptr() as usize)
            && at
                .checked_add(part.len())
                .is_some_and(|end| end <= map.len())
        {
            // SAFETY: the map is read-only and of a file that nobody changes (see `map`), so pages
            // that are dropped hold the same bytes when they are touched again.
            let advised = unsafe {
                map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, at, part.len())
            };
            // Advice that is not taken costs memory, no more.
            drop(advised);
        }
        #[cfg(not(unix))]
        let _ = part;
    }

    /// Reads the file into memory.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        read(open(path)?)
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Static(bytes) => bytes,
            Self::Shared(bytes) => bytes,
            Self::Read(bytes) => bytes,
            Self::Map(map) => map,
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a directory; pass the .gguf file inside it",
        ));
    }
    Ok(file)
}

fn read(mut file: File) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    bytes
        .try_reserve_exact(len)
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    file.read_to_end(&mut bytes)?;
    Ok(Bytes::Read(bytes))
}

/// Makes a rename in `directory` durable. Only Unix can open a directory for this.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()
    } else {
        Ok(())
    }
}
