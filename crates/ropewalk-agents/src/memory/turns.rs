//! Conversations as turns.

use std::collections::HashSet;

use ropewalk_core::{Message, Part, Role};

/// A conversation taken apart into its instructions and its turns.
///
/// The instructions are the system messages at the beginning. A turn begins with a message of the
/// user and ends before the next one, so that it holds its tool calls together with their results.
///
/// ```
/// use ropewalk_agents::Turns;
/// use ropewalk_core::Message;
///
/// let turns = Turns::of(vec![
///     Message::system("Be brief."),
///     Message::user("1"), Message::assistant("one"),
///     Message::user("2"),
/// ]);
/// assert_eq!((turns.instructions.len(), turns.turns.len()), (1, 2));
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Turns {
    /// The system messages at the beginning.
    pub instructions: Vec<Message>,
    /// The turns, oldest first; none is empty.
    pub turns: Vec<Vec<Message>>,
}

impl Turns {
    /// Takes a conversation apart.
    #[must_use]
    pub fn of(messages: Vec<Message>) -> Self {
        let mut this = Self::default();
        for message in messages {
            match this.turns.last_mut() {
                None if message.role == Role::System => this.instructions.push(message),
                Some(turn) if message.role != Role::User => turn.push(message),
                _ => this.turns.push(vec![message]),
            }
        }
        this
    }

    /// Returns the conversation of the instructions, `between`, and all turns from number `first`,
    /// from 0.
    #[must_use]
    pub fn join_from(self, first: usize, between: Vec<Message>) -> Vec<Message> {
        let mut messages = self.instructions;
        messages.extend(between);
        messages.extend(self.turns.into_iter().skip(first).flatten());
        messages
    }
}

/// Makes a conversation one that providers accept: takes away results whose call is not in the
/// assistant message before them, second results of one call, and calls that have no result at
/// once after them. A message of which nothing is left goes too. What is well formed stays as it
/// is.
#[must_use]
pub fn repair(messages: Vec<Message>) -> Vec<Message> {
    let mut repaired: Vec<Message> = Vec::with_capacity(messages.len());
    let mut rest = messages.into_iter().peekable();
    while let Some(mut message) = rest.next() {
        if message.role == Role::Tool {
            // Its assistant message would have taken it along.
            continue;
        }
        let calls: HashSet<String> = match message.role {
            Role::Assistant => message.tool_calls().map(|c| c.id.clone()).collect(),
            _ => HashSet::new(),
        };
        let mut answered = HashSet::new();
        let mut results = Vec::new();
        while let Some(mut result) = rest.next_if(|m| m.role == Role::Tool) {
            result.content.retain(|part| match part {
                Part::ToolResult(r) => {
                    calls.contains(&r.call_id) && answered.insert(r.call_id.clone())
                }
                _ => false,
            });
            results.extend(Some(result).filter(|r| !r.content.is_empty()));
        }
        if answered.len() < calls.len() {
            let had_parts = !message.content.is_empty();
            message.content.retain(|part| match part {
                Part::ToolCall(call) => answered.contains(&call.id),
                _ => true,
            });
            if had_parts && message.content.is_empty() {
                continue;
            }
        }
        repaired.push(message);
        repaired.extend(results);
    }
    repaired
}
