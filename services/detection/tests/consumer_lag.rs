//! How the lag of consumer groups is judged: by the age of the oldest message
//! that waits, whatever the number of messages.

mod fleet;

use fleet::{Noise, Rig, START_MS, TICK_MS, metric, transitions};
use midwatch_detection::decide::Input;
use midwatch_events::{Anomaly, AnomalyType, Severity, Transition};

const AGENT: &str = "midwatch-investigation";
const AGE: &str = "kafka_consumer_lag_seconds";
const LAG: &str = "kafka_consumer_lag";
const MINUTE_MS: i64 = 60_000;

/// A reading as the collector publishes it, with its consumer group.
fn reading(name: &str, at_ms: i64, value: f64) -> Input {
    let Input::Metric(mut reading) = metric(AGENT, name, at_ms, value) else {
        panic!("a reading is a metric");
    };
    "local".clone_into(&mut reading.environment);
    let group = "midwatch.investigation".to_owned();
    reading.labels.insert("group".to_owned(), group);
    Input::Metric(reading)
}

/// Feeds pairs of (messages, age in seconds), one tick apart.
fn feed(rig: &mut Rig, from_ms: i64, readings: &[(f64, f64)]) -> Vec<Anomaly> {
    let mut found = Vec::new();
    for (tick, (messages, age)) in (0_i64..).zip(readings) {
        let at_ms = from_ms + tick * TICK_MS;
        found.extend(rig.anomalies(reading(LAG, at_ms, *messages)));
        found.extend(rig.anomalies(reading(AGE, at_ms, *age)));
    }
    found
}

#[test]
fn a_paused_agent_is_named_although_only_three_messages_wait() {
    let mut rig = Rig::new();
    let quiet = vec![(0.0, 0.0); 30];
    assert_eq!(feed(&mut rig, START_MS, &quiet), []);
    // Paused: three messages come, and the oldest grows old by ten seconds a
    // reading until the agent goes on in the tenth.
    let mut paused: Vec<(f64, f64)> = (0..10)
        .map(|tick| (3.0, 4.0 + 10.0 * tick as f64))
        .collect();
    paused.extend([(0.0, 0.0); 4]);
    let from = START_MS + 30 * TICK_MS;
    let found = feed(&mut rig, from, &paused);
    assert_eq!(
        transitions(&found),
        [Transition::Started, Transition::Cleared]
    );
    let started = &found[0];
    assert_eq!(started.service, AGENT);
    assert_eq!(started.anomaly_type, AnomalyType::KafkaConsumerLag);
    assert_eq!(started.severity, Severity::Medium);
    assert_eq!(
        started.trigger_metric,
        "kafka_consumer_lag_seconds{group=midwatch.investigation}"
    );
    // 64 s and 74 s are the first two readings from 60 s on.
    assert_eq!(started.observed_value, 74.0);
    assert_eq!(started.onset_ms, from + 6 * TICK_MS);
    assert_eq!(started.detected_at_ms, from + 7 * TICK_MS);
    assert!(
        started
            .description
            .contains("is 74 s, at or above its limit of 60 s"),
        "{}",
        started.description
    );
    assert_eq!(found[1].detected_at_ms, from + 12 * TICK_MS);
}

#[test]
fn an_agent_that_is_stuck_from_the_first_reading_on_is_found_without_a_baseline() {
    let mut rig = Rig::new();
    let stuck: Vec<(f64, f64)> = (0..200)
        .map(|tick| (1.0, 100.0 + 10.0 * tick as f64))
        .collect();
    let found = feed(&mut rig, START_MS, &stuck);
    let seen: Vec<(Transition, Severity)> = found
        .iter()
        .map(|one| (one.transition, one.severity))
        .collect();
    assert_eq!(
        seen,
        [
            (Transition::Started, Severity::Medium),
            (Transition::Worsened, Severity::High),
            (Transition::Worsened, Severity::Critical),
        ]
    );
}

#[test]
fn restarts_and_moments_of_lag_raise_nothing_in_a_week() {
    let mut rig = Rig::new();
    let mut noise = Noise(3);
    for tick in 0..7 * 8_640_i64 {
        // Mostly nothing waits; now and then up to twenty messages for less
        // than a second; once an hour a restart of ten seconds, during which
        // a fleet at high speed leaves thousands.
        let (messages, age) = match (tick % 360, noise.next()) {
            (0, _) => (9_000.0, 11.0),
            (1, _) => (2_500.0, 3.0),
            (_, chance) if chance > 0.8 => ((20.0 * chance).ceil(), chance),
            _ => (0.0, 0.0),
        };
        let found = feed(&mut rig, START_MS + tick * TICK_MS, &[(messages, age)]);
        assert_eq!(found, [], "at reading {tick}");
    }
}

#[test]
fn one_old_reading_is_no_anomaly() {
    let mut rig = Rig::new();
    let mut readings = vec![(0.0, 0.0); 20];
    readings.extend([(40.0, 65.0), (0.0, 0.0), (40.0, 65.0), (0.0, 0.0)]);
    assert_eq!(feed(&mut rig, START_MS, &readings), []);
}

#[test]
fn a_lag_that_is_not_known_any_more_is_neither_missing_nor_normal() {
    let mut rig = Rig::new();
    let quiet = vec![(0.0, 0.0); 30];
    assert_eq!(feed(&mut rig, START_MS, &quiet), []);
    rig.quiet("a", "service_cpu_percent", 20.0, 0.08, START_MS, 30);
    // Others go on reporting, so that time passes in both environments; a
    // service whose CPU falls silent is missed by then.
    let mut missing = Vec::new();
    for minute in 6..20 {
        let at_ms = START_MS + minute * MINUTE_MS;
        rig.wall_ms = at_ms;
        let Input::Metric(mut other) = metric("b", "service_request_rate", at_ms, 60.0) else {
            panic!("a reading is a metric");
        };
        missing.extend(rig.anomalies(Input::Metric(other.clone())));
        "local".clone_into(&mut other.environment);
        missing.extend(rig.anomalies(Input::Metric(other)));
        missing.extend(rig.anomalies(Input::Idle(Default::default())));
    }
    let services: Vec<&str> = missing.iter().map(|one| one.service.as_str()).collect();
    assert_eq!(services, ["a"], "silence of a group is no alarm");
    assert_eq!(transitions(&missing), [Transition::Missing]);
}

#[test]
fn the_lag_of_a_simulated_service_is_judged_as_before() {
    let mut rig = Rig::new();
    let from = rig.quiet("order-service", LAG, 100.0, 0.5, START_MS, 60);
    let few = metric("order-service", LAG, from, 220.0);
    assert_eq!(rig.anomalies(few), [], "120 messages more are a batch");
    let many = metric("order-service", LAG, from + TICK_MS, 5_000.0);
    let found = rig.anomalies(many);
    assert_eq!(transitions(&found), [Transition::Started]);
    assert_eq!(found[0].anomaly_type, AnomalyType::KafkaConsumerLag);
}

#[test]
fn a_series_of_messages_that_rests_at_zero_needs_a_backlog_to_alarm() {
    let mut rig = Rig::new();
    let from = rig.quiet("billing", LAG, 0.0, 0.0, START_MS, 60);
    for (tick, messages) in (0_i64..).zip([1.0, 20.0, 7.0, 499.0]) {
        let some = metric("billing", LAG, from + tick * TICK_MS, messages);
        assert_eq!(rig.anomalies(some), [], "{messages}");
    }
}
