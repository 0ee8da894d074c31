//! What correlation remembers of one environment.

use midwatch_events::anomaly::{Anomaly, AnomalyType, Severity, Transition};
use midwatch_events::incident::{GroupedAnomaly, LogExcerpt, MetricReading};
use midwatch_events::raw::{RawDeployment, RawKubernetes};
use midwatch_events::topology::Topology;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What the shell read for an anomaly: the surroundings that a decision needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Surroundings {
    /// Catalogue and spans together.
    pub topology: Topology,
    /// Of the whole environment, within the deployment window, oldest first.
    pub deployments: Vec<RawDeployment>,
    /// Of the last fifteen minutes, oldest first.
    pub kubernetes: Vec<RawKubernetes>,
    /// The last readings of the anomaly's metric.
    pub recent_metrics: Vec<MetricReading>,
    /// The last lines at WARN or above of the anomaly's service.
    pub recent_errors: Vec<LogExcerpt>,
    /// Mean request rate per service, requests per second, where recorded.
    pub request_rates: BTreeMap<String, f64>,
}

/// All incidents of one environment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub groups: BTreeMap<Uuid, Group>,
    /// Anomalies of incidents that are resolved, so that a late word about one
    /// opens nothing. Bounded; oldest out first.
    pub closed: Vec<(Uuid, Uuid)>,
}

/// How far the announcement of a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Waiting for company.
    Settling,
    /// Its records are being copied; the announcement follows.
    Copying,
    /// Announced.
    Open,
    /// Over; kept for a moment, until the last words about its anomalies are
    /// in.
    Resolved,
}

/// A set of anomalies that belong together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub incident_id: Uuid,
    pub environment: String,
    pub phase: Phase,
    /// Counts updates that were announced.
    pub revision: u32,
    /// Counts copies that were asked for; names the jobs.
    pub copies: u32,
    /// Changed since the last announcement, in words.
    pub pending: Vec<String>,
    pub pending_severity: bool,
    pub detected_at_ms: i64,
    pub detected_wall_ms: i64,
    /// The latest event time of any of its anomalies.
    pub last_ms: i64,
    pub severity: Severity,
    pub anomaly_type: AnomalyType,
    /// The service that it is named after.
    pub primary: String,
    pub trigger: Trigger,
    pub anomalies: Vec<GroupedAnomaly>,
    /// Anomalies beyond the limit of those listed.
    pub unlisted: u32,
    pub surroundings: Surroundings,
    /// What a model said about the impact, where one was asked.
    pub impact: Option<String>,
}

/// The anomaly that the incident stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    pub service: String,
    pub metric: String,
    pub observed_value: f64,
    pub baseline_value: f64,
    pub deviation_sigma: f64,
    pub anomaly_score: f64,
}

impl Trigger {
    /// The trigger that an anomaly would be.
    #[must_use]
    pub fn of(anomaly: &GroupedAnomaly, score: f64) -> Trigger {
        Trigger {
            service: anomaly.service.clone(),
            metric: anomaly.trigger_metric.clone(),
            observed_value: anomaly.observed_value,
            baseline_value: anomaly.baseline_value,
            deviation_sigma: anomaly.deviation_sigma,
            anomaly_score: score,
        }
    }
}

/// An anomaly as a member of a group.
#[must_use]
pub fn grouped(anomaly: &Anomaly, reason: String) -> GroupedAnomaly {
    GroupedAnomaly {
        anomaly_id: anomaly.anomaly_id,
        service: anomaly.service.clone(),
        trigger_metric: anomaly.trigger_metric.clone(),
        anomaly_type: anomaly.anomaly_type,
        severity: anomaly.severity,
        direction: anomaly.direction,
        observed_value: anomaly.observed_value,
        baseline_value: anomaly.baseline_value,
        deviation_sigma: anomaly.deviation_sigma,
        onset_ms: anomaly.onset_ms,
        detected_at_ms: anomaly.detected_at_ms,
        description: anomaly.description.clone(),
        reason,
        cleared_at_ms: (anomaly.transition == Transition::Cleared)
            .then_some(anomaly.detected_at_ms),
    }
}

/// Changes kept per group: an incident with more of them than this has other
/// troubles than a long list.
const CHANGES_LIMIT: usize = 100;

impl Surroundings {
    /// Adds changes that are not known yet.
    pub fn add_changes(&mut self, deployments: Vec<RawDeployment>, kubernetes: Vec<RawKubernetes>) {
        for deployment in deployments {
            if self.deployments.len() < CHANGES_LIMIT && !self.deployments.contains(&deployment) {
                self.deployments.push(deployment);
            }
        }
        for event in kubernetes {
            if self.kubernetes.len() < CHANGES_LIMIT && !self.kubernetes.contains(&event) {
                self.kubernetes.push(event);
            }
        }
        self.deployments
            .sort_by_key(|deployment| deployment.timestamp_ms);
        self.kubernetes.sort_by_key(|event| event.timestamp_ms);
    }
}

impl Group {
    /// Takes out a member that has cleared; whether there was one.
    pub fn take_if_cleared(&mut self, anomaly_id: Uuid) -> bool {
        let before = self.anomalies.len();
        self.anomalies
            .retain(|member| member.anomaly_id != anomaly_id || member.cleared_at_ms.is_none());
        self.anomalies.len() < before
    }
    /// The services with anomalies: the one that the incident is named after,
    /// then the others by onset.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        let mut by_onset: Vec<(i64, &str)> = self
            .anomalies
            .iter()
            .map(|anomaly| (anomaly.onset_ms, anomaly.service.as_str()))
            .collect();
        by_onset.sort_unstable();
        let mut seen = BTreeSet::from([self.primary.as_str()]);
        let mut services = vec![self.primary.clone()];
        for (_, service) in by_onset {
            if seen.insert(service) {
                services.push(service.to_owned());
            }
        }
        services
    }

    /// Whether any of its anomalies is still active.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.anomalies
            .iter()
            .any(|anomaly| anomaly.cleared_at_ms.is_none())
    }
}
