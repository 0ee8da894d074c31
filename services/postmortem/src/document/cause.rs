//! Why it happened, and what was ruled out.

use super::{Section, list, prose};
use crate::facts::Facts;
use crate::records::Records;
use crate::statement::{Rule, Statement};
use crate::writer::{at, between, code, number, quoted, say, text, time};

/// The cause with its evidence, what else was considered, what was ruled out.
pub(super) fn sections(facts: &Facts, records: &Records) -> Vec<Section> {
    let Some(first) = facts.candidates.first() else {
        let words = "Unknown: no root cause was established before the incident was over.";
        let unknown = say(records, words, &[], &[&facts.holdings_id()]);
        let mut sections = vec![prose("Root cause", unknown.into_iter().collect())];
        sections.extend(ruled_out(facts, records));
        return sections;
    };
    let mut evidence: Vec<Statement> = first
        .evidence
        .iter()
        .take(8)
        .filter_map(|one| {
            let mut wants = vec![
                text(&one.id, "/evidence/kind"),
                text(&one.id, "/evidence/summary"),
            ];
            if one.at_ms > 0 {
                wants.insert(0, time(&one.id, "/evidence/at_ms"));
                return say(records, "{} {}: {}", &wants, &[]);
            }
            say(records, "{}: {}", &wants, &[])
        })
        .collect();
    if evidence.is_empty() {
        let words = "No evidence is recorded for it.";
        evidence.extend(say(records, words, &[], &[&facts.cause_id(0)]));
    }
    let mut sections = vec![
        prose(
            "Root cause",
            candidate(facts, records, 0).into_iter().collect(),
        ),
        list("Evidence for it", evidence),
    ];
    let others: Vec<Statement> = (1..facts.candidates.len().min(5))
        .filter_map(|index| candidate(facts, records, index))
        .collect();
    if !others.is_empty() {
        sections.push(list("Also considered, with less behind it", others));
    }
    sections.extend(ruled_out(facts, records));
    sections
}

fn candidate(facts: &Facts, records: &Records, index: usize) -> Option<Statement> {
    let id = facts.cause_id(index);
    let evidence: Vec<&str> = facts.candidates[index]
        .evidence
        .iter()
        .take(3)
        .map(|one| one.id.as_str())
        .collect();
    say(
        records,
        "{} in {}, with a confidence of {} %: {}",
        &[
            at(Rule::Title, &id, "/cause/cause"),
            text(&id, "/cause/service"),
            at(Rule::Percent, &id, "/cause/confidence"),
            text(&id, "/cause/hypothesis"),
        ],
        &evidence,
    )
}

/// What speaks against candidates, and what was claimed in vain.
fn ruled_out(facts: &Facts, records: &Records) -> Option<Section> {
    let mut said: Vec<Option<Statement>> = Vec::new();
    for (index, candidate) in facts.candidates.iter().enumerate().take(5) {
        let id = facts.cause_id(index);
        for one in candidate.refuting.iter().take(3) {
            said.push(say(
                records,
                "Against {} in {} speaks this: {}",
                &[
                    at(Rule::Title, &id, "/cause/cause"),
                    text(&id, "/cause/service"),
                    text(&one.id, "/evidence/summary"),
                ],
                &[],
            ));
        }
    }
    if let Some(inquiry) = &facts.inquiry {
        for index in 0..inquiry.rejected_claims.len().min(5) {
            let path = |name: &str| format!("/inquiry/rejected_claims/{index}/{name}");
            said.push(say(
                records,
                "A model claimed {}; that was dropped: {}",
                &[
                    quoted(&inquiry.line_id, &path("claim")),
                    text(&inquiry.line_id, &path("reason")),
                ],
                &[],
            ));
        }
    }
    let said: Vec<Statement> = said.into_iter().flatten().collect();
    (!said.is_empty()).then(|| list("Ruled out", said))
}

/// What made it likelier or worse.
pub(super) fn factors(facts: &Facts, records: &Records) -> Vec<Statement> {
    let mut said: Vec<Option<Statement>> = Vec::new();
    let first = facts
        .anomalies
        .iter()
        .min_by_key(|anomaly| anomaly.onset_ms);
    if let (Some(change), Some(first)) = (&facts.deployment, first) {
        let id = change.record_id.as_str();
        let onset = first.anomaly_id.to_string();
        let (released, onset_at) = (
            (id, "/deployment/timestamp_ms"),
            (onset.as_str(), "/anomaly/onset_ms"),
        );
        let early = change.deployment.timestamp_ms <= first.onset_ms;
        let (span, words) = if early {
            let words = "{} {} was released {} before the first reading out of range.";
            (between(released, onset_at), words)
        } else {
            let words = "{} {} was released {} after the first reading out of range.";
            (between(onset_at, released), words)
        };
        let wants = [
            text(id, "/deployment/service"),
            code(id, "/deployment/version"),
            span,
        ];
        said.push(say(records, words, &wants, &[]));
        for index in 0..change.deployment.known_risks.len().min(3) {
            let risk = quoted(id, &format!("/deployment/known_risks/{index}"));
            let words = "The release named this risk beforehand: {}.";
            said.push(say(records, words, &[risk], &[]));
        }
    }
    for (index, signal) in facts.signals.iter().enumerate().take(6) {
        // The release is told above, in its own words.
        if signal.signal_type == "DEPLOYMENT_CORRELATED" && facts.deployment.is_some() {
            continue;
        }
        let id = facts.signal_id(index);
        let evidence: Vec<&str> = signal.evidence.iter().take(3).map(String::as_str).collect();
        let wants = [
            text(&id, "/signal/description"),
            number(&id, "/signal/strength"),
        ];
        said.push(say(records, "{} (strength {})", &wants, &evidence));
    }
    let similar = facts
        .candidates
        .first()
        .and_then(|first| first.similar_incidents.first());
    if let Some(past) = similar {
        let id = &past.incident_id;
        said.push(say(
            records,
            "An incident like it is on record: {}, {}, over after {} min.",
            &[
                text(id, "/similar/incident_id"),
                quoted(id, "/similar/title"),
                number(id, "/similar/mttr_minutes"),
            ],
            &[],
        ));
    }
    said.into_iter().flatten().collect()
}
