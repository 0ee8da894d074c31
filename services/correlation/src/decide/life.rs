//! What becomes of an outbreak, and how one that ended is taken up again.
//!
//! A group that has settled has one of three fates:
//! - it **opens** as an incident of its own;
//! - it **reopens** the incident of the same fingerprint (environment, service,
//!   metric and type of what it is named after) that ended last, where that
//!   was at most `REOPEN_WINDOW_MINUTES` ago, or at most
//!   `DUPLICATE_WINDOW_MINUTES` ago and it had recovered by itself, and it was
//!   reopened fewer than [`REPEATS`] times. It is another fault nevertheless
//!   where a resource of its own runs out that was no part of that incident,
//!   or where something was rolled out in between;
//! - it stays **quiet** where its fingerprint is restless: each outbreak adds
//!   one to a score that halves every hour. From [`RESTLESS`] on the incident
//!   is announced once as flapping; until the score has fallen below [`CALM`],
//!   further outbreaks are kept to themselves, unless they last for
//!   [`QUIET_MS`], get graver or show a resource of their own.

use super::belong::is_own;
use super::naming;
use super::state::{Ended, Flap, Group, Phase, State};
use super::{Core, copies};
use crate::config::Config;
use midwatch_events::anomaly::{AnomalyType, Severity};
use midwatch_events::incident::GroupedAnomaly;
use midwatch_runtime::{Effect, Moment};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Closed anomalies remembered per environment: some hundred incidents' worth,
/// and a storm.
const CLOSED_LIMIT: usize = 4_000;
/// Incidents that can be reopened, per environment.
const OVER_LIMIT: usize = 40;
/// Fingerprints whose restlessness is remembered.
const FLAPS_LIMIT: usize = 500;
/// An identical fault reopens an incident so many times; after that somebody
/// is to be told that it keeps coming back.
pub const REPEATS: u32 = 3;
/// The score from which a fingerprint is restless: four outbreaks within about
/// forty minutes.
pub const RESTLESS: f64 = 3.0;
/// The score below which it is calm again.
pub const CALM: f64 = 1.5;
/// The score is not counted beyond this, so that it falls below [`CALM`] within
/// two hours of the last outbreak.
const SCORE_LIMIT: f64 = 6.0;
const HALF_LIFE_MS: f64 = 3_600_000.0;
/// An outbreak of a restless fingerprint that lasts this long, wall clock, is
/// announced after all.
pub const QUIET_MS: i64 = 300_000;

enum Fate {
    Open,
    Reopen { incident: Uuid, why: String },
    Quiet { of: Option<Uuid> },
}

impl Flap {
    /// The score at an event time.
    #[must_use]
    pub fn score_at(&self, at_ms: i64) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "durations are far below 2^53 ms"
        )]
        let passed = (at_ms - self.at_ms).max(0) as f64;
        self.score * (-passed / HALF_LIFE_MS).exp2()
    }

    /// One more outbreak.
    fn count(&mut self, at_ms: i64) {
        self.score = (self.score_at(at_ms) + 1.0).min(SCORE_LIMIT);
        self.at_ms = self.at_ms.max(at_ms);
        self.is_flapping |= self.score >= RESTLESS;
    }
}

impl Core {
    /// A group has waited long enough for company.
    pub(super) fn on_settled(&self, state: &mut State, at: Moment, id: Uuid) -> Vec<Effect> {
        self.forget(state);
        let absolved: BTreeMap<String, i64> = ended(state)
            .filter(|(past, ended)| {
                past.anomaly_type == AnomalyType::DeploymentFailure && ended.method == "RECOVERED"
            })
            .map(|(past, ended)| (past.primary.clone(), ended.at_ms))
            .collect();
        let Some(group) = state.groups.get_mut(&id) else {
            return Vec::new();
        };
        group.absolved = absolved;
        naming::settle_name(&self.config, group);
        let fate = self.fate(state, id);
        let calms = self.count_outbreak(state, id);
        match fate {
            Fate::Open => match state.groups.get_mut(&id) {
                Some(group) => {
                    group.phase = Phase::Copying;
                    vec![copies::copy_records(&self.config, group)]
                }
                None => Vec::new(),
            },
            Fate::Reopen { incident, why } => self.reopen(state, (incident, id), why),
            Fate::Quiet { of } => self.keep_quiet(state, at, (id, of), calms),
        }
    }

    fn fate(&self, state: &State, id: Uuid) -> Fate {
        let group = &state.groups[&id];
        let fingerprint = group.fingerprint();
        let past = ended(state)
            .filter(|(past, ended)| {
                past.fingerprint() == fingerprint
                    && ended.at_ms <= group.last_ms
                    && !past.apart.contains(&id)
            })
            .max_by_key(|(past, ended)| (ended.at_ms, past.incident_id));
        let shows_new = past.is_some_and(|(past, _)| has_new_trouble(past, group));
        let flap = state.flaps.get(&fingerprint);
        let is_restless = flap
            .is_some_and(|flap| flap.is_flapping && flap.score_at(group.detected_at_ms) >= CALM);
        let graver = past.is_some_and(|(past, _)| group.severity > past.severity);
        if is_restless && !shows_new && !graver && !group.is_loud {
            return Fate::Quiet {
                of: past.map(|(past, _)| past.incident_id),
            };
        }
        let Some((past, ended)) = past else {
            return Fate::Open;
        };
        if shows_new || changed_between(past, group, ended) {
            return Fate::Open;
        }
        let since_ms = (group.detected_at_ms - ended.at_ms).max(0);
        let relapsed = since_ms <= self.config.reopen_window_ms;
        let repeated = since_ms <= self.config.duplicate_window_ms
            && ended.method == "RECOVERED"
            && past.reopened < REPEATS;
        if !relapsed && !repeated {
            return Fate::Open;
        }
        let (metric, service) = (&group.trigger.metric, &group.primary);
        let seconds = since_ms / 1_000;
        let why = if relapsed {
            format!("{metric} on {service} relapsed {seconds} s after the end")
        } else {
            format!(
                "{metric} on {service} broke out again {seconds} s after it had recovered by itself"
            )
        };
        Fate::Reopen {
            incident: past.incident_id,
            why,
        }
    }

    /// Counts the outbreak of a group; whether its fingerprint is restless.
    fn count_outbreak(&self, state: &mut State, id: Uuid) -> Option<f64> {
        let group = state.groups.get_mut(&id)?;
        // One that was quiet has been counted.
        let flap = state.flaps.entry(group.fingerprint()).or_default();
        if !group.is_loud {
            if flap.is_flapping && flap.score_at(group.detected_at_ms) < CALM {
                flap.is_flapping = false;
            }
            flap.count(group.detected_at_ms);
        }
        group.flapping = flap.is_flapping.then_some(flap.score);
        group.flapping
    }

    /// Takes a group into an incident that was over.
    pub(super) fn reopen(
        &self,
        state: &mut State,
        (incident, id): (Uuid, Uuid),
        why: String,
    ) -> Vec<Effect> {
        let Some(mut past) = take_ended(state, incident) else {
            return Vec::new();
        };
        past.reopening = why;
        past.before = past.all_series();
        past.reopened += 1;
        past.ended = None;
        past.acknowledged_by = None;
        past.snoozed_until_ms = None;
        past.phase = Phase::Copying;
        // Those beyond the list were over, and are counted again where they come
        // back.
        (past.unlisted, past.told_unlisted) = (0, 0);
        past.unlisted_ids.clear();
        past.unlisted_active.clear();
        // What has broken out again elsewhere since then belongs there.
        past.anomalies.retain(|one| {
            !lives_elsewhere(state, one) && !state.held.contains_key(&one.anomaly_id)
        });
        if let Some(mut group) = state.groups.remove(&id) {
            past.last_ms = past.last_ms.max(group.last_ms);
            past.trigger = group.trigger.clone();
            past.flapping = group.flapping;
            past.surroundings.recent_errors.clear();
            past.surroundings.recent_metrics =
                std::mem::take(&mut group.surroundings.recent_metrics);
            past.look_around(std::mem::take(&mut group.surroundings));
            past.began.append(&mut group.began);
            past.unwritten.append(&mut group.unwritten);
            let (again, new) = (&group.anomalies, &group.unlisted_ids);
            let back: BTreeSet<(&str, &str)> = again
                .iter()
                .map(|one| (one.service.as_str(), one.trigger_metric.as_str()))
                .collect();
            // A series that is back replaces what it was.
            past.anomalies.retain(|old| {
                !back.contains(&(old.service.as_str(), old.trigger_metric.as_str()))
                    && !new.contains_key(&old.anomaly_id)
            });
            past.count_all(&mut group);
            past.anomalies.append(&mut group.anomalies);
            past.cut_to(self.config.max_anomalies);
            past.shorten(0);
        } else {
            past.last_ms = past.last_ms.max(state.latest_ms);
        }
        state.closed.retain(|(member, _)| !past.holds(*member));
        state.closed_active.retain(|member, _| !past.holds(*member));
        let mut effects = vec![
            Effect::CancelTimer {
                name: format!("after:{incident}"),
            },
            Effect::CancelTimer {
                name: format!("open:{id}"),
            },
        ];
        effects.push(copies::copy_records(&self.config, &mut past));
        state.groups.insert(incident, past);
        effects
    }

    fn keep_quiet(
        &self,
        state: &mut State,
        at: Moment,
        (id, of): (Uuid, Option<Uuid>),
        score: Option<f64>,
    ) -> Vec<Effect> {
        let Some(group) = state.groups.get_mut(&id) else {
            return Vec::new();
        };
        group.phase = Phase::Quiet;
        let words = format!(
            "{} on {} broke out once more (flap score {:.1}); it is kept quiet unless it lasts, \
             gets graver or shows something new.",
            group.trigger.metric,
            group.primary,
            score.unwrap_or_default()
        );
        let payload = json!({"fingerprint": group.fingerprint(), "flap_score": score,
            "anomalies": group.anomalies.len(), "wall_ms": at.wall_ms});
        vec![
            super::note(of, "FLAPPING_KEPT_QUIET", group.last_ms, words, payload),
            self.timer("quiet", id, at.wall_ms + QUIET_MS),
        ]
    }

    /// Whether a quiet group has become worth a word.
    pub(super) fn no_longer_quiet(&self, group: &mut Group, at: Moment) -> Vec<Effect> {
        let shows_own = group.anomalies.iter().any(|one| {
            is_own(one.anomaly_type, &one.trigger_metric)
                && (one.service != group.trigger.service
                    || one.trigger_metric != group.trigger.metric)
        });
        if group.severity < Severity::Critical && !shows_own {
            return Vec::new();
        }
        self.speak_up(group, at)
    }

    /// A quiet group is announced after all.
    pub(super) fn speak_up(&self, group: &mut Group, at: Moment) -> Vec<Effect> {
        group.is_loud = true;
        group.phase = Phase::Settling;
        vec![self.timer("open", group.incident_id, at.wall_ms)]
    }

    /// A quiet group that is normal again: nobody hears of it.
    pub(super) fn leave_quiet(&self, state: &mut State, id: Uuid) -> Vec<Effect> {
        let is_gone = |group: &Group| group.phase == Phase::Quiet && !group.is_active();
        if !state.groups.get(&id).is_some_and(is_gone) {
            return Vec::new();
        }
        if let Some(group) = state.groups.remove(&id) {
            close(state, &group.anomalies, id);
        }
        vec![Effect::CancelTimer {
            name: format!("quiet:{id}"),
        }]
    }

    /// Forgets what is too old to matter, by event time.
    pub(super) fn forget(&self, state: &mut State) {
        let window_ms = self
            .config
            .duplicate_window_ms
            .max(self.config.reopen_window_ms);
        let now_ms = state.latest_ms;
        state
            .over
            .retain(|over| now_ms - over.ended.at_ms <= window_ms);
        let excess = state.over.len().saturating_sub(OVER_LIMIT);
        state.over.drain(..excess);
        let excess = state.closed.len().saturating_sub(CLOSED_LIMIT);
        state.closed.drain(..excess);
        state.flaps.retain(|_, flap| flap.score_at(now_ms) >= 0.05);
        while state.flaps.len() > FLAPS_LIMIT {
            let oldest = state
                .flaps
                .iter()
                .min_by_key(|(name, flap)| (flap.at_ms, *name));
            let Some(name) = oldest.map(|(name, _)| name.clone()) else {
                break;
            };
            state.flaps.remove(&name);
        }
    }
}

/// Incidents that are over, those whose last words are awaited included.
fn ended(state: &State) -> impl Iterator<Item = (&Group, &Ended)> {
    let over = state.over.iter().map(|over| (&over.group, &over.ended));
    let leaving = state.groups.values().filter_map(|group| {
        let ended = group.ended.as_ref()?;
        (group.phase == Phase::Resolved).then_some((group, ended))
    });
    over.chain(leaving)
        .filter(|(_, ended)| ended.method != "MERGED")
}

/// Whether an incident that goes on holds this anomaly.
pub(super) fn lives_elsewhere(state: &State, member: &GroupedAnomaly) -> bool {
    let mut live = state
        .groups
        .values()
        .filter(|group| group.phase != Phase::Resolved);
    live.any(|group| group.holds(member.anomaly_id))
}

fn take_ended(state: &mut State, incident: Uuid) -> Option<Group> {
    let is_over = |group: &Group| group.phase == Phase::Resolved;
    if state.groups.get(&incident).is_some_and(is_over) {
        return state.groups.remove(&incident);
    }
    let place = state
        .over
        .iter()
        .position(|over| over.group.incident_id == incident)?;
    Some(state.over.remove(place).group)
}

/// Whether a resource runs out that was no part of the earlier incident.
fn has_new_trouble(past: &Group, group: &Group) -> bool {
    let before = past.all_series();
    group
        .series()
        .into_iter()
        .any(|series| is_own(series.2, &series.1) && !before.contains(&series))
}

/// Whether something was rolled out on one of its services in between.
fn changed_between(past: &Group, group: &Group, ended: &Ended) -> bool {
    let services = group.services();
    let until_ms = group.onset_ms();
    let around = group.surroundings.deployments.iter();
    around
        .filter(|deployment| services.contains(&deployment.service))
        .any(|deployment| {
            let at = deployment.timestamp_ms;
            at > ended.at_ms.max(past.detected_at_ms) && at <= until_ms
        })
}

pub(super) fn close(state: &mut State, members: &[GroupedAnomaly], incident: Uuid) {
    let ids = members.iter().map(|member| (member.anomaly_id, incident));
    state.closed.extend(ids);
}

/// A group of some members of another one.
pub(super) fn part_of(
    config: &Config,
    group: &Group,
    id: Uuid,
    members: Vec<GroupedAnomaly>,
) -> Group {
    let mut part = Group::bare(id, &group.environment, members, group.surroundings.clone());
    let shift_ms = group.detected_wall_ms - group.detected_at_ms;
    // Where time is compressed only the incident's own wall clock is known.
    if shift_ms.abs() > 60_000 {
        part.detected_wall_ms = group.detected_wall_ms;
    }
    for member in &part.anomalies {
        let wall_ms = group.unwritten.get(&member.anomaly_id);
        part.unwritten.insert(
            member.anomaly_id,
            wall_ms.copied().unwrap_or(part.detected_wall_ms),
        );
        if let Some(began) = group.began.get(&member.anomaly_id) {
            part.began.insert(member.anomaly_id, *began);
        }
    }
    naming::name_group(config, &mut part);
    part
}
