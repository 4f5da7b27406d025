//! Model directories whose weights bitsandbytes has quantised.
//!
//! `save_pretrained` writes for a 4-bit weight `NAME` (`QuantState.as_dict(packed=True)` in
//! bitsandbytes' `functional.py`):
//!
//! | tensor | holds |
//! | --- | --- |
//! | `NAME` | two indices per byte; U8, or any type (`bnb_4bit_quant_storage`) |
//! | `NAME.quant_state.bitsandbytes__nf4` (`fp4`) | JSON: block size, shape, the mean of the scales |
//! | `NAME.absmax` | scales: F32, or U8 codes of them |
//! | `NAME.nested_absmax`, `NAME.nested_quant_map` | scales and values of these codes |
//!
//! and for an 8-bit one `MODULE.weight` (I8), `MODULE.SCB` (F32, one scale per row) and
//! `MODULE.weight_format` (0: rows). Values are decoded to f32 when a tensor is read;
//! [`Coding`] lets the loader code them again, to the same bits.

use std::collections::HashMap;
use std::sync::Arc;

use ropewalk_gguf::TensorType;
use ropewalk_kernels::Isa;
use ropewalk_kernels::codec::{DoubleScales, FourBit, dynamic, int8};
use ropewalk_spec::{
    Coding, Error, NameLayout, RawTensor, Result, SafetensorsDir, TensorData, TensorSource,
};
use serde_json::Value;

/// Values decoded at a time; a multiple of every block.
const CHUNK: usize = 1 << 14;
/// Where the name of a coded weight ends.
const STATE: &str = ".quant_state.bitsandbytes__";

/// A directory with tensors that bitsandbytes has coded.
#[derive(Debug)]
struct BnbSource {
    dir: SafetensorsDir,
    coded: HashMap<String, Entry>,
}

/// What belongs to a coded tensor.
#[derive(Debug)]
struct Entry {
    shape: Vec<usize>,
    coding: Coding,
    /// Of 4-bit blocks: the mean that was taken off their scales, if these are coded too.
    offset: Option<f32>,
}

/// Returns the directory as a source, which decodes if anything in it is coded.
///
/// # Errors
/// [`Error::TensorLayout`] for a coded tensor whose description cannot be read.
pub(crate) fn source(dir: SafetensorsDir) -> Result<Arc<dyn TensorSource>> {
    let mut coded = HashMap::new();
    for name in dir.names() {
        if let Some((weight, kind)) = name.split_once(STATE) {
            coded.insert(weight.to_owned(), four_bit(&dir, &name, weight, kind)?);
        } else if let Some(module) = name.strip_suffix(".SCB") {
            let weight = format!("{module}.weight");
            let entry = eight_bit(&dir, module, &weight)?;
            coded.insert(weight, entry);
        }
    }
    if coded.is_empty() {
        return Ok(Arc::new(dir));
    }
    Ok(Arc::new(BnbSource { dir, coded }))
}

fn wrong(name: &str, problem: impl Into<String>) -> Error {
    Error::TensorLayout {
        name: name.to_owned(),
        problem: problem.into(),
    }
}

/// Returns a tensor of a given type.
fn part<'a>(dir: &'a SafetensorsDir, name: &str, dtype: &str) -> Result<RawTensor<'a>> {
    let missing = || Error::MissingTensor {
        name: name.to_owned(),
    };
    let found = dir.raw(name).ok_or_else(missing)?;
    if found.dtype == dtype {
        return Ok(found);
    }
    Err(wrong(name, format!("is {}, not {dtype}", found.dtype)))
}

fn floats(data: &[u8]) -> Vec<f32> {
    let chunks = data.as_chunks().0.iter();
    chunks.map(|b| f32::from_le_bytes(*b)).collect()
}

/// Reads the description of a 4-bit tensor.
fn four_bit(dir: &SafetensorsDir, name: &str, weight: &str, kind: &str) -> Result<Entry> {
    let state: Value = serde_json::from_slice(part(dir, name, "U8")?.data)
        .map_err(|e| wrong(name, format!("is no JSON ({e})")))?;
    let size = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok());
    let block = size(&state["blocksize"]);
    let block = block.ok_or_else(|| wrong(name, "has no `blocksize`"))?;
    let shape = state["shape"].as_array();
    let shape: Option<Vec<usize>> = shape.and_then(|l| l.iter().map(size).collect());
    let shape = shape.ok_or_else(|| wrong(name, "has no `shape`"))?;
    let coding = match kind {
        "nf4" => Coding::Nf4(block),
        "fp4" => Coding::Fp4(block),
        other => {
            return Err(wrong(
                name,
                format!("is coded as `{other}`, not nf4 or fp4"),
            ));
        }
    };
    let values = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    let stored = dir.raw(weight).map(|t| t.data.len());
    if values.is_none() || values.map(|n| n.div_ceil(2)) != stored {
        return Err(wrong(
            weight,
            format!("has another size than its shape {shape:?} needs"),
        ));
    }
    let nested = dir.raw(&format!("{weight}.nested_absmax")).is_some();
    let offset = state["nested_offset"].as_f64().map(|x| x as f32);
    if nested != offset.is_some() || nested && size(&state["nested_blocksize"]) != Some(256) {
        let problem = "has scales coded otherwise than in blocks of 256 with a `nested_offset`";
        return Err(wrong(name, problem));
    }
    Ok(Entry {
        shape,
        coding,
        offset,
    })
}

/// Reads the description of an 8-bit tensor.
fn eight_bit(dir: &SafetensorsDir, module: &str, weight: &str) -> Result<Entry> {
    let codes = part(dir, weight, "I8")?;
    let scales = part(dir, &format!("{module}.SCB"), "F32")?;
    if codes.shape.first() != Some(&(scales.data.len() / 4)) || codes.shape.len() != 2 {
        return Err(wrong(weight, "has not one scale per row"));
    }
    let format = dir.raw(&format!("{module}.weight_format"));
    if format.is_some_and(|f| f.data.iter().any(|&b| b != 0)) {
        return Err(wrong(
            weight,
            "is stored in tiles of a GPU; save it by rows",
        ));
    }
    Ok(Entry {
        shape: codes.shape.to_vec(),
        coding: Coding::Int8,
        offset: None,
    })
}

impl BnbSource {
    fn decode(&self, name: &str, entry: &Entry) -> Result<Vec<u8>> {
        match entry.coding {
            Coding::Nf4(block) => self.blocks(name, entry, FourBit::Nf4, block),
            Coding::Fp4(block) => self.blocks(name, entry, FourBit::Fp4, block),
            _ => self.rows(name, entry),
        }
    }

    /// Decodes a 4-bit tensor.
    fn blocks(&self, name: &str, entry: &Entry, code: FourBit, block: usize) -> Result<Vec<u8>> {
        let failed = |e: ropewalk_kernels::Error| wrong(name, e.to_string());
        // The size was checked; the type says nothing.
        let codes = self.dir.raw(name).map_or(&[][..], |t| t.data);
        let scales = self.scales(name, entry)?;
        let n: usize = entry.shape.iter().product();
        if scales.len() != n.div_ceil(block.max(1)) {
            return Err(wrong(
                name,
                format!("has {} scales for {n} values", scales.len()),
            ));
        }
        if !CHUNK.is_multiple_of(block) {
            return Err(wrong(
                name,
                format!("has blocks of {block} values; those of bitsandbytes are powers of two"),
            ));
        }
        let mut values = vec![0.0; CHUNK.min(n)];
        let mut out = Vec::with_capacity(n * 4);
        for (i, codes) in codes.chunks(CHUNK / 2).enumerate() {
            let values = &mut values[..CHUNK.min(n - i * CHUNK)];
            let blocks = values.len().div_ceil(block);
            let scales = scales.get(i * CHUNK / block..).unwrap_or_default();
            let scales = scales.get(..blocks).unwrap_or_default();
            code.dequantize(Isa::best(), None, block, codes, scales, values)
                .map_err(failed)?;
            out.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        }
        Ok(out)
    }

    fn scales(&self, name: &str, entry: &Entry) -> Result<Vec<f32>> {
        let absmax = format!("{name}.absmax");
        let Some(offset) = entry.offset else {
            return Ok(floats(part(&self.dir, &absmax, "F32")?.data));
        };
        let codes = part(&self.dir, &absmax, "U8")?.data.to_vec();
        let nested = part(&self.dir, &format!("{name}.nested_absmax"), "F32")?;
        let map = part(&self.dir, &format!("{name}.nested_quant_map"), "F32")?;
        let map: [f32; 256] = floats(map.data)
            .try_into()
            .map_err(|_| wrong(name, "has a map of other than 256 values"))?;
        let scales = DoubleScales::new(codes, floats(nested.data), offset);
        let scales = scales.map_err(|e| wrong(&absmax, e.to_string()))?;
        Ok(if map == *dynamic::map() {
            scales.dequantize()
        } else {
            scales.dequantize_with(&map)
        })
    }

    /// Decodes an 8-bit tensor.
    fn rows(&self, name: &str, entry: &Entry) -> Result<Vec<u8>> {
        let module = name.strip_suffix(".weight").unwrap_or(name);
        let codes = part(&self.dir, name, "I8")?.data;
        let scales = floats(part(&self.dir, &format!("{module}.SCB"), "F32")?.data);
        let cols = entry.shape.last().copied().unwrap_or(0);
        let mut row = vec![0.0; cols];
        let mut out = Vec::with_capacity(codes.len() * 4);
        for (codes, scale) in codes.chunks_exact(cols.max(1)).zip(scales) {
            let codes: Vec<i8> = codes.iter().map(|b| b.cast_signed()).collect();
            int8::dequantize(&codes, cols, &[scale], &mut row)
                .map_err(|e| wrong(name, e.to_string()))?;
            out.extend(row.iter().flat_map(|x| x.to_le_bytes()));
        }
        Ok(out)
    }
}

impl TensorSource for BnbSource {
    fn layout(&self) -> NameLayout {
        NameLayout::HuggingFace
    }

    /// The names of weights; those of their scales and descriptions are not among them.
    fn names(&self) -> Vec<String> {
        // Scales and constants are called after the weight or its module, with at most three parts more.
        let is_part = |name: &str| {
            let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
            let eight = ["SCB", "weight_format"].iter().any(|p| name.ends_with(p));
            eight && self.coded.contains_key(&format!("{module}.weight"))
                || name
                    .rmatch_indices('.')
                    .take(3)
                    .any(|(i, _)| self.coded.contains_key(&name[..i]))
        };
        let mut names = self.dir.names();
        names.retain(|name| !is_part(name));
        names
    }

    fn tensor(&self, name: &str) -> Result<Option<TensorData<'_>>> {
        let Some(entry) = self.coded.get(name) else {
            return self.dir.tensor(name);
        };
        let data = self.decode(name, entry)?;
        let tensor = TensorData::new(entry.shape.clone(), TensorType::F32, data);
        Ok(Some(tensor.with_coding(entry.coding)))
    }

    fn shape(&self, name: &str) -> Result<Option<Vec<usize>>> {
        match self.coded.get(name) {
            Some(entry) => Ok(Some(entry.shape.clone())),
            None => self.dir.shape(name),
        }
    }

    fn release(&self, data: &[u8]) {
        self.dir.release(data);
    }
}
