//! The decisions of the investigation, pure.

pub mod advice;
pub mod chain;
pub mod ending;
pub mod facts;
pub mod gathered;
pub mod hypothesis;
pub mod knowledge;
mod look;
pub mod rank;
pub mod recorded;
pub mod revision;
pub mod state;
pub mod watch;

use crate::config::Config;
use midwatch_events::incident::{IncidentChange, IncidentOpened, IncidentUpdated};
use midwatch_events::{Event, IncidentState, OperatorCommand};
use midwatch_runtime::{Effect, Input, Moment, Projection};
use serde_json::{Value, json};
use state::{Case, State, Wait, Waits};

/// The core of the investigation.
#[derive(Clone, Debug, Default)]
pub struct Core {
    pub config: Config,
    /// Whether a model is configured that may reorder and word candidates.
    pub model: bool,
}

/// How long an update or a command may wait for its incident's opening, wall
/// clock.
const EARLY_TTL_MS: i64 = 60_000;

/// The commands that this agent obeys; others are for correlation and
/// remediation.
#[must_use]
pub fn is_ours(command: &OperatorCommand) -> bool {
    !command.incident_id.is_nil() && matches!(command.command.as_str(), "close" | "acknowledge")
}

impl Core {
    /// Decides on one input about one incident.
    pub fn decide(&self, state: &mut State, at: Moment, input: Input) -> Vec<Effect> {
        match input {
            Input::Event { envelope, .. } => self.hear(state, at, envelope.event),
            Input::JobDone { job, result } => match &mut state.case {
                Some(case) if job.kind == "gather" => self.on_gathered(case, at, &job, result),
                Some(case) if job.kind == "advise" => self.on_advice(case, at, &job, result),
                _ => Vec::new(),
            },
            Input::Timer { name, payload } => match &mut state.case {
                Some(case) if !case.resolved => self.on_timer(case, at, &name, &payload),
                _ => Vec::new(),
            },
            Input::Expired { envelope } => match envelope.event {
                Event::Updated(updated) => {
                    let id = updated.header.incident_id;
                    let summary = "An update came for an incident whose opening never arrived.";
                    vec![Effect::audit(
                        id,
                        "INPUT_EXPIRED",
                        at.event_ms,
                        summary,
                        json!({}),
                    )]
                }
                Event::Command(command) => {
                    vec![ending::refuse(&command, at, "no such incident is known")]
                }
                _ => Vec::new(),
            },
        }
    }

    fn hear(&self, state: &mut State, at: Moment, event: Event) -> Vec<Effect> {
        match event {
            Event::Opened(opened) if state.case.is_none() => self.on_opened(state, at, &opened),
            Event::Updated(updated) => match &mut state.case {
                Some(case) => self.on_updated(case, at, &updated),
                None => early(),
            },
            Event::Command(command) if is_ours(&command) => on_command(state, at, &command),
            Event::Anomaly(anomaly) => match &mut state.case {
                Some(case) => {
                    let mut effects = watch::transition(case, &anomaly);
                    effects.extend(ending::settle(case, at));
                    effects
                }
                None => Vec::new(),
            },
            Event::Action(action) => match &mut state.case {
                Some(case) if !case.resolved => {
                    ending::note_action(case, &action);
                    ending::settle(case, at)
                }
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    fn on_opened(&self, state: &mut State, at: Moment, opened: &IncidentOpened) -> Vec<Effect> {
        let case = state.case.insert(Case::open(opened));
        let id = case.header.incident_id;
        let mut effects = vec![
            Effect::Project(Projection::Move {
                incident_id: id,
                to: IncidentState::Investigating,
            }),
            Effect::audit(
                id,
                "INVESTIGATION_STARTED",
                at.event_ms,
                format!("The investigation of {} began.", case.header.title()),
                json!({"wall_ms": at.wall_ms}),
            ),
            self.watch_timer(case, at),
        ];
        effects.extend(watch::watch_all(case, at.wall_ms));
        effects.extend(self.gather(case, at));
        effects
    }

    /// The timer that says from time to time what the end waits for.
    fn watch_timer(&self, case: &Case, at: Moment) -> Effect {
        Effect::SetTimer {
            name: "watch".to_owned(),
            due_ms: at.wall_ms + self.config.watch_ms,
            payload: json!({"waiting_for": watch::waiting_for(case)}),
        }
    }

    fn on_updated(&self, case: &mut Case, at: Moment, updated: &IncidentUpdated) -> Vec<Effect> {
        // Each update holds the whole: an older one that comes late is past.
        if updated.revision <= case.update {
            return Vec::new();
        }
        case.update = updated.revision;
        if is_absorbed(updated) {
            return if case.resolved {
                Vec::new()
            } else {
                ending::merge(case, at, updated)
            };
        }
        let reopened = case.resolved && updated.change == IncidentChange::Reopened;
        let news = revision::news(&self.config, case, updated);
        case.header = updated.header.clone();
        case.anomalies = updated.all_anomalies();
        case.beyond = state::beyond(updated.more_anomalies.as_deref());
        case.deployment.clone_from(&updated.deployment_context);
        if case.resolved && !reopened {
            return Vec::new();
        }
        let mut effects = watch::keep_trigger(case, at.event_ms);
        if reopened {
            effects.extend(self.reopen(case, at, updated));
        } else {
            effects.extend(watch::watch_all(case, at.wall_ms));
        }
        let reason = match news {
            _ if reopened => format!("the incident was reopened ({})", updated.reason),
            Some(news) => news,
            // A series that became normal again is no reason to look again; it
            // may be what the end waited for.
            None => {
                effects.extend(ending::settle(case, at));
                return effects;
            }
        };
        if case.at_work.is_some() {
            case.look_again = Some(reason);
        } else {
            case.reason = reason;
            effects.extend(self.gather(case, at));
        }
        effects
    }

    /// The incident goes on: watched again, and answered again.
    fn reopen(&self, case: &mut Case, at: Moment, updated: &IncidentUpdated) -> Vec<Effect> {
        let id = case.header.incident_id;
        case.resolved = false;
        case.must_publish = true;
        case.waits = Waits::default();
        case.waiting_for.clear();
        // What was carried out before did not last.
        case.steps.clear();
        let mut effects = vec![
            Effect::Project(Projection::Reopen { incident_id: id }),
            Effect::Project(Projection::Move {
                incident_id: id,
                to: IncidentState::Investigating,
            }),
            Effect::audit(
                id,
                "INVESTIGATION_REOPENED",
                at.event_ms,
                format!("The investigation goes on: {}.", updated.reason),
                json!({"wall_ms": at.wall_ms, "update": updated.revision}),
            ),
        ];
        effects.extend(watch::watch_again(case, at.wall_ms, updated.updated_at_ms));
        effects.push(self.watch_timer(case, at));
        effects
    }

    fn on_timer(&self, case: &mut Case, at: Moment, name: &str, payload: &Value) -> Vec<Effect> {
        let over = |wait: &mut Wait| {
            let begun = *wait == Wait::Begun;
            if begun {
                *wait = Wait::Over;
            }
            begun
        };
        match name {
            "watch" => vec![still_watching(case, at), self.watch_timer(case, at)],
            "conclude" => self.on_deadline(case, at, payload),
            "signals" if over(&mut case.waits.signals) => ending::settle(case, at),
            "verification" if over(&mut case.waits.verification) => ending::settle(case, at),
            _ => Vec::new(),
        }
    }
}

/// An update of an incident that goes on inside another one: nothing is left
/// in it.
fn is_absorbed(updated: &IncidentUpdated) -> bool {
    updated.change == IncidentChange::Merged && updated.grouped_anomalies.is_empty()
}

fn early() -> Vec<Effect> {
    vec![Effect::Park {
        reason: "the incident's opening has not arrived".to_owned(),
        ttl_ms: EARLY_TTL_MS,
    }]
}

fn on_command(state: &mut State, at: Moment, command: &OperatorCommand) -> Vec<Effect> {
    let closes = command.command == "close";
    if at.wall_ms > command.expires_at_ms {
        return if closes {
            vec![ending::refuse(
                command,
                at,
                "the command came after its time was up",
            )]
        } else {
            // Correlation answers for acknowledgements; here they are a time.
            Vec::new()
        };
    }
    match &mut state.case {
        None => early(),
        Some(case) if closes => ending::close(case, at, command),
        Some(case) => {
            case.acknowledged_ms.get_or_insert(command.issued_at_ms);
            Vec::new()
        }
    }
}

fn still_watching(case: &Case, at: Moment) -> Effect {
    let mut open = watch::waiting_for(case);
    open.extend(watch::worsening(case));
    if case.declared.is_some() {
        open.push("a person to close it".to_owned());
    }
    if case.revision == 0 || case.at_work.is_some() {
        open.push("the cause".to_owned());
    }
    Effect::audit(
        case.header.incident_id,
        "WATCH_CONTINUES",
        at.event_ms,
        format!("Still open; the end waits for {}.", open.join(", ")),
        json!({"waiting_for": open}),
    )
}
