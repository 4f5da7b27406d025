//! `tokenizer.model`: the protocol buffer of SentencePiece.
//!
//! Source: `sentencepiece_model.proto` of SentencePiece. Only the fields that GGUF has keys for are
//! read; others are stepped over. Every length is checked against the bytes that are left.

use crate::error::{Error, Result};
use crate::export::{LLAMA, VocabExport, kind};

/// `TrainerSpec.ModelType` of byte-pair merges; 1 is a unigram model.
const BPE: u64 = 2;

/// A field of a message.
enum Field<'a> {
    Number(u64),
    Float(f32),
    Bytes(&'a [u8]),
}

/// Steps through the fields of a message.
struct Message<'a>(&'a [u8]);

impl<'a> Message<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next field and its number, `None` at the end or where the bytes are no message.
    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Number(self.varint()?),
            1 => self.take(8).map(Field::Bytes)?,
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(len)?)
            }
            5 => Field::Float(f32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((key >> 3, field))
    }
}

/// Reads a model.
pub(crate) fn read(bytes: &[u8], what: &str) -> Result<VocabExport> {
    let fail = |problem: &str| Error::Parse {
        what: what.to_owned(),
        source: problem.into(),
    };
    let mut out = VocabExport {
        model: LLAMA.to_owned(),
        pre: "default".to_owned(),
        add_bos: true,
        add_space_prefix: true,
        ..VocabExport::default()
    };
    let (mut model_type, mut ids) = (1, [Some(0), Some(1), Some(2), None]);
    let mut message = Message(bytes);
    while !message.0.is_empty() {
        let broken = || fail("the bytes are no SentencePiece model");
        match message.field().ok_or_else(broken)? {
            (1, Field::Bytes(piece)) => {
                let (text, score, ty) = read_piece(piece).ok_or_else(broken)?;
                out.tokens.push(text);
                out.scores.push(score);
                out.types.push(ty);
            }
            (2, Field::Bytes(trainer)) => {
                let mut trainer = Message(trainer);
                while !trainer.0.is_empty() {
                    match trainer.field().ok_or_else(broken)? {
                        (3, Field::Number(n)) => model_type = n,
                        // A negative id means that there is no such token.
                        (field @ 40..=43, Field::Number(n)) => {
                            let slot = ids.get_mut((field - 40) as usize);
                            slot.into_iter().for_each(|id| *id = u32::try_from(n).ok());
                        }
                        _ => {}
                    }
                }
            }
            (3, Field::Bytes(normalizer)) => {
                let mut normalizer = Message(normalizer);
                while !normalizer.0.is_empty() {
                    if let (3, Field::Number(n)) = normalizer.field().ok_or_else(broken)? {
                        out.add_space_prefix = n != 0;
                    }
                }
            }
            _ => {}
        }
    }
    if out.tokens.is_empty() {
        return Err(fail("the model has no pieces"));
    }
    if model_type != BPE {
        return Err(fail("a unigram model; only byte-pair models can be used"));
    }
    let [unk, bos, eos, pad] = ids.map(|id| id.filter(|&id| (id as usize) < out.tokens.len()));
    (out.unk, out.bos, out.eos, out.pad) = (unk, bos, eos, pad);
    Ok(out)
}

/// Spelling, score and type of a piece; SentencePiece numbers the types as GGUF does.
fn read_piece(bytes: &[u8]) -> Option<(String, f32, i32)> {
    let (mut text, mut score, mut ty) = (String::new(), 0.0, kind::NORMAL);
    let mut message = Message(bytes);
    while !message.0.is_empty() {
        match message.field()? {
            (1, Field::Bytes(bytes)) => text = std::str::from_utf8(bytes).ok()?.to_owned(),
            (2, Field::Float(x)) => score = x,
            (3, Field::Number(n @ 1..=6)) => ty = n as i32,
            _ => {}
        }
    }
    if ty == kind::USER_DEFINED {
        text = text.replace('▁', " ");
    }
    Some((text, score, ty))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_model_or_an_error(bytes: Vec<u8>) {
            if let Ok(vocab) = read(&bytes, "x") {
                prop_assert!(!vocab.tokens.is_empty());
                prop_assert_eq!(vocab.tokens.len(), vocab.scores.len());
            }
        }
    }

    #[test]
    fn lengths_beyond_the_end_are_refused() {
        for bytes in [
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f][..],
            &[0x0a, 5, 1],
            &[0x0b],
            &[0xff; 12],
        ] {
            assert!(read(bytes, "x").is_err(), "{bytes:?}");
        }
    }
}
