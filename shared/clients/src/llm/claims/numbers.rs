//! Numbers in text, with their units and the precision that they were written at.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Microseconds,
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
    Percent,
    Bytes,
    Kilobytes,
    Megabytes,
    Gigabytes,
    /// Thousands, of whatever.
    Thousand,
    /// Millions, of whatever.
    Million,
}

impl Unit {
    /// The unit that a metric's name ends with.
    #[must_use]
    pub fn of_metric(name: &str) -> Option<Unit> {
        let name = name.trim_end_matches("_total");
        let last = name.rsplit(['_', '.', '-']).next()?;
        match last {
            "us" | "microseconds" => Some(Unit::Microseconds),
            "ms" | "millis" | "milliseconds" => Some(Unit::Milliseconds),
            "s" | "sec" | "secs" | "seconds" => Some(Unit::Seconds),
            "minutes" => Some(Unit::Minutes),
            "percent" | "pct" => Some(Unit::Percent),
            "bytes" => Some(Unit::Bytes),
            _ => None,
        }
    }

    fn parse(text: &str) -> Option<Unit> {
        Some(match text {
            "us" | "µs" | "μs" => Unit::Microseconds,
            "ms" | "millisecond" | "milliseconds" => Unit::Milliseconds,
            "s" | "sec" | "secs" | "second" | "seconds" => Unit::Seconds,
            "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minutes,
            "h" | "hour" | "hours" => Unit::Hours,
            "%" | "percent" | "pct" => Unit::Percent,
            "B" | "bytes" => Unit::Bytes,
            "kB" | "KB" | "KiB" => Unit::Kilobytes,
            "MB" | "MiB" => Unit::Megabytes,
            "GB" | "GiB" => Unit::Gigabytes,
            "k" | "K" => Unit::Thousand,
            "M" => Unit::Million,
            _ => return None,
        })
    }

    /// Kind and size in the kind's smallest unit. A kilobyte has two sizes; both are in use.
    fn sizes(self) -> (u8, &'static [f64]) {
        match self {
            Unit::Microseconds => (0, &[1.0]),
            Unit::Milliseconds => (0, &[1e3]),
            Unit::Seconds => (0, &[1e6]),
            Unit::Minutes => (0, &[6e7]),
            Unit::Hours => (0, &[3.6e9]),
            Unit::Percent => (1, &[1.0]),
            Unit::Bytes => (2, &[1.0]),
            Unit::Kilobytes => (2, &[1e3, 1_024.0]),
            Unit::Megabytes => (2, &[1e6, 1_048_576.0]),
            Unit::Gigabytes => (2, &[1e9, 1_073_741_824.0]),
            Unit::Thousand => (3, &[1e3]),
            Unit::Million => (3, &[1e6]),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Unit::Microseconds => " µs",
            Unit::Milliseconds => " ms",
            Unit::Seconds => " s",
            Unit::Minutes => " min",
            Unit::Hours => " h",
            Unit::Percent => " %",
            Unit::Bytes => " B",
            Unit::Kilobytes => " kB",
            Unit::Megabytes => " MB",
            Unit::Gigabytes => " GB",
            Unit::Thousand => "k",
            Unit::Million => "M",
        }
    }
}

/// A number as it was written or measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    value: f64,
    /// Digits behind the point.
    decimals: i32,
    unit: Option<Unit>,
    is_signed: bool,
}

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = usize::try_from(self.decimals).unwrap_or(0);
        let unit = self.unit.map_or("", Unit::as_str);
        write!(formatter, "{:.decimals$}{unit}", self.value)
    }
}

impl Number {
    /// A measured number.
    pub fn exact(value: f64, unit: Option<Unit>) -> Number {
        Number {
            value,
            decimals: 0,
            unit,
            is_signed: true,
        }
    }

    /// Whether this, as written, is `known` rounded to the same precision.
    pub fn matches(&self, known: &Number) -> bool {
        let factors: Vec<f64> = match (self.unit, known.unit) {
            (None, _) => vec![1.0],
            // 7.4k of something that is 7380.
            (Some(unit @ (Unit::Thousand | Unit::Million)), None) => {
                unit.sizes().1.iter().map(|size| 1.0 / size).collect()
            }
            (Some(_), None) => vec![1.0],
            (Some(mine), Some(theirs)) => {
                let (my_kind, my_sizes) = mine.sizes();
                let (their_kind, their_sizes) = theirs.sizes();
                if my_kind != their_kind {
                    return false;
                }
                let mut factors = Vec::new();
                for mine in my_sizes {
                    factors.extend(their_sizes.iter().map(|theirs| theirs / mine));
                }
                factors
            }
        };
        let half = 0.5 * 10_f64.powi(-self.decimals);
        factors.into_iter().any(|factor| {
            let known = known.value * factor;
            let near = |known: f64| (known - self.value).abs() <= half * (1.0 + 1e-9);
            near(known) || (!self.is_signed && near(-known))
        })
    }
}

/// The numbers that stand for themselves: those inside of names, versions, ids and clock times are
/// part of those.
pub fn in_text(text: &str) -> Vec<Number> {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(concat!(
            r"([+−-]?)([0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.([0-9]+))?",
            r"\s?(%|[µμ]?[A-Za-z]+)?"
        ))
        .expect("a constant pattern")
    });
    let mut numbers = Vec::new();
    for found in NUMBER.captures_iter(text) {
        let whole = found.get(0).expect("group 0 is the match");
        let digits_end = found
            .get(3)
            .or(found.get(2))
            .map_or(whole.end(), |part| part.end());
        let before = text[..whole.start()].chars().next_back();
        let after = text[digits_end..].chars().next();
        let unit_text = found.get(4).map_or("", |unit| unit.as_str());
        let has_blank = text[digits_end..].starts_with(char::is_whitespace);
        let unit = Unit::parse(unit_text);
        // `7x`, `3rd` and `v2` are words; `45 users` is a number and a word.
        let joined = !has_blank && !unit_text.is_empty() && unit.is_none();
        if joined || is_inside_word(text, before, digits_end, after) {
            continue;
        }
        let whole_digits = found[2].replace(',', "");
        let decimals = found.get(3).map_or("", |part| part.as_str());
        let Ok(value) = format!("{whole_digits}.{decimals}0").parse::<f64>() else {
            continue;
        };
        // A dash between two numbers is a range.
        let sign = found.get(1).map_or("", |sign| sign.as_str());
        let is_range = before.is_some_and(|sign| sign.is_ascii_digit() || sign == '%');
        let is_signed = !sign.is_empty() && !is_range;
        let is_negative = is_signed && sign != "+";
        numbers.push(Number {
            value: if is_negative { -value } else { value },
            decimals: i32::try_from(decimals.len()).unwrap_or(i32::MAX),
            unit,
            is_signed,
        });
    }
    numbers
}

fn is_inside_word(
    text: &str,
    before: Option<char>,
    digits_end: usize,
    after: Option<char>,
) -> bool {
    let belongs = |sign: char| sign.is_alphabetic() || matches!(sign, '_' | '.' | ':' | '#' | '@');
    if before.is_some_and(|sign| belongs(sign) && sign != ':') {
        return true;
    }
    let next_after = text[digits_end..].chars().nth(1);
    match after {
        // 12:00:05, 1.2.3, 10.0.0.1 are no numbers; `at 380.` and `380: full` are.
        Some('.' | ':' | '_' | '#' | '@') => next_after.is_some_and(char::is_alphanumeric),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        in_text(text).iter().map(Number::to_string).collect()
    }

    #[test]
    fn numbers_are_told_from_names() {
        assert_eq!(
            shown("p99 of s01 at v2.14.1 on 10.0.0.1, 3rd, 7x"),
            Vec::<String>::new()
        );
        assert_eq!(
            shown("at 380. Then 7,380 ms, 7.4s (+12.5 %)"),
            ["380", "7380 ms", "7.4 s", "12.5 %"]
        );
        assert_eq!(
            shown("380-7380ms, -5, 1.5k, 45 users"),
            ["380", "7380 ms", "-5", "1.5k", "45"]
        );
        assert_eq!(shown("read 0.50 (baseline:0.5)"), ["0.50", "0.5"]);
    }

    #[test]
    fn a_number_matches_at_the_precision_that_it_was_written_at() {
        let ms = Number::exact(7_380.4, Some(Unit::Milliseconds));
        let matches = |text: &str| in_text(text)[0].matches(&ms);
        for text in [
            "7380 ms",
            "7380.4 ms",
            "7380",
            "7.38 s",
            "7.4 s",
            "7 s",
            "0.123 min",
        ] {
            assert!(matches(text), "{text}");
        }
        for text in [
            "7381 ms",
            "7380.5 ms",
            "7400 ms",
            "7380 s",
            "7.39 s",
            "7380 %",
            "-7380 ms",
        ] {
            assert!(!matches(text), "{text}");
        }
        let fall = Number::exact(-30.0, None);
        assert!(in_text("fell by 30")[0].matches(&fall));
        assert!(!in_text("rose by +30")[0].matches(&fall));
        let size = Number::exact(536_870_912.0, Some(Unit::Bytes));
        assert!(in_text("512 MiB")[0].matches(&size) && in_text("537 MB")[0].matches(&size));
    }
}
