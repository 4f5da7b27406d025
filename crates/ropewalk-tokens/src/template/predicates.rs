//! The tests of `is`: `jinja2/tests.py`.

use super::ast::Comparison;
use super::error::{ErrorKind, Res, err, type_error};
use super::interp::Args;
use super::meter::Meter;
use super::ops;
use super::text::is_cased;
use super::value::{Object, Val};
use std::rc::Rc;

/// Every test, sorted.
pub(crate) const NAMES: &[&str] = &[
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// `value is name(args)`.
pub(crate) fn check(name: &str, value: &Val, args: &Args, m: &Meter) -> Res<bool> {
    let comparison = match name {
        "eq" | "equalto" | "==" => Some(Comparison::Eq),
        "ne" | "!=" => Some(Comparison::Ne),
        "gt" | "greaterthan" | ">" => Some(Comparison::Gt),
        "ge" | ">=" => Some(Comparison::Ge),
        "lt" | "lessthan" | "<" => Some(Comparison::Lt),
        "le" | "<=" => Some(Comparison::Le),
        "in" => Some(Comparison::In),
        _ => None,
    };
    if let Some(op) = comparison {
        return ops::compare(op, value, argument(name, args)?, m);
    }
    Ok(match name {
        "defined" => !matches!(value, Val::Undefined(_)),
        "undefined" => matches!(value, Val::Undefined(_)),
        "none" => matches!(value, Val::None),
        "boolean" => matches!(value, Val::Bool(_)),
        "true" => matches!(value, Val::Bool(true)),
        "false" => matches!(value, Val::Bool(false)),
        "integer" => matches!(value, Val::Int(_)),
        "float" => matches!(value, Val::Float(_)),
        "number" => value.as_float().is_some(),
        "string" => value.as_str().is_some(),
        "mapping" => matches!(value, Val::Dict(_)),
        "iterable" => value.is_iterable(),
        "sequence" => match value {
            Val::Object(object) => matches!(**object, Object::Range { .. }),
            _ => value.is_iterable(),
        },
        "callable" => match value {
            // Undefined has a `__call__`, which fails.
            Val::Undefined(_) => true,
            Val::Object(object) => matches!(
                **object,
                Object::Function(_)
                    | Object::Method(..)
                    | Object::Macro(_)
                    | Object::Loop(_)
                    | Object::Joiner { .. }
            ),
            _ => false,
        },
        "escaped" => matches!(value, Val::Markup(_)),
        "lower" | "upper" => {
            let text = value.text(m)?;
            m.read(&text)?;
            is_cased(&text, name == "lower")
        }
        "odd" => remainder(value, &Val::Int(2), m)?.equals(&Val::Int(1), m)?,
        "even" => remainder(value, &Val::Int(2), m)?.equals(&Val::Int(0), m)?,
        "divisibleby" => remainder(value, argument(name, args)?, m)?.equals(&Val::Int(0), m)?,
        "sameas" => same(value, argument(name, args)?, m)?,
        "filter" => super::filters::NAMES.contains(&&*value.text(m)?),
        "test" => NAMES.contains(&&*value.text(m)?),
        _ => {
            return err(
                ErrorKind::Undefined,
                format!("No test named '{name}' found."),
            );
        }
    })
}

fn argument<'a>(name: &str, args: &'a Args) -> Res<&'a Val> {
    match args
        .positional
        .first()
        .or_else(|| args.named.first().map(|(_, v)| v))
    {
        Some(value) => Ok(value),
        None => type_error(format!("test '{name}' misses its argument")),
    }
}

fn remainder(value: &Val, by: &Val, m: &Meter) -> Res<Val> {
    ops::binary(super::ast::Operator::Mod, value, by, m)
}

/// `a is b` for what Python keeps once, or holds by reference.
fn same(a: &Val, b: &Val, m: &Meter) -> Res<bool> {
    Ok(match (a, b) {
        (Val::None, Val::None) => true,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        // Small integers are shared.
        (Val::Int(a), Val::Int(b)) => a == b && (-5..=256).contains(a),
        (Val::Str(_), Val::Str(_)) => a.equals(b, m)?,
        (Val::List(a), Val::List(b)) | (Val::Tuple(a), Val::Tuple(b)) => Rc::ptr_eq(a, b),
        (Val::Dict(a), Val::Dict(b)) => Rc::ptr_eq(a, b),
        (Val::Object(a), Val::Object(b)) => Rc::ptr_eq(a, b),
        _ => false,
    })
}
