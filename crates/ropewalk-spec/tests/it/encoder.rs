//! Configurations of encoders, in the words of the real files.

use ropewalk_spec::testing::{TempDir, encoder};
use ropewalk_spec::{
    EncoderFamily, EncoderRole, EncoderSpec, Error, HeadActivation, ModelSpec, NameLayout,
    PoolingMode, SentenceModule, SentenceSpec,
};
use serde_json::{Value, json};

/// all-MiniLM-L6-v2.
fn minilm() -> Value {
    json!({
        "architectures": ["BertModel"], "attention_probs_dropout_prob": 0.1,
        "gradient_checkpointing": false, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "hidden_size": 384, "initializer_range": 0.02, "intermediate_size": 1536,
        "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "model_type": "bert",
        "num_attention_heads": 12, "num_hidden_layers": 6, "pad_token_id": 0,
        "position_embedding_type": "absolute", "transformers_version": "4.8.2",
        "type_vocab_size": 2, "use_cache": true, "vocab_size": 30522
    })
}

/// bge-reranker-base.
fn reranker() -> Value {
    json!({
        "architectures": ["XLMRobertaForSequenceClassification"], "bos_token_id": 0,
        "classifier_dropout": null, "eos_token_id": 2, "hidden_act": "gelu", "hidden_size": 768,
        "id2label": {"0": "LABEL_0"}, "intermediate_size": 3072, "label2id": {"LABEL_0": 0},
        "layer_norm_eps": 1e-05, "max_position_embeddings": 514, "model_type": "xlm-roberta",
        "num_attention_heads": 12, "num_hidden_layers": 12, "output_past": true,
        "pad_token_id": 1, "position_embedding_type": "absolute", "type_vocab_size": 1,
        "vocab_size": 250002
    })
}

/// ModernBERT-base, version 4.
fn modern() -> Value {
    json!({
        "architectures": ["ModernBertForMaskedLM"], "attention_bias": false,
        "classifier_activation": "gelu", "classifier_bias": false, "classifier_pooling": "mean",
        "decoder_bias": true, "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0,
        "hidden_activation": "gelu", "hidden_size": 768, "intermediate_size": 1152,
        "layer_norm_eps": 1e-05, "local_attention": 128, "local_rope_theta": 10000.0,
        "max_position_embeddings": 8192, "mlp_bias": false, "model_type": "modernbert",
        "norm_bias": false, "norm_eps": 1e-05, "num_attention_heads": 12,
        "num_hidden_layers": 22, "pad_token_id": 50283, "position_embedding_type": "absolute",
        "vocab_size": 50368
    })
}

fn with(mut config: Value, key: &str, value: Value) -> Value {
    config[key] = value;
    config
}

#[test]
fn real_configurations_are_read() {
    let spec = EncoderSpec::from_hf(&minilm()).unwrap();
    assert_eq!(spec.family, EncoderFamily::Bert);
    assert_eq!(
        (spec.head_dim, spec.max_tokens, spec.type_vocab),
        (32, 512, 2)
    );
    assert!(!spec.norm_first && !spec.gated && spec.norm_bias && spec.head.is_none());

    let spec = EncoderSpec::from_hf(&reranker()).unwrap();
    assert_eq!((spec.max_tokens, spec.position_offset), (512, 2));
    let head = spec.head.unwrap();
    assert_eq!((head.labels, head.activation), (1, HeadActivation::Tanh));

    let spec = EncoderSpec::from_hf(&modern()).unwrap();
    assert!(spec.norm_first && spec.gated && !spec.norm_bias && !spec.attention_bias);
    assert_eq!(spec.window[..4], [None, Some(64), Some(64), None]);
    assert_eq!(spec.rope_of(0).unwrap().base, 160_000.0);
    assert_eq!(spec.rope_of(1).unwrap().base, 10_000.0);
    assert_eq!(spec.norm_eps, 1e-5);
}

#[test]
fn version_5_says_the_same_in_other_words() {
    let mut five = modern();
    let map = five.as_object_mut().unwrap();
    for key in [
        "global_attn_every_n_layers",
        "global_rope_theta",
        "local_rope_theta",
    ] {
        map.remove(key);
    }
    let kind = |i: usize| {
        if i.is_multiple_of(3) {
            "full_attention"
        } else {
            "sliding_attention"
        }
    };
    map.insert("layer_types".into(), (0..22).map(kind).collect());
    let theta = |x: f64| json!({"rope_type": "default", "rope_theta": x});
    let ropes = json!({"full_attention": theta(160000.0), "sliding_attention": theta(10000.0)});
    map.insert("rope_parameters".into(), ropes);
    let read = |config| EncoderSpec::from_hf(config).unwrap();
    assert_eq!(read(&five), read(&modern()));
}

#[test]
fn what_is_not_computed_is_refused() {
    let error = |config: Value| EncoderSpec::from_hf(&config).unwrap_err().to_string();
    for (config, part) in [
        (
            with(minilm(), "is_decoder", json!(true)),
            "`is_decoder` is true",
        ),
        (
            with(minilm(), "position_embedding_type", json!("relative_key")),
            "only `absolute` is supported",
        ),
        (
            with(minilm(), "hidden_act", json!("relu2")),
            "`hidden_act` is `relu2`",
        ),
        (
            with(minilm(), "num_hidden_layers", json!(9999)),
            "above 1024",
        ),
        (
            with(minilm(), "num_attention_heads", json!(7)),
            "do not split into 7 heads",
        ),
        (with(minilm(), "hidden_size", json!("wide")), "not a count"),
        (
            with(minilm(), "quantization_config", json!({})),
            "use the plain model",
        ),
        (
            with(minilm(), "architectures", json!(["LlamaForCausalLM"])),
            "the encoders Bert, DistilBert",
        ),
        (
            with(minilm(), "architectures", json!(["BertLMHeadModel"])),
            "unsupported architecture `BertLMHeadModel`",
        ),
        (with(modern(), "classifier_pooling", json!("max")), ""),
    ] {
        if part.is_empty() {
            // Without a head the key is of no account.
            assert!(EncoderSpec::from_hf(&config).is_ok());
            continue;
        }
        let message = error(config);
        assert!(message.contains(part), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
    let classify = with(
        modern(),
        "architectures",
        json!(["ModernBertForSequenceClassification"]),
    );
    let message = error(with(classify, "classifier_pooling", json!("max")));
    assert!(message.contains("supported: cls, mean"), "{message}");
    let yarn = json!({"full_attention": {"rope_type": "yarn", "rope_theta": 1e4}});
    let found = EncoderSpec::from_hf(&with(modern(), "rope_parameters", yarn)).unwrap_err();
    assert!(matches!(found, Error::UnknownRopeType { .. }), "{found}");
    let extra = json!({"full_attention": {"rope_theta": 1e4, "factor": 2.0}});
    let found = EncoderSpec::from_hf(&with(modern(), "rope_parameters", extra)).unwrap_err();
    assert!(matches!(found, Error::UnreadRopeKey { .. }), "{found}");
    assert!(ModelSpec::from_hf(&minilm()).is_err());
}

#[test]
fn each_weight_has_a_place_in_both_kinds_of_files() {
    let spec = EncoderSpec::from_hf(&minilm()).unwrap();
    let at = |role, layer, layout| spec.weight(role, layer, layout).unwrap();
    let query = at(EncoderRole::Q, 3, NameLayout::HuggingFace);
    assert_eq!(query.name, "encoder.layer.3.attention.self.query.weight");
    assert_eq!(
        query.aliases,
        ["bert.encoder.layer.3.attention.self.query.weight"]
    );
    assert_eq!(
        at(EncoderRole::DownBias, 3, NameLayout::Gguf).name,
        "blk.3.ffn_down.bias"
    );
    assert_eq!(spec.weights().count(), 5 + 6 * 16);

    let modern = EncoderSpec::from_hf(&modern()).unwrap();
    let value = modern
        .weight(EncoderRole::V, 2, NameLayout::HuggingFace)
        .unwrap();
    assert_eq!(value.name, "layers.2.attn.Wqkv.weight");
    assert_eq!((value.rows, value.stored), (1536..2304, vec![2304, 768]));
    assert!(
        modern
            .weight(EncoderRole::AttnNorm, 0, NameLayout::HuggingFace)
            .is_none()
    );
    assert!(
        modern
            .weight(EncoderRole::QBias, 0, NameLayout::HuggingFace)
            .is_none()
    );
}

#[test]
fn missing_and_misshapen_tensors_are_named() {
    let mut small = minilm();
    for (key, n) in [
        ("vocab_size", 40),
        ("hidden_size", 24),
        ("intermediate_size", 32),
    ] {
        small[key] = json!(n);
    }
    let spec = EncoderSpec::from_hf(&small).unwrap();
    let mut source = encoder(&spec, 1);
    spec.check(&source).unwrap();
    let other = EncoderSpec::from_hf(&with(small, "vocab_size", json!(41))).unwrap();
    let found = other.check(&source).unwrap_err().to_string();
    assert!(
        found.contains("`embeddings.word_embeddings.weight` has shape [40, 24]"),
        "{found}"
    );
    source.remove("embeddings.LayerNorm.bias");
    let found = spec.check(&source).unwrap_err().to_string();
    assert!(
        found.contains("no tensor `embeddings.LayerNorm.bias`"),
        "{found}"
    );
}

#[test]
fn folders_are_read_and_their_mistakes_named() {
    let dir = TempDir::new().unwrap();
    let write = |name: &str, value: Value| {
        std::fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        std::fs::write(dir.join(name), value.to_string()).unwrap();
    };
    assert_eq!(SentenceSpec::from_dir(dir.path()).unwrap(), None);
    let module = |kind: &str, path: &str| json!({"type": format!("sentence_transformers.models.{kind}"), "path": path});
    write(
        "modules.json",
        json!([
            module("Transformer", ""),
            module("Pooling", "1_Pooling"),
            module("Normalize", "2")
        ]),
    );
    // Without a configuration of its own: the mean.
    let spec = SentenceSpec::from_dir(dir.path()).unwrap().unwrap();
    let SentenceModule::Pooling(pooling) = &spec.modules[0] else {
        panic!()
    };
    assert_eq!(
        (pooling.modes.clone(), pooling.include_prompt),
        (vec![PoolingMode::Mean], true)
    );
    write(
        "1_Pooling/config.json",
        json!({"pooling_mode_lasttoken": true, "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}),
    );
    write(
        "sentence_bert_config.json",
        json!({"max_seq_length": 77, "do_lower_case": true}),
    );
    write(
        "config_sentence_transformers.json",
        json!({"prompts": {"query": "q: "}, "default_prompt_name": "query"}),
    );
    let spec = SentenceSpec::from_dir(dir.path()).unwrap().unwrap();
    let SentenceModule::Pooling(pooling) = &spec.modules[0] else {
        panic!()
    };
    assert_eq!(pooling.modes, [PoolingMode::Cls, PoolingMode::LastToken]);
    assert_eq!((spec.max_tokens, spec.lowercase), (Some(77), true));
    assert_eq!(spec.prompts["query"], "q: ");

    let error = || SentenceSpec::from_dir(dir.path()).unwrap_err().to_string();
    write(
        "config_sentence_transformers.json",
        json!({"prompts": {}, "default_prompt_name": "query"}),
    );
    assert!(
        error().contains("which `prompts` does not have"),
        "{}",
        error()
    );
    write("config_sentence_transformers.json", json!({}));
    for (modules, part) in [
        (json!([module("Pooling", "")]), "lists no Transformer"),
        (
            json!([module("Transformer", ""), module("Normalize", "")]),
            "is not Pooling",
        ),
        (
            json!([module("Transformer", ""), module("CNN", "")]),
            "CNN` is not supported",
        ),
        (
            json!([module("Transformer", "/x")]),
            "outside of the folder",
        ),
        (json!({}), "is not a list"),
        (
            json!([
                module("Transformer", ""),
                module("Pooling", "1_Pooling"),
                module("Dense", "d")
            ]),
            "cannot read",
        ),
    ] {
        write("modules.json", modules);
        assert!(error().contains(part), "{}", error());
    }
}
