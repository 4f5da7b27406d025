//! Labels of trust of messages.

use ropewalk_core::{Message, Part, Trust};

/// Returns the least trust of anything in a message.
pub(crate) fn least_trust(message: &Message) -> Trust {
    least_of(&message.content)
}

/// Returns the least trust of any of these parts.
pub(crate) fn least_of(parts: &[Part]) -> Trust {
    parts.iter().map(part_trust).min().unwrap_or(Trust::Trusted)
}

/// Returns how many parts of messages are untrusted.
pub(crate) fn untrusted_parts(messages: &[Message]) -> usize {
    let parts = messages.iter().flat_map(|m| &m.content);
    parts.filter(|p| !part_trust(p).is_trusted()).count()
}

fn part_trust(part: &Part) -> Trust {
    match part {
        Part::Text { trust, .. } => *trust,
        Part::ToolResult(result) => {
            // A trusted result cannot vouch for a part that says of itself that it is not.
            result.trust.min(least_of(&result.content))
        }
        // What the model made itself is judged by what it had read.
        Part::Reasoning(_) | Part::ToolCall(_) => Trust::Trusted,
        // A picture or document can hold text as well as any page can, and an item only the
        // provider understands (hosted search) comes from outside.
        _ => Trust::Untrusted,
    }
}

/// Creates a text part with this label.
pub(crate) fn text_with_trust(text: impl Into<String>, trust: Trust) -> Part {
    match trust {
        Trust::Trusted => Part::text(text),
        Trust::Untrusted => Part::untrusted_text(text),
    }
}
