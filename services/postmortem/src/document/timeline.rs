//! The timeline: a row per line of the trail and per sign in telemetry, by
//! event time; with the wall clock where that ran differently.

use super::{Section, list, table};
use crate::config::TIMELINE;
use crate::facts::Facts;
use crate::records::Records;
use crate::statement::Statement;
use crate::writer::{Want, code, number, quoted, say, text, time};

/// One row before it is said.
struct Row {
    at_ms: i64,
    at: Want,
    wall: Option<Want>,
    source: Result<&'static str, Want>,
    words: &'static str,
    wants: Vec<Want>,
}

/// The table, or why there is none.
pub(super) fn timeline(facts: &Facts, records: &Records) -> Section {
    let mut rows = telemetry(facts);
    rows.extend(facts.trail.iter().map(|line| Row {
        at_ms: line.at_ms,
        at: time(&line.id, "/line/at_ms"),
        wall: Some(time(&line.id, "/line/wall_ms")),
        source: Err(text(&line.id, "/line/agent")),
        words: "{}",
        wants: vec![text(&line.id, "/line/summary")],
    }));
    let held = facts.holdings_id();
    if rows.is_empty() {
        let unknown = match facts.gap {
            Some(_) => say(records, "Unknown: {}", &[text(&held, "/held/gap")], &[]),
            None => say(records, "Unknown: nothing is recorded.", &[], &[&held]),
        };
        return list("Timeline", unknown.into_iter().collect());
    }
    // Stable: lines of the same moment keep the order of the trail.
    rows.sort_by_key(|row| row.at_ms);
    let both = facts.is_simulated();
    let more = rows.len() > TIMELINE;
    let mut said: Vec<Statement> = rows
        .into_iter()
        .take(TIMELINE)
        .filter_map(|row| tell(records, row, both))
        .collect();
    if more {
        let words = if both {
            " |  | Midwatch | Later lines of the trail that are left out here: {}."
        } else {
            " | Midwatch | Later lines of the trail that are left out here: {}."
        };
        said.extend(say(
            records,
            words,
            &[number(&held, "/held/later_lines")],
            &[],
        ));
    }
    if both {
        let columns = ["time (simulated)", "wall clock", "source", "what"];
        table("Timeline", &columns, said)
    } else {
        table("Timeline", &["time", "source", "what"], said)
    }
}

fn tell(records: &Records, row: Row, both: bool) -> Option<Statement> {
    let mut words = "{} | ".to_owned();
    let mut wants = vec![row.at];
    if both {
        if let Some(wall) = row.wall {
            words.push_str("{}");
            wants.push(wall);
        }
        words.push_str(" | ");
    }
    match row.source {
        Ok(own) => words.push_str(own),
        Err(source) => {
            words.push_str("{}");
            wants.push(source);
        }
    }
    words.push_str(" | ");
    words.push_str(row.words);
    wants.extend(row.wants);
    say(records, &words, &wants, &[])
}

/// What telemetry says about the time before the incident was opened.
fn telemetry(facts: &Facts) -> Vec<Row> {
    let told = |at_ms: i64| {
        facts
            .all("ANOMALY_DETECTED")
            .any(|line| line.at_ms == at_ms)
    };
    let mut rows: Vec<Row> = facts
        .anomalies
        .iter()
        // The trail tells of those that were detected with their first reading.
        .filter(|anomaly| !told(anomaly.onset_ms))
        .take(8)
        .map(|anomaly| {
            let id = anomaly.anomaly_id.to_string();
            let series = [
                code(&id, "/anomaly/trigger_metric"),
                text(&id, "/anomaly/service"),
            ];
            let (words, rest) = if anomaly.trigger_metric.contains(':') {
                ("First {} of {}.", Vec::new())
            } else if anomaly.observed_at_ms.is_some() {
                (
                    "First reading of {} of {} out of range; detected at {}, {} at {}.",
                    vec![
                        time(&id, "/anomaly/detected_at_ms"),
                        number(&id, "/anomaly/observed_value"),
                        time(&id, "/anomaly/observed_at_ms"),
                    ],
                )
            } else {
                (
                    "First reading of {} of {} out of range; detected as {} at {}.",
                    vec![
                        number(&id, "/anomaly/observed_value"),
                        time(&id, "/anomaly/detected_at_ms"),
                    ],
                )
            };
            Row {
                at_ms: anomaly.onset_ms,
                at: time(&id, "/anomaly/onset_ms"),
                wall: None,
                source: Ok("telemetry"),
                words,
                wants: series.into_iter().chain(rest).collect(),
            }
        })
        .collect();
    if let Some(change) = &facts.deployment {
        let id = &change.record_id;
        let mut wants = vec![
            text(id, "/deployment/service"),
            code(id, "/deployment/version"),
        ];
        let words = if change.deployment.description.is_empty() {
            "{} {} was released."
        } else {
            wants.push(quoted(id, "/deployment/description"));
            "{} {} was released: {}."
        };
        rows.push(Row {
            at_ms: change.deployment.timestamp_ms,
            at: time(id, "/deployment/timestamp_ms"),
            wall: None,
            source: Ok("deployments"),
            words,
            wants,
        });
    }
    rows
}
