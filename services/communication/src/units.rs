//! Readings, times and durations in a reader's words. The unit of a reading is
//! the one that the metric's name ends with.

use time::OffsetDateTime;
use time::macros::format_description;

/// What a metric's name says: its words, and the unit of its readings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// `DB connections`, `P99 latency`, `Log rule pool_exhausted`: fit to begin
    /// a line.
    pub title: String,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Follows the number after a space.
    Word(&'static str),
    /// Follows the number at once.
    Percent,
    Bytes,
    None,
    /// The trigger is a log rule or a Kubernetes event: it has no reading.
    NoReading,
}

/// Endings of metric names, longest first where one ends another.
const ENDINGS: [(&str, Unit, bool); 13] = [
    ("_percent", Unit::Percent, true),
    ("_milliseconds", Unit::Word("ms"), true),
    ("_ms", Unit::Word("ms"), true),
    ("_seconds", Unit::Word("s"), true),
    ("_bytes", Unit::Bytes, true),
    ("_bytes_per_second", Unit::Word("B/s"), true),
    ("_per_second", Unit::Word("/s"), true),
    ("_celsius", Unit::Word("°C"), true),
    ("_watts", Unit::Word("W"), true),
    ("request_rate", Unit::Word("req/s"), false),
    ("_connections", Unit::Word("connections"), false),
    ("_processes", Unit::Word("processes"), false),
    ("_lag", Unit::Word("records"), false),
];

impl Metric {
    /// Reads a metric's name, or an anomaly's trigger such as `log:<rule>`.
    #[must_use]
    pub fn named(name: &str) -> Metric {
        for (prefix, words) in [("log:", "Log rule"), ("kubernetes:", "Kubernetes event")] {
            if let Some(rule) = name.strip_prefix(prefix) {
                return Metric {
                    title: format!("{words} {rule}"),
                    unit: Unit::NoReading,
                };
            }
        }
        let found = ENDINGS.iter().find(|(end, _, _)| name.ends_with(end));
        let (stem, unit) = match found {
            Some((end, unit, true)) => (name.strip_suffix(end).unwrap_or(name), *unit),
            Some((_, unit, false)) => (name, *unit),
            None => (name, Unit::None),
        };
        let stem = stem.strip_prefix("service_").unwrap_or(stem);
        let title = match stem {
            "latency_p99" => "P99 latency".to_owned(),
            "cpu" => "CPU".to_owned(),
            "db_connections" => "DB connections".to_owned(),
            "kafka_consumer_lag" => "Kafka consumer lag".to_owned(),
            other => capitalised(&other.replace('_', " ")),
        };
        Metric { title, unit }
    }

    /// Whether the metric has readings; log rules and Kubernetes events have
    /// none.
    #[must_use]
    pub fn has_readings(&self) -> bool {
        self.unit != Unit::NoReading
    }

    /// `7380 ms`, `45 %`, `100 connections`.
    #[must_use]
    pub fn reading(&self, value: f64) -> String {
        match self.unit {
            Unit::Word(unit) => format!("{} {unit}", number(value)),
            Unit::Percent => format!("{} %", number(value)),
            Unit::Bytes => bytes(value),
            Unit::None | Unit::NoReading => number(value),
        }
    }
}

/// The text with its first letter in upper case.
#[must_use]
pub fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// A number with as many decimals as its size deserves: none from 100 on, one
/// from 10 on, else two; without trailing zeros.
#[must_use]
pub fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

fn bytes(value: f64) -> String {
    let mut value = value;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value.abs() < 1024.0 {
            return format!("{} {unit}", number(value));
        }
        value /= 1024.0;
    }
    format!("{} TiB", number(value))
}

/// `18 min`, `3.3 min`, `45 s`, `2 h 5 min` for milliseconds.
#[must_use]
pub fn duration(ms: i64) -> String {
    let ms = ms.max(0);
    let seconds = (ms + 500) / 1000;
    if seconds < 60 {
        format!("{seconds} s")
    } else if seconds < 600 {
        #[expect(clippy::cast_precision_loss, reason = "below ten minutes")]
        let minutes = ms as f64 / 60_000.0;
        let text = format!("{minutes:.1}");
        format!("{} min", text.strip_suffix(".0").unwrap_or(&text))
    } else {
        let minutes = (seconds + 30) / 60;
        match (minutes / 60, minutes % 60) {
            (0, minutes) => format!("{minutes} min"),
            (hours, 0) => format!("{hours} h"),
            (hours, minutes) => format!("{hours} h {minutes} min"),
        }
    }
}

/// A duration by both clocks where they differ by more than 5 %:
/// `6 min simulated, 1 min wall`.
#[must_use]
pub fn both_durations(event_ms: i64, wall_ms: i64) -> String {
    if clocks_differ(event_ms, wall_ms) {
        format!(
            "{} simulated, {} wall",
            duration(event_ms),
            duration(wall_ms)
        )
    } else {
        duration(event_ms)
    }
}

/// Whether two measurements of one span differ by more than 5 %.
#[must_use]
pub fn clocks_differ(event_ms: i64, wall_ms: i64) -> bool {
    let (event_ms, wall_ms) = (event_ms.max(0), wall_ms.max(0));
    // A second is what polling and delivery blur even on one clock.
    let difference = (event_ms - wall_ms).abs();
    difference > 1000 && difference * 20 > event_ms.max(wall_ms)
}

/// `22 Nov 2026, 14:03:20 UTC` for epoch milliseconds.
#[must_use]
pub fn moment(epoch_ms: i64) -> String {
    let form = format_description!(
        "[day padding:none] [month repr:short] [year], [hour]:[minute]:[second] UTC"
    );
    written(epoch_ms, form)
}

/// `14:03:20` for epoch milliseconds.
#[must_use]
pub fn time_of_day(epoch_ms: i64) -> String {
    written(epoch_ms, format_description!("[hour]:[minute]:[second]"))
}

fn written(epoch_ms: i64, form: &[time::format_description::BorrowedFormatItem<'_>]) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(epoch_ms) * 1_000_000)
        .ok()
        .and_then(|at| at.format(form).ok())
        .unwrap_or_else(|| format!("{epoch_ms} ms"))
}

/// What two log lines of one kind share: every word with a digit in it (ids,
/// counts, times) becomes `#`.
#[must_use]
pub fn kind_of_line(text: &str) -> String {
    let mut kind = String::with_capacity(text.len());
    for word in text.split_inclusive(|character: char| !character.is_alphanumeric()) {
        if word.contains(|character: char| character.is_ascii_digit()) {
            kind.push('#');
        } else {
            kind.push_str(word);
        }
    }
    kind
}

/// One line of at most `limit` characters: control characters, which could
/// forge lines in a plain-text mail or headers, become spaces.
#[must_use]
pub fn line(text: &str, limit: usize) -> String {
    let mut line = String::with_capacity(text.len().min(limit * 4));
    for (written, character) in text.trim().chars().enumerate() {
        if written == limit {
            line.push('…');
            break;
        }
        // Also the separators and direction marks that reorder shown text.
        let hidden = character.is_control()
            || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        line.push(if hidden { ' ' } else { character });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_carry_the_unit_of_the_metrics_name() {
        let table = [
            ("service_latency_p99_ms", 7380.0, "P99 latency", "7380 ms"),
            ("service_error_rate_percent", 45.25, "Error rate", "45.2 %"),
            ("service_error_rate_percent", 0.5, "Error rate", "0.5 %"),
            ("service_cpu_percent", 97.0, "CPU", "97 %"),
            (
                "service_db_connections",
                100.0,
                "DB connections",
                "100 connections",
            ),
            (
                "kafka_consumer_lag",
                50_000.0,
                "Kafka consumer lag",
                "50000 records",
            ),
            ("service_request_rate", 80.0, "Request rate", "80 req/s"),
            (
                "host_memory_used_bytes",
                1_572_864.0,
                "Host memory used",
                "1.5 MiB",
            ),
            ("host_load", 3.123, "Host load", "3.12"),
        ];
        for (name, value, title, reading) in table {
            let metric = Metric::named(name);
            assert_eq!(
                (metric.title.as_str(), metric.reading(value).as_str()),
                (title, reading)
            );
        }
        assert!(!Metric::named("log:pool_exhausted").has_readings());
    }

    #[test]
    fn durations_read_like_speech() {
        let table = [
            (400, "0 s"),
            (45_000, "45 s"),
            (90_000, "1.5 min"),
            (180_000, "3 min"),
            (1_080_000, "18 min"),
            (7_500_000, "2 h 5 min"),
        ];
        for (ms, words) in table {
            assert_eq!(duration(ms), words);
        }
    }

    #[test]
    fn both_clocks_show_only_where_they_differ() {
        assert_eq!(
            both_durations(360_000, 60_000),
            "6 min simulated, 1 min wall"
        );
        assert_eq!(both_durations(360_000, 350_000), "6 min");
    }

    #[test]
    fn lines_that_differ_in_ids_are_of_one_kind() {
        let kind = kind_of_line("GET /v1 failed request_id=req-0fbaf424 after 30ms");
        assert_eq!(
            kind,
            kind_of_line("GET /v1 failed request_id=req-b0eab634 after 7ms")
        );
        assert_ne!(
            kind,
            kind_of_line("PUT /v1 failed request_id=req-0fbaf424 after 30ms")
        );
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(line("a\r\nBcc: b\u{202e}c", 40), "a  Bcc: b c");
        assert_eq!(line("abcdef", 3), "abc…");
    }
}
