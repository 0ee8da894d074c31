//! The world: virtual time in, events out.
//!
//! Deterministic: the same configuration, the same injections at the same
//! virtual moments and the same target times give the same events byte for
//! byte, however the way there is cut into steps.

use crate::changes;
use crate::fleet::{Call, MAX_DELAY_TICKS, METRICS, Metric, SERVICES, Service, Strain};
use crate::logs::{self, Line, Scene};
use crate::noise::{Jitter, stream};
use crate::scenario::{AFTERMATH_MS, Fault, Happening, Release, Scenario};
use crate::spans::{self, Snapshot};
use crate::trials::Strike;
use midwatch_events::decode::SCHEMA_VERSION;
use midwatch_events::raw::{Labels, LogLevel, SpanStatus};
use midwatch_events::{Envelope, Event, GroundTruth, Meta, RawLog, RawMetric, ids};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::VecDeque;

mod act;
mod oddity;
mod schedule;

pub use schedule::{FIRST_FAULT_MS, InjectError, Plan, WorldConfig};

/// Metrics are read this often.
pub const TICK_MS: i64 = 10_000;
/// The world's smallest step.
pub const STEP_MS: i64 = 1_000;
/// The producer's name in every event.
pub const PRODUCER: &str = "midwatch.simulator";

struct LogSource {
    rng: StdRng,
    next_ms: i64,
}

/// The simulated fleet.
pub struct World {
    config: WorldConfig,
    now_ms: i64,
    jitter: Vec<[Jitter; METRICS]>,
    logs: Vec<LogSource>,
    span_rng: StdRng,
    schedule_rng: StdRng,
    patches: [u32; SERVICES],
    versions: [String; SERVICES],
    /// What the case of the fleet released.
    case_release: Option<Release>,
    faults: Vec<Fault>,
    next: Option<Fault>,
    /// The scenarios of [`Plan::Round`] that are still to come, last first.
    round: Vec<Scenario>,
    /// The faults of the fleet's trials that are still to come, last first.
    strikes: Vec<Strike>,
    /// What people and agents did.
    deeds: act::Deeds,
    /// What each service felt of its callees at the last tick.
    felt: [Strain; SERVICES],
    /// All strain of the last ticks, newest first.
    past: VecDeque<[Strain; SERVICES]>,
    /// A trace of the last tick for each service, a failed one if there is one.
    traces: [Option<String>; SERVICES],
    out: Vec<Envelope>,
    /// Events of the current step, part of their ids.
    index: usize,
}

impl World {
    /// A world at its first moment, with its first fault planned.
    #[must_use]
    pub fn new(config: WorldConfig) -> World {
        let seed = config.seed;
        let jitter = Service::ALL
            .iter()
            .map(|service| {
                Metric::ALL.map(|metric| {
                    Jitter::new(seed, service.name(), metric.name(), config.variation.noise)
                })
            })
            .collect();
        let logs = Service::ALL
            .iter()
            .map(|service| {
                let mut rng = stream(seed, &["logs", service.name()]);
                let next_ms = config.start_ms + rng.random_range(0..3_000);
                LogSource { rng, next_ms }
            })
            .collect();
        let mut world = World {
            now_ms: config.start_ms,
            jitter,
            logs,
            span_rng: stream(seed, &["spans"]),
            schedule_rng: stream(seed, &["schedule"]),
            patches: [0; SERVICES],
            versions: Service::ALL.map(|service| version(service, 0)),
            case_release: None,
            faults: Vec::new(),
            next: None,
            round: Vec::new(),
            strikes: Vec::new(),
            deeds: act::Deeds::default(),
            felt: [Strain::default(); SERVICES],
            past: VecDeque::new(),
            traces: std::array::from_fn(|_| None),
            out: Vec::new(),
            index: 0,
            config,
        };
        world.plan_first();
        world
    }

    /// The current simulated time, epoch milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// The faults that run, fade or have just faded.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Whether no fault runs or fades and none comes by itself any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let trials = &self.config.variation.trials;
        let is_past = trials
            .last()
            .is_none_or(|last| last.slot.end <= self.now_ms);
        self.faults.is_empty() && self.next.is_none() && self.strikes.is_empty() && is_past
    }

    /// The next fault that comes by itself.
    #[must_use]
    pub fn next_fault(&self) -> Option<&Fault> {
        self.next.as_ref()
    }

    /// Lives until `until_ms` and returns everything that happened, in order.
    pub fn advance(&mut self, until_ms: i64) -> Vec<Envelope> {
        while self.now_ms + STEP_MS <= until_ms {
            self.now_ms += STEP_MS;
            self.index = 0;
            self.start_planned();
            self.happen();
            self.case_happens();
            self.trial_happens();
            self.talk();
            if (self.now_ms - self.config.start_ms) % TICK_MS == 0 {
                self.tick();
            }
            let now_ms = self.now_ms;
            self.faults
                .retain(|fault| now_ms < fault.end_ms() + AFTERMATH_MS);
        }
        std::mem::take(&mut self.out)
    }

    /// Lets happen what is due in the life of each fault.
    fn happen(&mut self) {
        for index in 0..self.faults.len() {
            let due: Vec<_> = self.faults[index]
                .happenings()
                .into_iter()
                .skip(self.faults[index].happened)
                .take_while(|(at_ms, _)| *at_ms <= self.now_ms)
                .collect();
            self.faults[index].happened += due.len();
            for (at_ms, what) in due {
                if what == Happening::Deployed {
                    self.faults[index].release = Some(self.release(self.faults[index].service));
                }
                let fault = self.faults[index].clone();
                self.report(&fault, at_ms, what);
            }
        }
    }

    fn report(&mut self, fault: &Fault, at_ms: i64, what: Happening) {
        let seed = self.config.seed;
        let service = fault.service;
        let environment = self.config.environment.clone();
        let place = (service, environment.as_str(), at_ms);
        let running = self.versions[service as usize].clone();
        let pod = |replica| changes::pod(seed, service, &running, replica);
        let above = |metric: Metric| metric.normal(service) + fault.strain_at(at_ms).of(metric);
        match (what, &fault.release) {
            (Happening::Deployed, Some(release)) => self.announce(service, at_ms, release),
            (Happening::RolloutBegan, Some(release)) => {
                let event = changes::rollout(seed, place, release, false);
                self.emit(at_ms, Event::Kubernetes(event));
            }
            (Happening::RolloutEnded, Some(release)) => {
                let event = changes::rollout(seed, place, release, true);
                self.emit(at_ms, Event::Kubernetes(event));
            }
            (Happening::OomKilled(replica), _) => {
                self.log(service, at_ms, logs::last_words(service));
                let event = changes::oom_killed(place, pod(replica), above(Metric::Memory));
                self.emit(at_ms, Event::Kubernetes(event));
            }
            (Happening::ProbeFailed, _) => {
                let event = changes::probe_failed(place, pod(0), above(Metric::Cpu));
                self.emit(at_ms, Event::Kubernetes(event));
            }
            (Happening::Started | Happening::Ended | Happening::EndedByAction, _) => {
                self.reveal(fault, at_ms, what);
            }
            (Happening::Deployed | Happening::RolloutBegan | Happening::RolloutEnded, None) => {}
        }
    }

    /// Tells the ground truth.
    fn reveal(&mut self, fault: &Fault, at_ms: i64, what: Happening) {
        let phase = match what {
            Happening::Started => "started",
            Happening::EndedByAction => "ended_by_action",
            _ => "ended",
        };
        let mut affected = vec![fault.service.name().to_owned()];
        affected.extend(fault.reaches.iter().map(|one| one.name().to_owned()));
        let truth = GroundTruth {
            fault_id: fault.id.clone(),
            scenario: fault.scenario.name().to_owned(),
            service: fault.service.name().to_owned(),
            environment: self.config.environment.clone(),
            phase: phase.to_owned(),
            timestamp_ms: at_ms,
            // The world knows no wall clock; whoever publishes fills this in.
            wall_ms: 0,
            duration_ms: fault.duration_ms,
            affected,
            seed: self.config.seed,
        };
        self.emit(at_ms, Event::GroundTruth(truth));
    }

    /// Every service says what it has to say since the last step.
    fn talk(&mut self) {
        let mut lines: Vec<(i64, Service, Line)> = Vec::new();
        for service in Service::ALL {
            while self.logs[service as usize].next_ms <= self.now_ms {
                let at_ms = self.logs[service as usize].next_ms;
                let fault = self
                    .faults
                    .iter()
                    .filter(|fault| fault.service == service && fault.intensity_at(at_ms) > 0.0)
                    .max_by(|one, other| {
                        one.intensity_at(at_ms)
                            .total_cmp(&other.intensity_at(at_ms))
                    });
                let own = self.own_strain(service, at_ms);
                let scene = Scene {
                    service,
                    at_ms,
                    fault,
                    callee: self.worst_callee(service),
                    case: (self.config.variation.case.as_ref())
                        .filter(|case| case.service == service),
                    usual: self.usual(service, at_ms),
                    strain: own.plus(self.felt[service as usize]),
                    version: &self.versions[service as usize],
                };
                let source = &mut self.logs[service as usize];
                let line = logs::line(&scene, &mut source.rng);
                source.next_ms += source.rng.random_range(2_000..4_000);
                lines.push((at_ms, service, line));
            }
        }
        lines.sort_by_key(|(at_ms, ..)| *at_ms);
        for (at_ms, service, line) in lines {
            self.log(service, at_ms, line);
        }
    }

    fn own_strain(&self, service: Service, at_ms: i64) -> Strain {
        let of_case = self
            .case_of(service)
            .map_or(Strain::default(), |case| case.strain_at(at_ms));
        let of_trial = self
            .trial_at(at_ms)
            .map_or(Strain::default(), |trial| trial.strain(service, at_ms));
        let of_actions = self.strain_of_actions(service, at_ms);
        self.faults
            .iter()
            .filter(|fault| fault.service == service)
            .fold(of_case.plus(of_trial).plus(of_actions), |sum, fault| {
                sum.plus(fault.strain_at(at_ms))
            })
    }

    /// The strain of a callee as it has travelled to the caller by the last tick.
    fn trouble(&self, call: &Call, ticks_since: usize) -> Strain {
        self.past
            .get(call.delay_ticks - ticks_since)
            .map_or(Strain::default(), |all| all[call.callee as usize])
    }

    fn worst_callee(&self, service: Service) -> Option<(Call, Strain)> {
        let weight = |(call, trouble): &(Call, Strain)| {
            let felt = call.felt(trouble);
            felt.latency_ms + 100.0 * felt.error_percent
        };
        self.config
            .variation
            .calls
            .iter()
            .filter(|call| call.caller == service)
            .map(|call| (*call, self.trouble(call, 0)))
            .filter(|(_, trouble)| trouble.latency_ms > 0.0 || trouble.error_percent > 0.0)
            .max_by(|one, other| weight(one).total_cmp(&weight(other)))
    }

    /// Reads every metric and samples some traces.
    fn tick(&mut self) {
        let own = Service::ALL.map(|service| self.own_strain(service, self.now_ms));
        self.felt = Service::ALL.map(|service| {
            self.config
                .variation
                .calls
                .iter()
                .filter(|call| call.caller == service)
                .fold(Strain::default(), |sum, call| {
                    sum.plus(call.felt(&self.trouble(call, 1)))
                })
        });
        let total = Service::ALL.map(|one| own[one as usize].plus(self.felt[one as usize]));
        self.past.push_front(total);
        self.past.truncate(MAX_DELAY_TICKS + 1);
        for service in Service::ALL {
            let usual = self.usual(service, self.now_ms);
            for (index, metric) in Metric::ALL.into_iter().enumerate() {
                let jitter =
                    self.config.variation.noise_width * self.jitter[service as usize][index].draw();
                let Some(width) = self.jitter_width(service, metric) else {
                    continue;
                };
                let value = reading(
                    metric,
                    usual[index],
                    &total[service as usize],
                    width * jitter,
                );
                self.emit(
                    self.now_ms,
                    Event::Metric(RawMetric {
                        timestamp_ms: self.now_ms,
                        service: service.name().to_owned(),
                        environment: self.config.environment.clone(),
                        metric_name: metric.name().to_owned(),
                        metric_value: value,
                        labels: Labels::from([("service".to_owned(), service.name().to_owned())]),
                    }),
                );
            }
        }
        let snapshot = Snapshot {
            at_ms: self.now_ms,
            environment: &self.config.environment,
            calls: &self.config.variation.calls,
            own: &own,
            versions: &self.versions,
        };
        let mut spans = spans::traces(&snapshot, &mut self.span_rng);
        spans.retain(|span| !self.is_cut_off(&span.service));
        for service in Service::ALL {
            let mut of_service = spans.iter().filter(|span| span.service == service.name());
            let any = of_service.clone().next();
            let trace = of_service
                .find(|span| span.status == SpanStatus::Error)
                .or(any);
            self.traces[service as usize] = trace.map(|span| span.trace_id.clone());
        }
        for span in spans {
            self.emit(span.start_ms, Event::Span(span));
        }
    }

    fn log(&mut self, service: Service, at_ms: i64, (level, message): Line) {
        let trace_id = (level >= LogLevel::Warn)
            .then(|| self.traces[service as usize].clone())
            .flatten();
        let version = self.versions[service as usize].clone();
        let log = RawLog {
            timestamp_ms: at_ms,
            service: service.name().to_owned(),
            environment: self.config.environment.clone(),
            level,
            message,
            trace_id,
            labels: Labels::from([("version".to_owned(), version)]),
        };
        self.emit(at_ms, Event::Log(log));
    }

    fn emit(&mut self, event_time_ms: i64, event: Event) {
        let parts = [
            self.config.seed.to_string(),
            self.config.start_ms.to_string(),
            self.now_ms.to_string(),
            self.index.to_string(),
        ];
        self.index += 1;
        let [seed, start, now, index] = &parts;
        let event_id = ids::derive(&[
            "simulator",
            &self.config.environment,
            seed,
            start,
            now,
            index,
        ]);
        self.out.push(Envelope {
            meta: Meta {
                event_id,
                cause_id: None,
                schema_version: SCHEMA_VERSION,
                event_time_ms,
                producer: PRODUCER.to_owned(),
            },
            event,
        });
    }
}

fn version(service: Service, patch: u32) -> String {
    format!("v2.{}.{patch}", service.profile().minor_version)
}

/// The reading of a metric under strain. Jitter is a part of the usual value;
/// towards a metric's limit it shrinks with the room that is left, because a
/// full pool reads full and not eight percent more or less.
fn reading(metric: Metric, normal: f64, strain: &Strain, jitter: f64) -> f64 {
    let strain = strain.of(metric);
    let room = metric.limit().map_or(1.0, |limit| {
        (1.0 - strain / (limit - normal)).clamp(0.0, 1.0)
    });
    let value = normal * (1.0 + metric.jitter() * jitter * room) + strain;
    metric.round(value.clamp(0.0, metric.limit().unwrap_or(f64::MAX)))
}
