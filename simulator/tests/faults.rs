//! What faults do to the fleet's metrics, and when they come.

#[allow(dead_code, reason = "each test file uses part of it")]
mod common;

use common::{HOUR_MS, LIVE_MS, START_MS, events, fault_events, only_fault, series, truths, world};
use midwatch_events::Event;
use midwatch_simulator::fleet::{Metric, Service};
use midwatch_simulator::scenario::Scenario;
use midwatch_simulator::variation::Variation;
use midwatch_simulator::world::{InjectError, Plan, TICK_MS, World, WorldConfig};
use std::collections::BTreeSet;

/// The reference's table: scenario, service, metric, peak, seconds to the
/// peak, seconds to the end.
const PEAKS: &[(Scenario, &str, &str, f64, i64, i64)] = &[
    (
        Scenario::LatencySpike,
        "payment-service",
        "service_latency_p99_ms",
        7_380.0,
        120,
        240,
    ),
    (
        Scenario::ErrorRateSpike,
        "order-service",
        "service_error_rate_percent",
        45.0,
        60,
        180,
    ),
    (
        Scenario::CpuSaturation,
        "api-gateway",
        "service_cpu_percent",
        97.0,
        300,
        300,
    ),
    (
        Scenario::MemoryLeak,
        "notification-service",
        "service_memory_percent",
        98.0,
        360,
        360,
    ),
    (
        Scenario::DbConnectionExhaustion,
        "payment-service",
        "service_db_connections",
        100.0,
        100,
        200,
    ),
    (
        Scenario::DbConnectionExhaustion,
        "payment-service",
        "service_error_rate_percent",
        30.0,
        150,
        200,
    ),
    (
        Scenario::KafkaConsumerLag,
        "order-service",
        "kafka_consumer_lag",
        50_000.0,
        300,
        300,
    ),
    (
        Scenario::DeploymentFailure,
        "user-service",
        "service_error_rate_percent",
        40.0,
        60,
        240,
    ),
    (
        Scenario::DeploymentFailure,
        "user-service",
        "service_latency_p99_ms",
        2_150.0,
        60,
        240,
    ),
];

fn noise(service: &str, metric: &str) -> f64 {
    let metric = Metric::ALL
        .into_iter()
        .find(|one| one.name() == metric)
        .expect("a metric");
    metric.normal(Service::from_name(service).expect("a service")) * metric.jitter() + 0.5
}

#[test]
fn each_scenario_reaches_its_peak_at_its_time() {
    for &(scenario, service, metric, peak, to_peak_s, to_end_s) in PEAKS {
        let events = fault_events(3, scenario);
        let truth = only_fault(&events);
        assert_eq!(
            (truth.scenario.as_str(), truth.service.as_str()),
            (scenario.name(), service)
        );
        assert_eq!(truth.duration_ms, to_end_s * 1_000, "{scenario:?}");
        assert_eq!(
            truth.timestamp_ms,
            LIVE_MS + 60_000,
            "the first comes after a minute"
        );
        let readings = &series(&events)[&(service.to_owned(), metric.to_owned())];
        let at = |at_ms: i64| {
            let found = readings.iter().find(|(time, _)| *time == at_ms);
            found.expect("a reading at every tick").1
        };
        let most = noise(service, metric);
        let reading = at(truth.timestamp_ms + to_peak_s * 1_000);
        assert!(
            (reading - peak).abs() <= most,
            "{scenario:?} {metric}: {reading}"
        );
        let highest = readings
            .iter()
            .map(|(_, value)| *value)
            .fold(f64::MIN, f64::max);
        assert!(highest <= peak + most, "{scenario:?} {metric}: {highest}");
        let half = at(truth.timestamp_ms + to_peak_s * 500 / TICK_MS * TICK_MS);
        let normal = Metric::ALL.into_iter().find(|one| one.name() == metric);
        let normal = normal.expect("a metric").normal(scenario.home());
        let middle = normal + 0.55 * (peak - normal) + most;
        assert!(half < middle, "{scenario:?} {metric} is gradual: {half}");
    }
}

#[test]
fn a_fault_strains_its_service_and_callers_later_and_nobody_else() {
    let quiet = series(&events(8, Plan::Quiet));
    for scenario in Scenario::ALL {
        let events = fault_events(8, scenario);
        let truth = only_fault(&events);
        let series = series(&events);
        let mut strained = BTreeSet::new();
        let mut onsets = Vec::new();
        for (key, readings) in &series {
            let first = readings
                .iter()
                .zip(&quiet[key])
                .find(|(one, other)| one != other);
            if let Some(((at_ms, _), _)) = first {
                strained.insert(key.0.as_str());
                onsets.push((key.0.as_str(), *at_ms));
            }
        }
        let affected: BTreeSet<_> = truth.affected.iter().map(String::as_str).collect();
        assert_eq!(strained, affected, "{scenario:?}");
        let onset = |service: &str| {
            let times = onsets.iter().filter(|(name, _)| *name == service);
            times
                .map(|(_, at_ms)| *at_ms)
                .min()
                .expect("it was strained")
        };
        let origin_ms = onset(&truth.service);
        assert_eq!(origin_ms, truth.timestamp_ms + TICK_MS, "{scenario:?}");
        for caller in affected.iter().filter(|name| **name != truth.service) {
            assert!(
                onset(caller) >= origin_ms + TICK_MS,
                "{scenario:?}: {caller}"
            );
        }
    }
}

#[test]
fn the_truth_names_who_is_reached() {
    let reached = |scenario| only_fault(&fault_events(2, scenario)).affected.clone();
    let payment = ["payment-service", "api-gateway", "order-service"];
    assert_eq!(reached(Scenario::LatencySpike), payment);
    assert_eq!(reached(Scenario::DbConnectionExhaustion), payment);
    assert_eq!(
        reached(Scenario::ErrorRateSpike),
        ["order-service", "api-gateway"]
    );
    assert_eq!(reached(Scenario::CpuSaturation), ["api-gateway"]);
    assert_eq!(
        reached(Scenario::MemoryLeak),
        [
            "notification-service",
            "order-service",
            "user-service",
            "api-gateway"
        ]
    );
    assert_eq!(reached(Scenario::KafkaConsumerLag), ["order-service"]);
    assert_eq!(
        reached(Scenario::DeploymentFailure),
        ["user-service", "api-gateway"]
    );
}

#[test]
fn callers_show_the_fault_by_many_sigma() {
    // Uniform jitter of a half-width w has a standard deviation of w / √3.
    let sigma = |service: &str, metric: &str| noise(service, metric) / 3.0_f64.sqrt();
    let latency = "service_latency_p99_ms";
    let errors = "service_error_rate_percent";
    for (scenario, caller, metric, normal) in [
        (Scenario::LatencySpike, "order-service", latency, 280.0),
        (Scenario::LatencySpike, "api-gateway", latency, 120.0),
        (Scenario::ErrorRateSpike, "api-gateway", errors, 0.5),
        (
            Scenario::DbConnectionExhaustion,
            "order-service",
            errors,
            0.5,
        ),
        (Scenario::DeploymentFailure, "api-gateway", errors, 0.5),
        (Scenario::MemoryLeak, "order-service", latency, 280.0),
    ] {
        let series = series(&fault_events(6, scenario));
        let readings = &series[&(caller.to_owned(), metric.to_owned())];
        let highest = readings
            .iter()
            .map(|(_, value)| *value)
            .fold(f64::MIN, f64::max);
        let deviation = (highest - normal) / sigma(caller, metric);
        assert!(
            deviation > 5.0,
            "{scenario:?}: {caller} {metric} only {deviation:.1} sigma"
        );
    }
}

#[test]
fn a_minute_after_its_end_a_fault_has_left_no_trace_in_any_metric() {
    let quiet = series(&events(21, Plan::Quiet));
    for scenario in Scenario::ALL {
        let events = fault_events(21, scenario);
        let normal_from = only_fault(&events).timestamp_ms + scenario.duration_ms() + 60_000;
        for (key, readings) in series(&events) {
            let after = |list: &[(i64, f64)]| -> Vec<(i64, f64)> {
                list.iter()
                    .copied()
                    .filter(|(at_ms, _)| *at_ms >= normal_from)
                    .collect()
            };
            assert_eq!(
                after(&readings),
                after(&quiet[&key]),
                "{scenario:?} {key:?}"
            );
        }
    }
}

#[test]
fn values_keep_their_limits_under_every_fault_on_every_service() {
    for scenario in Scenario::ALL {
        let mut world = world(13, Plan::Quiet);
        world.advance(LIVE_MS);
        for service in Service::ALL {
            let started = world.inject(scenario, Some(service)).is_ok();
            let possible = scenario != Scenario::KafkaConsumerLag
                || ["order-service", "notification-service"].contains(&service.name());
            assert_eq!(started, possible, "{scenario:?} on {}", service.name());
        }
        for ((service, metric), readings) in series(&world.advance(LIVE_MS + 8 * 60_000)) {
            for (_, value) in readings {
                let limit = match metric.as_str() {
                    "service_request_rate" | "service_latency_p99_ms" => 1e6,
                    "kafka_consumer_lag" => 50_200.0,
                    _ => 100.0,
                };
                assert!(
                    (0.0..=limit).contains(&value),
                    "{scenario:?}: {service} {metric} {value}"
                );
                let no_consumer =
                    !["order-service", "notification-service"].contains(&service.as_str());
                assert!(metric != "kafka_consumer_lag" || !no_consumer || value == 0.0);
            }
        }
    }
}

#[test]
fn faults_come_after_a_minute_and_then_with_rest_between() {
    let events = world(17, Plan::Continuous(None)).advance(LIVE_MS + 12 * HOUR_MS);
    let truths = truths(&events);
    let starts: Vec<_> = truths
        .iter()
        .filter(|truth| truth.phase == "started")
        .collect();
    assert_eq!(starts[0].timestamp_ms, LIVE_MS + 60_000);
    assert!(
        starts.len() > 12 * 60 / 11,
        "one every ten minutes at least: {}",
        starts.len()
    );
    for pair in starts.windows(2) {
        let gap_ms = pair[1].timestamp_ms - pair[0].timestamp_ms;
        assert!((300_000..=610_000).contains(&gap_ms), "{gap_ms}");
        assert!(gap_ms - pair[0].duration_ms >= 150_000);
    }
    let scenarios: BTreeSet<_> = starts.iter().map(|truth| truth.scenario.as_str()).collect();
    assert_eq!(scenarios.len(), 7, "in half a day every scenario comes up");
}

#[test]
fn once_means_one_fault_even_in_half_a_day() {
    let events = world(18, Plan::Once(None)).advance(LIVE_MS + 12 * HOUR_MS);
    only_fault(&events);
}

#[test]
fn one_service_has_one_fault_at_a_time_and_the_next_planned_one_waits() {
    let mut world = world(19, Plan::Once(Some(Scenario::ErrorRateSpike)));
    world.advance(LIVE_MS + 34_000);
    let fault = world
        .inject(Scenario::LatencySpike, None)
        .expect("it starts")
        .clone();
    assert_eq!(fault.start_ms, LIVE_MS + 30_000, "with the current tick");
    assert_eq!(
        world
            .inject(Scenario::CpuSaturation, Some(Service::Payment))
            .map(|fault| fault.scenario),
        Err(InjectError::Running {
            service: "payment-service",
            running: "LATENCY_SPIKE"
        })
    );
    assert!(
        world.inject(Scenario::CpuSaturation, None).is_ok(),
        "another service is free"
    );
    let events = world.advance(LIVE_MS + HOUR_MS);
    let starts: Vec<_> = truths(&events)
        .into_iter()
        .filter(|truth| truth.phase == "started")
        .map(|truth| (truth.scenario.as_str(), truth.timestamp_ms - LIVE_MS))
        .collect();
    // The CPU fault runs for 300 s from 30 s; 150 s of rest after that.
    assert_eq!(
        starts,
        [
            ("LATENCY_SPIKE", 30_000),
            ("CPU_SATURATION", 30_000),
            ("ERROR_RATE_SPIKE", 480_000)
        ]
    );
    assert!(events.iter().any(|envelope| matches!(&envelope.event,
        Event::Metric(metric) if metric.service == "payment-service" && metric.metric_value > 7_000.0)));
}

#[test]
fn a_round_of_a_drawn_fleet_strikes_each_scenario_once_where_it_was_drawn() {
    for seed in [3, 4, 5] {
        let variation = Variation::drawn(seed);
        let mut world = World::new(WorldConfig {
            seed,
            environment: "simulation".to_owned(),
            start_ms: START_MS,
            live_ms: LIVE_MS,
            plan: Plan::Round,
            variation: variation.clone(),
        });
        let events = world.advance(LIVE_MS + 3 * HOUR_MS);
        assert!(world.is_over(), "seed {seed}");
        let truths = truths(&events);
        let mut seen = Vec::new();
        let mut last_end_ms = 0;
        for pair in truths.chunks(2) {
            let [started, ended] = pair else {
                panic!("seed {seed}: a fault without its end")
            };
            assert_eq!((&*started.phase, &*ended.phase), ("started", "ended"));
            assert!(started.timestamp_ms > last_end_ms + 100_000, "seed {seed}");
            last_end_ms = ended.timestamp_ms;
            let scenario = Scenario::from_name(&started.scenario).expect("a scenario");
            let strike = variation.strike(scenario);
            assert_eq!(started.service, strike.service.name());
            let stretched = (scenario.duration_ms() as f64 * strike.stretch) as i64;
            assert!((ended.timestamp_ms - started.timestamp_ms - stretched).abs() <= 10_000);
            seen.push(started.scenario.as_str());
        }
        seen.sort_unstable();
        let mut all = Scenario::ALL.map(Scenario::name);
        all.sort_unstable();
        assert_eq!(seen, all, "seed {seed}");
    }
}
