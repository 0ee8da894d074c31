//! What wrong dates, vanished sources and long silence do, case by case.

mod fleet;

use fleet::{Rig, START_MS, TICK_MS, kubernetes, log, metric, transitions};
use midwatch_detection::decide::{At, Effect, Input};
use midwatch_events::raw::LogLevel;
use midwatch_events::{Anomaly, AnomalyType, Transition};
use uuid::Uuid;

const P99: &str = "service_latency_p99_ms";
const YEAR_2100_MS: i64 = 4_102_444_800_000;
const EXHAUSTED: &str = "connection pool exhausted";

/// Feeds values one tick apart and collects what they cause.
fn series(rig: &mut Rig, service: &str, name: &str, from_ms: i64, values: &[f64]) -> Vec<Anomaly> {
    (0_i64..)
        .zip(values)
        .flat_map(|(tick, value)| {
            rig.anomalies(metric(service, name, from_ms + tick * TICK_MS, *value))
        })
        .collect()
}

#[test]
fn a_fast_clock_of_one_service_makes_nobody_elses_lines_late() {
    let mut rig = Rig::new();
    // Twenty minutes fast, which is possible; then the year 2100, which is not.
    for (ahead_ms, jumps) in [(1_200_000, 0), (YEAR_2100_MS - START_MS, 1)] {
        let fast = log("fast", LogLevel::Info, START_MS + ahead_ms, "served");
        let jumped = rig.feed(fast);
        let count = jumped.iter().filter(|one| **one == Effect::ClockJump);
        assert_eq!(count.count(), jumps);
    }
    let found = rig.anomalies(log("slow", LogLevel::Error, START_MS + 1000, EXHAUSTED));
    assert_eq!(transitions(&found), [Transition::Started]);
    let killed = rig.anomalies(kubernetes("slow", "OOM_KILLED", START_MS + 2000));
    assert_eq!(transitions(&killed), [Transition::Started]);
    // Its own line from the year 2100 is judged as of now.
    let own = rig.anomalies(log("fast", LogLevel::Error, YEAR_2100_MS, EXHAUSTED));
    assert_eq!(transitions(&own), [Transition::Started]);
    assert_eq!(own[0].detected_at_ms, START_MS + 1_200_000);
}

#[test]
fn a_service_whose_log_clock_went_back_is_heard_again() {
    // Either its lines were from the present, and ten from the past are
    // needed, or they were from the future, and the present is believed.
    for (wall_ms, onset_ms) in [(36_000_000, 9_000), (0, 0)] {
        let mut rig = Rig::new();
        rig.wall_ms += wall_ms;
        rig.feed(log("a", LogLevel::Info, START_MS + 36_000_000, "served"));
        let mut found = Vec::new();
        for second in 0..20 {
            let line = log("a", LogLevel::Error, START_MS + second * 1000, EXHAUSTED);
            found.extend(rig.anomalies(line));
        }
        assert_eq!(transitions(&found), [Transition::Started]);
        assert_eq!(found[0].onset_ms, START_MS + onset_ms);
    }
}

#[test]
fn one_absurd_date_blinds_no_partition() {
    let mut rig = Rig::new();
    let mut found = Vec::new();
    let from = rig.quiet("a", P99, 380.0, 0.08, START_MS, 60);
    rig.feed(metric("b", P99, YEAR_2100_MS, 380.0));
    for tick in 0..10 {
        rig.wall_ms = from + tick * TICK_MS;
        found.extend(rig.anomalies(metric("a", P99, from + tick * TICK_MS, 380.0)));
        let at = At {
            event_id: Uuid::nil(),
            wall_ms: from + tick * TICK_MS,
        };
        let latest = [("simulation".to_owned(), YEAR_2100_MS)].into();
        let idle = rig.detector.decide(&mut rig.state, at, Input::Idle(latest));
        found.extend(fleet::anomalies(idle));
    }
    assert_eq!(found, []);
    assert_eq!(rig.state.series_count(), 2);
    let found = series(&mut rig, "a", P99, from + 10 * TICK_MS, &[4000.0; 2]);
    assert_eq!(
        transitions(&found),
        [Transition::Started, Transition::Worsened]
    );
}

#[test]
fn a_full_disk_that_is_no_longer_reported_closes_without_having_recovered() {
    let mut rig = Rig::new();
    let mount = |point: &str, at_ms: i64, value: f64| {
        let Input::Metric(mut disk) = metric("host/a", "host_disk_percent", at_ms, value) else {
            panic!("a metric");
        };
        disk.labels.insert("mount".to_owned(), point.to_owned());
        Input::Metric(disk)
    };
    let mut found = Vec::new();
    for tick in 0..3 {
        found.extend(rig.anomalies(mount("/data", START_MS + tick * TICK_MS, 96.0)));
    }
    for tick in 3..220 {
        found.extend(rig.anomalies(mount("/", START_MS + tick * TICK_MS, 40.0)));
    }
    assert_eq!(
        transitions(&found),
        [Transition::Started, Transition::Cleared]
    );
    assert_eq!(found[1].anomaly_id, found[0].anomaly_id);
    assert!(found[1].description.contains("not recovered"));
    let silent_ms = found[1].detected_at_ms - (START_MS + 2 * TICK_MS);
    assert!((1_800_000..=1_820_000).contains(&silent_ms), "{silent_ms}");
}

#[test]
fn what_was_not_heard_of_for_a_day_is_closed_and_forgotten() {
    let mut rig = Rig::new();
    let from = rig.quiet("a", P99, 380.0, 0.08, START_MS, 60);
    let started = series(&mut rig, "a", P99, from, &[4000.0; 2]);
    rig.feed(log("a", LogLevel::Error, from, EXHAUSTED));
    let stored = rig.state.dump().len();
    assert_eq!(
        (transitions(&started), stored),
        (vec![Transition::Started, Transition::Worsened], 3)
    );
    // Another environment lives on; this one never gets a record again.
    rig.wall_ms += 25 * 3_600_000;
    let mut found = Vec::new();
    for tick in 0..2 {
        let Input::Metric(mut other) = metric("b", P99, rig.wall_ms + tick * TICK_MS, 1.0) else {
            panic!("a metric");
        };
        other.environment = "production".to_owned();
        found.extend(rig.anomalies(Input::Metric(other)));
    }
    assert_eq!(
        transitions(&found),
        [Transition::Cleared, Transition::Cleared]
    );
    assert!(found.iter().all(|one| one.environment == "simulation"));
    assert_eq!(rig.state.series_count(), 1);
    assert_eq!(rig.state.dump().len(), 2);
    let removed = rig.state.take_changes();
    let removed = removed.iter().filter(|(_, value)| value.is_none());
    assert_eq!(removed.count(), 3);
}

#[test]
fn no_model_names_the_kind_of_a_log_rule() {
    let mut rig = Rig::new();
    let found = rig.anomalies(log(
        "a",
        LogLevel::Error,
        START_MS,
        "no space left on device",
    ));
    assert_eq!(found[0].anomaly_type, AnomalyType::Unknown);
    let classified = Input::Classified {
        environment: "simulation".to_owned(),
        service: "a".to_owned(),
        trigger_metric: "log:disk_full".to_owned(),
        anomaly_id: found[0].anomaly_id,
        kind: AnomalyType::DependencyOutage,
    };
    assert_eq!(rig.feed(classified), []);
    let mut later = Vec::new();
    for tick in 1..20 {
        later.extend(rig.anomalies(log("a", LogLevel::Info, START_MS + tick * TICK_MS, "fine")));
    }
    assert_eq!(transitions(&later), [Transition::Cleared]);
    assert_eq!(later[0].anomaly_type, AnomalyType::Unknown);
}
