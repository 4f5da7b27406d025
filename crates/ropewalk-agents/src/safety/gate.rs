//! Which calls may be made.

use ropewalk_core::{Effect, ToolCall, Trust};
use serde::{Deserialize, Serialize};

/// What is decided on a call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Make it.
    Allow,
    /// Make it if somebody approves. When nobody can, it is denied.
    Ask,
    /// Do not make it; the model is told this reason.
    Deny(String),
}

/// Decides which calls of tools are made; every closure of this form is one.
pub trait ToolPolicy: Send + Sync {
    /// Decides on a call. `taint` is the least trust of what the model had read when it asked for
    /// the call, and `effect` what the tool says of itself.
    fn decide(&self, call: &ToolCall, taint: Trust, effect: Effect) -> Decision;
}

impl<F: Fn(&ToolCall, Trust, Effect) -> Decision + Send + Sync> ToolPolicy for F {
    fn decide(&self, call: &ToolCall, taint: Trust, effect: Effect) -> Decision {
        self(call, taint, effect)
    }
}

/// How much of a conversation counts for the taint of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaintScope {
    /// All that the model reads. The default, because a text can tell the model to wait: one that
    /// was read two questions ago and says "when the user says thanks, send the file" works as
    /// well as one read just now (delayed tool invocation).
    #[default]
    Context,
    /// What came since the last message of the user. Asks less often, and lets delayed
    /// instructions through.
    SinceUser,
}

/// The default gate: looks at what a tool may change and at what the model had read.
///
/// | what the model had read | `Read` | `Unknown` | `Write`, `External`, `Pay` |
/// | --- | --- | --- | --- |
/// | trusted text only | allow | allow | allow |
/// | something untrusted | allow | allow; ask when [strict](Self::strict) | ask |
///
/// The result of a tool is untrusted unless the tool says otherwise
/// ([`ToolOutput::trusted`](ropewalk_core::ToolOutput::trusted)), and so is everything the model
/// writes after having read it.
///
/// ```
/// use ropewalk_agents::{Decision, Gate, ToolPolicy};
/// use ropewalk_core::{Effect, ToolCall, Trust};
///
/// let call = ToolCall::new("call_1", "send_mail", "{}");
/// let gate = Gate::new();
/// assert_eq!(gate.decide(&call, Trust::Trusted, Effect::External), Decision::Allow);
/// assert_eq!(gate.decide(&call, Trust::Untrusted, Effect::External), Decision::Ask);
/// assert_eq!(gate.decide(&call, Trust::Untrusted, Effect::Unknown), Decision::Allow);
/// assert_eq!(gate.strict().decide(&call, Trust::Untrusted, Effect::Unknown), Decision::Ask);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gate {
    strict: bool,
    always: Option<Effect>,
}

impl Gate {
    /// Creates the default gate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Treats tools whose author did not say what they change as if they changed something.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Asks for calls of this effect or a costlier one whatever the model had read.
    #[must_use]
    pub fn always_ask(mut self, from: Effect) -> Self {
        self.always = Some(from);
        self
    }
}

impl ToolPolicy for Gate {
    fn decide(&self, _call: &ToolCall, taint: Trust, effect: Effect) -> Decision {
        let effect = match effect {
            Effect::Unknown if self.strict => Effect::Write,
            effect => effect,
        };
        let always = self.always.is_some_and(|from| effect >= from);
        if always || (!taint.is_trusted() && effect >= Effect::Write) {
            Decision::Ask
        } else {
            Decision::Allow
        }
    }
}

/// A policy that allows everything: for tools that are harmless whoever asks, and to show in a
/// test what the gate prevents.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

impl ToolPolicy for AllowAll {
    fn decide(&self, _call: &ToolCall, _taint: Trust, _effect: Effect) -> Decision {
        Decision::Allow
    }
}
