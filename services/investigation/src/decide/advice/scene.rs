//! What a submission is checked against.

use crate::decide::facts::Facts;
use midwatch_clients::llm::claims::Ground;
use midwatch_clients::llm::fence;
use midwatch_events::incident::{EvidenceKind, EvidenceRef, GroupedAnomaly, RootCauseCandidate};
use midwatch_events::topology::Call;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Characters of one text in a prompt, and so the most that can be quoted of it.
pub const TEXT_LIMIT: usize = 600;

/// The payload of the job.
#[derive(Clone, Debug, Deserialize)]
pub struct Request {
    pub incident_id: Uuid,
    pub title: String,
    pub severity: Value,
    pub services: Vec<String>,
    pub candidates: Vec<RootCauseCandidate>,
    pub anomalies: Vec<GroupedAnomaly>,
    #[serde(default)]
    pub trigger: Trigger,
    #[serde(default)]
    pub facts: Option<Facts>,
}

/// What the incident was opened on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    pub service: String,
    pub metric: String,
}

/// A record as a tool showed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    pub kind: EvidenceKind,
    pub service: String,
    /// Event time; 0 for documents. The onset of an anomaly.
    pub at_ms: i64,
    /// Metric and reading.
    pub readings: Vec<(String, f64)>,
    /// What code made of it, for example a description with numbers.
    pub text: String,
    /// What a monitored system or a document says, as it was shown.
    pub foreign: String,
}

impl Shown {
    /// A record of this kind without content.
    #[must_use]
    pub fn new(kind: EvidenceKind, service: &str, at_ms: i64) -> Shown {
        Shown {
            kind,
            service: service.to_owned(),
            at_ms,
            readings: Vec::new(),
            text: String::new(),
            foreign: String::new(),
        }
    }

    /// The record of an anomaly of the incident.
    #[must_use]
    pub fn anomaly(anomaly: &GroupedAnomaly) -> Shown {
        let metric = &anomaly.trigger_metric;
        let words = fence::untrusted(&anomaly.description, TEXT_LIMIT);
        // The description of a log pattern or a Kubernetes event quotes it.
        let (text, foreign) = if metric.contains(':') {
            (String::new(), words)
        } else {
            (words, String::new())
        };
        Shown {
            readings: vec![
                (metric.clone(), anomaly.observed_value),
                (metric.clone(), anomaly.baseline_value),
                (String::new(), anomaly.deviation_sigma),
            ],
            text,
            foreign,
            ..Shown::new(EvidenceKind::Anomaly, &anomaly.service, anomaly.onset_ms)
        }
    }

    /// A record that a candidate points at; its summary is what was shown of it.
    #[must_use]
    pub fn reference(record: &EvidenceRef) -> Shown {
        let words = fence::untrusted(&record.summary, TEXT_LIMIT);
        let mut shown = Shown::new(record.kind, &record.service, record.at_ms);
        if is_measured(record.kind) && record.kind != EvidenceKind::Deployment {
            shown.text = words;
        } else {
            shown.foreign = words;
        }
        shown
    }

    /// What may be said by it.
    pub fn add_to(&self, ground: &mut Ground) {
        for (metric, value) in &self.readings {
            if metric.is_empty() {
                ground.value(*value, None);
            } else {
                ground.reading(metric, *value);
            }
        }
        ground.text(&self.text);
        ground.foreign(&self.foreign);
    }
}

/// Whether a record of this kind says something by what it is, and not only by words that a
/// monitored system wrote.
#[must_use]
pub fn is_measured(kind: EvidenceKind) -> bool {
    match kind {
        EvidenceKind::Anomaly
        | EvidenceKind::Metric
        | EvidenceKind::Span
        | EvidenceKind::Deployment => true,
        EvidenceKind::Log
        | EvidenceKind::Kubernetes
        | EvidenceKind::Incident
        | EvidenceKind::Runbook
        | EvidenceKind::Topology => false,
    }
}

/// Times and names of the incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scene {
    /// The services of the incident and of its graph.
    pub services: BTreeSet<String>,
    pub metrics: BTreeSet<String>,
    /// The first onset of each service with anomalies.
    pub onsets: BTreeMap<String, i64>,
    /// The onset of what the incident was opened on.
    pub symptom_ms: Option<i64>,
    /// Two moments this close are one: the distance of two samples.
    pub sampling_ms: i64,
    /// The service of each anomaly of the incident.
    pub anomalies: BTreeMap<String, String>,
}

impl Scene {
    /// The scene of a request.
    #[must_use]
    pub fn of(request: &Request, sampling_ms: i64) -> Scene {
        let mut scene = Scene {
            sampling_ms,
            ..Scene::default()
        };
        scene.services.extend(request.services.iter().cloned());
        for candidate in &request.candidates {
            scene.services.insert(candidate.service.clone());
        }
        for anomaly in &request.anomalies {
            scene.services.insert(anomaly.service.clone());
            scene.metrics.insert(anomaly.trigger_metric.clone());
            let id = anomaly.anomaly_id.to_string();
            scene.anomalies.insert(id, anomaly.service.clone());
            let first = scene.onsets.entry(anomaly.service.clone());
            let first = first.or_insert(anomaly.onset_ms);
            *first = (*first).min(anomaly.onset_ms);
        }
        let on = |anomaly: &&GroupedAnomaly| {
            anomaly.service == request.trigger.service
                && anomaly.trigger_metric == request.trigger.metric
        };
        let opened_on = request.anomalies.iter().filter(on);
        scene.symptom_ms = opened_on
            .map(|anomaly| anomaly.onset_ms)
            .min()
            .or_else(|| request.anomalies.iter().map(|one| one.onset_ms).min());
        if let Some(facts) = &request.facts {
            for Call(caller, callee, _) in &facts.edges {
                scene.services.extend([caller.clone(), callee.clone()]);
            }
            for series in &facts.series {
                scene.services.insert(series.service.clone());
                scene.metrics.insert(series.metric.clone());
            }
        }
        scene
    }

    /// The services that a sentence names as whole words, in their order, with the bytes between
    /// which each stands. No two overlap: where one name stands within another, as `web` in
    /// `web.eu`, the longer one is meant.
    #[must_use]
    pub fn mentions<'a>(&'a self, text: &str) -> Vec<(usize, usize, &'a str)> {
        let part = |sign: char| sign.is_alphanumeric() || matches!(sign, '-' | '_');
        let mut found: Vec<(usize, usize, &str)> = Vec::new();
        for service in self.services.iter().filter(|service| !service.is_empty()) {
            for (start, _) in text.match_indices(service.as_str()) {
                let end = start + service.len();
                let before = text[..start].chars().next_back();
                let after = text[end..].chars().next();
                if !before.is_some_and(part) && !after.is_some_and(part) {
                    found.push((start, end, service));
                }
            }
        }
        found.sort_unstable_by_key(|(start, end, _)| (*start, std::cmp::Reverse(*end)));
        let mut free = 0;
        found.retain(|(start, end, _)| {
            let is_apart = *start >= free;
            if is_apart {
                free = *end;
            }
            is_apart
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_names_overlap_the_longer_one_is_meant() {
        let names = [
            "web",
            "web.eu",
            "db",
            "db/replica",
            "x1",
            "host/x1",
            "a.b",
            "b.c",
            "größe",
            "",
        ];
        let scene = Scene {
            services: names.into_iter().map(str::to_owned).collect(),
            ..Scene::default()
        };
        for (sentence, expected) in [
            ("web.eu is slow because of web", vec!["web.eu", "web"]),
            ("db/replica waits for db.", vec!["db/replica", "db"]),
            ("host/x1 and x1 fail", vec!["host/x1", "x1"]),
            // Neither holds the other: the first is taken as it stands.
            ("a.b.c is full", vec!["a.b"]),
            ("webs, my-web and web_2 are others", vec![]),
            ("größe/größe.web.eu", vec!["größe", "größe", "web.eu"]),
            ("", vec![]),
        ] {
            let found = scene.mentions(sentence);
            let told: Vec<&str> = found.iter().map(|one| one.2).collect();
            assert_eq!(told, expected, "{sentence:?}");
            for (start, end, name) in &found {
                assert_eq!(sentence.get(*start..*end), Some(*name));
            }
            assert!(found.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        }
    }
}
