//! What each form of tool call looks like, as data.

use super::ToolCallFormat;

/// How a call begins, what it holds and where it ends.
#[derive(Debug)]
pub(super) struct Rule {
    /// The text that begins it; empty for a call that is the whole answer.
    pub(super) open: &'static str,
    pub(super) body: Body,
    /// The texts that end it, outside of the strings of its body.
    pub(super) close: &'static [&'static str],
    /// It also ends where its brackets are balanced.
    pub(super) balanced: bool,
    /// The opening is part of the body.
    pub(super) keep: bool,
    /// Ordinary text may look like it: what turns out to be no call is text, not a malformed call.
    pub(super) soft: bool,
}

/// The syntax between opening and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// Objects with `name` and `arguments` or `parameters`: one, several, or a list of them.
    Json,
    /// `<function=name>` with `<parameter=key>value</parameter>` or a JSON object, in these tags.
    Xml(&'static Markup),
    JsonOrXml,
    /// `name(key="value")`: one, several, or a list of them.
    Python,
    JsonOrPython,
    /// `name[CALL_ID]id[ARGS]{…}`, or JSON.
    Named,
    /// `function<｜tool▁sep｜>name` and fenced JSON, or `name<｜tool▁sep｜>` and JSON.
    Separated,
    /// `call:name{key:value}` with this mark around strings.
    Marked(&'static str),
    /// Nothing: a tag around calls that is left out of the text.
    Skip,
    /// The same, only directly after a call.
    SkipAfterCall,
}

pub(super) const NAMED_ID: &str = "[CALL_ID]";
pub(super) const NAMED_ARGS: &str = "[ARGS]";
pub(super) const SEPARATOR: &str = "<｜tool▁sep｜>";

/// Tags around a call and its parameters. Names stand after the openings, up to `>`, possibly in quotes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Markup {
    pub(super) function: &'static str,
    pub(super) function_end: &'static str,
    pub(super) parameter: &'static str,
    pub(super) parameter_end: &'static str,
    /// A token inside the tags.
    pub(super) token: &'static str,
}

pub(super) const QWEN: &Markup = &Markup {
    function: "<function=",
    function_end: "</function>",
    parameter: "<parameter=",
    parameter_end: "</parameter>",
    token: "",
};

/// DeepSeek V3.2 and V4; parameters say `string="true"` or `string="false"`.
const DSML: &Markup = &Markup {
    function: "<｜DSML｜invoke name=",
    function_end: "</｜DSML｜invoke>",
    parameter: "<｜DSML｜parameter name=",
    parameter_end: "</｜DSML｜parameter>",
    token: "｜DSML｜",
};

const fn tagged(open: &'static str, body: Body, close: &'static [&'static str]) -> Rule {
    Rule {
        open,
        body,
        close,
        balanced: false,
        keep: false,
        soft: false,
    }
}

const fn balanced(open: &'static str, body: Body, close: &'static [&'static str]) -> Rule {
    let mut rule = tagged(open, body, close);
    rule.balanced = true;
    rule
}

const fn soft(mut rule: Rule) -> Rule {
    rule.soft = true;
    rule
}

const HERMES: Rule = tagged("<tool_call>", Body::JsonOrXml, &["</tool_call>"]);
const SEED: Rule = tagged("<seed:tool_call>", Body::Xml(QWEN), &["</seed:tool_call>"]);
const FUNCTION_TAG: Rule = Rule {
    keep: true,
    ..tagged(QWEN.function, Body::Xml(QWEN), &["</function>"])
};
const AFTER_FUNCTION: Rule = tagged("</tool_call>", Body::SkipAfterCall, &[]);
const LIST: Rule = tagged("<tool_calls>", Body::Json, &["</tool_calls>"]);
const LIST_UPPER: Rule = tagged("<TOOLCALL>", Body::Json, &["</TOOLCALL>"]);
const PYTHON_TAG: Rule = balanced("<|python_tag|>", Body::JsonOrPython, &[]);
const PYTHON_START: Rule = balanced("<|python_start|>", Body::JsonOrPython, &["<|python_end|>"]);
const PYTHON_END: Rule = tagged("<|python_end|>", Body::SkipAfterCall, &[]);
const CALL_START: Rule = tagged(
    "<|tool_call_start|>",
    Body::JsonOrPython,
    &["<|tool_call_end|>"],
);
const PHI: Rule = balanced("<|tool_call|>", Body::Json, &["<|/tool_call|>"]);
const PHI_END: Rule = tagged("<|/tool_call|>", Body::SkipAfterCall, &[]);
const FUNCTOOLS: Rule = soft(balanced("functools", Body::Json, &[]));
const MISTRAL: Rule = balanced("[TOOL_CALLS]", Body::Named, &[]);
const TOOL_CODE: Rule = tagged("```tool_code", Body::JsonOrPython, &["```"]);
const TOOL_FENCE: Rule = tagged("```tool_call", Body::JsonOrPython, &["```"]);
const FUNCTION_GEMMA: Rule = tagged(
    "<start_function_call>",
    Body::Marked("<escape>"),
    &["<end_function_call>"],
);
const GEMMA_4: Rule = tagged("<|tool_call>", Body::Marked("<|\"|>"), &["<tool_call|>"]);
const CALLS_BEGIN: Rule = tagged("<｜tool▁calls▁begin｜>", Body::Skip, &[]);
const CALLS_END: Rule = tagged("<｜tool▁calls▁end｜>", Body::SkipAfterCall, &[]);
const DEEPSEEK: Rule = tagged(
    "<｜tool▁call▁begin｜>",
    Body::Separated,
    &["<｜tool▁call▁end｜>"],
);
const DSML_BEGIN: Rule = tagged("<｜DSML｜function_calls>", Body::Skip, &[]);
const DSML_END: Rule = tagged("</｜DSML｜function_calls>", Body::SkipAfterCall, &[]);
const DSML_4_BEGIN: Rule = tagged("<｜DSML｜tool_calls>", Body::Skip, &[]);
const DSML_4_END: Rule = tagged("</｜DSML｜tool_calls>", Body::SkipAfterCall, &[]);
const INVOKE: Rule = Rule {
    keep: true,
    ..tagged(DSML.function, Body::Xml(DSML), &["</｜DSML｜invoke>"])
};
const BARE_JSON: Rule = soft(balanced("", Body::Json, &[]));
const BARE_PYTHON: Rule = soft(balanced("", Body::Python, &[]));

impl ToolCallFormat {
    pub(super) fn rules(self) -> &'static [Rule] {
        match self {
            Self::Auto => &[
                HERMES,
                SEED,
                FUNCTION_TAG,
                AFTER_FUNCTION,
                LIST,
                LIST_UPPER,
                PYTHON_TAG,
                PYTHON_START,
                PYTHON_END,
                CALL_START,
                PHI,
                PHI_END,
                FUNCTOOLS,
                MISTRAL,
                TOOL_CODE,
                TOOL_FENCE,
                FUNCTION_GEMMA,
                GEMMA_4,
                CALLS_BEGIN,
                CALLS_END,
                DEEPSEEK,
                DSML_BEGIN,
                DSML_END,
                DSML_4_BEGIN,
                DSML_4_END,
                INVOKE,
                BARE_JSON,
                BARE_PYTHON,
            ],
            Self::Hermes => &[HERMES],
            Self::QwenCoder => &[HERMES, SEED, FUNCTION_TAG, AFTER_FUNCTION],
            Self::JsonList => &[LIST, LIST_UPPER],
            Self::Llama3 => &[PYTHON_TAG, BARE_JSON],
            Self::Pythonic => &[PYTHON_START, PYTHON_END, CALL_START, BARE_PYTHON],
            Self::Phi4 => &[PHI, PHI_END, FUNCTOOLS],
            Self::Mistral => &[MISTRAL],
            Self::Gemma => &[
                TOOL_CODE,
                TOOL_FENCE,
                FUNCTION_GEMMA,
                GEMMA_4,
                BARE_JSON,
                BARE_PYTHON,
            ],
            Self::DeepSeek => &[
                CALLS_BEGIN,
                CALLS_END,
                DEEPSEEK,
                DSML_BEGIN,
                DSML_END,
                DSML_4_BEGIN,
                DSML_4_END,
                INVOKE,
            ],
        }
    }
}
