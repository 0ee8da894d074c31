//! What changed between two answers, and why there is another one at all.

use super::state::Case;
use crate::config::Config;
use midwatch_events::cause;
use midwatch_events::incident::{
    EvidenceRef, GroupedAnomaly, IncidentUpdated, RootCauseCandidate, Verdict,
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A confidence that moved less than this is told of nobody.
const MOVED: f64 = 0.05;
/// A confidence that moved by this is another answer.
const ANOTHER: f64 = 0.1;
/// Candidates that people take for suspects; those behind come and go.
const SUSPECTS: usize = 3;
/// Changes that one reason names.
const NAMED: usize = 4;
/// Pieces of evidence that one change quotes, and their longest quotation.
const QUOTED: usize = 2;
const QUOTE_CHARS: usize = 160;

/// Why the incident must be looked at again: the update makes another whole of
/// it. A series that became normal again does not.
#[must_use]
pub fn news(config: &Config, case: &Case, updated: &IncidentUpdated) -> Option<String> {
    let all = updated.all_anomalies();
    let by_id = |list: &'_ [GroupedAnomaly]| -> BTreeMap<Uuid, usize> {
        list.iter().map(|one| one.anomaly_id).zip(0..).collect()
    };
    let (old_ids, new_ids) = (by_id(&case.anomalies), by_id(&all));
    let name = |member: &GroupedAnomaly| format!("{} on {}", member.trigger_metric, member.service);
    let (old, new) = (&case.anomalies, &all);
    let mut words: Vec<String> = Vec::new();
    let joined: Vec<String> = new
        .iter()
        .filter(|member| !old_ids.contains_key(&member.anomaly_id))
        .map(name)
        .collect();
    let left: Vec<String> = old
        .iter()
        .filter(|member| !new_ids.contains_key(&member.anomaly_id))
        .map(name)
        .collect();
    if !joined.is_empty() {
        words.push(format!("{} joined", list(&joined)));
    }
    if !left.is_empty() {
        words.push(format!("{} left the incident", list(&left)));
    }
    for member in new {
        let Some(before) = old_ids.get(&member.anomaly_id).map(|place| &old[*place]) else {
            continue;
        };
        if (before.onset_ms - member.onset_ms).abs() >= config.same_moment_ms {
            words.push(format!("the onset of {} was corrected", name(member)));
        }
        if before.anomaly_type != member.anomaly_type {
            words.push(format!("{} is a {} now", name(member), member.anomaly_type));
        }
    }
    match (&case.deployment, &updated.deployment_context) {
        (Some(old), None) => words.push(format!(
            "the deployment of {} {} is no suspect any more",
            old.service, old.version
        )),
        (old, Some(new)) if old.as_ref() != Some(new) => words.push(format!(
            "the deployment of {} {} is a suspect",
            new.service, new.version
        )),
        _ => {}
    }
    words.truncate(NAMED);
    (!words.is_empty()).then(|| words.join("; "))
}

/// Up to three names, then how many more there are.
fn list(names: &[String]) -> String {
    let shown = names[..names.len().min(3)].join(", ");
    match names.len().saturating_sub(3) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Whether another cause comes first.
#[must_use]
pub fn top_changed(old: &[RootCauseCandidate], new: &[RootCauseCandidate]) -> bool {
    match (old.first(), new.first()) {
        (Some(old), Some(new)) => old.service != new.service || old.cause != new.cause,
        (old, new) => old.is_some() != new.is_some(),
    }
}

/// Whether people would call it another answer: another cause first, another
/// verdict, a suspect less, or a confidence that moved by a tenth.
#[must_use]
pub fn differs(
    (old_verdict, old): (Option<Verdict>, &[RootCauseCandidate]),
    (verdict, new): (Verdict, &[RootCauseCandidate]),
) -> bool {
    let moved = match (old.first(), new.first()) {
        (Some(old), Some(new)) => (old.confidence - new.confidence).abs() >= ANOTHER - 1e-9,
        _ => false,
    };
    let lost = old
        .iter()
        .take(SUSPECTS)
        .any(|suspect| find(new, &suspect.service).is_none());
    top_changed(old, new) || moved || lost || old_verdict.is_some_and(|old| old != verdict)
}

fn find<'a>(list: &'a [RootCauseCandidate], service: &str) -> Option<&'a RootCauseCandidate> {
    list.iter().find(|candidate| candidate.service == service)
}

/// What changed since the answer before, and because of what: in the words of
/// the evidence. `why` is what made the investigation look again.
#[must_use]
pub fn reason(why: &str, old: &[RootCauseCandidate], new: &[RootCauseCandidate]) -> String {
    let mut changes = Vec::new();
    let mut told: Option<&str> = None;
    if top_changed(old, new) {
        changes.push(match (old.first(), new.first()) {
            (Some(first), Some(top)) => format!(
                "{} comes first now, before {}{}",
                title(top),
                title(first),
                because(find(old, &top.service), top)
            ),
            (None, Some(top)) => {
                format!(
                    "{} is the first candidate{}",
                    title(top),
                    because(None, top)
                )
            }
            (Some(first), None) => format!("{} is no longer a candidate", title(first)),
            (None, None) => String::new(),
        });
        told = new.first().map(|top| top.service.as_str());
    }
    for candidate in new.iter().filter(|one| Some(one.service.as_str()) != told) {
        let Some(before) = find(old, &candidate.service) else {
            let grounds = because(None, candidate);
            changes.push(format!("{} became a candidate{grounds}", title(candidate)));
            continue;
        };
        let moved = candidate.confidence - before.confidence;
        if moved.abs() >= MOVED - 1e-9 {
            changes.push(format!(
                "{} {} from {:.0} % to {:.0} %{}",
                candidate.service,
                if moved > 0.0 { "rose" } else { "fell" },
                before.confidence * 100.0,
                candidate.confidence * 100.0,
                because(Some(before), candidate)
            ));
        }
    }
    for lost in old.iter().filter(|one| find(new, &one.service).is_none()) {
        if !new.is_empty() {
            changes.push(format!("{} is no longer a candidate", title(lost)));
        }
    }
    changes.truncate(NAMED);
    if changes.is_empty() {
        changes.push("the candidates stay as they were".to_owned());
    }
    format!("Looked again because {why}: {}.", changes.join("; "))
}

/// `CPU saturation on api-gateway`.
fn title(candidate: &RootCauseCandidate) -> String {
    let cause = cause::title(&candidate.cause);
    format!("{cause} on {}", candidate.service)
}

/// The evidence that moved a candidate: what is new for it, or speaks newly
/// against it, or is no longer there; else its rivals did.
fn because(before: Option<&RootCauseCandidate>, now: &RootCauseCandidate) -> String {
    let Some(before) = before else {
        let first = quotes(&now.evidence, &[]);
        return if first.is_empty() {
            String::new()
        } else {
            format!(" because of {first}")
        };
    };
    let fresh = quotes(&now.evidence, &before.evidence);
    let against = quotes(&now.refuting, &before.refuting);
    let lost = quotes(&before.evidence, &now.evidence);
    let fell = now.confidence < before.confidence;
    if fell && !against.is_empty() {
        format!(" because of what speaks against it: {against}")
    } else if fell && !lost.is_empty() {
        format!(" because it no longer rests on {lost}")
    } else if !fell && !fresh.is_empty() {
        format!(" because of {fresh}")
    } else {
        " because the other candidates changed".to_owned()
    }
}

/// The summaries of the pieces in `of` that are not in `but`.
fn quotes(of: &[EvidenceRef], but: &[EvidenceRef]) -> String {
    let fresh = of
        .iter()
        .filter(|piece| !but.iter().any(|known| known.id == piece.id));
    let words: Vec<String> = fresh
        .take(QUOTED)
        .map(|piece| {
            let text = piece.summary.trim_end_matches('.');
            let cut: String = text.chars().take(QUOTE_CHARS).collect();
            if cut.len() < text.len() {
                format!("“{cut}…”")
            } else {
                format!("“{cut}”")
            }
        })
        .collect();
    words.join(" and ")
}
