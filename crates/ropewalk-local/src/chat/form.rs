//! The form that a reply must have: JSON, calls of tools, after reasoning or not.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ropewalk_core::{ChatRequest, ResponseFormat, Result, ToolChoice};
use serde_json::json;

use super::Inner;
use crate::constrain::{
    Calls, CompiledGrammar, Grammar, Prepared, ReplyForm, SchemaOptions, Thinking, Vocabulary,
};

/// Compiled grammars that are kept for requests of the same form.
const KEPT: usize = 8;

/// What the grammars of all requests to a model share.
#[derive(Debug, Default)]
pub(super) struct Grammars {
    vocabulary: OnceLock<Vocabulary>,
    /// Those used last, with what they were made from; the latest stands last.
    kept: Mutex<Vec<(String, Arc<CompiledGrammar>)>>,
}

/// The form of one reply.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) grammar: Arc<CompiledGrammar>,
    /// The reply may call tools, or must.
    pub(super) calls: bool,
    /// Half of the reply is worth nothing.
    pub(super) whole: bool,
}

impl Inner {
    /// Returns the form of the reply to a request whose tools the prompt shows, if `tools`; `None` where it may be any
    /// text. `refuse` hears what cannot be enforced.
    pub(super) fn form(
        &self,
        request: &ChatRequest,
        tools: bool,
        several: bool,
        prompt: &str,
        refuse: &mut dyn FnMut(&'static str, &str) -> Result<()>,
    ) -> Result<Option<Form>> {
        let relaxed = SchemaOptions::new().with_relaxed(true);
        let mut json = match &request.response_format {
            ResponseFormat::Json => Some(Prepared::new(&json!({"type": "object"}), &relaxed)?),
            ResponseFormat::JsonSchema { schema, .. } => {
                Some(Prepared::new(schema.as_value(), &relaxed)?)
            }
            _ => None,
        };
        for left_out in json.iter().flat_map(|json| &json.left_out) {
            refuse(
                "response_format",
                &format!("the keyword {left_out} is not enforced"),
            )?;
        }
        let choice = &request.tool_choice;
        let must = !matches!(choice, ToolChoice::Auto | ToolChoice::None);
        let shown = self.template.as_ref().map_or("", |t| t.source.as_str());
        // Tools whose calls have no grammar are left to the model.
        let calls = tools.then(|| {
            Calls::new(
                self.tool_calls(),
                shown,
                &request.tools,
                choice,
                several,
                &relaxed,
            )
        });
        let calls = match calls {
            Some(Ok(calls)) => Some(calls),
            Some(Err(e)) => {
                if must {
                    refuse(
                        "tool_choice",
                        &format!("calls are not held to their schemas: {e}"),
                    )?;
                }
                None
            }
            None => None,
        };
        if must && calls.is_some() {
            // The reply is calls.
            json = None;
        } else if tools && calls.is_none() && json.is_some() {
            refuse(
                "tools",
                "calls of this model cannot be told from JSON, so the reply is JSON",
            )?;
        }
        if json.is_none() && calls.is_none() {
            return Ok(None);
        }
        let tags = self.reasoning();
        let calling = calls.is_some();
        let whole = json.is_some() || (must && calling);
        let grammar = Grammar::reply(ReplyForm {
            thinking: tags.map(|tags| Thinking {
                tags,
                opened: tags.opened_by(prompt),
            }),
            free: calls.is_some() && !must && json.is_none(),
            json,
            calls,
        });
        Ok(Some(Form {
            grammar: self.compiled(&grammar)?,
            calls: calling,
            whole,
        }))
    }

    /// Returns a compiled grammar, made anew if it is not among the last ones.
    fn compiled(&self, grammar: &Grammar) -> Result<Arc<CompiledGrammar>> {
        let key = format!("{grammar:?}");
        let kept = || {
            self.grammars
                .kept
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        {
            let mut kept = kept();
            if let Some(at) = kept.iter().position(|(k, _)| *k == key) {
                let found = kept.remove(at);
                let compiled = Arc::clone(&found.1);
                kept.push(found);
                return Ok(compiled);
            }
        }
        let compiled = self.vocabulary()?.compile(grammar)?;
        let mut kept = kept();
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((key, Arc::clone(&compiled)));
        Ok(compiled)
    }

    /// Returns the vocabulary of grammars, made when it is first needed.
    pub(super) fn vocabulary(&self) -> crate::Result<&Vocabulary> {
        let cell = &self.grammars.vocabulary;
        if let Some(made) = cell.get() {
            return Ok(made);
        }
        let made = Vocabulary::with_end_ids(&self.tokenizer, self.model.stop_ids())?;
        Ok(cell.get_or_init(|| made))
    }
}
