//! Why it happened, what was done, what is left to do, what is not known.

use super::series;
use crate::facts::Facts;
use crate::notes::{Notes, Sentence, quoted, sentence};
use crate::text::{code, duration, escape, number, stated, time_of_day};
use midwatch_events::response::ActionItem;
use midwatch_events::{AnomalyType, RootCauseCandidate};

/// The cause with its evidence, and what else was considered.
pub(super) fn root_cause(facts: &Facts, notes: &mut Notes) -> String {
    let Some(first) = facts.candidates.first() else {
        return "Unknown: no root cause was established before the incident was over.\n".to_owned();
    };
    let ids: Vec<&str> = first
        .evidence
        .iter()
        .take(3)
        .map(|one| one.id.as_str())
        .collect();
    let mut text = format!(
        "{} in {}, with a confidence of {} %: {}{}\n\n",
        title(first),
        escape(&first.service),
        number(first.confidence * 100.0),
        stated(&first.hypothesis),
        notes.cite(&ids)
    );
    text.push_str("Evidence:\n\n");
    for one in first.evidence.iter().take(8) {
        let at = if one.at_ms > 0 {
            format!("{} ", time_of_day(one.at_ms))
        } else {
            String::new()
        };
        text.push_str(&format!(
            "- {at}{}: {}{}\n",
            one.kind.as_str(),
            escape(&one.summary),
            notes.cite(&[&one.id])
        ));
    }
    if first.evidence.is_empty() {
        text.push_str("- none is recorded\n");
    }
    if facts.candidates.len() > 1 {
        text.push_str("\nAlso considered, with less behind it:\n\n");
        for other in facts.candidates.iter().skip(1).take(4) {
            let ids: Vec<&str> = other
                .evidence
                .iter()
                .take(2)
                .map(|one| one.id.as_str())
                .collect();
            text.push_str(&format!(
                "- {} in {} ({} %): {}{}\n",
                title(other),
                escape(&other.service),
                number(other.confidence * 100.0),
                stated(&other.hypothesis),
                notes.cite(&ids)
            ));
        }
    }
    text
}

fn title(candidate: &RootCauseCandidate) -> String {
    AnomalyType::parse(&candidate.cause).map_or_else(
        || escape(&candidate.cause.replace('_', " ")),
        |kind| kind.title().to_owned(),
    )
}

/// What made it likelier or worse.
pub(super) fn factors(facts: &Facts) -> Vec<Sentence> {
    let mut sentences = Vec::new();
    if let (Some(change), Some(onset)) = (&facts.deployment, facts.onset_ms()) {
        let deployment = &change.deployment;
        let before = onset - deployment.timestamp_ms;
        let when = if before >= 0 { "before" } else { "after" };
        sentences.push(sentence(
            format!(
                "{} {} was rolled out {} {when} the first reading out of range.",
                escape(&deployment.service),
                code(&deployment.version),
                duration(before.abs())
            ),
            &[&change.record_id],
        ));
        for risk in deployment.known_risks.iter().take(3) {
            sentences.push(sentence(
                format!("The release named this risk beforehand: {}.", quoted(risk)),
                &[&change.record_id],
            ));
        }
    }
    for signal in facts.signals.iter().take(6) {
        // The rollout is told above, in its own words.
        if signal.signal_type == "DEPLOYMENT_CORRELATED" && facts.deployment.is_some() {
            continue;
        }
        let ids: Vec<&str> = signal.evidence.iter().take(3).map(String::as_str).collect();
        sentences.push(sentence(
            format!(
                "{} (strength {})",
                escape(&signal.description),
                number(signal.strength)
            ),
            &ids,
        ));
    }
    let similar = facts
        .candidates
        .first()
        .and_then(|first| first.similar_incidents.first());
    if let Some(past) = similar {
        sentences.push(sentence(
            format!(
                "An incident like it is on record: {}, {}, over after {} min.",
                escape(&past.incident_id),
                quoted(&past.title),
                number(past.mttr_minutes)
            ),
            &[&past.incident_id],
        ));
    }
    sentences
}

/// What was proposed, and what became of it. Applied is only what was verified.
pub(super) fn remediation(facts: &Facts, notes: &mut Notes) -> String {
    let Some(plan) = &facts.plan else {
        return "No plan is recorded, and no step was carried out by Midwatch.\n".to_owned();
    };
    let plan_id = plan.plan_id.to_string();
    let mut table = String::from("| step | proposed | what became of it | |\n|---|---|---|---|\n");
    for step in &plan.action_steps {
        let actions = || {
            facts
                .actions
                .iter()
                .filter(|action| action.plan_id == plan.plan_id && action.step_id == step.step_id)
        };
        let has = |phase: &str| actions().any(|action| action.phase == phase);
        let state = if let Some(action) = facts.verified(&step.step_id) {
            format!("applied and verified: {}", escape(&action.result))
        } else if has("undone") {
            "tried and undone".to_owned()
        } else if has("outcome") || has("intent") {
            "begun; its effect was not verified".to_owned()
        } else if has("refused") {
            "refused".to_owned()
        } else if has("approved") {
            "approved, not carried out".to_owned()
        } else {
            "proposed, not carried out".to_owned()
        };
        table.push_str(&format!(
            "| {} | {}: {} | {state} | {} |\n",
            escape(&step.step_id),
            escape(&step.action),
            code(&step.command),
            notes.cite(&[&plan_id])
        ));
    }
    if plan.action_steps.is_empty() {
        return "The plan held no steps.\n".to_owned();
    }
    table.push_str("\nWhat people did by hand outside Midwatch is not recorded.\n");
    table
}

/// The table of action items.
pub(super) fn action_items(items: &[ActionItem], notes: &mut Notes) -> String {
    let mut table = String::from("| what | owner | due | priority | |\n|---|---|---|---|---|\n");
    for item in items {
        table.push_str(&format!(
            "| {} | {} | {} | {} | {} |\n",
            escape(&item.title),
            escape(&item.owner),
            item.due,
            escape(&item.priority),
            notes.cite(&item.evidence)
        ));
    }
    table
}

/// What nobody recorded.
pub(super) fn unknowns(facts: &Facts) -> Vec<Sentence> {
    let mut unknowns = vec![sentence(
        "How many requests failed and whom that touched: not measured.",
        &[],
    )];
    if let Some(gap) = &facts.gap {
        unknowns.push(sentence(
            format!(
                "The stores could not be read when this was written: {}.",
                escape(gap)
            ),
            &[],
        ));
    }
    if facts.candidates.is_empty() {
        unknowns.push(sentence("The root cause.", &[]));
    } else {
        unknowns.push(sentence(
            "Whether the named cause is the true one: it is the best supported candidate, and no experiment proved it.",
            &[],
        ));
    }
    let applied = facts
        .actions
        .iter()
        .any(|action| action.phase == "verified");
    if !applied {
        unknowns.push(sentence(
            "What ended the incident: no applied step is recorded.",
            &[],
        ));
    }
    for anomaly in facts
        .anomalies
        .iter()
        .filter(|anomaly| {
            anomaly.cleared_at_ms.is_none()
                && facts
                    .settled_ms(&anomaly.service, &anomaly.trigger_metric)
                    .is_none()
        })
        .take(4)
    {
        let id = anomaly.anomaly_id.to_string();
        unknowns.push(sentence(
            format!(
                "When {} returned to normal, as far as the incident's own records go.",
                series(&anomaly.trigger_metric, &anomaly.service)
            ),
            &[&id],
        ));
    }
    unknowns
}
