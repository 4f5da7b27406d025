//! A run: rows cut into batches, handed over, looked after, fetched, put in order.

mod replies;

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::StreamExt;
use ropewalk_core::{Error, ErrorKind, Progress, ProgressEvent, Result, Warning};

use super::options::{BatchOptions, BatchSummary};
use super::row::BatchRow;
use super::service::{BatchPhase, BatchService, BatchStatus, NewBatch};
use super::state::{BatchPart, BatchState, PartPhase};
use crate::fnv::Fnv;
use crate::resources::{Wait, atomic};

/// Rows on their way through batches, with everything that is known of them in a directory.
///
/// The state is saved before and after every step, by writing beside it and renaming. A process
/// that dies, or a future that is dropped, loses at most one answer: [`open`](Self::open) goes on
/// where it was. A batch whose creation was not seen to the end is looked for at the provider by
/// its key, and created only if it is not there. One process at a time works on a directory.
#[derive(Debug)]
pub struct BatchRun {
    service: Arc<dyn BatchService>,
    directory: PathBuf,
    state: BatchState,
    max_in_flight: usize,
    /// Held as long as this lives.
    _lock: File,
}

impl BatchRun {
    /// Begins a run in a directory, or goes on with the one that is there if its rows are the same.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] for no rows, equal names, different paths, a row too large, or
    /// other rows than the run in the directory has; [`ErrorKind::Configuration`] when the
    /// directory cannot be used or another process uses it.
    pub async fn open(
        service: impl BatchService + 'static,
        directory: impl AsRef<Path>,
        rows: impl IntoIterator<Item = BatchRow>,
        options: &BatchOptions,
    ) -> Result<Self> {
        let service: Arc<dyn BatchService> = Arc::new(service);
        let rows: Vec<BatchRow> = rows.into_iter().collect();
        let lines = lines(&*service, &rows).map_err(|m| invalid(&*service, m))?;
        let mut run = Self::at(service, directory.as_ref(), options).await?;
        let mut digest = Fnv::new();
        lines.iter().for_each(|line| digest.add(line.as_bytes()));
        if let Some(state) =
            BatchState::load(&run.file("state.json"), run.service.provider()).await?
        {
            if (state.rows, &state.digest) != (rows.len(), &digest.hex()) {
                let message = format!(
                    "{} holds a run of {} other rows: take another directory, or remove it",
                    run.directory.display(),
                    state.rows
                );
                return Err(invalid(&*run.service, message));
            }
            run.state = state;
            return Ok(run);
        }
        run.state.url.clone_from(&rows[0].url);
        run.state.rows = rows.len();
        run.state.digest = digest.hex();
        run.state.warnings = unique(rows.iter().flat_map(|r| &r.warnings));
        run.state.parts = run
            .cut(&lines, options)
            .map_err(|m| invalid(&*run.service, m))?;
        for (i, part) in run.state.parts.iter().enumerate() {
            let part = lines[part.first..part.first + part.rows].concat();
            atomic::write(&run.input(i), part.as_bytes()).await?;
        }
        // Last: a state means that all lines are there.
        run.save().await?;
        Ok(run)
    }

    /// Goes on with the run in a directory, whose rows it holds.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when there is none, else as [`open`](Self::open).
    pub async fn resume(
        service: impl BatchService + 'static,
        directory: impl AsRef<Path>,
        options: &BatchOptions,
    ) -> Result<Self> {
        let mut run = Self::at(Arc::new(service), directory.as_ref(), options).await?;
        let path = run.file("state.json");
        match BatchState::load(&path, run.service.provider()).await? {
            Some(state) => run.state = state,
            None => {
                let message = format!("there is no run in {}", run.directory.display());
                return Err(Error::new(ErrorKind::Configuration, message));
            }
        }
        Ok(run)
    }

    async fn at(
        service: Arc<dyn BatchService>,
        directory: &Path,
        options: &BatchOptions,
    ) -> Result<Self> {
        let made = tokio::fs::create_dir_all(directory).await;
        made.map_err(|e| atomic::failed("create", directory, e))?;
        let path = directory.join("lock");
        let lock = File::create(&path).map_err(|e| atomic::failed("create", &path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("another process works on {}", directory.display());
                return Err(Error::new(ErrorKind::Configuration, message));
            }
            Err(TryLockError::Error(e)) => return Err(atomic::failed("lock", &path, e)),
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut name = Fnv::new();
        name.add(&now.as_nanos().to_le_bytes());
        name.add(&std::process::id().to_le_bytes());
        name.add(directory.as_os_str().as_encoded_bytes());
        let state = BatchState::new(name.hex(), service.provider(), String::new(), now.as_secs());
        Ok(Self {
            service,
            directory: directory.to_owned(),
            state,
            max_in_flight: options.max_in_flight.unwrap_or(usize::MAX),
            _lock: lock,
        })
    }

    /// Cuts the lines into batches.
    fn cut(&self, lines: &[String], options: &BatchOptions) -> Result<Vec<BatchPart>, String> {
        let limits = self.service.limits();
        let max_rows = options
            .max_rows
            .unwrap_or(limits.rows)
            .min(limits.rows)
            .max(1);
        let max_bytes = options.max_bytes.unwrap_or(limits.bytes).min(limits.bytes);
        let mut parts: Vec<BatchPart> = Vec::new();
        for (i, line) in lines.iter().enumerate() {
            let bytes = line.len() as u64;
            if line.len() > max_bytes {
                return Err(format!(
                    "row {i} has {bytes} bytes, more than the {max_bytes} of a batch"
                ));
            }
            match parts.last_mut() {
                Some(part) if part.rows < max_rows && part.bytes + bytes <= max_bytes as u64 => {
                    part.rows += 1;
                    part.bytes += bytes;
                }
                _ => {
                    let mut part = BatchPart::default();
                    (part.first, part.rows, part.bytes) = (i, 1, bytes);
                    parts.push(part);
                }
            }
        }
        Ok(parts)
    }

    /// Returns the state as it is saved.
    #[must_use]
    pub fn state(&self) -> &BatchState {
        &self.state
    }

    /// Returns the directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns what of the requests was not honoured, each once.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.state.warnings
    }

    /// Returns how the run was getting on when it was looked at last.
    #[must_use]
    pub fn summary(&self) -> BatchSummary {
        let parts = &self.state.parts;
        let mut summary = BatchSummary {
            rows: self.state.rows as u64,
            batches: parts.len(),
            ..BatchSummary::default()
        };
        for part in parts {
            summary.done += part.status.done;
            summary.failed += part.status.failed;
            summary.created += usize::from(part.batch.is_some());
            summary.fetched += usize::from(part.phase == PartPhase::Fetched);
        }
        summary
    }

    /// Takes every step that can be taken now: hands over what waits, looks at what is on its way,
    /// fetches what is over. Called again after an error it tries again.
    ///
    /// # Errors
    /// Those of the provider and of the directory. Rows that fail are no error here.
    pub async fn poll(&mut self) -> Result<BatchSummary> {
        for i in 0..self.state.parts.len() {
            self.hand_over(i).await?;
        }
        for i in 0..self.state.parts.len() {
            self.look_after(i).await?;
        }
        Ok(self.summary())
    }

    /// Polls until all replies are here. Dropping this loses nothing.
    ///
    /// # Errors
    /// As [`poll`](Self::poll), and [`ErrorKind::Timeout`] after the limit.
    pub async fn wait(&mut self, wait: &Wait, progress: &dyn Progress) -> Result<()> {
        let started = tokio::time::Instant::now();
        loop {
            let summary = self.poll().await?;
            let tried = summary.done + summary.failed;
            progress.report(&ProgressEvent::new(
                "batch",
                tried,
                Some(summary.rows),
                "rows",
            ));
            if summary.is_over() {
                return Ok(());
            }
            if wait
                .limit
                .is_some_and(|limit| started.elapsed().saturating_add(wait.interval) > limit)
            {
                let message = format!(
                    "{} of {} batches are not over",
                    summary.batches - summary.fetched,
                    summary.batches
                );
                return Err(Error::new(ErrorKind::Timeout, message)
                    .with_provider(self.state.provider.clone()));
            }
            tokio::time::sleep(wait.interval).await;
        }
    }

    /// Stops all batches that are on their way; those that wait are never handed over, not after a
    /// restart either. What is done can still be fetched: poll on.
    ///
    /// # Errors
    /// The first of the provider's, after all batches were tried, and those of the directory.
    pub async fn cancel(&mut self) -> Result<()> {
        self.state.cancelled = true;
        self.save().await?;
        let mut result = Ok(());
        for part in &self.state.parts {
            if let (PartPhase::Created, Some(batch)) = (part.phase, &part.batch) {
                result = result.and(self.service.cancel(batch).await);
            }
        }
        result
    }

    /// Uploads the lines of a part and creates its batch, as far as that is not done.
    async fn hand_over(&mut self, i: usize) -> Result<()> {
        let on_their_way =
            |p: &&BatchPart| (PartPhase::Uploading..PartPhase::Ended).contains(&p.phase);
        let busy = self.state.parts.iter().filter(on_their_way).count();
        let part = &self.state.parts[i];
        let full = busy >= self.max_in_flight && !self.state.cancelled;
        if part.phase >= PartPhase::Created || (part.phase == PartPhase::New && full) {
            return Ok(());
        }
        if self.state.cancelled {
            return self.give_up(i).await;
        }
        let part = &self.state.parts[i];
        let name = format!("ropewalk-{}-{i:04}.jsonl", self.state.run);
        let key = self.key(i);
        let (phase, bytes) = (part.phase, part.bytes);
        let path = self.input(i);
        let lines = atomic::read(&path).await?.unwrap_or_default();
        if lines.len() as u64 != bytes {
            let message = format!(
                "{} has been changed: it has {} bytes, not {bytes}",
                path.display(),
                lines.len()
            );
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        let lines = Bytes::from(lines);
        if phase < PartPhase::Uploaded {
            let found = match phase {
                PartPhase::Uploading => self.service.uploaded(&name, bytes).await?,
                _ => None,
            };
            self.set(i, PartPhase::Uploading).await?;
            self.state.parts[i].file = match found {
                Some(file) => Some(file),
                None => self.service.upload(&name, lines.clone()).await?,
            };
            self.set(i, PartPhase::Uploaded).await?;
        }
        let found = match phase {
            PartPhase::Creating => self.service.find(&key, self.state.created).await?,
            _ => None,
        };
        self.set(i, PartPhase::Creating).await?;
        let batch = match found {
            Some(batch) => batch,
            None => {
                let (url, file) = (self.state.url.clone(), self.state.parts[i].file.clone());
                self.service
                    .create(&NewBatch {
                        key,
                        url,
                        file,
                        lines,
                    })
                    .await?
            }
        };
        self.state.parts[i].batch = Some(batch);
        self.set(i, PartPhase::Created).await
    }

    /// Does not hand over a part of a cancelled run; if its batch was perhaps created, it is looked
    /// for and stopped.
    async fn give_up(&mut self, i: usize) -> Result<()> {
        let found = match self.state.parts[i].phase {
            PartPhase::Creating => self.service.find(&self.key(i), self.state.created).await?,
            _ => None,
        };
        if let Some(batch) = found {
            self.service.cancel(&batch).await?;
            self.state.parts[i].batch = Some(batch);
            return self.set(i, PartPhase::Created).await;
        }
        atomic::write(&self.output(i), b"").await?;
        self.state.parts[i].status = BatchStatus::new(BatchPhase::Cancelled);
        self.set(i, PartPhase::Fetched).await
    }

    /// Returns the name by which the batch of a part is found again.
    fn key(&self, i: usize) -> String {
        format!("{}/{i}", self.state.run)
    }

    /// Looks at the batch of a part and fetches its replies when it is over.
    async fn look_after(&mut self, i: usize) -> Result<()> {
        let part = &self.state.parts[i];
        if let (PartPhase::Created, Some(batch)) = (part.phase, &part.batch) {
            let status = self.service.status(batch).await?;
            let over = status.phase.is_over();
            let phase = if over {
                PartPhase::Ended
            } else {
                PartPhase::Created
            };
            self.state.parts[i].status = status;
            self.set(i, phase).await?;
        }
        if self.state.parts[i].phase != PartPhase::Ended {
            return Ok(());
        }
        let mut file = atomic::Part::create(&self.output(i)).await?;
        for output in &self.state.parts[i].status.outputs {
            let mut pieces = self.service.output(output).await?;
            let mut ended = true;
            while let Some(piece) = pieces.next().await {
                let piece = piece?;
                ended = piece.last().map_or(ended, |b| *b == b'\n');
                file.write(&piece).await?;
            }
            if !ended {
                file.write(b"\n").await?;
            }
        }
        file.finish().await?;
        self.set(i, PartPhase::Fetched).await
    }

    async fn set(&mut self, i: usize, phase: PartPhase) -> Result<()> {
        self.state.parts[i].phase = phase;
        self.save().await
    }

    async fn save(&self) -> Result<()> {
        self.state.save(&self.file("state.json")).await
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn input(&self, i: usize) -> PathBuf {
        self.file(&format!("input-{i:04}.jsonl"))
    }

    fn output(&self, i: usize) -> PathBuf {
        self.file(&format!("output-{i:04}.jsonl"))
    }
}

/// Checks the rows and writes their lines.
fn lines(service: &dyn BatchService, rows: &[BatchRow]) -> Result<Vec<String>, String> {
    let first = rows.first().ok_or("there are no rows")?;
    let mut names = HashSet::new();
    for (i, row) in rows.iter().enumerate() {
        if row.custom_id.is_empty() {
            return Err(format!("row {i} has no name"));
        }
        if !names.insert(row.custom_id.as_str()) {
            return Err(format!(
                "row {i} has the name {:?} of another",
                row.custom_id
            ));
        }
        if row.url != first.url {
            return Err(format!(
                "row {i} goes to {}, the first to {}: a run has one",
                row.url, first.url
            ));
        }
    }
    Ok(rows
        .iter()
        .map(|row| format!("{}\n", service.line(row)))
        .collect())
}

fn unique<'w>(warnings: impl Iterator<Item = &'w Warning>) -> Vec<Warning> {
    let mut all: Vec<Warning> = Vec::new();
    for warning in warnings {
        if !all.contains(warning) {
            all.push(warning.clone());
        }
    }
    all
}

fn invalid(service: &dyn BatchService, message: impl Into<String>) -> Error {
    Error::invalid_request(message).with_provider(service.provider().to_owned())
}
