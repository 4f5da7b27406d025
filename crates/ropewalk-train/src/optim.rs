//! AdamW with decoupled weight decay, gradient clipping, and the learning-rate schedule.

use std::f64::consts::PI;

/// Settings of [`AdamW`].
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay, applied to tensors with two dimensions or more.
    pub weight_decay: f64,
    /// Largest global gradient norm; the gradient is scaled down to it.
    pub clip: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.1,
            clip: 1.0,
        }
    }
}

/// Loshchilov and Hutter 2019, the order of operations of PyTorch's `_single_tensor_adam`:
/// `p *= 1 - lr wd; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p -= lr/c1 * m / (sqrt(v)/sqrt(c2) + eps)`,
/// with `c = 1 - b^t` and `t` counted from one.
#[derive(Debug, Clone)]
pub struct AdamW {
    /// Settings.
    pub config: AdamWConfig,
    /// Updates made.
    pub step: u64,
    /// First moments, one vector per parameter in registry order.
    pub m: Vec<Vec<f32>>,
    /// Second moments, the same order.
    pub v: Vec<Vec<f32>>,
}

impl AdamW {
    /// Fresh moments for parameters of these sizes.
    #[must_use]
    pub fn new(config: AdamWConfig, sizes: &[usize]) -> Self {
        let zeros = || sizes.iter().map(|&n| vec![0.0; n]).collect();
        Self {
            config,
            step: 0,
            m: zeros(),
            v: zeros(),
        }
    }

    /// Starts an update: counts the step. Call [`AdamW::update`] for each parameter afterwards.
    pub fn begin(&mut self) {
        self.step += 1;
    }

    /// Updates parameter `index` in place with gradient `g * scale`. `decay` says whether weight decay applies.
    pub fn update(
        &mut self,
        index: usize,
        p: &mut [f32],
        g: &[f32],
        scale: f32,
        lr: f64,
        decay: bool,
    ) {
        let c = self.config;
        let (b1, b2) = (c.beta1 as f32, c.beta2 as f32);
        let c1 = 1.0 - c.beta1.powf(self.step as f64);
        let c2 = (1.0 - c.beta2.powf(self.step as f64)).sqrt() as f32;
        let keep = if decay {
            (1.0 - lr * c.weight_decay) as f32
        } else {
            1.0
        };
        let (rate, eps) = ((lr / c1) as f32, c.eps as f32);
        let (Some(m), Some(v)) = (self.m.get_mut(index), self.v.get_mut(index)) else {
            return;
        };
        for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * scale;
            *m += (1.0 - b1) * (g - *m);
            *v = b2 * *v + (1.0 - b2) * g * g;
            *p = *p * keep - rate * (*m / (v.sqrt() / c2 + eps));
        }
    }
}

/// The factor that brings a gradient of global norm `norm` to at most `max`: `min(1, max / (norm + 1e-6))`.
#[must_use]
pub fn clip_factor(norm: f64, max: f64) -> f32 {
    (max / (norm + 1e-6)).min(1.0) as f32
}

/// Linear warm-up from zero, then a cosine down to `floor` times the peak.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Schedule {
    /// Highest learning rate.
    pub peak: f64,
    /// Updates until the peak is reached.
    pub warmup: u64,
    /// Updates in all.
    pub total: u64,
    /// Lowest factor at the end.
    pub floor: f64,
}

impl Schedule {
    /// A schedule over `total` updates.
    #[must_use]
    pub fn cosine(peak: f64, warmup: u64, total: u64) -> Self {
        Self {
            peak,
            warmup,
            total,
            floor: 0.0,
        }
    }

    /// The learning rate of update `step`, counted from zero; the first update with warm-up has rate
    /// `peak / warmup`, not zero.
    #[must_use]
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let span = self.total.saturating_sub(self.warmup).max(1) as f64;
        let done = ((step - self.warmup) as f64 / span).min(1.0);
        self.peak * (self.floor + (1.0 - self.floor) * 0.5 * (1.0 + (PI * done).cos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_update_moves_by_the_rate_and_decays() {
        let mut opt = AdamW::new(AdamWConfig::default(), &[2]);
        let mut p = vec![1.0f32, -2.0];
        opt.begin();
        opt.update(0, &mut p, &[0.5, -3.0], 1.0, 0.01, true);
        // m/c1 = g, sqrt(v)/sqrt(c2) = |g|, so the step is lr * sign(g).
        assert!(
            (p[0] - (0.999 - 0.01)).abs() < 1e-6 && (p[1] - (-1.998 + 0.01)).abs() < 1e-6,
            "{p:?}"
        );
    }

    #[test]
    fn schedule_rises_to_the_peak_and_falls_to_zero() {
        let s = Schedule::cosine(1e-3, 10, 110);
        assert!((s.rate(0) - 1e-4).abs() < 1e-12);
        assert!((s.rate(9) - 1e-3).abs() < 1e-12);
        assert!((s.rate(60) - 5e-4).abs() < 1e-9);
        assert!(s.rate(110) < 1e-12);
    }
}
