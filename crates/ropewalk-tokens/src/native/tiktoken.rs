//! tiktoken rank files.

use crate::error::{Error, Result};

/// Reads lines of base64 bytes and a rank.
pub(super) fn parse(file: &[u8]) -> Result<Vec<(Vec<u8>, u32)>> {
    let lines = file.split(|&byte| byte == b'\n').enumerate();
    lines
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(number, line)| {
            token(line.trim_ascii()).ok_or_else(|| Error::Parse {
                what: format!("line {} of the rank file", number + 1),
                source: "expected base64 bytes, a space and a rank".into(),
            })
        })
        .collect()
}

fn token(line: &[u8]) -> Option<(Vec<u8>, u32)> {
    let (bytes, rank) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let rank = rank
        .parse()
        .ok()
        .filter(|&rank: &u32| rank < u32::MAX / 2)?;
    let bytes = decode(bytes.as_bytes()).filter(|bytes| !bytes.is_empty())?;
    Some((bytes, rank))
}

/// Decodes base64 with the standard alphabet (RFC 4648, section 4); padding may be missing.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let text = text
        .strip_suffix(b"==")
        .or_else(|| text.strip_suffix(b"="))
        .unwrap_or(text);
    let (mut bits, mut count) = (0u32, 0);
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for &digit in text {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    // A lone digit holds no whole byte.
    (count < 6).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_bad_ones_named() {
        let parsed = parse(b"IQ== 0\nIHRoZQ== 1820\n\n//79 7\n").unwrap();
        let expected: [(&[u8], u32); 3] = [(b"!", 0), (b" the", 1820), (b"\xff\xfe\xfd", 7)];
        assert_eq!(parsed, expected.map(|(bytes, rank)| (bytes.to_vec(), rank)));
        for bad in ["IQ==", "IQ== x", "I 0", "I*== 0", " 0", "IQ== 4294967295"] {
            let error = parse(format!("IQ== 0\n{bad}").as_bytes())
                .unwrap_err()
                .to_string();
            assert!(error.contains("line 2"), "{bad}: {error}");
        }
    }
}
