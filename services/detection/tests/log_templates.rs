//! What detection finds in the log lines of a simulated fleet, by keywords,
//! templates and counts, and what it leaves alone.

mod fleet;

use fleet::{Rig, START_MS, log, transitions};
use midwatch_detection::decide::Input;
use midwatch_detection::decide::state::PartitionState;
use midwatch_events::raw::{LogLevel, RawLog};
use midwatch_events::{Anomaly, AnomalyType, Event, Severity, Transition};
use midwatch_simulator::scenario::Scenario;
use midwatch_simulator::variation::Variation;
use midwatch_simulator::world::{Plan, World, WorldConfig};
use std::collections::{BTreeMap, BTreeSet};

const HOUR_MS: i64 = 3_600_000;
const ODD: &str = "java.lang.IllegalStateException: entry 17 of ledger 4 has no counter account";

fn world(seed: u64, plan: Plan, history_ms: i64) -> World {
    World::new(WorldConfig {
        seed,
        environment: "simulation".to_owned(),
        start_ms: START_MS,
        live_ms: START_MS + history_ms,
        plan,
        variation: Variation::standard(),
    })
}

fn logs(world: &mut World, until_ms: i64) -> Vec<RawLog> {
    let events = world.advance(until_ms).into_iter();
    let logs = events.filter_map(|envelope| match envelope.event {
        Event::Log(log) => Some(log),
        _ => None,
    });
    logs.collect()
}

/// A rig that knows service `a` for an hour.
fn learnt() -> Rig {
    let mut rig = Rig::new();
    for tick in 0..360 {
        rig.feed(log("a", LogLevel::Info, START_MS + tick * 10_000, "served"));
    }
    rig
}

#[test]
fn three_quiet_days_of_the_fleets_logs_raise_nothing() {
    for seed in [3, 2_027] {
        let mut rig = Rig::new();
        let mut world = world(seed, Plan::Quiet, HOUR_MS);
        let mut lines = 0;
        for hour in 1..=72 {
            for line in logs(&mut world, START_MS + hour * HOUR_MS) {
                lines += 1;
                assert_eq!(rig.anomalies(Input::Log(line)), []);
            }
        }
        assert!(lines > 6 * 72 * 1_000, "{lines} lines");
    }
}

/// Each scenario; the service where its lines show, of which no keyword rule
/// knows the words; what finds them.
#[test]
fn the_lines_of_faults_are_found_where_keywords_miss_them() {
    let found_by = |scenario: Scenario, seed: u64| -> BTreeMap<String, BTreeSet<String>> {
        let mut rig = Rig::new();
        let mut world = world(seed, Plan::Once(Some(scenario)), HOUR_MS);
        let mut found = BTreeMap::<String, BTreeSet<String>>::new();
        for line in logs(&mut world, START_MS + HOUR_MS + 15 * 60_000) {
            for anomaly in rig.anomalies(Input::Log(line)) {
                let since_ms = anomaly.detected_at_ms - START_MS;
                assert!(since_ms > HOUR_MS, "before the fault: {anomaly:?}");
                let rules = found.entry(anomaly.service).or_default();
                rules.insert(anomaly.trigger_metric);
            }
        }
        found
    };
    for (scenario, service) in [
        (Scenario::LatencySpike, "payment-service"),
        (Scenario::ErrorRateSpike, "order-service"),
        (Scenario::CpuSaturation, "api-gateway"),
        (Scenario::MemoryLeak, "notification-service"),
        (Scenario::KafkaConsumerLag, "order-service"),
        (Scenario::DeploymentFailure, "user-service"),
    ] {
        for seed in 1..=5 {
            let found = found_by(scenario, seed);
            let rules = found.get(service).cloned().unwrap_or_default();
            let by_template = rules
                .iter()
                .any(|rule| ["log:new_template", "log:template_burst"].contains(&rule.as_str()));
            assert!(by_template, "{scenario:?}, seed {seed}: {found:?}");
        }
    }
}

#[test]
fn a_new_error_is_told_with_its_template_and_first_example() {
    let mut rig = learnt();
    let mut found = Vec::new();
    for second in [0, 1, 2, 10, 20, 30] {
        let at_ms = START_MS + HOUR_MS + second * 1_000;
        let line = ODD.replace("17", &(17 + second).to_string());
        found.extend(rig.anomalies(log("a", LogLevel::Error, at_ms, &line)));
    }
    let [started] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(started.trigger_metric, "log:new_template");
    assert_eq!(started.transition, Transition::Started);
    assert_eq!(
        (started.anomaly_type, started.severity),
        (AnomalyType::Unknown, Severity::Medium)
    );
    assert_eq!(started.onset_ms, START_MS + HOUR_MS);
    assert_eq!(started.detected_at_ms, START_MS + HOUR_MS + 20_000);
    assert_eq!(
        started.description,
        format!(
            "log:new_template of a: an error that was never logged in the 60 min before logged 3 \
             times or more within 20 s: \"java.lang.IllegalStateException: entry <num> of ledger \
             <num> has no counter account\"; the first: {ODD}"
        )
    );
    let quoted: Vec<&str> = started.evidence.iter().map(|e| e.text.as_str()).collect();
    assert_eq!(quoted, [ODD, &ODD.replace("17", "37")]);
    // Two minutes of other lines end it.
    let mut later = Vec::new();
    for second in 40..200 {
        let at_ms = START_MS + HOUR_MS + second * 1_000;
        later.extend(rig.anomalies(log("a", LogLevel::Info, at_ms, "served")));
    }
    assert_eq!(transitions(&later), [Transition::Cleared]);
    assert_eq!(later[0].anomaly_id, started.anomaly_id);
}

#[test]
fn a_line_of_a_keyword_rule_is_no_template() {
    let mut rig = learnt();
    let mut found = Vec::new();
    for second in 0..60 {
        let at_ms = START_MS + HOUR_MS + second * 1_000;
        let line = format!("write of segment {second} failed: no space left on device");
        found.extend(rig.anomalies(log("a", LogLevel::Error, at_ms, &line)));
    }
    let rules: Vec<&str> = found
        .iter()
        .map(|one| one.trigger_metric.as_str())
        .collect();
    assert_eq!(rules, ["log:disk_full"]);
}

#[test]
fn errors_that_all_differ_and_a_service_without_history_are_found_by_their_number() {
    for mut rig in [Rig::new(), learnt()] {
        let mut found: Vec<Anomaly> = Vec::new();
        for (second, words) in (0..).zip([
            "gale",
            "the nut",
            "on some hill",
            "with one odd tin",
            "no pin for his mill ",
            "x",
        ]) {
            let at_ms = START_MS + HOUR_MS + second * 1_000;
            found.extend(rig.anomalies(log("a", LogLevel::Error, at_ms, words)));
        }
        assert_eq!(transitions(&found), [Transition::Started]);
        assert_eq!(found[0].trigger_metric, "log:error_burst");
        assert_eq!(found[0].evidence[0].text, "no pin for his mill ");
        assert!(
            found[0]
                .description
                .contains("5 ERROR lines within 30 s, usually 0.0")
        );
    }
}

#[test]
fn a_burst_that_stays_for_two_hours_is_accepted_and_never_said_to_have_ended() {
    let mut rig = learnt();
    let mut found: Vec<Anomaly> = Vec::new();
    for tick in 0..4 * 360 * 5 {
        let at_ms = START_MS + HOUR_MS + tick * 2_000;
        found.extend(rig.anomalies(log("a", LogLevel::Warn, at_ms, "cache of tenant 4 is cold")));
    }
    assert_eq!(
        transitions(&found),
        [Transition::Started, Transition::Cleared],
        "{found:#?}"
    );
    assert_eq!(found[0].trigger_metric, "log:template_burst");
    assert_eq!(found[0].severity, Severity::Low);
    assert!(
        found[1]
            .description
            .contains("accepted as usual, not recovered")
    );
    let lasted_ms = found[1].detected_at_ms - found[0].detected_at_ms;
    assert_eq!(lasted_ms, 2 * HOUR_MS);
}

/// Faulty hours of the simulated fleet, the state put away and fetched again
/// after every so many lines: byte for byte what an uninterrupted run decides.
#[test]
fn a_restart_anywhere_among_the_lines_of_faults_changes_nothing() {
    let mut world = world(11, Plan::Continuous(None), HOUR_MS);
    let lines = logs(&mut world, START_MS + 4 * HOUR_MS);
    for every in [1, 37] {
        let (mut whole, mut split) = (Rig::new(), Rig::new());
        let mut stored: BTreeMap<String, String> = BTreeMap::new();
        let mut found = 0;
        // A quarter of the lines for the restart after each of them.
        for (index, line) in lines.iter().enumerate().skip(lines.len() * 3 / 4 / every) {
            let expected = whole.feed(Input::Log(line.clone()));
            found += fleet::anomalies(expected.clone()).len();
            assert_eq!(split.feed(Input::Log(line.clone())), expected);
            if index % every == 0 {
                for (field, value) in split.state.take_changes() {
                    match value {
                        Some(value) => stored.insert(field, value),
                        None => stored.remove(&field),
                    };
                }
                split.state = PartitionState::restore(stored.clone()).expect("readable");
            }
        }
        assert_eq!(split.state.dump(), whole.state.dump());
        assert!(found > 3, "{found} transitions");
    }
}
