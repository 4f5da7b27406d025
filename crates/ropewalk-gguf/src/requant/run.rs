use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use super::code::convert;
use super::parts::{PartsWriter, without_split_keys};
use super::plan::{QuantizePlan, Target, is_embedding};
use crate::{Error, Gguf, Metadata, Result, Tensor, TensorInfo, TensorType};

/// `general.quantization_version` of files with the block formats of today (`GGML_QNT_VERSION`).
const QUANTIZATION_VERSION: u32 = 2;

/// How far writing a file has come.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The tensor that has just been written.
    pub tensor: &'a str,
    /// The type it has now.
    pub ty: TensorType,
    /// Bytes of the source that are done.
    pub done: u64,
    /// Bytes of the source in total.
    pub total: u64,
}

/// What [`requantize`] wrote.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Summary {
    /// The files, one or as many as the source has.
    pub paths: Vec<PathBuf>,
    /// Number of values in all tensors.
    pub values: u64,
    /// Bytes of the source's tensors.
    pub source_bytes: u64,
    /// Bytes of the tensors as written.
    pub bytes: u64,
    /// Number of tensors by type.
    pub types: BTreeMap<TensorType, usize>,
    /// Tensors whose rows are not whole blocks of the type the plan gives them.
    pub fallbacks: Vec<Target>,
    /// Tensors that were quantised without importance although there is a matrix of it.
    pub without_importance: Vec<String>,
}

impl Summary {
    /// Returns the bits that a value takes on average.
    #[must_use]
    pub fn bits_per_value(&self) -> f64 {
        self.bytes as f64 * 8.0 / (self.values as f64).max(1.0)
    }
}

/// Writes the model `input` to `output` with its tensors as `plan` says, and metadata to match:
/// `general.file_type`, `general.quantization_version`, `quantize.imatrix.*`.
///
/// Tensors are read, converted and written one at a time; `progress` is called after each. Files
/// appear under their names when all is written, and not at all after an error. With
/// [`QuantizePlan::with_split_kept`], `output` is the name before `-00001-of-00003.gguf`. The bytes
/// are those that `llama-quantize` writes, where the encoders of the types are equal.
///
/// ```
/// use ropewalk_gguf::{FileType, Gguf, QuantizePlan, TensorInfo, TensorType, Writer, requantize};
///
/// # let dir = std::env::temp_dir().join(format!("ropewalk-gguf-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).map_err(|_| ()).ok();
/// let mut writer = Writer::new();
/// writer.set("general.architecture", "llama");
/// writer.tensor(TensorInfo::from_shape("blk.0.attn_q.weight", &[2, 256], TensorType::F32)?)?;
/// let mut source = writer.begin(Vec::new())?;
/// source.tensor_f32("blk.0.attn_q.weight", &[0.5; 512])?;
/// let source = Gguf::from_bytes(source.finish()?)?;
///
/// let plan = QuantizePlan::new(FileType::Q4_K_M);
/// let summary = requantize(&source, dir.join("small.gguf"), &plan, &mut |_| {})?;
/// assert_eq!((summary.bytes, summary.types[&TensorType::Q4_K]), (288, 1));
/// # std::fs::remove_dir_all(&dir).ok();
/// # Ok::<(), ropewalk_gguf::Error>(())
/// ```
///
/// # Errors
/// As [`QuantizePlan::types`]; values that a type cannot hold, importance of the wrong size, an
/// output that is the source or cannot be written.
pub fn requantize(
    input: &Gguf,
    output: impl AsRef<Path>,
    plan: &QuantizePlan,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Summary> {
    let output = output.as_ref();
    let chosen = plan.choose(input)?;
    let threads = plan
        .threads
        .or_else(|| available_parallelism().ok())
        .map_or(1, NonZero::get);
    let mut summary = Summary::default();
    let mut parts = Vec::new();
    for (info, target) in &chosen {
        let part = if plan.keep_split { info.part } else { 0 };
        parts.push((
            part,
            TensorInfo::from_dims(&info.name, &info.dims, target.ty)?,
        ));
        summary.values += info.n_elements() as u64;
        summary.source_bytes += info.n_bytes() as u64;
    }
    let count = if plan.keep_split { input.n_parts() } else { 1 };
    let mut out = PartsWriter::create(input, output, metadata(input, plan), count, parts)?;
    let mut done = 0;
    for (info, target) in chosen {
        let tensor = input.require(&info.name)?;
        let data = coded(tensor, &target, plan, threads, &mut summary)
            .map_err(|source| in_tensor(info, source))?;
        out.tensor(&info.name, &data)?;
        done += info.n_bytes() as u64;
        summary.bytes += data.len() as u64;
        *summary.types.entry(target.ty).or_default() += 1;
        progress(Progress {
            tensor: &info.name,
            ty: target.ty,
            done,
            total: summary.source_bytes,
        });
        if target.instead_of.is_some() {
            summary.fallbacks.push(target);
        }
    }
    summary.paths = out.finish()?;
    Ok(summary)
}

fn in_tensor(info: &TensorInfo, source: Error) -> Error {
    match source {
        Error::Importance { .. } => source,
        source => Error::Tensor {
            name: info.name.escape_debug().to_string().into(),
            source: Box::new(source),
        },
    }
}

fn coded<'a>(
    tensor: Tensor<'a>,
    target: &Target,
    plan: &QuantizePlan,
    threads: usize,
    summary: &mut Summary,
) -> Result<Cow<'a, [u8]>> {
    let info = tensor.info;
    if target.ty == info.ty {
        return Ok(Cow::Borrowed(tensor.data));
    }
    let mut weights = weights_of(info, target.ty, plan)?;
    if weights.is_none() && target.ty.is_quantized() {
        if plan.importance.is_some() {
            summary.without_importance.push(info.name.clone());
        }
        if plan.fine {
            let matrices = info.dims.iter().skip(2).product::<usize>();
            weights = Some(vec![1.0; info.cols() * matrices]);
        }
    }
    convert(tensor, target.ty, weights.as_deref(), threads).map(Cow::Owned)
}

/// Returns the importance of the tensor's columns, for each matrix of a stack.
fn weights_of(info: &TensorInfo, ty: TensorType, plan: &QuantizePlan) -> Result<Option<Vec<f32>>> {
    let Some(matrix) = &plan.importance else {
        return Ok(None);
    };
    let name = format!("`{}`", info.name.escape_debug());
    let wanted = info.cols() * info.dims.iter().skip(2).product::<usize>();
    match matrix.entries.get(&info.name) {
        Some(entry) if entry.sums.len() == wanted => {
            let weights = entry.weights();
            if weights.iter().all(|w| w.is_finite()) {
                return Ok(Some(weights));
            }
            Err(Error::importance(
                &name,
                "it is not finite; collect it again",
            ))
        }
        // Embeddings are looked up, not multiplied: what is noted for them is of their use as output.
        Some(_) if is_embedding(&info.name) => Ok(None),
        Some(entry) => {
            let problem = format!(
                "{} values for {wanted} columns; it was collected for another model",
                entry.sums.len()
            );
            Err(Error::importance(&name, problem))
        }
        None if plan.needs_importance(info, ty) => {
            let problem = format!("{ty} needs it and the importance matrix has none");
            Err(Error::importance(&name, problem))
        }
        None => Ok(None),
    }
}

/// Returns the metadata of the output. Keys that change go to the end, as in llama.cpp.
fn metadata(input: &Gguf, plan: &QuantizePlan) -> Metadata {
    let mut metadata = without_split_keys(input.metadata());
    let mut set = |key: &str, value: crate::Value| {
        metadata.remove(key);
        metadata.insert(key, value);
    };
    if let Some(file_type) = plan.file_type {
        set("general.quantization_version", QUANTIZATION_VERSION.into());
        set("general.file_type", file_type.to_u32().into());
    }
    if let Some(matrix) = &plan.importance {
        if let Some(name) = &plan.importance_name {
            set("quantize.imatrix.file", name.as_str().into());
        }
        if let Some(dataset) = matrix.datasets.first() {
            set("quantize.imatrix.dataset", dataset.as_str().into());
        }
        let entries = u32::try_from(matrix.entries.len()).unwrap_or(u32::MAX);
        set("quantize.imatrix.entries_count", entries.into());
        if matrix.chunks > 0 {
            set("quantize.imatrix.chunks_count", matrix.chunks.into());
        }
    }
    metadata
}
