//! Image models behind an API.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use ropewalk_core::{
    ImageModel, ImageRequest, ImageResponse, Media, MediaSource, Result, async_trait,
};
use serde_json::{Map, Value};

use super::{Remote, extension, form_of, remote_setters, usage_of};
use crate::endpoint::Endpoint;
use crate::sniff::sniff;
use crate::wire::Notes;

/// An image model in OpenAI's shape: `/images/generations` for pictures from words,
/// `/images/edits` (a form) when the request has pictures to start from.
///
/// The size of a typed request cannot be malformed; one that comes by way of `extra`, such as
/// `"1024*1024"`, is refused before it is sent.
#[derive(Debug, Clone)]
pub struct RemoteImages {
    remote: Remote,
    response_format: Option<String>,
}

remote_setters!(RemoteImages);

impl RemoteImages {
    /// Creates a model. The models `dall-e-…` are asked for `b64_json`; newer ones know base64 only
    /// and refuse the field.
    pub fn new(endpoint: Endpoint, model: impl Into<String>) -> Self {
        let remote = Remote::new(endpoint, model);
        let legacy = remote.model.starts_with("dall-e");
        Self {
            remote,
            response_format: legacy.then(|| "b64_json".to_owned()),
        }
    }

    /// Sets the field `response_format`, for servers that give addresses unless asked otherwise
    /// (`b64_json`, `url`).
    #[must_use]
    pub fn with_response_format(mut self, format: impl Into<String>) -> Self {
        self.response_format = Some(format.into());
        self
    }

    fn fields(&self, request: &ImageRequest, notes: &mut Notes) -> Result<Map<String, Value>> {
        let ImageRequest {
            prompt,
            n,
            size,
            quality,
            seed,
            inputs: _,
            mask: _,
            on_unsupported: _,
            extra,
            ..
        } = request;
        let mut body = Map::new();
        body.insert("model".into(), self.remote.model.as_str().into());
        body.insert("prompt".into(), prompt.as_str().into());
        body.insert("n".into(), (*n).max(1).into());
        if let Some((width, height)) = size {
            body.insert("size".into(), format!("{width}x{height}").into());
        }
        if let Some(quality) = quality {
            body.insert("quality".into(), quality.as_str().into());
        }
        if let Some(format) = &self.response_format {
            body.insert("response_format".into(), format.as_str().into());
        }
        notes.unsupported("seed", seed.as_ref(), "the API draws its own")?;
        self.remote.merge(&mut body, extra);
        if let Some(size) = body.get("size").filter(|s| !is_size(s)) {
            let message =
                format!("size {size} is none: write width x height as \"1024x1024\", or \"auto\"");
            return Err(self.remote.invalid(message));
        }
        Ok(body)
    }

    /// Returns bytes and type of a picture to be sent.
    fn upload(&self, name: &str, media: &Media) -> Result<(Bytes, String)> {
        let told = media.mime.clone();
        let (bytes, mime) = match &media.source {
            MediaSource::Bytes(bytes) => (bytes.clone(), told),
            MediaSource::Url(url) if url.starts_with("data:") => {
                let (mime, bytes) = data_url(url).ok_or_else(|| {
                    self.remote
                        .invalid(format!("{name}: the data URL is no base64"))
                })?;
                (bytes, told.or(Some(mime)))
            }
            _ => {
                let message = format!(
                    "{name} is an address or a file id; edits want its bytes: fetch it first"
                );
                return Err(self.remote.invalid(message));
            }
        };
        let mime = sniff(&bytes).map(str::to_owned).or(mime);
        match mime {
            Some(mime) if !bytes.is_empty() => Ok((bytes, mime)),
            _ => Err(self.remote.invalid(format!(
                "{name} is empty or of unknown type: set its MIME type"
            ))),
        }
    }
}

#[async_trait]
impl ImageModel for RemoteImages {
    fn provider(&self) -> &str {
        self.remote.endpoint.provider()
    }

    fn model(&self) -> &str {
        &self.remote.model
    }

    async fn generate(&self, request: &ImageRequest) -> Result<ImageResponse> {
        if request.prompt.trim().is_empty() {
            return Err(self.remote.invalid("the prompt is empty: say what to draw"));
        }
        if request.mask.is_some() && request.inputs.is_empty() {
            return Err(self
                .remote
                .invalid("there is a mask but no picture to edit"));
        }
        let mut notes = Notes::new(request.on_unsupported);
        let body = self.fields(request, &mut notes)?;
        let answer = if request.inputs.is_empty() {
            self.remote.post("/images/generations", body).await?
        } else {
            let mut form = form_of(&body);
            let field = if request.inputs.len() == 1 {
                "image"
            } else {
                "image[]"
            };
            let pictures = request.inputs.iter().enumerate();
            let pictures = pictures.map(|(i, picture)| (field, format!("image {i}"), picture));
            let mask = request.mask.iter().map(|m| ("mask", "mask".to_owned(), m));
            for (field, name, picture) in pictures.chain(mask) {
                let (bytes, mime) = self.upload(&name, picture)?;
                let file = picture.name.clone();
                let file = file
                    .unwrap_or_else(|| format!("{}.{}", name.replace(' ', "-"), extension(&mime)));
                form = form.file(field, file, mime, bytes);
            }
            let sent = self
                .remote
                .endpoint
                .request(Method::POST, "/images/edits")?;
            self.remote.send(&sent.with_form(&form)).await?
        };
        let bad = |message: String| self.remote.bad(answer.request_id.as_deref(), message);
        let body = &answer.body;
        let data = body.get("data").and_then(Value::as_array);
        let data = data
            .filter(|d| !d.is_empty())
            .ok_or_else(|| bad("no picture came back".into()))?;
        let format = body.get("output_format").and_then(Value::as_str);
        let mut images = Vec::with_capacity(data.len());
        for (i, item) in data.iter().enumerate() {
            images.push(picture(item, format).map_err(|m| bad(format!("picture {i} {m}")))?);
        }
        let mut response = ImageResponse::new(images)
            .with_model(self.remote.answered(body))
            .with_usage(usage_of(body))
            .with_warnings(notes.into_warnings());
        let revised = data.iter().find_map(|d| d.get("revised_prompt")?.as_str());
        response.revised_prompt = revised.map(str::to_owned);
        response.raw = self.remote.keep_raw.then_some(answer.body);
        Ok(response)
    }
}

/// Reads one picture of a reply.
fn picture(item: &Value, format: Option<&str>) -> Result<Media, String> {
    if let Some(text) = item.get("b64_json").and_then(Value::as_str) {
        let bytes = STANDARD
            .decode(text)
            .map_err(|e| format!("is no base64: {e}"))?;
        let told = match format {
            Some("svg") => "image/svg+xml".to_owned(),
            Some(format) => format!("image/{format}"),
            None => "application/octet-stream".to_owned(),
        };
        let mime = sniff(&bytes).map_or(told, str::to_owned);
        return Ok(Media::bytes(bytes, mime));
    }
    match item.get("url").and_then(Value::as_str) {
        Some(url) => Ok(Media::url(url)),
        None => Err("has neither bytes nor an address".into()),
    }
}

/// Returns whether a size is `auto` or two numbers joined by an `x`.
fn is_size(size: &Value) -> bool {
    let number = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_digit())
            && !text.trim_start_matches('0').is_empty()
    };
    match size {
        Value::Null => true,
        Value::String(text) if text == "auto" => true,
        Value::String(text) => text
            .split_once('x')
            .is_some_and(|(width, height)| number(width) && number(height)),
        _ => false,
    }
}

fn data_url(url: &str) -> Option<(String, Bytes)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let mime = head.strip_suffix(";base64")?;
    Some((mime.to_owned(), STANDARD.decode(data).ok()?.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_are_two_numbers() {
        for good in [
            json!("1024x1024"),
            json!("auto"),
            json!("1536x864"),
            json!(null),
        ] {
            assert!(is_size(&good), "{good}");
        }
        for bad in [
            "1024*1024",
            "1024",
            "x",
            "1024x",
            "0x10",
            "1024X1024",
            " 1x1",
            "1x1x1",
            "",
        ] {
            assert!(!is_size(&json!(bad)), "{bad}");
        }
        assert!(!is_size(&json!(1024)));
    }

    #[test]
    fn pictures_keep_their_type() {
        let webp = STANDARD.encode(b"RIFF\0\0\0\0WEBPVP8 ");
        let media = picture(&json!({"b64_json": webp}), Some("png")).unwrap();
        assert_eq!(media.mime.as_deref(), Some("image/webp"));
        let media = picture(&json!({"b64_json": "AAAA"}), Some("svg")).unwrap();
        assert_eq!(media.mime.as_deref(), Some("image/svg+xml"));
        assert!(picture(&json!({"b64_json": "?"}), None).is_err());
        assert!(picture(&json!({}), None).is_err());
    }
}
