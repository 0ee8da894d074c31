//! Where a replay begins and ends.

use midwatch_events::decode::{EARLIEST_MS, LATEST_MS};
use midwatch_runtime::clock;
use std::str::FromStr;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment or a place in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Epoch milliseconds.
    Time(i64),
    /// So many milliseconds before now.
    Ago(i64),
    /// An offset, the same in each partition.
    Offset(i64),
}

impl When {
    /// The moment in epoch milliseconds; none for an offset.
    #[must_use]
    pub fn time_ms(self) -> Option<i64> {
        match self {
            When::Time(at_ms) => Some(at_ms),
            When::Ago(ms) => Some(clock::now_ms().saturating_sub(ms)),
            When::Offset(_) => None,
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<When, String> {
        if let Some(offset) = text.strip_prefix("offset:") {
            return match offset.parse::<i64>() {
                Ok(offset) if offset >= 0 => Ok(When::Offset(offset)),
                _ => Err("give a whole number from 0 on after offset:".to_owned()),
            };
        }
        if text == "now" {
            return Ok(When::Ago(0));
        }
        if let Some(span) = text.strip_prefix('-') {
            return span_ms(span).map(When::Ago);
        }
        if let Ok(at_ms) = text.parse::<i64>() {
            return if (EARLIEST_MS..LATEST_MS).contains(&at_ms) {
                Ok(When::Time(at_ms))
            } else {
                Err(
                    "a bare number is a time in epoch milliseconds (2000 to 2200); \
                     an offset is offset:N"
                        .to_owned(),
                )
            };
        }
        // As this program prints times, too.
        OffsetDateTime::parse(&text.replacen(' ', "T", 1), &Rfc3339)
            .ok()
            .and_then(|at| i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok())
            .map(When::Time)
            .ok_or_else(|| {
                "give RFC 3339 (2026-11-22T03:04:05Z), epoch milliseconds, \
                 -2h (or s, m, d), now, or offset:N"
                    .to_owned()
            })
    }
}

/// `90s`, `15m`, `2h`, `7d` in milliseconds.
fn span_ms(text: &str) -> Result<i64, String> {
    let unit_ms = match text.chars().last() {
        Some('s') => 1_000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => 86_400_000,
        _ => 0,
    };
    text.get(..text.len().saturating_sub(1))
        .and_then(|number| number.parse::<i64>().ok())
        .and_then(|number| number.checked_mul(unit_ms))
        .filter(|ms| *ms > 0 && *ms < LATEST_MS)
        .ok_or_else(|| "give a span such as -90s, -15m, -2h or -7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_moment_is_understood() {
        for (text, when) in [
            ("2026-11-22T03:04:05Z", When::Time(1_795_316_645_000)),
            ("2026-11-22 03:04:05Z", When::Time(1_795_316_645_000)),
            (
                "2026-11-22T04:04:05.250+01:00",
                When::Time(1_795_316_645_250),
            ),
            ("1795316645000", When::Time(1_795_316_645_000)),
            ("-2h", When::Ago(7_200_000)),
            ("-90s", When::Ago(90_000)),
            ("now", When::Ago(0)),
            ("offset:0", When::Offset(0)),
            ("offset:123", When::Offset(123)),
        ] {
            assert_eq!(text.parse::<When>(), Ok(when), "{text}");
        }
        for bad in [
            "",
            "-",
            "-2",
            "-h",
            "-0s",
            "-9999999999999d",
            "-ž",
            "1795316645",
            "offset:-1",
            "offset:x",
            "yesterday",
        ] {
            assert!(bad.parse::<When>().is_err(), "{bad}");
        }
    }
}
