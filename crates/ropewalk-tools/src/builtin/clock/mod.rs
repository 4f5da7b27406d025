//! The time for models.

mod civil;

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ropewalk_core::{
    Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec, async_trait, parse_arguments,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use civil::{DAY, Moment, parse_offset};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// A date or time in ISO 8601, such as 2026-11-21 or 2026-11-21T09:30+02:00; now when left out
    #[serde(default)]
    at: Option<String>,
    /// How far local time is ahead of UTC, such as +02:00; UTC when left out
    #[serde(default)]
    offset: Option<String>,
    /// Whole days to add to `at`; may be negative
    #[serde(default)]
    plus_days: Option<i64>,
    /// Seconds to add to `at`; may be negative
    #[serde(default)]
    plus_seconds: Option<i64>,
    /// Another date or time; the result then holds the time from `at` to it
    #[serde(default)]
    until: Option<String>,
}

/// The tool `clock`: the time now or another one, its weekday and week, and the time between two.
///
/// Knows UTC and fixed offsets; zones with summer time need a table that this tool does not carry.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use ropewalk_core::{Tool, ToolContext};
/// use ropewalk_tools::builtin::Clock;
///
/// let clock = Clock::with_now(|| UNIX_EPOCH + Duration::from_secs(1_795_000_000));
/// # futures_executor::block_on(async {
/// let arguments = r#"{"offset": "+01:00", "until": "2026-12-24"}"#;
/// let output = clock.call(arguments, &ToolContext::default()).await?;
/// let value = output.structured.unwrap();
/// assert_eq!(value["time"], "2026-11-18T12:06:40+01:00");
/// assert_eq!(value["weekday"], "Wednesday");
/// assert_eq!(value["until"]["calendar_days"], 36);
/// # Ok::<(), ropewalk_core::ToolError>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Clock {
    spec: ToolSpec,
    now: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Clock {
    /// Creates the tool with the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_now(SystemTime::now)
    }

    /// Creates the tool with another clock.
    #[must_use]
    pub fn with_now(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        let description = "Tells the current date and time, the weekday and ISO week of a date, a \
            date some days before or after another, and how long it is from one time to another.";
        Self {
            spec: crate::__private::spec::<Arguments>("clock", description, false),
            now: Arc::new(now),
        }
    }

    fn now(&self, offset: i32) -> Result<Moment, ToolError> {
        let now = (self.now)();
        let seconds = match now.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).ok(),
            // The second that has begun, as after the epoch.
            Err(before) => {
                let before = before.duration();
                let seconds = before.as_secs() + u64::from(before.subsec_nanos() > 0);
                i64::try_from(seconds).ok().map(|s| -s)
            }
        };
        let moment = seconds.and_then(|s| Moment::new(s, offset));
        moment
            .ok_or_else(|| ToolError::failed("the clock of the system is outside years 1 to 9999"))
    }

    fn answer(&self, arguments: &Arguments) -> Result<Value, ToolError> {
        let invalid = ToolError::InvalidArguments;
        let offset = match arguments.offset.as_deref() {
            None => 0,
            Some(text) => parse_offset(text).ok_or_else(|| {
                invalid(format!(
                    "the offset {text:?} cannot be read; write UTC or how far local time is ahead \
                     of it, such as +02:00 (names of zones are not known)"
                ))
            })?,
        };
        let mut at = match arguments.at.as_deref() {
            None => self.now(offset)?,
            Some(text) => Moment::parse(text, offset).map_err(invalid)?,
        };
        let days = arguments.plus_days.unwrap_or(0).checked_mul(DAY);
        let plus = days.and_then(|d| d.checked_add(arguments.plus_seconds.unwrap_or(0)));
        let moved = plus.and_then(|p| at.unix.checked_add(p));
        at = moved
            .and_then(|unix| Moment::new(unix, at.offset))
            .ok_or_else(|| invalid("the result is outside years 1 to 9999".to_owned()))?;
        let mut value = json!({
            "time": at.to_string(),
            "weekday": at.weekday(),
            "day_of_year": at.day_of_year(),
            "iso_week": at.iso_week(),
            "unix_seconds": at.unix,
        });
        if let Some(text) = &arguments.until {
            let until = Moment::parse(text, at.offset).map_err(invalid)?;
            value["until"] = between(at, until);
        }
        Ok(value)
    }
}

/// Describes the time from one moment to another; negative when it is past.
fn between(at: Moment, until: Moment) -> Value {
    let seconds = until.unix - at.unix;
    let local_day = |m: Moment| (m.unix + i64::from(m.offset)).div_euclid(DAY);
    let (days, rest) = (seconds.abs() / DAY, seconds.abs() % DAY);
    let sign = if seconds < 0 { "-" } else { "" };
    let (hours, minutes, rest) = (rest / 3600, rest / 60 % 60, rest % 60);
    json!({
        "time": until.to_string(),
        "weekday": until.weekday(),
        "seconds": seconds,
        "duration": format!("{sign}{days}d {hours:02}:{minutes:02}:{rest:02}"),
        "calendar_days": local_day(until) - local_day(at),
    })
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").finish_non_exhaustive()
    }
}

#[async_trait]
impl Tool for Clock {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self) -> Effect {
        Effect::Read
    }

    async fn call(&self, arguments: &str, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        let arguments: Arguments = parse_arguments(arguments)?;
        Ok(ToolOutput::from(self.answer(&arguments)?).trusted())
    }
}
