//! What the investigation remembers of one incident.

use super::facts::Facts;
use midwatch_events::incident::{
    Declared, GroupedAnomaly, IncidentHeader, IncidentOpened, MetricReading, RootCauseCandidate,
    Verdict,
};
use midwatch_events::more::{Beyond, More};
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
    #[serde(with = "midwatch_events::more::stored")]
    pub anomalies: Vec<GroupedAnomaly>,
    /// Anomalies of which only a number is known.
    #[serde(default)]
    pub beyond: Beyond,
    /// Gatherings asked for so far; names the jobs.
    pub gatherings: u32,
    /// What the present look waits for.
    #[serde(default)]
    pub at_work: Option<Work>,
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
    /// The verdict of that revision.
    #[serde(default)]
    pub verdict: Option<Verdict>,
    /// The answer of the last revision, as it was published.
    pub answer: String,
    /// The next look ends in a revision, whatever it finds.
    #[serde(default)]
    pub must_publish: bool,
    /// The last update taken in.
    pub update: u32,
    pub watch: BTreeMap<String, Watched>,
    /// What the audit trail last said that the end waits for.
    #[serde(default)]
    pub waiting_for: Vec<String>,
    /// Which waits before the end were begun or are over.
    #[serde(default)]
    pub waits: Waits,
    /// Steps of the plan that were carried out since the incident (re)opened,
    /// by plan and step.
    #[serde(default)]
    pub steps: BTreeMap<String, Step>,
    /// Wall-clock time of the first acknowledgement.
    #[serde(default)]
    pub acknowledged_ms: Option<i64>,
    pub resolved: bool,
    /// A person declared it: no reading opened it, so none ends it.
    #[serde(default)]
    pub declared: Option<Declared>,
}

/// Slow work that a look waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// The records are being read.
    Records,
    /// The model is at work.
    Advice,
}

/// Bounded waits between the recovery and its announcement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Waits {
    /// For a signal without readings that still gets worse.
    pub signals: Wait,
    /// For the verification of a step that was carried out.
    pub verification: Wait,
}

/// How far a wait is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wait {
    #[default]
    NotBegun,
    Begun,
    Over,
}

/// What is known of a step that remediation carries out. Times are event time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When it was begun.
    pub begun_ms: i64,
    /// Whether it helped, once that was looked at.
    pub improved: Option<bool>,
    /// How long its effect may take; 0 where that is not known.
    #[serde(default)]
    pub within_ms: i64,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normal: Option<Normal>,
    /// It stopped reporting: neither normal nor abnormal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
    /// It is no longer expected to report.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// Event time at which it last broke out or got worse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worse_ms: Option<i64>,
}

/// How a series became normal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normal {
    pub at_ms: i64,
    pub wall_ms: i64,
    /// The consecutive normal readings, oldest first.
    pub readings: Vec<MetricReading>,
    /// It did not come back: its level was accepted as the usual one.
    #[serde(default)]
    pub accepted: bool,
}

/// The end of the trouble, before it is announced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    pub at_ms: i64,
    pub wall_ms: i64,
    /// Those of the trigger.
    pub readings: Vec<MetricReading>,
    /// How the trigger became normal, in one sentence.
    pub words: String,
}

impl Trigger {
    /// Whether `service` and `metric` are the trigger's.
    #[must_use]
    pub fn is(&self, service: &str, metric: &str) -> bool {
        self.service == service && self.metric == metric
    }
}

/// Whether a trigger has readings; log rules, Kubernetes events and objectives
/// (`log:…`, `kubernetes:…`, `slo:…`) have none.
#[must_use]
pub fn has_readings(metric: &str) -> bool {
    !metric.contains(':')
}

/// The channel of a series' anomalies.
#[must_use]
pub fn channel(environment: &str, service: &str, metric: &str) -> String {
    format!("{environment}|{service}|{metric}")
}

/// What is told of the anomalies beyond those that are named.
#[must_use]
pub fn beyond(more: Option<&More>) -> Beyond {
    more.map(|more| more.beyond).unwrap_or_default()
}

impl Case {
    /// The case of an incident that was just opened.
    #[must_use]
    pub fn open(opened: &IncidentOpened) -> Case {
        // The reference names the service in the header; the trigger's service
        // is the one whose grouped anomaly carries the trigger metric.
        let members = opened.all_anomalies();
        let service = members
            .iter()
            .find(|anomaly| {
                anomaly.trigger_metric == opened.trigger_metric
                    && anomaly.service == opened.header.primary_service()
            })
            .or_else(|| {
                members
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
            anomalies: opened.all_anomalies(),
            beyond: beyond(opened.more_anomalies.as_deref()),
            gatherings: 0,
            at_work: None,
            look_again: None,
            reason: "the incident was opened".to_owned(),
            facts: None,
            revision: 0,
            candidates: Vec::new(),
            published: Vec::new(),
            verdict: None,
            answer: String::new(),
            must_publish: false,
            update: 0,
            watch: BTreeMap::new(),
            waiting_for: Vec::new(),
            waits: Waits::default(),
            steps: BTreeMap::new(),
            acknowledged_ms: None,
            resolved: false,
            declared: opened.declared.clone(),
        }
    }
}
