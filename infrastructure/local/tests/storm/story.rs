//! The storm: what is said in which environment, drawn from a seed alone.
//!
//! Each environment is one story in acts, of overlapping faults on the fleet
//! of the catalogue: a resource that runs out with its victims, a second fault
//! elsewhere, and a rollout that fails while both last. They grow, worsen,
//! flicker, clear and relapse; words come twice, again and late. An act comes
//! within seconds of wall clock, whatever its event time, and correlation does
//! not speak before it has heard the whole ([`crate::world`]).

use crate::dice::Dice;
use midwatch_events::anomaly::{Anomaly, AnomalyEvidence, AnomalyType, Direction};
use midwatch_events::anomaly::{Severity, Transition};
use midwatch_events::decode::SCHEMA_VERSION;
use midwatch_events::raw::{RawDeployment, RawKubernetes, RawSpan};
use midwatch_events::{Envelope, Event, Meta, ids};
use serde_json::json;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Event time of every story's beginning: it must not depend on the clock, so
/// that a seed says the same at any time.
const BEGUN_MS: i64 = 1_760_000_000_000;
/// Simulated time runs so much faster than the wall.
const SPEED: i64 = 20;
/// Series of the widest fault: more than an incident lists.
const WIDE: usize = 70;

/// What happens between two moments of rest.
#[derive(Clone)]
pub enum Act {
    /// Detection speaks.
    Words(Vec<Envelope>),
    /// Detection speaks, and incidents may end by that.
    Ending(Vec<Envelope>),
    /// A person acknowledges the first incident.
    Acknowledge,
}

/// Members of Redis' sorted sets by key, each with its event time.
type Recent = BTreeMap<String, Vec<(i64, String)>>;

/// One environment.
#[derive(Clone)]
pub struct Story {
    pub environment: String,
    /// Rollouts, Kubernetes events and spans, on the broker before the first
    /// act.
    pub context: Vec<Envelope>,
    pub acts: Vec<Act>,
    /// What detection keeps in Redis, and the names of the series there.
    pub recent: Recent,
    pub series: Vec<String>,
}

/// A series that leaves its range.
#[derive(Clone)]
struct Series {
    id: Uuid,
    service: &'static str,
    metric: String,
    kind: AnomalyType,
    severity: Severity,
    sigma: f64,
    onset_s: i64,
}

struct Writer {
    dice: Dice,
    number: u64,
    seed: u64,
    index: u64,
    environment: String,
}

type Fault = (
    &'static str,
    &'static str,
    AnomalyType,
    &'static [&'static str],
);

const FIRST: [Fault; 3] = [
    (
        "payment-service",
        "service_db_connections",
        AnomalyType::DbConnectionExhaustion,
        &["order-service", "api-gateway"],
    ),
    (
        "inventory-service",
        "service_cpu_percent",
        AnomalyType::CpuSaturation,
        &["order-service", "api-gateway"],
    ),
    (
        "order-service",
        "kafka_consumer_lag",
        AnomalyType::KafkaConsumerLag,
        &["api-gateway"],
    ),
];
const SECOND: [Fault; 2] = [
    (
        "notification-service",
        "service_memory_percent",
        AnomalyType::MemoryLeak,
        &[],
    ),
    (
        "notification-service",
        "kafka_consumer_lag",
        AnomalyType::KafkaConsumerLag,
        &[],
    ),
];
const THIRD: Fault = (
    "user-service",
    "service_error_rate_percent",
    AnomalyType::ErrorRateSpike,
    &["api-gateway"],
);

/// The story of environment `index`; the first one has the widest fault.
pub fn story(seed: u64, index: u64, environment: &str) -> Story {
    let mut writer = Writer {
        dice: Dice::new(seed, index + 1),
        number: 0,
        seed,
        index,
        environment: environment.to_owned(),
    };
    let drawn = FIRST[writer.dice.below(FIRST.len())];
    let first = if index == 0 { FIRST[0] } else { drawn };
    let second = SECOND[writer.dice.below(SECOND.len())];
    let pods = if index == 0 {
        WIDE
    } else {
        4 + writer.dice.below(8)
    };
    let mut a = writer.fault(first, pods, 0);
    let mut b = writer.fault(second, 3, 20);
    let c = writer.fault(THIRD, 3, 150);
    let mut a_later = a.split_off(a.len() * 2 / 3);
    let mut b_later = b.split_off(b.len() / 2);
    for series in a_later.iter_mut().chain(&mut b_later) {
        series.onset_s += 120;
    }
    let context = writer.context(second.0);

    let mut onset = writer.break_out(&a);
    onset.extend(writer.break_out(&b));
    let mut growth = writer.break_out(&a_later);
    growth.extend(writer.break_out(&b_later));
    growth.extend(writer.break_out(&c));
    for series in a.iter().chain(&b).filter(|one| !one.metric.contains(':')) {
        match writer.dice.below(6) {
            0 | 1 => growth.push(writer.worsened(series, 240)),
            2 => growth.extend(writer.flicker(series, 200)),
            _ => {}
        }
    }
    let all: Vec<Series> = a.iter().chain(&a_later).chain(&c).cloned().collect();
    let rest: Vec<Series> = b.iter().chain(&b_later).cloned().collect();
    let mut end = writer.clear(&all, 600);
    end.push(writer.missing(&rest[0], 610));
    end.extend(writer.clear(&rest[1..], 620));
    let again: Vec<Series> = a[..2]
        .iter()
        .map(|series| Series {
            onset_s: 780,
            ..series.clone()
        })
        .collect();
    let mut relapse = writer.break_out(&again);
    relapse.extend(writer.clear(&rest[..1], 790));
    let calm = writer.clear(&again, 1_000);

    let late: Vec<Envelope> = onset.iter().step_by(9).cloned().collect();
    let acts = vec![
        Act::Words(writer.tell(onset)),
        Act::Acknowledge,
        Act::Words(writer.tell(growth)),
        Act::Ending(writer.tell([end, late].concat())),
        Act::Ending(writer.tell(relapse)),
        Act::Ending(writer.tell(calm)),
    ];
    let (recent, series) = writer.recent(&[a, b].concat());
    Story {
        environment: environment.to_owned(),
        context,
        acts,
        recent,
        series,
    }
}

impl Writer {
    /// An id that only seed, environment and number name.
    fn id(&mut self) -> Uuid {
        self.number += 1;
        let parts = [self.seed, self.index, self.number].map(|part| part.to_string());
        ids::derive(&["storm", &parts[0], &parts[1], &parts[2]])
    }

    fn envelope(&mut self, event: Event) -> Envelope {
        let meta = Meta {
            event_id: self.id(),
            cause_id: None,
            schema_version: SCHEMA_VERSION,
            event_time_ms: event.time_ms(),
            producer: "storm".to_owned(),
        };
        Envelope { meta, event }
    }

    /// A fault's root, what it shows there, and its victims.
    fn fault(
        &mut self,
        (root, metric, kind, victims): Fault,
        pods: usize,
        at_s: i64,
    ) -> Vec<Series> {
        let mut list = vec![self.series(root, metric, kind, Severity::Critical, at_s)];
        for (step, service) in std::iter::once(root)
            .chain(victims.iter().copied())
            .enumerate()
        {
            let since_s = at_s + 20 * i64::try_from(step).expect("three services") + 10;
            let slow = AnomalyType::LatencySpike;
            list.push(self.series(
                service,
                "service_latency_p99_ms",
                slow,
                Severity::High,
                since_s,
            ));
            let log = ("log:timeouts", AnomalyType::ErrorRateSpike);
            list.push(self.series(service, log.0, log.1, Severity::Medium, since_s + 5));
            for pod in 0..pods {
                let name = format!("endpoint_latency_p99_ms_{root}_{pod}");
                let at = since_s + self.dice.between(0, 30);
                list.push(self.series(service, &name, slow, Severity::Medium, at));
            }
        }
        list
    }

    fn series(
        &mut self,
        service: &'static str,
        metric: &str,
        kind: AnomalyType,
        severity: Severity,
        onset_s: i64,
    ) -> Series {
        let sigma = 4.0 + f64::from(u8::try_from(self.dice.below(80)).expect("small")) / 10.0;
        let metric = metric.to_owned();
        Series {
            id: self.id(),
            service,
            metric,
            kind,
            severity,
            sigma,
            onset_s,
        }
    }

    fn word(&mut self, series: &Series, transition: Transition, at_s: i64, sigma: f64) -> Envelope {
        let is_normal = transition == Transition::Cleared;
        let readings = if is_normal { 3 } else { 1 };
        let at_ms = BEGUN_MS + at_s * 1_000;
        let value = if is_normal {
            100.0
        } else {
            100.0 + 20.0 * sigma
        };
        let evidence = (0..readings).map(|back| AnomalyEvidence {
            kind: if series.metric.contains(':') {
                "log"
            } else {
                "metric"
            }
            .to_owned(),
            at_ms: at_ms - 10_000 * (readings - 1 - back),
            value: (!series.metric.contains(':')).then_some(value),
            text: String::new(),
            source_event_id: series.id,
        });
        let anomaly = Anomaly {
            anomaly_id: series.id,
            environment: self.environment.clone(),
            transition,
            anomaly_type: series.kind,
            severity: series.severity,
            service: series.service.to_owned(),
            trigger_metric: series.metric.clone(),
            observed_value: value,
            baseline_value: 100.0,
            deviation_sigma: if is_normal { 0.0 } else { sigma },
            anomaly_score: if is_normal { 0.1 } else { 0.95 },
            direction: Direction::Above,
            detected_at_ms: at_ms,
            detected_wall_ms: BEGUN_MS + at_s * 1_000 / SPEED,
            onset_ms: BEGUN_MS + series.onset_s * 1_000,
            description: format!("{} on {} read {value:.0}", series.metric, series.service),
            evidence: evidence.collect(),
        };
        self.envelope(Event::Anomaly(anomaly))
    }

    fn break_out(&mut self, list: &[Series]) -> Vec<Envelope> {
        let mut words = Vec::new();
        for series in list {
            let at_s = series.onset_s + self.dice.between(10, 20);
            words.push(self.word(series, Transition::Started, at_s, series.sigma));
        }
        words
    }

    fn worsened(&mut self, series: &Series, at_s: i64) -> Envelope {
        let at_s = at_s + self.dice.between(0, 40);
        let graver = Series {
            severity: Severity::Critical,
            ..series.clone()
        };
        self.word(&graver, Transition::Worsened, at_s, series.sigma * 1.5)
    }

    /// Normal for a moment, then out of range again.
    fn flicker(&mut self, series: &Series, at_s: i64) -> [Envelope; 2] {
        let calm = self.word(series, Transition::Cleared, at_s, 0.0);
        [
            calm,
            self.word(series, Transition::Started, at_s + 30, series.sigma),
        ]
    }

    fn missing(&mut self, series: &Series, at_s: i64) -> Envelope {
        self.word(series, Transition::Missing, at_s, series.sigma)
    }

    /// What only speaks of a trouble falls silent before the metrics clear.
    fn clear(&mut self, list: &[Series], at_s: i64) -> Vec<Envelope> {
        let mut words = Vec::new();
        for series in list {
            let later_s = if series.metric.contains(':') {
                0
            } else {
                self.dice.between(10, 40)
            };
            words.push(self.word(series, Transition::Cleared, at_s + later_s, 0.0));
        }
        words
    }

    /// Words in the order of event time, some of them twice, some said again.
    fn tell(&mut self, mut words: Vec<Envelope>) -> Vec<Envelope> {
        words.sort_by_key(|word| word.event.time_ms());
        let mut told = Vec::new();
        for word in words {
            told.push(word.clone());
            match self.dice.below(12) {
                0 => told.push(word),
                1 => told.push(self.envelope(word.event)),
                _ => {}
            }
        }
        told
    }

    fn context(&mut self, leaking: &str) -> Vec<Envelope> {
        let environment = self.environment.clone();
        let rollout = |service: &str, at_s: i64, version: &str| RawDeployment {
            timestamp_ms: BEGUN_MS + at_s * 1_000,
            service: service.to_owned(),
            environment: environment.clone(),
            version: version.to_owned(),
            change_type: "deployment".to_owned(),
            git_sha: "0000000".to_owned(),
            deployed_by: "pipeline".to_owned(),
            description: format!("{service} {version}"),
            known_risks: Vec::new(),
            previous_version: None,
        };
        let mut events = vec![
            Event::Deployment(rollout("user-service", 100, "2.4.1")),
            Event::Deployment(rollout("inventory-service", -600, "1.9.0")),
        ];
        for (number, at_s) in [(1, 15), (2, 180)] {
            events.push(Event::Kubernetes(RawKubernetes {
                timestamp_ms: BEGUN_MS + at_s * 1_000,
                environment: environment.clone(),
                cluster: "c".to_owned(),
                namespace: "shop".to_owned(),
                kind: "Pod".to_owned(),
                name: format!("{leaking}-{number}"),
                owner: leaking.to_owned(),
                container: None,
                reason: "OOMKilling".to_owned(),
                event_kind: "OOM_KILLED".to_owned(),
                severity: "CRITICAL".to_owned(),
                message: "the container used more than its limit".to_owned(),
                metadata: serde_json::Map::new(),
                critical: true,
            }));
        }
        for (number, (caller, callee)) in [
            ("api-gateway", "order-service"),
            ("order-service", "payment-service"),
        ]
        .iter()
        .enumerate()
        {
            events.push(Event::Span(RawSpan {
                trace_id: format!("t{number}"),
                span_id: format!("s{number}"),
                parent_span_id: None,
                service: (*caller).to_owned(),
                environment: environment.clone(),
                operation: "call".to_owned(),
                start_ms: BEGUN_MS - 60_000,
                duration_ms: 12.0,
                status: Default::default(),
                labels: [("peer.service".to_owned(), (*callee).to_owned())].into(),
            }));
        }
        events
            .into_iter()
            .map(|event| self.envelope(event))
            .collect()
    }

    /// Fifteen minutes of readings before the first act and half a minute of
    /// it, and what the services complain about.
    fn recent(&mut self, list: &[Series]) -> (Recent, Vec<String>) {
        let mut recent = Recent::new();
        let mut names = Vec::new();
        for series in list.iter().filter(|one| one.metric.starts_with("service_")) {
            let (environment, service, metric) =
                (&self.environment, series.service, &series.metric);
            let key = format!("midwatch:recent:{environment}:{service}:{metric}");
            for step in -30..2_i64 {
                let at_ms = BEGUN_MS + step * 30_000;
                let is_out = at_ms >= BEGUN_MS + series.onset_s * 1_000;
                let excess = if is_out { 20.0 * series.sigma } else { 0.0 };
                let jitter = f64::from(u8::try_from(self.dice.below(9)).expect("small"));
                let reading = json!([
                    at_ms,
                    96.0 + jitter + excess,
                    0.1,
                    100.0,
                    90.0,
                    110.0,
                    BEGUN_MS,
                    series.id,
                    ""
                ]);
                recent
                    .entry(key.clone())
                    .or_default()
                    .push((at_ms, reading.to_string()));
            }
            names.push(format!("{service}\u{0}{metric}"));
            if series.metric != "service_latency_p99_ms" {
                continue;
            }
            let key = format!("midwatch:logs:{environment}:{service}");
            for line in 0..5_i64 {
                let at_ms = BEGUN_MS + series.onset_s * 1_000 + line * 3_000;
                let said = json!({"timestamp_ms": at_ms, "level": "ERROR", "event_id": series.id,
                    "message": format!("request {line} timed out in {service}")});
                recent
                    .entry(key.clone())
                    .or_default()
                    .push((at_ms, said.to_string()));
            }
        }
        (recent, names)
    }
}
