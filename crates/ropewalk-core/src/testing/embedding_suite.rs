//! The rules every [`EmbeddingModel`] must keep.

use futures_util::future::{join, ready};

use super::report::{Report, Stop, Verdict, begin_and_drop, ensure};
use crate::embed::{EmbedKind, EmbedRequest, EmbeddingModel, EmbeddingModelExt};
use crate::error::ErrorKind;

const TEXTS: [&str; 3] = [
    "The train to Oslo leaves at noon.",
    "Bread is baked from flour and water.",
    "x",
];

/// Largest difference between the same text embedded alone and in a batch, relative to the norm:
/// padding changes the order of sums, and half-precision services round.
const BATCH_TOLERANCE: f32 = 2e-3;

/// Checks the contract of [`EmbeddingModel`].
///
/// The names of the checks, in order: `names`, `count_and_width`, `finite`, `order`, `distinct`,
/// `batches`, `query_kind`, `empty`, `concurrent`, `drop`.
pub async fn embeddings<M: EmbeddingModel + ?Sized>(model: &M) -> Report {
    let mut report = Report::new(format!(
        "embedding model {}/{}",
        model.provider(),
        model.model()
    ));
    report.check("names", ready(names(model))).await;
    report
        .check("count_and_width", count_and_width(model))
        .await;
    report.check("finite", finite(model)).await;
    report.check("order", order(model)).await;
    report.check("distinct", distinct(model)).await;
    report.check("batches", batches(model)).await;
    report.check("query_kind", query_kind(model)).await;
    report.check("empty", empty(model)).await;
    report.check("concurrent", concurrent(model)).await;
    report.check("drop", drop_embed(model)).await;
    report
}

fn names<M: EmbeddingModel + ?Sized>(model: &M) -> Verdict {
    ensure(!model.provider().is_empty(), || {
        "provider() is empty".into()
    })?;
    ensure(!model.model().is_empty(), || "model() is empty".into())?;
    ensure(model.max_batch() > 0, || "max_batch() is 0".into())
}

async fn all<M: EmbeddingModel + ?Sized>(model: &M) -> Result<Vec<Vec<f32>>, Stop> {
    let mut vectors = Vec::new();
    for texts in TEXTS.chunks(model.max_batch().max(1)) {
        vectors.extend(
            model
                .embed(&EmbedRequest::new(texts.iter().copied()))
                .await?
                .vectors,
        );
    }
    Ok(vectors)
}

async fn count_and_width<M: EmbeddingModel + ?Sized>(model: &M) -> Verdict {
    let vectors = all(model).await?;
    let n = vectors.len();
    ensure(n == TEXTS.len(), || {
        format!("{n} vectors came for {} texts", TEXTS.len())
    })?;
    let widths: Vec<usize> = vectors.iter().map(Vec::len).collect();
    let expected = model.dimensions().unwrap_or(widths[0]);
    let same = expected > 0 && widths.iter().all(|w| *w == expected);
    ensure(same, || {
        format!("the widths are {widths:?}, expected {expected}")
    })
}

async fn finite<M: EmbeddingModel + ?Sized>(model: &M) -> Verdict {
    let vectors = all(model).await?;
    let ok = vectors.iter().flatten().all(|x| x.is_finite());
    ensure(ok, || "a value is not finite".into())?;
    let zero = vectors.iter().any(|v| v.iter().all(|x| *x == 0.0));
    ensure(!zero, || "a vector is all zeros".into())
}

async fn order<M: EmbeddingModel + ?Sized>(model: &M) -> Verdict {
    let vectors = all(model).await?;
    for (i, text) in TEXTS.iter().enumerate() {
        let alone = model.embed(&EmbedRequest::new([*text])).await?.vectors;
        let distance = match (alone.first(), vectors.get(i)) {
            (Some(a), Some(b)) => relative_distance(a, b),
            _ => f32::INFINITY,
        };
        ensure(distance <= BATCH_TOLERANCE, || {
            format!("text {i} differs by {distance} when embedded alone and in a batch")
        })?;
    }
    Ok(())
}

fn relative_distance(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() {
        return f32::INFINITY;
    }
    let norm = a.iter().map(|x| x * x).sum::<f32>().sqrt();
    let distance = a
        .iter()
        .zip(b)
        .map(|(x, y)| (x - y) * (x - y))
        .sum::<f32>()
        .sqrt();
    if norm == 0.0 {
        distance
    } else {
        distance / norm
    }
}

async fn distinct<M: EmbeddingModel + ?Sized>(model: &M) -> Verdict {
    let vectors = all(model).await?;
    let [a, b, ..] = vectors.as_slice() else {
        return Err(Stop::Fail("fewer than two vectors came".into()));
    };
    ensure(relative_distance(a, b) > BATCH_TOLERANCE, || {
        "two texts have the same vector".into()
    })
}

async fn batches<M: EmbeddingModel + ?Sized>(model: &M) -> Verdict {
    let many = model.max_batch().min(1_000) + 1;
    let texts = (0..many).map(|i| TEXTS[i % TEXTS.len()]);
    let reply = model.embed_all(&EmbedRequest::new(texts)).await?;
    let n = reply.vectors.len();
    ensure(n == many, || format!("{n} vectors came for {many} texts"))?;
    let expected = all(model).await?.swap_remove((many - 1) % TEXTS.len());
    let distance = relative_distance(&expected, &reply.vectors[many - 1]);
    ensure(distance <= BATCH_TOLERANCE, || {
        format!("the last text of the second batch differs by {distance}")
    })
}

async fn query_kind<M: EmbeddingModel + ?Sized>(model: &M) -> Verdict {
    let vector = model.embed_one(TEXTS[0], EmbedKind::Query).await?;
    let expected = model.dimensions().unwrap_or(vector.len());
    ensure(vector.len() == expected, || {
        format!("a query has {} values", vector.len())
    })
}

async fn empty<M: EmbeddingModel + ?Sized>(model: &M) -> Verdict {
    let none: [&str; 0] = [];
    match model.embed(&EmbedRequest::new(none)).await {
        Ok(reply) => ensure(reply.vectors.is_empty(), || {
            "vectors came for no texts".into()
        }),
        Err(error) if error.kind() == ErrorKind::InvalidRequest => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn concurrent<M: EmbeddingModel + ?Sized>(model: &M) -> Verdict {
    let (one, two) = (EmbedRequest::new([TEXTS[0]]), EmbedRequest::new([TEXTS[1]]));
    let (a, b) = join(model.embed(&one), model.embed(&two)).await;
    let (a, b) = (a?.vectors, b?.vectors);
    let again = model.embed(&one).await?.vectors;
    ensure(a.len() == 1 && b.len() == 1, || {
        "vectors of concurrent calls are lost".into()
    })?;
    let distance = relative_distance(&a[0], again.first().map_or(&[], Vec::as_slice));
    ensure(distance <= BATCH_TOLERANCE, || {
        "concurrent calls mix up their vectors".into()
    })
}

async fn drop_embed<M: EmbeddingModel + ?Sized>(model: &M) -> Verdict {
    let request = EmbedRequest::new([TEXTS[0]]);
    begin_and_drop(model.embed(&request)).await;
    let n = model.embed(&request).await?.vectors.len();
    ensure(n == 1, || {
        format!("{n} vectors came for one text after a dropped call")
    })
}
