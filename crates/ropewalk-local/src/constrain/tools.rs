//! Calls of tools, in the forms that families of models write them.

use ropewalk_core::{ToolChoice, ToolSpec};
use ropewalk_tokens::tool_calls::ToolCallFormat;
use serde_json::{Value, json};

use super::Vocabulary;
use super::lark::{literal, strip_anchors, with_marks};
use super::schema::{Prepared, SchemaOptions};
use crate::{Error, Result};

/// Most calls of one reply.
const MOST_CALLS: usize = 8;

/// How the arguments of a call are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arguments {
    Json,
    /// `a=1, b="x"`.
    Python,
    /// `<parameter=a>` and the value, strings without quotes.
    Xml,
}

/// One way of writing calls.
#[derive(Debug)]
struct Dialect {
    format: ToolCallFormat,
    /// A template with this text writes this way.
    sign: &'static str,
    /// Before the first call and after the last.
    around: [&'static str; 2],
    /// Before the name, between name and arguments, after the arguments.
    call: [&'static str; 3],
    /// Between two calls.
    between: &'static str,
    arguments: Arguments,
}

/// `{"name": …, "arguments": …}`.
const OBJECT: [&str; 3] = ["{\"name\": \"", "\", \"arguments\": ", "}"];

/// The first dialect of a format is taken where no sign is found.
const DIALECTS: &[Dialect] = &[
    Dialect {
        format: ToolCallFormat::Hermes,
        sign: "<tool_call>",
        around: ["", ""],
        call: [
            "<tool_call>\n{\"name\": \"",
            "\", \"arguments\": ",
            "}\n</tool_call>",
        ],
        between: "\n",
        arguments: Arguments::Json,
    },
    Dialect {
        format: ToolCallFormat::QwenCoder,
        sign: "<function=",
        around: ["", ""],
        call: [
            "<tool_call>\n<function=",
            ">\n",
            "</function>\n</tool_call>",
        ],
        between: "\n",
        arguments: Arguments::Xml,
    },
    Dialect {
        format: ToolCallFormat::Llama3,
        sign: "\"parameters\"",
        around: ["", ""],
        call: ["{\"name\": \"", "\", \"parameters\": ", "}"],
        between: "; ",
        arguments: Arguments::Json,
    },
    Dialect {
        format: ToolCallFormat::Pythonic,
        sign: "func_name1(",
        around: ["[", "]"],
        call: ["", "(", ")"],
        between: ", ",
        arguments: Arguments::Python,
    },
    Dialect {
        format: ToolCallFormat::Pythonic,
        sign: "<|tool_call_start|>",
        around: ["<|tool_call_start|>[", "]<|tool_call_end|>"],
        call: ["", "(", ")"],
        between: ", ",
        arguments: Arguments::Python,
    },
    Dialect {
        format: ToolCallFormat::Pythonic,
        sign: "<|python_start|>",
        around: ["<|python_start|>[", "]<|python_end|>"],
        call: ["", "(", ")"],
        between: ", ",
        arguments: Arguments::Python,
    },
    Dialect {
        format: ToolCallFormat::Phi4,
        sign: "<|tool_call|>",
        around: ["<|tool_call|>[", "]<|/tool_call|>"],
        call: OBJECT,
        between: ", ",
        arguments: Arguments::Json,
    },
    Dialect {
        format: ToolCallFormat::Phi4,
        sign: "functools[",
        around: ["functools[", "]"],
        call: OBJECT,
        between: ", ",
        arguments: Arguments::Json,
    },
    Dialect {
        format: ToolCallFormat::Mistral,
        sign: "[TOOL_CALLS]",
        around: ["[TOOL_CALLS][", "]"],
        call: OBJECT,
        between: ", ",
        arguments: Arguments::Json,
    },
    Dialect {
        format: ToolCallFormat::Mistral,
        sign: "[ARGS]",
        around: ["", ""],
        call: ["[TOOL_CALLS]", "[ARGS]", ""],
        between: "",
        arguments: Arguments::Json,
    },
    Dialect {
        format: ToolCallFormat::DeepSeek,
        sign: "<｜tool▁call▁begin｜>",
        around: ["<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"],
        call: [
            "<｜tool▁call▁begin｜>",
            "<｜tool▁sep｜>",
            "<｜tool▁call▁end｜>",
        ],
        between: "",
        arguments: Arguments::Json,
    },
    Dialect {
        format: ToolCallFormat::DeepSeek,
        sign: "```json",
        around: ["<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"],
        call: [
            "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
            "\n```json\n",
            "\n```<｜tool▁call▁end｜>",
        ],
        between: "\n",
        arguments: Arguments::Json,
    },
    Dialect {
        format: ToolCallFormat::JsonList,
        sign: "<tool_calls>",
        around: ["<tool_calls>[", "]</tool_calls>"],
        call: OBJECT,
        between: ", ",
        arguments: Arguments::Json,
    },
    Dialect {
        format: ToolCallFormat::JsonList,
        sign: "<TOOLCALL>",
        around: ["<TOOLCALL>[", "]</TOOLCALL>"],
        call: OBJECT,
        between: ", ",
        arguments: Arguments::Json,
    },
];

/// The dialect of a template: the last whose sign it shows, so that the special stands after the common.
fn dialect(format: ToolCallFormat, template: &str) -> Option<&'static Dialect> {
    let of = || DIALECTS.iter().filter(|d| d.format == format);
    let shown = of().rfind(|d| template.contains(d.sign));
    shown.or_else(|| of().next())
}

/// The calls that a reply may hold.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    dialect: &'static Dialect,
    tools: Vec<(String, Prepared)>,
    several: bool,
}

impl Calls {
    /// Prepares the calls of a choice of tools; `template` shows which dialect of the format it is.
    pub(crate) fn new(
        format: ToolCallFormat,
        template: &str,
        tools: &[ToolSpec],
        choice: &ToolChoice,
        several: bool,
        options: &SchemaOptions,
    ) -> Result<Self> {
        let refused = |reason: String| Error::Grammar {
            kind: "grammar of tool calls",
            reason,
        };
        let Some(dialect) = dialect(format, template) else {
            let reason = format!("models of the format {format} write calls in several ways");
            return Err(refused(reason));
        };
        let only = match choice {
            ToolChoice::Tool(name) => Some(name),
            ToolChoice::Auto if dialect.begins_as_json() => {
                let reason = format!("calls of the format {format} cannot be told from text");
                return Err(refused(reason));
            }
            ToolChoice::None => return Err(refused("no tool may be called".to_owned())),
            _ => None,
        };
        let chosen = tools
            .iter()
            .filter(|t| only.is_none_or(|name| t.name == *name));
        let mut prepared = Vec::new();
        for tool in chosen {
            let parameters = Prepared::new(&parameters(tool), options)?;
            if dialect.arguments != Arguments::Json {
                let names = parameters.properties();
                let bad = names.iter().find(|(name, ..)| !dialect.can_name(name));
                if let Some((name, ..)) = bad {
                    let reason =
                        format!("{} cannot be called with an argument {name:?}", tool.name);
                    return Err(refused(reason));
                }
            }
            prepared.push((tool.name.clone(), parameters));
        }
        if prepared.is_empty() {
            return Err(refused("there is no tool to call".to_owned()));
        }
        Ok(Self {
            dialect,
            tools: prepared,
            several: several && only.is_none(),
        })
    }

    pub(super) fn schemas(&self) -> impl Iterator<Item = &Prepared> {
        self.tools.iter().map(|(_, parameters)| parameters)
    }

    /// Returns whether calls of a format have a grammar and begin otherwise than JSON does.
    pub(crate) fn told_from_json(format: ToolCallFormat, template: &str) -> bool {
        dialect(format, template).is_some_and(|dialect| !dialect.begins_as_json())
    }

    /// Writes the rules and returns the one that begins.
    pub(super) fn to_lark(
        &self,
        vocabulary: &Vocabulary,
        free: bool,
        rules: &mut String,
    ) -> String {
        let dialect = self.dialect;
        let marks = dialect.format.marks();
        let text = |text: &str| with_marks(text, &marks, vocabulary);
        let [before, after] = dialect.around;
        let [open, middle, close] = dialect.call;
        let head = dialect.head();
        // In free text the rule before has read the opening of the first call already.
        let lazy = free.then(|| opening(head, &marks));
        let cut = lazy.map_or(0, str::len);
        let first = |name: &str| {
            let whole = format!("{before}{open}{name}{middle}");
            text(whole.get(cut..).unwrap_or_default())
        };
        let mut firsts = Vec::new();
        let mut others = Vec::new();
        for (i, (name, parameters)) in self.tools.iter().enumerate() {
            *rules += &dialect.arguments_rule(&format!("args_{i}"), parameters);
            let tail = if close.is_empty() {
                String::new()
            } else {
                text(close)
            };
            firsts.push(format!("{} args_{i} {tail}", first(name)));
            let other = format!("{}{open}{name}{middle}", dialect.between);
            others.push(format!("{} args_{i} {tail}", text(&other)));
        }
        let more = match self.several {
            true => format!("({}){{0,{}}}", others.join(" | "), MOST_CALLS - 1),
            false => String::new(),
        };
        let end = if after.is_empty() {
            String::new()
        } else {
            text(after)
        };
        *rules += &format!("calls: ({}) {more} {end}\n", firsts.join(" | "));
        let Some(opening) = lazy else {
            return "calls".to_owned();
        };
        match vocabulary.special(opening) {
            Some(id) => {
                *rules += "TEXT: /(?s:.+)/\n";
                format!("TEXT? | TEXT? <[{id}]> calls")
            }
            None => {
                let mark = literal(opening);
                let pattern = regex_escape(opening);
                *rules += &format!(
                    "TEXT: /(?s:.*)/ & ~/(?s:.*){pattern}(?s:.*)/\nbefore[suffix={mark}]: /(?s:.*)/\n"
                );
                "TEXT | before calls".to_owned()
            }
        }
    }
}

/// Returns the beginning of a head that marks it: its first mark, or all of it.
fn opening<'h>(head: &'h str, marks: &[&str]) -> &'h str {
    let mark = marks.iter().filter(|mark| head.starts_with(**mark));
    let longest = mark.map(|mark| mark.len()).max();
    &head[..longest.unwrap_or(head.len())]
}

/// Returns a text as a regular expression between slashes.
fn regex_escape(text: &str) -> String {
    text.chars().map(super::lark::class_char).collect()
}

/// Returns the parameters of a tool; one that lists none takes none.
fn parameters(tool: &ToolSpec) -> Value {
    let schema = tool.parameters.as_value();
    let speaks = [
        "properties",
        "additionalProperties",
        "patternProperties",
        "allOf",
        "anyOf",
        "oneOf",
        "$ref",
    ];
    if speaks.iter().any(|key| schema.get(*key).is_some()) {
        return schema.clone();
    }
    json!({"type": "object", "properties": {}})
}

impl Dialect {
    fn begins_as_json(&self) -> bool {
        let head = self.head();
        // `[TOOL_CALLS]` is no list.
        head.is_empty() || head == "[" || head.starts_with('{')
    }

    /// Returns what every first call begins with.
    fn head(&self) -> &'static str {
        let [before, _] = self.around;
        if before.is_empty() {
            self.call[0]
        } else {
            before
        }
    }

    /// Returns whether an argument of this name can be written.
    fn can_name(&self, name: &str) -> bool {
        let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        match self.arguments {
            Arguments::Json => true,
            Arguments::Python => {
                !name.is_empty()
                    && name.chars().all(part)
                    && !name.starts_with(|c: char| c.is_ascii_digit())
            }
            Arguments::Xml => !name.is_empty() && !name.contains(['<', '>', '\n', '"', '\'']),
        }
    }

    /// Returns the rule of the arguments of one tool, and those that it needs.
    fn arguments_rule(&self, rule: &str, parameters: &Prepared) -> String {
        match self.arguments {
            Arguments::Json => format!("{rule}: %json {}\n", parameters.root()),
            Arguments::Python => python(rule, parameters),
            Arguments::Xml => xml(rule, parameters),
        }
    }
}

/// `a=1, b="x"`, what must be there first.
fn python(rule: &str, parameters: &Prepared) -> String {
    let (mut needed, optional): (Vec<_>, Vec<_>) = parameters
        .properties()
        .into_iter()
        .enumerate()
        .partition(|(_, (.., required))| *required);
    let needs = needed.len();
    needed.extend(optional);
    let mut rules = String::new();
    let mut parts = Vec::new();
    for (i, (name, schema, _)) in &needed {
        rules += &format!(
            "{rule}_{i}: {} {rule}_{i}_value\n",
            literal(&format!("{name}="))
        );
        rules += &format!("{rule}_{i}_value: %json {}\n", parameters.part(schema));
        parts.push(format!("{rule}_{i}"));
    }
    let optional = |parts: &[String]| -> String {
        parts
            .iter()
            .map(|part| format!(" (\", \" {part})?"))
            .collect()
    };
    let body = if needs > 0 {
        parts[..needs].join(" \", \" ") + &optional(&parts[needs..])
    } else {
        // The first that is there has no comma before it.
        let starts = (0..parts.len()).map(|i| parts[i].clone() + &optional(&parts[i + 1..]));
        match starts.collect::<Vec<_>>().join(" | ") {
            none if none.is_empty() => "\"\"".to_owned(),
            some => format!("({some})?"),
        }
    };
    rules + &format!("{rule}: {body}\n")
}

/// A tag for each parameter, in the order of the schema; strings without quotes.
fn xml(rule: &str, parameters: &Prepared) -> String {
    let end = "\n</parameter>\n";
    let mut rules = String::new();
    let mut body = String::new();
    for (i, (name, schema, required)) in parameters.properties().into_iter().enumerate() {
        let schema = parameters.resolve(schema);
        let part = format!("{rule}_{i}");
        let open = literal(&format!("<parameter={name}>\n"));
        match raw(schema) {
            Some(Raw::Texts(texts)) => {
                let all = texts.iter().map(|t| literal(&format!("{t}{end}")));
                let all = all.collect::<Vec<_>>().join(" | ");
                rules += &format!("{part}: {open} ({all})\n");
            }
            Some(Raw::Pattern(pattern)) => {
                rules += &format!("{part}: {open} {part}_text\n");
                rules += &format!("{part}_text[suffix={}]: /{pattern}/\n", literal(end));
            }
            None => {
                rules += &format!("{part}: {open} {part}_value {}\n", literal(end));
                rules += &format!("{part}_value: %json {}\n", parameters.part(schema));
            }
        }
        body += &format!(" {part}{}", if required { "" } else { "?" });
    }
    let body = if body.is_empty() {
        " \"\"".to_owned()
    } else {
        body
    };
    rules + &format!("{rule}:{body}\n")
}

/// A string that stands without quotes.
enum Raw {
    Texts(Vec<String>),
    Pattern(String),
}

/// Returns how a schema of strings is written without quotes; `None` for everything else.
fn raw(schema: &Value) -> Option<Raw> {
    let types = match schema.get("type") {
        Some(Value::Array(types)) => types.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    if !types.iter().any(|t| t == "string") {
        return None;
    }
    let listed = schema.get("enum").and_then(Value::as_array).cloned();
    let listed = listed.or_else(|| schema.get("const").map(|c| vec![c.clone()]));
    if let Some(values) = listed {
        let texts = values.iter().filter_map(Value::as_str).map(str::to_owned);
        return Some(Raw::Texts(texts.collect()));
    }
    let number = |key: &str| schema.get(key).and_then(Value::as_u64);
    let least = number("minLength").unwrap_or(0);
    let most = number("maxLength").map_or(String::new(), |n| n.to_string());
    let pattern = match schema.get("pattern").and_then(Value::as_str) {
        // A pattern may match anywhere.
        Some(pattern) => {
            let body = strip_anchors(pattern);
            let any = |free: bool| if free { "(?s:.*)" } else { "" };
            let start = any(!pattern.starts_with('^'));
            let end = any(pattern.ends_with(body));
            format!("{start}(?:{}){end}", llguidance::regex_to_lark(body, "dw"))
        }
        None if least == 0 && most.is_empty() => "(?s:.*)".to_owned(),
        None => format!("(?s:.){{{least},{most}}}"),
    };
    Some(Raw::Pattern(pattern))
}
