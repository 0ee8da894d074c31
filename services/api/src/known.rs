//! The documents of an incident, read leniently: an entry that an older or
//! newer build wrote differently costs only itself, and is counted.

use midwatch_clients::postgres::read::IncidentRow;
use midwatch_events::incident::{Declared, LogExcerpt};
use midwatch_events::more::More;
use midwatch_events::{
    AnomalyType, BlastRadius, CorrelationSignal, GroupedAnomaly, IncidentResolved, LeftOut,
    RawDeployment, RemediationPlan, RootCauseCandidate,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

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

/// A call between two services, and where it was learnt.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "(String, String, Learnt)")]
pub struct Call {
    pub caller: String,
    pub callee: String,
    /// By source, the event time at which it was last seen, epoch
    /// milliseconds; 0 where the source bears no date.
    pub sources: BTreeMap<String, i64>,
}

impl Call {
    /// Caller and callee.
    #[must_use]
    pub fn ends(&self) -> (&str, &str) {
        (&self.caller, &self.callee)
    }
}

/// The sources of a call as older builds wrote them, and with their ages.
#[derive(Deserialize)]
#[serde(untagged)]
enum Learnt {
    Undated(Vec<String>),
    Dated(BTreeMap<String, i64>),
}

impl From<(String, String, Learnt)> for Call {
    fn from((caller, callee, learnt): (String, String, Learnt)) -> Call {
        let sources = match learnt {
            Learnt::Undated(names) => names.into_iter().map(|name| (name, 0)).collect(),
            Learnt::Dated(sources) => sources,
        };
        Call {
            caller,
            callee,
            sources,
        }
    }
}

/// Records of one kind of one service that were not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsLeftOut {
    pub kind: String,
    pub service: String,
    pub count: u64,
}

/// What is known about an incident, as types.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub services: Vec<String>,
    pub title: String,
    pub description: String,
    pub trigger: Option<Trigger>,
    pub signals: Vec<CorrelationSignal>,
    /// All of them, those that are told in full first.
    pub anomalies: Vec<GroupedAnomaly>,
    pub deployment: Option<RawDeployment>,
    pub errors: Vec<LogExcerpt>,
    pub blast: Option<BlastRadius>,
    pub edges: Vec<Call>,
    /// Calls that are written down and that spans have contradicted for long.
    pub contradicted: Vec<(String, String)>,
    /// Calls that only spans or lines showed, and not for long.
    pub expired: Vec<(String, String)>,
    /// Why it is as grave as it is; empty where that is not said.
    pub severity_reason: String,
    pub acknowledged_by: Option<String>,
    /// Wall clock.
    pub snoozed_until_ms: Option<i64>,
    /// What was near in time and does not belong to it.
    pub left_out: Vec<LeftOut>,
    /// The other incidents of merges and splits.
    pub related: Vec<Uuid>,
    /// Anomalies beyond those that are listed.
    pub unlisted: u64,
    /// Records that were too many to be kept with it.
    pub records_left_out: Vec<RecordsLeftOut>,
    pub candidates: Vec<RootCauseCandidate>,
    pub plan: Option<RemediationPlan>,
    pub resolution: Option<IncidentResolved>,
    /// What a person said who declared it.
    pub declared: Option<Declared>,
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
        let mut anomalies: Vec<GroupedAnomaly> = list(
            &context["grouped_anomalies"],
            "grouped_anomalies",
            &mut unread,
        );
        let more: Option<More> = one(&context["more_anomalies"], "more_anomalies", &mut unread);
        anomalies.extend(more.as_ref().map(More::members).unwrap_or_default());
        let trigger: Option<Trigger> = one(&context["trigger"], "trigger", &mut unread)
            .filter(|trigger: &Trigger| !trigger.metric.is_empty())
            .or_else(|| anomalies.first().map(first_trigger));
        let declared: Option<Declared> = one(&context["declared"], "declared", &mut unread);
        let said = declared.as_ref().map(|declared| declared.title.clone());
        Known {
            title: said
                .unwrap_or_else(|| title(&row.anomaly_type, services.first().map(String::as_str))),
            declared,
            services,
            description: text(&context["description"]).unwrap_or_default(),
            trigger,
            signals: list(&context["signals"], "signals", &mut unread),
            anomalies,
            deployment: one(&context["deployment"], "deployment", &mut unread),
            errors: list(&context["recent_errors"], "recent_errors", &mut unread),
            blast: one(&row.blast_radius, "blast_radius", &mut unread),
            edges: list(edges(&context["topology"]), "topology", &mut unread),
            contradicted: list(
                &context["topology"]["contradicted"],
                "topology",
                &mut unread,
            ),
            expired: list(&context["topology"]["expired"], "topology", &mut unread),
            records_left_out: list(
                &context["records_left_out"],
                "records_left_out",
                &mut unread,
            ),
            severity_reason: text(&context["severity_reason"]).unwrap_or_default(),
            acknowledged_by: text(&context["acknowledged_by"]),
            snoozed_until_ms: context["snoozed_until_ms"].as_i64(),
            left_out: list(&context["left_out"], "left_out", &mut unread),
            related: list(&context["related"], "related", &mut unread),
            unlisted: context["unlisted_anomalies"].as_u64().unwrap_or(0),
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

/// The calls with the ages of their sources, where those were written.
fn edges(topology: &Value) -> &Value {
    match &topology["ages"] {
        Value::Null => &topology["edges"],
        ages => ages,
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
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
        let edges: Vec<Call> = list(
            &json!([["a", "b", ["spans"]], ["broken"], ["b", "c", {"logs": 7}]]),
            "topology",
            &mut unread,
        );
        let call = |caller: &str, callee: &str, source: &str, at_ms| Call {
            caller: caller.to_owned(),
            callee: callee.to_owned(),
            sources: BTreeMap::from([(source.to_owned(), at_ms)]),
        };
        assert_eq!(
            edges,
            [call("a", "b", "spans", 0), call("b", "c", "logs", 7)]
        );
        assert_eq!(unread, ["topology"]);
        assert_eq!(
            one::<BlastRadius>(&json!({}), "blast_radius", &mut unread),
            None
        );
        assert_eq!(unread.len(), 1);
    }
}
