//! Images, sound, video and documents inside messages.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A picture, sound, video or document, with where to find its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Media {
    /// Where the bytes are.
    pub source: MediaSource,
    /// MIME type, for example `image/png`. A string, because providers add types often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// File name shown to the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Resolution hint of the provider, for example `low` or `high`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Media {
    /// Creates media from a source without further description.
    #[must_use]
    pub fn new(source: MediaSource) -> Self {
        Self {
            source,
            mime: None,
            name: None,
            detail: None,
        }
    }

    /// Creates media that the provider fetches from `url` (also a `data:` URL).
    pub fn url(url: impl Into<String>) -> Self {
        Self::new(MediaSource::Url(url.into()))
    }

    /// Creates media from bytes in memory and their MIME type.
    pub fn bytes(bytes: impl Into<Bytes>, mime: impl Into<String>) -> Self {
        Self::new(MediaSource::Bytes(bytes.into())).with_mime(mime)
    }

    /// Creates media from the id of a file uploaded to the provider before.
    pub fn file_id(id: impl Into<String>) -> Self {
        Self::new(MediaSource::FileId(id.into()))
    }

    /// Sets the MIME type.
    #[must_use]
    pub fn with_mime(mut self, mime: impl Into<String>) -> Self {
        self.mime = Some(mime.into());
        self
    }

    /// Sets the file name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the resolution hint.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// Where the bytes of a [`Media`] are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MediaSource {
    /// The provider fetches this URL.
    Url(String),
    /// The bytes themselves; base64 (standard alphabet, padded) in JSON.
    #[serde(with = "as_base64")]
    Bytes(Bytes),
    /// Id of a file uploaded to the provider before.
    FileId(String),
}

mod as_base64 {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        bytes: &Bytes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD
            .decode(text)
            .map(Into::into)
            .map_err(D::Error::custom)
    }
}

/// Encoded sound with its MIME type: what speech models return and transcription models read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audio {
    /// The encoded file.
    pub data: Bytes,
    /// MIME type, for example `audio/mpeg`.
    pub mime: String,
    /// File name; some providers infer the format from its extension.
    pub name: Option<String>,
}

impl Audio {
    /// Creates audio from an encoded file and its MIME type.
    pub fn new(data: impl Into<Bytes>, mime: impl Into<String>) -> Self {
        Self {
            data: data.into(),
            mime: mime.into(),
            name: None,
        }
    }

    /// Sets the file name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}
