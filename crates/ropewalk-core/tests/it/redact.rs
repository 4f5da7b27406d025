//! Keys never get through, ordinary messages always do.

use std::borrow::Cow;
use std::error::Error as _;

use proptest::prelude::*;
use ropewalk_core::{Bytes, Error, ErrorKind, HttpFailure, http, redact, redact_exact};

/// Real shapes of keys; `~` stands before each in the texts below.
const KEYS: [&str; 6] = [
    "8f3kQ2mVx7Lp0aZsW4tYb9RcHd1GuJ6n",
    "sk-proj-Ab12_cd34-Ef56gh78Ij90kl",
    "hf_QwErTyUiOpAsDfGhJkLzXcVbNm12345678",
    "AIzaSyD4x9_q-Zt7uW2vB5nM8kL1jH3gF6dS0aP",
    "0123456789abcdef0123456789abcdef",
    "gsk_aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789",
];

const AROUND: [&str; 24] = [
    "MISTRAL_API_KEY=~",
    "export AZURE_OPENAI_KEY='~'",
    "Incorrect API key provided: ~. You can find your key at https://example.org/keys.",
    "API key provided: ~",
    "Invalid api key: ~",
    "the API key ~ has expired",
    "your key is ~",
    "{\"api_key\": \"~\"}",
    "{\\\"apiKey\\\":\\\"~\\\"}",
    "api_key: Some(\"~\")",
    "[(\"x-api-key\", \"~\")]",
    "x-goog-api-key: ~",
    "Authorization: Bearer ~",
    "{\"authorization\": \"Bearer ~\"}",
    "bearer ~",
    "https://example.org/v1/models?key=~&alt=sse",
    "https://example.org/v1?alt=sse&api_key=~",
    "https://example.org/v1?token=~#x",
    "https://example.org/v1?access_token=~",
    "HF_TOKEN=~",
    "client_secret=~",
    "\"password\" : \"~\"",
    "key=~",
    "key%3D~",
];

#[test]
fn masks_keys_wherever_they_stand() {
    for around in AROUND {
        for key in KEYS {
            let text = around.replace('~', key);
            let expected = around.replace('~', "[redacted]");
            assert_eq!(redact(&text), expected);
            assert_eq!(redact(&expected), expected, "a second pass changes it");
            // The same inside a JSON text, as providers wrap each other's errors.
            let nested = serde_json::to_string(&format!("a\n{text}\n")).unwrap();
            assert!(!redact(&nested).contains(key), "{nested}");
            let nested = format!("{nested:?}");
            assert!(!redact(&nested).contains(key), "{nested}");
        }
    }
}

#[test]
fn masks_the_whole_of_base64_tokens() {
    let cases = [
        ("Bearer abc/def+ghi123==", "Bearer [redacted]"),
        ("Bearer AbCd+efGhijk/lmnop==", "Bearer [redacted]"),
        (
            "{\"token\":\"Bearer ab1\\/cd2\\/ef3\"}",
            "{\"token\":\"Bearer [redacted]\"}",
        ),
        (
            "Authorization: Basic dXNlcjpwYXNzd29yZA==",
            "Authorization: Basic [redacted]",
        ),
        ("Basic dXNlcjpwYXNzd29yZA==", "Basic [redacted]"),
        (r"body: \nsk-proj-abcdefghijkl1234", r"body: \n[redacted]"),
        ("a%20sk-proj-abcdefghijkl1234", "a%20[redacted]"),
        (r"\u000ahf_abcdefghijklmnop", r"\u000a[redacted]"),
    ];
    for (text, expected) in cases {
        assert_eq!(redact(text), expected);
    }
}

const ORDINARY: [&str; 34] = [
    "",
    "sk-",
    "a keyboard, a monkey: key1",
    "the key `qwen2.context_length` is missing",
    "missing key: qwen2.attention.layer_norm_rms_epsilon",
    "config.json: the key `rope_parameters.rope_type` must be a string, key: llama3.rope.freq_base",
    "model.gguf: the key `tokenizer.ggml.bos_token_id` has type U32; key=blk.0.attn_q.weight",
    "duplicate key \"model.layers.12.self_attn.q_proj.weight\"",
    "key layers_12_weights not in index",
    "the key is gemma3.attention.sliding_window",
    "cannot read /home/me/models/Qwen2.5-0.5B-Instruct-Q4_K_M.gguf",
    "file hf_model_v2.safetensors, hf_hub_download failed, fw_version_2, sk_buff_alloc, pk-12",
    "the model gpt-4o-mini-2024-07-18 does not exist",
    "meta-llama/Llama-3.1-8B-Instruct, claude-sonnet-4-5-20250929, text-embedding-3-large",
    "request id: req_011CSHoEeqs5C35K2UUqR7Fy",
    "request_id=0fbf1c2e-4a5b-4c6d-8e7f-0a1b2c3d4e5f, x-request-id: chatcmpl-Abc123Def456Ghi789",
    "call_9b8c7d6e5f4a3b2c1d0e has no result; response id resp_68b1c5d2e4f0819aa3c1",
    "sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 differs",
    "blob 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c is missing",
    "the bearer of news; bearer authentication is required",
    "Basic Qwen2ForCausalLM, basic requirements: glibc 2.31",
    "eos_token: <|reserved_special_token_0|>, pad_token=reserved_special_token_250",
    "token: 151645, max_tokens=1234567890, the token is reserved_token_2",
    "set OPENAI_API_KEY, or pass api_key: no key was given",
    "missing API key: set MISTRAL_API_KEY or call with_api_key",
    "the API key is not valid for gpt-4.1-2025-04-14",
    "API key not found: see https://example.org/docs/keys2.html",
    "missing key `name` at line 1",
    "日本語 key=é",
    "key: value2, secret: none, token = abc",
    "primary key 12345678, foreign key user_id_1234",
    r"C:\new\hf_cache\model2.bin",
    "tensor `token_embd.weight` has shape [151936, 896], the configuration says [896, 151936]",
    "task-1234567890123 on disk-12345678901234 risk_12345678901",
];

#[test]
fn leaves_ordinary_messages_alone() {
    for text in ORDINARY {
        assert!(
            matches!(redact(text), Cow::Borrowed(t) if t == text),
            "{}",
            redact(text)
        );
        let quoted = format!("{text:?}");
        assert_eq!(redact(&quoted), quoted);
    }
}

fn ordinary_word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{2,8}[0-9]?(\\.[a-z_]{3,12}){1,4}",
        "[a-z_]{3,10}_[0-9]{1,3}\\.(gguf|json|safetensors|rs)",
        "(qwen|llama|gpt|phi)-?[0-9](\\.[0-9])?-[0-9]{1,2}b-(instruct|chat)",
        "(req|call|msg|resp)_[0-9a-f]{12,24}",
        "sha256:[0-9a-f]{64}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ordinary_words_survive(
        word in ordinary_word(),
        around in prop::sample::select(vec![
            "the key `~` is missing", "key \"~\": wrong type", "key: ~", "cannot read ~",
            "no key named ~, did you mean another?", "~", "unknown model ~; the API key is valid",
        ]),
    ) {
        // A request id is no name of a key; only names stand after `key: `.
        let id = word.contains("_") && word.len() > 14 && !word.contains('.');
        prop_assume!(!(around == "key: ~" && id));
        let text = around.replace('~', &word);
        prop_assert_eq!(redact(&text), text.clone());
    }

    #[test]
    fn any_text_is_masked_once(text in "\\PC{0,40}", name in "(key|api_key|Bearer|token)", sign in "[=: \"]{1,3}") {
        let text = format!("{text}{name}{sign}{text}");
        let once = redact(&text).into_owned();
        prop_assert_eq!(redact(&once), once.clone());
    }
}

#[test]
fn masks_an_exact_value_in_every_form() {
    let key = "we/ird+opaque=";
    let text = format!("tried {key} and we%2Fird%2Bopaque%3D");
    assert_eq!(
        redact_exact(&text, &[key]),
        "tried [redacted] and [redacted]"
    );
    assert_eq!(redact_exact("none of it", &["none", ""]), "none of it");
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut next = error.source();
    while let Some(error) = next {
        text += &format!("; {error} {error:?} {error:#?}");
        next = error.source();
    }
    text
}

#[derive(Debug, thiserror::Error)]
#[error("GET https://example.org/v1?key={0} failed")]
struct Outer(&'static str, #[source] std::io::Error);

#[test]
fn the_source_chain_prints_no_keys() {
    let inner = std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        format!("no reply to Bearer {}", KEYS[4]),
    );
    let error = Error::new(ErrorKind::Connection, "no reply").with_source(Outer(KEYS[0], inner));
    let text = chain(&error);
    assert!(!text.contains(KEYS[0]) && !text.contains(KEYS[4]), "{text}");
    assert!(
        text.contains("GET https://example.org/v1?key=[redacted] failed"),
        "{text}"
    );
    assert!(text.contains("no reply to Bearer [redacted]"), "{text}");
    // What the code needs is still there.
    let io = error.find_source::<std::io::Error>().unwrap();
    assert_eq!(io.kind(), std::io::ErrorKind::TimedOut);
    assert!(error.find_source::<Outer>().is_some());
}

#[test]
fn a_source_without_keys_is_the_source_itself() {
    let io = std::io::Error::new(std::io::ErrorKind::BrokenPipe, "gone");
    let error = Error::new(ErrorKind::Connection, "x").with_source(io);
    let io: &std::io::Error = error.source().unwrap().downcast_ref().unwrap();
    assert_eq!(io.kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn a_cut_body_shows_no_half_key() {
    let key = KEYS[1];
    for pad in 2030..2060 {
        let mut http = HttpFailure::new(http::StatusCode::UNAUTHORIZED);
        http.body = Bytes::from(format!("{}é {key}", " ".repeat(pad)));
        let text = format!("{http:?}");
        assert!(
            !text.contains("sk-proj") && !text.contains("Ab12"),
            "{text}"
        );
    }
    let mut http = HttpFailure::new(http::StatusCode::UNAUTHORIZED);
    let some = Some(format!("api_key: {}", KEYS[4]));
    (http.code, http.error_type) = (some.clone(), some.clone());
    (http.param, http.request_id) = (some.clone(), some);
    let text = format!("{http:?}");
    assert!(!text.contains(KEYS[4]), "{text}");
}

#[test]
fn a_known_key_is_masked_in_the_whole_error() {
    let key = "correct-horse-battery";
    let mut http = HttpFailure::new(http::StatusCode::UNAUTHORIZED);
    http.body = Bytes::from(format!("no such key {key}"));
    http.param = Some(key.into());
    http.headers.insert("x-echo", key.parse().unwrap());
    let error = Error::new(ErrorKind::Authentication, format!("wrong: {key}"))
        .with_http(http)
        .with_source(std::io::Error::other(format!("sent {key}")))
        .mask(&[key]);
    let text = chain(&error);
    assert!(!text.contains("horse"), "{text}");
    assert_eq!(error.message(), "wrong: [redacted]");
    let http = error.http().unwrap();
    assert_eq!(http.body, "no such key [redacted]");
    assert_eq!(http.headers["x-echo"], "[redacted]");
    assert!(error.find_source::<std::io::Error>().is_some());
}

#[test]
fn an_error_made_from_another_keeps_what_is_below() {
    let inner = std::io::Error::new(std::io::ErrorKind::NotFound, "no file");
    let error = Error::inference(Outer("x", inner));
    assert_eq!(error.message(), "GET https://example.org/v1?key=x failed");
    assert_eq!(error.source().unwrap().to_string(), "no file");
    assert!(error.find_source::<Outer>().is_some());
    assert!(error.find_source::<std::io::Error>().is_some());
}
