//! Reading and computing an expression in one pass.

use super::number::Number;

/// Longest expression, in bytes.
pub(crate) const MAX_LEN: usize = 2000;
/// Deepest nesting of parentheses, signs and powers.
const MAX_DEPTH: u32 = 100;
/// Most arguments of a function.
const MAX_ARGUMENTS: usize = 200;

const FUNCTIONS: &str =
    "sqrt, abs, min, max, round, floor, ceil, ln, log10, log2, exp, sin, cos, tan";

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {problem}")]
#[non_exhaustive]
pub struct EvaluateError {
    /// The character of the expression, counted from 1.
    pub position: usize,
    /// What is wrong and what to do.
    pub problem: String,
}

/// Computes an expression: `+ - * / % ^`, parentheses, the functions `sqrt abs min max round floor
/// ceil ln log10 log2 exp sin cos tan` (angles in radians) and the constants `pi`, `e` and `tau`.
///
/// `^` (also `**`) binds strongest and to the right: `-2^2` is -4. The remainder `%` has the sign of
/// the left side. `round` takes digits after the point as a second argument and rounds halves away
/// from 0. Time is linear in the length, which is at most 2000 bytes; nesting is at most 100 deep.
///
/// # Errors
/// [`EvaluateError`] with the position for what cannot be read, a division by 0, an argument
/// outside of a function's domain, and a result too large for `f64`.
///
/// ```
/// use ropewalk_tools::builtin::calculator::evaluate;
///
/// assert_eq!(evaluate("19.99 * 3 + 0.1").unwrap().to_string(), "60.07");
/// assert_eq!(evaluate("2 ^ 100").unwrap().to_string(), "1267650600228229401496703205376");
/// let error = evaluate("1 / (2 - 2)").unwrap_err();
/// assert_eq!(error.to_string(), "at character 3: division by zero");
/// ```
pub fn evaluate(expression: &str) -> Result<Number, EvaluateError> {
    let mut reader = Reader {
        text: expression,
        at: 0,
        depth: 0,
    };
    if expression.len() > MAX_LEN {
        let length = expression.len();
        return Err(reader.error(
            0,
            format!("the expression has {length} bytes; at most {MAX_LEN} are read"),
        ));
    }
    let value = reader.sum()?;
    match reader.peek() {
        None => Ok(value),
        Some(found) => Err(reader.unexpected(found)),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

type Read = Result<Number, EvaluateError>;

impl Reader<'_> {
    fn error(&self, at: usize, problem: impl Into<String>) -> EvaluateError {
        let before = self.text.char_indices().take_while(|(i, _)| *i < at);
        EvaluateError {
            position: before.count() + 1,
            problem: problem.into(),
        }
    }

    fn unexpected(&self, found: char) -> EvaluateError {
        let problem = match found {
            ',' => "unexpected `,`; write numbers without separators".to_owned(),
            ')' => "unexpected `)`; no parenthesis is open".to_owned(),
            '(' | '.' => format!("unexpected `{found}`; is an operator missing?"),
            c if c.is_alphanumeric() => format!("unexpected `{c}`; is an operator missing?"),
            c => format!("unexpected {c:?}"),
        };
        self.error(self.at, problem)
    }

    /// Returns the next character that is no white space, without taking it.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, wanted: &[char]) -> Option<(char, usize)> {
        let (found, at) = (self.peek()?, self.at);
        if !wanted.contains(&found) {
            return None;
        }
        self.at += found.len_utf8();
        Some((found, at))
    }

    fn deeper(&mut self, read: impl FnOnce(&mut Self) -> Read) -> Read {
        if self.depth == MAX_DEPTH {
            let problem = format!("the expression is nested deeper than {MAX_DEPTH}");
            return Err(self.error(self.at, problem));
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    /// Gives a computed value back unless it is too large or undefined.
    fn finite(&self, at: usize, value: Number) -> Read {
        match value.as_f64().is_finite() {
            true => Ok(value),
            false if value.as_f64().is_nan() => Err(self.error(at, "the result is undefined")),
            false => Err(self.error(at, "the result is too large")),
        }
    }

    fn sum(&mut self) -> Read {
        let mut left = self.product()?;
        while let Some((operator, at)) = self.take(&['+', '-', '\u{2212}']) {
            let right = self.product()?;
            let right = if operator == '+' { right } else { right.neg() };
            left = self.finite(at, left.add(right))?;
        }
        Ok(left)
    }

    fn product(&mut self) -> Read {
        let mut left = self.signed()?;
        while let Some((operator, at)) = self.take(&['*', '/', '%', '×', '·', '÷', ':']) {
            let right = self.signed()?;
            let value = match operator {
                '*' | '×' | '·' => left.mul(right),
                _ if right.is_zero() => return Err(self.error(at, "division by zero")),
                '%' => left.rem(right),
                _ => left.div(right),
            };
            left = self.finite(at, value)?;
        }
        Ok(left)
    }

    fn signed(&mut self) -> Read {
        match self.take(&['+', '-', '\u{2212}']) {
            None => self.power(),
            Some(('+', _)) => self.deeper(Self::signed),
            Some(_) => self.deeper(Self::signed).map(Number::neg),
        }
    }

    fn power(&mut self) -> Read {
        let base = self.atom()?;
        let at = match self.take(&['^']) {
            Some((_, at)) => at,
            None if self.text[self.at..].starts_with("**") => {
                self.at += 2;
                self.at - 2
            }
            None => return Ok(base),
        };
        let exponent = self.deeper(Self::signed)?;
        if base.is_zero() && exponent.is_negative() {
            return Err(self.error(at, "division by zero"));
        }
        let value = base.pow(exponent);
        if value.as_f64().is_nan() {
            let problem = "a negative number has no real power with a broken exponent";
            return Err(self.error(at, problem));
        }
        self.finite(at, value)
    }

    fn atom(&mut self) -> Read {
        match self.peek() {
            None => Err(self.error(self.text.len(), "the expression ends too early")),
            Some('(') => {
                let opened = self.at;
                self.at += 1;
                let value = self.deeper(Self::sum)?;
                self.close(opened)?;
                Ok(value)
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_ascii_alphabetic() => self.name(),
            Some(found @ (',' | ')' | '.')) => {
                Err(self.error(self.at, format!("a number is missing before `{found}`")))
            }
            Some(found) => Err(self.unexpected(found)),
        }
    }

    fn close(&mut self, opened: usize) -> Result<(), EvaluateError> {
        match self.take(&[')']) {
            Some(_) => Ok(()),
            None => match self.peek() {
                None => Err(self.error(opened, "this parenthesis is never closed")),
                Some(found) => Err(self.unexpected(found)),
            },
        }
    }

    fn number(&mut self) -> Read {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let digits = |from: usize| {
            let more = bytes[from..].iter().take_while(|b| b.is_ascii_digit());
            from + more.count()
        };
        let mut end = digits(start);
        if bytes.get(end) == Some(&b'.') {
            end = digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let after = digits(end + 1 + sign);
            if after > end + 1 + sign {
                end = after;
            }
        }
        self.at = end;
        match Number::parse(&self.text[start..end]) {
            Some(value) => self.finite(start, value),
            None => Err(self.error(start, "a number needs digits")),
        }
    }

    fn name(&mut self) -> Read {
        let start = self.at;
        let rest = self.text[start..].bytes();
        self.at += rest.take_while(u8::is_ascii_alphanumeric).count();
        let name = self.text[start..self.at].to_ascii_lowercase();
        if let Some((_, opened)) = self.take(&['(']) {
            let mut arguments = Vec::new();
            loop {
                arguments.push(self.deeper(Self::sum)?);
                if self.take(&[',', ';']).is_none() {
                    break;
                }
                if arguments.len() == MAX_ARGUMENTS {
                    let problem = format!("more than {MAX_ARGUMENTS} arguments");
                    return Err(self.error(self.at, problem));
                }
            }
            self.close(opened)?;
            return self.function(start, &name, &arguments);
        }
        let value = match name.as_str() {
            "pi" => std::f64::consts::PI,
            "e" => std::f64::consts::E,
            "tau" => std::f64::consts::TAU,
            _ => {
                let problem =
                    format!("unknown name `{name}`; there are pi, e, tau and {FUNCTIONS}");
                return Err(self.error(start, problem));
            }
        };
        Ok(Number::float(value))
    }

    fn function(&self, at: usize, name: &str, arguments: &[Number]) -> Read {
        let real = |f: fn(f64) -> f64| move |x: Number| Number::float(f(x.as_f64()));
        let domain = |fine: bool, problem: &str| match fine {
            true => Ok(()),
            false => Err(self.error(at, format!("{name} of {problem} is undefined"))),
        };
        let value = match (name, arguments) {
            ("min" | "max", [first, rest @ ..]) => {
                let wanted = match name {
                    "min" => std::cmp::Ordering::Less,
                    _ => std::cmp::Ordering::Greater,
                };
                rest.iter().fold(*first, |best, next| {
                    if next.compare(best) == wanted {
                        *next
                    } else {
                        best
                    }
                })
            }
            ("round", [x, digits]) => {
                let digits = digits.as_whole().and_then(|d| u32::try_from(d).ok());
                let Some(digits) = digits.filter(|d| *d <= 30) else {
                    let problem = "the second argument of round is digits, 0 to 30";
                    return Err(self.error(at, problem));
                };
                x.round(digits)
            }
            ("round", [x]) => x.round(0),
            ("abs", [x]) => x.abs(),
            ("floor", [x]) => x.floor(),
            ("ceil", [x]) => x.ceil(),
            ("sqrt", [x]) => {
                domain(!x.is_negative(), "a negative number")?;
                x.sqrt()
            }
            ("ln" | "log10" | "log2", [x]) => {
                domain(!x.is_negative() && !x.is_zero(), "what is not above 0")?;
                match name {
                    "ln" => real(f64::ln)(*x),
                    "log10" => real(f64::log10)(*x),
                    _ => real(f64::log2)(*x),
                }
            }
            ("exp", [x]) => real(f64::exp)(*x),
            ("sin", [x]) => real(f64::sin)(*x),
            ("cos", [x]) => real(f64::cos)(*x),
            ("tan", [x]) => real(f64::tan)(*x),
            ("log", _) => {
                return Err(self.error(at, "`log` is ambiguous; write ln, log10 or log2"));
            }
            _ if FUNCTIONS.split(", ").any(|f| f == name) => {
                let given = arguments.len();
                return Err(self.error(at, format!("{name} does not take {given} arguments")));
            }
            _ => {
                let problem = format!("unknown function `{name}`; there are {FUNCTIONS}");
                return Err(self.error(at, problem));
            }
        };
        self.finite(at, value)
    }
}
