//! Spans with the names of the OpenTelemetry conventions for generative AI.

use tracing::Span;

/// A step of a chain that has a name.
pub(crate) fn step_span(name: &str) -> Span {
    tracing::info_span!(
        "step",
        "otel.name" = format!("step {name}"),
        "ropewalk.step.name" = name
    )
}
