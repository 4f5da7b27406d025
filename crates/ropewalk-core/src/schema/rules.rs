//! What each dialect knows.

/// A dialect as data.
pub(super) struct Rules {
    /// Keywords that stay.
    pub(super) keywords: &'static [&'static str],
    /// Values of `format` that stay.
    pub(super) formats: &'static [&'static str],
    /// Whether references are inlined everywhere, rather than beside other keywords only.
    pub(super) inline_all: bool,
    /// Whether objects must say `additionalProperties: false`.
    pub(super) closed: bool,
    /// Whether all properties must be required.
    pub(super) all_required: bool,
    /// Whether null is written as `nullable`, and enums hold texts only (OpenAPI 3.0).
    pub(super) openapi: bool,
    /// Largest `minItems`.
    pub(super) min_items: u64,
    /// Whether the root must be an object.
    pub(super) object_root: bool,
}

/// Structured outputs of OpenAI: "Supported schemas" of its guide.
pub(super) const OPENAI_STRICT: Rules = Rules {
    keywords: &[
        "$defs",
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "default",
        "definitions",
        "description",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maximum",
        "minItems",
        "minimum",
        "multipleOf",
        "pattern",
        "properties",
        "required",
        "title",
        "type",
    ],
    formats: &[
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "time",
        "uuid",
    ],
    inline_all: false,
    closed: true,
    all_required: true,
    openapi: false,
    min_items: u64::MAX,
    object_root: true,
};

/// Structured outputs of Anthropic: "JSON Schema limitations" of its guide, and the rewriter of
/// its SDKs.
pub(super) const ANTHROPIC_STRICT: Rules = Rules {
    keywords: &[
        "$defs",
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "definitions",
        "description",
        "enum",
        "format",
        "items",
        "minItems",
        "properties",
        "required",
        "title",
        "type",
    ],
    formats: &[
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "time",
        "uri",
        "uuid",
    ],
    min_items: 1,
    all_required: false,
    ..OPENAI_STRICT
};

/// `Schema` of the Gemini API.
pub(super) const GEMINI: Rules = Rules {
    keywords: &[
        "anyOf",
        "default",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "nullable",
        "pattern",
        "properties",
        "propertyOrdering",
        "required",
        "title",
        "type",
    ],
    formats: &["date-time", "double", "enum", "float", "int32", "int64"],
    inline_all: true,
    closed: false,
    all_required: false,
    openapi: true,
    min_items: u64::MAX,
    object_root: false,
};

/// Keywords that say nothing about the value.
pub(super) const IGNORED: [&str; 9] = [
    "$anchor",
    "$comment",
    "$id",
    "$schema",
    "deprecated",
    "discriminator",
    "examples",
    "readOnly",
    "writeOnly",
];

/// Formats by which schemars names the types of numbers; `minimum` says as much.
pub(super) fn is_number_format(format: &str) -> bool {
    let bits = format.trim_start_matches('u').trim_start_matches("int");
    format == "double"
        || format == "float"
        || format.trim_start_matches('u').starts_with("int")
            && matches!(bits, "" | "8" | "16" | "32" | "64" | "128")
}
