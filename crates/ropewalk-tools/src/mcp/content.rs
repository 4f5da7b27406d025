//! Results, in both directions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock, ResourceContents};
use ropewalk_core::{Media, MediaSource, Part, ToolError, ToolOutput};
use serde_json::Value;

/// Makes an output of what a server returned.
pub(super) fn output(response: CallToolResponse) -> Result<ToolOutput, ToolError> {
    let result = match response {
        CallToolResponse::Complete(result) => result,
        CallToolResponse::InputRequired(_) => {
            let message = "the tool asks a person for more input, which is not supported";
            return Err(ToolError::failed(message));
        }
        _ => {
            return Err(ToolError::failed(
                "the tool runs as a task, which is not supported",
            ));
        }
    };
    let mut content: Vec<_> = result.content.into_iter().map(part).collect();
    if let (true, Some(value)) = (content.is_empty(), &result.structured_content) {
        content.push(Part::text(value.to_string()));
    }
    let mut output = ToolOutput::from(content);
    output.structured = result.structured_content;
    output.is_error = result.is_error == Some(true);
    Ok(output)
}

fn part(block: ContentBlock) -> Part {
    match block {
        ContentBlock::Text(text) => Part::text(text.text),
        ContentBlock::Image(image) => media(&image.data, image.mime_type, Part::Image),
        ContentBlock::Audio(audio) => media(&audio.data, audio.mime_type, Part::Audio),
        ContentBlock::Resource(resource) => match resource.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => {
                Part::text(format!("[{uri}]\n{text}"))
            }
            ResourceContents::BlobResourceContents {
                uri,
                mime_type,
                blob,
                ..
            } => {
                let mime = mime_type.unwrap_or_else(|| "application/octet-stream".into());
                match mime.split('/').next() {
                    Some("image") => media(&blob, mime, Part::Image),
                    Some("audio") => media(&blob, mime, Part::Audio),
                    _ if mime == "application/pdf" => media(&blob, mime, Part::Document),
                    _ => Part::text(format!("[{uri}: {} bytes of {mime}]", blob.len() / 4 * 3)),
                }
            }
            _ => Part::text("[a resource of an unknown kind]"),
        },
        ContentBlock::ResourceLink(link) => {
            let about = link
                .description
                .map(|d| format!(": {d}"))
                .unwrap_or_default();
            Part::text(format!("[{} at {}{about}]", link.name, link.uri))
        }
        _ => Part::text("[content of an unknown kind]"),
    }
}

fn media(data: &str, mime: String, kind: fn(Media) -> Part) -> Part {
    match STANDARD.decode(data) {
        Ok(bytes) => kind(Media::bytes(bytes, mime)),
        Err(e) => Part::text(format!("[{mime} whose base64 is damaged: {e}]")),
    }
}

/// Makes the result of a call out of what a tool returned. Only an object is sent as structured
/// content: older versions of the protocol take nothing else.
pub(super) fn result(output: ToolOutput) -> CallToolResult {
    let content = output.content.into_iter().map(block).collect();
    let mut result = match output.is_error {
        true => CallToolResult::error(content),
        false => CallToolResult::success(content),
    };
    result.structured_content = output.structured.filter(Value::is_object);
    result
}

fn block(part: Part) -> ContentBlock {
    let bytes = |media: &Media| match &media.source {
        MediaSource::Bytes(bytes) => Some(STANDARD.encode(bytes)),
        _ => None,
    };
    let mime =
        |media: &Media, fallback: &str| media.mime.clone().unwrap_or_else(|| fallback.into());
    match part {
        Part::Text { text, .. } => ContentBlock::text(text),
        Part::Image(media) => match bytes(&media) {
            Some(data) => ContentBlock::image(data, mime(&media, "image/png")),
            None => elsewhere(&media),
        },
        Part::Audio(media) => match bytes(&media) {
            Some(data) => ContentBlock::audio(data, mime(&media, "audio/wav")),
            None => elsewhere(&media),
        },
        Part::Video(media) | Part::Document(media) => match bytes(&media) {
            Some(data) => {
                let name = media.name.clone().unwrap_or_else(|| "file".into());
                let uri = format!("attachment:{name}");
                let mime = mime(&media, "application/octet-stream");
                ContentBlock::resource(ResourceContents::blob(data, uri).with_mime_type(mime))
            }
            None => elsewhere(&media),
        },
        _ => ContentBlock::text("[content that MCP does not carry]"),
    }
}

fn elsewhere(media: &Media) -> ContentBlock {
    ContentBlock::text(match &media.source {
        MediaSource::Url(url) => format!("[{url}]"),
        _ => "[a file that is not here]".to_owned(),
    })
}
