//! Embeddings over doubles.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use ropewalk_core::testing::embeddings;
use ropewalk_core::{
    EmbedKind, EmbedRequest, EmbeddingModel, EmbeddingModelExt, ErrorKind, OnUnsupported, Result,
    Usage, async_trait,
};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_http::{Client, ClientOptions, Reply, Request, Transport};
use ropewalk_providers::abilities::EmbedShape;
use ropewalk_providers::{Auth, Endpoint, OpenAi, RemoteEmbeddings};
use serde_json::{Value, json};

use crate::golden::golden;

fn openai(double: &Arc<Double>) -> OpenAi {
    OpenAi::new("sk-test-key-of-nobody-1234")
        .unwrap()
        .with_client(double.client())
}

fn other(name: &'static str, double: &Arc<Double>) -> Endpoint {
    let endpoint = Endpoint::new(name, "https://api.test/v1", Auth::None, None).unwrap();
    endpoint.with_client(double.client())
}

/// The vector that stands for a text: its length, its first byte, one.
fn vector(text: &str) -> [f32; 3] {
    let first = text.bytes().next().unwrap_or(0);
    [text.len() as f32, f32::from(first), 1.0]
}

/// Answers as the API does, but out of order.
#[derive(Debug, Default)]
struct Server {
    base64: bool,
}

#[async_trait]
impl Transport for Server {
    async fn send(&self, request: &Request) -> Result<Reply> {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let texts = body["input"].as_array().unwrap();
        let mut data: Vec<_> = (0..texts.len())
            .map(|i| {
                let vector = vector(texts[i].as_str().unwrap());
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                let embedding = match self.base64 {
                    true => json!(STANDARD.encode(bytes)),
                    false => json!(vector),
                };
                json!({"object": "embedding", "index": i, "embedding": embedding})
            })
            .collect();
        data.reverse();
        let n = texts.len();
        let reply = json!({
            "object": "list", "data": data, "model": "embed-1-0301",
            "usage": {"prompt_tokens": n, "total_tokens": n}
        });
        Ok(Reply::new(
            StatusCode::OK,
            HeaderMap::new(),
            reply.to_string(),
        ))
    }
}

fn served(base64: bool) -> RemoteEmbeddings {
    let client = Client::with_transport(Arc::new(Server { base64 }), ClientOptions::new());
    let endpoint = Endpoint::new("test", "https://api.test/v1", Auth::None, None).unwrap();
    RemoteEmbeddings::new(endpoint.with_client(client), "embed-1")
}

#[tokio::test]
async fn keeps_the_contract_of_core() {
    for base64 in [false, true] {
        let model = served(base64).with_width(3).with_batch(2);
        embeddings(&model).await.into_result().unwrap();
    }
}

#[tokio::test]
async fn eleven_texts_in_calls_of_five_are_three_calls_in_order() {
    let texts: Vec<String> = (0..11).map(|i| "x".repeat(i + 1)).collect();
    let request = EmbedRequest::new(&texts);
    for concurrency in [1, 3] {
        let double = Double::default();
        let double = Arc::new(double);
        for range in [0..5, 5..10, 10..11] {
            let data: Vec<_> = range
                .clone()
                .rev()
                .map(|i| json!({"index": i - range.start, "embedding": [i as f32 + 1.0, 1.0]}))
                .collect();
            let usage = json!({"prompt_tokens": range.len(), "total_tokens": range.len()});
            double.push(Canned::json(
                &json!({"data": data, "model": "m-1", "usage": usage}),
            ));
        }
        let model = openai(&double).embeddings("m").with_batch(5);
        let model = model.with_concurrency(concurrency);
        let response = model.embed_all(&request).await.unwrap();
        let first: Vec<f32> = response.vectors.iter().map(|v| v[0]).collect();
        let expected: Vec<f32> = (1..=11u8).map(f32::from).collect();
        assert_eq!(first, expected, "concurrency {concurrency}");
        assert_eq!(response.usage.input_tokens, Some(11));
        assert_eq!((response.model.as_str(), response.raw), ("m-1", None));
        let sizes: Vec<_> = double
            .bodies()
            .iter()
            .map(|b| b["input"].as_array().unwrap().len())
            .collect();
        assert_eq!(sizes, [5, 5, 1]);
    }
}

#[tokio::test]
async fn calls_are_cut_by_bytes_too() {
    let double = Double::new((0..3).map(|_| Canned::json(&json!([[1.0], [2.0]]))));
    let model = RemoteEmbeddings::new(other("test", &double), "m").with_max_bytes(8);
    let texts = ["aaaa", "bbbb", "c", "ddddd", "eeeeeeeeeeeeeeee", "f"];
    let error = model.embed(&EmbedRequest::new(texts)).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Decode,
        "the last calls have one text: {error}"
    );
    let asked: Vec<_> = double.bodies().iter().map(|b| b["input"].clone()).collect();
    assert_eq!(asked[0], json!(["aaaa", "bbbb"]));
    assert_eq!(asked[1], json!(["c", "ddddd"]));
    assert_eq!(asked[2], json!(["eeeeeeeeeeeeeeee"]));
}

#[tokio::test]
async fn bodies_are_those_of_the_apis() {
    let reply = |width: usize| Canned::json(&json!({"data": [{"embedding": vec![1.0; width]}]}));
    let double = Double::new([reply(256), reply(3), reply(3), reply(3)]);
    let request = EmbedRequest::query("why is the sky blue?")
        .with_extra("openai", "user", "u-1")
        .with_extra("cohere", "truncate", "END");
    let model = openai(&double).embeddings("text-embedding-3-small");
    let shortened = request.clone().with_dimensions(256);
    model.embed(&shortened).await.unwrap();
    for (name, shape) in [
        ("cohere", EmbedShape::COHERE),
        ("voyage", EmbedShape::VOYAGE),
        ("jina", EmbedShape::JINA),
    ] {
        let model = RemoteEmbeddings::new(other(name, &double), "m").with_shape(shape);
        model.embed(&request).await.unwrap();
    }
    let bodies = double.bodies();
    golden("abilities/embeddings", &bodies[0]);
    let expected = [
        json!({"model": "m", "texts": ["why is the sky blue?"], "input_type": "search_query", "embedding_types": ["float"], "truncate": "END"}),
        json!({"model": "m", "input": ["why is the sky blue?"], "input_type": "query"}),
        json!({"model": "m", "input": ["why is the sky blue?"], "task": "retrieval.query"}),
    ];
    assert_eq!(bodies[1..], expected);
    assert_eq!(double.requests()[1].url, "https://api.test/v1/v2/embed");
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_told() {
    let reply = || Canned::json(&json!({"data": [{"embedding": [1.0]}]}));
    let double = Double::new([reply()]);
    let model = RemoteEmbeddings::new(other("voyage", &double), "m").with_shape(EmbedShape::VOYAGE);
    let request = EmbedRequest::new(["a"]).with_kind(EmbedKind::Clustering);
    let response = model.embed(&request).await.unwrap();
    assert_eq!(response.warnings[0].option, "kind");
    assert_eq!(double.bodies()[0].get("input_type"), None);
    let strict = request.with_on_unsupported(OnUnsupported::Error);
    let error = model.embed(&strict).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(double.requests().len(), 1);
}

#[tokio::test]
async fn prefixes_are_put_before_the_texts() {
    let reply = || Canned::json(&json!([[1.0]]));
    let double = Double::new([reply(), reply()]);
    let model = RemoteEmbeddings::new(other("tei", &double), "e5");
    let model = model
        .with_prefixes("query: ", "passage: ")
        .with_keep_raw(true);
    model.embed(&EmbedRequest::query("a")).await.unwrap();
    let response = model.embed(&EmbedRequest::new(["b"])).await.unwrap();
    assert_eq!(response.raw, Some(json!([[1.0]])));
    assert_eq!(response.usage, Usage::default());
    let inputs: Vec<_> = double.bodies().iter().map(|b| b["input"].clone()).collect();
    assert_eq!(inputs, [json!(["query: a"]), json!(["passage: b"])]);
}

#[tokio::test]
async fn empty_texts_are_refused_before_they_are_sent() {
    let double = Double::new([]);
    let model = openai(&double).embeddings("m");
    for (texts, expected) in [
        (vec![], "no texts"),
        (vec!["a", "", "b"], "text 1 is empty"),
    ] {
        let error = model.embed(&EmbedRequest::new(texts)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert!(error.message().contains(expected), "{error}");
    }
    assert!(double.requests().is_empty());
}

#[tokio::test]
async fn wrong_replies_name_model_and_request() {
    for (reply, expected) in [
        (
            json!({"data": [{"embedding": [1.0, 2.0]}]}),
            "has 2 values, not the 3",
        ),
        (json!({"data": []}), "0 vectors came back for 1 texts"),
        (json!({"object": "list"}), "no vectors"),
    ] {
        let reply = Canned::json(&reply).with_header("x-request-id", "req_77");
        let double = Double::new([reply]);
        let model = openai(&double).embeddings("m");
        let request = EmbedRequest::new(["a"]).with_dimensions(3);
        let error = model.embed(&request).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.provider()),
            (ErrorKind::Decode, "openai")
        );
        for part in [expected, "m:", "req_77"] {
            assert!(error.message().contains(part), "{error} / {part}");
        }
    }
    let known = openai(&Double::new([])).embeddings("text-embedding-3-large");
    assert_eq!(known.dimensions(), Some(3072));
    assert_eq!(known.max_batch(), 4 * 2048);
}
