//! What evidence points at: one row for each record that something cites, so
//! that every claim on the page leads to what it rests on.

use super::format;
use crate::App;
use crate::error::ApiError;
use crate::known::Known;
use midwatch_clients::postgres::read::{self, Record, RecordFilter};
use midwatch_events::{EvidenceKind, EvidenceRef};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Records shown that nothing cites; metrics are on the charts instead.
const UNCITED: i64 = 200;

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
    /// Who cites it.
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

/// Collects the rows of an incident.
///
/// # Errors
/// The database is away.
pub async fn collect(app: &App, incident: Uuid, known: &Known) -> Result<Table, ApiError> {
    let mut citations = citations(known);
    let ids: Vec<String> = citations.keys().cloned().collect();
    let mut rows: Vec<Row> = Vec::new();
    for record in read::records_by_id(&app.pool, incident, &ids).await? {
        let cited_by = citations
            .remove(&record.record_id)
            .map_or(Vec::new(), |cited| cited.by);
        rows.push(record_row(record, cited_by));
    }
    for anomaly in &known.anomalies {
        let id = anomaly.anomaly_id.to_string();
        if let Some(cited) = citations.remove(&id) {
            rows.push(Row {
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
            .map(|(id, cited)| cited_row(id, cited)),
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
        cited_by,
        found: "record",
    }
}

fn cited_row(id: String, cited: Cited) -> Row {
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
        text: words.map_or_else(String::new, |words| words.summary),
        cited_by: cited.by,
        found: if document { "document" } else { "missing" },
        id,
    }
}
