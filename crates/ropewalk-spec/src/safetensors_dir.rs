//! A directory in the layout of the Hugging Face hub: one safetensors file or an index with
//! shards.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use ropewalk_gguf::TensorType;
use safetensors::{Dtype, SafeTensors};

use crate::{Error, NameLayout, Result, TensorData, TensorSource, hf, map};

/// The file of a model that is not split.
const SINGLE: &str = "model.safetensors";
/// The list of shards of one that is.
const INDEX: &str = "model.safetensors.index.json";

/// The weights of a model directory, memory-mapped.
///
/// Opening checks every header: offsets that overlap, leave holes or do not fill the file, sizes
/// that disagree with shapes, shards of the index that are missing or lack a tensor.
pub struct SafetensorsDir {
    files: Vec<Mmap>,
    tensors: HashMap<String, Entry>,
}

struct Entry {
    file: usize,
    /// From the start of the file.
    range: std::ops::Range<usize>,
    shape: Vec<usize>,
    dtype: Dtype,
}

/// A tensor as it lies in its file, whatever its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawTensor<'a> {
    /// The type as the header spells it: `F32`, `U8`, `I8` and so on.
    pub dtype: &'static str,
    /// Shape, row-major.
    pub shape: &'a [usize],
    /// The values, little-endian and without alignment.
    pub data: &'a [u8],
}

impl std::fmt::Debug for SafetensorsDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (files, tensors) = (self.files.len(), self.tensors.len());
        write!(f, "SafetensorsDir({files} files, {tensors} tensors)")
    }
}

impl SafetensorsDir {
    /// Maps `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    ///
    /// # Errors
    /// A missing or damaged file.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let index = dir.join(INDEX);
        if index.is_file() {
            return Self::open_index(dir, &index);
        }
        let single = dir.join(SINGLE);
        if single.is_file() {
            return Self::open_file(&single);
        }
        let problem = format!("has neither `{SINGLE}` nor `{INDEX}`; is it a model directory?");
        Err(Error::Safetensors {
            path: dir.to_owned(),
            problem,
        })
    }

    /// Maps one file.
    ///
    /// # Errors
    /// A missing or damaged file.
    pub fn open_file(path: impl AsRef<Path>) -> Result<Self> {
        let mut this = Self {
            files: Vec::new(),
            tensors: HashMap::new(),
        };
        this.add(path.as_ref(), |_| true)?;
        Ok(this)
    }

    fn open_index(dir: &Path, index: &Path) -> Result<Self> {
        let fail = |problem: String| Error::Safetensors {
            path: index.to_owned(),
            problem,
        };
        let json = hf::json::read(index)?;
        let map = json
            .get("weight_map")
            .and_then(serde_json::Value::as_object)
            .ok_or_else(|| fail("has no object `weight_map`".to_owned()))?;
        let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, file) in map {
            let file = file
                .as_str()
                .filter(|name| is_plain(name))
                .ok_or_else(|| fail(format!("places `{tensor}` in {file}, not a file name")))?;
            shards.entry(file).or_default().push(tensor);
        }
        let mut this = Self {
            files: Vec::new(),
            tensors: HashMap::new(),
        };
        for (file, tensors) in shards {
            let path = dir.join(file);
            if !path.is_file() {
                return Err(fail(format!("lists the shard `{file}`, which is missing")));
            }
            let here = |name: &str| map.get(name).and_then(|f| f.as_str()) == Some(file);
            this.add(&path, here)?;
            if let Some(lost) = tensors
                .iter()
                .find(|name| !this.tensors.contains_key(**name))
            {
                return Err(fail(format!("places `{lost}` in `{file}`, which lacks it")));
            }
        }
        Ok(this)
    }

    /// Maps a file and notes its tensors that pass `wanted`.
    fn add(&mut self, path: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let map = map::open(path)?;
        let fail = |problem: String| Error::Safetensors {
            path: path.to_owned(),
            problem,
        };
        let (header, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|e| fail(format!("is not a complete safetensors file ({e})")))?;
        // An 8-byte length, the header, the data; `read_metadata` has checked the sum.
        let data = header + 8;
        for name in metadata.offset_keys() {
            let Some(info) = metadata.info(&name).filter(|_| wanted(&name)) else {
                continue;
            };
            let entry = Entry {
                file: self.files.len(),
                range: data + info.data_offsets.0..data + info.data_offsets.1,
                shape: info.shape.clone(),
                dtype: info.dtype,
            };
            self.tensors.insert(name, entry);
        }
        self.files.push(map);
        Ok(())
    }

    /// A tensor as it lies in its file, also of a type that no [`TensorType`] stands for.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<RawTensor<'_>> {
        let entry = self.tensors.get(name)?;
        Some(RawTensor {
            dtype: match entry.dtype {
                Dtype::F32 => "F32",
                Dtype::F16 => "F16",
                Dtype::BF16 => "BF16",
                Dtype::F64 => "F64",
                Dtype::U8 => "U8",
                Dtype::I8 => "I8",
                Dtype::I32 => "I32",
                Dtype::I64 => "I64",
                _ => "other",
            },
            shape: &entry.shape,
            data: self.files.get(entry.file)?.get(entry.range.clone())?,
        })
    }

    /// The number of files.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.files.len()
    }
}

impl TensorSource for SafetensorsDir {
    fn layout(&self) -> NameLayout {
        NameLayout::HuggingFace
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn tensor(&self, name: &str) -> Result<Option<TensorData<'_>>> {
        let Some(entry) = self.tensors.get(name) else {
            return Ok(None);
        };
        let ty = match entry.dtype {
            Dtype::F32 => TensorType::F32,
            Dtype::F16 => TensorType::F16,
            Dtype::BF16 => TensorType::BF16,
            other => {
                return Err(Error::TensorType {
                    name: name.to_owned(),
                    found: format!("{other:?}"),
                });
            }
        };
        let data = self
            .files
            .get(entry.file)
            .and_then(|f| f.get(entry.range.clone()));
        Ok(data.map(|data| TensorData::new(entry.shape.clone(), ty, data)))
    }

    fn release(&self, data: &[u8]) {
        self.files.iter().for_each(|file| map::release(file, data));
    }
}

/// Whether a name in the index stays inside the directory.
fn is_plain(name: &str) -> bool {
    let path = PathBuf::from(name);
    !name.is_empty() && path.file_name().is_some_and(|f| f == path.as_os_str())
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn shards_stay_in_their_directory() {
        assert!(is_plain("model-00001-of-00002.safetensors"));
        for name in ["", "..", "/etc/passwd", "../x", "a/b"] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
