//! The interface of llama-cpp-python, against what it answered for the shipped model
//! (`fixtures/make_llama.py`).

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ropewalk_core::{ErrorKind, OnUnsupported};
use ropewalk_gguf::TensorType;
use ropewalk_local::llama::{CHAT_FORMATS, Llama, LlamaOptions};
use serde_json::{Value, json};

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data/ropewalk-tiny.gguf")
}

fn options() -> LlamaOptions {
    LlamaOptions::new().with_n_ctx(256).with_n_threads(2)
}

/// A log and what it received.
fn log() -> (Arc<Mutex<Vec<String>>>, impl Fn(&str) + Send + Sync) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let write = Arc::clone(&lines);
    (lines, move |line: &str| {
        write.lock().unwrap().push(line.to_owned());
    })
}

/// Takes out what differs from call to call, after checking that it is there.
fn clean(mut reply: Value) -> Value {
    let map = reply.as_object_mut().unwrap();
    assert!(
        map.remove("id")
            .unwrap()
            .as_str()
            .unwrap()
            .contains("cmpl-")
    );
    assert!(map.remove("created").unwrap().as_u64().unwrap() > 1_700_000_000);
    let model = map.remove("model").unwrap();
    assert!(model.as_str().unwrap().ends_with("ropewalk-tiny.gguf"));
    reply
}

/// Asserts that two replies are equal; numbers with a fraction may differ by the rounding of
/// activations, which the two engines do in blocks of their own.
fn same(found: &Value, want: &Value, place: &str) {
    match (found, want) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = |m: &serde_json::Map<String, Value>| m.keys().cloned().collect::<Vec<_>>();
            let (mut left, mut right) = (keys(a), keys(b));
            left.sort();
            right.sort();
            assert_eq!(left, right, "{place}");
            a.iter()
                .for_each(|(k, v)| same(v, &b[k], &format!("{place}.{k}")));
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{place}");
            let pairs = a.iter().zip(b).enumerate();
            pairs.for_each(|(i, (a, b))| same(a, b, &format!("{place}[{i}]")));
        }
        (Value::Number(a), Value::Number(b)) if b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            assert!((a - b).abs() < 0.25, "{place}: {a} instead of {b}");
        }
        _ => assert_eq!(found, want, "{place}"),
    }
}

#[test]
fn replies_are_those_of_llama_cpp_python() {
    let text = include_str!("../fixtures/llama.json");
    let recorded: Value = serde_json::from_str(text).unwrap();
    let llama = Llama::open(path(), options()).unwrap();
    for (i, case) in recorded["cases"].as_array().unwrap().iter().enumerate() {
        let mut request = case["arguments"].clone();
        let stream = request["stream"] == json!(true);
        request.as_object_mut().unwrap().remove("stream");
        let chat = case["method"] == json!("create_chat_completion");
        let mut chunks = Vec::new();
        let mut keep = |chunk: &Value| {
            chunks.push(clean(chunk.clone()));
            ControlFlow::Continue(())
        };
        let reply = match (chat, stream) {
            (true, false) => llama.create_chat_completion(&request),
            (true, true) => llama.create_chat_completion_stream(&request, &mut keep),
            (false, false) => llama.create_completion(&request),
            (false, true) => llama.create_completion_stream(&request, &mut keep),
        };
        let mut reply = clean(reply.unwrap());
        let mut want = case["reply"].clone();
        if stream {
            same(&Value::from(chunks), &want, &format!("case {i}"));
            continue;
        }
        // It counts the end-of-text token or the text of a stop string as it goes along.
        let usage = |v: &mut Value| v["usage"]["completion_tokens"].take().as_i64().unwrap();
        let (made, made_there) = (usage(&mut reply), usage(&mut want));
        assert!(
            (made - made_there).abs() <= 1,
            "case {i}: {made} tokens, there {made_there}"
        );
        let total = |v: &mut Value| v["usage"]["total_tokens"].take().as_i64().unwrap();
        let prompt = |v: &Value| v["usage"]["prompt_tokens"].as_i64().unwrap();
        assert_eq!(total(&mut reply), prompt(&reply) + made);
        let _total_there = total(&mut want);
        same(&reply, &want, &format!("case {i}"));
    }
}

#[test]
fn knobs_reach_the_engine() {
    let (lines, log) = log();
    let options = LlamaOptions::new()
        .with_n_ctx(0)
        .with_n_threads(1)
        .with_type_kv(TensorType::Q8_0, TensorType::Q8_0)
        .with_verbose(true)
        .with_log(log);
    let llama = Llama::open(path(), options).unwrap();
    let spec = llama.model().model().spec();
    assert_eq!(llama.n_ctx(), spec.max_positions);
    assert_eq!(llama.n_vocab(), spec.vocab_size);
    assert_eq!(llama.model().model().threads(), 1);
    let ids = llama.tokenize("Hello there", false).unwrap();
    assert_eq!(llama.detokenize(&ids).unwrap(), "Hello there");
    let by_ids = json!({"prompt": ids, "max_tokens": 2, "temperature": 0.0});
    llama.create_completion(&by_ids).unwrap();
    let lines = lines.lock().unwrap();
    assert!(lines[0].contains("n_threads = 1"), "{lines:?}");
    assert!(lines[1].contains("tokens/s"), "{lines:?}");
    assert_eq!(lines.len(), 2, "{lines:?}");
    // 512 unless given, as there.
    let plain = Llama::open(path(), LlamaOptions::new()).unwrap();
    assert_eq!(plain.n_ctx(), spec.max_positions.min(512));
}

#[test]
fn seeds_and_samplers_decide() {
    let llama = Llama::open(path(), options().with_seed(3)).unwrap();
    let say = |extra: Value| {
        let mut request = json!({"prompt": "The", "temperature": 1.5, "max_tokens": 12});
        let more = extra.as_object().unwrap().clone();
        request.as_object_mut().unwrap().extend(more);
        let reply = llama.create_completion(&request).unwrap();
        reply["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(say(json!({})), say(json!({"seed": 3})));
    assert_ne!(say(json!({"seed": 3})), say(json!({"seed": 4})));
    assert_eq!(say(json!({"top_k": 1})), say(json!({"temperature": 0})));
    // Mirostat stands in the place of filters and temperature, but greedy stays greedy.
    for mode in [1, 2] {
        let held = |tau: f32| say(json!({"mirostat_mode": mode, "mirostat_tau": tau}));
        assert_eq!(held(3.0), held(3.0));
        assert_ne!(held(0.1), held(9.0));
        let filtered =
            json!({"mirostat_mode": mode, "mirostat_tau": 3.0, "top_k": 1, "temperature": 0.1});
        assert_eq!(say(filtered), held(3.0));
        assert_eq!(
            say(json!({"mirostat_mode": mode, "temperature": 0})),
            say(json!({"temperature": 0}))
        );
    }
    let end = llama.model().tokenizer().eos().unwrap();
    let never = say(json!({"temperature": 0, "logit_bias": {(end.to_string()): -100.0}}));
    assert!(!never.is_empty());
    assert_eq!(
        say(json!({"temperature": 0, "logit_bias": {(end.to_string()): 100.0}})),
        ""
    );
}

#[test]
fn a_stream_ends_when_nobody_wants_more() {
    let llama = Llama::open(path(), options()).unwrap();
    let request = json!({"messages": [{"role": "user", "content": "Hello"}], "temperature": 0});
    let mut seen = 0;
    let mut two = |_: &Value| {
        seen += 1;
        if seen == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let reply = llama
        .create_chat_completion_stream(&request, &mut two)
        .unwrap();
    assert_eq!(seen, 3);
    assert_eq!(reply["choices"][0]["message"]["content"], "Hello!");
}

#[test]
fn formats_replace_the_template() {
    let ask = |options: LlamaOptions| {
        let llama = Llama::open(path(), options).unwrap();
        let request = json!({
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
            "temperature": 0, "max_tokens": 8,
        });
        let reply = llama.create_chat_completion(&request).unwrap();
        reply["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    // The template of the shipped model is ChatML.
    assert_eq!(ask(options().with_chat_format("chatml")), ask(options()));
    for name in CHAT_FORMATS {
        assert!(
            !ask(options().with_chat_format(name)).contains("<|im_end|>"),
            "{name}"
        );
    }
    let error = Llama::open(path(), options().with_chat_format("vicuna")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("llama-2"), "{error}");
}

#[test]
fn what_cannot_be_honoured_is_said() {
    let (lines, log) = log();
    let wishes = |o: LlamaOptions| {
        o.with_n_gpu_layers(-1)
            .with_n_batch(64)
            .with_embedding(true)
    };
    let llama = Llama::open(path(), wishes(options()).with_log(log)).unwrap();
    assert_eq!(lines.lock().unwrap().len(), 3);
    let strict = |o: LlamaOptions| o.with_on_unsupported(OnUnsupported::Error);
    let error = Llama::open(path(), strict(options().with_n_gpu_layers(20))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("n_gpu_layers"), "{error}");
    assert!(
        Llama::open(
            path(),
            wishes(options()).with_on_unsupported(OnUnsupported::Ignore)
        )
        .is_ok()
    );
    let kv = |k, v| {
        Llama::open(path(), options().with_type_kv(k, v))
            .unwrap_err()
            .to_string()
    };
    assert!(kv(TensorType::F16, TensorType::F32).contains("one type for both"));
    assert!(kv(TensorType::Q4_0, TensorType::Q4_0).contains("Q8_0"));
    assert!(Llama::open(path(), options().with_n_ctx(1 << 30)).is_err());

    let chat = json!([{"role": "user", "content": "Hello"}]);
    let refused = |request: Value| llama.create_chat_completion(&request).unwrap_err();
    for (request, expected) in [
        (json!([]), "JSON object"),
        (json!({}), "messages"),
        (json!({"messages": "Hello"}), "messages"),
        (json!({"messages": chat, "temprature": 1}), "`temprature`"),
        (
            json!({"messages": chat, "temperature": "hot"}),
            "temperature",
        ),
        (
            json!({"messages": chat, "temperature": -1.0}),
            "temperature",
        ),
        (json!({"messages": chat, "stream": true}), "_stream"),
        (json!({"messages": chat, "seed": -1}), "seed"),
        (json!({"messages": chat, "top_logprobs": 101}), "0 to 100"),
        (
            json!({"messages": chat, "logit_bias": {"a": 1.0}}),
            "token id",
        ),
        (json!({"messages": chat, "stop": [1]}), "stop"),
        (json!({"messages": chat, "mirostat_mode": 3}), "0, 1 or 2"),
    ] {
        let error = refused(request.clone());
        assert_eq!(
            error.kind(),
            ErrorKind::InvalidRequest,
            "{request}: {error}"
        );
        assert!(error.to_string().contains(expected), "{request}: {error}");
    }
    let error = llama
        .create_completion(&json!({"max_tokens": 1}))
        .unwrap_err();
    assert!(error.to_string().contains("prompt"), "{error}");
    let ids = json!({"prompt": [-1]});
    assert!(
        llama
            .create_completion(&ids)
            .unwrap_err()
            .to_string()
            .contains("token ids")
    );

    let before = lines.lock().unwrap().len();
    let free = json!({"messages": chat, "tfs_z": 0.5, "max_tokens": 1});
    llama.create_chat_completion(&free).unwrap();
    assert_eq!(lines.lock().unwrap().len(), before + 1);
    let strict = Llama::open(path(), strict(options())).unwrap();
    let error = strict.create_chat_completion(&free).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    // Null is what is left out.
    let null = json!({"messages": chat, "max_tokens": 1, "grammar": null, "functions": null});
    strict.create_chat_completion(&null).unwrap();
}
