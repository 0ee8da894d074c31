//! The end of an incident, and what is said of its anomalies after that.
//!
//! Detection and the investigation speak on different topics: words about
//! anomalies that came before the end may be heard after it. Whichever is heard
//! first, the incident comes to the same row:
//! - people hear nothing more of it, and its severity stays what they heard;
//! - a member that is normal again shows since when, even if that is heard long
//!   after the end;
//! - it is left no sooner than all that detection had said by then is heard.

use super::life::{close, lives_elsewhere, part_of};
use super::state::{Ended, Group, Over, Phase, State};
use super::{Core, announce, copies, join, severity};
use midwatch_events::anomaly::{Anomaly, Transition};
use midwatch_events::incident::GroupedAnomaly;
use midwatch_events::{IncidentResolved, ids};
use midwatch_runtime::{Effect, Moment};
use serde_json::{Value, json};
use std::cmp::Ordering;
use uuid::Uuid;

/// How long an incident that is over is kept, wall clock: detection's last
/// words reach correlation within a second or two, unless it is far behind.
const AFTER_MS: i64 = 10_000;
/// How often more it is kept for as long, where correlation has not heard what
/// detection said by the end: five minutes in which it runs.
const BEHIND_LIMIT: u64 = 30;
/// The same, where it has heard something of the very moment of the end, of
/// which there may be more.
const ABREAST_LIMIT: u64 = 1;
/// Anomalies that are remembered as closed by a person while active: one that is
/// forgotten opens an incident with its next word. As many as an incident lists
/// and follows.
const CLOSED_ACTIVE_LIMIT: usize = 7_000;

impl Core {
    /// The incident is over. What people were told of it stays as it is; its row
    /// shows what has become of its members.
    pub(super) fn on_resolved(
        &self,
        state: &mut State,
        at: Moment,
        resolved: &IncidentResolved,
    ) -> Vec<Effect> {
        let incident_id = resolved.header.incident_id;
        let Some(group) = state.groups.get_mut(&incident_id) else {
            return Vec::new();
        };
        // An end that was on its way when the incident was reopened.
        if !group.reopening.is_empty() || group.phase == Phase::Resolved {
            return Vec::new();
        }
        group.phase = Phase::Resolved;
        group.ended = Some(Ended {
            at_ms: resolved.resolved_at_ms,
            method: resolved.resolution_method.clone(),
        });
        group.pending.clear();
        group.pending_more = 0;
        group.pending_severity = false;
        group.pending_change = None;
        (group.severity, group.severity_reason) = severity::assess(group);
        // The recovery belongs to the incident's window too.
        vec![
            Effect::CancelTimer {
                name: format!("grow:{incident_id}"),
            },
            announce::row(&self.config, group),
            copies::copy_records(&self.config, group),
            self.timer("after", incident_id, at.wall_ms + AFTER_MS),
        ]
    }

    /// Leaves an incident that is over. An anomaly that joined so late that the
    /// investigation never heard of it, and that is still active, becomes an
    /// incident of its own. Where a person closed the incident, that person saw
    /// what was active then: it stays closed as long as it does not get worse.
    pub(super) fn leave(
        &self,
        state: &mut State,
        at: Moment,
        (incident_id, payload): (Uuid, &Value),
    ) -> Vec<Effect> {
        let is_over = |group: &&Group| group.phase == Phase::Resolved;
        let Some(group) = state.groups.get(&incident_id).filter(is_over) else {
            return Vec::new();
        };
        let ended = group.ended.clone().unwrap_or_else(|| Ended {
            at_ms: group.last_ms,
            method: String::new(),
        });
        let closed_by_hand = ended.is_by_hand();
        let (left, gone): (Vec<GroupedAnomaly>, Vec<GroupedAnomaly>) =
            group.anomalies.iter().cloned().partition(|member| {
                let is_news = if closed_by_hand {
                    worst_ms(member) > ended.at_ms
                } else {
                    !member.trigger_metric.contains(':')
                };
                member.cleared_at_ms.is_none() && is_news && !lives_elsewhere(state, member)
            });
        let waited = payload["waited"].as_u64().unwrap_or(0);
        if !left.is_empty() && waited < waits(&ended, state.latest_ms) {
            return vec![Effect::SetTimer {
                name: format!("after:{incident_id}"),
                due_ms: at.wall_ms + AFTER_MS,
                payload: json!({"incident_id": incident_id, "waited": waited + 1}),
            }];
        }
        let mut group = state.groups.remove(&incident_id).expect("it is there");
        if closed_by_hand {
            keep_in_mind(state, &group, &gone, ended.at_ms);
        }
        close(state, &gone, incident_id);
        let unlisted: Vec<Uuid> = group.unlisted_ids.keys().copied().collect();
        state
            .closed
            .extend(unlisted.into_iter().map(|id| (id, incident_id)));
        let ids: Vec<Uuid> = left.iter().map(|member| member.anomaly_id).collect();
        let why = if closed_by_hand {
            "worse after a person had closed"
        } else {
            "still out of range after the end of"
        };
        let mut effects = self.leave_rest(state, at, (&group, why), left);
        // What it was about stays known, also where it goes on elsewhere.
        group.before = group.all_series();
        group
            .anomalies
            .retain(|member| !ids.contains(&member.anomaly_id));
        if !ids.is_empty() {
            effects.push(announce::row(&self.config, &group));
        }
        forget_readings(&mut group);
        group.unlisted_ids.clear();
        state.over.push(Over { group, ended });
        self.forget(state);
        effects
    }

    fn leave_rest(
        &self,
        state: &mut State,
        at: Moment,
        (group, why): (&Group, &str),
        left: Vec<GroupedAnomaly>,
    ) -> Vec<Effect> {
        let Some(first) = left.first() else {
            return Vec::new();
        };
        let before = group.incident_id.to_string();
        let id = ids::incident(ids::derive(&[
            "left",
            &before,
            &first.anomaly_id.to_string(),
        ]));
        let mut rest = part_of(&self.config, group, id, left);
        let short = ids::short_incident(group.incident_id);
        for member in &mut rest.anomalies {
            member.reason = format!("{why} {short}");
        }
        // What a person closed counts from when it got worse.
        if group.ended.as_ref().is_some_and(Ended::is_by_hand) {
            let since = rest.anomalies.iter().map(worst_ms);
            rest.detected_at_ms = since.clone().min().unwrap_or(rest.detected_at_ms);
            rest.last_ms = since.max().unwrap_or(rest.last_ms);
        }
        state.groups.insert(id, rest);
        vec![self.timer("open", id, at.wall_ms + self.config.settle_ms)]
    }

    /// An anomaly that no incident holds any more is normal again: the row of
    /// the last one that held it says so.
    pub(super) fn cleared_late(&self, state: &mut State, anomaly: &Anomaly) -> Vec<Effect> {
        let past = state.over.iter_mut().rev().map(|over| &mut over.group);
        for group in past {
            let mut members = group.anomalies.iter_mut();
            let Some(member) = members.find(|one| one.anomaly_id == anomaly.anomaly_id) else {
                continue;
            };
            if member.cleared_at_ms.is_some() {
                return Vec::new();
            }
            join::take_transition(member, anomaly);
            let row = announce::row(&self.config, group);
            forget_readings(group);
            return vec![row];
        }
        Vec::new()
    }
}

/// Whether an anomaly of an incident that a person closed got worse after that.
pub(super) fn is_news(group: &Group, anomaly: &Anomaly) -> bool {
    let ended = group.ended.as_ref();
    group.phase == Phase::Resolved
        && matches!(
            anomaly.transition,
            Transition::Started | Transition::Worsened
        )
        && ended.is_some_and(|end| end.is_by_hand() && anomaly.detected_at_ms > end.at_ms)
}

/// Event time of a member's worst reading.
fn worst_ms(member: &GroupedAnomaly) -> i64 {
    member.observed_at_ms.unwrap_or(member.detected_at_ms)
}

/// Anomalies that were active when a person closed their incident are closed
/// with it, until they get worse.
fn keep_in_mind(state: &mut State, group: &Group, gone: &[GroupedAnomaly], closed_ms: i64) {
    let listed = gone.iter().filter(|one| one.cleared_at_ms.is_none());
    let listed: Vec<Uuid> = listed
        .filter(|one| !lives_elsewhere(state, one))
        .map(|one| one.anomaly_id)
        .collect();
    let active = listed
        .into_iter()
        .chain(group.unlisted_active.iter().copied());
    state.closed_active.extend(active.map(|id| (id, closed_ms)));
    while state.closed_active.len() > CLOSED_ACTIVE_LIMIT {
        let known = state.closed_active.iter();
        let oldest = known.min_by_key(|(id, closed_ms)| (**closed_ms, **id));
        let Some(oldest) = oldest.map(|(id, _)| *id) else {
            break;
        };
        state.closed_active.remove(&oldest);
        state.closed.retain(|(id, _)| *id != oldest);
    }
}

/// How often the words that ended an incident, which say when, are waited for
/// where a member is still out of range.
fn waits(ended: &Ended, latest_ms: i64) -> u64 {
    if !matches!(ended.method.as_str(), "RECOVERED" | "REMEDIATED") {
        return 0;
    }
    match latest_ms.cmp(&ended.at_ms) {
        Ordering::Less => BEHIND_LIMIT,
        Ordering::Equal => ABREAST_LIMIT,
        Ordering::Greater => 0,
    }
}

/// What only the row still needs goes when the row is final.
fn forget_readings(group: &mut Group) {
    if !group.is_active() {
        if let Some(told) = &mut group.told {
            told.left_out.clear();
        }
        group.surroundings.recent_errors.clear();
        group.surroundings.recent_metrics.clear();
    }
}
