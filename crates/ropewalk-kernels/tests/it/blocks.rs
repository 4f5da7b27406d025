//! Random ggml blocks and their values, written from the format descriptions alone.
//!
//! `value` follows `dequantize_row_*` of `ggml/src/ggml-quants.c` (llama.cpp) element by element,
//! in f64 and with no code in common with the crate.

use ropewalk_kernels::Format;

/// Formats with blocks.
pub(crate) fn quantised() -> Vec<Format> {
    Format::ALL
        .into_iter()
        .filter(|f| f.block_size() > 1)
        .collect()
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A value in -1..1.
    pub(crate) fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub(crate) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }
}

/// Where the f16 scales of a block are.
pub(crate) fn scales_at(format: Format) -> &'static [usize] {
    match format {
        Format::Q4_0 | Format::Q5_0 | Format::Q8_0 | Format::IQ4_NL | Format::IQ4_XS => &[0],
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
        Format::Q2_K => &[80, 82],
        Format::Q3_K => &[108],
        Format::Q6_K => &[208],
        _ => &[],
    }
}

/// `rows` rows of random blocks with sensible scales.
pub(crate) fn random_rows(format: Format, rows: usize, k: usize, random: &mut Random) -> Vec<u8> {
    let blocks = rows * k / format.block_size();
    let mut bytes: Vec<u8> = (0..blocks * format.block_bytes())
        .map(|_| random.next() as u8)
        .collect();
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        for &at in scales_at(format) {
            // 2^-7 to 2^-3 with either sign.
            let bits = (random.next() as u16 & 0x8fff) | 0x2000;
            block[at..at + 2].copy_from_slice(&bits.to_le_bytes());
        }
        if format == Format::MXFP4 {
            block[0] = 118 + (random.next() % 8) as u8;
        }
    }
    bytes
}

fn half(b: &[u8]) -> f64 {
    let bits = u16::from_le_bytes([b[0], b[1]]);
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (e, m) = (i32::from((bits >> 10) & 31), f64::from(bits & 1023));
    assert!(e != 31, "the tests use finite scales");
    sign * if e == 0 {
        m * 2f64.powi(-24)
    } else {
        (1.0 + m / 1024.0) * 2f64.powi(e - 15)
    }
}

const NON_LINEAR: [i32; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];
const E2M1: [f64; 16] = [
    0., 0.5, 1., 1.5, 2., 3., 4., 6., 0., -0.5, -1., -1.5, -2., -3., -4., -6.,
];

/// Nibble `i` of a block of 32: low nibbles first.
fn nibble(qs: &[u8], i: usize) -> u8 {
    if i < 16 { qs[i] & 15 } else { qs[i - 16] >> 4 }
}

fn fifth(qh: &[u8], i: usize) -> u8 {
    ((u32::from_le_bytes([qh[0], qh[1], qh[2], qh[3]]) >> i) & 1) as u8
}

/// Scale and minimum `j` of Q4_K and Q5_K.
fn scale_min(s: &[u8], j: usize) -> (f64, f64) {
    let (scale, min) = if j < 4 {
        (s[j] & 63, s[j + 4] & 63)
    } else {
        (
            (s[j + 4] & 15) | (s[j - 4] >> 6 << 4),
            (s[j + 4] >> 4) | (s[j] >> 6 << 4),
        )
    };
    (f64::from(scale), f64::from(min))
}

/// Value `i` of one block.
fn value(format: Format, b: &[u8], i: usize) -> f64 {
    match format {
        Format::Q4_0 => half(b) * (f64::from(nibble(&b[2..], i)) - 8.0),
        Format::Q4_1 => half(b) * f64::from(nibble(&b[4..], i)) + half(&b[2..]),
        Format::Q5_0 => half(b) * (f64::from(nibble(&b[6..], i) | (fifth(&b[2..], i) << 4)) - 16.0),
        Format::Q5_1 => {
            half(b) * f64::from(nibble(&b[8..], i) | (fifth(&b[4..], i) << 4)) + half(&b[2..])
        }
        Format::Q8_0 => half(b) * f64::from(b[2 + i] as i8),
        Format::IQ4_NL => half(b) * f64::from(NON_LINEAR[usize::from(nibble(&b[2..], i))]),
        Format::MXFP4 => 2f64.powi(i32::from(b[0]) - 127) * E2M1[usize::from(nibble(&b[1..], i))],
        Format::Q4_K | Format::Q5_K => {
            let (scale, min) = scale_min(&b[4..16], i / 32);
            let qs = &b[if format == Format::Q4_K { 16 } else { 48 }..];
            let byte = qs[i / 64 * 32 + i % 32];
            let mut q = if i % 64 < 32 { byte & 15 } else { byte >> 4 };
            if format == Format::Q5_K {
                q |= ((b[16 + i % 32] >> (i / 32)) & 1) << 4;
            }
            half(b) * scale * f64::from(q) - half(&b[2..]) * min
        }
        Format::Q6_K => {
            let (h, l) = (i / 128, i % 32);
            let quarter = i % 128 / 32;
            let low = b[64 * h + 32 * (quarter % 2) + l] >> (4 * (quarter / 2)) & 15;
            let high = b[128 + 32 * h + l] >> (2 * quarter) & 3;
            half(&b[208..])
                * f64::from(b[192 + i / 16] as i8)
                * (f64::from(low | (high << 4)) - 32.0)
        }
        Format::Q2_K => {
            let q = b[16 + i / 128 * 32 + i % 32] >> (2 * (i % 128 / 32)) & 3;
            let s = b[i / 16];
            half(&b[80..]) * f64::from(s & 15) * f64::from(q) - half(&b[82..]) * f64::from(s >> 4)
        }
        Format::Q3_K => {
            let q = b[32 + i / 128 * 32 + i % 32] >> (2 * (i % 128 / 32)) & 3;
            let high = b[i % 32] >> (i / 32) & 1;
            let (j, s) = (i / 16, &b[96..108]);
            let low = if j < 8 { s[j] & 15 } else { s[j - 8] >> 4 };
            let scale = i32::from(low | (s[8 + j % 4] >> (2 * (j / 4)) & 3) << 4) - 32;
            half(&b[108..]) * f64::from(scale) * (f64::from(q) - if high == 1 { 0.0 } else { 4.0 })
        }
        Format::IQ4_XS => {
            let j = i / 32;
            let low = b[4 + j / 2] >> (4 * (j % 2)) & 15;
            let high = u16::from_le_bytes([b[2], b[3]]) >> (2 * j) & 3;
            let scale = f64::from(u16::from(low) | (high << 4)) - 32.0;
            let q = nibble(&b[8 + 16 * j..], i % 32);
            half(b) * scale * f64::from(NON_LINEAR[usize::from(q)])
        }
        _ => unreachable!("{format} has no blocks"),
    }
}

/// The values of a row of blocks.
pub(crate) fn values(format: Format, row: &[u8]) -> Vec<f64> {
    row.chunks_exact(format.block_bytes())
        .flat_map(|b| (0..format.block_size()).map(|i| value(format, b, i)))
        .collect()
}
