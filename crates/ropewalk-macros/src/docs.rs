//! Doc comments as descriptions.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// Returns the text of a doc comment up to its first heading, if there is any.
pub(crate) fn description(attributes: &[Attribute]) -> Option<String> {
    let lines: Vec<String> = attributes.iter().filter_map(doc).collect();
    let lines = lines.iter().flat_map(|text| text.split('\n'));
    Some(reflow(lines)).filter(|text| !text.is_empty())
}

fn doc(attribute: &Attribute) -> Option<String> {
    match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

/// Joins the lines of paragraphs by spaces; lists, tables and code keep their lines.
fn reflow<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    let mut fenced = false;
    for line in lines {
        let line = line.strip_prefix(' ').unwrap_or(line).trim_end();
        let fence = line.starts_with("```");
        if !fenced && line.starts_with('#') {
            break;
        }
        if text.is_empty() || text.ends_with('\n') {
            if !(line.is_empty() && text.is_empty()) {
                text.push_str(line);
            }
        } else if line.is_empty() {
            text.push_str("\n\n");
            continue;
        } else {
            let own_line = fenced || fence || starts_own_line(line);
            text.push(if own_line { '\n' } else { ' ' });
            text.push_str(line);
        }
        if fence {
            fenced = !fenced;
            if !fenced {
                text.push('\n');
            }
        }
    }
    text.trim().to_owned()
}

fn starts_own_line(line: &str) -> bool {
    let numbered = || {
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
        rest.len() < line.len() && rest.starts_with(". ")
    };
    line.starts_with(['-', '*', '|', '>', ' ', '\t']) || numbered()
}

#[cfg(test)]
mod tests {
    use super::reflow;

    #[test]
    fn joins_paragraphs_and_keeps_lists() {
        let cases = [
            (" One\n two.\n", "One two."),
            (" A\n\n B\n C", "A\n\nB C"),
            (" A:\n - x\n - y\n   z", "A:\n- x\n- y\n  z"),
            (" A\n 1. x\n 2. y", "A\n1. x\n2. y"),
            (" A\n ```\n x\n  y\n ```\n B", "A\n```\nx\n y\n```\nB"),
            (" A\n\n # Errors\n B", "A"),
            ("\n\n", ""),
        ];
        for (lines, expected) in cases {
            assert_eq!(reflow(lines.split('\n')), expected, "{lines:?}");
        }
    }
}
