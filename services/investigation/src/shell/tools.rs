//! The read-only tools that the model may use, and where they look.

mod desk;

pub use desk::{Answer, Desk};

use async_trait::async_trait;
use midwatch_clients::llm::{LlmCall, Tool};
use midwatch_clients::postgres::KeptRecord;
use midwatch_events::incident::SimilarIncident;
use serde_json::{Value, json};

/// A runbook section that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// `runbook#section`.
    pub id: String,
    pub text: String,
    /// Cosine similarity, −1..1.
    pub score: f64,
}

/// What tools may read besides the facts that were gathered, and where calls are written down.
/// Every method but [`Library::keep`] only reads.
#[async_trait]
pub trait Library: Send + Sync {
    /// The records kept with the incident, in order of time.
    async fn records(&self) -> anyhow::Result<Vec<KeptRecord>>;
    /// Past incidents that resemble the query, best first.
    async fn similar(&self, query: &str) -> anyhow::Result<Vec<SimilarIncident>>;
    /// Runbook sections that answer the query, best first; with a cause, an anomaly type's wire
    /// name, only from runbooks for it.
    async fn sections(&self, query: &str, cause: Option<&str>) -> anyhow::Result<Vec<Section>>;
    /// Writes a model call down as soon as it is over, so that a process that ends in the middle of
    /// a loop loses neither its record nor its cost.
    async fn keep(&self, call: &LlmCall) -> anyhow::Result<()>;
}

/// The name of the tool that ends the loop.
pub const SUBMIT: &str = "submit_rca";
/// The name of the tool that shows the rest of a long result.
pub const MORE: &str = "more";

fn tool(name: &str, description: &str, properties: Value, required: &[&str]) -> Tool {
    Tool {
        name: name.to_owned(),
        description: description.to_owned(),
        parameters: json!({"type": "object", "properties": properties, "required": required,
            "additionalProperties": false}),
    }
}

/// The evidence tools, without [`SUBMIT`].
#[must_use]
pub fn evidence_tools() -> Vec<Tool> {
    let text = |about: &str| json!({"type": "string", "maxLength": 300, "description": about});
    let service = || text("name of a service; leave out for all");
    let time = |about: &str| json!({"type": "integer", "description": about});
    let levels = json!(["DEBUG", "INFO", "WARN", "ERROR", "FATAL"]);
    vec![
        tool(
            "search_similar_incidents",
            "Past incidents that resemble what the query describes, with their causes.",
            json!({"query": text("symptoms or a suspected cause, in words")}),
            &["query"],
        ),
        tool(
            "get_runbooks",
            "Runbook sections, by words or by cause.",
            json!({"query": text("what to look for"),
                   "cause": text("an anomaly type, for example LATENCY_SPIKE")}),
            &[],
        ),
        tool(
            "get_service_architecture",
            "Who calls whom around a service, and how that is known.",
            json!({"service": service()}),
            &[],
        ),
        tool(
            "query_metrics",
            "Each series of a service before and since the onset; with a metric or times its single readings.",
            json!({"service": service(), "metric": text("name of a metric"),
                   "from_ms": time("epoch milliseconds, inclusive"),
                   "to_ms": time("epoch milliseconds, inclusive")}),
            &[],
        ),
        tool(
            "search_logs",
            "Complaints in the logs by template; with text or level the single lines.",
            json!({"service": service(), "contains": text("words that a line holds"),
                   "level": {"type": "string", "enum": levels}}),
            &[],
        ),
        tool(
            "get_deployments",
            "What was rolled out or configured, and when.",
            json!({"service": service()}),
            &[],
        ),
        tool(
            "get_kubernetes_state",
            "What Kubernetes reported.",
            json!({"service": service()}),
            &[],
        ),
        tool(
            "compare_candidates",
            "The ranked candidates side by side, with onsets and anomalies.",
            json!({"services": {"type": "array", "maxItems": 10, "items": {"type": "string"},
                   "description": "leave out for all"}}),
            &[],
        ),
        tool(
            MORE,
            "The next part of a result that was cut.",
            json!({"handle": text("the handle that the cut result gave")}),
            &["handle"],
        ),
    ]
}

/// The tool that ends the loop.
#[must_use]
pub fn submit_tool() -> Tool {
    let ids = |about: &str| json!({"type": "array", "maxItems": 20, "items": {"type": "string"}, "description": about});
    let hypothesis = "one sentence about the cause that begins with the service; every number and quotation from cited records";
    tool(
        SUBMIT,
        "Submit the answer; ends the investigation. Cite only ids that tools returned.",
        json!({
            "top_hypothesis": {"type": "string", "maxLength": 400, "description": hypothesis},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            "evidence": ids("ids of the records behind the top hypothesis"),
            "all_candidates": {"type": "array", "maxItems": 10,
                "description": "the candidates in your order, best first",
                "items": {"type": "object",
                    "properties": {
                        "service": {"type": "string"},
                        "cause": {"type": "string"},
                        "hypothesis": {"type": "string", "maxLength": 400},
                        "evidence": ids("ids of the records that support this place")},
                    "required": ["service"]}},
            "claims": {"type": "array", "maxItems": 10, "items": {"type": "object",
                "properties": {"text": {"type": "string", "maxLength": 400},
                               "evidence": ids("ids of the records that say so")},
                "required": ["text", "evidence"]}},
            "causal_chain": {"type": "array", "maxItems": 10, "items": {"type": "object",
                "properties": {"cause": {"type": "string"}, "effect": {"type": "string"}},
                "required": ["cause", "effect"]},
                "description": "pairs of record ids"},
            "estimated_user_impact": {"type": "string", "maxLength": 400},
        }),
        &["top_hypothesis", "evidence", "all_candidates"],
    )
}
