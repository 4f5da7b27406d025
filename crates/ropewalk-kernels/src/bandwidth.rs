//! The machine's read bandwidth, the roofline of decoding.
#![allow(unsafe_code, reason = "std::arch intrinsics on raw pointers")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::buffer::Buffer;
use crate::{Error, Isa, Pool};

/// Bytes one chunk of a pass reads.
const CHUNK: usize = 1 << 20;
/// The smallest page of any system; a step of it touches larger pages as well.
const PAGE: usize = 4096;
/// Size of the buffer of [`bandwidth`]: beyond every cache of the machines this is meant for.
const SIZE: usize = 256 << 20;
// Chunks are read by 256 bytes, and the first byte of each page is written.
const _: () = assert!(CHUNK.is_multiple_of(256) && CHUNK.is_multiple_of(PAGE));
/// How long [`bandwidth`] repeats its passes.
const PATIENCE: Duration = Duration::from_millis(120);

/// A buffer much larger than the caches, to be read from end to end.
#[derive(Debug)]
pub struct ReadStream {
    data: Buffer,
    isa: Isa,
}

impl ReadStream {
    /// Returns a stream over `bytes` bytes, rounded up to whole MiB (1 at least), every page of
    /// them in memory.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(pool: &Pool, bytes: usize) -> Result<Self, Error> {
        let bytes = bytes.max(CHUNK).next_multiple_of(CHUNK);
        let mut data = Buffer::zeroed(bytes)?;
        let base = crate::shared::Shared(data.bytes_mut().as_mut_ptr());
        pool.run(bytes / CHUNK, &|i| {
            for page in (0..CHUNK).step_by(PAGE) {
                // Pages that were never written share one physical page, which would be cached.
                // SAFETY: the chunks are disjoint parts of the buffer.
                unsafe { base.get().add(i * CHUNK + page).write(1) };
            }
        });
        Ok(Self {
            data,
            isa: Isa::best(),
        })
    }

    /// Reads the buffer once with all threads and returns the rate in GB/s (10^9 bytes).
    #[must_use]
    pub fn read(&self, pool: &Pool) -> f64 {
        let sum = AtomicU64::new(0);
        let start = Instant::now();
        pool.run(self.data.len() / CHUNK, &|i| {
            let chunk = &self.data.bytes()[i * CHUNK..][..CHUNK];
            sum.fetch_add(read(self.isa, chunk), Ordering::Relaxed);
        });
        let seconds = start.elapsed().as_secs_f64();
        std::hint::black_box(sum.into_inner());
        self.data.len() as f64 / seconds / 1e9
    }
}

/// Returns the machine's read bandwidth with all threads of the pool in GB/s (10^9 bytes per
/// second): the best of several passes over 256 MiB, in about 0.2 s. 0 when memory is short.
///
/// Decoding one token reads every weight once, so this number over the bytes of a model is the
/// most tokens per second the machine can give.
#[must_use]
pub fn bandwidth(pool: &Pool) -> f64 {
    let start = Instant::now();
    let Ok(stream) = ReadStream::new(pool, SIZE) else {
        return 0.0;
    };
    let mut best = stream.read(pool);
    while start.elapsed() < PATIENCE {
        best = best.max(stream.read(pool));
    }
    best
}

/// Reads a chunk and returns something that depends on all of it.
fn read(isa: Isa, chunk: &[u8]) -> u64 {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the tier is available and the chunk is 64-byte aligned.
        Isa::Avx512Vnni => unsafe { x86::read512(chunk) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 | Isa::AvxVnni => unsafe { x86::read256(chunk) },
        _ => chunk.chunks_exact(8).fold(0, |sum, c| {
            let mut word = [0; 8];
            word.copy_from_slice(c);
            sum ^ u64::from_le_bytes(word)
        }),
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Bytes ahead of the loads that are asked for.
    const AHEAD: usize = 8 * 1024;

    /// # Safety
    /// The CPU has AVX-512 F; `chunk` is 64-byte aligned.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn read512(chunk: &[u8]) -> u64 {
        let mut sums = [_mm512_setzero_si512(); 4];
        for lines in chunk.chunks_exact(256) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: inside the chunk of 256 bytes; prefetches may point anywhere.
                unsafe {
                    let p = lines.as_ptr().add(64 * i);
                    _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(AHEAD).cast());
                    *sum = _mm512_xor_si512(*sum, _mm512_load_si512(p.cast()));
                }
            }
        }
        let [a, b, c, d] = sums;
        let all = _mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d));
        _mm512_reduce_or_epi64(all).cast_unsigned()
    }

    /// # Safety
    /// The CPU has AVX2; `chunk` is 32-byte aligned.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn read256(chunk: &[u8]) -> u64 {
        let mut sums = [_mm256_setzero_si256(); 8];
        for lines in chunk.chunks_exact(256) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: inside the chunk of 256 bytes; prefetches may point anywhere.
                unsafe {
                    let p = lines.as_ptr().add(32 * i);
                    _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(AHEAD).cast());
                    *sum = _mm256_xor_si256(*sum, _mm256_load_si256(p.cast()));
                }
            }
        }
        let all = sums
            .into_iter()
            .fold(_mm256_setzero_si256(), |a, b| _mm256_xor_si256(a, b));
        let mut words = [0u64; 4];
        // SAFETY: four words are 32 bytes.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), all) };
        words.iter().fold(0, |a, b| a | b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_byte_on_every_tier() {
        let pool = Pool::new(std::num::NonZeroUsize::MIN);
        let mut stream = ReadStream::new(&pool, CHUNK).unwrap();
        for isa in Isa::available() {
            stream.isa = isa;
            stream.data.bytes_mut().fill(0);
            assert_eq!(read(isa, stream.data.bytes()), 0);
            for at in [0, 63, 64, 1000, CHUNK - 1] {
                stream.data.bytes_mut()[at] = 9;
                assert_ne!(read(isa, stream.data.bytes()), 0, "{isa} byte {at}");
                stream.data.bytes_mut()[at] = 0;
            }
            assert!(stream.read(&pool) > 0.0);
        }
    }
}
