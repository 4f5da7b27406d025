//! Bytes of a tensor that live as long as the source they come from.
#![allow(
    unsafe_code,
    reason = "a slice of what an `Arc` beside it keeps alive has no lifetime to name"
)]

use std::borrow::Cow;
use std::ptr::NonNull;
use std::sync::Arc;

use ropewalk_gguf::TensorType;
use ropewalk_spec::{TensorSource, Weight};

use crate::Result;

/// The bytes of a weight without a lifetime.
pub(crate) struct Held {
    bytes: Bytes,
}

enum Bytes {
    Own(Vec<u8>),
    Lent {
        bytes: NonNull<[u8]>,
        /// Keeps `bytes` where they are.
        _source: Arc<dyn TensorSource>,
    },
}

// SAFETY: the bytes are only read, and the source that owns them may be shared and sent.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

impl Held {
    /// Keeps bytes that nobody else has.
    pub(crate) fn own(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Bytes::Own(bytes),
        }
    }

    /// Reads a weight and keeps its bytes, which are copied only where the source had to put them
    /// together. Also returns shape and type.
    pub(crate) fn read(
        source: &Arc<dyn TensorSource>,
        read: impl for<'a> FnOnce(&'a dyn TensorSource) -> Result<Weight<'a>>,
    ) -> Result<(Self, Vec<usize>, TensorType)> {
        let weight = read(&**source)?;
        let bytes = match weight.data {
            Cow::Owned(bytes) => Bytes::Own(bytes),
            Cow::Borrowed(bytes) => Bytes::Lent {
                bytes: NonNull::from(bytes),
                _source: Arc::clone(source),
            },
        };
        Ok((Self { bytes }, weight.shape, weight.ty))
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Own(bytes) => bytes,
            // SAFETY: `read` works for every lifetime of a borrow of the source, so what it lends is
            // valid as long as the source is borrowed. The source lives at one place inside the
            // `Arc` beside, and nothing borrows it mutably: this module hands the `Arc` to nobody.
            Bytes::Lent { bytes, .. } => unsafe { bytes.as_ref() },
        }
    }
}
