//! Encoders of IQ2_XXS, IQ2_XS and IQ2_S. Layouts: `dequant/iq.rs`.

use super::fit;
use super::iq_book::{self, Book};
use super::iq_search::{Again, SUPER, Search, code_scales, mean_square, part, weigh};
use super::k_quants::each;

/// Below this the largest value of a block counts as zero (`GROUP_MAX_EPS`).
const ZERO: f32 = 1e-15;

const fn search(book: &'static Book<8>, least: f32, even: bool) -> Search<8> {
    Search {
        book,
        levels: 3,
        steps: 9,
        step: 0.1,
        least,
        even,
        again: Again::Missed,
    }
}

pub(super) fn iq2_xxs(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let search = Search {
        steps: 6,
        again: Again::Always,
        ..search(&iq_book::IQ2_XXS, ZERO, true)
    };
    each(x, importance, out, |x, importance, block: &mut [u8; 66]| {
        let variance = mean_square(x);
        let mut scales = [0.0; SUPER / 32];
        for (i, scale) in scales.iter_mut().enumerate() {
            let (x, importance) = part::<32>(x, importance, i);
            let weights = weigh(x, importance, variance, |xx| xx);
            // Levels 0 to 4 give a first scale.
            let fit = search.fit(x, &weights, |x, _| 3.0 * fit::codes(x, &weights, 4).0);
            let signs = (0..4).fold(0, |all, k| all | u32::from(fit.signs[k]) << (7 * k));
            for k in 0..4 {
                block[2 + 8 * i + k] = fit.codes[k] as u8;
            }
            block[6 + 8 * i..][..4].copy_from_slice(&signs.to_le_bytes());
            *scale = fit.scale;
        }
        match code_scales(&scales, 15, 1.0) {
            Some((d, codes)) => {
                block[..2].copy_from_slice(&d.to_le_bytes());
                for (i, code) in codes.iter().enumerate() {
                    block[9 + 8 * i] |= code << 4;
                }
            }
            None => block.fill(0),
        }
    });
}

/// Writes the factor at the start and 16 half bytes of scales at the end of a block.
fn put_scales(block: &mut [u8], d: u16, codes: &[u8; 16]) {
    block[..2].copy_from_slice(&d.to_le_bytes());
    let at = block.len() - 8;
    for (byte, pair) in block[at..].iter_mut().zip(codes.as_chunks::<2>().0) {
        *byte = pair[0] | pair[1] << 4;
    }
}

pub(super) fn iq2_xs(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let search = search(&iq_book::IQ2_XS, ZERO, true);
    each(x, importance, out, |x, importance, block: &mut [u8; 74]| {
        let variance = mean_square(x);
        let mut scales = [0.0; SUPER / 16];
        for (i, scale) in scales.iter_mut().enumerate() {
            let (x, importance) = part::<16>(x, importance, i);
            let weights = weigh(x, importance, variance, |xx| xx);
            let fit = search.fit(x, &weights, |_, largest| largest);
            for k in 0..2 {
                let code = fit.codes[k] | u16::from(fit.signs[k]) << 9;
                block[2 + 4 * i + 2 * k..][..2].copy_from_slice(&code.to_le_bytes());
            }
            *scale = fit.scale;
        }
        match code_scales(&scales, 15, 1.0) {
            Some((d, codes)) => put_scales(block, d, &codes),
            None => block.fill(0),
        }
    });
}

pub(super) fn iq2_s(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let search = search(&iq_book::IQ2_S, 1e-8, false);
    each(x, importance, out, |x, importance, block: &mut [u8; 82]| {
        let variance = 2.0 * mean_square(x);
        let mut scales = [0.0; SUPER / 16];
        for (i, scale) in scales.iter_mut().enumerate() {
            let (x, importance) = part::<16>(x, importance, i);
            let weights = weigh(x, importance, variance, |xx| 0.25 * variance + xx);
            let fit = search.fit(x, &weights, |_, largest| largest);
            for k in 0..2 {
                let (group, code) = (2 * i + k, fit.codes[k]);
                block[2 + group] = code as u8;
                block[34 + group] = fit.signs[k];
                block[66 + group / 4] |= ((code >> 8) as u8) << (2 * (group % 4));
            }
            *scale = fit.scale;
        }
        if let Some((d, codes)) = code_scales(&scales, 15, 0.9875) {
            put_scales(block, d, &codes);
        }
    });
}
