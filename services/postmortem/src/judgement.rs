//! What went well, what went badly, and where luck helped: each verdict by a
//! stated rule over recorded facts. No person is judged.

use crate::config::DETECTION_GOAL_MS;
use crate::facts::Facts;
use crate::notes::{Sentence, sentence};
use crate::text::{duration, escape};

/// The verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    pub well: Vec<Sentence>,
    pub badly: Vec<Sentence>,
    pub lucky: Vec<Sentence>,
}

/// Below this confidence a cause is a lead, not an answer.
const LOW_CONFIDENCE: f64 = 0.5;

/// Judges by the rules.
#[must_use]
pub fn judge(facts: &Facts) -> Judgement {
    let mut judgement = Judgement::default();
    detection(facts, &mut judgement);
    grouping(facts, &mut judgement);
    cause(facts, &mut judgement);
    plan(facts, &mut judgement);
    mails(facts, &mut judgement);
    degraded(facts, &mut judgement);
    judgement
}

/// Rule: detection within the goal after the first reading out of range.
fn detection(facts: &Facts, judgement: &mut Judgement) {
    let Some(first) = facts
        .anomalies
        .iter()
        .min_by_key(|anomaly| anomaly.onset_ms)
    else {
        return;
    };
    let delay = facts.resolved.header.detected_at_ms - first.onset_ms;
    let id = first.anomaly_id.to_string();
    let goal = duration(DETECTION_GOAL_MS);
    if delay <= DETECTION_GOAL_MS {
        let words = if delay < 1000 {
            format!("Detection came with the first reading out of range (goal: within {goal}).")
        } else {
            format!(
                "Detection took {} from the first reading out of range (goal: {goal}).",
                duration(delay)
            )
        };
        judgement.well.push(sentence(words, &[&id]));
    } else {
        judgement.badly.push(sentence(
            format!("Detection took {} from the first reading out of range, longer than the goal of {goal}.", duration(delay)),
            &[&id],
        ));
    }
}

/// Rule: several anomalies, one incident.
fn grouping(facts: &Facts, judgement: &mut Judgement) {
    if facts.anomalies.len() < 2 {
        return;
    }
    let ids: Vec<String> = facts
        .anomalies
        .iter()
        .take(4)
        .map(|anomaly| anomaly.anomaly_id.to_string())
        .collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    judgement.well.push(sentence(
        format!(
            "{} anomalies were told as one incident.",
            facts.anomalies.len()
        ),
        &ids,
    ));
}

/// Rules: a cause before the end; confidence of at least one half.
fn cause(facts: &Facts, judgement: &mut Judgement) {
    let end = facts.resolved.resolved_at_ms;
    match facts.first("RCA_COMPLETE") {
        Some(line) if line.at_ms <= end => judgement.well.push(sentence(
            format!(
                "A root cause was named {} after detection, before the incident was over.",
                duration(line.at_ms - facts.resolved.header.detected_at_ms)
            ),
            &[&line.id],
        )),
        Some(line) => judgement.badly.push(sentence(
            "The root cause was named only after the incident was over.",
            &[&line.id],
        )),
        None => judgement.badly.push(sentence(
            "The trail holds no completed root cause analysis.",
            &[],
        )),
    }
    if let Some(first) = facts.candidates.first()
        && first.confidence < LOW_CONFIDENCE
    {
        let ids: Vec<&str> = first
            .evidence
            .iter()
            .take(3)
            .map(|one| one.id.as_str())
            .collect();
        judgement.badly.push(sentence(
            "The evidence did not carry the cause with a confidence of one half or more.",
            &ids,
        ));
    }
}

/// Rules: a plan before the end; its steps decided on before the end.
fn plan(facts: &Facts, judgement: &mut Judgement) {
    let end = facts.resolved.resolved_at_ms;
    let Some(line) = facts.first("PLAN_READY") else {
        judgement
            .badly
            .push(sentence("The trail holds no remediation plan.", &[]));
        return;
    };
    if line.at_ms <= end {
        judgement.well.push(sentence(
            format!(
                "A plan was ready {} after detection, before the incident was over.",
                duration(line.at_ms - facts.resolved.header.detected_at_ms)
            ),
            &[&line.id],
        ));
    } else {
        judgement.badly.push(sentence(
            "The plan was ready only after the incident was over.",
            &[&line.id],
        ));
    }
    let decided = facts
        .actions
        .iter()
        .any(|action| action.phase == "approved");
    if !decided {
        judgement.badly.push(sentence(
            "No step of the plan was approved before the incident was over.",
            &[&line.id],
        ));
    }
    let verified = facts
        .actions
        .iter()
        .any(|action| action.phase == "verified");
    if facts.resolved.resolution_method == "RECOVERED" && !verified {
        judgement.lucky.push(sentence(
            facts.unexplained_end(),
            &[&facts.resolved.header.incident_id.to_string()],
        ));
    }
}

/// Rule: every mail sent, at the first try.
fn mails(facts: &Facts, judgement: &mut Judgement) {
    if facts.mails.is_empty() {
        return;
    }
    let of = |wanted: &dyn Fn(&crate::facts::Mail) -> bool| -> Vec<&str> {
        facts
            .mails
            .iter()
            .filter(|mail| wanted(mail))
            .map(|mail| mail.message_id.as_str())
            .collect()
    };
    let failed = of(&|mail| mail.status == "FAILED");
    let repeated = of(&|mail| mail.status == "SENT" && mail.attempts > 1);
    let partly = of(&|mail| mail.status == "SENT" && mail.error.is_some());
    let first = of(&|mail| mail.status == "SENT" && mail.attempts <= 1 && mail.error.is_none());
    if !failed.is_empty() {
        judgement.badly.push(sentence(
            format!(
                "{} of {} mails could not be delivered.",
                failed.len(),
                facts.mails.len()
            ),
            &failed,
        ));
    }
    if !partly.is_empty() {
        judgement.badly.push(sentence(
            format!(
                "{} of {} mails did not reach all of their recipients.",
                partly.len(),
                facts.mails.len()
            ),
            &partly,
        ));
    }
    if !repeated.is_empty() {
        judgement.badly.push(sentence(
            format!(
                "{} of {} mails needed more than one try.",
                repeated.len(),
                facts.mails.len()
            ),
            &repeated,
        ));
    }
    if first.len() == facts.mails.len() {
        judgement.well.push(sentence(
            format!(
                "All {} mails written so far were delivered at the first try.",
                first.len()
            ),
            &first,
        ));
    }
}

/// Rule: whatever had to do without something says so in the trail.
fn degraded(facts: &Facts, judgement: &mut Judgement) {
    let kinds = ["PLAN_DEGRADED", "STEPS_LEFT_OUT", "STATUS_MOVE_REFUSED"];
    for line in kinds.iter().flat_map(|kind| facts.all(kind)).take(4) {
        judgement.badly.push(sentence(
            format!(
                "{} reported: {}",
                escape(&line.agent),
                escape(&line.summary)
            ),
            &[&line.id],
        ));
    }
}
