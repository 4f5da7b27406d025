//! JSON of any kind as text, without a map in between that would sort the keys.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::Serialize;

/// Compact JSON text of the value read, keys in the order they came.
pub(crate) struct JsonText(pub(crate) String);

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Writer)
    }
}

struct Writer;

fn write<T: Serialize + ?Sized, E: Error>(value: &T) -> Result<JsonText, E> {
    serde_json::to_string(value)
        .map(JsonText)
        .map_err(E::custom)
}

impl<'de> Visitor<'de> for Writer {
    type Value = JsonText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<JsonText, E> {
        Ok(JsonText("null".into()))
    }

    fn visit_none<E: Error>(self) -> Result<JsonText, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<JsonText, D::Error> {
        JsonText::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<JsonText, E> {
        write(&value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<JsonText, E> {
        write(&value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<JsonText, E> {
        write(&value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<JsonText, E> {
        write(&value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<JsonText, E> {
        write(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<JsonText, A::Error> {
        let mut text = String::from("[");
        while let Some(JsonText(item)) = items.next_element()? {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&item);
        }
        text.push(']');
        Ok(JsonText(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<JsonText, A::Error> {
        let mut text = String::from("{");
        while let Some(key) = entries.next_key::<String>()? {
            let JsonText(value) = entries.next_value()?;
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&write::<_, A::Error>(&key)?.0);
            text.push(':');
            text.push_str(&value);
        }
        text.push('}');
        Ok(JsonText(text))
    }
}
