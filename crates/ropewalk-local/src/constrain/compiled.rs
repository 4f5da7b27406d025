//! A grammar compiled for a vocabulary, and one reply under it.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use llguidance::Matcher;
use llguidance::api::TopLevelGrammar;

use super::{Constrain, Grammar, TokenConstraint, TokenMask, Vocabulary};
use crate::{Error, Result};

/// Stack of the thread that compiles: the compilers of grammars and schemas call themselves.
const STACK: usize = 64 << 20;

/// A grammar ready for a vocabulary: what [`Vocabulary::compile`] returns.
///
/// It is made once and shared; [`start`](Constrain::start) begins a reply.
pub struct CompiledGrammar {
    /// As it was before the first token; never moved on, so all replies begin alike.
    fresh: Mutex<Matcher>,
    vocabulary: Vocabulary,
    kind: &'static str,
    forcing: bool,
}

impl fmt::Debug for CompiledGrammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledGrammar")
            .field("kind", &self.kind)
            .field("forcing", &self.forcing)
            .finish_non_exhaustive()
    }
}

impl CompiledGrammar {
    pub(super) fn new(vocabulary: &Vocabulary, grammar: &Grammar) -> Result<Self> {
        let kind = grammar.kind();
        let lark = grammar.to_lark(vocabulary);
        let forcing = grammar.forces_tokens();
        let factory = vocabulary.factory(forcing)?;
        let compile = || {
            let parser = factory.create_parser(TopLevelGrammar::from_lark(lark));
            let mut matcher = Matcher::new(Ok(parser.map_err(|e| e.to_string())?));
            // The first mask finds grammars that no text fits, and is there for every reply.
            match matcher.compute_mask_or_eos() {
                Ok(_) => Ok(matcher),
                Err(e) => Err(e.to_string()),
            }
        };
        let made = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("ropewalk-grammar".into())
                .stack_size(STACK)
                .spawn_scoped(scope, compile);
            match thread.map(std::thread::ScopedJoinHandle::join) {
                Ok(Ok(made)) => made,
                Ok(Err(_)) => Err("its compiler failed".to_owned()),
                Err(e) => Err(format!("no thread can be started for its compiler: {e}")),
            }
        });
        let fresh = made.map_err(|reason| grammar.explain(vocabulary, &reason))?;
        Ok(Self {
            fresh: Mutex::new(fresh),
            vocabulary: vocabulary.clone(),
            kind,
            forcing,
        })
    }
}

impl Constrain for CompiledGrammar {
    fn start(&self) -> Result<Box<dyn TokenConstraint>> {
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Box::new(Running {
            // Nothing is shared between replies: what one of them meets changes no other.
            matcher: fresh.deep_clone(),
            vocabulary: self.vocabulary.clone(),
            kind: self.kind,
            forcing: self.forcing,
        }))
    }
}

/// One reply under a grammar.
struct Running {
    matcher: Matcher,
    vocabulary: Vocabulary,
    kind: &'static str,
    forcing: bool,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("kind", &self.kind)
            .field("stopped", &self.matcher.is_stopped())
            .finish_non_exhaustive()
    }
}

impl Running {
    fn failed(&self, e: &dyn fmt::Display) -> Error {
        Error::Constraint {
            kind: self.kind,
            reason: reason(&e.to_string()),
        }
    }
}

impl TokenConstraint for Running {
    fn mask(&mut self, mask: &mut TokenMask) -> Result<()> {
        let found = self.matcher.compute_mask_or_eos();
        let found = found.map_err(|e| self.failed(&e))?;
        mask.set_words(found.as_slice());
        Ok(())
    }

    fn accept(&mut self, id: u32) -> Result<()> {
        let taken = self.matcher.consume_token(id);
        taken.map_err(|e| self.failed(&e))
    }

    fn allows(&mut self, id: u32) -> Result<Option<bool>> {
        if self.vocabulary.is_end(id) {
            return Ok(None);
        }
        if self.vocabulary.bytes(id).is_empty() {
            return Ok(Some(false));
        }
        let valid = self.matcher.validate_tokens(&[id]);
        Ok(Some(valid.map_err(|e| self.failed(&e))? == 1))
    }

    fn allowed_prefix(&mut self, ids: &[u32]) -> usize {
        let unknown =
            |&id: &u32| self.vocabulary.is_end(id) || self.vocabulary.bytes(id).is_empty();
        let end = ids.iter().position(unknown);
        let ids = &ids[..end.unwrap_or(ids.len())];
        // A failure shows again, with its reason, when the next token is chosen.
        self.matcher.validate_tokens(ids).unwrap_or(0)
    }

    fn forced(&mut self) -> Result<Vec<u32>> {
        if !self.forcing || self.is_complete() {
            return Ok(Vec::new());
        }
        let ids = self.matcher.compute_ff_tokens();
        match self.matcher.get_error() {
            Some(e) => Err(self.failed(&e)),
            None => Ok(ids),
        }
    }

    fn is_complete(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }
}

/// Returns the line of a message that says what is wrong, without what is for its authors only.
pub(super) fn reason(message: &str) -> String {
    let lines = || {
        message
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    // An expression is shown before the line that explains what is wrong with it.
    let cause = lines().find_map(|line| line.strip_prefix("error: "));
    let line = cause.or_else(|| lines().next()).unwrap_or("unknown");
    let line = line.strip_prefix("at ").map_or(line, |after| {
        after.split_once("): ").map_or(line, |(_, said)| said)
    });
    let schema = "failed to compile JSON schema: ";
    let line = line.strip_prefix(schema).unwrap_or(line);
    line.chars().take(300).collect()
}
