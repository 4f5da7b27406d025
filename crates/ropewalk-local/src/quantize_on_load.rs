//! Coding weights while a model loads.
//!
//! A weight is read, coded and packed before the next one is read; its rows are shared among the
//! threads of the pool. At any time the packed model, the codes of one weight and one row per
//! thread in f32 are in memory.

use std::fmt;
use std::str::FromStr;

use ropewalk_gguf::{TensorType, can_quantize, dequantizer, quantize, requires_importance};
use ropewalk_kernels::codec::{DoubleScales, FourBit, int8};
use ropewalk_kernels::{Isa, Matrix, Pool};
use ropewalk_spec::{Coding, Role, Weight};

use crate::decoder::Point;
use crate::rows::for_each;
use crate::{Error, Result, load};

/// Values of a 4-bit block.
const BLOCK: usize = 64;
/// Values that one thread codes at a time, at least.
const CHUNK: usize = 1 << 15;

/// How a weight matrix is held in memory.
///
/// ```
/// use ropewalk_local::WeightFormat;
///
/// let format: WeightFormat = "q4_k".parse()?;
/// assert_eq!(format, WeightFormat::Gguf(ropewalk_gguf::TensorType::Q4_K));
/// assert_eq!("NF4-double".parse::<WeightFormat>()?.to_string(), "nf4-double");
/// # Ok::<(), ropewalk_local::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightFormat {
    /// A type of GGUF files that [`ropewalk_gguf::quantize`] writes.
    Gguf(TensorType),
    /// Rows of 8-bit integers with one scale each (`load_in_8bit` of transformers). Activations are
    /// rounded to 8 bits in blocks of 32; no columns are kept apart for outliers.
    Int8,
    /// NF4 blocks of 64 with f32 scales (`load_in_4bit`, `bnb_4bit_quant_type="nf4"`).
    Nf4,
    /// The same with scales that were coded to 8 bits (`bnb_4bit_use_double_quant=True`). They are
    /// decoded once while loading, so that memory is that of [`Self::Nf4`].
    Nf4Double,
    /// FP4 blocks of 64 with f32 scales.
    Fp4,
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gguf(ty) => ty.name(),
            Self::Int8 => "int8",
            Self::Nf4 => "nf4",
            Self::Nf4Double => "nf4-double",
            Self::Fp4 => "fp4",
        })
    }
}

impl FromStr for WeightFormat {
    type Err = Error;

    /// Reads `int8`, `nf4`, `nf4-double`, `fp4` or the name of a GGUF type, in any case.
    fn from_str(text: &str) -> Result<Self> {
        let is = |name: &str| name.eq_ignore_ascii_case(text);
        let own = [Self::Int8, Self::Nf4, Self::Nf4Double, Self::Fp4];
        let types = TensorType::ALL.iter().copied();
        let types = types.filter(|&ty| is_usable(ty)).map(Self::Gguf);
        own.into_iter()
            .chain(types)
            .find(|format| is(&format.to_string()))
            .ok_or_else(|| Error::Option {
                name: "weight format",
                value: format!("`{text}`"),
                allowed: "int8, nf4, nf4-double, fp4 or a GGUF type such as q4_k or q8_0",
            })
    }
}

/// What happens to the output head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadRule {
    /// One class more precise than the rest: Q6_K for types below 6 bits, Q8_0 from there on;
    /// as it is stored for [`WeightFormat::Int8`] and the 4-bit blocks of bitsandbytes.
    #[default]
    Higher,
    /// As it is stored.
    Kept,
    /// As the rest.
    Same,
}

/// How weights are coded while a model loads ([`LoadOptions::with_quantize`]).
///
/// Projections of attention, feed-forward layers and experts take the format. Embeddings stay in
/// the file, norms, biases and routers in f32. Where a format's block does not divide the columns,
/// the next best one does, as in llama.cpp: Q5_0, Q5_1 or Q8_0 for Q4_K, Q5_K or Q6_K, Q4_0
/// or IQ4_NL for the smaller ones; then Q8_0 for the formats of bitsandbytes, and at last the stored
/// type.
///
/// [`LoadOptions::with_quantize`]: crate::LoadOptions::with_quantize
///
/// ```no_run
/// use ropewalk_gguf::TensorType;
/// use ropewalk_local::{LoadOptions, LoadQuantize, Model, WeightFormat};
/// use ropewalk_spec::Role;
///
/// let quantize = LoadQuantize::new(WeightFormat::Gguf(TensorType::Q4_K))
///     .with_role(Role::Down, WeightFormat::Gguf(TensorType::Q6_K));
/// let options = LoadOptions::default().with_quantize(quantize);
/// let model = Model::open("my-model", &options)?; // a directory, or a GGUF file in F16
/// # Ok::<(), ropewalk_local::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LoadQuantize {
    /// The format of projections.
    pub format: WeightFormat,
    /// The output head.
    pub head: HeadRule,
    /// Roles that take another format.
    pub roles: Vec<(Role, WeightFormat)>,
    /// Whether weights that are stored in blocks of a GGUF type may be coded again, which loses
    /// twice. Directories that bitsandbytes has quantised always may.
    pub requantize: bool,
}

impl LoadQuantize {
    /// Returns the rule that codes projections as `format` and the output head one class higher.
    #[must_use]
    pub fn new(format: WeightFormat) -> Self {
        Self {
            format,
            head: HeadRule::default(),
            roles: Vec::new(),
            requantize: false,
        }
    }

    /// Sets what happens to the output head.
    #[must_use]
    pub fn with_head(mut self, rule: HeadRule) -> Self {
        self.head = rule;
        self
    }

    /// Gives one role another format; the last word on a role counts. Loading refuses roles that are
    /// no matrix of a product, such as embeddings and norms.
    #[must_use]
    pub fn with_role(mut self, role: Role, format: WeightFormat) -> Self {
        self.roles.push((role, format));
        self
    }

    /// Allows weights that are stored in blocks of a GGUF type to be coded again.
    #[must_use]
    pub fn with_requantize(mut self, allowed: bool) -> Self {
        self.requantize = allowed;
        self
    }

    /// Checks what no weight is needed for.
    pub(crate) fn check(&self) -> Result<()> {
        let roles = self.roles.iter().map(|(_, format)| *format);
        for format in roles.chain([self.format]) {
            if let WeightFormat::Gguf(ty) = format
                && !is_usable(ty)
            {
                return Err(Error::Option {
                    name: "quantize",
                    value: ty.name().to_owned(),
                    allowed: "a type that `ropewalk_gguf::quantize` writes without importance",
                });
            }
        }
        if let Some((role, _)) = self.roles.iter().find(|(r, _)| Point::of(*r).is_none()) {
            return Err(Error::Option {
                name: "quantize",
                value: format!("{role:?}"),
                allowed: "a role of a matrix; embeddings, norms and biases stay as they are",
            });
        }
        Ok(())
    }

    /// The format of a role; `None` means as it is stored.
    fn of(&self, role: Role) -> Option<WeightFormat> {
        if let Some((_, format)) = self.roles.iter().rev().find(|(r, _)| *r == role) {
            return Some(*format);
        }
        match (role, self.head) {
            (Role::Embed | Role::PosEmbed | Role::Router | Role::SharedRouter, _)
            | (Role::Head, HeadRule::Kept) => None,
            (Role::Head, HeadRule::Higher) => higher(self.format),
            _ => Some(self.format),
        }
    }
}

/// Codes and packs one weight; `None` where it is to be packed as it is stored.
///
/// Without a rule, values that the source decoded return to what the file holds, to the same bits.
pub(crate) fn pack(
    rule: Option<&LoadQuantize>,
    role: Role,
    weight: &Weight<'_>,
    (isa, pool): (Isa, &Pool),
) -> Result<Option<Matrix>> {
    let [n, k] = weight.shape[..] else {
        return Ok(None);
    };
    let (format, block) = match rule.and_then(|rule| rule.of(role)) {
        Some(format) => match fitting(format, k) {
            Some(format) => (format, BLOCK),
            None => return Ok(None),
        },
        None => match weight.coding {
            Some(Coding::Nf4(block)) if k.is_multiple_of(block) => (WeightFormat::Nf4, block),
            Some(Coding::Fp4(block)) if k.is_multiple_of(block) => (WeightFormat::Fp4, block),
            Some(Coding::Int8) if k.is_multiple_of(32) => (WeightFormat::Int8, BLOCK),
            _ => return Ok(None),
        },
    };
    if format == WeightFormat::Gguf(weight.ty) {
        return Ok(None);
    }
    if weight.ty.block_size() > 1 && !rule.is_some_and(|rule| rule.requantize) {
        return Err(Error::Option {
            name: "quantize",
            value: format!("{format} for {role:?}, which is stored as {}", weight.ty),
            allowed: "a model in F32, F16 or BF16, or `with_requantize(true)`",
        });
    }
    let place = format!("{role:?}");
    let job = Job {
        weight,
        rows: Rows::of(&place, weight)?,
        place: &place,
        n,
        k,
        block,
        isa,
        pool,
    };
    let matrix = match format {
        WeightFormat::Gguf(ty) => job.gguf(ty)?,
        WeightFormat::Int8 => job.int8()?,
        WeightFormat::Nf4 => job.four_bit(FourBit::Nf4, false)?,
        WeightFormat::Nf4Double => job.four_bit(FourBit::Nf4, true)?,
        WeightFormat::Fp4 => job.four_bit(FourBit::Fp4, false)?,
    };
    Ok(Some(matrix))
}

/// Returns whether weights can be coded in a type without importance, and run.
fn is_usable(ty: TensorType) -> bool {
    can_quantize(ty) && !requires_importance(ty) && dequantizer(ty).is_some()
}

/// Returns the format of the output head beside projections in `format`.
fn higher(format: WeightFormat) -> Option<WeightFormat> {
    use TensorType as T;
    let WeightFormat::Gguf(ty) = format else {
        return None;
    };
    let bits = 8.0 * ty.type_size() as f64 / ty.block_size() as f64;
    Some(WeightFormat::Gguf(match ty {
        _ if ty.block_size() == 1 => ty,
        _ if bits < 6.5 => T::Q6_K,
        _ => T::Q8_0,
    }))
}

/// Returns the format for rows of `cols` values, or none where no block divides them.
fn fitting(format: WeightFormat, cols: usize) -> Option<WeightFormat> {
    let (block, smaller) = match format {
        WeightFormat::Gguf(ty) => (ty.block_size(), ty.fallback()),
        WeightFormat::Int8 => (32, None),
        WeightFormat::Nf4 | WeightFormat::Nf4Double | WeightFormat::Fp4 => (BLOCK, None),
    };
    if cols.is_multiple_of(block) {
        return Some(format);
    }
    let smaller = smaller.unwrap_or(TensorType::Q8_0);
    cols.is_multiple_of(smaller.block_size())
        .then_some(WeightFormat::Gguf(smaller))
}

/// Stored rows.
struct Rows {
    decode: fn(&[u8], &mut [f32]),
    bytes: usize,
}

impl Rows {
    fn of(place: &str, weight: &Weight<'_>) -> Result<Self> {
        let cols = weight.shape.last().copied().unwrap_or(0);
        let reader = dequantizer(weight.ty).zip(weight.ty.row_bytes(cols));
        let (decode, bytes) = reader.ok_or_else(|| Error::TensorType {
            name: place.to_owned(),
            ty: weight.ty.name().to_owned(),
        })?;
        Ok(Self { decode, bytes })
    }
}

/// One weight to code.
struct Job<'a> {
    weight: &'a Weight<'a>,
    rows: Rows,
    place: &'a str,
    n: usize,
    k: usize,
    /// Values of a 4-bit block.
    block: usize,
    isa: Isa,
    pool: &'a Pool,
}

impl Job<'_> {
    /// Rows that one thread codes at a time.
    fn rows_per_chunk(&self) -> usize {
        CHUNK.div_ceil(self.k.max(1))
    }

    /// The stored bytes of each chunk.
    fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.weight
            .data
            .chunks((self.rows_per_chunk() * self.rows.bytes).max(1))
    }

    /// Decodes a chunk.
    fn values(&self, stored: &[u8]) -> Vec<f32> {
        let rows = stored.len() / self.rows.bytes.max(1);
        let mut values = vec![0.0; rows * self.k];
        (self.rows.decode)(stored, &mut values);
        values
    }

    fn failed<E>(&self, format: WeightFormat) -> impl Fn(E) -> Error
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let name = self.place.to_owned();
        move |source| Error::Quantize {
            name: name.clone(),
            format,
            source: Box::new(source),
        }
    }

    fn gguf(&self, ty: TensorType) -> Result<Matrix> {
        let failed = self.failed(WeightFormat::Gguf(ty));
        let unusable = || Error::TensorType {
            name: self.place.to_owned(),
            ty: ty.name().to_owned(),
        };
        let row = ty.row_bytes(self.k).ok_or_else(unusable)?;
        let mut out = vec![0; self.n * row];
        let parts = out.chunks_mut((self.rows_per_chunk() * row).max(1));
        let items: Vec<_> = self.chunks().zip(parts).collect();
        for_each(self.pool, items, |(stored, out)| {
            out.copy_from_slice(&quantize(ty, &self.values(stored)).map_err(&failed)?);
            Ok::<(), Error>(())
        })?;
        if let Some(format) = load::packed_format(ty) {
            let (n, k) = (self.n, self.k);
            return Ok(Matrix::pack(self.isa, format, &out, n, k, self.pool)?);
        }
        let decode = dequantizer(ty).ok_or_else(unusable)?;
        let source = std::sync::Arc::new(out);
        Ok(Matrix::from_rows(
            source, self.n, self.k, row, decode, self.isa,
        )?)
    }

    fn int8(&self) -> Result<Matrix> {
        let (n, k) = (self.n, self.k);
        let (mut codes, mut scales) = (vec![0; n * k], vec![0.0; n]);
        let rows = self.rows_per_chunk();
        let failed = self.failed(WeightFormat::Int8);
        let parts = codes.chunks_mut((rows * k).max(1));
        let parts = parts.zip(scales.chunks_mut(rows.max(1)));
        let items: Vec<_> = self.chunks().zip(parts).collect();
        for_each(self.pool, items, |(stored, (codes, scales))| {
            let values = self.values(stored);
            int8::quantize(self.isa, None, &values, k, codes, scales).map_err(&failed)
        })?;
        let parts = (&codes[..], &scales[..]);
        Ok(Matrix::pack_int8(self.isa, parts, (n, k), self.pool)?)
    }

    fn four_bit(&self, code: FourBit, double: bool) -> Result<Matrix> {
        let (n, k, block) = (self.n, self.k, self.block);
        let (mut codes, mut scales) = (vec![0; n * k / 2], vec![0.0; n * k / block]);
        let format = match code {
            FourBit::Nf4 => WeightFormat::Nf4,
            _ => WeightFormat::Fp4,
        };
        let (values, failed) = (self.rows_per_chunk() * k, self.failed(format));
        let parts = codes.chunks_mut((values / 2).max(1));
        let parts = parts.zip(scales.chunks_mut((values / block).max(1)));
        let items: Vec<_> = self.chunks().zip(parts).collect();
        for_each(self.pool, items, |(stored, (codes, scales))| {
            let values = self.values(stored);
            code.quantize(self.isa, None, block, &values, codes, scales)
                .map_err(&failed)
        })?;
        if double {
            scales = DoubleScales::quantize(&scales)
                .map_err(&failed)?
                .dequantize();
        }
        let parts = (&codes[..], &scales[..]);
        Ok(Matrix::pack_four_bit(
            self.isa,
            code,
            block,
            parts,
            (n, k),
            self.pool,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_names() {
        for format in [
            WeightFormat::Int8,
            WeightFormat::Nf4,
            WeightFormat::Nf4Double,
            WeightFormat::Fp4,
            WeightFormat::Gguf(TensorType::Q4_K),
            WeightFormat::Gguf(TensorType::BF16),
        ] {
            let lower = format.to_string().to_lowercase();
            assert_eq!(lower.parse::<WeightFormat>().unwrap(), format);
        }
        let error = "q9".parse::<WeightFormat>().unwrap_err().to_string();
        assert!(error.contains("`q9`") && error.contains("nf4"), "{error}");
        // A type that nothing writes.
        assert!("q8_k".parse::<WeightFormat>().is_err());
    }

    #[test]
    fn roles_take_their_formats() {
        let ty = WeightFormat::Gguf;
        let rule =
            LoadQuantize::new(ty(TensorType::Q4_K)).with_role(Role::Down, WeightFormat::Int8);
        assert_eq!(rule.of(Role::Q), Some(ty(TensorType::Q4_K)));
        assert_eq!(rule.of(Role::Down), Some(WeightFormat::Int8));
        assert_eq!(rule.of(Role::Head), Some(ty(TensorType::Q6_K)));
        assert_eq!(rule.of(Role::Router), None);
        let kept = rule.clone().with_head(HeadRule::Kept);
        assert_eq!(kept.of(Role::Head), None);
        let same = rule.with_head(HeadRule::Same);
        assert_eq!(same.of(Role::Head), Some(ty(TensorType::Q4_K)));
        let head = |format| LoadQuantize::new(format).of(Role::Head);
        assert_eq!(head(ty(TensorType::Q6_K)), Some(ty(TensorType::Q8_0)));
        assert_eq!(head(ty(TensorType::Q8_0)), Some(ty(TensorType::Q8_0)));
        assert_eq!(head(ty(TensorType::F16)), Some(ty(TensorType::F16)));
        assert_eq!(head(WeightFormat::Nf4), None);
    }

    #[test]
    fn rows_that_no_block_divides_take_the_next_type() {
        let ty = WeightFormat::Gguf;
        for (format, cols, wanted) in [
            (ty(TensorType::Q4_K), 512, Some(ty(TensorType::Q4_K))),
            (ty(TensorType::Q4_K), 96, Some(ty(TensorType::Q5_0))),
            (ty(TensorType::Q6_K), 96, Some(ty(TensorType::Q8_0))),
            (ty(TensorType::Q3_K), 96, Some(ty(TensorType::Q4_0))),
            (ty(TensorType::IQ4_XS), 96, Some(ty(TensorType::IQ4_NL))),
            (ty(TensorType::Q4_0), 100, None),
            (WeightFormat::Nf4, 96, Some(ty(TensorType::Q8_0))),
            (WeightFormat::Nf4, 64, Some(WeightFormat::Nf4)),
            (WeightFormat::Int8, 33, None),
        ] {
            assert_eq!(fitting(format, cols), wanted, "{format}, {cols}");
        }
    }
}
