//! What holds for all wires.

use ropewalk_core::{ChatRequest, ErrorKind, Message, OnUnsupported, Part, Reasoning};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_providers::{
    Anthropic, ChatWire, Gemini, Ollama, OpenAi, RemoteChat, Tgi, Wire, presets,
};
use serde_json::json;

fn models(name: &str) -> Vec<RemoteChat> {
    vec![
        OpenAi::new("sk-x").unwrap().chat(name),
        OpenAi::new("sk-x").unwrap().responses(name),
        Anthropic::new("sk-ant-x").unwrap().chat(name),
        Gemini::new("AIza-x").unwrap().chat(name),
        Ollama::new().unwrap().chat(name),
        Tgi::new("http://127.0.0.1:1").unwrap().chat(name),
        #[cfg(feature = "bedrock")]
        ropewalk_providers::Bedrock::new("us-east-1", "key")
            .unwrap()
            .chat(name),
    ]
}

#[test]
fn names_of_speakers_are_sent_or_told() {
    let request = ChatRequest::new().message(Message::user("hi").with_name("Ada"));
    for model in models("m") {
        let wire = model.wire();
        let call = wire.encode("m", &request, false).unwrap();
        let sent = call.body.to_string().contains("Ada");
        let told = call
            .notes
            .warnings()
            .iter()
            .any(|w| w.option.contains("name"));
        assert!(sent != told, "{wire:?}: {}", call.body);
        let strict = request.clone().on_unsupported(OnUnsupported::Error);
        assert_eq!(wire.encode("m", &strict, false).is_err(), told, "{wire:?}");
    }
}

#[test]
fn a_name_of_a_model_changes_no_path() {
    let wires = [
        Box::new(ChatWire::new(presets::AZURE_DEPLOYMENTS)) as Box<dyn Wire>,
        Box::new(ropewalk_providers::GeminiWire::new()),
    ];
    for wire in wires {
        for model in ["../../files/x", "m?alt=media", "m#x", "a b", ""] {
            let error = wire.encode(model, &"hi".into(), false).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{model}");
        }
    }
}

#[tokio::test]
async fn embeddings_of_gemini_check_the_name_too() {
    use ropewalk_core::{EmbedRequest, EmbeddingModel};
    let double = Double::new([Canned::json(&json!({}))]);
    let gemini = Gemini::new("AIza-x").unwrap().with_client(double.client());
    let request = EmbedRequest::new(["a"]);
    let error = gemini.embeddings("../x").embed(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert!(double.requests().is_empty());
}

#[test]
fn thoughts_of_others_do_not_go_to_a_server_that_takes_its_own_back() {
    let wire = ChatWire::new(presets::DEEPSEEK);
    for (provider, sent) in [
        (None, true),
        (Some("deepseek"), true),
        (Some("anthropic"), false),
    ] {
        let mut thought = Reasoning::new("hm");
        thought.provider = provider.map(str::to_owned);
        let said = Message::assistant(vec![Part::Reasoning(thought), Part::text("so")]);
        let request = ChatRequest::from("hi").message(said).user("and?");
        let call = wire.encode("m", &request, false).unwrap();
        let found = call.body["messages"][1].get("reasoning_content").is_some();
        assert_eq!(found, sent, "{provider:?}");
    }
}

#[cfg(feature = "bedrock")]
#[test]
fn ids_of_other_providers_are_made_to_fit() {
    use ropewalk_core::{ToolCall, ToolResult};

    let call = ToolCall::new("call|a.1", "f", "{}");
    let result = ToolResult::to(&call, "done");
    let request = ChatRequest::from("hi")
        .message(Message::assistant(vec![Part::ToolCall(call)]))
        .message(Message::tool(result));
    let wire = ropewalk_providers::ConverseWire::new();
    let body = wire.encode("m", &request, false).unwrap().body;
    let id = |i: usize, kind: &str| &body["messages"][i]["content"][0][kind]["toolUseId"];
    assert_eq!(id(1, "toolUse"), "call_a_1");
    assert_eq!(id(2, "toolResult"), "call_a_1");
}

#[test]
fn marks_for_the_cache_are_set_or_told() {
    let mut request = ChatRequest::from("hi");
    request.options.cache = Some(ropewalk_core::CacheHint::Short);
    let openrouter = OpenAi::compatible(presets::OPENROUTER, "https://x.test", None).unwrap();
    for (model, marked) in [
        (openrouter.chat("m"), true),
        (openrouter.responses("m"), false),
    ] {
        let call = model.wire().encode("m", &request, false).unwrap();
        assert_eq!(call.body.to_string().contains("cache_control"), marked);
        assert_eq!(call.notes.warnings().is_empty(), marked, "{call:?}");
    }
}
