//! From generated text to the events of a reply.

use std::ops::ControlFlow;

use ropewalk_core::{FinishReason, StreamAssembler, StreamEvent, Usage, Warning, WireDelta};
use ropewalk_tokens::reasoning::{ReasoningSplitter, Thought};
use ropewalk_tokens::tool_calls::{Piece, ToolCallParser};

use crate::Timings;

/// Takes text apart: reasoning first, then tool calls.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    pub(super) reasoning: Option<ReasoningSplitter>,
    pub(super) calls: Option<ToolCallParser>,
    /// The first call ends the reply.
    one_call: bool,
    /// Number of the next tool call.
    slot: u32,
    done: bool,
}

impl Filter {
    pub(super) fn new(one_call: bool) -> Self {
        Self {
            reasoning: None,
            calls: None,
            one_call,
            slot: 0,
            done: false,
        }
    }

    /// Returns what follows from more text.
    fn push(&mut self, text: &str) -> Vec<WireDelta> {
        let thoughts = match &mut self.reasoning {
            Some(splitter) => splitter.push(text),
            None => vec![Thought::Text(text.to_owned())],
        };
        self.thoughts(thoughts)
    }

    /// Returns what was held back.
    fn finish(&mut self) -> Vec<WireDelta> {
        let rest = self.reasoning.as_mut().map(ReasoningSplitter::finish);
        let mut deltas = self.thoughts(rest.unwrap_or_default());
        let rest = self.calls.as_mut().map(ToolCallParser::finish);
        self.pieces(rest.unwrap_or_default(), &mut deltas);
        deltas
    }

    fn thoughts(&mut self, thoughts: Vec<Thought>) -> Vec<WireDelta> {
        let mut deltas = Vec::new();
        for thought in thoughts {
            match (thought, &mut self.calls) {
                (Thought::Reasoning(text), _) => deltas.push(WireDelta::reasoning(text)),
                (Thought::Text(text), Some(calls)) => {
                    let pieces = calls.push(&text);
                    self.pieces(pieces, &mut deltas);
                }
                (Thought::Text(text), None) => deltas.push(WireDelta::text(text)),
                _ => {}
            }
        }
        deltas
    }

    fn pieces(&mut self, pieces: Vec<Piece>, deltas: &mut Vec<WireDelta>) {
        for piece in pieces {
            if self.done {
                return;
            }
            match piece {
                Piece::Text(text) => deltas.push(WireDelta::text(text)),
                Piece::Call(call) => {
                    let slot = self.slot;
                    self.slot += 1;
                    deltas.push(WireDelta::ToolCall {
                        slot,
                        id: Some(call.id),
                        name: Some(call.name),
                        arguments: call.arguments,
                    });
                    deltas.push(WireDelta::PartDone { slot });
                    self.done = self.one_call;
                }
                Piece::Malformed { text, problem } => {
                    deltas.push(WireDelta::text(text));
                    deltas.push(WireDelta::Warning(Warning::new("tools", problem)));
                }
                _ => {}
            }
        }
    }
}

/// Where text goes: through the filter to the assembler to the caller.
pub(super) struct Output<'a> {
    pub(super) assembler: StreamAssembler,
    filter: Filter,
    on_event: &'a mut dyn FnMut(&StreamEvent) -> ControlFlow<()>,
    pub(super) cancelled: bool,
}

impl<'a> Output<'a> {
    pub(super) fn new(
        assembler: StreamAssembler,
        filter: Filter,
        on_event: &'a mut dyn FnMut(&StreamEvent) -> ControlFlow<()>,
    ) -> Self {
        Self {
            assembler,
            filter,
            on_event,
            cancelled: false,
        }
    }

    /// Returns whether nothing more can become part of the reply.
    pub(super) fn ended(&self) -> bool {
        self.cancelled || self.filter.done
    }

    pub(super) fn push(&mut self, delta: WireDelta) {
        for event in self.assembler.push(delta) {
            if !self.cancelled && (self.on_event)(&event).is_break() {
                self.cancelled = true;
            }
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        for delta in self.filter.push(text) {
            self.push(delta);
        }
    }

    /// Gives out what was held back.
    pub(super) fn finish_text(&mut self) {
        for delta in self.filter.finish() {
            self.push(delta);
        }
    }

    pub(super) fn finish(&mut self, reason: FinishReason, timings: &Timings) {
        self.cut(reason, timings);
        self.push(WireDelta::End);
    }

    /// Says why the reply stops without ending it.
    pub(super) fn cut(&mut self, reason: FinishReason, timings: &Timings) {
        self.push(WireDelta::FinishReason(reason));
        self.push(WireDelta::Usage(usage(timings)));
    }
}

fn usage(t: &Timings) -> Usage {
    let mut usage = Usage::new(t.prompt_tokens as u64, t.generated_tokens as u64);
    usage.cached_input_tokens = Some(t.cached_tokens as u64);
    usage
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk_core::ChatResponse;
    use ropewalk_tokens::reasoning::ReasoningTags;
    use ropewalk_tokens::tool_calls::ToolCallFormat;

    /// The reply to a model that writes `answer`, which comes in parts of `size` characters.
    fn reply(filter: &Filter, answer: &str, size: usize) -> ChatResponse {
        let mut go_on = |_: &StreamEvent| ControlFlow::Continue(());
        let assembler = StreamAssembler::new("local", "scripted");
        let mut out = Output::new(assembler, filter.clone(), &mut go_on);
        let chars: Vec<char> = answer.chars().collect();
        for part in chars.chunks(size) {
            if out.ended() {
                break;
            }
            out.text(&part.iter().collect::<String>());
        }
        out.finish_text();
        out.finish(FinishReason::Stop, &Timings::default());
        out.assembler.finish().unwrap()
    }

    fn tools(format: ToolCallFormat, one_call: bool) -> Filter {
        let mut filter = Filter::new(one_call);
        filter.calls = Some(ToolCallParser::new().with_format(format));
        filter
    }

    #[test]
    fn every_format_gives_calls_and_text() {
        for (format, answer, text) in [
            (
                ToolCallFormat::Hermes,
                "Wait.\n<tool_call>\n{\"name\": \"a\", \"arguments\": {\"x\":1}}\n</tool_call>\n\
                 <tool_call>\n{\"name\": \"b\"}\n</tool_call>",
                "Wait.",
            ),
            (
                ToolCallFormat::QwenCoder,
                "<tool_call>\n<function=a>\n<parameter=x>\n1\n</parameter>\n</function>\n</tool_call>\n\
                 <tool_call>\n<function=b>\n</function>\n</tool_call>",
                "",
            ),
            (
                ToolCallFormat::Llama3,
                "{\"name\": \"a\", \"parameters\": {\"x\":1}}; {\"name\": \"b\", \"parameters\": {}}",
                "",
            ),
            (
                ToolCallFormat::Llama3,
                "<|python_tag|>a.call(x=1)<|python_tag|>b.call()",
                "",
            ),
            (ToolCallFormat::Pythonic, "[a(x=1), b()]", ""),
            (
                ToolCallFormat::Phi4,
                "<|tool_call|>[{\"name\": \"a\", \"arguments\": {\"x\":1}}, {\"name\": \"b\"}]<|/tool_call|>",
                "",
            ),
            (
                ToolCallFormat::Mistral,
                "One moment.[TOOL_CALLS]a[ARGS]{\"x\":1}[TOOL_CALLS]b[ARGS]{}",
                "One moment.",
            ),
            (
                ToolCallFormat::Gemma,
                "<start_function_call>call:a{x:1}<end_function_call><start_function_call>call:b{}<end_function_call>",
                "",
            ),
            (
                ToolCallFormat::DeepSeek,
                "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>a<｜tool▁sep｜>{\"x\":1}<｜tool▁call▁end｜>\
                 <｜tool▁call▁begin｜>b<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
                "",
            ),
            (
                ToolCallFormat::JsonList,
                "<TOOLCALL>[{\"name\": \"a\", \"arguments\": {\"x\":1}}, {\"name\": \"b\"}]</TOOLCALL>",
                "",
            ),
        ] {
            for size in [1, 3, usize::MAX] {
                for one_call in [false, true] {
                    let reply = reply(&tools(format, one_call), answer, size);
                    let calls: Vec<_> = reply.message.tool_calls().collect();
                    assert_eq!(calls.len(), if one_call { 1 } else { 2 }, "{format}");
                    assert_eq!((&*calls[0].name, &*calls[0].arguments), ("a", "{\"x\":1}"));
                    let ids: Vec<&str> = calls.iter().map(|c| c.id.as_str()).collect();
                    match format {
                        ToolCallFormat::Mistral => assert_eq!(ids[0], "call00000"),
                        _ => assert_eq!(ids[0], "call_0"),
                    }
                    if let Some(second) = calls.get(1) {
                        assert_eq!((&*second.name, &*second.arguments), ("b", "{}"));
                        assert_ne!(ids[0], ids[1]);
                    }
                    assert_eq!(reply.text(), text, "{format}");
                    assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
                    assert_eq!(reply.warnings, []);
                }
            }
        }
    }

    #[test]
    fn reasoning_is_a_part_of_its_own_and_calls_nothing() {
        let call = "<tool_call>{\"name\": \"f\"}</tool_call>";
        let answer = format!("I call {call}?\n</think>\n\nYes.\n{call}");
        let mut filter = tools(ToolCallFormat::Hermes, false);
        filter.reasoning = Some(ReasoningSplitter::after_prompt(
            ReasoningTags::THINK,
            "<|im_start|>assistant\n<think>\n",
        ));
        for size in [1, 4, usize::MAX] {
            let reply = reply(&filter, &answer, size);
            let kinds: Vec<_> = reply
                .message
                .content
                .iter()
                .map(ropewalk_core::Part::kind)
                .collect();
            assert_eq!(kinds, ["reasoning", "text", "tool_call"]);
            assert_eq!(reply.message.reasoning(), format!("I call {call}?"));
            assert_eq!(reply.text(), "Yes.");
        }
    }

    #[test]
    fn a_malformed_call_is_text_and_a_warning() {
        let answer = "<tool_call>{\"name\": }</tool_call>";
        let reply = reply(&tools(ToolCallFormat::Hermes, true), answer, 5);
        assert_eq!(reply.text(), answer);
        assert_eq!(reply.warnings.len(), 1);
        assert_eq!(reply.warnings[0].option, "tools");
        assert_eq!(reply.finish_reason, FinishReason::Stop);
    }
}
