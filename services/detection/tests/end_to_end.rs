//! The real process against a real broker and a real Redis.

#[path = "end_to_end/checkpoints.rs"]
mod checkpoints;
mod fleet;
#[path = "end_to_end/restarts.rs"]
mod restarts;
mod stack;

use fleet::{Noise, START_MS, TICK_MS};
use midwatch_detection::config::Tuning;
use midwatch_detection::decide::state::PartitionState;
use midwatch_detection::decide::{At, Detector, Effect, Input};
use midwatch_detection::shell::store::{Saved, Store};
use midwatch_events::decode::decode;
use midwatch_events::{Anomaly, AnomalyType, Coordinates, Event, Topic, Transition};
use serde_json::{Value, json};
use stack::{Record, Stack};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const P99: &str = "service_latency_p99_ms";

fn metric(environment: &str, service: &str, at_ms: i64, value: f64) -> Value {
    json!({"timestamp_ms": at_ms, "service": service, "environment": environment,
           "metric_name": P99, "metric_value": value})
}

/// Readings of three services of which each is slow now and then.
fn stream(environment: &str, ticks: std::ops::Range<i64>) -> Vec<Value> {
    let mut records = Vec::new();
    for tick in ticks {
        for (number, service) in (0_i64..).zip(["a", "b", "c"]) {
            let mut noise = Noise((tick * 3 + number) as u64);
            noise.next();
            let slow = tick > 80 && (tick / 7) % 5 == number;
            let level = if slow { 2_000.0 } else { 380.0 };
            records.push(metric(
                environment,
                service,
                START_MS + tick * TICK_MS,
                noise.around(level, 0.08),
            ));
        }
    }
    records
}

fn anomalies(records: &[Record]) -> Vec<(Uuid, Anomaly)> {
    records
        .iter()
        .map(|record| match record.decode(Topic::AnomaliesDetected) {
            Event::Anomaly(anomaly) => (record.event_id(), anomaly),
            other => panic!("not an anomaly: {other:?}"),
        })
        .collect()
}

/// What an uninterrupted run of the core says about the records on the broker.
fn uninterrupted(stack: &Stack, records: &[Record]) -> BTreeMap<Uuid, Anomaly> {
    let coordinates = Coordinates {
        epoch: String::new(),
        topic: "anomalies.detected".to_owned(),
        partition: 0,
        offset: 0,
        record_ms: 0,
    };
    emissions(stack, records)
        .into_iter()
        .map(|(id, bytes)| {
            // Through the wire, as the published ones.
            let envelope = decode(Topic::AnomaliesDetected, &bytes, &coordinates);
            match envelope.expect("what we publish is readable").event {
                Event::Anomaly(anomaly) => (id, anomaly),
                other => panic!("not an anomaly: {other:?}"),
            }
        })
        .collect()
}

/// The same as bytes, by event id.
fn emissions(stack: &Stack, records: &[Record]) -> BTreeMap<Uuid, Vec<u8>> {
    let detector = Detector::new(Tuning::default(), &stack.epoch);
    let mut states: BTreeMap<i32, PartitionState> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for record in records {
        let coordinates = Coordinates {
            epoch: stack.epoch.clone(),
            topic: "raw.metrics".to_owned(),
            partition: record.partition,
            offset: record.offset,
            record_ms: record.record_ms,
        };
        let envelope = decode(Topic::RawMetrics, &record.payload, &coordinates).expect("ours");
        let at = At {
            event_id: envelope.meta.event_id,
            wall_ms: record.record_ms,
        };
        let input = Input::of(envelope.event).expect("a metric");
        let state = states.entry(record.partition).or_default();
        for effect in detector.decide(state, at, input) {
            if let Effect::Emit(emission) = effect {
                found.insert(emission.event_id, restarts::payload(&emission));
            }
        }
    }
    found
}

/// Waits until every expected transition is on the broker, then compares.
fn assert_same(stack: &Stack, expected: &BTreeMap<Uuid, Anomaly>) -> usize {
    assert!(
        expected.len() > 20,
        "the stream has faults: {}",
        expected.len()
    );
    let records = stack.read_until("anomalies.detected", |records| {
        let ids: BTreeSet<Uuid> = records.iter().map(Record::event_id).collect();
        expected.keys().all(|id| ids.contains(id))
    });
    let seen: BTreeMap<Uuid, Anomaly> = anomalies(&records).into_iter().collect();
    for (id, anomaly) in expected {
        assert_eq!(&seen[id], anomaly);
    }
    let surplus: Vec<&Anomaly> = seen
        .iter()
        .filter(|(id, _)| !expected.contains_key(id))
        .map(|(_, a)| a)
        .collect();
    assert_eq!(surplus, Vec::<&Anomaly>::new());
    records.len()
}

/// One anomaly of each kind of input, and spans.
fn produce_a_bad_day(stack: &Stack) {
    let mut records: Vec<Value> = (0..60)
        .map(|tick| {
            metric(
                &stack.environment,
                "payment",
                START_MS + tick * TICK_MS,
                380.0 + (tick % 7) as f64,
            )
        })
        .collect();
    records.push(metric(
        &stack.environment,
        "payment",
        START_MS + 60 * TICK_MS,
        7_380.0,
    ));
    for value in [381.0, 382.0, 383.0] {
        let at_ms = START_MS + (records.len() as i64) * TICK_MS;
        records.push(metric(&stack.environment, "payment", at_ms, value));
    }
    stack.produce("raw.metrics", "payment", &records);
    let line = json!({"timestamp_ms": START_MS, "service": "payment", "environment": stack.environment,
        "level": "ERROR", "message": "java.lang.OutOfMemoryError: heap"});
    stack.produce("raw.logs", "payment", &[line]);
    let span = json!({"trace_id": "t", "span_id": "s", "service": "payment", "environment": stack.environment,
        "operation": "charge", "start_ms": START_MS, "duration_ms": 12.0, "status": "ERROR"});
    stack.produce("raw.spans", "payment", &[span]);
    let event = json!({"timestamp_ms": START_MS, "environment": stack.environment, "namespace": "shop",
        "name": "payment-1", "owner": "payment", "reason": "OOMKilling", "event_kind": "OOM_KILLED"});
    stack.produce("raw.kubernetes", "shop/payment", &[event]);
}

#[test]
fn a_spike_on_the_broker_becomes_an_anomaly_and_readings_become_visible() {
    let stack = Stack::new("spike", 2);
    let process = stack.start();
    produce_a_bad_day(&stack);
    let found = anomalies(&stack.read_until("anomalies.detected", |records| records.len() >= 4));
    let seen: BTreeSet<(String, bool)> = found
        .iter()
        .map(|(_, a)| {
            (
                a.trigger_metric.clone(),
                a.transition == Transition::Started,
            )
        })
        .collect();
    let expected = [
        (P99, true),
        (P99, false),
        ("log:out_of_memory", true),
        ("kubernetes:oom_killed", true),
    ]
    .map(|(name, started)| (name.to_owned(), started));
    assert_eq!(seen, BTreeSet::from(expected));
    let key = format!("midwatch:recent:{}:payment:{P99}", stack.environment);
    let members = stack.wait_for("64 readings", || {
        let members = stack.sorted_set(&key);
        (members.len() == 64).then_some(members)
    });
    let spike: Value = serde_json::from_str(&members[60]).expect("an array");
    assert_eq!(spike[1], json!(7_380.0));
    assert!(
        spike[2]
            .as_f64()
            .is_some_and(|score| (0.4..=1.0).contains(&score)),
        "{spike}"
    );
    assert!(
        spike[8].as_str().is_some_and(|reason| !reason.is_empty()),
        "{spike}"
    );
    assert!(spike[4].as_f64() < spike[3].as_f64() && spike[3].as_f64() < spike[5].as_f64());
    for what in ["logs", "spans"] {
        let key = format!("midwatch:{what}:{}:payment", stack.environment);
        stack.wait_for(what, || (stack.sorted_set(&key).len() == 1).then_some(()));
    }
    assert!(stack.set("midwatch:envs").contains(&stack.environment));
    assert!(
        stack
            .set(&format!("midwatch:series:{}", stack.environment))
            .contains(&format!("payment\0{P99}"))
    );
    process.stop();
}

#[test]
fn what_cannot_be_read_is_dead_lettered_with_its_reason_and_the_next_is_processed() {
    let stack = Stack::new("poison", 1);
    let process = stack.start();
    let garbage = vec![b'x'; 5 * 1024 * 1024];
    let poison: Vec<(&str, Vec<u8>)> = vec![
        ("not_json", b"{\"service\": ".to_vec()),
        ("not_object", b"[1, 2]".to_vec()),
        ("bad_field", br#"{"service": "a", "metric_name": "m", "metric_value": "much", "message": 7, "duration_ms": "x", "namespace": 3}"#.to_vec()),
        ("bad_field", b"{}".to_vec()),
        ("newer_version", br#"{"schema_version": 999}"#.to_vec()),
        ("not_json", garbage),
    ];
    let good: Vec<(&str, Value)> = vec![
        (
            "raw.metrics",
            metric(&stack.environment, "a", START_MS, 1.0),
        ),
        (
            "raw.logs",
            json!({"service": "a", "environment": stack.environment, "message": "fine"}),
        ),
        (
            "raw.spans",
            json!({"trace_id": "t", "span_id": "s", "service": "a", "environment": stack.environment,
            "operation": "o", "duration_ms": 1.0, "status": "ERROR"}),
        ),
        (
            "raw.kubernetes",
            json!({"environment": stack.environment, "namespace": "n", "name": "a", "owner": "a",
            "reason": "OOMKilling"}),
        ),
    ];
    for (topic, next) in &good {
        for (_, bytes) in &poison {
            stack.produce_bytes(topic, "a", bytes);
        }
        stack.produce(topic, "a", std::slice::from_ref(next));
    }
    for (topic, _) in &good {
        let dead = stack.read_until(&format!("{topic}.dlq"), |records| {
            records.len() >= poison.len()
        });
        let kinds: Vec<String> = dead
            .iter()
            .map(|record| record.header("midwatch_error_kind"))
            .collect();
        let expected: Vec<&str> = poison.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, expected, "{topic}");
        for (record, (_, bytes)) in dead.iter().zip(&poison) {
            assert_eq!(&record.payload, bytes, "{topic}: the original bytes");
            assert!(!record.header("midwatch_error").is_empty());
            assert_eq!(record.header("midwatch_topic"), *topic);
            assert_eq!(record.header("midwatch_agent"), "detection");
        }
    }
    let found = anomalies(&stack.read_until("anomalies.detected", |records| !records.is_empty()));
    assert_eq!(found[0].1.anomaly_type, AnomalyType::MemoryLeak);
    for key in [
        format!("midwatch:recent:{}:a:{P99}", stack.environment),
        format!("midwatch:logs:{}:a", stack.environment),
        format!("midwatch:spans:{}:a", stack.environment),
    ] {
        stack.wait_for(&key, || (stack.sorted_set(&key).len() == 1).then_some(()));
    }
    process.stop();
}

#[test]
fn killed_in_the_middle_it_finds_the_same_anomalies_under_the_same_ids() {
    let stack = Stack::new("kill", 2);
    let mut process = stack.start();
    for part in 0..4 {
        for value in stream(&stack.environment, part * 150..(part + 1) * 150) {
            let service = value["service"].as_str().expect("ours").to_owned();
            stack.produce("raw.metrics", &service, &[value]);
        }
        // Killed as soon as something of this part was published: in between
        // publishing and the checkpoint, or just after it.
        let seen = stack.read_until("anomalies.detected", |records| {
            records.len() as i64 > part * 8
        });
        assert!(!seen.is_empty());
        process.kill();
        process = stack.start();
    }
    let raw = stack.read_until("raw.metrics", |records| records.len() == 3 * 600);
    assert_same(&stack, &uninterrupted(&stack, &raw));
    process.stop();
}

#[test]
fn an_emptied_redis_means_a_warm_up_that_repeats_the_same_anomalies() {
    let stack = Stack::new("emptied", 1);
    let process = stack.start();
    stack.produce("raw.metrics", "all", &stream(&stack.environment, 0..300));
    let raw = stack.read_until("raw.metrics", |records| records.len() == 900);
    let expected = uninterrupted(&stack, &raw);
    let once = assert_same(&stack, &expected);
    assert_eq!(once, expected.len());
    process.kill();
    assert!(stack.delete_detector_state() > 0);
    let process = stack.start();
    stack.read_until("anomalies.detected", |records| {
        records.len() >= 2 * expected.len()
    });
    assert_same(&stack, &expected);
    process.stop();
}

#[test]
fn a_stopped_process_goes_on_where_it_was_and_repeats_nothing() {
    let stack = Stack::new("stopped", 1);
    let process = stack.start();
    stack.produce("raw.metrics", "all", &stream(&stack.environment, 0..200));
    stack.read_until("anomalies.detected", |records| records.len() >= 20);
    process.stop();
    stack.produce("raw.metrics", "all", &stream(&stack.environment, 200..300));
    let process = stack.start();
    let raw = stack.read_until("raw.metrics", |records| records.len() == 900);
    let expected = uninterrupted(&stack, &raw);
    assert_eq!(assert_same(&stack, &expected), expected.len());
    process.stop();
}

#[test]
fn state_of_another_epoch_is_set_aside_and_left_alone() {
    let stack = Stack::new("epoch", 1);
    let place = (stack.topic("raw.metrics"), 0);
    let old = format!("old-{}", stack.epoch);
    // A log that was emptied since: the old epoch had reached offset 5000.
    let pointer = stack.block_on(async {
        let store = Store::new(stack.redis.clone(), &old);
        store.note_epoch(&stack.prefix).await.expect("Redis");
        let (claim, stored) = store.claim(&place).await.expect("Redis");
        assert!(stored.is_none());
        let changes = [("[\"x\"]".to_owned(), Some("{}".to_owned()))];
        let saved = store.save(&place, &claim, 5_000, &changes).await;
        assert_eq!(saved.expect("Redis"), Saved::Done);
        format!("midwatch:detection:v2:{old}:{}:0:pointer", place.0)
    });
    let before = stack.hash(&pointer);
    assert_eq!(before["next_offset"], "5000");
    let process = stack.start();
    stack.produce("raw.metrics", "all", &stream(&stack.environment, 0..120));
    stack.read_until("anomalies.detected", |records| !records.is_empty());
    assert_eq!(
        process.metric("midwatch_detection_epochs_set_aside_total"),
        1.0
    );
    assert_eq!(stack.hash(&pointer), before);
    process.stop();
}

#[test]
fn a_stale_owner_is_refused_and_drops_its_memory() {
    let stack = Stack::new("stale", 1);
    let place = (stack.topic("raw.metrics"), 0);
    let process = stack.start();
    stack.produce("raw.metrics", "all", &stream(&stack.environment, 0..10));
    let pointer = format!(
        "midwatch:detection:v2:{}:{}:0:pointer",
        stack.epoch, place.0
    );
    stack.wait_for("a checkpoint", || {
        (stack.hash(&pointer).get("next_offset")? == "30").then_some(())
    });
    // Somebody else takes the partition over while this process sleeps.
    let store = Store::new(stack.redis.clone(), &stack.epoch);
    let (claim, stored) = stack.block_on(store.claim(&place)).expect("Redis");
    let stored = stored.expect("the process has saved");
    assert_eq!((stored.next_offset, stored.state.series_count()), (30, 3));
    let before = stack.hash(&pointer);
    stack.produce("raw.metrics", "all", &stream(&stack.environment, 10..20));
    stack.wait_for("a refused checkpoint", || {
        (process.metric("midwatch_detection_stale_checkpoints_total") >= 1.0).then_some(())
    });
    assert_eq!(stack.hash(&pointer), before);
    let saved = stack.block_on(store.save(&place, &claim, 60, &[]));
    assert_eq!(saved.expect("Redis"), Saved::Done);
    assert_eq!(stack.hash(&pointer)["next_offset"], "60");
    process.kill();
}

#[test]
fn a_process_that_wakes_up_after_its_partitions_went_to_another_harms_nothing() {
    let stack = Stack::new("asleep", 1);
    let sleeper = stack.start();
    stack.produce("raw.metrics", "all", &stream(&stack.environment, 0..150));
    stack.read_until("anomalies.detected", |records| records.len() >= 8);
    sleeper.signal("STOP");
    // Another slot waits for the sleeper's session to end, as after a crash.
    // The fallback broker does not expire a static member that sleeps, so
    // there the other process takes the sleeper's own slot.
    let other = stack.start_in_slot(if stack.is_fallback { "0" } else { "1" });
    stack.produce("raw.metrics", "all", &stream(&stack.environment, 150..250));
    stack.read_until("anomalies.detected", |records| records.len() >= 22);
    sleeper.signal("CONT");
    stack.produce("raw.metrics", "all", &stream(&stack.environment, 250..400));
    let raw = stack.read_until("raw.metrics", |records| records.len() == 1_200);
    assert_same(&stack, &uninterrupted(&stack, &raw));
    let pointer = format!(
        "midwatch:detection:v2:{}:{}:0:pointer",
        stack.epoch,
        stack.topic("raw.metrics")
    );
    stack.wait_for("the last checkpoint", || {
        (stack.hash(&pointer).get("next_offset")? == "1200").then_some(())
    });
    other.kill();
    sleeper.kill();
}

#[test]
fn while_redis_is_away_nothing_is_lost() {
    let stack = Stack::new("away", 1);
    let process = stack.start();
    stack.produce("raw.metrics", "all", &stream(&stack.environment, 0..100));
    stack.read_until("anomalies.detected", |records| !records.is_empty());
    // A Redis that answers nobody for a while, without being stopped.
    stack.pause_redis(8_000);
    stack.produce("raw.metrics", "all", &stream(&stack.environment, 100..300));
    let raw = stack.read_until("raw.metrics", |records| records.len() == 900);
    assert_same(&stack, &uninterrupted(&stack, &raw));
    let key = format!("midwatch:recent:{}:a:{P99}", stack.environment);
    stack.wait_for("all readings", || {
        (stack.sorted_set(&key).len() == 300).then_some(())
    });
    process.stop();
}
