//! The judgement on the simulated fleet: what ends a fault is proven, on every
//! seed, and what does not is not.

use midwatch_events::Event;
use midwatch_events::action::{ExpectedEffect, Verification, VerificationVerdict};
use midwatch_events::anomaly::Direction;
use midwatch_events::knowledge::Catalogue;
use midwatch_remediation::execution::Check;
use midwatch_remediation::proof::{Judgement, Reading, Untouched, judge, untouched};
use midwatch_simulator::actions::{ActionRequest, ActionStatus};
use midwatch_simulator::scenario::Scenario;
use midwatch_simulator::variation::Variation;
use midwatch_simulator::world::{FIRST_FAULT_MS, Plan, World, WorldConfig};
use std::collections::BTreeMap;

const LIVE_MS: i64 = 1_795_305_600_000;
const WITHIN_MS: i64 = 180_000;
const SCALE: &[(&str, &str)] = &[("from_replicas", "3"), ("replicas", "6")];
const SAFE_MODE: &[(&str, &str)] = &[
    ("flag", "FEATURE_FLAGS_SAFE_MODE"),
    ("from_value", "false"),
    ("value", "true"),
];

/// An action against a fault, so many seconds after its start.
struct Case {
    scenario: Scenario,
    kind: &'static str,
    arguments: &'static [(&'static str, &'static str)],
    after_s: i64,
}

const fn case(
    scenario: Scenario,
    kind: &'static str,
    arguments: &'static [(&'static str, &'static str)],
    after_s: i64,
) -> Case {
    Case {
        scenario,
        kind,
        arguments,
        after_s,
    }
}

fn metric(scenario: Scenario) -> (&'static str, f64) {
    match scenario {
        Scenario::LatencySpike => ("service_latency_p99_ms", 380.0),
        Scenario::ErrorRateSpike | Scenario::DeploymentFailure => {
            ("service_error_rate_percent", 0.5)
        }
        Scenario::CpuSaturation => ("service_cpu_percent", 30.0),
        Scenario::MemoryLeak => ("service_memory_percent", 55.0),
        Scenario::DbConnectionExhaustion => ("service_db_connections", 30.0),
        Scenario::KafkaConsumerLag => ("kafka_consumer_lag", 100.0),
    }
}

/// A fault against which something is done: the question about it, and all
/// series of its metric.
fn lived(seed: u64, case: &Case) -> (Check, BTreeMap<String, Vec<Reading>>) {
    let mut world = World::new(WorldConfig {
        seed,
        environment: "simulation".to_owned(),
        start_ms: LIVE_MS - 600_000,
        live_ms: LIVE_MS,
        plan: Plan::Once(Some(case.scenario)),
        variation: Variation::standard(),
    });
    let start_ms = LIVE_MS + FIRST_FAULT_MS;
    let mut events = world.advance(start_ms + case.after_s * 1_000);
    let service = case.scenario.home().name();
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let report = world.act(&ActionRequest {
        key: "k".to_owned(),
        kind: case.kind.to_owned(),
        service: service.to_owned(),
        arguments: case.arguments.iter().map(owned).collect(),
    });
    assert_eq!(report.status, ActionStatus::Applied, "{}", report.words);
    events.extend(world.advance(report.event_ms + WITHIN_MS));
    let (metric, baseline_value) = metric(case.scenario);
    let mut series: BTreeMap<String, Vec<Reading>> = BTreeMap::new();
    let mut affected = Vec::new();
    for envelope in events {
        match envelope.event {
            Event::Metric(one) if one.metric_name == metric => {
                series.entry(one.service).or_default().push(Reading {
                    at_ms: one.timestamp_ms,
                    value: one.metric_value,
                });
            }
            Event::GroundTruth(truth) => affected = truth.affected,
            _ => {}
        }
    }
    let check = Check {
        incident_id: uuid::Uuid::nil(),
        environment: "simulation".to_owned(),
        step_id: "S2".to_owned(),
        effect: ExpectedEffect {
            service: service.to_owned(),
            metric: metric.to_owned(),
            direction: Direction::Below,
            baseline_value,
            within_ms: WITHIN_MS,
        },
        onset_ms: start_ms + 10_000,
        acted_at_ms: report.event_ms,
        affected_services: affected,
        asked_wall_ms: None,
    };
    (check, series)
}

/// What is said of it, early or when the effect's time is over.
fn verdict(seed: u64, case: &Case) -> Verification {
    let (check, series) = lived(seed, case);
    let metric = &check.effect.metric;
    let catalogue = Catalogue::parse(include_str!("../../../knowledge/services.json"));
    let names: Vec<String> = series
        .keys()
        .map(|name| format!("{name}\0{metric}"))
        .collect();
    let controls: Vec<Untouched> = untouched(&check, &catalogue.expect("a catalogue"), &names)
        .into_iter()
        .map(|service| Untouched {
            readings: series[&service].clone(),
            service,
        })
        .collect();
    // Look by look, as the readings come.
    let until = |readings: &[Reading], now_ms: i64| -> Vec<Reading> {
        let seen = readings.iter().filter(|one| one.at_ms <= now_ms);
        seen.copied().collect()
    };
    for look in 1..=WITHIN_MS / 10_000 {
        let now_ms = check.acted_at_ms + look * 10_000;
        let controls: Vec<Untouched> = controls
            .iter()
            .map(|one| Untouched {
                service: one.service.clone(),
                readings: until(&one.readings, now_ms),
            })
            .collect();
        let readings = until(&series[&check.effect.service], now_ms);
        if let Judgement::Done(found) = judge(&check, &readings, &controls, now_ms) {
            return *found;
        }
    }
    panic!("no verdict when the time is over");
}

const SEEDS: std::ops::Range<u64> = 1..6;

#[test]
fn what_ends_the_fault_is_proven() {
    for case in [
        case(Scenario::DbConnectionExhaustion, "restart_rollout", &[], 50),
        case(Scenario::DbConnectionExhaustion, "restart_rollout", &[], 90),
        case(Scenario::DbConnectionExhaustion, "raise_pool_size", &[], 70),
        case(Scenario::MemoryLeak, "restart_rollout", &[], 150),
        case(Scenario::DeploymentFailure, "rollback_deployment", &[], 60),
        case(Scenario::CpuSaturation, "scale", SCALE, 120),
        case(Scenario::KafkaConsumerLag, "scale", SCALE, 90),
        case(Scenario::ErrorRateSpike, "toggle_flag", SAFE_MODE, 60),
    ] {
        for seed in SEEDS {
            let found = verdict(seed, &case);
            let what = format!(
                "seed {seed} {:?} {}: {}",
                case.scenario, case.kind, found.summary
            );
            assert_eq!(found.verdict, VerificationVerdict::Improved, "{what}");
        }
    }
}

#[test]
fn what_does_not_is_told_as_such() {
    use VerificationVerdict::{NotImproved, Worse};
    for (case, expected) in [
        (
            case(Scenario::LatencySpike, "scale", SCALE, 50),
            &[Worse][..],
        ),
        (case(Scenario::LatencySpike, "scale", SCALE, 90), &[Worse]),
        (
            case(Scenario::DbConnectionExhaustion, "scale", SCALE, 70),
            &[Worse],
        ),
        (
            case(Scenario::CpuSaturation, "restart_rollout", &[], 120),
            &[Worse],
        ),
        (
            case(Scenario::DeploymentFailure, "restart_rollout", &[], 60),
            &[Worse, NotImproved],
        ),
        (
            case(Scenario::ErrorRateSpike, "restart_rollout", &[], 60),
            &[Worse, NotImproved],
        ),
    ] {
        for seed in SEEDS {
            let found = verdict(seed, &case);
            let what = format!(
                "seed {seed} {:?} {}: {}",
                case.scenario, case.kind, found.summary
            );
            assert!(expected.contains(&found.verdict), "{what}");
        }
    }
}
