//! From an incident's records to the facts of the investigation.

use super::facts::{DeploymentFact, Facts, KubernetesFact, LogFact, SeriesFact};
use super::recorded;
use crate::rca::lines::template;
use crate::rca::{self, Answer, Weighed};
use midwatch_clients::postgres::KeptRecord;
use midwatch_events::incident::{GroupedAnomaly, LeftOut};
use midwatch_events::mention::names;
use midwatch_events::topology::{Call, Topology};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Log templates that are kept; the most frequent ones.
const LOG_LIMIT: usize = 40;
/// Lines this long before the onset still count: the first complaint often
/// comes before the first reading.
const LOG_BEFORE_MS: i64 = 60_000;

/// What correlation knows beyond an incident's members.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// The calls that it believes in.
    pub edges: Vec<Call>,
    /// What was near in time, and belongs to another incident.
    pub left_out: Vec<LeftOut>,
    /// What was known to belong to another incident at an earlier look: that one
    /// may be over by now.
    pub earlier: BTreeMap<String, String>,
}

impl Known {
    /// What the context of an incident's row holds of it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(context: &Value) -> Result<Known, serde_json::Error> {
        Ok(Known {
            edges: calls(&context["topology"])?,
            left_out: match &context["left_out"] {
                Value::Null => Vec::new(),
                list => Vec::deserialize(list)?,
            },
            earlier: BTreeMap::new(),
        })
    }
}

/// Services whose trouble correlation holds in another incident: something of
/// them belongs there, and nothing here.
fn elsewhere(known: &Known, anomalies: &[GroupedAnomaly]) -> BTreeMap<String, String> {
    let now = known
        .left_out
        .iter()
        .filter(|one| !one.incident.is_empty())
        .map(|one| (one.service.clone(), one.incident.clone()));
    let mut found = known.earlier.clone();
    found.extend(now);
    found.retain(|service, _| anomalies.iter().all(|member| member.service != *service));
    found
}

/// The facts that `kept` holds, its records in order of time, with what
/// correlation knew. Past incidents and runbooks are not among them.
#[must_use]
pub fn facts(kept: &[KeptRecord], anomalies: &[GroupedAnomaly], known: Known) -> Facts {
    let elsewhere = elsewhere(&known, anomalies);
    let edges = known.edges;
    let onset = anomalies
        .iter()
        .map(|anomaly| anomaly.onset_ms)
        .min()
        .unwrap_or(0);
    let (answer, weighed) = answer(kept, anomalies, (&edges, &elsewhere)).unzip();
    Facts {
        series: series(kept, onset),
        logs: logs(kept, onset),
        deployments: deployments(kept),
        kubernetes: kubernetes(kept),
        answer,
        weighed,
        edges,
        elsewhere,
        ..Facts::default()
    }
}

/// The calls that correlation believes in, from the graph of the incident's row:
/// `edges` says which and how each is known, `ages` when each source last showed
/// it (0 where nobody dates it).
///
/// # Errors
/// It is no graph.
pub fn calls(topology: &Value) -> Result<Vec<Call>, serde_json::Error> {
    let read = |name: &str| match &topology[name] {
        Value::Null => Ok(Vec::new()),
        list => Vec::<Call>::deserialize(list),
    };
    let all = Topology::of(&read("ages")?);
    let mut believed = read("edges")?;
    for Call(caller, callee, sources) in &mut believed {
        let ages = all.sources(caller, callee);
        for (source, at_ms) in sources.iter_mut() {
            let age = ages.and_then(|ages| ages.get(source));
            *at_ms = age.copied().unwrap_or(*at_ms);
        }
    }
    Ok(believed)
}

/// The investigator's answer, where there is more to look at than what
/// detection said.
fn answer(
    kept: &[KeptRecord],
    anomalies: &[GroupedAnomaly],
    (edges, elsewhere): (&[Call], &BTreeMap<String, String>),
) -> Option<(Answer, Weighed)> {
    let recording = recorded::of_records(kept, anomalies, edges, elsewhere);
    if recording.series.is_empty() && recording.lines.is_empty() {
        return None;
    }
    let question = recorded::question(&recording)?;
    Some(rca::weigh_up(&recording, &question))
}

fn word(record: &Value, name: &str) -> String {
    record[name].as_str().unwrap_or_default().to_owned()
}

fn series(kept: &[KeptRecord], onset: i64) -> Vec<SeriesFact> {
    let mut by_series: BTreeMap<(&str, &str), Vec<&KeptRecord>> = BTreeMap::new();
    for record in kept.iter().filter(|record| record.kind == "metric") {
        let key = (record.service.as_str(), record.name.as_str());
        by_series.entry(key).or_default().push(record);
    }
    by_series
        .into_iter()
        .filter_map(|((service, metric), readings)| {
            let (before, since): (Vec<&KeptRecord>, Vec<&KeptRecord>) = readings
                .into_iter()
                .partition(|record| record.at_ms < onset);
            let values: Vec<f64> = before.iter().filter_map(|record| record.value).collect();
            if values.is_empty() {
                return None;
            }
            #[expect(clippy::cast_precision_loss, reason = "some hundred readings")]
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let distance = |record: &&KeptRecord| (record.value.unwrap_or(mean) - mean).abs();
            let extreme = since
                .iter()
                .max_by(|one, other| distance(one).total_cmp(&distance(other)))?;
            Some(SeriesFact {
                service: service.to_owned(),
                metric: metric.to_owned(),
                before: mean,
                extreme: extreme.value.unwrap_or(mean),
                record_id: extreme.record_id.clone(),
                at_ms: extreme.at_ms,
                counts: (count(before.len()), count(since.len())),
            })
        })
        .collect()
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn logs(kept: &[KeptRecord], onset: i64) -> Vec<LogFact> {
    let mut services: Vec<String> = kept.iter().map(|record| record.service.clone()).collect();
    services.sort();
    services.dedup();
    let mut by_template: BTreeMap<(String, String), LogFact> = BTreeMap::new();
    let complaints = kept.iter().filter(|record| {
        record.kind == "log"
            && record.at_ms >= onset - LOG_BEFORE_MS
            && matches!(record.name.as_str(), "WARN" | "ERROR" | "FATAL")
    });
    for record in complaints {
        by_template
            .entry((record.service.clone(), template(&record.text)))
            .and_modify(|line| line.count += 1)
            .or_insert_with(|| LogFact {
                service: record.service.clone(),
                level: record.name.clone(),
                message: record.text.chars().take(400).collect(),
                count: 1,
                record_id: record.record_id.clone(),
                at_ms: record.at_ms,
                names: named_services(&record.text, &record.service, &services),
            });
    }
    let mut lines: Vec<LogFact> = by_template.into_values().collect();
    lines.sort_by(|one, other| {
        other
            .count
            .cmp(&one.count)
            .then(one.at_ms.cmp(&other.at_ms))
            .then_with(|| one.record_id.cmp(&other.record_id))
    });
    lines.truncate(LOG_LIMIT);
    lines
}

/// The services of `candidates` that a line names as whole words, other than
/// `own`.
fn named_services(message: &str, own: &str, candidates: &[String]) -> Vec<String> {
    candidates
        .iter()
        .filter(|service| service.as_str() != own)
        .filter(|service| names(message, service))
        .cloned()
        .collect()
}

fn deployments(kept: &[KeptRecord]) -> Vec<DeploymentFact> {
    kept.iter()
        .filter(|record| record.kind == "deployment")
        .filter_map(|record| {
            Some(DeploymentFact {
                deployment: serde_json::from_value(record.payload.clone()).ok()?,
                record_id: record.record_id.clone(),
            })
        })
        .collect()
}

fn kubernetes(kept: &[KeptRecord]) -> Vec<KubernetesFact> {
    kept.iter()
        .filter(|record| record.kind == "kubernetes")
        .map(|record| KubernetesFact {
            service: record.service.clone(),
            event_kind: record.name.clone(),
            object: format!(
                "{}/{}",
                word(&record.payload, "namespace"),
                word(&record.payload, "name")
            ),
            text: record.text.clone(),
            critical: record.payload["critical"].as_bool().unwrap_or(false),
            record_id: record.record_id.clone(),
            at_ms: record.at_ms,
        })
        .collect()
}
