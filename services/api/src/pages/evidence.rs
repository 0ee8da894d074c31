//! What evidence points at: one row for each record that something cites, so
//! that every claim on the page leads to what it rests on.

use super::format;
use crate::App;
use crate::error::ApiError;
use crate::known::Known;
use crate::params::percent;
use midwatch_clients::postgres::read::{self, Record, RecordFilter};
use midwatch_events::{EvidenceKind, EvidenceRef};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Records shown that nothing cites; metrics are on the charts instead.
const UNCITED: i64 = 200;
/// Characters of a payload that are shown; all of it is in the JSON.
const PAYLOAD: usize = 4_000;

/// A record, or what stands for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub id: String,
    pub kind: String,
    pub service: String,
    /// Event time; absent for documents.
    pub at_ms: Option<i64>,
    /// The reading with its unit, where it is one.
    pub value: Option<String>,
    pub name: String,
    pub text: String,
    /// The record as it was kept, as JSON; only where something cites it.
    pub payload: Option<String>,
    /// The same page with a chart at the moment of this reading.
    pub chart: Option<String>,
    /// Where a document is read.
    pub away: Option<String>,
    /// Who cites it, and who is refuted by it.
    pub cited_by: Vec<String>,
    /// `record`, `anomaly`, `document`, or `missing` where the record was not
    /// kept and only the citation's words are left.
    pub found: &'static str,
}

/// All rows: what is cited first, each in order of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Table {
    pub cited: Vec<Row>,
    pub others: Vec<Row>,
}

/// What is known of the documents that evidence points at.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Titles of past incidents, by id.
    titles: BTreeMap<String, String>,
}

impl Sources {
    /// Reads the titles off the candidates.
    #[must_use]
    pub fn of(known: &Known) -> Sources {
        let past = known
            .candidates
            .iter()
            .flat_map(|one| &one.similar_incidents);
        Sources {
            titles: past
                .map(|past| (past.incident_id.clone(), past.title.clone()))
                .collect(),
        }
    }
}

/// Where a piece of evidence is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    pub href: String,
    /// Whether that is another page.
    pub away: bool,
}

/// Where a piece of evidence is read: its record's row, or its document.
#[must_use]
pub fn source(evidence: &EvidenceRef, sources: &Sources) -> Source {
    let away = |href: String| Source { href, away: true };
    let here = |href: String| Source { href, away: false };
    match evidence.kind {
        EvidenceKind::Incident => {
            let title = sources.titles.get(&evidence.id);
            away(past_incident(
                &evidence.id,
                title.map_or(evidence.summary.as_str(), String::as_str),
            ))
        }
        EvidenceKind::Runbook => away(runbook(&evidence.id)),
        EvidenceKind::Topology => here("#services".to_owned()),
        _ => here(format!("#record-{}", evidence.id)),
    }
}

/// The page of a past incident: its own where it happened here, else where
/// the knowledge store has it.
#[must_use]
pub fn past_incident(id: &str, title: &str) -> String {
    let is_ours = crate::params::incident_range("id", id).is_ok();
    if is_ours {
        return format!("/incidents/{}", percent(id));
    }
    let question: String = format!("{id} {title}").chars().take(100).collect();
    format!(
        "/knowledge?collection=incidents&q={}#{}",
        percent(question.trim()),
        anchor(id)
    )
}

/// Where the knowledge page shows a section of a runbook: `runbook#section`.
#[must_use]
pub fn runbook(name: &str) -> String {
    let (runbook, section) = name.split_once('#').unwrap_or((name, ""));
    let question: String = format!("{} {section}", runbook.replace('-', " "))
        .chars()
        .take(100)
        .collect();
    format!(
        "/knowledge?collection=runbooks&q={}#{}",
        percent(question.trim()),
        anchor(name)
    )
}

/// A name as the fragment of an address.
#[must_use]
pub fn anchor(name: &str) -> String {
    let letters = name.chars().take(120).map(|letter| {
        if letter.is_ascii_alphanumeric() {
            letter.to_ascii_lowercase()
        } else {
            '-'
        }
    });
    format!("hit-{}", letters.collect::<String>().trim_end_matches('-'))
}

/// Collects the rows of an incident.
///
/// # Errors
/// The database is away.
pub async fn collect(app: &App, incident: Uuid, known: &Known) -> Result<Table, ApiError> {
    let mut citations = citations(known);
    let sources = Sources::of(known);
    let ids: Vec<String> = citations.keys().cloned().collect();
    let mut rows: Vec<Row> = Vec::new();
    for record in read::records_by_id(&app.pool, incident, &ids).await? {
        let cited_by = citations
            .remove(&record.record_id)
            .map_or(Vec::new(), |cited| cited.by);
        let payload = pretty(&record.payload);
        let chart = (record.kind == "metric").then(|| chart(&record.record_id));
        rows.push(Row {
            payload: Some(payload),
            chart,
            ..record_row(record, cited_by)
        });
    }
    for anomaly in &known.anomalies {
        let id = anomaly.anomaly_id.to_string();
        if let Some(cited) = citations.remove(&id) {
            rows.push(Row {
                payload: serde_json::to_value(anomaly).ok().as_ref().map(pretty),
                chart: Some(chart(&id)),
                away: None,
                id,
                kind: "anomaly".to_owned(),
                service: anomaly.service.clone(),
                at_ms: Some(anomaly.detected_at_ms),
                value: Some(format::measure(
                    anomaly.observed_value,
                    &anomaly.trigger_metric,
                )),
                name: anomaly.trigger_metric.clone(),
                text: anomaly.description.clone(),
                cited_by: cited.by,
                found: "anomaly",
            });
        }
    }
    rows.extend(
        citations
            .into_iter()
            .map(|(id, cited)| cited_row(id, cited, &sources)),
    );
    rows.sort_by_key(|row| (row.at_ms.is_none(), row.at_ms, row.id.clone()));
    let shown: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let but_metrics = RecordFilter {
        but_kind: Some("metric".to_owned()),
        ..RecordFilter::default()
    };
    let others = read::records(&app.pool, incident, &but_metrics, UNCITED).await?;
    let others = others
        .into_iter()
        .filter(|record| !shown.contains(record.record_id.as_str()))
        .map(|record| record_row(record, Vec::new()))
        .collect();
    Ok(Table {
        cited: rows,
        others,
    })
}

/// Who cites a record, and what they say of it.
#[derive(Default)]
struct Cited {
    by: Vec<String>,
    words: Option<EvidenceRef>,
}

fn citations(known: &Known) -> BTreeMap<String, Cited> {
    let mut found: BTreeMap<String, Cited> = BTreeMap::new();
    for candidate in &known.candidates {
        for evidence in &candidate.evidence {
            let cited = found.entry(evidence.id.clone()).or_default();
            cited.by.push(format!("cause {}", candidate.rank));
            cited.words.get_or_insert_with(|| evidence.clone());
        }
        for evidence in &candidate.refuting {
            let cited = found.entry(evidence.id.clone()).or_default();
            cited.by.push(format!("against cause {}", candidate.rank));
            cited.words.get_or_insert_with(|| evidence.clone());
        }
    }
    for signal in &known.signals {
        for id in &signal.evidence {
            found
                .entry(id.clone())
                .or_default()
                .by
                .push(format::words(&signal.signal_type));
        }
    }
    for cited in found.values_mut() {
        cited.by.dedup();
    }
    found
}

fn record_row(record: Record, cited_by: Vec<String>) -> Row {
    Row {
        value: record
            .value
            .map(|value| format::measure(value, &record.name)),
        id: record.record_id,
        kind: record.kind,
        service: record.service,
        at_ms: Some(record.at_ms),
        name: record.name,
        text: record.text,
        payload: None,
        chart: None,
        away: None,
        cited_by,
        found: "record",
    }
}

/// The page with a chart at the moment of a reading.
fn chart(id: &str) -> String {
    format!("?chart={}#chart-evidence", percent(id))
}

fn pretty(payload: &serde_json::Value) -> String {
    let text = serde_json::to_string_pretty(payload).unwrap_or_default();
    match text.char_indices().nth(PAYLOAD) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn cited_row(id: String, cited: Cited, sources: &Sources) -> Row {
    let words = cited.words;
    let document = words.as_ref().is_some_and(|words| {
        matches!(
            words.kind,
            EvidenceKind::Incident | EvidenceKind::Runbook | EvidenceKind::Topology
        )
    });
    Row {
        kind: words
            .as_ref()
            .map_or("record", |words| words.kind.as_str())
            .to_owned(),
        service: words
            .as_ref()
            .map_or_else(String::new, |words| words.service.clone()),
        at_ms: words.as_ref().map(|words| words.at_ms).filter(|at| *at > 0),
        value: None,
        name: String::new(),
        payload: None,
        chart: None,
        away: words
            .as_ref()
            .map(|words| source(words, sources))
            .filter(|source| source.away)
            .map(|source| source.href),
        text: words.map_or_else(String::new, |words| words.summary),
        cited_by: cited.by,
        found: if document { "document" } else { "missing" },
        id,
    }
}
