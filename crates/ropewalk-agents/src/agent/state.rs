//! The state of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use ropewalk_core::{Error, ErrorKind, FinishReason, Message, ToolCall, ToolResult};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::limits::Spent;

/// Version of the JSON. A state of a later version is refused.
const VERSION: u32 = 1;

/// Everything a run needs to go on, to be stored as JSON.
///
/// It holds the conversation, so store it where conversations may be stored. It holds neither the
/// instructions and tools, which belong to the agent, nor values for tools.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunState {
    #[serde(deserialize_with = "known_version")]
    version: u32,
    /// Id of the run.
    pub run_id: String,
    /// Name of the agent whose turn it is.
    pub agent: String,
    /// The conversation in the agent's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
    /// The conversation so far: what memory gave, the input, and what came after.
    pub messages: Vec<Message>,
    /// How many of the messages are from memory.
    #[serde(default)]
    pub remembered: usize,
    /// The calls of the last message that have no result yet, or whose results wait for others.
    #[serde(default)]
    pub pending: Vec<PendingCall>,
    /// Tokens and cost.
    #[serde(default)]
    pub spent: Spent,
    /// How many times the model was called.
    #[serde(default)]
    pub turns: u32,
    /// How many calls of tools were made.
    #[serde(default)]
    pub tool_calls: u32,
    /// How long the run took, waiting for approval aside. Seconds in JSON.
    #[serde(default, with = "seconds")]
    pub elapsed: Duration,
    /// How often each call was made.
    #[serde(default)]
    pub(super) repeats: BTreeMap<String, u32>,
    /// Replies that could not be read and what the model was told about them (ReAct).
    #[serde(default)]
    pub(super) scratch: Vec<Message>,
    /// The memory is not loaded, or the input not judged.
    #[serde(default)]
    pub(super) opening: bool,
    /// The last message is the answer, and why it ended; judging and remembering it may be left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answered: Option<FinishReason>,
    /// Hooks showed the model untrusted text that the messages do not hold.
    #[serde(default)]
    pub(super) shown_untrusted: bool,
}

/// A call that the model asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PendingCall {
    /// The call.
    pub call: ToolCall,
    /// How far it is.
    pub status: CallStatus,
}

/// How far a call is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallStatus {
    /// Nothing was decided.
    New,
    /// Somebody must approve it.
    Asked,
    /// It may be made.
    Allowed,
    /// It was begun. When a run ends like this, whether it took effect is not known.
    Started,
    /// Its result is there and waits for those of the other calls.
    Done(ToolResult),
}

impl RunState {
    pub(super) fn new(run_id: String, agent: String) -> Self {
        Self {
            version: VERSION,
            run_id,
            agent,
            conversation: None,
            messages: Vec::new(),
            remembered: 0,
            pending: Vec::new(),
            spent: Spent::default(),
            turns: 0,
            tool_calls: 0,
            elapsed: Duration::ZERO,
            repeats: BTreeMap::new(),
            scratch: Vec::new(),
            opening: false,
            answered: None,
            shown_untrusted: false,
        }
    }

    /// Returns the messages that are not from memory.
    pub(crate) fn said(&self) -> &[Message] {
        self.messages.get(self.remembered..).unwrap_or_default()
    }

    /// Yields the calls that wait for approval.
    pub fn waiting(&self) -> impl Iterator<Item = &ToolCall> {
        let asked = self
            .pending
            .iter()
            .filter(|p| p.status == CallStatus::Asked);
        asked.map(|p| &p.call)
    }

    /// Returns the JSON of the state.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] when a number in it cannot be written.
    pub fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|e| Error::from_error(ErrorKind::Other, e))
    }

    /// Reads a state.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] for text that is no state or one of a later version.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        serde_json::from_str(json).map_err(|e| {
            let message = format!("this is no state of a run: {e}");
            Error::new(ErrorKind::Decode, message)
        })
    }
}

impl PendingCall {
    pub(super) fn new(call: ToolCall) -> Self {
        Self {
            call,
            status: CallStatus::New,
        }
    }
}

fn known_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        VERSION => Ok(VERSION),
        other => Err(D::Error::custom(format!(
            "version {other} of the state is not known, only {VERSION}"
        ))),
    }
}

/// A time as a number of seconds.
mod seconds {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        time.as_secs_f64().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)?;
        Duration::try_from_secs_f64(seconds).map_err(D::Error::custom)
    }
}
