//! What lies around an anomaly, read in milliseconds.

use super::Correlation;
use crate::decide::state::Surroundings;
use fred::interfaces::SortedSetsInterface;
use midwatch_events::Anomaly;
use midwatch_events::incident::{LogExcerpt, MetricReading};
use serde_json::Value;
use std::collections::BTreeMap;

/// Readings of the metric that go into the announcement.
const READINGS: i64 = 30;
/// Log lines that go into the announcement.
const LINES: usize = 8;
/// Kubernetes events are near in time up to here.
const KUBERNETES_MS: i64 = 15 * 60_000;

impl Correlation {
    /// Reads everything around an anomaly. Redis being away costs the recent
    /// readings, not the incident: it is counted and logged.
    pub(super) async fn surroundings(&self, anomaly: &Anomaly) -> Surroundings {
        let environment = &anomaly.environment;
        let mut topology = self.catalogue.topology();
        topology.merge(&self.table.edges(environment));
        let window = self.core.config.deployment_window_ms;
        let (onset, now) = (anomaly.onset_ms, anomaly.detected_at_ms);
        Surroundings {
            topology,
            deployments: self.table.deployments(environment, onset - window, now),
            kubernetes: self
                .table
                .kubernetes(environment, onset - KUBERNETES_MS, now),
            recent_metrics: self.recent_metrics(anomaly).await,
            recent_errors: self.recent_errors(anomaly).await,
            request_rates: self.request_rate(anomaly).await,
        }
    }

    /// The newest `count` members of a sorted set, oldest first.
    pub(super) async fn newest(&self, key: &str, count: i64) -> Vec<Value> {
        let read: Result<Vec<String>, _> = self.redis.zrevrange(key, 0, count - 1, false).await;
        match read {
            Ok(members) => members
                .iter()
                .rev()
                .filter_map(|member| serde_json::from_str(member).ok())
                .collect(),
            Err(error) => {
                metrics::counter!("midwatch_correlation_redis_failures_total").increment(1);
                tracing::warn!(%error, key, "recent readings cannot be read");
                Vec::new()
            }
        }
    }

    async fn recent_metrics(&self, anomaly: &Anomaly) -> Vec<MetricReading> {
        let key = format!(
            "midwatch:recent:{}:{}:{}",
            anomaly.environment, anomaly.service, anomaly.trigger_metric
        );
        self.newest(&key, READINGS)
            .await
            .iter()
            .filter_map(|member| {
                Some(MetricReading {
                    service: anomaly.service.clone(),
                    metric_name: anomaly.trigger_metric.clone(),
                    at_ms: member[0].as_i64()?,
                    value: member[1].as_f64()?,
                })
            })
            .collect()
    }

    async fn recent_errors(&self, anomaly: &Anomaly) -> Vec<LogExcerpt> {
        let key = format!("midwatch:logs:{}:{}", anomaly.environment, anomaly.service);
        let earliest = anomaly.onset_ms - 120_000;
        let lines: Vec<LogExcerpt> = self
            .newest(&key, 200)
            .await
            .iter()
            .filter_map(|member| {
                Some(LogExcerpt {
                    service: anomaly.service.clone(),
                    at_ms: member["timestamp_ms"].as_i64()?,
                    level: member["level"].as_str()?.to_owned(),
                    message: member["message"].as_str()?.chars().take(500).collect(),
                })
            })
            .filter(|line| line.at_ms >= earliest)
            .filter(|line| matches!(line.level.as_str(), "WARN" | "ERROR" | "FATAL"))
            .collect();
        let skip = lines.len().saturating_sub(LINES);
        lines.into_iter().skip(skip).collect()
    }

    async fn request_rate(&self, anomaly: &Anomaly) -> BTreeMap<String, f64> {
        let key = format!(
            "midwatch:recent:{}:{}:service_request_rate",
            anomaly.environment, anomaly.service
        );
        let rates: Vec<f64> = self
            .newest(&key, READINGS)
            .await
            .iter()
            .filter(|member| member[0].as_i64().is_some_and(|at| at < anomaly.onset_ms))
            .filter_map(|member| member[1].as_f64())
            .collect();
        if rates.is_empty() {
            return BTreeMap::new();
        }
        #[expect(clippy::cast_precision_loss, reason = "at most 30 readings")]
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        BTreeMap::from([(anomaly.service.clone(), mean)])
    }
}
