//! Images, speech, transcription, moderation and ranking over doubles.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use ropewalk_core::{
    Audio, Content, ErrorKind, ImageModel, ImageRequest, Media, MediaSource, ModerateRequest,
    ModerationModel, OnUnsupported, Part, RerankModel, RerankRequest, SpeechModel, SpeechRequest,
    TranscribeRequest, TranscriptionModel,
};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_providers::abilities::{RerankShape, TranscriptFormat};
use ropewalk_providers::{Auth, Endpoint, OpenAi, RemoteRerank};
use serde_json::{Value, json};

use crate::golden::{body, form, golden, parts};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x04\0\0\0\x04\0";

fn openai(double: &Arc<Double>) -> OpenAi {
    OpenAi::new("sk-test-key-of-nobody-1234")
        .unwrap()
        .with_client(double.client())
}

fn picture() -> Canned {
    Canned::json(&json!({
        "created": 1, "output_format": "png", "data": [{"b64_json": STANDARD.encode(PNG)}],
        "usage": {"input_tokens": 20, "output_tokens": 272, "total_tokens": 292,
                  "input_tokens_details": {"text_tokens": 20, "image_tokens": 0}}
    }))
}

#[tokio::test]
async fn pictures_are_made_and_decoded() {
    let double = Double::new([picture(), picture()]);
    let request = ImageRequest::new("A holiday in Lisbon, pop art")
        .with_size(1024, 1024)
        .with_quality("low")
        .with_seed(7);
    let openai = openai(&double);
    let response = openai
        .images("gpt-image-2")
        .generate(&request)
        .await
        .unwrap();
    let image = &response.images[0];
    assert_eq!(image.mime.as_deref(), Some("image/png"));
    assert_eq!(image.source, MediaSource::Bytes(PNG.into()));
    assert_eq!(response.usage.output_tokens, Some(272));
    assert_eq!(response.warnings[0].option, "seed");
    let strict = request.clone().with_on_unsupported(OnUnsupported::Error);
    let error = openai
        .images("gpt-image-2")
        .generate(&strict)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    openai.images("dall-e-3").generate(&request).await.unwrap();
    let [new, old] = double.bodies().try_into().unwrap();
    golden("abilities/image_generate", &new);
    assert_eq!(old["response_format"], "b64_json");
}

#[tokio::test]
async fn sizes_are_checked_before_they_are_sent() {
    let double = Double::new([picture()]);
    let model = openai(&double).images("gpt-image-2");
    for bad in [json!("1024*1024"), json!([1024, 1024]), json!("big")] {
        let request = ImageRequest::new("a cat").with_extra("openai", "size", bad.clone());
        let error = model.generate(&request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{bad}");
        assert!(error.message().contains("1024x1024"), "{error}");
    }
    let request = ImageRequest::new("a cat").with_size(0, 512);
    assert!(model.generate(&request).await.is_err());
    assert!(double.requests().is_empty());
    let request = ImageRequest::new("a cat").with_extra("*", "size", "1024x1024");
    model.generate(&request).await.unwrap();
}

#[tokio::test]
async fn pictures_are_edited_in_a_form() {
    let double = Double::new([picture(), picture()]);
    let model = openai(&double).images("gpt-image-2");
    let png = || Media::bytes(PNG, "image/png");
    let data_url = Media::url(format!(
        "data:image/jpeg;base64,{}",
        STANDARD.encode(b"\xff\xd8\xff")
    ));
    let request = ImageRequest::new("Add a hat")
        .with_input(png())
        .with_input(data_url.with_name("face.jpg"))
        .with_mask(png())
        .with_extra("openai", "background", "transparent");
    model.generate(&request).await.unwrap();
    let one = ImageRequest::new("Add a hat").with_input(png());
    model.generate(&one).await.unwrap();
    let [two, one] = double.requests().try_into().unwrap();
    assert!(two.url.ends_with("/v1/images/edits"), "{}", two.url);
    golden("abilities/image_edit", &form(&two));
    assert_eq!(
        form(&one)["image"],
        json!({"file": "image-0.png", "mime": "image/png", "bytes": PNG.len()})
    );
    let sent = parts(&two)
        .into_iter()
        .find(|(name, ..)| name == "mask")
        .unwrap();
    assert_eq!(sent.2, PNG);
}

#[tokio::test]
async fn edits_refuse_what_they_cannot_send() {
    let double = Double::new([]);
    let model = openai(&double).images("gpt-image-2");
    let edit = |media| ImageRequest::new("x").with_input(media);
    for (request, expected) in [
        (edit(Media::url("https://x.test/a.png")), "fetch it first"),
        (edit(Media::file_id("file-1")), "fetch it first"),
        (edit(Media::url("data:image/png;base64,???")), "base64"),
        (
            edit(Media::new(MediaSource::Bytes(b"??".as_slice().into()))),
            "MIME",
        ),
        (
            ImageRequest::new("x").with_mask(Media::bytes(PNG, "image/png")),
            "mask",
        ),
        (ImageRequest::new(" "), "prompt is empty"),
    ] {
        let error = model.generate(&request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert!(error.message().contains(expected), "{error} / {expected}");
    }
    assert!(double.requests().is_empty());
}

#[tokio::test]
async fn speech_is_bytes_whole_or_in_pieces() {
    let sound = || Canned::new(200, "audio/mpeg", &b"ID3 a sound of some length"[..]);
    let double = Double::new([sound(), sound().in_pieces_of(5)]);
    let model = openai(&double).speech("gpt-4o-mini-tts");
    let request = SpeechRequest::new("Well, hi there")
        .with_voice("onyx")
        .with_speed(1.1)
        .with_format("mp3")
        .with_instructions("Whisper.");
    let whole = model.speak(&request).await.unwrap();
    assert_eq!(whole.audio.mime, "audio/mpeg");
    let stream = model
        .speak_stream(&SpeechRequest::new("Well, hi there"))
        .await
        .unwrap();
    assert_eq!(stream.mime, "audio/mpeg");
    let pieces: Vec<_> = stream.try_collect().await.unwrap();
    assert!(pieces.len() > 1);
    assert_eq!(pieces.concat(), whole.audio.data);
    let bodies = double.bodies();
    golden("abilities/speech", &bodies[0]);
    let expected = json!({"model": "gpt-4o-mini-tts", "input": "Well, hi there", "voice": "alloy"});
    assert_eq!(bodies[1], expected);
}

#[tokio::test]
async fn what_is_no_speech_is_an_error() {
    let page = || {
        Canned::new(200, "text/html; charset=utf-8", "<html>").with_header("x-request-id", "req_5")
    };
    let empty = || Canned::new(200, "audio/wav", "");
    let double = Double::new([page(), page(), empty(), empty()]);
    let model = openai(&double).speech("tts-1");
    let request = SpeechRequest::new("hi");
    for expected in ["text/html", "empty"] {
        let whole = model.speak(&request).await.unwrap_err();
        let stream = model.speak_stream(&request).await.unwrap_err();
        for error in [whole, stream] {
            assert_eq!(error.kind(), ErrorKind::Decode);
            assert!(error.message().contains(expected), "{error}");
        }
    }
    for bad in [
        SpeechRequest::new(" "),
        SpeechRequest::new("a").with_speed(f32::NAN),
    ] {
        let error = model.speak(&bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    }
    assert_eq!(double.requests().len(), 4);
    double.push(Canned::new(200, "application/octet-stream", "x"));
    let request = SpeechRequest::new("a")
        .with_instructions("sadly")
        .with_format("opus");
    let response = model.speak(&request).await.unwrap();
    assert_eq!(response.warnings[0].option, "instructions");
    assert_eq!(response.audio.mime, "audio/ogg");
}

fn wav() -> Audio {
    Audio::new(&b"RIFF\0\0\0\0WAVEfmt sound"[..], "audio/wav")
}

#[tokio::test]
async fn transcripts_have_words_when_asked_for() {
    let double = Double::new([Canned::json(&json!({
        "task": "transcribe", "language": "english", "duration": 2.5, "text": "Well, hi there",
        "segments": [{"id": 0, "start": 0.0, "end": 2.5, "text": " Well, hi there", "tokens": [1]}],
        "words": [{"word": "Well", "start": 0.0, "end": 0.5}, {"word": "hi", "start": 0.5, "end": 0.9}],
        "usage": {"type": "duration", "seconds": 3}
    }))]);
    let model = openai(&double).transcription("whisper-1");
    let request = TranscribeRequest::new(wav().with_name("talk.wav"))
        .with_language("en")
        .with_prompt("Denver council")
        .with_word_times(true)
        .with_extra("openai", "temperature", 0);
    let transcript = model.transcribe(&request).await.unwrap();
    assert_eq!(
        (transcript.text.as_str(), transcript.duration),
        ("Well, hi there", Some(2.5))
    );
    assert_eq!(transcript.language.as_deref(), Some("english"));
    assert_eq!((transcript.segments.len(), transcript.words.len()), (1, 2));
    assert_eq!(
        (transcript.words[1].text.as_str(), transcript.words[1].end),
        ("hi", 0.9)
    );
    let sent = &double.requests()[0];
    assert!(sent.url.ends_with("/v1/audio/transcriptions"));
    golden("abilities/transcription", &form(sent));
    let (_, file, data) = parts(sent).pop().unwrap();
    assert_eq!(
        (file.unwrap().0.as_str(), &data[..]),
        ("talk.wav", &wav().data[..])
    );
}

#[tokio::test]
async fn plain_text_is_taken_as_it_is() {
    let text = || Canned::new(200, "text/plain; charset=utf-8", "Well, hi there.\n");
    let double = Double::new([text(), text()]);
    let model = openai(&double).transcription("whisper-1");
    let by_extra = TranscribeRequest::new(wav()).with_extra("openai", "response_format", "srt");
    let model = model.with_format(TranscriptFormat::Text);
    for request in [TranscribeRequest::new(wav()), by_extra] {
        let transcript = model.transcribe(&request).await.unwrap();
        assert_eq!(
            (transcript.text.as_str(), transcript.model.as_str()),
            ("Well, hi there.", "whisper-1")
        );
    }
    let formats: Vec<_> = double
        .requests()
        .iter()
        .map(|r| form(r)["response_format"].clone())
        .collect();
    assert_eq!(formats, ["text", "srt"]);
    assert_eq!(form(&double.requests()[0])["file"]["file"], "audio.wav");
}

#[tokio::test]
async fn each_model_is_asked_for_what_it_can() {
    let reply = || {
        Canned::json(
            &json!({"text": "hi", "usage": {"type": "tokens", "input_tokens": 14,
        "output_tokens": 3, "total_tokens": 17, "input_token_details": {"audio_tokens": 14}}}),
        )
    };
    let told_apart = Canned::json(&json!({"text": "hi", "duration": 4.0, "task": "transcribe",
        "segments": [{"type": "transcript.text.segment", "id": "1", "start": 0, "end": 1, "speaker": "A", "text": "hi"}]}));
    let double = Double::new([reply(), told_apart, reply()]);
    let openai = openai(&double);
    let request = TranscribeRequest::new(wav())
        .with_word_times(true)
        .with_prompt("p");
    let model = openai
        .transcription("gpt-4o-transcribe")
        .with_keep_raw(true);
    let transcript = model.transcribe(&request).await.unwrap();
    assert_eq!(transcript.usage.input_audio_tokens, Some(14));
    assert!(transcript.raw.is_some());
    assert_eq!(transcript.warnings[0].option, "word_times");
    let transcript = openai
        .transcription("gpt-4o-transcribe-diarize")
        .transcribe(&request)
        .await
        .unwrap();
    assert_eq!(transcript.segments[0].speaker.as_deref(), Some("A"));
    assert_eq!(transcript.warnings.len(), 2, "{:?}", transcript.warnings);
    let english = TranscribeRequest::new(wav())
        .with_translate(true)
        .with_language("de");
    let transcript = openai
        .transcription("whisper-1")
        .transcribe(&english)
        .await
        .unwrap();
    assert_eq!(transcript.warnings[0].option, "language");
    let requests = double.requests();
    let formats: Vec<_> = requests
        .iter()
        .map(|r| form(r)["response_format"].clone())
        .collect();
    assert_eq!(formats, ["json", "diarized_json", "verbose_json"]);
    assert!(requests[2].url.ends_with("/v1/audio/translations"));
    golden("abilities/translation", &form(&requests[2]));
}

#[tokio::test]
async fn too_much_sound_is_not_sent() {
    let double = Double::new([Canned::json(&json!({"error": null}))]);
    let model = openai(&double).transcription("whisper-1").with_max_bytes(8);
    let error = model
        .transcribe(&TranscribeRequest::new(wav()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert!(error.message().contains("MiB"), "{error}");
    let empty = TranscribeRequest::new(Audio::new("", "audio/wav"));
    assert!(model.transcribe(&empty).await.is_err());
    assert!(double.requests().is_empty());
    let model = model.with_max_bytes(1 << 20);
    let error = model
        .transcribe(&TranscribeRequest::new(wav()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
}

fn judged(flagged: &[bool]) -> Canned {
    let results: Vec<_> = flagged
        .iter()
        .map(|f| {
            json!({"flagged": f, "categories": {"violence": f, "illicit": null},
                   "category_scores": {"violence": if *f { 0.9 } else { 0.01 }},
                   "category_applied_input_types": {"violence": ["text"]}})
        })
        .collect();
    Canned::json(
        &json!({"id": "modr-1", "model": "omni-moderation-2024-09-26", "results": results}),
    )
}

#[tokio::test]
async fn texts_are_judged_together_and_images_alone() {
    let double = Double::new([
        judged(&[false, true]),
        judged(&[false]),
        judged(&[true]),
        judged(&[false]),
    ]);
    let model = openai(&double).moderation("omni-moderation-latest");
    let model = model.with_batch(2).with_concurrency(1);
    let with_image: Content = vec![Part::text("look"), Part::image(PNG, "image/png")].into();
    let inputs: Vec<Content> = vec!["a".into(), "b".into(), "c".into(), with_image, "d".into()];
    let response = model.moderate(&ModerateRequest::new(inputs)).await.unwrap();
    let flagged: Vec<_> = response.results.iter().map(|r| r.flagged).collect();
    assert_eq!(flagged, [false, true, false, true, false]);
    assert_eq!(response.results[1].scores["violence"], 0.9);
    assert_eq!(response.results[1].categories.len(), 1, "null says nothing");
    assert_eq!(response.model, "omni-moderation-2024-09-26");
    let bodies = double.bodies();
    assert_eq!(bodies[1]["input"], json!(["c"]));
    golden("abilities/moderation_text", &bodies[0]);
    golden("abilities/moderation_image", &bodies[2]);
}

#[tokio::test]
async fn judgements_must_match_the_contents() {
    let double = Double::new([judged(&[true]), Canned::json(&json!({"results": [{}]}))]);
    let model = openai(&double).moderation("text-moderation-007");
    let two = ModerateRequest::new(["a", "b"]);
    for expected in ["1 judgements came back for 2", "no judgements"] {
        let error = model.moderate(&two).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.message().contains(expected), "{error}");
    }
    let none: [&str; 0] = [];
    for bad in [ModerateRequest::new(none), ModerateRequest::new([""])] {
        assert_eq!(
            model.moderate(&bad).await.unwrap_err().kind(),
            ErrorKind::InvalidRequest
        );
    }
    double.push(judged(&[false]));
    let image: Content = vec![Part::text("look"), Part::image(PNG, "image/png")].into();
    let response = model
        .moderate(&ModerateRequest::new([image]))
        .await
        .unwrap();
    assert_eq!(response.warnings[0].option, "image");
    assert_eq!(double.bodies().last().unwrap()["input"], json!(["look"]));
}

fn rerank(name: &'static str, shape: RerankShape, reply: &Value) -> (RemoteRerank, Arc<Double>) {
    let double = Double::new([Canned::json(reply)]);
    let endpoint = Endpoint::new(name, "https://rank.test", Auth::None, None).unwrap();
    let model = RemoteRerank::new(endpoint.with_client(double.client()), "r-1", shape);
    (model, double)
}

#[tokio::test]
async fn every_rerank_api_gives_the_same_places() {
    let scored = json!([{"index": 2, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.25},
                        {"index": 1, "relevance_score": 0.5}]);
    let tei = json!([{"index": 2, "score": 0.9}, {"index": 1, "score": 0.5}, {"index": 0, "score": 0.25}]);
    let used = json!({"total_tokens": 26, "prompt_tokens": 26});
    let cases = [
        (
            "cohere",
            RerankShape::COHERE,
            "/v2/rerank",
            json!({"id": "x", "results": scored, "meta": {"billed_units": {"search_units": 1}}}),
            json!({"model": "r-1", "query": "q", "documents": ["a", "b", "c"], "top_n": 2}),
        ),
        (
            "jina",
            RerankShape::JINA,
            "/rerank",
            json!({"model": "r-1", "usage": used, "results": scored}),
            json!({"model": "r-1", "query": "q", "documents": ["a", "b", "c"], "top_n": 2, "return_documents": false}),
        ),
        (
            "voyage",
            RerankShape::VOYAGE,
            "/rerank",
            json!({"object": "list", "data": scored, "model": "r-1", "usage": {"total_tokens": 26}}),
            json!({"model": "r-1", "query": "q", "documents": ["a", "b", "c"], "top_k": 2, "return_documents": false}),
        ),
        (
            "tei",
            RerankShape::TEI,
            "/rerank",
            tei,
            json!({"query": "q", "texts": ["a", "b", "c"], "return_text": false}),
        ),
        (
            "llamacpp",
            RerankShape::LLAMA_CPP,
            "/rerank",
            json!({"model": "r-1", "object": "list", "usage": used, "results": scored}),
            json!({"model": "r-1", "query": "q", "documents": ["a", "b", "c"], "top_n": 2}),
        ),
    ];
    for (name, shape, path, reply, expected) in cases {
        let (model, double) = rerank(name, shape, &reply);
        let request = RerankRequest::new("q", ["a", "b", "c"]).with_top_n(2);
        let response = model.rerank(&request).await.unwrap();
        let places: Vec<_> = response
            .results
            .iter()
            .map(|r| (r.index, r.score))
            .collect();
        assert_eq!(places, [(2, 0.9), (1, 0.5)], "{name}");
        assert_eq!((response.model.as_str(), model.provider()), ("r-1", name));
        let tokens = matches!(name, "jina" | "voyage" | "llamacpp").then_some(26);
        assert_eq!(response.usage.input_tokens, tokens, "{name}");
        let sent = &double.requests()[0];
        assert_eq!(
            (sent.url.as_str(), body(sent)),
            (format!("https://rank.test{path}").as_str(), expected)
        );
    }
}

#[tokio::test]
async fn wrong_places_are_errors() {
    for (reply, expected) in [
        (json!({}), "no places"),
        (
            json!({"results": [{"index": 3, "relevance_score": 1}]}),
            "no document 3",
        ),
        (
            json!({"results": [{"index": 0, "relevance_score": 1}, {"index": 0, "relevance_score": 1}]}),
            "two places",
        ),
        (
            json!({"results": [{"index": 0}]}),
            "no index or no relevance_score",
        ),
    ] {
        let (model, _) = rerank("cohere", RerankShape::COHERE, &reply);
        let error = model
            .rerank(&RerankRequest::new("q", ["a", "b"]))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.provider()),
            (ErrorKind::Decode, "cohere")
        );
        assert!(error.message().contains(expected), "{error}");
    }
    let (model, double) = rerank("cohere", RerankShape::COHERE, &json!({}));
    let none: [&str; 0] = [];
    assert!(
        model
            .rerank(&RerankRequest::new("q", none))
            .await
            .unwrap()
            .results
            .is_empty()
    );
    assert!(model.rerank(&RerankRequest::new(" ", ["a"])).await.is_err());
    assert!(double.requests().is_empty());
}
