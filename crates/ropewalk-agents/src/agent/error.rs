//! Why a run did not come to an answer.

use std::fmt;

use ropewalk_core::{Error, ErrorKind, Moderation};

use super::limits::Limit;
use super::state::RunState;
use crate::safety::Stage;

/// Why a run did not come to an answer. All but [`Configuration`](Self::Configuration) carry the
/// [state](Self::state) so far.
///
/// Printed, it is one line that says why; its [`source`](std::error::Error::source) is what is below
/// the error that the line ends with.
#[derive(Debug)]
#[non_exhaustive]
pub enum AgentError {
    /// The model or a hook failed.
    Failed {
        /// Why.
        source: Box<Error>,
        /// The run so far.
        state: Box<RunState>,
    },
    /// A limit is reached.
    Limit {
        /// The limit.
        limit: Limit,
        /// The run so far.
        state: Box<RunState>,
    },
    /// A limit is set on something that a model does not report.
    Unmetered {
        /// `tokens` or `cost`.
        what: &'static str,
        /// The run so far.
        state: Box<RunState>,
    },
    /// The model makes the same call over and over.
    Repeated {
        /// Name of the tool.
        tool: String,
        /// How often it may be called.
        times: u32,
        /// The run so far.
        state: Box<RunState>,
    },
    /// Calls wait for approval: [`Agent::resume`](super::Agent::resume) goes on.
    NeedsApproval {
        /// The run so far.
        state: Box<RunState>,
    },
    /// A tool ended the run.
    Tool {
        /// Why.
        source: Box<Error>,
        /// The run so far.
        state: Box<RunState>,
    },
    /// A hook stopped the run.
    Stopped {
        /// Why.
        reason: String,
        /// The run so far.
        state: Box<RunState>,
    },
    /// The moderation model objects.
    Flagged {
        /// What was judged.
        stage: Stage,
        /// The judgement.
        moderation: Box<Moderation>,
        /// The run so far.
        state: Box<RunState>,
    },
    /// The memory could not be read or written. When it could not be written, the answer is the
    /// last message of the state.
    Memory {
        /// Why.
        source: Box<Error>,
        /// The run so far.
        state: Box<RunState>,
    },
    /// The agent is not put together right, or a state does not belong to it.
    Configuration {
        /// What is wrong and what to do.
        message: String,
    },
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let agent = self.state().map_or("", |state| state.agent.as_str());
        match self {
            Self::Failed { source, .. } => write!(f, "agent `{agent}` failed: {source}"),
            Self::Limit { limit, .. } => {
                write!(f, "agent `{agent}` reached its limit of {limit}")
            }
            Self::Unmetered { what, .. } => {
                let prices = match *what {
                    "cost" => "give the agent a price for its model, or ",
                    _ => "",
                };
                write!(
                    f,
                    "agent `{agent}` has a limit on {what}, but a call did not tell its {what}: \
                     {prices}take the limit away"
                )
            }
            Self::Repeated { tool, times, .. } => write!(
                f,
                "agent `{agent}` called `{tool}` with the same arguments more than {times} times"
            ),
            Self::NeedsApproval { state } => {
                write!(f, "agent `{agent}` waits for approval of {}", names(state))
            }
            Self::Tool { source, .. } => {
                write!(f, "a tool of agent `{agent}` ended the run: {source}")
            }
            Self::Stopped { reason, .. } => write!(f, "agent `{agent}` was stopped: {reason}"),
            Self::Flagged {
                stage, moderation, ..
            } => {
                let categories = categories(moderation);
                write!(
                    f,
                    "the {stage} of agent `{agent}` was flagged: {categories}"
                )
            }
            Self::Memory { source, .. } => {
                write!(f, "the memory of agent `{agent}` failed: {source}")
            }
            Self::Configuration { message } => f.write_str(message),
        }
    }
}

impl std::error::Error for AgentError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed { source, .. }
            | Self::Tool { source, .. }
            | Self::Memory { source, .. } => source.source(),
            _ => None,
        }
    }
}

fn names(state: &RunState) -> String {
    let calls = state.waiting().map(|c| format!("`{}` ({})", c.name, c.id));
    calls.collect::<Vec<_>>().join(", ")
}

pub(crate) fn categories(moderation: &Moderation) -> String {
    let flagged = moderation
        .categories
        .iter()
        .filter(|(_, applies)| **applies);
    let names: Vec<&str> = flagged.map(|(name, _)| name.as_str()).collect();
    match names[..] {
        [] => "no category".into(),
        _ => names.join(", "),
    }
}

impl AgentError {
    /// Returns the run so far.
    #[must_use]
    pub fn state(&self) -> Option<&RunState> {
        match self {
            Self::Failed { state, .. }
            | Self::Limit { state, .. }
            | Self::Unmetered { state, .. }
            | Self::Repeated { state, .. }
            | Self::NeedsApproval { state }
            | Self::Tool { state, .. }
            | Self::Stopped { state, .. }
            | Self::Flagged { state, .. }
            | Self::Memory { state, .. } => Some(state),
            Self::Configuration { .. } => None,
        }
    }

    /// Returns the kind the error has as an [`Error`] of core.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Failed { source, .. } | Self::Memory { source, .. } => source.kind(),
            Self::Limit { limit, .. } => match limit {
                Limit::Time(_) => ErrorKind::Timeout,
                Limit::Tokens(_) | Limit::Cost(_) => ErrorKind::QuotaExceeded,
                Limit::Turns(_) | Limit::ToolCalls(_) => ErrorKind::MaxTurns,
            },
            Self::Repeated { .. } => ErrorKind::MaxTurns,
            Self::NeedsApproval { .. } => ErrorKind::PermissionDenied,
            Self::Tool { .. } => ErrorKind::Tool,
            Self::Stopped { .. } => ErrorKind::Cancelled,
            Self::Flagged { .. } => ErrorKind::ContentFiltered,
            Self::Unmetered { .. } | Self::Configuration { .. } => ErrorKind::Configuration,
        }
    }
}

impl From<AgentError> for Error {
    fn from(error: AgentError) -> Self {
        let kind = error.kind();
        Self::from_error(kind, error).with_retryable(false)
    }
}
