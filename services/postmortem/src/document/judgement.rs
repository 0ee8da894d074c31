//! What went well, what went badly, and where luck helped: each verdict by a
//! stated rule over recorded facts. No person is judged.

use super::remedy;
use crate::config::DETECTION_GOAL_MS;
use crate::facts::{Facts, Mail, Standing};
use crate::records::{GOALS, Records};
use crate::statement::{Rule, Statement};
use crate::writer::{at, between, over, say, text};

/// The verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    pub well: Vec<Statement>,
    pub badly: Vec<Statement>,
    pub lucky: Vec<Statement>,
}

/// Below this confidence a cause is a lead, not an answer.
const LOW_CONFIDENCE: f64 = 0.5;

/// Judges by the rules.
pub(super) fn judge(facts: &Facts, records: &Records) -> Judgement {
    let mut judgement = Judgement::default();
    detection(facts, records, &mut judgement);
    grouping(facts, records, &mut judgement);
    cause(facts, records, &mut judgement);
    plan(facts, records, &mut judgement);
    steps(facts, records, &mut judgement);
    mails(facts, records, &mut judgement);
    degraded(facts, records, &mut judgement);
    judgement
}

/// Rule: detection within the goal after the first reading out of range.
fn detection(facts: &Facts, records: &Records, judgement: &mut Judgement) {
    let Some(first) = facts
        .anomalies
        .iter()
        .min_by_key(|anomaly| anomaly.onset_ms)
    else {
        return;
    };
    let delay = facts.resolved.header.detected_at_ms - first.onset_ms;
    let (id, incident) = (first.anomaly_id.to_string(), facts.incident_id());
    let took = between(
        (&id, "/anomaly/onset_ms"),
        (&incident, "/resolved/detected_at_ms"),
    );
    let goal = at(Rule::Duration, GOALS, "/goal/detection_ms");
    if delay > DETECTION_GOAL_MS {
        let words =
            "Detection took {} from the first reading out of range, longer than the goal of {}.";
        judgement
            .badly
            .extend(say(records, words, &[took, goal], &[]));
    } else if delay < 1000 {
        let words = "Detection came with the first reading out of range (goal: within {}).";
        judgement.well.extend(say(records, words, &[goal], &[&id]));
    } else {
        let words = "Detection took {} from the first reading out of range (goal: {}).";
        judgement
            .well
            .extend(say(records, words, &[took, goal], &[]));
    }
}

/// Rule: several anomalies, one incident.
fn grouping(facts: &Facts, records: &Records, judgement: &mut Judgement) {
    if facts.anomalies.len() < 2 {
        return;
    }
    let ids = facts
        .anomalies
        .iter()
        .map(|anomaly| (anomaly.anomaly_id.to_string(), "/anomaly/anomaly_id"));
    let words = "Anomalies that were told as a single incident: {}.";
    let said = say(records, words, &[over(Rule::Count, ids)], &[]);
    judgement.well.extend(said);
}

/// Rules: a cause before the end; confidence of at least one half.
fn cause(facts: &Facts, records: &Records, judgement: &mut Judgement) {
    let (end, incident) = (facts.resolved.resolved_at_ms, facts.incident_id());
    let detected = (incident.as_str(), "/resolved/detected_at_ms");
    match facts.first("RCA_COMPLETE") {
        Some(line) if line.at_ms <= end => judgement.well.extend(say(
            records,
            "A root cause was named {} after detection, before the incident was over.",
            &[between(detected, (&line.id, "/line/at_ms"))],
            &[],
        )),
        Some(line) => judgement.badly.extend(say(
            records,
            "The root cause was named only after the incident was over.",
            &[],
            &[&line.id],
        )),
        None => judgement.badly.extend(say(
            records,
            "The trail holds no completed root cause analysis.",
            &[],
            &[&facts.holdings_id()],
        )),
    }
    if facts
        .candidates
        .first()
        .is_some_and(|first| first.confidence < LOW_CONFIDENCE)
    {
        let words = "The evidence did not carry the cause with a confidence of one half or more.";
        judgement
            .badly
            .extend(say(records, words, &[], &[&facts.cause_id(0)]));
    }
}

/// Rules: a plan before the end; its steps decided on before the end.
fn plan(facts: &Facts, records: &Records, judgement: &mut Judgement) {
    let (end, incident) = (facts.resolved.resolved_at_ms, facts.incident_id());
    let Some(line) = facts.first("PLAN_READY") else {
        let words = "The trail holds no remediation plan.";
        judgement
            .badly
            .extend(say(records, words, &[], &[&facts.holdings_id()]));
        return;
    };
    if line.at_ms <= end {
        let took = between(
            (&incident, "/resolved/detected_at_ms"),
            (&line.id, "/line/at_ms"),
        );
        let words = "A plan was ready {} after detection, before the incident was over.";
        judgement.well.extend(say(records, words, &[took], &[]));
    } else {
        let words = "The plan was ready only after the incident was over.";
        judgement
            .badly
            .extend(say(records, words, &[], &[&line.id]));
    }
    let mut phases = facts.actions.iter().map(|deed| deed.action.phase.as_str());
    if !phases.any(|phase| phase == "approved") {
        let words = "No step of the plan was approved before the incident was over.";
        judgement
            .badly
            .extend(say(records, words, &[], &[&line.id]));
    }
}

/// Rules: a step that improved the metric is good; one that had to be taken
/// back is bad; an end without a proven step is luck.
fn steps(facts: &Facts, records: &Records, judgement: &mut Judgement) {
    let mut proven = false;
    for (planned, standing) in facts.standings() {
        let (name, mut wants) = remedy::named(facts, planned);
        let step = |rest: &str| format!("Step {name} {rest}");
        match standing {
            Standing::Applied { outcome, verified } => {
                let ids = [facts.deed_id(outcome), facts.deed_id(verified)];
                let verdict = verified.action.details.verification.as_ref();
                let verdict = verdict.map_or("", |found| found.verdict.as_str());
                proven |= verdict == "improved";
                let (list, words) = match verdict {
                    "improved" => (&mut judgement.well, "was applied and verified as {}."),
                    "recovered_by_itself" => (
                        &mut judgement.lucky,
                        "was applied, and verified as {}: the readings had begun to return before it.",
                    ),
                    _ => (&mut judgement.badly, "was applied and verified as {}."),
                };
                let bare = wants.clone();
                wants.push(at(Rule::Spoken, &ids[1], "/action/verification/verdict"));
                list.extend(say(records, &step(words), &wants, &[&ids[0]]));
                if let Some(undo) = facts.undo_in_vain(planned) {
                    let words = step(remedy::undo_words(
                        undo,
                        [
                            "was not taken back by Midwatch, since its undo was refused.",
                            "was not taken back by Midwatch, since its undo failed.",
                            "was to be taken back; whether it was is not recorded.",
                        ],
                    ));
                    let id = facts.deed_id(undo);
                    judgement.badly.extend(say(records, &words, &bare, &[&id]));
                }
            }
            Standing::Undone { undone, .. } => {
                let (id, words) = (facts.deed_id(undone), step("had to be undone."));
                judgement.badly.extend(say(records, &words, &wants, &[&id]));
            }
            Standing::Failed(deed) => {
                let (id, words) = (facts.deed_id(deed), step("failed."));
                judgement.badly.extend(say(records, &words, &wants, &[&id]));
            }
            _ => {}
        }
    }
    if facts.resolved.resolution_method == "RECOVERED" && !proven {
        let also = [facts.incident_id(), facts.holdings_id()];
        let also: Vec<&str> = also.iter().map(String::as_str).collect();
        let said = say(records, facts.unexplained_end(), &[], &also);
        judgement.lucky.extend(said);
    }
}

/// Rule: every mail sent, at the first try.
fn mails(facts: &Facts, records: &Records, judgement: &mut Judgement) {
    if facts.mails.is_empty() {
        return;
    }
    let of = |wanted: &dyn Fn(&Mail) -> bool| -> Vec<&Mail> {
        facts.mails.iter().filter(|mail| wanted(mail)).collect()
    };
    let count = |mails: &[&Mail]| {
        let ids: Vec<(String, &str)> = mails
            .iter()
            .map(|mail| (mail.message_id.clone(), "/mail/message_id"))
            .collect();
        over(Rule::Count, ids)
    };
    let all = count(&of(&|_| true));
    // A mail is FAILED where it failed for anybody.
    let failed = of(&|mail| mail.status == "FAILED" && mail.sent_at_ms.is_none());
    let repeated = of(&|mail| mail.status == "SENT" && mail.attempts > 1);
    let partly = of(&|mail| mail.sent_at_ms.is_some() && mail.error.is_some());
    let first = of(&|mail| mail.status == "SENT" && mail.attempts <= 1 && mail.error.is_none());
    for (mails, words) in [
        (&failed, "Mails that could not be delivered: {} of {}."),
        (
            &partly,
            "Mails that did not reach all of their recipients: {} of {}.",
        ),
        (&repeated, "Mails that needed more than one try: {} of {}."),
    ] {
        if !mails.is_empty() {
            let said = say(records, words, &[count(mails), all.clone()], &[]);
            judgement.badly.extend(said);
        }
    }
    if first.len() == facts.mails.len() {
        let words = "Mails written so far that were delivered at the first try: {}, which is all.";
        judgement
            .well
            .extend(say(records, words, &[count(&first)], &[]));
    }
}

/// Rule: whatever had to do without something says so in the trail.
fn degraded(facts: &Facts, records: &Records, judgement: &mut Judgement) {
    let kinds = ["PLAN_DEGRADED", "STEPS_LEFT_OUT", "STATUS_MOVE_REFUSED"];
    for line in kinds.iter().flat_map(|kind| facts.all(kind)).take(4) {
        let wants = [
            text(&line.id, "/line/agent"),
            text(&line.id, "/line/summary"),
        ];
        judgement
            .badly
            .extend(say(records, "{} reported: {}", &wants, &[]));
    }
}
