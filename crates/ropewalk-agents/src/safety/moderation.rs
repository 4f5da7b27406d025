//! Judging what goes in and what comes out.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use ropewalk_core::{
    Content, DynModerationModel, Error, ErrorKind, ModerateRequest, Moderation, ModerationModel,
    Result,
};

use crate::step::{DynStep, Step, StepContext};

/// What was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// What goes in.
    Input,
    /// What comes out.
    Output,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Output => "output",
        })
    }
}

/// Has contents judged and returns the first judgement that flags one.
///
/// # Errors
/// Whatever keeps the model from answering; [`ErrorKind::Decode`] when it judges fewer contents
/// than it was given, as the rest would pass unseen.
pub async fn moderate<C: Into<Content>>(
    model: &dyn ModerationModel,
    contents: impl IntoIterator<Item = C>,
) -> Result<Option<Moderation>> {
    let request = ModerateRequest::new(contents);
    let asked = request.inputs.len();
    if asked == 0 {
        return Ok(None);
    }
    let results = model.moderate(&request).await?.results;
    if results.len() < asked {
        let message = format!("{} of {asked} contents were judged", results.len());
        return Err(
            Error::new(ErrorKind::Decode, message).with_provider(model.provider().to_owned())
        );
    }
    Ok(results.into_iter().find(|r| r.flagged))
}

/// The outcome of a [`ModerationStep`].
#[derive(Debug, Clone, PartialEq)]
pub enum Moderated<O> {
    /// Nothing was flagged.
    Passed(O),
    /// Something was flagged. Of a flagged input the step within was not run.
    Flagged {
        /// What was judged.
        stage: Stage,
        /// The judgement.
        moderation: Moderation,
    },
}

/// A step between texts whose input and output are judged. The output is not streamed, as it is
/// judged whole.
pub struct ModerationStep<I> {
    model: DynModerationModel,
    step: DynStep<I, String>,
    text: Box<dyn Fn(&I) -> Content + Send + Sync>,
}

impl<I: Send + 'static> ModerationStep<I> {
    /// Creates it from a model, the step within, and what of its input is judged.
    pub fn new(
        model: impl ModerationModel + 'static,
        step: impl Step<I, String> + 'static,
        text: impl Fn(&I) -> Content + Send + Sync + 'static,
    ) -> Self {
        Self {
            model: Arc::new(model),
            step: Arc::new(step),
            text: Box::new(text),
        }
    }
}

impl<I> fmt::Debug for ModerationStep<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModerationStep").finish_non_exhaustive()
    }
}

#[async_trait]
impl<I: Send + 'static> Step<I, Moderated<String>> for ModerationStep<I> {
    async fn run(&self, input: I, context: &StepContext) -> Result<Moderated<String>> {
        let flagged = |stage| move |moderation| Moderated::Flagged { stage, moderation };
        let content = (self.text)(&input);
        if let Some(moderation) = moderate(&*self.model, [content]).await? {
            return Ok(flagged(Stage::Input)(moderation));
        }
        let output = self.step.run(input, context).await?;
        Ok(match moderate(&*self.model, [output.as_str()]).await? {
            Some(moderation) => flagged(Stage::Output)(moderation),
            None => Moderated::Passed(output),
        })
    }
}
