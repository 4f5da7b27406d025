//! Decoders that read whole texts (Qwen3-Embedding, Qwen3-Reranker).

use std::path::Path;
use std::sync::Arc;

use ropewalk_spec::{NameLayout, Result as SpecResult, Role, TensorData, TensorSource};

use super::{EncoderInput, EncoderOptions};
use crate::load::Files;
use crate::model::Step;
use crate::{CacheType, Error, LoadOptions, Model, Result};

/// Weights of a bare model, whose names lack the prefix that those with a head have.
struct Bare(Arc<dyn TensorSource>);

/// What names of weights begin with in a model with a head.
const PREFIX: &str = "model.";

/// How a bare model calls a weight.
fn bare(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

impl TensorSource for Bare {
    fn layout(&self) -> NameLayout {
        self.0.layout()
    }

    fn names(&self) -> Vec<String> {
        let names = self.0.names().into_iter();
        names.map(|name| format!("{PREFIX}{name}")).collect()
    }

    fn tensor(&self, name: &str) -> SpecResult<Option<TensorData<'_>>> {
        self.0.tensor(bare(name))
    }

    fn release(&self, data: &[u8]) {
        self.0.release(data);
    }

    fn shape(&self, name: &str) -> SpecResult<Option<Vec<usize>>> {
        self.0.shape(bare(name))
    }
}

/// A decoder that reads whole texts: for the normalised hidden states of their tokens, or for the
/// logits after their last one.
#[derive(Debug)]
pub(super) struct Reader {
    model: Model,
    /// Whether the last token's row is enough.
    last_only: bool,
    tokens_per_pass: usize,
}

impl Reader {
    /// A reader that gives hidden states.
    pub(super) fn hidden(
        path: &Path,
        mut files: Files,
        options: &EncoderOptions,
        max_tokens: usize,
        last_only: bool,
    ) -> Result<Self> {
        let is_bare = |name: &str| -> Result<bool> {
            let short = name.strip_prefix(PREFIX);
            let inside = short.map(|short| files.source.shape(short)).transpose()?;
            Ok(inside.flatten().is_some() && files.source.shape(name)?.is_none())
        };
        let layout = files.source.layout();
        let embedding = files.spec.weight(Role::Embed, None, layout);
        if embedding.map_or(Ok(false), |at| is_bare(&at.name))? {
            files.source = Arc::new(Bare(files.source));
        }
        let head = files.spec.weight(Role::Head, None, layout);
        if let Some(head) = head
            && head.check(&*files.source).is_err()
        {
            // A bare model has no output head; nothing here looks at one.
            files.spec.tied = true;
        }
        let mut reader = Self::logits(path, files, options, max_tokens)?;
        reader.model.give_hidden_states();
        reader.last_only = last_only;
        Ok(reader)
    }

    /// A reader that gives the logits after the last token.
    pub(super) fn logits(
        path: &Path,
        files: Files,
        options: &EncoderOptions,
        max_tokens: usize,
    ) -> Result<Self> {
        let mut load = LoadOptions::default()
            .with_context(max_tokens)
            .with_cache(CacheType::F32)
            .with_threads(options.pool_threads());
        (load.isa, load.quantize) = (Some(options.isa()?), options.quantize.clone());
        Ok(Self {
            model: Model::assemble(path, files, &load)?,
            last_only: true,
            tokens_per_pass: options.pass_size(),
        })
    }

    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    /// Runs texts in their order; `done` gets the index and the rows of each, that of its last token
    /// alone where it is enough.
    pub(super) fn run(
        &self,
        texts: &[EncoderInput],
        wanted: &dyn Fn() -> bool,
        done: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<()> {
        let mut first = 0;
        while first < texts.len() {
            if !wanted() {
                return Err(Error::Cancelled);
            }
            let mut tokens = 0;
            let now = texts[first..].iter().take_while(|text| {
                let fits = tokens == 0 || tokens + text.ids.len() <= self.tokens_per_pass;
                tokens += text.ids.len();
                fits
            });
            let end = first + now.count();
            let mut caches: Vec<_> = (first..end).map(|_| self.model.new_cache()).collect();
            let steps = caches.iter_mut().zip(&texts[first..end]);
            let mut steps: Vec<_> = steps
                .map(|(cache, text)| {
                    let step = Step::new(cache, &text.ids);
                    if self.last_only {
                        step
                    } else {
                        step.with_all_logits()
                    }
                })
                .collect();
            let rows = self.model.forward_batch(&mut steps)?;
            for (index, rows) in (first..end).zip(rows) {
                done(index, &rows);
            }
            first = end;
        }
        Ok(())
    }
}
