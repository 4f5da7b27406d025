//! Converting and quantising in one go.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ropewalk_gguf::{FileType, Gguf, QuantizePlan, requantize};

use super::{ConvertOptions, ConvertProgress, OutType, Summary, failed};
use crate::Result;

/// A file that is removed when it is no longer needed.
struct Temporary(PathBuf);

impl Temporary {
    /// A hidden name beside `path`, on the same disk.
    fn beside(path: &Path) -> Self {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}.whole", std::process::id()));
        Self(path.with_file_name(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing can be done about a file that stays.
        drop(std::fs::remove_file(&self.0));
    }
}

/// Writes the whole model beside `out`, quantises that to `out`, and removes it.
pub(super) fn write(
    dir: &Path,
    out: &Path,
    file_type: FileType,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(ConvertProgress<'_>),
) -> Result<Summary> {
    let whole = Temporary::beside(out);
    let mut unquantized = options.clone();
    unquantized.outtype = OutType::Auto;
    let mut summary = super::write(dir, &whole.0, &unquantized, progress)?;

    let path = out.display().to_string();
    let input = Gguf::open(&whole.0).map_err(failed(&path))?;
    let mut plan = QuantizePlan::new(file_type);
    if let Some(threads) = options.threads {
        plan = plan.with_threads(threads.get());
    }
    let (mut index, mut written) = (0, 0);
    let tensors = input.tensors().len();
    let made = requantize(&input, out, &plan, &mut |at| {
        progress(ConvertProgress {
            name: at.tensor,
            quantizing: true,
            index,
            tensors,
            written,
            total: at.total,
        });
        (index, written) = (index + 1, at.done);
    });
    let made = made.map_err(failed(&path))?;
    if let Some(first) = made.fallbacks.first() {
        let (count, name) = (made.fallbacks.len(), &first.name);
        summary.warnings.push(format!(
            "{count} tensors have rows that are no whole blocks and got another type, such as {name}"
        ));
    }
    let output = Gguf::open(out).map_err(failed(&path))?;
    let mut types = BTreeMap::new();
    for info in output.tensors() {
        let (count, bytes) = types.entry(info.ty).or_insert((0, 0));
        *count += 1;
        *bytes += info.n_bytes() as u64;
    }
    let listed = types.into_iter();
    summary.types = listed
        .map(|(ty, (count, bytes))| (ty, count, bytes))
        .collect();
    summary.bytes = std::fs::metadata(out).map_or(made.bytes, |meta| meta.len());
    Ok(summary)
}
