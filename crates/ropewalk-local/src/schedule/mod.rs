//! Many requests at once over one model: iteration-level batching.

mod engine;
mod handle;
mod job;
mod options;
mod share;
mod stats;
mod step;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use futures_channel::mpsc;

use crate::generate::Sequence;
use crate::{Error, GenerateOptions, Model, Result, Timings};
use engine::Engine;
pub(crate) use handle::Waited;
pub use handle::{Handle, TokenStream};
use job::Job;
pub(crate) use job::Wanted;
pub use options::SchedulerOptions;
pub use stats::SchedulerStats;

/// Runs many requests together on one model, on a thread of its own.
///
/// Each step is one forward pass: a row for every sequence that is generating, then parts of the
/// prompts that wait, up to [`SchedulerOptions::step_tokens`] rows. Reading the weights, which is
/// what takes the time of one sequence, is shared by all. Every reply is byte for byte the one that
/// a [`Generation`](crate::Generation) alone gives for the same options, whatever runs beside it.
///
/// Keys and values come from one pool of pages. Prompts that begin alike, also like one that is just
/// being read, share theirs. A sequence begins when there are pages for all it holds; when the pages
/// run out, the youngest gives its own up and is computed again later, and its reply does not
/// change. A request whose handle is dropped is forgotten at the next step. What fails in one request, a panic
/// of its constraint included, ends that one.
///
/// Dropping the scheduler ends all its requests with [`Error::SchedulerEnded`] and waits for the
/// pass that runs. (With dynamic RoPE scaling, past the length a model was made for, keys depend on
/// how the prompt was cut into passes, here as anywhere.)
///
/// ```
/// use std::sync::Arc;
///
/// use ropewalk_local::{GenerateOptions, LoadOptions, Model, Scheduler, SchedulerOptions};
/// # use ropewalk_spec::{ModelSpec, testing::Seeded};
/// # let config = serde_json::json!({
/// #     "architectures": ["LlamaForCausalLM"], "vocab_size": 320, "hidden_size": 64,
/// #     "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2,
/// #     "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "hidden_act": "silu",
/// # });
/// # let spec = ModelSpec::from_hf(&config)?;
/// # let weights = Arc::new(Seeded::new(spec.clone(), 7).source());
/// # let model = Arc::new(Model::from_parts(spec, weights, &LoadOptions::default())?);
/// let scheduler = Scheduler::new(model, &SchedulerOptions::new().with_max_sequences(8))?;
/// let options = GenerateOptions::greedy(4);
/// let prompts = [vec![1, 42], vec![1, 7, 9], vec![1, 300]];
/// let handles = prompts.iter().map(|prompt| scheduler.submit(prompt, &options));
/// for mut handle in handles.collect::<Result<Vec<_>, _>>()? {
///     for token in &mut handle {
///         print!("{} ", token?.id);
///     }
///     println!("({:?})", handle.finish());
/// }
/// assert_eq!(scheduler.stats().finished, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Scheduler {
    model: Arc<Model>,
    options: SchedulerOptions,
    /// Tokens that the pool holds.
    pool_tokens: usize,
    /// Taken when the scheduler is dropped.
    requests: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    arrivals: AtomicU64,
    shared: Arc<Shared>,
}

/// What the scheduler and its thread both see.
#[derive(Debug, Default)]
struct Shared {
    stats: Mutex<SchedulerStats>,
    /// Requests that have not begun.
    queued: AtomicUsize,
}

impl Shared {
    /// A request begins, or is forgotten before it has.
    fn left_queue(&self, job: &Job) {
        if job.timings.preempted == 0 {
            self.queued.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Scheduler {
    /// Starts a scheduler for a model; other uses of the model take turns with it.
    ///
    /// # Errors
    /// [`Error::Option`] for a zero, or for more sequences than the pool has pages;
    /// [`Error::CacheSize`] for a pool that this machine has no memory for; [`Error::Thread`].
    pub fn new(model: Arc<Model>, options: &SchedulerOptions) -> Result<Self> {
        options.check()?;
        let pool = model.new_pool(options.pool(&model))?;
        let pages = pool.pages_limit().unwrap_or(usize::MAX);
        if options.max_sequences > pages {
            return Err(Error::Option {
                name: "max_sequences",
                value: options.max_sequences.to_string(),
                allowed: "at most one sequence for each 128 tokens of `pool_tokens`",
            });
        }
        let shared = Arc::new(Shared::default());
        let (requests, incoming) = channel();
        let engine = Engine::new(
            Arc::clone(&model),
            options.clone(),
            Arc::clone(&pool),
            Arc::clone(&shared),
        );
        let thread = std::thread::Builder::new()
            .name("ropewalk-scheduler".into())
            .spawn(move || engine.run(&incoming))
            .map_err(Error::Thread)?;
        Ok(Self {
            model,
            options: options.clone(),
            pool_tokens: pages.saturating_mul(pool.page_tokens()),
            requests: Some(requests),
            thread: Some(thread),
            arrivals: AtomicU64::new(0),
            shared,
        })
    }

    /// Hands over a prompt; the tokens of the reply come through the handle.
    ///
    /// # Errors
    /// What can never run is refused here: bad options, [`Error::EmptyPrompt`], [`Error::TokenId`],
    /// [`Error::Context`] for a prompt longer than the context, [`Error::CacheFull`] for one longer
    /// than the whole pool, a constraint that cannot be met. [`Error::QueueFull`] when as many
    /// requests wait as may; [`Error::SchedulerEnded`] if its thread is gone.
    pub fn submit(&self, prompt: &[u32], options: &GenerateOptions) -> Result<Handle> {
        self.submit_while(prompt, options, None)
    }

    /// As [`submit`](Self::submit); the request is also cancelled once `wanted` says no.
    pub(crate) fn submit_while(
        &self,
        prompt: &[u32],
        options: &GenerateOptions,
        wanted: Option<Wanted>,
    ) -> Result<Handle> {
        let sequence = Sequence::new(&self.model, prompt, options)?;
        let vocab = self.model.spec().vocab_size;
        if let Some(&id) = prompt.iter().find(|&&id| id as usize >= vocab) {
            return Err(Error::TokenId { id, vocab });
        }
        if prompt.len() > self.model.context() {
            return Err(Error::Context {
                wanted: prompt.len(),
                limit: self.model.context(),
            });
        }
        if prompt.len() > self.pool_tokens {
            return Err(Error::CacheFull {
                needed: prompt.len().div_ceil(crate::cache::PAGE),
                free: self.pool_tokens / crate::cache::PAGE,
                limit: self.pool_tokens / crate::cache::PAGE,
            });
        }
        let limit = self.options.max_waiting.unwrap_or(usize::MAX);
        let queued = &self.shared.queued;
        let more = |n| (n < limit).then_some(n + 1);
        if queued
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_err()
        {
            return Err(Error::QueueFull { limit });
        }
        let (events, handle) = mpsc::unbounded();
        let job = Job {
            number: self.arrivals.fetch_add(1, Ordering::Relaxed),
            sequence,
            events,
            wanted,
            timings: Timings {
                prompt_tokens: prompt.len(),
                ..Timings::default()
            },
            submitted: Instant::now(),
        };
        let requests = self.requests.as_ref().ok_or(Error::SchedulerEnded)?;
        requests.send(job).map_err(|_| Error::SchedulerEnded)?;
        Ok(Handle::new(handle))
    }

    /// Returns what it is doing and has done, as of its last step.
    pub fn stats(&self) -> SchedulerStats {
        let stats = self.shared.stats.lock();
        *stats.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Returns how it was set up.
    pub fn options(&self) -> &SchedulerOptions {
        &self.options
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        drop(self.requests.take());
        let thread = self.thread.take();
        // Code of a request may hold the last reference; its thread cannot wait for itself.
        if let Some(thread) = thread.filter(|t| t.thread().id() != std::thread::current().id()) {
            // A panic was reported when it happened.
            drop(thread.join());
        }
    }
}
