//! The servers known by name.

use crate::dialect::{Dialect, EffortStyle, SystemRole};

/// OpenAI.
pub const OPENAI: Dialect = Dialect {
    base_url_variable: "OPENAI_BASE_URL",
    key_variable: "OPENAI_API_KEY",
    needs_key: true,
    key_prefixes: &["sk-"],
    idempotency: true,
    count_path: "/responses/input_tokens",
    max_tokens: "max_completion_tokens",
    user: Some("safety_identifier"),
    cache_key: true,
    effort: EffortStyle::Level(&["none", "minimal", "low", "medium", "high", "xhigh"]),
    strict: true,
    json_with_tools: true,
    json_word: true,
    system: SystemRole::Developer,
    documents: true,
    audio: true,
    ..Dialect::new("openai", "https://api.openai.com/v1")
};

/// vLLM's server.
pub const VLLM: Dialect = Dialect {
    key_variable: "VLLM_API_KEY",
    top_k: true,
    ..Dialect::new("vllm", "http://127.0.0.1:8000/v1")
};
