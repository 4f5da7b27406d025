//! This library's side.

use std::sync::Arc;

use futures::StreamExt;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use ropewalk_agents::{Agent, AgentEvent, Limits};
use ropewalk_core::{
    Capabilities, ChatModel, ChatModelExt, ChatRequest, ChatResponse, Message, Part, Result, Role,
    StreamEvent, ToolCall, Usage, async_trait,
};
use ropewalk_http::{Client, ClientOptions, Reply, Request, Transport};
use ropewalk_providers::{OpenAi, RemoteChat};
use ropewalk_tools::{ToolSet, tool};

use crate::canned::{INSTRUCTIONS, PIECES, QUESTION, Replies, TURNS, calls, text};
use crate::case::{Operation, Side, operation};

/// Adds two numbers.
#[tool(effect = read)]
fn add(a: i64, b: i64) -> String {
    (a + b).to_string()
}

/// Tells the weather of a city.
#[tool(effect = read)]
fn weather(city: String) -> String {
    format!("{city}: 21 degrees")
}

pub fn side(base_url: &str) -> Side {
    let openai = || OpenAi::new("sk-0123456789").expect("an HTTP client");
    let remote = openai().with_base_url(base_url).chat("gpt-4o-mini");
    let options = ClientOptions::default();
    let memory = Client::with_transport(Arc::new(Memory(Replies::new())), options);
    let in_memory = openai().with_client(memory).chat("gpt-4o-mini");
    [
        chat(remote.clone()),
        chat(remote.clone()),
        streamed(remote.clone()),
        streamed(remote.clone()),
        run(agent(remote.clone())),
        streamed_run(agent(remote)),
        chat(in_memory.clone()),
        run(agent(in_memory)),
        run(agent(Scripted)),
    ]
}

fn agent(model: impl ChatModel + 'static) -> Agent {
    let tools = ToolSet::new().with(add).and_then(|t| t.with(weather));
    Agent::new(model)
        .instructions(INSTRUCTIONS)
        .tools(tools.expect("two names"))
        .limits(Limits::new().with_turns(20))
}

fn chat(model: RemoteChat) -> Operation {
    operation(move || {
        let model = model.clone();
        async move {
            let answer = model.ask(QUESTION).await.expect("an answer");
            assert_eq!(answer, text());
        }
    })
}

fn streamed(model: RemoteChat) -> Operation {
    operation(move || {
        let model = model.clone();
        async move {
            let mut events = model.ask_stream(QUESTION).await.expect("a stream");
            let (mut pieces, mut whole) = (0, None);
            while let Some(event) = events.next().await {
                match event.expect("an event") {
                    StreamEvent::TextDelta { .. } => pieces += 1,
                    StreamEvent::Finished(response) => whole = Some(response),
                    _ => {}
                }
            }
            assert_eq!(pieces, PIECES);
            assert_eq!(whole.expect("an end").text(), text());
        }
    })
}

fn run(agent: Agent) -> Operation {
    operation(move || {
        let agent = agent.clone();
        async move {
            let result = agent.run(QUESTION).await.expect("an answer");
            assert_eq!(result.output, text());
            assert_eq!(result.turns as usize, TURNS + 1);
            assert_eq!(result.tool_calls as usize, 2 * TURNS);
        }
    })
}

fn streamed_run(agent: Agent) -> Operation {
    operation(move || {
        let agent = agent.clone();
        async move {
            let mut events = agent.run_stream(QUESTION);
            let mut result = None;
            while let Some(event) = events.next().await {
                if let AgentEvent::Done(done) = event.expect("an event") {
                    result = Some(done);
                }
            }
            let result = result.expect("an end");
            assert_eq!(result.output, text());
            assert_eq!(result.tool_calls as usize, 2 * TURNS);
        }
    })
}

/// Answers as the double, without a socket.
struct Memory(Replies);

#[async_trait]
impl Transport for Memory {
    async fn send(&self, request: &Request) -> Result<Reply> {
        let (body, streamed) = self.0.of(&request.body);
        let kind = match streamed {
            true => HeaderValue::from_static("text/event-stream"),
            false => HeaderValue::from_static("application/json"),
        };
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind)]);
        Ok(Reply::new(http::StatusCode::OK, headers, body))
    }
}

/// Answers without any wire.
struct Scripted;

#[async_trait]
impl ChatModel for Scripted {
    fn provider(&self) -> &str {
        "scripted"
    }

    fn model(&self) -> &str {
        "scripted"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.tools = true;
        capabilities
    }

    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let replies = request
            .messages
            .iter()
            .filter(|m| m.role == Role::Assistant);
        let turn = replies.count();
        let message = if turn < TURNS {
            let calls = calls(turn).map(|(id, name, a)| Part::ToolCall(ToolCall::new(id, name, a)));
            Message::assistant(Vec::from(calls))
        } else {
            Message::assistant(text())
        };
        let response = ChatResponse::new("scripted", "scripted", message);
        Ok(response.with_usage(Usage::new(200, 128)))
    }
}
