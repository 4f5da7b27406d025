//! The rules every [`RerankModel`] must keep.

use futures_util::future::{join, ready};

use super::report::{Report, Verdict, begin_and_drop, ensure};
use crate::error::ErrorKind;
use crate::rerank::{RerankModel, RerankRequest, RerankResponse};

const QUERY: &str = "When does the train to Oslo leave?";
const DOCUMENTS: [&str; 4] = [
    "Bread is baked from flour and water.",
    "The train to Oslo leaves at noon.",
    "x",
    "Oslo lies at the end of a long fjord.",
];

/// Largest difference between the scores of the same pair in two calls, relative to the larger one.
const TOLERANCE: f32 = 2e-3;

/// Checks the contract of [`RerankModel`].
///
/// The names of the checks, in order: `names`, `places`, `best_first`, `top_n`, `stable`, `empty`,
/// `concurrent`, `drop`.
pub async fn reranking<M: RerankModel + ?Sized>(model: &M) -> Report {
    let mut report = Report::new(format!(
        "rerank model {}/{}",
        model.provider(),
        model.model()
    ));
    report.check("names", ready(names(model))).await;
    report.check("places", places(model)).await;
    report.check("best_first", best_first(model)).await;
    report.check("top_n", top_n(model)).await;
    report.check("stable", stable(model)).await;
    report.check("empty", empty(model)).await;
    report.check("concurrent", concurrent(model)).await;
    report.check("drop", drop_rerank(model)).await;
    report
}

fn request() -> RerankRequest {
    RerankRequest::new(QUERY, DOCUMENTS)
}

fn names<M: RerankModel + ?Sized>(model: &M) -> Verdict {
    ensure(!model.provider().is_empty(), || {
        "provider() is empty".into()
    })?;
    ensure(!model.model().is_empty(), || "model() is empty".into())
}

/// The positions that a reply names, sorted.
fn indexes(reply: &RerankResponse) -> Vec<usize> {
    let mut found: Vec<usize> = reply.results.iter().map(|r| r.index).collect();
    found.sort_unstable();
    found
}

async fn places<M: RerankModel + ?Sized>(model: &M) -> Verdict {
    let reply = model.rerank(&request()).await?;
    let found = indexes(&reply);
    ensure(found == [0, 1, 2, 3], || {
        format!("the places of 4 documents are {found:?}")
    })?;
    let finite = reply.results.iter().all(|r| r.score.is_finite());
    ensure(finite, || "a score is not finite".into())
}

async fn best_first<M: RerankModel + ?Sized>(model: &M) -> Verdict {
    let reply = model.rerank(&request()).await?;
    let sorted = reply.results.windows(2).all(|w| w[0].score >= w[1].score);
    ensure(sorted, || {
        "a document stands before one of a higher score".into()
    })
}

async fn top_n<M: RerankModel + ?Sized>(model: &M) -> Verdict {
    let all = model.rerank(&request()).await?;
    let two = model.rerank(&request().with_top_n(2)).await?;
    let first = |reply: &RerankResponse| -> Vec<usize> {
        reply.results.iter().take(2).map(|r| r.index).collect()
    };
    ensure(two.results.len() == 2, || {
        format!("top_n 2 gave {} results", two.results.len())
    })?;
    ensure(first(&all) == first(&two), || {
        "top_n gave other documents than the first ones".into()
    })?;
    let many = model.rerank(&request().with_top_n(99)).await?.results.len();
    ensure(many == DOCUMENTS.len(), || {
        format!("top_n 99 gave {many} results for 4 documents")
    })
}

async fn stable<M: RerankModel + ?Sized>(model: &M) -> Verdict {
    let one = model.rerank(&request()).await?;
    let two = model.rerank(&request()).await?;
    let same =
        one.results.iter().zip(&two.results).all(|(a, b)| {
            (a.score - b.score).abs() <= TOLERANCE * a.score.abs().max(b.score.abs())
        });
    ensure(same, || "the same request got other scores".into())
}

async fn empty<M: RerankModel + ?Sized>(model: &M) -> Verdict {
    let none: [&str; 0] = [];
    match model.rerank(&RerankRequest::new(QUERY, none)).await {
        Ok(reply) => ensure(reply.results.is_empty(), || {
            "results came for no documents".into()
        }),
        Err(error) if error.kind() == ErrorKind::InvalidRequest => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn concurrent<M: RerankModel + ?Sized>(model: &M) -> Verdict {
    let (one, two) = (request(), RerankRequest::new(QUERY, [DOCUMENTS[0]]));
    let (a, b) = join(model.rerank(&one), model.rerank(&two)).await;
    let (a, b) = (indexes(&a?), indexes(&b?));
    ensure(a.len() == 4 && b == [0], || {
        "concurrent calls mix up their results".into()
    })
}

async fn drop_rerank<M: RerankModel + ?Sized>(model: &M) -> Verdict {
    begin_and_drop(model.rerank(&request())).await;
    let n = model.rerank(&request()).await?.results.len();
    ensure(n == DOCUMENTS.len(), || {
        format!("{n} results came for 4 documents after a dropped call")
    })
}
