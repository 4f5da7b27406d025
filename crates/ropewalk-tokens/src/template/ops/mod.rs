//! Operators, attributes, elements and slices, with Python's rules and messages.

mod access;
mod arithmetic;

pub(crate) use access::{
    check_name, get_attribute, get_element, namespace, only_attribute, set_attribute, slice,
    to_dict,
};
pub(crate) use arithmetic::{binary, like, negate};

use super::ast::Comparison;
use super::error::{Res, type_error};
use super::meter::Meter;
use super::value::{Object, Val, ViewKind};
use std::cmp::Ordering;

pub(crate) fn compare(op: Comparison, a: &Val, b: &Val, m: &Meter) -> Res<bool> {
    let order = |symbol, test: fn(Ordering) -> bool| Ok(a.order(b, symbol, m)?.is_some_and(test));
    match op {
        Comparison::Eq => a.equals(b, m),
        Comparison::Ne => a.equals(b, m).map(|same| !same),
        Comparison::Lt => order("<", Ordering::is_lt),
        Comparison::Le => order("<=", Ordering::is_le),
        Comparison::Gt => order(">", Ordering::is_gt),
        Comparison::Ge => order(">=", Ordering::is_ge),
        Comparison::In => contains(b, a, m),
        Comparison::NotIn => contains(b, a, m).map(|found| !found),
    }
}

/// `item in container`.
pub(crate) fn contains(container: &Val, item: &Val, m: &Meter) -> Res<bool> {
    match container {
        Val::Str(s) | Val::Markup(s) => match item.as_str() {
            Some(part) => {
                m.charge((s.len() + part.len()) / 16)?;
                Ok(s.contains(part))
            }
            None => type_error(format!(
                "'in <string>' requires string as left operand, not {}",
                item.type_name()
            )),
        },
        Val::Dict(dict) => Ok(dict.get(item, m)?.is_some()),
        Val::Object(object) => match &**object {
            Object::View(ViewKind::Keys, dict) => Ok(dict.get(item, m)?.is_some()),
            // Takes items up to the one found.
            Object::Iter(..) => {
                while let Some(next) = container.first(m)? {
                    m.charge(1)?;
                    if next.equals(item, m)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            _ if container.is_iterable() => {
                let items = container.items(m)?;
                Ok(item.position_in(&items, m)?.is_some())
            }
            _ => not_container(container),
        },
        Val::List(seq) | Val::Tuple(seq) => Ok(item.position_in(&seq.items, m)?.is_some()),
        Val::Undefined(_) => Ok(false),
        _ => not_container(container),
    }
}

fn not_container<T>(container: &Val) -> Res<T> {
    type_error(format!(
        "argument of type '{}' is not iterable",
        container.type_name()
    ))
}
