//! Members beyond those that a group lists: a storm larger than that is still
//! one incident.
//!
//! They have no row of their own. Up to [`FOLLOWED`] of them are followed, so
//! that the incident does not end while one of them is active; of what comes
//! after that only the number is known, and then a person says when it is over.
//! Each announcement says how many there are and on which services.

use super::announce::counted;
use super::state::Group;
use super::{Core, note};
use midwatch_events::anomaly::{Anomaly, Transition};
use midwatch_events::incident::{GroupedAnomaly, IncidentChange};
use midwatch_events::more::{self, Beyond, LISTED, More};
use midwatch_runtime::{Effect, Moment};
use serde_json::json;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Members beyond the list that are followed: an id and a service each, so that
/// the state stays below a megabyte.
pub const FOLLOWED: usize = 5_000;
/// About how many bytes the members take in a message: a topic takes one
/// mebibyte, and a fifth of that is for everything else.
const BYTES_LIMIT: usize = 800_000;
/// What a listed member takes beside its texts.
const LISTED_BYTES: usize = 450;
/// Services that are named of those beyond the list.
const NAMED: usize = 20;

impl Group {
    /// How many members there are beyond the list.
    #[must_use]
    pub fn beyond(&self) -> Beyond {
        let followed = self.unlisted_ids.len() as u64;
        let unlisted = u64::from(self.unlisted);
        Beyond {
            unlisted,
            unlisted_active: self.unlisted_active.len() as u64,
            unfollowed: unlisted.saturating_sub(followed),
        }
    }

    /// How many members there are, listed or not.
    #[must_use]
    pub fn size(&self) -> usize {
        self.anomalies.len() + self.unlisted as usize
    }

    /// What readers are told of the members that are not told whole.
    #[must_use]
    pub fn more(&self) -> Option<More> {
        let more = More {
            beyond: self.beyond(),
            ..More::of(more::divided(&self.anomalies).1)
        };
        (!more.is_empty()).then_some(more)
    }

    /// Members from this place on, where they are not told whole, are described
    /// by their numbers, as they will be once they were stored.
    pub(super) fn shorten(&mut self, from: usize) {
        for member in self.anomalies.iter_mut().skip(from.max(LISTED)) {
            member.description = more::brief(member);
        }
    }

    /// Takes a member in that has a place in the list.
    pub(super) fn add(&mut self, member: GroupedAnomaly) {
        self.anomalies.push(member);
        self.shorten(self.anomalies.len() - 1);
    }

    /// Moves the members that are too many out of the list: those that are over
    /// first, oldest first.
    pub(super) fn cut_to(&mut self, max_anomalies: usize) {
        let excess = self.anomalies.len().saturating_sub(max_anomalies);
        if excess == 0 {
            return;
        }
        let mut order: Vec<(bool, i64, Uuid)> = self
            .anomalies
            .iter()
            .map(|one| {
                let is_active = one.cleared_at_ms.is_none();
                (is_active, one.detected_at_ms, one.anomaly_id)
            })
            .collect();
        order.sort_unstable();
        let goes: Vec<Uuid> = order[..excess].iter().map(|(_, _, id)| *id).collect();
        let (out, stay) = std::mem::take(&mut self.anomalies)
            .into_iter()
            .partition(|one| goes.contains(&one.anomaly_id));
        self.anomalies = stay;
        for member in &out as &Vec<GroupedAnomaly> {
            self.count(member);
        }
        self.shorten(0);
    }

    /// Counts a member beyond the list, and follows it where there is room.
    pub(super) fn count(&mut self, member: &GroupedAnomaly) {
        if self.unlisted_ids.contains_key(&member.anomaly_id) {
            return;
        }
        self.unlisted += 1;
        self.began.remove(&member.anomaly_id);
        self.unwritten.remove(&member.anomaly_id);
        if self.unlisted_ids.len() < FOLLOWED {
            let service = member.service.clone();
            self.unlisted_ids.insert(member.anomaly_id, service);
            if member.cleared_at_ms.is_none() {
                self.unlisted_active.insert(member.anomaly_id);
            }
        }
    }

    /// Takes over what another group has beyond its list.
    pub(super) fn count_all(&mut self, other: &mut Group) {
        let unfollowed = other.beyond().unfollowed;
        let active = std::mem::take(&mut other.unlisted_active);
        for (id, service) in std::mem::take(&mut other.unlisted_ids) {
            if self.holds(id) {
                continue;
            }
            self.unlisted += 1;
            if self.unlisted_ids.len() < FOLLOWED {
                self.unlisted_ids.insert(id, service);
                if active.contains(&id) {
                    self.unlisted_active.insert(id);
                }
            }
        }
        self.unlisted += u32::try_from(unfollowed).unwrap_or(u32::MAX);
    }

    fn beyond_by_service(&self) -> Vec<(&str, usize)> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for service in self.unlisted_ids.values() {
            *counts.entry(service).or_default() += 1;
        }
        let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(service, count)| (Reverse(*count), *service));
        counts
    }

    /// The line of the audit trail about members beyond the list, where there
    /// are more than were told of.
    pub(super) fn tell_beyond(&mut self, at: Moment) -> Option<Effect> {
        if self.unlisted <= self.told_unlisted {
            return None;
        }
        let new = self.unlisted - std::mem::replace(&mut self.told_unlisted, self.unlisted);
        let beyond = self.beyond();
        let counts = self.beyond_by_service();
        let shown: Vec<String> = counts
            .iter()
            .take(3)
            .map(|(service, count)| format!("{count} on {service}"))
            .collect();
        let words = format!(
            "{} joined beyond the {} that are listed one by one: {} in all, \
             {} of them active ({}{}).",
            counted(new as usize, "further anomaly", "further anomalies"),
            self.anomalies.len(),
            beyond.unlisted,
            beyond.unlisted_active,
            shown.join(", "),
            if counts.len() > 3 { ", …" } else { "" },
        );
        let others = counts.len().saturating_sub(NAMED);
        let payload = json!({"beyond": beyond, "services": counts[..counts.len().min(NAMED)],
            "services_not_named": others, "wall_ms": at.wall_ms});
        let (id, at_ms) = (self.incident_id, self.last_ms);
        Some(note(
            Some(id),
            "ANOMALIES_NOT_LISTED",
            at_ms,
            words,
            payload,
        ))
    }
}

fn bytes(members: &[GroupedAnomaly]) -> usize {
    let whole = members.iter().map(|one| {
        let texts = [
            &one.service,
            &one.trigger_metric,
            &one.description,
            &one.reason,
        ];
        texts.iter().map(|text| text.len()).sum::<usize>() + LISTED_BYTES
    });
    whole.sum()
}

impl Core {
    /// Whether one more can be listed.
    pub(super) fn has_room(&self, group: &Group) -> bool {
        if group.anomalies.len() >= self.config.max_anomalies {
            return false;
        }
        let (listed, rest) = more::divided(&group.anomalies);
        let listed = bytes(listed);
        // As if no name were written once: names are short, as a rule.
        listed + bytes(rest) <= BYTES_LIMIT || listed + More::of(rest).bytes() <= BYTES_LIMIT
    }

    /// A new member that has no place in the list.
    pub(super) fn join_beyond(
        &self,
        group: &mut Group,
        at: Moment,
        member: &GroupedAnomaly,
    ) -> Vec<Effect> {
        group.count(member);
        let listed = group.anomalies.len();
        let words = format!("anomalies beyond the {listed} that are listed joined");
        let mut effects = self.grown(group, at, words);
        effects.extend(self.tell_snoozed(group, at));
        effects
    }

    /// A further transition of a member beyond the list. Readers are told when
    /// the last one of them is over, because the end waits for that, and when
    /// the first one is out of range again.
    pub(super) fn on_beyond(
        &self,
        group: &mut Group,
        at: Moment,
        anomaly: &Anomaly,
    ) -> Vec<Effect> {
        let id = anomaly.anomaly_id;
        group.last_ms = group.last_ms.max(anomaly.detected_at_ms);
        let was_calm = group.unlisted_active.is_empty();
        if anomaly.transition == Transition::Cleared {
            group.unlisted_active.remove(&id);
        } else {
            group.unlisted_active.insert(id);
        }
        let is_calm = group.unlisted_active.is_empty();
        if is_calm == was_calm {
            return Vec::new();
        }
        let words = if is_calm {
            let count = group.unlisted_ids.len();
            let all = counted(count, "anomaly", "anomalies");
            format!("all is over beyond the list ({all})")
        } else {
            format!(
                "an anomaly beyond the list is active again, on {}",
                anomaly.service
            )
        };
        if group.is_announced() {
            group.pending_change.get_or_insert(IncidentChange::Grown);
        }
        let mut effects = self.changed(group, at, words);
        effects.extend(self.tell_snoozed(group, at));
        effects
    }
}
