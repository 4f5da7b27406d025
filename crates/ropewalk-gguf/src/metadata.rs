use std::borrow::Cow;
use std::cmp::Ordering;

use crate::value::{Array, StringArray, Value};
use crate::{Error, Result};

/// The keys and values of a file, in the order of the file.
///
/// The typed getters return `Ok(None)` for an absent key and an error that names key, found type
/// and wanted type when the key holds something else. Integers of any width convert as long as the
/// value fits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    /// Positions in `entries`, sorted by key.
    by_key: Vec<u32>,
}

impl Metadata {
    /// Builds the index; `Err` holds a key that occurs twice.
    pub(crate) fn from_entries(entries: Vec<(String, Value)>) -> Result<Self, String> {
        let mut by_key: Vec<u32> = (0..u32::try_from(entries.len()).unwrap_or(u32::MAX)).collect();
        let key = |i: u32| &entries[i as usize].0;
        by_key.sort_unstable_by(|&a, &b| key(a).cmp(key(b)));
        if let Some(pair) = by_key.windows(2).find(|pair| key(pair[0]) == key(pair[1])) {
            return Err(key(pair[0]).clone());
        }
        Ok(Self { entries, by_key })
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.by_key
            .binary_search_by(|&i| self.entries[i as usize].0.as_str().cmp(key))
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Reports whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        let at = self.find(key).ok()?;
        Some(&self.entries[self.by_key[at] as usize].1)
    }

    /// Iterates over keys and values in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + DoubleEndedIterator + '_ {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// Sets `key`, keeping its place when it exists, and returns the value it had.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.find(&key) {
            Ok(at) => {
                let entry = &mut self.entries[self.by_key[at] as usize];
                Some(std::mem::replace(&mut entry.1, value))
            }
            Err(at) => {
                let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
                self.by_key.insert(at, index);
                self.entries.push((key, value));
                None
            }
        }
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.find(key).ok()?;
        let index = self.by_key.remove(at);
        for other in &mut self.by_key {
            if (*other).cmp(&index) == Ordering::Greater {
                *other -= 1;
            }
        }
        Some(self.entries.remove(index as usize).1)
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        wanted: &'static str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => {
                let found = match value {
                    Value::String(text) if text.to_str().is_none() => {
                        "a string that is not UTF-8".to_owned()
                    }
                    _ => match value.as_integer() {
                        Some(integer) => format!("{} {integer}", value.ty()),
                        None => value.describe_type(),
                    },
                };
                let key = key.escape_debug().to_string().into();
                Err(Error::ValueType {
                    key,
                    found: found.into(),
                    wanted,
                })
            }
        }
    }

    /// Returns a string.
    ///
    /// # Errors
    /// The key holds another type, or bytes that are not UTF-8.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a UTF-8 string", |value| match value {
            Value::String(text) => text.to_str(),
            _ => None,
        })
    }

    /// Returns an integer as `u32`.
    ///
    /// # Errors
    /// The key holds another type, or an integer outside the range.
    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.typed(key, "an integer in the range of u32", |v| {
            v.as_integer()?.try_into().ok()
        })
    }

    /// Returns an integer as `u64`.
    ///
    /// # Errors
    /// The key holds another type, or a negative integer.
    pub fn u64(&self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "an integer in the range of u64", |v| {
            v.as_integer()?.try_into().ok()
        })
    }

    /// Returns an integer as `usize`.
    ///
    /// # Errors
    /// The key holds another type, or an integer outside the range.
    pub fn usize(&self, key: &str) -> Result<Option<usize>> {
        self.typed(key, "an integer in the range of usize", |v| {
            v.as_integer()?.try_into().ok()
        })
    }

    /// Returns an integer as `i32`.
    ///
    /// # Errors
    /// The key holds another type, or an integer outside the range.
    pub fn i32(&self, key: &str) -> Result<Option<i32>> {
        self.typed(key, "an integer in the range of i32", |v| {
            v.as_integer()?.try_into().ok()
        })
    }

    /// Returns an integer as `i64`.
    ///
    /// # Errors
    /// The key holds another type, or an integer outside the range.
    pub fn i64(&self, key: &str) -> Result<Option<i64>> {
        self.typed(key, "an integer in the range of i64", |v| {
            v.as_integer()?.try_into().ok()
        })
    }

    /// Returns a number as `f32`; an `f64` in the file is rounded.
    ///
    /// # Errors
    /// The key holds another type; integers do not convert.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.typed(key, "f32", |value| match *value {
            Value::F32(x) => Some(x),
            Value::F64(x) => Some(x as f32),
            _ => None,
        })
    }

    /// Returns a truth value.
    ///
    /// # Errors
    /// The key holds another type; integers do not convert.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "bool", |value| match *value {
            Value::Bool(x) => Some(x),
            _ => None,
        })
    }

    /// Returns an array of strings.
    ///
    /// # Errors
    /// The key holds another type. An empty array of any type is an empty array of strings.
    pub fn strings(&self, key: &str) -> Result<Option<&StringArray>> {
        self.typed(key, "array of string", |value| match value {
            Value::Array(Array::String(strings)) => Some(strings),
            Value::Array(array) if array.is_empty() => Some(StringArray::EMPTY),
            _ => None,
        })
    }

    /// Returns an array of numbers, borrowed when the file holds `f32`; `f64` is rounded.
    ///
    /// # Errors
    /// The key holds another type; integers do not convert.
    pub fn f32s(&self, key: &str) -> Result<Option<Cow<'_, [f32]>>> {
        self.typed(key, "array of f32", |value| match value {
            Value::Array(Array::F32(xs)) => Some(Cow::Borrowed(xs.as_slice())),
            Value::Array(Array::F64(xs)) => Some(xs.iter().map(|&x| x as f32).collect()),
            Value::Array(array) if array.is_empty() => Some(Cow::Borrowed(&[])),
            _ => None,
        })
    }

    /// Returns an array of integers as `i32`, borrowed when the file holds `i32`.
    ///
    /// # Errors
    /// The key holds another type, or an integer outside the range.
    pub fn i32s(&self, key: &str) -> Result<Option<Cow<'_, [i32]>>> {
        self.typed(
            key,
            "array of integers in the range of i32",
            |value| match value {
                Value::Array(Array::I32(xs)) => Some(Cow::Borrowed(xs.as_slice())),
                Value::Array(array) => array.integers().map(Cow::Owned),
                _ => None,
            },
        )
    }

    /// Returns an array of integers as `u32`, borrowed when the file holds `u32`.
    ///
    /// # Errors
    /// The key holds another type, or an integer outside the range.
    pub fn u32s(&self, key: &str) -> Result<Option<Cow<'_, [u32]>>> {
        self.typed(
            key,
            "array of integers in the range of u32",
            |value| match value {
                Value::Array(Array::U32(xs)) => Some(Cow::Borrowed(xs.as_slice())),
                Value::Array(array) => array.integers().map(Cow::Owned),
                _ => None,
            },
        )
    }

    /// Returns an array of truth values.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn bools(&self, key: &str) -> Result<Option<&[bool]>> {
        self.typed(key, "array of bool", |value| match value {
            Value::Array(Array::Bool(xs)) => Some(xs.as_slice()),
            Value::Array(array) if array.is_empty() => Some(&[][..]),
            _ => None,
        })
    }
}

impl<'a> IntoIterator for &'a Metadata {
    type Item = (&'a str, &'a Value);
    type IntoIter = Box<dyn ExactSizeIterator<Item = (&'a str, &'a Value)> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Metadata {
        let mut m = Metadata::default();
        m.insert("z", 3_u16);
        m.insert("a", -1_i64);
        m.insert("big", u64::MAX);
        m.insert("half", 0.5_f64);
        m.insert("s", "text");
        m.insert("bytes", Value::String([0xff_u8, b'x'].as_slice().into()));
        m.insert("ids", vec![1_u8, 2, 255]);
        m.insert("none", Vec::<i32>::new());
        m
    }

    #[test]
    fn integers_convert_when_they_fit() {
        let m = sample();
        assert_eq!(m.u32("z").unwrap(), Some(3));
        assert_eq!(m.i32("a").unwrap(), Some(-1));
        assert_eq!(m.u64("big").unwrap(), Some(u64::MAX));
        assert_eq!(m.u32("absent").unwrap(), None);
        assert_eq!(m.i32s("ids").unwrap().unwrap().as_ref(), [1, 2, 255]);
        assert!(m.strings("none").unwrap().unwrap().is_empty());
        assert!(m.f32s("none").unwrap().unwrap().is_empty());
    }

    #[test]
    fn wrong_types_name_key_found_and_wanted() {
        let m = sample();
        let say = |e: Error| e.to_string();
        assert_eq!(
            say(m.u32("a").unwrap_err()),
            "metadata key `a` holds i64 -1, an integer in the range of u32 is wanted"
        );
        assert_eq!(
            say(m.f32("s").unwrap_err()),
            "metadata key `s` holds string, f32 is wanted"
        );
        assert_eq!(
            say(m.str("bytes").unwrap_err()),
            "metadata key `bytes` holds a string that is not UTF-8, a UTF-8 string is wanted"
        );
        assert_eq!(
            say(m.strings("ids").unwrap_err()),
            "metadata key `ids` holds array of 3 u8, array of string is wanted"
        );
    }

    #[test]
    fn keeps_order_through_replacement_and_removal() {
        let mut m = sample();
        assert_eq!(m.insert("a", true), Some(Value::I64(-1)));
        assert_eq!(m.remove("z"), Some(Value::U16(3)));
        assert_eq!(m.remove("z"), None);
        let keys: Vec<_> = m.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["a", "big", "half", "s", "bytes", "ids", "none"]);
        for key in keys {
            assert!(m.get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn finds_duplicate_keys() {
        let twice = vec![
            ("k".to_owned(), Value::U8(1)),
            ("k".to_owned(), Value::U8(2)),
        ];
        assert_eq!(Metadata::from_entries(twice), Err("k".to_owned()));
    }
}
