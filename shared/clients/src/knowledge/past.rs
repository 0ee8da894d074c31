//! An incident of the past as the store holds it: four chunks, whoever wrote
//! them.

use super::{Document, INCIDENTS};
use midwatch_events::ids;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What marks a point that people's review brought in, in the payload field
/// `origin`; seeding leaves such points alone.
pub const REVIEWED: &str = "reviewed";

/// An action that was carried out in a past incident, and what the check of
/// its effect found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectiveAction {
    /// [`midwatch_events::action::ActionKind`]'s wire name.
    pub kind: String,
    /// The wire name of the cause that it was meant for.
    pub cause: String,
    /// [`midwatch_events::action::VerificationVerdict`]'s wire name.
    pub verdict: String,
}

/// A past incident in words.
#[derive(Clone, Debug, PartialEq)]
pub struct PastIncident {
    pub incident_id: String,
    pub title: String,
    pub anomaly_type: String,
    pub severity: String,
    /// Where the cause was.
    pub service: String,
    pub mttr_minutes: f64,
    pub tags: Vec<String>,
    pub summary: String,
    pub root_cause: String,
    pub resolution: String,
    pub contributing_factors: Vec<String>,
    /// The whole record, handed back with every hit.
    pub record: Value,
    /// What worked and what did not, as far as that was verified.
    pub effective_actions: Vec<EffectiveAction>,
    /// [`REVIEWED`], or absent for what the knowledge folder holds.
    pub origin: Option<&'static str>,
}

impl PastIncident {
    /// Four documents: `summary`, `root_cause`, `resolution` and
    /// `contributing_factors`. Their ids follow from the incident's, so that
    /// storing it again replaces them.
    #[must_use]
    pub fn documents(&self) -> Vec<Document> {
        [
            ("summary", self.summary.clone()),
            ("root_cause", self.root_cause.clone()),
            ("resolution", self.resolution.clone()),
            (
                "contributing_factors",
                format!("{}.", self.contributing_factors.join(". ")),
            ),
        ]
        .into_iter()
        .map(|(chunk_type, text)| Document {
            id: ids::derive(&["knowledge", INCIDENTS, &self.incident_id, chunk_type]),
            text: format!("{}. {text}", self.title),
            payload: self.payload(chunk_type, &text),
        })
        .collect()
    }

    fn payload(&self, chunk_type: &str, text: &str) -> Map<String, Value> {
        let mut payload = json!({
            "incident_id": self.incident_id,
            "chunk_type": chunk_type,
            "anomaly_type": self.anomaly_type,
            "severity": self.severity,
            "service": self.service,
            "mttr_minutes": self.mttr_minutes,
            "tags": self.tags,
            "text": text,
            "record": self.record,
            "effective_actions": self.effective_actions,
        });
        if let Some(origin) = self.origin {
            payload["origin"] = json!(origin);
        }
        match payload {
            Value::Object(map) => map,
            _ => unreachable!("it is written as a JSON object above"),
        }
    }
}
