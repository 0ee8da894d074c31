//! The error budgets of services: which readings spend them, and the life of
//! the alerts.
//!
//! Two metrics are looked at, of services that have an objective in the
//! catalogue: the error rate, and the request rate that weighs it. Readings of
//! single instances are not: a service's budget is spent by all of it together.
//!
//! An alert is an anomaly of its own, `slo:availability`, beside those of the
//! error rate: it says what the errors cost. It starts with the first rule that
//! holds, worsens with a graver one, and clears when none holds. Within
//! `DEDUP_TTL_SECONDS` after that it opens again under the same id.

use crate::decide::burn::{Burn, BurnAlert, Objective, Rule};
use crate::decide::samples::Sample;
use crate::decide::state::{Environment, Field};
use crate::decide::transition::{Mark, Origin, Sketch};
use crate::decide::{At, Detector, Effect, emit, exact};
use midwatch_events::knowledge::Catalogue;
use midwatch_events::{AnomalyType, Direction, Severity, Transition};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The name under which budget alerts go out.
pub const TRIGGER: &str = "slo:availability";
const ERRORS: &str = "service_error_rate_percent";
const REQUESTS: &str = "service_request_rate";
/// A request rate weighs the errors of this long after it, event time.
const RATE_MS: i64 = 15 * 60_000;

/// What is held against a service.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Goal {
    objective: Objective,
    /// Whether people are woken at once (P0, P1, or nobody said).
    vital: bool,
}

/// The objectives, by service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Goals(BTreeMap<String, Goal>);

impl Goals {
    pub fn of(catalogue: &Catalogue) -> Goals {
        let goal = |entry: &midwatch_events::knowledge::CatalogueEntry| {
            let objective = Objective::of_percent(entry.slo?.availability_percent)?;
            let vital = matches!(entry.criticality.as_str(), "P0" | "P1" | "");
            Some((entry.name.clone(), Goal { objective, vital }))
        };
        Goals(catalogue.iter().filter_map(goal).collect())
    }

    /// Whether people are woken at once for the service; so they are where
    /// nothing is known of it.
    pub fn is_vital(&self, service: &str) -> bool {
        self.0.get(service).is_none_or(|goal| goal.vital)
    }
}

/// An alert that has not been cleared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    anomaly_id: Uuid,
    severity: Severity,
    onset_ms: i64,
}

/// What is known of one service's budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Budget {
    burn: Burn,
    /// The latest request rate and its time.
    #[serde(with = "exact")]
    requests_per_s: f64,
    requests_ms: Option<i64>,
    open: Option<Open>,
    /// The alert that cleared last, and when.
    closed: Option<(Uuid, i64)>,
    /// The latest reading of the error rate.
    last: Option<Mark>,
    /// Silence clock at the last reading.
    heard_ms: i64,
}

impl Budget {
    fn note_requests(&mut self, mark: &Mark) {
        self.requests_per_s = mark.value;
        self.requests_ms = Some(mark.at_ms);
    }

    fn spend(
        &mut self,
        origin: &Origin<'_>,
        mark: Mark,
        goal: Goal,
        set_back: bool,
    ) -> Option<Sketch> {
        if set_back {
            self.burn.set_back();
        }
        let near = |at_ms: i64| (mark.at_ms.saturating_sub(at_ms)).saturating_abs() <= RATE_MS;
        let rate = self.requests_ms.filter(|at_ms| near(*at_ms));
        let rate = rate.map(|_| self.requests_per_s);
        let failed = mark.value / 100.0;
        let alert = self.burn.observe(mark.at_ms, failed, rate, goal.objective);
        let sketch = alert.map(|alert| self.tell(origin, &mark, &alert, goal.vital));
        self.last = Some(mark);
        sketch
    }

    fn tell(&mut self, origin: &Origin<'_>, mark: &Mark, alert: &BurnAlert, vital: bool) -> Sketch {
        let severity = if vital {
            alert.severity
        } else {
            alert.severity.min(Severity::High)
        };
        let repeat = self.closed.take().filter(|(_, cleared_ms)| {
            mark.at_ms.saturating_sub(*cleared_ms) <= origin.tuning.dedup_ms
        });
        let open = self.open.get_or_insert_with(|| Open {
            anomaly_id: repeat.map_or_else(
                || origin.anomaly_id(&mark.event_id, mark.at_ms, ""),
                |(anomaly_id, _)| anomaly_id,
            ),
            severity,
            onset_ms: alert.since_ms,
        });
        open.severity = open.severity.max(severity);
        let open = *open;
        if alert.transition == Transition::Cleared {
            self.open = None;
            self.closed = Some((open.anomaly_id, mark.at_ms));
        }
        let mut sketch = sketch(open, mark, alert.transition);
        sketch.observed_value = 100.0 * alert.failed_fraction();
        sketch.baseline_value = 100.0 * alert.objective.allowed();
        sketch.score = alert.burn_long / (alert.burn_long + Rule::Ticket.threshold());
        sketch.description = format!("error budget of {}: {}", origin.service, alert.words());
        sketch
    }

    /// Closes the alert of a service that is not heard of any more.
    pub fn give_up(&mut self, service: &str, now_ms: i64) -> Option<Sketch> {
        let (open, mark) = (self.open.take()?, self.last.as_ref()?);
        let mut sketch = sketch(open, mark, Transition::Cleared);
        sketch.detected_ms = now_ms;
        sketch.gone = true;
        sketch.description = format!(
            "error budget of {service}: its error rate is no longer reported, so nothing is known of what is spent"
        );
        Some(sketch)
    }

    pub fn heard_ms(&self) -> i64 {
        self.heard_ms
    }
}

fn sketch(open: Open, mark: &Mark, transition: Transition) -> Sketch {
    Sketch {
        anomaly_id: open.anomaly_id,
        transition,
        kind: AnomalyType::ErrorRateSpike,
        severity: open.severity,
        trigger_metric: TRIGGER.to_owned(),
        observed_value: mark.value,
        baseline_value: 0.0,
        // Nothing here was measured in deviations.
        deviation_sigma: 0.0,
        score: 0.0,
        direction: Direction::Above,
        detected_ms: mark.at_ms,
        onset_ms: open.onset_ms,
        description: String::new(),
        evidence: vec![mark.evidence()],
        cause_id: mark.event_id,
        gone: false,
    }
}

impl Detector {
    /// Lets a reading that its series has taken spend its service's budget, if
    /// it is of one of the two metrics and the service has one.
    pub(super) fn spend_budget(
        &self,
        environment: &mut Environment,
        changed: &mut BTreeSet<Field>,
        effects: &mut Vec<Effect>,
        sample: &Sample<'_>,
        at: At,
        (at_ms, set_back): (i64, bool),
    ) {
        let errors = sample.series == ERRORS;
        if !errors && sample.series != REQUESTS {
            return;
        }
        let Some(goal) = self.goals.0.get(sample.service) else {
            return;
        };
        let silence_ms = environment.clock.silence_ms();
        if !environment.budgets.contains_key(sample.service) {
            let budget = Budget::default();
            environment
                .budgets
                .insert(sample.service.to_owned(), budget);
        }
        let Some(budget) = environment.budgets.get_mut(sample.service) else {
            return;
        };
        let names = (sample.environment.to_owned(), sample.service.to_owned());
        changed.insert(Field::Budget(names.0, names.1));
        budget.heard_ms = silence_ms;
        let mark = Mark {
            at_ms,
            value: sample.value,
            event_id: at.event_id,
        };
        if !errors {
            budget.note_requests(&mark);
            return;
        }
        let origin = self.origin(sample.environment, sample.service, TRIGGER);
        if let Some(sketch) = budget.spend(&origin, mark, *goal, set_back) {
            emit(
                effects,
                sketch,
                sample.environment,
                sample.service,
                at.wall_ms,
            );
        }
    }
}
