//! The pure core: state + input → effects. No clock, no randomness, no I/O.
//!
//! One [`PartitionState`] belongs to one partition of one topic. The same
//! inputs in the same order give the same effects, wherever in between the
//! state was put away and fetched again.

pub mod budget;
pub mod burn;
pub mod clock;
mod exact;
pub mod forecast;
pub mod kubernetes;
mod logs;
pub mod naming;
pub mod occurrences;
pub mod rules;
pub mod samples;
pub mod semantics;
pub mod series;
mod single;
pub mod spans;
pub mod state;
pub mod statistics;
mod sweep;
pub mod table;
pub mod templates;
pub mod transition;
pub mod watch;

use crate::config::Tuning;
use budget::Goals;
use midwatch_events::knowledge::Catalogue;
use midwatch_events::raw::{LogLevel, RawKubernetes, RawLog, RawMetric, RawSpan, SpanStatus};
use midwatch_events::{AnomalyType, Event};
use occurrences::Quote;
use samples::{Kept, Sample};
use semantics::Meaning;
use state::{Environment, Field, PartitionState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use transition::{Emission, Origin, Reading, Sketch};
use uuid::Uuid;

/// Services with log or span statistics, per partition and environment.
const MAX_SERVICES: usize = 10_000;

/// The record behind an input.
#[derive(Clone, Copy, Debug)]
pub struct At {
    pub event_id: Uuid,
    /// Record time, or the wall clock for [`Input::Idle`], epoch milliseconds.
    pub wall_ms: i64,
}

/// What the world says.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Metric(RawMetric),
    Log(RawLog),
    Span(RawSpan),
    Kubernetes(RawKubernetes),
    /// The partition is at its end and nothing has come for a while. The
    /// latest event times of the environments in other partitions come along.
    Idle(BTreeMap<String, i64>),
    /// A model named the kind of an anomaly that the rules had no name for.
    Classified {
        environment: String,
        service: String,
        trigger_metric: String,
        anomaly_id: Uuid,
        kind: AnomalyType,
    },
}

/// Why a sample was not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// Not newer than what its series has seen, or long past.
    Late,
    /// Not a finite number.
    NotFinite,
    /// The partition watches as many series as it may.
    TooMany,
}

impl Ignored {
    /// The word for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Ignored::Late => "late",
            Ignored::NotFinite => "not_finite",
            Ignored::TooMany => "too_many_series",
        }
    }
}

/// What must happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Publish a transition.
    Emit(Box<Emission>),
    /// Keep a reading for other agents and people.
    RememberReading {
        environment: String,
        service: String,
        series: String,
        reading: Reading,
    },
    /// Keep a log line.
    RememberLog { event_id: Uuid, log: RawLog },
    /// Keep a span.
    RememberSpan { event_id: Uuid, span: RawSpan },
    /// Count what was not judged.
    Ignore(Ignored),
    /// Count a record whose time cannot be; it was taken as of the present.
    ClockJump,
}

/// The detector: thresholds, and the epoch that names what it finds.
#[derive(Clone, Debug)]
pub struct Detector {
    tuning: Tuning,
    epoch: String,
    goals: Arc<Goals>,
}

impl Input {
    /// The input that an event is, if detection reads such events.
    #[must_use]
    pub fn of(event: Event) -> Option<Input> {
        match event {
            Event::Metric(metric) => Some(Input::Metric(metric)),
            Event::Log(log) => Some(Input::Log(log)),
            Event::Span(span) => Some(Input::Span(span)),
            Event::Kubernetes(event) => Some(Input::Kubernetes(event)),
            _ => None,
        }
    }
}

impl Detector {
    /// A detector for the broker's data of this epoch.
    #[must_use]
    pub fn new(tuning: Tuning, epoch: &str) -> Detector {
        Detector {
            tuning,
            epoch: epoch.to_owned(),
            goals: Arc::default(),
        }
    }

    /// The same, with what the catalogue says of services: the objectives that
    /// their budgets are measured by (without, none is watched), and the limits
    /// of their metrics.
    #[must_use]
    pub fn with_catalogue(mut self, catalogue: &Catalogue) -> Detector {
        self.goals = Arc::new(Goals::of(catalogue));
        self.tuning.semantics = Arc::new(self.tuning.semantics.with_catalogue(catalogue));
        self
    }

    /// Decides. Synchronous, total and pure.
    pub fn decide(&self, state: &mut PartitionState, at: At, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Metric(metric) => self.metric(state, at, &metric, &mut effects),
            Input::Log(log) => self.log(state, at, log, &mut effects),
            Input::Span(span) => self.span(state, at, span, &mut effects),
            Input::Kubernetes(event) => self.kubernetes(state, at, &event, &mut effects),
            Input::Idle(latest) => self.idle(state, at, &latest, &mut effects),
            Input::Classified {
                environment,
                service,
                trigger_metric,
                anomaly_id,
                kind,
            } => {
                let Some(known) = state.environments.get_mut(&environment) else {
                    return effects;
                };
                // What log lines and events show is for their rules to say.
                if let Some(id) = known.series.find(&service, &trigger_metric) {
                    let meaning = Meaning::of(&service, &trigger_metric, &self.tuning.semantics);
                    let fits = |direction| meaning.allows(&trigger_metric, direction, kind);
                    known.series.look(id, |_, series| {
                        series.classify(anomaly_id, kind, fits).then_some(())
                    });
                }
            }
        }
        effects
    }

    fn origin<'a>(&'a self, environment: &'a str, service: &'a str, name: &'a str) -> Origin<'a> {
        Origin {
            epoch: &self.epoch,
            tuning: &self.tuning,
            environment,
            service,
            name,
            vital: self.goals.is_vital(service),
        }
    }

    fn metric(
        &self,
        state: &mut PartitionState,
        at: At,
        metric: &RawMetric,
        effects: &mut Vec<Effect>,
    ) {
        let named = semantics::series_name(&metric.metric_name, &metric.labels);
        let sample = Sample {
            environment: &metric.environment,
            service: &metric.service,
            series: named.as_deref().unwrap_or(&metric.metric_name),
            at_ms: metric.timestamp_ms,
            value: metric.metric_value,
        };
        if let Some(Kept { name, reading, .. }) = self.judge_sample(state, at, sample, effects) {
            effects.push(Effect::RememberReading {
                environment: name.environment().to_owned(),
                service: name.service().to_owned(),
                series: name.series().to_owned(),
                reading,
            });
        }
        if metric.metric_value.is_finite() {
            self.sweep_if_due(state, &metric.environment, at, effects);
        }
    }

    fn log(&self, state: &mut PartitionState, at: At, mut log: RawLog, effects: &mut Vec<Effect>) {
        let PartitionState {
            environments,
            changed,
            ..
        } = &mut *state;
        let (environment, at_ms) = enter(
            environments,
            changed,
            effects,
            &log.environment,
            log.timestamp_ms,
            at.wall_ms,
        );
        log.timestamp_ms = at_ms;
        if log.level >= LogLevel::Info {
            let times = (at_ms, at.wall_ms);
            match hear(environment, changed, &log.environment, &log.service, times) {
                None => effects.push(Effect::Ignore(Ignored::TooMany)),
                Some(age_ms) if age_ms > self.tuning.log_dedup_ms => {
                    effects.push(Effect::Ignore(Ignored::Late));
                }
                Some(_) => self.judge_log(environment, changed, at, &log, effects),
            }
        }
        let name = log.environment.clone();
        if log.level >= LogLevel::Info {
            effects.push(Effect::RememberLog {
                event_id: at.event_id,
                log,
            });
        }
        self.sweep_if_due(state, &name, at, effects);
    }

    fn kubernetes(
        &self,
        state: &mut PartitionState,
        at: At,
        event: &RawKubernetes,
        effects: &mut Vec<Effect>,
    ) {
        let PartitionState {
            environments,
            changed,
            ..
        } = &mut *state;
        let (environment, at_ms) = enter(
            environments,
            changed,
            effects,
            &event.environment,
            event.timestamp_ms,
            at.wall_ms,
        );
        let finding = kubernetes::classify(event);
        let service = event.service().to_owned();
        let times = (at_ms, at.wall_ms);
        let age_ms = hear(environment, changed, &event.environment, &service, times);
        let silence_ms = environment.clock.silence_ms();
        if age_ms.is_none() {
            effects.push(Effect::Ignore(Ignored::TooMany));
        } else if age_ms > Some(self.tuning.kubernetes_clear_ms) {
            effects.push(Effect::Ignore(Ignored::Late));
        } else if let (Some(finding), Some(known)) = (finding, environment.rules.get_mut(&service))
        {
            let quote = Quote {
                at_ms,
                text: rules::head(&kubernetes::line(event), rules::QUOTED).to_owned(),
                event_id: at.event_id,
            };
            let origin = self.origin(&event.environment, &service, finding.name);
            let known = known.rules.entry(finding.name.to_owned()).or_default();
            if let Some(sketch) = known.record(&origin, &finding, quote, silence_ms, "kubernetes") {
                emit(effects, sketch, &event.environment, &service, at.wall_ms);
            }
        }
        self.sweep_if_due(state, &event.environment, at, effects);
    }

    fn span(
        &self,
        state: &mut PartitionState,
        at: At,
        mut span: RawSpan,
        effects: &mut Vec<Effect>,
    ) {
        if !span.duration_ms.is_finite() {
            effects.push(Effect::Ignore(Ignored::NotFinite));
            return;
        }
        let PartitionState {
            environments,
            changed,
            ..
        } = &mut *state;
        let (environment, at_ms) = enter(
            environments,
            changed,
            effects,
            &span.environment,
            span.start_ms,
            at.wall_ms,
        );
        let full = environment.spans.len() >= MAX_SERVICES;
        if full && !environment.spans.contains_key(&span.service) {
            effects.push(Effect::Ignore(Ignored::TooMany));
            return;
        }
        span.start_ms = at_ms;
        let known = environment.spans.entry(span.service.clone()).or_default();
        known.heard_ms = environment.clock.silence_ms();
        let failed = span.status == SpanStatus::Error;
        let keep = known.keep(&span.operation, span.duration_ms, failed);
        let field = Field::Spans(span.environment.clone(), span.service.clone());
        changed.insert(field);
        let name = span.environment.clone();
        if keep {
            effects.push(Effect::RememberSpan {
                event_id: at.event_id,
                span,
            });
        }
        self.sweep_if_due(state, &name, at, effects);
    }
}

/// Notes a service's log line or event of `at_ms`; how much older it is than
/// the service's newest, or none where there is no room for another service.
fn hear(
    environment: &mut Environment,
    changed: &mut BTreeSet<Field>,
    name: &str,
    service: &str,
    (at_ms, wall_ms): (i64, i64),
) -> Option<i64> {
    let full = environment.rules.len() >= MAX_SERVICES;
    if full && !environment.rules.contains_key(service) {
        return None;
    }
    let silence_ms = environment.clock.silence_ms();
    let known = environment.rules.entry(service.to_owned()).or_default();
    changed.insert(Field::Rules(name.to_owned(), service.to_owned()));
    let (age_ms, set_back) = known.hear(at_ms, wall_ms, silence_ms);
    if set_back {
        if known.templates.is_some() {
            changed.insert(Field::Templates(name.to_owned(), service.to_owned()));
        }
        environment.clock.set_back(at_ms);
    }
    Some(age_ms)
}

/// The environment of a record, its clock moved on, and the record's time: its
/// own, or the present where that cannot be, so that it is watched all the same.
fn enter<'a>(
    environments: &'a mut BTreeMap<String, Environment>,
    changed: &mut BTreeSet<Field>,
    effects: &mut Vec<Effect>,
    name: &str,
    event_ms: i64,
    wall_ms: i64,
) -> (&'a mut Environment, i64) {
    if !environments.contains_key(name) {
        environments.insert(name.to_owned(), Environment::default());
    }
    let environment = environments.get_mut(name);
    let environment = environment.expect("it is there or was just added");
    if !environment.dirty {
        environment.dirty = true;
        changed.insert(Field::Clock(name.to_owned()));
    }
    if environment.clock.advance(event_ms, wall_ms) {
        return (environment, event_ms);
    }
    effects.push(Effect::ClockJump);
    let now_ms = environment.clock.now_ms();
    (environment, now_ms)
}

fn emit(effects: &mut Vec<Effect>, sketch: Sketch, environment: &str, service: &str, wall_ms: i64) {
    let emission = sketch.finish(environment, service, wall_ms);
    effects.push(Effect::Emit(Box::new(emission)));
}
