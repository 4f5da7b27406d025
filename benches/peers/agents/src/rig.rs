//! The side of rig-core and rig-agent 0.44.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, header::CONTENT_TYPE};
use rig_agent::agent::{Agent, AgentBuilder, MultiTurnStreamItem};
use rig_core::completion::options::{Mapping, OptionFields, OptionMap};
use rig_core::completion::{Accepts, CompletionRequest, FinishReason, ReplayTarget, Usage};
use rig_core::driver::{DynModel, Exchange, Model, Opened, Opening, Transport};
use rig_core::error::{EncodeError, ProviderError};
use rig_core::http_client::{
    BoxedStream, HttpClientExt, LazyBody, MultipartForm, Result as HttpResult, StreamingResponse,
};
use rig_core::message::{Api, Message};
use rig_core::operation::{Block, CallFragment, Completion, Finish};
use rig_core::providers::openai::OpenAIConfig;
use rig_core::streaming::{Item, StreamEvent};
use rig_core::tool::Tool;
use rig_core::tool::ToolContext;
use rig_core::wire::document::{Reassemble, Serves};
use rig_core::wire::{Decoder, Descriptor, Flow, Mode, Out, Wire, WireEvent};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::canned::{INSTRUCTIONS, PIECES, QUESTION, Replies, TURNS, calls, text};
use crate::case::{Operation, Side, operation};

#[derive(Deserialize)]
struct Terms {
    a: i64,
    b: i64,
}

struct Add;

impl Tool for Add {
    const NAME: &'static str = "add";
    type Args = Terms;
    type Output = String;
    type Error = std::convert::Infallible;

    fn description(&self) -> String {
        "Adds two numbers.".to_owned()
    }

    fn parameters(&self) -> Value {
        json!({"type": "object", "required": ["a", "b"], "properties": {
            "a": {"type": "integer", "format": "int64"}, "b": {"type": "integer", "format": "int64"}}})
    }

    async fn call(
        &self,
        _: &mut ToolContext,
        Terms { a, b }: Terms,
    ) -> Result<String, Self::Error> {
        Ok((a + b).to_string())
    }
}

#[derive(Deserialize)]
struct Place {
    city: String,
}

struct Weather;

impl Tool for Weather {
    const NAME: &'static str = "weather";
    type Args = Place;
    type Output = String;
    type Error = std::convert::Infallible;

    fn description(&self) -> String {
        "Tells the weather of a city.".to_owned()
    }

    fn parameters(&self) -> Value {
        json!({"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}})
    }

    async fn call(
        &self,
        _: &mut ToolContext,
        Place { city }: Place,
    ) -> Result<String, Self::Error> {
        Ok(format!("{city}: 21 degrees"))
    }
}

pub fn side(base_url: &str) -> Side {
    let openai = || OpenAIConfig::new("sk-0123456789").with_base_url(base_url);
    let remote = DynModel::from(openai().client().chat("gpt-4o-mini"));
    let memory = openai().connect(Memory(Arc::new(Replies::new())));
    let in_memory = DynModel::from(memory.chat("gpt-4o-mini"));
    let scripted = DynModel::from(Model::new(Script, Scripted));
    [
        chat(remote.clone()),
        chat(remote.clone()),
        streamed(remote.clone()),
        streamed(remote.clone()),
        run(agent(remote.clone())),
        streamed_run(agent(remote)),
        chat(in_memory.clone()),
        run(agent(in_memory)),
        run(agent(scripted)),
    ]
}

fn agent(model: DynModel<Completion>) -> Agent {
    let agent = AgentBuilder::new(model)
        .preamble(INSTRUCTIONS)
        .default_max_turns(20);
    agent.tool(Add).tool(Weather).build()
}

fn chat(model: DynModel<Completion>) -> Operation {
    operation(move || {
        let model = model.clone();
        async move {
            let answer = model.call(CompletionRequest::new(QUESTION)).await;
            assert_eq!(answer.expect("an answer").text(), text());
        }
    })
}

fn streamed(model: DynModel<Completion>) -> Operation {
    operation(move || {
        let model = model.clone();
        async move {
            let mut events = model
                .stream(CompletionRequest::new(QUESTION))
                .expect("a stream");
            let mut pieces = 0;
            while let Some(event) = events.next().await {
                if let Item::Event(StreamEvent::Text { .. }) = event.expect("an event") {
                    pieces += 1;
                }
            }
            assert_eq!(pieces, PIECES);
            assert_eq!(events.finish().await.expect("an end").text(), text());
        }
    })
}

fn run(agent: Agent) -> Operation {
    let agent = Arc::new(agent);
    operation(move || {
        let agent = Arc::clone(&agent);
        async move {
            let result = agent.prompt(QUESTION).await.expect("an answer");
            assert_eq!(result.output(), text());
            assert_eq!(result.completion_calls.len(), TURNS + 1);
        }
    })
}

fn streamed_run(agent: Agent) -> Operation {
    let agent = Arc::new(agent);
    operation(move || {
        let agent = Arc::clone(&agent);
        async move {
            let mut events = agent.prompt(QUESTION).stream();
            let (mut result, mut results) = (None, 0);
            while let Some(event) = events.next().await {
                match event.expect("an event") {
                    MultiTurnStreamItem::FinalResponse(done) => result = Some(done),
                    MultiTurnStreamItem::ToolResult { .. } => results += 1,
                    _ => {}
                }
            }
            assert_eq!(result.expect("an end").output(), text());
            assert_eq!(results, 2 * TURNS);
        }
    })
}

/// Answers as the double, without a socket.
struct Memory(Arc<Replies>);

impl Memory {
    fn reply(&self, request: Bytes) -> (http::response::Builder, Bytes) {
        let (body, streamed) = self.0.of(&request);
        let kind = match streamed {
            true => "text/event-stream",
            false => "application/json",
        };
        (Response::builder().header(CONTENT_TYPE, kind), body)
    }
}

impl HttpClientExt for Memory {
    fn send<T, U>(
        &self,
        request: Request<T>,
    ) -> impl Future<Output = HttpResult<Response<LazyBody<U>>>> + Send + 'static
    where
        T: Into<Bytes> + Send,
        U: From<Bytes> + Send + 'static,
    {
        let (reply, body) = self.reply(request.into_body().into());
        let body: LazyBody<U> = Box::pin(async move { Ok(U::from(body)) });
        std::future::ready(reply.body(body).map_err(Into::into))
    }

    fn send_multipart<U>(
        &self,
        _: Request<MultipartForm>,
    ) -> impl Future<Output = HttpResult<Response<LazyBody<U>>>> + Send + 'static
    where
        U: From<Bytes> + Send + 'static,
    {
        async { unreachable!("chats send no forms") }
    }

    async fn send_streaming<T>(&self, request: Request<T>) -> HttpResult<StreamingResponse>
    where
        T: Into<Bytes> + Send,
    {
        let (reply, body) = self.reply(request.into_body().into());
        let body: BoxedStream = Box::pin(futures::stream::iter([Ok(body)]));
        reply.body(body).map_err(Into::into)
    }
}

/// A wire without a format: its replies are parts of messages.
#[derive(Debug, Clone, PartialEq)]
struct Script;

enum Frame {
    Text(String),
    Call(usize, String, &'static str, String),
    Done(FinishReason),
}

#[derive(Default)]
struct Reading<'id>(std::marker::PhantomData<fn(&'id ()) -> &'id ()>);

impl<'id> Decoder<'id, Completion, Frame> for Reading<'id> {
    type Event = Frame;

    fn classify(&self, frame: Frame) -> WireEvent<Frame> {
        WireEvent::Known(frame)
    }

    fn decode(
        &mut self,
        frame: Frame,
        mut out: Out<'id, Completion>,
    ) -> Result<Flow, ProviderError> {
        match frame {
            Frame::Text(text) => {
                out.run(Block::Text, &text)?;
            }
            Frame::Call(index, id, name, arguments) => {
                let call = CallFragment {
                    id: Some(&id),
                    name: Some(name),
                    arguments: Some(&arguments),
                };
                out.fragment(Some(index), call)?;
            }
            Frame::Done(reason) => {
                out.end_run()?;
                out.finish_open()?;
                let mut usage = Usage::default();
                usage.input_tokens = Some(200);
                usage.output_tokens = Some(128);
                return Ok(out.end(Finish {
                    usage,
                    reason: Some(reason),
                    ..Finish::default()
                }));
            }
        }
        Ok(Flow::More)
    }
}

impl ReplayTarget for Script {
    fn api(&self) -> Api {
        Api::from_static("script")
    }

    fn provider(&self) -> &str {
        "script"
    }

    fn model(&self) -> &str {
        "script"
    }

    fn accepts(&self, _: &str) -> Accepts {
        Accepts::ALL
    }

    fn map_options(&self, _: &CompletionRequest, _: OptionFields<'_>) -> OptionMap {
        let nothing = || Mapping::Nothing;
        OptionMap {
            reasoning: nothing(),
            cache: nothing(),
            service_tier: nothing(),
            verbosity: nothing(),
            parallel_tool_calls: nothing(),
            top_p: nothing(),
            seed: nothing(),
            stop: nothing(),
        }
    }
}

/// No document: there is none to be kept.
#[derive(Default)]
struct NoDocument;

impl Serves<Completion> for NoDocument {}

impl Reassemble<Frame> for NoDocument {
    fn absorb(&mut self, _: &Frame) {}

    fn finish(self) -> Value {
        Value::Null
    }
}

impl Wire for Script {
    type Op = Completion;
    type Payload = CompletionRequest;
    type Frame = Frame;
    type Decoder<'id> = Reading<'id>;
    type Reassembler = NoDocument;

    fn describe(&self) -> Descriptor<'_> {
        Descriptor::new("script").replay(self)
    }

    fn encode(
        &self,
        request: CompletionRequest,
        _: Mode,
    ) -> Result<CompletionRequest, EncodeError> {
        Ok(request)
    }

    fn decoder<'id>(&self) -> Reading<'id> {
        Reading::default()
    }
}

/// Answers without any wire.
#[derive(Clone)]
struct Scripted;

impl Transport<Script> for Scripted {
    fn send(&self, request: CompletionRequest, _: Exchange) -> Opening<Frame> {
        let replies = request
            .chat_history
            .iter()
            .filter(|m| matches!(m, Message::Assistant(_)));
        let turn = replies.count();
        let mut frames = Vec::with_capacity(3);
        if turn < TURNS {
            let calls = calls(turn).into_iter().enumerate();
            frames.extend(calls.map(|(i, (id, name, a))| Ok(Frame::Call(i, id, name, a))));
            frames.push(Ok(Frame::Done(FinishReason::ToolCalls)));
        } else {
            frames.push(Ok(Frame::Text(text())));
            frames.push(Ok(Frame::Done(FinishReason::Stop)));
        }
        Opening::ready(Opened::new(futures::stream::iter(frames)))
    }
}
