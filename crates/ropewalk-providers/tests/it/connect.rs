//! Models by name.

use ropewalk_core::{ChatModel, ErrorKind};
use ropewalk_providers::{KeyDiagnosis, Registry, Settings, presets};

fn registry() -> Registry {
    let mut settings = Settings::new();
    for preset in presets::ALL.iter().filter(|p| !p.key_variable.is_empty()) {
        settings = settings.with(preset.key_variable, "some-key");
    }
    for (name, value) in [
        ("ANTHROPIC_API_KEY", "sk-ant-some-key"),
        ("GEMINI_API_KEY", "AIza-some-key"),
        ("AWS_BEARER_TOKEN_BEDROCK", "some-key"),
        ("AWS_REGION", "eu-west-1"),
        ("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com"),
        (
            "AZURE_OPENAI_BASE_URL",
            "https://mine.openai.azure.com/openai/v1",
        ),
    ] {
        settings = settings.with(name, value);
    }
    Registry::new(settings).unwrap()
}

#[test]
fn every_provider_connects_by_its_name() {
    let registry = registry();
    let names = registry.names();
    assert!(names.len() >= 20, "{names:?}");
    for name in &names {
        let model = registry.connect(&format!("{name}/maker/model-1")).unwrap();
        assert_eq!(
            (model.provider(), model.model()),
            (name.as_str(), "maker/model-1")
        );
    }
    assert!(
        registry
            .diagnose()
            .iter()
            .all(ropewalk_providers::ProviderStatus::is_ready)
    );
}

#[test]
fn what_is_no_name_says_what_one_is() {
    let registry = registry();
    for (name, words) in [
        ("gpt-4o-mini", "provider/model"),
        ("openai/", "provider/model"),
        ("/x", "provider/model"),
        ("", "provider/model"),
        ("nobody/x", "no provider \"nobody\"; known"),
        ("opnai/x", "did you mean \"openai\"?"),
        ("Antrhopic/x", "did you mean \"anthropic\"?"),
    ] {
        let error = registry.connect(name).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{name}");
        let text = error.to_string();
        assert!(text.contains(words) && text.contains("anthropic"), "{text}");
    }
}

#[test]
fn a_missing_key_names_its_variable() {
    let registry = Registry::new(Settings::new().with("OPENAI_API_KEY", "")).unwrap();
    for (name, variable) in [
        ("openai/m", "OPENAI_API_KEY"),
        ("anthropic/m", "ANTHROPIC_API_KEY"),
        ("gemini/m", "GEMINI_API_KEY"),
        ("groq/m", "GROQ_API_KEY"),
    ] {
        let error = registry.connect(name).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(error.to_string().contains(variable), "{error}");
    }
    assert!(
        registry.connect("ollama/llama3.2").is_ok(),
        "a local server needs no key"
    );
}

#[test]
fn keys_are_diagnosed_without_being_shown() {
    let settings = Settings::new()
        .with("OPENAI_API_KEY", "sk-ant-wrong-one")
        .with("ANTHROPIC_API_KEY", "sk-ant-right-one ")
        .with("GROQ_API_KEY", "hello");
    let registry = Registry::new(settings).unwrap();
    let all = registry.diagnose();
    let of = |name: &str| all.iter().find(|s| s.name == name).unwrap().key;
    assert_eq!(of("anthropic"), Some(KeyDiagnosis::WhiteSpace));
    assert_eq!(of("groq"), Some(KeyDiagnosis::WrongPrefix));
    assert_eq!(of("mistral"), Some(KeyDiagnosis::Missing));
    assert_eq!(of("ollama"), None);
}

#[test]
fn the_other_setting_of_a_key_counts() {
    let settings = Settings::new()
        .with("ANTHROPIC_AUTH_TOKEN", "oauth-token")
        .with("GOOGLE_API_KEY", "AIzaSyabc");
    let all = Registry::new(settings).unwrap().diagnose();
    let of = |name: &str| all.iter().find(|s| s.name == name).unwrap();
    for (name, variable) in [
        ("anthropic", "ANTHROPIC_AUTH_TOKEN"),
        ("gemini", "GOOGLE_API_KEY"),
    ] {
        assert_eq!(of(name).key, Some(KeyDiagnosis::Ok));
        assert_eq!(of(name).variable, variable);
    }
}

#[cfg(feature = "bedrock")]
#[tokio::test]
async fn models_of_bedrock_use_the_client_of_the_registry() {
    use ropewalk_core::ChatModelExt;
    use ropewalk_http::testing::{Canned, Double};

    let reply = serde_json::json!({
        "output": {"message": {"role": "assistant", "content": [{"text": "Hello."}]}},
        "stopReason": "end_turn",
    });
    let double = Double::new([Canned::json(&reply), Canned::json(&reply)]);
    let keys = Settings::new()
        .with("AWS_REGION", "us-east-1")
        .with("AWS_ACCESS_KEY_ID", "AKIAX")
        .with("AWS_SECRET_ACCESS_KEY", "secret");
    let bearer = keys.clone().with("AWS_BEARER_TOKEN_BEDROCK", "bearer");
    for settings in [keys, bearer] {
        let registry = Registry::new(settings)
            .unwrap()
            .with_client(double.client());
        let status = registry.diagnose();
        assert!(status.iter().any(|s| s.name == "bedrock" && s.is_ready()));
        let model = registry.connect("bedrock/m").unwrap();
        assert_eq!(model.ask("hi").await.unwrap(), "Hello.");
    }
    let sent = |i: usize| {
        double.requests()[i].headers["authorization"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert!(sent(0).starts_with("AWS4-HMAC-SHA256"));
    assert_eq!(sent(1), "Bearer bearer");
}
