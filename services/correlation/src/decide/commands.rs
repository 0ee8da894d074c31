//! What people ask for: acknowledge, snooze, merge, split, reopen, maintain;
//! what they declare is in [`super::declare`].
//!
//! Whoever asks too late, for something that is not there or that makes no
//! sense is refused, with a line in the audit trail that says why. `approve`,
//! `reject` and `close` are for others.

use super::life::part_of;
use super::state::{Group, Phase, State, Window};
use super::{Core, announce, copies, left_out, note, severity};
use midwatch_events::incident::{GroupedAnomaly, IncidentChange};
use midwatch_events::{OperatorCommand, ids};
use midwatch_runtime::{Effect, Moment};
use serde_json::json;
use uuid::Uuid;

/// Maintenance windows of an environment at a time.
const WINDOWS_LIMIT: usize = 100;
/// Snoozes and maintenance may last so long, wall clock: a week. Longer ones
/// are forgotten by whoever asked for them, while faults go unheard.
const LONGEST_MS: i64 = 7 * 24 * 3_600_000;

pub(super) type Obeyed = Result<Vec<Effect>, String>;

impl Core {
    /// Obeys a command or says why not.
    pub(super) fn on_command(
        &self,
        state: &mut State,
        at: Moment,
        command: &OperatorCommand,
    ) -> Vec<Effect> {
        let known = [
            "acknowledge",
            "snooze",
            "merge",
            "split",
            "reopen",
            "maintain",
        ];
        if !known.contains(&command.command.as_str()) {
            return Vec::new();
        }
        self.obey(state, at, command)
            .unwrap_or_else(|why| vec![refused(command, at, &why)])
    }

    fn obey(&self, state: &mut State, at: Moment, command: &OperatorCommand) -> Obeyed {
        if at.wall_ms > command.expires_at_ms {
            let late = (at.wall_ms - command.expires_at_ms) / 1_000;
            return Err(format!("it came {late} s after it had expired; ask again"));
        }
        match command.command.as_str() {
            "maintain" => self.maintain(state, at, command),
            "reopen" => self.reopen_by_hand(state, command),
            "merge" => self.merge_by_hand(state, at, command),
            "split" => self.split(state, at, command),
            "snooze" => self.snooze(state, at, command),
            _ => self.acknowledge(state, at, command),
        }
    }

    fn acknowledge(&self, state: &mut State, at: Moment, command: &OperatorCommand) -> Obeyed {
        let left_out = left_out::near(&self.config, state, command.incident_id);
        let group = open_group(state, command.incident_id)?;
        if let Some(by) = &group.acknowledged_by {
            return Err(format!("{by} has acknowledged it already"));
        }
        group.acknowledged_by = Some(command.by.clone());
        let words = with_reason(format!("{} acknowledged it", who(command)), command);
        let payload = json!({"by": command.by, "credential_id": command.credential_id,
            "channel": command.details.channel, "origin": command.details.origin,
            "issued_at_ms": command.issued_at_ms, "wall_ms": at.wall_ms});
        let mut effects = vec![Effect::audit(
            group.incident_id,
            "INCIDENT_ACKNOWLEDGED",
            group.last_ms,
            words.clone(),
            payload,
        )];
        let news = (IncidentChange::Acknowledged, words);
        effects.extend(announce::say(&self.config, group, at, news, left_out));
        Ok(effects)
    }

    fn snooze(&self, state: &mut State, at: Moment, command: &OperatorCommand) -> Obeyed {
        let until_ms = until(command, at)?;
        if until_ms <= at.wall_ms {
            return Err("`until_ms` lies in the past".to_owned());
        }
        let left_out = left_out::near(&self.config, state, command.incident_id);
        let group = open_group(state, command.incident_id)?;
        group.snoozed_until_ms = Some(until_ms);
        let minutes = (until_ms - at.wall_ms + 30_000) / 60_000;
        let words = with_reason(
            format!(
                "{} snoozed it for {minutes} min: growth is told after that, a rise of the \
                 severity at once",
                command.by
            ),
            command,
        );
        let payload = json!({"by": command.by, "credential_id": command.credential_id,
            "until_ms": until_ms, "wall_ms": at.wall_ms});
        let id = group.incident_id;
        let mut effects = vec![
            Effect::audit(
                id,
                "INCIDENT_SNOOZED",
                group.last_ms,
                words.clone(),
                payload,
            ),
            self.timer("snooze", id, until_ms),
        ];
        let news = (IncidentChange::Snoozed, words);
        effects.extend(announce::say(&self.config, group, at, news, left_out));
        Ok(effects)
    }

    fn merge_by_hand(&self, state: &mut State, at: Moment, command: &OperatorCommand) -> Obeyed {
        let (host, target) = (command.incident_id, command.target.trim());
        let gone = Uuid::parse_str(target).map_err(|_| {
            format!(
                "`target` must be the id of the incident that goes into this one, not {target:?}"
            )
        })?;
        if gone == host {
            return Err("an incident cannot be merged into itself".to_owned());
        }
        open_group(state, host)?;
        open_group(state, gone).map_err(|why| format!("{}: {why}", ids::short_incident(gone)))?;
        let reason = with_reason(format!("{} merged the two", command.by), command);
        Ok(self.merge(state, at, (host, gone), &reason))
    }

    fn split(&self, state: &mut State, at: Moment, command: &OperatorCommand) -> Obeyed {
        let id = command.incident_id;
        let group = open_group(state, id)?;
        let leaves = leaving(group, command.target.trim())?;
        let names: Vec<String> = leaves
            .iter()
            .map(|one| one.anomaly_id.to_string())
            .collect();
        let part_id = ids::incident(ids::derive(&["split", &id.to_string(), &names.join(",")]));
        let goes = |one: &GroupedAnomaly| names.contains(&one.anomaly_id.to_string());
        group.anomalies.retain(|one| !goes(one));
        let reason = with_reason(
            format!("{} took it out of {}", command.by, ids::short_incident(id)),
            command,
        );
        let mut part = part_of(&self.config, group, part_id, leaves);
        for member in &mut part.anomalies {
            member.reason.clone_from(&reason);
            group.began.remove(&member.anomaly_id);
        }
        part.apart.insert(id);
        group.apart.insert(part_id);
        // What is left keeps its name, unless its namesake has gone.
        if !group
            .anomalies
            .iter()
            .any(|one| one.service == group.primary)
        {
            super::naming::name_group(&self.config, group);
        }
        (group.severity, group.severity_reason) = severity::assess(group);
        let words = with_reason(
            format!(
                "{} took {} of its anomalies out as {}",
                command.by,
                names.len(),
                ids::short_incident(part_id)
            ),
            command,
        );
        let payload = json!({"by": command.by, "credential_id": command.credential_id,
            "into": part_id, "anomalies": names, "wall_ms": at.wall_ms});
        let mut effects = vec![Effect::audit(
            id,
            "INCIDENT_SPLIT",
            group.last_ms,
            words.clone(),
            payload,
        )];
        let news = (IncidentChange::Split, words, part_id);
        effects.extend(announce::announce_soon(&self.config, group, at, news));
        // Its own announcement does not wait for company.
        part.phase = Phase::Copying;
        part.is_loud = true;
        effects.push(copies::copy_records(&self.config, &mut part));
        state.groups.insert(part_id, part);
        Ok(effects)
    }

    fn reopen_by_hand(&self, state: &mut State, command: &OperatorCommand) -> Obeyed {
        let id = command.incident_id;
        let is_open = |group: &Group| group.phase != Phase::Resolved;
        if state.groups.get(&id).is_some_and(is_open) {
            return Err("it is not over".to_owned());
        }
        let why = with_reason(format!("{} reopened it", command.by), command);
        let effects = self.reopen(state, (id, Uuid::nil()), why);
        if effects.is_empty() {
            return Err(
                "it is unknown here, or it ended too long ago (DUPLICATE_WINDOW_MINUTES)"
                    .to_owned(),
            );
        }
        Ok(effects)
    }

    fn maintain(&self, state: &mut State, at: Moment, command: &OperatorCommand) -> Obeyed {
        let until_ms = until(command, at)?;
        let service = command.target.trim();
        if service.is_empty() {
            return Err("`target` must be a service, or * for every one".to_owned());
        }
        let known = state
            .windows
            .iter()
            .position(|window| window.service == service);
        if until_ms <= at.wall_ms {
            // An end in the past ends it now.
            let place =
                known.ok_or_else(|| format!("there is no maintenance of {service} to end"))?;
            state.windows[place].until_ms = at.wall_ms;
            return Ok(self.on_windows(state, at));
        }
        if known.is_none() && state.windows.len() >= WINDOWS_LIMIT {
            return Err(format!(
                "there are {WINDOWS_LIMIT} maintenance windows already; end one"
            ));
        }
        state.windows.retain(|window| window.service != service);
        state.windows.push(Window {
            service: service.to_owned(),
            until_ms,
            by: command.by.clone(),
            reason: command.reason.clone(),
        });
        let minutes = (until_ms - at.wall_ms + 30_000) / 60_000;
        let about = if service == "*" {
            "every service"
        } else {
            service
        };
        let words = with_reason(
            format!(
                "{} announced {minutes} min of maintenance of {about}",
                command.by
            ),
            command,
        );
        let payload = json!({"by": command.by, "credential_id": command.credential_id,
            "service": service, "until_ms": until_ms, "environment": command.environment,
            "wall_ms": at.wall_ms});
        let mut effects = vec![note(
            None,
            "MAINTENANCE_STARTED",
            at.event_ms,
            words,
            payload,
        )];
        effects.extend(self.window_timer(state));
        Ok(effects)
    }
}

/// An incident that people were told of and that goes on.
fn open_group(state: &mut State, id: Uuid) -> Result<&mut Group, String> {
    let group = state.groups.get_mut(&id);
    match group {
        Some(group) if group.is_announced() => Ok(group),
        Some(group) if group.phase == Phase::Resolved => Err("it is over".to_owned()),
        _ if state.over.iter().any(|over| over.group.incident_id == id) => {
            Err("it is over".to_owned())
        }
        _ => Err("no open incident of this environment has this id".to_owned()),
    }
}

/// The members that a split is about.
fn leaving(group: &Group, target: &str) -> Result<Vec<GroupedAnomaly>, String> {
    let wanted: Vec<&str> = target.split(',').map(str::trim).collect();
    let named = |one: &&GroupedAnomaly| wanted.contains(&one.anomaly_id.to_string().as_str());
    let by_id: Vec<GroupedAnomaly> = group.anomalies.iter().filter(named).cloned().collect();
    let leaves = if by_id.is_empty() {
        let of_service = group.anomalies.iter().filter(|one| one.service == target);
        of_service.cloned().collect()
    } else if by_id.len() < wanted.len() {
        return Err(format!(
            "{} of the anomalies named are not in it",
            wanted.len() - by_id.len()
        ));
    } else {
        by_id
    };
    if leaves.is_empty() {
        return Err(format!(
            "it has neither anomalies nor a service named {target:?}"
        ));
    }
    if leaves.len() == group.anomalies.len() {
        return Err("nothing would be left of it".to_owned());
    }
    Ok(leaves)
}

/// Until when, within bounds.
fn until(command: &OperatorCommand, at: Moment) -> Result<i64, String> {
    let until_ms = command
        .until_ms
        .ok_or("`until_ms` is missing: until when?")?;
    if until_ms - at.wall_ms > LONGEST_MS {
        return Err("a week is the longest; ask again when it is over".to_owned());
    }
    Ok(until_ms)
}

/// Who asks. Of a link to a mailbox that is no operator's, or in a channel, it is
/// only known where it lay.
fn who(command: &OperatorCommand) -> String {
    let by = &command.by;
    match command.credential_id.split_once(':') {
        Some(("mailbox", _)) => format!("whoever reads {by}"),
        Some(("channel", _)) => format!("somebody in {by}"),
        _ => by.clone(),
    }
}

fn with_reason(words: String, command: &OperatorCommand) -> String {
    if command.reason.is_empty() {
        words
    } else {
        format!("{words}: {}", command.reason)
    }
}

pub(super) fn refused(command: &OperatorCommand, at: Moment, why: &str) -> Effect {
    let about = (!command.incident_id.is_nil()).then_some(command.incident_id);
    let payload = json!({"command": command.command, "by": command.by, "target": command.target,
        "reason": command.reason, "credential_id": command.credential_id,
        "issued_at_ms": command.issued_at_ms, "expires_at_ms": command.expires_at_ms,
        "refused_because": why, "wall_ms": at.wall_ms});
    let words = format!("{} asked to {}: {why}.", command.by, command.command);
    note(about, "COMMAND_REFUSED", at.event_ms, words, payload)
}
