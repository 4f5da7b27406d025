use serde_json::{Value, json};

use super::{Prepared, SchemaOptions};
use crate::Error;

fn ready(schema: &Value) -> Value {
    let prepared = Prepared::new(schema, &SchemaOptions::new()).unwrap();
    let mut root = prepared.root();
    root.as_object_mut().unwrap().remove("x-guidance");
    root
}

#[test]
fn objects_are_closed_where_nothing_else_speaks_of_them() {
    let closed = |at: &Value| at.get("additionalProperties") == Some(&json!(false));
    let plain = ready(&json!({"properties": {"a": {"properties": {"b": true}}}}));
    assert!(closed(&plain) && closed(&plain["properties"]["a"]));
    let map = ready(&json!({"type": "object"}));
    assert!(!closed(&map));
    let flat = ready(&json!({
        "properties": {"a": true},
        "anyOf": [{"properties": {"b": true}}, {"$ref": "#/$defs/c"}],
        "$defs": {"c": {"properties": {"c": true}}}
    }));
    assert!(!closed(&flat) && !closed(&flat["anyOf"][0]) && !closed(&flat["$defs"]["r0"]));
    let variants = ready(&json!({
        "title": "E",
        "oneOf": [{"properties": {"b": true}}, {"$ref": "#/$defs/c"}],
        "$defs": {"c": {"properties": {"c": true}}}
    }));
    assert!(closed(&variants["oneOf"][0]) && closed(&variants["oneOf"][1]));
    let open = SchemaOptions::new().with_open(true);
    let open = Prepared::new(&json!({"properties": {}}), &open).unwrap();
    assert!(!closed(&open.root()));
}

#[test]
fn numbers_get_bounds_of_their_type() {
    let (largest, byte) = (
        (1i64 << 53) - 1,
        json!({"type": "integer", "format": "uint8"}),
    );
    for (schema, low, high) in [
        (json!({"type": "integer"}), json!(-largest), json!(largest)),
        (
            json!({"type": ["number", "null"]}),
            json!(-largest),
            json!(largest),
        ),
        (byte.clone(), json!(0), json!(255)),
        (
            json!({"type": "integer", "format": "uint32", "minimum": 3}),
            json!(3),
            json!(u32::MAX),
        ),
        (
            json!({"type": "integer", "minimum": -5}),
            json!(-5),
            json!(largest),
        ),
        (
            json!({"type": "integer", "format": "int64", "exclusiveMaximum": 9}),
            json!(-largest),
            Value::Null,
        ),
        (
            json!({"type": "number", "minimum": 1e300}),
            json!(1e300),
            Value::Null,
        ),
        (
            json!({"type": "integer", "enum": [1, 2]}),
            Value::Null,
            Value::Null,
        ),
        (json!({"type": "string"}), Value::Null, Value::Null),
    ] {
        let found = ready(&schema);
        assert_eq!(found["minimum"], low, "{schema}");
        assert_eq!(found["maximum"], high, "{schema}");
    }
    assert!(ready(&byte).get("format").is_none());
}

#[test]
fn what_cannot_be_enforced_is_named_with_its_place() {
    for (schema, keyword, path) in [
        (
            json!({"properties": {"a/b": {"uniqueItems": true}}}),
            "uniqueItems",
            "#/properties/a~1b",
        ),
        (json!({"anyOf": [{}, {"if": {}}]}), "if", "#/anyOf/1"),
        (json!({"nullable": true}), "nullable", "#"),
        (json!({"multipleOf": 1e-9}), "multipleOf", "#"),
        (json!({"multipleOf": 500_000_000}), "multipleOf", "#"),
        (json!({"$ref": "other.json"}), "$ref", "#"),
        (json!({"items": {"$ref": "#/$defs/x"}}), "$ref", "#/items"),
        (
            json!({"type": "string", "format": "regex"}),
            "format: regex",
            "#",
        ),
        (
            json!({"$ref": "#/$defs/x", "$defs": {"x": {"not": {}}}}),
            "not",
            "#/$defs/x",
        ),
    ] {
        let found = Prepared::new(&schema, &SchemaOptions::new()).unwrap_err();
        let Error::SchemaKeyword {
            keyword: k,
            path: p,
            ..
        } = &found
        else {
            panic!("{found}");
        };
        assert_eq!((k.as_str(), p.as_str()), (keyword, path));
        let relaxed = Prepared::new(&schema, &SchemaOptions::new().with_relaxed(true));
        match keyword {
            "$ref" => assert!(relaxed.is_err()),
            _ => assert_eq!(
                relaxed.unwrap().left_out,
                [format!("`{keyword}` at {path}")]
            ),
        }
    }
    for no_schema in [json!(3), json!({"items": "x"}), json!({"properties": []})] {
        let found = Prepared::new(&no_schema, &SchemaOptions::new());
        assert!(matches!(found, Err(Error::Grammar { .. })), "{no_schema}");
    }
}

#[test]
fn annotations_and_foreign_options_are_left_out() {
    let found = ready(&json!({
        "$id": "x", "x-guidance": {"lenient": true}, "x-order": 1, "title": "t", "default": {"not": {}},
        "deprecated": true, "uniqueItems": false, "$defs": {"unused": {"not": {}}}
    }));
    assert_eq!(found, json!({}));
}

#[test]
fn references_of_every_form_lead_to_definitions() {
    let found = ready(&json!({
        "prefixItems": [{"$ref": "#/definitions/a~1b"}, {"$ref": "#/definitions/a%7E1b"}, {"$ref": "#"}],
        "definitions": {"a/b": {"const": 1}}
    }));
    assert_eq!(found["prefixItems"][0], found["prefixItems"][1]);
    assert_eq!(found["$defs"]["r0"], json!({"const": 1}));
    assert_eq!(
        found["$defs"]["r1"]["prefixItems"][2],
        json!({"$ref": "#/$defs/r1"})
    );
}

#[test]
fn values_that_never_end_are_found() {
    let list = |required: Value| json!({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": required});
    let check = |schema: &Value| Prepared::new(schema, &SchemaOptions::new());
    assert!(check(&list(json!([]))).is_ok());
    assert!(matches!(
        check(&list(json!(["next"]))),
        Err(Error::Unsatisfiable { .. })
    ));
    let through = json!({
        "type": "array", "minItems": 1, "items": {"anyOf": [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}]}
    });
    assert!(matches!(check(&through), Err(Error::Unsatisfiable { .. })));
    let way_out = json!({"type": "array", "minItems": 1, "items": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}});
    assert!(check(&way_out).is_ok());
}

#[test]
fn hostile_schemas_are_refused_before_anything_is_built() {
    let mut deep = json!({});
    for _ in 0..100 {
        deep = json!({"items": deep});
    }
    let mut chain = serde_json::Map::new();
    for i in 0..2_000 {
        chain.insert(
            format!("d{i}"),
            json!({"$ref": format!("#/$defs/d{}", i + 1)}),
        );
    }
    chain.insert("d2000".into(), json!({}));
    let chain = json!({"$ref": "#/$defs/d0", "$defs": chain});
    let wide = json!({"enum": vec![0; 30_000]});
    for schema in [deep, chain, wide] {
        let found = Prepared::new(&schema, &SchemaOptions::new());
        assert!(matches!(found, Err(Error::GrammarSize { .. })));
    }
}
