//! Lists of models over doubles.

use std::sync::Arc;

use ropewalk_core::ErrorKind;
use ropewalk_http::testing::{Canned, Double};
use ropewalk_providers::{OpenAi, presets};
use serde_json::json;

fn server(double: &Arc<Double>) -> OpenAi {
    OpenAi::compatible(presets::VLLM, "https://api.test/v1", None)
        .unwrap()
        .with_client(double.client())
}

#[tokio::test]
async fn every_page_is_fetched() {
    let double = Double::new([
        Canned::json(&json!({"object": "list", "has_more": true, "last_id": "b",
            "data": [{"id": "a", "object": "model", "created": 1, "owned_by": "us"}, {"id": "b"}]})),
        Canned::json(&json!({"data": [{"id": "c", "max_model_len": 4096}], "has_more": false})),
    ]);
    let models = server(&double).models().list().await.unwrap();
    let ids: Vec<_> = models.iter().map(|m| m.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert_eq!(models[2].other["max_model_len"], 4096);
    let urls: Vec<_> = double.requests().iter().map(|r| r.url.clone()).collect();
    assert_eq!(
        urls,
        [
            "https://api.test/v1/models",
            "https://api.test/v1/models?after=b"
        ]
    );
}

#[tokio::test]
async fn servers_that_repeat_a_page_are_found_out() {
    let page = || Canned::json(&json!({"data": [{"id": "a"}], "has_more": true}));
    let double = Double::new([page(), page(), page()]);
    let error = server(&double).models().list().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.message().contains("same page"), "{error}");
    assert_eq!(double.requests().len(), 2);
}

#[tokio::test]
async fn lists_come_in_other_shapes_too() {
    let double = Double::new([
        Canned::json(&json!([{"id": "x"}])),
        Canned::json(&json!({"models": 3})),
    ]);
    let models = server(&double).models();
    assert_eq!(models.list().await.unwrap()[0].id, "x");
    assert_eq!(models.list().await.unwrap_err().kind(), ErrorKind::Decode);
}

#[tokio::test]
async fn ids_cannot_leave_their_path() {
    let double = Double::new([Canned::json(
        &json!({"id": "ft:gpt-4o-mini:me::1", "deleted": true}),
    )]);
    let models = server(&double).models();
    for id in ["", "../files", "a?b", "a b", "a//b", "x/../y", "ä"] {
        let error = models.retrieve(id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{id:?}");
    }
    assert!(double.requests().is_empty());
    models.delete("ft:gpt-4o-mini:me::1").await.unwrap();
    let request = &double.requests()[0];
    assert_eq!(request.method, "DELETE");
    assert!(request.url.ends_with("/models/ft:gpt-4o-mini:me::1"));
}
