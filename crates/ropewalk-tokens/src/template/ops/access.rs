//! Attributes, elements and slices.

use super::like;
use crate::template::error::{ErrorKind, Res, err, limit, type_error};
use crate::template::meter::Meter;
use crate::template::value::{Dict, Function, Missing, Object, Val};
use std::rc::Rc;
use std::sync::Arc;

const STR_METHODS: &[&str] = &[
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];
const MARKUP_METHODS: &[&str] = &["escape", "striptags", "unescape"];
const DICT_METHODS: &[&str] = &["copy", "fromkeys", "get", "items", "keys", "values"];
const DICT_CHANGES: &[&str] = &["clear", "pop", "popitem", "setdefault", "update"];
const LIST_METHODS: &[&str] = &["copy", "count", "index"];
const LIST_CHANGES: &[&str] = &[
    "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort",
];
const TUPLE_METHODS: &[&str] = &["count", "index"];
const INT_METHODS: &[&str] = &["as_integer_ratio", "bit_count", "bit_length", "conjugate"];
const FLOAT_METHODS: &[&str] = &["as_integer_ratio", "conjugate", "hex", "is_integer"];
const LOOP_METHODS: &[&str] = &["cycle", "changed"];
const OBJECT_NAMES: &[&str] = &[
    "__class__",
    "__delattr__",
    "__dir__",
    "__doc__",
    "__eq__",
    "__format__",
    "__ge__",
    "__getattribute__",
    "__gt__",
    "__hash__",
    "__init__",
    "__init_subclass__",
    "__le__",
    "__lt__",
    "__ne__",
    "__new__",
    "__reduce__",
    "__reduce_ex__",
    "__repr__",
    "__setattr__",
    "__sizeof__",
    "__str__",
    "__subclasshook__",
    "__getstate__",
];
const CONTAINER_NAMES: &[&str] = &["__contains__", "__getitem__", "__iter__", "__len__"];
const SEQUENCE_NAMES: &[&str] = &["__add__", "__mul__", "__rmul__"];
const CHANGING_NAMES: &[&str] = &["__delitem__", "__setitem__", "__reversed__"];

fn find(names: &[&'static str], name: &str) -> Option<&'static str> {
    names.iter().find(|n| **n == name).copied()
}

/// `getattr(object, name)` inside the sandbox; `None` when Python has no such attribute.
fn attribute(object: &Val, name: &str) -> Option<Val> {
    let method = |names| find(names, name).map(|n| Val::object(Object::Method(object.clone(), n)));
    let forbidden = || {
        Val::missing(Missing::Unsafe(format!(
            "access to attribute '{name}' of '{}' object is unsafe.",
            object.type_name()
        )))
    };
    if name.starts_with('_') {
        let namespace = matches!(object, Val::Object(o) if matches!(**o, Object::Namespace { .. }));
        let named = |names| find(names, name).is_some();
        let exists = named(OBJECT_NAMES)
            || match object {
                Val::Str(_) | Val::Markup(_) | Val::Tuple(_) => {
                    named(CONTAINER_NAMES) || named(SEQUENCE_NAMES)
                }
                Val::List(_) => {
                    named(CONTAINER_NAMES) || named(SEQUENCE_NAMES) || named(CHANGING_NAMES)
                }
                Val::Dict(_) => named(CONTAINER_NAMES) || named(CHANGING_NAMES),
                _ => false,
            };
        return (exists && !namespace).then(forbidden);
    }
    match object {
        Val::Str(_) => method(STR_METHODS),
        Val::Markup(_) => method(STR_METHODS).or_else(|| method(MARKUP_METHODS)),
        Val::Dict(_) => find(DICT_CHANGES, name)
            .map(|_| forbidden())
            .or_else(|| method(DICT_METHODS)),
        Val::List(_) => find(LIST_CHANGES, name)
            .map(|_| forbidden())
            .or_else(|| method(LIST_METHODS)),
        Val::Tuple(_) => method(TUPLE_METHODS),
        Val::Bool(_) | Val::Int(_) => match name {
            "real" | "numerator" => object.as_int().map(Val::Int),
            "imag" => Some(Val::Int(0)),
            "denominator" => Some(Val::Int(1)),
            _ => method(INT_METHODS),
        },
        Val::Float(_) => method(FLOAT_METHODS),
        Val::Object(o) => match &**o {
            Object::Namespace { entries, .. } => entries
                .borrow()
                .iter()
                .find(|(n, _)| **n == *name)
                .map(|(_, v)| v.clone()),
            Object::Loop(l) => {
                let (at, count) = (l.index.get(), l.items.len());
                Some(match name {
                    "index" => Val::from(at + 1),
                    "index0" => Val::from(at),
                    "revindex" => Val::from(count - at),
                    "revindex0" => Val::from(count - at - 1),
                    "first" => Val::Bool(at == 0),
                    "last" => Val::Bool(at + 1 == count),
                    "length" => Val::from(count),
                    "depth" => Val::from(l.level + 1),
                    "depth0" => Val::from(l.level),
                    "previtem" => match at.checked_sub(1) {
                        Some(i) => l.items[i].clone(),
                        None => Val::hint("there is no previous item"),
                    },
                    "nextitem" => match l.items.get(at + 1) {
                        Some(item) => item.clone(),
                        None => Val::hint("there is no next item"),
                    },
                    _ => return method(LOOP_METHODS),
                })
            }
            Object::Macro(m) => Some(match name {
                "name" => m.definition.name.clone().map_or(Val::None, Val::Str),
                "arguments" => Val::tuple(
                    m.definition
                        .params
                        .iter()
                        .map(|(n, _)| Val::Str(n.clone()))
                        .collect(),
                ),
                "catch_kwargs" => Val::Bool(m.definition.uses_kwargs),
                "catch_varargs" => Val::Bool(m.definition.uses_varargs),
                "caller" => Val::Bool(m.definition.uses_caller),
                _ => return None,
            }),
            Object::Range { start, stop, step } => match name {
                "start" => Some(Val::Int((*start).into())),
                "stop" => Some(Val::Int((*stop).into())),
                "step" => Some(Val::Int((*step).into())),
                _ => method(TUPLE_METHODS),
            },
            Object::Cycler { items, at, .. } => match name {
                "current" => items.get(at.get()).cloned(),
                _ => method(&["next", "reset"]),
            },
            Object::Function(Function::Dict) => method(&["fromkeys"]),
            _ => None,
        },
        Val::Undefined(_) | Val::None => None,
    }
}

/// `object[key]`; `None` where Python raises `TypeError` or `LookupError`.
fn element(object: &Val, key: &Val, m: &Meter) -> Res<Option<Val>> {
    let at = |length: usize| {
        let i = key.as_int()?;
        let i = if i < 0 { i + length as i128 } else { i };
        usize::try_from(i).ok().filter(|i| *i < length)
    };
    Ok(match object {
        Val::Undefined(u) => return u.fail(),
        Val::Dict(dict) => match dict.get(key, m) {
            Ok(found) => found.cloned(),
            Err(e) if e.kind() == ErrorKind::Limit => return Err(e),
            Err(_) => None,
        },
        Val::List(seq) | Val::Tuple(seq) => at(seq.items.len()).map(|i| seq.items[i].clone()),
        Val::Str(s) | Val::Markup(s) => match key.as_int() {
            Some(i) => {
                let steps = usize::try_from(i.unsigned_abs()).unwrap_or(usize::MAX);
                m.charge(steps.min(s.len()) / 16)?;
                let found = if i < 0 {
                    s.chars().nth_back(steps - 1)
                } else {
                    s.chars().nth(steps)
                };
                found.map(|c| like(object, c.to_string()))
            }
            None => None,
        },
        Val::Object(o) => match &**o {
            Object::Range { start, step, .. } => at(object.length()?)
                .map(|i| Val::Int(i128::from(*start) + i128::from(*step) * i as i128)),
            _ => None,
        },
        _ => None,
    })
}

/// The names of a namespace are looked through one by one.
fn pay_for_names(object: &Val, m: &Meter) -> Res<()> {
    match object {
        Val::Object(o) => match &**o {
            Object::Namespace { entries, .. } => m.charge(entries.borrow().len() / 16),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// `object.name`: the attribute, else the element, else undefined.
pub(crate) fn get_attribute(object: &Val, name: &Arc<str>, m: &Meter) -> Res<Val> {
    pay_for_names(object, m)?;
    if let Val::Undefined(u) = object {
        return u.fail();
    }
    if let Some(value) = attribute(object, name) {
        return Ok(value);
    }
    if let Val::Dict(dict) = object
        && let Some(value) = dict.get_str(name)
    {
        return Ok(value.clone());
    }
    Ok(Val::missing(Missing::Attr(
        object.described(),
        name.clone(),
    )))
}

/// The attribute alone, as the `attr` filter looks it up.
pub(crate) fn only_attribute(object: &Val, name: &Arc<str>) -> Val {
    attribute(object, name)
        .unwrap_or_else(|| Val::missing(Missing::Attr(object.described(), name.clone())))
}

/// `object[key]`: the element, else the attribute, else undefined.
pub(crate) fn get_element(object: &Val, key: &Val, m: &Meter) -> Res<Val> {
    if let Some(value) = element(object, key, m)? {
        return Ok(value);
    }
    Ok(match key {
        Val::Str(name) | Val::Markup(name) => {
            pay_for_names(object, m)?;
            attribute(object, name)
                .unwrap_or_else(|| Val::missing(Missing::Attr(object.described(), name.clone())))
        }
        _ => Val::missing(Missing::Element(object.described(), key.repr(m)?)),
    })
}

/// Resolves Python slice bounds against a length: first, limit and step.
fn slice_bounds(length: usize, bounds: &[Val; 3]) -> Res<(i128, i128, i128)> {
    let mut numbers = [None; 3];
    for (number, bound) in numbers.iter_mut().zip(bounds) {
        *number = match bound {
            Val::None => None,
            _ => match bound.as_int() {
                Some(i) => Some(i),
                None => {
                    return type_error(
                        "slice indices must be integers or None or have an __index__ method",
                    );
                }
            },
        };
    }
    let step = numbers[2].unwrap_or(1);
    if step == 0 {
        return type_error("slice step cannot be zero");
    }
    let n = length as i128;
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let clamp = |i: i128| (if i < 0 { i.saturating_add(n) } else { i }).clamp(low, high);
    let (first, limit) = if step > 0 { (low, high) } else { (high, low) };
    Ok((
        numbers[0].map_or(first, clamp),
        numbers[1].map_or(limit, clamp),
        step,
    ))
}

fn slice_indices(length: usize, bounds: &[Val; 3], m: &Meter) -> Res<Vec<usize>> {
    let (mut i, stop, step) = slice_bounds(length, bounds)?;
    let count = (stop - i) / step + 1;
    m.items(usize::try_from(count.clamp(0, length as i128)).unwrap_or(length))?;
    let mut out = Vec::new();
    while if step > 0 { i < stop } else { i > stop } {
        out.push(i as usize);
        i = i.saturating_add(step);
    }
    Ok(out)
}

/// `object[start:stop:step]`.
pub(crate) fn slice(object: &Val, bounds: &[Val; 3], m: &Meter) -> Res<Val> {
    match object {
        Val::Undefined(u) => u.fail(),
        Val::Str(s) | Val::Markup(s) => {
            m.read(s)?;
            let (first, stop, step) = slice_bounds(s.chars().count(), bounds)?;
            let chars = s.chars();
            let text = if step == 1 {
                let count = (stop - first).max(0) as usize;
                chars.skip(first as usize).take(count).collect()
            } else if step > 0 {
                let step = usize::try_from(step).unwrap_or(usize::MAX);
                let stop = stop.max(first) as usize;
                chars
                    .take(stop)
                    .skip(first as usize)
                    .step_by(step)
                    .collect()
            } else {
                let step = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
                let count = (first - stop).max(0) as usize;
                let behind = (s.chars().count() as i128 - 1 - first).max(0) as usize;
                let window = chars.rev().skip(behind).take(count);
                window.step_by(step).collect()
            };
            Ok(like(object, text))
        }
        Val::List(seq) | Val::Tuple(seq) => {
            let picked = slice_indices(seq.items.len(), bounds, m)?;
            let items = picked.into_iter().map(|i| seq.items[i].clone()).collect();
            Ok(if matches!(object, Val::List(_)) {
                Val::list(items)
            } else {
                Val::tuple(items)
            })
        }
        Val::Dict(_) => type_error("unhashable type: 'slice'"),
        Val::Object(o) if matches!(**o, Object::Range { .. }) => {
            let Object::Range { start, step, .. } = **o else {
                return Ok(Val::None);
            };
            let all = object.length()?;
            let (from, to, by) = slice_bounds(all, bounds)?;
            let place = |i: i128| i64::try_from(i128::from(start) + i128::from(step) * i);
            let by = i64::try_from(i128::from(step).saturating_mul(by));
            match (place(from), place(to), by) {
                (Ok(start), Ok(stop), Ok(step)) => {
                    Ok(Val::object(Object::Range { start, stop, step }))
                }
                _ => limit("a range bound is too large"),
            }
        }
        _ => type_error(format!(
            "'{}' object is not subscriptable",
            object.type_name()
        )),
    }
}

/// Sets `namespace.name`.
pub(crate) fn set_attribute(object: &Val, name: &Arc<str>, value: Val, m: &Meter) -> Res<()> {
    pay_for_names(object, m)?;
    if let Val::Object(o) = object
        && let Object::Namespace { entries, depth } = &**o
    {
        check_name(name)?;
        depth.set(depth.get().max(value.depth()));
        let mut entries = entries.borrow_mut();
        match entries.iter_mut().find(|(n, _)| n == name) {
            Some(entry) => entry.1 = value,
            None => entries.push((name.clone(), value)),
        }
        return Ok(());
    }
    err(
        ErrorKind::Type,
        "cannot assign attribute on non-namespace object",
    )
}

pub(crate) fn check_name(name: &str) -> Res<()> {
    if name.starts_with('_') {
        return err(
            ErrorKind::Security,
            format!(
                "Chat templates cannot store underscore-prefixed attributes on a namespace, but got '{name}'. Please rename the attribute."
            ),
        );
    }
    Ok(())
}

/// `dict(...)` of one mapping or iterable of pairs.
pub(crate) fn to_dict(value: &Val, m: &Meter) -> Res<Dict> {
    if let Val::Dict(dict) = value {
        m.items(dict.entries().len())?;
        return Ok(dict.copy());
    }
    let mut dict = Dict::default();
    for (i, pair) in value.items(m)?.iter().enumerate() {
        if !pair.is_iterable() {
            return type_error(format!(
                "cannot convert dictionary update sequence element #{i} to a sequence"
            ));
        }
        let [key, value] = <[Val; 2]>::try_from(pair.items(m)?).or_else(|items| {
            type_error(format!(
                "dictionary update sequence element #{i} has length {}; 2 is required",
                items.len()
            ))
        })?;
        dict.insert(key, value, m)?;
    }
    Ok(dict)
}

/// A namespace with these entries.
pub(crate) fn namespace(entries: Vec<(Arc<str>, Val)>) -> Val {
    let depth = entries.iter().map(|(_, v)| v.depth()).max().unwrap_or(0);
    Val::Object(Rc::new(Object::Namespace {
        entries: entries.into(),
        depth: depth.into(),
    }))
}
