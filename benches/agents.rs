//! Remote models, tools and agents, without a network: what a call costs on this side.
//!
//! `cargo bench --bench agents`. Throughput of wires and framing is in bytes of JSON. The comparison
//! with rig is a program of its own: `benches/peers/agents`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_executor::block_on;
use ropewalk_agents::{Agent, Limits};
use ropewalk_core::{
    Capabilities, ChatModel, ChatRequest, ChatResponse, Message, Part, Result, Role,
    StreamAssembler, ToolCall, ToolContext, Usage, WireDelta, async_trait,
};
use ropewalk_http::{Framer, SseFramer};
use ropewalk_providers::{ChatWire, Wire, presets};
use ropewalk_tools::{ToolSet, tool};
use serde_json::{Value, json};

/// Turns with two calls each, before the answer.
const TURNS: usize = 10;
/// Pieces of a streamed reply.
const PIECES: usize = 64;

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

fn tools() -> ToolSet {
    let tools = ToolSet::new().with(add).and_then(|t| t.with(weather));
    tools.expect("two names")
}

fn calls(turn: usize) -> [ToolCall; 2] {
    [
        ToolCall::new(
            format!("call_{turn}_a"),
            "add",
            format!(r#"{{"a":{turn},"b":40}}"#),
        ),
        ToolCall::new(
            format!("call_{turn}_b"),
            "weather",
            format!(r#"{{"city":"Oslo {turn}"}}"#),
        ),
    ]
}

/// A conversation in the middle of a run: five turns with their results.
fn conversation() -> ChatRequest {
    let mut request = ChatRequest::new()
        .system("You help with travel.")
        .user("What do ten trips cost?")
        .tools(tools().specs());
    for turn in 0..TURNS / 2 {
        let calls = calls(turn);
        let results = calls
            .each_ref()
            .map(|c| ropewalk_core::ToolResult::to(c, "Oslo: 21 degrees"));
        request = request
            .message(Message::assistant(calls.map(Part::ToolCall)))
            .message(Message::tool_results(results));
    }
    request
}

fn chunk(delta: &Value, finish: &Value) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000,
        "model": "gpt-4o-mini", "system_fingerprint": "fp_1", "usage": null,
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]})
}

/// A streamed reply as its server sends it.
fn events() -> Vec<u8> {
    let words = (0..PIECES).map(|_| chunk(&json!({"content": "some words "}), &Value::Null));
    let chunks = words.chain([chunk(&json!({}), &json!("stop"))]);
    let mut body: String = chunks.map(|c| format!("data: {c}\n\n")).collect();
    body.push_str("data: [DONE]\n\n");
    body.into()
}

fn wires(c: &mut Criterion) {
    let wire = ChatWire::new(presets::OPENAI);
    let mut group = c.benchmark_group("agents/wire");
    let request = conversation();
    let encode = || {
        wire.encode("gpt-4o-mini", &request, true)
            .expect("a request")
    };
    group.throughput(Throughput::Bytes(encode().body.to_string().len() as u64));
    group.bench_function("encode", |b| b.iter(|| encode().body.to_string()));

    let reply = json!({"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-mini",
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": null,
            "message": {"role": "assistant", "content": "some words ".repeat(PIECES)}}],
        "usage": {"prompt_tokens": 200, "completion_tokens": 128, "total_tokens": 328}});
    let reply = reply.to_string();
    let decode = |text: &str| wire.decode(serde_json::from_str(text).expect("JSON"));
    group.throughput(Throughput::Bytes(reply.len() as u64));
    group.bench_function("decode", |b| {
        b.iter(|| decode(black_box(&reply)).expect("a reply"))
    });

    let body = events();
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("decode-stream", |b| {
        b.iter(|| deltas(&wire, black_box(&body)))
    });
    group.finish();
}

/// Frames and decodes a whole stream.
fn deltas(wire: &ChatWire, body: &[u8]) -> Vec<WireDelta> {
    let (mut framer, mut decoder) = (SseFramer::new(), wire.decoder());
    let (mut frames, mut deltas) = (Vec::new(), Vec::new());
    framer.push(body, &mut frames).expect("frames");
    for frame in &frames {
        decoder.frame(frame, &mut deltas).expect("a chunk");
    }
    deltas
}

fn framing(c: &mut Criterion) {
    let body = events();
    let mut group = c.benchmark_group("agents/sse");
    group.throughput(Throughput::Bytes(body.len() as u64));
    // As a network cuts it: whole records, and pieces that end anywhere.
    for piece in [16_384, 100] {
        group.bench_function(format!("{piece}-byte-pieces"), |b| {
            b.iter(|| {
                let (mut framer, mut frames) = (SseFramer::new(), Vec::new());
                for bytes in body.chunks(piece) {
                    framer.push(bytes, &mut frames).expect("frames");
                }
                frames.len()
            });
        });
    }
    group.finish();
}

fn assembler(c: &mut Criterion) {
    let deltas = deltas(&ChatWire::new(presets::OPENAI), &events());
    let mut group = c.benchmark_group("agents/assembler");
    group.throughput(Throughput::Elements(deltas.len() as u64));
    group.bench_function("deltas", |b| {
        b.iter(|| {
            let mut assembler = StreamAssembler::new("openai", "gpt-4o-mini");
            for delta in &deltas {
                black_box(assembler.push(delta.clone()));
            }
            assembler.finish().expect("a reply")
        });
    });
    group.finish();
}

fn tool_calls(c: &mut Criterion) {
    let (tools, context) = (tools(), ToolContext::default());
    let [sum, sky] = calls(0);
    let mut group = c.benchmark_group("agents/tools");
    group.bench_function("one-call", |b| {
        b.iter(|| block_on(tools.call(&sum, &context)).expect("a result"));
    });
    let both = [sum, sky];
    group.bench_function("two-at-once", |b| {
        b.iter(|| block_on(tools.call_all(&both, &context, 8)).expect("results"));
    });
    group.finish();
}

/// Answers from a script that depends on the conversation alone.
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
        let replies = request.messages.iter();
        let turn = replies.filter(|m| m.role == Role::Assistant).count();
        let message = match turn < TURNS {
            true => Message::assistant(calls(turn).map(Part::ToolCall)),
            false => Message::assistant("done"),
        };
        let response = ChatResponse::new("scripted", "scripted", message);
        Ok(response.with_usage(Usage::new(200, 20)))
    }
}

fn agents(c: &mut Criterion) {
    let limits = Limits::new().with_turns(2 * TURNS as u32);
    let agent = Agent::new(Scripted)
        .instructions("You help.")
        .tools(tools())
        .limits(limits);
    let mut group = c.benchmark_group("agents/loop");
    // An element is a turn: a call of the model and of two tools.
    group.throughput(Throughput::Elements(TURNS as u64 + 1));
    group.bench_function("turns", |b| {
        b.iter(|| {
            let run = block_on(agent.run("What do ten trips cost?")).expect("an answer");
            assert_eq!(run.tool_calls as usize, 2 * TURNS);
        });
    });
    group.finish();
}

criterion_group!(benches, wires, framing, assembler, tool_calls, agents);
criterion_main!(benches);
