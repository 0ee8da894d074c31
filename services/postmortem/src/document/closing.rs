//! What people stated, what it cost, and what nobody recorded.

use super::{Section, list, story, table};
use crate::facts::{Facts, Standing};
use crate::records::Records;
use crate::statement::{Rule, Statement};
use crate::writer::{Want, at, code, number, over, quoted, row, say, text};

/// Recorded as stated by that person, not as measured.
pub(super) fn stated(facts: &Facts, records: &Records) -> Vec<Statement> {
    let id = facts.incident_id();
    let mut said: Vec<Option<Statement>> = Vec::new();
    if facts.declared.is_some() {
        let words = "{} declared the incident by hand under the title {}.";
        said.push(say(records, words, &story::declared(&id), &[]));
        let wants = [text(&id, "/declared/by"), text(&id, "/declared/severity")];
        said.push(say(records, "{} stated the severity as {}.", &wants, &[]));
    }
    if let Some(stated) = &facts.resolved.stated {
        let by = if stated.by.is_empty() {
            say(records, "Whoever closed the incident", &[], &[&id])
        } else {
            say(records, "{}", &[text(&id, "/resolved/stated/by")], &[])
        };
        let mut tell = |words: &str, want: Want| {
            let rest = say(records, words, &[want], &[]);
            said.push(
                by.clone()
                    .zip(rest)
                    .map(|(by, rest)| crate::writer::joined([by, rest])),
            );
        };
        tell(
            " stated this root cause: {}.",
            quoted(&id, "/resolved/stated/root_cause"),
        );
        tell(" stated this fix: {}.", quoted(&id, "/resolved/stated/fix"));
        tell(
            " stated this category: {}.",
            quoted(&id, "/resolved/stated/category"),
        );
        tell(
            " stated this component: {}.",
            quoted(&id, "/resolved/stated/component"),
        );
        tell(
            " stated this toil, in minutes: {}.",
            number(&id, "/resolved/stated/toil_minutes"),
        );
    }
    let toil = facts
        .resolved
        .stated
        .as_ref()
        .and_then(|stated| stated.toil_minutes);
    if toil.is_none() {
        said.push(say(
            records,
            "Toil was stated by nobody: unknown.",
            &[],
            &[&id],
        ));
    }
    said.into_iter().flatten().collect()
}

/// The ledger, by stage and in all.
pub(super) fn cost(facts: &Facts, records: &Records) -> Section {
    const HEADING: &str = "Cost of this incident";
    if facts.ledger.is_empty() {
        let none = say(
            records,
            "Unknown: no cost is recorded.",
            &[],
            &[&facts.holdings_id()],
        );
        return list(HEADING, none.into_iter().collect());
    }
    let ids: Vec<String> = facts
        .ledger
        .iter()
        .map(|cost| facts.cost_id(&cost.stage))
        .collect();
    let line = |name: Option<Statement>, ids: &[String]| {
        let sum = |rule: Rule, fields: &[&str]| {
            let places = ids.iter().flat_map(|id| {
                fields
                    .iter()
                    .map(move |field| (id.clone(), format!("/cost/{field}")))
            });
            say(records, "{}", &[over(rule, places)], &[])
        };
        let cells = [
            name,
            sum(Rule::Sum, &["model_calls"]),
            sum(Rule::Sum, &["prompt_tokens", "completion_tokens"]),
            sum(Rule::Money, &["cost_usd"]),
            sum(Rule::Seconds, &["work_ms"]),
            sum(Rule::Seconds, &["model_ms"]),
            sum(Rule::Bytes, &["event_bytes"]),
            sum(Rule::Bytes, &["stored_bytes"]),
        ];
        cells
            .into_iter()
            .collect::<Option<Vec<Statement>>>()
            .map(row)
    };
    let mut rows: Vec<Statement> = ids
        .iter()
        .filter_map(|id| {
            let name = say(records, "{}", &[text(id, "/cost/stage")], &[]);
            line(name, std::slice::from_ref(id))
        })
        .collect();
    rows.extend(line(
        say(records, "in all", &[], &[&facts.holdings_id()]),
        &ids,
    ));
    let columns = [
        "stage",
        "model calls",
        "tokens",
        "USD",
        "work seconds",
        "of which models",
        "published",
        "stored",
    ];
    table(HEADING, &columns, rows)
}

/// What nobody recorded.
pub(super) fn unknowns(facts: &Facts, records: &Records) -> Vec<Statement> {
    let held = facts.holdings_id();
    let mut said = vec![say(
        records,
        "Which people were touched, and what that cost them: not measured.",
        &[],
        &[&held],
    )];
    if facts.gap.is_some() {
        let words = "The stores could not be read when this was written: {}";
        said.push(say(records, words, &[text(&held, "/held/gap")], &[]));
    }
    said.push(if facts.candidates.is_empty() {
        say(records, "The root cause.", &[], &[&held])
    } else {
        let words = "Whether the named cause is the true one: it is the best supported candidate, and no experiment proved it.";
        say(records, words, &[], &[&facts.cause_id(0)])
    });
    let applied = |standing: &Standing<'_>| matches!(standing, Standing::Applied { .. });
    let (helped, applied) = facts
        .standings()
        .fold((false, false), |(helped, any), (_, standing)| {
            (helped || standing.helped(), any || applied(&standing))
        });
    if !helped {
        let words = if applied {
            "What ended the incident: no applied step was verified as an improvement."
        } else {
            "What ended the incident: no applied step is recorded."
        };
        said.push(say(records, words, &[], &[&held]));
    }
    let never_back = facts.anomalies.iter().filter(|anomaly| {
        anomaly.cleared_at_ms.is_none()
            && facts
                .settled_ms(&anomaly.service, &anomaly.trigger_metric)
                .is_none()
    });
    for anomaly in never_back.take(4) {
        let id = anomaly.anomaly_id.to_string();
        let words = "When {} of {} returned to normal, as far as the records of the incident go.";
        let wants = [
            code(&id, "/anomaly/trigger_metric"),
            text(&id, "/anomaly/service"),
        ];
        said.push(say(records, words, &wants, &[]));
    }
    if let Some(inquiry) = &facts.inquiry {
        for index in 0..inquiry.degradations.len().min(5) {
            let place = format!("/inquiry/degradations/{index}");
            let words = "The investigation could not look at this: {}";
            said.push(say(
                records,
                words,
                &[at(Rule::Text, &inquiry.line_id, &place)],
                &[],
            ));
        }
    }
    said.into_iter().flatten().collect()
}
