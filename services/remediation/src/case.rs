//! The case that a plan is for: what is believed to be wrong, where, and the
//! names of the objects that were really seen.

use midwatch_clients::postgres::KeptRecord;
use midwatch_events::incident::Verdict;
use midwatch_events::knowledge::{Catalogue, CatalogueEntry};
use midwatch_events::{AnomalyType, RcaCompleted, RootCauseCandidate};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Names found in the records kept with the incident, for one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    pub namespace: Option<String>,
    pub pod: Option<String>,
    pub consumer_group: Option<String>,
    pub topic: Option<String>,
}

impl Observed {
    /// Reads the names out of the records of `service`; the latest wins.
    #[must_use]
    pub fn read(records: &[KeptRecord], service: &str) -> Observed {
        let mut observed = Observed::default();
        for record in records.iter().filter(|record| record.service == service) {
            let payload = &record.payload;
            let label = |names: &[&str]| -> Option<String> {
                names
                    .iter()
                    .find_map(|name| text(&payload["labels"][*name]))
            };
            let kubernetes = record.kind == "kubernetes";
            let namespace = kubernetes
                .then(|| text(&payload["namespace"]))
                .flatten()
                .or_else(|| label(&["namespace"]));
            let pod = (kubernetes && payload["kind"] == "Pod")
                .then(|| text(&payload["name"]))
                .flatten()
                .or_else(|| label(&["pod"]));
            let newer = |slot: &mut Option<String>, found: Option<String>| {
                if found.is_some() {
                    *slot = found;
                }
            };
            newer(&mut observed.namespace, namespace);
            newer(&mut observed.pod, pod);
            newer(
                &mut observed.consumer_group,
                label(&["consumer_group", "group"]),
            );
            newer(&mut observed.topic, label(&["topic"]));
        }
        observed
    }
}

fn text(value: &Value) -> Option<String> {
    value
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// A root cause, ready to be planned for.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub rca: &'a RcaCompleted,
    pub catalogue: &'a Catalogue,
    /// `K8S_NAMESPACE`.
    pub default_namespace: &'a str,
}

impl<'a> Case<'a> {
    /// The first candidate, where there is one.
    #[must_use]
    pub fn candidate(&self) -> Option<&'a RootCauseCandidate> {
        self.rca.root_cause_candidates.first()
    }

    /// Whether the evidence carries the first candidate.
    #[must_use]
    pub fn is_conclusive(&self) -> bool {
        self.rca.verdict == Verdict::Conclusive && self.candidate().is_some()
    }

    /// The service where the cause lies.
    #[must_use]
    pub fn service(&self) -> &'a str {
        self.candidate()
            .map_or(self.rca.header.primary_service(), |first| {
                first.service.as_str()
            })
    }

    /// The wire name of the cause.
    #[must_use]
    pub fn cause(&self) -> &'a str {
        self.candidate()
            .map_or(self.rca.header.anomaly_type.as_str(), |first| {
                first.cause.as_str()
            })
    }

    /// What tells one cause from another between revisions.
    #[must_use]
    pub fn key(&self) -> String {
        if self.is_conclusive() {
            format!("{} of {}", self.cause(), self.service())
        } else {
            "inconclusive".to_owned()
        }
    }

    /// The catalogue's record of the service.
    #[must_use]
    pub fn entry(&self) -> Option<&'a CatalogueEntry> {
        self.catalogue.get(self.service())
    }

    /// Whether the cause is a release that was seen on this very service.
    #[must_use]
    pub fn failed_release(&self) -> Option<&'a midwatch_events::RawDeployment> {
        let release = self.rca.deployment_context.as_ref()?;
        (self.cause() == AnomalyType::DeploymentFailure.as_str()
            && release.service == self.service())
        .then_some(release)
    }

    /// The reading that started it: `service_db_connections of
    /// payment-service`, or the log rule.
    #[must_use]
    pub fn metric(&self) -> String {
        // A person declared the incident: nothing was read.
        if self.rca.trigger_metric.is_empty() {
            return format!("word of trouble on {}", self.rca.header.primary_service());
        }
        format!(
            "{} of {}",
            self.rca.trigger_metric,
            self.rca.header.primary_service()
        )
    }

    /// Whether the trigger is a metric with readings.
    #[must_use]
    pub fn has_reading(&self) -> bool {
        let trigger = &self.rca.trigger_metric;
        !trigger.is_empty() && !trigger.starts_with("log:") && !trigger.starts_with("kubernetes:")
    }

    /// What placeholders of `service`'s steps may be replaced by: names that
    /// were observed, or that the catalogue records.
    #[must_use]
    pub fn values(&self, service: &str, observed: &Observed) -> BTreeMap<String, String> {
        let entry = self.catalogue.get(service);
        let recorded = |name: &str| entry.and_then(|entry| text(entry.rest.get(name)?));
        let mut values = BTreeMap::from([
            ("service".to_owned(), service.to_owned()),
            (
                "namespace".to_owned(),
                observed
                    .namespace
                    .clone()
                    .or_else(|| recorded("namespace"))
                    .unwrap_or_else(|| self.default_namespace.to_owned()),
            ),
        ]);
        let release = self
            .rca
            .deployment_context
            .as_ref()
            .filter(|release| release.service == service);
        let found = [
            ("version", release.map(|release| release.version.clone())),
            (
                "previous_version",
                release.and_then(|release| release.previous_version.clone()),
            ),
            (
                "consumer_group",
                observed
                    .consumer_group
                    .clone()
                    .or_else(|| recorded("consumer_group")),
            ),
            (
                "topic",
                observed.topic.clone().or_else(|| recorded("topic")),
            ),
            ("pod", observed.pod.clone()),
        ];
        for (name, value) in found {
            if let Some(value) = value {
                values.insert(name.to_owned(), value);
            }
        }
        values
    }
}

/// A number without needless decimals.
#[must_use]
pub fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
