//! The read-only tools that the model may use. They answer from the facts that
//! were gathered, so that every record they show exists and has an id.

use crate::decide::facts::Facts;
use midwatch_clients::llm::Tool;
use midwatch_events::incident::{GroupedAnomaly, RootCauseCandidate};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The largest tool result, characters. Beyond it the list is cut and says so.
const RESULT_LIMIT: usize = 6_000;

/// What the tools look at.
pub struct Desk<'a> {
    pub facts: &'a Facts,
    pub candidates: &'a [RootCauseCandidate],
    pub anomalies: &'a [GroupedAnomaly],
}

fn tool(name: &str, description: &str, properties: Value) -> Tool {
    Tool {
        name: name.to_owned(),
        description: description.to_owned(),
        parameters: json!({"type": "object", "properties": properties}),
    }
}

/// The evidence tools, and the one that ends the loop.
#[must_use]
pub fn tools(may_submit: bool) -> Vec<Tool> {
    let service = json!({"service": {"type": "string", "description": "leave out for all"}});
    let mut tools = vec![
        tool(
            "search_similar_incidents",
            "Past incidents that resemble this one.",
            json!({}),
        ),
        tool("get_runbooks", "Runbook sections that fit.", json!({})),
        tool(
            "get_service_architecture",
            "Who calls whom, and how that is known.",
            service.clone(),
        ),
        tool(
            "query_metrics",
            "Each series before and since the onset.",
            service.clone(),
        ),
        tool(
            "search_logs",
            "Complaints in the logs by template.",
            service.clone(),
        ),
        tool("get_deployments", "What was rolled out.", service.clone()),
        tool("get_kubernetes_state", "Kubernetes events.", service),
        tool(
            "compare_candidates",
            "The ranked candidates with their evidence.",
            json!({}),
        ),
    ];
    if may_submit {
        let mut submit = tool(
            "submit_rca",
            "Submit the answer; ends the investigation. Cite only ids that tools returned.",
            json!({
                "top_hypothesis": {"type": "string"},
                "confidence": {"type": "number", "minimum": 0, "maximum": 1},
                "evidence": {"type": "array", "items": {"type": "string"}},
                "all_candidates": {"type": "array", "items": {"type": "object",
                    "properties": {"service": {"type": "string"}, "cause": {"type": "string"}},
                    "required": ["service"]}},
                "estimated_user_impact": {"type": "string"},
            }),
        );
        submit.parameters["required"] =
            json!(["top_hypothesis", "confidence", "evidence", "all_candidates"]);
        tools.push(submit);
    }
    tools
}

impl Desk<'_> {
    /// Answers a tool call, and notes the ids of the records shown.
    pub fn answer(&self, name: &str, arguments: &Value, seen: &mut BTreeSet<String>) -> String {
        let wanted = arguments["service"]
            .as_str()
            .filter(|name| !name.is_empty());
        let fits = |service: &str| wanted.is_none_or(|wanted| wanted == service);
        let facts = self.facts;
        let rows: Vec<Value> = match name {
            "search_similar_incidents" => facts.similar.iter().map(|hit| json!({
                "id": hit.incident_id, "title": hit.title, "similarity": hit.score,
                "root_cause": hit.root_cause, "resolution": hit.resolution})).collect(),
            "get_runbooks" => facts.runbooks.iter()
                .map(|(section, score)| json!({"id": section, "similarity": score})).collect(),
            "get_service_architecture" => facts.edges.iter()
                .filter(|(caller, callee, _)| fits(caller) || fits(callee))
                .map(|(caller, callee, how)| json!({"caller": caller, "callee": callee, "known_from": how}))
                .collect(),
            "query_metrics" => facts.series.iter().filter(|series| fits(&series.service))
                .map(|series| json!({"id": series.record_id, "service": series.service,
                    "metric": series.metric, "mean_before": series.before,
                    "extreme_since": series.extreme, "at_ms": series.at_ms})).collect(),
            "search_logs" => facts.logs.iter().filter(|line| fits(&line.service))
                .map(|line| json!({"id": line.record_id, "service": line.service,
                    "level": line.level, "count": line.count, "first": line.message})).collect(),
            "get_deployments" => facts.deployments.iter().filter(|fact| fits(&fact.deployment.service))
                .map(|fact| json!({"id": fact.record_id, "deployment": fact.deployment})).collect(),
            "get_kubernetes_state" => facts.kubernetes.iter().filter(|event| fits(&event.service))
                .map(|event| json!({"id": event.record_id, "service": event.service,
                    "kind": event.event_kind, "object": event.object, "text": event.text})).collect(),
            "compare_candidates" => self.candidates.iter().map(|candidate| json!(candidate))
                .chain(self.anomalies.iter().map(|anomaly| json!({"id": anomaly.anomaly_id,
                    "service": anomaly.service, "metric": anomaly.trigger_metric,
                    "onset_ms": anomaly.onset_ms})))
                .collect(),
            other => return json!({"error": format!("there is no tool {other}")}).to_string(),
        };
        for candidate in self
            .candidates
            .iter()
            .filter(|_| name == "compare_candidates")
        {
            seen.extend(candidate.evidence.iter().map(|record| record.id.clone()));
        }
        bounded(rows, seen)
    }
}

/// As many rows as fit, with how many were left out.
fn bounded(rows: Vec<Value>, seen: &mut BTreeSet<String>) -> String {
    let all = rows.len();
    let mut kept = Vec::new();
    let mut size = 0;
    for row in rows {
        size += row.to_string().len();
        if size > RESULT_LIMIT && !kept.is_empty() {
            break;
        }
        if let Some(id) = row["id"].as_str() {
            seen.insert(id.to_owned());
        }
        kept.push(row);
    }
    json!({"rows": kept, "left_out": all - kept.len()}).to_string()
}
