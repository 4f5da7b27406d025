//! What the API says about jobs.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::or_default;
use super::status::JobStatus;

/// A hyper-parameter: chosen by the provider, or a number.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Setting {
    /// `"auto"`.
    Auto,
    /// A whole number.
    Whole(u64),
    /// Any other number.
    Real(f64),
}

impl From<u64> for Setting {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<f64> for Setting {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl Serialize for Setting {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Whole(number) => serializer.serialize_u64(*number),
            Self::Real(number) => serializer.serialize_f64(*number),
        }
    }
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let whole = value.as_u64().map(Self::Whole);
        let number = whole.or_else(|| value.as_f64().map(Self::Real));
        // Whatever is no number is left to the provider.
        Ok(number.unwrap_or(Self::Auto))
    }
}

/// The hyper-parameters of all methods; each takes those it knows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Hyperparameters {
    /// Times the data is gone through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_epochs: Option<Setting>,
    /// Examples per step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<Setting>,
    /// Factor of the learning rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate_multiplier: Option<Setting>,
    /// DPO: how much leaving the reference model costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta: Option<Setting>,
    /// Reinforcement: factor of the computation spent on trying.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_multiplier: Option<Setting>,
    /// Reinforcement: steps between evaluations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_interval: Option<Setting>,
    /// Reinforcement: samples per evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_samples: Option<Setting>,
    /// Reinforcement: `default`, `low`, `medium` or `high`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
    /// Others.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Hyperparameters {
    /// Creates parameters that the provider chooses.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how often the data is gone through.
    #[must_use]
    pub fn with_n_epochs(mut self, epochs: impl Into<Setting>) -> Self {
        self.n_epochs = Some(epochs.into());
        self
    }

    /// Sets the examples per step.
    #[must_use]
    pub fn with_batch_size(mut self, examples: impl Into<Setting>) -> Self {
        self.batch_size = Some(examples.into());
        self
    }

    /// Sets the factor of the learning rate.
    #[must_use]
    pub fn with_learning_rate_multiplier(mut self, factor: impl Into<Setting>) -> Self {
        self.learning_rate_multiplier = Some(factor.into());
        self
    }

    /// Sets how much leaving the reference model costs (DPO).
    #[must_use]
    pub fn with_beta(mut self, beta: impl Into<Setting>) -> Self {
        self.beta = Some(beta.into());
        self
    }

    /// Returns the name of a parameter that is no finite number, if there is one.
    pub(super) fn broken(&self) -> Option<&'static str> {
        let all = [
            ("n_epochs", self.n_epochs),
            ("batch_size", self.batch_size),
            ("learning_rate_multiplier", self.learning_rate_multiplier),
            ("beta", self.beta),
            ("compute_multiplier", self.compute_multiplier),
            ("eval_interval", self.eval_interval),
            ("eval_samples", self.eval_samples),
        ];
        let broken = |s: Option<Setting>| matches!(s, Some(Setting::Real(n)) if !n.is_finite());
        all.into_iter()
            .find(|(_, s)| broken(*s))
            .map(|(name, _)| name)
    }
}

/// How the model learns, with its parameters.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Method {
    /// `supervised`, `dpo` or `reinforcement`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Parameters of `supervised`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervised: Option<MethodBody>,
    /// Parameters of `dpo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpo: Option<MethodBody>,
    /// Parameters of `reinforcement`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reinforcement: Option<MethodBody>,
    /// What else the API says.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The parameters of a method.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MethodBody {
    /// The hyper-parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hyperparameters: Option<Hyperparameters>,
    /// Others: `grader`.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Method {
    /// Learning from examples.
    #[must_use]
    pub fn supervised(parameters: Hyperparameters) -> Self {
        let mut method = Self::of("supervised");
        method.supervised = Some(MethodBody::of(parameters));
        method
    }

    /// Learning from pairs of a better and a worse answer.
    #[must_use]
    pub fn dpo(parameters: Hyperparameters) -> Self {
        let mut method = Self::of("dpo");
        method.dpo = Some(MethodBody::of(parameters));
        method
    }

    /// Learning from the marks of a grader, given as the API describes it.
    #[must_use]
    pub fn reinforcement(grader: Value, parameters: Hyperparameters) -> Self {
        let mut method = Self::of("reinforcement");
        let mut body = MethodBody::of(parameters);
        body.other.insert("grader".into(), grader);
        method.reinforcement = Some(body);
        method
    }

    fn of(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            ..Self::default()
        }
    }

    /// Returns the hyper-parameters of whichever method it is.
    #[must_use]
    pub fn hyperparameters(&self) -> Option<&Hyperparameters> {
        let bodies = [&self.supervised, &self.dpo, &self.reinforcement];
        bodies
            .into_iter()
            .flatten()
            .find_map(|b| b.hyperparameters.as_ref())
    }
}

impl MethodBody {
    fn of(parameters: Hyperparameters) -> Self {
        Self {
            hyperparameters: Some(parameters),
            other: Map::new(),
        }
    }
}

/// A service that follows the training.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Integration {
    /// `wandb`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its settings, under its name: `wandb` has `project`, `entity`, `name`, `tags`, `run_id`.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

impl Integration {
    /// Weights & Biases, into a project.
    pub fn wandb(project: impl Into<String>) -> Self {
        let settings = serde_json::json!({"project": project.into()});
        Self {
            kind: "wandb".to_owned(),
            settings: Map::from_iter([("wandb".to_owned(), settings)]),
        }
    }

    /// Sets a setting of the service: `entity`, `name` or `tags`.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        if let Some(Value::Object(settings)) = self.settings.get_mut(&self.kind) {
            settings.insert(name.into(), value.into());
        }
        self
    }
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct JobError {
    /// Name of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The error in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What was wrong, usually `training_file` or `validation_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// What else the API says.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message.as_deref().unwrap_or("no reason is given"))?;
        match (&self.code, &self.param) {
            (Some(code), Some(param)) => write!(f, " ({code}, {param})"),
            (Some(word), None) | (None, Some(word)) => write!(f, " ({word})"),
            (None, None) => Ok(()),
        }
    }
}

/// A job as the API describes it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FineTuningJob {
    /// Its id.
    pub id: String,
    /// Its state.
    #[serde(default)]
    pub status: JobStatus,
    /// The model it began with.
    #[serde(default)]
    pub model: String,
    /// The model it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fine_tuned_model: Option<String>,
    /// When it was created, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<i64>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<i64>,
    /// When it will probably be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_finish: Option<i64>,
    /// Id of the file of examples.
    #[serde(default)]
    pub training_file: String,
    /// Id of the file of examples to check with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_file: Option<String>,
    /// Ids of the files with the measurements of every step.
    #[serde(default, deserialize_with = "or_default")]
    pub result_files: Vec<String>,
    /// Tokens that are charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_tokens: Option<u64>,
    /// The seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// The hyper-parameters of supervised jobs; those of all are in `method`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hyperparameters: Option<Hyperparameters>,
    /// How the model learns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Services that follow the training.
    #[serde(default, deserialize_with = "or_default")]
    pub integrations: Vec<Integration>,
    /// The end of the model's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_provided_suffix: Option<String>,
    /// Why it failed; without words as long as it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
    /// What else the API says.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FineTuningEvent {
    /// Its id.
    #[serde(default)]
    pub id: String,
    /// When it happened, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<i64>,
    /// `info`, `warn` or `error`.
    #[serde(default)]
    pub level: String,
    /// The event in words.
    #[serde(default)]
    pub message: String,
    /// `message` or `metrics`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// What else the API says.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl FineTuningEvent {
    /// Returns the measurements of an event that has some.
    #[must_use]
    pub fn metrics(&self) -> Option<Metrics> {
        let metrics: Metrics = Metrics::deserialize(self.data.as_ref()?).ok()?;
        metrics.step.is_some().then_some(metrics)
    }
}

/// Measurements at a step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Metrics {
    /// The step, from 1 on. Checkpoints write it as a real number.
    #[serde(deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Steps in all.
    #[serde(deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub total_steps: Option<u64>,
    /// Loss over the examples of the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_loss: Option<f64>,
    /// Share of tokens of the step that were right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_mean_token_accuracy: Option<f64>,
    /// Loss over some examples to check with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_loss: Option<f64>,
    /// Share of their tokens that were right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_mean_token_accuracy: Option<f64>,
    /// Loss over all examples to check with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_valid_loss: Option<f64>,
    /// Share of their tokens that were right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_valid_mean_token_accuracy: Option<f64>,
    /// Others.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn whole<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let number = Option::<f64>::deserialize(deserializer)?;
    Ok(number
        .filter(|n| *n >= 0.0 && n.is_finite())
        .map(|n| n as u64))
}

/// A model on the way.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Its id.
    pub id: String,
    /// The model, as requests name it.
    #[serde(default)]
    pub fine_tuned_model_checkpoint: String,
    /// The job it belongs to.
    #[serde(default)]
    pub fine_tuning_job_id: String,
    /// The step it was made at.
    #[serde(default)]
    pub step_number: u64,
    /// Measurements at that step.
    #[serde(default, deserialize_with = "or_default")]
    pub metrics: Metrics,
    /// When it was made, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<i64>,
    /// What else the API says.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
