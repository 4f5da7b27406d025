//! Encoders of IQ3_XXS and IQ3_S. Layouts: `dequant/iq.rs`.
//!
//! One difference to ggml is meant: after 32 zeros `quantize_row_iq3_s_impl` does not step over
//! their codes, so that what follows in the super-block is stored in the wrong place.

use super::iq_book;
use super::iq_search::{Again, SUPER, Search, code_scales, mean_square, part, weigh};
use super::k_quants::each;

pub(super) fn iq3_xxs(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let search = Search {
        book: &iq_book::IQ3_XXS,
        levels: 8,
        steps: 15,
        step: 0.2,
        least: 1e-8,
        even: true,
        again: Again::Missed,
    };
    each(x, importance, out, |x, importance, block: &mut [u8; 98]| {
        let variance = 2.0 * mean_square(x);
        let mut scales = [0.0; SUPER / 32];
        for (i, scale) in scales.iter_mut().enumerate() {
            let (x, importance) = part::<32>(x, importance, i);
            let weights = weigh(x, importance, variance, |xx| xx);
            let fit = search.fit(x, &weights, |_, largest| largest);
            for (byte, code) in block[2 + 8 * i..].iter_mut().zip(fit.codes) {
                *byte = code as u8;
            }
            let signs = (0..4).fold(0, |all, k| all | u32::from(fit.signs[k]) << (7 * k));
            block[66 + 4 * i..][..4].copy_from_slice(&signs.to_le_bytes());
            *scale = fit.scale;
        }
        match code_scales(&scales, 15, 1.0125) {
            Some((d, codes)) => {
                block[..2].copy_from_slice(&d.to_le_bytes());
                for (i, code) in codes.iter().enumerate() {
                    block[69 + 4 * i] |= code << 4;
                }
            }
            None => block.fill(0),
        }
    });
}

pub(super) fn iq3_s(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let search = Search {
        book: &iq_book::IQ3_S,
        levels: 8,
        steps: 9,
        step: 0.2,
        least: f32::from_bits(1),
        even: false,
        again: Again::AllIfMissed,
    };
    each(
        x,
        importance,
        out,
        |x, importance, block: &mut [u8; 110]| {
            let variance = 2.0 * mean_square(x);
            let mut scales = [0.0; SUPER / 32];
            for (i, scale) in scales.iter_mut().enumerate() {
                let (x, importance) = part::<32>(x, importance, i);
                let weights = weigh(x, importance, variance, |xx| xx);
                let fit = search.fit(x, &weights, |_, largest| largest);
                for (k, code) in fit.codes.into_iter().enumerate() {
                    block[2 + 8 * i + k] = code as u8;
                    block[66 + i] |= ((code >> 8) as u8) << k;
                }
                block[74 + 4 * i..][..4].copy_from_slice(&fit.signs);
                *scale = fit.scale;
            }
            if let Some((d, codes)) = code_scales(&scales, 15, 1.033) {
                block[..2].copy_from_slice(&d.to_le_bytes());
                for (byte, pair) in block[106..].iter_mut().zip(codes.as_chunks::<2>().0) {
                    *byte = pair[0] | pair[1] << 4;
                }
            }
        },
    );
}
