//! Work on a thread of its own, for callers that must not be blocked.

use futures_channel::oneshot;
use ropewalk_core::{Error, ErrorKind, OnUnsupported, Warning};

use super::Truncated;
use crate::PROVIDER;

/// Runs `work` on a new thread; `wanted` turns false once nobody waits for the result.
pub(super) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce(&dyn Fn() -> bool) -> ropewalk_core::Result<T> + Send + 'static,
) -> ropewalk_core::Result<T> {
    let (sender, receiver) = oneshot::channel();
    let run = move || {
        let result = work(&|| !sender.is_canceled());
        // The caller may have gone; then there is nobody to tell.
        drop(sender.send(result));
    };
    std::thread::Builder::new()
        .name("ropewalk-encode".into())
        .spawn(run)
        .map_err(|e| Error::inference(e).with_provider(PROVIDER))?;
    receiver.await.map_err(|_| {
        Error::new(ErrorKind::Inference, "the encoding thread ended").with_provider(PROVIDER)
    })?
}

/// Says what of a request is not honoured: fields for a request body, of which there is none here.
pub(super) fn refuse_extra<'a>(
    mut providers: impl Iterator<Item = &'a String>,
    policy: OnUnsupported,
) -> ropewalk_core::Result<Vec<Warning>> {
    if !providers.any(|name| name == PROVIDER || name == "*") {
        return Ok(Vec::new());
    }
    let reason = "a local model has no request body";
    match policy {
        OnUnsupported::Error => {
            let message = format!("extra: {reason}");
            Err(Error::new(ErrorKind::Unsupported, message).with_provider(PROVIDER))
        }
        OnUnsupported::Ignore => Ok(Vec::new()),
        _ => Ok(vec![Warning::new("extra", reason)]),
    }
}

/// How many texts a warning names.
const NAMED: usize = 8;

/// Says which texts lost their end; `what` is what the list holds.
pub(super) fn truncation_warning(what: &str, of: usize, cut: &[Truncated]) -> Option<Warning> {
    let limit = cut.iter().map(|t| t.kept).max()?;
    let named: Vec<String> = cut
        .iter()
        .take(NAMED)
        .map(|t| format!("{} ({} tokens)", t.index, t.tokens))
        .collect();
    let more = if cut.len() > NAMED {
        ", and others"
    } else {
        ""
    };
    Some(Warning::new(
        what.to_owned(),
        format!(
            "{} of {of} were longer than {limit} tokens and lost their end: number {}{more}",
            cut.len(),
            named.join(", ")
        ),
    ))
}

/// The same as data, for the raw reply.
pub(super) fn truncation_json(cut: &[Truncated]) -> Option<serde_json::Value> {
    let one =
        |t: &Truncated| serde_json::json!({"index": t.index, "tokens": t.tokens, "kept": t.kept});
    let list: Vec<_> = cut.iter().map(one).collect();
    (!list.is_empty()).then(|| serde_json::json!({ "truncated": list }))
}
