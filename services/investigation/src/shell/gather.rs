//! Gathering the facts of an incident.

use super::Investigation;
use super::templates::{named_services, template};
use crate::decide::facts::{DeploymentFact, Facts, KubernetesFact, LogFact, SeriesFact};
use anyhow::Context as _;
use midwatch_clients::postgres::{KeptRecord, records};
use midwatch_events::anomaly::AnomalyType;
use midwatch_events::incident::{GroupedAnomaly, SimilarIncident};
use midwatch_events::topology::EdgeSource;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Deserialize)]
struct Request {
    incident_id: Uuid,
    anomaly_type: AnomalyType,
    title: String,
    anomalies: Vec<GroupedAnomaly>,
}

/// Log templates that are kept; the most frequent ones.
const LOG_LIMIT: usize = 40;
/// Lines this long before the onset still count: the first complaint often
/// comes before the first reading.
const LOG_BEFORE_MS: i64 = 60_000;

impl Investigation {
    /// Reads records and knowledge. What cannot be read becomes a gap that the
    /// audit trail names; only the records themselves are worth another try.
    pub(super) async fn gather(&self, payload: &Value) -> anyhow::Result<Value> {
        let request: Request =
            serde_json::from_value(payload.clone()).context("the job was written by this agent")?;
        let kept = records::of_incident(&self.postgres.pool, request.incident_id).await?;
        let onset = request
            .anomalies
            .iter()
            .map(|anomaly| anomaly.onset_ms)
            .min()
            .unwrap_or(0);
        let mut facts = Facts {
            series: series(&kept, onset),
            logs: logs(&kept, onset),
            deployments: deployments(&kept),
            kubernetes: kubernetes(&kept),
            edges: self.edges(request.incident_id).await?,
            ..Facts::default()
        };
        self.add_knowledge(&request, &mut facts).await;
        Ok(serde_json::to_value(facts)?)
    }

    /// The graph as correlation saw it.
    async fn edges(
        &self,
        incident: Uuid,
    ) -> anyhow::Result<Vec<(String, String, Vec<EdgeSource>)>> {
        let context =
            midwatch_clients::postgres::incident::context(&self.postgres.pool, incident).await?;
        let edges = context.map(|context| context["topology"]["edges"].clone());
        Ok(edges
            .and_then(|edges| serde_json::from_value(edges).ok())
            .unwrap_or_default())
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
        match self.knowledge.search_runbooks(&query, Some(kind)).await {
            Ok(hits) => {
                for hit in hits {
                    let name = format!("{}#{}", hit.runbook_id, hit.section_title);
                    facts.runbooks.push((name, f64::from(hit.score)));
                }
            }
            Err(error) => facts
                .gaps
                .push(format!("runbooks could not be searched: {error}")),
        }
    }
}

fn word(record: &Value, name: &str) -> String {
    record[name].as_str().unwrap_or_default().to_owned()
}

fn series(kept: &[KeptRecord], onset: i64) -> Vec<SeriesFact> {
    let mut by_series: BTreeMap<(&str, &str), Vec<&KeptRecord>> = BTreeMap::new();
    for record in kept.iter().filter(|record| record.kind == "metric") {
        let key = (record.service.as_str(), record.name.as_str());
        by_series.entry(key).or_default().push(record);
    }
    by_series
        .into_iter()
        .filter_map(|((service, metric), readings)| {
            let (before, since): (Vec<&KeptRecord>, Vec<&KeptRecord>) = readings
                .into_iter()
                .partition(|record| record.at_ms < onset);
            let values: Vec<f64> = before.iter().filter_map(|record| record.value).collect();
            if values.is_empty() {
                return None;
            }
            #[expect(clippy::cast_precision_loss, reason = "some hundred readings")]
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let distance = |record: &&KeptRecord| (record.value.unwrap_or(mean) - mean).abs();
            let extreme = since
                .iter()
                .max_by(|one, other| distance(one).total_cmp(&distance(other)))?;
            Some(SeriesFact {
                service: service.to_owned(),
                metric: metric.to_owned(),
                before: mean,
                extreme: extreme.value.unwrap_or(mean),
                record_id: extreme.record_id.clone(),
                at_ms: extreme.at_ms,
                counts: (count(before.len()), count(since.len())),
            })
        })
        .collect()
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn logs(kept: &[KeptRecord], onset: i64) -> Vec<LogFact> {
    let mut services: Vec<String> = kept.iter().map(|record| record.service.clone()).collect();
    services.sort();
    services.dedup();
    let mut by_template: BTreeMap<(String, String), LogFact> = BTreeMap::new();
    let complaints = kept.iter().filter(|record| {
        record.kind == "log"
            && record.at_ms >= onset - LOG_BEFORE_MS
            && matches!(record.name.as_str(), "WARN" | "ERROR" | "FATAL")
    });
    for record in complaints {
        by_template
            .entry((record.service.clone(), template(&record.text)))
            .and_modify(|line| line.count += 1)
            .or_insert_with(|| LogFact {
                service: record.service.clone(),
                level: record.name.clone(),
                message: record.text.chars().take(400).collect(),
                count: 1,
                record_id: record.record_id.clone(),
                at_ms: record.at_ms,
                names: named_services(&record.text, &record.service, &services),
            });
    }
    let mut lines: Vec<LogFact> = by_template.into_values().collect();
    lines.sort_by(|one, other| {
        other
            .count
            .cmp(&one.count)
            .then(one.at_ms.cmp(&other.at_ms))
            .then_with(|| one.record_id.cmp(&other.record_id))
    });
    lines.truncate(LOG_LIMIT);
    lines
}

fn deployments(kept: &[KeptRecord]) -> Vec<DeploymentFact> {
    kept.iter()
        .filter(|record| record.kind == "deployment")
        .filter_map(|record| {
            Some(DeploymentFact {
                deployment: serde_json::from_value(record.payload.clone()).ok()?,
                record_id: record.record_id.clone(),
            })
        })
        .collect()
}

fn kubernetes(kept: &[KeptRecord]) -> Vec<KubernetesFact> {
    kept.iter()
        .filter(|record| record.kind == "kubernetes")
        .map(|record| KubernetesFact {
            service: record.service.clone(),
            event_kind: record.name.clone(),
            object: format!(
                "{}/{}",
                word(&record.payload, "namespace"),
                word(&record.payload, "name")
            ),
            text: record.text.clone(),
            critical: record.payload["critical"].as_bool().unwrap_or(false),
            record_id: record.record_id.clone(),
            at_ms: record.at_ms,
        })
        .collect()
}
