//! What an investigation works on: the facts, with the id of each record.

use super::knowledge::{Guide, Precedent};
use crate::rca::{Answer, Weighed};
use midwatch_events::incident::{GroupedAnomaly, SimilarIncident};
use midwatch_events::raw::RawDeployment;
use midwatch_events::topology::{Call, Topology};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What there was no record of is told in so many lines at most, each with so
/// many names: a page is read at a glance.
const MISSED: usize = 8;
const NAMES: usize = 5;

/// Everything that was gathered about an incident, small enough to be
/// journalled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// One per series of an affected or neighbouring service.
    pub series: Vec<SeriesFact>,
    /// Log lines at WARN or above around the onset, by template.
    pub logs: Vec<LogFact>,
    pub deployments: Vec<DeploymentFact>,
    pub kubernetes: Vec<KubernetesFact>,
    pub similar: Vec<SimilarIncident>,
    /// `runbook#section` with its similarity.
    pub runbooks: Vec<(String, f64)>,
    /// The calls that correlation believes in, with how and when each was seen.
    pub edges: Vec<Call>,
    /// Services whose trouble correlation holds in another incident, with its
    /// short id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub elsewhere: BTreeMap<String, String>,
    /// What could not be read, in words.
    pub gaps: Vec<String>,
    /// What the investigator found in the records; absent where none could be
    /// read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// What that answer was weighed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighed: Option<Weighed>,
    /// Reviewed incidents that resemble this one, whatever their type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub precedents: Vec<Precedent>,
    /// Causes that the runbooks know which were found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guides: Vec<Guide>,
}

/// What the knowledge store found for an incident: with it a replay, which asks
/// no store, ranks as was ranked then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Known {
    pub similar: Vec<SimilarIncident>,
    pub precedents: Vec<Precedent>,
    pub guides: Vec<Guide>,
}

/// One series before and since the onset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeriesFact {
    pub service: String,
    pub metric: String,
    /// Mean of the readings before the onset.
    pub before: f64,
    /// The reading farthest from it since.
    pub extreme: f64,
    /// The record of that reading.
    pub record_id: String,
    pub at_ms: i64,
    /// Readings before and since.
    pub counts: (u32, u32),
}

/// Equal lines (numbers aside) of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogFact {
    pub service: String,
    pub level: String,
    /// The first such line, as it was.
    pub message: String,
    pub count: u32,
    pub record_id: String,
    pub at_ms: i64,
    /// Services of the incident that the line names besides its own.
    pub names: Vec<String>,
}

/// A deployment before or during the incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeploymentFact {
    pub deployment: RawDeployment,
    pub record_id: String,
}

/// A Kubernetes event of the incident's window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KubernetesFact {
    pub service: String,
    pub event_kind: String,
    pub object: String,
    pub text: String,
    pub critical: bool,
    pub record_id: String,
    pub at_ms: i64,
}

impl Facts {
    /// What could not be looked at: reads that failed, then what there was no
    /// record of. An alert on what is counted, as `log:…`, has no series that
    /// could be missing.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        let mut missed = self.gaps.clone();
        let gaps = self.answer.iter().flat_map(|answer| &answer.gaps);
        let gaps = gaps.filter(|gap| !is_of_counted(gap)).take(MISSED);
        missed.extend(gaps.map(|gap| shortened(gap)));
        let mut seen = BTreeSet::new();
        missed.retain(|gap| seen.insert(gap.clone()));
        missed
    }

    /// The graph that the facts hold.
    #[must_use]
    pub fn topology(&self) -> Topology {
        Topology::of(&self.edges)
    }
}

fn is_of_counted(gap: &str) -> bool {
    let metric = gap.split(' ').next().unwrap_or_default();
    gap.contains(" was not recorded") && metric.contains(':')
}

/// The first names of a long list, and how many more there are.
fn shortened(gap: &str) -> String {
    let names: Vec<&str> = gap.split(", ").collect();
    match names.get(..NAMES) {
        Some(first) if names.len() > NAMES + 1 => {
            format!("{} and {} more", first.join(", "), names.len() - NAMES)
        }
        _ => gap.to_owned(),
    }
}

/// What a service shows, from the incident's anomalies.
#[must_use]
pub fn onset_of(anomalies: &[GroupedAnomaly], service: &str) -> Option<i64> {
    anomalies
        .iter()
        .filter(|anomaly| anomaly.service == service)
        .map(|anomaly| anomaly.onset_ms)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use midwatch_events::incident::Verdict;

    #[test]
    fn what_could_not_be_looked_at_is_told_once_and_in_short() {
        let of = |gaps: &[&str]| gaps.iter().map(|gap| (*gap).to_owned()).collect();
        let answer = Answer {
            ranking: Vec::new(),
            verdict: Verdict::Inconclusive,
            candidates: Vec::new(),
            gaps: of(&[
                "no spans were recorded",
                "kubernetes:oom_killed of cart was not recorded",
                "latency_p99_ms of cart was not recorded",
                "no metrics of a, b, c, d, e, f, g, h",
                "the runbooks could not be searched",
            ]),
        };
        let mut facts = Facts {
            gaps: of(&["the runbooks could not be searched"]),
            answer: Some(answer),
            ..Facts::default()
        };
        assert_eq!(
            facts.missed(),
            [
                "the runbooks could not be searched",
                "no spans were recorded",
                "latency_p99_ms of cart was not recorded",
                "no metrics of a, b, c, d, e and 3 more",
            ]
        );
        if let Some(answer) = &mut facts.answer {
            answer.gaps = (0..100).map(|index| format!("gap {index}")).collect();
        }
        assert_eq!(facts.missed().len(), 1 + MISSED);
        facts.answer = None;
        assert_eq!(facts.missed(), facts.gaps);
    }
}
