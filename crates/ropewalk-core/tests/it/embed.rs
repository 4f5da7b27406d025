//! `embed_all` splits and checks.

use std::sync::Mutex;

use futures_executor::block_on;
use ropewalk_core::{
    EmbedKind, EmbedRequest, EmbedResponse, EmbeddingModel, EmbeddingModelExt, ErrorKind, Result,
    Usage, Warning, async_trait,
};

/// Embeds a text as its length, with whatever fault `twist` adds.
struct Lengths {
    twist: fn(&mut Vec<Vec<f32>>),
    batches: Mutex<Vec<usize>>,
}

impl Lengths {
    fn new(twist: fn(&mut Vec<Vec<f32>>)) -> Self {
        Self {
            twist,
            batches: Mutex::default(),
        }
    }
}

#[async_trait]
impl EmbeddingModel for Lengths {
    fn provider(&self) -> &str {
        "test"
    }

    fn model(&self) -> &str {
        "lengths"
    }

    fn dimensions(&self) -> Option<usize> {
        Some(2)
    }

    fn max_batch(&self) -> usize {
        3
    }

    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        assert_eq!(request.kind, EmbedKind::Query);
        self.batches.lock().unwrap().push(request.inputs.len());
        let vector = |text: &String| vec![text.len() as f32, 1.0];
        let mut vectors = request.inputs.iter().map(vector).collect();
        (self.twist)(&mut vectors);
        Ok(EmbedResponse::new("lengths-1", vectors)
            .with_usage(Usage::new(1, 0))
            .with_warnings([Warning::new("dimensions", "not supported")])
            .with_raw("raw".into()))
    }
}

fn seven() -> EmbedRequest {
    EmbedRequest::new((0..7).map(|i| "x".repeat(i))).with_kind(EmbedKind::Query)
}

#[test]
fn splits_into_batches_in_order() {
    let model = Lengths::new(|_| ());
    let reply = block_on(model.embed_all(&seven())).unwrap();
    assert_eq!(*model.batches.lock().unwrap(), [3, 3, 1]);
    let lengths: Vec<f32> = reply.vectors.iter().map(|v| v[0]).collect();
    assert_eq!(lengths, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(
        (reply.usage.input_tokens, reply.model.as_str()),
        (Some(3), "lengths-1")
    );
}

#[test]
fn no_texts_need_no_call() {
    let model = Lengths::new(|_| ());
    let none: [&str; 0] = [];
    assert!(
        block_on(model.embed_all(&EmbedRequest::new(none)))
            .unwrap()
            .vectors
            .is_empty()
    );
    assert!(model.batches.lock().unwrap().is_empty());
}

#[test]
fn checks_what_comes_back() {
    let cases: [(fn(&mut Vec<Vec<f32>>), &str); 4] = [
        (|v| v.truncate(1), "1 vectors came back for 3 texts"),
        (|v| v[1].push(0.0), "vector 1 has 3 values, not 2"),
        (
            |v| v[0][1] = f32::NAN,
            "vector 0 holds a value that is not finite",
        ),
        (
            |v| v.iter_mut().for_each(Vec::clear),
            "vector 0 has 0 values",
        ),
    ];
    for (twist, expected) in cases {
        let error = block_on(Lengths::new(twist).embed_all(&seven())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.to_string().contains(expected), "{error}");
    }
    let wide = seven().with_dimensions(3);
    let error = block_on(Lengths::new(|_| ()).embed_all(&wide)).unwrap_err();
    assert!(error.message().contains("has 2 values, not 3"), "{error}");
}

#[test]
fn a_warning_of_every_batch_is_kept_once() {
    let model = Lengths::new(|_| ());
    let all = block_on(model.embed_all(&seven())).unwrap();
    assert_eq!(all.warnings, [Warning::new("dimensions", "not supported")]);
    assert_eq!(all.raw, None);
    let one = EmbedRequest::query("x");
    let one = block_on(model.embed_all(&one)).unwrap();
    assert_eq!(one.raw, Some("raw".into()));
}
