//! Putting an anomaly into a group, and one group into another.

use super::belong::{self, Signal, explained_by, near_in_time};
use super::state::{Group, Phase, State, Surroundings, Trigger, grouped};
use super::{Core, announce, beyond, naming, second_look, severity};
use midwatch_events::anomaly::{Anomaly, Transition};
use midwatch_events::ids;
use midwatch_events::incident::{GroupedAnomaly, IncidentChange};
use midwatch_events::more::{self, LISTED};
use midwatch_runtime::{Effect, Moment};
use std::cmp::Ordering;
use uuid::Uuid;

/// What changed since the last announcement, in words: so many at most.
const PENDING_LIMIT: usize = 20;

impl Core {
    /// Puts an anomaly where it belongs, or opens a group for it.
    pub(super) fn place(
        &self,
        state: &mut State,
        at: Moment,
        anomaly: &Anomaly,
        mut around: Surroundings,
    ) -> Vec<Effect> {
        second_look::add_named(state, &mut around, anomaly);
        let signal = Signal::of(anomaly, &around);
        let now_ms = anomaly.detected_at_ms;
        let found = belong::belonging(&self.config, state, &around.topology, (&signal, now_ms))
            .or_else(|| self.declared_on(state, anomaly));
        let (id, mut effects) = match found {
            Some((id, reason)) => {
                let group = state
                    .groups
                    .get_mut(&id)
                    .expect("belonging names a group of this state");
                (id, self.join(group, at, anomaly, reason, around))
            }
            None => self.found_group(state, at, anomaly, around),
        };
        effects.extend(self.take_tickets(state, at, id));
        effects.extend(self.link(state, at, id, now_ms));
        effects
    }

    fn found_group(
        &self,
        state: &mut State,
        at: Moment,
        anomaly: &Anomaly,
        around: Surroundings,
    ) -> (Uuid, Vec<Effect>) {
        // The same anomaly may open another incident after the first is over.
        let outbreak = [
            anomaly.anomaly_id.to_string(),
            anomaly.detected_at_ms.to_string(),
        ];
        let id = ids::incident(ids::derive(&[&outbreak[0], &outbreak[1]]));
        let group = Group::new(id, anomaly, "the first anomaly of the incident", around);
        state.groups.insert(id, group);
        let timer = self.timer("open", id, at.wall_ms + self.config.settle_ms);
        (id, vec![timer])
    }

    /// A new anomaly joins a group.
    fn join(
        &self,
        group: &mut Group,
        at: Moment,
        anomaly: &Anomaly,
        reason: String,
        around: Surroundings,
    ) -> Vec<Effect> {
        group.last_ms = group.last_ms.max(anomaly.detected_at_ms);
        let onset = around.onset;
        group.look_around(around);
        let mut member = grouped(anomaly, reason);
        if let Some(onset) = onset {
            member.onset_ms = onset.at_ms;
        }
        if !self.has_room(group) {
            // Of those that are not followed only the first word is counted.
            let is_full = group.unlisted_ids.len() >= beyond::FOLLOWED;
            if is_full && anomaly.transition != Transition::Started {
                return Vec::new();
            }
            return self.join_beyond(group, at, &member);
        }
        if let Some(onset) = onset {
            group.began.insert(anomaly.anomaly_id, onset);
        }
        self.let_in(group, at, member, anomaly.detected_wall_ms)
    }

    /// Burn rates of the group's services go with it. Load does not: it is
    /// told as left out, so that it neither names the incident nor tears it from
    /// what explains the rest.
    fn take_tickets(&self, state: &mut State, at: Moment, id: Uuid) -> Vec<Effect> {
        let Some(group) = state.groups.get_mut(&id) else {
            return Vec::new();
        };
        let services = group.services();
        let due: Vec<Uuid> = state
            .tickets
            .iter()
            .filter(|(_, ticket)| {
                services.contains(&ticket.service) && ticket.trigger_metric.starts_with("slo:")
            })
            .map(|(id, _)| *id)
            .collect();
        let mut effects = Vec::new();
        for ticket_id in due {
            let Some(mut ticket) = state.tickets.remove(&ticket_id) else {
                continue;
            };
            ticket.reason = format!(
                "a finding on {} that paged nobody by itself",
                ticket.service
            );
            effects.extend(self.adopt(group, at, ticket, None));
        }
        effects
    }

    /// A member that was known elsewhere comes in; `from` is the incident that
    /// it comes from.
    fn adopt(
        &self,
        group: &mut Group,
        at: Moment,
        member: GroupedAnomaly,
        from: Option<(Uuid, i64)>,
    ) -> Vec<Effect> {
        group.last_ms = group.last_ms.max(member.detected_at_ms);
        if group.holds(member.anomaly_id) {
            return Vec::new();
        }
        if !self.has_room(group) {
            return self.join_beyond(group, at, &member);
        }
        let wall_ms = from.map_or(at.wall_ms, |(_, wall_ms)| wall_ms);
        self.let_in(group, at, member, wall_ms)
    }

    /// A member comes into the list; readers are told.
    fn let_in(
        &self,
        group: &mut Group,
        at: Moment,
        member: GroupedAnomaly,
        wall_ms: i64,
    ) -> Vec<Effect> {
        let words = format!("{} on {} joined", member.trigger_metric, member.service);
        // What has no readings is no part of the watch.
        let is_watched = !member.trigger_metric.contains(':');
        let mut effects = enter(group, member, wall_ms);
        effects.extend(self.grown(group, at, words));
        if is_watched {
            effects.extend(self.tell_snoozed(group, at));
        }
        effects
    }

    /// Joins the group `id` with those that it now explains, or that explain
    /// it: the older one stays.
    pub(super) fn link(&self, state: &mut State, at: Moment, id: Uuid, now_ms: i64) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut id = id;
        while let Some((survivor, gone, reason)) = self.linked(state, id, now_ms) {
            effects.extend(self.merge(state, at, (survivor, gone), &reason));
            id = survivor;
        }
        effects
    }

    fn linked(&self, state: &State, id: Uuid, now_ms: i64) -> Option<(Uuid, Uuid, String)> {
        let group = state.groups.get(&id)?;
        let may = |other: &&Group| {
            let (environment, onset_ms) = (&group.environment, group.onset_ms());
            other.incident_id != id
                && group.phase != Phase::Resolved
                && near_in_time(&self.config, other, environment, onset_ms)
                && near_in_time(&self.config, group, environment, other.onset_ms())
                && !group.apart.contains(&other.incident_id)
                && !other.apart.contains(&id)
        };
        let bonded = |other: &Group, by_harmless: bool| {
            let explains = |one: &Group, other: &Group| {
                explained_by(&self.config, (one, by_harmless), other, now_ms)
            };
            let reason = explains(other, group).or_else(|| explains(group, other))?;
            // Whoever people know of stays; of two such the older one.
            let age = |one: &Group| (!one.is_announced(), one.detected_at_ms, one.incident_id);
            let (survivor, gone) = if age(group) < age(other) {
                (id, other.incident_id)
            } else {
                (other.incident_id, id)
            };
            Some((survivor, gone, reason))
        };
        let others: Vec<&Group> = state.groups.values().filter(may).collect();
        let found = |by_harmless| others.iter().find_map(|other| bonded(other, by_harmless));
        found(false).or_else(|| found(true))
    }

    /// Puts the group `gone` into the group `survivor`. Where people were told
    /// of it, both say so; the investigation then ends it as MERGED.
    pub(super) fn merge(
        &self,
        state: &mut State,
        at: Moment,
        (survivor, gone): (Uuid, Uuid),
        reason: &str,
    ) -> Vec<Effect> {
        let Some(mut group) = state.groups.remove(&gone) else {
            return Vec::new();
        };
        let was_announced = group.is_announced();
        let mut effects: Vec<Effect> = ["open", "grow", "snooze", "quiet"]
            .iter()
            .map(|kind| Effect::CancelTimer {
                name: format!("{kind}:{gone}"),
            })
            .collect();
        let members = std::mem::take(&mut group.anomalies);
        if was_announced {
            effects.extend(announce::absorbed(&mut group, at, survivor, reason));
        }
        let Some(host) = state.groups.get_mut(&survivor) else {
            return effects;
        };
        host.look_around(std::mem::take(&mut group.surroundings));
        host.began.append(&mut group.began);
        host.count_all(&mut group);
        host.apart.append(&mut group.apart);
        for mut member in members {
            reason.clone_into(&mut member.reason);
            let wall_ms = group.unwritten.get(&member.anomaly_id).copied();
            let from = (gone, wall_ms.unwrap_or(group.detected_wall_ms));
            effects.extend(self.adopt(host, at, member, Some(from)));
        }
        if was_announced {
            let words = format!("{} was merged into it: {reason}", ids::short_incident(gone));
            let news = (IncidentChange::Merged, words, gone);
            effects.extend(announce::announce_soon(&self.config, host, at, news));
        }
        effects
    }

    /// Notes a new member.
    pub(super) fn grown(&self, group: &mut Group, at: Moment, words: String) -> Vec<Effect> {
        if group.phase == Phase::Open {
            group.pending_change.get_or_insert(IncidentChange::Grown);
        }
        self.changed(group, at, words)
    }

    /// Announces what the end of the incident waits for, snoozed or not: whoever
    /// ends it must know of every series that is out of range. People hear of it
    /// when the snooze is over.
    pub(super) fn tell_snoozed(&self, group: &mut Group, at: Moment) -> Option<Effect> {
        let is_due = group.phase == Phase::Open && is_snoozed(group, at) && !group.is_awaited;
        is_due.then(|| {
            group.is_awaited = true;
            let due_ms = at.wall_ms + self.config.grow_ms;
            self.timer("grow", group.incident_id, due_ms)
        })
    }

    /// Notes a change; while the incident is open, an update follows soon.
    pub(super) fn changed(&self, group: &mut Group, at: Moment, mut words: String) -> Vec<Effect> {
        let before = group.severity;
        (group.severity, group.severity_reason) = severity::assess(group);
        let moved = group.severity != before && group.is_active();
        if moved {
            let (now, why) = (group.severity, &group.severity_reason);
            words = format!("{words}; severity {before} → {now}: {why}");
        }
        match group.phase {
            // A late word: whether it came before the end or after it, the row
            // shows the same.
            Phase::Resolved => return vec![announce::row(&self.config, group)],
            Phase::Quiet if !group.is_active() => return Vec::new(),
            Phase::Quiet => return self.no_longer_quiet(group, at),
            // Not announced yet: name it after the best candidate so far.
            Phase::Settling | Phase::Copying if group.reopening.is_empty() => {
                naming::name_group(&self.config, group);
                return Vec::new();
            }
            Phase::Settling | Phase::Copying => return Vec::new(),
            Phase::Open => {}
        }
        group.pending_severity |= moved;
        let first = group.pending.is_empty();
        if !group.pending.contains(&words) {
            if group.pending.len() < PENDING_LIMIT {
                group.pending.push(words);
            } else {
                group.pending_more += 1;
            }
        }
        let is_snoozed = is_snoozed(group, at);
        let wakes = is_snoozed && moved && group.severity > before;
        let mut effects = Vec::new();
        if wakes {
            effects.push(announce::wake(group, at, ": the severity rose"));
        }
        if wakes || (first && !is_snoozed) {
            let due_ms = at.wall_ms + self.config.grow_ms;
            effects.push(self.timer("grow", group.incident_id, due_ms));
        }
        effects
    }

    /// A further transition of an anomaly that a group lists.
    pub(super) fn on_known(&self, group: &mut Group, at: Moment, anomaly: &Anomaly) -> Vec<Effect> {
        let Some(index) = group
            .anomalies
            .iter()
            .position(|member| member.anomaly_id == anomaly.anomaly_id)
        else {
            return if group.unlisted_ids.contains_key(&anomaly.anomaly_id) {
                self.on_beyond(group, at, anomaly)
            } else {
                Vec::new()
            };
        };
        group.last_ms = group.last_ms.max(anomaly.detected_at_ms);
        let before = group.anomalies[index].clone();
        take_transition(&mut group.anomalies[index], anomaly);
        if index >= LISTED {
            group.anomalies[index].description = more::brief(&group.anomalies[index]);
        }
        let is_same = group.anomalies[index] == before;
        // Told twice: nothing is new.
        if is_same && anomaly.transition != Transition::Missing {
            return Vec::new();
        }
        let (metric, service) = (&anomaly.trigger_metric, &anomaly.service);
        let words = match anomaly.transition {
            Transition::Cleared => format!("{metric} on {service} is normal again"),
            Transition::Missing => format!("{metric} of {service} stopped reporting"),
            Transition::Started if before.cleared_at_ms.is_some() => {
                format!("{metric} on {service} broke out again")
            }
            _ => format!("{metric} on {service} worsened"),
        };
        if group.trigger.service == *service && group.trigger.metric == *metric {
            let worse = anomaly.deviation_sigma.abs() > group.trigger.deviation_sigma.abs();
            if worse && anomaly.transition != Transition::Cleared {
                group.trigger = Trigger::of(&group.anomalies[index], anomaly.anomaly_score);
            }
        }
        self.changed(group, at, words)
    }
}

fn is_snoozed(group: &Group, at: Moment) -> bool {
    let until = group.snoozed_until_ms;
    until.is_some_and(|until| at.wall_ms < until)
}

/// A member comes into the list, with its line in the audit trail, now or with
/// the announcement.
fn enter(group: &mut Group, member: GroupedAnomaly, wall_ms: i64) -> Vec<Effect> {
    let id = member.anomaly_id;
    group.add(member);
    if group.is_announced() {
        let member = group.anomalies.last().expect("it was added");
        return vec![announce::detected(group, member, wall_ms)];
    }
    group.unwritten.insert(id, wall_ms);
    Vec::new()
}

/// Takes a transition into a member. Its reading is the worst one of those that
/// opened it or made it worse, with its time; when and by what it was detected
/// stays. The reading that cleared it, or the lack of one, says nothing about how
/// bad it was.
pub(super) fn take_transition(member: &mut GroupedAnomaly, anomaly: &Anomaly) {
    member.onset_ms = member.onset_ms.min(anomaly.onset_ms);
    match anomaly.transition {
        Transition::Cleared => member.cleared_at_ms = Some(anomaly.detected_at_ms),
        Transition::Missing => member.cleared_at_ms = None,
        Transition::Started | Transition::Worsened => {
            member.cleared_at_ms = None;
            // Log lines and burnt budgets have no distance: there, severity tells.
            let farther = anomaly
                .deviation_sigma
                .abs()
                .total_cmp(&member.deviation_sigma.abs());
            if farther.then(anomaly.severity.cmp(&member.severity)) == Ordering::Greater {
                *member = GroupedAnomaly {
                    onset_ms: member.onset_ms,
                    severity: member.severity.max(anomaly.severity),
                    detected_at_ms: member.detected_at_ms,
                    observed_at_ms: (anomaly.detected_at_ms != member.detected_at_ms)
                        .then_some(anomaly.detected_at_ms),
                    description: member.description.clone(),
                    ..grouped(anomaly, member.reason.clone())
                };
            }
            member.severity = member.severity.max(anomaly.severity);
        }
    }
}
