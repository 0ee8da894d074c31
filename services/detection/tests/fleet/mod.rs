//! Recorded inputs for the core: a small fleet with repeatable noise.

#![allow(dead_code, reason = "each test file uses its own part of the fleet")]

use midwatch_detection::config::Tuning;
use midwatch_detection::decide::state::PartitionState;
use midwatch_detection::decide::{At, Detector, Effect, Input};
use midwatch_events::raw::{LogLevel, RawKubernetes, RawLog, RawMetric};
use midwatch_events::{Anomaly, Transition};
use uuid::Uuid;

/// 2026-01-01, a Thursday.
pub const START_MS: i64 = 1_767_225_600_000;
pub const TICK_MS: i64 = 10_000;

/// A linear congruential generator (constants of Numerical Recipes), so that
/// the noise does not depend on any crate's version.
pub struct Noise(pub u64);

impl Noise {
    /// Uniform within ±1.
    pub fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 / (1_u64 << 53) as f64) * 2.0 - 1.0
    }

    pub fn around(&mut self, level: f64, jitter: f64) -> f64 {
        level * (1.0 + jitter * self.next())
    }
}

pub fn metric(service: &str, name: &str, at_ms: i64, value: f64) -> Input {
    Input::Metric(RawMetric {
        timestamp_ms: at_ms,
        service: service.to_owned(),
        environment: "simulation".to_owned(),
        metric_name: name.to_owned(),
        metric_value: value,
        labels: Default::default(),
    })
}

pub fn log(service: &str, level: LogLevel, at_ms: i64, message: &str) -> Input {
    Input::Log(RawLog {
        timestamp_ms: at_ms,
        service: service.to_owned(),
        environment: "simulation".to_owned(),
        level,
        message: message.to_owned(),
        trace_id: None,
        labels: Default::default(),
    })
}

pub fn kubernetes(owner: &str, event_kind: &str, at_ms: i64) -> Input {
    let event: RawKubernetes = serde_json::from_value(serde_json::json!({
        "timestamp_ms": at_ms, "environment": "simulation", "namespace": "shop",
        "kind": "Pod", "name": format!("{owner}-7d9f"), "owner": owner,
        "reason": "Event", "event_kind": event_kind, "message": "as told",
    }))
    .expect("the fields are right");
    Input::Kubernetes(event)
}

/// A detector with one partition, fed one input after the other.
pub struct Rig {
    pub detector: Detector,
    pub state: PartitionState,
    pub next: u128,
    pub wall_ms: i64,
}

impl Rig {
    pub fn new() -> Rig {
        Rig {
            detector: Detector::new(Tuning::default(), "epoch-1"),
            state: PartitionState::default(),
            next: 1,
            wall_ms: START_MS,
        }
    }

    pub fn feed(&mut self, input: Input) -> Vec<Effect> {
        let at = At {
            event_id: Uuid::from_u128(self.next),
            wall_ms: self.wall_ms,
        };
        self.next += 1;
        self.detector.decide(&mut self.state, at, input)
    }

    pub fn anomalies(&mut self, input: Input) -> Vec<Anomaly> {
        anomalies(self.feed(input))
    }

    /// Feeds `count` readings around `level`, ending just before the returned
    /// time; panics if one of them alarms.
    pub fn quiet(
        &mut self,
        service: &str,
        name: &str,
        level: f64,
        jitter: f64,
        from_ms: i64,
        count: i64,
    ) -> i64 {
        let mut noise = Noise(7);
        for tick in 0..count {
            let value = noise.around(level, jitter);
            let found = self.anomalies(metric(service, name, from_ms + tick * TICK_MS, value));
            assert_eq!(found, [], "a quiet series alarmed");
        }
        from_ms + count * TICK_MS
    }
}

pub fn anomalies(effects: Vec<Effect>) -> Vec<Anomaly> {
    effects
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Emit(emission) => Some(emission.anomaly),
            _ => None,
        })
        .collect()
}

pub fn transitions(found: &[Anomaly]) -> Vec<Transition> {
    found.iter().map(|anomaly| anomaly.transition).collect()
}
