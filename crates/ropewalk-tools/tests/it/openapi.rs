//! Tools of OpenAPI documents: schemas, requests on a double, hostile documents.

use std::sync::Arc;

use proptest::prelude::*;
use ropewalk_core::testing::{self, ToolSuite};
use ropewalk_core::{Effect, ErrorKind, ToolCall, ToolContext, Trust};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_http::{ClientOptions, Request, RetryPolicy};
use ropewalk_tools::ToolSet;
use ropewalk_tools::openapi::{Credential, OpenApi, OpenApiError};
use serde_json::{Value, json};

const KENNEL: &str = include_str!("../fixtures/kennel.json");

fn kennel() -> OpenApi {
    OpenApi::parse(KENNEL)
        .unwrap()
        .with_credential("token", Credential::bearer("secret-token"))
        .with_credential("session", Credential::key("secret-session"))
        .with_credential("query", Credential::key("secret-query"))
}

fn tools(api: &OpenApi, replies: impl IntoIterator<Item = Canned>) -> (ToolSet, Arc<Double>) {
    let double = Double::new(replies);
    let options = ClientOptions::new().with_seed(1);
    (api.tool_set_over(double.clone(), options).unwrap(), double)
}

async fn call(tools: &ToolSet, name: &str, arguments: &Value) -> (String, bool) {
    let call = ToolCall::new("c", name, arguments.to_string());
    let result = tools.answer(&call, &ToolContext::default()).await.unwrap();
    assert_eq!(result.trust, Trust::Untrusted);
    (result.text(), result.is_error)
}

/// Returns the arguments of a tool, the required ones sorted.
fn schema(tools: &ToolSet, name: &str) -> Value {
    let spec = tools.get(name).unwrap().spec();
    let mut schema = spec.parameters.as_value().clone();
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.sort_by_key(Value::to_string);
    }
    schema
}

#[test]
fn operations_become_tools() {
    let api = kennel();
    assert_eq!(api.title(), "Kennel");
    let (tools, _) = tools(&api, []);
    assert_eq!(
        tools.names(),
        [
            "listDogs",
            "add_dog_",
            "get_dogs_id",
            "changeDog",
            "changeDog_2",
            "visit",
            "tree"
        ]
    );
    let spec = tools.get("listDogs").unwrap().spec();
    assert_eq!(spec.description, "Lists dogs.\nYoung ones first.");
    assert_eq!(
        tools.get("visit").unwrap().spec().description,
        "POST /dogs/{id}/visits/{days}"
    );
    assert_eq!(tools.effect("listDogs"), Some(Effect::Read));
    assert_eq!(tools.effect("get_dogs_id"), Some(Effect::Read));
    assert_eq!(tools.effect("changeDog_2"), Some(Effect::External));

    let list = schema(&tools, "listDogs");
    let names: Vec<_> = list["properties"].as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 8, "{names:?}");
    assert_eq!(
        list["properties"]["limit"],
        json!({"type": "integer", "exclusiveMinimum": 0})
    );
    assert_eq!(list.get("required"), None);
    assert_eq!(
        schema(&tools, "add_dog_"),
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["mother", "name"],
            "properties": {
                "name": {"type": "string"},
                "breed": {"type": ["string", "null"], "enum": ["terrier", "poodle", null], "description": "As the owner says"},
                "mother": {"$ref": "#/$defs/Dog"},
            },
            "$defs": {"Dog": {
                "type": "object",
                "required": ["name", "mother"],
                "properties": {
                    "name": {"type": "string"},
                    "breed": {"type": ["string", "null"], "enum": ["terrier", "poodle", null], "description": "As the owner says"},
                    "mother": {"$ref": "#/$defs/Dog"},
                },
            }},
        })
    );
    // Three things are called `id`.
    assert_eq!(
        schema(&tools, "changeDog"),
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["id", "id_body", "name"],
            "properties": {
                "id": {"type": "integer", "description": "Number of the dog"},
                "id_query": {"type": "string"},
                "id_body": {"type": "string"},
                "name": {"type": ["string", "null"]},
            },
        })
    );
    let tree = schema(&tools, "tree");
    assert_eq!(
        tree["properties"]["body"]["items"]["oneOf"][1],
        json!({"$ref": "#/$defs/Tree"})
    );
    assert_eq!(tree["required"], json!(["body"]));
    assert_eq!(tree["$defs"]["Tree"]["type"], "array");

    let dogs = kennel().with_filter(|o| o.tags.iter().any(|t| t == "dogs") && !o.deprecated);
    let ids: Vec<_> = dogs
        .operations()
        .unwrap()
        .into_iter()
        .map(|o| (o.method, o.path))
        .collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.iter().all(|(_, path)| path == "/dogs"));
}

#[tokio::test]
async fn arguments_find_their_places() {
    let done = || Canned::json(&json!({"ok": true}));
    let (tools, double) = tools(&kennel(), std::iter::repeat_with(done).take(9));
    let calls = [
        (
            "listDogs",
            json!({
                "limit": 3, "breed": ["a b", "c&d"], "colours": ["x", "y,z"], "sizes": [1, 2],
                "age": {"max": 2, "min": 1}, "where": {"k": [1]}, "X-Trace": "t 1", "visit": "a;b",
            }),
        ),
        ("listDogs", json!({})),
        ("listDogs", json!({"limit": null, "X-Trace": null})),
        (
            "add_dog_",
            json!({"name": "Rex", "mother": {"name": "Ada"}}),
        ),
        ("get_dogs_id", json!({"id": 7})),
        (
            "changeDog",
            json!({"id": 7, "id_query": "q", "id_body": "b", "name": null}),
        ),
        ("changeDog_2", json!({"id": 7})),
        (
            "visit",
            json!({"id": 7, "days": ["mon/tue", "?"], "note": "a&b=c", "who": ["x", "y"]}),
        ),
        ("tree", json!({"body": ["a", ["b"]]})),
    ];
    for (name, arguments) in &calls {
        assert_eq!(
            call(&tools, name, arguments).await,
            (r#"{"ok":true}"#.into(), false),
            "{name}"
        );
    }
    let sent = double.requests();
    let shown = |r: &Request| {
        format!(
            "{} {}",
            r.method,
            r.url.strip_prefix("https://eu.kennel.test/v2").unwrap()
        )
    };
    assert_eq!(
        sent.iter().map(shown).collect::<Vec<_>>(),
        [
            "GET /dogs?limit=3&breed=a%20b&breed=c%26d&colours=x,y%2Cz&sizes=1%7C2&age%5Bmax%5D=2&age%5Bmin%5D=1&where=%7B%22k%22%3A%5B1%5D%7D",
            "GET /dogs",
            "GET /dogs",
            "POST /dogs",
            "GET /dogs/7",
            "PUT /dogs/7?id=q",
            "DELETE /dogs/7?api_key=secret-query",
            "POST /dogs/7/visits/mon%2Ftue,%3F",
            "POST /tree",
        ]
    );
    let header = |i: usize, name: &str| {
        sent[i]
            .headers
            .get(name)
            .map(|v| v.to_str().unwrap().to_owned())
    };
    assert_eq!(header(0, "x-trace").as_deref(), Some("t 1"));
    assert_eq!(header(0, "cookie").as_deref(), Some("visit=a%3Bb"));
    assert_eq!(header(0, "authorization"), None);
    assert_eq!(
        header(3, "authorization").as_deref(),
        Some("Bearer secret-token")
    );
    assert_eq!(
        header(5, "cookie").as_deref(),
        Some("session=secret-session")
    );
    assert_eq!(header(6, "authorization"), None);
    assert_eq!(
        header(3, "content-type").as_deref(),
        Some("application/json")
    );
    assert_eq!(
        header(5, "content-type").as_deref(),
        Some("application/merge-patch+json")
    );
    let bodies = double.bodies();
    assert_eq!(bodies[3], json!({"name": "Rex", "mother": {"name": "Ada"}}));
    assert_eq!(bodies[5], json!({"id": "b", "name": null}));
    assert_eq!(sent[7].body, "note=a%26b%3Dc&who=x&who=y");
    assert_eq!(bodies[8], json!(["a", ["b"]]));
}

#[tokio::test]
async fn replies_and_failures_are_told() {
    let (tools, double) = tools(
        &kennel().with_max_chars(10),
        [
            Canned::new(200, "text/plain", "a text that is long"),
            Canned::new(204, "", ""),
            Canned::new(200, "image/png", vec![0xff, 0xd8, 0xff]),
            Canned::error(404, &json!({"no": 1})),
            Canned::new(302, "text/html", "<a href='http://evil.test'>")
                .with_header("location", "http://evil.test"),
            Canned::error(400, &json!("bad secret-token")),
            Canned::error(503, &json!({"busy": 1})),
            Canned::unreachable(),
        ],
    );
    let id = json!({"id": 1});
    assert_eq!(
        call(&tools, "get_dogs_id", &id).await,
        ("a text tha\n[cut: 10 of 19 characters]".into(), false)
    );
    assert_eq!(
        call(&tools, "get_dogs_id", &id).await,
        ("done (status 204 No Content)".into(), false)
    );
    assert_eq!(
        call(&tools, "get_dogs_id", &id).await,
        ("[3 bytes of image/png]".into(), false)
    );
    assert_eq!(
        call(&tools, "get_dogs_id", &id).await,
        (r#"status 404 Not Found: {"no":1}"#.into(), true)
    );
    let (text, wrong) = call(&tools, "get_dogs_id", &id).await;
    assert!(wrong && text.starts_with("status 302 Found"), "{text}");
    let (text, wrong) = call(&tools, "get_dogs_id", &id).await;
    assert!(
        wrong && text.starts_with("status 400") && !text.contains("secret"),
        "{text}"
    );
    // What changes something is sent once.
    let (text, wrong) = call(&tools, "tree", &json!({"body": []})).await;
    assert!(
        wrong && text.starts_with("status 503 Service Unavailable: "),
        "{text}"
    );
    let (text, wrong) = call(&tools, "tree", &json!({"body": []})).await;
    assert!(wrong && text.contains("connection refused"), "{text}");
    assert_eq!(double.requests().len(), 8);

    let double = Double::new(std::iter::repeat_with(|| Canned::json(&json!(1))).take(20));
    let tools = kennel()
        .tool_set_over(double, ClientOptions::new())
        .unwrap();
    for (name, arguments) in [("get_dogs_id", r#"{"id": 1}"#), ("listDogs", "{}")] {
        let suite = ToolSuite::new(arguments);
        let report = testing::tool(tools.get(name).unwrap(), &suite).await;
        report.into_result().unwrap();
    }

    let retried = Double::new([Canned::error(503, &json!({})), Canned::json(&json!(1))]);
    let policy = RetryPolicy::new().with_backoff(Default::default(), Default::default());
    let tools = kennel().tool_set_over(retried.clone(), ClientOptions::new().with_retry(policy));
    assert_eq!(
        call(&tools.unwrap(), "get_dogs_id", &id).await,
        ("1".into(), false)
    );
    assert_eq!(retried.requests().len(), 2);
}

#[tokio::test]
async fn arguments_stay_in_their_places() {
    let document = json!({
        "openapi": "3.1.0",
        "servers": [{"url": "https://a.test/api"}],
        "paths": {"/files/{name}/x": {"get": {"operationId": "f", "parameters": [
            {"name": "name", "in": "path", "required": true, "schema": {"type": "string"}},
            {"name": "h", "in": "header", "schema": {}},
        ]}}},
    });
    let api = OpenApi::parse(&document.to_string()).unwrap();
    let (tools, double) = tools(
        &api,
        std::iter::repeat_with(|| Canned::json(&json!(1))).take(3),
    );
    let refused = [
        (json!({"name": ".."}), "leads elsewhere"),
        (json!({"name": "."}), "leads elsewhere"),
        (json!({"name": ""}), "`name` is empty"),
        (json!({"name": null}), "`name` is null, expected string"),
        (json!({}), "missing field `name`"),
        (
            json!({"name": "a", "q": 1}),
            "unknown field `q`; there are: name, h",
        ),
        (json!({"name": "a", "h": "x\r\nhost: evil"}), "header \"h\""),
    ];
    for (arguments, expected) in refused {
        let (text, wrong) = call(&tools, "f", &arguments).await;
        assert!(
            wrong && text.contains("invalid arguments") && text.contains(expected),
            "{text}"
        );
    }
    assert_eq!(double.requests().len(), 0);
    for (name, path) in [
        ("../../etc?a#b", "..%2F..%2Fetc%3Fa%23b"),
        ("@evil.test", "%40evil.test"),
        ("é{name}", "%C3%A9%7Bname%7D"),
    ] {
        assert!(!call(&tools, "f", &json!({ "name": name })).await.1);
        let url = double.requests().last().unwrap().url.clone();
        assert_eq!(url, format!("https://a.test/api/files/{path}/x"));
    }
}

#[test]
fn credentials_are_picked_and_never_shown() {
    let double = Double::new([]);
    let make = |api: &OpenApi| {
        api.tools_over(double.clone(), ClientOptions::new())
            .map(|t| t.len())
    };
    let error = make(&OpenApi::parse(KENNEL).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(
        error.find_source::<OpenApiError>(),
        Some(&OpenApiError::MissingCredential {
            operation: "POST /dogs".into(),
            schemes: "\"token\" or \"key\"".into(),
        })
    );
    let wrong = kennel().with_credential("token", Credential::basic("u", "secret-password"));
    let error = make(&wrong).unwrap_err().to_string();
    assert!(
        error.contains("(http bearer) does not take Credential(basic)"),
        "{error}"
    );
    for text in [
        format!("{wrong:?}"),
        format!("{error:?}"),
        format!("{:?}", Credential::bearer("secret-x")),
    ] {
        assert!(!text.contains("secret"), "{text}");
    }
    let basic = OpenApi::parse(KENNEL)
        .unwrap()
        .with_credential("key", Credential::key("secret-key"))
        .with_credential("basic", Credential::basic("user", "secret-password"))
        .with_filter(|o| !o.deprecated);
    assert_eq!(make(&basic).unwrap(), 6);
    let other = kennel()
        .with_base_url("http://localhost:1/x/")
        .with_filter(|o| o.id == "tree");
    assert_eq!(make(&other).unwrap(), 1);
    for bad in ["", "/v1", "file:///etc", "https://a.test?x=1"] {
        let error = make(&kennel().with_base_url(bad)).unwrap_err();
        assert!(
            matches!(error.find_source(), Some(OpenApiError::NoAddress { .. })),
            "{error}"
        );
    }
}

#[tokio::test]
async fn keys_and_passwords_are_sent() {
    let double = Double::new([Canned::json(&json!(1)), Canned::json(&json!(1))]);
    let api = OpenApi::parse(KENNEL)
        .unwrap()
        .with_credential("key", Credential::key("secret-key"))
        .with_credential("basic", Credential::basic("user", "secret-password"))
        .with_filter(|o| !o.deprecated);
    let tools = api
        .tool_set_over(double.clone(), ClientOptions::new())
        .unwrap();
    call(&tools, "tree", &json!({"body": []})).await;
    call(
        &tools,
        "changeDog",
        &json!({"id": 1, "id_body": "", "name": ""}),
    )
    .await;
    let sent = double.requests();
    assert_eq!(sent[0].headers["x-key"], "secret-key");
    assert_eq!(
        sent[1].headers["authorization"],
        "Basic dXNlcjpzZWNyZXQtcGFzc3dvcmQ="
    );
}

fn with_schema(schema: &Value, schemas: &Value) -> Result<Value, OpenApiError> {
    let document = json!({
        "openapi": "3.1.0",
        "servers": [{"url": "https://a.test"}],
        "components": {"schemas": schemas},
        "paths": {"/x": {"post": {"operationId": "x", "requestBody": {"content": {"application/json": {"schema": schema}}}}}},
    });
    let api = OpenApi::parse(&document.to_string())?;
    match api.tool_set_over(Double::new([]), ClientOptions::new()) {
        Ok(tools) => Ok(tools.get("x").unwrap().spec().parameters.as_value().clone()),
        Err(error) => Err(error.find_source::<OpenApiError>().unwrap().clone()),
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

#[test]
fn references_of_every_shape_are_resolved() {
    let schemas = json!({
        "A": {"type": "array", "items": reference("B")},
        "B": {"anyOf": [reference("A"), reference("C~1d%20e")]},
        "C/d e": {"type": "object", "properties": {"$ref": {"type": "string"}, "b": reference("B")}},
        "E": {"enum": [{"$ref": "#/components/schemas/A"}], "default": {"$ref": "nowhere"}},
    });
    let found = with_schema(&reference("A"), &schemas).unwrap();
    assert_eq!(
        found["properties"]["body"]["items"]["anyOf"][0],
        json!({"$ref": "#/$defs/A"})
    );
    let inner = &found["properties"]["body"]["items"]["anyOf"][1]["properties"];
    assert_eq!(inner["$ref"], json!({"type": "string"}));
    assert_eq!(inner["b"], json!({"$ref": "#/$defs/B"}));
    assert!(found["$defs"]["A"].is_object() && found["$defs"]["B"].is_object());
    // Values are no schemas: what looks like a reference in them stays.
    let found = with_schema(&reference("E"), &schemas).unwrap();
    assert_eq!(
        found["properties"]["body"]["default"],
        json!({"$ref": "nowhere"})
    );
}

#[test]
fn hostile_documents_are_errors() {
    let parse = |text: &str| OpenApi::parse(text).err().unwrap();
    let deep = "[".repeat(100_000);
    assert!(matches!(parse(&deep), OpenApiError::NoJson(e) if e.contains("recursion limit")));
    let deep = format!(
        r#"{{"openapi":"3.1.0","x":{}1{}}}"#,
        r#"{"items":"#.repeat(100_000),
        "}".repeat(100_000)
    );
    assert!(matches!(parse(&deep), OpenApiError::NoJson(_)));
    assert!(matches!(parse("openapi: 3.1.0"), OpenApiError::NoJson(_)));
    assert!(matches!(
        parse(&" ".repeat(40 << 20)),
        OpenApiError::TooLarge { .. }
    ));
    assert_eq!(
        parse(r#"{"swagger": "2.0"}"#),
        OpenApiError::Version("2.0".into())
    );
    assert_eq!(parse("[]"), OpenApiError::Version("none".into()));

    let missing = with_schema(&reference("None"), &json!({})).unwrap_err();
    assert_eq!(
        missing,
        OpenApiError::MissingReference("#/components/schemas/None".into())
    );
    let external = with_schema(&json!({"$ref": "other.json#/A"}), &json!({})).unwrap_err();
    assert_eq!(
        external,
        OpenApiError::ExternalReference("other.json#/A".into())
    );
    // A schema that is nothing but a reference to itself unfolds to one.
    let own = with_schema(&reference("A"), &json!({"A": reference("A")})).unwrap();
    assert_eq!(own["$defs"]["A"], json!({"$ref": "#/$defs/A"}));

    // Each level doubles what is unfolded.
    let mut doubling = serde_json::Map::new();
    for i in 0..40 {
        let next = reference(&format!("S{}", i + 1));
        let both = json!({"type": "object", "properties": {"a": next.clone(), "b": next}});
        doubling.insert(format!("S{i}"), both);
    }
    doubling.insert("S40".into(), json!({"type": "string"}));
    let error = with_schema(&reference("S0"), &Value::Object(doubling)).unwrap_err();
    assert!(matches!(error, OpenApiError::TooLarge { .. }), "{error}");
    // A long chain of references.
    let mut chain = serde_json::Map::new();
    for i in 0..20_000 {
        chain.insert(
            format!("S{i}"),
            json!({"type": "array", "items": reference(&format!("S{}", i + 1))}),
        );
    }
    chain.insert("S20000".into(), json!({}));
    let error = with_schema(&reference("S0"), &Value::Object(chain)).unwrap_err();
    assert!(matches!(error, OpenApiError::TooDeep { .. }), "{error}");

    let looping = json!({
        "openapi": "3.1.0", "servers": [{"url": "https://a.test"}],
        "components": {"parameters": {"P": {"$ref": "#/components/parameters/P"}}},
        "paths": {"/x": {"get": {"parameters": [{"$ref": "#/components/parameters/P"}]}}},
    });
    let api = OpenApi::parse(&looping.to_string()).unwrap();
    let error = api
        .tools_over(Double::new([]), ClientOptions::new())
        .err()
        .unwrap();
    assert!(
        matches!(error.find_source(), Some(OpenApiError::ReferenceLoop(_))),
        "{error}"
    );
    for (parameter, expected) in [
        (
            json!({"name": "x", "in": "path", "style": "matrix"}),
            "the style \"matrix\"",
        ),
        (json!({"name": "x", "in": "body"}), "is in \"body\""),
        (json!({"in": "query"}), "has no name"),
        (json!(7), "has no name"),
    ] {
        let document = json!({"openapi": "3.1.0", "servers": [{"url": "https://a.test"}],
            "paths": {"/x": {"get": {"parameters": [parameter]}}}});
        let api = OpenApi::parse(&document.to_string()).unwrap();
        let error = api
            .tools_over(Double::new([]), ClientOptions::new())
            .err()
            .unwrap();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// Any JSON, with many of the words that mean something.
fn anything() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "$ref",
        "properties",
        "items",
        "type",
        "object",
        "get",
        "post",
        "parameters",
        "in",
        "path",
        "query",
        "name",
        "schema",
        "content",
        "requestBody",
        "application/json",
        "security",
        "#/paths",
        "#/paths/~1x",
        "allOf",
        "required",
        "nullable",
        "servers",
        "url",
        "https://a.test",
        "style",
        "operationId",
        "tags",
    ]);
    let leaf = prop_oneof![
        word.clone().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(8, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..6)
                .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_document_gives_tools_or_an_error(item in anything(), root in anything()) {
        let mut document = json!({"openapi": "3.0.0", "servers": [{"url": "https://a.test"}], "paths": {"/x": item, "/{y}": root.clone()}});
        document["components"] = root;
        let api = OpenApi::parse(&document.to_string()).unwrap();
        if let Ok(tools) = api.tools_over(Double::new([]), ClientOptions::new()) {
            prop_assert!(ToolSet::of(tools).is_ok());
        }
    }
}
