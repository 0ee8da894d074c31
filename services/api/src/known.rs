//! The documents of an incident, read leniently: an entry that an older or
//! newer build wrote differently costs only itself, and is counted.

use midwatch_clients::postgres::read::IncidentRow;
use midwatch_events::incident::LogExcerpt;
use midwatch_events::{
    AnomalyType, BlastRadius, CorrelationSignal, GroupedAnomaly, IncidentResolved, RawDeployment,
    RemediationPlan, RootCauseCandidate,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The reading that the incident was opened on.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Trigger {
    pub service: String,
    pub metric: String,
    pub observed_value: f64,
    pub baseline_value: f64,
    pub deviation_sigma: f64,
    pub anomaly_score: f64,
}

/// What is known about an incident, as types.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub services: Vec<String>,
    pub title: String,
    pub description: String,
    pub trigger: Option<Trigger>,
    pub signals: Vec<CorrelationSignal>,
    pub anomalies: Vec<GroupedAnomaly>,
    pub deployment: Option<RawDeployment>,
    pub errors: Vec<LogExcerpt>,
    pub blast: Option<BlastRadius>,
    /// Caller, callee, and where the edge was learnt.
    pub edges: Vec<(String, String, Vec<String>)>,
    pub candidates: Vec<RootCauseCandidate>,
    pub plan: Option<RemediationPlan>,
    pub resolution: Option<IncidentResolved>,
    /// Entries that could not be read, by the name of their document.
    pub unread: Vec<String>,
}

impl Known {
    /// Reads an incident's documents.
    #[must_use]
    pub fn read(row: &IncidentRow) -> Known {
        let mut unread = Vec::new();
        let context = &row.correlation_context;
        let services: Vec<String> = list(&row.affected_services, "affected_services", &mut unread);
        let anomalies: Vec<GroupedAnomaly> = list(
            &context["grouped_anomalies"],
            "grouped_anomalies",
            &mut unread,
        );
        let trigger: Option<Trigger> = one(&context["trigger"], "trigger", &mut unread)
            .filter(|trigger: &Trigger| !trigger.metric.is_empty())
            .or_else(|| anomalies.first().map(first_trigger));
        Known {
            title: title(&row.anomaly_type, services.first().map(String::as_str)),
            services,
            description: context["description"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            trigger,
            signals: list(&context["signals"], "signals", &mut unread),
            anomalies,
            deployment: one(&context["deployment"], "deployment", &mut unread),
            errors: list(&context["recent_errors"], "recent_errors", &mut unread),
            blast: one(&row.blast_radius, "blast_radius", &mut unread),
            edges: list(&context["topology"]["edges"], "topology", &mut unread),
            candidates: row
                .rca_candidates
                .as_ref()
                .map(|value| list(value, "rca_candidates", &mut unread))
                .unwrap_or_default(),
            plan: row
                .remediation_plan
                .as_ref()
                .and_then(|value| one(value, "remediation_plan", &mut unread)),
            resolution: row
                .resolution
                .as_ref()
                .and_then(|value| one(value, "resolution", &mut unread)),
            unread,
        }
    }

    /// Wall clock of the detection, where a payload recorded it.
    #[must_use]
    pub fn detected_wall_ms(&self) -> Option<i64> {
        let resolution = self
            .resolution
            .as_ref()
            .map(|end| end.header.detected_wall_ms);
        resolution.or(self.plan.as_ref().map(|plan| plan.header.detected_wall_ms))
    }
}

/// `DB connection exhaustion on payment-service`.
#[must_use]
pub fn title(anomaly_type: &str, service: Option<&str>) -> String {
    let known = AnomalyType::parse(anomaly_type).map(AnomalyType::title);
    let kind = known.unwrap_or(anomaly_type);
    format!("{kind} on {}", service.unwrap_or("unknown service"))
}

fn first_trigger(anomaly: &GroupedAnomaly) -> Trigger {
    Trigger {
        service: anomaly.service.clone(),
        metric: anomaly.trigger_metric.clone(),
        observed_value: anomaly.observed_value,
        baseline_value: anomaly.baseline_value,
        deviation_sigma: anomaly.deviation_sigma,
        anomaly_score: 0.0,
    }
}

fn list<T: DeserializeOwned>(value: &Value, name: &str, unread: &mut Vec<String>) -> Vec<T> {
    let entries = match value {
        Value::Null => return Vec::new(),
        Value::Array(entries) => entries.as_slice(),
        _ => {
            unread.push(name.to_owned());
            return Vec::new();
        }
    };
    entries
        .iter()
        .filter_map(|entry| {
            let read = T::deserialize(entry).ok();
            if read.is_none() {
                unread.push(name.to_owned());
            }
            read
        })
        .collect()
}

fn one<T: DeserializeOwned>(value: &Value, name: &str, unread: &mut Vec<String>) -> Option<T> {
    let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
    if empty {
        return None;
    }
    let read = T::deserialize(value).ok();
    if read.is_none() {
        unread.push(name.to_owned());
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_entry_that_cannot_be_read_costs_only_itself() {
        let mut unread = Vec::new();
        let edges: Vec<(String, String, Vec<String>)> = list(
            &json!([["a", "b", ["spans"]], ["broken"]]),
            "topology",
            &mut unread,
        );
        assert_eq!(
            edges,
            [("a".to_owned(), "b".to_owned(), vec!["spans".to_owned()])]
        );
        assert_eq!(unread, ["topology"]);
        assert_eq!(
            one::<BlastRadius>(&json!({}), "blast_radius", &mut unread),
            None
        );
        assert_eq!(unread.len(), 1);
    }
}
