//! Incidents that a person declares.
//!
//! Nothing was measured: such an incident has no trigger and, at first, no
//! anomalies. It is as severe as was stated, or graver where something measured
//! is, and it keeps its name. It goes the way of every other one: its records
//! are copied, then it is announced.

use super::commands::{Obeyed, refused};
use super::state::{Group, Phase, State, Surroundings};
use super::{Core, copies};
use crate::config::Config;
use midwatch_events::anomaly::{Anomaly, AnomalyType, Direction, Severity};
use midwatch_events::incident::{Declared, GroupedAnomaly};
use midwatch_events::{OperatorCommand, ids};
use midwatch_runtime::{Effect, Moment};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// What the shell read for a declaration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    pub around: Surroundings,
    /// The environment's own time: the newest reading there; absent where
    /// nothing reports.
    pub now_ms: Option<i64>,
}

impl Core {
    /// Opens an incident for a `declare` command, or says why not.
    pub(super) fn on_declare(
        &self,
        state: &mut State,
        at: Moment,
        (event_id, command): (Uuid, &OperatorCommand),
        context: Value,
    ) -> Vec<Effect> {
        let seen: Seen = serde_json::from_value(context).unwrap_or_default();
        declare(&self.config, state, at, (event_id, command), seen)
            .unwrap_or_else(|why| vec![refused(command, at, &why)])
    }

    /// The declared incident on the service of an anomaly that began around the
    /// declaration: whoever declared it saw the same trouble.
    pub(super) fn declared_on(&self, state: &State, anomaly: &Anomaly) -> Option<(Uuid, String)> {
        let here = |group: &&Group| {
            group.declared.is_some()
                && !matches!(group.phase, Phase::Resolved | Phase::Quiet)
                && group.environment == anomaly.environment
                && group.services().contains(&anomaly.service)
                && (anomaly.onset_ms - group.detected_at_ms).abs() <= self.config.window_ms
        };
        let group = state.groups.values().find(here)?;
        let by = by(group.declared.as_ref()?);
        Some((
            group.incident_id,
            format!(
                "{by} declared an incident on {} at that time",
                anomaly.service
            ),
        ))
    }
}

fn declare(
    config: &Config,
    state: &mut State,
    at: Moment,
    (event_id, command): (Uuid, &OperatorCommand),
    seen: Seen,
) -> Obeyed {
    if at.wall_ms > command.expires_at_ms {
        let late = (at.wall_ms - command.expires_at_ms) / 1_000;
        return Err(format!("it came {late} s after it had expired; ask again"));
    }
    let service = command.target.trim();
    if service.is_empty() || service == "*" {
        return Err("`target` must be a service".to_owned());
    }
    let declared = command.details.declared.as_deref();
    let declared = declared.ok_or("`declared` is missing: what is wrong, and how grave is it?")?;
    let severity = Severity::parse(&declared.severity)
        .ok_or_else(|| format!("{:?} is no severity", declared.severity))?;
    if declared.title.trim().is_empty() {
        return Err("its title is empty".to_owned());
    }
    let id = ids::declared(event_id);
    if state.groups.contains_key(&id) {
        return Err("it is open already".to_owned());
    }
    let environment = command.environment.clone().unwrap_or_default();
    let at_ms = seen.now_ms.unwrap_or(command.issued_at_ms);
    let mut group = group(id, &environment, (service, severity, at_ms), seen.around);
    group.detected_wall_ms = command.issued_at_ms;
    let declared = Declared {
        by: command.by.clone(),
        ..declared.clone()
    };
    group.severity_reason = format!("stated by {}", command.by);
    let words = format!(
        "{} declared an incident on {service}, {severity}: {}",
        command.by, declared.title
    );
    let payload = json!({"stated": declared, "by": command.by,
        "credential_id": command.credential_id, "channel": command.details.channel,
        "reason": command.reason, "issued_at_ms": command.issued_at_ms, "wall_ms": at.wall_ms});
    group.declared = Some(declared);
    let line = Effect::audit(id, "INCIDENT_DECLARED", at_ms, words, payload);
    let effects = vec![line, copies::copy_records(config, &mut group)];
    state.groups.insert(id, group);
    Ok(effects)
}

/// A group without members.
fn group(
    id: Uuid,
    environment: &str,
    (service, severity, at_ms): (&str, Severity, i64),
    around: Surroundings,
) -> Group {
    // A group takes its times and its name from its first member. This one
    // stands in for it and is nobody's reading, so it does not stay.
    let nobody = GroupedAnomaly {
        anomaly_id: id,
        service: service.to_owned(),
        trigger_metric: String::new(),
        anomaly_type: AnomalyType::Unknown,
        severity,
        direction: Direction::None,
        observed_value: 0.0,
        baseline_value: 0.0,
        deviation_sigma: 0.0,
        onset_ms: at_ms,
        detected_at_ms: at_ms,
        description: String::new(),
        reason: String::new(),
        observed_at_ms: None,
        cleared_at_ms: None,
    };
    let mut group = Group::bare(id, environment, vec![nobody], around);
    group.anomalies.clear();
    group.phase = Phase::Copying;
    group.is_loud = true;
    group
}

/// The severity of a declared incident: what is measured counts where it is
/// graver than what was stated.
pub(super) fn at_least(group: &Group, measured: (Severity, String)) -> (Severity, String) {
    let Some(declared) = &group.declared else {
        return measured;
    };
    match Severity::parse(&declared.severity) {
        Some(stated) if stated >= measured.0 => (stated, format!("stated by {}", by(declared))),
        _ => measured,
    }
}

/// What happened, as its person said it.
pub(super) fn description(declared: &Declared, service: &str) -> String {
    format!("{} declared on {service}: {}", by(declared), declared.title)
}

fn by(declared: &Declared) -> &str {
    if declared.by.is_empty() {
        "somebody"
    } else {
        &declared.by
    }
}
