use std::collections::HashSet;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use crate::atomic::AtomicFile;
use crate::encode::{put_text, put_value};
use crate::error::shown;
use crate::header::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, MAX_DIMS};
use crate::{Error, Metadata, Result, TensorInfo, TensorType, Value, quantize};

/// ggml stores names in 64 bytes with a terminating zero (`GGML_MAX_NAME`).
const MAX_NAME: usize = 63;
/// The specification's limit on the length of a key.
const MAX_KEY: usize = 65535;

/// Lays out a GGUF version 3 file: metadata and the list of tensors.
///
/// The tensors' data follows one by one through [`TensorWriter`], so that one tensor at a time needs
/// to be in memory.
///
/// ```
/// use ropewalk_gguf::{Gguf, TensorInfo, TensorType, Writer};
///
/// let mut writer = Writer::new();
/// writer.set("general.architecture", "llama").set("llama.block_count", 2_u32);
/// writer.tensor(TensorInfo::from_shape("output.weight", &[2, 32], TensorType::Q8_0)?)?;
///
/// let mut out = writer.begin(Vec::new())?;
/// out.tensor_f32("output.weight", &[127.0; 64])?;
/// let file = Gguf::from_bytes(out.finish()?)?;
/// assert_eq!(file.metadata().u32("llama.block_count")?, Some(2));
/// assert_eq!(file.require("output.weight")?.to_f32()?, [127.0; 64]);
/// # Ok::<(), ropewalk_gguf::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Writer {
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    names: HashSet<String>,
    alignment: Option<u32>,
}

impl Writer {
    /// Starts an empty file with the default alignment of 32 bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the alignment of tensor data in bytes, a power of two, and `general.alignment` with it.
    ///
    /// # Errors
    /// An alignment that is not a power of two.
    pub fn with_alignment(mut self, alignment: u32) -> Result<Self> {
        if !alignment.is_power_of_two() {
            let problem = format!("alignment {alignment} is not a power of two");
            return Err(Error::write(ALIGNMENT_KEY, problem));
        }
        self.alignment = Some(alignment);
        Ok(self)
    }

    /// Sets a metadata key, replacing a value it had.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) -> &mut Self {
        self.metadata.insert(key, value);
        self
    }

    /// Returns the metadata written so far.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the metadata for change, such as copying another file's.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// Returns the tensors announced so far.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Announces a tensor. Data follows in the order of announcement.
    ///
    /// # Errors
    /// A name that occurs already, is empty or longer than 63 bytes; more than four dimensions.
    pub fn tensor(&mut self, mut info: TensorInfo) -> Result<&mut Self> {
        if info.name.is_empty() || info.name.len() > MAX_NAME {
            let problem = format!("tensor names have 1 to {MAX_NAME} bytes");
            return Err(Error::write(&info.name, problem));
        }
        if info.dims.len() > MAX_DIMS {
            let problem = format!(
                "{} dimensions, the format allows {MAX_DIMS}",
                info.dims.len()
            );
            return Err(Error::write(&info.name, problem));
        }
        if !self.names.insert(info.name.clone()) {
            return Err(Error::write(
                &info.name,
                "a tensor of this name exists already",
            ));
        }
        info.part = 0;
        self.tensors.push(info);
        Ok(self)
    }

    /// Writes the header to `out` and returns the writer of the tensors' data.
    ///
    /// # Errors
    /// A metadata key or alignment that the format does not allow, a failure of `out`.
    pub fn begin<W: Write>(&self, out: W) -> Result<TensorWriter<W>> {
        self.begin_at(out, "<output>".into(), W::flush)
    }

    /// Creates a file. It appears under `path` only when [`TensorWriter::finish`] succeeds: the data
    /// goes to a temporary file in the same directory, which is removed on any error.
    ///
    /// # Errors
    /// As [`Writer::begin`], and a directory that does not exist or cannot be written.
    pub fn create(&self, path: impl AsRef<Path>) -> Result<TensorWriter<AtomicFile>> {
        let path = path.as_ref();
        let file = AtomicFile::create(path).map_err(|e| Error::io("create", path, e))?;
        self.begin_at(file, shown(path), AtomicFile::commit)
    }

    fn begin_at<W: Write>(
        &self,
        mut out: W,
        target: Box<str>,
        end: fn(&mut W) -> io::Result<()>,
    ) -> Result<TensorWriter<W>> {
        let (header, alignment) = self.header()?;
        let mut layout = Vec::with_capacity(self.tensors.len());
        let mut total = header.len() as u64;
        for info in &self.tensors {
            layout.push((info.name.clone(), info.ty, info.n_bytes()));
            total += info.n_bytes().next_multiple_of(alignment) as u64;
        }
        write_all(&mut out, &header, &target)?;
        Ok(TensorWriter {
            out,
            target,
            end,
            layout: layout.into_iter(),
            alignment,
            written: header.len() as u64,
            total,
            progress: None,
        })
    }

    /// Returns everything before the tensor data, padded, and the alignment.
    fn header(&self) -> Result<(Vec<u8>, usize)> {
        let mut metadata = self.metadata.clone();
        if let Some(alignment) = self.alignment {
            metadata.insert(ALIGNMENT_KEY, alignment);
        }
        let alignment = match metadata.get(ALIGNMENT_KEY) {
            None => DEFAULT_ALIGNMENT,
            Some(&Value::U32(n)) if n.is_power_of_two() => n as usize,
            Some(_) => return Err(Error::write(ALIGNMENT_KEY, "must be a u32 power of two")),
        };
        let mut header = Vec::new();
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&3_u32.to_le_bytes());
        header.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        header.extend_from_slice(&(metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata.iter() {
            if key.is_empty() || key.len() > MAX_KEY {
                return Err(Error::write(key, format!("keys have 1 to {MAX_KEY} bytes")));
            }
            put_text(&mut header, key.as_bytes());
            put_value(&mut header, value);
        }
        let mut offset = 0_u64;
        for info in &self.tensors {
            put_text(&mut header, info.name.as_bytes());
            header.extend_from_slice(&(info.dims.len() as u32).to_le_bytes());
            for &dim in &info.dims {
                header.extend_from_slice(&(dim as u64).to_le_bytes());
            }
            header.extend_from_slice(&info.ty.to_u32().to_le_bytes());
            header.extend_from_slice(&offset.to_le_bytes());
            offset += info.n_bytes().next_multiple_of(alignment) as u64;
        }
        header.resize(header.len().next_multiple_of(alignment), 0);
        Ok((header, alignment))
    }
}

/// Takes the data of the announced tensors, one after another.
#[must_use = "the file is complete only after `finish`"]
pub struct TensorWriter<W> {
    out: W,
    target: Box<str>,
    /// Flushes the output and makes it permanent.
    end: fn(&mut W) -> io::Result<()>,
    /// Name, type and size of the tensors that are still due.
    layout: std::vec::IntoIter<(String, TensorType, usize)>,
    alignment: usize,
    written: u64,
    total: u64,
    progress: Option<Box<dyn FnMut(u64, u64) + Send>>,
}

impl<W: Write> TensorWriter<W> {
    /// Calls `progress` with the bytes written and the bytes in total after each tensor.
    pub fn with_progress(mut self, progress: impl FnMut(u64, u64) + Send + 'static) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Returns the name of the tensor whose data is due, or `None` when all is written.
    #[must_use]
    pub fn next_tensor(&self) -> Option<&str> {
        self.layout
            .as_slice()
            .first()
            .map(|(name, ..)| name.as_str())
    }

    /// Writes the data of the next tensor as stored. `name` must be the one that is due.
    ///
    /// # Errors
    /// Another name, a length that does not fit shape and type, a failure of the output.
    pub fn tensor_data(&mut self, name: &str, data: &[u8]) -> Result<()> {
        let Some((due, ty, n_bytes)) = self.layout.as_slice().first() else {
            return Err(Error::write(name, "all announced tensors are written"));
        };
        if due != name {
            return Err(Error::write(
                name,
                format!("tensor `{due}` is due; keep the order"),
            ));
        }
        if data.len() != *n_bytes {
            let what = format!("bytes of {ty} tensor `{name}`");
            return Err(Error::length(what, *n_bytes, data.len()));
        }
        self.layout.next();
        let padding = data.len().next_multiple_of(self.alignment) - data.len();
        write_all(&mut self.out, data, &self.target)?;
        write_zeros(&mut self.out, padding, &self.target)?;
        self.written += (data.len() + padding) as u64;
        if let Some(progress) = &mut self.progress {
            progress(self.written, self.total);
        }
        Ok(())
    }

    /// Codes `values` in the type announced for the next tensor and writes them.
    ///
    /// # Errors
    /// As [`TensorWriter::tensor_data`] and [`quantize`].
    pub fn tensor_f32(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let Some((_, ty, _)) = self.layout.as_slice().first() else {
            return Err(Error::write(name, "all announced tensors are written"));
        };
        self.tensor_data(name, &quantize(*ty, values)?)
    }

    /// Ends the file and returns the output. A file made by [`Writer::create`] is flushed to disk
    /// and appears under its name.
    ///
    /// # Errors
    /// Data of a tensor that is missing, a failure of the output.
    pub fn finish(mut self) -> Result<W> {
        if let Some((due, ..)) = self.layout.as_slice().first() {
            return Err(Error::write(due, "its data is missing"));
        }
        (self.end)(&mut self.out)
            .map_err(|source| Error::io("write", Path::new(&*self.target), source))?;
        Ok(self.out)
    }
}

impl<W> fmt::Debug for TensorWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorWriter")
            .field("target", &self.target)
            .field("tensors_due", &self.layout.len())
            .field("written", &self.written)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

fn write_all(out: &mut impl Write, bytes: &[u8], target: &str) -> Result<()> {
    out.write_all(bytes)
        .map_err(|source| Error::io("write", Path::new(target), source))
}

fn write_zeros(out: &mut impl Write, mut n: usize, target: &str) -> Result<()> {
    while n > 0 {
        let step = n.min(64);
        write_all(out, &[0; 64][..step], target)?;
        n -= step;
    }
    Ok(())
}
