//! What a template can do, found out by rendering small conversations with it.

use super::{ChatTemplate, DateTime, TemplateInput, Value};
use std::fmt;

/// Which parts of a conversation reach the text a template makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a template"
)]
pub struct TemplateSupport {
    /// A system message at the beginning is accepted and shown.
    pub system: bool,
    /// Descriptions of tools are shown.
    pub tools: bool,
    /// Tool calls of the assistant are shown.
    pub tool_calls: bool,
    /// Two tool calls in one turn of the assistant are shown both.
    pub parallel_tool_calls: bool,
    /// Tool results are shown.
    pub tool_results: bool,
    /// Content given as a list of text parts is shown.
    pub parts: bool,
    /// Documents are shown.
    pub documents: bool,
    /// `add_generation_prompt` adds something to the end.
    pub generation_prompt: bool,
    /// `enable_thinking` changes the text.
    pub thinking_switch: bool,
    /// The template marks what the assistant wrote, so that masks can be made.
    pub mask: bool,
}

impl fmt::Display for TemplateSupport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("system messages", self.system),
            ("tools", self.tools),
            ("tool calls", self.tool_calls),
            ("parallel tool calls", self.parallel_tool_calls),
            ("tool results", self.tool_results),
            ("content parts", self.parts),
            ("documents", self.documents),
            ("generation prompt", self.generation_prompt),
            ("thinking switch", self.thinking_switch),
            ("assistant mask", self.mask),
        ];
        for (i, (what, yes)) in rows.into_iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{what}: {}", if yes { "yes" } else { "no" })?;
        }
        Ok(())
    }
}

/// Words that no template contains.
const USER: &str = "Qzuser";
const PROBE: &str = "Qzprobe";
const SECOND: &str = "Qzsecond";

fn said(role: &str, content: &str) -> Value {
    Value::object([
        ("role", Value::from(role)),
        ("content", Value::from(content)),
    ])
}

pub(super) fn probe(template: &ChatTemplate) -> TemplateSupport {
    let render = |input: TemplateInput| -> Option<String> {
        let input = input
            .with_special_token("bos_token", "")
            .with_special_token("eos_token", "");
        let now = DateTime::new(2026, 1, 1);
        template
            .render(&now.into_iter().fold(input, TemplateInput::with_now))
            .ok()
    };
    let shows = |input: TemplateInput| render(input).is_some_and(|text| text.contains(PROBE));
    let user = || TemplateInput::new([said("user", USER)]);
    let function = |name: &str| {
        let properties = Value::Object(Vec::new());
        let parameters =
            Value::object([("type", Value::from("object")), ("properties", properties)]);
        Value::object([
            ("name", Value::from(name)),
            ("description", Value::from("A tool")),
            ("parameters", parameters),
        ])
    };
    let tool = |name: &str| {
        Value::object([
            ("type", Value::from("function")),
            ("function", function(name)),
        ])
    };
    // The answer calls the tools of these names, and gets a result for each.
    let called = |names: &[&str], result: &str| {
        let ids = ["call12345", "call12346"];
        let call = |(name, id): (&&str, &str)| {
            let arguments = Value::Object(Vec::new());
            let function = Value::object([("name", Value::from(*name)), ("arguments", arguments)]);
            Value::object([
                ("id", Value::from(id)),
                ("type", Value::from("function")),
                ("function", function),
            ])
        };
        let assistant = Value::object([
            ("role", Value::from("assistant")),
            ("content", Value::from("")),
            (
                "tool_calls",
                Value::Array(names.iter().zip(ids).map(call).collect()),
            ),
        ]);
        let results = names.iter().zip(ids).map(|(_, id)| {
            Value::object([
                ("role", Value::from("tool")),
                ("tool_call_id", Value::from(id)),
                ("name", Value::from("a_tool")),
                ("content", Value::from(result)),
            ])
        });
        let start = [said("user", USER), assistant];
        TemplateInput::new(start.into_iter().chain(results)).with_tools([tool("a_tool")])
    };
    let part = Value::object([("type", Value::from("text")), ("text", Value::from(PROBE))]);
    let parts = Value::object([
        ("role", Value::from("user")),
        ("content", Value::Array(vec![part])),
    ]);
    let document = Value::object([("title", Value::from(PROBE)), ("text", Value::from(PROBE))]);
    let plain = render(user());
    let prompted = render(user().with_generation_prompt(true));
    let thinking = |on: bool| {
        render(
            user()
                .with_generation_prompt(true)
                .with_extra("enable_thinking", on),
        )
    };
    TemplateSupport {
        system: shows(TemplateInput::new([
            said("system", PROBE),
            said("user", USER),
        ])),
        tools: shows(user().with_tools([tool(PROBE)])),
        tool_calls: shows(called(&[PROBE], "a result")),
        parallel_tool_calls: render(called(&[PROBE, SECOND], "a result"))
            .is_some_and(|text| text.contains(PROBE) && text.contains(SECOND)),
        tool_results: shows(called(&["a_tool"], PROBE)),
        // A template that prints the list as Python would also show the probe, between quotes.
        parts: render(TemplateInput::new([parts]))
            .is_some_and(|t| t.contains(PROBE) && !t.contains("'text'") && !t.contains("\"text\"")),
        documents: shows(user().with_documents([document])),
        generation_prompt: prompted.is_some() && prompted != plain,
        thinking_switch: thinking(true) != thinking(false),
        mask: template.marks_generation(),
    }
}
