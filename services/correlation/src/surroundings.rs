//! What lies around an anomaly, from the context table and recent readings.

use crate::config::Config;
use crate::decide::state::Surroundings;
use crate::table::ContextTable;
use midwatch_events::Anomaly;
use midwatch_events::incident::{LogExcerpt, MetricReading};
use midwatch_events::knowledge::Catalogue;
use serde_json::Value;
use std::collections::BTreeMap;

/// Readings of a metric that are looked at.
pub const READINGS: usize = 30;
/// Log lines that are looked at.
pub const LINES_READ: usize = 200;
/// The metric whose mean before the onset is the request rate.
pub const REQUEST_RATE: &str = "service_request_rate";
/// Log lines that go into the announcement.
const LINES: usize = 8;
/// Kubernetes events are near in time up to here.
const KUBERNETES_MS: i64 = 15 * 60_000;

/// What detection keeps of the anomaly's service, as it wrote it, each oldest
/// first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recent {
    /// The newest [`READINGS`] of the anomaly's metric.
    pub readings: Vec<Value>,
    /// The newest [`LINES_READ`] log lines.
    pub lines: Vec<Value>,
    /// The newest [`READINGS`] of [`REQUEST_RATE`].
    pub rates: Vec<Value>,
}

/// Everything around an anomaly.
#[must_use]
pub fn around(
    config: &Config,
    catalogue: &Catalogue,
    table: &ContextTable,
    anomaly: &Anomaly,
    recent: &Recent,
) -> Surroundings {
    let environment = &anomaly.environment;
    let mut topology = catalogue.topology();
    topology.merge(&table.edges(environment));
    let (onset, now) = (anomaly.onset_ms, anomaly.detected_at_ms);
    Surroundings {
        topology,
        deployments: table.deployments(environment, onset - config.deployment_window_ms, now),
        kubernetes: table.kubernetes(environment, onset - KUBERNETES_MS, now),
        recent_metrics: recent_metrics(anomaly, &recent.readings),
        recent_errors: recent_errors(anomaly, &recent.lines),
        request_rates: request_rate(anomaly, &recent.rates),
    }
}

fn recent_metrics(anomaly: &Anomaly, readings: &[Value]) -> Vec<MetricReading> {
    readings
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

fn recent_errors(anomaly: &Anomaly, lines: &[Value]) -> Vec<LogExcerpt> {
    let earliest = anomaly.onset_ms - 120_000;
    let lines: Vec<LogExcerpt> = lines
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

fn request_rate(anomaly: &Anomaly, rates: &[Value]) -> BTreeMap<String, f64> {
    let rates: Vec<f64> = rates
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
