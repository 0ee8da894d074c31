//! What lies around an anomaly, from the context table and recent readings.

use crate::config::Config;
use crate::decide::state::{Began, Surroundings};
use crate::onset;
use crate::table::ContextTable;
use midwatch_events::Anomaly;
use midwatch_events::incident::{LogExcerpt, MetricReading};
use midwatch_events::knowledge::Catalogue;
use serde_json::Value;
use std::collections::BTreeMap;

/// Readings of a metric that are looked at: twenty minutes at one in ten
/// seconds, so that the beginning of a slow change is among them.
pub const READINGS: usize = 120;
/// Readings that go into the announcement.
const SHOWN: usize = 30;
/// The request rate is the mean of so many readings.
const RATES: usize = 30;
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
    let topology = table.graph(environment, &catalogue.topology());
    let readings = recent_metrics(anomaly, &recent.readings);
    let began = began(anomaly, &readings);
    let shown = readings.len().saturating_sub(SHOWN);
    let known = catalogue.get(topology.service_of(&anomaly.service));
    let criticality = known
        .filter(|entry| !entry.criticality.is_empty())
        .map(|entry| (anomaly.service.clone(), entry.criticality.clone()));
    let (onset, now) = (anomaly.onset_ms, anomaly.detected_at_ms);
    Surroundings {
        criticality: criticality.into_iter().collect(),
        onset: began,
        load: load(anomaly, &recent.rates),
        deployments: table.deployments(environment, onset - config.deployment_window_ms, now),
        kubernetes: table.kubernetes(environment, onset - KUBERNETES_MS, now),
        recent_metrics: readings[shown..].to_vec(),
        recent_errors: recent_errors(anomaly, &recent.lines),
        request_rates: request_rate(anomaly, &recent.rates),
        topology,
    }
}

/// When the series began to change, from its readings up to the detection. The
/// estimate may only be earlier than the first reading out of range; a change
/// that the readings do not show is left to detection's word. Readings are kept
/// a moment after they were judged, so those that the anomaly quotes count too.
fn began(anomaly: &Anomaly, readings: &[MetricReading]) -> Option<Began> {
    if anomaly.trigger_metric.contains(':') {
        return None;
    }
    let quoted = anomaly
        .evidence
        .iter()
        .filter_map(|one| Some((one.at_ms, one.value?)));
    let mut points: BTreeMap<i64, f64> = quoted.collect();
    points.insert(anomaly.detected_at_ms, anomaly.observed_value);
    points.extend(
        readings
            .iter()
            .map(|reading| (reading.at_ms, reading.value)),
    );
    points.retain(|at_ms, _| *at_ms <= anomaly.detected_at_ms);
    let points: Vec<(i64, f64)> = points.into_iter().collect();
    let found = onset::estimate(&points, anomaly.detected_at_ms)?;
    let crossed_ms = anomaly.onset_ms;
    let at_ms = found.at_ms.min(crossed_ms);
    Some(Began {
        at_ms,
        earliest_ms: found.earliest_ms.min(at_ms),
        latest_ms: found.latest_ms.min(crossed_ms).max(at_ms),
        crossed_ms,
    })
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

/// By what the requests have multiplied: the larger one of the two latest
/// readings up to the detection (a burst is there at once, and its first reading
/// may be the one that was detected) against the median of the oldest thirty,
/// where there are at least five between.
fn load(anomaly: &Anomaly, rates: &[Value]) -> Option<f64> {
    let known = rates.iter().filter(|member| {
        member[0]
            .as_i64()
            .is_some_and(|at| at <= anomaly.detected_at_ms)
    });
    let values: Vec<f64> = known.filter_map(|member| member[1].as_f64()).collect();
    if values.len() < RATES + 5 {
        return None;
    }
    let mut oldest = values[..RATES].to_vec();
    oldest.sort_by(f64::total_cmp);
    let before = oldest[RATES / 2];
    let latest = values[values.len() - 2..].iter().copied();
    (before > 0.0).then(|| latest.fold(0.0, f64::max) / before)
}

fn request_rate(anomaly: &Anomaly, rates: &[Value]) -> BTreeMap<String, f64> {
    let rates: Vec<f64> = rates
        .iter()
        .filter(|member| member[0].as_i64().is_some_and(|at| at < anomaly.onset_ms))
        .filter_map(|member| member[1].as_f64())
        .collect();
    let rates = &rates[rates.len().saturating_sub(RATES)..];
    if rates.is_empty() {
        return BTreeMap::new();
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 30 readings")]
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    BTreeMap::from([(anomaly.service.clone(), mean)])
}
