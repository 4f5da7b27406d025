//! What may come next: constraints on the tokens of a reply.
//!
//! [`TokenConstraint`] follows one reply, [`Constrain`] begins them. With the feature `constrained` a `Grammar` is such
//! a constraint: a JSON schema, a regular expression, a grammar in Lark or GBNF, or a choice of texts.
#![cfg_attr(
    feature = "constrained",
    doc = r#"
```no_run
use ropewalk_local::constrain::Grammar;
use ropewalk_local::{GenerateOptions, Generation, LocalModel};
use serde_json::json;

let model = LocalModel::open("model.gguf")?;
let schema = json!({
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Zürich"]}, "day": {"type": "integer", "minimum": 1, "maximum": 31}},
    "required": ["city", "day"],
});
let grammar = Grammar::json_schema(&schema)?.compile(model.tokenizer())?;
let options = GenerateOptions::greedy(64).with_constraint(grammar);
let prompt = model.tokenizer().encode("A city and a day: ", true)?;
let mut cache = model.model().new_cache();
let mut tokens = Generation::new(model.model(), &mut cache, &prompt, &options)?;
let ids = tokens.by_ref().map(|t| t.map(|t| t.id)).collect::<Result<Vec<_>, _>>()?;
println!("{}", model.tokenizer().decode(&ids, true)?); // {"city": "Paris", "day": 1}
println!("{} of {} tokens needed no pass", tokens.timings().forced_tokens, ids.len());
# Ok::<(), Box<dyn std::error::Error>>(())
```

# What can be asked for

| constructor | the reply |
| --- | --- |
| [`Grammar::json_schema`] | JSON that fits a schema |
| [`Grammar::any_json`] | any JSON |
| [`Grammar::regex`] | matches a regular expression as a whole |
| [`Grammar::choice`] | is one of some texts |
| [`Grammar::lark`], [`Grammar::gbnf`] | is a sentence of a context-free grammar |
| [`Grammar::tool_calls`] | calls tools as models of a family write calls |

The reply ends where the grammar ends, or with an end token where the grammar allows both an end and more. What the
grammar leaves no choice in costs no forward pass: those tokens are appended, cut as the tokenizer cuts them, and run
together with the next one ([`Timings::forced_tokens`](crate::Timings::forced_tokens)). With log probabilities every
token is chosen by a pass.

A reply that the token limit cuts is no sentence of the grammar: [`Finish`](crate::Finish) tells, and
[`LocalModel`](crate::LocalModel) returns
[`ErrorKind::Truncated`](ropewalk_core::ErrorKind::Truncated). A reply is bounded when its schema is: `maxLength`,
`maxItems`, no maps with free keys, no recursion.

# Schemas

The keywords of JSON Schema 2020-12 and draft 7 that decide what a value is are enforced, in the order that properties
are written in. A keyword that cannot be enforced (`not`, `if`, `uniqueItems`, `contains`, `propertyNames`, an unknown
`format` of strings, …) is an error that names it and its place, or left out and reported
([`SchemaOptions::relaxed`]). What a schema allows is narrowed in three ways, so that texts end and can be read by
anybody; everything written fits the schema as it was given:

- objects whose properties are listed take no others, unless the schema says so with `additionalProperties`,
  `patternProperties` or a combination ([`SchemaOptions::with_open`] turns this off);
- numbers without bounds stay within ±(2^53 - 1) (RFC 7493, section 2.2), integers also within the `format` that
  Rust's and OpenAPI's schemas state (`uint8`, `int32`, …); they have no exponent and at most eight digits after the
  point;
- white space is fixed: one space after `,` and `:`, as Python writes JSON, or none ([`SchemaOptions::with_compact`]).

# Limits

A grammar has at most 1 MiB of text, 100 levels of nesting and 2,000 rules; compiling it and computing a mask take
bounded work. What is beyond is [`Error::GrammarSize`](crate::Error::GrammarSize) when it is compiled, or
[`Error::Constraint`](crate::Error::Constraint) of that one reply. The compiler runs on a thread of its own for its
stack. The underlying crate installs a panic hook that passes on every panic that is not its own.
"#
)]

#[cfg(feature = "constrained")]
mod compiled;
#[cfg(feature = "constrained")]
mod gbnf;
#[cfg(feature = "constrained")]
mod grammar;
#[cfg(feature = "constrained")]
mod lark;
#[cfg(feature = "constrained")]
mod schema;
#[cfg(feature = "constrained")]
mod tools;
#[cfg(feature = "constrained")]
mod vocabulary;

use std::fmt;

#[cfg(feature = "constrained")]
pub use compiled::CompiledGrammar;
#[cfg(feature = "constrained")]
pub use grammar::Grammar;
#[cfg(feature = "constrained")]
pub(crate) use grammar::{Reply as ReplyForm, Thinking};
#[cfg(feature = "constrained")]
pub(crate) use schema::Prepared;
#[cfg(feature = "constrained")]
pub use schema::SchemaOptions;
#[cfg(feature = "constrained")]
pub(crate) use tools::Calls;
#[cfg(feature = "constrained")]
pub use vocabulary::Vocabulary;

use crate::Result;

/// A set of token ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenMask {
    words: Vec<u64>,
    vocab: usize,
}

impl TokenMask {
    /// Returns the empty set over ids below `vocab`.
    #[must_use]
    pub fn new(vocab: usize) -> Self {
        Self {
            words: vec![0; vocab.div_ceil(64)],
            vocab,
        }
    }

    /// Takes every id out.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Puts an id in; ids of the vocabulary only.
    pub fn allow(&mut self, id: u32) {
        if (id as usize) < self.vocab {
            self.words[id as usize / 64] |= 1 << (id % 64);
        }
    }

    /// Makes the set that of the bits of `words`, 32 ids each, as far as they are in the vocabulary.
    #[cfg(feature = "constrained")]
    pub(crate) fn set_words(&mut self, words: &[u32]) {
        for (to, from) in self.words.iter_mut().zip(words.chunks(2)) {
            let high = from.get(1).copied().unwrap_or_default();
            *to = u64::from(from[0]) | u64::from(high) << 32;
        }
        let used = words.len().div_ceil(2).min(self.words.len());
        self.words[used..].fill(0);
        if let (Some(last), rest @ 1..) = (self.words.last_mut(), self.vocab % 64) {
            *last &= (1 << rest) - 1;
        }
    }

    /// Returns whether an id is in the set.
    #[must_use]
    pub fn allows(&self, id: u32) -> bool {
        let word = self.words.get(id as usize / 64);
        word.is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    /// Returns the number of ids in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// Returns whether no id is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&w| w == 0)
    }

    /// Writes `-inf` over the scores of all ids that are not in the set.
    pub fn apply(&self, logits: &mut [f32]) {
        for (id, x) in (0u32..).zip(logits) {
            if !self.allows(id) {
                *x = f32::NEG_INFINITY;
            }
        }
    }
}

/// What the tokens of one reply must spell; it follows the reply token by token.
pub trait TokenConstraint: fmt::Debug + Send {
    /// Writes the ids that may come next to `mask`, which is empty: ids that end a reply are among
    /// them where it may end.
    ///
    /// # Errors
    /// When nothing can follow, or a limit of the constraint was passed.
    fn mask(&mut self, mask: &mut TokenMask) -> Result<()>;

    /// Appends a token to the reply.
    ///
    /// # Errors
    /// When the constraint does not allow it.
    fn accept(&mut self, id: u32) -> Result<()>;

    /// Returns whether an id may come next, where that is known without computing the whole
    /// [`mask`](Self::mask); `None` where it is not.
    ///
    /// # Errors
    /// As [`mask`](Self::mask).
    fn allows(&mut self, id: u32) -> Result<Option<bool>> {
        _ = id;
        Ok(None)
    }

    /// Returns the ids that must come next whatever the model says; they have not been accepted.
    ///
    /// # Errors
    /// When a limit of the constraint was passed.
    fn forced(&mut self) -> Result<Vec<u32>> {
        Ok(Vec::new())
    }

    /// Returns how many of `ids`, which are a guess, may come one after another from here; nothing is accepted by it.
    ///
    /// A number that is too high costs time and changes nothing: every token is checked when it is chosen.
    fn allowed_prefix(&mut self, ids: &[u32]) -> usize {
        ids.len()
    }

    /// Returns whether the reply is complete and nothing may follow.
    fn is_complete(&self) -> bool;
}

/// Begins constraints: what requests share, such as a compiled grammar.
pub trait Constrain: fmt::Debug + Send + Sync {
    /// Returns the constraint of a reply that has not begun.
    ///
    /// # Errors
    /// When the constraint can never be met.
    fn start(&self) -> Result<Box<dyn TokenConstraint>>;
}

#[cfg(feature = "constrained")]
#[cfg(test)]
mod tests;
