//! From a Hugging Face directory to a GGUF file.
//!
//! Every family of [`ropewalk_spec`] converts: names, row orders and metadata are those that
//! llama.cpp expects (`convert_hf_to_gguf.py`), so that both engines run the file where llama.cpp has
//! the architecture (all but GPT-Neo). Tensors are read, coded and written one after another; at any
//! time the coded form of one tensor and one weight of the source are in memory. The file appears
//! under its name when it is complete.
//!
//! ```no_run
//! use ropewalk_local::convert::{ConvertOptions, OutType, convert};
//!
//! # fn main() -> ropewalk_local::Result<()> {
//! let options = ConvertOptions::new(OutType::Q8_0).with_name("My model");
//! let summary = convert("my-model", "my-model.gguf", &options, |at| {
//!     eprintln!("{}/{} {}", at.index + 1, at.tensors, at.name);
//! })?;
//! for warning in &summary.warnings {
//!     eprintln!("warning: {warning}");
//! }
//! # Ok(()) }
//! ```
//!
//! | kept as f32 whatever the type | why |
//! | --- | --- |
//! | vectors: norms and biases | few, and their rounding costs most |
//! | routers of experts, position tables | llama.cpp reads them as f32 |

mod code;
mod meta;
mod out_type;
mod plan;
mod quantized;
mod vocab;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use ropewalk_gguf::{TensorInfo, TensorType, Value, Writer};

pub use out_type::OutType;

use crate::{Error, Result, load};
use plan::Target;

/// What the file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Content {
    /// Weights and vocabulary.
    #[default]
    All,
    /// The vocabulary and the description of the model, without weights.
    Vocabulary,
    /// Weights alone, for a directory without a tokenizer: the file runs on token ids.
    Weights,
}

/// How to convert.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ConvertOptions {
    /// How matrices are stored. Default [`OutType::Auto`].
    pub outtype: OutType,
    /// What the file holds. Default [`Content::All`].
    pub content: Content,
    /// Name of the pre-tokenizer (`tokenizer.ggml.pre`), for a byte-level vocabulary whose splitting
    /// rules no known family has. `None` finds it by the rules.
    pub pre_tokenizer: Option<String>,
    /// Metadata that replaces or adds to what the directory says.
    pub metadata: Vec<(String, Value)>,
    /// Threads that code rows; `None` means as many as the process may use.
    pub threads: Option<NonZeroUsize>,
}

impl ConvertOptions {
    /// Matrices of a type, everything else by default.
    #[must_use]
    pub fn new(outtype: OutType) -> Self {
        Self {
            outtype,
            ..Self::default()
        }
    }

    /// Sets what the file holds.
    #[must_use]
    pub fn with_content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    /// Sets the name of the pre-tokenizer.
    #[must_use]
    pub fn with_pre_tokenizer(mut self, name: impl Into<String>) -> Self {
        self.pre_tokenizer = Some(name.into());
        self
    }

    /// Sets the name of the model (`general.name`).
    #[must_use]
    pub fn with_name(self, name: impl AsRef<str>) -> Self {
        self.with_metadata("general.name", name.as_ref())
    }

    /// Sets a metadata key, such as `general.author` or `general.license`.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Sets the number of threads.
    #[must_use]
    pub const fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }
}

/// Where a pass over the tensors is, before each of them.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ConvertProgress<'a> {
    /// The tensor that is next, by its name in the file.
    pub name: &'a str,
    /// Whether this is the second pass, which quantises ([`OutType::Quantized`]).
    pub quantizing: bool,
    /// Tensors before it.
    pub index: usize,
    /// Tensors in total.
    pub tensors: usize,
    /// Bytes of tensors that are written.
    pub written: u64,
    /// Bytes of tensors in total.
    pub total: u64,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// `general.architecture` of the file.
    pub architecture: String,
    /// Tensors and their bytes by type, the types in order of their ids.
    pub types: Vec<(TensorType, usize, u64)>,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// What the file cannot say or leaves out, in sentences.
    pub warnings: Vec<String>,
}

/// Converts the Hugging Face directory `dir` to the GGUF file `out`.
///
/// The directory has `config.json`, `model.safetensors` or an index with shards, and a tokenizer:
/// `tokenizer.json`, `tokenizer.model`, or `vocab.json` with `merges.txt`.
///
/// # Errors
/// One line that names the file, key or tensor: an unsupported architecture, a missing shard or
/// tensor, a type other than F32, F16, BF16 and those of bitsandbytes, a truncated file, values that
/// the type cannot hold, a missing tokenizer, splitting rules of an unknown family. Nothing appears
/// under `out` then.
pub fn convert(
    dir: impl AsRef<Path>,
    out: impl AsRef<Path>,
    options: &ConvertOptions,
    mut progress: impl FnMut(ConvertProgress<'_>),
) -> Result<Summary> {
    let (dir, out) = (dir.as_ref(), out.as_ref());
    let inside = |out: &Path| {
        let folder = out.canonicalize().ok()?.parent()?.to_owned();
        Some(dir.canonicalize().ok()? == folder)
    };
    let is_gguf = out
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
    if !is_gguf && inside(out) == Some(true) {
        return Err(Error::Path {
            path: out.to_owned(),
            reason: "is a file of the model that is read; write to another name".to_owned(),
        });
    }
    match (options.outtype, options.content) {
        (OutType::Quantized(file_type), Content::All | Content::Weights) => {
            quantized::write(dir, out, file_type, options, &mut progress)
        }
        _ => write(dir, out, options, &mut progress),
    }
}

/// An error of the writer, about a tensor or a file.
fn failed(what: &str) -> impl FnOnce(ropewalk_gguf::Error) -> Error {
    let what = what.to_owned();
    move |e| Error::Convert {
        what,
        source: Box::new(e),
    }
}

/// Converts without quantising by the rules of a mix.
fn write(
    dir: &Path,
    out: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(ConvertProgress<'_>),
) -> Result<Summary> {
    if dir.is_file() {
        return Err(Error::Path {
            path: dir.to_owned(),
            reason: "is a file; give a Hugging Face model directory".to_owned(),
        });
    }
    let mut warnings = Vec::new();
    let files = load::open(dir)?;
    let (spec, source) = (&files.spec, &*files.source);
    let mut writer = Writer::new();
    let targets = match options.content {
        Content::Vocabulary => Vec::new(),
        Content::All | Content::Weights => {
            spec.check(source)?;
            warnings.extend(plan::unused(spec, source));
            plan::targets(spec, source, options.outtype)?
        }
    };
    meta::general(&mut writer, dir, spec, options.outtype, &targets);
    let narrow = spec
        .window
        .iter()
        .flatten()
        .any(|w| *w < spec.max_positions);
    if narrow && spec.family.gguf_architecture() == "llama" {
        warnings.push(
            "llama.cpp applies no sliding window to the architecture `llama`; beyond the window \
             it answers differently"
                .to_owned(),
        );
    }
    let describe = spec.gguf_metadata()?;
    let with_vocab = options.content != Content::Weights;
    for (key, value) in describe {
        // The tokenizer's files say these keys, and say them all.
        if !(with_vocab && key.starts_with("tokenizer.")) {
            writer.set(key, value);
        }
    }
    if !with_vocab {
        // What llama.cpp reads as a model of ids alone.
        writer.set("tokenizer.ggml.model", "none");
    } else {
        vocab::write(&mut writer, dir, spec, options, &mut warnings)?;
    }
    for (key, value) in &options.metadata {
        writer.set(key.as_str(), value.clone());
    }

    let rope = match options.content {
        Content::Vocabulary => Vec::new(),
        Content::All | Content::Weights => spec.gguf_rope_tensors(),
    };
    for (name, values) in &rope {
        let info = TensorInfo::from_shape(name, &[values.len()], TensorType::F32);
        writer
            .tensor(info.map_err(failed(name))?)
            .map_err(failed(name))?;
    }
    for Target {
        name, shape, ty, ..
    } in &targets
    {
        let info = TensorInfo::from_shape(name, shape, *ty).map_err(failed(name))?;
        writer.tensor(info).map_err(failed(name))?;
    }
    let mut types = BTreeMap::new();
    for info in writer.tensors() {
        let (count, bytes) = types.entry(info.ty).or_insert((0, 0));
        *count += 1;
        *bytes += info.n_bytes() as u64;
    }
    let total = types.values().map(|(_, bytes)| bytes).sum();
    let threads = options
        .threads
        .or_else(|| std::thread::available_parallelism().ok());
    let threads = threads.map_or(1, NonZeroUsize::get);
    let path = out.display().to_string();
    let mut file = writer.create(out).map_err(failed(&path))?;
    for (name, values) in &rope {
        file.tensor_f32(name, values).map_err(failed(name))?;
    }
    let mut written = rope.iter().map(|(_, values)| 4 * values.len() as u64).sum();
    for (index, target) in targets.iter().enumerate() {
        progress(ConvertProgress {
            name: &target.name,
            quantizing: false,
            index,
            tensors: targets.len(),
            written,
            total,
        });
        let data = code::read(spec, source, target, threads)?;
        file.tensor_data(&target.name, &data)
            .map_err(failed(&target.name))?;
        written += data.len() as u64;
    }
    file.finish().map_err(failed(&path))?;
    Ok(Summary {
        architecture: spec.family.gguf_architecture().to_owned(),
        types: types
            .into_iter()
            .map(|(ty, (count, bytes))| (ty, count, bytes))
            .collect(),
        bytes: std::fs::metadata(out).map_or(total, |meta| meta.len()),
        warnings,
    })
}
