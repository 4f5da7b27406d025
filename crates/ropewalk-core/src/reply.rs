//! What the replies of all abilities have in common besides what was asked for.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Fields merged last into the request body, by provider name (`openai`, `cohere`; `*` for all),
/// so that switching the model cannot send one provider's fields to another.
pub(crate) type Extra = BTreeMap<String, Map<String, Value>>;

/// The setters of a request's `extra` and `on_unsupported`.
macro_rules! request_setters {
    ($($request:ty),*) => {$(
        impl $request {
            /// Sets a field of the request body of one provider (`*` for all).
            #[must_use]
            pub fn with_extra(
                mut self,
                provider: impl Into<String>,
                field: impl Into<String>,
                value: impl Into<serde_json::Value>,
            ) -> Self {
                let fields = self.extra.entry(provider.into()).or_default();
                fields.insert(field.into(), value.into());
                self
            }

            /// Sets what to do with what the model cannot honour.
            #[must_use]
            pub fn with_on_unsupported(mut self, policy: $crate::OnUnsupported) -> Self {
                self.on_unsupported = policy;
                self
            }
        }
    )*};
}

/// The setters of what every reply says about itself.
macro_rules! reply_setters {
    ($($reply:ty),*) => {$(
        impl $reply {
            /// Sets the model that answered, as the provider names it.
            #[must_use]
            pub fn with_model(mut self, model: impl Into<String>) -> Self {
                self.model = model.into();
                self
            }

            /// Sets the tokens used.
            #[must_use]
            pub fn with_usage(mut self, usage: $crate::Usage) -> Self {
                self.usage = usage;
                self
            }

            /// Adds warnings.
            #[must_use]
            pub fn with_warnings(
                mut self,
                warnings: impl IntoIterator<Item = $crate::Warning>,
            ) -> Self {
                self.warnings.extend(warnings);
                self
            }

            /// Sets the provider's reply.
            #[must_use]
            pub fn with_raw(mut self, raw: serde_json::Value) -> Self {
                self.raw = Some(raw);
                self
            }
        }
    )*};
}

pub(crate) use {reply_setters, request_setters};
