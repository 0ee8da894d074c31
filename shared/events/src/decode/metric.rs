//! The short way for plain metrics.
//!
//! Nearly all messages are metrics as collectors write them. Those are read in
//! one go, without a tree of values in between, in a quarter of the time.
//! Whatever is not plain (unknown or repeated fields, other types, escapes in
//! an id) is not judged here: the general way reads it and says what is wrong.

use super::{Coordinates, Envelope, Event, Meta, SCHEMA_VERSION, outside_id};
use crate::raw::{DEFAULT_ENVIRONMENT, Labels, RawMetric};
use serde::Deserialize;

fn default_environment() -> String {
    DEFAULT_ENVIRONMENT.to_owned()
}

/// What the general way would make of these fields is what is made of them
/// here, so nothing may be tolerated that it looks at more closely.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain<'a> {
    #[serde(default)]
    event_id: Option<&'a str>,
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default)]
    event_time_ms: Option<i64>,
    #[serde(default)]
    producer: Option<&'a str>,
    #[serde(default)]
    timestamp_ms: i64,
    service: String,
    #[serde(default = "default_environment")]
    environment: String,
    metric_name: String,
    metric_value: f64,
    #[serde(default)]
    labels: Labels,
}

/// Reads a plain metric; `None` where it is not plain. The payload must not
/// hold an escaped U+0000.
pub(super) fn read(payload: &[u8], coordinates: &Coordinates) -> Option<Envelope> {
    // An array would be taken for the fields in order.
    let first = payload.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'{') {
        return None;
    }
    let plain: Plain<'_> = serde_json::from_slice(payload).ok()?;
    let version = plain.schema_version.unwrap_or(u64::from(SCHEMA_VERSION));
    if version > u64::from(SCHEMA_VERSION) {
        return None;
    }
    Some(Envelope {
        meta: Meta {
            event_id: outside_id(plain.event_id, coordinates),
            cause_id: None,
            schema_version: SCHEMA_VERSION,
            event_time_ms: plain.event_time_ms.unwrap_or(0),
            producer: plain.producer.unwrap_or("outside").to_owned(),
        },
        event: Event::Metric(RawMetric {
            timestamp_ms: plain.timestamp_ms,
            service: plain.service,
            environment: plain.environment,
            metric_name: plain.metric_name,
            metric_value: plain.metric_value,
            labels: plain.labels,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{decode_generally, has_nul};
    use super::*;
    use crate::topics::Topic;
    use proptest::prelude::*;

    /// Values that some field takes, and some that none does.
    const VALUES: &[&str] = &[
        "1",
        "0",
        "-0",
        "2",
        "1.5",
        "1e3",
        "1e999",
        "-12",
        "18446744073709551616",
        "1767225600000",
        "null",
        "true",
        "\"\"",
        "\"a\"",
        "\"\\u0061\\n\"",
        "\"\\ud800\"",
        "\"00000000-0000-4000-8000-000000000001\"",
        "{}",
        "{\"x\":\"y\"}",
        "{\"x\":\"y\",\"x\":\"z\"}",
        "{\"x\":1}",
        "[]",
        "[1,\"a\"]",
    ];
    const NAMES: &[&str] = &[
        "event_id",
        "cause_id",
        "schema_version",
        "event_time_ms",
        "producer",
        "timestamp_ms",
        "service",
        "serv\\u0069ce",
        "environment",
        "metric_name",
        "metric_value",
        "labels",
        "unknown",
    ];
    /// A payload without oddities, field by field.
    const USUAL: &[(&str, &str)] = &[
        ("service", "\"payment-service\""),
        ("metric_name", "\"service_cpu_percent\""),
        ("metric_value", "21.5"),
        ("timestamp_ms", "1767225600000"),
    ];

    fn place() -> Coordinates {
        Coordinates {
            epoch: "epoch".to_owned(),
            topic: "raw.metrics".to_owned(),
            partition: 1,
            offset: 7,
            record_ms: 1_767_225_600_500,
        }
    }

    fn check(payload: &[u8]) -> bool {
        if has_nul(payload) {
            return false;
        }
        let short = read(payload, &place());
        if let Some(envelope) = &short {
            let general = decode_generally(Topic::RawMetrics, payload, &place());
            let text = String::from_utf8_lossy(payload);
            assert_eq!(general.as_ref(), Ok(envelope), "{text}");
        }
        short.is_some()
    }

    proptest! {
        #[test]
        fn what_is_read_the_short_way_reads_the_same_the_general_way(
            usual in 0usize..=USUAL.len(),
            odd in proptest::collection::vec((0usize..NAMES.len(), 0usize..VALUES.len()), 0..4),
            shift in 0usize..8,
            around in prop::sample::select(vec!["{}", " {}\n", "[]", "{},", "\u{c}{}"]),
        ) {
            let mut fields: Vec<String> = USUAL[..usual]
                .iter()
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .chain(odd.iter().map(|&(name, value)| format!("\"{}\": {}", NAMES[name], VALUES[value])))
                .collect();
            let middle = shift.min(fields.len());
            fields.rotate_left(middle);
            let (open, close) = around.split_at(around.find(['}', ']']).expect("both brackets"));
            check(format!("{open}{}{close}", fields.join(",")).as_bytes());
        }
    }

    #[test]
    fn golden_and_collected_metrics_take_the_short_way() {
        assert!(check(include_bytes!("../../golden/raw.metrics.v1.json")));
        assert!(check(
            br#"{"service":"a","metric_name":"m","metric_value":1}"#
        ));
        for odd in [
            &br#"["e",1,1,"p",1,"a","e","m",1.0,{}]"#[..],
            br#"{"service":"a","metric_name":"m","metric_value":1,"more":"\ud800"}"#,
            br#"{"service":"a","metric_name":"m","metric_value":1,"schema_version":2}"#,
            br#"{"service":"a","service":"b","metric_name":"m","metric_value":1}"#,
            b"not json",
            b"",
        ] {
            assert!(!check(odd), "{}", String::from_utf8_lossy(odd));
        }
    }
}
