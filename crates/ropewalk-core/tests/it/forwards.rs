//! Every ability trait works through `Arc`, `Box` and references, also as `dyn`, and forwards every
//! method: a forgotten one would fall back to the default and fail here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_executor::block_on;
use futures_util::StreamExt;
use ropewalk_core::testing::ScriptedModel;
use ropewalk_core::{
    Audio, Bytes, Capabilities, ChatHistory, ChatModel, ChatModelExt, ChatRequest, ChatResponse,
    ChatStream, Content, EmbedRequest, EmbedResponse, EmbeddingModel, ImageModel, ImageRequest,
    ImageResponse, Media, Message, ModerateRequest, ModerateResponse, Moderation, ModerationModel,
    Passage, Ranked, RerankModel, RerankRequest, RerankResponse, Result, Retriever, Source,
    SpeechModel, SpeechRequest, SpeechResponse, SpeechStream, Tool, ToolContext, ToolError,
    ToolOutput, ToolSpec, TranscribeRequest, Transcript, TranscriptionModel, async_trait,
};

/// Has every ability, and no method as its default has it.
struct Everything {
    spec: ToolSpec,
    log: Mutex<Vec<Message>>,
}

impl Everything {
    fn new() -> Self {
        let schema = ropewalk_core::schemars::json_schema!({"type": "object"});
        Self {
            spec: ToolSpec::new("everything", "all", schema),
            log: Mutex::default(),
        }
    }
}

macro_rules! named {
    () => {
        fn provider(&self) -> &str {
            "test"
        }
        fn model(&self) -> &str {
            "everything"
        }
    };
}

#[async_trait]
impl ChatModel for Everything {
    named!();
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.vision = true;
        capabilities
    }
    async fn chat(&self, _: &ChatRequest) -> Result<ChatResponse> {
        Ok(ChatResponse::new(
            "test",
            "everything",
            Message::assistant("chat"),
        ))
    }
    async fn stream(&self, _: &ChatRequest) -> Result<ChatStream> {
        let message = Message::assistant("stream");
        Ok(ChatStream::from_response(ChatResponse::new(
            "test",
            "everything",
            message,
        )))
    }
    async fn count_tokens(&self, _: &ChatRequest) -> Result<Option<u64>> {
        Ok(Some(7))
    }
}

#[async_trait]
impl EmbeddingModel for Everything {
    named!();
    fn dimensions(&self) -> Option<usize> {
        Some(1)
    }
    fn max_batch(&self) -> usize {
        5
    }
    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        Ok(EmbedResponse::new(
            "everything",
            vec![vec![1.0]; request.inputs.len()],
        ))
    }
}

#[async_trait]
impl ImageModel for Everything {
    named!();
    async fn generate(&self, request: &ImageRequest) -> Result<ImageResponse> {
        Ok(ImageResponse::new(vec![Media::url(request.prompt.clone())]))
    }
}

#[async_trait]
impl SpeechModel for Everything {
    named!();
    async fn speak(&self, request: &SpeechRequest) -> Result<SpeechResponse> {
        let audio = Audio::new(request.text.clone(), "audio/wav");
        Ok(SpeechResponse::new(audio))
    }
    async fn speak_stream(&self, _: &SpeechRequest) -> Result<SpeechStream> {
        let pieces = ["a", "b"].map(|p| Ok(Bytes::from(p)));
        Ok(SpeechStream::new(
            "audio/wav",
            futures_util::stream::iter(pieces),
        ))
    }
}

#[async_trait]
impl TranscriptionModel for Everything {
    named!();
    async fn transcribe(&self, request: &TranscribeRequest) -> Result<Transcript> {
        Ok(Transcript::new(format!(
            "{} bytes",
            request.audio.data.len()
        )))
    }
}

#[async_trait]
impl ModerationModel for Everything {
    named!();
    async fn moderate(&self, request: &ModerateRequest) -> Result<ModerateResponse> {
        let scores =
            |c: &Content| BTreeMap::from([("bad".to_owned(), c.text().len() as f32 / 10.0)]);
        let judge = |c: &Content| Moderation::from_scores(scores(c), 0.5);
        Ok(ModerateResponse::new(
            request.inputs.iter().map(judge).collect(),
        ))
    }
}

#[async_trait]
impl RerankModel for Everything {
    named!();
    async fn rerank(&self, request: &RerankRequest) -> Result<RerankResponse> {
        let all = request.documents.len();
        let places = (0..all).rev().map(|i| Ranked::new(i, i as f32));
        let best = places.take(request.top_n.unwrap_or(all));
        Ok(RerankResponse::new(best.collect()))
    }
}

#[async_trait]
impl Tool for Everything {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }
    async fn call(&self, arguments: &str, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        Ok(format!("{} {arguments}", context.call_id).into())
    }
}

#[async_trait]
impl Retriever for Everything {
    async fn retrieve(&self, query: &str, k: usize) -> Result<Vec<Passage>> {
        Ok(vec![Passage::new(query, 1.0, Source::new("doc")); k])
    }
}

#[async_trait]
impl ChatHistory for Everything {
    async fn load(&self, _: &str) -> Result<Vec<Message>> {
        Ok(self.log.lock().unwrap().clone())
    }
    async fn append(&self, _: &str, messages: &[Message]) -> Result<()> {
        self.log.lock().unwrap().extend_from_slice(messages);
        Ok(())
    }
    async fn clear(&self, _: &str) -> Result<()> {
        self.log.lock().unwrap().clear();
        Ok(())
    }
}

async fn chat(m: impl ChatModel) {
    assert_eq!((m.provider(), m.model()), ("test", "everything"));
    assert!(m.capabilities().vision);
    assert_eq!(m.ask("x").await.unwrap(), "chat");
    assert_eq!(
        m.ask_stream("x")
            .await
            .unwrap()
            .collect()
            .await
            .unwrap()
            .text(),
        "stream"
    );
    assert_eq!(m.count_tokens(&"x".into()).await.unwrap(), Some(7));
}

async fn embedding(m: impl EmbeddingModel) {
    assert_eq!((m.provider(), m.model()), ("test", "everything"));
    assert_eq!((m.dimensions(), m.max_batch()), (Some(1), 5));
    assert_eq!(
        m.embed(&EmbedRequest::new(["x"])).await.unwrap().vectors,
        [[1.0]]
    );
}

async fn image(m: impl ImageModel) {
    assert_eq!((m.provider(), m.model()), ("test", "everything"));
    let images = m.generate(&ImageRequest::new("u")).await.unwrap().images;
    assert_eq!(images, [Media::url("u")]);
}

async fn speech(m: impl SpeechModel) {
    assert_eq!((m.provider(), m.model()), ("test", "everything"));
    let request = SpeechRequest::new("hi");
    assert_eq!(m.speak(&request).await.unwrap().audio.data, "hi");
    assert_eq!(m.speak_stream(&request).await.unwrap().count().await, 2);
}

async fn transcription(m: impl TranscriptionModel) {
    assert_eq!((m.provider(), m.model()), ("test", "everything"));
    let request = TranscribeRequest::new(Audio::new("abc", "audio/wav"));
    assert_eq!(m.transcribe(&request).await.unwrap().text, "3 bytes");
}

async fn moderation(m: impl ModerationModel) {
    assert_eq!((m.provider(), m.model()), ("test", "everything"));
    let judged = m
        .moderate(&ModerateRequest::new(["ok", "terrible"]))
        .await
        .unwrap();
    assert_eq!(
        judged.results.iter().map(|j| j.flagged).collect::<Vec<_>>(),
        [false, true]
    );
}

async fn rerank(m: impl RerankModel) {
    assert_eq!((m.provider(), m.model()), ("test", "everything"));
    assert_eq!(
        m.rerank(&RerankRequest::new("q", ["a", "b"]).with_top_n(1))
            .await
            .unwrap()
            .results,
        [Ranked::new(1, 1.0)]
    );
}

async fn tool(t: impl Tool) {
    assert_eq!(t.spec().name, "everything");
    let output = t.call("{}", &ToolContext::new("c")).await.unwrap();
    assert_eq!(output, ToolOutput::text("c {}"));
}

async fn retriever(r: impl Retriever) {
    assert_eq!(r.retrieve("q", 2).await.unwrap().len(), 2);
}

async fn history(h: impl ChatHistory) {
    h.append("c", &[Message::user("x")]).await.unwrap();
    assert_eq!(h.load("c").await.unwrap().len(), 1);
    h.clear("c").await.unwrap();
    assert!(h.load("c").await.unwrap().is_empty());
}

macro_rules! through_every_pointer {
    ($($check:ident as $trait:ident),* $(,)?) => {$(
        #[test]
        fn $check() {
            block_on(async {
                crate::forwards::$check(&Everything::new()).await;
                crate::forwards::$check(Box::new(Everything::new()) as Box<dyn $trait>).await;
                crate::forwards::$check(Arc::new(Everything::new()) as Arc<dyn $trait>).await;
                crate::forwards::$check(&(Arc::new(Everything::new()) as Arc<dyn $trait>)).await;
            });
        }
    )*};
}

mod pointers {
    use super::*;

    through_every_pointer! {
        chat as ChatModel,
        embedding as EmbeddingModel,
        image as ImageModel,
        speech as SpeechModel,
        transcription as TranscriptionModel,
        moderation as ModerationModel,
        rerank as RerankModel,
        tool as Tool,
        retriever as Retriever,
        history as ChatHistory,
    }
}

#[test]
fn the_scripted_model_says_what_it_was_told() {
    use ropewalk_core::{Error, ErrorKind, WireDelta};
    let broken = Error::new(ErrorKind::Connection, "reset");
    let model = ScriptedModel::new()
        .with_chunk(2)
        .reply("héllo")
        .error(Error::new(ErrorKind::RateLimited, "slow"))
        .deltas([WireDelta::text("cut")])
        .breaks_after([WireDelta::text("half")], broken);
    block_on(async {
        let pieces = model.ask_stream("1").await.unwrap().text();
        let pieces: Vec<String> = pieces.map(Result::unwrap).collect().await;
        assert_eq!(pieces, ["hé", "ll", "o"]);
        assert_eq!(
            model.ask("2").await.unwrap_err().kind(),
            ErrorKind::RateLimited
        );
        let cut = model.ask("3").await.unwrap_err();
        assert_eq!(
            (cut.kind(), cut.partial().unwrap().text()),
            (ErrorKind::Truncated, "cut".into())
        );
        let half = model.ask("4").await.unwrap_err();
        assert_eq!(
            (half.kind(), half.partial().unwrap().text()),
            (ErrorKind::Connection, "half".into())
        );
        assert_eq!(model.remaining(), 0);
        let over = model.ask("5").await.unwrap_err();
        assert!(over.message().contains("this is request 5"), "{over}");
    });
    let asked: Vec<String> = model
        .requests()
        .iter()
        .map(|r| r.messages[0].text())
        .collect();
    assert_eq!(asked, ["1", "2", "3", "4", "5"]);
}

/// Whatever a model of any ability leaves out can be said in its reply.
#[test]
fn every_reply_can_warn() {
    use ropewalk_core::{OnUnsupported, Usage, Warning};
    let warning = || [Warning::new("dimensions", "not supported")];
    let usage = Usage::new(1, 0);
    macro_rules! check {
        ($($reply:expr),* $(,)?) => {$(
            let reply = $reply
                .with_model("m")
                .with_usage(usage)
                .with_warnings(warning())
                .with_raw("x".into());
            assert_eq!((reply.model.as_str(), reply.usage), ("m", usage));
            assert_eq!((reply.warnings, reply.raw), (warning().to_vec(), Some("x".into())));
        )*};
    }
    check!(
        EmbedResponse::new("", vec![]),
        ImageResponse::new(vec![]),
        SpeechResponse::new(Audio::new("x", "audio/wav")),
        Transcript::new("x"),
        ModerateResponse::new(vec![]),
        RerankResponse::new(vec![]),
    );
    let spoken = SpeechResponse::new(Audio::new("x", "audio/wav")).with_warnings(warning());
    assert_eq!(SpeechStream::from(spoken).warnings, warning());
    let request = EmbedRequest::new(["x"])
        .with_extra("openai", "user", "u")
        .with_on_unsupported(OnUnsupported::Error);
    assert_eq!(request.extra["openai"]["user"], "u");
    let json = serde_json::to_string(&request).unwrap();
    assert_eq!(
        serde_json::from_str::<EmbedRequest>(&json).unwrap(),
        request
    );
}

/// Whatever a script says comes back, through the stream too.
#[test]
fn the_scripted_model_loses_nothing() {
    use ropewalk_core::{Part, Reasoning, ToolCall};
    let mut call = ToolCall::new("c", "f", "{}");
    call.item_id = Some("fc_1".into());
    call.signature = Some("sig".into());
    let mut unsigned = Reasoning::new("hm");
    unsigned.signature = Some("nobody's".into());
    let message = Message::assistant([
        Part::Reasoning(Reasoning::new("theirs").with_signature("anthropic", "s1")),
        Part::Reasoning(Reasoning::new("ours").with_signature("scripted", "s2")),
        Part::Reasoning(Reasoning::new("plain")),
        Part::Reasoning(unsigned),
        Part::ToolCall(call),
    ]);
    let model = ScriptedModel::new().message(message.clone());
    let got = block_on(model.chat(&"x".into())).unwrap();
    assert_eq!(got.message, message);
}
