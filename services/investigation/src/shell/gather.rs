//! Gathering the facts of an incident.

use super::Investigation;
use crate::decide::facts::Facts;
use crate::decide::gathered;
use crate::decide::knowledge::{Guide, Precedent};
use anyhow::Context as _;
use midwatch_clients::knowledge::{IncidentHit, REVIEWED};
use midwatch_clients::postgres::records;
use midwatch_events::anomaly::AnomalyType;
use midwatch_events::ids::short_incident;
use midwatch_events::incident::{GroupedAnomaly, SimilarIncident};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Causes of runbooks that are kept, of one runbook and of all.
const CAUSES: usize = 20;

#[derive(Deserialize)]
struct Request {
    incident_id: Uuid,
    anomaly_type: AnomalyType,
    title: String,
    #[serde(with = "midwatch_events::more::stored")]
    anomalies: Vec<GroupedAnomaly>,
    #[serde(default)]
    elsewhere: BTreeMap<String, String>,
}

impl Investigation {
    /// Reads records and knowledge. What cannot be read becomes a gap that the
    /// audit trail names; only the records themselves are worth another try.
    pub(super) async fn gather(&self, payload: &Value) -> anyhow::Result<Value> {
        let request: Request =
            serde_json::from_value(payload.clone()).context("the job was written by this agent")?;
        let kept = records::of_incident(&self.postgres.pool, request.incident_id).await?;
        let known = gathered::Known {
            earlier: request.elsewhere.clone(),
            ..self.known(request.incident_id).await?
        };
        let mut facts = gathered::facts(&kept, &request.anomalies, known);
        self.add_knowledge(&request, &mut facts).await;
        Ok(serde_json::to_value(facts)?)
    }

    /// What correlation knows beyond the members.
    async fn known(&self, incident: Uuid) -> anyhow::Result<gathered::Known> {
        let context =
            midwatch_clients::postgres::incident::context(&self.postgres.pool, incident).await?;
        let Some(context) = context else {
            return Ok(gathered::Known::default());
        };
        gathered::Known::read(&context).context("the incident's context cannot be read")
    }

    async fn add_knowledge(&self, request: &Request, facts: &mut Facts) {
        let kind = request.anomaly_type.as_str();
        let lines: Vec<&str> = facts
            .logs
            .iter()
            .take(3)
            .map(|line| line.message.as_str())
            .collect();
        let query = format!("{}. {}", request.title, lines.join(". "));
        match self.knowledge.search_incidents(&query, Some(kind)).await {
            Ok(hits) => {
                facts.similar = hits
                    .iter()
                    .map(|hit| SimilarIncident {
                        incident_id: hit.incident_id.clone(),
                        title: word(&hit.record, "title"),
                        score: f64::from(hit.score),
                        root_cause: word(&hit.record, "root_cause"),
                        resolution: word(&hit.record, "resolution"),
                        mttr_minutes: hit.mttr_minutes,
                    })
                    .collect();
            }
            Err(error) => facts
                .gaps
                .push(format!("past incidents could not be searched: {error}")),
        }
        match self.knowledge.search_reviewed(&query).await {
            Ok(hits) => {
                let own = short_incident(request.incident_id);
                facts.precedents = hits.iter().filter_map(precedent).collect();
                facts.precedents.retain(|one| one.incident_id != own);
            }
            Err(error) => facts
                .gaps
                .push(format!("reviewed incidents could not be searched: {error}")),
        }
        match self.knowledge.search_runbooks(&query, Some(kind)).await {
            Ok(hits) => {
                for hit in hits {
                    let name = format!("{}#{}", hit.runbook_id, hit.section_title);
                    for cause in hit.causes.iter().take(CAUSES) {
                        let guides = &mut facts.guides;
                        // Sections come best first, and all of a runbook know
                        // the same causes.
                        if guides.len() < CAUSES && !guides.iter().any(|one| one.cause == *cause) {
                            guides.push(Guide {
                                document: name.clone(),
                                score: f64::from(hit.score),
                                cause: cause.clone(),
                            });
                        }
                    }
                    facts.runbooks.push((name, f64::from(hit.score)));
                }
            }
            Err(error) => facts
                .gaps
                .push(format!("runbooks could not be searched: {error}")),
        }
    }
}

/// A reviewed incident, if its cause was concluded then. Where a person stated
/// the cause in words, what the ranking had called it is no lesson.
fn precedent(hit: &IncidentHit) -> Option<Precedent> {
    let cause = word(&hit.record, "cause");
    let is_concluded = hit.record["concluded"].as_bool().unwrap_or(false);
    (!cause.is_empty() && is_concluded).then(|| Precedent {
        incident_id: hit.incident_id.clone(),
        service: hit.service.clone(),
        cause,
        score: f64::from(hit.score),
        reviewed: hit.origin == REVIEWED,
    })
}

fn word(record: &Value, name: &str) -> String {
    record[name].as_str().unwrap_or_default().to_owned()
}
