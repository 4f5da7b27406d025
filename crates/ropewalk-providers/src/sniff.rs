//! Telling what bytes are by how they begin (the signatures of the file formats).

/// Returns the MIME type of a picture, sound or document from its first bytes.
pub(crate) fn sniff(bytes: &[u8]) -> Option<&'static str> {
    let at = |from: usize, magic: &[u8]| bytes.get(from..).is_some_and(|b| b.starts_with(magic));
    let kind = match () {
        () if at(0, b"\x89PNG") => "image/png",
        () if at(0, b"\xff\xd8\xff") => "image/jpeg",
        () if at(0, b"GIF8") => "image/gif",
        () if at(0, b"RIFF") && at(8, b"WEBP") => "image/webp",
        () if at(0, b"<svg") || at(0, b"<?xml") => "image/svg+xml",
        () if at(0, b"RIFF") && at(8, b"WAVE") => "audio/wav",
        () if at(0, b"OggS") => "audio/ogg",
        () if at(0, b"fLaC") => "audio/flac",
        () if at(0, b"ID3") || at(0, b"\xff\xfb") || at(0, b"\xff\xf3") => "audio/mpeg",
        () if at(0, b"%PDF") => "application/pdf",
        () => return None,
    };
    Some(kind)
}

/// As [`sniff`], for bytes that are known to be sound: containers that may hold a film, too, count as
/// sound.
pub(crate) fn sniff_sound(bytes: &[u8]) -> Option<&'static str> {
    let at = |from: usize, magic: &[u8]| bytes.get(from..).is_some_and(|b| b.starts_with(magic));
    match () {
        () if at(4, b"ftyp") => Some("audio/mp4"),
        () if at(0, b"\x1a\x45\xdf\xa3") => Some("audio/webm"),
        () => sniff(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_files_by_their_first_bytes() {
        assert_eq!(sniff(b"\x89PNG\r\n\x1a\n...."), Some("image/png"));
        assert_eq!(sniff(b"RIFF\0\0\0\0WEBPVP8 "), Some("image/webp"));
        assert_eq!(sniff(b"RIFF\0\0\0\0WAVEfmt "), Some("audio/wav"));
        assert_eq!(sniff_sound(b"\0\0\0\x20ftypM4A "), Some("audio/mp4"));
        assert_eq!(sniff(b"\0\0\0\x20ftypM4A "), None);
        assert_eq!(sniff(b"%PDF-1.7"), Some("application/pdf"));
        assert_eq!(sniff(b"RIFF"), None);
        assert_eq!(sniff(b""), None);
    }
}
