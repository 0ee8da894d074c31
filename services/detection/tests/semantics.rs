//! What metrics mean, through the whole core: names, files, the catalogue.

mod fleet;

use fleet::{Noise, Rig, START_MS, TICK_MS, metric, transitions};
use midwatch_detection::config::Tuning;
use midwatch_detection::decide::Detector;
use midwatch_detection::decide::semantics::overrides::Semantics;
use midwatch_detection::decide::state::PartitionState;
use midwatch_events::{Anomaly, AnomalyType, Direction, Severity, Transition};
use std::sync::Arc;

fn detector(file: &str) -> Detector {
    let tuning = Tuning {
        semantics: Arc::new(Semantics::parse(file).expect("the file is right")),
        ..Tuning::default()
    };
    Detector::new(tuning, "epoch-1")
}

/// An hour around `level`, then `values`; what is found in those.
fn after_an_hour(file: &str, name: &str, level: f64, values: &[f64]) -> Vec<Anomaly> {
    let mut rig = Rig::new();
    rig.detector = detector(file);
    let from = rig.quiet("a", name, level, 0.02, START_MS, 360);
    let mut found = Vec::new();
    for (tick, value) in (0_i64..).zip(values) {
        found.extend(rig.anomalies(metric("a", name, from + tick * TICK_MS, *value)));
    }
    found
}

/// File, metric, usual level, what it goes to, and what that is.
type Case = (
    &'static str,
    &'static str,
    f64,
    f64,
    Option<(AnomalyType, Direction, Severity)>,
);

const CASES: &[Case] = &[
    (
        "",
        "cache_hit_ratio",
        0.9,
        0.3,
        Some((AnomalyType::Unknown, Direction::Below, Severity::High)),
    ),
    ("", "cache_hit_ratio", 0.5, 0.99, None),
    (
        "",
        "volume_free_percent",
        40.0,
        3.0,
        Some((AnomalyType::Unknown, Direction::Below, Severity::High)),
    ),
    (
        "",
        "volume_used_ratio",
        0.4,
        0.97,
        Some((AnomalyType::Unknown, Direction::Above, Severity::High)),
    ),
    (
        "",
        "replicas_ready",
        4.0,
        2.0,
        Some((
            AnomalyType::KubernetesFailure,
            Direction::Below,
            Severity::High,
        )),
    ),
    ("", "gpu_temperature", 40.0, 80.0, None),
    (
        "",
        "gpu_temperature",
        40.0,
        92.0,
        Some((AnomalyType::Unknown, Direction::Above, Severity::Medium)),
    ),
    (
        "",
        "login_failures",
        2.0,
        40.0,
        Some((
            AnomalyType::ErrorRateSpike,
            Direction::Above,
            Severity::High,
        )),
    ),
    (
        "",
        "heap_used_bytes",
        5e8,
        9e8,
        Some((AnomalyType::MemoryLeak, Direction::Above, Severity::High)),
    ),
    ("", "network_transmit_bytes_per_second", 1e6, 9e6, None),
    (
        "",
        "network_transmit_bytes_per_second",
        1e6,
        10.0,
        Some((AnomalyType::TrafficDrop, Direction::Below, Severity::High)),
    ),
    ("match='seats'\ndirection='down'", "seats", 50.0, 90.0, None),
    ("match='seats'\npage=false", "seats", 50.0, 9e9, None),
    (
        "match='s*s'\nseverity_cap='LOW'",
        "seats",
        50.0,
        9e9,
        Some((AnomalyType::Unknown, Direction::Above, Severity::Low)),
    ),
    (
        "match='turns'\nclass='latency'",
        "turns",
        50.0,
        500.0,
        Some((
            AnomalyType::LatencySpike,
            Direction::Above,
            Severity::Critical,
        )),
    ),
];

#[test]
fn what_becomes_an_anomaly_follows_from_name_unit_and_file() {
    for (entry, name, level, to, expected) in CASES {
        let file = if entry.is_empty() {
            String::new()
        } else {
            format!("[[series]]\n{entry}")
        };
        let found = after_an_hour(&file, name, *level, &[*to; 4]);
        let kind = found
            .last()
            .map(|a| (a.anomaly_type, a.direction, a.severity));
        assert_eq!(kind, *expected, "{name} {level} → {to} with {entry:?}");
        let started = found.iter().filter(|a| a.transition == Transition::Started);
        assert_eq!(started.count(), usize::from(expected.is_some()), "{name}");
    }
}

#[test]
fn silence_is_missed_as_the_file_says() {
    for (entry, name, missed) in [
        ("", "seats", true),
        ("match='seats'\nmissed=false", "seats", false),
        ("match='seats'\npage=false", "seats", false),
        ("match='host_load1'\nmissed=true", "host_load1", true),
    ] {
        let mut rig = Rig::new();
        let file = if entry.is_empty() {
            String::new()
        } else {
            format!("[[series]]\n{entry}")
        };
        rig.detector = detector(&file);
        let from = rig.quiet("a", name, 50.0, 0.02, START_MS, 60);
        let mut found = Vec::new();
        for tick in 0..60 {
            let other = metric("a", "host_processes", from + tick * TICK_MS, 1.0);
            found.extend(rig.anomalies(other));
        }
        let seen = if missed {
            vec![Transition::Missing]
        } else {
            Vec::new()
        };
        assert_eq!(transitions(&found), seen, "{name} with {entry:?}");
    }
}

#[test]
fn a_restart_keeps_what_the_file_says_and_another_file_counts_from_then_on() {
    let quiet = "[[series]]\nmatch='seats'\npage=false";
    for (again, started) in [(quiet, 0), ("", 1)] {
        let mut rig = Rig::new();
        rig.detector = detector(quiet);
        let mut noise = Noise(7);
        for tick in 0..200 {
            let at_ms = START_MS + tick * TICK_MS;
            rig.anomalies(metric("a", "seats", at_ms, noise.around(50.0, 0.02)));
        }
        rig.state = PartitionState::restore(rig.state.dump()).expect("it is readable");
        rig.detector = detector(again);
        let mut found = Vec::new();
        for tick in 200..206 {
            found.extend(rig.anomalies(metric("a", "seats", START_MS + tick * TICK_MS, 900.0)));
        }
        assert_eq!(found.len(), started, "{again:?}: {found:#?}");
    }
}
