//! The cause of an error, printed without keys.

use std::error::Error;
use std::fmt;

use crate::error::BoxError;
use crate::redact::{keys_in, redact_exact};

/// An error and the errors below it.
///
/// When none of them prints a key, [`below`](Self::below) gives the error itself, so that it can be
/// downcast. Otherwise it gives texts with the keys masked.
pub(crate) struct Source {
    error: BoxError,
    masked: Option<Masked>,
    /// Whether the text of the first error is the message already.
    told: bool,
}

impl Source {
    pub(crate) fn new(error: BoxError, told: bool) -> Self {
        let masked = Masked::of(&*error, &[]);
        Self {
            error,
            masked,
            told,
        }
    }

    /// Masks known secrets too.
    pub(crate) fn mask(&mut self, secrets: &[&str]) {
        let masked = Masked::of(&*self.error, secrets);
        self.masked = masked.or(self.masked.take());
    }

    /// Returns the first error that is not told yet.
    pub(crate) fn below(&self) -> Option<&(dyn Error + 'static)> {
        let first: &(dyn Error + 'static) = match &self.masked {
            Some(masked) => masked,
            None => &*self.error,
        };
        if self.told {
            first.source()
        } else {
            Some(first)
        }
    }

    /// Returns the first error of a type, itself and not its masked text.
    pub(crate) fn find<E: Error + 'static>(&self) -> Option<&E> {
        let mut next: Option<&(dyn Error + 'static)> = Some(&*self.error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

/// The texts of an error with the keys masked.
struct Masked {
    display: String,
    debug: String,
    pretty: String,
    next: Option<Box<Self>>,
}

impl Masked {
    /// Returns the texts of an error and of those below, if any of them changes.
    fn of(error: &(dyn Error + 'static), secrets: &[&str]) -> Option<Self> {
        let mut texts = Vec::new();
        let mut next = Some(error);
        while let Some(error) = next {
            texts.push([
                error.to_string(),
                format!("{error:?}"),
                format!("{error:#?}"),
            ]);
            next = error.source();
        }
        // A key that one text gives away may stand bare in another.
        let keys: Vec<String> = texts.iter().flatten().flat_map(|t| keys_in(t)).collect();
        let keys = keys.iter().map(String::as_str);
        let secrets: Vec<&str> = secrets.iter().copied().chain(keys).collect();
        let mut changed = false;
        for text in texts.iter_mut().flatten() {
            let masked = redact_exact(text, &secrets);
            if masked != *text {
                *text = masked.into_owned();
                changed = true;
            }
        }
        if !changed {
            return None;
        }
        let all = texts.into_iter().rev();
        all.fold(None, |next: Option<Self>, [display, debug, pretty]| {
            Some(Self {
                display,
                debug,
                pretty,
                next: next.map(Box::new),
            })
        })
    }
}

impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display)
    }
}

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if f.alternate() {
            &self.pretty
        } else {
            &self.debug
        })
    }
}

impl Error for Masked {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.next.as_deref().map(|next| next as _)
    }
}
