//! What holds for every stream.

mod fleet;

use fleet::{Rig, START_MS, kubernetes, log, metric};
use midwatch_detection::decide::samples::Sample;
use midwatch_detection::decide::state::{Change, PartitionState};
use midwatch_detection::decide::table::SeriesName;
use midwatch_detection::decide::{At, Effect, Input};
use midwatch_events::raw::LogLevel;
use midwatch_events::{Anomaly, Transition};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const METRICS: [&str; 5] = [
    "service_latency_p99_ms",
    "service_error_rate_percent",
    "service_request_rate",
    "host_cpu_percent",
    "queue_depth",
];
const LINES: [&str; 5] = [
    "fine",
    "timed out",
    "out of memory",
    "no such order",
    "connection refused",
];

/// (what, service, time step, level, value)
type Step = (u8, u8, i64, u8, f64);

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => 90.0..110.0_f64,
        2 => 0.0..10_000.0_f64,
        1 => prop::num::f64::NORMAL | prop::num::f64::ZERO,
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(
        (0..12_u8, 0..2_u8, -20_000..40_000_i64, 0..5_u8, value()),
        1..400,
    )
}

fn inputs(steps: &[Step]) -> Vec<Input> {
    let mut now_ms = START_MS;
    steps
        .iter()
        .map(|(what, service, step_ms, level, value)| {
            now_ms += (*step_ms).max(0);
            let at_ms = now_ms + (*step_ms).min(0);
            let service = ["a", "b"][usize::from(*service)];
            match what {
                0..=8 => metric(service, METRICS[usize::from(what % 5)], at_ms, *value),
                9..=10 => {
                    let level = [
                        LogLevel::Info,
                        LogLevel::Warn,
                        LogLevel::Error,
                        LogLevel::Error,
                        LogLevel::Fatal,
                    ][usize::from(*level)];
                    log(
                        service,
                        level,
                        at_ms,
                        LINES[usize::from(*service == *"a") + usize::from(what % 2) * 2],
                    )
                }
                _ => kubernetes(
                    service,
                    ["OOM_KILLED", "PROBE_FAILED", "ROLLOUT", "CRASH_LOOP", "X"]
                        [usize::from(*level)],
                    at_ms,
                ),
            }
        })
        .collect()
}

fn emitted(effects: &[Effect]) -> Vec<Anomaly> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Emit(emission) => Some(emission.anomaly.clone()),
            _ => None,
        })
        .collect()
}

/// What a checkpoint has put away, and one that is under way.
#[derive(Default)]
struct Storage {
    fields: BTreeMap<String, String>,
    at: usize,
    written: Vec<Change>,
    begun_at: usize,
}

impl Storage {
    /// Takes one piece; begins and ends checkpoints.
    fn go_on(&mut self, rig: &mut Rig, index: usize, size: usize) {
        if rig.state.frozen() == 0 {
            self.written.clear();
            rig.state.freeze();
            self.begun_at = index;
        }
        self.written.extend(rig.state.piece(size));
        if rig.state.frozen() == 0 {
            for (field, value) in self.written.drain(..) {
                match value {
                    Some(value) => self.fields.insert(field, value),
                    None => self.fields.remove(&field),
                };
            }
            self.at = self.begun_at;
        }
    }

    fn restart(&self) -> Rig {
        let mut rig = Rig::new();
        rig.state = PartitionState::restore(self.fields.clone()).expect("it was stored");
        rig.next += self.at as u128;
        rig
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_restart_anywhere_changes_nothing(steps in steps(), every in 1..40_usize) {
        let (mut whole, mut split) = (Rig::new(), Rig::new());
        let mut stored: BTreeMap<String, String> = BTreeMap::new();
        for (index, input) in inputs(&steps).into_iter().enumerate() {
            let expected = whole.feed(input.clone());
            prop_assert_eq!(split.feed(input), expected);
            if index % every == 0 {
                for (field, value) in split.state.take_changes() {
                    match value {
                        Some(value) => stored.insert(field, value),
                        None => stored.remove(&field),
                    };
                }
                split.state = PartitionState::restore(stored.clone()).expect("what was stored is readable");
            }
        }
        prop_assert_eq!(split.state.dump(), whole.state.dump());
    }

    /// As the process does it: a checkpoint begins at one place, is given out
    /// in pieces while samples go on, and a crash somewhere later begins again
    /// at the last one that was complete.
    #[test]
    fn a_crash_anywhere_changes_nothing(
        steps in steps(),
        size in 1..6_usize,
        crashes in prop::collection::vec(1..120_usize, 1..5),
    ) {
        let inputs = inputs(&steps);
        let mut whole = Rig::new();
        let expected: Vec<Vec<Effect>> =
            inputs.iter().map(|input| whole.feed(input.clone())).collect();
        let mut rig = Rig::new();
        let mut stored = Storage::default();
        let mut index = 0;
        for crash in crashes.into_iter().chain([usize::MAX]) {
            for _ in 0..crash {
                let Some(input) = inputs.get(index) else { break };
                prop_assert_eq!(&rig.feed(input.clone()), &expected[index]);
                index += 1;
                stored.go_on(&mut rig, index, size);
            }
            if index < inputs.len() {
                index = stored.at;
                rig = stored.restart();
            }
        }
        prop_assert_eq!(rig.state.dump(), whole.state.dump());
    }

    #[test]
    fn numbers_are_finite_and_scores_within_one(steps in steps()) {
        let mut rig = Rig::new();
        for input in inputs(&steps) {
            for effect in rig.feed(input) {
                let numbers = match &effect {
                    Effect::Emit(emission) => {
                        let anomaly = &emission.anomaly;
                        prop_assert!((0.0..=1.0).contains(&anomaly.anomaly_score));
                        prop_assert!(!anomaly.evidence.is_empty());
                        vec![anomaly.observed_value, anomaly.baseline_value, anomaly.deviation_sigma]
                    }
                    Effect::RememberReading { reading, .. } => {
                        prop_assert!((0.0..=1.0).contains(&reading.score));
                        vec![reading.value, reading.expected, reading.low, reading.high]
                    }
                    _ => vec![],
                };
                prop_assert!(numbers.iter().all(|number| number.is_finite()), "{effect:?}");
            }
        }
    }

    #[test]
    fn the_way_without_allocations_decides_the_same(steps in steps()) {
        let (mut general, mut short) = (Rig::new(), Rig::new());
        for input in inputs(&steps) {
            let expected = general.feed(input.clone());
            let Input::Metric(metric) = input else {
                short.feed(input);
                continue;
            };
            let at = At { event_id: Uuid::from_u128(short.next), wall_ms: short.wall_ms };
            short.next += 1;
            let sample = Sample {
                environment: &metric.environment,
                service: &metric.service,
                series: &metric.metric_name,
                at_ms: metric.timestamp_ms,
                value: metric.metric_value,
            };
            let mut effects = Vec::new();
            let kept = short.detector.sample(&mut short.state, at, sample, &mut effects);
            let mut readings = Vec::new();
            let others: Vec<Effect> = expected
                .into_iter()
                .filter(|effect| match effect {
                    Effect::RememberReading { environment, service, series, reading } => {
                        let name = SeriesName::new(environment, service, series);
                        readings.push((name, reading.clone()));
                        false
                    }
                    _ => true,
                })
                .collect();
            prop_assert_eq!(effects, others);
            let kept: Vec<_> = kept.into_iter().map(|kept| (kept.name, kept.reading)).collect();
            prop_assert_eq!(kept, readings);
        }
        prop_assert_eq!(short.state.dump(), general.state.dump());
    }

    #[test]
    fn duplicated_samples_cause_no_transition(steps in steps()) {
        let (mut once, mut twice) = (Rig::new(), Rig::new());
        for input in inputs(&steps) {
            let expected = emitted(&once.feed(input.clone()));
            prop_assert_eq!(emitted(&twice.feed(input.clone())), expected);
            twice.next -= 1;
            let repeated = emitted(&twice.feed(input));
            prop_assert_eq!(repeated, vec![]);
        }
    }

    /// What opens, closes; nothing clears that was not open; no event id is
    /// used twice.
    #[test]
    fn transitions_come_in_a_legal_order(steps in steps()) {
        let mut rig = Rig::new();
        let mut open = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for input in inputs(&steps) {
            for effect in rig.feed(input) {
                let Effect::Emit(emission) = effect else { continue };
                prop_assert!(ids.insert(emission.event_id), "an event id twice: {emission:?}");
                let anomaly = emission.anomaly;
                let key = (anomaly.service.clone(), anomaly.trigger_metric.clone(), anomaly.anomaly_id);
                match anomaly.transition {
                    Transition::Started | Transition::Missing => { open.insert(key); }
                    Transition::Worsened => prop_assert!(open.contains(&key), "{anomaly:?}"),
                    Transition::Cleared => prop_assert!(open.remove(&key), "{anomaly:?}"),
                }
                let per_series: BTreeSet<_> = open.iter().map(|(s, m, _)| (s, m)).collect();
                prop_assert_eq!(per_series.len(), open.len(), "two open anomalies of one series");
            }
        }
    }
}
