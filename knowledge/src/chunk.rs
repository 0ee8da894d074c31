//! From records to documents: what is embedded, and what is handed back.
//!
//! The embedded text of a chunk begins with what it belongs to (an incident's
//! title, a runbook's name), since a sentence such as "the pods were restarted"
//! alone lies near everything. The payload's `text` is the chunk as written:
//! that is what gets quoted.

use crate::content::{HistoricalIncident, Knowledge, ServiceRecord};
use crate::runbook::Runbook;
use midwatch_clients::knowledge::{ARCHITECTURE, Document, INCIDENTS, PastIncident, RUNBOOKS};
use midwatch_events::ids;
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The documents of each collection, in the order of the files.
#[must_use]
pub fn documents(knowledge: &Knowledge) -> [(&'static str, Vec<Document>); 3] {
    let incidents = knowledge.incidents.iter().flat_map(incident_documents);
    let runbooks = knowledge.runbooks.iter().flat_map(runbook_documents);
    let services = knowledge.services.iter().map(service_document);
    [
        (INCIDENTS, incidents.collect()),
        (RUNBOOKS, runbooks.collect()),
        (ARCHITECTURE, services.collect()),
    ]
}

/// Four documents: `summary`, `root_cause`, `resolution` and
/// `contributing_factors`.
#[must_use]
pub fn incident_documents(incident: &HistoricalIncident) -> Vec<Document> {
    PastIncident {
        incident_id: incident.incident_id.clone(),
        title: incident.title.clone(),
        anomaly_type: incident.anomaly_type.as_str().to_owned(),
        severity: incident.severity.as_str().to_owned(),
        service: incident.service.clone(),
        mttr_minutes: incident.mttr_minutes,
        tags: incident.tags.clone(),
        summary: incident.summary.clone(),
        root_cause: incident.root_cause.clone(),
        resolution: incident.resolution.clone(),
        contributing_factors: incident.contributing_factors.clone(),
        record: value(incident),
        effective_actions: Vec::new(),
        origin: None,
    }
    .documents()
}

/// One document per section.
#[must_use]
pub fn runbook_documents(runbook: &Runbook) -> Vec<Document> {
    let spoken_name = runbook.name.replace('-', " ");
    runbook
        .sections
        .iter()
        .enumerate()
        .map(|(position, section)| Document {
            id: id(&[RUNBOOKS, &runbook.name, &section.title]),
            text: format!("{spoken_name}: {}. {}", section.title, section.text),
            payload: payload(json!({
                "runbook_id": runbook.name,
                "section_title": section.title,
                "position": position,
                "description": runbook.description,
                "anomaly_types": answers_to(runbook),
                "tags": runbook.tags,
                "text": section.text,
                "steps": section.steps,
                "causes": runbook.causes,
                "target": runbook.target.as_deref().unwrap_or_default(),
            })),
        })
        .collect()
}

/// What a runbook is looked up by: its anomaly types, and the causes that it
/// knows besides.
fn answers_to(runbook: &Runbook) -> Vec<&str> {
    let types = runbook.anomaly_types.iter().map(|kind| kind.as_str());
    let causes = runbook.causes.iter().map(|cause| cause.name.as_str());
    let mut names: Vec<&str> = types.collect();
    for name in causes {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// One document for a service.
#[must_use]
pub fn service_document(service: &ServiceRecord) -> Document {
    let text = format!(
        "{}: {} Team {}. Calls: {}. Known failures: {}.",
        service.name,
        service.description,
        service.team,
        service.calls.join(", "),
        service.common_failure_modes.join("; ")
    );
    Document {
        id: id(&[ARCHITECTURE, &service.name]),
        payload: payload(json!({
            "service_name": service.name,
            "text": text,
            "record": value(service),
        })),
        text,
    }
}

/// The id follows from the place of the content, not from its wording, so
/// that a corrected text replaces the former one.
fn id(key: &[&str]) -> Uuid {
    let mut parts = vec!["knowledge"];
    parts.extend_from_slice(key);
    ids::derive(&parts)
}

fn value(record: &impl Serialize) -> Value {
    serde_json::to_value(record).expect("records are plain data with string keys")
}

fn payload(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => unreachable!("payloads are written as JSON objects above"),
    }
}
