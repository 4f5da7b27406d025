use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::shown;
use crate::header::{self, Header};
use crate::split::SplitName;
use crate::sys::Bytes;
use crate::{Error, Metadata, Result, Tensor, TensorInfo};

/// An open GGUF file, or all files of a split model.
///
/// Tensor data is not read until it is touched. The value is immutable, `Send + Sync`, and shared
/// between threads as `Arc<Gguf>`.
pub struct Gguf {
    parts: Vec<Bytes>,
    path: Option<PathBuf>,
    version: u32,
    alignment: usize,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    /// Positions in `tensors`, sorted by name.
    by_name: Vec<u32>,
}

impl Gguf {
    /// Opens a file and maps it into memory.
    ///
    /// A name of the form `NAME-00002-of-00003.gguf` opens the whole split model, whichever part
    /// is named. The file must not be changed while it is open: tensors are slices of it, and a
    /// file that is shortened ends the process when they are read. [`Gguf::read`] has no such
    /// condition.
    ///
    /// # Errors
    /// A path that cannot be opened, a file that is not GGUF version 2 or 3, is truncated or
    /// contradicts the format, a missing or foreign part of a split model.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::load(path.as_ref(), Bytes::map)
    }

    /// Opens a file (or all parts of a split model) by reading it into memory.
    ///
    /// # Errors
    /// As [`Gguf::open`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::load(path.as_ref(), Bytes::read)
    }

    /// Reads a file that is already in memory. An `Arc<[u8]>` is shared; a vector or a slice is
    /// copied once, because an `Arc` keeps its count beside the bytes.
    ///
    /// # Errors
    /// As [`Gguf::open`]; one part of a split model is refused, since the others are out of reach.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Result<Self> {
        Self::from_memory(Bytes::Shared(bytes.into()))
    }

    /// Reads a file that is part of the program, such as the result of `include_bytes!`.
    ///
    /// # Errors
    /// As [`Gguf::from_bytes`].
    pub fn from_static(bytes: &'static [u8]) -> Result<Self> {
        Self::from_memory(Bytes::Static(bytes))
    }

    fn from_memory(bytes: Bytes) -> Result<Self> {
        let header = header::read(&bytes, IN_MEMORY)?;
        let parts = split_count(&header.metadata)?;
        if parts > 1 {
            return Err(Error::split(
                Path::new(IN_MEMORY),
                format!("it has {parts} parts; open it by the path of one of them"),
            ));
        }
        Self::assemble(vec![(bytes, header)], None)
    }

    fn load(path: &Path, read: fn(&Path) -> std::io::Result<Bytes>) -> Result<Self> {
        let open = |path: &Path| -> Result<(Bytes, Header)> {
            let bytes = read(path).map_err(|source| Error::io("open", path, source))?;
            let header = header::read(&bytes, &shown(path))?;
            Ok((bytes, header))
        };
        let Some(split) = SplitName::of(path).filter(|split| split.count > 1) else {
            let file = open(path)?;
            let parts = split_count(&file.1.metadata)?;
            if parts > 1 {
                let problem = format!(
                    "it has {parts} parts; name them NAME-00001-of-{parts:05}.gguf and so on"
                );
                return Err(Error::split(path, problem));
            }
            return Self::assemble(vec![file], Some(path));
        };
        // Look for all siblings before reading any, so that the error names what to fetch.
        for index in 0..split.count {
            let sibling = split.part(index);
            if let Err(source) = std::fs::metadata(&sibling) {
                if sibling == path {
                    return Err(Error::io("open", path, source));
                }
                let problem = format!(
                    "`{}` is missing; put all {} parts in one directory",
                    sibling.display(),
                    split.count
                );
                return Err(Error::split(path, problem));
            }
        }
        let mut files = Vec::new();
        for index in 0..split.count {
            let sibling = split.part(index);
            let file = open(&sibling)?;
            check_part(&file.1.metadata, index, split.count, &sibling)?;
            files.push(file);
        }
        let expected = files[0].1.metadata.u64("split.tensors.count")?;
        let found: usize = files.iter().map(|(_, header)| header.tensors.len()).sum();
        if expected.is_some_and(|expected| expected != found as u64) {
            let expected = expected.unwrap_or_default();
            let problem = format!(
                "its parts have {found} tensors, {expected} are announced; \
                 the parts come from different models"
            );
            return Err(Error::split(path, problem));
        }
        Self::assemble(files, Some(path))
    }

    fn assemble(files: Vec<(Bytes, Header)>, path: Option<&Path>) -> Result<Self> {
        let mut parts = Vec::new();
        let mut tensors = Vec::new();
        let mut first = None;
        for (index, (bytes, mut header)) in files.into_iter().enumerate() {
            for mut info in std::mem::take(&mut header.tensors) {
                info.part = index;
                tensors.push(info);
            }
            parts.push(bytes);
            first.get_or_insert(header);
        }
        let mut by_name: Vec<u32> = (0..u32::try_from(tensors.len()).unwrap_or(u32::MAX)).collect();
        let name = |i: u32| tensors[i as usize].name.as_str();
        by_name.sort_unstable_by(|&a, &b| name(a).cmp(name(b)));
        let shown_path = path.map_or_else(|| IN_MEMORY.into(), shown);
        if let Some(pair) = by_name
            .windows(2)
            .find(|pair| name(pair[0]) == name(pair[1]))
        {
            let problem = format!("tensor `{}` occurs twice", name(pair[0]).escape_debug());
            return Err(Error::malformed(&shown_path, problem));
        }
        let Some(Header {
            version,
            alignment,
            metadata,
            ..
        }) = first
        else {
            return Err(Error::malformed(&shown_path, "it has no parts"));
        };
        let path = path.map(Path::to_owned);
        Ok(Self {
            parts,
            path,
            version,
            alignment,
            metadata,
            tensors,
            by_name,
        })
    }

    /// Returns the keys and values, those of the first part for a split model.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the descriptions of all tensors, in the order of the file.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Returns a tensor by name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let at = self
            .by_name
            .binary_search_by(|&i| self.tensors[i as usize].name.as_str().cmp(name))
            .ok()?;
        Some(self.data_of(&self.tensors[self.by_name[at] as usize]))
    }

    /// Tells the system that `data`, of a tensor or a part of one, will not be read soon, so that
    /// its pages need not stay in memory; read again, they come from the file. Does nothing where
    /// the file is not mapped, and for bytes from elsewhere.
    pub fn release(&self, data: &[u8]) {
        self.parts.iter().for_each(|part| part.release(data));
    }

    /// Returns a tensor by name.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], which names file and tensor.
    pub fn require(&self, name: &str) -> Result<Tensor<'_>> {
        self.tensor(name).ok_or_else(|| Error::MissingTensor {
            path: self.shown_path(),
            name: name.into(),
        })
    }

    /// Iterates over the tensors in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> + '_ {
        self.tensors.iter().map(|info| self.data_of(info))
    }

    fn data_of<'a>(&'a self, info: &'a TensorInfo) -> Tensor<'a> {
        // `header::read` has checked the range against the length of this part.
        let data = &self.parts[info.part][info.offset..info.offset + info.n_bytes()];
        Tensor { info, data }
    }

    /// Returns the format version, 2 or 3.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Returns the alignment of tensor data in the file, in bytes.
    #[must_use]
    pub fn alignment(&self) -> usize {
        self.alignment
    }

    /// Returns the number of files: 1, or the number of parts of a split model.
    #[must_use]
    pub fn n_parts(&self) -> usize {
        self.parts.len()
    }

    /// Returns the total size of all files in bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.len() as u64).sum()
    }

    /// Returns the path that was opened, or `None` for bytes in memory.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(crate) fn shown_path(&self) -> Box<str> {
        self.path.as_deref().map_or_else(|| IN_MEMORY.into(), shown)
    }
}

impl fmt::Debug for Gguf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gguf")
            .field("path", &self.shown_path())
            .field("version", &self.version)
            .field("metadata", &self.metadata.len())
            .field("tensors", &self.tensors.len())
            .field("bytes", &self.file_bytes())
            .finish()
    }
}

const IN_MEMORY: &str = "<memory>";

fn split_count(metadata: &Metadata) -> Result<usize> {
    Ok(metadata.usize("split.count")?.unwrap_or(1))
}

/// Compares what a part says of itself with its name.
fn check_part(metadata: &Metadata, index: usize, count: usize, path: &Path) -> Result<()> {
    let says_count = metadata.usize("split.count")?.unwrap_or(count);
    let says_index = metadata.usize("split.no")?.unwrap_or(index);
    if says_count != count || says_index != index {
        let problem = format!(
            "its name says part {} of {count}, its metadata part {} of {says_count}; \
             restore its name",
            index + 1,
            says_index.saturating_add(1)
        );
        return Err(Error::split(path, problem));
    }
    Ok(())
}
