//! From a request to a reply.

use std::ops::ControlFlow;
use std::time::Instant;

#[cfg(not(feature = "constrained"))]
use ropewalk_core::ResponseFormat;
use ropewalk_core::{
    ChatRequest, Effort, Error, ErrorKind, FinishReason, Message, OnUnsupported, Options, Result,
    StreamAssembler, StreamEvent, TokenLogprob, ToolChoice, Warning, WireDelta,
};
use ropewalk_tokens::reasoning::ReasoningSplitter;
use ropewalk_tokens::tool_calls::{ToolCallFormat, ToolCallParser};

use super::output::{Filter, Output};
use super::source::{Scheduled, TokenSource};
use super::{Inner, PROVIDER, Reply};
use crate::schedule::Wanted;
use crate::{Finish, GenerateOptions, Generation, StopStrings, Timings, sample::Sampled};

/// A request that was checked, rendered and encoded.
pub(super) struct Job {
    ids: Vec<u32>,
    options: GenerateOptions,
    stop: StopStrings,
    filter: Filter,
    /// Special tokens that the filter reads.
    marks: Vec<&'static str>,
    /// What the prompt has written of the reply already: the beginning of a call that must come.
    opening: String,
    /// A reply that the token limit cuts is an error.
    whole: bool,
    warnings: Vec<Warning>,
    deadline: Option<Instant>,
    start: Instant,
}

impl Job {
    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|at| Instant::now() >= at)
    }
}

impl From<crate::Error> for Error {
    fn from(e: crate::Error) -> Self {
        let kind = match &e {
            crate::Error::Context { .. } | crate::Error::CacheFull { .. } => {
                ErrorKind::ContextLengthExceeded
            }
            crate::Error::Option { .. }
            | crate::Error::EmptyPrompt
            | crate::Error::Grammar { .. }
            | crate::Error::GrammarSize { .. }
            | crate::Error::SchemaKeyword { .. }
            | crate::Error::NoTexts
            | crate::Error::EmptyText { .. }
            | crate::Error::Dimensions { .. }
            | crate::Error::TokenId { .. }
            | crate::Error::Unsatisfiable { .. } => ErrorKind::InvalidRequest,
            crate::Error::NoTemplate { .. } => ErrorKind::Configuration,
            crate::Error::Cancelled | crate::Error::SchedulerEnded => ErrorKind::Cancelled,
            crate::Error::QueueFull { .. } => ErrorKind::Overloaded,
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
        let mut refuse = |option: &'static str, reason: &str| match request.on_unsupported {
            OnUnsupported::Error => {
                let message = format!("{option}: {reason}");
                Err(Error::new(ErrorKind::Unsupported, message).with_provider(PROVIDER))
            }
            OnUnsupported::Ignore => Ok(()),
            _ => {
                warnings.push(Warning::new(option, reason.to_owned()));
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
        match reasoning {
            None => {}
            Some(_) if !self.thinking_switch() => {
                refuse(
                    "reasoning",
                    "the chat template of this model has no switch for it",
                )?;
            }
            Some(Effort::Off | Effort::Medium) => {}
            Some(_) => refuse("reasoning", "it can only be switched on and off")?,
        }
        let tools = !request.tools.is_empty() && request.tool_choice != ToolChoice::None;
        let shown = self.template.as_ref().is_some_and(|t| t.shows_tools());
        if tools && self.template.is_some() && !shown {
            refuse("tools", "the chat template of this model shows it no tools")?;
        }
        let single = tools && self.template.as_ref().is_some_and(|t| t.one_call());
        if single && *parallel_tool_calls == Some(true) {
            refuse(
                "parallel_tool_calls",
                "the chat template of this model takes one call at once",
            )?;
        }
        let format = self.tool_calls();
        let one_call = single || *parallel_tool_calls == Some(false);
        let mut prompt = self.render(request)?;
        #[cfg(feature = "constrained")]
        let form = self.form(request, tools && shown, !one_call, &prompt, &mut refuse)?;
        #[cfg(feature = "constrained")]
        let enforced = form.as_ref().is_some_and(|form| form.calls);
        #[cfg(not(feature = "constrained"))]
        let enforced = false;
        let opening = match opening(format, &request.tool_choice).filter(|_| tools && shown) {
            _ if enforced => String::new(),
            Some((opening, true)) => opening,
            Some((opening, false)) => {
                refuse(
                    "tool_choice",
                    "this model can be made to call a tool, but not which one",
                )?;
                opening
            }
            None => {
                if !matches!(request.tool_choice, ToolChoice::Auto | ToolChoice::None) {
                    refuse("tool_choice", "this model cannot be made to call a tool")?;
                }
                String::new()
            }
        };
        #[cfg(not(feature = "constrained"))]
        if request.response_format != ResponseFormat::Text {
            refuse(
                "response_format",
                "the output of local models is not constrained; build with the feature `constrained`",
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
        let mut options = GenerateOptions {
            max_tokens: max_tokens.map(|n| n as usize),
            sampler,
            stop_ids: None,
            logprobs: logprobs.map(usize::from),
            adapters: self.adapters.clone(),
            stages: self.stages.clone(),
            speculate: self.speculate,
            ..GenerateOptions::default()
        };
        // A bad value is found before the prompt has run.
        crate::sample::Sampler::new(&options.sampler)?;
        #[cfg(feature = "constrained")]
        let whole = form.as_ref().is_some_and(|form| form.whole);
        #[cfg(not(feature = "constrained"))]
        let whole = false;
        #[cfg(feature = "constrained")]
        if let Some(form) = form {
            options.constraint = Some(form.grammar);
        }
        let reasoning = self.reasoning();
        if let Some(tags) = reasoning.filter(|t| !opening.is_empty() && t.opened_by(&prompt)) {
            prompt.push_str(tags.close());
            prompt.push_str("\n\n");
        }
        prompt.push_str(&opening);
        let mut filter = Filter::new(one_call);
        let mut marks = Vec::new();
        if let Some(tags) = reasoning {
            marks.extend(tags.marks());
            filter.reasoning = Some(ReasoningSplitter::after_prompt(tags, &prompt));
        }
        if tools {
            marks.extend(format.marks());
            filter.calls = Some(parser(format, request));
            options.stop_ids = self.waiting_ids(format);
        }
        let ids = self.encode(&prompt)?;
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
            filter,
            marks,
            opening,
            whole,
            warnings,
            deadline: request.timeout.map(|t| start + t),
            start,
        })
    }

    /// Returns the ids that end a reply with tools, if there are more than those of the model.
    fn waiting_ids(&self, format: ToolCallFormat) -> Option<Vec<u32>> {
        let marks = format.end_marks().iter();
        let more: Vec<u32> = marks
            .filter_map(|mark| self.tokenizer.token_to_id(mark))
            .filter(|&id| self.tokenizer.is_special(id))
            .collect();
        (!more.is_empty()).then(|| [self.model.stop_ids(), &more].concat())
    }

    pub(super) fn run(
        &self,
        job: Job,
        wanted: Option<Wanted>,
        on_event: &mut dyn FnMut(&StreamEvent) -> ControlFlow<()>,
    ) -> Result<Reply> {
        // A long prompt can be given up between its parts.
        let mut go_on = || !job.is_late() && on_event(&StreamEvent::Heartbeat).is_continue();
        if let Some(scheduler) = &self.scheduler {
            let handle = scheduler.submit_while(&job.ids, &job.options, wanted)?;
            let scheduled = Scheduled::watched(handle, job.deadline, &mut go_on);
            return self.reply(job, scheduled, on_event);
        }
        let mut cache = self.take_cache(&job.ids);
        let generation =
            Generation::watched(&self.model, &mut cache, &job.ids, &job.options, &mut go_on);
        let reply = self.reply(job, generation, on_event);
        self.put_cache(&cache);
        reply
    }

    /// The reply to a prompt that has run, or was given up.
    fn reply(
        &self,
        job: Job,
        source: crate::Result<impl TokenSource>,
        on_event: &mut dyn FnMut(&StreamEvent) -> ControlFlow<()>,
    ) -> Result<Reply> {
        match source {
            Ok(mut source) => self.drive(job, &mut source, on_event),
            Err(crate::Error::Cancelled) if job.is_late() => Err(timed_out()),
            Err(crate::Error::Cancelled) => self.given_up(&job, on_event),
            Err(e) => Err(e.into()),
        }
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
            .with_warnings(job.warnings.clone())
            .with_start(job.start, 1);
        let mut out = Output::new(assembler, job.filter.clone(), on_event);
        out.push(WireDelta::Started {
            id: None,
            model: Some(self.name.clone()),
        });
        out
    }

    fn drive(
        &self,
        job: Job,
        generation: &mut dyn TokenSource,
        on_event: &mut dyn FnMut(&StreamEvent) -> ControlFlow<()>,
    ) -> Result<Reply> {
        let mut out = self.output(&job, on_event);
        let late = || job.deadline.is_some_and(|at| Instant::now() >= at);
        let mut stop = job.stop;
        let text = self.tokenizer.decode_stream(true);
        let mut text = text.showing(job.marks.iter().copied());
        out.text(&job.opening);
        while !out.ended() && stop.hit().is_none() {
            let token = match generation.token(job.deadline) {
                None => break,
                Some(Err(crate::Error::Cancelled)) if late() => {
                    return Err(timed_out().with_partial(out.assembler.partial()));
                }
                Some(token) => token?,
            };
            if let Some(entry) = self.describe(&token) {
                out.push(WireDelta::Logprobs(vec![entry]));
            }
            if let Some(piece) = text.push(token.id).map_err(decoding)? {
                out.text(&stop.push(&piece));
            }
            if late() {
                return Err(timed_out().with_partial(out.assembler.partial()));
            }
        }
        if stop.hit().is_none() {
            let rest = stop.push(&text.finish()) + &stop.finish();
            out.text(&rest);
        }
        out.finish_text();
        let timings = generation.timings();
        let reason = match generation.finish() {
            _ if out.cancelled => FinishReason::Other("cancelled".into()),
            _ if stop.hit().is_some() => FinishReason::Stop,
            Some(Finish::MaxTokens | Finish::Context) => FinishReason::Length,
            _ => FinishReason::Stop,
        };
        if job.whole && reason == FinishReason::Length {
            out.cut(reason, &timings);
            let message = "the reply was cut before it had the form asked for; raise max_tokens or \
                           bound the schema (maxLength, maxItems)";
            let error = Error::new(ErrorKind::Truncated, message).with_provider(PROVIDER);
            return Err(error.with_partial(out.assembler.partial()));
        }
        out.finish(reason, &timings);
        Ok(Reply {
            response: out.assembler.finish()?,
            timings,
        })
    }

    fn describe(&self, token: &Sampled) -> Option<TokenLogprob> {
        let text = |id: u32| {
            let bytes = self.tokenizer.decode_bytes(id).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let top = token.top.iter().map(|&(id, logprob)| (text(id), logprob));
        Some(TokenLogprob::new(text(token.id), token.logprob?).with_top(top.collect()))
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

/// Returns what a reply must begin with so that it honours the choice, and whether it does so fully.
fn opening(format: ToolCallFormat, choice: &ToolChoice) -> Option<(String, bool)> {
    match choice {
        ToolChoice::Required => Some((format.opening(None)?, true)),
        ToolChoice::Tool(name) => match format.opening(Some(name)) {
            Some(opening) => Some((opening, true)),
            None => Some((format.opening(None)?, false)),
        },
        _ => None,
    }
}

/// Returns a parser whose ids no earlier call of the conversation has.
fn parser(format: ToolCallFormat, request: &ChatRequest) -> ToolCallParser {
    let calls = request.messages.iter().flat_map(Message::tool_calls);
    let taken: Vec<&str> = calls.map(|call| call.id.as_str()).collect();
    ToolCallParser::numbered_from(taken.len())
        .with_format(format)
        .with_tools(&request.tools)
        .with_taken_ids(taken)
}
