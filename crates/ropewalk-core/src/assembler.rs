//! From the fragments of a wire to events and a whole reply.

use std::borrow::Cow;
use std::time::Instant;

use serde_json::Value;

use crate::delta::WireDelta;
use crate::error::Result;
use crate::message::Message;
use crate::part::{Part, Reasoning, ToolCall};
use crate::response::{ChatResponse, FinishReason, Timing, TokenLogprob, Usage, Warning};
use crate::stream::{StreamEvent, cut, truncated};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Reasoning,
    ToolCall,
    Whole,
}

#[derive(Debug)]
struct Slot {
    kind: Kind,
    slot: u32,
    open: bool,
    /// Whether the id of the call was made up here.
    minted: bool,
    part: Part,
}

/// Collects [`WireDelta`]s into [`StreamEvent`]s and, at the end, a [`ChatResponse`].
///
/// One assembler serves `stream()` and `chat()`, which is why both give the same reply. However
/// the text of a part is cut into deltas, the reply is the same.
///
/// ```
/// use ropewalk_core::{StreamAssembler, StreamEvent, WireDelta};
///
/// let mut assembler = StreamAssembler::new("demo", "demo-1");
/// assert_eq!(assembler.push(WireDelta::text("he")).len(), 1);
/// assembler.push(WireDelta::text("llo"));
/// let last = assembler.push(WireDelta::End).pop();
/// assert!(matches!(last, Some(StreamEvent::Finished(r)) if r.text() == "hello"));
/// ```
#[derive(Debug)]
pub struct StreamAssembler {
    provider: Cow<'static, str>,
    model: String,
    id: Option<String>,
    request_id: Option<String>,
    call_prefix: String,
    slots: Vec<Slot>,
    /// Every slot before this one is complete: replies of many parts are not searched from the start.
    first_open: usize,
    /// Calls whose name is not known yet, or whose id may still come, in the order they began.
    pending: Vec<(u32, ToolCall)>,
    usage: Usage,
    finish_reason: Option<FinishReason>,
    warnings: Vec<Warning>,
    logprobs: Vec<TokenLogprob>,
    raw: Option<Value>,
    started: Instant,
    timing: Timing,
    finished: bool,
}

impl StreamAssembler {
    /// Creates an assembler for a reply of `model`; its clock starts now.
    pub fn new(provider: impl Into<Cow<'static, str>>, model: impl Into<String>) -> Self {
        Self {
            provider: provider.into(),
            model: model.into(),
            id: None,
            request_id: None,
            call_prefix: "call_".into(),
            slots: Vec::new(),
            first_open: 0,
            pending: Vec::new(),
            usage: Usage::default(),
            finish_reason: None,
            warnings: Vec::new(),
            logprobs: Vec::new(),
            raw: None,
            started: Instant::now(),
            timing: Timing {
                attempts: 1,
                ..Timing::default()
            },
            finished: false,
        }
    }

    /// Sets the beginning of minted tool-call ids, `call_` unless set; the position of the part is
    /// appended. A wire without ids should make it unique within the conversation, for example
    /// from the number of messages so far.
    #[must_use]
    pub fn with_call_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.call_prefix = prefix.into();
        self
    }

    /// Sets the provider's id of the request.
    #[must_use]
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// Adds warnings that arose when the request was encoded.
    #[must_use]
    pub fn with_warnings(mut self, warnings: impl IntoIterator<Item = Warning>) -> Self {
        self.warnings.extend(warnings);
        self
    }

    /// Sets when the call began, for [`ChatResponse::timing`].
    #[must_use]
    pub fn with_start(mut self, start: Instant, attempts: u32) -> Self {
        self.started = start;
        self.timing.attempts = attempts;
        self
    }

    /// Returns whether [`WireDelta::End`] has been pushed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Takes a fragment and returns the events that follow from it, often none or one.
    pub fn push(&mut self, delta: WireDelta) -> Vec<StreamEvent> {
        let mut events = Vec::new();
        if self.finished {
            return events;
        }
        match delta {
            WireDelta::Started { id, model } => {
                self.id = id.or(self.id.take());
                if let Some(model) = model.filter(|m| !m.is_empty()) {
                    self.model = model;
                }
                let model = Some(self.model.clone()).filter(|m| !m.is_empty());
                events.push(StreamEvent::Started {
                    id: self.id.clone(),
                    model,
                });
            }
            WireDelta::Text { slot, text: piece } if !piece.is_empty() => {
                self.note_first_token();
                let (index, part) = self.open(Kind::Text, slot, || Part::text(""));
                if let Part::Text { text, .. } = part {
                    text.push_str(&piece);
                }
                events.push(StreamEvent::TextDelta { index, text: piece });
            }
            WireDelta::Reasoning { slot, text } if !text.is_empty() => {
                self.note_first_token();
                let index = self.reasoning(slot, |r| r.text.push_str(&text));
                events.push(StreamEvent::ReasoningDelta { index, text });
            }
            WireDelta::Text { .. } | WireDelta::Reasoning { .. } => {}
            WireDelta::ReasoningMeta {
                slot,
                signature,
                redacted,
                id,
            } => {
                let provider = self.provider.to_string();
                self.reasoning(slot, |r| {
                    append(&mut r.signature, signature);
                    append(&mut r.redacted, redacted);
                    r.id = id.or(r.id.take());
                    r.provider = Some(provider);
                });
            }
            WireDelta::ToolCall {
                slot,
                id,
                name,
                arguments,
            } => {
                self.note_first_token();
                self.tool_call(slot, id, name, arguments, &mut events);
            }
            WireDelta::ToolCallMeta {
                slot,
                item_id,
                signature,
            } => {
                let call = self.call(slot);
                call.item_id = item_id.or(call.item_id.take());
                call.signature = signature.or(call.signature.take());
            }
            WireDelta::Part(part) => {
                self.note_first_token();
                let index = self.slots.len();
                self.slots.push(Slot {
                    kind: Kind::Whole,
                    slot: 0,
                    open: true,
                    minted: false,
                    part,
                });
                self.close(index, &mut events);
            }
            WireDelta::PartDone { slot } => {
                self.promote_up_to(slot, &mut events);
                for index in self.first_open..self.slots.len() {
                    if self.slots[index].slot == slot {
                        self.close(index, &mut events);
                    }
                }
            }
            WireDelta::Usage(usage) => self.usage.replace_with(usage),
            WireDelta::FinishReason(reason) => self.finish_reason = Some(reason),
            WireDelta::Warning(warning) => self.warnings.push(warning),
            WireDelta::Logprobs(tokens) => self.logprobs.extend(tokens),
            WireDelta::Raw(raw) => self.raw = Some(raw),
            WireDelta::Unknown(value) => events.push(StreamEvent::Unknown { value }),
            WireDelta::Heartbeat => events.push(StreamEvent::Heartbeat),
            WireDelta::End => self.end(&mut events),
        }
        events
    }

    /// Returns what has come so far as a reply; its finish reason is `truncated` before the end.
    #[must_use]
    pub fn partial(&self) -> ChatResponse {
        let mut parts: Vec<Part> = self.slots.iter().map(|s| s.part.clone()).collect();
        for (_, call) in &self.pending {
            if !call.name.is_empty() {
                let mut call = call.clone();
                if call.id.is_empty() {
                    call.id = self.minted(parts.len());
                }
                parts.push(Part::ToolCall(call));
            }
        }
        let reason = match (&self.finish_reason, self.finished) {
            (Some(reason), _) => reason.clone(),
            (None, true) => FinishReason::Stop,
            (None, false) => cut(),
        };
        let message = Message::assistant(parts);
        let mut response = ChatResponse::new(self.provider.clone(), self.model.clone(), message)
            .with_finish_reason(reason)
            .with_usage(self.usage)
            .with_warnings(self.warnings.iter().cloned())
            .with_timing(self.timing);
        response.id.clone_from(&self.id);
        response.request_id.clone_from(&self.request_id);
        response.logprobs.clone_from(&self.logprobs);
        response.raw.clone_from(&self.raw);
        response
    }

    /// Returns the whole reply.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`](crate::ErrorKind::Truncated) with what came, when
    /// [`WireDelta::End`] has not been pushed.
    pub fn finish(self) -> Result<ChatResponse> {
        if self.finished {
            Ok(self.partial())
        } else {
            Err(truncated(self.partial()))
        }
    }

    fn note_first_token(&mut self) {
        if self.timing.first_token.is_none() {
            self.timing.first_token = Some(self.started.elapsed());
        }
    }

    /// Finds the open part of this kind and slot, or begins one.
    fn open(&mut self, kind: Kind, slot: u32, new: impl FnOnce() -> Part) -> (u32, &mut Part) {
        let found = self.slots[self.first_open..]
            .iter()
            .rposition(|s| s.open && s.kind == kind && s.slot == slot);
        let found = found.map(|at| at + self.first_open);
        let at = found.unwrap_or_else(|| {
            self.slots.push(Slot {
                kind,
                slot,
                open: true,
                minted: false,
                part: new(),
            });
            self.slots.len() - 1
        });
        (as_index(at), &mut self.slots[at].part)
    }

    fn reasoning(&mut self, slot: u32, edit: impl FnOnce(&mut Reasoning)) -> u32 {
        let empty = || Part::Reasoning(Reasoning::default());
        let (index, part) = self.open(Kind::Reasoning, slot, empty);
        if let Part::Reasoning(reasoning) = part {
            edit(reasoning);
        }
        index
    }

    fn open_call(&mut self, slot: u32) -> Option<(usize, &mut ToolCall)> {
        let places = self.first_open..self.slots.len();
        let slots = self.slots[places.clone()].iter_mut().zip(places).rev();
        slots
            .filter(|(s, _)| s.open && s.slot == slot)
            .find_map(|(s, i)| match &mut s.part {
                Part::ToolCall(call) => Some((i, call)),
                _ => None,
            })
    }

    /// Returns the call of this slot, begun or not.
    fn call(&mut self, slot: u32) -> &mut ToolCall {
        let Some((at, _)) = self.open_call(slot) else {
            return waiting(&mut self.pending, slot);
        };
        match &mut self.slots[at].part {
            Part::ToolCall(call) => call,
            _ => waiting(&mut self.pending, slot),
        }
    }

    fn tool_call(
        &mut self,
        slot: u32,
        id: Option<String>,
        name: Option<String>,
        arguments: String,
        events: &mut Vec<StreamEvent>,
    ) {
        let id = id.filter(|id| !id.is_empty());
        let name = name.filter(|name| !name.is_empty());
        self.separate(slot, id.as_deref(), name.as_deref(), events);
        if let Some((at, call)) = self.open_call(slot) {
            if !arguments.is_empty() {
                call.arguments.push_str(&arguments);
                events.push(StreamEvent::ToolCallDelta {
                    index: as_index(at),
                    json: arguments,
                });
            }
            return;
        }
        let call = waiting(&mut self.pending, slot);
        if let Some(id) = id.filter(|_| call.id.is_empty()) {
            call.id = id;
        }
        if let Some(name) = name.filter(|_| call.name.is_empty()) {
            call.name = name;
        }
        call.arguments.push_str(&arguments);
        // Without an id the call waits for one until its arguments begin.
        if !call.name.is_empty() && (!call.id.is_empty() || !call.arguments.is_empty()) {
            self.promote_up_to(slot, events);
        }
    }

    /// Completes the call of this slot when a fragment with this id and name belongs to another.
    fn separate(
        &mut self,
        slot: u32,
        id: Option<&str>,
        name: Option<&str>,
        events: &mut Vec<StreamEvent>,
    ) {
        let differs = |call: &ToolCall, minted: bool| match (id, name) {
            // An id that comes late, without a name, is that of the call which had none.
            (Some(id), name) => call.id != id && !(call.id.is_empty() || minted && name.is_none()),
            (None, Some(name)) => !call.name.is_empty() && call.name != name,
            (None, None) => false,
        };
        let waits = self.pending.iter().find(|(s, _)| *s == slot);
        if waits.is_some_and(|(_, call)| differs(call, false)) {
            self.promote_up_to(slot, events);
        }
        if let Some((at, _)) = self.open_call(slot) {
            let Slot { part, minted, .. } = &self.slots[at];
            let call = part.as_tool_call();
            if call.is_some_and(|call| differs(call, *minted)) {
                self.close(at, events);
            }
        }
    }

    /// Makes the pending call of a slot a part of the message, and before it those that began
    /// earlier and have a name, so that calls keep their order.
    fn promote_up_to(&mut self, slot: u32, events: &mut Vec<StreamEvent>) {
        let Some(last) = self.pending.iter().position(|(s, _)| *s == slot) else {
            return;
        };
        let waiting: Vec<u32> = self.pending[..=last]
            .iter()
            .filter(|(s, call)| *s == slot || !call.name.is_empty())
            .map(|(s, _)| *s)
            .collect();
        for slot in waiting {
            self.promote(slot, events);
        }
    }

    /// Makes a pending call a part of the message, minting an id if it has none.
    fn promote(&mut self, slot: u32, events: &mut Vec<StreamEvent>) {
        let Some(at) = self.pending.iter().position(|(s, _)| *s == slot) else {
            return;
        };
        let (_, mut call) = self.pending.remove(at);
        if call.name.is_empty() {
            let reason = format!(
                "a tool call without a name was left out: {}",
                call.arguments
            );
            self.warnings.push(Warning::new("tool_calls", reason));
            return;
        }
        let index = as_index(self.slots.len());
        let minted = call.id.is_empty();
        if minted {
            call.id = self.minted(self.slots.len());
        }
        let (id, name) = (call.id.clone(), call.name.clone());
        events.push(StreamEvent::ToolCallStarted { index, id, name });
        if !call.arguments.is_empty() {
            events.push(StreamEvent::ToolCallDelta {
                index,
                json: call.arguments.clone(),
            });
        }
        let part = Part::ToolCall(call);
        self.slots.push(Slot {
            kind: Kind::ToolCall,
            slot,
            open: true,
            minted,
            part,
        });
    }

    /// Returns an id for the call at a position that no other call has.
    fn minted(&self, at: usize) -> String {
        let begun = self.slots.iter().filter_map(|s| s.part.as_tool_call());
        let pending = self.pending.iter().map(|(_, call)| call);
        let taken: Vec<&str> = begun.chain(pending).map(|c| c.id.as_str()).collect();
        let ids = (at..).map(|i| format!("{}{i}", self.call_prefix));
        let mut free = ids.filter(|id| !taken.contains(&id.as_str()));
        free.next().unwrap_or_default()
    }

    fn close(&mut self, at: usize, events: &mut Vec<StreamEvent>) {
        let slot = &mut self.slots[at];
        if slot.open {
            slot.open = false;
            events.push(StreamEvent::PartDone {
                index: as_index(at),
                part: slot.part.clone(),
            });
        }
        while self.slots.get(self.first_open).is_some_and(|s| !s.open) {
            self.first_open += 1;
        }
    }

    fn end(&mut self, events: &mut Vec<StreamEvent>) {
        while let Some((slot, _)) = self.pending.first() {
            self.promote(*slot, events);
        }
        for at in self.first_open..self.slots.len() {
            self.close(at, events);
        }
        self.finished = true;
        self.timing.total = self.started.elapsed();
        events.push(StreamEvent::Finished(Box::new(self.partial())));
    }
}

/// Returns the pending call of a slot, new if there is none.
fn waiting(pending: &mut Vec<(u32, ToolCall)>, slot: u32) -> &mut ToolCall {
    let found = pending.iter().position(|(s, _)| *s == slot);
    let at = found.unwrap_or_else(|| {
        pending.push((slot, ToolCall::new("", "", "")));
        pending.len() - 1
    });
    &mut pending[at].1
}

fn append(to: &mut Option<String>, piece: Option<String>) {
    if let Some(piece) = piece {
        to.get_or_insert_default().push_str(&piece);
    }
}

/// Positions of parts fit `u32`: each part takes far more than a byte.
fn as_index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
