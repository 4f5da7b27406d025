//! `#[tool]`: schemas, injected values, returned types.

use std::collections::BTreeMap;
use std::fmt;

use futures_executor::block_on;
use ropewalk_core::schemars::{self, JsonSchema};
use ropewalk_core::testing::{self, ToolSuite};
use ropewalk_core::{Effect, Extensions, Part, Tool, ToolContext, ToolError, ToolOutput, Trust};
use ropewalk_tools::tool;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

fn call(tool: &dyn Tool, arguments: &Value) -> Result<ToolOutput, ToolError> {
    block_on(tool.call(&arguments.to_string(), &ToolContext::default()))
}

fn text(tool: &dyn Tool, arguments: &Value) -> String {
    let output = call(tool, arguments).unwrap();
    output.content.iter().filter_map(Part::as_text).collect()
}

fn schema(tool: &dyn Tool) -> Value {
    tool.spec().parameters.as_value().clone()
}

/// Get the price of a return ticket to the destination city. Call this whenever you need to know
/// the ticket price, for example when a customer asks 'How much is a ticket to this city'.
#[tool(effect = read)]
fn get_ticket_price(
    /// The city that the customer wants to travel to
    destination_city: String,
) -> String {
    format!("${}", 100 * destination_city.len())
}

#[test]
fn writes_the_schema_a_course_writes_by_hand() {
    let tool = get_ticket_price();
    let spec = tool.spec();
    let expected = json!({
        "name": "get_ticket_price",
        "description": "Get the price of a return ticket to the destination city. Call this \
            whenever you need to know the ticket price, for example when a customer asks 'How \
            much is a ticket to this city'.",
        "parameters": {
            "type": "object",
            "properties": {
                "destination_city": {
                    "type": "string",
                    "description": "The city that the customer wants to travel to",
                },
            },
            "required": ["destination_city"],
            "additionalProperties": false,
        },
        "strict": false,
    });
    assert_eq!(serde_json::to_value(spec).unwrap(), expected);
    assert_eq!(get_ticket_price().effect(), Effect::Read);
    assert_eq!(get_ticket_price::run("Oslo".into()), "$400");
    assert_eq!(
        text(&get_ticket_price(), &json!({"destination_city": "Rome"})),
        "$400"
    );
    let suite = ToolSuite::new(r#"{"destination_city": "Paris"}"#);
    let report = block_on(testing::tool(&get_ticket_price(), &suite));
    report.into_result().unwrap();
}

/// Unit of temperature.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Unit {
    /// Degrees Celsius.
    #[default]
    Celsius,
    Fahrenheit,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Place {
    /// Name of the city.
    city: String,
    country: Option<String>,
}

#[derive(Debug, Serialize, PartialEq)]
struct Weather {
    place: String,
    degrees: f64,
}

/// Weather at several places.
///
/// - one entry per place
/// - in order
///
/// # Errors
/// Not shown to the model.
#[tool(name = "weather-at", strict, trusted)]
async fn weather(
    places: Vec<Place>,
    unit: Option<Unit>,
    /// Days ahead,
    /// at most 10.
    #[tool(default = 1)]
    #[schemars(range(max = 10))]
    days: u8,
    #[tool(default)] labels: BTreeMap<String, String>,
    #[tool(default = "metar")] source: &str,
    #[serde(rename = "type")] kind: Option<String>,
) -> Result<Vec<Weather>, fmt::Error> {
    std::future::ready(()).await;
    let degrees = match unit.unwrap_or_default() {
        Unit::Celsius => 20.0,
        Unit::Fahrenheit => 68.0,
    };
    let name = |p: &Place| {
        let country = p.country.as_deref().unwrap_or("?");
        format!(
            "{} {country} {days} {} {source} {}",
            p.city,
            labels.len(),
            kind.as_deref().unwrap_or("-")
        )
    };
    Ok(places
        .iter()
        .map(|p| Weather {
            place: name(p),
            degrees,
        })
        .collect())
}

#[test]
fn takes_nested_optional_and_defaulted_arguments() {
    // A variable may have the name of a tool.
    let weather = weather();
    let spec = weather.spec();
    assert_eq!(spec.name, "weather-at");
    assert_eq!(
        spec.description,
        "Weather at several places.\n\n- one entry per place\n- in order"
    );
    assert!(spec.strict);
    assert_eq!(weather.effect(), Effect::Unknown);
    let schema = schema(&weather);
    assert_eq!(schema["required"], json!(["places"]));
    let properties = &schema["properties"];
    assert_eq!(properties["places"]["items"]["$ref"], "#/$defs/Place");
    assert_eq!(properties["days"]["default"], 1);
    assert_eq!(properties["days"]["maximum"], 10);
    assert_eq!(properties["days"]["description"], "Days ahead, at most 10.");
    assert_eq!(properties["source"]["default"], "metar");
    assert_eq!(properties["type"]["type"], json!(["string", "null"]));
    let city = &schema["$defs"]["Place"]["properties"]["city"];
    assert_eq!(city["description"], "Name of the city.");
    assert_eq!(schema["$defs"]["Place"]["required"], json!(["city"]));

    let output = call(
        &weather,
        &json!({"places": [{"city": "Oslo", "country": "NO"}, {"city": "Rome"}]}),
    )
    .unwrap();
    let expected = json!([
        {"place": "Oslo NO 1 0 metar -", "degrees": 20.0},
        {"place": "Rome ? 1 0 metar -", "degrees": 20.0},
    ]);
    assert_eq!(output.structured, Some(expected));
    assert_eq!(output.trust, Trust::Trusted);
    let all = json!({"places": [{"city": "Bergen"}], "unit": "fahrenheit", "days": 2,
        "labels": {"a": "b"}, "source": "x", "type": "t"});
    let shown: Value = serde_json::from_str(&text(&weather, &all)).unwrap();
    assert_eq!(
        shown,
        json!([{"degrees": 68.0, "place": "Bergen ? 2 1 x t"}])
    );
    for wrong in [
        json!({}),
        json!({"places": "Oslo"}),
        json!({"places": [], "unit": "kelvin"}),
        json!({"places": [], "day": 2}),
    ] {
        let error = call(&weather, &wrong).unwrap_err();
        assert!(
            matches!(error, ToolError::InvalidArguments(_)),
            "{wrong}: {error}"
        );
    }
}

struct Db(Vec<&'static str>);

/// Looks a passenger up.
#[tool(effect = write)]
async fn passenger(
    context: &ToolContext,
    seat: usize,
    #[tool(context)] db: &Db,
    #[tool(context)] tenant: String,
) -> Result<String, String> {
    let name = db.0.get(seat).ok_or("no such seat")?;
    Ok(format!("{} {tenant} {name}", context.call_id))
}

#[test]
fn injects_and_hides_values_of_the_context() {
    let parameters = schema(&passenger());
    let names: Vec<&String> = parameters["properties"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(names, ["seat"]);
    let mut extensions = Extensions::default();
    let missing = call(&passenger(), &json!({"seat": 0})).unwrap_err();
    assert!(matches!(missing, ToolError::Fatal(_)));
    let missing = missing.to_string();
    assert!(
        missing.contains("`passenger`") && missing.contains("::Db`"),
        "{missing}"
    );
    extensions.insert(Db(vec!["Ada"]));
    extensions.insert(String::from("acme"));
    let context = ToolContext::new("c1").with_extensions(extensions);
    let output = block_on(passenger().call(r#"{"seat": 0}"#, &context)).unwrap();
    assert_eq!(output, ToolOutput::text("c1 acme Ada"));
    let error = block_on(passenger().call(r#"{"seat": 3}"#, &context)).unwrap_err();
    assert!(matches!(error, ToolError::Failed(reason) if reason == "no such seat"));
    let suite = ToolSuite::new(r#"{"seat": 0}"#).with_context(context);
    block_on(testing::tool(&passenger(), &suite))
        .into_result()
        .unwrap();
}

mod returns {
    use super::*;

    macro_rules! returning {
        ($($name:ident: $kind:ty = $value:expr;)*) => {$(
            /// Returns something.
            #[tool]
            fn $name() -> $kind {
                $value
            }
        )*};
    }

    returning! {
        static_text: &'static str = "a \"b\"";
        number: f32 = 1.5;
        value: Value = json!("plain");
        parts: Vec<Part> = vec![Part::text("x")];
        output: ToolOutput = ToolOutput::error("bad").trusted();
        list: Vec<&'static str> = vec!["a"];
        maybe: Option<u8> = None;
        ok_unit: Result<(), String> = Ok(());
        ok_output: Result<ToolOutput, ToolError> = Ok(ToolOutput::text("o"));
        invalid: Result<String, ToolError> = Err(ToolError::InvalidArguments("no".into()));
        boxed: Result<u8, Box<dyn std::error::Error + Send + Sync>> = Err("boxed".into());
        shared: Result<u8, std::rc::Rc<str>> = Err("not Send".into());
    }

    /// Does something.
    #[tool]
    fn unit() {}

    #[test]
    fn anything_that_can_be_shown() {
        let none = json!({});
        assert_eq!(text(&static_text(), &none), "a \"b\"");
        assert_eq!(text(&number(), &none), "1.5");
        assert_eq!(text(&value(), &none), "plain");
        assert_eq!(text(&parts(), &none), "x");
        assert_eq!(
            call(&output(), &none).unwrap(),
            ToolOutput::error("bad").trusted()
        );
        assert_eq!(text(&list(), &none), r#"["a"]"#);
        assert_eq!(text(&maybe(), &none), "null");
        assert_eq!(text(&unit(), &none), "done");
        assert_eq!(text(&ok_unit(), &none), "done");
        assert_eq!(text(&ok_output(), &none), "o");
        let error = |tool: &dyn Tool| call(tool, &none).unwrap_err();
        assert!(matches!(error(&invalid()), ToolError::InvalidArguments(m) if m == "no"));
        assert!(matches!(error(&boxed()), ToolError::Failed(m) if m == "boxed"));
        assert!(matches!(error(&shared()), ToolError::Failed(m) if m == "not Send"));
        let suite = ToolSuite::new("{}");
        block_on(testing::tool(&unit(), &suite))
            .into_result()
            .unwrap();
    }
}

#[test]
fn a_tool_may_stand_in_a_function() {
    const FACTOR: i64 = 3;

    /// Triples.
    #[tool]
    fn triple(r#in: i64, mut times: i64) -> i64 {
        times *= FACTOR;
        r#in * times
    }

    assert_eq!(text(&triple(), &json!({"in": 2, "times": 1})), "6");
}
