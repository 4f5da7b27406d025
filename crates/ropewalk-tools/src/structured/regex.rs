//! Replies read by a regular expression.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};
use ropewalk_core::{Error, ErrorKind, Result};

use super::parsers::OutputParser;

/// Largest compiled expression in bytes.
const LARGEST: usize = 1 << 20;

/// Reads the named groups of a regular expression from the first place of a reply that matches.
///
/// Matching takes linear time, whatever the reply.
///
/// ```
/// use ropewalk_tools::{OutputParser, RegexParser};
///
/// let parser = RegexParser::new(r"Score: (?<score>\d+)\s+Reason: (?<reason>.+)", "Score: 7\nReason: short")?;
/// let groups = parser.parse("Well.\nScore: 9\nReason: clear and complete")?;
/// assert_eq!((groups["score"].as_str(), groups["reason"].as_str()), ("9", "clear and complete"));
/// let problem = parser.parse("Nine.").unwrap_err();
/// assert_eq!(problem, "the reply is not in the form of:\nScore: 7\nReason: short");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RegexParser {
    regex: Regex,
    example: String,
}

impl RegexParser {
    /// Creates a parser from an expression (syntax of the crate `regex`) and a reply that matches
    /// it, which is what the model is shown.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for an expression that cannot be read or has no named groups,
    /// and for an example that does not match.
    pub fn new(pattern: &str, example: impl Into<String>) -> Result<Self> {
        let example = example.into();
        let wrong = |message: String| Error::new(ErrorKind::Configuration, message);
        let regex = RegexBuilder::new(pattern).size_limit(LARGEST).build();
        let regex =
            regex.map_err(|e| wrong(format!("the regular expression cannot be used: {e}")))?;
        if regex.capture_names().flatten().next().is_none() {
            let message = "the regular expression has no named groups: write (?<name>…)";
            return Err(wrong(message.into()));
        }
        if !regex.is_match(&example) {
            let message = format!("the example {example:?} does not match the regular expression");
            return Err(wrong(message));
        }
        Ok(Self { regex, example })
    }
}

impl OutputParser for RegexParser {
    /// Texts of the named groups that took part in the match.
    type Output = BTreeMap<String, String>;

    fn format_instructions(&self) -> String {
        format!("Answer in exactly this form:\n{}", self.example)
    }

    fn parse(&self, text: &str) -> std::result::Result<Self::Output, String> {
        let found = self.regex.captures(text);
        let found =
            found.ok_or_else(|| format!("the reply is not in the form of:\n{}", self.example))?;
        let names = self.regex.capture_names().flatten();
        let group = |name: &str| Some((name.to_owned(), found.name(name)?.as_str().to_owned()));
        Ok(names.filter_map(group).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_never_be_read() {
        let cases = [
            ("(", "x", "cannot be used"),
            ("(a)", "a", "no named groups"),
            ("(?<a>b)", "c", "the example \"c\" does not match"),
            (r"(?<a>\w{1000}{1000})", "a", "cannot be used"),
        ];
        for (pattern, example, expected) in cases {
            let error = RegexParser::new(pattern, example).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.message().contains(expected), "{error}");
        }
        let optional = RegexParser::new("(?<a>x)(?<b>y)?", "x").unwrap();
        let groups = optional.parse("ax").unwrap();
        assert_eq!(groups, BTreeMap::from([("a".to_owned(), "x".to_owned())]));
        assert_eq!(
            optional.format_instructions(),
            "Answer in exactly this form:\nx"
        );
    }
}
