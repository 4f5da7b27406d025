//! The 12 bytes that hold eight 6-bit scales and eight 6-bit minimums in Q4_K and Q5_K.
//!
//! Bytes 0-3 hold scales 0-3 and bytes 4-7 minimums 0-3 in their low six bits. Bytes 8-11 hold the
//! low halves of scales 4-7 (low four bits) and of minimums 4-7 (high four bits), whose upper two
//! bits are the upper two bits of bytes 0-3 and 4-7 (`get_scale_min_k4` in `ggml-quants.c`).

/// Unpacks scales and minimums.
#[inline(always)]
pub(crate) fn scale_min(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut mins) = ([0; 8], [0; 8]);
    for j in 0..4 {
        let (a, b, c) = (packed[j], packed[j + 4], packed[j + 8]);
        (scales[j], mins[j]) = (a & 63, b & 63);
        (scales[j + 4], mins[j + 4]) = (c & 15 | (a >> 6) << 4, c >> 4 | (b >> 6) << 4);
    }
    (scales, mins)
}

/// Packs scales and minimums, each below 64.
pub(crate) fn pack_scale_min(scales: [u8; 8], mins: [u8; 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for j in 0..4 {
        packed[j] = scales[j] & 63 | (scales[j + 4] >> 4) << 6;
        packed[j + 4] = mins[j] & 63 | (mins[j + 4] >> 4) << 6;
        packed[j + 8] = scales[j + 4] & 15 | mins[j + 4] << 4;
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_round_trips() {
        let scales = [0, 1, 63, 17, 16, 48, 63, 15];
        let mins = [63, 2, 0, 33, 47, 63, 1, 16];
        assert_eq!(scale_min(&pack_scale_min(scales, mins)), (scales, mins));
    }
}
