//! Instruction-set tiers and their run-time detection.

use std::fmt;
use std::sync::OnceLock;

/// An instruction-set tier of the kernels, ordered from slowest to fastest on each architecture.
///
/// A tier is a run-time value: one binary holds all tiers of its architecture and
/// [`Isa::best`] picks one, so no `target-cpu` flag is needed.
///
/// [`Isa::best`] takes the first of these whose instructions the CPU has. On x86-64:
///
/// 1. [`Isa::Avx512Vnni`]: Intel servers from Cascade Lake and laptops from Ice Lake, AMD from Zen 4.
/// 2. [`Isa::AvxVnni`]: Intel without AVX-512 from Alder Lake.
/// 3. [`Isa::Avx2`]: Intel from Haswell, AMD from Zen; also CPUs with AVX-512 but no VNNI.
/// 4. [`Isa::Scalar`]: older ones.
///
/// On AArch64:
///
/// 1. [`Isa::NeonDot`]: Apple from A13 and M1, Graviton from 2, Ampere Altra, Cortex from A55 and
///    A75, Raspberry Pi 5.
/// 2. [`Isa::Neon`]: every other one, such as the Raspberry Pi 3 and 4.
///
/// Every other architecture runs [`Isa::Scalar`].
///
/// Asking for a tier that the machine lacks: what packs or quantises ([`Matrix`](crate::Matrix),
/// [`Acts`](crate::Acts)) answers [`Error::IsaUnavailable`](crate::Error::IsaUnavailable); what
/// keeps nothing for the tier ([`ops`](crate::ops), [`attention`](crate::attention),
/// [`sgemm`](crate::sgemm())) runs on [`Isa::best`] instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Portable code; the reference of all other tiers.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// [`Isa::Avx2`] plus the 256-bit integer dot product of AVX-VNNI.
    AvxVnni,
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI.
    Avx512Vnni,
    /// AArch64 with NEON, which all but bare-metal targets have.
    Neon,
    /// [`Isa::Neon`] plus the 4-way integer dot product (`FEAT_DotProd`).
    NeonDot,
}

impl Isa {
    /// Every tier, those of one architecture slowest first, whether this machine has it or not.
    pub const ALL: [Self; 6] = [
        Self::Scalar,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512Vnni,
        Self::Neon,
        Self::NeonDot,
    ];

    /// Returns the best tier of this machine; detected once.
    #[must_use]
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let available = Self::ALL.into_iter().filter(|isa| isa.is_available());
            available.max().unwrap_or(Self::Scalar)
        })
    }

    /// Returns the tiers of this machine, slowest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|isa| isa.is_available())
            .collect()
    }

    /// Returns whether this machine can run the tier.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => Self::Avx2.is_available() && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => {
                Self::Neon.is_available() && std::arch::is_aarch64_feature_detected!("dotprod")
            }
            // Tiers of other architectures.
            _ => false,
        }
    }

    /// Returns the lower-case name of the tier, such as `avx512-vnni`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Neon => "neon",
            Self::NeonDot => "neon-dotprod",
        }
    }

    /// Returns this tier, or the best one where this machine lacks it.
    pub(crate) fn usable(self) -> Self {
        if self.is_available() {
            self
        } else {
            Self::best()
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_is_the_last_available_tier() {
        assert_eq!(Isa::available().last(), Some(&Isa::best()));
        assert!(Isa::available().contains(&Isa::Scalar));
        assert!(Isa::Avx2 < Isa::AvxVnni && Isa::AvxVnni < Isa::Avx512Vnni);
        assert!(Isa::Neon < Isa::NeonDot);
        assert!(Isa::ALL.is_sorted() && Isa::ALL[0] == Isa::Scalar);
    }

    #[test]
    fn the_first_vector_tier_of_an_architecture_is_there() {
        if cfg!(target_arch = "aarch64") {
            assert!(Isa::Neon.is_available());
        }
        let foreign = if cfg!(target_arch = "x86_64") {
            [Isa::Neon, Isa::NeonDot]
        } else {
            [Isa::Avx2, Isa::Avx512Vnni]
        };
        assert!(foreign.iter().all(|isa| !isa.is_available()));
    }

    #[test]
    fn a_missing_tier_falls_back() {
        for isa in Isa::ALL {
            assert!(isa.usable().is_available());
        }
    }
}
