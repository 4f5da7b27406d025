//! What the cores could compute: multiply-adds in registers and nothing else.

use std::time::Instant;

use ropewalk_kernels::{Isa, Pool};

/// Returns operations per second of all threads in f32 and in int8 (a multiply-add counts as two),
/// NaN where this machine's best tier has no loop here.
pub fn peak(pool: &Pool, isa: Isa) -> (f64, f64) {
    (
        rate(pool, || f32_round(isa)),
        rate(pool, || int8_round(isa)),
    )
}

/// Runs a round, which returns its operations, on every thread for about 50 ms.
fn rate(pool: &Pool, round: impl Fn() -> f64 + Sync) -> f64 {
    const ROUNDS: usize = 40;
    let threads = pool.threads().get();
    let mut best = f64::NAN;
    for _ in 0..5 {
        let start = Instant::now();
        pool.run(threads, &|_| {
            for _ in 0..ROUNDS {
                round();
            }
        });
        let ops = round() * (ROUNDS * threads) as f64;
        best = best.max(ops / start.elapsed().as_secs_f64());
    }
    best
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    /// Steps of a round.
    pub const STEPS: usize = 20_000;

    macro_rules! round {
        ($name:ident, $features:literal, $chains:literal, $one:expr, $step:expr) => {
            /// # Safety
            /// The CPU has these features.
            #[target_feature(enable = $features)]
            pub unsafe fn $name() {
                let one = black_box($one);
                let mut sums = [one; $chains];
                for _ in 0..STEPS {
                    for sum in &mut sums {
                        *sum = $step(*sum, one);
                    }
                }
                black_box(sums);
            }
        };
    }

    round!(f32_512, "avx512f", 24, _mm512_set1_ps(1e-3), |s, x| {
        _mm512_fmadd_ps(x, x, s)
    });
    round!(f32_256, "avx2,fma", 12, _mm256_set1_ps(1e-3), |s, x| {
        _mm256_fmadd_ps(x, x, s)
    });
    round!(
        int8_512,
        "avx512f,avx512vnni",
        24,
        _mm512_set1_epi8(1),
        |s, x| _mm512_dpbusd_epi32(s, x, x)
    );
}

fn f32_round(isa: Isa) -> f64 {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => {
            // SAFETY: the tier is available.
            unsafe { x86::f32_512() };
            (x86::STEPS * 24 * 32) as f64
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::AvxVnni => {
            // SAFETY: the tier is available.
            unsafe { x86::f32_256() };
            (x86::STEPS * 12 * 16) as f64
        }
        _ => f64::NAN,
    }
}

fn int8_round(isa: Isa) -> f64 {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => {
            // SAFETY: the tier is available.
            unsafe { x86::int8_512() };
            (x86::STEPS * 24 * 128) as f64
        }
        _ => f64::NAN,
    }
}
