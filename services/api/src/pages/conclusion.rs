//! What the investigation concluded, revision by revision, as its lines in the
//! audit trail say it: verdicts, reasons, what a model claimed in vain, and
//! what could not be looked at.

use crate::known::Known;
use midwatch_clients::postgres::read::AgentEvent;
use midwatch_events::{RejectedClaim, ids};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use uuid::Uuid;

/// Claims and degradations shown at most.
const SOME: usize = 40;

/// One answer of the investigation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Revision {
    /// From 1.
    pub number: u64,
    pub at_ms: i64,
    pub summary: String,
    /// Why it looked again; empty for the first.
    pub reason: String,
    /// `conclusive`, `inconclusive`, or empty.
    pub verdict: String,
    /// `deterministic`, or the model that ordered the candidates.
    pub method: String,
    /// Whether another cause came first than before.
    pub top_changed: bool,
}

/// All answers, and what goes with the newest.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Conclusion {
    /// Oldest first.
    pub revisions: Vec<Revision>,
    pub verdict: String,
    pub method: String,
    pub rejected: Vec<RejectedClaim>,
    pub degradations: Vec<String>,
}

/// Another incident, and what it has to do with this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    pub id: Uuid,
    pub short_id: String,
    /// `merged`, `split`, or empty where it is not said.
    pub how: String,
    pub reason: String,
}

/// What an operator asked for, as an agent heard it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Heard {
    pub at_ms: i64,
    pub wall_ms: i64,
    pub agent: String,
    pub event_type: String,
    pub summary: String,
}

fn text(payload: &Value, name: &str) -> String {
    payload[name].as_str().unwrap_or_default().to_owned()
}

/// Reads the conclusion off the audit trail.
#[must_use]
pub fn read(timeline: &[AgentEvent]) -> Conclusion {
    let mut found = Conclusion::default();
    let mut before: Option<String> = None;
    for event in timeline {
        let payload = &event.payload;
        match event.event_type.as_str() {
            "RCA_COMPLETE" | "RCA_REVISED" => {
                let top = payload["top_service"].as_str().map(str::to_owned);
                let differs = before.is_some() && top.is_some() && before != top;
                let changed = payload["top_changed"].as_bool().unwrap_or(differs);
                let first = found.revisions.is_empty();
                before = top.or(before);
                found.revisions.push(Revision {
                    number: payload["revision"]
                        .as_u64()
                        .unwrap_or(found.revisions.len() as u64 + 1),
                    at_ms: event.at_ms,
                    summary: event.summary.clone(),
                    reason: if first {
                        String::new()
                    } else {
                        text(payload, "reason")
                    },
                    verdict: text(payload, "verdict"),
                    method: text(payload, "method"),
                    top_changed: changed && !first,
                });
                found.rejected.extend(claims(&payload["rejected_claims"]));
                add_words(&mut found.degradations, &payload["degradations"]);
            }
            // Claims are named where they were checked as well.
            "MODEL_CHECKED" => found.rejected.extend(claims(&payload["rejected"])),
            "EVIDENCE_GAP" | "MODEL_UNAVAILABLE" | "RECORDS_UNAVAILABLE" | "RECORDS_LEFT_OUT" => {
                found.degradations.push(event.summary.clone());
            }
            _ => {}
        }
    }
    if let Some(newest) = found.revisions.last() {
        found.verdict.clone_from(&newest.verdict);
        found.method.clone_from(&newest.method);
    }
    let mut seen = BTreeSet::new();
    found
        .rejected
        .retain(|one| seen.insert((one.claim.clone(), one.reason.clone())));
    found.rejected.truncate(SOME);
    let mut seen = BTreeSet::new();
    found.degradations.retain(|one| seen.insert(one.clone()));
    found.degradations.truncate(SOME);
    found
}

/// Claims with their reasons.
fn claims(value: &Value) -> Vec<RejectedClaim> {
    let entries = value.as_array().map(Vec::as_slice).unwrap_or_default();
    entries
        .iter()
        .filter_map(|entry| serde_json::from_value(entry.clone()).ok())
        .collect()
}

fn add_words(words: &mut Vec<String>, value: &Value) {
    let entries = value.as_array().map(Vec::as_slice).unwrap_or_default();
    words.extend(entries.iter().filter_map(Value::as_str).map(str::to_owned));
}

/// The other incidents of merges and splits.
#[must_use]
pub fn related(own: Uuid, known: &Known, timeline: &[AgentEvent]) -> Vec<Related> {
    let mut found: Vec<Related> = Vec::new();
    let mut add = |id: Uuid, how: &str, reason: &str| {
        if id == own || id.is_nil() {
            return;
        }
        match found.iter_mut().find(|one| one.id == id) {
            Some(one) if how.is_empty() || !one.how.is_empty() => {}
            Some(one) => {
                one.how = how.to_owned();
                one.reason = reason.to_owned();
            }
            None => found.push(Related {
                id,
                short_id: ids::short_incident(id),
                how: how.to_owned(),
                reason: reason.to_owned(),
            }),
        }
    };
    for event in timeline {
        let payload = &event.payload;
        let how = payload["change"].as_str().unwrap_or_default();
        let ids = payload["related"].as_array().map(Vec::as_slice);
        for id in ids.unwrap_or_default() {
            if let Some(id) = id.as_str().and_then(|id| id.parse().ok()) {
                add(id, how, &event.summary);
            }
        }
        let into = match event.event_type.as_str() {
            "INCIDENT_SPLIT" => "split",
            _ => "merged",
        };
        for (name, how) in [("incident_before", "follows"), ("into", into)] {
            if let Some(id) = payload[name].as_str().and_then(|id| id.parse().ok()) {
                add(id, how, &event.summary);
            }
        }
    }
    for id in &known.related {
        add(*id, "", "");
    }
    found.truncate(SOME);
    found
}

/// Operators' commands and what came of them, newest first.
#[must_use]
pub fn heard(timeline: &[AgentEvent]) -> Vec<Heard> {
    let told = [
        "INCIDENT_ACKNOWLEDGED",
        "INCIDENT_SNOOZED",
        "INCIDENT_SNOOZE_ENDED",
        "INCIDENT_MERGED",
        "INCIDENT_SPLIT",
        "INCIDENT_REOPENED",
        "NOTIFICATION_RESENT",
    ];
    let concerns = |event: &&AgentEvent| {
        let kind = event.event_type.as_str();
        kind.starts_with("COMMAND_")
            || kind.starts_with("MAINTENANCE_")
            || told.contains(&kind)
            || event.payload["closed_by"].is_string()
    };
    let lines = timeline.iter().rev().filter(concerns).take(12);
    lines
        .map(|event| Heard {
            at_ms: event.at_ms,
            wall_ms: event.wall_ms,
            agent: event.agent.clone(),
            event_type: event.event_type.clone(),
            summary: event.summary.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(event_type: &str, summary: &str, payload: Value) -> AgentEvent {
        AgentEvent {
            id: 1,
            event_id: Uuid::nil(),
            incident_id: None,
            agent: "investigation".to_owned(),
            event_type: event_type.to_owned(),
            at_ms: 5,
            wall_ms: 5,
            summary: summary.to_owned(),
            payload,
        }
    }

    #[test]
    fn the_newest_revision_says_the_verdict_and_each_says_why() {
        let claim = json!({"claim": "cites log-9", "reason": "no such record"});
        let found = read(&[
            line("EVIDENCE_GAP", "no spans", json!({})),
            line(
                "RCA_COMPLETE",
                "60 %",
                json!({"revision": 1, "verdict": "inconclusive", "top_service": "a", "reason": "x"}),
            ),
            line(
                "MODEL_CHECKED",
                "",
                json!({"rejected": ["b is down", claim]}),
            ),
            line(
                "RCA_REVISED",
                "90 %",
                json!({"revision": 2, "verdict": "conclusive", "top_service": "b",
                    "reason": "b joined", "method": "m", "rejected_claims": [claim],
                    "degradations": ["no spans", "no graph"]}),
            ),
        ]);
        assert_eq!(
            (found.verdict.as_str(), found.method.as_str()),
            ("conclusive", "m")
        );
        let told: Vec<(u64, &str, bool)> = found
            .revisions
            .iter()
            .map(|one| (one.number, one.reason.as_str(), one.top_changed))
            .collect();
        assert_eq!(told, [(1, "", false), (2, "b joined", true)]);
        assert_eq!(found.rejected.len(), 1);
        assert_eq!(found.degradations, ["no spans", "no graph"]);
    }

    #[test]
    fn other_incidents_are_named_once_with_what_happened() {
        let own = Uuid::from_u128(1);
        let known = Known {
            related: vec![Uuid::from_u128(2), Uuid::from_u128(3), own],
            ..Known::default()
        };
        let merged = json!({"change": "merged", "related": [Uuid::from_u128(2), "no id"]});
        let found = related(
            own,
            &known,
            &[line("INCIDENT_UPDATED", "one fault", merged)],
        );
        let told: Vec<(u128, &str, &str)> = found
            .iter()
            .map(|one| (one.id.as_u128(), one.how.as_str(), one.reason.as_str()))
            .collect();
        assert_eq!(told, [(2, "merged", "one fault"), (3, "", "")]);
    }
}
