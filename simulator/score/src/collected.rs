//! From what real processes said to what the judge takes: the messages of the
//! ground-truth topic, and the API's answers about incidents.

use crate::judge::{Candidate, Incident, Return};
use midwatch_events::GroundTruth;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// Something that was collected and cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A message that is no ground truth: another topic, or another version.
    #[error("message {index} of simulator.ground-truth is not readable: {source}")]
    Truth {
        index: usize,
        source: serde_json::Error,
    },
    /// An answer that is no incident: an error document, or another version of
    /// the API.
    #[error("the API's answer about incident {id} is not readable: {source}")]
    Incident {
        id: String,
        source: serde_json::Error,
    },
}

/// The part of `GET /api/incidents/{id}` that is judged.
#[derive(Deserialize)]
struct Detail {
    short_id: String,
    environment: String,
    anomaly_type: String,
    affected_services: Vec<String>,
    detected_at_ms: i64,
    resolved_at_ms: Option<i64>,
    top_root_cause: Option<String>,
    rca_candidates: Option<Vec<Candidate>>,
    correlation_context: Option<Context>,
    resolution: Option<Resolution>,
    timeline: Vec<Entry>,
    mails: Vec<Mail>,
}

#[derive(Deserialize)]
struct Context {
    #[serde(default)]
    grouped_anomalies: Vec<Onset>,
}

#[derive(Deserialize)]
struct Onset {
    onset_ms: i64,
}

#[derive(Deserialize)]
struct Resolution {
    resolution_method: String,
}

#[derive(Deserialize)]
struct Entry {
    at_ms: i64,
    wall_ms: i64,
    event_type: String,
}

#[derive(Deserialize)]
struct Mail {
    message_id: String,
    status: String,
}

/// The ground truth in the payloads of `simulator.ground-truth`.
///
/// # Errors
/// Names the first message that is not readable.
pub fn truths(payloads: &[Value]) -> Result<Vec<GroundTruth>, CollectError> {
    payloads
        .iter()
        .enumerate()
        .map(|(index, payload)| {
            GroundTruth::deserialize(payload)
                .map_err(|source| CollectError::Truth { index, source })
        })
        .collect()
}

/// How the first answer begins where it is none (`rca.completed`).
const INCONCLUSIVE: &str = "inconclusive";

/// The incidents of `environment` among answers of `GET /api/incidents/{id}`.
/// Those of other environments (the machine that the demo runs on is watched as
/// well) are left out, because nobody knows the truth about them. `speed` is
/// that of simulated time.
///
/// # Errors
/// Names the first incident that is not readable.
pub fn incidents(
    answers: &[Value],
    environment: &str,
    speed: i64,
) -> Result<Vec<Incident>, CollectError> {
    let mut found = Vec::new();
    for answer in answers {
        let incident = incident(answer, speed)?;
        if incident.environment == environment {
            found.push(incident);
        }
    }
    Ok(found)
}

/// The incident in one answer of `GET /api/incidents/{id}`.
///
/// # Errors
/// Names the incident, where the answer does.
pub fn incident(answer: &Value, speed: i64) -> Result<Incident, CollectError> {
    let detail = Detail::deserialize(answer).map_err(|source| CollectError::Incident {
        id: answer["short_id"]
            .as_str()
            .unwrap_or("(unnamed)")
            .to_owned(),
        source,
    })?;
    let entry = |event_type: &str| {
        let mut timeline = detail.timeline.iter();
        timeline.find(|entry| entry.event_type == event_type)
    };
    // The audit trail may be cut to its newest lines.
    let opened = entry("INCIDENT_OPENED");
    let opened_ms = opened.map_or(detail.detected_at_ms, |entry| entry.at_ms);
    let decided_ms = opened
        .zip(entry("RCA_COMPLETE"))
        .map(|(opened, answer)| opened_ms + (answer.wall_ms - opened.wall_ms) * speed);
    let returns = detail
        .timeline
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.event_type == "INCIDENT_REOPENED")
        .map(|(place, back)| {
            let mut later = detail.timeline[place..].iter();
            let answer =
                later.find(|entry| ["RCA_COMPLETE", "RCA_REVISED"].contains(&&*entry.event_type));
            Return {
                at_ms: back.at_ms,
                decided_ms: answer
                    .map(|answer| back.at_ms + (answer.wall_ms - back.wall_ms) * speed),
            }
        })
        .collect();
    let conclusive = detail
        .top_root_cause
        .map(|answer| !answer.starts_with(INCONCLUSIVE));
    let sent: BTreeSet<&str> = detail
        .mails
        .iter()
        .filter(|mail| mail.status == "SENT")
        .map(|mail| mail.message_id.as_str())
        .collect();
    let context = detail.correlation_context.iter();
    let onsets = context.flat_map(|context| &context.grouped_anomalies);
    Ok(Incident {
        onset_ms: onsets.map(|anomaly| anomaly.onset_ms).min(),
        opened_ms,
        decided_ms,
        conclusive,
        mails: Some(u32::try_from(sent.len()).unwrap_or(u32::MAX)),
        merged: detail
            .resolution
            .is_some_and(|resolution| resolution.resolution_method == "MERGED"),
        returns,
        id: detail.short_id,
        environment: detail.environment,
        detected_ms: detail.detected_at_ms,
        resolved_ms: detail.resolved_at_ms,
        services: detail.affected_services,
        anomaly_type: detail.anomaly_type,
        candidates: detail.rca_candidates.unwrap_or_default(),
    })
}
