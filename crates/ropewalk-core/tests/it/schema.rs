//! The dialects of JSON Schema.

use proptest::prelude::*;
use ropewalk_core::schemars::{self, JsonSchema, Schema};
use ropewalk_core::{ErrorKind, SchemaDialect, Warning};
use serde_json::{Map, Value, json};

const REWRITING: [SchemaDialect; 3] = [
    SchemaDialect::OpenAiStrict,
    SchemaDialect::AnthropicStrict,
    SchemaDialect::Gemini,
];

fn schema(value: Value) -> Schema {
    Schema::try_from(value).unwrap()
}

fn apply(dialect: SchemaDialect, value: Value) -> (Value, Vec<Warning>) {
    dialect.apply(&schema(value)).unwrap()
}

fn problem(dialect: SchemaDialect, value: Value) -> (ErrorKind, String) {
    let error = dialect.apply(&schema(value)).unwrap_err();
    (error.kind(), error.message().to_owned())
}

/// Required names are a set.
fn sorted(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            for (keyword, inner) in map.iter_mut() {
                *inner = sorted(inner.take());
                if let (true, Value::Array(names)) = (keyword == "required", inner) {
                    names.sort_by_key(ToString::to_string);
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| *item = sorted(item.take())),
        _ => {}
    }
    value
}

#[test]
fn strict_is_what_the_official_client_sends() {
    let cases = include_str!("../fixtures/strict_schema.json");
    let cases: Vec<Map<String, Value>> = serde_json::from_str(cases).unwrap();
    assert_eq!(cases.len(), 16);
    for case in cases {
        let (strict, warnings) = apply(SchemaDialect::OpenAiStrict, case["input"].clone());
        assert_eq!(
            sorted(strict),
            sorted(case["output"].clone()),
            "{}",
            case["name"]
        );
        assert_eq!(warnings, [], "{}", case["name"]);
    }
}

/// An answer of any form.
#[derive(JsonSchema)]
#[serde(tag = "kind")]
#[expect(dead_code, reason = "only its schema is looked at")]
enum Answer {
    /// A single number.
    Number(Number),
    Text {
        text: String,
        place: (f32, f32),
    },
    Tree(Tree),
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct Number {
    /// How many.
    #[schemars(range(min = 1, max = 9))]
    count: u8,
    #[schemars(length(min = 3))]
    unit: Option<String>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct Tree {
    name: String,
    children: Vec<Self>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct Reply {
    answer: Answer,
    sure: Option<Certainty>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
enum Certainty {
    /// Beyond doubt.
    Certain,
    /// A guess.
    Guess,
}

#[test]
fn a_tagged_enum_keeps_its_fields_in_strict_mode() {
    let (strict, warnings) = SchemaDialect::OpenAiStrict
        .apply(&schemars::schema_for!(Reply))
        .unwrap();
    let mut variants = strict["$defs"]["Answer"]["anyOf"].clone();
    // As the properties come, sorted or as written: that depends on how serde_json is built.
    let required = variants[0]["required"].as_array_mut().unwrap();
    required.sort_by_key(Value::to_string);
    assert_eq!(
        variants[0],
        json!({
            "type": "object",
            "description": "A single number.",
            "properties": {
                "kind": {"type": "string", "const": "Number"},
                "count": {"type": "integer", "minimum": 1, "maximum": 9, "description": "How many."},
                "unit": {"type": ["string", "null"], "description": "{minLength: 3}"},
            },
            "required": ["count", "kind", "unit"],
            "additionalProperties": false,
        })
    );
    let place = json!({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2});
    assert_eq!(variants[1]["properties"]["place"], place);
    assert_eq!(
        variants[2]["properties"]["children"]["items"],
        json!({"$ref": "#/$defs/Tree"})
    );
    assert_eq!(strict["$defs"]["Certainty"]["anyOf"][1]["const"], "Guess");
    assert!(
        warnings.iter().all(|w| w.option.ends_with("/minLength")),
        "{warnings:?}"
    );
}

#[test]
fn gemini_gets_no_references_and_no_null_types() {
    let (gemini, _) = SchemaDialect::Gemini
        .apply(&schemars::schema_for!(Number))
        .unwrap();
    assert_eq!(
        gemini,
        json!({
            "type": "object",
            "title": "Number",
            "properties": {
                "count": {"type": "integer", "minimum": 1, "maximum": 9, "description": "How many."},
                "unit": {"type": "string", "nullable": true, "minLength": 3},
            },
            "required": ["count"],
        })
    );
    let (gemini, warnings) = apply(
        SchemaDialect::Gemini,
        json!({
            "type": "object",
            "properties": {
                "a": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}], "description": "An A."},
                "b": {"type": ["string", "integer", "null"]},
                "c": {"const": "x"},
                "d": {"enum": [1, 2, null]},
                "e": {"oneOf": [{"type": "string"}, {"type": "boolean"}, {"type": "null"}]},
                "f": {"type": "number", "exclusiveMinimum": 0, "format": "float"},
            },
            "$defs": {"A": {"enum": ["u", "v"], "description": "Inner."}},
            "additionalProperties": false,
        }),
    );
    assert_eq!(
        gemini["properties"],
        json!({
            "a": {"type": "string", "enum": ["u", "v"], "nullable": true, "description": "An A."},
            "b": {"anyOf": [{"type": "string"}, {"type": "integer"}], "nullable": true},
            "c": {"type": "string", "enum": ["x"]},
            "d": {"type": "integer", "nullable": true, "description": "{enum: [1,2]}"},
            "e": {"anyOf": [{"type": "string"}, {"type": "boolean"}], "nullable": true},
            "f": {"type": "number", "format": "float", "description": "{exclusiveMinimum: 0}"},
        })
    );
    assert!(gemini.get("$defs").is_none() && gemini.get("additionalProperties").is_none());
    let options: Vec<&str> = warnings.iter().map(|w| w.option.as_ref()).collect();
    let expected = [
        "schema #/properties/d/enum",
        "schema #/properties/f/exclusiveMinimum",
    ];
    assert_eq!(options, expected);
    let error = SchemaDialect::Gemini
        .apply(&schemars::schema_for!(Reply))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.message().contains("the recursive `#/$defs/Tree`"),
        "{error}"
    );
}

#[test]
fn anthropic_enforces_no_limits() {
    let (strict, warnings) = SchemaDialect::AnthropicStrict
        .apply(&schemars::schema_for!(Number))
        .unwrap();
    let count = &strict["properties"]["count"];
    let described =
        json!({"type": "integer", "description": "How many.\n\n{maximum: 9, minimum: 1}"});
    assert_eq!(*count, described);
    assert_eq!(strict["required"], json!(["count"]));
    assert_eq!(strict["additionalProperties"], false);
    assert_eq!(warnings.len(), 3);
    let list = json!({"type": "object", "properties": {"x": {
        "type": "array", "items": {"type": "string", "format": "uri"}, "minItems": 2}}});
    let (strict, _) = apply(SchemaDialect::AnthropicStrict, list);
    let x = json!({"type": "array", "items": {"type": "string", "format": "uri"},
        "description": "{minItems: 2}"});
    assert_eq!(strict["properties"]["x"], x);
}

#[test]
fn what_cannot_be_expressed_is_named() {
    use SchemaDialect::{Anthropic, Gemini, OpenAi, OpenAiStrict};
    let of = |x: Value| json!({"type": "object", "properties": {"x": x}});
    let map = json!({"type": "object", "additionalProperties": {"type": "integer"}});
    let closed = json!({"type": "object", "additionalProperties": true});
    let differ = json!({"allOf": [{"type": "string"}, {"type": "integer"}]});
    let cases = [
        (
            OpenAiStrict,
            of(map.clone()),
            "at #/properties/x/additionalProperties",
        ),
        (Gemini, of(map), "a map with any keys"),
        (
            OpenAiStrict,
            of(closed),
            "at #/properties/x/additionalProperties",
        ),
        (
            OpenAiStrict,
            of(json!(true)),
            "a value of any type; give it a type (at #/properties/x",
        ),
        (
            OpenAiStrict,
            of(json!({"description": "anything"})),
            "a value of any type",
        ),
        (
            OpenAiStrict,
            of(json!({"type": "array"})),
            "a list of values of any type",
        ),
        (
            OpenAiStrict,
            of(differ),
            "members differ in `type` (at #/properties/x/allOf/1",
        ),
        (
            OpenAiStrict,
            json!({"type": "string"}),
            "a root that is not an object",
        ),
        (
            OpenAiStrict,
            json!({"anyOf": [{"type": "string"}]}),
            "a root that is not an object",
        ),
        (
            OpenAi,
            json!({"type": "object", "anyOf": []}),
            "`anyOf` at the root",
        ),
        (
            Anthropic,
            json!({"type": "array"}),
            "a root that is not an object",
        ),
    ];
    for (dialect, schema, expected) in cases {
        let (kind, message) = problem(dialect, schema);
        assert_eq!(kind, ErrorKind::Unsupported);
        assert!(message.contains(expected), "{message} != {expected}");
    }
    let broken = [
        (
            json!({"$ref": "#/$defs/No"}),
            "`#/$defs/No` is not in the schema",
        ),
        (
            json!({"$ref": "other.json"}),
            "`other.json` is not in the schema",
        ),
        (
            json!({"type": "integer", "$ref": 5}),
            "`$ref` must be a text",
        ),
        (json!({"anyOf": 5}), "it must hold schemas"),
        (json!([]), "a schema must be a JSON object"),
    ];
    for (schema, expected) in broken {
        let (kind, message) = problem(OpenAiStrict, of(schema));
        assert_eq!(kind, ErrorKind::InvalidRequest);
        assert!(
            message.contains("#/properties/x") && message.contains(expected),
            "{message}"
        );
    }
}

#[test]
fn references_cannot_make_it_run_away() {
    let loops = json!({"type": "object", "properties": {"x": {"description": "d", "$ref": "#/$defs/A"}},
        "$defs": {"A": {"$ref": "#/$defs/B", "title": "a"}, "B": {"$ref": "#/$defs/A", "title": "b"}}});
    let (kind, message) = problem(SchemaDialect::OpenAiStrict, loops);
    assert_eq!(kind, ErrorKind::InvalidRequest);
    assert!(message.contains("refers to itself"), "{message}");

    // Each level refers to the next one twice: 2^40 schemas if all were inlined.
    let level = |n: usize| {
        let next = json!({"$ref": format!("#/$defs/L{}", n + 1)});
        (
            format!("L{n}"),
            json!({"type": "object", "properties": {"a": next, "b": next}}),
        )
    };
    let mut levels: Map<String, Value> = (0..40).map(level).collect();
    levels.insert("L40".into(), json!({"type": "string"}));
    let mut doubling = levels["L0"].clone();
    doubling["$defs"] = levels.into();
    let (_, message) = problem(SchemaDialect::Gemini, doubling.clone());
    assert!(
        message.contains("a schema of more than 20000 parts"),
        "{message}"
    );
    apply(SchemaDialect::OpenAiStrict, doubling);

    let level = |n: usize| {
        let next = json!({"$ref": format!("#/$defs/L{}", n + 1)});
        (format!("L{n}"), json!({"type": "array", "items": next}))
    };
    let mut chain: Map<String, Value> = (0..5000).map(level).collect();
    chain.insert("L5000".into(), json!({"type": "string"}));
    let chain = json!({"$ref": "#/$defs/L0", "$defs": chain});
    let (_, message) = problem(SchemaDialect::Gemini, chain);
    assert!(
        message.contains("more than 64 references in one another"),
        "{message}"
    );
}

#[test]
fn a_long_enum_that_many_share_does_not_fill_the_memory() {
    let places = |count: usize| {
        let names = (0..count).map(|n| {
            (
                format!("p{n}"),
                json!({"$ref": "#/$defs/E", "description": "d"}),
            )
        });
        let required: Vec<String> = (0..count).map(|n| format!("p{n}")).collect();
        json!({
            "type": "object",
            "properties": Map::from_iter(names),
            "required": required,
            "$defs": {"E": {"enum": ["x".repeat(100_000), "y"]}},
        })
    };
    for dialect in [SchemaDialect::OpenAiStrict, SchemaDialect::Gemini] {
        let (kind, message) = problem(dialect, places(10_000));
        assert_eq!(kind, ErrorKind::Unsupported);
        assert!(message.contains("copy more than"), "{message}");
        let (few, _) = apply(dialect, places(20));
        assert_eq!(few["properties"].as_object().unwrap().len(), 20);
    }
}

#[test]
fn a_recursive_reference_loses_what_stands_beside_it() {
    let (strict, warnings) = apply(
        SchemaDialect::OpenAiStrict,
        json!({
            "type": "object",
            "properties": {"next": {"$ref": "#/$defs/Node", "description": "First."}},
            "required": ["next"],
            "$defs": {"Node": {
                "type": "object",
                "properties": {"next": {"$ref": "#/$defs/Node", "description": "Then."}},
                "required": ["next"],
            }},
        }),
    );
    let next = &strict["properties"]["next"];
    assert_eq!(next["description"], "First.");
    assert_eq!(next["properties"]["next"], json!({"$ref": "#/$defs/Node"}));
    // Which of the two is met first depends on how serde_json is built.
    let path = "/properties/next/properties/next/description";
    assert!(warnings[0].option.ends_with(path), "{:?}", warnings[0]);
}

#[test]
fn tools_keep_their_schema() {
    let input = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"x": {"type": "string", "minLength": 3}, "any": true},
    });
    let mut expected = input.clone();
    expected.as_object_mut().unwrap().remove("$schema");
    for dialect in [
        SchemaDialect::OpenAi,
        SchemaDialect::Anthropic,
        SchemaDialect::Generic,
    ] {
        assert_eq!(apply(dialect, input.clone()), (expected.clone(), vec![]));
    }
    let empty = json!({"type": "object", "properties": {}});
    assert_eq!(apply(SchemaDialect::OpenAi, json!({})).0, empty);
    let by_reference = json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object"}}});
    let expected = json!({"type": "object", "properties": {}, "$defs": {"A": {"type": "object"}}});
    assert_eq!(apply(SchemaDialect::Anthropic, by_reference).0, expected);
}

/// Schemas with what types give rise to, whose references point to `A` and `B`.
fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "string", "minLength": 1, "format": "uri"})),
        Just(json!({"type": ["integer", "null"], "format": "uint8", "minimum": 0})),
        Just(json!({"type": "number", "exclusiveMaximum": 3, "default": 1.5})),
        Just(json!({"enum": ["a", "b"], "description": "letters"})),
        Just(json!({"enum": [1, null]})),
        Just(json!({"const": "x"})),
        Just(json!({"$ref": "#/$defs/A"})),
        Just(json!({"$ref": "#/$defs/B", "description": "a B", "default": null})),
        Just(json!({"allOf": [{"$ref": "#/$defs/A"}], "title": "T"})),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let names = prop::sample::subsequence(vec!["a", "b", "c/d", "$ref"], 0..=4);
        let object = (
            names,
            prop::collection::vec(inner.clone(), 4),
            any::<u8>(),
            any::<bool>(),
        );
        let object = object.prop_map(|(names, schemas, required, open)| {
            let properties: Map<String, Value> =
                names.iter().map(|n| (*n).to_owned()).zip(schemas).collect();
            let required: Vec<_> = names
                .iter()
                .enumerate()
                .filter(|(i, _)| required >> i & 1 == 1)
                .map(|(_, n)| n)
                .collect();
            let mut object =
                json!({"type": "object", "properties": properties, "required": required});
            if open && !names.is_empty() {
                object["additionalProperties"] = true.into();
            }
            object
        });
        prop_oneof![
            object,
            inner
                .clone()
                .prop_map(|s| json!({"type": "array", "items": s, "minItems": 2})),
            prop::collection::vec(inner.clone(), 1..3)
                .prop_map(|s| json!({"type": "array", "prefixItems": s})),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|s| json!({"anyOf": s})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|s| json!({"oneOf": s})),
            inner.prop_map(|s| json!({"anyOf": [s, {"type": "null"}], "description": "maybe"})),
        ]
    })
}

fn rooted(x: &Value) -> Value {
    json!({
        "type": "object",
        "properties": {"x": x},
        "$defs": {
            "A": {"type": "object", "properties": {"n": {"type": "integer"}, "b": {"$ref": "#/$defs/B"}}},
            "B": {"type": "string", "maxLength": 3},
        },
    })
}

/// Calls `check` with every schema in a schema.
fn each(schema: &Value, check: &mut impl FnMut(&Map<String, Value>)) {
    let Some(map) = schema.as_object() else {
        return;
    };
    check(map);
    for keyword in ["properties", "$defs"] {
        let members = map.get(keyword).and_then(Value::as_object);
        members
            .into_iter()
            .flatten()
            .for_each(|(_, s)| each(s, check));
    }
    map.get("anyOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .for_each(|s| each(s, check));
    map.get("items").into_iter().for_each(|s| each(s, check));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn applying_twice_changes_nothing(x in any_schema()) {
        for dialect in REWRITING {
            let (once, _) = apply(dialect, rooted(&x));
            let (twice, warnings) = apply(dialect, once.clone());
            prop_assert_eq!(&twice, &once, "{:?}", dialect);
            prop_assert_eq!(warnings, vec![], "{:?}", dialect);
        }
    }

    #[test]
    fn strict_objects_are_closed_and_whole(x in any_schema()) {
        let (strict, _) = apply(SchemaDialect::OpenAiStrict, rooted(&x));
        each(&strict, &mut |map| {
            let is_object = map.get("type").is_some_and(|t| t == "object");
            if is_object {
                assert_eq!(map["additionalProperties"], false);
                let names: Vec<&String> = map["properties"].as_object().unwrap().keys().collect();
                assert_eq!(map["required"], json!(names));
            }
            assert!(!map.contains_key("$ref") || map.len() == 1);
            for gone in ["allOf", "oneOf", "minLength", "maxLength", "prefixItems"] {
                assert!(!map.contains_key(gone), "{gone}");
            }
        });
        let (closed, _) = apply(SchemaDialect::AnthropicStrict, rooted(&x));
        each(&closed, &mut |map| {
            let is_object = map.get("type").is_some_and(|t| t == "object");
            assert!(!is_object || map["additionalProperties"] == false);
        });
        let (gemini, _) = apply(SchemaDialect::Gemini, rooted(&x));
        each(&gemini, &mut |map| {
            for gone in ["$ref", "$defs", "additionalProperties", "const", "oneOf", "allOf"] {
                assert!(!map.contains_key(gone), "{gone}");
            }
            assert!(map.get("type").is_none_or(Value::is_string));
        });
    }

    #[test]
    fn never_panics(text in r#"[{}\[\]",:a-z$0-9]{0,60}"#, key in "(properties|items|anyOf|allOf|\\$ref|enum|type|prefixItems|required)") {
        let value = serde_json::from_str(&text).unwrap_or(Value::from(text.as_str()));
        for dialect in REWRITING {
            let schema = schema(json!({"type": "object", "properties": {"x": {key.as_str(): value.clone()}}}));
            drop(dialect.apply(&schema));
        }
    }
}
