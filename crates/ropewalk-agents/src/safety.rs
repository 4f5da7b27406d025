//! What keeps text from outside from doing harm.

mod gate;
mod moderation;
mod phrases;
mod quarantine;
mod scan;

pub use gate::{AllowAll, Decision, Gate, TaintScope, ToolPolicy};
pub use moderation::{Moderated, ModerationStep, Stage, moderate};
pub use quarantine::Quarantine;
pub use scan::{Finding, ScanHooks, scan};
