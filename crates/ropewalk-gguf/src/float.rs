//! Conversions of the 16-bit float formats, written so that loops over them become SIMD code.

/// Converts IEEE half precision to single precision; exact.
///
/// Moving exponent and mantissa up by 13 bits leaves the exponent too small by 112. The product
/// with 2^112 repairs normal and subnormal numbers alike; what was infinite or NaN gets the
/// largest exponent back.
#[inline(always)]
pub(crate) fn f16_to_f32(half: u16) -> f32 {
    let bits = u32::from(half);
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    let special = if magnitude >= 65536.0 { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | special | ((bits & 0x8000) << 16))
}

/// Converts single precision to half precision, rounding to nearest, ties to even. NaN stays NaN.
#[inline]
pub(crate) fn f32_to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    let half = if magnitude > 0x7f80_0000 {
        0x7e00 | ((magnitude >> 13) & 0x3ff)
    } else if magnitude >= 0x4780_0000 {
        0x7c00
    } else if magnitude >= 0x3880_0000 {
        // Normal: move the exponent down by 112; a carry out of the mantissa raises it.
        round_shift(magnitude - 0x3800_0000, 13)
    } else if magnitude >= 0x3300_0000 {
        // Subnormal: shift the mantissa, with its hidden bit, to the fixed exponent.
        let mantissa = (magnitude & 0x007f_ffff) | 0x0080_0000;
        round_shift(mantissa, 126 - (magnitude >> 23))
    } else {
        0
    };
    sign | half as u16
}

fn round_shift(bits: u32, shift: u32) -> u32 {
    let half = (1 << (shift - 1)) - 1;
    (bits + half + ((bits >> shift) & 1)) >> shift
}

/// Converts bfloat16 to single precision; exact.
#[inline(always)]
pub(crate) fn bf16_to_f32(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// Converts single precision to bfloat16, rounding to nearest, ties to even; NaN becomes quiet.
///
/// `ggml_compute_fp32_to_bf16` in `ggml-impl.h`.
#[inline]
pub(crate) fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        return ((bits >> 16) | 64) as u16;
    }
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_matches_the_half_crate() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (f16_to_f32(bits), half::f16::from_bits(bits).to_f32());
            assert!(
                ours == theirs || (ours.is_nan() && theirs.is_nan()),
                "{bits:#06x}"
            );
            let ours = bf16_to_f32(bits);
            let theirs = half::bf16::from_bits(bits).to_f32();
            assert!(
                ours == theirs || (ours.is_nan() && theirs.is_nan()),
                "{bits:#06x}"
            );
        }
    }

    #[test]
    fn narrowing_matches_the_half_crate() {
        // A stride prime to 2^32 visits every exponent and mixed mantissas; the neighbours of each
        // half cover the ties.
        let spread = (0..2_000_000_u32).map(|i| i.wrapping_mul(2_147_483_629));
        let ties = (0..=u16::MAX).flat_map(|h| {
            let bits = f16_to_f32(h).to_bits();
            [
                bits.wrapping_sub(1),
                bits,
                bits + 1,
                bits + 0xfff,
                bits + 0x1000,
                bits + 0x1001,
            ]
        });
        for x in spread.chain(ties).map(f32::from_bits) {
            let (ours, theirs) = (f32_to_f16(x), half::f16::from_f32(x));
            assert!(
                ours == theirs.to_bits() || x.is_nan() && theirs.is_nan(),
                "{x:e} f16"
            );
            assert_eq!(f16_to_f32(ours).is_nan(), x.is_nan(), "{x:e} f16");
            let (ours, theirs) = (f32_to_bf16(x), half::bf16::from_f32(x));
            assert!(
                ours == theirs.to_bits() || x.is_nan() && theirs.is_nan(),
                "{x:e} bf16"
            );
        }
    }
}
