//! The page that shows a reply token by token.

use std::path::Path;
use std::sync::Arc;

use futures_executor::block_on;
use ropewalk_core::{ChatModel, ChatRequest, ChatResponse, Message, TokenLogprob};
use ropewalk_gguf::Gguf;
use ropewalk_local::view::{TokenText, TokenView, ViewToken};
use ropewalk_local::{GenerateOptions, Generation, LoadOptions, LocalModel};
use serde_json::Value;

fn model() -> LocalModel {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data/ropewalk-tiny.gguf");
    let gguf = Gguf::open(path).unwrap();
    LocalModel::from_gguf(Arc::new(gguf), &LoadOptions::default()).unwrap()
}

/// The data that the script of a page reads.
fn data(page: &str) -> Value {
    let start = page.find("id=\"data\">").unwrap() + 10;
    let end = start + page[start..].find("</script>").unwrap();
    serde_json::from_str(&page[start..end]).unwrap()
}

#[test]
fn a_chat_and_a_generation_show_the_same_tokens() {
    let model = model();
    let mut request = ChatRequest::new().user("Hello!");
    request.options.logprobs = Some(3);
    let reply = block_on(model.chat(&request)).unwrap();
    let view = TokenView::from_response(&reply).with_prompt("Hello!");
    assert!(!view.tokens.is_empty() && view.title == reply.model);
    assert!(
        view.tokens
            .iter()
            .all(|t| t.top.len() == 3 && t.entropy().is_some())
    );
    let sum: f64 = reply.logprobs.iter().map(|t| f64::from(t.logprob)).sum();
    assert!((view.log_probability() - sum).abs() < 1e-9);
    let perplexity = (-sum / reply.logprobs.len() as f64).exp();
    assert!((view.perplexity().unwrap() - perplexity).abs() < 1e-9);
    let page = view.to_html();
    assert_eq!(data(&page).as_array().unwrap().len(), view.tokens.len());
    assert_eq!(page.matches("<button").count(), view.tokens.len());
    // The page loads nothing.
    for part in ["http://", "https://", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(part), "{part}");
    }

    let tokenizer = model.tokenizer();
    let prompt = tokenizer.encode("The ticket", true).unwrap();
    let mut cache = model.model().new_cache();
    let options = GenerateOptions::greedy(6).with_logprobs(2);
    let tokens = Generation::new(model.model(), &mut cache, &prompt, &options).unwrap();
    let tokens: Vec<_> = tokens.map(Result::unwrap).collect();
    let view = TokenView::from_sampled("tiny", &tokens, tokenizer);
    let shown: String = view
        .tokens
        .iter()
        .map(|t| match &t.text {
            TokenText::Text(text) => text.as_str(),
            _ => "?",
        })
        .collect();
    let ids: Vec<u32> = tokens.iter().map(|t| t.id).collect();
    assert_eq!(shown, tokenizer.decode(&ids, false).unwrap());
}

#[test]
fn text_cannot_leave_its_place() {
    let evil = "</script><script>alert(1)</script>\"'&<b>\u{0}\u{202e}\u{2028}";
    let reply = ChatResponse::new("p", evil, Message::assistant(evil)).with_logprobs(vec![
        TokenLogprob::new(evil, -1.0).with_top(vec![(evil.into(), -1.0), ("<u>".into(), f32::NAN)]),
    ]);
    let page = TokenView::from_response(&reply).with_prompt(evil).to_html();
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(!page.contains("<b>") && !page.contains("<u>") && !page.contains('\u{0}'));
    assert_eq!(data(&page)[0]["top"][1][1], "0 %");
}

#[test]
fn parts_of_characters_are_bytes_and_nothing_is_a_page_too() {
    let tokens = [&b"\xf0\x9f"[..], b"\xa6\x99", b"\n"]
        .map(|b| ViewToken::new(TokenText::from_bytes(b), -0.5));
    let page = TokenView::new("bytes", tokens.into()).to_html();
    assert!(page.contains(">⟨F0 9F⟩</button>") && page.contains(">⏎</button><br>"));
    // Without alternatives the token itself is shown.
    assert_eq!(data(&page)[0]["top"][0][0], "⟨F0 9F⟩");
    let page = TokenView::new("", Vec::new()).to_html();
    assert!(page.contains("no log probabilities") && !page.contains("<svg"));
}
