//! How servers that speak OpenAI's Chat Completions differ from it, as data.

use ropewalk_core::Capabilities;

use crate::endpoint::Auth;

/// Who says what the application's instructions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SystemRole {
    /// The role `system`, which every server knows.
    System,
    /// The role `developer`, OpenAI's newer name of it.
    Developer,
    /// The role `user`, for models without instructions.
    User,
}

/// How a server is told how much to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EffortStyle {
    /// `"reasoning_effort": LEVEL`; these levels, least first, and a budget becomes the nearest.
    Level(&'static [&'static str]),
    /// `"reasoning": {"effort": LEVEL}` or `{"max_tokens": BUDGET}` (OpenRouter).
    Object,
    /// `"thinking": {"type": "enabled" | "disabled"}`, and of these levels the `reasoning_effort`
    /// (DeepSeek).
    Switch(&'static [&'static str]),
    /// Not at all.
    None,
}

/// What a server enforces on a reply that must be JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonSupport {
    /// A schema (`json_schema`), or any JSON (`json_object`).
    Schema,
    /// A schema only (LM Studio).
    SchemaOnly,
    /// Any JSON object.
    Object,
    /// Nothing.
    None,
}

impl JsonSupport {
    /// Returns whether a schema is enforced.
    #[must_use]
    pub const fn has_schema(self) -> bool {
        matches!(self, Self::Schema | Self::SchemaOnly)
    }
}

/// What a server speaks, as data: OpenAI itself and the servers compatible with it.
///
/// Begin with a preset of [`presets`](crate::presets) or [`Dialect::new`] and set the fields that
/// differ.
///
/// ```
/// use ropewalk_providers::Dialect;
///
/// let mut dialect = Dialect::new("gateway", "https://gateway.example/v1");
/// dialect.top_k = true;
/// dialect.max_tokens = "max_completion_tokens";
/// assert_eq!(dialect.chat_path, "/chat/completions");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says whether a server knows one field of the request"
)]
#[non_exhaustive]
pub struct Dialect {
    /// Name of the provider: in replies and errors, and the key of
    /// [`ChatRequest::extra`](ropewalk_core::ChatRequest::extra). Reasoning and opaque parts go back
    /// only to the name they came from.
    pub name: &'static str,
    /// Base URL.
    pub base_url: &'static str,
    /// Environment variable of the base URL; empty for none.
    pub base_url_variable: &'static str,
    /// Path that base URLs end with; it is appended where it is missing (Azure's portal gives
    /// addresses without).
    pub base_path: &'static str,
    /// Value of the parameter `api-version` of every address; empty for none.
    pub api_version: &'static str,
    /// Environment variable of the key; empty for none.
    pub key_variable: &'static str,
    /// Whether the server refuses requests without a key.
    pub needs_key: bool,
    /// What keys begin with, for [`ApiKey::diagnose`](crate::ApiKey::diagnose); empty when unknown.
    pub key_prefixes: &'static [&'static str],
    /// Header of the key; in `authorization` it follows `Bearer `.
    pub key_header: &'static str,
    /// Whether POST requests carry an `idempotency-key`.
    pub idempotency: bool,
    /// Path of chat completions; `{model}` stands for the model.
    pub chat_path: &'static str,
    /// Path of responses.
    pub responses_path: &'static str,
    /// Path that counts the tokens of a request to responses; empty for none.
    pub count_path: &'static str,

    /// Field of the largest number of tokens to generate.
    pub max_tokens: &'static str,
    /// Field of the seed; `None` when there is no seed.
    pub seed: Option<&'static str>,
    /// Field of the end user's id.
    pub user: Option<&'static str>,
    /// Whether temperature, top-p, penalties, seed and log probabilities are honoured. Set it to
    /// `false` for reasoning models that refuse them: the name of a model is never guessed from.
    pub sampling: bool,
    /// Whether `top_k` is honoured.
    pub top_k: bool,
    /// Whether `frequency_penalty` and `presence_penalty` are honoured.
    pub penalties: bool,
    /// Whether `stop` is honoured.
    pub stop: bool,
    /// Whether `logprobs` and `top_logprobs` are honoured.
    pub logprobs: bool,
    /// Whether `prompt_cache_key` and `prompt_cache_retention` are honoured.
    pub cache_key: bool,
    /// Whether text parts may carry `cache_control`.
    pub cache_control: bool,
    /// How the server is told how much to think.
    pub effort: EffortStyle,
    /// Whether streams give usage only when `stream_options` ask for it.
    pub stream_usage: bool,
    /// Whether `completion_tokens` leaves the reasoning out, which only `total_tokens` holds.
    pub reasoning_apart: bool,

    /// Whether tools can be called.
    pub tools: bool,
    /// Whether `strict` on tools and formats is honoured, by OpenAI's rules for schemas.
    pub strict: bool,
    /// Whether `parallel_tool_calls` is honoured.
    pub parallel_tool_calls: bool,
    /// Whether `tool_choice` is honoured.
    pub tool_choice: bool,
    /// The tool choice that demands any tool: `required` or `any`.
    pub required_tool: &'static str,
    /// Whether ids of calls must be nine letters and digits (Mistral); others are then replaced,
    /// the same id by the same.
    pub nine_letter_ids: bool,
    /// Whether calls carry a signature that must come back with them
    /// (`extra_content.google.thought_signature`).
    pub call_signatures: bool,
    /// What is enforced on JSON replies.
    pub json: JsonSupport,
    /// Whether a schema is enforced while tools are offered.
    pub json_with_tools: bool,
    /// Whether JSON mode is refused unless the prompt holds the word JSON.
    pub json_word: bool,

    /// The role of instructions.
    pub system: SystemRole,
    /// Whether messages may carry the `name` of the speaker.
    pub names: bool,
    /// Field of assistant messages that takes the reasoning back; `None` when earlier reasoning
    /// must not be sent.
    pub reasoning_replay: Option<&'static str>,
    /// Whether replies carry `reasoning_details`, which must come back with the message (OpenRouter).
    pub reasoning_details: bool,
    /// Whether user messages may hold images.
    pub images: bool,
    /// Whether user messages may hold documents, as `file` parts.
    pub documents: bool,
    /// Whether user messages may hold sound, as `input_audio` parts.
    pub audio: bool,
    /// Whether user messages may hold videos, as `video_url` parts.
    pub video: bool,
    /// What responses should tell of their reasoning: `auto`, `concise` or `detailed`. Used when a
    /// request sets an effort; some OpenAI organisations must be verified for it, the others set
    /// `None`.
    pub reasoning_summary: Option<&'static str>,
}

impl Dialect {
    /// Creates the dialect of a server of which only the basics are known: bearer key if any,
    /// `system` role, `max_tokens`, the sampling options of Chat Completions, tools, JSON schemas
    /// and images.
    #[must_use]
    pub const fn new(name: &'static str, base_url: &'static str) -> Self {
        Self {
            name,
            base_url,
            base_url_variable: "",
            base_path: "",
            api_version: "",
            key_variable: "",
            needs_key: false,
            key_prefixes: &[],
            key_header: "authorization",
            idempotency: false,
            chat_path: "/chat/completions",
            responses_path: "/responses",
            count_path: "",
            max_tokens: "max_tokens",
            seed: Some("seed"),
            user: Some("user"),
            sampling: true,
            top_k: false,
            penalties: true,
            stop: true,
            logprobs: true,
            cache_key: false,
            cache_control: false,
            effort: EffortStyle::Level(LEVELS),
            stream_usage: true,
            reasoning_apart: false,
            tools: true,
            strict: false,
            parallel_tool_calls: true,
            tool_choice: true,
            required_tool: "required",
            nine_letter_ids: false,
            call_signatures: false,
            json: JsonSupport::Schema,
            json_with_tools: false,
            json_word: false,
            system: SystemRole::System,
            names: true,
            reasoning_replay: None,
            reasoning_details: false,
            images: true,
            documents: false,
            audio: false,
            video: false,
            reasoning_summary: Some("auto"),
        }
    }

    /// Returns how the key is sent.
    #[must_use]
    pub fn auth(&self) -> Auth {
        if self.key_header == "authorization" {
            Auth::Bearer
        } else {
            Auth::Header(self.key_header.into())
        }
    }

    /// Returns what a model behind this dialect can do, as far as the dialect tells.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.tools = self.tools;
        capabilities.parallel_tools = self.tools;
        capabilities.json_schema = self.json.has_schema();
        capabilities.json_schema_with_tools = capabilities.json_schema && self.json_with_tools;
        capabilities.vision = self.images;
        capabilities.audio_in = self.audio;
        capabilities.reasoning = self.effort != EffortStyle::None;
        capabilities.sampling = self.sampling;
        capabilities.streaming = true;
        capabilities
    }
}

/// The levels of effort every server with such a field knows.
pub(crate) const LEVELS: &[&str] = &["low", "medium", "high"];
