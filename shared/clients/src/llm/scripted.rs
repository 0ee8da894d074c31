//! The client against the scripted model of `infrastructure/scripted-model`, as `MODEL=scripted`
//! runs it: the two must agree on the protocol.

use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use uuid::Uuid;

use super::*;

const CONTEXT: &str = r#"Decide.
<<<CONTEXT
{"candidates": [{"service": "payment-service", "cause": "DB_CONNECTION_EXHAUSTION", "confidence": 0.8,
 "evidence": [{"id": "e1"}]}], "trigger_metric": "service_db_connections", "deviation_sigma": 6}
CONTEXT>>>"#;

async fn start(fail_mode: &str, tool_mode: ToolMode) -> (Child, LlmClient) {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../infrastructure/scripted-model/serve.py"
    );
    let mut process = Command::new("python3")
        .args([script, "--bind", "127.0.0.1:0", "--fail-mode", fail_mode])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let url = line.strip_prefix("listening ").unwrap().to_owned();
    let settings = LlmSettings::resolve(|name| (name == "LLM_BASE_URL").then(|| url.clone()));
    let settings = LlmSettings {
        tool_mode,
        timeout_ms: 5_000,
        ..settings.unwrap().unwrap()
    };
    (process, LlmClient::new(settings).unwrap())
}

fn classification() -> LlmRequest {
    let schema = json!({
        "type": "object", "required": ["anomaly_type", "severity", "rationale"], "additionalProperties": false,
        "properties": {
            "anomaly_type": {"type": "string"}, "rationale": {"type": "string", "maxLength": 300},
            "severity": {"enum": ["MEDIUM", "HIGH", "CRITICAL"]}
        }
    });
    LlmRequest {
        call_id: Uuid::from_u128(1),
        agent: "detection".to_owned(),
        purpose: "classify_anomaly".to_owned(),
        tier: Tier::Fast,
        system: "Classify.".to_owned(),
        user: CONTEXT.to_owned(),
        max_tokens: 200,
        temperature: 0.1,
        schema: Some(("classify_anomaly".to_owned(), schema)),
        spent: Spent::default(),
    }
}

fn tool(name: &str, property: &str, kind: &str) -> Tool {
    Tool {
        name: name.to_owned(),
        description: format!("Runs {name}."),
        parameters: json!({"type": "object", "required": [property], "properties": {property: {"type": kind}}}),
    }
}

fn round(messages: &[Message]) -> ChatRequest {
    ChatRequest {
        call_id: Uuid::from_u128(2),
        agent: "investigation".to_owned(),
        purpose: "rca".to_owned(),
        tier: Tier::Reasoning,
        messages: messages.to_vec(),
        tools: vec![
            tool("search_logs", "query", "string"),
            tool("query_metrics", "service", "string"),
            tool("submit_rca", "confidence", "number"),
        ],
        max_tokens: 4_096,
        temperature: 0.1,
        spent: Spent::default(),
    }
}

#[tokio::test]
async fn a_classification_comes_from_the_context() {
    let (_process, client) = start("none", ToolMode::Native).await;
    let outcome = client.complete(classification()).await;
    let value = outcome.result.unwrap().value.unwrap();
    assert_eq!(value["anomaly_type"], "DB_CONNECTION_EXHAUSTION");
    assert_eq!(value["severity"], "CRITICAL");
    assert!(outcome.call.prompt_tokens > 0 && outcome.call.completion_tokens > 0);
}

#[tokio::test]
async fn a_tool_loop_gathers_evidence_and_then_submits() {
    for (mode, expected) in [
        (
            ToolMode::Native,
            vec![vec!["query_metrics", "search_logs"], vec!["submit_rca"]],
        ),
        (
            ToolMode::Schema,
            vec![
                vec!["query_metrics"],
                vec!["search_logs"],
                vec!["submit_rca"],
            ],
        ),
    ] {
        let (_process, client) = start("none", mode).await;
        let mut messages = vec![Message::User(CONTEXT.to_owned())];
        let mut called: Vec<Vec<String>> = Vec::new();
        for _ in 0..expected.len() {
            let reply = client.chat(round(&messages)).await.result.unwrap();
            assert!(
                reply.tool_calls.iter().all(|call| call.problem.is_none()),
                "{reply:?}"
            );
            messages.push(reply.to_message());
            messages.extend(reply.tool_calls.iter().map(|call| Message::ToolResult {
                call_id: call.id.clone(),
                name: call.name.clone(),
                content: "{\"evidence\": []}".to_owned(),
            }));
            called.push(reply.tool_calls.into_iter().map(|call| call.name).collect());
        }
        assert_eq!(called, expected, "{mode:?}");
    }
}

#[tokio::test]
async fn each_failure_mode_has_its_outcome() {
    for (fail_mode, expected) in [
        ("429", "rate_limited"),
        ("500", "http_error"),
        ("stall", "timeout"),
        ("malformed", "schema_invalid"),
        ("empty", "schema_invalid"),
    ] {
        let (_process, client) = start(fail_mode, ToolMode::Native).await;
        let outcome = client.complete(classification()).await;
        assert_eq!(outcome.call.outcome, expected, "{:?}", outcome.call.error);
    }
}
