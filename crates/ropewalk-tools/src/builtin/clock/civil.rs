//! The calendar: days, dates and times of day without a library.
//!
//! The proleptic Gregorian calendar with the day counts of Howard Hinnant's "chrono-compatible
//! low-level date algorithms"; text as in RFC 3339 and ISO 8601.

use std::fmt;

pub(crate) const DAY: i64 = 86_400;

/// Days from 1970-01-01 to a date.
pub(crate) fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    // Years begin in March, so that the leap day is their last.
    let (month, day) = (i64::from(month), i64::from(day));
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date so many days after 1970-01-01: year, month, day.
pub(crate) fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let small = |n: i64| u32::try_from(n).unwrap_or(0);
    (year, small(month), small(day))
}

pub(crate) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A moment in seconds since 1970-01-01T00:00:00Z and how far local time is ahead of UTC, in
/// seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) unix: i64,
    pub(crate) offset: i32,
}

impl Moment {
    /// Returns the moment if its year is 1 to 9999.
    pub(crate) fn new(unix: i64, offset: i32) -> Option<Self> {
        let local = unix.checked_add(i64::from(offset))?;
        let first = days_from_civil(1, 1, 1) * DAY;
        let end = days_from_civil(10_000, 1, 1) * DAY;
        (first..end)
            .contains(&local)
            .then_some(Self { unix, offset })
    }

    fn local(self) -> i64 {
        self.unix + i64::from(self.offset)
    }

    pub(crate) fn date(self) -> (i64, u32, u32) {
        civil_from_days(self.local().div_euclid(DAY))
    }

    /// The weekday of ISO 8601: 1 is Monday.
    fn iso_weekday(self) -> i64 {
        (self.local().div_euclid(DAY) + 3).rem_euclid(7) + 1
    }

    pub(crate) fn weekday(self) -> &'static str {
        match self.iso_weekday() {
            1 => "Monday",
            2 => "Tuesday",
            3 => "Wednesday",
            4 => "Thursday",
            5 => "Friday",
            6 => "Saturday",
            _ => "Sunday",
        }
    }

    /// The day of the year, from 1.
    pub(crate) fn day_of_year(self) -> i64 {
        let (year, ..) = self.date();
        self.local().div_euclid(DAY) - days_from_civil(year, 1, 1) + 1
    }

    /// The week of ISO 8601, such as `2026-W53`: the one that holds the year's Thursday.
    pub(crate) fn iso_week(self) -> String {
        let thursday = self.local().div_euclid(DAY) + 4 - self.iso_weekday();
        let (year, ..) = civil_from_days(thursday);
        let week = (thursday - days_from_civil(year, 1, 1)) / 7 + 1;
        format!("{year:04}-W{week:02}")
    }

    /// Reads a date with or without a time and an offset, such as `2026-11-21`,
    /// `2026-11-21T09:30`, `2026-11-21 09:30:00.5Z` and `2026-11-21T09:30:00+02:00`. Without an
    /// offset the given one counts; parts of seconds are left out.
    pub(crate) fn parse(text: &str, offset: i32) -> Result<Self, String> {
        let unreadable = || {
            format!(
                "the time {text:?} cannot be read; write 2026-11-21, 2026-11-21T09:30 or \
                 2026-11-21T09:30:00+02:00"
            )
        };
        let trimmed = text.trim();
        let (date, rest) = trimmed.split_at_checked(10).ok_or_else(unreadable)?;
        let (year, month, day) = parse_date(date).ok_or_else(unreadable)?;
        if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
            return Err(format!("there is no day {date}"));
        }
        let (time, offset) = match rest.chars().next() {
            None => (0, offset),
            Some('T' | 't' | ' ') => parse_time(&rest[1..], offset).ok_or_else(unreadable)?,
            Some(_) => return Err(unreadable()),
        };
        let unix = days_from_civil(year, month, day) * DAY + time - i64::from(offset);
        Self::new(unix, offset)
            .ok_or_else(|| format!("the time {text:?} is outside years 1 to 9999"))
    }
}

/// RFC 3339 with seconds and a numeric offset.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let time = self.local().rem_euclid(DAY);
        let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.unsigned_abs() / 60;
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn parse_date(text: &str) -> Option<(i64, u32, u32)> {
    let (year, rest) = text.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let fits = (year.len(), month.len(), day.len()) == (4, 2, 2);
    fits.then_some(())?;
    Some((i64::from(number(year)?), number(month)?, number(day)?))
}

/// Reads a time of day; returns its second and the offset.
fn parse_time(text: &str, offset: i32) -> Option<(i64, i32)> {
    let split = text.find(['Z', 'z', '+', '-', '\u{2212}']);
    let (time, offset) = match split {
        Some(at) => (&text[..at], parse_offset(&text[at..])?),
        None => (text, offset),
    };
    let mut parts = time.trim_end().split(':');
    let two = |part: Option<&str>| part.filter(|p| p.len() == 2).and_then(number);
    let (hour, minute) = (two(parts.next())?, two(parts.next())?);
    let second = match parts.next() {
        None => 0,
        Some(part) => {
            let (whole, rest) = part.split_once(['.', ',']).unwrap_or((part, "0"));
            let digits = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
            two(Some(whole)).filter(|_| digits)?
        }
    };
    // A leap second counts as the last one of its minute.
    let fits = hour < 24 && minute < 60 && second <= 60 && parts.next().is_none();
    fits.then_some((
        i64::from(hour * 3600 + minute * 60 + second.min(59)),
        offset,
    ))
}

/// Reads `UTC`, `Z`, `+02`, `+0200` or `+02:00`, at most 18 hours; returns seconds.
pub(crate) fn parse_offset(text: &str) -> Option<i32> {
    let text = text.trim();
    if ["", "z", "utc", "gmt"].contains(&text.to_ascii_lowercase().as_str()) {
        return Some(0);
    }
    let text = text
        .strip_prefix("UTC")
        .or(text.strip_prefix("GMT"))
        .unwrap_or(text);
    let (sign, digits) = match text.chars().next()? {
        '+' => (1, &text[1..]),
        sign @ ('-' | '\u{2212}') => (-1, &text[sign.len_utf8()..]),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() == 4 && digits.is_ascii() => digits.split_at(2),
        None => (digits, "00"),
    };
    let fits = (1..=2).contains(&hours.len()) && minutes.len() == 2;
    let (hours, minutes) = (number(hours)?, number(minutes).filter(|m| *m < 60)?);
    let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
    (fits && seconds <= 18 * 3600).then_some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_two_thousand_years_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1000, 1, 1);
        let mut days = days_from_civil(1000, 1, 1);
        while year < 3000 {
            assert_eq!(civil_from_days(days), (year, month, day));
            assert_eq!(days_from_civil(year, month, day), days);
            days += 1;
            day += 1;
            if day > days_in_month(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!(days_from_civil(1970, 1, 1), 0);
        assert_eq!(days_from_civil(2000, 3, 1), 11_017);
    }

    #[test]
    fn reads_offsets() {
        let good = [
            ("UTC", 0),
            ("z", 0),
            ("+02:00", 7200),
            ("-0330", -12_600),
            ("+5", 18_000),
        ];
        for (text, seconds) in good {
            assert_eq!(parse_offset(text), Some(seconds), "{text}");
        }
        for bad in [
            "CET",
            "2",
            "+",
            "+1:2:3",
            "+19",
            "+02:60",
            "+ 2",
            "++2",
            "-\u{662}2",
            "+0é0",
        ] {
            assert_eq!(parse_offset(bad), None, "{bad}");
        }
        assert_eq!(parse_offset("UTC+02:00"), Some(7200));
    }
}
