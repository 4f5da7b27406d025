//! The price tool of an imaginary airline, for examples that let a model call one.

use ropewalk::core::{ToolCall, ToolSpec};
use ropewalk::tools::tool;
use serde_json::{Value, json};

/// What the shipped model is told when no other system message is given.
pub const SYSTEM: &str = "You are the assistant of Larkspur Air. Give short, polite answers. \
                          If you do not know the answer, say so.";

const PRICES: [(&str, u32); 10] = [
    ("london", 799),
    ("paris", 899),
    ("tokyo", 1400),
    ("berlin", 499),
    ("lisbon", 459),
    ("new york", 1099),
    ("cape town", 1249),
    ("reykjavik", 649),
    ("lima", 1319),
    ("sydney", 1799),
];

/// Returns the description of `get_ticket_price(destination_city)`.
pub fn price_tool() -> ToolSpec {
    let parameters = json!({
        "type": "object",
        "properties": {
            "destination_city": { "type": "string", "description": "Where the customer flies to" }
        },
        "required": ["destination_city"],
        "additionalProperties": false
    });
    let schema = parameters.try_into().expect("an object is a schema");
    let text = "Get the price of a return ticket to the destination city.";
    ToolSpec::new("get_ticket_price", text, schema)
}

/// Returns what the tool answers to a call; a wrong call gets an answer that says so.
pub fn answer(call: &ToolCall) -> String {
    if call.name != "get_ticket_price" {
        return json!({ "error": format!("there is no tool {}", call.name) }).to_string();
    }
    let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
    let Some(city) = arguments["destination_city"].as_str() else {
        return json!({ "error": "destination_city is missing" }).to_string();
    };
    price_of(city)
}

/// Returns the price of a return ticket as the JSON text that the tool answers with.
pub fn price_of(city: &str) -> String {
    match PRICES.iter().find(|(name, _)| *name == city.to_lowercase()) {
        Some((_, price)) => json!({ "city": city, "price": format!("${price}") }).to_string(),
        None => json!({ "error": format!("no price for {city}") }).to_string(),
    }
}

/// Get the price of a return ticket to the destination city.
#[tool(effect = read)]
pub fn get_ticket_price(
    /// Where the customer flies to
    destination_city: String,
) -> String {
    price_of(&destination_city)
}
