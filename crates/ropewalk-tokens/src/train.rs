//! Training of byte-level BPE vocabularies.
//!
//! Sennrich et al. 2016, "Neural machine translation of rare words with subword units", algorithm 1, on
//! bytes. Ties go to the pair of smaller ids, as in the `tokenizers` library, so the same texts and
//! options always give the same vocabulary.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use crate::alphabet;
use crate::error::{Error, Result};
use crate::pre::PreTokenizer;
use crate::tokenizer::Tokenizer;

/// Options of [`train_bpe`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BpeTrainOptions {
    /// Size of the vocabulary, special tokens included; at least 256 more than those. Default 2048.
    pub vocab_size: usize,
    /// Special tokens; they take the last ids, in this order. Default none.
    pub special_tokens: Vec<String>,
    /// How texts are cut into words. Default [`PreTokenizer::Qwen2`].
    pub pre: PreTokenizer,
    /// A pair seen less often is not merged. Default 2.
    pub min_frequency: u64,
}

impl Default for BpeTrainOptions {
    fn default() -> Self {
        Self {
            vocab_size: 2048,
            special_tokens: Vec::new(),
            pre: PreTokenizer::Qwen2,
            min_frequency: 2,
        }
    }
}

/// A trained vocabulary, ready for a `tokenizer.json` or a GGUF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainedBpe {
    tokens: Vec<String>,
    merges: Vec<String>,
    specials: usize,
    pre: PreTokenizer,
}

impl TrainedBpe {
    /// Returns the tokens by id, spelled in the byte-level alphabet (`tokenizer.ggml.tokens`).
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Returns the merges by rank, each as two tokens with a space between (`tokenizer.ggml.merges`).
    pub fn merges(&self) -> &[String] {
        &self.merges
    }

    /// Returns each token's GGUF type (`tokenizer.ggml.token_type`): 1 normal, 3 control.
    pub fn token_types(&self) -> Vec<i32> {
        let normal = self.tokens.len() - self.specials;
        (0..self.tokens.len())
            .map(|id| if id < normal { 1 } else { 3 })
            .collect()
    }

    /// Returns the name for `tokenizer.ggml.pre`.
    pub fn pre_name(&self) -> &'static str {
        self.pre.name()
    }

    /// Returns the id of a token by its spelling.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.tokens
            .iter()
            .position(|known| known == token)
            .map(|id| id as u32)
    }

    /// Returns the vocabulary as the text of a `tokenizer.json` file.
    pub fn tokenizer_json(&self) -> String {
        let normal = self.tokens.len() - self.specials;
        let added: Vec<_> = (normal..self.tokens.len())
            .map(|id| {
                serde_json::json!({
                    "id": id, "content": self.tokens[id], "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": true,
                })
            })
            .collect();
        let mut stages: Vec<_> = self
            .pre
            .patterns()
            .iter()
            .map(|pattern| {
                serde_json::json!({
                    "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated",
                    "invert": false,
                })
            })
            .collect();
        let byte_level = serde_json::json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
            "use_regex": false,
        });
        stages.push(byte_level.clone());
        let vocab: BTreeMap<&str, usize> = self.tokens[..normal]
            .iter()
            .enumerate()
            .map(|(id, token)| (&**token, id))
            .collect();
        let merges: Vec<Vec<&str>> = self
            .merges
            .iter()
            .map(|merge| merge.splitn(2, ' ').collect())
            .collect();
        let json = serde_json::json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": null,
            "pre_tokenizer": { "type": "Sequence", "pretokenizers": stages },
            "post_processor": byte_level,
            "decoder": byte_level,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null,
                "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": false,
                "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": merges,
            },
        });
        format!("{json:#}\n")
    }

    /// Returns a tokenizer with this vocabulary.
    ///
    /// # Errors
    /// [`Error::Parse`] if the vocabulary cannot be loaded, which a trained one always can.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        Tokenizer::from_bytes(self.tokenizer_json().as_bytes())
    }
}

/// Trains a byte-level BPE vocabulary on `texts`.
///
/// All 256 bytes are in the vocabulary, so any text can be encoded. The ids are: bytes in the order of
/// their alphabet characters, merges in the order they were learned, special tokens. Fewer merges than
/// asked for are learned if no pair reaches `min_frequency`.
///
/// # Errors
/// [`Error::Option`] if `vocab_size` leaves no room for the bytes and special tokens, if special tokens
/// repeat, or if `pre` is [`PreTokenizer::Gemma4`], which is not byte-level.
pub fn train_bpe<T: AsRef<str>>(
    texts: impl IntoIterator<Item = T>,
    options: &BpeTrainOptions,
) -> Result<TrainedBpe> {
    check(options)?;
    let mut counts: HashMap<Box<[u8]>, u64> = HashMap::new();
    for text in texts {
        options.pre.for_each(text.as_ref(), &mut |word| {
            if let Some(count) = counts.get_mut(word.as_bytes()) {
                *count += 1;
            } else {
                counts.insert(word.as_bytes().into(), 1);
            }
        });
    }
    let mut alphabet: Vec<u8> = (0..=255).collect();
    alphabet.sort_by_key(|&byte| alphabet::char_of(byte));
    let mut id_of_byte = [0u32; 256];
    for (id, &byte) in alphabet.iter().enumerate() {
        id_of_byte[byte as usize] = id as u32;
    }
    let mut tokens: Vec<String> = alphabet
        .iter()
        .map(|&byte| alphabet::spell(&[byte]))
        .collect();
    let words = counts.into_iter().map(|(word, count)| Word {
        ids: word.iter().map(|&byte| id_of_byte[byte as usize]).collect(),
        count,
    });
    let mut learner = Learner::new(words.collect());
    let mut ids: HashMap<String, u32> = HashMap::new();
    let mut merges = Vec::new();
    let room = options.vocab_size - options.special_tokens.len();
    while tokens.len() < room
        && let Some((left, right)) = learner.best(options.min_frequency.max(1))
    {
        let (left_text, right_text) = (&tokens[left as usize], &tokens[right as usize]);
        let text = format!("{left_text}{right_text}");
        merges.push(format!("{left_text} {right_text}"));
        // Two merges may spell the same token; it keeps its first id.
        let id = *ids.entry(text.clone()).or_insert_with(|| {
            tokens.push(text);
            tokens.len() as u32 - 1
        });
        learner.merge(left, right, id);
    }
    tokens.extend(options.special_tokens.iter().cloned());
    Ok(TrainedBpe {
        tokens,
        merges,
        specials: options.special_tokens.len(),
        pre: options.pre,
    })
}

fn check(options: &BpeTrainOptions) -> Result<()> {
    let needed = 256 + options.special_tokens.len();
    if options.vocab_size < needed {
        let problem = format!(
            "{} is too few, bytes and special tokens need {needed}",
            options.vocab_size
        );
        return Err(Error::option("vocab_size", problem));
    }
    if u32::try_from(options.vocab_size).is_err() {
        return Err(Error::option("vocab_size", "does not fit in 32 bits"));
    }
    let mut seen = HashSet::new();
    for token in &options.special_tokens {
        if token.is_empty() || !seen.insert(token) {
            return Err(Error::option(
                "special_tokens",
                format!("`{token}` is empty or repeated"),
            ));
        }
    }
    if options.pre == PreTokenizer::Gemma4 {
        return Err(Error::option(
            "pre",
            "gemma4 is not byte-level; choose another family",
        ));
    }
    Ok(())
}

struct Word {
    ids: Vec<u32>,
    count: u64,
}

/// Pair counts that are updated merge by merge.
struct Learner {
    words: Vec<Word>,
    counts: HashMap<(u32, u32), u64>,
    /// Words that contain, or once contained, a pair.
    places: HashMap<(u32, u32), Vec<u32>>,
    /// Largest count first, then smallest pair; entries may be out of date.
    heap: BinaryHeap<(u64, Reverse<(u32, u32)>)>,
}

impl Learner {
    fn new(words: Vec<Word>) -> Self {
        let mut counts: HashMap<(u32, u32), u64> = HashMap::new();
        let mut places: HashMap<(u32, u32), Vec<u32>> = HashMap::new();
        for (index, word) in words.iter().enumerate() {
            for pair in word.ids.windows(2).map(|pair| (pair[0], pair[1])) {
                *counts.entry(pair).or_default() += word.count;
                let places = places.entry(pair).or_default();
                if places.last() != Some(&(index as u32)) {
                    places.push(index as u32);
                }
            }
        }
        let heap = counts
            .iter()
            .map(|(&pair, &count)| (count, Reverse(pair)))
            .collect();
        Self {
            words,
            counts,
            places,
            heap,
        }
    }

    /// Returns the most frequent pair, if it is frequent enough.
    fn best(&mut self, min_frequency: u64) -> Option<(u32, u32)> {
        while let Some((count, Reverse(pair))) = self.heap.pop() {
            let now = self.counts.get(&pair).copied().unwrap_or(0);
            if now == count {
                return (count >= min_frequency).then_some(pair);
            }
            if now > 0 {
                self.heap.push((now, Reverse(pair)));
            }
        }
        None
    }

    /// Replaces the pair by `id` in every word.
    fn merge(&mut self, left: u32, right: u32, id: u32) {
        let mut places = self.places.remove(&(left, right)).unwrap_or_default();
        places.dedup();
        self.counts.remove(&(left, right));
        let mut changed = HashSet::new();
        for index in places {
            let word = &mut self.words[index as usize];
            let merged = replace(&word.ids, left, right, id);
            if merged.len() == word.ids.len() {
                continue;
            }
            for pair in word.ids.windows(2).map(|pair| (pair[0], pair[1])) {
                if let Some(count) = self.counts.get_mut(&pair) {
                    *count -= word.count;
                }
            }
            for pair in merged.windows(2).map(|pair| (pair[0], pair[1])) {
                *self.counts.entry(pair).or_default() += word.count;
                if pair.0 == id || pair.1 == id {
                    let places = self.places.entry(pair).or_default();
                    if places.last() != Some(&index) {
                        places.push(index);
                    }
                    changed.insert(pair);
                }
            }
            word.ids = merged;
        }
        self.heap.extend(
            changed
                .into_iter()
                .map(|pair| (self.counts[&pair], Reverse(pair))),
        );
    }
}

fn replace(ids: &[u32], left: u32, right: u32, id: u32) -> Vec<u32> {
    let mut merged = Vec::with_capacity(ids.len());
    let mut at = 0;
    while at < ids.len() {
        if ids[at] == left && ids.get(at + 1) == Some(&right) {
            merged.push(id);
            at += 2;
        } else {
            merged.push(ids[at]);
            at += 1;
        }
    }
    merged
}
