//! Anomalies that open nothing for now: burn-rate tickets, mere load, and what
//! begins during maintenance.

use super::state::{Held, State, Surroundings, Window, grouped};
use super::{Core, note};
use crate::surroundings::REQUEST_RATE;
use midwatch_events::anomaly::{Anomaly, AnomalyType, Direction, Severity, Transition};
use midwatch_runtime::{Effect, Moment};
use serde_json::json;
use uuid::Uuid;

/// Findings and held anomalies that are remembered, each.
const LIMIT: usize = 500;

/// Whether an anomaly is a slowly burning error budget: somebody should look at
/// it in working hours, nobody is to be paged.
fn is_ticket(anomaly: &Anomaly) -> bool {
    anomaly.trigger_metric.starts_with("slo:") && anomaly.severity == Severity::Low
}

/// Load from which it explains something: ±8 % is the usual unrest of requests.
const LOADED: f64 = 1.2;
/// A resource may rise by so much more than the requests and still go with
/// them: half a queue, and the unrest of one reading.
const IN_STEP: (f64, f64) = (1.5, 0.1);
/// Answers may take longer by this part of what the requests have grown.
const SLOWER: f64 = 0.5;
/// Percent from which a processor is exhausted, whatever the reason.
const EXHAUSTED: f64 = 90.0;

/// Whether an anomaly only says that there is more to do: the requests
/// themselves, or processor time and connections that rose in step with them.
/// Growth that does harm shows in answers, and those are no mere load.
fn is_load(anomaly: &Anomaly, around: &Surroundings) -> bool {
    let Some(load) = around.load.filter(|load| *load >= LOADED) else {
        return false;
    };
    if anomaly.direction != Direction::Above || anomaly.baseline_value <= 0.0 {
        return false;
    }
    let rise = anomaly.observed_value / anomaly.baseline_value - 1.0;
    let in_step = rise <= IN_STEP.0 * (load - 1.0) + IN_STEP.1;
    match anomaly.anomaly_type {
        AnomalyType::Unknown => anomaly.trigger_metric == REQUEST_RATE,
        AnomalyType::CpuSaturation => in_step && anomaly.observed_value < EXHAUSTED,
        AnomalyType::DbConnectionExhaustion => in_step,
        // Queues are a little longer; where they are much longer, it harms.
        AnomalyType::LatencySpike => rise <= SLOWER * (load - 1.0),
        _ => false,
    }
}

/// Why an anomaly pages nobody, where that is so.
fn finding(anomaly: &Anomaly, around: &Surroundings) -> Option<(&'static str, String)> {
    if is_ticket(anomaly) {
        let why = "a slowly burning error budget is a ticket: it pages nobody, and goes with the \
                   next incident of its service";
        return Some(("TICKET_RECORDED", why.to_owned()));
    }
    is_load(anomaly, around).then(|| {
        let why = format!(
            "requests to {} are {:.1} times what they were, and this went with them: it pages \
             nobody as long as it harms nothing",
            anomaly.service,
            around.load.unwrap_or_default()
        );
        ("LOAD_RECORDED", why)
    })
}

impl Core {
    /// A further transition of an anomaly that was put aside; `None` where it
    /// was not.
    pub(super) fn on_aside(
        &self,
        state: &mut State,
        at: Moment,
        anomaly: &Anomaly,
        around: &Surroundings,
    ) -> Option<Vec<Effect>> {
        let id = anomaly.anomaly_id;
        if let Some(ticket) = state.tickets.get_mut(&id) {
            if anomaly.transition == Transition::Cleared {
                state.tickets.remove(&id);
                return Some(Vec::new());
            }
            if anomaly.transition == Transition::Missing || finding(anomaly, around).is_some() {
                *ticket = grouped(anomaly, ticket.reason.clone());
                return Some(Vec::new());
            }
            // It is graver by now: a page after all.
            state.tickets.remove(&id);
            return Some(self.place(state, at, anomaly, around.clone()));
        }
        let held = state.held.get_mut(&id)?;
        match anomaly.transition {
            Transition::Cleared => {
                state.held.remove(&id);
            }
            _ => {
                let (onset_ms, detected_at_ms) =
                    (held.anomaly.onset_ms, held.anomaly.detected_at_ms);
                held.anomaly = Anomaly {
                    onset_ms,
                    detected_at_ms,
                    ..anomaly.clone()
                };
            }
        }
        Some(Vec::new())
    }

    /// Puts a new anomaly aside where it is to open nothing; `None` otherwise.
    pub(super) fn put_aside(
        &self,
        state: &mut State,
        at: Moment,
        anomaly: &Anomaly,
        around: &Surroundings,
    ) -> Option<Vec<Effect>> {
        let service = around.topology.service_of(&anomaly.service);
        let covers = |window: &&Window| {
            at.wall_ms < window.until_ms
                && (window.covers(&anomaly.service) || window.covers(service))
        };
        if let Some(window) = state.windows.iter().find(covers) {
            let line = put_down(
                anomaly,
                "ANOMALY_IN_MAINTENANCE",
                &format!(
                    "{} is under maintenance ({}); it opens nothing, unless it lasts beyond that",
                    anomaly.service,
                    if window.reason.is_empty() {
                        &window.by
                    } else {
                        &window.reason
                    },
                ),
            );
            let mut held = Held {
                anomaly: anomaly.clone(),
                surroundings: around.clone(),
            };
            // The graph is read again from the groups around when it counts.
            held.surroundings.topology = held.surroundings.topology.near(&anomaly.service);
            if state.held.len() >= LIMIT
                && let Some(oldest) = oldest(state)
            {
                state.held.remove(&oldest);
            }
            state.held.insert(anomaly.anomaly_id, held);
            return Some(vec![line]);
        }
        let (event_type, why) = finding(anomaly, around)?;
        let is_open = |service: &String| *service == anomaly.service;
        let is_known = state.groups.values().any(|group| {
            group.environment == anomaly.environment
                && group.ended.is_none()
                && group.services().iter().any(is_open)
        });
        if is_known {
            return None;
        }
        if state.tickets.len() >= LIMIT {
            state.tickets.pop_first();
        }
        let line = put_down(anomaly, event_type, &why);
        let ticket = grouped(anomaly, why);
        state.tickets.insert(anomaly.anomaly_id, ticket);
        Some(vec![line])
    }

    /// Windows that are over: what began inside and is still active counts now.
    pub(super) fn on_windows(&self, state: &mut State, at: Moment) -> Vec<Effect> {
        let (over, open): (Vec<Window>, Vec<Window>) = std::mem::take(&mut state.windows)
            .into_iter()
            .partition(|window| window.until_ms <= at.wall_ms);
        state.windows = open;
        if over.is_empty() {
            return self.window_timer(state);
        }
        let mut due: Vec<(i64, Uuid)> = state
            .held
            .iter()
            .filter(|(_, held)| {
                let service = &held.anomaly.service;
                let known_as = held.surroundings.topology.service_of(service);
                let still = |window: &Window| window.covers(service) || window.covers(known_as);
                !state.windows.iter().any(still)
            })
            .map(|(id, held)| (held.anomaly.detected_at_ms, *id))
            .collect();
        due.sort_unstable();
        let mut effects: Vec<Effect> = over
            .iter()
            .map(|window| {
                let about = if window.service == "*" {
                    "every service"
                } else {
                    &window.service
                };
                let words = format!("The maintenance of {about} is over.");
                let payload = json!({"service": window.service, "until_ms": window.until_ms,
                    "still_active": due.len()});
                note(None, "MAINTENANCE_ENDED", at.event_ms, words, payload)
            })
            .collect();
        for (_, id) in due {
            if let Some(held) = state.held.remove(&id) {
                effects.extend(self.place(state, at, &held.anomaly, held.surroundings));
            }
        }
        effects.extend(self.window_timer(state));
        effects
    }

    /// Wakes up when the next window is over.
    pub(super) fn window_timer(&self, state: &State) -> Vec<Effect> {
        let next = state.windows.iter().map(|window| window.until_ms).min();
        next.map(|due_ms| Effect::SetTimer {
            name: "maintenance".to_owned(),
            due_ms,
            payload: json!({}),
        })
        .into_iter()
        .collect()
    }
}

fn oldest(state: &State) -> Option<Uuid> {
    let held = state.held.iter();
    held.min_by_key(|(id, held)| (held.anomaly.detected_at_ms, **id))
        .map(|(id, _)| *id)
}

fn put_down(anomaly: &Anomaly, event_type: &str, why: &str) -> Effect {
    let payload = json!({
        "anomaly_id": anomaly.anomaly_id, "service": anomaly.service,
        "trigger_metric": anomaly.trigger_metric, "severity": anomaly.severity,
        "anomaly_type": anomaly.anomaly_type, "onset_ms": anomaly.onset_ms,
        "observed_value": anomaly.observed_value, "environment": anomaly.environment,
        "reason": why,
    });
    let words = format!("{}: {why}.", anomaly.description);
    note(None, event_type, anomaly.detected_at_ms, words, payload)
}
