//! The filters of Jinja2 (`jinja2/filters.py`) and the `tojson` of `transformers`.

mod sequence;
mod words;

pub(crate) use sequence::merge_sort;
pub(crate) use words::{centered, replaced, strip, striptags, unescape};

use super::error::{ErrorKind, Res, err, type_error};
use super::interp::Args;
use super::json_dumps;
use super::meter::Meter;
use super::ops::{self, like};
use super::text::{capitalize, escape_html, parse_float, parse_int};
use super::value::{Missing, Object, Val};
use std::sync::Arc;

/// Every filter, sorted.
pub(crate) const NAMES: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

/// `value|name(args)`.
pub(crate) fn apply(name: &str, value: Val, args: Args, m: &Meter) -> Res<Val> {
    m.charge(1)?;
    match name {
        "default" | "d" => default(value, args),
        "tojson" => json_dumps::tojson(&value, args, m),
        "trim" => {
            let [chars] = bind("do_trim", ["chars"], args)?;
            let chars = chars.filter(|c| !matches!(c, Val::None));
            let chars = chars
                .as_ref()
                .map(|c| text_argument(c, "strip"))
                .transpose()?;
            strip(&soft(&value, m)?, chars, true, true, m)
        }
        "length" | "count" => {
            m.read(value.as_str().unwrap_or_default())?;
            value.length().map(Val::from)
        }
        "string" => soft(&value, m),
        "safe" => value.text(m).map(Val::Markup),
        "escape" | "e" => escape(&value, m),
        "forceescape" => Ok(Val::Markup(escape_html(&value.text(m)?, m)?.into())),
        "upper" => changed(&value, str::to_uppercase, m),
        "lower" => changed(&value, str::to_lowercase, m),
        "capitalize" => changed(&value, capitalize, m),
        "title" => words::title(&value, m).map(Val::from),
        "replace" => words::replace(&value, args, m),
        "indent" => words::indent(&value, args, m),
        "center" => words::center(&value, args, m),
        "truncate" => words::truncate(&value, args, m),
        "wordwrap" => words::wordwrap(&value, args, m),
        "wordcount" => {
            let text = value.text(m)?;
            m.read(&text)?;
            Ok(words::wordcount(&text).into())
        }
        "striptags" => {
            let text = value.text(m)?;
            m.charge(text.len() / 2)?;
            Ok(striptags(&text).into())
        }
        "urlencode" => words::urlencode(&value, m),
        "xmlattr" => words::xmlattr(&value, args, m),
        "format" => words::format(&value, args, m),
        "filesizeformat" => words::filesizeformat(&value, args, m),
        "pprint" => Ok(value.repr(m)?.into()),
        "abs" => abs(&value),
        "int" => int(&value, args, m),
        "float" => float(&value, args, m),
        "round" => round(&value, args, m),
        "attr" => match bind("do_attr", ["name"], args)? {
            [Some(Val::Str(name) | Val::Markup(name))] => match &value {
                Val::Undefined(u) => u.fail(),
                _ => Ok(ops::only_attribute(&value, &name)),
            },
            _ => type_error("attribute name must be string"),
        },
        "random" | "urlize" => err(
            ErrorKind::Type,
            format!("the filter '{name}' is not available in chat templates"),
        ),
        _ => sequence::apply(name, &value, args, m),
    }
}

/// Sorts arguments into parameters, with Python's complaints.
pub(crate) fn bind<const N: usize>(
    function: &str,
    names: [&str; N],
    args: Args,
) -> Res<[Option<Val>; N]> {
    let mut out = [const { None }; N];
    if args.positional.len() > N {
        return type_error(format!(
            "{function}() takes from 1 to {} positional arguments but {} were given",
            N + 1,
            args.positional.len() + 1
        ));
    }
    for (slot, value) in out.iter_mut().zip(args.positional) {
        *slot = Some(value);
    }
    for (name, value) in args.named {
        match names.iter().position(|n| **n == *name) {
            Some(at) if out[at].is_none() => out[at] = Some(value),
            Some(_) => {
                return type_error(format!(
                    "{function}() got multiple values for argument '{name}'"
                ));
            }
            None => {
                return type_error(format!(
                    "{function}() got an unexpected keyword argument '{name}'"
                ));
            }
        }
    }
    Ok(out)
}

/// `soft_str`: markup stays markup.
pub(super) fn soft(value: &Val, m: &Meter) -> Res<Val> {
    match value {
        Val::Str(_) | Val::Markup(_) => Ok(value.clone()),
        _ => value.text(m).map(Val::Str),
    }
}

fn changed(value: &Val, change: fn(&str) -> String, m: &Meter) -> Res<Val> {
    let text = value.text(m)?;
    m.read(&text)?;
    Ok(like(value, change(&text)))
}

pub(crate) fn escape(value: &Val, m: &Meter) -> Res<Val> {
    match value {
        Val::Markup(_) => Ok(value.clone()),
        _ => Ok(Val::Markup(escape_html(&value.text(m)?, m)?.into())),
    }
}

pub(super) fn text_argument<'a>(value: &'a Val, function: &str) -> Res<&'a str> {
    match value.as_str() {
        Some(text) => Ok(text),
        None => type_error(format!("{function} arg must be None or str")),
    }
}

/// An integer argument.
pub(crate) fn integer(value: Option<&Val>, or: i128) -> Res<i128> {
    match value {
        None => Ok(or),
        Some(Val::Undefined(u)) => u.fail(),
        Some(value) => match value.as_int() {
            Some(i) => Ok(i),
            None => type_error(format!(
                "'{}' object cannot be interpreted as an integer",
                value.type_name()
            )),
        },
    }
}

fn default(value: Val, args: Args) -> Res<Val> {
    let [default, boolean] = bind("do_default", ["default_value", "boolean"], args)?;
    let missing = matches!(value, Val::Undefined(_))
        || (boolean.is_some_and(|b| b.truth()) && !value.truth());
    Ok(if missing {
        default.unwrap_or_else(|| "".into())
    } else {
        value
    })
}

fn abs(value: &Val) -> Res<Val> {
    match value {
        Val::Float(f) => Ok(Val::Float(f.abs())),
        _ => match value.as_int() {
            Some(i) => Ok(Val::Int(i.saturating_abs())),
            None => type_error(format!(
                "bad operand type for abs(): '{}'",
                value.type_name()
            )),
        },
    }
}

fn int(value: &Val, args: Args, m: &Meter) -> Res<Val> {
    m.read(value.as_str().unwrap_or_default())?;
    let [default, base] = bind("do_int", ["default", "base"], args)?;
    let base = u32::try_from(integer(base.as_ref(), 10)?).unwrap_or(1);
    let whole = |f: f64| f.is_finite().then_some(Val::Int(f as i128));
    let result = match value {
        Val::Undefined(u) => return u.fail(),
        Val::Float(f) => whole(*f),
        _ => match value.as_str() {
            Some(s) => parse_int(s, base)
                .map(Val::Int)
                .or_else(|| whole(parse_float(s)?)),
            None => value.as_int().map(Val::Int),
        },
    };
    Ok(result.unwrap_or_else(|| default.unwrap_or(Val::Int(0))))
}

fn float(value: &Val, args: Args, m: &Meter) -> Res<Val> {
    m.read(value.as_str().unwrap_or_default())?;
    let [default] = bind("do_float", ["default"], args)?;
    if let Val::Undefined(u) = value {
        return u.fail();
    }
    let number = value.as_float().or_else(|| parse_float(value.as_str()?));
    Ok(number
        .map(Val::Float)
        .unwrap_or_else(|| default.unwrap_or(Val::Float(0.0))))
}

fn round(value: &Val, args: Args, m: &Meter) -> Res<Val> {
    let [precision, method] = bind("do_round", ["precision", "method"], args)?;
    let precision = integer(precision.as_ref(), 0)?.clamp(-400, 400) as i32;
    m.charge(precision.unsigned_abs() as usize / 8)?;
    let method = method.as_ref().and_then(Val::as_str).unwrap_or("common");
    let Some(number) = value.as_float() else {
        return type_error(format!(
            "type {} doesn't define __round__ method",
            value.type_name()
        ));
    };
    let scale = 10f64.powi(precision);
    match method {
        "common" => match value.as_int() {
            Some(i) if precision >= 0 => Ok(Val::Int(i)),
            Some(i) => {
                // Half of a larger unit is more than any integer here.
                let Some(unit) = 10i128.checked_pow(precision.unsigned_abs()) else {
                    return Ok(Val::Int(0));
                };
                let (floor, rest) = (i.div_euclid(unit), i.rem_euclid(unit));
                let half = unit - rest;
                let up = rest > half || (rest == half && floor % 2 != 0);
                Ok(Val::Int((floor + i128::from(up)).saturating_mul(unit)))
            }
            None => Ok(Val::Float(round_half_even(number, precision))),
        },
        "ceil" => Ok(Val::Float((number * scale).ceil() / scale)),
        "floor" => Ok(Val::Float((number * scale).floor() / scale)),
        _ => type_error("method must be common, ceil or floor"),
    }
}

/// `round(f, digits)`: by the exact decimal value of the float, as the formatter does it.
fn round_half_even(f: f64, digits: i32) -> f64 {
    if !f.is_finite() || digits > 300 {
        return f;
    }
    match usize::try_from(digits) {
        Ok(digits) => format!("{f:.digits$}").parse().unwrap_or(f),
        Err(_) => {
            let scale = 10f64.powi(-digits);
            (f / scale).round_ties_even() * scale
        }
    }
}

/// How `attribute=` arguments walk into an item: `"a.0.b"` or an integer.
pub(super) fn path(attribute: Option<&Val>) -> Vec<Val> {
    match attribute {
        None | Some(Val::None) => Vec::new(),
        Some(value) => match value.as_str() {
            Some(text) => text.split('.').map(step).collect(),
            None => vec![value.clone()],
        },
    }
}

pub(crate) fn step(part: &str) -> Val {
    let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match part.parse() {
        Ok(i) if digits => Val::Int(i),
        _ => part.into(),
    }
}

/// Follows a path; `default` replaces what is missing on the way.
pub(super) fn walk(item: &Val, path: &[Val], default: Option<&Val>, m: &Meter) -> Res<Val> {
    m.charge(path.len())?;
    let mut item = item.clone();
    for part in path {
        item = ops::get_element(&item, part, m)?;
        if let (Val::Undefined(_), Some(default)) = (&item, default) {
            item = default.clone();
        }
    }
    Ok(item)
}

/// `ignore_case`: text in lower case, anything else as it is.
pub(super) fn ignore_case(value: Val, m: &Meter) -> Res<Val> {
    match value.as_str() {
        Some(text) => {
            m.read(text)?;
            Ok(text.to_lowercase().into())
        }
        None => Ok(value),
    }
}

/// The value that stands for "nothing there", with its own message.
pub(super) fn empty(hint: &str) -> Val {
    Val::missing(Missing::Hint(hint.to_owned()))
}

/// A name given as an argument, such as that of a filter.
pub(super) fn name_argument(value: &Val, m: &Meter) -> Res<Arc<str>> {
    value.text(m)
}

pub(super) fn is_generator(value: &Val) -> bool {
    matches!(value, Val::Object(object) if matches!(**object, Object::Iter(..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        for names in [NAMES, crate::template::predicates::NAMES] {
            assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn rounds_like_python() {
        for (f, digits, expected) in [
            (2.5, 0, 2.0),
            (2.675, 2, 2.67),
            (-1.5, 0, -2.0),
            (1234.5, -2, 1200.0),
            (0.1, 400, 0.1),
        ] {
            assert_eq!(round_half_even(f, digits), expected);
        }
        assert_eq!(
            crate::template::text::repr_float(round_half_even(1e300, 2)),
            "1e+300"
        );
    }
}
