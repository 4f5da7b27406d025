//! The forms of tool calls.

use std::fmt;

use super::rules::{Body, NAMED_ARGS, NAMED_ID, SEPARATOR};

/// How a family of models writes tool calls.
///
/// | format | models | looks like |
/// | --- | --- | --- |
/// | `Hermes` | Qwen 2.5, Qwen 3, Hermes, Granite 4 | `<tool_call>{"name": …, "arguments": …}</tool_call>` |
/// | `QwenCoder` | Qwen3-Coder, Qwen 3.5, Nemotron 3, Seed-OSS | `<tool_call><function=f><parameter=a>1</parameter></function></tool_call>` |
/// | `Llama3` | Llama 3.1 to 3.3 | `{"name": …, "parameters": …}`; `<\|python_tag\|>f.call(a="1")` |
/// | `Pythonic` | Llama 3.2 and 4 with Python lists, LFM2 | `[f(a=1), g(b="x")]` |
/// | `Phi4` | Phi-4-mini, Granite 3, firefunction | `<\|tool_call\|>[{…}]<\|/tool_call\|>`, `functools[{…}]` |
/// | `Mistral` | Mistral, Ministral, Devstral | `[TOOL_CALLS][{…}]`, `[TOOL_CALLS]f[CALL_ID]…[ARGS]{…}` |
/// | `Gemma` | Gemma 2 to 4, FunctionGemma | ` ```tool_code `, `<start_function_call>call:f{a:1}<end_function_call>` |
/// | `DeepSeek` | DeepSeek V3 to V4, R1 | `<｜tool▁call▁begin｜>function<｜tool▁sep｜>f …<｜tool▁call▁end｜>` |
/// | `JsonList` | Nemotron Nano 2, Apriel 1.6 | `<TOOLCALL>[{…}]</TOOLCALL>`, `<tool_calls>[{…}]</tool_calls>` |
/// | `Auto` | unknown | any of these |
///
/// JSON objects may name the tool in `name` or `function` and its arguments in `arguments` or `parameters`, in each
/// format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ToolCallFormat {
    /// Any of the others. An answer that is JSON with `name` and `parameters` or `arguments`, or a Python list of calls,
    /// counts as calls too.
    Auto,
    /// JSON between `<tool_call>` tags.
    #[default]
    Hermes,
    /// `<function=…>` with `<parameter=…>` values, usually between `<tool_call>` tags. Values become JSON: strings where
    /// the tools given to [`ToolCallParser::with_tools`](super::ToolCallParser::with_tools) say so, else numbers,
    /// booleans, lists and objects where they read as such.
    QwenCoder,
    /// A JSON object as the whole answer, several separated by `;`, `,` or white space; or after `<|python_tag|>`, also
    /// in the syntax of built-in tools.
    Llama3,
    /// A Python list of calls as the whole answer or between `<|python_start|>` or `<|tool_call_start|>` tags.
    Pythonic,
    /// A JSON list after `<|tool_call|>` or `functools`.
    Phi4,
    /// `[TOOL_CALLS]` and a JSON list, or name, `[ARGS]` and the arguments. New ids have the nine letters and digits that
    /// templates of Mistral ask for.
    Mistral,
    /// Python or JSON in a code block named `tool_code` or `tool_call`, or as the whole answer; `call:name{…}` in the
    /// tags of FunctionGemma and Gemma 4.
    Gemma,
    /// Between `<｜tool▁call▁begin｜>` and `<｜tool▁call▁end｜>`; in V3.2 and V4 in `<｜DSML｜invoke name="f">` tags.
    DeepSeek,
    /// A JSON list between `<tool_calls>` or `<TOOLCALL>` tags.
    JsonList,
}

/// Texts of chat templates that tell the format; the first row with all of its texts counts.
const MARKS: &[(&[&str], ToolCallFormat)] = &[
    (&["<｜tool▁call▁begin｜>"], ToolCallFormat::DeepSeek),
    (&["｜DSML｜"], ToolCallFormat::DeepSeek),
    (&["[TOOL_CALLS]"], ToolCallFormat::Mistral),
    (&["<start_function_call>"], ToolCallFormat::Gemma),
    (&["<|tool_call>call:"], ToolCallFormat::Gemma),
    (&["```tool_code"], ToolCallFormat::Gemma),
    (&["```tool_call"], ToolCallFormat::Gemma),
    (&["<function=", "</function>"], ToolCallFormat::QwenCoder),
    (&["functools["], ToolCallFormat::Phi4),
    (&["<|tool_call|>"], ToolCallFormat::Phi4),
    (&["<|tool_call_start|>"], ToolCallFormat::Pythonic),
    (&["func_name1("], ToolCallFormat::Pythonic),
    (&["<tool_calls>", "\"arguments\""], ToolCallFormat::JsonList),
    (&["<TOOLCALL>", "\"arguments\""], ToolCallFormat::JsonList),
    (&["<tool_call>", "\"arguments\""], ToolCallFormat::Hermes),
    (
        &["<tool_call>", "\\\"arguments\\\""],
        ToolCallFormat::Hermes,
    ),
    (&["<|python_tag|>"], ToolCallFormat::Llama3),
    (
        &["{\"name\": function name, \"parameters\":"],
        ToolCallFormat::Llama3,
    ),
];

impl ToolCallFormat {
    /// All formats.
    pub const ALL: [Self; 10] = [
        Self::Auto,
        Self::Hermes,
        Self::QwenCoder,
        Self::Llama3,
        Self::Pythonic,
        Self::Phi4,
        Self::Mistral,
        Self::Gemma,
        Self::DeepSeek,
        Self::JsonList,
    ];

    /// Returns the format that a chat template writes or asks for, found by the tags in its text; `None` where it
    /// names none of them.
    ///
    /// ```
    /// use ropewalk_tokens::tool_calls::ToolCallFormat;
    ///
    /// let template = r#"{{ '<tool_call>\n{"name": "' + call.name + '", "arguments": ' }}"#;
    /// assert_eq!(ToolCallFormat::detect(template), Some(ToolCallFormat::Hermes));
    /// assert_eq!(ToolCallFormat::detect("{{ messages[0].content }}"), None);
    /// ```
    pub fn detect(chat_template: &str) -> Option<Self> {
        MARKS
            .iter()
            .find(|(texts, _)| texts.iter().all(|text| chat_template.contains(text)))
            .map(|&(_, format)| format)
    }

    /// Returns the texts that mark calls. Where one of them is a special token of the vocabulary, it must reach the
    /// parser: show it with [`DecodeStream::showing`](crate::DecodeStream::showing).
    pub fn marks(self) -> Vec<&'static str> {
        let mut marks = Vec::new();
        for rule in self.rules() {
            marks.push(rule.open);
            marks.extend(rule.close);
            match rule.body {
                Body::Marked(mark) => marks.push(mark),
                Body::Xml(markup) => marks.push(markup.token),
                Body::Named => marks.extend([NAMED_ID, NAMED_ARGS]),
                Body::Separated => marks.push(SEPARATOR),
                _ => {}
            }
        }
        marks.retain(|mark| !mark.is_empty());
        marks.sort_unstable();
        marks.dedup();
        marks
    }

    /// Returns the tokens after which a model waits for the results of its calls, which end its answer.
    pub fn end_marks(self) -> &'static [&'static str] {
        match self {
            Self::Gemma => &["<start_function_response>", "<|tool_response>"],
            Self::DeepSeek => &["<｜tool▁outputs▁begin｜>"],
            _ => &[],
        }
    }

    /// Returns a text to begin an answer with so that it becomes a call, of `tool` if given. Put it after the prompt and
    /// push it to the parser first.
    ///
    /// `None` where the models of the format differ in how a call begins.
    pub fn opening(self, tool: Option<&str>) -> Option<String> {
        let json = |before: &str, arguments: &str| match tool {
            None => format!("{before}{{\"name\": \""),
            Some(tool) => format!("{before}{{\"name\": \"{tool}\", \"{arguments}\":"),
        };
        Some(match (self, tool) {
            (Self::Hermes, _) => json("<tool_call>\n", "arguments"),
            (Self::Llama3, _) => json("", "parameters"),
            (Self::QwenCoder, None) => "<tool_call>\n<function=".to_owned(),
            (Self::QwenCoder, Some(tool)) => format!("<tool_call>\n<function={tool}>\n"),
            (Self::Mistral, None) => "[TOOL_CALLS]".to_owned(),
            _ => return None,
        })
    }

    /// Returns the name, such as `qwen-coder`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Hermes => "hermes",
            Self::QwenCoder => "qwen-coder",
            Self::Llama3 => "llama3",
            Self::Pythonic => "pythonic",
            Self::Phi4 => "phi4",
            Self::Mistral => "mistral",
            Self::Gemma => "gemma",
            Self::DeepSeek => "deepseek",
            Self::JsonList => "json-list",
        }
    }

    /// Returns an id for the call of this number.
    pub(super) fn id(self, number: usize) -> String {
        match self {
            // The templates of Mistral take nine letters and digits.
            Self::Mistral => format!("call{number:05}"),
            _ => format!("call_{number}"),
        }
    }
}

impl fmt::Display for ToolCallFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
