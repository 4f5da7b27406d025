//! `+`, `-`, `*`, `/`, `//`, `%`, `**` and the signs.

use crate::template::ast::Operator;
use crate::template::error::{Res, limit, type_error};
use crate::template::meter::Meter;
use crate::template::printf;
use crate::template::text::escape_html;
use crate::template::value::Val;

pub(crate) fn binary(op: Operator, a: &Val, b: &Val, m: &Meter) -> Res<Val> {
    if op == Operator::Mod
        && let Some(format) = a.as_str()
    {
        return printf::printf(format, b, matches!(a, Val::Markup(_)), m).map(|text| like(a, text));
    }
    if let Val::Undefined(u) = a {
        return u.fail();
    }
    if let Val::Undefined(u) = b {
        return u.fail();
    }
    match op {
        Operator::Add => add(a, b, m),
        Operator::Mul => mul(a, b, m),
        _ => arithmetic(op, a, b),
    }
}

/// Text of the same kind as `model`: markup stays markup.
pub(crate) fn like(model: &Val, text: String) -> Val {
    match model {
        Val::Markup(_) => Val::Markup(text.into()),
        _ => text.into(),
    }
}

fn add(a: &Val, b: &Val, m: &Meter) -> Res<Val> {
    match (a, b) {
        (Val::Str(x), Val::Str(y)) => Ok(Val::from(join(x, y, m)?)),
        (Val::Markup(x), Val::Markup(y)) => Ok(Val::Markup(join(x, y, m)?.into())),
        (Val::Markup(x), Val::Str(y)) => Ok(Val::Markup(join(x, &escape_html(y, m)?, m)?.into())),
        (Val::Str(x), Val::Markup(y)) => Ok(Val::Markup(join(&escape_html(x, m)?, y, m)?.into())),
        (Val::Str(_), _) => type_error(format!(
            "can only concatenate str (not \"{}\") to str",
            b.type_name()
        )),
        (Val::List(x), Val::List(y)) => {
            m.items(x.items.len() + y.items.len())?;
            Ok(Val::list([&x.items[..], &y.items[..]].concat()))
        }
        (Val::Tuple(x), Val::Tuple(y)) => {
            m.items(x.items.len() + y.items.len())?;
            Ok(Val::tuple([&x.items[..], &y.items[..]].concat()))
        }
        (Val::List(_) | Val::Tuple(_), _) => {
            let name = a.type_name();
            type_error(format!(
                "can only concatenate {name} (not \"{}\") to {name}",
                b.type_name()
            ))
        }
        _ => arithmetic(Operator::Add, a, b),
    }
}

fn join(a: &str, b: &str, m: &Meter) -> Res<String> {
    m.text(a.len() + b.len())?;
    Ok([a, b].concat())
}

fn mul(a: &Val, b: &Val, m: &Meter) -> Res<Val> {
    // Markup takes over the operation from either side and only knows integers.
    for (markup, other) in [(a, b), (b, a)] {
        if matches!(markup, Val::Markup(_)) && other.as_int().is_none() {
            return type_error(format!(
                "'{}' object cannot be interpreted as an integer",
                other.type_name()
            ));
        }
    }
    let (sequence, count) = match (a.as_int(), b.as_int()) {
        (None, Some(n)) => (a, n),
        (Some(n), None) => (b, n),
        _ => return arithmetic(Operator::Mul, a, b),
    };
    let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
    match sequence {
        Val::Str(s) | Val::Markup(s) => {
            m.text(s.len().saturating_mul(count))?;
            Ok(like(
                sequence,
                if s.is_empty() {
                    String::new()
                } else {
                    s.repeat(count)
                },
            ))
        }
        Val::List(seq) => Ok(Val::list(repeat(&seq.items, count, m)?)),
        Val::Tuple(seq) => Ok(Val::tuple(repeat(&seq.items, count, m)?)),
        Val::Float(_) => arithmetic(Operator::Mul, a, b),
        Val::None | Val::Dict(_) | Val::Object(_) if sequence.as_str().is_none() => {
            arithmetic(Operator::Mul, a, b)
        }
        _ => type_error(format!(
            "can't multiply sequence by non-int of type '{}'",
            sequence.type_name()
        )),
    }
}

fn repeat(items: &[Val], count: usize, m: &Meter) -> Res<Vec<Val>> {
    let count = items.len().saturating_mul(count);
    m.items(count)?;
    Ok(items.iter().cycle().take(count).cloned().collect())
}

fn symbol(op: Operator) -> &'static str {
    match op {
        Operator::Add => "+",
        Operator::Sub => "-",
        Operator::Mul => "*",
        Operator::Div => "/",
        Operator::FloorDiv => "//",
        Operator::Mod => "%",
        Operator::Pow => "** or pow()",
    }
}

fn arithmetic(op: Operator, a: &Val, b: &Val) -> Res<Val> {
    if let (Some(x), Some(y)) = (a.as_int(), b.as_int()) {
        return integers(op, x, y);
    }
    if let (Some(x), Some(y)) = (a.as_float(), b.as_float()) {
        return floats(op, x, y).map(Val::Float);
    }
    // A sequence meets a number that is no integer, or another sequence.
    let sequence = |v: &Val| {
        matches!(
            v,
            Val::Str(_) | Val::Markup(_) | Val::List(_) | Val::Tuple(_)
        )
    };
    if op == Operator::Mul && (sequence(a) || sequence(b)) {
        let other = if sequence(a) { b } else { a };
        return type_error(format!(
            "can't multiply sequence by non-int of type '{}'",
            other.type_name()
        ));
    }
    type_error(format!(
        "unsupported operand type(s) for {}: '{}' and '{}'",
        symbol(op),
        a.type_name(),
        b.type_name()
    ))
}

fn integers(op: Operator, x: i128, y: i128) -> Res<Val> {
    let result = match op {
        Operator::Add => x.checked_add(y),
        Operator::Sub => x.checked_sub(y),
        Operator::Mul => x.checked_mul(y),
        Operator::Div => {
            if y == 0 {
                return type_error("division by zero");
            }
            return Ok(Val::Float(x as f64 / y as f64));
        }
        Operator::FloorDiv => {
            if y == 0 {
                return type_error("integer division or modulo by zero");
            }
            let towards_zero = x.checked_div(y);
            towards_zero.map(|q| q - i128::from(x % y != 0 && (x < 0) != (y < 0)))
        }
        Operator::Mod => {
            if y == 0 {
                return type_error("integer modulo by zero");
            }
            x.checked_rem(y).map(|r| {
                if r != 0 && (r < 0) != (y < 0) {
                    r + y
                } else {
                    r
                }
            })
        }
        Operator::Pow if y < 0 => {
            if x == 0 {
                return type_error("0.0 cannot be raised to a negative power");
            }
            return Ok(Val::Float((x as f64).powf(y as f64)));
        }
        Operator::Pow => match x {
            0 | 1 => Some(if y == 0 { 1 } else { x }),
            -1 => Some(if y % 2 == 0 { 1 } else { -1 }),
            _ => u32::try_from(y).ok().and_then(|y| x.checked_pow(y)),
        },
    };
    match result {
        Some(value) => Ok(Val::Int(value)),
        None => limit("the template computes an integer that is too large"),
    }
}

fn floats(op: Operator, x: f64, y: f64) -> Res<f64> {
    Ok(match op {
        Operator::Add => x + y,
        Operator::Sub => x - y,
        Operator::Mul => x * y,
        Operator::Div if y == 0.0 => return type_error("float division by zero"),
        Operator::Div => x / y,
        Operator::FloorDiv if y == 0.0 => return type_error("float floor division by zero"),
        Operator::FloorDiv => (x / y).floor(),
        Operator::Mod if y == 0.0 => return type_error("float modulo"),
        Operator::Mod => {
            let r = x % y;
            if r != 0.0 && (r < 0.0) != (y < 0.0) {
                r + y
            } else {
                r
            }
        }
        Operator::Pow if x == 0.0 && y < 0.0 => {
            return type_error("0.0 cannot be raised to a negative power");
        }
        Operator::Pow => x.powf(y),
    })
}

pub(crate) fn negate(value: &Val, minus: bool) -> Res<Val> {
    let sign = if minus { -1 } else { 1 };
    match value {
        Val::Undefined(u) => u.fail(),
        Val::Float(f) => Ok(Val::Float(if minus { -f } else { *f })),
        _ => match value.as_int() {
            Some(i) => Ok(Val::Int(i.saturating_mul(sign))),
            None => type_error(format!(
                "bad operand type for unary {}: '{}'",
                if minus { '-' } else { '+' },
                value.type_name()
            )),
        },
    }
}
