//! What is known of the surroundings of an anomaly or a group.

use super::state::Began;
use midwatch_events::incident::{LogExcerpt, MetricReading};
use midwatch_events::raw::{RawDeployment, RawKubernetes};
use midwatch_events::topology::Topology;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// `P0`, `P1`, … per service, where the catalogue says so.
    #[serde(default)]
    pub criticality: BTreeMap<String, String>,
    /// When the anomaly's series really began to change, where its readings
    /// tell.
    #[serde(default)]
    pub onset: Option<Began>,
    /// By what the requests to the anomaly's service have multiplied within
    /// twenty minutes, where they are known.
    #[serde(default)]
    pub load: Option<f64>,
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
