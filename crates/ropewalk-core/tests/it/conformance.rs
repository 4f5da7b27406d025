//! The suites pass on sound subjects and name the fault of broken ones.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_executor::block_on;
use futures_util::{FutureExt, stream};
use ropewalk_core::schemars::{self, JsonSchema};
use ropewalk_core::testing::{ChatSuite, Outcome, Report, ScriptedModel, ToolSuite};
use ropewalk_core::testing::{chat, embeddings, tool};
use ropewalk_core::{
    Capabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, EmbedRequest, EmbedResponse,
    EmbeddingModel, Error, ErrorKind, FinishReason, Message, OnUnsupported, Part, Result,
    StreamEvent, TokenLogprob, Tool, ToolCall, ToolContext, ToolError, ToolOutput, ToolSpec, Usage,
    Warning, async_trait, tool_fn,
};
use serde::Deserialize;

fn failures(report: &Report) -> Vec<&'static str> {
    report.failures().collect()
}

fn suite() -> ChatSuite {
    ChatSuite::new().with_calls_tools(true)
}

/// Echoes, calls a tool when one is required, and writes JSON when a schema asks for it.
fn sound() -> ScriptedModel {
    let echo = ScriptedModel::echo();
    let model = ScriptedModel::respond_with(move |request| {
        use ropewalk_core::{ResponseFormat, ToolChoice};
        if request.tool_choice == ToolChoice::Required {
            let call = ToolCall::new("c1", "get_temperature", r#"{"city":"Oslo"}"#);
            return Ok(ChatResponse::new(
                "s",
                "m",
                Message::assistant(Part::ToolCall(call)),
            ));
        }
        if matches!(request.response_format, ResponseFormat::JsonSchema { .. }) {
            return Ok(ChatResponse::new(
                "s",
                "m",
                Message::assistant(r#"{"greeting":"hi"}"#),
            ));
        }
        // An executor cannot run inside another one; the echo never waits.
        echo.chat(request).now_or_never().unwrap()
    });
    let mut capabilities = model.capabilities();
    capabilities.json_schema = true;
    model.with_capabilities(capabilities)
}

#[test]
fn a_sound_model_passes() {
    let report = block_on(chat(&sound(), &suite())).into_result().unwrap();
    let skipped: Vec<_> = report
        .checks
        .iter()
        .filter(|c| matches!(c.outcome, Outcome::Skipped(_)))
        .collect();
    assert_eq!(
        skipped.iter().map(|c| c.name).collect::<Vec<_>>(),
        ["count_tokens"]
    );
    assert_eq!(report.checks.len(), 18);
}

/// One fault of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    NoName,
    WrongRole,
    NoUsage,
    PartsAboveTotals,
    TooLong,
    AcceptsEmpty,
    FailsOnSystem,
    FailsOnSecondTurn,
    FailsOnToolHistory,
    StopsWithCalls,
    BadArguments,
    LosesDelta,
    GrowsAfterDone,
    StreamWithoutUsage,
    StreamDiffers,
    StreamOfAnotherModel,
    StreamWithoutLogprobs,
    WarnsWhenToIgnore,
    DropsOptions,
    DiesWhenDropped,
    Truncates,
    CountsNothing,
    BadJson,
}

/// [`sound`], with a fault.
struct Broken {
    inner: ScriptedModel,
    fault: Fault,
    dead: std::sync::Arc<AtomicBool>,
}

impl Broken {
    fn new(fault: Fault) -> Self {
        Self {
            inner: sound(),
            fault,
            dead: std::sync::Arc::default(),
        }
    }

    fn spoil(&self, request: &ChatRequest, mut response: ChatResponse) -> Result<ChatResponse> {
        let has = |role| request.messages.iter().any(|m| m.role == role);
        let fail = || Err(Error::new(ErrorKind::Server, "broken"));
        match self.fault {
            Fault::WrongRole => response.message.role = ropewalk_core::Role::User,
            Fault::NoUsage => response.usage = Usage::default(),
            Fault::PartsAboveTotals => response.usage.reasoning_tokens = Some(1_000),
            Fault::TooLong => response.usage.output_tokens = Some(1_000),
            Fault::FailsOnSystem if has(ropewalk_core::Role::System) => return fail(),
            Fault::FailsOnSecondTurn if request.messages.len() > 2 => return fail(),
            Fault::FailsOnToolHistory if has(ropewalk_core::Role::Tool) => return fail(),
            Fault::StreamWithoutLogprobs => {
                response = response.with_logprobs(vec![TokenLogprob::new("x", -1.0)]);
            }
            Fault::WarnsWhenToIgnore if request.options.top_k.is_some() => {
                response = response.with_warnings([Warning::new("top_k", "not supported")]);
            }
            Fault::DropsOptions if request.options.top_k.is_some() => {
                match request.on_unsupported {
                    OnUnsupported::Error => {
                        return Err(Error::new(ErrorKind::Unsupported, "top_k"));
                    }
                    _ => return Ok(response),
                }
            }
            Fault::StopsWithCalls => response.finish_reason = FinishReason::Stop,
            Fault::BadArguments => {
                for part in &mut response.message.content {
                    if let Part::ToolCall(call) = part {
                        call.arguments = "{\"city".into();
                    }
                }
            }
            Fault::BadJson if response.text().contains("greeting") => {
                response.message = Message::assistant("hello");
            }
            _ => {}
        }
        Ok(response)
    }
}

/// Marks the model as dead when dropped without having been defused.
struct Fuse(std::sync::Arc<AtomicBool>, bool);

impl Fuse {
    fn defuse(&mut self) {
        self.1 = false;
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        if self.1 {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl ChatModel for Broken {
    fn provider(&self) -> &str {
        if self.fault == Fault::NoName {
            ""
        } else {
            "broken"
        }
    }

    fn model(&self) -> &str {
        "broken"
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse> {
        if self.dead.load(Ordering::Relaxed) {
            return Err(Error::new(
                ErrorKind::Inference,
                "a dropped call broke the model",
            ));
        }
        if self.fault == Fault::AcceptsEmpty && request.messages.is_empty() {
            return Ok(ChatResponse::new(
                "broken",
                "broken",
                Message::assistant("?"),
            ));
        }
        let response = self.inner.chat(request).await?;
        self.spoil(request, response)
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let mut response = self.chat(request).await?;
        match self.fault {
            Fault::StreamWithoutUsage => response.usage = Usage::default(),
            Fault::StreamOfAnotherModel => response.model = "another".into(),
            Fault::StreamWithoutLogprobs => response.logprobs.clear(),
            Fault::StreamDiffers => response.message.content.push(Part::text("!")),
            _ => {}
        }
        let whole = ChatStream::from_response(response.clone());
        let mut events: Vec<Result<StreamEvent>> = futures_util::StreamExt::collect(whole).await;
        match self.fault {
            Fault::LosesDelta => {
                events.retain(|e| !matches!(e, Ok(StreamEvent::TextDelta { .. })));
                events.insert(
                    0,
                    Ok(StreamEvent::TextDelta {
                        index: 0,
                        text: "odd".into(),
                    }),
                );
            }
            Fault::GrowsAfterDone => {
                let late = StreamEvent::TextDelta {
                    index: 0,
                    text: "late".into(),
                };
                events.insert(events.len() - 1, Ok(late));
            }
            Fault::Truncates => drop(events.pop()),
            _ => {}
        }
        let dies = self.fault == Fault::DiesWhenDropped;
        let mut fuse = Fuse(self.dead.clone(), dies);
        let last = events.len();
        let events = events.into_iter().enumerate().map(move |(i, event)| {
            // Read to the end, the stream does no harm.
            if i + 1 == last {
                fuse.defuse();
            }
            event
        });
        Ok(ChatStream::new(stream::iter(events)))
    }

    async fn count_tokens(&self, _: &ChatRequest) -> Result<Option<u64>> {
        Ok((self.fault == Fault::CountsNothing).then_some(0))
    }
}

#[test]
fn faults_of_chat_models_are_found() {
    let cases = [
        (Fault::NoName, "names"),
        (Fault::StreamOfAnotherModel, "stream_equals_chat"),
        (Fault::StreamWithoutLogprobs, "stream_equals_chat"),
        (Fault::WarnsWhenToIgnore, "on_unsupported"),
        (Fault::DropsOptions, "on_unsupported"),
        (Fault::WrongRole, "reply"),
        (Fault::NoUsage, "usage"),
        (Fault::PartsAboveTotals, "usage"),
        (Fault::TooLong, "max_tokens"),
        (Fault::AcceptsEmpty, "empty_request"),
        (Fault::FailsOnSystem, "system_message"),
        (Fault::FailsOnSecondTurn, "multi_turn"),
        (Fault::FailsOnToolHistory, "tool_history"),
        (Fault::StopsWithCalls, "tool_call"),
        (Fault::BadArguments, "tool_call"),
        (Fault::LosesDelta, "stream_events"),
        (Fault::GrowsAfterDone, "stream_events"),
        (Fault::Truncates, "stream_events"),
        (Fault::StreamWithoutUsage, "stream_usage"),
        (Fault::StreamDiffers, "stream_equals_chat"),
        (Fault::DiesWhenDropped, "drop_stream"),
        (Fault::CountsNothing, "count_tokens"),
        (Fault::BadJson, "extract"),
    ];
    for (fault, check) in cases {
        let report = block_on(chat(&Broken::new(fault), &suite()));
        assert!(
            failures(&report).contains(&check),
            "{fault:?} not found by {check}: {report}"
        );
        let error = report.into_result().unwrap_err().to_string();
        assert!(error.contains(check), "{error}");
    }
}

/// Embeds by letter counts, with a fault.
struct Letters(&'static str);

#[async_trait]
impl EmbeddingModel for Letters {
    fn provider(&self) -> &str {
        "test"
    }

    fn model(&self) -> &str {
        if self.0 == "names" { "" } else { "letters" }
    }

    fn dimensions(&self) -> Option<usize> {
        Some(if self.0 == "count_and_width" { 3 } else { 128 })
    }

    fn max_batch(&self) -> usize {
        4
    }

    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        if request.inputs.is_empty() && self.0 == "empty" {
            return Err(Error::new(ErrorKind::Server, "no inputs"));
        }
        if request.kind == ropewalk_core::EmbedKind::Query && self.0 == "query_kind" {
            return Err(Error::new(ErrorKind::Unsupported, "queries"));
        }
        let embed = |text: &String| {
            let mut vector = vec![0.0; 128];
            text.bytes()
                .for_each(|b| vector[usize::from(b) % 128] += 1.0);
            vector
        };
        let mut vectors: Vec<Vec<f32>> = request.inputs.iter().map(embed).collect();
        match self.0 {
            "finite" => vectors.iter_mut().for_each(|v| v[0] = f32::INFINITY),
            "order" => vectors.reverse(),
            "distinct" => vectors.iter_mut().for_each(|v| v.fill(1.0)),
            "batches" if request.inputs.len() == 1 => vectors[0].fill(2.0),
            _ => {}
        }
        Ok(EmbedResponse::new("letters", vectors))
    }
}

#[test]
fn faults_of_embedding_models_are_found() {
    block_on(embeddings(&Letters(""))).into_result().unwrap();
    let faults = [
        "names",
        "count_and_width",
        "finite",
        "order",
        "distinct",
        "batches",
        "query_kind",
        "empty",
    ];
    for fault in faults {
        let report = block_on(embeddings(&Letters(fault)));
        assert!(failures(&report).contains(&fault), "{fault}: {report}");
    }
}

#[derive(Deserialize, JsonSchema)]
struct Add {
    a: i64,
    b: i64,
}

fn add() -> impl Tool {
    tool_fn("add", "Adds two numbers", |args: Add| async move {
        Ok((args.a + args.b).to_string())
    })
}

/// [`add`], with a fault.
struct BrokenTool {
    spec: ToolSpec,
    fault: &'static str,
    fresh: AtomicBool,
}

#[async_trait]
impl Tool for BrokenTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, arguments: &str, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        match (self.fault, add().call(arguments, context).await) {
            ("call", Ok(_)) => Ok(ToolOutput::error("no")),
            ("malformed_arguments", Err(e)) => Err(ToolError::Fatal(e.to_string().into())),
            ("wrong_arguments", Err(_)) if arguments.contains(':') => Ok("fine".into()),
            ("empty_arguments", Err(_)) if arguments.is_empty() => Err(ToolError::failed("empty")),
            ("drop", Ok(_)) if !self.fresh.swap(false, Ordering::Relaxed) => {
                Err(ToolError::failed("used up"))
            }
            (_, result) => result,
        }
    }
}

#[test]
fn faults_of_tools_are_found() {
    let suite = ToolSuite::new(r#"{"a": 1, "b": 2}"#);
    block_on(tool(&add(), &suite)).into_result().unwrap();
    let faults = [
        "name",
        "schema",
        "description",
        "call",
        "malformed_arguments",
        "wrong_arguments",
        "empty_arguments",
        "drop",
    ];
    for fault in faults {
        let mut spec = add().spec().clone();
        match fault {
            "name" => spec.name = "add numbers".into(),
            "schema" => spec.parameters = schemars::json_schema!({"type": "array"}),
            "description" => spec.description.clear(),
            _ => {}
        }
        let broken = BrokenTool {
            spec,
            fault,
            fresh: AtomicBool::new(true),
        };
        let report = block_on(tool(&broken, &suite));
        assert!(failures(&report).contains(&fault), "{fault}: {report}");
    }
}

#[test]
fn a_tool_without_required_arguments_passes() {
    #[derive(Deserialize, JsonSchema)]
    struct Nothing {}
    let now = tool_fn("now", "Tells the time", |_: Nothing| async { Ok("noon") });
    block_on(tool(&now, &ToolSuite::new("{}")))
        .into_result()
        .unwrap();
}

#[test]
fn an_output_becomes_the_answer_to_its_call() {
    let call = ToolCall::new("call_1", "now", "{}");
    let good = ToolOutput::text("noon").answer(&call);
    assert_eq!(
        (good.call_id.as_str(), good.name.as_str()),
        ("call_1", "now")
    );
    assert!(good.text() == "noon" && !good.is_error);
    assert!(ToolOutput::error("no clock").answer(&call).is_error);
}
