//! Keys and addresses from the environment or a `.env` file, read only when asked.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ropewalk_core::{Error, ErrorKind, Result};

/// Named values such as `OPENAI_API_KEY`. `Debug` prints the names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Creates settings without values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the process's environment as it is now; values that are no Unicode are left out.
    #[must_use]
    pub fn from_env() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// Sets a value.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// Adds the values of a `.env` file. A value that is already there stays, unless `override` is
    /// true.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when the file cannot be read, or with the number of the line that
    /// is none; no value is shown.
    pub fn with_env_file(mut self, path: impl AsRef<Path>, r#override: bool) -> Result<Self> {
        let path = path.as_ref();
        let bad = |problem: String| {
            let message = format!("cannot use {}: {problem}", path.display());
            Error::new(ErrorKind::Configuration, message)
        };
        let text = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
        let values = parse(&text)
            .map_err(|line| bad(format!("line {line} is not of the form NAME=value")))?;
        for (name, value) in values {
            if r#override {
                self.0.insert(name, value);
            } else {
                self.0.entry(name).or_insert(value);
            }
        }
        Ok(self)
    }

    /// Returns a value; an empty one counts as missing.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Parses `NAME=value` lines; `export` before a name, blank lines, `#` comments, and quotes around
/// values are understood. Nothing is substituted. Gives the number of the first line that is none.
fn parse(text: &str) -> std::result::Result<Vec<(String, String)>, usize> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut values = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').ok_or(number)?;
        let name = name.trim();
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        if name.is_empty() || !name.chars().all(valid) {
            return Err(number);
        }
        values.push((name.to_owned(), unquoted(value.trim()).ok_or(number)?));
    }
    Ok(values)
}

fn unquoted(value: &str) -> Option<String> {
    for quote in ['"', '\''] {
        let Some(rest) = value.strip_prefix(quote) else {
            continue;
        };
        let (inner, after) = rest.split_once(quote)?;
        let after = after.trim();
        return (after.is_empty() || after.starts_with('#')).then(|| inner.to_owned());
    }
    let end = value.find(" #").unwrap_or(value.len());
    Some(value[..end].trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_usual_forms() {
        let text = "\u{feff}# keys\r\nA=1\nexport B = two words # not this\n\nC='#x' # c\nD=\"a=b\"\nE=\nF=a#b\n";
        let values = parse(text).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "#x"),
            ("D", "a=b"),
            ("E", ""),
            ("F", "a#b"),
        ];
        let expected: Vec<_> = expected.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
        assert_eq!(values, expected);
        assert_eq!(parse("A=1\nsecret without equals"), Err(2));
        assert_eq!(parse("A='open"), Err(1));
        assert_eq!(parse("A B=1"), Err(1));
    }

    #[test]
    fn what_is_set_stays_unless_asked() {
        let path = std::env::temp_dir().join(format!("ropewalk-env-{}", std::process::id()));
        std::fs::write(&path, "K=file\nL=file\n").unwrap();
        let set = Settings::new().with("K", "set").with("M", "");
        let kept = set.clone().with_env_file(&path, false).unwrap();
        assert_eq!(
            (kept.get("K"), kept.get("L"), kept.get("M")),
            (Some("set"), Some("file"), None)
        );
        assert_eq!(
            set.clone().with_env_file(&path, true).unwrap().get("K"),
            Some("file")
        );
        std::fs::write(&path, "nonsense hunter2").unwrap();
        let error = set.clone().with_env_file(&path, true).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(set.with_env_file(&path, true).is_err());
        assert!(!format!("{kept:?}").contains("file"));
    }
}
