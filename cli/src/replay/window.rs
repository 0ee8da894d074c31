//! When an incident was, and whether the broker is still the one of then.

use crate::failure::Failure;
use crate::output;
use midwatch_clients::kafka::{BrokerReader, Start};
use midwatch_events::artifact::ArtifactKind;
use midwatch_events::incident::SimilarIncident;
use midwatch_events::more::More;
use midwatch_events::topics::EPOCH_TOPIC;
use midwatch_investigation::decide::facts::Known;
use midwatch_runtime::clock;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use uuid::Uuid;

/// Before the first thing that is written of an incident: its first anomaly
/// waited for company, and was on the broker before.
const BEFORE_MS: i64 = 120_000;
/// After its end: correlation's last look, and updates that were under way.
const AFTER_MS: i64 = 60_000;

/// What the API knows of the incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    pub id: Uuid,
    pub short_id: String,
    /// Its anomalies as it was last written.
    pub members: BTreeSet<Uuid>,
    /// Times on the wall between which it happened.
    pub from_ms: i64,
    pub to_ms: i64,
    pub resolved: bool,
    /// What the knowledge store found then.
    pub known: Known,
}

impl Past {
    /// Reads an answer of `GET /api/incidents/{id}`.
    ///
    /// # Errors
    /// It lacks what every incident has.
    pub fn read(incident: &Value) -> Result<Past, Failure> {
        let unreadable = |what: &str| {
            let what = format!("the API's answer has no {what}");
            Failure::new(what, "see that API and command line are of one build")
        };
        let id: Uuid = Deserialize::deserialize(&incident["id"]).map_err(|_| unreadable("id"))?;
        let created_ms = incident["created_at_ms"]
            .as_i64()
            .ok_or_else(|| unreadable("created_at_ms"))?;
        let empty = Vec::new();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let lines = incident["timeline"].as_array().unwrap_or(&empty);
        let written = lines.iter().filter_map(|line| line["wall_ms"].as_i64());
        let first_ms = written.clone().fold(created_ms, i64::min);
        let resolved = incident["status"] == "RESOLVED";
        let is_end = |line: &&Value| {
            let kind = line["event_type"].as_str().unwrap_or_default();
            kind == "INCIDENT_RESOLVED" || kind == "INCIDENT_UPDATED" || kind == "RCA_REVISED"
        };
        let ends = lines.iter().filter(is_end);
        let last_ms = ends
            .filter_map(|line| line["wall_ms"].as_i64())
            .chain(incident["resolution"]["resolved_wall_ms"].as_i64())
            .fold(created_ms, i64::max);
        let now_ms = clock::now_ms();
        let anomalies = list(&incident["correlation_context"]["grouped_anomalies"]);
        let more = More::deserialize(&incident["correlation_context"]["more_anomalies"]);
        let more = more.unwrap_or_default().members();
        let members: BTreeSet<Uuid> = anomalies
            .iter()
            .filter_map(|anomaly| Uuid::deserialize(&anomaly["anomaly_id"]).ok())
            .chain(more.iter().map(|anomaly| anomaly.anomaly_id))
            .collect();
        let short_id = incident["short_id"].as_str().unwrap_or_default().to_owned();
        if members.is_empty() {
            let is_listed = incident["correlation_context"]["grouped_anomalies"].is_array();
            if !is_listed || !anomalies.is_empty() {
                return Err(unreadable("anomaly"));
            }
            // A person declared it, and nothing that detection saw was added.
            return Err(Failure::new(
                format!("{short_id} holds no anomaly: there is nothing to decide again"),
                "replay an incident that detection saw, or wait until it sees this one",
            ));
        }
        Ok(Past {
            id,
            short_id,
            members,
            from_ms: first_ms - BEFORE_MS,
            to_ms: if resolved {
                (last_ms + AFTER_MS).min(now_ms)
            } else {
                now_ms
            },
            resolved,
            known: Known {
                similar: similar(&list(&incident["rca_candidates"])),
                ..Known::default()
            },
        })
    }

    /// What entered the ranking then, by the last look of the investigation.
    /// Artifacts of an older version tell nothing of it.
    pub fn recall(&mut self, artifacts: &Value) {
        let looks = artifacts["items"].as_array().into_iter().flatten();
        let last = looks
            .filter(|one| one["kind"] == ArtifactKind::ObservationSummary.as_str())
            .max_by_key(|one| one["body"]["look"].as_u64());
        let found = last.and_then(|one| Known::deserialize(&one["body"]).ok());
        if let Some(found) = found {
            self.known.precedents = found.precedents;
            self.known.guides = found.guides;
        }
    }
}

fn similar(candidates: &[Value]) -> Vec<SimilarIncident> {
    let mut seen = BTreeSet::new();
    let cited = candidates
        .iter()
        .filter_map(|one| one["similar_incidents"].as_array());
    cited
        .flatten()
        .filter_map(|past| SimilarIncident::deserialize(past).ok())
        .filter(|past| seen.insert(past.incident_id.clone()))
        .collect()
}

/// Refuses a broker whose data began after the incident: it was emptied, and
/// nothing on it has to do with what was decided then. Returns when its data
/// began, wall clock, where the broker knows.
///
/// # Errors
/// It is another one, or does not answer.
pub async fn same_epoch(reader: &BrokerReader, past: &Past) -> Result<Option<i64>, Failure> {
    let name = reader.settings().topic(EPOCH_TOPIC);
    let page = reader.browse(&name, Some(0), Start::Newest, 50).await;
    let page = page.map_err(|error| {
        let what = format!("{}: {error}", reader.settings().bootstrap);
        Failure::new(what, "see that the broker runs (`midwatch doctor`)")
    })?;
    let records = page.map(|page| page.records).unwrap_or_default();
    // The first record is the epoch; later ones count for nothing.
    let Some(first) = records.into_iter().min_by_key(|record| record.offset) else {
        return Err(Failure::new(
            format!("{} names no epoch of its data", reader.settings().bootstrap),
            "midwatch-init writes it; nothing from before can be replayed",
        ));
    };
    match first.timestamp_ms {
        Some(began_ms) if began_ms > past.from_ms + BEFORE_MS => Err(Failure::new(
            format!(
                "the broker's data is of another epoch: it began at {}, after {} at {}",
                output::time(began_ms),
                past.short_id,
                output::time(past.from_ms + BEFORE_MS)
            ),
            "the broker was emptied since; what the incident was decided on is gone",
        )),
        began_ms => Ok(began_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn incident(status: &str) -> Value {
        json!({
            "id": Uuid::from_u128(1), "short_id": "INC-00000000", "status": status,
            "created_at_ms": 1_795_316_645_000_i64,
            "timeline": [
                {"event_type": "ANOMALY_DETECTED", "wall_ms": 1_795_316_640_000_i64},
                {"event_type": "INCIDENT_RESOLVED", "wall_ms": 1_795_316_845_000_i64},
                {"event_type": "POSTMORTEM_GENERATED", "wall_ms": 1_795_400_000_000_i64},
            ],
            "correlation_context": {"grouped_anomalies": [{"anomaly_id": Uuid::from_u128(2)}, {}]},
            "rca_candidates": [{"similar_incidents": [
                {"incident_id": "P", "title": "", "score": 0.5, "root_cause": "", "resolution": "",
                 "mttr_minutes": 1.0}, {"incident_id": 7}]}],
        })
    }

    #[test]
    fn the_window_reaches_from_the_first_line_to_the_end() {
        let past = Past::read(&incident("RESOLVED")).expect("readable");
        assert_eq!(past.from_ms, 1_795_316_640_000 - BEFORE_MS);
        assert_eq!(past.to_ms, 1_795_316_845_000 + AFTER_MS);
        assert_eq!(past.members, BTreeSet::from([Uuid::from_u128(2)]));
        assert_eq!(past.known.similar.len(), 1);
        let open = Past::read(&incident("INVESTIGATING")).expect("readable");
        assert!(!open.resolved && open.to_ms > open.from_ms);
    }

    #[test]
    fn what_entered_the_ranking_comes_from_the_last_look() {
        let mut past = Past::read(&incident("RESOLVED")).expect("readable");
        let look = |look: u32, id: &str| {
            json!({"kind": "observation_summary", "body": {"look": look, "guides": [],
                "precedents": [{"incident_id": id, "service": "a", "cause": "MEMORY_LEAK",
                                "score": 0.7, "reviewed": true}]}})
        };
        past.recall(&json!({"items": [look(2, "INC-2"), look(1, "INC-1"),
            {"kind": "anomaly_finding", "body": {"look": 9}}]}));
        let ids = past
            .known
            .precedents
            .iter()
            .map(|one| one.incident_id.as_str());
        assert_eq!(ids.collect::<Vec<_>>(), ["INC-2"]);
        assert_eq!(past.known.similar.len(), 1);
        // An older version wrote nothing of it.
        let old = json!({"items": [{"kind": "observation_summary", "body": {"look": 1}}]});
        past.recall(&old);
        assert_eq!(past.known.precedents, Vec::new());
    }

    fn told(incident: &Value) -> String {
        match Past::read(incident).expect_err("there is nothing to replay") {
            Failure::Problem { what, mend } => format!("{what}; {mend}"),
            Failure::BrokenPipe => String::new(),
        }
    }

    #[test]
    fn an_answer_without_anomalies_is_refused() {
        let mut bare = incident("RESOLVED");
        bare["correlation_context"] = json!({});
        let told = told(&bare);
        assert!(
            told.contains("no anomaly") && told.contains("one build"),
            "{told}"
        );
    }

    #[test]
    fn a_declared_incident_without_anomalies_is_refused_with_its_reason() {
        let mut declared = incident("INVESTIGATING");
        declared["correlation_context"] = json!({"grouped_anomalies": []});
        let told = told(&declared);
        assert!(told.contains("INC-00000000 holds no anomaly"), "{told}");
        assert!(!told.contains("one build"), "{told}");
    }
}
