//! Limits of a run and what it has spent.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ropewalk_core::Usage;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Limits of a run.
///
/// Turns and tool calls are those of the agent itself; tokens, cost and time include the agents it
/// calls as tools. A limit is checked before each call of the model and before tools are called:
/// what would go beyond is not begun, so that the counts of turns and tool calls are exact. How
/// many tokens a call takes is known only after it, so the last one may go over; its answer is
/// returned.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// How many times the model may be called; 10 unless set.
    pub turns: u32,
    /// How many calls of tools may be made.
    pub tool_calls: Option<u32>,
    /// After how many tokens, of prompts and replies together, no call is begun.
    pub tokens: Option<u64>,
    /// After how many US dollars no call is begun. Needs [`Agent::pricing`](super::Agent::pricing).
    pub cost: Option<f64>,
    /// How long a run may take, waiting for approval aside; calls under way are dropped then.
    /// Needs the runtime of tokio.
    pub time: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            turns: 10,
            tool_calls: None,
            tokens: None,
            cost: None,
            time: None,
        }
    }
}

impl Limits {
    /// Creates the defaults: ten turns and nothing else.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many times the model may be called.
    #[must_use]
    pub fn with_turns(mut self, turns: u32) -> Self {
        self.turns = turns;
        self
    }

    /// Sets how many calls of tools may be made.
    #[must_use]
    pub fn with_tool_calls(mut self, calls: u32) -> Self {
        self.tool_calls = Some(calls);
        self
    }

    /// Sets after how many tokens no call is begun.
    #[must_use]
    pub fn with_tokens(mut self, tokens: u64) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Sets after how many US dollars no call is begun.
    #[must_use]
    pub fn with_cost(mut self, dollars: f64) -> Self {
        self.cost = Some(dollars);
        self
    }

    /// Sets how long a run may take.
    #[must_use]
    pub fn with_time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }
}

/// The limit that ended a run.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Limit {
    /// [`Limits::turns`].
    Turns(u32),
    /// [`Limits::tool_calls`].
    ToolCalls(u32),
    /// [`Limits::tokens`].
    Tokens(u64),
    /// [`Limits::cost`], US dollars.
    Cost(f64),
    /// [`Limits::time`].
    Time(Duration),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Turns(n) => write!(f, "{n} calls of the model"),
            Self::ToolCalls(n) => write!(f, "{n} calls of tools"),
            Self::Tokens(n) => write!(f, "{n} tokens"),
            Self::Cost(dollars) => write!(f, "${dollars}"),
            Self::Time(time) => write!(f, "{time:?}"),
        }
    }
}

/// What a run has spent, agents called as tools included.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Spent {
    /// Tokens of all calls, as far as they were reported.
    pub usage: Usage,
    /// Tokens of prompts and replies together, as far as they were reported.
    pub tokens: u64,
    /// Whether a call did not report its tokens.
    pub uncounted: bool,
    /// US dollars, as far as prices are known.
    pub cost: f64,
    /// Whether the price of a call is not known.
    pub unpriced: bool,
}

impl Spent {
    /// Returns the whole cost in US dollars, `None` when the price of a call is not known.
    #[must_use]
    pub fn known_cost(&self) -> Option<f64> {
        (!self.unpriced).then_some(self.cost)
    }
}

/// Why nothing more may be spent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Exhausted {
    Limit(Limit),
    /// A limit on this is set, but a call did not say how much it took.
    Unmetered(&'static str),
}

/// Adds up what a run and those it is part of spend.
pub(super) struct Meter {
    limits: Limits,
    spent: Mutex<Spent>,
    deadline: Option<Instant>,
    parent: Option<Arc<Self>>,
}

impl Meter {
    pub(super) fn new(
        limits: Limits,
        spent: Spent,
        elapsed: Duration,
        parent: Option<Arc<Self>>,
    ) -> Self {
        let left = limits.time.map(|time| time.saturating_sub(elapsed));
        Self {
            limits,
            spent: Mutex::new(spent),
            // Outer runs drop this one when their time is over.
            deadline: left.and_then(|left| Instant::now().checked_add(left)),
            parent,
        }
    }

    /// Returns when the run must end.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) fn time_limit(&self) -> Limit {
        Limit::Time(self.limits.time.unwrap_or_default())
    }

    fn lock(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn spent(&self) -> Spent {
        *self.lock()
    }

    pub(super) fn add(&self, usage: &Usage, cost: Option<f64>) {
        {
            let mut spent = self.lock();
            spent.usage += *usage;
            match usage.total_tokens() {
                Some(tokens) => spent.tokens = spent.tokens.saturating_add(tokens),
                None => spent.uncounted = true,
            }
            match cost {
                Some(cost) => spent.cost += cost,
                None => spent.unpriced = true,
            }
        }
        if let Some(parent) = &self.parent {
            parent.add(usage, cost);
        }
    }

    /// Returns why no call may be begun, in this run or in one it is part of.
    pub(super) fn exhausted(&self) -> Option<Exhausted> {
        let spent = self.spent();
        let Limits { tokens, cost, .. } = self.limits;
        let tokens = tokens.and_then(|max| match spent.uncounted {
            true => Some(Exhausted::Unmetered("tokens")),
            false => (spent.tokens >= max).then_some(Exhausted::Limit(Limit::Tokens(max))),
        });
        let cost = cost.and_then(|max| match spent.unpriced {
            true => Some(Exhausted::Unmetered("cost")),
            false => (spent.cost >= max).then_some(Exhausted::Limit(Limit::Cost(max))),
        });
        let late = self.deadline.is_some_and(|at| Instant::now() >= at);
        let time = late.then(|| Exhausted::Limit(self.time_limit()));
        let above = || self.parent.as_ref()?.exhausted();
        tokens.or(cost).or(time).or_else(above)
    }
}
