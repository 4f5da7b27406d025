//! `"%s" % x`.

use super::{MAX_WIDTH, Spec, ascii, bounded};
use crate::template::error::{Res, type_error};
use crate::template::meter::Meter;
use crate::template::text::{escape_html, is_printable, repr_str};
use crate::template::value::{Object, Val};

/// `format % value`.
///
/// Markup `escapes` the text it takes in.
pub(crate) fn printf(format: &str, value: &Val, escapes: bool, m: &Meter) -> Res<String> {
    m.read(format)?;
    let positional = match value {
        Val::Tuple(seq) => {
            m.items(seq.items.len())?;
            seq.items.clone()
        }
        _ => vec![value.clone()],
    };
    let mut next = positional.iter();
    let mut used_keys = false;
    let mut out = String::new();
    let mut rest = format;
    while let Some(percent) = rest.find('%') {
        m.charge(4)?;
        m.push(&mut out, &rest[..percent])?;
        let mut chars = rest[percent + 1..].chars().peekable();
        let mut spec = Spec::default();
        let mut argument = None;
        let mut eaten = percent + 1;
        if chars.peek() == Some(&'(') {
            let inner = &rest[eaten + 1..];
            let Some(end) = inner.find(')') else {
                return type_error("incomplete format key");
            };
            let Val::Dict(dict) = value else {
                return type_error("format requires a mapping");
            };
            let Some(found) = dict.get_str(&inner[..end]) else {
                return type_error(repr_str(&inner[..end]));
            };
            argument = Some(found.clone());
            used_keys = true;
            eaten += end + 2;
            chars = rest[eaten..].chars().peekable();
        }
        while let Some(flag) = chars.next_if(|c| "#0- +".contains(*c)) {
            match flag {
                '#' => spec.alternate = true,
                '0' if spec.align.is_none() => (spec.fill, spec.align) = ('0', Some('=')),
                '-' => (spec.fill, spec.align) = (' ', Some('<')),
                '+' => spec.sign = '+',
                ' ' if spec.sign != '+' => spec.sign = ' ',
                _ => {}
            }
            eaten += 1;
        }
        let mut number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
                          eaten: &mut usize|
         -> Res<Option<i128>> {
            if chars.next_if_eq(&'*').is_some() {
                *eaten += 1;
                return match next.next().map(Val::as_int) {
                    Some(Some(n)) => Ok(Some(n)),
                    Some(None) => type_error("* wants int"),
                    None => type_error("not enough arguments for format string"),
                };
            }
            let mut n = None;
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                let value = i128::from(u32::from(digit) - u32::from('0'));
                n = Some((n.unwrap_or(0) * 10 + value).min(MAX_WIDTH as i128 + 1));
                *eaten += 1;
            }
            Ok(n)
        };
        if let Some(width) = number(&mut chars, &mut eaten)? {
            if width < 0 {
                (spec.fill, spec.align) = (' ', Some('<'));
            }
            spec.width = bounded(usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX))?;
        }
        if chars.next_if_eq(&'.').is_some() {
            eaten += 1;
            let precision = number(&mut chars, &mut eaten)?.unwrap_or(0);
            spec.precision = Some(bounded(
                usize::try_from(precision.max(0)).unwrap_or(usize::MAX),
            )?);
        }
        while chars.next_if(|c| "hlL".contains(*c)).is_some() {
            eaten += 1;
        }
        let Some(kind) = chars.next() else {
            return type_error("incomplete format");
        };
        let at = format.len() - rest.len() + eaten;
        eaten += kind.len_utf8();
        rest = &rest[eaten..];
        if kind == '%' {
            out.push('%');
            continue;
        }
        let Some(argument) = argument.or_else(|| next.next().cloned()) else {
            return type_error("not enough arguments for format string");
        };
        let argument = match (&argument, kind) {
            (Val::Markup(_), _) | (_, 'a'..='q' | 't'..='z' | 'A'..='Z') => argument,
            _ if !escapes => argument,
            (_, 'r') => escape_html(&argument.repr(m)?, m)?.into(),
            _ => escape_html(&argument.text(m)?, m)?.into(),
        };
        let kind = if escapes && kind == 'r' { 's' } else { kind };
        let index = || format[..at].chars().count();
        m.push(&mut out, &convert(spec, kind, &argument, index, m)?)?;
    }
    m.push(&mut out, rest)?;
    if next.next().is_some() && !used_keys && !has_elements(value) {
        return type_error("not all arguments converted during string formatting");
    }
    Ok(out)
}

fn convert(
    mut spec: Spec,
    kind: char,
    value: &Val,
    index: impl FnOnce() -> usize,
    m: &Meter,
) -> Res<String> {
    let plain = Spec {
        fill: ' ',
        align: spec.align.filter(|a| *a == '<').or(Some('>')),
        ..spec.clone()
    };
    let wanted = |what: &str| -> Res<String> {
        type_error(format!(
            "%{kind} format: {what} is required, not {}",
            value.type_name()
        ))
    };
    match kind {
        's' => {
            let text = value.text(m)?;
            m.read(&text)?;
            Ok(plain.text(&text))
        }
        'r' => Ok(plain.text(&value.repr(m)?)),
        'a' => Ok(plain.text(&ascii(&value.repr(m)?))),
        'd' | 'i' | 'u' => {
            let number = match value {
                Val::Float(f) if f.is_finite() => Some(*f as i128),
                _ => value.as_int(),
            };
            spec.kind = None;
            number.map_or_else(|| wanted("a real number"), |n| Ok(spec.integer(n)))
        }
        'x' | 'X' | 'o' => {
            spec.kind = Some(kind);
            value
                .as_int()
                .map_or_else(|| wanted("an integer"), |n| Ok(spec.integer(n)))
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            spec.kind = Some(kind);
            match (value.as_float(), value) {
                (Some(f), _) => Ok(spec.float(f)),
                (None, Val::Undefined(u)) => u.fail(),
                _ => type_error(format!("must be real number, not {}", value.type_name())),
            }
        }
        'c' => match (value.as_str(), value.as_int()) {
            (Some(s), _) if s.chars().count() == 1 => Ok(plain.text(s)),
            (None, Some(i)) => match u32::try_from(i).ok().and_then(char::from_u32) {
                Some(c) => Ok(plain.text(&c.to_string())),
                None => type_error("%c arg not in range(0x110000)"),
            },
            _ => type_error("%c requires int or char"),
        },
        _ => {
            let shown = if is_printable(kind) { kind } else { '?' };
            type_error(format!(
                "unsupported format character '{shown}' ({:#x}) at index {}",
                u32::from(kind),
                index()
            ))
        }
    }
}

/// Values that Python takes for mappings here, none of which must be used up.
fn has_elements(value: &Val) -> bool {
    match value {
        Val::Dict(_) | Val::List(_) | Val::Undefined(_) => true,
        Val::Object(object) => matches!(**object, Object::Range { .. }),
        _ => false,
    }
}
