//! Worlds to look at.

use midwatch_events::{Envelope, Event, GroundTruth};
use midwatch_simulator::scenario::Scenario;
use midwatch_simulator::variation::Variation;
use midwatch_simulator::world::{Plan, TICK_MS, World, WorldConfig};
use std::collections::BTreeMap;

/// 2026-11-22T00:00:00Z, a full second and far from any overflow.
pub const START_MS: i64 = 1_795_305_600_000;
pub const HISTORY_MS: i64 = 100 * TICK_MS;
pub const LIVE_MS: i64 = START_MS + HISTORY_MS;
pub const HOUR_MS: i64 = 3_600_000;

pub fn world(seed: u64, plan: Plan) -> World {
    World::new(WorldConfig {
        seed,
        environment: "simulation".to_owned(),
        start_ms: START_MS,
        live_ms: LIVE_MS,
        plan,
        variation: Variation::standard(),
    })
}

/// History and fifteen live minutes: room for any single fault.
pub fn events(seed: u64, plan: Plan) -> Vec<Envelope> {
    world(seed, plan).advance(LIVE_MS + 15 * 60_000)
}

pub fn fault_events(seed: u64, scenario: Scenario) -> Vec<Envelope> {
    events(seed, Plan::Once(Some(scenario)))
}

/// Readings by (service, metric), in order of time.
pub type Series = BTreeMap<(String, String), Vec<(i64, f64)>>;

pub fn series(events: &[Envelope]) -> Series {
    let mut series = Series::new();
    for envelope in events {
        if let Event::Metric(metric) = &envelope.event {
            let key = (metric.service.clone(), metric.metric_name.clone());
            let reading = (metric.timestamp_ms, metric.metric_value);
            series.entry(key).or_default().push(reading);
        }
    }
    series
}

pub fn truths(events: &[Envelope]) -> Vec<&GroundTruth> {
    events
        .iter()
        .filter_map(|envelope| match &envelope.event {
            Event::GroundTruth(truth) => Some(truth),
            _ => None,
        })
        .collect()
}

/// The one fault of a world with one fault.
pub fn only_fault(events: &[Envelope]) -> &GroundTruth {
    let truths = truths(events);
    let [started, ended] = truths[..] else {
        panic!("expected one start and one end, found {truths:?}");
    };
    assert_eq!(
        (started.phase.as_str(), ended.phase.as_str()),
        ("started", "ended")
    );
    assert_eq!(started.fault_id, ended.fault_id);
    assert_eq!(
        ended.timestamp_ms,
        started.timestamp_ms + started.duration_ms
    );
    started
}
