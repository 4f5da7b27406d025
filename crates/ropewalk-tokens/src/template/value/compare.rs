//! Equality, order and dictionary keys.

use super::{Key, Object, Val};
use crate::template::error::{Res, type_error};
use crate::template::meter::Meter;
use std::cmp::Ordering;
use std::rc::Rc;

impl Val {
    /// The key under which a dictionary finds this value.
    pub(crate) fn key(&self, m: &Meter) -> Res<Key> {
        Ok(match self {
            Self::Undefined(_) => Key::Undefined,
            Self::None => Key::None,
            Self::Bool(b) => Key::Int((*b).into()),
            Self::Int(i) => Key::Int(*i),
            Self::Float(f) if f.fract() == 0.0 && f.abs() < 1e30 => Key::Int(*f as i128),
            Self::Float(f) => Key::Bits(f.to_bits()),
            Self::Str(s) | Self::Markup(s) => {
                m.read(s)?;
                Key::Str(s.clone())
            }
            Self::Tuple(seq) => {
                m.items(seq.items.len())?;
                Key::Tuple(
                    seq.items
                        .iter()
                        .map(|item| item.key(m))
                        .collect::<Res<_>>()?,
                )
            }
            Self::List(_) | Self::Dict(_) => {
                return type_error(format!("unhashable type: '{}'", self.type_name()));
            }
            Self::Object(object) => Key::Address(Rc::as_ptr(object) as usize),
        })
    }

    /// `a == b`.
    pub(crate) fn equals(&self, other: &Self, m: &Meter) -> Res<bool> {
        Ok(match (self, other) {
            (Self::Undefined(_), Self::Undefined(_)) | (Self::None, Self::None) => true,
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => {
                a.items.len() == b.items.len() && all_equal(&a.items, &b.items, m)?
            }
            (Self::Dict(a), Self::Dict(b)) => {
                if a.entries.len() != b.entries.len() {
                    return Ok(false);
                }
                for (key, value) in &a.entries {
                    m.charge(1)?;
                    match b.get(key, m)? {
                        Some(other) if value.equals(other, m)? => {}
                        _ => return Ok(false),
                    }
                }
                true
            }
            (Self::Object(a), Self::Object(b)) => match (&**a, &**b) {
                (Object::Range { .. }, Object::Range { .. }) => {
                    let (a, b) = (self.items(m)?, other.items(m)?);
                    a.len() == b.len() && all_equal(&a, &b, m)?
                }
                _ => Rc::ptr_eq(a, b),
            },
            _ => match (self.as_str(), other.as_str()) {
                (Some(a), Some(b)) => {
                    if a.len() == b.len() {
                        m.read(a)?;
                    }
                    a == b
                }
                (None, None) => match (self.as_int(), other.as_int()) {
                    (Some(a), Some(b)) => a == b,
                    _ => {
                        matches!((self.as_float(), other.as_float()), (Some(a), Some(b)) if a == b)
                    }
                },
                _ => false,
            },
        })
    }

    /// The order of two values; `None` for unordered floats. `op` is for the message.
    pub(crate) fn order(&self, other: &Self, op: &str, m: &Meter) -> Res<Option<Ordering>> {
        m.charge(1)?;
        if let Self::Undefined(u) = self {
            return u.fail();
        }
        if let Self::Undefined(u) = other {
            return u.fail();
        }
        match (self, other) {
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => {
                for (a, b) in a.items.iter().zip(&b.items) {
                    m.charge(1)?;
                    if !a.equals(b, m)? {
                        return a.order(b, op, m);
                    }
                }
                return Ok(Some(a.items.len().cmp(&b.items.len())));
            }
            _ => {}
        }
        if let (Some(a), Some(b)) = (self.as_str(), other.as_str()) {
            m.charge(a.len().min(b.len()) / 16)?;
            return Ok(Some(a.cmp(b)));
        }
        if let (Some(a), Some(b)) = (self.as_int(), other.as_int()) {
            return Ok(Some(a.cmp(&b)));
        }
        if let (Some(a), Some(b)) = (self.as_float(), other.as_float()) {
            return Ok(a.partial_cmp(&b));
        }
        type_error(format!(
            "'{op}' not supported between instances of '{}' and '{}'",
            self.type_name(),
            other.type_name()
        ))
    }

    /// Where the first item equal to this is.
    pub(crate) fn position_in(&self, items: &[Self], m: &Meter) -> Res<Option<usize>> {
        for (at, item) in items.iter().enumerate() {
            m.charge(1)?;
            if item.equals(self, m)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}

/// Whether the items of two lists of one length are equal.
pub(crate) fn all_equal(a: &[Val], b: &[Val], m: &Meter) -> Res<bool> {
    for (a, b) in a.iter().zip(b) {
        m.charge(1)?;
        if !a.equals(b, m)? {
            return Ok(false);
        }
    }
    Ok(true)
}
