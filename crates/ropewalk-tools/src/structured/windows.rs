//! Windows over long texts.

use std::ops::Range;

/// Cuts a text into windows of at most `size` characters that share about `overlap` characters
/// with the one before, and returns their places in bytes.
///
/// A window ends where a paragraph, a line, a sentence or a word does, whichever of these is found
/// first in its last half; a text without any of them is cut between characters. `size` is at
/// least 1, and the overlap is at most half of it. Together the windows cover the text; blank ones
/// are left out.
///
/// ```
/// use ropewalk_tools::windows;
///
/// let text = "Ada met Grace. Grace met Alan. Alan met nobody.";
/// let windows: Vec<&str> = windows(text, 32, 16).into_iter().map(|place| &text[place]).collect();
/// assert_eq!(windows, ["Ada met Grace. Grace met Alan. ", "Grace met Alan. Alan met nobody."]);
/// ```
#[must_use]
pub fn windows(text: &str, size: usize, overlap: usize) -> Vec<Range<usize>> {
    let size = size.max(1);
    let overlap = overlap.min(size / 2);
    let mut all = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let limit = after(text, start, size);
        let end = if limit == text.len() {
            limit
        } else {
            cut(text, start, limit, size)
        };
        if !text[start..end].trim().is_empty() {
            all.push(start..end);
        }
        if end == text.len() {
            break;
        }
        start = resume(text, start, end, overlap);
    }
    all
}

/// Returns the place `count` characters after `start`, at most the end.
fn after(text: &str, start: usize, count: usize) -> usize {
    let rest = &text[start..];
    rest.char_indices()
        .nth(count)
        .map_or(text.len(), |(at, _)| start + at)
}

/// Returns where the window that may reach `limit` ends.
fn cut(text: &str, start: usize, limit: usize, size: usize) -> usize {
    let from = after(text, start, size - size / 2);
    let last = &text[from..limit];
    let ends = ["\n\n", "\n", ". ", "! ", "? ", "。", " "];
    let mut found = ends
        .iter()
        .filter_map(|end| Some(from + last.rfind(end)? + end.len()));
    found.next().unwrap_or(limit)
}

/// Returns where the window after `start..end` begins: about `overlap` characters back, at the
/// beginning of a word, and always further than the one before.
fn resume(text: &str, start: usize, end: usize, overlap: usize) -> usize {
    if overlap == 0 {
        return end;
    }
    let back = text[..end]
        .char_indices()
        .rev()
        .nth(overlap - 1)
        .map_or(0, |(at, _)| at);
    if back <= start {
        return end;
    }
    let word = text[back..end]
        .find(char::is_whitespace)
        .map_or(back, |at| {
            let rest = &text[back + at..end];
            back + at + (rest.len() - rest.trim_start().len())
        });
    let begins_word = text[..back].ends_with(char::is_whitespace);
    if begins_word { back } else { word }
}
