//! Importance matrices: how strongly each column of a weight matrix is used.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cursor::Cursor;
use crate::error::shown;
use crate::{Error, Gguf, Result, StringArray, TensorInfo, TensorType, Writer};

const DATASETS: &str = "imatrix.datasets";
const CHUNK_COUNT: &str = "imatrix.chunk_count";
const CHUNK_SIZE: &str = "imatrix.chunk_size";
const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";
/// Smallest entry of the old format: three lengths and one byte of the name.
const MIN_ENTRY: usize = 13;

/// What was observed of the activations that one weight matrix (or stack of expert matrices) meets.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Importance {
    /// Sums of squared activations: one per column, for every expert in turn.
    pub sums: Vec<f32>,
    /// Number of activations in the sums: one per expert, one for a plain matrix.
    pub counts: Vec<f32>,
}

impl Importance {
    /// Joins sums (columns of all experts) and counts (one per expert).
    #[must_use]
    pub fn new(sums: Vec<f32>, counts: Vec<f32>) -> Self {
        Self { sums, counts }
    }

    /// Returns the mean squares, one per column and expert: the weights that
    /// [`quantize_with`](crate::quantize_with) takes, expert after expert. Experts that were never
    /// used get 1 throughout.
    #[must_use]
    pub fn weights(&self) -> Vec<f32> {
        let columns = self.sums.len() / self.counts.len().max(1);
        self.sums
            .iter()
            .enumerate()
            .map(|(i, sum)| match self.counts.get(i / columns.max(1)) {
                Some(&count) if count > 0.0 => sum / count,
                _ => 1.0,
            })
            .collect()
    }

    fn check(&self, name: &str) -> Result<()> {
        let usable = |x: &f32| (0.0..f32::INFINITY).contains(x);
        let problem = if self.sums.is_empty() || self.counts.is_empty() {
            "there are no values".to_owned()
        } else if !self.sums.len().is_multiple_of(self.counts.len()) {
            let (sums, counts) = (self.sums.len(), self.counts.len());
            format!("{sums} sums are not whole columns of {counts} matrices")
        } else if let Some(bad) = self.sums.iter().chain(&self.counts).find(|x| !usable(x)) {
            format!("{bad} among its values; collect the importance matrix again")
        } else {
            return Ok(());
        };
        Err(Error::importance(&format!("`{name}`"), problem))
    }
}

/// Importance of the columns of a model's weight matrices, measured by running text through it.
///
/// Quantising with it spends precision where activations are large. Both file formats of
/// `llama-imatrix` are read; the GGUF one is written.
///
/// ```
/// use ropewalk_gguf::{Importance, ImportanceMatrix};
///
/// let mut matrix = ImportanceMatrix::new().with_chunks(10, 512).with_dataset("wiki.txt");
/// let used = Importance::new(vec![8.0, 2.0], vec![4.0]);
/// matrix.entries.insert("blk.0.ffn_up.weight".into(), used);
/// let read = ImportanceMatrix::from_bytes(matrix.to_bytes()?)?;
/// assert_eq!(read, matrix);
/// assert_eq!(read.entries["blk.0.ffn_up.weight"].weights(), [2.0, 0.5]);
/// # Ok::<(), ropewalk_gguf::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ImportanceMatrix {
    /// What was observed, by name of the weight tensor.
    pub entries: BTreeMap<String, Importance>,
    /// Names of the texts that were run.
    pub datasets: Vec<String>,
    /// Number of chunks of text.
    pub chunks: u32,
    /// Length of a chunk in tokens; 0 where the file does not say (the old format).
    pub chunk_size: u32,
}

impl ImportanceMatrix {
    /// Starts without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says how much text was run: `chunks` of `chunk_size` tokens.
    #[must_use]
    pub fn with_chunks(mut self, chunks: u32, chunk_size: u32) -> Self {
        (self.chunks, self.chunk_size) = (chunks, chunk_size);
        self
    }

    /// Adds the name of a text that was run.
    #[must_use]
    pub fn with_dataset(mut self, name: impl Into<String>) -> Self {
        self.datasets.push(name.into());
        self
    }

    /// Reads a file of either format of `llama-imatrix`: GGUF, or the older `.dat`.
    ///
    /// # Errors
    /// A file that cannot be read or is neither, one that is truncated, values that are negative or
    /// not finite.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| Error::io("open", path, source))?;
        if bytes.starts_with(&crate::header::MAGIC) {
            // By its path, which errors then name.
            return Self::from_gguf(&Gguf::read(path)?, &shown(path))?.checked();
        }
        Self::parse(bytes, &shown(path))
    }

    /// Reads a file of either format that is already in memory.
    ///
    /// # Errors
    /// As [`ImportanceMatrix::open`].
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        Self::parse(bytes.into(), "<memory>")
    }

    fn parse(bytes: Vec<u8>, path: &str) -> Result<Self> {
        let matrix = if bytes.starts_with(&crate::header::MAGIC) {
            Self::from_gguf(&Gguf::from_bytes(bytes)?, path)?
        } else {
            Self::from_dat(&mut Cursor::new(&bytes, path))?
        };
        matrix.checked()
    }

    fn checked(self) -> Result<Self> {
        for (name, entry) in &self.entries {
            entry.check(name)?;
        }
        Ok(self)
    }

    fn from_gguf(file: &Gguf, path: &str) -> Result<Self> {
        let metadata = file.metadata();
        let missing = |what: &str| {
            let problem = format!("is no importance matrix: it has no {what}; make one");
            Error::not_gguf(path, problem + " with llama-imatrix or ropewalk-local")
        };
        let mut matrix = Self::new().with_chunks(
            metadata
                .u32(CHUNK_COUNT)?
                .ok_or_else(|| missing(CHUNK_COUNT))?,
            metadata
                .u32(CHUNK_SIZE)?
                .ok_or_else(|| missing(CHUNK_SIZE))?,
        );
        let datasets = metadata.strings(DATASETS)?;
        for name in datasets.ok_or_else(|| missing(DATASETS))? {
            matrix
                .datasets
                .push(String::from_utf8_lossy(name).into_owned());
        }
        for tensor in file.iter() {
            let Some(name) = tensor.info.name.strip_suffix(SUMS) else {
                continue;
            };
            let counts = file
                .tensor(&format!("{name}{COUNTS}"))
                .ok_or_else(|| Error::importance(&format!("`{name}`"), "it has no counts"))?;
            let entry = Importance::new(tensor.to_f32()?, counts.to_f32()?);
            matrix.entries.insert(name.to_owned(), entry);
        }
        if matrix.entries.is_empty() {
            return Err(missing("sums"));
        }
        Ok(matrix)
    }

    /// Reads the old format: the number of entries; for each its name, the number of calls, and mean
    /// squares times that number; then the number of chunks and the name of the text.
    fn from_dat(file: &mut Cursor<'_>) -> Result<Self> {
        let wrong = |file: &Cursor<'_>, problem: String| Error::malformed(file.path(), problem);
        let mut matrix = Self::new();
        let count = u64::from(file.u32(&|| "the number of entries".into())?);
        let count = file.check_count(count, MIN_ENTRY, &|| {
            "entries of an importance matrix".into()
        })?;
        for index in 0..count {
            let what = || format!("entry {index} of an importance matrix");
            let len = file.u32(&what)? as usize;
            let name = file.take(len, &what)?;
            let Ok(name) = std::str::from_utf8(name) else {
                return Err(wrong(file, format!("the name of {} is not UTF-8", what())));
            };
            let calls = file.u32(&what)? as i32;
            let values = u64::from(file.u32(&what)?);
            let values = file.check_count(values, size_of::<f32>(), &what)?;
            let (chunks, _) = file.take(4 * values, &what)?.as_chunks();
            let sums = chunks.iter().map(|x| f32::from_le_bytes(*x)).collect();
            let entry = Importance::new(sums, vec![calls.max(1) as f32]);
            if matrix.entries.insert(name.to_owned(), entry).is_some() {
                let problem = format!("`{}` occurs twice", name.escape_debug());
                return Err(wrong(file, problem));
            }
        }
        if matrix.entries.is_empty() {
            return Err(wrong(file, "it has no entries".into()));
        }
        // Early versions end here.
        if file.remaining() > 0 {
            matrix.chunks = file.u32(&|| "the number of chunks".into())?;
            let len = file.u32(&|| "the name of the text".into())? as usize;
            let name = file.take(len, &|| "the name of the text".into())?;
            matrix
                .datasets
                .push(String::from_utf8_lossy(name).into_owned());
        }
        Ok(matrix)
    }

    /// Writes the GGUF format of `llama-imatrix`. The file appears only when it is whole.
    ///
    /// # Errors
    /// Entries that [`ImportanceMatrix::open`] would refuse, names too long for a tensor, a
    /// directory that cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        self.fill(self.writer()?.create(path)?).map(drop)
    }

    /// Returns the file that [`ImportanceMatrix::write`] writes.
    ///
    /// # Errors
    /// As [`ImportanceMatrix::write`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.fill(self.writer()?.begin(Vec::new())?)
    }

    fn writer(&self) -> Result<Writer> {
        let mut writer = Writer::new();
        let datasets: StringArray = self.datasets.iter().collect();
        writer
            .set("general.type", "imatrix")
            .set(DATASETS, datasets)
            .set(CHUNK_COUNT, self.chunks)
            .set(CHUNK_SIZE, self.chunk_size);
        for (name, entry) in &self.entries {
            entry.check(name)?;
            let matrices = entry.counts.len();
            let shape = [matrices, entry.sums.len() / matrices];
            let info = |suffix, shape: &[usize]| {
                TensorInfo::from_shape(&format!("{name}{suffix}"), shape, TensorType::F32)
            };
            writer
                .tensor(info(SUMS, &shape)?)?
                .tensor(info(COUNTS, &[matrices, 1])?)?;
        }
        Ok(writer)
    }

    fn fill<W: std::io::Write>(&self, mut out: crate::TensorWriter<W>) -> Result<W> {
        for (name, entry) in &self.entries {
            out.tensor_f32(&format!("{name}{SUMS}"), &entry.sums)?;
            out.tensor_f32(&format!("{name}{COUNTS}"), &entry.counts)?;
        }
        out.finish()
    }
}
