//! Routers.

use std::sync::Arc;

use ropewalk_agents::{Destination, Router, Step, StepContext, StepExt, step_fn};
use ropewalk_core::testing::ScriptedModel;
use ropewalk_core::{EmbedRequest, EmbedResponse, EmbeddingModel, ErrorKind, Result, async_trait};
use serde_json::json;

use crate::embedding::Words;

fn to(name: &'static str) -> impl Step<String, String> {
    step_fn(move |input: String| async move { Ok(format!("{name}: {input}")) })
}

#[tokio::test]
async fn a_model_chooses_from_the_list() {
    let model = Arc::new(
        ScriptedModel::new()
            .tool_call("final_result", json!({"destination": "Billing "}))
            .tool_call("final_result", json!({"destination": "elsewhere"})),
    );
    let router = Router::by_model(Arc::clone(&model), |text: &String| text.clone())
        .route("billing", "invoices and refunds", to("billing"))
        .route("technical", "faults", to("technical"))
        .default_route(to("general"));
    let answer = router.call("my bill is wrong".into()).await.unwrap();
    assert_eq!(answer, "billing: my bill is wrong");
    assert_eq!(router.call("hello".into()).await.unwrap(), "general: hello");
    let system = model.requests()[0].messages[0].text();
    assert!(
        system.contains("- billing: invoices and refunds\n- technical: faults\n"),
        "{system}"
    );
}

#[tokio::test]
async fn embeddings_choose_the_nearest_route() {
    let words = Arc::new(Words::default());
    let router = Router::by_embedding(Arc::clone(&words), 0.2, |text: &String| text.clone())
        .route("food", "eat cook bread", to("food"))
        .route("travel", "fly train city", to("travel"))
        .default_route(to("other"));
    for (text, expected) in [
        ("cook some bread", "food"),
        ("a train to the city", "travel"),
        ("quantum", "other"),
    ] {
        let answer = router.call(text.into()).await.unwrap();
        assert_eq!(answer, format!("{expected}: {text}"));
    }
    // The routes once, then one query each.
    assert_eq!(words.calls(), 1 + 3);
}

#[tokio::test]
async fn no_route_and_no_default_is_an_error_that_lists_the_routes() {
    let router = Router::by_fn(|_: &String| Destination::Default).route("a", "", to("a"));
    let error = router.call("x".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().ends_with("the routes are a"), "{error}");
    let chosen = router.choose(&"x".into(), &StepContext::new()).await;
    assert_eq!(chosen.unwrap(), Destination::Default);
}

/// A model that gives no vector.
struct Broken;

#[async_trait]
impl EmbeddingModel for Broken {
    fn provider(&self) -> &str {
        "broken"
    }
    fn model(&self) -> &str {
        "broken"
    }
    fn dimensions(&self) -> Option<usize> {
        None
    }

    async fn embed(&self, _request: &EmbedRequest) -> Result<EmbedResponse> {
        Ok(EmbedResponse::new("broken", Vec::new()))
    }
}

#[tokio::test]
async fn a_model_that_embeds_too_few_is_an_error() {
    let router = Router::by_embedding(Broken, 0.0, |t: &String| t.clone()).route("a", "", to("a"));
    assert_eq!(
        router.call("x".into()).await.unwrap_err().kind(),
        ErrorKind::Decode
    );
}
