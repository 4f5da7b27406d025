//! `"{}".format(x)`.

use super::{Spec, ascii, bounded};
use crate::template::error::{Res, type_error};
use crate::template::filters::step;
use crate::template::interp::Args;
use crate::template::meter::Meter;
use crate::template::ops;
use crate::template::text::{escape_html, repr_char, repr_str};
use crate::template::value::{Dict, Val};
use std::collections::VecDeque;
use std::rc::Rc;

/// `template.format(*args, **kwargs)`; markup escapes what it takes in.
pub(crate) fn str_format(template: &Val, args: &Args, m: &Meter) -> Res<Val> {
    let named = Dict::from_pairs(
        args.named
            .iter()
            .map(|(n, v)| (Val::Str(n.clone()), v.clone())),
        m,
    )?;
    let mut formatter = Formatter {
        m,
        positional: &args.positional,
        named: Rc::new(named),
        auto: Some(0),
        escapes: matches!(template, Val::Markup(_)),
    };
    let text = formatter.run(&template.text(m)?, 2)?;
    Ok(ops::like(template, text))
}

struct Formatter<'a> {
    m: &'a Meter,
    positional: &'a [Val],
    named: Rc<Dict>,
    /// The next automatic number; `None` once numbers were given.
    auto: Option<usize>,
    escapes: bool,
}

impl Formatter<'_> {
    fn run(&mut self, template: &str, depth: u8) -> Res<String> {
        if depth == 0 {
            return type_error("Max string recursion exceeded");
        }
        let m = self.m;
        m.read(template)?;
        let mut out = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            m.charge(4)?;
            m.push(&mut out, &rest[..at])?;
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                out.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return type_error("Single '}' encountered in format string");
            }
            let Some(end) = field_end(rest) else {
                return type_error(if rest.is_empty() {
                    "Single '{' encountered in format string"
                } else {
                    "expected '}' before end of string"
                });
            };
            let field = &rest[..end];
            rest = &rest[end + 1..];
            let text = self.field(field, depth)?;
            m.push(&mut out, &text)?;
        }
        m.push(&mut out, rest)?;
        Ok(out)
    }

    fn field(&mut self, field: &str, depth: u8) -> Res<String> {
        let m = self.m;
        let split = field.find(['!', ':']).unwrap_or(field.len());
        let (name, mut tail) = field.split_at(split);
        let mut value = self.lookup(name)?;
        if let Some(conversion) = tail.strip_prefix('!') {
            let Some(code) = conversion.chars().next() else {
                return type_error("unmatched '{' in format spec");
            };
            value = match code {
                'r' => value.repr(m)?.into(),
                's' => Val::Str(value.text(m)?),
                'a' => ascii(&value.repr(m)?).into(),
                _ => {
                    return type_error(format!(
                        "Unknown conversion specifier {}",
                        repr_char(code).trim_matches('\'')
                    ));
                }
            };
            tail = &conversion[code.len_utf8()..];
            if !tail.is_empty() && !tail.starts_with(':') {
                return type_error("expected ':' after conversion specifier");
            }
        }
        let spec = self.run(tail.strip_prefix(':').unwrap_or(""), depth - 1)?;
        let text = format_value(&value, &spec, m)?;
        if self.escapes && !matches!(value, Val::Markup(_)) {
            return escape_html(&text, m);
        }
        Ok(text)
    }

    fn lookup(&mut self, name: &str) -> Res<Val> {
        let split = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut tail) = name.split_at(split);
        let numeric = first.bytes().all(|b| b.is_ascii_digit());
        let mut value = if numeric {
            let index = if first.is_empty() {
                let Some(auto) = self.auto else {
                    return type_error(
                        "cannot switch from manual field specification to automatic field numbering",
                    );
                };
                self.auto = Some(auto + 1);
                auto
            } else {
                if self.auto.is_some_and(|n| n > 0) {
                    return type_error(
                        "cannot switch from manual field specification to automatic field numbering",
                    );
                }
                self.auto = None;
                first.parse().unwrap_or(usize::MAX)
            };
            match self.positional.get(index) {
                Some(value) => value.clone(),
                None => {
                    return type_error("tuple index out of range");
                }
            }
        } else {
            match self.named.get_str(first) {
                Some(value) => value.clone(),
                None => return type_error(repr_str(first)),
            }
        };
        while !tail.is_empty() {
            if let Some(attribute) = tail.strip_prefix('.') {
                let end = attribute.find(['.', '[']).unwrap_or(attribute.len());
                value = ops::get_attribute(&value, &attribute[..end].into(), self.m)?;
                tail = &attribute[end..];
            } else if let Some(element) = tail.strip_prefix('[') {
                let Some(end) = element.find(']') else {
                    return type_error("Missing ']' in format string");
                };
                value = ops::get_element(&value, &step(&element[..end]), self.m)?;
                tail = &element[end + 1..];
            } else {
                return type_error("Only '.' or '[' may follow ']' in format field specifier");
            }
        }
        Ok(value)
    }
}

/// Where the `}` that closes a field is, counting nested ones.
fn field_end(text: &str) -> Option<usize> {
    let mut open = 0;
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'{' => open += 1,
            b'}' if open == 0 => return Some(i),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}

/// `format(value, spec)`.
pub(super) fn format_value(value: &Val, spec: &str, m: &Meter) -> Res<String> {
    if let Some(text) = value.as_str() {
        m.read(text)?;
    }
    if spec.is_empty() {
        return Ok(value.text(m)?.to_string());
    }
    m.charge(spec.len())?;
    let mut parsed = Spec::default();
    let mut chars: VecDeque<char> = spec.chars().collect();
    let is_align = |c: Option<&char>| c.is_some_and(|c| "<>=^".contains(*c));
    if is_align(chars.get(1)) {
        (parsed.fill, parsed.align) = (chars[0], Some(chars[1]));
        chars.drain(..2);
    } else if is_align(chars.front()) {
        parsed.align = chars.pop_front();
    }
    let take = |chars: &mut VecDeque<char>, set: &str| {
        let found = chars.front().is_some_and(|c| set.contains(*c));
        found.then(|| chars.pop_front()).flatten()
    };
    let digits = |chars: &mut VecDeque<char>| -> Res<Option<usize>> {
        let mut n = None;
        while let Some(digit) = chars.front().and_then(|c| c.to_digit(10)) {
            chars.pop_front();
            n = Some(bounded(n.unwrap_or(0) * 10 + digit as usize)?);
        }
        Ok(n)
    };
    if let Some(sign) = take(&mut chars, "+- ") {
        parsed.sign = sign;
    }
    parsed.alternate = take(&mut chars, "#").is_some();
    let zero = take(&mut chars, "0").is_some();
    if zero && parsed.align.is_none() {
        parsed.fill = '0';
        parsed.align = Some(if value.as_str().is_some() { '<' } else { '=' });
    }
    parsed.width = digits(&mut chars)?.unwrap_or(0);
    parsed.group = take(&mut chars, ",_");
    if take(&mut chars, ".").is_some() {
        let Some(precision) = digits(&mut chars)? else {
            return type_error("Format specifier missing precision");
        };
        parsed.precision = Some(precision);
    }
    parsed.kind = chars.pop_front();
    if !chars.is_empty() {
        return type_error(format!(
            "Invalid format specifier '{spec}' for object of type '{}'",
            value.type_name()
        ));
    }
    apply_spec(value, parsed)
}

fn apply_spec(value: &Val, mut spec: Spec) -> Res<String> {
    let unknown = |kind: char| {
        type_error(format!(
            "Unknown format code '{kind}' for object of type '{}'",
            value.type_name()
        ))
    };
    match (value, spec.kind) {
        (Val::Str(text) | Val::Markup(text), None | Some('s')) => match spec.align {
            Some('=') => type_error("'=' alignment not allowed in string format specifier"),
            _ => Ok(spec.text(text)),
        },
        (Val::Bool(b), None) => Ok(Spec {
            align: spec.align.or(Some('<')),
            ..spec
        }
        .text(if *b { "True" } else { "False" })),
        (Val::Bool(_) | Val::Int(_), None | Some('d' | 'b' | 'o' | 'x' | 'X' | 'n')) => {
            if spec.precision.is_some() {
                return type_error("Precision not allowed in integer format specifier");
            }
            Ok(spec.integer(value.as_int().unwrap_or(0)))
        }
        (Val::Bool(_) | Val::Int(_), Some('c')) => {
            let c = value
                .as_int()
                .and_then(|i| char::from_u32(u32::try_from(i).ok()?));
            match c {
                Some(c) => Ok(spec.text(&c.to_string())),
                None => type_error("%c arg not in range(0x110000)"),
            }
        }
        (_, None | Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%' | 'n')) => match value.as_float() {
            Some(f) => {
                if spec.kind == Some('n') {
                    spec.kind = Some('g');
                }
                Ok(spec.float(f))
            }
            None => type_error(format!(
                "unsupported format string passed to {}.__format__",
                value.type_name()
            )),
        },
        (Val::Str(_) | Val::Markup(_) | Val::Int(_) | Val::Float(_) | Val::Bool(_), Some(kind)) => {
            unknown(kind)
        }
        _ => type_error(format!(
            "unsupported format string passed to {}.__format__",
            value.type_name()
        )),
    }
}
