//! A JSON object whose errors name the file and the key.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::family::Profile;
use crate::{Error, Result};

/// Reads a JSON file.
pub(crate) fn read(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Json {
        path: path.to_owned(),
        source,
    })
}

/// An object inside a file. Null counts as absent, as in transformers.
#[derive(Clone, Copy)]
pub(crate) struct Object<'a> {
    map: &'a Map<String, Value>,
    file: &'a str,
    /// Where the object lies in the file, with a dot at the end unless it is the whole.
    prefix: &'a str,
    /// Which keys a family spells differently, and what it takes where one is absent.
    profile: Option<&'static Profile>,
}

impl<'a> Object<'a> {
    pub(crate) fn new(value: &'a Value, file: &'a str) -> Result<Self> {
        Self::inside(value, file, "")
    }

    pub(crate) fn inside(value: &'a Value, file: &'a str, prefix: &'a str) -> Result<Self> {
        let map = value.as_object().ok_or_else(|| Error::InvalidKey {
            file: file.to_owned(),
            key: if prefix.is_empty() {
                "{}".to_owned()
            } else {
                prefix.replace('.', "")
            },
            problem: "is not an object".to_owned(),
        })?;
        Ok(Self {
            map,
            file,
            prefix,
            profile: None,
        })
    }

    /// The same object in the spelling of a family, with its defaults.
    pub(crate) const fn of(mut self, profile: &'static Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// How the family spells a key, if differently.
    fn alias(&self, key: &str) -> Option<&'static str> {
        let keys = self.profile?.keys;
        keys.iter().find(|(usual, _)| *usual == key).map(|k| k.1)
    }

    /// What the family takes where a key is absent; a null is not.
    fn default(&self, key: &str) -> Option<f64> {
        let defaults = self.profile?.defaults;
        let found = defaults.iter().find(|(name, _)| *name == key)?;
        self.get(key).is_none().then_some(found.1)
    }

    pub(crate) const fn file(&self) -> &'a str {
        self.file
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.map.keys().map(String::as_str)
    }

    /// The value of a key, null included.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        let own = self.alias(key).and_then(|own| self.map.get(own));
        own.or_else(|| self.map.get(key))
    }

    /// The value of a key unless it is null.
    pub(crate) fn present(&self, key: &str) -> Option<&'a Value> {
        self.get(key).filter(|v| !v.is_null())
    }

    pub(crate) fn missing(&self, key: &str) -> Error {
        Error::MissingKey {
            file: self.file.to_owned(),
            key: self.full(key),
        }
    }

    pub(crate) fn invalid(&self, key: &str, problem: &str) -> Error {
        Error::InvalidKey {
            file: self.file.to_owned(),
            key: self.full(key),
            problem: problem.to_owned(),
        }
    }

    pub(crate) fn inconsistent(&self, problem: String) -> Error {
        Error::Inconsistent {
            file: self.file.to_owned(),
            problem,
        }
    }

    pub(crate) fn unread_rope(&self, key: &str) -> Error {
        Error::UnreadRopeKey {
            file: self.file.to_owned(),
            key: self.full(key),
        }
    }

    fn full(&self, key: &str) -> String {
        let key = match self.alias(key) {
            Some(own) if self.map.contains_key(own) || !self.map.contains_key(key) => own,
            _ => key,
        };
        format!("{}{key}", self.prefix)
    }

    /// A required count.
    pub(crate) fn count(&self, key: &str) -> Result<usize> {
        self.count_or_none(key)?.ok_or_else(|| self.missing(key))
    }

    pub(crate) fn count_or_none(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.present(key) else {
            return Ok(self.default(key).map(|n| n as usize));
        };
        // Some tools write whole numbers as floats.
        let whole = value.as_u64().or_else(|| {
            let float = value.as_f64()?;
            ((0.0..1e15).contains(&float) && float.fract() == 0.0).then_some(float as u64)
        });
        match whole.and_then(|n| usize::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => Err(self.invalid(key, &format!("is {value}, not a count"))),
        }
    }

    /// A required number.
    pub(crate) fn number(&self, key: &str) -> Result<f64> {
        self.number_or_none(key)?.ok_or_else(|| self.missing(key))
    }

    pub(crate) fn number_or_none(&self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.present(key) else {
            return Ok(self.default(key));
        };
        match value.as_f64() {
            Some(n) => Ok(Some(n)),
            None => Err(self.invalid(key, &format!("is {value}, not a number"))),
        }
    }

    /// A flag, false where absent.
    pub(crate) fn flag(&self, key: &str) -> Result<bool> {
        Ok(self.flag_or_none(key)?.unwrap_or(false))
    }

    pub(crate) fn flag_or_none(&self, key: &str) -> Result<Option<bool>> {
        let Some(value) = self.present(key) else {
            return Ok(self.default(key).map(|n| n != 0.0));
        };
        match value.as_bool() {
            Some(b) => Ok(Some(b)),
            None => Err(self.invalid(key, &format!("is {value}, not true or false"))),
        }
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.present(key) else {
            return Ok(None);
        };
        match value.as_str() {
            Some(s) => Ok(Some(s)),
            None => Err(self.invalid(key, &format!("is {value}, not a string"))),
        }
    }

    /// A list of whole numbers, `None` where absent.
    pub(crate) fn counts_or_none(&self, key: &str) -> Result<Option<Vec<usize>>> {
        let Some(value) = self.present(key) else {
            return Ok(None);
        };
        let whole = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok());
        match value.as_array().map(|l| l.iter().map(whole).collect()) {
            Some(Some(list)) => Ok(Some(list)),
            _ => Err(self.invalid(key, "is not a list of counts")),
        }
    }

    /// A required list of numbers.
    pub(crate) fn numbers(&self, key: &str) -> Result<Vec<f32>> {
        let value = self.present(key).ok_or_else(|| self.missing(key))?;
        let list = value
            .as_array()
            .map(|l| l.iter().map(|v| v.as_f64().map(|n| n as f32)));
        match list.and_then(Iterator::collect) {
            Some(list) => Ok(list),
            None => Err(self.invalid(key, "is not a list of numbers")),
        }
    }

    /// One token id or a list of them; negative ids mean none.
    pub(crate) fn ids(&self, key: &str) -> Result<Vec<u32>> {
        let Some(value) = self.present(key) else {
            return Ok(Vec::new());
        };
        let one = std::slice::from_ref(value);
        let list = value.as_array().map_or(one, Vec::as_slice);
        let mut ids = Vec::with_capacity(list.len());
        for id in list {
            match id.as_i64() {
                Some(n) if n < 0 => {}
                Some(n) if u32::try_from(n).is_ok() => ids.push(n as u32),
                _ => return Err(self.invalid(key, &format!("holds {id}, not a token id"))),
            }
        }
        Ok(ids)
    }
}
