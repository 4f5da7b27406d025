//! The training loop: batches in, updates, metrics and checkpoints out.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::batch::{Batch, BatchSource, Doc};
use crate::checkpoint;
use crate::error::{Result, TrainError};
use crate::math;
use crate::model::Lm;
use crate::ops;
use crate::optim::{AdamW, AdamWConfig, Schedule, clip_factor};

/// Settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TrainConfig {
    /// Seed of the initial weights; also kept with a checkpoint.
    pub seed: u64,
    /// The optimiser.
    pub adamw: AdamWConfig,
    /// The learning rate; `schedule.total` is the number of updates of the run.
    pub schedule: Schedule,
}

impl TrainConfig {
    /// A run of `steps` updates with peak rate `lr` and a warm-up of `warmup` updates.
    #[must_use]
    pub fn new(seed: u64, lr: f64, warmup: u64, steps: u64) -> Self {
        Self {
            seed,
            adamw: AdamWConfig::default(),
            schedule: Schedule::cosine(lr, warmup, steps),
        }
    }
}

/// What one update did; also one line of the metrics file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepReport {
    /// Updates made, this one included.
    pub step: u64,
    /// Updates of the whole run.
    pub total: u64,
    /// Weighted mean loss of the batch before the update, in nats per token.
    pub loss: f64,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Learning rate used.
    pub lr: f64,
    /// Tokens of this batch.
    pub tokens: usize,
    /// Tokens since the run began, earlier parts of a resumed run included.
    pub seen: u64,
    /// Seconds this update took.
    pub seconds: f64,
}

/// A model with its optimiser, advanced one update at a time.
#[derive(Debug)]
pub struct Trainer {
    model: Lm,
    config: TrainConfig,
    opt: AdamW,
    seen: u64,
    fingerprint: u64,
    metrics: Option<(PathBuf, File)>,
}

impl Trainer {
    /// A run from the beginning.
    #[must_use]
    pub fn new(model: Lm, config: TrainConfig, data: &dyn BatchSource) -> Self {
        let sizes: Vec<usize> = model.params().iter().map(|p| p.var.elem_count()).collect();
        let opt = AdamW::new(config.adamw, &sizes);
        Self {
            model,
            config,
            opt,
            seen: 0,
            fingerprint: data.fingerprint(),
            metrics: None,
        }
    }

    /// Continues from a checkpoint written by [`Trainer::save`]. The rest of the run is bit-identical to a run that was
    /// never interrupted.
    ///
    /// # Errors
    /// When the checkpoint is damaged, or its model, settings or data differ from those given.
    pub fn resume(
        dir: &Path,
        model: Lm,
        config: TrainConfig,
        data: &dyn BatchSource,
    ) -> Result<Self> {
        let mut t = Self::new(model, config, data);
        t.seen = checkpoint::load(dir, &t.model, &t.config, t.fingerprint, &mut t.opt)?;
        Ok(t)
    }

    /// Whether `dir` holds a checkpoint, complete or left aside by a kill while it was being replaced.
    #[must_use]
    pub fn has_checkpoint(dir: &Path) -> bool {
        checkpoint::exists(dir)
    }

    /// Appends one JSON line per update to `path`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn log_to(&mut self, path: &Path) -> Result<()> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(TrainError::io(path))?;
        self.metrics = Some((path.to_path_buf(), file));
        Ok(())
    }

    /// The model being trained.
    #[must_use]
    pub fn model(&self) -> &Lm {
        &self.model
    }

    /// Updates made so far.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.opt.step
    }

    /// Whether all updates of the schedule are made.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.opt.step >= self.config.schedule.total
    }

    /// Makes one update with the batch of the current step.
    ///
    /// # Errors
    /// When the data source fails, the batch does not fit the model, or the loss is not finite.
    pub fn advance(&mut self, data: &dyn BatchSource) -> Result<StepReport> {
        let began = Instant::now();
        let step = self.opt.step;
        let batch = Batch::pack(&data.docs(step)?)?;
        let denom = batch.weight().max(f64::MIN_POSITIVE);
        let loss = self.model.loss(&batch, denom)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        if !value.is_finite() {
            return Err(TrainError::Batch(format!(
                "the loss of step {step} is {value}; lower the learning rate"
            )));
        }
        let grads = loss.backward()?;
        drop(loss);
        let mut per_param = Vec::with_capacity(self.model.params().len());
        let mut square = 0.0f64;
        for p in self.model.params() {
            let g = grads
                .get(&p.var)
                .ok_or_else(|| TrainError::Config(format!("no gradient reached {}", p.name)))?;
            square += ops::with(g, |g| {
                g.chunks(4096)
                    .map(|c| c.iter().map(|&v| f64::from(v * v)).sum::<f64>())
                    .sum::<f64>()
            })?;
            per_param.push(g);
        }
        let norm = square.sqrt();
        if !norm.is_finite() {
            return Err(TrainError::Batch(format!(
                "the gradient of step {step} is not finite; lower the learning rate"
            )));
        }
        let scale = clip_factor(norm, self.config.adamw.clip);
        let lr = self.config.schedule.rate(step);
        self.opt.begin();
        for (i, (p, g)) in self.model.params().iter().zip(per_param).enumerate() {
            let mut v = ops::with(p.var.as_tensor(), <[f32]>::to_vec)?;
            ops::with(g, |g| {
                self.opt.update(i, &mut v, g, scale, lr, p.var.rank() >= 2);
            })?;
            p.var
                .set(&Tensor::from_vec(v, p.var.shape(), &Device::Cpu)?)?;
        }
        self.seen += batch.tokens() as u64;
        let report = StepReport {
            step: self.opt.step,
            total: self.config.schedule.total,
            loss: value,
            grad_norm: norm,
            lr,
            tokens: batch.tokens(),
            seen: self.seen,
            seconds: began.elapsed().as_secs_f64(),
        };
        if let Some((path, file)) = &mut self.metrics {
            let line = serde_json::to_string(&report).unwrap_or_default();
            writeln!(file, "{line}").map_err(TrainError::io(path))?;
        }
        Ok(report)
    }

    /// Writes the directory `dir`: weights, moments and state. It appears complete or not at all.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        checkpoint::save(
            dir,
            &self.model,
            &self.config,
            self.fingerprint,
            &self.opt,
            self.seen,
        )
    }
}

impl Lm {
    /// The weighted mean loss of documents, in nats per token, without a graph.
    ///
    /// # Errors
    /// When the documents do not fit the model.
    pub fn evaluate(&self, docs: &[Doc]) -> Result<f64> {
        let (mut sum, mut weight) = (0.0, 0.0);
        for docs in docs.chunks(32) {
            let batch = Batch::pack(docs)?;
            let h = self.hidden(&batch)?;
            let d = self.config().hidden;
            let c = self.compute();
            let out = ops::with(&h, |h| {
                ops::with(self.params()[0].var.as_tensor(), |w| {
                    math::cross_entropy(c, h, w, d, &batch.targets, &batch.weights, 1.0, false)
                })
            })??;
            sum += out.loss;
            weight += batch.weight();
        }
        Ok(sum / weight.max(f64::MIN_POSITIVE))
    }
}
