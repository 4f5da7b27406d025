//! Numbers that every reader of JSON understands.

use serde_json::{Map, Value};

/// The largest integer that a double tells apart from its neighbours (RFC 7493, section 2.2).
const LARGEST: i64 = (1 << 53) - 1;

/// What numbers are multiples of where nothing is said, so that their fractions end: the smallest power of ten that
/// [`is_multiple`] allows.
const STEP: f64 = 1e-8;

/// Returns whether multiples of a number can be told digit by digit: the compiler does so in 32 bits.
pub(super) fn is_multiple(of: f64) -> bool {
    let (mut whole, mut unit) = (of, 1.0);
    while whole.fract() != 0.0 && unit < 1e9 {
        whole *= 10.0;
        unit *= 10.0;
    }
    whole.fract() == 0.0 && whole > 0.0 && 10.0 * whole + 9.0 * unit <= f64::from(u32::MAX)
}

/// Returns the range of a `format` of integers, of Rust's types and of OpenAPI's.
fn range(format: &str) -> Option<(i64, i64)> {
    Some(match format {
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "uint8" => (0, u8::MAX.into()),
        "uint16" => (0, u16::MAX.into()),
        "uint32" => (0, u32::MAX.into()),
        "uint" | "uint64" | "uint128" => (0, LARGEST),
        "int" | "int64" | "int128" => (-LARGEST, LARGEST),
        _ => return None,
    })
}

/// Returns whether a `format` speaks of numbers.
pub(super) fn is_numeric(format: &str) -> bool {
    range(format).is_some() || matches!(format, "float" | "double")
}

/// Gives a schema of numbers the bounds it lacks; `format` is that of the schema.
pub(super) fn limit(schema: &mut Map<String, Value>, format: Option<&str>) {
    let is = |name: &str| match schema.get("type") {
        Some(Value::String(one)) => one == name,
        Some(Value::Array(many)) => many.iter().any(|t| t == name),
        _ => false,
    };
    let fractions = is("number");
    let (low, high) = match format.and_then(range).filter(|_| is("integer")) {
        Some(range) => range,
        None if is("integer") || fractions => (-LARGEST, LARGEST),
        None => return,
    };
    let bound = |names: [&str; 2]| names.iter().find_map(|n| schema.get(*n)?.as_f64());
    let least = bound(["minimum", "exclusiveMinimum"]);
    let most = bound(["maximum", "exclusiveMaximum"]);
    let stated = format.and_then(range).is_some();
    // Bounds of a type come on top of what is written, others only where nothing is.
    if least.is_none_or(|least| stated && least < low as f64) && most.is_none_or(|m| m > low as f64)
    {
        schema.remove("exclusiveMinimum");
        schema.insert("minimum".to_owned(), low.into());
    }
    if most.is_none_or(|most| stated && most > high as f64) && least.is_none_or(|m| m < high as f64)
    {
        schema.remove("exclusiveMaximum");
        schema.insert("maximum".to_owned(), high.into());
    }
    let wide = match (least, most) {
        (Some(least), Some(most)) => most - least > 10.0 * STEP,
        _ => true,
    };
    if fractions && wide && !schema.contains_key("multipleOf") {
        schema.insert("multipleOf".to_owned(), STEP.into());
    }
}
