//! Choosing between steps.

use std::sync::Arc;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use ropewalk_core::schemars::{self, JsonSchema};
use ropewalk_core::{
    ChatModel, ChatModelExt, ChatRequest, DynChatModel, DynEmbeddingModel, EmbedRequest,
    EmbeddingModel, EmbeddingModelExt, Error, ErrorKind, Result,
};
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::{DynStep, Step, StepContext, StepEvent};
use crate::driven::driven;
use crate::vector::cosine;

/// Where a router sends an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// The route of this name.
    Route(String),
    /// The default route.
    Default,
}

/// Sends each input to one of several steps, chosen by a model, by embeddings or by a function.
///
/// ```
/// use ropewalk_agents::{Destination, Router, StepExt, step_fn};
///
/// let router = Router::by_fn(|text: &String| match text.contains('+') {
///     true => Destination::Route("maths".into()),
///     false => Destination::Default,
/// })
/// .route("maths", "sums", step_fn(|_: String| async { Ok("a sum") }))
/// .default_route(step_fn(|_: String| async { Ok("words") }));
/// # futures_executor::block_on(async {
/// assert_eq!(router.call("1 + 1".into()).await?, "a sum");
/// assert_eq!(router.call("hello".into()).await?, "words");
/// # Ok::<(), ropewalk_core::Error>(()) }).unwrap();
/// ```
pub struct Router<I, O> {
    routes: Vec<Route<I, O>>,
    default: Option<DynStep<I, O>>,
    choice: Choice<I>,
}

struct Route<I, O> {
    name: String,
    description: String,
    step: DynStep<I, O>,
}

type TextOf<I> = Box<dyn Fn(&I) -> String + Send + Sync>;

enum Choice<I> {
    Model {
        model: DynChatModel,
        text: TextOf<I>,
    },
    Embedding {
        model: DynEmbeddingModel,
        text: TextOf<I>,
        least: f32,
        vectors: OnceCell<Vec<Vec<f32>>>,
    },
    Function(Box<dyn Fn(&I) -> Destination + Send + Sync>),
}

/// The answer of the choosing model.
#[derive(Deserialize, JsonSchema)]
struct Answer {
    /// Name of the destination, exactly as listed, or "none" if none fits.
    destination: String,
}

impl<I: Send + Sync + 'static, O: Send + 'static> Router<I, O> {
    fn new(choice: Choice<I>) -> Self {
        Self {
            routes: Vec::new(),
            default: None,
            choice,
        }
    }

    /// Creates a router that asks a model, which sees the names and descriptions of the routes and
    /// the text that `text` makes of the input. An answer that is no route is the default route.
    pub fn by_model(
        model: impl ChatModel + 'static,
        text: impl Fn(&I) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::new(Choice::Model {
            model: Arc::new(model),
            text: Box::new(text),
        })
    }

    /// Creates a router that takes the route whose description is nearest to the input by cosine,
    /// the first of equals. If none reaches `least` (-1 to 1), it is the default route. The
    /// descriptions are embedded once.
    pub fn by_embedding(
        model: impl EmbeddingModel + 'static,
        least: f32,
        text: impl Fn(&I) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::new(Choice::Embedding {
            model: Arc::new(model),
            text: Box::new(text),
            least,
            vectors: OnceCell::new(),
        })
    }

    /// Creates a router that asks a function.
    pub fn by_fn(choose: impl Fn(&I) -> Destination + Send + Sync + 'static) -> Self {
        Self::new(Choice::Function(Box::new(choose)))
    }

    /// Adds a route. The description says what belongs there; of two routes of one name the first
    /// counts.
    #[must_use]
    pub fn route(
        mut self,
        name: impl Into<String>,
        description: impl Into<String>,
        step: impl Step<I, O> + 'static,
    ) -> Self {
        self.routes.push(Route {
            name: name.into(),
            description: description.into(),
            step: Arc::new(step),
        });
        self
    }

    /// Sets where inputs go for which there is no route.
    #[must_use]
    pub fn default_route(mut self, step: impl Step<I, O> + 'static) -> Self {
        self.default = Some(Arc::new(step));
        self
    }

    /// Returns where this input goes, without going there.
    ///
    /// # Errors
    /// Whatever keeps the model from answering.
    pub async fn choose(&self, input: &I, context: &StepContext) -> Result<Destination> {
        match &self.choice {
            Choice::Function(choose) => Ok(choose(input)),
            Choice::Model { model, text } => self.ask(model, text(input), context).await,
            Choice::Embedding {
                model,
                text,
                least,
                vectors,
            } => {
                let routes = vectors.get_or_try_init(|| self.embed(model)).await?;
                let query = model.embed_all(&EmbedRequest::query(text(input))).await?;
                let query = query.vectors.first().map_or(&[][..], Vec::as_slice);
                let mut best = (Destination::Default, *least);
                for (route, vector) in self.routes.iter().zip(routes).rev() {
                    let score = cosine(query, vector);
                    if score >= best.1 {
                        best = (Destination::Route(route.name.clone()), score);
                    }
                }
                Ok(best.0)
            }
        }
    }

    async fn embed(&self, model: &DynEmbeddingModel) -> Result<Vec<Vec<f32>>> {
        let texts = self
            .routes
            .iter()
            .map(|r| format!("{}: {}", r.name, r.description));
        let texts = EmbedRequest::new(texts);
        Ok(model.embed_all(&texts).await?.vectors)
    }

    async fn ask(
        &self,
        model: &DynChatModel,
        text: String,
        context: &StepContext,
    ) -> Result<Destination> {
        let list: String = self
            .routes
            .iter()
            .map(|r| format!("- {}: {}\n", r.name, r.description))
            .collect();
        let rule = format!(
            "Choose the destination that the user's message belongs to. Do not answer the \
             message.\n{list}"
        );
        let mut request = ChatRequest::new().system(rule).user(text);
        context.apply(&mut request);
        let answer: Answer = model.extract(request).await?;
        let name = answer.destination.trim();
        let known = self
            .routes
            .iter()
            .find(|r| r.name.eq_ignore_ascii_case(name));
        Ok(known.map_or(Destination::Default, |r| Destination::Route(r.name.clone())))
    }

    async fn step(&self, input: &I, context: &StepContext) -> Result<&DynStep<I, O>> {
        let destination = self.choose(input, context).await?;
        let name = match &destination {
            Destination::Route(name) => name.as_str(),
            Destination::Default => "",
        };
        tracing::debug!(route = name, "routed");
        let route = self.routes.iter().find(|r| r.name == name);
        let step = route.map(|r| &r.step).or(self.default.as_ref());
        step.ok_or_else(|| {
            let names: Vec<&str> = self.routes.iter().map(|r| r.name.as_str()).collect();
            let message = format!(
                "no route fits and there is no default; the routes are {}",
                names.join(", ")
            );
            Error::new(ErrorKind::NotFound, message)
        })
    }
}

#[async_trait]
impl<I: Send + Sync + 'static, O: Send + 'static> Step<I, O> for Router<I, O> {
    async fn run(&self, input: I, context: &StepContext) -> Result<O> {
        let step = self.step(&input, context).await?;
        step.run(input, context).await
    }

    fn stream(
        self: Arc<Self>,
        input: I,
        context: StepContext,
    ) -> BoxStream<'static, Result<StepEvent<O>>> {
        driven(move |sink| {
            async move {
                let step = Arc::clone(self.step(&input, &context).await?);
                let mut events = step.stream(input, context);
                while let Some(event) = events.next().await {
                    sink.send(event?).await;
                }
                Ok(())
            }
            .boxed()
        })
    }
}
