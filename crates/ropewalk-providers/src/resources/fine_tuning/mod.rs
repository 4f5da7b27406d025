//! Fine-tuning jobs.

mod objects;
mod request;
mod status;

use std::time::Duration;

use http::Method as Verb;
use ropewalk_core::{Error, ErrorKind, Progress, ProgressEvent, Result};

use super::{ListOptions, Page, all, checked, object, page};
use crate::endpoint::Endpoint;

pub use objects::{
    Checkpoint, FineTuningEvent, FineTuningJob, Hyperparameters, Integration, JobError, Method,
    MethodBody, Metrics, Setting,
};
pub use request::FineTuneRequest;
pub use status::JobStatus;

/// The fine-tuning jobs of an account, `/fine_tuning/jobs`.
///
/// OpenAI has announced that it takes new jobs until 6 January 2027.
#[derive(Debug, Clone)]
pub struct FineTuning {
    endpoint: Endpoint,
}

/// How to wait for long work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wait {
    /// Time between one look and the next; 30 s.
    pub interval: Duration,
    /// Longest wait in all; none.
    pub limit: Option<Duration>,
}

impl Default for Wait {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            limit: None,
        }
    }
}

impl Wait {
    /// Creates a wait with this time between one look and the next.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            ..Self::default()
        }
    }

    /// Sets the longest wait in all.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }
}

const JOBS: &str = "/fine_tuning/jobs";

impl FineTuning {
    /// Creates the resource.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Creates a job.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] for what the API would refuse, found here or there.
    pub async fn create(&self, request: &FineTuneRequest) -> Result<FineTuningJob> {
        let body = request.body().map_err(|e| self.endpoint.name(e))?;
        object(&self.endpoint, Verb::POST, JOBS, Some(&body)).await
    }

    /// Returns a page of the jobs, newest first.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn list(&self, options: &ListOptions) -> Result<Page<FineTuningJob>> {
        page(&self.endpoint, JOBS, options).await
    }

    /// Returns a job.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] and others of the API.
    pub async fn retrieve(&self, job: &str) -> Result<FineTuningJob> {
        object(&self.endpoint, Verb::GET, &self.path(job, "")?, None).await
    }

    /// Returns a page of a job's events, newest first.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    pub async fn events(&self, job: &str, options: &ListOptions) -> Result<Page<FineTuningEvent>> {
        page(&self.endpoint, &self.path(job, "/events")?, options).await
    }

    /// Returns all events of a job, oldest first.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    pub async fn all_events(&self, job: &str) -> Result<Vec<FineTuningEvent>> {
        let options = ListOptions::new().with_limit(100);
        let path = self.path(job, "/events")?;
        let mut events: Vec<FineTuningEvent> = all(&self.endpoint, &path, &options).await?;
        events.reverse();
        Ok(events)
    }

    /// Returns the checkpoints of a job, newest first.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    pub async fn checkpoints(&self, job: &str) -> Result<Vec<Checkpoint>> {
        let path = self.path(job, "/checkpoints")?;
        all(&self.endpoint, &path, &ListOptions::new()).await
    }

    /// Cancels a job.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    pub async fn cancel(&self, job: &str) -> Result<FineTuningJob> {
        self.order(job, "/cancel").await
    }

    /// Makes a job pause.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    pub async fn pause(&self, job: &str) -> Result<FineTuningJob> {
        self.order(job, "/pause").await
    }

    /// Makes a paused job go on.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    pub async fn resume(&self, job: &str) -> Result<FineTuningJob> {
        self.order(job, "/resume").await
    }

    /// Looks after a job until it has succeeded. `progress` gets the status as stage and the steps,
    /// once the events tell them. Dropping this leaves the job alone; it can be waited for again.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when the job failed, with what the API says;
    /// [`ErrorKind::Cancelled`]; [`ErrorKind::Timeout`] after the limit; those of the API.
    pub async fn wait(
        &self,
        job: &str,
        wait: &Wait,
        progress: &dyn Progress,
    ) -> Result<FineTuningJob> {
        let started = tokio::time::Instant::now();
        loop {
            let found = self.retrieve(job).await?;
            self.report(&found, progress).await?;
            let message = match found.status {
                JobStatus::Succeeded => return Ok(found),
                JobStatus::Failed => {
                    let reason = found.error.unwrap_or_default();
                    let message = format!("the job {job} failed: {reason}");
                    return Err(self.endpoint.name(Error::invalid_request(message)));
                }
                JobStatus::Cancelled => {
                    let error =
                        Error::new(ErrorKind::Cancelled, format!("the job {job} was cancelled"));
                    return Err(self.endpoint.name(error));
                }
                status => format!("the job {job} is still {status}"),
            };
            if wait
                .limit
                .is_some_and(|limit| started.elapsed().saturating_add(wait.interval) > limit)
            {
                return Err(self.endpoint.name(Error::new(ErrorKind::Timeout, message)));
            }
            tokio::time::sleep(wait.interval).await;
        }
    }

    async fn report(&self, job: &FineTuningJob, progress: &dyn Progress) -> Result<()> {
        let steps = match job.status {
            JobStatus::Running | JobStatus::Succeeded => {
                let recent = ListOptions::new().with_limit(10);
                let events = self.events(&job.id, &recent).await?;
                events.data.iter().find_map(FineTuningEvent::metrics)
            }
            _ => None,
        };
        let done = steps.as_ref().and_then(|m| m.step).unwrap_or(0);
        let total = steps.as_ref().and_then(|m| m.total_steps);
        let stage = job.status.to_string();
        progress.report(&ProgressEvent::new(stage, done, total, "steps"));
        Ok(())
    }

    async fn order(&self, job: &str, what: &str) -> Result<FineTuningJob> {
        object(&self.endpoint, Verb::POST, &self.path(job, what)?, None).await
    }

    fn path(&self, job: &str, below: &str) -> Result<String> {
        Ok(format!("{JOBS}/{}{below}", checked(&self.endpoint, job)?))
    }
}
