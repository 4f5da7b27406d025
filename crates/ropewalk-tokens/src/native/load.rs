//! Reading a vocabulary from metadata.

use std::collections::HashMap;
use std::sync::atomic::AtomicU8;

use super::bpe::{Bpe, NONE, PairMap, Unit};
use super::cache::WordCache;
use super::cuts::Cuts;
use super::pool::{Pool, WordMap, hash};
use super::special::{Matcher, Special};
use super::{Model, NativeVocab, TokenKind, unspell_into};
use crate::alphabet;
use crate::error::{Error, Result};
use crate::json::byte_token;
use crate::metadata::VocabMetadata;
use crate::pre::PreTokenizer;
use crate::tokenizer::END_TOKENS;

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";
pub(crate) const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";

/// Longer SentencePiece tokens are matched only as special tokens: listing all their splits would take
/// quadratic time.
const MAX_SPLIT: usize = 512;

impl NativeVocab {
    pub(crate) fn from_metadata(metadata: &dyn VocabMetadata) -> Result<Self> {
        let model = metadata
            .str(MODEL)
            .ok_or_else(|| Error::metadata(MODEL, "missing; this file has no vocabulary"))?;
        let names = names(metadata)?;
        let mut kinds = kinds(metadata, names.len())?;
        mark_end_tokens(&names, &mut kinds);
        let specials = specials(metadata, model, &names, &kinds);
        let (model, strip) = match model {
            "gpt2" => {
                let pre = PreTokenizer::from_name(metadata.str(PRE).unwrap_or("default"))?;
                if pre == PreTokenizer::Gemma4 {
                    (lines(metadata, &names, &kinds)?, false)
                } else {
                    (byte_level(metadata, pre, &names, &kinds)?, false)
                }
            }
            "gemma4" => (lines(metadata, &names, &kinds)?, false),
            "llama" => {
                let prefix = metadata
                    .bool("tokenizer.ggml.add_space_prefix")
                    .unwrap_or(true);
                (spaces(metadata, &names, &kinds, prefix)?, prefix)
            }
            other => {
                let problem = format!(
                    "unsupported vocabulary model `{other}`; known: gpt2, llama, gemma4, bert"
                );
                return Err(Error::metadata(MODEL, problem));
            }
        };
        Ok(Self {
            model,
            names,
            kinds,
            specials,
            strip,
        })
    }
}

fn names(metadata: &dyn VocabMetadata) -> Result<Pool> {
    let tokens = metadata
        .strings(TOKENS)
        .ok_or_else(|| Error::metadata(TOKENS, "missing or no list of strings"))?;
    if tokens.is_empty() || tokens.len() >= NONE as usize / 2 {
        return Err(Error::metadata(TOKENS, format!("{} tokens", tokens.len())));
    }
    let mut names = Pool::with_capacity(tokens.len());
    for token in tokens {
        names
            .push(token)
            .ok_or_else(|| Error::metadata(TOKENS, "over 4 GiB of text"))?;
    }
    Ok(names)
}

fn kinds(metadata: &dyn VocabMetadata, len: usize) -> Result<Vec<TokenKind>> {
    let Some(types) = metadata.i32s(TYPES) else {
        return Ok(vec![TokenKind::Normal; len]);
    };
    if types.len() != len {
        let problem = format!("{} entries for {len} tokens", types.len());
        return Err(Error::metadata(TYPES, problem));
    }
    Ok(types
        .into_iter()
        .map(|number| match number {
            2 => TokenKind::Unknown,
            3 => TokenKind::Control,
            4 => TokenKind::UserDefined,
            5 => TokenKind::Unused,
            6 => TokenKind::Byte,
            _ => TokenKind::Normal,
        })
        .collect())
}

/// Makes the end tokens of known families control tokens, whatever the file calls them.
fn mark_end_tokens(names: &Pool, kinds: &mut [TokenKind]) {
    for (id, kind) in (0..).zip(kinds) {
        let name = names.get(id).unwrap_or_default();
        // They all look like markup, which spares most look-ups.
        let marked = matches!(name.first(), Some(b'<' | b'[' | b'_'));
        if marked && END_TOKENS.iter().any(|end| end.as_bytes() == name) {
            *kind = TokenKind::Control;
        }
    }
}

fn specials(
    metadata: &dyn VocabMetadata,
    model: &str,
    names: &Pool,
    kinds: &[TokenKind],
) -> Matcher {
    // Files do not record which special tokens take the white space after them; Phi-3's do.
    let general = metadata
        .str("general.name")
        .unwrap_or_default()
        .to_lowercase();
    let phi3 = model == "llama" && (general.contains("phi-3") || general.contains("phi3"));
    let keeps = ["<unk>", "<s>", "<|endoftext|>"];
    let special = |(id, kind): (u32, &TokenKind)| {
        let control = match kind {
            TokenKind::Control | TokenKind::Unknown => true,
            TokenKind::UserDefined => false,
            _ => return None,
        };
        let text = std::str::from_utf8(names.get(id)?).ok()?;
        let rstrip = phi3 && control && !keeps.contains(&text);
        Some(Special {
            id,
            text: text.into(),
            control,
            lstrip: false,
            rstrip,
        })
    };
    Matcher::new((0..).zip(kinds).filter_map(special).collect())
}

/// Symbols while merges are read: tokens first, then strings that only merges mention.
struct Symbols {
    pool: Pool,
    words: WordMap,
    tokens: usize,
}

impl Symbols {
    /// Takes the spelling of every token that merges may build; `None` leaves a token out.
    fn new<'a>(
        len: usize,
        mut spelling: impl FnMut(u32) -> Option<std::borrow::Cow<'a, [u8]>>,
    ) -> Self {
        let (mut pool, mut words) = (Pool::with_capacity(len), WordMap::with_capacity(len));
        for id in 0..len as u32 {
            let spelled = spelling(id);
            let usable = spelled.as_ref().is_some_and(|text| !text.is_empty());
            pool.push(spelled.as_deref().unwrap_or_default());
            if usable {
                words.insert(&pool, id);
            }
        }
        Self {
            pool,
            words,
            tokens: len,
        }
    }

    fn get(&self, text: &[u8]) -> Option<u32> {
        self.words.get(&self.pool, text, hash(text))
    }

    fn get_or_add(&mut self, text: &[u8]) -> Option<u32> {
        if let Some(id) = self.get(text) {
            return Some(id);
        }
        let id = self.pool.push(text)?;
        self.words.insert(&self.pool, id);
        Some(id)
    }

    /// Symbols of all single characters.
    fn chars(&self) -> HashMap<char, u32> {
        (0..self.pool.len() as u32)
            .filter_map(|id| {
                let text = std::str::from_utf8(self.pool.get(id)?).ok()?;
                let mut chars = text.chars();
                let c = chars.next().filter(|_| chars.next().is_none())?;
                Some((c, self.get(text.as_bytes())?))
            })
            .collect()
    }

    fn cuts(&self) -> Cuts {
        let texts = (0..self.pool.len() as u32).filter_map(|id| self.pool.get(id));
        Cuts::new(texts.filter_map(|text| std::str::from_utf8(text).ok()))
    }

    fn into_bpe(self, unit: Unit, pairs: PairMap, bytes: [u32; 256], unk: u32) -> Bpe {
        let chars = if unit == Unit::Chars {
            self.chars()
        } else {
            HashMap::new()
        };
        Bpe {
            unit,
            whole: (0..self.tokens).map(|_| AtomicU8::new(0)).collect(),
            pool: self.pool,
            words: self.words,
            pairs,
            bytes,
            chars,
            unk,
            ignore_merges: false,
            cache: WordCache::default(),
        }
    }
}

/// Reads the merges, each two spellings with a space between; `spell` appends a spelling's bytes.
fn merges(
    metadata: &dyn VocabMetadata,
    symbols: &mut Symbols,
    spell: impl Fn(&[u8], &mut Vec<u8>),
) -> Result<PairMap> {
    let merges = metadata
        .strings(MERGES)
        .ok_or_else(|| Error::metadata(MERGES, "missing or no list of strings"))?;
    let mut pairs = PairMap::with_capacity(merges.len());
    let mut both = Vec::new();
    for (rank, merge) in merges.iter().enumerate() {
        // The first character may itself be a space.
        let space = merge
            .iter()
            .skip(1)
            .position(|&byte| byte == b' ')
            .map(|at| at + 1);
        let Some(space) = space else {
            let text = String::from_utf8_lossy(merge);
            return Err(Error::metadata(
                MERGES,
                format!("merge {rank} `{text}` is no pair"),
            ));
        };
        both.clear();
        spell(&merge[..space], &mut both);
        let cut = both.len();
        spell(&merge[space + 1..], &mut both);
        let mut symbol = |text: &[u8]| {
            symbols
                .get_or_add(text)
                .ok_or_else(|| Error::metadata(MERGES, "over 4 GiB of text"))
        };
        let (left, right) = (symbol(&both[..cut])?, symbol(&both[cut..])?);
        let merged = symbol(&both)?;
        pairs.insert(left, right, rank as u32, merged);
    }
    Ok(pairs)
}

fn byte_level(
    metadata: &dyn VocabMetadata,
    pre: PreTokenizer,
    names: &Pool,
    kinds: &[TokenKind],
) -> Result<Model> {
    let mut symbols = Symbols::new(names.len(), |id| {
        let name = names
            .get(id)
            .filter(|_| kinds[id as usize] != TokenKind::Control)?;
        let mut bytes = Vec::with_capacity(name.len());
        unspell_into(name, &mut bytes);
        Some(bytes.into())
    });
    let pairs = merges(metadata, &mut symbols, unspell_into)?;
    // A byte that is no token still merges, under the symbol a merge gave it.
    let bytes = std::array::from_fn(|byte| symbols.get(&[byte as u8]).unwrap_or(NONE));
    let mut bpe = symbols.into_bpe(Unit::Bytes, pairs, bytes, NONE);
    let name = metadata.str(PRE).unwrap_or("default");
    bpe.ignore_merges = ignores_merges(pre, name);
    Ok(Model::ByteLevel { bpe, pre })
}

/// Families whose `tokenizer.json` sets `ignore_merges` (source: llama.cpp `llama-vocab.cpp`).
fn ignores_merges(pre: PreTokenizer, name: &str) -> bool {
    match pre {
        PreTokenizer::Llama3 => !matches!(name, "dbrx" | "smaug-bpe" | "glm4" | "chatglm-bpe"),
        PreTokenizer::Tekken | PreTokenizer::MiniCpm5 | PreTokenizer::Youtu => true,
        _ => false,
    }
}

/// Whether the family puts the beginning token in front (source: as above).
pub(super) fn adds_bos(metadata: &dyn VocabMetadata) -> bool {
    let name = metadata.str(PRE).unwrap_or("default");
    let puts = |pre| matches!(pre, PreTokenizer::Llama3 | PreTokenizer::Tekken);
    PreTokenizer::from_name(name).is_ok_and(|pre| puts(pre) && ignores_merges(pre, name))
}

/// Byte tokens `<0xNN>`, by byte.
fn byte_tokens(names: &Pool, kinds: &[TokenKind]) -> [u32; 256] {
    let mut bytes = [NONE; 256];
    for (id, _) in (0..)
        .zip(kinds)
        .filter(|(_, kind)| **kind == TokenKind::Byte)
    {
        let name = names
            .get(id)
            .and_then(|name| std::str::from_utf8(name).ok());
        if let Some(byte) = name.and_then(byte_token) {
            bytes[byte as usize] = id;
        }
    }
    bytes
}

/// Returns the unknown token, [`NONE`] if it is outside the vocabulary.
fn unknown(metadata: &dyn VocabMetadata, names: &Pool, default: u32) -> u32 {
    let id = metadata
        .u32("tokenizer.ggml.unknown_token_id")
        .unwrap_or(default);
    if (id as usize) < names.len() {
        id
    } else {
        NONE
    }
}

fn builds(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::Normal | TokenKind::UserDefined | TokenKind::Unused
    )
}

fn lines(metadata: &dyn VocabMetadata, names: &Pool, kinds: &[TokenKind]) -> Result<Model> {
    let mut symbols = Symbols::new(names.len(), |id| {
        builds(kinds[id as usize])
            .then(|| names.get(id))?
            .map(Into::into)
    });
    let pairs = merges(metadata, &mut symbols, |name, out| {
        out.extend_from_slice(name);
    })?;
    let cuts = symbols.cuts();
    let unk = unknown(metadata, names, NONE);
    let bpe = symbols.into_bpe(Unit::Chars, pairs, byte_tokens(names, kinds), unk);
    Ok(Model::Lines { bpe, cuts })
}

/// SentencePiece merges any two neighbours whose joint spelling is a token, best score first; this lists
/// them all, so that the merge loop is the same as for BPE.
fn spaces(
    metadata: &dyn VocabMetadata,
    names: &Pool,
    kinds: &[TokenKind],
    prefix: bool,
) -> Result<Model> {
    let scores = metadata
        .f32s(SCORES)
        .ok_or_else(|| Error::metadata(SCORES, "missing or no list of f32"))?;
    if scores.len() != names.len() {
        let problem = format!("{} entries for {} tokens", scores.len(), names.len());
        return Err(Error::metadata(SCORES, problem));
    }
    let mut symbols = Symbols::new(names.len(), |id| {
        builds(kinds[id as usize])
            .then(|| names.get(id))?
            .map(Into::into)
    });
    let mut pairs = PairMap::with_capacity(names.len() * 4);
    for id in 0..names.len() as u32 {
        let text = names
            .get(id)
            .and_then(|name| std::str::from_utf8(name).ok());
        let Some(text) = text.filter(|text| builds(kinds[id as usize]) && text.len() <= MAX_SPLIT)
        else {
            continue;
        };
        if symbols.get(text.as_bytes()) != Some(id) {
            continue;
        }
        let rank = rank_of_score(scores[id as usize]);
        for (at, _) in text.char_indices().skip(1) {
            let mut side = |part: &str| match symbols.get(part.as_bytes()) {
                None if part.chars().nth(1).is_none() => symbols.get_or_add(part.as_bytes()),
                found => found,
            };
            if let (Some(left), Some(right)) = (side(&text[..at]), side(&text[at..])) {
                pairs.insert(left, right, rank, id);
            }
        }
    }
    let cuts = symbols.cuts();
    let unk = unknown(metadata, names, 0);
    let bpe = symbols.into_bpe(Unit::Chars, pairs, byte_tokens(names, kinds), unk);
    Ok(Model::Spaces { bpe, prefix, cuts })
}

/// Higher scores get lower ranks, equal scores equal ones; no score gets [`NONE`].
fn rank_of_score(score: f32) -> u32 {
    let bits = score.to_bits();
    let ordered = if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    };
    (!ordered).min(NONE - 1)
}

impl NativeVocab {
    /// Reads a tiktoken rank file. Two neighbours merge when their joint bytes are a token, lowest rank
    /// first (source: tiktoken `src/lib.rs`, `byte_pair_merge`).
    pub(crate) fn from_tiktoken(
        file: &[u8],
        pre: PreTokenizer,
        special: &[(&str, u32)],
    ) -> Result<Self> {
        let mut ranked = super::tiktoken::parse(file)?;
        let highest = special
            .iter()
            .map(|&(_, id)| id)
            .chain(ranked.iter().map(|token| token.1));
        let len = highest.max().map_or(0, |id| id as usize + 1);
        // Ids without a token are few: those reserved before the special tokens.
        if len > ranked.len() + special.len() + (1 << 16) {
            return Err(Error::option("special", "ids lie far beyond the ranks"));
        }
        ranked.sort_unstable_by_key(|token| token.1);
        let mut tokens: Vec<&[u8]> = vec![&[]; len];
        let mut names: Vec<String> = vec![String::new(); len];
        for (bytes, id) in &ranked {
            tokens[*id as usize] = bytes;
            names[*id as usize] = alphabet::spell(bytes);
        }
        let mut kinds = vec![TokenKind::Normal; len];
        for &(text, id) in special {
            names[id as usize] = text.to_owned();
            kinds[id as usize] = TokenKind::Control;
        }
        let mut pool = Pool::with_capacity(len);
        for name in &names {
            pool.push(name.as_bytes());
        }
        let symbols = Symbols::new(len, |id| Some(tokens[id as usize].into()));
        let mut pairs = PairMap::with_capacity(len * 4);
        for &(ref bytes, id) in ranked.iter().filter(|(bytes, _)| bytes.len() <= MAX_SPLIT) {
            for at in 1..bytes.len() {
                let (left, right) = bytes.split_at(at);
                if let (Some(left), Some(right)) = (symbols.get(left), symbols.get(right)) {
                    pairs.insert(left, right, id, id);
                }
            }
        }
        let bytes = std::array::from_fn(|byte| symbols.get(&[byte as u8]).unwrap_or(NONE));
        let mut bpe = symbols.into_bpe(Unit::Bytes, pairs, bytes, NONE);
        bpe.ignore_merges = true;
        let special = special.iter().map(|&(text, id)| Special {
            id,
            text: text.into(),
            control: true,
            lstrip: false,
            rstrip: false,
        });
        let specials = Matcher::new(special.collect());
        Ok(Self {
            model: Model::ByteLevel { bpe, pre },
            names: pool,
            kinds,
            specials,
            strip: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_order_scores_downwards() {
        let scores = [
            f32::INFINITY,
            3.5,
            1e-20,
            0.0,
            -1.0,
            -259.0,
            -1e9,
            f32::NEG_INFINITY,
        ];
        assert!(
            scores
                .windows(2)
                .all(|pair| rank_of_score(pair[0]) < rank_of_score(pair[1]))
        );
        assert!(rank_of_score(f32::NAN) < NONE && rank_of_score(-f32::NAN) < NONE);
    }
}
