//! The tokens that may come next, with their scores.

use std::cmp::Ordering;

/// One token that may come next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Token id.
    pub id: u32,
    /// Unnormalised score; `-inf` never wins.
    pub logit: f32,
}

/// The candidates of one step; stages of the chain rescale or remove them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Candidates {
    items: Vec<Candidate>,
    sorted: bool,
}

/// Higher scores first; equal scores by lower id, so that the order is total.
fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

impl Candidates {
    /// Fills the list from a row of logits; NaN counts as `-inf`.
    pub fn fill(&mut self, logits: &[f32]) {
        self.sorted = false;
        self.items.clear();
        self.items
            .extend(logits.iter().zip(0u32..).map(|(&logit, id)| Candidate {
                id,
                logit: if logit.is_nan() {
                    f32::NEG_INFINITY
                } else {
                    logit
                },
            }));
    }

    /// Returns the candidates in their present order.
    pub fn items(&self) -> &[Candidate] {
        &self.items
    }

    /// Lets a stage rewrite scores in place.
    pub fn rescale(&mut self, mut f: impl FnMut(&mut Candidate)) {
        self.sorted = false;
        self.items.iter_mut().for_each(&mut f);
    }

    /// Changes the score of one token, where it is still a candidate.
    pub fn adjust(&mut self, id: u32, f: impl FnOnce(&mut f32)) {
        // Until a stage sorts, index and id agree.
        let at = match self.items.get(id as usize) {
            Some(c) if c.id == id => Some(id as usize),
            _ => self.items.iter().position(|c| c.id == id),
        };
        if let Some(c) = at.and_then(|i| self.items.get_mut(i)) {
            f(&mut c.logit);
            self.sorted = false;
        }
    }

    /// Sorts by score, best first.
    pub fn sort(&mut self) {
        if !self.sorted {
            self.items.sort_unstable_by(best_first);
            self.sorted = true;
        }
    }

    /// Keeps the `k` best, sorted, without sorting the rest.
    pub fn keep_best(&mut self, k: usize) {
        let k = k.max(1);
        if k < self.items.len() {
            if !self.sorted {
                self.items.select_nth_unstable_by(k - 1, best_first);
            }
            self.items.truncate(k);
        }
        self.sort();
    }

    /// Keeps the `k` best and those that tie with the last of them, sorted.
    pub fn keep_best_and_ties(&mut self, k: usize) {
        let k = k.max(1);
        if k < self.items.len() {
            if !self.sorted {
                self.items.select_nth_unstable_by(k - 1, best_first);
            }
            let last = self.items[k - 1].logit;
            let mut at = 0;
            self.items.retain(|c| {
                at += 1;
                at <= k || c.logit == last
            });
        }
        self.sort();
    }

    /// Keeps the smallest set of best candidates whose probabilities reach `mass`, sorted.
    pub fn keep_mass(&mut self, mass: f64) {
        let Some(best) = self.best() else { return };
        let weight = |c: &Candidate| f64::from(c.logit - best.logit).exp();
        let total: f64 = self.items.iter().map(weight).sum();
        let all = self.items.len();
        // Few of a large vocabulary make up the mass, so the rest need not be sorted.
        let mut n = if self.sorted { all } else { all.min(256) };
        loop {
            if !self.sorted {
                if n < all {
                    self.items.select_nth_unstable_by(n - 1, best_first);
                }
                self.items[..n].sort_unstable_by(best_first);
            }
            let mut sum = 0.0;
            let end = self.items[..n].iter().position(|c| {
                sum += weight(c) / total;
                sum >= mass
            });
            if let Some(last) = end {
                self.items.truncate(last + 1);
            }
            if end.is_some() || n == all {
                self.sorted = true;
                return;
            }
            n = all.min(8 * n);
        }
    }

    /// Keeps the first `n` in the present order, at least one.
    pub fn truncate(&mut self, n: usize) {
        self.items.truncate(n.max(1));
    }

    /// Keeps the candidates for which `keep` holds; the best one always stays.
    pub fn retain(&mut self, mut keep: impl FnMut(&Candidate) -> bool) {
        let Some(best) = self.best() else { return };
        self.items.retain(|c| c.id == best.id || keep(c));
    }

    /// Keeps the candidates for which `keep` holds.
    pub(crate) fn filter(&mut self, keep: impl FnMut(&Candidate) -> bool) {
        self.items.retain(keep);
    }

    /// Takes the `n` best out.
    pub(crate) fn remove_best(&mut self, n: usize) {
        self.sort();
        self.items.drain(..n.min(self.items.len()));
    }

    /// Puts the candidates into a given order of present indices, keeping only those named.
    pub(crate) fn select(&mut self, order: &[usize]) {
        self.items = order
            .iter()
            .filter_map(|&i| self.items.get(i).copied())
            .collect();
        self.sorted = false;
    }

    /// Returns the candidate with the highest score; the lower id wins a tie.
    pub fn best(&self) -> Option<Candidate> {
        if self.sorted {
            return self.items.first().copied();
        }
        self.items.iter().copied().min_by(best_first)
    }

    /// Returns the softmax over the present candidates, in their order; sums to 1.
    pub fn probabilities(&self) -> Vec<f64> {
        let Some(best) = self.best() else {
            return Vec::new();
        };
        if best.logit == f32::NEG_INFINITY {
            return vec![1.0 / self.items.len() as f64; self.items.len()];
        }
        let mut p: Vec<f64> = self
            .items
            .iter()
            .map(|c| f64::from(c.logit - best.logit).exp())
            .collect();
        let sum: f64 = p.iter().sum();
        p.iter_mut().for_each(|x| *x /= sum);
        p
    }
}
