//! Tools that act once.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use ropewalk_core::{Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec};

/// A tool that acts once per run, however often the model calls it: to notify somebody, to pay.
///
/// The first call that succeeds counts. Later ones, and those made at the same time, are answered
/// with a sentence that says so and do nothing; after a failure the tool may be called again. Runs
/// are told apart by [`ToolContext::run_id`]; outside of runs the tool acts once in all.
///
/// ```
/// use ropewalk_core::{Tool, ToolContext};
/// use ropewalk_tools::{Once, tool};
///
/// /// Notify the customer.
/// #[tool(effect = external)]
/// fn notify(text: String) -> String {
///     format!("sent: {text}")
/// }
///
/// # futures_executor::block_on(async {
/// let notify = Once::new(notify());
/// let context = ToolContext::new("call_1").with_run("run_1", 0);
/// let first = notify.call(r#"{"text": "a deal"}"#, &context).await?;
/// assert_eq!(first.content[0].as_text(), Some("sent: a deal"));
/// let second = notify.call(r#"{"text": "another"}"#, &context).await?;
/// assert_eq!(second.content[0].as_text(), Some("not done: `notify` was called before and acts once"));
/// # Ok::<(), ropewalk_core::ToolError>(()) }).unwrap();
/// ```
pub struct Once<T> {
    tool: T,
    done: Mutex<HashSet<String>>,
}

impl<T: Tool> Once<T> {
    /// Wraps a tool.
    pub fn new(tool: T) -> Self {
        Self {
            tool,
            done: Mutex::default(),
        }
    }

    fn done(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the mark back unless the call succeeded: it failed, panicked or was dropped.
struct Mark<'a, T: Tool> {
    once: &'a Once<T>,
    run: &'a str,
    keep: bool,
}

impl<T: Tool> Drop for Mark<'_, T> {
    fn drop(&mut self) {
        if !self.keep {
            self.once.done().remove(self.run);
        }
    }
}

#[async_trait]
impl<T: Tool> Tool for Once<T> {
    fn spec(&self) -> &ToolSpec {
        self.tool.spec()
    }

    fn effect(&self) -> Effect {
        self.tool.effect()
    }

    async fn call(&self, arguments: &str, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        if !self.done().insert(context.run_id.clone()) {
            let name = &self.spec().name;
            let text = format!("not done: `{name}` was called before and acts once");
            return Ok(ToolOutput::text(text).trusted());
        }
        let mut mark = Mark {
            once: self,
            run: &context.run_id,
            keep: false,
        };
        let output = self.tool.call(arguments, context).await?;
        mark.keep = !output.is_error;
        Ok(output)
    }
}

impl<T: Tool> fmt::Debug for Once<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once")
            .field("tool", &self.tool.spec().name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_executor::block_on;
    use ropewalk_core::{ToolCall, tool_fn};

    use super::*;
    use crate::ToolSet;

    #[test]
    fn acts_once_per_run_and_again_after_a_failure() {
        let count = std::sync::Arc::new(AtomicU32::new(0));
        let counted = std::sync::Arc::clone(&count);
        let notify = tool_fn("notify", "", move |_: NoArguments| {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                match number {
                    0 => Err(ToolError::failed("no network")),
                    _ => Ok("sent"),
                }
            }
        });
        let tools = ToolSet::new().with(Once::new(notify)).unwrap();
        let call = |run: &str| {
            let calls = [
                ToolCall::new("a", "notify", "{}"),
                ToolCall::new("b", "notify", "{}"),
            ];
            let context = ToolContext::default().with_run(run, 0);
            block_on(tools.call_all(&calls, &context, 1)).unwrap()
        };
        let first = call("one");
        assert!(first[0].is_error, "the first call fails");
        assert_eq!(first[1].text(), "sent", "so that the second may act");
        assert!(call("one").iter().all(|r| r.text().starts_with("not done")));
        assert_eq!(call("two")[0].text(), "sent");
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }

    #[derive(serde::Deserialize, schemars::JsonSchema)]
    struct NoArguments {}
}
