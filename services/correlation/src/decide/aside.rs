//! Anomalies that open nothing for now: burn-rate tickets, mere load, and what
//! begins during maintenance.

use super::life::part_of;
use super::state::{Group, Phase, State, Surroundings, Window, grouped};
use super::{Core, announce, held, note, severity};
use crate::surroundings::REQUEST_RATE;
use midwatch_events::anomaly::{Anomaly, AnomalyType, Direction, Severity, Transition};
use midwatch_events::incident::GroupedAnomaly;
use midwatch_events::more;
use midwatch_runtime::{Effect, Moment};
use serde_json::json;
use uuid::Uuid;

/// Findings that are remembered with their words.
const WHOLE: usize = 500;
/// Findings that are remembered at all, the others in their numbers.
const FINDINGS: usize = 2_000;

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

/// By how much a reading rose: the relative rise over its baseline, where it
/// lies above one.
fn rise(one: &GroupedAnomaly) -> Option<f64> {
    let is_above = one.direction == Direction::Above && one.baseline_value > 0.0;
    is_above.then(|| one.observed_value / one.baseline_value - 1.0)
}

/// By what the requests to a service have multiplied, as far as is known: what
/// the readings tell, and what its request rate was found to be. Readings are
/// kept a moment after they were judged, while a burst is there at once.
fn load(state: &State, service: &str, told: Option<f64>) -> Option<f64> {
    let members = state.groups.values().flat_map(|group| &group.anomalies);
    let requests = state.tickets.values().chain(members).filter(|one| {
        one.service == service && one.trigger_metric == REQUEST_RATE && one.cleared_at_ms.is_none()
    });
    let grown = requests.filter_map(rise).map(|rise| 1.0 + rise);
    grown.chain(told).max_by(f64::total_cmp)
}

/// Whether an anomaly only says that there is more to do: the requests
/// themselves, or processor time and connections that rose in step with them.
/// Growth that does harm shows in answers, and those are no mere load.
fn is_load(one: &GroupedAnomaly, load: f64) -> bool {
    let Some(rise) = rise(one).filter(|_| load >= LOADED) else {
        return false;
    };
    let in_step = rise <= IN_STEP.0 * (load - 1.0) + IN_STEP.1;
    match one.anomaly_type {
        AnomalyType::Unknown => one.trigger_metric == REQUEST_RATE,
        AnomalyType::CpuSaturation => in_step && one.observed_value < EXHAUSTED,
        AnomalyType::DbConnectionExhaustion => in_step,
        // Queues are a little longer; where they are much longer, it harms.
        AnomalyType::LatencySpike => rise <= SLOWER * (load - 1.0),
        _ => false,
    }
}

/// Why an anomaly is mere load, where that is so; `told` is what the readings
/// tell of the requests.
fn load_finding(state: &State, one: &GroupedAnomaly, told: Option<f64>) -> Option<String> {
    let own = rise(one).filter(|_| one.trigger_metric == REQUEST_RATE);
    let told = own.map(|rise| 1.0 + rise).into_iter().chain(told);
    let told = told.max_by(f64::total_cmp);
    let load = load(state, &one.service, told).filter(|load| is_load(one, *load))?;
    Some(format!(
        "requests to {} are {load:.1} times what they were, and this went with them: it pages \
         nobody as long as it harms nothing",
        one.service
    ))
}

/// Why an anomaly pages nobody, where that is so.
fn finding(
    state: &State,
    anomaly: &Anomaly,
    around: &Surroundings,
) -> Option<(&'static str, String)> {
    if is_ticket(anomaly) {
        let why = "a slowly burning error budget is a ticket: it pages nobody, and goes with the \
                   next incident of its service";
        return Some(("TICKET_RECORDED", why.to_owned()));
    }
    let one = grouped(anomaly, String::new());
    let why = load_finding(state, &one, around.load)?;
    Some(("LOAD_RECORDED", why))
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
        if let Some(ticket) = state.tickets.get(&id) {
            if anomaly.transition == Transition::Cleared {
                state.tickets.remove(&id);
                return Some(Vec::new());
            }
            let stays = anomaly.transition == Transition::Missing
                || finding(state, anomaly, around).is_some();
            if stays {
                let ticket = grouped(anomaly, ticket.reason.clone());
                state.tickets.insert(id, ticket);
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
            _ => held.go_on(anomaly),
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
            let why = format!(
                "{} is under maintenance ({}); it opens nothing, {}",
                anomaly.service,
                if window.reason.is_empty() {
                    &window.by
                } else {
                    &window.reason
                },
                if state.can_hold() {
                    "unless it lasts beyond that".to_owned()
                } else {
                    format!(
                        "unless it gets worse after that: {} others are held, and no \
                         further one is followed",
                        held::HELD
                    )
                },
            );
            let one = grouped(anomaly, why);
            let line = put_down(&one, &anomaly.environment, "ANOMALY_IN_MAINTENANCE");
            state.hold(anomaly, around);
            return Some(vec![line]);
        }
        let (event_type, why) = finding(state, anomaly, around)?;
        let is_open = |service: &String| *service == anomaly.service;
        let is_known = state.groups.values().any(|group| {
            group.environment == anomaly.environment
                && group.ended.is_none()
                && group.services().iter().any(is_open)
        });
        // Load explains itself, whatever else its service suffers from.
        if is_known && is_ticket(anomaly) {
            return None;
        }
        let one = grouped(anomaly, why);
        let mut lines = vec![put_down(&one, &anomaly.environment, event_type)];
        lines.extend(remember(state, one, &anomaly.environment));
        Some(lines)
    }

    /// Takes out of a group that nobody knows of yet what turned out to be mere
    /// load while it settled: the first reading of a burst may come before its
    /// requests are known. What is left may belong elsewhere; nothing may be
    /// left.
    pub(super) fn without_load(&self, state: &mut State, at: Moment, id: Uuid) -> Vec<Effect> {
        let is_new = |group: &&Group| {
            group.phase == Phase::Settling && !group.is_loud && group.unlisted == 0
        };
        let Some(group) = state.groups.get(&id).filter(is_new) else {
            return Vec::new();
        };
        let (mut rest, mut loads) = (Vec::new(), Vec::new());
        for one in &group.anomalies {
            match load_finding(state, one, None).filter(|_| one.cleared_at_ms.is_none()) {
                Some(why) => loads.push(GroupedAnomaly {
                    reason: why,
                    ..one.clone()
                }),
                None => rest.push(one.clone()),
            }
        }
        if loads.is_empty() {
            return Vec::new();
        }
        let group = state.groups.remove(&id).expect("it was found above");
        let mut effects = Vec::new();
        for one in loads {
            effects.push(put_down(&one, &group.environment, "LOAD_RECORDED"));
            effects.extend(remember(state, one, &group.environment));
        }
        if !rest.is_empty() {
            let mut rest = part_of(&self.config, &group, id, rest);
            (rest.severity, rest.severity_reason) = severity::assess(&rest);
            let now_ms = rest.last_ms;
            state.groups.insert(id, rest);
            effects.extend(self.link(state, at, id, now_ms));
        }
        effects
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
        let unheld = std::mem::take(&mut state.unheld);
        let mut effects: Vec<Effect> = over
            .iter()
            .map(|window| ended(window, at, due.len(), unheld))
            .collect();
        let due: Vec<Uuid> = due.into_iter().map(|(_, id)| id).collect();
        for held in state.release(&due) {
            effects.extend(self.place(state, at, &held.anomaly, held.surroundings));
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

/// The line about a window that is over: how many anomalies of it are active
/// still, and of how many nobody knows.
fn ended(window: &Window, at: Moment, still_active: usize, unheld: u64) -> Effect {
    let about = if window.service == "*" {
        "every service"
    } else {
        &window.service
    };
    let mut words = format!("The maintenance of {about} is over.");
    if unheld > 0 {
        let count = usize::try_from(unheld).unwrap_or(usize::MAX);
        let more = announce::counted(count, "more anomaly", "more anomalies");
        words.push_str(&format!(
            " {more} began in it than are followed: look whether all is normal."
        ));
    }
    let payload = json!({"service": window.service, "until_ms": window.until_ms,
        "still_active": still_active, "not_followed": unheld});
    note(None, "MAINTENANCE_ENDED", at.event_ms, words, payload)
}

/// Keeps a finding. Where there are too many the oldest is forgotten, aloud.
fn remember(state: &mut State, mut one: GroupedAnomaly, environment: &str) -> Option<Effect> {
    let oldest = (state.tickets.len() >= FINDINGS)
        .then(|| {
            let known = state.tickets.values();
            known.min_by_key(|one| (one.detected_at_ms, one.anomaly_id))
        })
        .flatten()
        .map(|one| one.anomaly_id);
    let forgotten = oldest.and_then(|id| state.tickets.remove(&id));
    if state.tickets.len() >= WHOLE {
        one.description = more::brief(&one);
    }
    state.tickets.insert(one.anomaly_id, one);
    let mut forgotten = forgotten?;
    forgotten.reason = format!(
        "{FINDINGS} newer findings that page nobody are open; this one goes with no incident any \
         more"
    );
    Some(put_down(&forgotten, environment, "FINDING_FORGOTTEN"))
}

/// A line about what was put aside, for the reason that it carries.
fn put_down(one: &GroupedAnomaly, environment: &str, event_type: &str) -> Effect {
    let why = &one.reason;
    let payload = json!({
        "anomaly_id": one.anomaly_id, "service": one.service,
        "trigger_metric": one.trigger_metric, "severity": one.severity,
        "anomaly_type": one.anomaly_type, "onset_ms": one.onset_ms,
        "observed_value": one.observed_value, "environment": environment,
        "reason": why,
    });
    let words = format!("{}: {why}.", one.description);
    note(None, event_type, one.detected_at_ms, words, payload)
}
