//! Numbers, times and words as people read them. Template filters.

use minijinja::Environment;
use time::OffsetDateTime;

/// Makes the functions of this module available to templates.
pub fn register(environment: &mut Environment<'static>) {
    environment.add_filter("number", number);
    environment.add_filter("percent", |share: f64| format!("{:.0} %", share * 100.0));
    environment.add_filter("score", |score: f64| format!("{score:.2}"));
    environment.add_filter("measure", |value: f64, metric: &str| measure(value, metric));
    environment.add_filter("signed", |value: f64| format!("{value:+.1}"));
    environment.add_filter("clock", clock);
    environment.add_filter("stamp", stamp);
    environment.add_filter("iso", midwatch_runtime::clock::rfc3339);
    environment.add_filter("span", span);
    environment.add_filter("words", words);
    environment.add_filter("money", money);
    environment.add_filter("segment", |text: &str| crate::params::percent(text));
    environment.add_filter("slug", |text: &str| text.to_lowercase().replace('_', "-"));
}

/// `7,380`, `45.2`, `0.53`: three figures are enough for a reading.
#[must_use]
pub fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "unknown".to_owned();
    }
    if size >= 1_000.0 {
        return grouped(value);
    }
    let decimals = if size >= 100.0 {
        0
    } else if size >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if value < 0.0 { format!("-{out}") } else { out }
}

/// The unit that a metric's name ends with.
#[must_use]
pub fn unit(metric: &str) -> &'static str {
    let units = [
        ("_percent", " %"),
        ("_ms", " ms"),
        ("_seconds", " s"),
        ("_celsius", " °C"),
        ("request_rate", " req/s"),
        ("_bytes_per_second", " B/s"),
        ("_bytes", " B"),
        ("_lag", " messages"),
        ("_connections", " connections"),
    ];
    units
        .iter()
        .find(|(suffix, _)| metric.ends_with(suffix))
        .map_or("", |(_, unit)| unit)
}

/// A reading with its unit: `7,380 ms`.
#[must_use]
pub fn measure(value: f64, metric: &str) -> String {
    if metric.ends_with("_bytes") || metric.ends_with("_bytes_per_second") {
        let (mut size, mut index) = (value, 0);
        let names = ["B", "kB", "MB", "GB", "TB"];
        while size.abs() >= 1_000.0 && index + 1 < names.len() {
            size /= 1_000.0;
            index += 1;
        }
        let rate = if metric.ends_with("_second") {
            "/s"
        } else {
            ""
        };
        return format!("{} {}{rate}", number(size), names[index]);
    }
    format!("{}{}", number(value), unit(metric))
}

/// A metric's name without what its value says anyway:
/// `service_latency_p99_ms` as `latency p99`, `host_disk_percent{mount=/data}`
/// as `disk /data`. Our own consumer groups are one per service and need not
/// be named, but their two lags told apart.
#[must_use]
pub fn metric_label(metric: &str) -> String {
    if let Some((name, labels)) = metric.split_once('{') {
        let instance = match labels.trim_end_matches('}').split_once('=') {
            Some(("group", _)) if name.ends_with("_seconds") => "age",
            Some(("group", _)) => "",
            Some((_, value)) => value,
            None => labels,
        };
        return format!("{} {instance}", metric_label(name))
            .trim_end()
            .to_owned();
    }
    let mut rest = metric;
    for prefix in ["service_", "host_"] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    for suffix in [
        "_percent",
        "_ms",
        "_seconds",
        "_celsius",
        "_bytes_per_second",
        "_bytes",
    ] {
        rest = rest.strip_suffix(suffix).unwrap_or(rest);
    }
    if rest.is_empty() {
        metric.to_owned()
    } else {
        rest.replace('_', " ")
    }
}

fn at(epoch_ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(epoch_ms) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// `14:03:10`, UTC.
#[must_use]
pub fn clock(epoch_ms: i64) -> String {
    let at = at(epoch_ms);
    format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second())
}

/// `22 Nov 2026, 14:03:10 UTC`.
#[must_use]
pub fn stamp(epoch_ms: i64) -> String {
    let at_time = at(epoch_ms);
    let month = at_time.month().to_string();
    format!(
        "{} {} {}, {} UTC",
        at_time.day(),
        &month[..3],
        at_time.year(),
        clock(epoch_ms)
    )
}

/// A duration: `45 s`, `6 min 20 s`, `2 h 5 min`, `3 d 4 h`.
#[must_use]
pub fn span(ms: i64) -> String {
    let seconds = (ms.max(0) + 500) / 1_000;
    let two = |large: i64, large_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{large} {large_unit}")
        } else {
            format!("{large} {large_unit} {small} {small_unit}")
        }
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// A duration on both clocks, where they differ by more than 5 %:
/// `6 min simulated, 1 min wall`.
#[must_use]
pub fn both(event_ms: i64, wall_ms: i64) -> String {
    if clocks_differ(event_ms, wall_ms) {
        format!("{} simulated, {} wall", span(event_ms), span(wall_ms))
    } else {
        span(event_ms)
    }
}

/// Whether two durations differ by more than 5 %. Below two seconds delays of
/// delivery would look like another clock.
#[must_use]
pub fn clocks_differ(event_ms: i64, wall_ms: i64) -> bool {
    let larger = event_ms.abs().max(wall_ms.abs());
    let difference = (event_ms - wall_ms).abs();
    difference > 2_000 && difference * 20 > larger
}

/// `RCA_COMPLETE` as `RCA complete`, `WITHIN_15MIN` as `Within 15 min`.
#[must_use]
pub fn words(text: &str) -> String {
    let known = ["RCA", "CPU", "DB", "GPU", "OOM", "HTTP"];
    let mut spoken = String::new();
    for (index, word) in text.split('_').enumerate() {
        if index > 0 {
            spoken.push(' ');
        }
        if known.contains(&word) {
            spoken.push_str(word);
            continue;
        }
        let mut before = ' ';
        for letter in word.chars() {
            if before.is_ascii_digit() && letter.is_alphabetic() {
                spoken.push(' ');
            }
            if spoken.is_empty() {
                spoken.extend(letter.to_uppercase());
            } else {
                spoken.extend(letter.to_lowercase());
            }
            before = letter;
        }
    }
    spoken
}

/// `$0.0042`: model calls cost fractions of a cent.
#[must_use]
pub fn money(dollars: f64) -> String {
    if dollars == 0.0 {
        "$0".to_owned()
    } else if dollars < 0.1 {
        format!("${dollars:.4}")
    } else {
        format!("${dollars:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_instances_are_short() {
        for (metric, label) in [
            ("service_latency_p99_ms", "latency p99"),
            ("host_disk_percent{mount=/data}", "disk /data"),
            (
                "kafka_consumer_lag{group=midwatch.api}",
                "kafka consumer lag",
            ),
            (
                "kafka_consumer_lag_seconds{group=midwatch.api}",
                "kafka consumer lag age",
            ),
            ("odd{", "odd"),
        ] {
            assert_eq!(metric_label(metric), label);
        }
    }

    #[test]
    fn readings_keep_three_figures_and_their_unit() {
        for (value, metric, text) in [
            (7_380.4, "service_latency_p99_ms", "7,380 ms"),
            (45.23, "service_error_rate_percent", "45.2 %"),
            (0.5, "service_error_rate_percent", "0.5 %"),
            (30.0, "service_db_connections", "30 connections"),
            (-1_234_567.0, "drift", "-1,234,567"),
            (1_536_000.0, "memory_used_bytes", "1.54 MB"),
            (100.0, "x", "100"),
            (f64::NAN, "x", "unknown"),
        ] {
            assert_eq!(measure(value, metric), text);
        }
    }

    #[test]
    fn a_metric_is_called_by_what_it_measures() {
        for (metric, label) in [
            ("service_latency_p99_ms", "latency p99"),
            ("host_disk_read_bytes_per_second", "disk read"),
            ("kafka_consumer_lag", "kafka consumer lag"),
            ("service_", "service_"),
        ] {
            assert_eq!(metric_label(metric), label);
        }
    }

    #[test]
    fn durations_and_times_read_as_spoken() {
        for (ms, text) in [
            (-5, "0 s"),
            (45_000, "45 s"),
            (380_000, "6 min 20 s"),
            (360_000, "6 min"),
            (7_500_000, "2 h 5 min"),
            (273_600_000, "3 d 4 h"),
        ] {
            assert_eq!(span(ms), text);
        }
        // 1 795 356 190 s is 22 November 2026 14:03:10 UTC (date -u -d @1795356190).
        assert_eq!(stamp(1_795_356_190_000), "22 Nov 2026, 14:03:10 UTC");
    }

    #[test]
    fn both_clocks_are_shown_only_where_they_differ() {
        assert_eq!(both(360_000, 60_000), "6 min simulated, 1 min wall");
        assert_eq!(both(360_000, 350_000), "6 min");
        assert_eq!(both(1_000, 2_900), "1 s");
        assert_eq!(words("RCA_COMPLETE"), "RCA complete");
        assert_eq!(
            words("DB_CONNECTION_EXHAUSTION"),
            "DB connection exhaustion"
        );
    }
}
