//! API keys: never printed, checked before they are sent.

use std::fmt;

use ropewalk_core::{Error, ErrorKind, Result};

/// A key. `Debug` prints its first eight characters at most, and nothing of a short one.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

/// What is wrong with a key, as far as it can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyDiagnosis {
    /// Nothing.
    Ok,
    /// There is none, or it is empty.
    Missing,
    /// White space before or after it, usually from copying.
    WhiteSpace,
    /// It begins otherwise than the provider's keys do: probably the key of another provider.
    WrongPrefix,
    /// It holds characters that cannot be sent.
    NotSendable,
}

impl fmt::Display for KeyDiagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "the key looks right",
            Self::Missing => "there is no key, or it is empty",
            Self::WhiteSpace => "the key has white space before or after it: remove it",
            Self::WrongPrefix => {
                "the key does not begin as keys of this provider do: is it another provider's?"
            }
            Self::NotSendable => "the key holds characters that cannot be sent: copy it again",
        })
    }
}

impl ApiKey {
    /// Wraps a key as it is.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// Returns the key itself, for sending only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Says what is wrong with the key, given what the provider's keys begin with (any of these;
    /// none means unknown).
    #[must_use]
    pub fn diagnose(&self, prefixes: &[&str]) -> KeyDiagnosis {
        let key = self.0.as_str();
        if key.trim().is_empty() {
            KeyDiagnosis::Missing
        } else if key.trim() != key {
            KeyDiagnosis::WhiteSpace
        } else if !key.bytes().all(|b| b.is_ascii_graphic()) {
            KeyDiagnosis::NotSendable
        } else if !prefixes.is_empty() && !prefixes.iter().any(|p| key.starts_with(p)) {
            KeyDiagnosis::WrongPrefix
        } else {
            KeyDiagnosis::Ok
        }
    }

    /// Refuses keys that no provider would take. A wrong prefix is not refused: gateways take any.
    pub(crate) fn check(&self, provider: &str) -> Result<()> {
        match self.diagnose(&[]) {
            KeyDiagnosis::Ok => Ok(()),
            problem => Err(Error::new(ErrorKind::Authentication, problem.to_string())
                .with_provider(provider.to_owned())),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        let key = self.0.trim();
        let shown: String = match key.chars().count() {
            // What is shown must leave enough unknown.
            n if n >= 3 * SHOWN => key.chars().take(SHOWN).collect(),
            _ => String::new(),
        };
        write!(f, "ApiKey({shown}…)")
    }
}

impl<T: Into<String>> From<T> for ApiKey {
    fn from(key: T) -> Self {
        Self::new(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_wrong() {
        for (key, expected) in [
            ("sk-proj-abcdefghijklmnopqrstuvwx", KeyDiagnosis::Ok),
            ("", KeyDiagnosis::Missing),
            (" \n", KeyDiagnosis::Missing),
            ("sk-proj-abc\n", KeyDiagnosis::WhiteSpace),
            ("AIzaSyabc", KeyDiagnosis::WrongPrefix),
            ("sk-ä", KeyDiagnosis::NotSendable),
        ] {
            assert_eq!(ApiKey::new(key).diagnose(&["sk-"]), expected, "{key:?}");
        }
    }

    #[test]
    fn shows_eight_characters_at_most() {
        let shown = format!("{:?}", ApiKey::new("sk-proj-abcdefghijklmnopqrstuvwx"));
        assert_eq!(shown, "ApiKey(sk-proj-…)");
        assert_eq!(format!("{:?}", ApiKey::new("short-secret")), "ApiKey(…)");
    }
}
