//! From a request to a reply.

use std::ops::ControlFlow;
use std::time::Instant;

use ropewalk_core::{
    ChatRequest, Error, ErrorKind, FinishReason, OnUnsupported, Options, ResponseFormat, Result,
    StreamAssembler, StreamEvent, TokenLogprob, ToolChoice, Usage, Warning, WireDelta,
};
use ropewalk_tokens::tool_calls::{Piece, ToolCallParser};

use super::{Inner, PROVIDER, Reply};
use crate::{Finish, GenerateOptions, Generation, StopStrings, Timings, sample::Sampled};

/// A request that was checked, rendered and encoded.
pub(super) struct Job {
    ids: Vec<u32>,
    options: GenerateOptions,
    stop: StopStrings,
    tools: bool,
    warnings: Vec<Warning>,
    deadline: Option<Instant>,
    start: Instant,
    turns: usize,
}

impl From<crate::Error> for Error {
    fn from(e: crate::Error) -> Self {
        let kind = match &e {
            crate::Error::Context { .. } => ErrorKind::ContextLengthExceeded,
            crate::Error::Option { .. }
            | crate::Error::EmptyPrompt
            | crate::Error::TokenId { .. } => ErrorKind::InvalidRequest,
            crate::Error::NoTemplate { .. } => ErrorKind::Configuration,
            crate::Error::Cancelled => ErrorKind::Cancelled,
            _ => ErrorKind::Inference,
        };
        Self::from_error(kind, e).with_provider(PROVIDER)
    }
}

impl Inner {
    pub(super) fn prepare(&self, request: &ChatRequest) -> Result<Job> {
        let start = Instant::now();
        request.validate()?;
        let mut warnings = Vec::new();
        let mut refuse = |option: &'static str, reason: &'static str| match request.on_unsupported {
            OnUnsupported::Error => {
                let message = format!("{option}: {reason}");
                Err(Error::new(ErrorKind::Unsupported, message).with_provider(PROVIDER))
            }
            OnUnsupported::Ignore => Ok(()),
            _ => {
                warnings.push(Warning::new(option, reason));
                Ok(())
            }
        };
        let Options {
            temperature,
            top_p,
            top_k,
            max_tokens,
            stop,
            seed,
            frequency_penalty,
            presence_penalty,
            logprobs,
            reasoning,
            parallel_tool_calls,
            // The engine reuses the beginning of earlier prompts by itself.
            cache: _,
            cache_key: _,
            // There is no provider to tell users apart.
            user: _,
        } = &request.options;
        if reasoning.is_some() {
            refuse("reasoning", "local models think as their template says")?;
        }
        if parallel_tool_calls.is_some() {
            refuse(
                "parallel_tool_calls",
                "a local model decides how many calls it writes",
            )?;
        }
        let tools = !request.tools.is_empty() && request.tool_choice != ToolChoice::None;
        if tools && self.template.as_ref().is_some_and(|t| !t.shows_tools()) {
            refuse("tools", "the chat template of this model shows it no tools")?;
        }
        if request.response_format != ResponseFormat::Text {
            refuse(
                "response_format",
                "the output of local models is not constrained",
            )?;
        }
        if !matches!(request.tool_choice, ToolChoice::Auto | ToolChoice::None) {
            refuse(
                "tool_choice",
                "a local model cannot be forced to call a tool",
            )?;
        }
        let mut sampler = self.sampler.clone();
        sampler.temperature = temperature.unwrap_or(sampler.temperature);
        sampler.top_p = top_p.unwrap_or(sampler.top_p);
        sampler.top_k = top_k.map_or(sampler.top_k, |k| k as usize);
        sampler.seed = seed.unwrap_or(sampler.seed);
        let penalties = &mut sampler.penalties;
        penalties.frequency = frequency_penalty.unwrap_or(penalties.frequency);
        penalties.presence = presence_penalty.unwrap_or(penalties.presence);
        let options = GenerateOptions {
            max_tokens: max_tokens.map(|n| n as usize),
            sampler,
            stop_ids: None,
            logprobs: logprobs.map(usize::from),
        };
        // A bad value is found before the prompt has run.
        crate::sample::Sampler::new(&options.sampler)?;
        let ids = self.encode(&self.render(request)?)?;
        let limit = self.model.context();
        if ids.len() >= limit {
            return Err(Error::from(crate::Error::Context {
                wanted: ids.len() + 1,
                limit,
            }));
        }
        Ok(Job {
            ids,
            options,
            stop: StopStrings::new(stop.iter().cloned()),
            tools,
            warnings,
            deadline: request.timeout.map(|t| start + t),
            start,
            turns: request.messages.len(),
        })
    }

    pub(super) fn run(
        &self,
        job: Job,
        on_event: &mut dyn FnMut(&StreamEvent) -> ControlFlow<()>,
    ) -> Result<Reply> {
        let mut cache = self.take_cache(&job.ids);
        // A long prompt can be given up between its parts.
        let late = || job.deadline.is_some_and(|at| Instant::now() >= at);
        let mut go_on = || !late() && on_event(&StreamEvent::Heartbeat).is_continue();
        let generation =
            Generation::watched(&self.model, &mut cache, &job.ids, &job.options, &mut go_on);
        let reply = match generation {
            Ok(generation) => self.drive(job, generation, on_event),
            Err(crate::Error::Cancelled) if late() => Err(timed_out()),
            Err(crate::Error::Cancelled) => self.given_up(&job, on_event),
            Err(e) => Err(e.into()),
        };
        self.put_cache(cache);
        reply
    }

    /// The empty reply to a prompt that was given up before its end.
    fn given_up(
        &self,
        job: &Job,
        on_event: &mut dyn FnMut(&StreamEvent) -> ControlFlow<()>,
    ) -> Result<Reply> {
        let mut out = self.output(job, on_event);
        out.finish(FinishReason::Other("cancelled".into()), &Timings::default());
        Ok(Reply {
            response: out.assembler.finish()?,
            timings: Timings::default(),
        })
    }

    fn output<'a>(
        &self,
        job: &Job,
        on_event: &'a mut dyn FnMut(&StreamEvent) -> ControlFlow<()>,
    ) -> Output<'a> {
        let assembler = StreamAssembler::new(PROVIDER, self.name.clone())
            .with_call_prefix(format!("call_{}_", job.turns))
            .with_warnings(job.warnings.clone())
            .with_start(job.start, 1);
        let mut out = Output {
            assembler,
            calls: job.tools.then(ToolCallParser::new),
            slot: 0,
            on_event,
            cancelled: false,
        };
        out.push(WireDelta::Started {
            id: None,
            model: Some(self.name.clone()),
        });
        out
    }

    fn drive(
        &self,
        job: Job,
        mut generation: Generation<'_>,
        on_event: &mut dyn FnMut(&StreamEvent) -> ControlFlow<()>,
    ) -> Result<Reply> {
        let mut out = self.output(&job, on_event);
        let mut stop = job.stop;
        let mut text = self.tokenizer.decode_stream(true);
        while !out.cancelled && stop.hit().is_none() {
            let Some(token) = generation.next() else {
                break;
            };
            let token = token?;
            if let Some(entry) = self.describe(&token) {
                out.push(WireDelta::Logprobs(vec![entry]));
            }
            if let Some(piece) = text.push(token.id).map_err(decoding)? {
                out.text(stop.push(&piece));
            }
            if job.deadline.is_some_and(|at| Instant::now() >= at) {
                return Err(timed_out().with_partial(out.assembler.partial()));
            }
        }
        if stop.hit().is_none() {
            let rest = stop.push(&text.finish()) + &stop.finish();
            out.text(rest);
        }
        out.finish_calls();
        let timings = generation.timings();
        let reason = match generation.finish() {
            _ if out.cancelled => FinishReason::Other("cancelled".into()),
            _ if stop.hit().is_some() => FinishReason::Stop,
            Some(Finish::MaxTokens | Finish::Context) => FinishReason::Length,
            _ => FinishReason::Stop,
        };
        out.finish(reason, &timings);
        Ok(Reply {
            response: out.assembler.finish()?,
            timings,
        })
    }

    fn describe(&self, token: &Sampled) -> Option<TokenLogprob> {
        let piece = |id: u32| self.tokenizer.piece(id).unwrap_or_default().into_owned();
        let top = token.top.iter().map(|&(id, logprob)| (piece(id), logprob));
        Some(TokenLogprob::new(piece(token.id), token.logprob?).with_top(top.collect()))
    }
}

fn timed_out() -> Error {
    let message = "the time limit of the request was reached";
    Error::new(ErrorKind::Timeout, message).with_provider(PROVIDER)
}

fn decoding(e: ropewalk_tokens::Error) -> Error {
    let message = "a generated token cannot be turned into text";
    Error::new(ErrorKind::Inference, message)
        .with_provider(PROVIDER)
        .with_source(e)
}

fn usage(t: &Timings) -> Usage {
    let mut usage = Usage::new(t.prompt_tokens as u64, t.generated_tokens as u64);
    usage.cached_input_tokens = Some(t.cached_tokens as u64);
    usage
}

/// Where text goes: through the tool-call parser to the assembler to the caller.
struct Output<'a> {
    assembler: StreamAssembler,
    calls: Option<ToolCallParser>,
    /// Number of the next tool call.
    slot: u32,
    on_event: &'a mut dyn FnMut(&StreamEvent) -> ControlFlow<()>,
    cancelled: bool,
}

impl Output<'_> {
    fn push(&mut self, delta: WireDelta) {
        for event in self.assembler.push(delta) {
            if !self.cancelled && (self.on_event)(&event).is_break() {
                self.cancelled = true;
            }
        }
    }

    fn finish(&mut self, reason: FinishReason, timings: &Timings) {
        self.push(WireDelta::FinishReason(reason));
        self.push(WireDelta::Usage(usage(timings)));
        self.push(WireDelta::End);
    }

    fn text(&mut self, text: String) {
        match &mut self.calls {
            None => self.push(WireDelta::text(text)),
            Some(calls) => {
                let events = calls.push(&text);
                self.parsed(events);
            }
        }
    }

    fn finish_calls(&mut self) {
        if let Some(calls) = &mut self.calls {
            let events = calls.finish();
            self.parsed(events);
        }
    }

    fn parsed(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.push(WireDelta::text(text)),
                Piece::Call(call) => {
                    let slot = self.slot;
                    self.slot += 1;
                    self.push(WireDelta::ToolCall {
                        slot,
                        // Ids are minted by the assembler, unique within the conversation.
                        id: None,
                        name: Some(call.name),
                        arguments: call.arguments,
                    });
                    self.push(WireDelta::PartDone { slot });
                }
                Piece::Malformed { text, problem } => {
                    self.push(WireDelta::text(text));
                    self.push(WireDelta::Warning(Warning::new("tools", problem)));
                }
                _ => {}
            }
        }
    }
}
