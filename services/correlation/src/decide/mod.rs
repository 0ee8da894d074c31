//! The decisions of correlation, pure.

mod after;
mod announce;
mod around;
mod aside;
mod began;
pub mod belong;
pub mod beyond;
mod commands;
pub mod copies;
pub mod declare;
mod held;
mod impact;
mod join;
pub mod left_out;
pub mod life;
mod naming;
mod second_look;
pub mod severity;
pub mod signals;
pub mod state;

pub use naming::specificity;

use crate::config::Config;
use midwatch_events::Event;
use midwatch_events::anomaly::{Anomaly, Transition};
use midwatch_runtime::effect::Audit;
use midwatch_runtime::{Effect, Input, Moment};
use serde_json::{Value, json};
use state::{Phase, State, Surroundings};
use uuid::Uuid;

/// The core of correlation.
#[derive(Clone, Debug, Default)]
pub struct Core {
    pub config: Config,
    /// Whether a model is configured that may word the impact.
    pub model: bool,
}

impl Core {
    /// Decides on one input of one environment.
    pub fn decide(&self, state: &mut State, at: Moment, input: Input) -> Vec<Effect> {
        match input {
            Input::Event { envelope, context } => match envelope.event {
                Event::Command(command) if command.command == "declare" => {
                    let command = (envelope.meta.event_id, &command);
                    self.on_declare(state, at, command, context)
                }
                Event::Anomaly(anomaly) => {
                    let around = serde_json::from_value(context).unwrap_or_default();
                    self.on_anomaly(state, at, &anomaly, around)
                }
                Event::Resolved(resolved) => self.on_resolved(state, at, &resolved),
                Event::Command(command) => self.on_command(state, at, &command),
                _ => Vec::new(),
            },
            Input::Timer { name, payload } => self.on_timer(state, at, &name, &payload),
            Input::JobDone { job, result } => {
                self.on_job(state, at, (&job.kind, &job.payload), result)
            }
            Input::Expired { .. } => Vec::new(),
        }
    }

    fn on_anomaly(
        &self,
        state: &mut State,
        at: Moment,
        anomaly: &Anomaly,
        around: Surroundings,
    ) -> Vec<Effect> {
        state.latest_ms = state.latest_ms.max(anomaly.detected_at_ms);
        let id = anomaly.anomaly_id;
        // One that is over may hold it as well as one that goes on.
        let known = state
            .groups
            .values_mut()
            .filter(|group| group.holds(id))
            .min_by_key(|group| (group.phase == Phase::Resolved, group.has_cleared(id)));
        let broke_out_again = match known {
            // Over, and out of range again: a new outbreak, whatever its id.
            Some(group)
                if group.phase == Phase::Resolved
                    && anomaly.transition == Transition::Started
                    && group.has_cleared(id) =>
            {
                true
            }
            Some(group) if after::is_news(group, anomaly) => true,
            Some(group) => {
                let incident = group.incident_id;
                let mut effects = self.on_known(group, at, anomaly);
                effects.extend(self.leave_quiet(state, incident));
                return effects;
            }
            None => false,
        };
        if let Some(effects) = self.on_aside(state, at, anomaly, &around) {
            return effects;
        }
        let was_left_active = state.closed_active.contains_key(&id);
        if let Some(closed_ms) = state.closed_active.get(&id).copied() {
            let is_late = anomaly.detected_at_ms <= closed_ms;
            match anomaly.transition {
                // Silence is not worse than what the person saw.
                Transition::Missing => return Vec::new(),
                Transition::Started | Transition::Worsened if is_late => return Vec::new(),
                Transition::Cleared | Transition::Started | Transition::Worsened => {
                    state.closed_active.remove(&id);
                }
            }
        }
        let closed = state.closed.iter().position(|(member, _)| *member == id);
        match (closed, anomaly.transition) {
            // Of an incident that was left, or before anybody heard of it.
            (_, Transition::Cleared) => return self.cleared_late(state, anomaly),
            // Detection gives a series that breaks out again soon the id that
            // it had. The incident is over, so this is another outbreak.
            (Some(place), Transition::Started) => {
                state.closed.remove(place);
            }
            (Some(place), Transition::Worsened) if was_left_active => {
                state.closed.remove(place);
            }
            _ if broke_out_again => {}
            // A late word about something that is over.
            (Some(_), _) => return Vec::new(),
            (None, _) => {}
        }
        if let Some(effects) = self.put_aside(state, at, anomaly, &around) {
            return effects;
        }
        self.place(state, at, anomaly, around)
    }

    fn timer(&self, kind: &str, incident_id: Uuid, due_ms: i64) -> Effect {
        Effect::SetTimer {
            name: format!("{kind}:{incident_id}"),
            due_ms,
            payload: json!({"incident_id": incident_id}),
        }
    }

    fn on_timer(&self, state: &mut State, at: Moment, name: &str, payload: &Value) -> Vec<Effect> {
        if name == "maintenance" {
            return self.on_windows(state, at);
        }
        let Some(id) = incident_of(payload) else {
            return Vec::new();
        };
        if name.starts_with("after:") {
            return self.leave(state, at, (id, payload));
        }
        let Some(group) = state.groups.get_mut(&id) else {
            return Vec::new();
        };
        match group.phase {
            Phase::Settling if name.starts_with("open:") => {
                let mut effects = self.without_load(state, at, id);
                effects.extend(self.on_settled(state, at, id));
                effects
            }
            Phase::Quiet if name.starts_with("quiet:") => self.speak_up(group, at),
            Phase::Open if name.starts_with("grow:") => {
                group.is_awaited = false;
                announce::tell(&self.config, group)
            }
            Phase::Open if name.starts_with("snooze:") => {
                let is_over = group
                    .snoozed_until_ms
                    .is_some_and(|until| until <= at.wall_ms);
                if !is_over {
                    return Vec::new();
                }
                let mut effects = vec![announce::wake(group, at, "")];
                effects.push(announce::row(&self.config, group));
                effects.extend(announce::tell(&self.config, group));
                effects
            }
            // A timer whose moment has passed.
            _ => Vec::new(),
        }
    }

    fn on_job(
        &self,
        state: &mut State,
        at: Moment,
        (kind, payload): (&str, &Value),
        result: Result<Value, String>,
    ) -> Vec<Effect> {
        let Some(id) = incident_of(payload) else {
            return Vec::new();
        };
        let mut effects = Vec::new();
        if kind == "copy_records" {
            if is_outrun(state, id, payload) {
                return Vec::new();
            }
            effects.extend(self.look_again(state, at, id, &result));
        }
        let left_out = left_out::near(&self.config, state, id);
        let Some(group) = state.groups.get_mut(&id) else {
            return effects;
        };
        if kind == "copy_records" {
            copies::note_left_out(group, &result);
        }
        match (kind, group.phase) {
            ("copy_records", Phase::Resolved) => {
                let lines = copies::copied(group, at, &result);
                if !lines.is_empty() {
                    effects.push(announce::row(&self.config, group));
                }
                effects.extend(lines);
            }
            ("copy_records", Phase::Copying) if group.is_announced() => {
                effects.extend(announce::reopen(&self.config, group, at, left_out));
                effects.extend(copies::copied(group, at, &result));
            }
            ("copy_records", Phase::Copying) => {
                effects.extend(announce::open(&self.config, group, at, left_out));
                effects.extend(copies::copied(group, at, &result));
                if self.model {
                    effects.push(impact::ask(&self.config, group));
                }
            }
            ("copy_records", Phase::Open) => {
                effects.extend(copies::copied(group, at, &result));
                effects.extend(if announce::has_news(group) {
                    announce::update(&self.config, group, at, left_out)
                } else {
                    announce::calm_down(&self.config, group)
                });
            }
            ("assess_impact", _) => {
                effects.extend(impact::take(&self.config, group, at, result));
            }
            _ => {}
        }
        effects
    }
}

/// Whether a later copy of the incident's records is on its way, which the
/// announcement waits for.
fn is_outrun(state: &State, id: Uuid, payload: &Value) -> bool {
    let group = state.groups.get(&id);
    group.is_some_and(|group| {
        group.phase == Phase::Copying
            && payload["copy"]
                .as_u64()
                .is_some_and(|copy| copy < u64::from(group.copies))
    })
}

fn incident_of(payload: &Value) -> Option<Uuid> {
    payload
        .get("incident_id")
        .and_then(Value::as_str)
        .and_then(|text| Uuid::parse_str(text).ok())
}

/// A line of the audit trail, about an incident where there is one.
fn note(
    incident_id: Option<Uuid>,
    event_type: &str,
    at_ms: i64,
    summary: String,
    payload: Value,
) -> Effect {
    Effect::Audit(Audit {
        incident_id,
        event_type: event_type.to_owned(),
        at_ms,
        summary,
        payload,
    })
}
