//! What the investigation remembers of one incident.

use super::facts::Facts;
use midwatch_events::incident::{
    GroupedAnomaly, IncidentHeader, IncidentOpened, MetricReading, RootCauseCandidate,
};
use midwatch_events::raw::RawDeployment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An incident under investigation; empty until it is opened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub case: Option<Case>,
}

/// An open incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub header: IncidentHeader,
    pub trigger: Trigger,
    pub deployment: Option<RawDeployment>,
    pub anomalies: Vec<GroupedAnomaly>,
    /// Gatherings asked for so far; names the jobs.
    pub gatherings: u32,
    /// A gathering or a model is at work.
    pub busy: bool,
    /// Something changed meanwhile: look again when it is done.
    pub look_again: Option<String>,
    /// Why the present look was started.
    pub reason: String,
    pub facts: Option<Facts>,
    /// Revisions published.
    pub revision: u32,
    pub candidates: Vec<RootCauseCandidate>,
    /// The candidates of the last revision that was published.
    pub published: Vec<RootCauseCandidate>,
    /// The answer of the last revision, as it was published.
    pub answer: String,
    /// The last update taken in.
    pub update: u32,
    pub watch: BTreeMap<String, Watched>,
    /// Event and wall time of the settling reading, once all is normal.
    pub recovered: Option<Recovery>,
    pub resolved: bool,
}

/// What the incident was opened on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    pub service: String,
    pub metric: String,
    pub observed_value: f64,
    pub baseline_value: f64,
}

/// One series that must be normal before the incident is over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    pub service: String,
    pub metric: String,
    /// Event time of the last transition taken in.
    pub last_ms: i64,
    /// Set while it is normal.
    pub normal: Option<Normal>,
}

/// How a series became normal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normal {
    pub at_ms: i64,
    pub wall_ms: i64,
    /// The consecutive normal readings, oldest first.
    pub readings: Vec<MetricReading>,
}

/// The end of the trouble, before it is announced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    pub at_ms: i64,
    pub wall_ms: i64,
    pub readings: Vec<MetricReading>,
}

/// The channel of a series' anomalies.
#[must_use]
pub fn channel(environment: &str, service: &str, metric: &str) -> String {
    format!("{environment}|{service}|{metric}")
}

impl Case {
    /// The case of an incident that was just opened.
    #[must_use]
    pub fn open(opened: &IncidentOpened) -> Case {
        // The reference names the service in the header; the trigger's service
        // is the one whose grouped anomaly carries the trigger metric.
        let service = opened
            .grouped_anomalies
            .iter()
            .find(|anomaly| {
                anomaly.trigger_metric == opened.trigger_metric
                    && anomaly.service == opened.header.primary_service()
            })
            .or_else(|| {
                opened
                    .grouped_anomalies
                    .iter()
                    .find(|anomaly| anomaly.trigger_metric == opened.trigger_metric)
            })
            .map_or_else(
                || opened.header.primary_service().to_owned(),
                |anomaly| anomaly.service.clone(),
            );
        Case {
            header: opened.header.clone(),
            trigger: Trigger {
                service,
                metric: opened.trigger_metric.clone(),
                observed_value: opened.observed_value,
                baseline_value: opened.baseline_value,
            },
            deployment: opened.deployment_context.clone(),
            anomalies: opened.grouped_anomalies.clone(),
            gatherings: 0,
            busy: false,
            look_again: None,
            reason: "the incident was opened".to_owned(),
            facts: None,
            revision: 0,
            candidates: Vec::new(),
            published: Vec::new(),
            answer: String::new(),
            update: 0,
            watch: BTreeMap::new(),
            recovered: None,
            resolved: false,
        }
    }
}
