//! Times as people and files write them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How far a time may lie from 1970, as in most languages' calendars
/// (±100 000 000 days). Within it no difference of two times overflows.
pub const LIMIT_MS: i64 = 8_640_000_000_000_000;

/// What a number counts since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl Unit {
    /// The unit in which `number` is the likeliest time: 1e11 is 1973 in
    /// milliseconds and 5138 in seconds, and so on for each step of 1000.
    pub fn guess(number: f64) -> Unit {
        match number.abs() {
            size if size < 1e11 => Unit::Seconds,
            size if size < 1e14 => Unit::Milliseconds,
            size if size < 1e17 => Unit::Microseconds,
            _ => Unit::Nanoseconds,
        }
    }

    /// The unit that a column's name ends with.
    pub fn of_name(name: &str) -> Option<Unit> {
        match name.rsplit('_').next()? {
            "ms" | "millis" | "milliseconds" => Some(Unit::Milliseconds),
            "s" | "sec" | "secs" | "seconds" => Some(Unit::Seconds),
            "us" | "micros" | "microseconds" => Some(Unit::Microseconds),
            "ns" | "nanos" | "nanoseconds" => Some(Unit::Nanoseconds),
            _ => None,
        }
    }

    /// `text` as milliseconds since 1970.
    pub fn to_ms(self, text: &str) -> Option<i64> {
        let ms = if let Ok(whole) = text.parse::<i64>() {
            match self {
                Unit::Seconds => whole.checked_mul(1000)?,
                Unit::Milliseconds => whole,
                Unit::Microseconds => whole.div_euclid(1000),
                Unit::Nanoseconds => whole.div_euclid(1_000_000),
            }
        } else {
            let number = text
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())?;
            let ms = match self {
                Unit::Seconds => number * 1e3,
                Unit::Milliseconds => number,
                Unit::Microseconds => number / 1e3,
                Unit::Nanoseconds => number / 1e6,
            };
            ms.round() as i64
        };
        (-LIMIT_MS..=LIMIT_MS).contains(&ms).then_some(ms)
    }
}

/// A date, with or without a time of day and an offset; UTC where none is
/// given: `2026-11-22`, `2026-11-22 03:04`, `2026-11-22T03:04:05.5+01:00`.
pub fn parse(text: &str) -> Option<i64> {
    let (date, clock) = match text.split_once(['T', 't', ' ']) {
        Some((date, clock)) => (date, clock.trim_start()),
        None => (text, "00:00:00"),
    };
    let end = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
    let (clock, offset) = clock.split_at(end);
    let seconds = if clock.trim_end().len() == 5 {
        ":00"
    } else {
        ""
    };
    let offset = match offset {
        "" => "Z",
        offset => offset,
    };
    let full = format!("{date}T{}{seconds}{offset}", clock.trim_end());
    let time = OffsetDateTime::parse(&full, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

/// `2026-11-22` and `03:04:05`; `None` where the calendar ends.
pub fn date_and_clock(ms: i64) -> Option<(String, String)> {
    let time = OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).ok()?;
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    let date = format!("{year:04}-{:02}-{day:02}", u8::from(month));
    Some((date, format!("{hour:02}:{minute:02}:{second:02}")))
}

/// `2026-11-22 03:04:05 UTC`.
pub fn show(ms: i64) -> String {
    date_and_clock(ms).map_or_else(
        || format!("{ms} ms"),
        |(date, clock)| format!("{date} {clock} UTC"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    // `date -u -d '2026-11-22 03:04:05' +%s` gives 1795316645.
    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, ms) in [
            ("2026-11-22 03:04:05", Some(1_795_316_645_000)),
            ("2026-11-22T03:04:05Z", Some(1_795_316_645_000)),
            ("2026-11-22T04:04:05.25+01:00", Some(1_795_316_645_250)),
            ("2026-11-22 03:04:05.5", Some(1_795_316_645_500)),
            ("2026-11-22 03:04", Some(1_795_316_640_000)),
            ("2026-11-22", Some(1_795_305_600_000)),
            ("1969-12-31 23:59:59.999", Some(-1)),
            ("2026-13-01", None),
            ("tomorrow", None),
            ("", None),
            ("2026-11-22 ", None),
        ] {
            assert_eq!(parse(text), ms, "{text}");
        }
        assert_eq!(show(1_795_316_645_250), "2026-11-22 03:04:05 UTC");
        assert_eq!(show(LIMIT_MS), "8640000000000000 ms");
    }

    #[test]
    fn the_unit_of_a_number_follows_its_size_or_its_name() {
        for (text, ms) in [
            ("1795316645", 1_795_316_645_000),
            ("1795316645.25", 1_795_316_645_250),
            ("1795316645250", 1_795_316_645_250),
            ("1795316645250000", 1_795_316_645_250),
            ("1795316645250000000", 1_795_316_645_250),
            ("0", 0),
            ("-60", -60_000),
        ] {
            assert_eq!(
                Unit::guess(text.parse().unwrap()).to_ms(text),
                Some(ms),
                "{text}"
            );
        }
        assert_eq!(Unit::of_name("time_ms"), Some(Unit::Milliseconds));
        assert_eq!(Unit::of_name("timestamp"), None);
        assert_eq!(Unit::Seconds.to_ms("1e300"), None);
        assert_eq!(Unit::Seconds.to_ms("nan"), None);
    }
}
