use crate::cursor::Cursor;
use crate::value::{Array, StringArray, Value, ValueType};
use crate::{Error, Metadata, Result, TensorInfo, TensorType};

/// First four bytes of a file.
pub(crate) const MAGIC: [u8; 4] = *b"GGUF";
/// Metadata key of the alignment of tensor data.
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";
/// Alignment where the key is absent.
pub(crate) const DEFAULT_ALIGNMENT: usize = 32;
/// ggml's limit on the dimensions of a tensor (`GGML_MAX_DIMS`).
pub(crate) const MAX_DIMS: usize = 4;

/// Arrays in arrays in arrays: no known file goes past two, and the bound keeps the stack small.
const MAX_NESTING: usize = 8;
/// Smallest key and value: length and one byte of the key, type, one byte of the value.
const MIN_ENTRY: usize = 8 + 4 + 1;
/// Smallest tensor entry: length of the name, number of dimensions, type, offset.
const MIN_TENSOR: usize = 8 + 4 + 4 + 8;

/// Everything before the tensor data.
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) alignment: usize,
    pub(crate) metadata: Metadata,
    pub(crate) tensors: Vec<TensorInfo>,
}

/// Reads the header of one file and checks every tensor against the length of the file.
pub(crate) fn read(bytes: &[u8], path: &str) -> Result<Header> {
    let mut cursor = Cursor::new(bytes, path);
    let version = read_version(&mut cursor, bytes)?;
    let n_tensors = cursor.u64(&|| "the tensor count".to_owned())?;
    let n_entries = cursor.count(MIN_ENTRY, &|| "metadata".to_owned())?;
    cursor.check_count(n_tensors, MIN_TENSOR, &|| "the tensor list".to_owned())?;

    let mut entries = Vec::with_capacity(n_entries.min(1024));
    for index in 0..n_entries {
        entries.push(read_entry(&mut cursor, index, n_entries)?);
    }
    let metadata = Metadata::from_entries(entries).map_err(|key| {
        Error::malformed(
            path,
            format!("metadata key `{}` occurs twice", key.escape_debug()),
        )
    })?;
    let alignment = alignment(&metadata, path)?;

    let n_tensors = cursor.check_count(n_tensors, MIN_TENSOR, &|| "the tensor list".to_owned())?;
    let mut tensors = Vec::with_capacity(n_tensors.min(4096));
    for index in 0..n_tensors {
        tensors.push(read_tensor_info(&mut cursor, index, n_tensors, alignment)?);
    }
    let data_start = cursor
        .position()
        .next_multiple_of(alignment)
        .min(bytes.len());
    place_tensors(&mut tensors, data_start, bytes.len(), path)?;
    Ok(Header {
        version,
        alignment,
        metadata,
        tensors,
    })
}

fn read_version(cursor: &mut Cursor<'_>, bytes: &[u8]) -> Result<u32> {
    let path = cursor.path();
    if bytes.is_empty() {
        return Err(Error::not_gguf(
            path,
            "is empty; copy or download the GGUF file again",
        ));
    }
    let seen = &bytes[..bytes.len().min(4)];
    if seen != &MAGIC[..seen.len()] {
        return Err(Error::not_gguf(path, not_gguf(bytes)));
    }
    cursor.take(4, &|| "the magic number".to_owned())?;
    let version = cursor.u32(&|| "the version".to_owned())?;
    match version {
        2 | 3 => Ok(version),
        1 => Err(Error::not_gguf(
            path,
            "is GGUF version 1, which is no longer read; convert the original model again",
        )),
        _ if version & 0xffff == 0 => Err(Error::not_gguf(
            path,
            "is a big-endian GGUF file; convert it to little-endian (gguf-convert-endian)",
        )),
        _ => Err(Error::not_gguf(
            path,
            format!("is GGUF version {version}, versions 2 and 3 are read; update ropewalk"),
        )),
    }
}

/// Recognises what people pass by mistake.
fn not_gguf(bytes: &[u8]) -> String {
    let looks_like = if bytes.starts_with(b"PK\x03\x04") {
        "a zip archive or PyTorch checkpoint"
    } else if [&b"ggml"[..], b"lmgg", b"ggjt", b"tjgg", b"ggmf", b"fmgg"]
        .iter()
        .any(|magic| bytes.starts_with(magic))
    {
        "a ggml file from before GGUF"
    } else if bytes.len() > 9 && bytes[8] == b'{' {
        "a safetensors file"
    } else if bytes.starts_with(b"{") {
        "a JSON file"
    } else if bytes.starts_with(b"<") {
        "a web page"
    } else if bytes.starts_with(b"version https://git-lfs") {
        "a git-lfs pointer, whose content was not fetched"
    } else {
        return "is not a GGUF file (it does not begin with `GGUF`); pass a .gguf file".to_owned();
    };
    format!("is {looks_like}, not a GGUF file; pass a .gguf file")
}

fn read_entry(cursor: &mut Cursor<'_>, index: usize, count: usize) -> Result<(String, Value)> {
    let key = cursor.string(&|| format!("metadata key {} of {count}", index + 1))?;
    let Ok(key) = std::str::from_utf8(key) else {
        return Err(Error::malformed(
            cursor.path(),
            format!("metadata key {} of {count} is not UTF-8", index + 1),
        ));
    };
    let what = || format!("the value of metadata key `{}`", key.escape_debug());
    let ty = read_value_type(cursor, &what)?;
    let value = read_value(cursor, ty, &what)?;
    Ok((key.to_owned(), value))
}

fn read_value_type(cursor: &mut Cursor<'_>, what: &dyn Fn() -> String) -> Result<ValueType> {
    let id = cursor.u32(what)?;
    ValueType::from_u32(id).ok_or_else(|| {
        let problem = format!("{} has unknown value type {id} (known: 0 to 12)", what());
        Error::malformed(cursor.path(), problem)
    })
}

fn read_value(cursor: &mut Cursor<'_>, ty: ValueType, what: &dyn Fn() -> String) -> Result<Value> {
    Ok(match ty {
        ValueType::U8 => Value::U8(u8::from_le_bytes(cursor.array(what)?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(cursor.array(what)?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(cursor.array(what)?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(cursor.array(what)?)),
        ValueType::U32 => Value::U32(u32::from_le_bytes(cursor.array(what)?)),
        ValueType::I32 => Value::I32(i32::from_le_bytes(cursor.array(what)?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(cursor.array(what)?)),
        ValueType::U64 => Value::U64(u64::from_le_bytes(cursor.array(what)?)),
        ValueType::I64 => Value::I64(i64::from_le_bytes(cursor.array(what)?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(cursor.array(what)?)),
        ValueType::Bool => Value::Bool(u8::from_le_bytes(cursor.array(what)?) != 0),
        ValueType::String => Value::String(cursor.string(what)?.into()),
        ValueType::Array => Value::Array(read_array(cursor, what, 0)?),
    })
}

macro_rules! numbers {
    ($cursor:ident, $what:ident, $t:ty) => {{
        const SIZE: usize = size_of::<$t>();
        let count = $cursor.count(SIZE, $what)?;
        let bytes = $cursor.take(count * SIZE, $what)?;
        bytes
            .as_chunks::<SIZE>()
            .0
            .iter()
            .map(|x| <$t>::from_le_bytes(*x))
            .collect()
    }};
}

fn read_array(cursor: &mut Cursor<'_>, what: &dyn Fn() -> String, depth: usize) -> Result<Array> {
    Ok(match read_value_type(cursor, what)? {
        ValueType::U8 => Array::U8(numbers!(cursor, what, u8)),
        ValueType::I8 => Array::I8(numbers!(cursor, what, i8)),
        ValueType::U16 => Array::U16(numbers!(cursor, what, u16)),
        ValueType::I16 => Array::I16(numbers!(cursor, what, i16)),
        ValueType::U32 => Array::U32(numbers!(cursor, what, u32)),
        ValueType::I32 => Array::I32(numbers!(cursor, what, i32)),
        ValueType::F32 => Array::F32(numbers!(cursor, what, f32)),
        ValueType::U64 => Array::U64(numbers!(cursor, what, u64)),
        ValueType::I64 => Array::I64(numbers!(cursor, what, i64)),
        ValueType::F64 => Array::F64(numbers!(cursor, what, f64)),
        ValueType::Bool => {
            let count = cursor.count(1, what)?;
            Array::Bool(cursor.take(count, what)?.iter().map(|&x| x != 0).collect())
        }
        ValueType::String => Array::String(read_strings(cursor, what)?),
        ValueType::Array => {
            if depth == MAX_NESTING {
                let problem = format!("{} nests arrays more than {MAX_NESTING} deep", what());
                return Err(Error::malformed(cursor.path(), problem));
            }
            let count = cursor.count(4 + 8, what)?;
            let mut arrays = Vec::with_capacity(count.min(1024));
            for _ in 0..count {
                arrays.push(read_array(cursor, what, depth + 1)?);
            }
            Array::Array(arrays)
        }
    })
}

/// Walks the strings once to check them, then copies them into one allocation of the right size.
fn read_strings(cursor: &mut Cursor<'_>, what: &dyn Fn() -> String) -> Result<StringArray> {
    let count = cursor.count(8, what)?;
    let start = cursor.position();
    for index in 0..count {
        cursor.string(&|| format!("string {index} of {}", what()))?;
    }
    let total = cursor.position() - start - 8 * count;
    cursor.rewind(start);
    let mut strings = StringArray::with_capacity(count, total);
    for _ in 0..count {
        strings.push(cursor.string(what)?);
    }
    Ok(strings)
}

fn alignment(metadata: &Metadata, path: &str) -> Result<usize> {
    let Some(value) = metadata.get(ALIGNMENT_KEY) else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    match *value {
        Value::U32(n) if n.is_power_of_two() => Ok(n as usize),
        Value::U32(n) => Err(Error::malformed(
            path,
            format!("`{ALIGNMENT_KEY}` is {n}, a power of two is required"),
        )),
        _ => Err(Error::malformed(
            path,
            format!(
                "`{ALIGNMENT_KEY}` holds {}, u32 is required",
                value.describe_type()
            ),
        )),
    }
}

fn read_tensor_info(
    cursor: &mut Cursor<'_>,
    index: usize,
    count: usize,
    alignment: usize,
) -> Result<TensorInfo> {
    let path = cursor.path();
    let name = cursor.string(&|| format!("the name of tensor {} of {count}", index + 1))?;
    let Ok(name) = std::str::from_utf8(name) else {
        let problem = format!("the name of tensor {} of {count} is not UTF-8", index + 1);
        return Err(Error::malformed(path, problem));
    };
    let bad = |problem: String| {
        Err(Error::malformed(
            path,
            format!("tensor `{}` {problem}", name.escape_debug()),
        ))
    };
    let what = || format!("the entry of tensor `{}`", name.escape_debug());
    let n_dims = cursor.u32(&what)?;
    if n_dims as usize > MAX_DIMS {
        return bad(format!(
            "has {n_dims} dimensions, the format allows {MAX_DIMS}"
        ));
    }
    let mut dims = Vec::with_capacity(n_dims as usize);
    for _ in 0..n_dims {
        let dim = cursor.u64(&what)?;
        match usize::try_from(dim) {
            Ok(dim) if dim <= isize::MAX as usize => dims.push(dim),
            _ => return bad(format!("has a dimension of {dim}, which is too large")),
        }
    }
    let id = cursor.u32(&what)?;
    let offset = cursor.u64(&what)?;
    let Some(ty) = TensorType::from_u32(id) else {
        return bad(format!("has type {id}, {}", TensorType::why_unknown(id)));
    };
    let mut info = match TensorInfo::new(name, &dims, ty) {
        Ok(info) => info,
        Err(problem) => return bad(problem),
    };
    match usize::try_from(offset) {
        Ok(offset) if offset.is_multiple_of(alignment) => info.offset = offset,
        Ok(_) => {
            return bad(format!(
                "starts at offset {offset}, which is not a multiple of the alignment {alignment}"
            ));
        }
        Err(_) => return bad(format!("starts at offset {offset}, which is too large")),
    }
    Ok(info)
}

/// Makes offsets absolute and refuses tensors that leave the file or overlap.
fn place_tensors(tensors: &mut [TensorInfo], start: usize, len: usize, path: &str) -> Result<()> {
    for info in tensors.iter_mut() {
        let end = info
            .offset
            .checked_add(info.n_bytes())
            .and_then(|end| end.checked_add(start));
        if end.is_none_or(|end| end > len) {
            return Err(Error::Truncated {
                path: path.into(),
                what: format!("tensor `{}`", info.name.escape_debug()).into(),
                offset: (info.offset as u64).saturating_add(start as u64),
                needed: info.n_bytes() as u64,
                len: len as u64,
            });
        }
        info.offset += start;
    }
    let mut order: Vec<&TensorInfo> = tensors.iter().filter(|t| t.n_bytes() > 0).collect();
    order.sort_unstable_by_key(|t| t.offset);
    for pair in order.windows(2) {
        if pair[0].offset + pair[0].n_bytes() > pair[1].offset {
            let (a, b) = (pair[0].name.escape_debug(), pair[1].name.escape_debug());
            return Err(Error::malformed(
                path,
                format!("tensors `{a}` and `{b}` overlap"),
            ));
        }
    }
    Ok(())
}
