//! Dictionaries that keep the order of insertion.

use super::{Val, ViewKind};
use crate::template::error::Res;
use crate::template::meter::Meter;
use std::collections::HashMap;
use std::sync::Arc;

/// A dictionary in order of insertion.
#[derive(Default)]
pub(crate) struct Dict {
    pub(super) entries: Vec<(Val, Val)>,
    index: HashMap<Key, usize>,
    pub(super) depth: u32,
}

/// What makes two dictionary keys the same: `1`, `1.0` and `True` are one key.
#[derive(PartialEq, Eq, Hash, Clone)]
pub(crate) enum Key {
    None,
    Int(i128),
    Bits(u64),
    Str(Arc<str>),
    Tuple(Vec<Self>),
    Undefined,
    Address(usize),
}

impl Dict {
    /// Below this many entries a search beats hashing.
    const SMALL: usize = 8;

    pub(crate) fn from_pairs(pairs: impl IntoIterator<Item = (Val, Val)>, m: &Meter) -> Res<Self> {
        let mut dict = Self::default();
        for (key, value) in pairs {
            dict.insert(key, value, m)?;
        }
        Ok(dict)
    }

    pub(crate) fn insert(&mut self, key: Val, value: Val, m: &Meter) -> Res<()> {
        let hash = key.key(m)?;
        self.depth = self.depth.max(key.depth()).max(value.depth());
        if let Some(at) = self.position(&hash, m)? {
            self.entries[at].1 = value;
            return Ok(());
        }
        if self.entries.len() == Self::SMALL {
            for (i, (key, _)) in self.entries.iter().enumerate() {
                self.index.insert(key.key(m)?, i);
            }
        }
        if self.entries.len() >= Self::SMALL {
            self.index.insert(hash, self.entries.len());
        }
        self.entries.push((key, value));
        Ok(())
    }

    fn position(&self, key: &Key, m: &Meter) -> Res<Option<usize>> {
        if !self.index.is_empty() {
            return Ok(self.index.get(key).copied());
        }
        for (at, (own, _)) in self.entries.iter().enumerate() {
            let found = match (own, key) {
                (Val::Str(own) | Val::Markup(own), Key::Str(key)) => own == key,
                (Val::Str(_) | Val::Markup(_), _) => false,
                _ => own.key(m)? == *key,
            };
            if found {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    pub(crate) fn get(&self, key: &Val, m: &Meter) -> Res<Option<&Val>> {
        let at = self.position(&key.key(m)?, m)?;
        Ok(at.map(|at| &self.entries[at].1))
    }

    pub(crate) fn get_str(&self, name: &str) -> Option<&Val> {
        if self.index.is_empty() {
            let found = self.entries.iter().find(|(k, _)| k.as_str() == Some(name));
            return found.map(|(_, v)| v);
        }
        let at = *self.index.get(&Key::Str(name.into()))?;
        Some(&self.entries[at].1)
    }

    pub(crate) fn entries(&self) -> &[(Val, Val)] {
        &self.entries
    }

    pub(crate) fn keys(&self) -> Vec<Val> {
        self.entries.iter().map(|(k, _)| k.clone()).collect()
    }

    pub(crate) fn view(&self, kind: ViewKind) -> Vec<Val> {
        match kind {
            ViewKind::Keys => self.keys(),
            ViewKind::Values => self.entries.iter().map(|(_, v)| v.clone()).collect(),
            ViewKind::Items => self
                .entries
                .iter()
                .map(|(k, v)| Val::tuple(vec![k.clone(), v.clone()]))
                .collect(),
        }
    }

    /// A copy with the same entries.
    pub(crate) fn copy(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            index: self.index.clone(),
            depth: self.depth,
        }
    }
}
