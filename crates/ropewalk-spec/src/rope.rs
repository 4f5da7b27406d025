//! Rotary position embedding as numbers: frequencies and tables.
//!
//! RoPE (Su et al., 2021, <https://arxiv.org/abs/2104.09864>) turns each pair of features of a
//! head by `position * inv_freq[pair]`. Everything is rounded to f32 in the same places as in
//! `transformers` (`modeling_rope_utils.py`), because at position 2,000 the rounding of an
//! angle is worth 1e-4 rad and would otherwise hide real errors.

use std::f64::consts::PI;

/// How frequencies differ from the plain `base^(-2i / dims)`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Plain frequencies.
    None,
    /// All frequencies divided by `factor` (position interpolation).
    Linear {
        /// How many times longer the context became.
        factor: f32,
    },
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, a ramp between.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f32,
        /// Wavelengths above `original_max / low_freq_factor` are scaled fully.
        low_freq_factor: f32,
        /// Wavelengths below `original_max / high_freq_factor` are kept.
        high_freq_factor: f32,
        /// Context length before the extension.
        original_max: usize,
    },
    /// Phi-3: one divisor per frequency, another list for sequences beyond `original_max`.
    LongRope {
        /// Divisors while the sequence has at most `original_max` tokens; `dims / 2` values.
        short: Vec<f32>,
        /// Divisors for longer sequences; `dims / 2` values.
        long: Vec<f32>,
        /// Context length before the extension.
        original_max: usize,
        /// Multiplies cosines and sines.
        attention_factor: f32,
    },
    /// YaRN (Peng et al., 2023, <https://arxiv.org/abs/2309.00071>).
    Yarn {
        /// Divisor of the low frequencies.
        factor: f32,
        /// Context length before the extension.
        original_max: usize,
        /// Rotations above which a frequency is kept; 32 in the paper.
        beta_fast: f32,
        /// Rotations below which a frequency is fully scaled; 1 in the paper.
        beta_slow: f32,
        /// Whether the ends of the ramp are rounded to whole indices.
        truncate: bool,
        /// Multiplies cosines and sines.
        attention_factor: f32,
    },
    /// Dynamic NTK: the base grows with sequences longer than `max_positions`.
    Dynamic {
        /// How fast the base grows.
        factor: f32,
        /// Context length up to which frequencies are plain.
        max_positions: usize,
    },
    /// One divisor per frequency (`rope_freqs.weight` of GGUF files); `dims / 2` values.
    Factors(Vec<f32>),
}

/// Rotary position embedding of one model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RopeSpec {
    /// Rotated features per head, even; pair `i` is `(i, i + dims / 2)` (split halves, as in
    /// GPT-NeoX and transformers). Features from `dims` on pass unchanged.
    pub dims: usize,
    /// Base of the frequencies, `rope_theta`.
    pub base: f32,
    /// Extension of the context beyond the original training.
    pub scaling: RopeScaling,
}

/// `base ^ exponent`, rounded once.
fn pow(base: f32, exponent: f32) -> f32 {
    f64::from(base).powf(f64::from(exponent)) as f32
}

impl RopeSpec {
    /// Plain frequencies over `dims` features.
    #[must_use]
    pub const fn new(dims: usize, base: f32) -> Self {
        Self {
            dims,
            base,
            scaling: RopeScaling::None,
        }
    }

    /// The same with an extended context.
    #[must_use]
    pub fn with_scaling(mut self, scaling: RopeScaling) -> Self {
        self.scaling = scaling;
        self
    }

    /// What makes the fields unusable, in words.
    pub(crate) fn problem(&self) -> Option<String> {
        let positive = |name: &str, v: f32| {
            (!(v.is_finite() && v > 0.0)).then(|| format!("the rope {name} is {v}, not above zero"))
        };
        if self.dims == 0 || !self.dims.is_multiple_of(2) {
            return Some(format!(
                "{} rotated features per head is not an even number",
                self.dims
            ));
        }
        let list = |name: &str, v: &[f32]| {
            if v.len() != self.dims / 2 {
                return Some(format!(
                    "the rope {name} list has {} values for {} frequencies",
                    v.len(),
                    self.dims / 2
                ));
            }
            v.iter().find_map(|x| positive(name, *x))
        };
        let length = |v: usize| (v == 0).then(|| "the original rope context is 0".to_owned());
        positive("base", self.base).or_else(|| match &self.scaling {
            RopeScaling::None => None,
            RopeScaling::Linear { factor } => positive("factor", *factor),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max,
            } => positive("factor", *factor)
                .or_else(|| positive("low_freq_factor", *low_freq_factor))
                .or_else(|| positive("high_freq_factor", *high_freq_factor))
                .or_else(|| length(*original_max))
                .or_else(|| {
                    (low_freq_factor >= high_freq_factor)
                        .then(|| "rope low_freq_factor is not below high_freq_factor".to_owned())
                }),
            RopeScaling::LongRope {
                short,
                long,
                original_max,
                attention_factor,
            } => list("short_factor", short)
                .or_else(|| list("long_factor", long))
                .or_else(|| positive("attention factor", *attention_factor))
                .or_else(|| length(*original_max)),
            RopeScaling::Yarn {
                factor,
                original_max,
                beta_fast,
                beta_slow,
                attention_factor,
                ..
            } => positive("factor", *factor)
                .or_else(|| positive("beta_fast", *beta_fast))
                .or_else(|| positive("beta_slow", *beta_slow))
                .or_else(|| positive("attention factor", *attention_factor))
                .or_else(|| length(*original_max)),
            RopeScaling::Dynamic {
                factor,
                max_positions,
            } => positive("factor", *factor)
                .or_else(|| length(*max_positions))
                .or_else(|| {
                    (self.dims < 4).then(|| "dynamic rope needs 4 rotated features".to_owned())
                }),
            RopeScaling::Factors(factors) => list("factor", factors),
        })
    }

    /// The length above which sequences use other frequencies, if there is one.
    ///
    /// Keys that were rotated for a shorter sequence must then be computed again.
    #[must_use]
    pub const fn switch_length(&self) -> Option<usize> {
        match &self.scaling {
            RopeScaling::LongRope { original_max, .. } => Some(*original_max),
            RopeScaling::Dynamic { max_positions, .. } => Some(*max_positions),
            _ => None,
        }
    }

    /// The factor on cosines and sines; 1 except for long rope and YaRN.
    #[must_use]
    pub const fn attention_factor(&self) -> f32 {
        match &self.scaling {
            RopeScaling::LongRope {
                attention_factor, ..
            }
            | RopeScaling::Yarn {
                attention_factor, ..
            } => *attention_factor,
            _ => 1.0,
        }
    }

    /// Radians per position of each feature pair, `dims / 2` values.
    ///
    /// `seq_len` is the number of tokens of the whole sequence, cached ones included; it
    /// matters only where [`switch_length`](Self::switch_length) is some.
    #[must_use]
    pub fn inv_freq(&self, seq_len: usize) -> Vec<f32> {
        let base = self.base;
        match &self.scaling {
            RopeScaling::None => self.powers(base).map(|p| 1.0 / p).collect(),
            RopeScaling::Linear { factor } => self.powers(base).map(|p| 1.0 / p / factor).collect(),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max,
            } => self
                .powers(base)
                .map(|p| {
                    llama3(
                        1.0 / p,
                        *factor,
                        *low_freq_factor,
                        *high_freq_factor,
                        *original_max,
                    )
                })
                .collect(),
            RopeScaling::LongRope {
                short,
                long,
                original_max,
                ..
            } => {
                let divisors = if seq_len > *original_max { long } else { short };
                self.powers(base)
                    .zip(divisors)
                    .map(|(p, d)| 1.0 / (d * p))
                    .collect()
            }
            RopeScaling::Yarn {
                factor,
                original_max,
                beta_fast,
                beta_slow,
                truncate,
                ..
            } => {
                let ends = (f64::from(*beta_fast), f64::from(*beta_slow));
                self.yarn(*factor, *original_max as f64, ends, *truncate)
            }
            RopeScaling::Dynamic {
                factor,
                max_positions,
            } => {
                let (factor, max) = (f64::from(*factor), *max_positions as f64);
                let seq = (seq_len as f64).max(max);
                let dims = self.dims as f64;
                let growth = (factor * seq / max - (factor - 1.0)).powf(dims / (dims - 2.0));
                self.powers((f64::from(base) * growth) as f32)
                    .map(|p| 1.0 / p)
                    .collect()
            }
            RopeScaling::Factors(divisors) => self
                .powers(base)
                .zip(divisors)
                .map(|(p, d)| 1.0 / p / d)
                .collect(),
        }
    }

    /// Cosines and sines for `positions`, each `[positions, dims / 2]` row by row and already
    /// multiplied by [`attention_factor`](Self::attention_factor).
    ///
    /// `seq_len` as in [`inv_freq`](Self::inv_freq). Feature `i` of a head becomes
    /// `x[i] * cos - x[i + dims / 2] * sin`, feature `i + dims / 2` becomes
    /// `x[i + dims / 2] * cos + x[i] * sin`.
    #[must_use]
    pub fn tables(&self, positions: &[u32], seq_len: usize) -> (Vec<f32>, Vec<f32>) {
        let inv_freq = self.inv_freq(seq_len);
        let scale = self.attention_factor();
        let mut cos = Vec::with_capacity(positions.len() * inv_freq.len());
        let mut sin = Vec::with_capacity(positions.len() * inv_freq.len());
        for &position in positions {
            for &frequency in &inv_freq {
                // The product is rounded to f32 as in transformers; the functions are not.
                let angle = f64::from(position as f32 * frequency);
                cos.push(angle.cos() as f32 * scale);
                sin.push(angle.sin() as f32 * scale);
            }
        }
        (cos, sin)
    }

    /// `base ^ (2i / dims)`.
    fn powers(&self, base: f32) -> impl Iterator<Item = f32> + use<> {
        let dims = self.dims;
        (0..dims / 2).map(move |i| pow(base, (2 * i) as f32 / dims as f32))
    }

    /// Section 3.2 of the YaRN paper, in the form of `_compute_yarn_parameters`.
    fn yarn(&self, factor: f32, original: f64, betas: (f64, f64), truncate: bool) -> Vec<f32> {
        let dims = self.dims as f64;
        let correction = |rotations: f64| {
            dims * (original / (rotations * 2.0 * PI)).ln() / (2.0 * f64::from(self.base).ln())
        };
        let (mut low, mut high) = (correction(betas.0), correction(betas.1));
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, mut high) = (low.max(0.0), high.min(dims - 1.0));
        if low == high {
            high += 0.001;
        }
        let (low, width) = (low as f32, (high - low) as f32);
        self.powers(self.base)
            .enumerate()
            .map(|(i, p)| {
                let ramp = ((i as f32 - low) / width).clamp(0.0, 1.0);
                let keep = 1.0 - ramp;
                1.0 / (factor * p) * (1.0 - keep) + 1.0 / p * keep
            })
            .collect()
    }
}

/// One frequency of Llama 3.1, in the form of `_compute_llama3_parameters`.
fn llama3(inv_freq: f32, factor: f32, low: f32, high: f32, original_max: usize) -> f32 {
    let original = original_max as f32;
    let wavelength = (2.0 * PI) as f32 / inv_freq;
    if wavelength < original / high {
        inv_freq
    } else if wavelength > original / low {
        inv_freq / factor
    } else {
        let smooth = (original / wavelength - low) / (high - low);
        (1.0 - smooth) * inv_freq / factor + smooth * inv_freq
    }
}

/// The attention factor of long rope when the configuration gives none:
/// `sqrt(1 + ln(factor) / ln(original_max))`.
pub(crate) fn long_rope_attention_factor(factor: f64, original_max: usize) -> f32 {
    if factor <= 1.0 {
        return 1.0;
    }
    (1.0 + factor.ln() / (original_max as f64).ln()).sqrt() as f32
}

/// The attention factor of YaRN when the configuration gives none: `0.1 m ln(factor) + 1`.
pub(crate) fn yarn_mscale(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        0.1 * mscale * factor.ln() + 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_frequencies_fall_from_one() {
        let rope = RopeSpec::new(8, 10_000.0);
        let inv = rope.inv_freq(1);
        assert_eq!(inv.len(), 4);
        assert_eq!(inv[0], 1.0);
        assert!((inv[1] - 0.1).abs() < 1e-8);
        let (cos, sin) = rope.tables(&[0, 3], 4);
        assert_eq!((cos.len(), sin[0]), (8, 0.0));
        assert!((cos[4] - 3f32.cos()).abs() < 1e-7);
        assert_eq!((rope.attention_factor(), rope.switch_length()), (1.0, None));
    }

    #[test]
    fn long_rope_switches_after_the_original_length() {
        let rope = RopeSpec::new(4, 10_000.0).with_scaling(RopeScaling::LongRope {
            short: vec![1.0, 1.0],
            long: vec![2.0, 4.0],
            original_max: 16,
            attention_factor: 1.25,
        });
        assert_eq!(rope.inv_freq(16)[0], 1.0);
        assert_eq!(rope.inv_freq(17)[0], 0.5);
        assert_eq!(rope.tables(&[0], 1).0, [1.25, 1.25]);
        assert_eq!(rope.switch_length(), Some(16));
    }

    #[test]
    fn unusable_fields_are_named() {
        for (rope, word) in [
            (RopeSpec::new(7, 1e4), "even"),
            (RopeSpec::new(8, f32::NAN), "base"),
            (
                RopeSpec::new(8, 1e4).with_scaling(RopeScaling::Linear { factor: 0.0 }),
                "factor",
            ),
            (
                RopeSpec::new(8, 1e4).with_scaling(RopeScaling::Factors(vec![1.0; 3])),
                "3 values",
            ),
        ] {
            assert!(rope.problem().unwrap().contains(word));
        }
    }
}
