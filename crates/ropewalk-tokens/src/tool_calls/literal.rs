//! Values written in Python, or in the tags of Gemma, to compact JSON.

/// Nested lists, tuples and dictionaries that are read.
const DEEPEST: u32 = 64;

/// Reads values from the beginning of a text.
pub(super) struct Reader<'t> {
    pub(super) rest: &'t str,
    /// Stands on both sides of strings.
    mark: Option<&'static str>,
}

impl<'t> Reader<'t> {
    pub(super) fn python(text: &'t str) -> Self {
        Self {
            rest: text,
            mark: None,
        }
    }

    /// Strings stand between `mark`, keys may stand alone.
    pub(super) fn marked(text: &'t str, mark: &'static str) -> Self {
        Self {
            rest: text,
            mark: Some(mark),
        }
    }

    pub(super) fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Skips white space and takes `c` if it comes next.
    pub(super) fn take(&mut self, c: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    pub(super) fn expect(&mut self, c: char) -> Result<(), String> {
        if self.take(c) {
            return Ok(());
        }
        Err(format!("expected `{c}` but found {}", self.next()))
    }

    /// Names what comes next.
    pub(super) fn next(&self) -> String {
        match self.rest.chars().next() {
            None => "the end".to_owned(),
            Some(c) => format!("`{}`", c.escape_debug()),
        }
    }

    /// Takes a name; empty if none comes next.
    pub(super) fn name(&mut self) -> &'t str {
        self.skip_space();
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        name
    }

    /// Takes a value and appends it as JSON.
    pub(super) fn value(&mut self, out: &mut String) -> Result<(), String> {
        self.nested(out, 0)
    }

    fn nested(&mut self, out: &mut String, depth: u32) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("the value is nested deeper than {DEEPEST}"));
        }
        self.skip_space();
        if let Some(text) = self.marked_string()? {
            string(out, text);
            return Ok(());
        }
        match self.rest.chars().next() {
            Some('"' | '\'') => {
                let text = self.quoted(false)?;
                string(out, &text);
            }
            Some(open @ ('[' | '(')) => self.list(out, open, depth)?,
            Some('{') => self.dict(out, depth)?,
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => self.number(out)?,
            _ => self.word(out)?,
        }
        Ok(())
    }

    fn marked_string(&mut self) -> Result<Option<&'t str>, String> {
        let Some(mark) = self.mark else {
            return Ok(None);
        };
        let Some(rest) = self.rest.strip_prefix(mark) else {
            return Ok(None);
        };
        let Some((text, rest)) = rest.split_once(mark) else {
            return Err(format!("a string has no `{mark}` at its end"));
        };
        self.rest = rest;
        Ok(Some(text))
    }

    fn list(&mut self, out: &mut String, open: char, depth: u32) -> Result<(), String> {
        let close = if open == '[' { ']' } else { ')' };
        self.rest = &self.rest[1..];
        let start = out.len();
        out.push('[');
        let (mut items, mut comma) = (0, true);
        while !self.take(close) {
            if !comma {
                return Err(format!(
                    "expected `,` or `{close}` but found {}",
                    self.next()
                ));
            }
            if items > 0 {
                out.push(',');
            }
            self.nested(out, depth + 1)?;
            items += 1;
            comma = self.take(',');
        }
        if open == '(' && items == 1 && !comma {
            // Parentheses around a value.
            out.remove(start);
        } else {
            out.push(']');
        }
        Ok(())
    }

    fn dict(&mut self, out: &mut String, depth: u32) -> Result<(), String> {
        self.rest = &self.rest[1..];
        out.push('{');
        let (mut first, mut comma) = (true, true);
        while !self.take('}') {
            if !comma {
                return Err(format!("expected `,` or `}}` but found {}", self.next()));
            }
            if !first {
                out.push(',');
            }
            first = false;
            self.key(out)?;
            self.expect(':')?;
            out.push(':');
            self.nested(out, depth + 1)?;
            comma = self.take(',');
        }
        out.push('}');
        Ok(())
    }

    fn key(&mut self, out: &mut String) -> Result<(), String> {
        if let Some(key) = self.marked_string()? {
            string(out, key);
        } else if self.rest.starts_with(['"', '\'']) {
            let key = self.quoted(false)?;
            string(out, &key);
        } else if self.mark.is_some() {
            let end = self.rest.find([':', ',', '{', '}', '[', ']']).unwrap_or(0);
            let key = self.rest[..end].trim();
            if key.is_empty() {
                return Err(format!("expected a key but found {}", self.next()));
            }
            string(out, key);
            self.rest = &self.rest[end..];
        } else {
            let mut number = String::new();
            self.number(&mut number)
                .map_err(|_| format!("expected a key in quotes but found {}", self.next()))?;
            string(out, &number);
        }
        Ok(())
    }

    /// Takes a string in quotes; neighbours are one string.
    fn quoted(&mut self, mut raw: bool) -> Result<String, String> {
        let mut text = String::new();
        loop {
            self.one_quoted(raw, &mut text)?;
            self.skip_space();
            raw = false;
            if self.mark.is_some() || !self.rest.starts_with(['"', '\'']) {
                return Ok(text);
            }
        }
    }

    fn one_quoted(&mut self, raw: bool, text: &mut String) -> Result<(), String> {
        let mut chars = self.rest.chars();
        let quote = chars.next();
        loop {
            let Some(c) = chars.next() else {
                return Err("a string has no quote at its end".to_owned());
            };
            if Some(c) == quote {
                self.rest = chars.as_str();
                return Ok(());
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            let escape = chars.next();
            if raw {
                text.push('\\');
                text.extend(escape);
                continue;
            }
            match escape {
                Some('\n') | None => {}
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some('b') => text.push('\u{8}'),
                Some('f') => text.push('\u{c}'),
                Some('0') => text.push('\0'),
                Some(c @ ('\\' | '\'' | '"' | '/')) => text.push(c),
                Some(c @ ('x' | 'u' | 'U')) => {
                    let digits = match c {
                        'x' => 2,
                        'u' => 4,
                        _ => 8,
                    };
                    let mut code = hex(&mut chars, digits)?;
                    if (0xd800..0xdc00).contains(&code) && chars.as_str().starts_with("\\u") {
                        chars.nth(1);
                        let low = hex(&mut chars, 4)?;
                        code = 0x1_0000 + ((code - 0xd800) << 10) + (low & 0x3ff);
                    }
                    text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                // Python keeps the backslash of an escape it does not know.
                Some(c) => text.extend(['\\', c]),
            }
        }
    }

    fn number(&mut self, out: &mut String) -> Result<(), String> {
        let text = self.rest;
        let mut end = 0;
        for (at, c) in text.char_indices() {
            let exponent = text[..at].ends_with(['e', 'E']);
            let part = c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
            if !part && !(matches!(c, '+' | '-') && (at == 0 || exponent)) {
                break;
            }
            end = at + c.len_utf8();
        }
        let (number, rest) = text.split_at(end);
        let json = json_number(number).ok_or_else(|| format!("`{number}` is no number"))?;
        out.push_str(&json);
        self.rest = rest;
        Ok(())
    }

    fn word(&mut self, out: &mut String) -> Result<(), String> {
        let before = self.rest;
        let word = self.name();
        let prefix = matches!(word, "r" | "R" | "b" | "B" | "u" | "U");
        match word {
            "" => return Err(format!("expected a value but found {}", self.next())),
            "True" | "true" => out.push_str("true"),
            "False" | "false" => out.push_str("false"),
            "None" | "null" => out.push_str("null"),
            _ if prefix && self.rest.starts_with(['"', '\'']) => {
                let text = self.quoted(word.eq_ignore_ascii_case("r"))?;
                string(out, &text);
            }
            _ => {
                self.rest = before;
                return Err(format!("`{word}` is not a value"));
            }
        }
        Ok(())
    }
}

fn hex(chars: &mut std::str::Chars<'_>, digits: usize) -> Result<u32, String> {
    let mut code = 0u32;
    for _ in 0..digits {
        let digit = chars.next().and_then(|c| c.to_digit(16));
        let digit = digit.ok_or_else(|| format!("an escape needs {digits} hex digits"))?;
        code = (code << 4) | digit;
    }
    Ok(code)
}

/// Spells a number of Python as JSON does.
fn json_number(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(rest) if text.starts_with('-') => ("-", rest),
        Some(rest) => ("", rest),
        None => ("", text),
    };
    let digits = digits.replace('_', "");
    let radix = [("0x", 16), ("0X", 16), ("0o", 8), ("0b", 2)];
    for (prefix, radix) in radix {
        if let Some(digits) = digits.strip_prefix(prefix).filter(|d| !d.starts_with('+')) {
            let number = u128::from_str_radix(digits, radix).ok()?;
            return Some(format!("{sign}{number}"));
        }
    }
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (&*digits, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let all = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let some = |text: &str| !text.is_empty() && all(text);
    let valid = all(whole)
        && fraction.is_none_or(all)
        && (some(whole) || fraction.is_some_and(some))
        && exponent.is_none_or(|e| some(e.strip_prefix(['+', '-']).unwrap_or(e)));
    if !valid {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let mut out = format!("{sign}{}", if whole.is_empty() { "0" } else { whole });
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(if fraction.is_empty() { "0" } else { fraction });
    }
    if let Some(exponent) = exponent {
        out.push('e');
        out.push_str(exponent);
    }
    Some(out)
}

/// Appends a text as a JSON string.
pub(super) fn string(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// Takes the white space between the tokens of a JSON text out.
pub(super) fn compact(json: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let keep = |&c: &char| {
        let kept = inside || !c.is_ascii_whitespace();
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ => {}
        }
        kept
    };
    json.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let (mut reader, mut out) = (Reader::python(text), String::new());
        reader.value(&mut out)?;
        assert_eq!(reader.rest.trim(), "", "{text}");
        Ok(out)
    }

    #[test]
    fn python_values_become_json() {
        for (python, json) in [
            ("'it\\'s'", r#""it's""#),
            (r#""a\tb\\\x41\u00e9\U0001f999\q""#, r#""a\tb\\Aé🦙\\q""#),
            (r#""\ud83e\udd99""#, r#""🦙""#),
            (r"r'\d+'", r#""\\d+""#),
            ("'a' \"b\"", r#""ab""#),
            (
                "[1, -2.5, +3, 1_000, .5, 2., 1e5, 1E-3]",
                "[1,-2.5,3,1000,0.5,2.0,1e5,1e-3]",
            ),
            ("[0x1f, 0b101, 007, 0, 00]", "[31,5,7,0,0]"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("(1, 'x',)", r#"[1,"x"]"#),
            ("(1)", "1"),
            ("(1,)", "[1]"),
            (
                "{'a': True, \"b\": None, 1: {}}",
                r#"{"a":true,"b":null,"1":{}}"#,
            ),
            ("false", "false"),
        ] {
            assert_eq!(read(python).as_deref(), Ok(json), "{python}");
        }
    }

    #[test]
    fn what_is_no_value_says_why() {
        for (python, problem) in [
            ("'x", "no quote"),
            ("x", "`x` is not a value"),
            ("[1 2]", "expected `,`"),
            ("[,]", "expected a value"),
            ("{a: 1}", "key in quotes"),
            ("{'a' 1}", "expected `:`"),
            ("1j", "`1j` is no number"),
            ("1.2.3", "no number"),
            ("-", "no number"),
            ("1e", "no number"),
            ("0x+1", "no number"),
            ("'\\u12'", "4 hex digits"),
            ("", "the end"),
            (&"[".repeat(10_000), "nested deeper"),
        ] {
            let found = read(python).unwrap_err();
            assert!(found.contains(problem), "{python:.20}: {found}");
        }
    }

    #[test]
    fn marked_values_become_json() {
        let text = "{city:<escape>New \"York\"<escape>,days:[1,2],deep:{on:true}}";
        let (mut reader, mut out) = (Reader::marked(text, "<escape>"), String::new());
        reader.value(&mut out).unwrap();
        let json = r#"{"city":"New \"York\"","days":[1,2],"deep":{"on":true}}"#;
        assert_eq!((out.as_str(), reader.rest), (json, ""));
        let mut open = Reader::marked("<escape>x", "<escape>");
        assert!(open.value(&mut out).unwrap_err().contains("no `<escape>`"));
    }

    #[test]
    fn compact_keeps_strings() {
        let json = "{ \"a b\" : [ 1 , \"x \\\" y\" ] }\n";
        assert_eq!(compact(json), r#"{"a b":[1,"x \" y"]}"#);
    }
}
