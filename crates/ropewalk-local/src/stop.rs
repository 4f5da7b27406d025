//! Stop strings: text is held back while it may be the beginning of one.

/// Passes text on until a stop string appears.
///
/// Text that could still turn into a stop string is held back, so no part of one is ever shown.
///
/// ```
/// let mut stop = ropewalk_local::StopStrings::new(["\nUser:"]);
/// assert_eq!(stop.push("Hello\nUs"), "Hello");
/// assert_eq!(stop.push("ual\nUser: hi"), "\nUsual");
/// assert!(stop.hit().is_some());
/// ```
#[derive(Debug, Clone, Default)]
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
    hit: Option<String>,
}

impl StopStrings {
    /// Returns a matcher; empty strings are left out.
    pub fn new<S: Into<String>>(stops: impl IntoIterator<Item = S>) -> Self {
        let stops = stops
            .into_iter()
            .map(Into::into)
            .filter(|s: &String| !s.is_empty())
            .collect();
        Self {
            stops,
            ..Self::default()
        }
    }

    /// Takes more text and returns what can be shown; nothing after a stop string was met.
    pub fn push(&mut self, text: &str) -> String {
        if self.hit.is_some() {
            return String::new();
        }
        if self.stops.is_empty() {
            return text.to_owned();
        }
        self.held.push_str(text);
        // The stop that is complete first wins, so the split of the text changes nothing.
        let met = self
            .stops
            .iter()
            .filter_map(|s| self.held.find(s.as_str()).map(|at| (at, s)))
            .min_by_key(|(at, s)| (at + s.len(), *at));
        if let Some((at, stop)) = met {
            self.hit = Some(stop.clone());
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = self
            .stops
            .iter()
            .map(|s| overlap(&self.held, s))
            .max()
            .unwrap_or(0);
        let tail = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, tail)
    }

    /// Returns the text that was held back when no more will come.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Returns the stop string that was met.
    pub fn hit(&self) -> Option<&str> {
        self.hit.as_deref()
    }
}

/// Returns the length in bytes of the longest end of `text` that begins `stop`, short of all of it.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len().saturating_sub(1));
    (1..=longest)
        .rev()
        .find(|&n| stop.is_char_boundary(n) && text.as_bytes().ends_with(&stop.as_bytes()[..n]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], text: &str, size: usize) -> (String, Option<String>) {
        let mut m = StopStrings::new(stops.iter().copied());
        let chars: Vec<char> = text.chars().collect();
        let mut out = String::new();
        for part in chars.chunks(size) {
            out += &m.push(&part.iter().collect::<String>());
        }
        if m.hit().is_none() {
            out += &m.finish();
        }
        (out, m.hit().map(str::to_owned))
    }

    #[test]
    fn the_split_of_the_text_changes_nothing() {
        for (stops, text, shown, hit) in [
            (&["</s>"][..], "a < b </s> c", "a < b ", Some("</s>")),
            (&["aab"][..], "aaab", "a", Some("aab")),
            (&["xyz"][..], "xy xyx", "xy xyx", None),
            (&["b", "abc"][..], "zabc", "za", Some("b")),
            (&["ab", "abc"][..], "zab", "z", Some("ab")),
            (&["é!"][..], "caféé!", "café", Some("é!")),
            (&[][..], "free", "free", None),
        ] {
            for size in 1..=text.chars().count() {
                assert_eq!(
                    run(stops, text, size),
                    (shown.into(), hit.map(Into::into)),
                    "{text} {size}"
                );
            }
        }
    }

    #[test]
    fn nothing_follows_a_hit() {
        let mut m = StopStrings::new(["."]);
        assert_eq!(m.push("a.b"), "a");
        assert_eq!(m.push("c"), "");
        assert_eq!(m.finish(), "");
    }
}
