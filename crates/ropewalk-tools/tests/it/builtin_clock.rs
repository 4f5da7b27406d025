//! The clock against known dates and garbage.

use std::time::{Duration, UNIX_EPOCH};

use futures_executor::block_on;
use proptest::prelude::*;
use ropewalk_core::testing::{self, ToolSuite};
use ropewalk_core::{Effect, Tool, ToolContext, ToolError, Trust};
use ropewalk_tools::builtin::Clock;
use serde_json::{Value, json};

/// 2026-11-21T15:35:03.9Z, a Saturday.
fn clock() -> Clock {
    Clock::with_now(|| UNIX_EPOCH + Duration::from_millis(1_795_275_303_900))
}

fn ask(arguments: &Value) -> Result<Value, ToolError> {
    let output = block_on(clock().call(&arguments.to_string(), &ToolContext::default()))?;
    assert_eq!(output.trust, Trust::Trusted);
    Ok(output.structured.unwrap())
}

#[test]
fn tells_the_time() {
    assert_eq!(
        ask(&json!({})).unwrap(),
        json!({
            "time": "2026-11-21T15:35:03+00:00", "weekday": "Saturday", "day_of_year": 325,
            "iso_week": "2026-W47", "unix_seconds": 1_795_275_303,
        })
    );
    let local = ask(&json!({"offset": "-05:30"})).unwrap();
    assert_eq!(local["time"], "2026-11-21T10:05:03-05:30");
    let later = ask(&json!({"offset": "+09"})).unwrap();
    assert_eq!(
        (later["time"].as_str(), later["weekday"].as_str()),
        (Some("2026-11-22T00:35:03+09:00"), Some("Sunday"))
    );
    assert_eq!(clock().effect(), Effect::Read);
    let suite = ToolSuite::new(r#"{"at": "2026-11-21"}"#);
    block_on(testing::tool(&clock(), &suite))
        .into_result()
        .unwrap();
    let before = Clock::with_now(|| UNIX_EPOCH - Duration::from_millis(1500));
    let output = block_on(before.call("", &ToolContext::default())).unwrap();
    assert_eq!(
        output.structured.unwrap()["time"],
        "1969-12-31T23:59:58+00:00"
    );
}

#[test]
fn knows_weekdays_and_weeks() {
    // Weeks at the turn of years as the table of ISO 8601 has them.
    let cases = [
        ("2005-01-01", "Saturday", "2004-W53", 1),
        ("2005-12-31", "Saturday", "2005-W52", 365),
        ("2007-01-01", "Monday", "2007-W01", 1),
        ("2008-12-30", "Tuesday", "2009-W01", 365),
        ("2010-01-03", "Sunday", "2009-W53", 3),
        ("2000-02-29", "Tuesday", "2000-W09", 60),
        ("1900-03-01", "Thursday", "1900-W09", 60),
        ("0001-01-01", "Monday", "0001-W01", 1),
        ("9999-12-31", "Friday", "9999-W52", 365),
    ];
    for (date, weekday, week, day) in cases {
        let value = ask(&json!({"at": date})).unwrap();
        assert_eq!(value["time"], format!("{date}T00:00:00+00:00"));
        assert_eq!(value["weekday"], weekday, "{date}");
        assert_eq!(value["iso_week"], week, "{date}");
        assert_eq!(value["day_of_year"], day, "{date}");
    }
}

#[test]
fn adds_and_subtracts() {
    let value = ask(&json!({"at": "2024-02-28T23:00:00+01:00", "plus_days": 2})).unwrap();
    assert_eq!(value["time"], "2024-03-01T23:00:00+01:00");
    let value = ask(&json!({"plus_days": -1, "plus_seconds": 57})).unwrap();
    assert_eq!(value["time"], "2026-11-20T15:36:00+00:00");
    let until =
        |at: &str, until: &str| ask(&json!({"at": at, "until": until})).unwrap()["until"].clone();
    assert_eq!(
        until("2026-11-21T15:35:03", "2027-01-01"),
        json!({"time": "2027-01-01T00:00:00+00:00", "weekday": "Friday", "seconds": 3_486_297,
               "duration": "40d 08:24:57", "calendar_days": 41})
    );
    let past = until("2026-03-01T00:00+02:00", "2026-02-28T23:59:59.999Z");
    assert_eq!(
        (&past["seconds"], &past["duration"]),
        (&json!(7199), &json!("0d 01:59:59"))
    );
    let past = until("2026-03-01", "2026-02-28 12:00");
    assert_eq!(
        (&past["seconds"], &past["duration"]),
        (&json!(-43_200), &json!("-0d 12:00:00"))
    );
}

#[test]
fn refuses_what_is_no_time() {
    let cases = [
        (
            json!({"at": "tomorrow"}),
            "the time \"tomorrow\" cannot be read; write 2026-11-21",
        ),
        (json!({"at": "2026-02-29"}), "there is no day 2026-02-29"),
        (json!({"at": "2026-13-01"}), "there is no day 2026-13-01"),
        (json!({"at": "2026-01-01T24:00"}), "cannot be read"),
        (json!({"at": "2026-01-01T12:00:00."}), "cannot be read"),
        (json!({"at": "2026-1-1"}), "cannot be read"),
        (json!({"at": "0000-01-01"}), "is outside years 1 to 9999"),
        (json!({"at": "2026-11-2é"}), "cannot be read"),
        (json!({"until": "9/11/2001"}), "cannot be read"),
        (
            json!({"offset": "Europe/Berlin"}),
            "names of zones are not known",
        ),
        (
            json!({"plus_days": i64::MAX}),
            "the result is outside years 1 to 9999",
        ),
        (
            json!({"plus_seconds": i64::MIN}),
            "the result is outside years 1 to 9999",
        ),
        (json!({"zone": "UTC"}), "unknown field `zone`"),
    ];
    for (arguments, expected) in cases {
        let error = ask(&arguments).unwrap_err();
        assert!(
            matches!(error, ToolError::InvalidArguments(_)),
            "{arguments}"
        );
        assert!(error.to_string().contains(expected), "{error}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_time_or_refused(at in "[0-9TZ:+. -]{0,32}|\\PC{0,20}", offset in "[0-9+:UTC-]{0,8}") {
        if let Ok(told) = ask(&json!({"at": at.clone(), "until": at, "offset": offset})) {
            prop_assert_eq!(told["until"]["seconds"].as_i64(), Some(0));
        }
    }

    #[test]
    fn what_is_told_is_read_again(unix in -60_000_000_000_i64..250_000_000_000, minutes in -1080_i32..=1080) {
        let offset = format!("{}{:02}:{:02}", if minutes < 0 { '-' } else { '+' }, minutes.abs() / 60, minutes.abs() % 60);
        let told = ask(&json!({"at": "1970-01-01", "plus_seconds": unix})).unwrap();
        prop_assert_eq!(told["unix_seconds"].as_i64(), Some(unix));
        let again = ask(&json!({"at": told["time"], "offset": offset.clone()})).unwrap();
        prop_assert_eq!(&again, &told);
        let moved = ask(&json!({"at": told["time"], "until": told["time"].as_str().unwrap().replace("+00:00", &offset)})).unwrap();
        prop_assert_eq!(moved["until"]["seconds"].as_i64(), Some(-60 * i64::from(minutes)));
    }
}
