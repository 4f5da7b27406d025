//! The weather by Open-Meteo.

use std::fmt::{self, Write as _};

use ropewalk_core::{
    Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec, async_trait, parse_arguments,
};
use ropewalk_http::{Client, Request};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{text, weather_code};

const PROVIDER: &str = "open-meteo";
const CURRENT: &str = "temperature_2m,apparent_temperature,relative_humidity_2m,precipitation,\
    weather_code,wind_speed_10m,wind_direction_10m";
const DAILY: &str = "weather_code,temperature_2m_max,temperature_2m_min,precipitation_sum,\
    precipitation_probability_max,wind_speed_10m_max";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Name of the place, such as Oslo or "Springfield, Illinois"
    place: String,
    /// How many days of forecast, 1 to 16, today included
    #[serde(default)]
    days: Option<u8>,
    /// Units of the result
    #[serde(default)]
    units: Units,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Units {
    /// °C, km/h, mm
    #[default]
    Metric,
    /// °F, mph, inch
    Imperial,
}

/// The tool `weather`: the weather at a place now and in the next days.
///
/// Finds the place with the geocoding API of Open-Meteo and asks its forecast API; codes of the
/// weather become words ([`weather_code`]). Open-Meteo is free without a key for uses that are not
/// commercial; others set their key and addresses. The result is untrusted.
///
/// ```no_run
/// use ropewalk_http::{Client, ClientOptions};
/// use ropewalk_tools::builtin::Weather;
///
/// # fn run() -> ropewalk_core::Result<()> {
/// let tool = Weather::new(Client::new(ClientOptions::new())?);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Weather {
    spec: ToolSpec,
    client: Client,
    geocoding: String,
    forecast: String,
    key: Option<String>,
}

impl fmt::Debug for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weather")
            .field("geocoding", &self.geocoding)
            .field("forecast", &self.forecast)
            .finish_non_exhaustive()
    }
}

impl Weather {
    /// Creates the tool.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let description = "Tells the weather at a place: now, and a forecast for the next days.";
        Self {
            spec: crate::__private::spec::<Arguments>("weather", description, false),
            client,
            geocoding: "https://geocoding-api.open-meteo.com/v1/search".into(),
            forecast: "https://api.open-meteo.com/v1/forecast".into(),
            key: None,
        }
    }

    /// Sets the address of the geocoding API and the one of the forecast API.
    #[must_use]
    pub fn with_base_urls(
        mut self,
        geocoding: impl Into<String>,
        forecast: impl Into<String>,
    ) -> Self {
        (self.geocoding, self.forecast) = (geocoding.into(), forecast.into());
        self
    }

    /// Sets the key of a customer. It is never printed.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    async fn ask(&self, url: &str, query: &[(&str, &str)]) -> Result<Value, ToolError> {
        let mut request = Request::get(url).with_provider(PROVIDER);
        for (name, value) in query {
            request = request.with_query(name, value);
        }
        if let Some(key) = &self.key {
            request = request.with_secret_query("apikey", key);
        }
        super::json(&self.client, &request).await
    }

    /// Finds a place. What follows a comma narrows it down to a region or country.
    async fn find(&self, place: &str) -> Result<Value, ToolError> {
        let (name, narrower) = place.split_once(',').unwrap_or((place, ""));
        let (name, narrower) = (name.trim(), narrower.trim().to_lowercase());
        if name.is_empty() {
            return Err(ToolError::InvalidArguments("the place is empty".into()));
        }
        let query = [("name", name), ("count", "10"), ("format", "json")];
        let mut reply = self.ask(&self.geocoding, &query).await?;
        let Some(Value::Array(found)) = reply.get_mut("results").map(Value::take) else {
            return Err(ToolError::Failed(format!("no place is called {name:?}")));
        };
        let fits = |place: &&Value| {
            let fields = ["/admin1", "/admin2", "/country", "/country_code"];
            fields
                .iter()
                .any(|f| text(place, f).to_lowercase() == narrower)
        };
        let best = found.iter().find(|p| narrower.is_empty() || fits(p));
        if let Some(best) = best {
            return Ok(best.clone());
        }
        let names: Vec<_> = found.iter().map(place_name).collect();
        Err(ToolError::Failed(match names.is_empty() {
            true => format!("no place is called {name:?}"),
            false => format!("no such place; there are: {}", names.join("; ")),
        }))
    }
}

fn place_name(place: &Value) -> String {
    let parts = ["/name", "/admin1", "/country"].map(|f| text(place, f));
    let parts: Vec<_> = parts.into_iter().filter(|p| !p.is_empty()).collect();
    parts.join(", ")
}

/// Returns a number with its unit, `?` when there is none.
fn measured(value: Option<&Value>, unit: &str) -> String {
    match value.and_then(Value::as_f64) {
        Some(number) => format!(
            "{number}{}{unit}",
            if unit.starts_with('°') || unit == "%" {
                ""
            } else {
                " "
            }
        ),
        None => "?".to_owned(),
    }
}

fn words(code: Option<&Value>) -> &'static str {
    let code = code.and_then(Value::as_i64);
    code.and_then(weather_code).unwrap_or("weather unknown")
}

/// Puts the forecast into lines and names the codes in `reply`.
fn describe(place: &str, reply: &mut Value) -> String {
    let mut shown = place.to_owned();
    let unit = |reply: &Value, part: &str, field: &str| {
        text(reply, &format!("/{part}_units/{field}")).to_owned()
    };
    let now = |field: &str| {
        let value = reply.pointer(&format!("/current/{field}"));
        measured(value, &unit(reply, "current", field))
    };
    let current = words(reply.pointer("/current/weather_code"));
    // Writing into a String does not fail.
    _ = write!(
        shown,
        "\nNow ({} {}): {current}, {} (feels like {}), humidity {}, precipitation {}, wind {} from {}",
        text(reply, "/current/time"),
        text(reply, "/timezone"),
        now("temperature_2m"),
        now("apparent_temperature"),
        now("relative_humidity_2m"),
        now("precipitation"),
        now("wind_speed_10m"),
        now("wind_direction_10m"),
    );
    let days = reply.pointer("/daily/time").and_then(Value::as_array);
    let mut named = Vec::new();
    for (i, date) in days.into_iter().flatten().enumerate() {
        let day = |field: &str| {
            let value = reply.pointer(&format!("/daily/{field}/{i}"));
            measured(value, &unit(reply, "daily", field))
        };
        let weather = words(reply.pointer(&format!("/daily/weather_code/{i}")));
        named.push(weather);
        _ = write!(
            shown,
            "\n{}: {weather}, {} to {}, precipitation {} ({}), wind up to {}",
            date.as_str().unwrap_or("?"),
            day("temperature_2m_min"),
            day("temperature_2m_max"),
            day("precipitation_sum"),
            day("precipitation_probability_max"),
            day("wind_speed_10m_max"),
        );
    }
    for (part, value) in [("current", json!(current)), ("daily", json!(named))] {
        if let Some(part) = reply.get_mut(part).and_then(Value::as_object_mut) {
            part.insert("weather".to_owned(), value);
        }
    }
    shown
}

#[async_trait]
impl Tool for Weather {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self) -> Effect {
        Effect::Read
    }

    async fn call(&self, arguments: &str, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        let arguments: Arguments = parse_arguments(arguments)?;
        let place = self.find(&arguments.place).await?;
        let coordinate = |field: &str| match place.get(field).and_then(Value::as_f64) {
            Some(number) => Ok(number.to_string()),
            None => Err(ToolError::failed(format!(
                "{PROVIDER}: a place without {field}"
            ))),
        };
        let (latitude, longitude) = (coordinate("latitude")?, coordinate("longitude")?);
        let days = arguments.days.unwrap_or(3).clamp(1, 16).to_string();
        let mut query = vec![
            ("latitude", latitude.as_str()),
            ("longitude", longitude.as_str()),
            ("current", CURRENT),
            ("daily", DAILY),
            ("timezone", "auto"),
            ("forecast_days", days.as_str()),
        ];
        if arguments.units == Units::Imperial {
            query.extend([
                ("temperature_unit", "fahrenheit"),
                ("wind_speed_unit", "mph"),
                ("precipitation_unit", "inch"),
            ]);
        }
        let mut reply = self.ask(&self.forecast, &query).await?;
        let shown = describe(&place_name(&place), &mut reply);
        let mut output = ToolOutput::text(shown);
        output.structured = Some(json!({"place": place, "forecast": reply}));
        Ok(output)
    }
}
