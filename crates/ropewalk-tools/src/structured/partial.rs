//! JSON that is still being written.

use serde_json::{Map, Number, Value};

/// As deep as `serde_json` reads.
const DEEPEST: usize = 127;

/// What is wrong with a JSON text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not JSON at byte {offset}: {problem}")]
#[non_exhaustive]
pub struct PartialJsonError {
    /// Position in everything that was pushed, in bytes.
    pub offset: usize,
    /// What is wrong.
    pub problem: &'static str,
}

/// Reads JSON piece by piece; at each point [`value`](Self::value) is what has been said so far.
///
/// The value only grows: objects get more members, lists more items, texts more characters.
/// Numbers, `true`, `false` and `null` appear when they are complete, members when their value
/// begins. The only exception is a key that occurs twice, where the last value counts, as in
/// `serde_json`. Each byte is looked at once; a piece costs its length and that of the keys it
/// stands under.
///
/// ```
/// use ropewalk_tools::PartialJson;
/// use serde_json::json;
///
/// let mut json = PartialJson::new();
/// json.push(r#"{"city": "Os"#)?;
/// assert_eq!(json.value(), Some(&json!({"city": "Os"})));
/// json.push(r#"lo", "price": 49"#)?;
/// assert_eq!(json.value(), Some(&json!({"city": "Oslo"})));
/// json.push("9}")?;
/// assert_eq!(json.finish()?, json!({"city": "Oslo", "price": 499}));
/// # Ok::<(), ropewalk_tools::PartialJsonError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct PartialJson {
    root: Option<Value>,
    /// The open lists and objects, outermost first; of objects the key whose value is being read.
    open: Vec<Open>,
    /// While a piece is read: the values of `open` and the text that is being read, taken out of one
    /// another so that the innermost is at hand.
    path: Vec<Value>,
    state: State,
    /// The key, number or word being read.
    token: String,
    offset: usize,
    error: Option<PartialJsonError>,
}

#[derive(Debug, Clone)]
enum Open {
    List,
    Object(String),
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    /// A value must follow.
    #[default]
    Value,
    /// A value or `]`.
    FirstItem,
    /// A key or `}`.
    FirstKey,
    /// A key.
    Key,
    /// `:`
    Colon,
    /// `,` or the end of the container.
    Next,
    /// In a text, which is a key or not.
    Text { key: bool, escape: Escape },
    /// In a number or a word.
    Token,
    /// After the value.
    Done,
}

#[derive(Debug, Clone, Copy)]
enum Escape {
    No,
    /// After `\`; `high` is the first half of a pair of `\u` escapes.
    Begun {
        high: Option<u16>,
    },
    /// After `\u`.
    Hex {
        digits: u8,
        code: u16,
        high: Option<u16>,
    },
    /// After the first half of a pair.
    Low {
        high: u16,
    },
}

type Step = Result<(), &'static str>;

impl PartialJson {
    /// Creates a reader that has read nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads more.
    ///
    /// # Errors
    /// [`PartialJsonError`] when no text that begins so is JSON. From then on every call returns
    /// the same error; [`value`](Self::value) is what came before.
    pub fn push(&mut self, text: &str) -> Result<(), PartialJsonError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        self.take_apart();
        let mut rest = text;
        let mut outcome = Ok(());
        while !rest.is_empty() && outcome.is_ok() {
            match self.step(rest) {
                Ok(length) => {
                    self.offset += length;
                    rest = &rest[length..];
                }
                Err(problem) => outcome = self.fail(problem),
            }
        }
        while !self.path.is_empty() {
            self.put_back();
        }
        outcome
    }

    /// Returns what has been said so far; `None` before the beginning of a value.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        self.root.as_ref()
    }

    /// Returns whether the value is complete. A number alone is complete when something follows it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Returns how many bytes were read, up to the error if there was one.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Returns the whole value; the text is over.
    ///
    /// # Errors
    /// [`PartialJsonError`] when the value is not complete.
    pub fn finish(mut self) -> Result<Value, PartialJsonError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if matches!(self.state, State::Token) {
            self.take_apart();
            if let Err(problem) = self.end_token() {
                let offset = self.offset;
                return Err(PartialJsonError { offset, problem });
            }
        }
        match (self.state, self.root) {
            (State::Done, Some(value)) => Ok(value),
            _ => Err(PartialJsonError {
                offset: self.offset,
                problem: "the text ends before the value does",
            }),
        }
    }

    fn fail(&mut self, problem: &'static str) -> Result<(), PartialJsonError> {
        let error = PartialJsonError {
            offset: self.offset,
            problem,
        };
        self.error = Some(error.clone());
        Err(error)
    }

    /// Reads a run of text and returns its length.
    fn step(&mut self, rest: &str) -> Result<usize, &'static str> {
        match self.state {
            State::Text {
                key,
                escape: Escape::No,
            } => return self.text(rest, key),
            State::Text { key, escape } => return self.escaped(rest, key, escape),
            State::Token => {
                let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
                self.token.push_str(&rest[..end]);
                if end < rest.len() {
                    self.end_token()?;
                }
                return Ok(end);
            }
            _ => {}
        }
        let blank = rest
            .bytes()
            .take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'))
            .count();
        if blank > 0 {
            return Ok(blank);
        }
        let first = rest.as_bytes()[0];
        match (self.state, first) {
            (State::FirstItem, b']') | (State::FirstKey, b'}') => self.close(),
            (State::Value | State::FirstItem, _) => return self.begin(first),
            (State::Key | State::FirstKey, b'"') => {
                self.token.clear();
                self.state = State::Text {
                    key: true,
                    escape: Escape::No,
                };
            }
            (State::Key | State::FirstKey, _) => return Err("a key in quotes must follow"),
            (State::Colon, b':') => self.state = State::Value,
            (State::Colon, _) => return Err("`:` must follow"),
            (State::Next, b',') => {
                self.state = match self.open.last() {
                    Some(Open::Object(_)) => State::Key,
                    _ => State::Value,
                };
            }
            (State::Next, b']') if matches!(self.open.last(), Some(Open::List)) => self.close(),
            (State::Next, b'}') if matches!(self.open.last(), Some(Open::Object(_))) => {
                self.close();
            }
            (State::Next, _) => return Err("`,` or the end of the list or object must follow"),
            _ => return Err("nothing may follow the value"),
        }
        Ok(1)
    }

    /// Begins a value.
    fn begin(&mut self, first: u8) -> Result<usize, &'static str> {
        match first {
            b'"' => {
                self.put_open(Value::String(String::new()))?;
                self.state = State::Text {
                    key: false,
                    escape: Escape::No,
                };
            }
            b'[' => {
                self.put_open(Value::Array(Vec::new()))?;
                self.enter(Open::List, State::FirstItem)?;
            }
            b'{' => {
                self.put_open(Value::Object(Map::new()))?;
                self.enter(Open::Object(String::new()), State::FirstKey)?;
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                self.token.clear();
                self.state = State::Token;
                return Ok(0);
            }
            _ => return Err("a value must follow"),
        }
        Ok(1)
    }

    fn enter(&mut self, open: Open, state: State) -> Step {
        if self.open.len() == DEEPEST {
            return Err("too many lists and objects in one another");
        }
        self.open.push(open);
        self.state = state;
        Ok(())
    }

    fn close(&mut self) {
        self.put_back();
        self.open.pop();
        self.end_value();
    }

    fn end_value(&mut self) {
        self.state = if self.open.is_empty() {
            State::Done
        } else {
            State::Next
        };
    }

    /// Ends a number or a word.
    fn end_token(&mut self) -> Step {
        let value = match self.token.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            word if word.starts_with(['t', 'f', 'n']) => return Err("an unknown word"),
            number => match serde_json::from_str::<Number>(number) {
                Ok(number) => Value::Number(number),
                Err(_) => return Err("not a number"),
            },
        };
        self.put(value)?;
        self.end_value();
        Ok(())
    }

    /// Reads plain characters of a text, up to its end or an escape.
    fn text(&mut self, rest: &str, key: bool) -> Result<usize, &'static str> {
        let special = |b: u8| matches!(b, b'"' | b'\\') || b < 0x20;
        let end = rest.bytes().position(special).unwrap_or(rest.len());
        self.append(&rest[..end], key)?;
        match rest.as_bytes().get(end) {
            None => return Ok(end),
            Some(b'"') if key => {
                let key = std::mem::take(&mut self.token);
                if let Some(Open::Object(current)) = self.open.last_mut() {
                    *current = key;
                }
                self.state = State::Colon;
            }
            Some(b'"') => {
                self.put_back();
                self.end_value();
            }
            Some(b'\\') => {
                self.state = State::Text {
                    key,
                    escape: Escape::Begun { high: None },
                };
            }
            Some(_) => return Err("a control character in a text must be escaped"),
        }
        Ok(end + 1)
    }

    /// Reads one byte of an escape.
    fn escaped(&mut self, rest: &str, key: bool, escape: Escape) -> Result<usize, &'static str> {
        const LONE: &str = "half of a pair of `\\u` escapes";
        let byte = rest.as_bytes()[0];
        let next = match (escape, byte) {
            (Escape::Begun { high }, b'u') => Escape::Hex {
                digits: 0,
                code: 0,
                high,
            },
            (Escape::Begun { high: Some(_) }, _) => return Err(LONE),
            (Escape::Begun { high: None }, _) => {
                let character = match byte {
                    b'"' => "\"",
                    b'\\' => "\\",
                    b'/' => "/",
                    b'b' => "\u{8}",
                    b'f' => "\u{c}",
                    b'n' => "\n",
                    b'r' => "\r",
                    b't' => "\t",
                    _ => return Err("an unknown escape"),
                };
                self.append(character, key)?;
                Escape::No
            }
            (Escape::Hex { digits, code, high }, _) => {
                let digit = char::from(byte)
                    .to_digit(16)
                    .ok_or("`\\u` needs four hex digits")?;
                let code = code << 4 | u16::try_from(digit).unwrap_or_default();
                match (digits + 1, high) {
                    (4, _) => self.unicode(code, high, key)?,
                    (digits, high) => Escape::Hex { digits, code, high },
                }
            }
            (Escape::Low { high }, b'\\') => Escape::Begun { high: Some(high) },
            (Escape::Low { .. } | Escape::No, _) => return Err(LONE),
        };
        self.state = State::Text { key, escape: next };
        Ok(1)
    }

    fn unicode(&mut self, code: u16, high: Option<u16>, key: bool) -> Result<Escape, &'static str> {
        if high.is_none() && (0xD800..0xDC00).contains(&code) {
            return Ok(Escape::Low { high: code });
        }
        let mut units = char::decode_utf16(high.into_iter().chain([code]));
        match (units.next(), units.next()) {
            (Some(Ok(character)), None) => {
                self.append(character.encode_utf8(&mut [0; 4]), key)?;
                Ok(Escape::No)
            }
            _ => Err("half of a pair of `\\u` escapes"),
        }
    }

    fn append(&mut self, text: &str, key: bool) -> Step {
        if key {
            self.token.push_str(text);
            return Ok(());
        }
        match self.path.last_mut() {
            Some(Value::String(value)) => {
                value.push_str(text);
                Ok(())
            }
            _ => Err("a text that is not there"),
        }
    }

    /// Puts a value where one is due.
    fn put(&mut self, value: Value) -> Step {
        match (self.path.last_mut(), self.open.last()) {
            (None, None) => self.root = Some(value),
            (Some(Value::Array(items)), _) => items.push(value),
            (Some(Value::Object(members)), Some(Open::Object(key))) => {
                members.insert(key.clone(), value);
            }
            _ => return Err("a value that has no place"),
        }
        Ok(())
    }

    /// Puts a value that is to grow; its place is held by null until it is put back.
    fn put_open(&mut self, value: Value) -> Step {
        self.put(Value::Null)?;
        self.path.push(value);
        Ok(())
    }

    /// Takes the values that still grow out of one another.
    fn take_apart(&mut self) {
        let in_text = matches!(self.state, State::Text { key: false, .. });
        let mut value = self.root.as_mut();
        for depth in 0..self.open.len() + usize::from(in_text) {
            let taken = value.map(Value::take).unwrap_or_default();
            self.path.push(taken);
            let (parent, open) = (self.path.last_mut(), self.open.get(depth));
            value = parent.zip(open).and_then(|(value, open)| open.place(value));
        }
    }

    /// Puts the innermost value that still grows back into the one around it.
    fn put_back(&mut self) {
        let Some(value) = self.path.pop() else {
            return;
        };
        let place = match self.path.len().checked_sub(1) {
            None => Some(self.root.get_or_insert_default()),
            Some(around) => self.open[around].place(&mut self.path[around]),
        };
        if let Some(place) = place {
            *place = value;
        }
    }
}

impl Open {
    /// Returns the place inside of `value` where the value being read stands.
    fn place<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
        match (value, self) {
            (Value::Array(items), Self::List) => items.last_mut(),
            (Value::Object(members), Self::Object(key)) => members.get_mut(key),
            _ => None,
        }
    }
}

/// Returns whether a character may be part of a number or a word.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')
}
