//! 8-bit blocks with a dynamic exponent: the code of 4-bit scales and of 8-bit optimiser states.

use std::sync::LazyLock;

use super::{block_size, finite, length};
use crate::Error;

/// Values of a block of [`DoubleScales`].
const NESTED: usize = 256;

/// Returns the 256 ascending values of the signed dynamic map (`create_dynamic_map` in
/// bitsandbytes' `functional.py`; Dettmers, arXiv 1511.04561): for each of seven decades the
/// midpoints of 1, 2, 4 ... 64 equal parts of 0.1 to 1 with both signs, then 0 and 1.
#[must_use]
pub fn map() -> &'static [f32; 256] {
    static MAP: LazyLock<[f32; 256]> = LazyLock::new(|| {
        const DECADES: [f32; 7] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];
        let mut values = [0.0; 256];
        let mut next = 0;
        for (i, decade) in DECADES.into_iter().enumerate() {
            let parts = 1 << i;
            for part in 0..parts {
                let mean = (boundary(part, parts) + boundary(part + 1, parts)) / 2.0;
                values[next] = decade * mean;
                values[next + 1] = -decade * mean;
                next += 2;
            }
        }
        values[255] = 1.0;
        values.sort_by(f32::total_cmp);
        values
    });
    &MAP
}

/// Returns boundary `i` of `parts` equal parts of 0.1 to 1, rounded as `torch.linspace` does:
/// from the nearer end.
fn boundary(i: usize, parts: usize) -> f32 {
    let step = (1.0 - 0.1f32) / parts as f32;
    if i < parts.div_ceil(2) {
        step.mul_add(i as f32, 0.1)
    } else {
        (-step).mul_add((parts - i) as f32, 1.0)
    }
}

/// Codes `values` in blocks of `block`: a block's scale is its largest magnitude, a code the
/// index of the nearest value of `map` (ascending), ties down.
///
/// # Shapes
/// - `codes`: as `values`; `scales`: `values.len().div_ceil(block)`
///
/// # Errors
/// [`Error::BlockSize`], [`Error::Length`], [`Error::NotFinite`].
pub fn quantize(
    map: &[f32; 256],
    block: usize,
    values: &[f32],
    codes: &mut [u8],
    scales: &mut [f32],
) -> Result<(), Error> {
    const TINY: f32 = 1e-38;
    block_size(block)?;
    length("8-bit codes", codes.len(), values.len())?;
    length("8-bit scales", scales.len(), values.len().div_ceil(block))?;
    finite("8-bit input", values)?;
    let bounds: [f32; 255] = std::array::from_fn(|i| (map[i] + map[i + 1]) / 2.0);
    let blocks = values.chunks(block).zip(codes.chunks_mut(block));
    for ((values, codes), scale) in blocks.zip(scales) {
        let max = values.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let short = values.len() < block;
        *scale = if short { max.max(TINY) } else { max };
        let (divisor, factor) = (max.max(TINY), 1.0 / max.max(TINY));
        for (code, &x) in codes.iter_mut().zip(values) {
            let x = if short { x / divisor } else { x * factor };
            // At most 255 bounds.
            *code = bounds.partition_point(|&b| b < x) as u8;
        }
    }
    Ok(())
}

/// Writes `map[code] * scale` for every value.
///
/// # Shapes
/// - `codes`: as `out`; `scales`: `out.len().div_ceil(block)`
///
/// # Errors
/// [`Error::BlockSize`], [`Error::Length`].
pub fn dequantize(
    map: &[f32; 256],
    block: usize,
    codes: &[u8],
    scales: &[f32],
    out: &mut [f32],
) -> Result<(), Error> {
    block_size(block)?;
    length("8-bit codes", codes.len(), out.len())?;
    length("8-bit scales", scales.len(), out.len().div_ceil(block))?;
    let blocks = out.chunks_mut(block).zip(codes.chunks(block));
    for ((out, codes), scale) in blocks.zip(scales) {
        for (x, &code) in out.iter_mut().zip(codes) {
            *x = map[usize::from(code)] * scale;
        }
    }
    Ok(())
}

/// Scales of 4-bit blocks, themselves coded to 8 bits: bitsandbytes' double quantisation.
///
/// The mean is taken off, the rest is coded in blocks of 256 with [`map`]. The mean is summed in
/// f64; PyTorch sums in f32 in an order that depends on the machine, so its `offset` may differ in
/// the last bits. Scales that were coded elsewhere decode to the same bits.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DoubleScales {
    /// One code per scale.
    pub codes: Vec<u8>,
    /// One scale per 256 codes (`nested_absmax` in checkpoints).
    pub absmax: Vec<f32>,
    /// The mean that was taken off (`nested_offset`).
    pub offset: f32,
}

impl DoubleScales {
    /// Puts parts together that were coded before.
    ///
    /// # Errors
    /// [`Error::Length`] when `absmax` is not one per 256 codes.
    pub fn new(codes: Vec<u8>, absmax: Vec<f32>, offset: f32) -> Result<Self, Error> {
        length("nested scales", absmax.len(), codes.len().div_ceil(NESTED))?;
        Ok(Self {
            codes,
            absmax,
            offset,
        })
    }

    /// Codes scales.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    pub fn quantize(scales: &[f32]) -> Result<Self, Error> {
        finite("4-bit scales", scales)?;
        let sum: f64 = scales.iter().map(|&x| f64::from(x)).sum();
        let offset = (sum / scales.len().max(1) as f64) as f32;
        let centred: Vec<f32> = scales.iter().map(|x| x - offset).collect();
        let mut this = Self {
            codes: vec![0; scales.len()],
            absmax: vec![0.0; scales.len().div_ceil(NESTED)],
            offset,
        };
        quantize(map(), NESTED, &centred, &mut this.codes, &mut this.absmax)?;
        Ok(this)
    }

    /// Returns the scales.
    #[must_use]
    pub fn dequantize(&self) -> Vec<f32> {
        self.dequantize_with(map())
    }

    /// Returns the scales, decoded with the map of a checkpoint.
    #[must_use]
    pub fn dequantize_with(&self, map: &[f32; 256]) -> Vec<f32> {
        let blocks = self.codes.chunks(NESTED).zip(&self.absmax);
        let one = |(codes, &absmax)| {
            let codes: &[u8] = codes;
            codes.iter().map(move |&c| map[usize::from(c)] * absmax)
        };
        blocks.flat_map(one).map(|x: f32| x + self.offset).collect()
    }
}
