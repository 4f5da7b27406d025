//! Looking for the usual phrases of injected instructions.

use std::ops::Range;

use async_trait::async_trait;
use ropewalk_core::{Part, Result, ToolCall, ToolResult, Trust};

use crate::agent::{Hooks, RunState};
use crate::prompt::is_hidden;

/// A phrase that injected instructions often contain.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What kind of phrase: `override`, `role`, `secrecy`, `exfiltration` or `markup`.
    pub kind: &'static str,
    /// The phrase, in lower case.
    pub phrase: &'static str,
    /// Bytes of the text.
    pub at: Range<usize>,
}

/// Kind and phrase. Words are one space apart; in the text any white space may be between them.
const PHRASES: [(&str, &str); 26] = [
    ("override", "ignore all previous"),
    ("override", "ignore previous instructions"),
    ("override", "ignore the above"),
    ("override", "ignore your instructions"),
    ("override", "disregard all"),
    ("override", "disregard the above"),
    ("override", "disregard previous"),
    ("override", "forget everything"),
    ("override", "forget your instructions"),
    ("override", "override your"),
    ("override", "new instructions:"),
    ("role", "you are now"),
    ("role", "pretend to be"),
    ("role", "act as the system"),
    ("role", "developer mode"),
    ("role", "system prompt"),
    ("secrecy", "do not tell the user"),
    ("secrecy", "don't tell the user"),
    ("secrecy", "without telling the user"),
    ("exfiltration", "send the conversation"),
    ("exfiltration", "forward all"),
    ("markup", "<|im_start|>"),
    ("markup", "<|start_header_id|>"),
    ("markup", "[inst]"),
    ("markup", "<system>"),
    ("markup", "### system"),
];

/// Finds phrases that injected instructions often contain, in time linear in the text.
///
/// This is a signal for logs and people, not a defence: an attacker can say the same in other
/// words, and a page about attacks contains them all. What must not happen is up to
/// [`Gate`](super::Gate).
#[must_use]
pub fn scan(text: &str) -> Vec<Finding> {
    let (plain, places) = normalized(text);
    let mut found = Vec::new();
    for (kind, phrase) in PHRASES {
        for (at, _) in plain.match_indices(phrase) {
            let last = at + phrase.len() - 1;
            let at = places[at].start..places[last].end;
            found.push(Finding { kind, phrase, at });
        }
    }
    found.sort_by_key(|f| (f.at.start, f.at.end));
    found
}

/// The text in lower case with runs of white space as one space and without characters of no
/// width, and for each of its bytes the bytes of the text it stands for.
fn normalized(text: &str) -> (String, Vec<Range<usize>>) {
    let mut plain = String::with_capacity(text.len());
    let mut places: Vec<Range<usize>> = Vec::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let place = at..at + c.len_utf8();
        match c {
            c if is_hidden(c) => continue,
            c if c.is_whitespace() => {
                if plain.ends_with(' ') {
                    continue;
                }
                plain.push(' ');
            }
            c => plain.extend(c.to_lowercase()),
        }
        places.resize(plain.len(), place);
    }
    (plain, places)
}

/// Hooks that [scan] the results of tools. A result in which something is found is logged and
/// loses its trust, if a tool had vouched for it; nothing is ever trusted more for having passed.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScanHooks;

#[async_trait]
impl Hooks for ScanHooks {
    async fn after_tool(
        &self,
        run: &RunState,
        call: &ToolCall,
        result: &mut ToolResult,
    ) -> Result<()> {
        let texts = result.content.iter().filter_map(Part::as_text);
        if let Some(finding) = texts.flat_map(scan).next() {
            tracing::warn!(
                run = run.run_id,
                tool = call.name,
                call = call.id,
                kind = finding.kind,
                phrase = finding.phrase,
                "a result reads like injected instructions"
            );
            result.trust = Trust::Untrusted;
        }
        Ok(())
    }
}
