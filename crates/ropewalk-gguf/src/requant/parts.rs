use std::path::{Path, PathBuf};

use super::run::Progress;
use crate::{AtomicFile, Error, Gguf, Metadata, Result, TensorInfo, TensorWriter, Value, Writer};

const SPLIT_KEYS: [&str; 3] = ["split.no", "split.count", "split.tensors.count"];

/// Where [`split`] cuts.
#[derive(Clone, Copy, Debug)]
pub struct SplitPlan {
    limit: Limit,
    empty_first: bool,
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    Tensors(usize),
    Bytes(u64),
}

impl SplitPlan {
    /// Puts at most `n` tensors into a part (`--split-max-tensors`).
    #[must_use]
    pub fn by_tensors(n: usize) -> Self {
        Self {
            limit: Limit::Tensors(n.max(1)),
            empty_first: false,
        }
    }

    /// Puts at most `n` bytes of tensors into a part (`--split-max-size`); a larger tensor has a
    /// part for itself.
    #[must_use]
    pub fn by_bytes(n: u64) -> Self {
        Self {
            limit: Limit::Bytes(n),
            empty_first: false,
        }
    }

    /// Puts metadata alone into the first part (`--no-tensor-first-split`).
    #[must_use]
    pub fn with_empty_first(mut self, empty: bool) -> Self {
        self.empty_first = empty;
        self
    }

    /// Returns the part of each tensor.
    fn place(&self, input: &Gguf) -> Vec<usize> {
        let mut part = usize::from(self.empty_first);
        let (mut tensors, mut bytes) = (0, 0);
        input
            .tensors()
            .iter()
            .map(|info| {
                let size = info
                    .n_bytes()
                    .next_multiple_of(crate::header::DEFAULT_ALIGNMENT)
                    as u64;
                let full = match self.limit {
                    Limit::Tensors(n) => tensors == n,
                    Limit::Bytes(n) => tensors > 0 && bytes + size > n,
                };
                if full {
                    part += 1;
                    (tensors, bytes) = (0, 0);
                }
                tensors += 1;
                bytes += size;
                part
            })
            .collect()
    }
}

/// Cuts a model into parts `NAME-00001-of-00003.gguf` as `llama-gguf-split` does and returns their
/// paths. `output` is the name before the numbers; an ending `.gguf` is not part of it.
///
/// All metadata is in the first part. The parts appear when all are written. A model that fits in
/// one part is written to `output` as it stands, without numbers.
///
/// ```no_run
/// use ropewalk_gguf::{Gguf, SplitPlan, merge, split};
///
/// let whole = Gguf::open("model.gguf")?;
/// let parts = split(&whole, "model", &SplitPlan::by_bytes(2_000_000_000), &mut |_| {})?;
/// // One part opens all of them; `merge` makes one file again.
/// merge(&Gguf::open(&parts[0])?, "again.gguf", &mut |_| {})?;
/// # Ok::<(), ropewalk_gguf::Error>(())
/// ```
///
/// # Errors
/// More than 65,535 parts, an output that is a part of the model that is read or cannot be written.
pub fn split(
    input: &Gguf,
    output: impl AsRef<Path>,
    plan: &SplitPlan,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<PathBuf>> {
    let places = plan.place(input);
    let count = places.last().map_or(1, |last| last + 1);
    let tensors = places.into_iter().zip(input.tensors().iter().cloned());
    let metadata = without_split_keys(input.metadata());
    let out = PartsWriter::create(input, output.as_ref(), metadata, count, tensors.collect())?;
    copy(input, out, progress)
}

/// Writes a model in several parts as one file and returns its path. [`Gguf::open`] has joined the
/// parts; keys that tell of them are left out.
///
/// # Errors
/// An output that is one of the parts or cannot be written.
pub fn merge(
    input: &Gguf,
    output: impl AsRef<Path>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf> {
    let tensors = input.tensors().iter().map(|info| (0, info.clone()));
    let metadata = without_split_keys(input.metadata());
    let out = PartsWriter::create(input, output.as_ref(), metadata, 1, tensors.collect())?;
    copy(input, out, progress)?;
    Ok(output.as_ref().to_owned())
}

fn copy(
    input: &Gguf,
    mut out: PartsWriter,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<PathBuf>> {
    let total = input.tensors().iter().map(|t| t.n_bytes() as u64).sum();
    let mut done = 0;
    for tensor in input.iter() {
        out.tensor(&tensor.info.name, tensor.data)?;
        done += tensor.data.len() as u64;
        progress(Progress {
            tensor: &tensor.info.name,
            ty: tensor.info.ty,
            done,
            total,
        });
    }
    out.finish()
}

pub(super) fn without_split_keys(metadata: &Metadata) -> Metadata {
    let mut metadata = metadata.clone();
    for key in SPLIT_KEYS {
        metadata.remove(key);
    }
    metadata
}

/// Writes one file or all parts of one; none appears before all are whole.
pub(super) struct PartsWriter {
    parts: Vec<(PathBuf, TensorWriter<AtomicFile>)>,
    /// Part of the tensors to come.
    places: std::vec::IntoIter<usize>,
}

impl PartsWriter {
    /// Lays out `count` parts; `tensors` come with the part they go to, in its order.
    pub(super) fn create(
        input: &Gguf,
        output: &Path,
        metadata: Metadata,
        count: usize,
        tensors: Vec<(usize, TensorInfo)>,
    ) -> Result<Self> {
        let n_tensors = i32::try_from(tensors.len()).unwrap_or(i32::MAX);
        let Ok(n_parts) = u16::try_from(count) else {
            let problem = format!("{count} parts, there may be {}", u16::MAX);
            return Err(Error::write(&output.display().to_string(), problem));
        };
        let mut writers = vec![Writer::new(); count];
        if let Some(first) = writers.first_mut() {
            *first.metadata_mut() = metadata;
        }
        let mut places = Vec::with_capacity(tensors.len());
        for (part, info) in tensors {
            places.push(part);
            match writers.get_mut(part) {
                Some(writer) => _ = writer.tensor(info)?,
                None => return Err(Error::write(&info.name, "there is no such part")),
            }
        }
        let mut parts = Vec::with_capacity(count);
        for (index, mut writer) in writers.into_iter().enumerate() {
            let mut path = output.to_owned();
            if count > 1 {
                path = part_path(output, index, count);
                let keys: [Value; 3] = [(index as u16).into(), n_parts.into(), n_tensors.into()];
                for (key, value) in SPLIT_KEYS.into_iter().zip(keys) {
                    writer.set(key, value);
                }
            }
            if is_source(input, &path) {
                let problem = "it is the model that is read; write to another name";
                return Err(Error::write(&path.display().to_string(), problem));
            }
            let out = writer.create(&path)?;
            parts.push((path, out));
        }
        let places = places.into_iter();
        Ok(Self { parts, places })
    }

    pub(super) fn tensor(&mut self, name: &str, data: &[u8]) -> Result<()> {
        let part = self.places.next().unwrap_or_default();
        match self.parts.get_mut(part) {
            Some((_, out)) => out.tensor_data(name, data),
            None => Err(Error::write(name, "there is no such part")),
        }
    }

    pub(super) fn finish(self) -> Result<Vec<PathBuf>> {
        let mut paths: Vec<PathBuf> = Vec::with_capacity(self.parts.len());
        for (path, out) in self.parts {
            if let Err(error) = out.finish() {
                // Parts without the others are of no use.
                for path in &paths {
                    drop(std::fs::remove_file(path));
                }
                return Err(error);
            }
            paths.push(path);
        }
        Ok(paths)
    }
}

/// Returns `NAME-00002-of-00003.gguf`, with `index` counted from zero.
fn part_path(output: &Path, index: usize, count: usize) -> PathBuf {
    let name = output
        .file_name()
        .map(|name| name.to_string_lossy())
        .unwrap_or_default();
    let name = name.strip_suffix(".gguf").unwrap_or(&name);
    output.with_file_name(format!("{name}-{:05}-of-{count:05}.gguf", index + 1))
}

/// Reports whether `path` is the file (or a part of the model) that is mapped.
fn is_source(input: &Gguf, path: &Path) -> bool {
    let same = |a: &Path| match (a.canonicalize(), path.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    let Some(source) = input.path() else {
        return false;
    };
    // A name that is not there yet cannot be a part that is read.
    path.exists()
        && (same(source)
            || crate::split::SplitName::of(source)
                .is_some_and(|split| (0..split.count).any(|i| same(&split.part(i)))))
}
