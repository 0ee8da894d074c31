//! Copying the records of an incident's window.

use super::Correlation;
use crate::records::{Text, Window, answer};
use anyhow::Context as _;
use fred::interfaces::{SetsInterface, SortedSetsInterface};
use midwatch_clients::postgres::{KeptRecord, llm, records};
use midwatch_runtime::JobError;
use serde_json::Value;

/// Records written in one statement.
const BATCH: usize = 2_000;

impl Correlation {
    /// Copies what is known about the window into `incident_records`. Copying
    /// again adds only what is new, because a record's id is its content.
    pub(super) async fn copy_records(&self, payload: &Value) -> Result<Value, JobError> {
        let window: Window = serde_json::from_value(payload.clone())
            .context("the job was written by this agent")
            .map_err(JobError::Permanent)?;
        let mut kept = window.anomaly_records();
        kept.extend(window.change_records(&self.table, self.core.config.deployment_window_ms));
        for service in &window.services {
            kept.extend(self.metric_records(&window, service).await?);
            kept.extend(self.text_records(&window, service, Text::Log).await?);
            kept.extend(self.text_records(&window, service, Text::Span).await?);
        }
        let known = records::ids_of(&self.postgres.pool, window.incident_id)
            .await
            .map_err(anyhow::Error::from)?;
        let found = answer(&window, &kept);
        let chosen = window.choose(kept, &known.into_iter().collect());
        let mut tx = self.postgres.begin().await.map_err(anyhow::Error::from)?;
        for batch in chosen.kept.chunks(BATCH) {
            records::keep(&mut tx, window.incident_id, batch)
                .await
                .map_err(anyhow::Error::from)?;
        }
        // What a model was asked of its anomalies before it opened is its cost, too.
        llm::tie(&mut tx, window.incident_id, &window.classifications())
            .await
            .map_err(anyhow::Error::from)?;
        tx.commit().await.map_err(anyhow::Error::from)?;
        Ok(chosen.answer(found))
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
            let readings = self.since(&key, window.from_ms).await?;
            kept.extend(window.metric_records(service, metric, &readings));
        }
        Ok(kept)
    }

    async fn text_records(
        &self,
        window: &Window,
        service: &str,
        what: Text,
    ) -> anyhow::Result<Vec<KeptRecord>> {
        let key = format!("midwatch:{}s:{}:{service}", what.kind(), window.environment);
        let members = self.since(&key, window.from_ms).await?;
        Ok(window.text_records(service, what, &members))
    }
}
