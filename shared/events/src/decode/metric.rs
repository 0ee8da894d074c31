//! The short way for plain metrics.
//!
//! Nearly all messages are metrics as collectors write them: JSON without
//! escapes. Those are read in one go, without a tree of values in
//! between and without a copy of anything: names and labels stay in the
//! message. A parser for any JSON looks at each byte of a name by itself, which
//! took longer than everything else that detection does with a sample; without
//! escapes a name simply ends at the next quotation mark. Whatever is not plain
//! (unknown or repeated fields, other types, escapes, many labels) is not
//! judged here: the general way reads it and says what is wrong.

use super::{
    Coordinates, EARLIEST_MS, Envelope, Event, LATEST_MS, Meta, NAME_MAX_BYTES, SCHEMA_VERSION,
    outside_id,
};
use crate::raw::{DEFAULT_ENVIRONMENT, RawMetric};
use crate::topics::Topic;
use serde::Deserialize;
use uuid::Uuid;

/// Labels of a plain metric at most.
const LABELS: usize = 16;

/// The labels of a plain metric, in the order in which they were written.
#[derive(Clone, Copy, Debug, Default)]
struct FewLabels<'a> {
    pairs: [(&'a str, &'a str); LABELS],
    count: usize,
}

impl<'a> FewLabels<'a> {
    fn known(&self) -> &[(&'a str, &'a str)] {
        &self.pairs[..self.count]
    }
}

/// What the general way would make of these fields is what is made of them
/// here, so nothing may be tolerated that it looks at more closely.
#[derive(Default)]
struct Plain<'a> {
    event_id: Option<&'a str>,
    schema_version: Option<u64>,
    event_time_ms: Option<i64>,
    producer: Option<&'a str>,
    timestamp_ms: Option<i64>,
    service: Option<&'a str>,
    environment: Option<&'a str>,
    metric_name: Option<&'a str>,
    metric_value: Option<f64>,
    labels: Option<FewLabels<'a>>,
}

/// What JSON allows between its parts.
const BLANK: [char; 4] = [' ', '\n', '\r', '\t'];

/// JSON without escapes, from left to right.
struct Scanner<'a> {
    rest: &'a str,
    /// Whether there are line breaks or tabs, which must not be in a string.
    broken: bool,
}

impl<'a> Scanner<'a> {
    fn next_is(&mut self, byte: u8) -> bool {
        while let Some(rest) = self.rest.strip_prefix(BLANK) {
            self.rest = rest;
        }
        let next = self.rest.as_bytes().first() == Some(&byte);
        if next {
            self.rest = &self.rest[1..];
        }
        next
    }

    fn string(&mut self) -> Option<&'a str> {
        if !self.next_is(b'"') {
            return None;
        }
        let (text, rest) = self.rest.split_once('"')?;
        self.rest = rest;
        (!self.broken || !text.contains(|c: char| c.is_ascii_control())).then_some(text)
    }

    /// A number as any other reader of ours takes it, to the last bit.
    fn number<T: Deserialize<'a>>(&mut self) -> Option<T> {
        self.rest = self.rest.trim_start_matches(BLANK);
        let bytes = self.rest.as_bytes();
        let end = bytes
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t'))?;
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        serde_json::from_str(number).ok()
    }

    /// Calls `field` for each name of an object, to read the value behind it.
    fn object(&mut self, mut field: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        if !self.next_is(b'{') {
            return None;
        }
        if self.next_is(b'}') {
            return Some(());
        }
        loop {
            let name = self.string()?;
            if !self.next_is(b':') {
                return None;
            }
            field(self, name)?;
            if self.next_is(b'}') {
                return Some(());
            }
            if !self.next_is(b',') {
                return None;
            }
        }
    }

    fn labels(&mut self) -> Option<FewLabels<'a>> {
        let mut labels = FewLabels::default();
        self.object(|scanner, name| {
            let repeated = labels.known().iter().any(|(other, _)| *other == name);
            if repeated || labels.count == LABELS {
                return None;
            }
            labels.pairs[labels.count] = (name, scanner.string()?);
            labels.count += 1;
            Some(())
        })?;
        Some(labels)
    }
}

/// Fills a field; none where it is there already.
fn fill<T>(field: &mut Option<T>, value: Option<T>) -> Option<()> {
    match field.replace(value?) {
        None => Some(()),
        Some(_) => None,
    }
}

fn parse(payload: &[u8]) -> Option<Plain<'_>> {
    if payload.contains(&b'\\') {
        return None;
    }
    let mut scanner = Scanner {
        rest: std::str::from_utf8(payload).ok()?,
        broken: payload.iter().any(u8::is_ascii_control),
    };
    let mut plain = Plain::default();
    scanner.object(|scanner, name| match name {
        "event_id" => fill(&mut plain.event_id, scanner.string()),
        "schema_version" => fill(&mut plain.schema_version, scanner.number()),
        "event_time_ms" => fill(&mut plain.event_time_ms, scanner.number()),
        "producer" => fill(&mut plain.producer, scanner.string()),
        "timestamp_ms" => fill(&mut plain.timestamp_ms, scanner.number()),
        "service" => fill(&mut plain.service, scanner.string()),
        "environment" => fill(&mut plain.environment, scanner.string()),
        "metric_name" => fill(&mut plain.metric_name, scanner.string()),
        "metric_value" => fill(&mut plain.metric_value, scanner.number()),
        "labels" => fill(&mut plain.labels, scanner.labels()),
        _ => None,
    })?;
    let version = plain.schema_version.unwrap_or(u64::from(SCHEMA_VERSION));
    let whole = scanner.rest.trim_start_matches(BLANK).is_empty();
    (version <= u64::from(SCHEMA_VERSION) && whole).then_some(plain)
}

/// A metric whose names lie in its message. What was left out is filled in, and
/// what must hold of a metric holds.
#[derive(Clone, Copy, Debug)]
pub struct PlainMetric<'a> {
    pub event_id: Uuid,
    /// Epoch milliseconds.
    pub timestamp_ms: i64,
    pub service: &'a str,
    pub environment: &'a str,
    pub metric_name: &'a str,
    pub metric_value: f64,
    labels: FewLabels<'a>,
}

impl<'a> PlainMetric<'a> {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&'a str> {
        let mut known = self.labels.known().iter();
        known
            .find(|(other, _)| *other == name)
            .map(|(_, value)| *value)
    }
}

/// Reads a metric without copying or allocating anything; `None` where it is
/// not plain or not right, about which [`super::decode`] knows more.
#[must_use]
pub fn plain_metric<'a>(payload: &'a [u8], coordinates: &Coordinates) -> Option<PlainMetric<'a>> {
    if payload.len() > Topic::RawMetrics.spec().max_bytes as usize {
        return None;
    }
    let plain = parse(payload)?;
    let timestamp_ms = match plain.timestamp_ms.unwrap_or(0) {
        0 => coordinates.record_ms,
        given => given,
    };
    let service = plain.service?;
    let metric_name = plain.metric_name?;
    let environment = plain.environment.unwrap_or(DEFAULT_ENVIRONMENT);
    let names = [service, metric_name];
    let named = names.iter().all(|name| !name.trim().is_empty())
        && [environment, service, metric_name]
            .iter()
            .all(|name| name.len() <= NAME_MAX_BYTES);
    if !named || !(EARLIEST_MS..LATEST_MS).contains(&timestamp_ms) {
        return None;
    }
    Some(PlainMetric {
        event_id: outside_id(plain.event_id, coordinates),
        timestamp_ms,
        service,
        environment,
        metric_name,
        metric_value: plain.metric_value?,
        labels: plain.labels.unwrap_or_default(),
    })
}

/// Reads a plain metric; `None` where it is not plain.
pub(super) fn read(payload: &[u8], coordinates: &Coordinates) -> Option<Envelope> {
    let plain = parse(payload)?;
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let labels = plain.labels.unwrap_or_default();
    Some(Envelope {
        meta: Meta {
            event_id: outside_id(plain.event_id, coordinates),
            cause_id: None,
            schema_version: SCHEMA_VERSION,
            event_time_ms: plain.event_time_ms.unwrap_or(0),
            producer: plain.producer.unwrap_or("outside").to_owned(),
        },
        event: Event::Metric(RawMetric {
            timestamp_ms: plain.timestamp_ms.unwrap_or(0),
            service: plain.service?.to_owned(),
            environment: plain.environment.unwrap_or(DEFAULT_ENVIRONMENT).to_owned(),
            metric_name: plain.metric_name?.to_owned(),
            metric_value: plain.metric_value?,
            labels: labels.known().iter().map(owned).collect(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{complete, decode_generally};
    use super::*;
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
        "\"a\nb\"",
        "\"ä\u{7f}\"",
        "\n7\t",
        "01",
        "+1",
        "1.",
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
        check_borrowed(payload);
        let short = read(payload, &place());
        if let Some(envelope) = &short {
            let general = decode_generally(Topic::RawMetrics, payload, &place());
            let text = String::from_utf8_lossy(payload);
            assert_eq!(general.as_ref(), Ok(envelope), "{text}");
        }
        short.is_some()
    }

    /// What is read without copies is what the general way makes of it, all
    /// checks included.
    fn check_borrowed(payload: &[u8]) {
        let Some(plain) = plain_metric(payload, &place()) else {
            return;
        };
        let text = String::from_utf8_lossy(payload);
        let mut general = decode_generally(Topic::RawMetrics, payload, &place()).expect(&text);
        complete(&mut general, &place()).expect(&text);
        let Event::Metric(metric) = general.event else {
            panic!("not a metric: {text}");
        };
        assert_eq!(plain.event_id, general.meta.event_id, "{text}");
        let names = (plain.service, plain.environment, plain.metric_name);
        let expected = (&*metric.service, &*metric.environment, &*metric.metric_name);
        assert_eq!(names, expected, "{text}");
        assert_eq!(plain.timestamp_ms, metric.timestamp_ms, "{text}");
        let bits = metric.metric_value.to_bits();
        assert_eq!(plain.metric_value.to_bits(), bits, "{text}");
        for (name, value) in &metric.labels {
            assert_eq!(plain.label(name), Some(value.as_str()), "{text}");
        }
        assert_eq!(plain.labels.count, metric.labels.len(), "{text}");
    }

    #[test]
    fn what_is_refused_is_not_plain() {
        let long = "x".repeat(NAME_MAX_BYTES + 1);
        for odd in [
            r#"{"service":" ","metric_name":"m","metric_value":1}"#.to_owned(),
            format!(r#"{{"service":"{long}","metric_name":"m","metric_value":1}}"#),
            r#"{"service":"a","metric_name":"m","metric_value":1,"timestamp_ms":1767225600}"#
                .to_owned(),
        ] {
            assert!(read(odd.as_bytes(), &place()).is_some(), "{odd}");
            assert!(plain_metric(odd.as_bytes(), &place()).is_none(), "{odd}");
        }
        let usual = br#"{"service":"a","metric_name":"m","metric_value":1}"#;
        assert!(plain_metric(usual, &place()).is_some());
    }

    proptest! {
        #[test]
        fn what_is_read_the_short_way_reads_the_same_the_general_way(
            usual in 0usize..=USUAL.len(),
            odd in proptest::collection::vec((0usize..NAMES.len(), 0usize..VALUES.len()), 0..4),
            shift in 0usize..8,
            around in prop::sample::select(vec!["{}", " {}\n", "[]", "{},", "\u{c}{}", "{}\u{c}"]),
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
