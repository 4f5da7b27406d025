//! A vocabulary as grammars see it: the bytes of every token, in a prefix tree.

use std::fmt;
use std::sync::{Arc, OnceLock};

use llguidance::ParserFactory;
use llguidance::toktrie::{
    INVALID_TOKEN, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv,
};
use ropewalk_tokens::{EncodeOptions, Tokenizer};

use super::Grammar;
use super::compiled::CompiledGrammar;
use crate::{Error, Result};

/// Longest token that can be part of a text under a grammar, in bytes; the tree holds no longer one.
const LONGEST_TOKEN: usize = 1000;

/// The tokens of a model, made ready once for any number of grammars. Cloning is cheap.
///
/// ```no_run
/// use ropewalk_local::LocalModel;
/// use ropewalk_local::constrain::{Grammar, Vocabulary};
///
/// let model = LocalModel::open("model.gguf")?;
/// let vocabulary = Vocabulary::new(model.tokenizer())?;
/// let date = vocabulary.compile(&Grammar::regex(r"\d{4}-\d{2}-\d{2}")?)?;
/// # Ok::<(), ropewalk_local::Error>(())
/// ```
#[derive(Clone)]
pub struct Vocabulary {
    shared: Arc<Shared>,
}

struct Shared {
    tokenizer: Tokenizer,
    trie: Arc<TokTrie>,
    forcing: OnceLock<Result<ParserFactory, String>>,
    free: OnceLock<Result<ParserFactory, String>>,
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vocabulary")
            .field("tokens", &self.shared.trie.vocab_size())
            .field("end_ids", &self.shared.trie.eos_tokens())
            .finish_non_exhaustive()
    }
}

impl Vocabulary {
    /// Reads the tokens of a tokenizer; a text ends with any of its
    /// [`end_ids`](Tokenizer::end_ids).
    ///
    /// # Errors
    /// [`Error::Grammar`] when the vocabulary is empty or has more than 2^23 tokens.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self> {
        Self::with_end_ids(tokenizer, tokenizer.end_ids())
    }

    /// Reads the tokens of a tokenizer; a text ends with one of `end_ids`, such as
    /// [`Model::stop_ids`](crate::Model::stop_ids). Ids outside the vocabulary are passed over.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_end_ids(tokenizer: &Tokenizer, end_ids: &[u32]) -> Result<Self> {
        let size = tokenizer.vocab_size();
        let refused = |reason: String| Error::Grammar {
            kind: "vocabulary",
            reason,
        };
        if size == 0 || size > 1 << 23 {
            let reason = format!("it has {size} tokens; 1 to {} can be used", 1 << 23);
            return Err(refused(reason));
        }
        let words = words(tokenizer, size);
        let ends: Vec<u32> = end_ids
            .iter()
            .copied()
            .filter(|&id| (id as usize) < size)
            .collect();
        let first = ends.first().copied().unwrap_or(INVALID_TOKEN);
        let mut trie = TokTrie::from(&TokRxInfo::new(size as u32, first), &words);
        if !ends.is_empty() {
            trie = trie.with_eos_tokens(&ends);
        }
        Ok(Self {
            shared: Arc::new(Shared {
                tokenizer: tokenizer.clone(),
                trie: Arc::new(trie),
                forcing: OnceLock::new(),
                free: OnceLock::new(),
            }),
        })
    }

    /// Compiles a grammar for these tokens. The result is shared: each request begins at its start.
    ///
    /// # Errors
    /// [`Error::Grammar`] where the text of the grammar is wrong, [`Error::SchemaKeyword`],
    /// [`Error::GrammarSize`] where a limit was passed, [`Error::Unsatisfiable`] where no text fits.
    pub fn compile(&self, grammar: &Grammar) -> Result<Arc<CompiledGrammar>> {
        CompiledGrammar::new(self, grammar).map(Arc::new)
    }

    /// Returns the factory of parsers, with forced tokens or without.
    pub(super) fn factory(&self, forcing: bool) -> Result<&ParserFactory> {
        let shared = &self.shared;
        let cell = if forcing {
            &shared.forcing
        } else {
            &shared.free
        };
        let made = cell.get_or_init(|| {
            let env: TokEnv = Arc::new(Env {
                tokenizer: shared.tokenizer.clone(),
                trie: Arc::clone(&shared.trie),
                canonical: forcing,
            });
            let can = InferenceCapabilities {
                ff_tokens: forcing,
                ..InferenceCapabilities::default()
            };
            let slices = llguidance::earley::SlicedBiasComputer::general_slices();
            let mut factory = ParserFactory::new(&env, can, &slices).map_err(|e| e.to_string())?;
            factory.quiet().limits_mut().verbose_errors = false;
            Ok(factory)
        });
        made.as_ref().map_err(|reason| Error::Grammar {
            kind: "vocabulary",
            reason: reason.clone(),
        })
    }

    /// Returns the bytes of a token; those of a special token begin with 0xFF.
    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        let trie = &self.shared.trie;
        if (id as usize) < trie.vocab_size() {
            trie.token(id)
        } else {
            &[]
        }
    }

    pub(super) fn is_end(&self, id: u32) -> bool {
        self.shared.trie.eos_tokens().contains(&id)
    }

    /// Returns the special token that spells a text.
    pub(super) fn special(&self, text: &str) -> Option<u32> {
        let tokenizer = &self.shared.tokenizer;
        let id = tokenizer.token_to_id(text)?;
        tokenizer.is_special(id).then_some(id)
    }
}

/// Returns the bytes of every id: empty for those that no text holds.
fn words(tokenizer: &Tokenizer, size: usize) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = Vec::with_capacity(size);
    for id in 0..size as u32 {
        let word = if tokenizer.is_special(id) {
            let name = tokenizer.piece(id).unwrap_or_default();
            let mark = [TokTrie::SPECIAL_TOKEN_MARKER];
            [&mark, name.as_bytes()].concat()
        } else {
            tokenizer.decode_bytes(id).unwrap_or_default().into_owned()
        };
        // The mark stands for special tokens only; no UTF-8 text holds it.
        let plain = tokenizer.is_special(id) || !word.starts_with(&[TokTrie::SPECIAL_TOKEN_MARKER]);
        let usable = plain && word.len() <= LONGEST_TOKEN;
        words.push(if usable { word } else { Vec::new() });
    }
    words
}

/// What forces tokens: the tree and the tokenizer's own way to cut a text.
struct Env {
    tokenizer: Tokenizer,
    trie: Arc<TokTrie>,
    canonical: bool,
}

impl Env {
    /// Cuts a text as the tokenizer does in the middle of another one; `None` where its ids spell
    /// something else.
    fn canonical(&self, text: &str) -> Option<Vec<TokenId>> {
        let mut options = EncodeOptions::default();
        options.add_special = false;
        options.parse_special = false;
        // Vocabularies of SentencePiece put a space before the first word; after a line end they do not.
        ["", "\n"].iter().find_map(|lead| {
            let whole = format!("{lead}{text}");
            let ids = self.tokenizer.encode_with(&whole, &options).ok()?.ids;
            let mut left = text.len();
            let from = ids.iter().rposition(|&id| {
                let len = self.trie.token_len(id);
                left = left.checked_sub(len).unwrap_or(usize::MAX);
                left == 0 || left > text.len()
            });
            let ids = ids.get(from?..)?;
            (self.trie.decode_raw(ids) == text.as_bytes()).then(|| ids.to_vec())
        })
    }
}

impl TokenizerEnv for Env {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// The tokenizer's ids; the longest tokens from the left where its ids spell something else or
    /// the bytes are not UTF-8.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let mut ids = Vec::new();
        for chunk in bytes.utf8_chunks() {
            let text = chunk.valid();
            if !text.is_empty() {
                let cut = self.canonical(text);
                ids.extend(cut.unwrap_or_else(|| self.trie.greedy_tokenize(text.as_bytes())));
            }
            ids.extend(self.trie.greedy_tokenize(chunk.invalid()));
        }
        ids
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.canonical
    }
}
