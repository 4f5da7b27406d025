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
    ImageResponse, Media, Message, Moderation, ModerationModel, Passage, Ranked, RerankModel,
    Result, Retriever, Source, SpeechModel, SpeechRequest, Tool, ToolContext, ToolError,
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
    async fn speak(&self, request: &SpeechRequest) -> Result<Audio> {
        Ok(Audio::new(request.text.clone(), "audio/wav"))
    }
    async fn speak_stream(
        &self,
        _: &SpeechRequest,
    ) -> Result<futures_core::stream::BoxStream<'static, Result<Bytes>>> {
        let pieces = ["a", "b"].map(|p| Ok(Bytes::from(p)));
        Ok(futures_util::stream::iter(pieces).boxed())
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
    async fn moderate(&self, inputs: &[Content]) -> Result<Vec<Moderation>> {
        let scores =
            |c: &Content| BTreeMap::from([("bad".to_owned(), c.text().len() as f32 / 10.0)]);
        Ok(inputs
            .iter()
            .map(|c| Moderation::from_scores(scores(c), 0.5))
            .collect())
    }
}

#[async_trait]
impl RerankModel for Everything {
    named!();
    async fn rerank(&self, _: &str, docs: &[&str], top_n: Option<usize>) -> Result<Vec<Ranked>> {
        let n = top_n.unwrap_or(docs.len());
        Ok((0..docs.len())
            .rev()
            .take(n)
            .map(|i| Ranked::new(i, i as f32))
            .collect())
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
    assert_eq!(m.speak(&request).await.unwrap().data, "hi");
    assert_eq!(m.speak_stream(&request).await.unwrap().count().await, 2);
}

async fn transcription(m: impl TranscriptionModel) {
    assert_eq!((m.provider(), m.model()), ("test", "everything"));
    let request = TranscribeRequest::new(Audio::new("abc", "audio/wav"));
    assert_eq!(m.transcribe(&request).await.unwrap().text, "3 bytes");
}

async fn moderation(m: impl ModerationModel) {
    assert_eq!((m.provider(), m.model()), ("test", "everything"));
    let judged = m.moderate(&["ok".into(), "terrible".into()]).await.unwrap();
    assert_eq!(
        judged.iter().map(|j| j.flagged).collect::<Vec<_>>(),
        [false, true]
    );
}

async fn rerank(m: impl RerankModel) {
    assert_eq!((m.provider(), m.model()), ("test", "everything"));
    assert_eq!(
        m.rerank("q", &["a", "b"], Some(1)).await.unwrap(),
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
