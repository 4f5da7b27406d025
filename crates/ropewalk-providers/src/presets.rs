//! The servers known by name, as [`Dialect`]s.
//!
//! | preset | what it does differently from OpenAI |
//! | --- | --- |
//! | [`OPENAI`] | `max_completion_tokens`, role `developer`, `safety_identifier`, strict schemas |
//! | [`AZURE`], [`AZURE_DEPLOYMENTS`] | header `api-key`; the older API names the deployment in the path and a version in the address |
//! | [`GITHUB`] | key is a GitHub token; tools are chosen by words only, no log probabilities |
//! | [`OPENROUTER`] | `reasoning` as an object, `reasoning_details` that must return, cache marks on texts, `top_k`, videos |
//! | [`GROQ`] | usage of streams in `x_groq`, thoughts in `reasoning`; no names, penalties and log probabilities |
//! | [`DEEPSEEK`] | `thinking` on and off, thoughts in `reasoning_content` that must return, JSON without schema |
//! | [`XAI`] | thoughts counted beside the completion |
//! | [`MISTRAL`] | `random_seed`, `any` tool, ids of nine letters, thoughts as parts of the content |
//! | [`TOGETHER`] | `top_k`, reason `eos` |
//! | [`FIREWORKS`] | `top_k`, usage with the last chunk |
//! | [`PERPLEXITY`] | no tools; citations; usage in every chunk |
//! | [`COHERE`] | no choice of tools, efforts `none` and `high` |
//! | [`GEMINI`] | thoughts only in the total, signatures on calls |
//! | [`LM_STUDIO`] | JSON only with a schema |
//! | [`VLLM`] | `top_k`, thoughts in `reasoning`, error objects without a wrapper |
//! | [`LLAMA_CPP`] | `top_k`, thoughts in `reasoning_content` |
//! | [`OLLAMA`] | no choice of tools; the native wire is the better one |
//! | [`HUGGING_FACE`] | key is a Hugging Face token |
//! | [`TGI`] | reasons such as `eos_token`, arguments of calls as objects |
//! | [`ROPEWALK`] | for a server of this library, which has none yet: `top_k` |

use crate::dialect::{Dialect, EffortStyle, JsonSupport, LEVELS, SystemRole};

/// The efforts of OpenAI; a model takes some of them.
const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh"];
/// The efforts that can be turned off.
const WITH_NONE: &[&str] = &["none", "low", "medium", "high"];

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
    effort: EffortStyle::Level(EFFORTS),
    strict: true,
    json_with_tools: true,
    json_word: true,
    system: SystemRole::Developer,
    documents: true,
    audio: true,
    ..Dialect::new("openai", "https://api.openai.com/v1")
};

/// Azure OpenAI, the API without versions: models are names of deployments in the body.
/// The address of the resource is needed, for example `https://NAME.openai.azure.com`.
pub const AZURE: Dialect = Dialect {
    name: "azure",
    base_url: "",
    base_url_variable: "AZURE_OPENAI_ENDPOINT",
    base_path: "/openai/v1",
    key_variable: "AZURE_OPENAI_API_KEY",
    key_prefixes: &[],
    key_header: "api-key",
    count_path: "",
    ..OPENAI
};

/// Azure OpenAI, the API with a version in the address and the deployment in the path. Set
/// [`Dialect::api_version`] for another version.
pub const AZURE_DEPLOYMENTS: Dialect = Dialect {
    name: "azure-deployments",
    base_path: "",
    api_version: "2024-10-21",
    chat_path: "/openai/deployments/{model}/chat/completions",
    responses_path: "/openai/responses",
    max_tokens: "max_tokens",
    user: Some("user"),
    cache_key: false,
    effort: EffortStyle::Level(LEVELS),
    system: SystemRole::System,
    documents: false,
    ..AZURE
};

/// GitHub Models. The older address `https://models.inference.ai.azure.com` speaks the same.
pub const GITHUB: Dialect = Dialect {
    key_variable: "GITHUB_TOKEN",
    needs_key: true,
    key_prefixes: &["ghp_", "github_pat_", "gho_", "ghs_", "ghu_"],
    user: None,
    logprobs: false,
    effort: EffortStyle::None,
    parallel_tool_calls: false,
    json_word: true,
    ..Dialect::new("github", "https://models.github.ai/inference")
};

/// OpenRouter.
pub const OPENROUTER: Dialect = Dialect {
    key_variable: "OPENROUTER_API_KEY",
    needs_key: true,
    key_prefixes: &["sk-or-"],
    top_k: true,
    cache_control: true,
    effort: EffortStyle::Object,
    reasoning_replay: Some("reasoning"),
    reasoning_details: true,
    documents: true,
    audio: true,
    video: true,
    ..Dialect::new("openrouter", "https://openrouter.ai/api/v1")
};

/// Groq.
pub const GROQ: Dialect = Dialect {
    key_variable: "GROQ_API_KEY",
    needs_key: true,
    key_prefixes: &["gsk_"],
    max_tokens: "max_completion_tokens",
    penalties: false,
    logprobs: false,
    json_word: true,
    names: false,
    ..Dialect::new("groq", "https://api.groq.com/openai/v1")
};

/// DeepSeek.
pub const DEEPSEEK: Dialect = Dialect {
    key_variable: "DEEPSEEK_API_KEY",
    needs_key: true,
    key_prefixes: &["sk-"],
    seed: None,
    user: None,
    effort: EffortStyle::Switch(&["low", "high", "max"]),
    parallel_tool_calls: false,
    json: JsonSupport::Object,
    json_word: true,
    reasoning_replay: Some("reasoning_content"),
    images: false,
    ..Dialect::new("deepseek", "https://api.deepseek.com")
};

/// xAI.
pub const XAI: Dialect = Dialect {
    key_variable: "XAI_API_KEY",
    needs_key: true,
    key_prefixes: &["xai-"],
    max_tokens: "max_completion_tokens",
    effort: EffortStyle::Level(WITH_NONE),
    reasoning_apart: true,
    ..Dialect::new("xai", "https://api.x.ai/v1")
};

/// Mistral.
pub const MISTRAL: Dialect = Dialect {
    key_variable: "MISTRAL_API_KEY",
    needs_key: true,
    seed: Some("random_seed"),
    user: None,
    logprobs: false,
    effort: EffortStyle::Level(&["none", "high"]),
    stream_usage: false,
    required_tool: "any",
    nine_letter_ids: true,
    names: false,
    ..Dialect::new("mistral", "https://api.mistral.ai/v1")
};

/// Together.
pub const TOGETHER: Dialect = Dialect {
    key_variable: "TOGETHER_API_KEY",
    needs_key: true,
    user: None,
    top_k: true,
    // Together's own `logprobs` is a number.
    logprobs: false,
    parallel_tool_calls: false,
    ..Dialect::new("together", "https://api.together.xyz/v1")
};

/// Fireworks.
pub const FIREWORKS: Dialect = Dialect {
    key_variable: "FIREWORKS_API_KEY",
    needs_key: true,
    key_prefixes: &["fw_"],
    top_k: true,
    effort: EffortStyle::Level(WITH_NONE),
    ..Dialect::new("fireworks", "https://api.fireworks.ai/inference/v1")
};

/// Perplexity.
pub const PERPLEXITY: Dialect = Dialect {
    key_variable: "PERPLEXITY_API_KEY",
    needs_key: true,
    key_prefixes: &["pplx-"],
    seed: None,
    user: None,
    top_k: true,
    stop: false,
    logprobs: false,
    effort: EffortStyle::Level(&["minimal", "low", "medium", "high"]),
    stream_usage: false,
    tools: false,
    names: false,
    ..Dialect::new("perplexity", "https://api.perplexity.ai")
};

/// Cohere, by its compatibility API.
pub const COHERE: Dialect = Dialect {
    key_variable: "COHERE_API_KEY",
    needs_key: true,
    user: None,
    logprobs: false,
    effort: EffortStyle::Level(&["none", "high"]),
    parallel_tool_calls: false,
    tool_choice: false,
    names: false,
    ..Dialect::new("cohere", "https://api.cohere.ai/compatibility/v1")
};

/// Gemini, by its compatibility API; the native wire does more.
pub const GEMINI: Dialect = Dialect {
    key_variable: "GEMINI_API_KEY",
    needs_key: true,
    key_prefixes: &["AIza", "AQ."],
    seed: None,
    user: None,
    penalties: false,
    logprobs: false,
    effort: EffortStyle::Level(&["none", "minimal", "low", "medium", "high"]),
    reasoning_apart: true,
    parallel_tool_calls: false,
    call_signatures: true,
    names: false,
    audio: true,
    ..Dialect::new(
        "gemini-openai",
        "https://generativelanguage.googleapis.com/v1beta/openai",
    )
};

/// LM Studio.
pub const LM_STUDIO: Dialect = Dialect {
    base_url_variable: "LM_STUDIO_BASE_URL",
    user: None,
    top_k: true,
    logprobs: false,
    effort: EffortStyle::None,
    parallel_tool_calls: false,
    json: JsonSupport::SchemaOnly,
    names: false,
    ..Dialect::new("lmstudio", "http://127.0.0.1:1234/v1")
};

/// vLLM's server.
pub const VLLM: Dialect = Dialect {
    base_url_variable: "VLLM_BASE_URL",
    key_variable: "VLLM_API_KEY",
    top_k: true,
    video: true,
    ..Dialect::new("vllm", "http://127.0.0.1:8000/v1")
};

/// llama.cpp's server.
pub const LLAMA_CPP: Dialect = Dialect {
    base_url_variable: "LLAMA_CPP_BASE_URL",
    key_variable: "LLAMA_API_KEY",
    user: None,
    top_k: true,
    effort: EffortStyle::None,
    names: false,
    audio: true,
    ..Dialect::new("llamacpp", "http://127.0.0.1:8080/v1")
};

/// Ollama, by its compatibility API; the native wire does more.
pub const OLLAMA: Dialect = Dialect {
    base_url_variable: "OLLAMA_OPENAI_BASE_URL",
    user: None,
    logprobs: false,
    effort: EffortStyle::Level(WITH_NONE),
    parallel_tool_calls: false,
    tool_choice: false,
    names: false,
    ..Dialect::new("ollama-openai", "http://127.0.0.1:11434/v1")
};

/// Hugging Face's router of inference providers.
pub const HUGGING_FACE: Dialect = Dialect {
    key_variable: "HF_TOKEN",
    needs_key: true,
    key_prefixes: &["hf_"],
    user: None,
    ..Dialect::new("huggingface", "https://router.huggingface.co/v1")
};

/// Hugging Face's text-generation-inference, on this machine or as an Inference Endpoint (give its
/// address followed by `/v1`).
pub const TGI: Dialect = Dialect {
    base_url_variable: "TGI_BASE_URL",
    key_variable: "HF_TOKEN",
    key_prefixes: &["hf_"],
    user: None,
    effort: EffortStyle::None,
    parallel_tool_calls: false,
    ..Dialect::new("tgi", "http://127.0.0.1:8080/v1")
};

/// A server of this library. There is none yet; the name is kept for it.
pub const ROPEWALK: Dialect = Dialect {
    base_url_variable: "ROPEWALK_BASE_URL",
    key_variable: "ROPEWALK_API_KEY",
    top_k: true,
    ..Dialect::new("ropewalk", "http://127.0.0.1:8080/v1")
};

/// All presets.
pub const ALL: &[Dialect] = &[
    OPENAI,
    AZURE,
    AZURE_DEPLOYMENTS,
    GITHUB,
    OPENROUTER,
    GROQ,
    DEEPSEEK,
    XAI,
    MISTRAL,
    TOGETHER,
    FIREWORKS,
    PERPLEXITY,
    COHERE,
    GEMINI,
    LM_STUDIO,
    VLLM,
    LLAMA_CPP,
    OLLAMA,
    HUGGING_FACE,
    TGI,
    ROPEWALK,
];

/// Returns the preset of a name.
///
/// ```
/// use ropewalk_providers::presets;
///
/// assert_eq!(presets::preset("groq"), Some(presets::GROQ));
/// assert_eq!(presets::preset("nobody"), None);
/// ```
#[must_use]
pub fn preset(name: &str) -> Option<Dialect> {
    ALL.iter().find(|d| d.name == name).copied()
}
