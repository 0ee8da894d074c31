//! The wire format, held still: each golden file is written by hand, decodes,
//! and encodes to the same JSON again.

use midwatch_events::topics::TOPICS;
use midwatch_events::{Coordinates, Event, Topic, decode, ids};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::PathBuf;

fn golden(topic: Topic) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(format!("{}.v1.json", topic.name()));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{} is missing: {error}", path.display()));
    serde_json::from_str(&text).expect("a golden file is JSON")
}

fn place(topic: Topic) -> Coordinates {
    Coordinates {
        epoch: "epoch".to_owned(),
        topic: topic.name().to_owned(),
        partition: 2,
        offset: 41,
        record_ms: 1_767_225_600_500,
    }
}

fn read(topic: Topic, value: &Value) -> Result<midwatch_events::Envelope, String> {
    let bytes = serde_json::to_vec(value).expect("JSON");
    decode(topic, &bytes, &place(topic)).map_err(|error| error.to_string())
}

#[test]
fn every_payload_decodes_and_encodes_to_its_golden_file() {
    for spec in TOPICS {
        let golden = golden(spec.topic);
        let envelope = read(spec.topic, &golden).expect(spec.name);
        assert_eq!(envelope.event.topic(), spec.topic);
        let again: Value = serde_json::from_slice(&envelope.encode()).expect("JSON");
        assert_eq!(again, golden, "{}", spec.name);
    }
}

#[test]
fn unknown_fields_do_no_harm() {
    for spec in TOPICS {
        let mut value = golden(spec.topic);
        value["somebody_elses_field"] = json!({"deep": [1, 2, 3]});
        let plain = read(spec.topic, &golden(spec.topic)).expect(spec.name);
        assert_eq!(read(spec.topic, &value).expect(spec.name), plain);
    }
}

#[test]
fn the_bare_minimum_of_an_outside_producer_is_enough() {
    let least = json!({"service": "checkout", "metric_name": "cpu", "metric_value": 3});
    let envelope = read(Topic::RawMetrics, &least).expect("the minimum");
    let Event::Metric(metric) = &envelope.event else {
        panic!("a metric")
    };
    assert_eq!(metric.timestamp_ms, 1_767_225_600_500, "the record's time");
    assert_eq!(metric.environment, "default");
    assert_eq!(
        envelope.meta.event_id,
        ids::outside_record("epoch", "raw.metrics", 2, 41)
    );
    assert_eq!(envelope.meta.producer, "outside");
}

#[test]
fn an_event_id_of_another_kind_is_hashed_into_one() {
    let mut least = json!({"service": "a", "metric_name": "m", "metric_value": 3});
    least["event_id"] = json!("order-17");
    let one = read(Topic::RawMetrics, &least).expect("read").meta.event_id;
    assert_eq!(
        read(Topic::RawMetrics, &least).expect("read").meta.event_id,
        one
    );
    least["event_id"] = json!("order-18");
    assert_ne!(
        read(Topic::RawMetrics, &least).expect("read").meta.event_id,
        one
    );
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        (json!({"metric_name": "m", "metric_value": 1}), "service"),
        (json!({"service": "a", "metric_value": 1}), "metric_name"),
        (json!({"service": "a", "metric_name": "m"}), "metric_value"),
        (
            json!({"service": "a", "metric_name": "m", "metric_value": "x"}),
            "metric_value",
        ),
        (
            json!({"service": "a", "metric_name": "m", "metric_value": null}),
            "metric_value",
        ),
        (
            json!({"service": " ", "metric_name": "m", "metric_value": 1}),
            "service",
        ),
        (
            json!({"service": "a", "metric_name": "m", "metric_value": 1, "timestamp_ms": 1_767_225_600}),
            "not a time in epoch milliseconds",
        ),
        (
            json!({"service": "a", "metric_name": "m", "metric_value": 1, "schema_version": 9}),
            "version 9",
        ),
        (
            json!({"service": "a", "metric_name": "m", "metric_value": 1, "labels": [1]}),
            "labels",
        ),
        (json!([]), "an array"),
        (json!("text"), "a string"),
    ];
    for (value, words) in cases {
        let error = read(Topic::RawMetrics, &value).expect_err("must be refused");
        assert!(error.contains(words), "{value}: {error}");
    }
}

#[test]
fn a_payload_above_the_topics_limit_is_refused() {
    let big = vec![b' '; Topic::RcaCompleted.spec().max_bytes as usize + 1];
    let error =
        decode(Topic::RcaCompleted, &big, &place(Topic::RcaCompleted)).expect_err("too big");
    assert_eq!(error.kind(), "too_large");
}

#[test]
fn a_nul_character_is_replaced_and_a_name_that_is_a_text_is_refused() {
    let line = json!({"service": "a", "message": "bad \u{0} byte", "labels": {"k\u{0}": "v"}});
    let envelope = read(Topic::RawLogs, &line).expect("read");
    let Event::Log(log) = &envelope.event else {
        panic!("a log line")
    };
    assert_eq!(log.message, "bad \u{fffd} byte");
    assert_eq!(log.labels["k\u{fffd}"], "v");
    let long = json!({"service": "s".repeat(257), "message": "m"});
    let error = read(Topic::RawLogs, &long).expect_err("too long");
    assert!(
        error.contains("service") && error.contains("257"),
        "{error}"
    );
}

/// The part of DESIGN.md that is written from the code. After a change of the
/// topics or payloads: `make reference`.
#[test]
fn the_reference_in_the_design_is_the_codes() {
    let goldens: Vec<(Topic, Value)> = TOPICS
        .iter()
        .map(|spec| (spec.topic, golden(spec.topic)))
        .collect();
    let wanted = midwatch_events::reference::markdown(&goldens);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../DESIGN.md");
    let design = std::fs::read_to_string(&path).expect("DESIGN.md is there");
    let (begin, end) = ("<!-- reference: begin -->\n", "<!-- reference: end -->");
    let start = design.find(begin).expect("the begin mark") + begin.len();
    let stop = design.find(end).expect("the end mark");
    let write = std::env::vars().any(|(name, _)| name == "WRITE_REFERENCE");
    if write {
        let text = format!("{}{wanted}{}", &design[..start], &design[stop..]);
        std::fs::write(&path, text).expect("DESIGN.md can be written");
        return;
    }
    assert_eq!(&design[start..stop], wanted, "run `make reference`");
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), topic in 0usize..15) {
        let topic = TOPICS[topic].topic;
        // Whatever comes out, it came out.
        let outcome = decode(topic, &bytes, &place(topic));
        prop_assert!(outcome.is_ok() || outcome.is_err());
    }

    #[test]
    fn a_field_of_a_wrong_type_is_refused_or_harmless(topic in 0usize..15, field in 0usize..30) {
        let topic = TOPICS[topic].topic;
        let mut value = golden(topic);
        let object = value.as_object_mut().expect("an object");
        let name = object.keys().nth(field % object.len()).expect("a field").clone();
        object.insert(name, json!({"not": ["what", "was", "meant"]}));
        let outcome = read(topic, &value);
        if let Ok(envelope) = outcome {
            // `labels`, `metadata` and ids of outside take objects or ignore them.
            prop_assert_eq!(envelope.event.topic(), topic);
        }
    }
}
