//! How much to think, in the words of a server.

use ropewalk_core::{Effort, Result};

use crate::wire::Notes;

/// All levels in use, least first.
const SCALE: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Returns the level of `levels` (least first) for an effort, and notes when it is another than
/// was asked for. Budgets become the level whose usual budget they reach: low up to 1,024 tokens,
/// medium up to 8,192, high beyond.
pub(super) fn level(
    effort: Effort,
    levels: &'static [&'static str],
    notes: &mut Notes,
) -> Result<Option<&'static str>> {
    let thinking = levels.iter().find(|l| **l != SCALE[0]).copied();
    let (wanted, is_budget) = match effort {
        Effort::Off | Effort::Budget(0) => (SCALE[0], false),
        // The least and the most a server knows are what these two ask for.
        Effort::Minimal => return Ok(thinking),
        Effort::Max => return Ok(levels.last().copied()),
        Effort::Low => ("low", false),
        Effort::Medium => ("medium", false),
        Effort::High => ("high", false),
        Effort::Budget(..=1024) => ("low", true),
        Effort::Budget(..=8192) => ("medium", true),
        Effort::Budget(_) => ("high", true),
        _ => return Ok(None),
    };
    let rank = |name: &str| SCALE.iter().position(|s| *s == name).unwrap_or(SCALE.len());
    // Of two levels as near the higher one is taken; who wants thoughts gets some.
    let near = levels
        .iter()
        .rev()
        .filter(|l| wanted == SCALE[0] || **l != SCALE[0])
        .min_by_key(|l| rank(l).abs_diff(rank(wanted)));
    let Some(near) = near.copied() else {
        return Ok(None);
    };
    if is_budget {
        notes.leave_out(
            "reasoning",
            format!("the server takes no budget of tokens; the effort is `{near}`"),
        )?;
    } else if near != wanted {
        notes.leave_out(
            "reasoning",
            format!("the server has no effort `{wanted}`; it is `{near}`"),
        )?;
    }
    Ok(Some(near))
}

#[cfg(test)]
mod tests {
    use ropewalk_core::OnUnsupported;

    use super::*;

    #[test]
    fn the_nearest_level_is_taken_and_told() {
        const OPENAI: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh"];
        const PLAIN: &[&str] = &["low", "medium", "high"];
        const DEEPSEEK: &[&str] = &["low", "high", "max"];
        for (effort, levels, expected, told) in [
            (Effort::Off, OPENAI, "none", false),
            (Effort::Minimal, OPENAI, "minimal", false),
            (Effort::High, OPENAI, "high", false),
            (Effort::Max, OPENAI, "xhigh", false),
            (Effort::Budget(0), OPENAI, "none", false),
            (Effort::Budget(1024), OPENAI, "low", true),
            (Effort::Budget(5000), OPENAI, "medium", true),
            (Effort::Budget(20_000), OPENAI, "high", true),
            (Effort::Off, PLAIN, "low", true),
            (Effort::Minimal, PLAIN, "low", false),
            (Effort::Max, PLAIN, "high", false),
            (Effort::Medium, DEEPSEEK, "high", true),
            (Effort::Max, DEEPSEEK, "max", false),
            (Effort::Low, &["none", "high"], "high", true),
        ] {
            let mut notes = Notes::new(OnUnsupported::Warn);
            let got = level(effort, levels, &mut notes).unwrap();
            assert_eq!(got, Some(expected), "{effort:?} of {levels:?}");
            assert_eq!(!notes.warnings().is_empty(), told, "{effort:?}");
        }
        let mut strict = Notes::new(OnUnsupported::Error);
        assert!(level(Effort::Budget(9), OPENAI, &mut strict).is_err());
    }
}
