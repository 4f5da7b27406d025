//! Lengths and items.

use super::{Object, Val};
use crate::template::error::{Error, Res, type_error};
use crate::template::meter::Meter;

impl Val {
    /// `len(value)`.
    pub(crate) fn length(&self) -> Res<usize> {
        Ok(match self {
            Self::Undefined(_) => 0,
            Self::Str(s) | Self::Markup(s) => s.chars().count(),
            Self::List(seq) | Self::Tuple(seq) => seq.items.len(),
            Self::Dict(dict) => dict.entries.len(),
            Self::Object(object) => match &**object {
                Object::View(_, dict) => dict.entries.len(),
                Object::Loop(l) => l.items.len(),
                Object::Range { start, stop, step } => range_length(*start, *stop, *step),
                _ => return self.no_length(),
            },
            _ => return self.no_length(),
        })
    }

    fn no_length<T>(&self) -> Res<T> {
        type_error(format!(
            "object of type '{}' has no len()",
            self.type_name()
        ))
    }

    pub(crate) fn is_iterable(&self) -> bool {
        match self {
            Self::None | Self::Bool(_) | Self::Int(_) | Self::Float(_) => false,
            Self::Object(object) => matches!(
                &**object,
                Object::View(..) | Object::Range { .. } | Object::Iter(..) | Object::Loop(_)
            ),
            _ => true,
        }
    }

    /// All items of an iterable; a generator is empty afterwards.
    pub(crate) fn items(&self, m: &Meter) -> Res<Vec<Self>> {
        let (items, failure) = self.pending(m)?;
        match failure {
            Some(failure) => Err(failure),
            None => Ok(items),
        }
    }

    /// All items up to the one that fails.
    pub(crate) fn pending(&self, m: &Meter) -> Res<(Vec<Self>, Option<Box<Error>>)> {
        let items = match self {
            Self::Undefined(_) => Vec::new(),
            Self::Str(s) | Self::Markup(s) => {
                m.items(s.len())?;
                s.chars().map(Self::from).collect()
            }
            Self::List(seq) | Self::Tuple(seq) => {
                m.items(seq.items.len())?;
                seq.items.clone()
            }
            Self::Dict(dict) => {
                m.items(dict.entries.len())?;
                dict.keys()
            }
            Self::Object(object) => match &**object {
                Object::View(kind, dict) => {
                    m.items(dict.entries.len())?;
                    dict.view(*kind)
                }
                Object::Range { start, stop, step } => {
                    let count = range_length(*start, *stop, *step);
                    m.items(count)?;
                    (0..count)
                        .map(|i| Self::Int(i128::from(*start) + i128::from(*step) * i as i128))
                        .collect()
                }
                Object::Iter(pending, ..) => {
                    let mut pending = pending.borrow_mut();
                    m.items(pending.items.len())?;
                    let failure = pending.failure.take();
                    return Ok((std::mem::take(&mut pending.items).into(), failure));
                }
                _ => return self.not_iterable(),
            },
            _ => return self.not_iterable(),
        };
        Ok((items, None))
    }

    /// Exactly `count` items, as in `a, b = value`.
    pub(crate) fn unpack(&self, count: usize, m: &Meter) -> Res<Vec<Self>> {
        if !self.is_iterable() {
            return type_error(format!(
                "cannot unpack non-iterable {} object",
                self.type_name()
            ));
        }
        let items = self.items(m)?;
        let got = items.len();
        if got < count {
            return type_error(format!(
                "not enough values to unpack (expected {count}, got {got})"
            ));
        }
        if got > count {
            return type_error(format!("too many values to unpack (expected {count})"));
        }
        Ok(items)
    }

    /// The first item, leaving the others in a generator.
    pub(crate) fn first(&self, m: &Meter) -> Res<Option<Self>> {
        if let Self::Object(object) = self
            && let Object::Iter(pending, ..) = &**object
        {
            let mut pending = pending.borrow_mut();
            return match pending.items.pop_front() {
                Some(item) => Ok(Some(item)),
                None => pending.failure.take().map_or(Ok(None), Err),
            };
        }
        Ok(match self {
            Self::List(seq) | Self::Tuple(seq) => seq.items.first().cloned(),
            Self::Dict(dict) => dict.entries.first().map(|(key, _)| key.clone()),
            Self::Str(s) | Self::Markup(s) => s.chars().next().map(Self::from),
            _ => self.items(m)?.into_iter().next(),
        })
    }

    fn not_iterable<T>(&self) -> Res<T> {
        type_error(format!("'{}' object is not iterable", self.type_name()))
    }
}

impl From<char> for Val {
    fn from(c: char) -> Self {
        Self::from(&*c.encode_utf8(&mut [0; 4]))
    }
}

/// `len(range(start, stop, step))`.
pub(crate) fn range_length(start: i64, stop: i64, step: i64) -> usize {
    let (start, stop, step) = (i128::from(start), i128::from(stop), i128::from(step));
    let span = if step > 0 { stop - start } else { start - stop };
    if span <= 0 {
        0
    } else {
        ((span - 1) / step.abs() + 1) as usize
    }
}
