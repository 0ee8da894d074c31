//! A fleet without faults.

#[allow(dead_code, reason = "each test file uses part of it")]
mod common;

use common::{HOUR_MS, LIVE_MS, START_MS, events, series, world};
use midwatch_events::topology::Topology;
use midwatch_events::{Coordinates, Envelope, decode, knowledge::Catalogue};
use midwatch_simulator::fleet::{CALLS, Metric, Service};
use midwatch_simulator::scenario::Scenario;
use midwatch_simulator::world::Plan;
use std::collections::BTreeSet;

fn bytes(events: &[Envelope]) -> Vec<Vec<u8>> {
    events.iter().map(Envelope::encode).collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes_however_time_is_cut() {
    let plan = Plan::Continuous(Some(Scenario::DeploymentFailure));
    let until_ms = LIVE_MS + 20 * 60_000;
    let whole = world(41, plan).advance(until_ms);
    let mut other = world(41, plan);
    let mut pieces = Vec::new();
    let mut at_ms = START_MS;
    while at_ms < until_ms {
        at_ms += 700 + at_ms % 9_001;
        pieces.extend(other.advance(at_ms.min(until_ms)));
    }
    assert_eq!(bytes(&whole), bytes(&pieces));
    assert_ne!(bytes(&whole), bytes(&world(42, plan).advance(until_ms)));
}

#[test]
fn every_event_has_its_own_id_and_is_read_back_unchanged() {
    let events = events(5, Plan::Continuous(None));
    let ids: BTreeSet<_> = events
        .iter()
        .map(|envelope| envelope.meta.event_id)
        .collect();
    assert_eq!(ids.len(), events.len());
    for envelope in &events {
        let topic = envelope.event.topic();
        let coordinates = Coordinates {
            epoch: "test".to_owned(),
            topic: topic.name().to_owned(),
            partition: 0,
            offset: 0,
            record_ms: START_MS,
        };
        let read = decode(topic, &envelope.encode(), &coordinates).expect("it decodes");
        assert_eq!(&read, envelope);
    }
}

/// The parts of REFERENCE's jitter, by metric.
fn jitter(metric: &str) -> f64 {
    match metric {
        "service_error_rate_percent" => 0.30,
        "service_memory_percent" => 0.05,
        "kafka_consumer_lag" => 0.50,
        _ => 0.08,
    }
}

#[test]
fn quiet_readings_stay_within_their_jitter_and_spread_over_it() {
    let series = series(&world(11, Plan::Quiet).advance(START_MS + 3 * HOUR_MS));
    assert_eq!(series.len(), 42);
    for ((service, name), readings) in series {
        assert_eq!(readings.len(), 3 * 360, "{service} {name}: one every 10 s");
        let metric = Metric::ALL.into_iter().find(|metric| metric.name() == name);
        let normal = metric
            .expect("a known metric")
            .normal(Service::from_name(&service).expect("a known service"));
        let values = readings.iter().map(|(_, value)| *value);
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let most = normal * jitter(&name);
        let rounding = if name == "kafka_consumer_lag" {
            0.5
        } else {
            0.005
        };
        assert!(
            low >= normal - most - rounding,
            "{service} {name}: {low} is too low"
        );
        assert!(
            high <= normal + most + rounding,
            "{service} {name}: {high} is too high"
        );
        assert!(
            high - low >= 1.9 * most,
            "{service} {name}: only {low} to {high}"
        );
    }
}

/// Sample standard deviations from the mean of `window`.
fn deviation(window: &[f64], value: f64) -> f64 {
    let count = window.len() as f64;
    let mean = window.iter().sum::<f64>() / count;
    let square = |value: &f64| (value - mean).powi(2);
    let variance = window.iter().map(square).sum::<f64>() / (count - 1.0);
    if variance == 0.0 {
        assert!(
            (value - mean).abs() < f64::EPSILON,
            "a constant series moved to {value}"
        );
        return 0.0;
    }
    (value - mean).abs() / variance.sqrt()
}

#[test]
fn no_quiet_series_deviates_by_two_and_a_half_sigma() {
    for seed in [1, 77, 4_242, 1_000_003, 9_999_999_967] {
        let series = series(&world(seed, Plan::Quiet).advance(START_MS + 3 * HOUR_MS));
        for ((service, name), readings) in series {
            let values: Vec<f64> = readings.iter().map(|(_, value)| *value).collect();
            // A detector may start cold at any moment: it judges by the last
            // ten readings first and by fifty in the end.
            for size in [10, 11, 12, 13, 15, 18, 22, 27, 35, 50] {
                for at in size..values.len() {
                    let sigma = deviation(&values[at - size..at], values[at]);
                    assert!(
                        sigma < 2.5,
                        "seed {seed}: {service} {name} {at}/{size}: {sigma:.2}"
                    );
                }
            }
        }
    }
}

fn edges(graph: &Topology) -> BTreeSet<(String, String)> {
    graph
        .edges()
        .map(|(caller, callee, _)| (caller.to_owned(), callee.to_owned()))
        .collect()
}

#[test]
fn the_catalogue_misses_three_edges_keeps_a_stale_one_and_knows_what_is_normal() {
    let catalogue = Catalogue::parse(include_str!("../../knowledge/services.json"))
        .expect("the catalogue is readable");
    let written = edges(&catalogue.topology());
    let real: BTreeSet<_> = CALLS
        .iter()
        .map(|call| (call.caller.name().to_owned(), call.callee.name().to_owned()))
        .collect();
    let pairs = |names: &[(&str, &str)]| -> BTreeSet<(String, String)> {
        let owned = |(one, other): &(&str, &str)| ((*one).to_owned(), (*other).to_owned());
        names.iter().map(owned).collect()
    };
    assert_eq!(
        &real - &written,
        pairs(&[
            ("api-gateway", "inventory-service"),
            ("order-service", "notification-service"),
            ("user-service", "notification-service"),
        ])
    );
    assert_eq!(
        &written - &real,
        pairs(&[("order-service", "inventory-service")])
    );
    for service in Service::ALL {
        let entry = catalogue
            .get(service.name())
            .expect("the service is recorded");
        let baseline = &entry.rest["baseline"];
        let profile = service.profile();
        for (field, value) in [
            ("rps", profile.rps),
            ("p99_ms", profile.p99_ms),
            ("cpu_percent", profile.cpu_percent),
            ("memory_percent", profile.memory_percent),
            ("db_connections", profile.connections),
            ("kafka_consumer_lag", profile.consumer_lag),
        ] {
            assert_eq!(
                baseline[field].as_f64(),
                Some(value),
                "{} {field}",
                service.name()
            );
        }
    }
}
