//! The thread that runs all requests.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::job::{Job, Running};
use super::{SchedulerOptions, SchedulerStats, Shared};
use crate::adapter::AdapterKey;
use crate::{Cache, CachePool, Error, Finish, Model, PrefixCache, Result};

/// All requests and the memory they share.
pub(super) struct Engine {
    pub(super) model: Arc<Model>,
    pub(super) options: SchedulerOptions,
    pool: Arc<CachePool>,
    pub(super) prefixes: Option<PrefixCache>,
    /// In the order of arrival; those that were preempted keep their place in it.
    waiting: VecDeque<Job>,
    /// In the order of arrival.
    pub(super) running: Vec<Running>,
    /// Which generating sequence is the first when there are too few rows for all.
    pub(super) turn: usize,
    pub(super) stats: SchedulerStats,
    shared: Arc<Shared>,
}

/// A request that is over, and how it ended.
pub(super) type Ended = (Job, Result<Finish>);

impl Engine {
    pub(super) fn new(
        model: Arc<Model>,
        options: SchedulerOptions,
        pool: Arc<CachePool>,
        shared: Arc<Shared>,
    ) -> Self {
        let pages = |tokens: usize| tokens.div_ceil(pool.page_tokens());
        let prefixes = match options.prefix_tokens {
            None => Some(PrefixCache::new(&pool)),
            Some(0) => None,
            Some(tokens) => Some(PrefixCache::new(&pool).with_max_pages(pages(tokens))),
        };
        Self {
            model,
            options,
            prefixes,
            waiting: VecDeque::new(),
            running: Vec::new(),
            turn: 0,
            stats: SchedulerStats::default(),
            shared,
            pool,
        }
    }

    /// Runs requests until nobody can send more.
    pub(super) fn run(mut self, requests: &Receiver<Job>) {
        while self.receive(requests) {
            let start = Instant::now();
            self.forget_unwanted();
            self.admit();
            let ended = self.step();
            self.stats.busy += start.elapsed();
            // Whoever hears of an end finds it in the statistics.
            self.publish();
            for (job, result) in ended {
                job.end(result);
            }
        }
        let running = self.running.drain(..).map(|r| r.job);
        for job in running.chain(self.waiting.drain(..)) {
            job.end(Err(Error::SchedulerEnded));
        }
        self.publish();
    }

    /// Takes new requests, and waits for one if there is nothing to do; returns false once nobody can
    /// send more.
    fn receive(&mut self, requests: &Receiver<Job>) -> bool {
        if self.running.is_empty() && self.waiting.is_empty() {
            match requests.recv() {
                Ok(job) => self.waiting.push_back(job),
                Err(_) => return false,
            }
        }
        loop {
            match requests.try_recv() {
                Ok(job) => self.waiting.push_back(job),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Ends requests whose handles are gone; their pages are free then, or kept for others.
    fn forget_unwanted(&mut self) {
        let gone = |running: &mut Running| !running.job.is_wanted();
        for Running { job, cache } in self.running.extract_if(.., gone).collect::<Vec<_>>() {
            self.stats.cancelled += 1;
            self.keep(&cache);
            job.end(Err(Error::Cancelled));
        }
        let (wanted, gone) = self.waiting.drain(..).partition(Job::is_wanted);
        self.waiting = wanted;
        for job in VecDeque::into_iter(gone) {
            self.stats.cancelled += 1;
            self.shared.left_queue(&job);
            job.end(Err(Error::Cancelled));
        }
    }

    fn keep(&self, cache: &Cache) {
        if let Some(prefixes) = &self.prefixes {
            prefixes.keep(cache);
        }
    }

    /// Lets waiting requests begin, in the order of their arrival, as far as there are pages for what
    /// they hold.
    fn admit(&mut self) {
        let mut at = 0;
        while self.running.len() < self.options.max_sequences && at < self.waiting.len() {
            let ids = self.waiting[at].sequence.ids();
            // The last id always runs again: its logits are not stored.
            let before_last = &ids[..ids.len() - 1];
            let adapters = self.waiting[at].sequence.adapters();
            let cache = match &self.prefixes {
                Some(prefixes) => prefixes.find(before_last, adapters),
                None => self.pool.new_cache(),
            };
            if self.is_computed_now(&self.waiting[at], cache.len()) {
                at += 1;
                continue;
            }
            if !self.fits(&self.waiting[at], &cache) {
                break;
            }
            if let Some(job) = self.waiting.remove(at) {
                self.begin(job, cache);
            }
        }
    }

    fn begin(&mut self, mut job: Job, cache: Cache) {
        self.shared.left_queue(&job);
        if !cache.is_empty() {
            self.stats.prefix_hits += 1;
            self.stats.prefix_tokens += cache.len() as u64;
        }
        if job.timings.preempted == 0 {
            job.timings.waited = job.submitted.elapsed();
            job.timings.cached_tokens = cache.len();
        }
        let at = self.running.partition_point(|r| r.job.number < job.number);
        self.running.insert(at, Running { job, cache });
    }

    /// Returns whether a running prompt is about to give a request at least a page more than it would
    /// find now: then it is worth while to wait for it.
    fn is_computed_now(&self, job: &Job, found: usize) -> bool {
        if self.prefixes.is_none() {
            return false;
        }
        let ids = job.sequence.ids();
        let adapters = AdapterKey::of(job.sequence.adapters());
        let page = self.pool.page_tokens();
        self.running.iter().any(|other| {
            let theirs = other.job.sequence.ids();
            let common = || ids.iter().zip(theirs).take_while(|(a, b)| a == b).count();
            other.pending() > 1
                && AdapterKey::of(other.job.sequence.adapters()) == adapters
                && common().min(ids.len() - 1) / page * page >= found + page
        })
    }

    /// Returns whether there are pages for all that a request holds, `cache` apart, and for what those
    /// that run have yet to compute.
    fn fits(&self, job: &Job, cache: &Cache) -> bool {
        if self.running.is_empty() {
            return true;
        }
        let page = self.pool.page_tokens();
        let missing = |ids: &[u32], cache: &Cache| ids.len().div_ceil(page) - cache.len() / page;
        let running = self.running.iter();
        let theirs: usize = running
            .map(|r| {
                r.job
                    .sequence
                    .ids()
                    .len()
                    .div_ceil(page)
                    .saturating_sub(r.cache.pages())
            })
            .sum();
        // One that had to go returns when all others have room to grow, lest it goes again at once.
        let growth = match job.timings.preempted {
            0 => 0,
            _ => self.running.len(),
        };
        let kept = self.prefixes.as_ref().map_or(0, PrefixCache::pages_unused);
        let free = self
            .pool
            .pages_free()
            .map_or(usize::MAX, |free| free + kept);
        missing(job.sequence.ids(), cache) + theirs + growth <= free
    }

    /// Takes the memory of the youngest for others; it goes on later where it was.
    pub(super) fn preempt(&mut self) {
        if let Some(Running { mut job, cache }) = self.running.pop() {
            // As long as nobody needs them the pages stay findable.
            self.keep(&cache);
            job.timings.preempted += 1;
            self.stats.preempted += 1;
            let at = self.waiting.partition_point(|w| w.number < job.number);
            self.waiting.insert(at, job);
        }
    }

    /// Takes the requests out that are over, each with how it ended.
    pub(super) fn take_ended(&mut self, mut failed: Vec<(usize, Error)>) -> Vec<Ended> {
        let mut ended = Vec::new();
        for index in (0..self.running.len()).rev() {
            let Running { job, cache } = &mut self.running[index];
            let error = failed.pop_if(|(at, _)| *at == index);
            let result = match error {
                Some((_, e)) => Err(e),
                None if job.sequence.is_done(cache) => {
                    Ok(job.sequence.finish().unwrap_or(Finish::Context))
                }
                None => continue,
            };
            let Running { job, cache } = self.running.remove(index);
            match &result {
                Ok(_) => {
                    self.stats.finished += 1;
                    self.keep(&cache);
                }
                Err(_) => self.stats.failed += 1,
            }
            self.stats.drafted_tokens += job.timings.drafted_tokens as u64;
            self.stats.accepted_tokens += job.timings.accepted_tokens as u64;
            ended.push((job, result));
        }
        ended.reverse();
        ended
    }

    fn publish(&mut self) {
        let stats = &mut self.stats;
        stats.running = self.running.len();
        stats.waiting = self.waiting.len();
        stats.pages = self.pool.pages_in_use();
        stats.pages_kept = self.prefixes.as_ref().map_or(0, PrefixCache::pages_unused);
        stats.pages_peak = self.pool.pages_peak();
        stats.pages_limit = self.pool.pages_limit().unwrap_or(usize::MAX);
        let shown = self.shared.stats.lock();
        *shown.unwrap_or_else(PoisonError::into_inner) = *stats;
    }
}
