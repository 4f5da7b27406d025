//! Multipart bodies (RFC 7578), built in memory so that every attempt can send them again.

use std::borrow::Cow;

use bytes::Bytes;

#[derive(Debug, Clone)]
struct Field {
    name: Cow<'static, str>,
    file: Option<(String, String)>,
    data: Bytes,
}

/// A form with files.
#[derive(Debug, Clone, Default)]
pub struct Form {
    fields: Vec<Field>,
}

impl Form {
    /// Creates a form without fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a text.
    #[must_use]
    pub fn text(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.fields.push(Field {
            name: name.into(),
            file: None,
            data: Bytes::from(value.into()),
        });
        self
    }

    /// Appends a file with its name and type.
    #[must_use]
    pub fn file(
        mut self,
        name: impl Into<Cow<'static, str>>,
        file_name: impl Into<String>,
        mime: impl Into<String>,
        data: impl Into<Bytes>,
    ) -> Self {
        self.fields.push(Field {
            name: name.into(),
            file: Some((file_name.into(), mime.into())),
            data: data.into(),
        });
        self
    }

    /// Returns content type and body. The boundary occurs in no field.
    pub(crate) fn encode(&self) -> (String, Bytes) {
        let boundary = self.boundary();
        let size: usize = self.fields.iter().map(|f| f.data.len() + 256).sum();
        let mut body = Vec::with_capacity(size);
        for field in &self.fields {
            let mut head = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"",
                quoted(&field.name)
            );
            if let Some((name, mime)) = &field.file {
                let mime: String = mime.chars().filter(|c| !c.is_control()).collect();
                head += &format!("; filename=\"{}\"\r\nContent-Type: {mime}", quoted(name));
            }
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(b"\r\n\r\n");
            body.extend_from_slice(&field.data);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        (
            format!("multipart/form-data; boundary={boundary}"),
            body.into(),
        )
    }

    /// Counts up until no field holds the boundary; equal forms give equal bytes.
    fn boundary(&self) -> String {
        let mut number = 0u64;
        loop {
            let boundary = format!("ropewalk-form-boundary-{number:016x}");
            let holds = |f: &Field| {
                let wanted = boundary.as_bytes();
                f.data.len() >= wanted.len() && f.data.windows(wanted.len()).any(|w| w == wanted)
            };
            if !self.fields.iter().any(holds) {
                return boundary;
            }
            number += 1;
        }
    }
}

/// Escapes as HTML's form submission does (WHATWG HTML, "multipart/form-data encoding").
fn quoted(name: &str) -> String {
    name.replace('"', "%22")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_texts_and_files() {
        let form = Form::new().text("model", "whisper-1").file(
            "file",
            "a\"b.wav",
            "audio/wav",
            &b"RIFF"[..],
        );
        let (kind, body) = form.encode();
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        let expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; \
             filename=\"a%22b.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--{boundary}--\r\n"
        );
        assert_eq!(body, expected.as_bytes());
    }

    #[test]
    fn the_boundary_is_in_no_field() {
        let first = Form::new().text("a", "x").boundary();
        let form = Form::new().text("a", format!("..{first}.."));
        assert_ne!(form.boundary(), first);
    }
}
