//! What happened, in short: the head, the summary, the times.

use super::{Layout, Section, list};
use crate::facts::{Facts, Standing};
use crate::records::Records;
use crate::statement::{Rule, Statement};
use crate::writer::{at, between, code, number, over, say, text, time};

/// Title and the facts below it.
pub(super) fn head(facts: &Facts, records: &Records, version: u32) -> Vec<Section> {
    let id = facts.incident_id();
    let id = id.as_str();
    let title = say(
        records,
        "Postmortem {}: {}",
        &[text(id, "/resolved/short_id"), text(id, "/named/title")],
        &[],
    );
    let mut lines = vec![
        say(
            records,
            "Severity: {}.",
            &[text(id, "/resolved/severity")],
            &[],
        ),
        say(
            records,
            "Environment: {}.",
            &[text(id, "/resolved/environment")],
            &[],
        ),
        say(
            records,
            "Services: {}.",
            &[at(Rule::List, id, "/resolved/affected_services")],
            &[],
        ),
        say(
            records,
            "Detected: {}; over: {}.",
            &[
                at(Rule::Moment, id, "/resolved/detected_at_ms"),
                at(Rule::Moment, id, "/resolved/resolved_at_ms"),
            ],
            &[],
        ),
    ];
    if facts.is_simulated() {
        lines.push(say(
            records,
            "By the wall clock: detected {}, over {}. All other times are simulated ones unless marked.",
            &[
                at(Rule::Moment, id, "/resolved/detected_wall_ms"),
                at(Rule::Moment, id, "/resolved/resolved_wall_ms"),
            ],
            &[],
        ));
    }
    if version > 1 {
        lines.push(replaces(facts, records));
    }
    lines.push(say(
        records,
        "This text looks for causes in systems, not in people. It states only what is recorded.",
        &[],
        &[id],
    ));
    vec![
        Section {
            heading: String::new(),
            layout: Layout::Title,
            statements: title.into_iter().collect(),
        },
        list("", lines.into_iter().flatten().collect()),
    ]
}

/// Why there is another version.
fn replaces(facts: &Facts, records: &Records) -> Option<Statement> {
    let words = if facts.late {
        "Version {}: what became of a step was told after the incident was over, and this text replaces the earlier one."
    } else {
        "Version {}: the incident came back after it had been over, and this text replaces the earlier one."
    };
    let version = number(&facts.holdings_id(), "/held/version");
    say(records, words, &[version], &[])
}

/// A few sentences.
pub(super) fn summary(facts: &Facts, records: &Records) -> Vec<Statement> {
    let id = facts.incident_id();
    let opened = facts.first("INCIDENT_OPENED").map_or("", |line| &line.id);
    let mut sentences = vec![began(facts, records)];
    // The first sentence may have said when it was detected.
    let told = facts
        .trigger_anomaly()
        .is_some_and(|anomaly| anomaly.detected_at_ms == facts.resolved.header.detected_at_ms)
        && facts.declared.is_none();
    if !told {
        sentences.push(detected(facts, records, &id));
    }
    sentences.push(over_at(facts, records, &id, opened));
    sentences.push(cause(facts, records));
    sentences.push(Some(ending(facts, records)));
    sentences.into_iter().flatten().collect()
}

/// When, and by which sign where the trail has it: another one than the trigger
/// may have come first.
fn detected(facts: &Facts, records: &Records, id: &str) -> Option<Statement> {
    let at_ms = facts.resolved.header.detected_at_ms;
    let mut wants = vec![time(id, "/resolved/detected_at_ms")];
    let first = facts
        .anomalies
        .iter()
        .find(|anomaly| anomaly.detected_at_ms == at_ms && facts.declared.is_none());
    let Some(first) = first else {
        return say(records, "The incident was detected at {}.", &wants, &[]);
    };
    let first = first.anomaly_id.to_string();
    wants.extend([
        code(&first, "/anomaly/trigger_metric"),
        text(&first, "/anomaly/service"),
    ]);
    let words = "The incident was detected at {}, by {} of {}.";
    say(records, words, &wants, &[])
}

fn over_at(facts: &Facts, records: &Records, id: &str, opened: &str) -> Option<Statement> {
    let mut wants = vec![
        time(id, "/resolved/resolved_at_ms"),
        at(Rule::Duration, id, "/resolved/mttr_ms"),
    ];
    if !facts.is_simulated() {
        let words = "It was over at {}: {} from detection to the end.";
        return say(records, words, &wants, &[opened]);
    }
    wants.push(between(
        (id, "/resolved/detected_wall_ms"),
        (id, "/resolved/resolved_wall_ms"),
    ));
    let words = "It was over at {}: {} simulated, {} wall from detection to the end.";
    say(records, words, &wants, &[opened])
}

/// The trigger's own onset and reading: another series may have left its range
/// earlier, and the two must not be told as one.
fn began(facts: &Facts, records: &Records) -> Option<Statement> {
    let id = facts.incident_id();
    if facts.declared.is_some() {
        let words = "{} declared the incident by hand under the title {}.";
        return say(records, words, &declared(&id), &[]);
    }
    let onset = match facts.trigger_anomaly() {
        Some(own) => (
            own.anomaly_id.to_string(),
            "/anomaly/onset_ms",
            "/anomaly/detected_at_ms",
        ),
        None => (id.clone(), "", "/resolved/detected_at_ms"),
    };
    let is_metric = facts
        .trigger
        .as_ref()
        .is_some_and(|trigger| !trigger.metric.contains(':'));
    let mut wants = Vec::new();
    let since = if onset.1.is_empty() {
        "At an unrecorded time"
    } else {
        wants.push(time(&onset.0, onset.1));
        "At {}"
    };
    if is_metric {
        wants.extend([
            code(&id, "/trigger/metric"),
            text(&id, "/trigger/service"),
            time(&onset.0, onset.2),
        ]);
        // The reading and its time are of one record: a series that flaps has
        // several, and the trigger may be a later one.
        let own = facts.trigger_anomaly().is_some();
        let of = |field: &str| match own {
            true => number(&onset.0, &format!("/anomaly/{field}")),
            false => number(&id, &format!("/trigger/{field}")),
        };
        wants.push(of("observed_value"));
        // What announced the incident may be a reading after the first one.
        let later = facts
            .trigger_anomaly()
            .is_some_and(|own| own.observed_at_ms.is_some());
        let words = if later {
            wants.push(time(&onset.0, "/anomaly/observed_at_ms"));
            "{} of {} left its normal range; it was detected at {} and read {} at {} against a baseline of {}."
        } else {
            "{} of {} left its normal range; it was detected at {} reading {} against a baseline of {}."
        };
        wants.push(of("baseline_value"));
        return say(records, &format!("{since} {words}"), &wants, &[]);
    }
    wants.extend([
        text(&id, "/resolved/affected_services/0"),
        code(&id, "/resolved/trigger_metric"),
    ]);
    let words = "{} showed the sign that opened the incident: {}.";
    say(records, &format!("{since} {words}"), &wants, &[])
}

/// Who declared it, and under which title.
pub(super) fn declared(id: &str) -> [crate::writer::Want; 2] {
    [
        text(id, "/declared/by"),
        crate::writer::quoted(id, "/declared/title"),
    ]
}

fn cause(facts: &Facts, records: &Records) -> Option<Statement> {
    let Some(first) = facts.candidates.first() else {
        let words = "The cause is unknown.";
        return say(records, words, &[], &[&facts.holdings_id()]);
    };
    let cause = facts.cause_id(0);
    let evidence: Vec<&str> = first
        .evidence
        .iter()
        .take(3)
        .map(|one| one.id.as_str())
        .collect();
    // A model may end its hypothesis with a full stop; the rules do not.
    let words = if first.hypothesis.trim_end().ends_with(['.', '!', '?']) {
        "The most likely cause, with a confidence of {} %: {}"
    } else {
        "The most likely cause, with a confidence of {} %: {}."
    };
    say(
        records,
        words,
        &[
            at(Rule::Percent, &cause, "/cause/confidence"),
            text(&cause, "/cause/hypothesis"),
        ],
        &evidence,
    )
}

/// How it ended: steps count only where they were executed, and verified as an
/// improvement.
fn ending(facts: &Facts, records: &Records) -> Statement {
    let id = facts.incident_id();
    let helpful = facts.standings().filter(|(_, standing)| standing.helped());
    let applied: Vec<_> = helpful
        .filter_map(|(_, standing)| match standing {
            Standing::Applied { outcome, verified } => Some((outcome, verified)),
            _ => None,
        })
        .collect();
    let (ids, outcomes): (Vec<String>, Vec<String>) = applied
        .iter()
        .map(|(outcome, verified)| (facts.deed_id(verified), facts.deed_id(outcome)))
        .unzip();
    let said = if facts.resolved.resolution_method == "CLOSED_BY_OPERATOR" {
        let by = say(
            records,
            "{} closed the incident.",
            &[text(&id, "/resolved/stated/by")],
            &[],
        );
        by.or_else(|| say(records, "A person closed the incident.", &[], &[&id]))
    } else if applied.is_empty() {
        say(
            records,
            facts.unexplained_end(),
            &[],
            &[&id, &facts.holdings_id()],
        )
    } else {
        let steps = over(
            Rule::Count,
            outcomes.iter().map(|id| (id.as_str(), "/action/step_id")),
        );
        let also: Vec<&str> = ids.iter().map(String::as_str).collect();
        let words = if facts.earlier.is_empty() {
            "Applied steps of the plan, with their improvement verified: {}."
        } else {
            "Applied steps of the plans, with their improvement verified: {}."
        };
        say(records, words, &[steps], &also)
    };
    said.unwrap_or_default()
}

/// From onset to detection, acknowledgement and end.
pub(super) fn times(facts: &Facts, records: &Records) -> Vec<Statement> {
    let id = facts.incident_id();
    let first = facts
        .anomalies
        .iter()
        .min_by_key(|anomaly| anomaly.onset_ms);
    let onset = first.map(|anomaly| anomaly.anomaly_id.to_string());
    let detection = match (facts.resolved.mttd_ms, &onset) {
        (Some(_), _) => say(
            records,
            "MTTD, from the first reading out of range to detection: {}.",
            &[at(Rule::Duration, &id, "/resolved/mttd_ms")],
            &[onset.as_deref().unwrap_or_default()],
        ),
        (None, Some(onset)) => say(
            records,
            "MTTD, from the first reading out of range to detection: {}.",
            &[between(
                (onset, "/anomaly/onset_ms"),
                (&id, "/resolved/detected_at_ms"),
            )],
            &[],
        ),
        (None, None) => say(
            records,
            "MTTD is unknown: no onset is recorded.",
            &[],
            &[&id],
        ),
    };
    let acknowledged = facts
        .first("INCIDENT_ACKNOWLEDGED")
        .map_or("", |line| &line.id);
    let response = match facts.resolved.mtta_ms {
        Some(_) => say(
            records,
            "MTTA, from detection to the first acknowledgement, by the wall clock: {}.",
            &[at(Rule::Duration, &id, "/resolved/mtta_ms")],
            &[acknowledged],
        ),
        None => say(
            records,
            "MTTA is unknown: nobody acknowledged the incident.",
            &[],
            &[&id],
        ),
    };
    let end = say(
        records,
        "MTTR, from detection to the end: {}.",
        &[at(Rule::Duration, &id, "/resolved/mttr_ms")],
        &[],
    );
    let wall = facts.is_simulated().then(|| {
        let wall = between(
            (&id, "/resolved/detected_wall_ms"),
            (&id, "/resolved/resolved_wall_ms"),
        );
        say(records, "MTTR by the wall clock: {}.", &[wall], &[])
    });
    [detection, response, end, wall.flatten()]
        .into_iter()
        .flatten()
        .collect()
}

impl Facts {
    /// What is said of readings that returned without an applied step.
    #[must_use]
    pub fn unexplained_end(&self) -> &'static str {
        if self.began_a_step() {
            "A step of the plan was begun, but no improvement by it is proven; why the readings returned is not recorded."
        } else {
            "Midwatch carried out no action; why the readings returned is not recorded."
        }
    }
}
