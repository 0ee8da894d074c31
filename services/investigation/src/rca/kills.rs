//! What Kubernetes killed, and whether that is behind the symptoms.
//!
//! A kill is suspected as a change is: it came no later than the symptoms of its
//! service, and the nearer to them the more. One that follows them is what the
//! fault led to, unless it was for want of memory and memory is measured to run
//! out: then it confirms that. What a cluster reported as often long before is a
//! habit of the service, and normal.

use super::before::{measured_onset, nearness, symptom_onset};
use super::place::SAME_MOMENT_MS;
use super::portrait::Findings;
use super::quantity::Quantity;
use super::recording::{Alarm, ChangeEvent, ChangeKind, Question, Recording};
use midwatch_events::anomaly::{AnomalyType, Severity};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// How much a kill at the very onset says, 0..1.
const SIZE: f64 = 0.8;
/// A kill of this size or more names the cause by itself, and shows that
/// something is wrong at all.
const CLEAR: f64 = 0.3;
/// Kubernetes' events are kept from so long before the first onset.
const KEPT_MS: i64 = 15 * 60_000;
/// Twice as often as before, and one more, may be chance.
const OFTEN: i64 = 2;

/// What Kubernetes' events say.
#[derive(Clone, Debug, Default)]
pub struct Kills {
    /// Index among the changes and size 0..1 of those that count, the nearest
    /// to the onset first.
    counted: Vec<(usize, f64)>,
    /// Service and reason of what is reported all the time.
    habits: BTreeSet<(String, String)>,
    /// The alarms, by id, that name their service's cause.
    naming: BTreeSet<String>,
}

impl Kills {
    /// Reads them.
    pub(super) fn of(recording: &Recording, question: &Question, findings: &Findings) -> Kills {
        let mut kills = Kills {
            habits: habits(recording, question),
            ..Kills::default()
        };
        let mut found: Vec<(i64, usize, f64)> = Vec::new();
        for (index, event) in recording.changes.iter().enumerate() {
            if event.kind != ChangeKind::KubernetesFailure || kills.is_habit(event) {
                continue;
            }
            let Some(onset_ms) = onset(recording, question, findings, &event.service) else {
                continue;
            };
            let age_ms = onset_ms.saturating_sub(event.at_ms);
            let size = if age_ms >= -SAME_MOMENT_MS {
                SIZE * nearness(age_ms)
            } else if is_for_memory(&event.text) && fills(recording, findings, &event.service) {
                SIZE
            } else {
                continue;
            };
            found.push((age_ms.saturating_abs(), index, size));
        }
        found.sort_by_key(|(apart_ms, index, _)| (*apart_ms, Reverse(*index)));
        kills.counted = found
            .into_iter()
            .map(|(_, index, size)| (index, size))
            .collect();
        let naming = recording.alarms.iter().filter(|alarm| {
            let follows = onset(recording, question, findings, &alarm.service)
                .is_some_and(|onset_ms| alarm.onset_ms > onset_ms + SAME_MOMENT_MS);
            // A probe that fails after the service did tells nothing new; a
            // crash loop or an eviction is no mere symptom.
            kills.counts(alarm) && (alarm.severity >= Severity::High || !follows)
        });
        kills.naming = naming.map(|alarm| alarm.id.clone()).collect();
        kills
    }

    /// The kills that count: their events and sizes, the nearest to the onset
    /// first.
    pub(super) fn events<'a>(
        &self,
        recording: &'a Recording,
    ) -> impl Iterator<Item = (&'a ChangeEvent, f64)> {
        let counted = self.counted.iter();
        counted.filter_map(|(index, size)| Some((recording.changes.get(*index)?, *size)))
    }

    /// Whether an alarm is one about what Kubernetes reported, and no habit.
    pub(super) fn counts(&self, alarm: &Alarm) -> bool {
        let reason = alarm.metric.rsplit(':').next().unwrap_or_default();
        alarm.cause == AnomalyType::KubernetesFailure
            && !self
                .habits
                .contains(&(alarm.service.clone(), reason.to_lowercase()))
    }

    /// Whether something was killed that no change of traffic explains.
    pub(super) fn any(&self, recording: &Recording) -> bool {
        self.counted.iter().any(|(_, size)| *size >= CLEAR)
            || recording.alarms.iter().any(|alarm| self.counts(alarm))
    }

    /// The cause of a service that Kubernetes names; a container that is killed
    /// for want of memory names it itself.
    pub(super) fn cause(&self, recording: &Recording, service: &str) -> Option<AnomalyType> {
        let killed = self.events(recording);
        let killed = killed.filter(|(event, size)| event.service == service && *size >= CLEAR);
        let alarms = recording.alarms.iter();
        let alarms =
            alarms.filter(|alarm| alarm.service == service && self.naming.contains(&alarm.id));
        let texts = killed
            .map(|(event, _)| event.text.as_str())
            .chain(alarms.map(|alarm| alarm.text.as_str()));
        let is_memory: Vec<bool> = texts.map(is_for_memory).collect();
        (!is_memory.is_empty()).then(|| {
            if is_memory.contains(&true) {
                AnomalyType::MemoryLeak
            } else {
                AnomalyType::KubernetesFailure
            }
        })
    }

    fn is_habit(&self, event: &ChangeEvent) -> bool {
        self.habits.contains(&habit(event))
    }
}

fn habit(event: &ChangeEvent) -> (String, String) {
    (event.service.clone(), event.reason.to_lowercase())
}

/// When what a kill may be behind began: the symptoms of its service, else of
/// those who call it, for what was killed reports nothing. Where nothing tells
/// who that is, those of the service that was asked about.
fn onset(
    recording: &Recording,
    question: &Question,
    findings: &Findings,
    service: &str,
) -> Option<i64> {
    let measured = |service: &str| measured_onset(recording, findings, service);
    symptom_onset(recording, question, findings, service)
        .or_else(|| {
            let callers = findings.graph.callers(service);
            callers.iter().filter_map(|caller| measured(caller)).min()
        })
        .or_else(|| {
            let is_unknown = findings.graph.edges().next().is_none();
            measured(&question.target).filter(|_| is_unknown)
        })
}

fn is_for_memory(text: &str) -> bool {
    text.contains("OOM") || text.to_lowercase().contains("low on resource: memory")
}

/// Whether it is measured, or said by detection, that a service's memory fills.
fn fills(recording: &Recording, findings: &Findings, service: &str) -> bool {
    // The kill's own alarm, and a log line about it, measure nothing.
    let alarmed = recording.alarms.iter().any(|alarm| {
        alarm.service == service
            && alarm.cause == AnomalyType::MemoryLeak
            && !alarm.metric.contains(':')
    });
    let measured = findings.changed.iter().any(|one| {
        let change = one.change.as_ref();
        recording.series[one.series].service == service
            && one.quantity == Quantity::Memory
            && change.is_some_and(|change| change.by() > 0.0 && change.surprise >= 1.0)
    });
    alarmed || measured
}

/// What was reported of a service in the older half of the time before the
/// start, more than once before it, and no more often since.
fn habits(recording: &Recording, question: &Question) -> BTreeSet<(String, String)> {
    let from_ms = question.start_ms.saturating_sub(KEPT_MS);
    let half_ms = KEPT_MS / 2;
    let until_ms = from_ms.saturating_add(half_ms);
    let mut counts: BTreeMap<(String, String), (i64, i64, i64)> = BTreeMap::new();
    let events = recording.changes.iter();
    for event in events.filter(|event| event.kind.change().is_none() && !event.reason.is_empty()) {
        let count = counts.entry(habit(event)).or_default();
        count.0 += i64::from(event.at_ms < until_ms);
        count.1 += i64::from(event.at_ms < question.start_ms);
        count.2 += i64::from(event.at_ms >= until_ms);
    }
    let since_ms = question.end_ms.saturating_sub(until_ms).max(0);
    counts
        .into_iter()
        .filter(|(_, (old, before, new))| {
            let usual = old.saturating_mul(since_ms) / half_ms;
            *old > 0 && *before > 1 && *new <= usual.saturating_mul(OFTEN).saturating_add(1)
        })
        .map(|(habit, _)| habit)
        .collect()
}
