//! Mirostat: the surprise of the text is held at a level.

use super::{Candidates, LogitsProcessor};

/// Which of the two algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MirostatVersion {
    /// Keeps the best k candidates, with k from an estimate of how fast probabilities fall.
    V1 {
        /// Candidates that the estimate is made from; 100 in llama.cpp and the paper.
        estimate_from: usize,
    },
    /// Keeps the candidates whose surprise is at most a bound.
    V2,
}

/// Holds the surprise of the text at a level (Basu et al. 2021, arXiv 2007.14966; llama.cpp's
/// `mirostat` and `mirostat-v2`).
///
/// It stands in the place of all filters: after the penalties and the temperature nothing else takes
/// candidates out. The bound is state of one reply; it begins at twice `tau`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Mirostat {
    /// The algorithm.
    pub version: MirostatVersion,
    /// The surprise to hold, in bits per token; 5 in llama.cpp.
    pub tau: f32,
    /// How fast the bound follows; 0.1 in llama.cpp.
    pub eta: f32,
}

impl Mirostat {
    /// Returns the first algorithm with the numbers of llama.cpp: 5 bits, rate 0.1, 100 candidates.
    pub fn v1() -> Self {
        Self {
            version: MirostatVersion::V1 { estimate_from: 100 },
            ..Self::v2()
        }
    }

    /// Returns the second algorithm with the numbers of llama.cpp: 5 bits, rate 0.1.
    pub fn v2() -> Self {
        Self {
            version: MirostatVersion::V2,
            tau: 5.0,
            eta: 0.1,
        }
    }

    /// Sets the surprise to hold, in bits per token.
    #[must_use]
    pub fn with_tau(mut self, tau: f32) -> Self {
        self.tau = tau;
        self
    }

    /// Sets how fast the bound follows.
    #[must_use]
    pub fn with_eta(mut self, eta: f32) -> Self {
        self.eta = eta;
        self
    }
}

/// The stage of [`Mirostat`]. Arithmetic in f32, as llama.cpp does it, so that the number of
/// candidates is the same.
#[derive(Debug)]
pub(super) struct HoldSurprise {
    options: Mirostat,
    pub(super) mu: f32,
}

impl HoldSurprise {
    pub(super) fn new(options: Mirostat) -> Self {
        Self {
            mu: 2.0 * options.tau,
            options,
        }
    }
}

/// Returns how many candidates the first algorithm keeps; `p` falls.
fn best_k(p: &[f64], vocab: usize, mu: f32, estimate_from: usize) -> usize {
    let (mut ti_bi, mut ti_sq) = (0.0_f32, 0.0_f32);
    for (i, pair) in p
        .windows(2)
        .take(estimate_from.saturating_sub(1))
        .enumerate()
    {
        if pair[1] <= 0.0 {
            break;
        }
        let t = ((i + 2) as f32 / (i + 1) as f32).ln();
        let b = (pair[0] as f32 / pair[1] as f32).ln();
        ti_bi += t * b;
        ti_sq += t * t;
    }
    let s = ti_bi / ti_sq;
    let epsilon = s - 1.0;
    let k = (epsilon * 2.0_f32.powf(mu)) / (1.0 - (vocab as f32).powf(-epsilon));
    let k = k.powf(1.0 / s);
    // A cast of NaN is 0.
    (k as usize).max(1)
}

impl LogitsProcessor for HoldSurprise {
    fn apply(&mut self, _: &[u32], candidates: &mut Candidates) {
        let vocab = candidates.items().len();
        candidates.sort();
        let p = candidates.probabilities();
        let keep = match self.options.version {
            MirostatVersion::V1 { estimate_from } => best_k(&p, vocab, self.mu, estimate_from),
            MirostatVersion::V2 => {
                let above = |p: &f64| -(*p as f32).log2() > self.mu;
                p.iter().position(above).unwrap_or(vocab)
            }
        };
        candidates.truncate(keep);
    }

    fn chosen(&mut self, id: u32, candidates: &Candidates) {
        let at = candidates.items().iter().position(|c| c.id == id);
        let p = at.and_then(|at| candidates.probabilities().get(at).copied());
        // A token that was not among the candidates tells nothing about the bound.
        if let Some(p) = p.filter(|p| *p > 0.0) {
            let surprise = -(p as f32).log2();
            self.mu -= self.options.eta * (surprise - self.options.tau);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk_spec::testing::prompt;
    use serde_json::Value;

    /// The logits of a seed, as `fixtures/make_llama_samplers.py` says.
    fn logits(version: u64, seed: u64, vocab: usize) -> Vec<f32> {
        let v = prompt(seed, vocab, 1_000_003);
        if version == 2 {
            let x = |&v: &u32| (f64::from(v) / 65_536.0 - 7.5) as f32;
            return v.iter().map(x).collect();
        }
        let mut row = vec![0.0; vocab];
        let mut order: Vec<usize> = (0..vocab).collect();
        order.sort_by_key(|&i| v[i]);
        for (rank, i) in order.into_iter().enumerate() {
            row[i] = (40.0 / (4.0 + rank as f64)) as f32;
        }
        row
    }

    #[test]
    fn candidates_and_bound_are_those_of_llama_cpp() {
        let text = include_str!("../../tests/fixtures/llama_samplers.json");
        let json: Value = serde_json::from_str(text).unwrap();
        let float = |v: &Value| v.as_f64().unwrap() as f32;
        let mut steps = 0;
        for case in json["mirostat"].as_array().unwrap() {
            let version = case["version"].as_u64().unwrap();
            let options = if version == 1 {
                Mirostat::v1()
            } else {
                Mirostat::v2()
            };
            let options = options
                .with_tau(float(&case["tau"]))
                .with_eta(float(&case["eta"]));
            let mut stage = HoldSurprise::new(options);
            let vocab = case["vocab"].as_u64().unwrap() as usize;
            for step in case["steps"].as_array().unwrap() {
                let mut candidates = Candidates::default();
                candidates.fill(&logits(version, step["seed"].as_u64().unwrap(), vocab));
                stage.apply(&[], &mut candidates);
                let left = step["left"].as_u64().unwrap() as usize;
                assert_eq!(candidates.items().len(), left, "{options:?} {step}");
                stage.chosen(step["chosen"].as_u64().unwrap() as u32, &candidates);
                let mu = float(&step["mu"]);
                assert!((stage.mu - mu).abs() < 1e-4, "{} {step}", stage.mu);
                steps += 1;
            }
        }
        assert_eq!(steps, 192);
    }
}
