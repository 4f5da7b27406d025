//! The date a template may ask for, and C's `strftime`.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A date and time of day without a time zone, as templates print it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DateTime {
    year: i32,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    microsecond: u32,
}

impl DateTime {
    /// Returns midnight of a day of the Gregorian calendar; `None` when there is no such day or the year is not in
    /// 1 to 9999.
    #[must_use]
    pub fn new(year: i32, month: u8, day: u8) -> Option<Self> {
        let valid = (1..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in(year, month)).contains(&day);
        valid.then_some(Self {
            year,
            month,
            day,
            hour: 0,
            minute: 0,
            second: 0,
            microsecond: 0,
        })
    }

    /// Sets the time of day; `None` when it is not one.
    #[must_use]
    pub fn at(mut self, hour: u8, minute: u8, second: u8) -> Option<Self> {
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        (self.hour, self.minute, self.second) = (hour, minute, second);
        Some(self)
    }

    /// Converts a system time to UTC. A time outside of the years 1970 to 9999 becomes the nearest of them.
    #[must_use]
    pub fn from_system_time(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs().min(253_402_300_799);
        let (days, rest) = ((seconds / 86_400) as i64, (seconds % 86_400) as u32);
        let (year, month, day) = civil(days);
        Self {
            year,
            month,
            day,
            hour: (rest / 3600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
            microsecond: since.subsec_micros(),
        }
    }

    /// Days since 1 January of year 0 of the proleptic calendar, shifted so that 1970-01-01 is 0.
    fn days_since_epoch(&self) -> i64 {
        // Years start in March, so that the leap day is the last of its year.
        let (y, m) = if self.month > 2 {
            (i64::from(self.year), i64::from(self.month) - 3)
        } else {
            (i64::from(self.year) - 1, i64::from(self.month) + 9)
        };
        let of_year = (153 * m + 2) / 5 + i64::from(self.day) - 1;
        y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + of_year - 719_468
    }

    /// 0 is Monday.
    fn weekday(&self) -> usize {
        (self.days_since_epoch() + 3).rem_euclid(7) as usize
    }

    /// 1 is 1 January.
    fn day_of_year(&self) -> u32 {
        (1..self.month)
            .map(|m| u32::from(days_in(self.year, m)))
            .sum::<u32>()
            + u32::from(self.day)
    }

    /// ISO 8601 year and week.
    fn iso_week(&self) -> (i32, u32) {
        let week = (self.day_of_year() as i32 - self.weekday() as i32 + 9) / 7;
        if week < 1 {
            return (self.year - 1, weeks_in(self.year - 1));
        }
        if week as u32 > weeks_in(self.year) {
            return (self.year + 1, 1);
        }
        (self.year, week as u32)
    }

    /// Writes the date as C's `strftime` does in the C locale, with glibc's flags `-`, `_`, `0`, `^`, `#` and widths.
    ///
    /// Time zone codes (`%Z`, `%z`) print nothing, as for Python's naive `datetime`. Unknown codes stay as they are.
    #[must_use]
    pub fn format(&self, pattern: &str) -> String {
        let mut out = String::new();
        let mut rest = pattern;
        while let Some(at) = rest.find('%') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let mut used = 1;
            let (mut flag, mut width) = (None, 0usize);
            for c in rest[1..].chars() {
                match c {
                    '-' | '_' | '^' | '#' => flag = Some(c),
                    '0' if width == 0 => flag = Some(c),
                    '0'..='9' => width = (width * 10 + c as usize - '0' as usize).min(255),
                    'E' | 'O' => {}
                    _ => break,
                }
                used += c.len_utf8();
            }
            let Some(code) = rest[used..].chars().next() else {
                break;
            };
            used += code.len_utf8();
            match self.field(code) {
                Some(Field::Number(n, digits, pad)) => {
                    let pad = match flag {
                        Some('_') => ' ',
                        Some('0') => '0',
                        _ => pad,
                    };
                    let digits = if flag == Some('-') {
                        width
                    } else {
                        digits.max(width)
                    };
                    let text = n.to_string();
                    out.extend(std::iter::repeat_n(pad, digits.saturating_sub(text.len())));
                    out.push_str(&text);
                }
                Some(Field::Text(text)) => {
                    let text = match (flag, code) {
                        (Some('^'), _) => text.to_uppercase(),
                        (Some('#'), 'p') => text.to_lowercase(),
                        (Some('#'), _) => text.to_uppercase(),
                        _ => text,
                    };
                    let pad = if flag == Some('0') { '0' } else { ' ' };
                    out.extend(std::iter::repeat_n(pad, width.saturating_sub(text.len())));
                    out.push_str(&text);
                }
                None => out.push_str(&rest[..used]),
            }
            rest = &rest[used..];
        }
        out.push_str(rest);
        out
    }

    fn field(&self, code: char) -> Option<Field> {
        let hour12 = match self.hour % 12 {
            0 => 12,
            h => h,
        };
        let zero = |n: u8| Field::Number(n.into(), 2, '0');
        let text = |s: &str| Field::Text(s.to_owned());
        let sunday = (self.weekday() + 1) % 7;
        let yday = i64::from(self.day_of_year());
        Some(match code {
            'Y' => Field::Number(self.year.into(), 0, '0'),
            'C' => Field::Number(i64::from(self.year) / 100, 2, '0'),
            'y' => Field::Number(i64::from(self.year) % 100, 2, '0'),
            'G' => Field::Number(self.iso_week().0.into(), 0, '0'),
            'g' => Field::Number(i64::from(self.iso_week().0) % 100, 2, '0'),
            'V' => Field::Number(self.iso_week().1.into(), 2, '0'),
            'U' => Field::Number((yday + 6 - sunday as i64) / 7, 2, '0'),
            'W' => Field::Number((yday + 6 - self.weekday() as i64) / 7, 2, '0'),
            'm' => zero(self.month),
            'd' => zero(self.day),
            'e' => Field::Number(self.day.into(), 2, ' '),
            'j' => Field::Number(yday, 3, '0'),
            'H' => zero(self.hour),
            'k' => Field::Number(self.hour.into(), 2, ' '),
            'I' => zero(hour12),
            'l' => Field::Number(hour12.into(), 2, ' '),
            'M' => zero(self.minute),
            'S' => zero(self.second),
            'f' => Field::Number(self.microsecond.into(), 6, '0'),
            'u' => Field::Number(self.weekday() as i64 + 1, 0, '0'),
            'w' => Field::Number(sunday as i64, 0, '0'),
            's' => Field::Number(
                self.days_since_epoch() * 86_400
                    + i64::from(self.hour) * 3600
                    + i64::from(self.minute) * 60
                    + i64::from(self.second),
                0,
                '0',
            ),
            'p' => text(if self.hour < 12 { "AM" } else { "PM" }),
            'P' => text(if self.hour < 12 { "am" } else { "pm" }),
            'A' => text(DAYS[self.weekday()]),
            'a' => text(&DAYS[self.weekday()][..3]),
            'B' => text(MONTHS[usize::from(self.month) - 1]),
            'b' | 'h' => text(&MONTHS[usize::from(self.month) - 1][..3]),
            'D' | 'x' => Field::Text(self.format("%m/%d/%y")),
            'F' => Field::Text(self.format("%Y-%m-%d")),
            'T' | 'X' => Field::Text(self.format("%H:%M:%S")),
            'R' => Field::Text(self.format("%H:%M")),
            'r' => Field::Text(self.format("%I:%M:%S %p")),
            'c' => Field::Text(self.format("%a %b %e %H:%M:%S %Y")),
            'n' => text("\n"),
            't' => text("\t"),
            'Z' | 'z' => text(""),
            '%' => text("%"),
            _ => return None,
        })
    }
}

impl std::fmt::Display for DateTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.format("%Y-%m-%d %H:%M:%S"))?;
        if self.microsecond > 0 {
            f.write_char('.')?;
            write!(f, "{:06}", self.microsecond)?;
        }
        Ok(())
    }
}

enum Field {
    /// Value, least digits, padding.
    Number(i64, usize, char),
    Text(String),
}

fn leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i32, month: u8) -> u8 {
    match month {
        2 if leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A year has 53 ISO weeks when it ends on a Thursday, or starts on one.
fn weeks_in(year: i32) -> u32 {
    let end = |y: i32| (y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400)).rem_euclid(7);
    if end(year) == 4 || end(year - 1) == 3 {
        53
    } else {
        52
    }
}

/// Year, month and day of a count of days since 1970-01-01, which is not negative.
fn civil(days: i64) -> (i32, u8, u8) {
    let mut year = 1970 + (days / 366) as i32;
    let mut left = days
        - (DateTime {
            year,
            month: 1,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
            microsecond: 0,
        })
        .days_since_epoch();
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if left < length {
            break;
        }
        left -= length;
        year += 1;
    }
    let mut month = 1;
    while left >= i64::from(days_in(year, month)) {
        left -= i64::from(days_in(year, month));
        month += 1;
    }
    (year, month, left as u8 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn formats_like_c() {
        let date = DateTime::new(2026, 3, 5).unwrap().at(14, 7, 9).unwrap();
        for (pattern, expected) in [
            ("%d %b %Y", "05 Mar 2026"),
            ("%Y-%m-%d", "2026-03-05"),
            ("%B %-d, %Y", "March 5, 2026"),
            ("%A %a %H:%M:%S %I %p %P", "Thursday Thu 14:07:09 02 PM pm"),
            ("%j %U %W %V %G %u %w", "064 09 09 10 2026 4 4"),
            ("%e|%_d|%05d|%^a|%#p|%10A", " 5| 5|00005|THU|pm|  Thursday"),
            (
                "%c|%D|%F|%T|%R|%x|%X",
                "Thu Mar  5 14:07:09 2026|03/05/26|2026-03-05|14:07:09|14:07|03/05/26|14:07:09",
            ),
            ("%s %Z%z%% %Q %", "1772719629 % %Q %"),
            ("été %n%t", "été \n\t"),
        ] {
            assert_eq!(date.format(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn knows_the_calendar() {
        assert_eq!(DateTime::new(2025, 2, 29), None);
        assert!(DateTime::new(2024, 2, 29).is_some());
        for (day, expected) in [
            ((2021, 1, 1), "2020-W53-5"),
            ((2020, 12, 31), "2020-W53-4"),
            ((2024, 12, 30), "2025-W01-1"),
            ((2023, 1, 1), "2022-W52-7"),
        ] {
            let date = DateTime::new(day.0, day.1, day.2).unwrap();
            assert_eq!(date.format("%G-W%V-%u"), expected);
        }
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_772_719_629, "2026-03-05 14:07:09"),
            (4_102_444_799, "2099-12-31 23:59:59"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(DateTime::from_system_time(time).to_string(), expected);
        }
    }
}
