//! Copying the records of an incident's window.

use super::Correlation;
use anyhow::Context as _;
use fred::interfaces::{SetsInterface, SortedSetsInterface};
use midwatch_clients::postgres::{KeptRecord, records};
use midwatch_events::ids;
use midwatch_events::incident::GroupedAnomaly;
use midwatch_runtime::JobError;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

#[derive(Deserialize)]
struct Window {
    incident_id: Uuid,
    environment: String,
    services: Vec<String>,
    from_ms: i64,
    anomalies: Vec<GroupedAnomaly>,
}

/// Records written in one statement.
const BATCH: usize = 2_000;
/// Records of one incident: enough for a hundred series over their window.
const LIMIT: usize = 20_000;

impl Correlation {
    /// Copies what is known about the window into `incident_records`. Copying
    /// again adds only what is new, because a record's id is its content.
    pub(super) async fn copy_records(&self, payload: &Value) -> Result<Value, JobError> {
        let window: Window = serde_json::from_value(payload.clone())
            .context("the job was written by this agent")
            .map_err(JobError::Permanent)?;
        let mut kept = self.anomaly_records(&window);
        kept.extend(self.change_records(&window));
        for service in &window.services {
            kept.extend(self.metric_records(&window, service).await?);
            kept.extend(self.text_records(&window, service, "log").await?);
            kept.extend(self.text_records(&window, service, "span").await?);
        }
        kept.truncate(LIMIT);
        let mut tx = self.postgres.begin().await.map_err(anyhow::Error::from)?;
        for batch in kept.chunks(BATCH) {
            records::keep(&mut tx, window.incident_id, batch)
                .await
                .map_err(anyhow::Error::from)?;
        }
        tx.commit().await.map_err(anyhow::Error::from)?;
        Ok(json!({"records": kept.len()}))
    }

    fn anomaly_records(&self, window: &Window) -> Vec<KeptRecord> {
        window
            .anomalies
            .iter()
            .map(|anomaly| KeptRecord {
                // The anomaly's own id: candidates cite it as it is.
                record_id: anomaly.anomaly_id.to_string(),
                kind: "anomaly".to_owned(),
                service: anomaly.service.clone(),
                name: anomaly.trigger_metric.clone(),
                at_ms: anomaly.onset_ms,
                value: Some(anomaly.observed_value),
                text: anomaly.description.clone(),
                payload: json!(anomaly),
            })
            .collect()
    }

    fn change_records(&self, window: &Window) -> Vec<KeptRecord> {
        let incident = window.incident_id;
        let hour = self.core.config.deployment_window_ms;
        let (from, environment) = (window.from_ms, &window.environment);
        let deployments = self.table.deployments(environment, from - hour, i64::MAX);
        let events = self.table.kubernetes(environment, from, i64::MAX);
        let concerns = |service: &str| window.services.iter().any(|known| known == service);
        let mut kept = Vec::new();
        for deployment in deployments.iter().filter(|event| concerns(&event.service)) {
            let at = deployment.timestamp_ms.to_string();
            let parts = [deployment.service.as_str(), &deployment.version, &at];
            kept.push(KeptRecord {
                record_id: ids::record(incident, "deployment", &parts),
                kind: "deployment".to_owned(),
                service: deployment.service.clone(),
                name: deployment.version.clone(),
                at_ms: deployment.timestamp_ms,
                value: None,
                text: deployment.description.clone(),
                payload: json!(deployment),
            });
        }
        for event in events.iter().filter(|event| concerns(event.service())) {
            let at = event.timestamp_ms.to_string();
            let parts = [event.namespace.as_str(), &event.name, &event.reason, &at];
            kept.push(KeptRecord {
                record_id: ids::record(incident, "kubernetes", &parts),
                kind: "kubernetes".to_owned(),
                service: event.service().to_owned(),
                name: event.event_kind.clone(),
                at_ms: event.timestamp_ms,
                value: None,
                text: format!("{}: {}", event.reason, event.message),
                payload: json!(event),
            });
        }
        kept
    }

    /// Members of a sorted set since a time, as JSON.
    async fn since(&self, key: &str, from_ms: i64) -> anyhow::Result<Vec<Value>> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "scores are epoch ms, below 2^53"
        )]
        let from = from_ms as f64;
        let members: Vec<String> = self
            .redis
            .zrangebyscore(key, from, f64::INFINITY, false, None)
            .await
            .with_context(|| format!("reading {key}"))?;
        Ok(members
            .iter()
            .filter_map(|member| serde_json::from_str(member).ok())
            .collect())
    }

    async fn metric_records(
        &self,
        window: &Window,
        service: &str,
    ) -> anyhow::Result<Vec<KeptRecord>> {
        let environment = &window.environment;
        let series: Vec<String> = self
            .redis
            .smembers(format!("midwatch:series:{environment}"))
            .await
            .context("reading the series of the environment")?;
        let prefix = format!("{service}\u{0}");
        let mut kept = Vec::new();
        for metric in series.iter().filter_map(|name| name.strip_prefix(&prefix)) {
            let key = format!("midwatch:recent:{environment}:{service}:{metric}");
            for member in self.since(&key, window.from_ms).await? {
                let (Some(at_ms), Some(value)) = (member[0].as_i64(), member[1].as_f64()) else {
                    continue;
                };
                let parts = [service, metric, &at_ms.to_string()];
                kept.push(KeptRecord {
                    record_id: ids::record(window.incident_id, "metric", &parts),
                    kind: "metric".to_owned(),
                    service: service.to_owned(),
                    name: metric.to_owned(),
                    at_ms,
                    value: Some(value),
                    text: String::new(),
                    payload: json!({"score": member[2], "expected": member[3],
                        "low": member[4], "high": member[5], "wall_ms": member[6],
                        "event_id": member[7]}),
                });
            }
        }
        Ok(kept)
    }

    async fn text_records(
        &self,
        window: &Window,
        service: &str,
        kind: &str,
    ) -> anyhow::Result<Vec<KeptRecord>> {
        let key = format!("midwatch:{kind}s:{}:{service}", window.environment);
        let mut kept = Vec::new();
        for member in self.since(&key, window.from_ms).await? {
            let time = if kind == "log" {
                "timestamp_ms"
            } else {
                "start_ms"
            };
            let Some(at_ms) = member[time].as_i64() else {
                continue;
            };
            let (name, text, value) = if kind == "log" {
                let level = member["level"].as_str().unwrap_or_default();
                let message = member["message"].as_str().unwrap_or_default();
                (level, message.to_owned(), None)
            } else {
                let operation = member["operation"].as_str().unwrap_or_default();
                let status = member["status"].as_str().unwrap_or_default();
                (operation, status.to_owned(), member["duration_ms"].as_f64())
            };
            let own = member["event_id"].as_str().or(member["span_id"].as_str());
            let parts = [service, &at_ms.to_string(), own.unwrap_or(&text)];
            kept.push(KeptRecord {
                record_id: ids::record(window.incident_id, kind, &parts),
                kind: kind.to_owned(),
                service: service.to_owned(),
                name: name.to_owned(),
                at_ms,
                value,
                text,
                payload: member.clone(),
            });
        }
        Ok(kept)
    }
}
