//! Made-up weights for kernel benchmarks.

use ropewalk_kernels::Format;

/// Returns blocks for `values` weights: random codes under scales that keep products finite.
pub fn random(format: Format, values: usize) -> Vec<u8> {
    let bytes = values / format.block_size() * format.block_bytes();
    let mut state = 88_172_645_463_325_252u64;
    let mut blocks: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
    .take(bytes)
    .collect();
    for block in blocks.chunks_exact_mut(format.block_bytes().max(4)) {
        if format == Format::MXFP4 {
            // 2^-7 to 2^0: at random, some products would be subnormal, which CPUs are slow at.
            block[0] = 120 + block[0] % 8;
            continue;
        }
        // Every f16 scale of a block is in its first or last four bytes: an exponent of 2^-7.
        let end = block.len();
        for at in [1, 3, end - 3, end - 1] {
            block[at] = 0x20;
        }
    }
    blocks
}
