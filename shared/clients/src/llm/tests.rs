//! The client against a scripted HTTP server in the same process.

mod degraded;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::*;

/// What the server does with a request.
#[derive(Clone)]
enum Step {
    Answer(u16, String),
    /// The same with a header line.
    Headed(u16, &'static str, String),
    /// Reads the request and never answers.
    Stall,
    /// Closes the connection without an answer.
    HangUp,
}

struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    /// Serves one step per request; the last one again and again.
    async fn start(steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, mut served) = (seen.clone(), 0);
        tokio::spawn(async move {
            let mut stalled = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let body = read_body(&mut stream).await;
                log.lock().unwrap().push(body);
                let step = steps[usize::min(served, steps.len() - 1)].clone();
                served += 1;
                match step {
                    Step::Answer(status, body) => answer(&mut stream, status, "", &body).await,
                    Step::Headed(status, header, body) => {
                        answer(&mut stream, status, &format!("{header}\r\n"), &body).await;
                    }
                    Step::Stall => stalled.push(stream),
                    Step::HangUp => {}
                }
            }
        });
        Self { url, seen }
    }

    fn requests(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }
}

async fn read_body(stream: &mut TcpStream) -> Value {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.unwrap();
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert_ne!(count, 0, "the request ended within its head");
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().unwrap())
        });
        if body.len() >= length.unwrap() {
            return serde_json::from_str(body).unwrap();
        }
    }
}

async fn answer(stream: &mut TcpStream, status: u16, header: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{header}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

fn says(message: Value) -> Step {
    let body = json!({
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20},
    });
    Step::Answer(200, body.to_string())
}

fn text(content: &str) -> Step {
    says(json!({"role": "assistant", "content": content}))
}

fn client(server: &Server) -> LlmClient {
    client_with(server, |_| {})
}

fn client_with(server: &Server, change: impl FnOnce(&mut LlmSettings)) -> LlmClient {
    let url = server.url.clone();
    let mut settings = LlmSettings::resolve(|name| match name {
        "LLM_BASE_URL" => Some(url.clone()),
        "LLM_TIMEOUT_MS" => Some("10000".to_owned()),
        _ => None,
    })
    .unwrap()
    .unwrap();
    change(&mut settings);
    LlmClient::new(settings).unwrap()
}

fn question() -> LlmRequest {
    LlmRequest {
        call_id: Uuid::from_u128(7),
        agent: "detection".to_owned(),
        purpose: "classify_anomaly".to_owned(),
        tier: Tier::Fast,
        system: "Classify.".to_owned(),
        user: "p99 is 7380 ms, password=hunter2".to_owned(),
        max_tokens: 200,
        temperature: 0.1,
        schema: None,
        spent: Spent::default(),
    }
}

fn by_schema() -> LlmRequest {
    let schema = json!({
        "type": "object", "required": ["severity"],
        "properties": {"severity": {"enum": ["HIGH", "CRITICAL"]}}
    });
    LlmRequest {
        schema: Some(("classify_anomaly".to_owned(), schema)),
        ..question()
    }
}

fn tools() -> Vec<Tool> {
    let parameters = json!({
        "type": "object", "required": ["query"], "additionalProperties": false,
        "properties": {"query": {"type": "string"}}
    });
    let tool = |name: &str| Tool {
        name: name.to_owned(),
        description: format!("Runs {name}."),
        parameters: parameters.clone(),
    };
    vec![tool("search_logs"), tool("query_metrics")]
}

fn round(messages: Vec<Message>) -> ChatRequest {
    ChatRequest {
        call_id: Uuid::from_u128(8),
        agent: "investigation".to_owned(),
        purpose: "rca".to_owned(),
        tier: Tier::Reasoning,
        messages,
        tools: tools(),
        max_tokens: 500,
        temperature: 0.1,
        spent: Spent::default(),
    }
}

#[tokio::test]
async fn an_answer_comes_back_with_its_record() {
    let server = Server::start(vec![text("A latency spike, token=abc.")]).await;
    let client = client_with(&server, |settings| {
        let price = Price {
            input_usd_per_million: 2.0,
            output_usd_per_million: 8.0,
        };
        settings.prices = BTreeMap::from([("default".to_owned(), price)]);
    });
    let outcome = client.complete(question()).await;
    let reply = outcome.result.unwrap();
    assert_eq!(
        reply,
        LlmReply {
            text: "A latency spike, token=abc.".to_owned(),
            value: None
        }
    );

    let call = outcome.call;
    let messages = json!([
        {"role": "system", "content": "Classify."},
        {"role": "user", "content": "p99 is 7380 ms, password=[secret-1:secret]"},
    ]);
    assert_eq!(call.prompt["messages"], messages);
    assert_eq!(
        call.reply.as_deref(),
        Some("A latency spike, token=[secret-2:secret]")
    );
    assert_eq!((call.outcome.as_str(), call.error), ("ok", None));
    assert_eq!(
        (call.call_id, call.agent.as_str()),
        (Uuid::from_u128(7), "detection")
    );
    assert_eq!(
        (call.model.as_str(), call.tier.as_str()),
        ("default", "fast")
    );
    assert_eq!((call.prompt_tokens, call.completion_tokens), (100, 20));
    // 100 tokens at 2 USD and 20 at 8 USD a million.
    assert!((call.cost_usd - 0.00036).abs() < 1e-12);
    let sent = &server.requests()[0];
    assert_eq!(
        sent["messages"], messages,
        "what is recorded is what was sent"
    );
    assert_eq!(sent["max_tokens"], 200);
}

#[tokio::test]
async fn a_reply_by_schema_is_checked() {
    let server = Server::start(vec![
        text("```json\n{\"severity\": \"HIGH\"}\n```"),
        text("{\"severity\": \"SEVERE\"}"),
        text("I cannot tell."),
        Step::Answer(200, "{\"choices\": [{\"mess".to_owned()),
    ])
    .await;
    let client = client(&server);
    let good = client.complete(by_schema()).await;
    assert_eq!(
        good.result.unwrap().value,
        Some(json!({"severity": "HIGH"}))
    );
    for _ in 0..3 {
        let outcome = client.complete(by_schema()).await;
        assert!(
            matches!(outcome.result, Err(LlmError::SchemaInvalid(_))),
            "{:?}",
            outcome.result
        );
        assert_eq!(outcome.call.outcome, "schema_invalid");
        assert!(outcome.call.error.is_some());
    }
    let requests = server.requests();
    assert_eq!(
        requests.len(),
        4,
        "a reply that does not fit is not asked for again"
    );
    assert_eq!(
        requests[0]["response_format"]["json_schema"]["name"],
        "classify_anomaly"
    );
}

#[tokio::test]
async fn an_endpoint_without_reply_schemas_gets_them_in_the_prompt() {
    let refusal = json!({"error": {"message": "response_format is not supported", "code": 400}});
    let server = Server::start(vec![
        Step::Answer(400, refusal.to_string()),
        text("{\"severity\": \"HIGH\"}"),
    ])
    .await;
    let client = client(&server);
    for _ in 0..2 {
        assert!(client.complete(by_schema()).await.result.is_ok());
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "it is asked for its schema support once");
    for request in &requests[1..] {
        assert!(request.get("response_format").is_none());
        let system = request["messages"][0]["content"].as_str().unwrap();
        assert!(
            system.starts_with("Classify.") && system.contains("\"CRITICAL\""),
            "{system}"
        );
    }
}

#[tokio::test]
async fn a_rate_limit_or_a_broken_connection_is_tried_again() {
    for first in [Step::Answer(429, "slow down".to_owned()), Step::HangUp] {
        let server = Server::start(vec![first, text("fine")]).await;
        // Spawned as the agents' jobs are: the future must be `Send`.
        let client = client(&server);
        let asked = tokio::spawn(async move { client.complete(question()).await });
        let outcome = asked.await.unwrap();
        assert_eq!(outcome.result.unwrap().text, "fine");
        assert_eq!(outcome.call.outcome, "ok");
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn failures_end_after_three_tries_with_their_status() {
    let server = Server::start(vec![Step::Answer(503, "upstream down".to_owned())]).await;
    let outcome = client(&server).complete(question()).await;
    let error = outcome.result.unwrap_err();
    assert_eq!(
        error,
        LlmError::Http {
            status: Some(503),
            message: "HTTP 503: upstream down".to_owned()
        }
    );
    assert_eq!(error.gravity(), Gravity::Transient);
    assert_eq!(outcome.call.outcome, "http_error");
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn what_waiting_cannot_mend_is_not_tried_again() {
    let quota =
        json!({"error": {"message": "no credit", "code": "insufficient_quota"}}).to_string();
    let unknown =
        json!({"error": {"message": "no such model, key sk-abcdefghijklmnop1234"}}).to_string();
    let table = [
        (429, quota, "rate_limited"),
        (404, unknown, "http_error"),
        (401, "<html>".to_owned(), "http_error"),
    ];
    for (status, body, expected) in table {
        let server = Server::start(vec![Step::Answer(status, body)]).await;
        let outcome = client(&server).complete(question()).await;
        assert_eq!(outcome.call.outcome, expected);
        assert!(!outcome.call.error.unwrap().contains("sk-abc"));
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_stalled_endpoint_ends_in_a_timeout_that_counts_against_the_budget() {
    let server = Server::start(vec![Step::Stall]).await;
    let client = client_with(&server, |settings| settings.timeout_ms = 200);
    let outcome = client.complete(question()).await;
    assert_eq!(outcome.result.unwrap_err(), LlmError::Timeout(200));
    assert_eq!(outcome.call.outcome, "timeout");
    assert!(outcome.call.latency_ms >= 200 && outcome.call.prompt_tokens > 0);
}

#[tokio::test]
async fn the_circuit_opens_after_five_failed_calls() {
    let server = Server::start(vec![Step::Answer(400, "bad".to_owned())]).await;
    let client = client(&server);
    for _ in 0..breaker::FAILURES_TO_OPEN {
        assert_eq!(client.complete(question()).await.call.outcome, "http_error");
    }
    let outcome = client.complete(question()).await;
    assert!(
        matches!(outcome.result, Err(LlmError::CircuitOpen(seconds)) if (1..=60).contains(&seconds))
    );
    assert_eq!(outcome.call.outcome, "circuit_open");
    assert_eq!(
        server.requests().len(),
        breaker::FAILURES_TO_OPEN as usize,
        "nothing was sent"
    );
}

#[tokio::test]
async fn a_call_that_could_exceed_the_budget_is_not_sent() {
    let server = Server::start(vec![text("fine")]).await;
    let client = client_with(&server, |settings| {
        settings.max_tokens_per_incident = 1_000;
        settings.max_cost_usd_per_incident = 0.01;
        let price = Price {
            input_usd_per_million: 0.0,
            output_usd_per_million: 10.0,
        };
        settings.prices = BTreeMap::from([("default".to_owned(), price)]);
    });
    let spent = |tokens, cost_usd| LlmRequest {
        spent: Spent {
            tokens,
            cost_usd,
            ms: 0,
        },
        ..question()
    };
    // The reply may take 200 tokens, which cost 0.002 USD; the prompt takes a few more.
    for (request, expected) in [
        (spent(700, 0.007), "ok"),
        (spent(800, 0.0), "budget"),
        (spent(0, 0.0085), "budget"),
    ] {
        let outcome = client.complete(request).await;
        assert_eq!(outcome.call.outcome, expected, "{:?}", outcome.call.error);
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn tools_are_called_in_parallel_and_bad_calls_say_what_is_wrong() {
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let calls = json!([
        call("a", "search_logs", "{\"query\": \"pool exhausted\"}"),
        call("b", "query_metrics", "{\"q\": 1}"),
        call("c", "drop_tables", "{}"),
        call("d", "search_logs", "{\"query\": pool exhausted}"),
    ]);
    let server = Server::start(vec![
        says(json!({"role": "assistant", "content": null, "tool_calls": calls})),
        text("done"),
    ])
    .await;
    let client = client(&server);
    let mut messages = vec![
        Message::System("Find the cause.".to_owned()),
        Message::User("INC-1".to_owned()),
    ];
    let reply = client.chat(round(messages.clone())).await.result.unwrap();
    let problems: Vec<_> = reply
        .tool_calls
        .iter()
        .map(|call| call.problem.as_deref())
        .collect();
    assert_eq!(
        problems[..3],
        [
            None,
            Some("$.query is missing"),
            Some("there is no tool named drop_tables")
        ]
    );
    assert!(problems[3].unwrap().contains("not valid JSON"));
    assert_eq!(
        reply.tool_calls[0].arguments,
        json!({"query": "pool exhausted"})
    );

    messages.push(reply.to_message());
    messages.extend(reply.tool_calls.iter().map(|call| Message::ToolResult {
        call_id: call.id.clone(),
        name: call.name.clone(),
        content: call.problem.clone().unwrap_or_else(|| "3 lines".to_owned()),
    }));
    let last = client.chat(round(messages)).await;
    assert_eq!(
        last.result.unwrap(),
        ChatReply {
            text: Some("done".to_owned()),
            tool_calls: vec![]
        }
    );
    assert_eq!(
        last.call.prompt["tools"],
        json!(["search_logs", "query_metrics"])
    );
    let sent = &server.requests()[1];
    assert_eq!(sent["tools"][0]["function"]["name"], "search_logs");
    assert_eq!(sent["messages"][2]["tool_calls"][0]["id"], "a");
    assert_eq!(
        sent["messages"][3],
        json!({"role": "tool", "tool_call_id": "a", "content": "3 lines"})
    );
}

#[tokio::test]
async fn in_schema_mode_a_tool_call_is_a_reply_by_schema() {
    let server = Server::start(vec![
        text("{\"tool\": \"search_logs\", \"arguments\": {\"query\": \"OOM\"}}"),
        text("no tool"),
    ])
    .await;
    let client = client_with(&server, |settings| settings.tool_mode = ToolMode::Schema);
    let messages = vec![Message::User("INC-1".to_owned())];
    let reply = client.chat(round(messages.clone())).await.result.unwrap();
    let expected = ToolCall {
        id: format!("{}-0", Uuid::from_u128(8)),
        name: "search_logs".to_owned(),
        arguments: json!({"query": "OOM"}),
        problem: None,
    };
    assert_eq!(reply.tool_calls, [expected]);
    assert_eq!(
        client.chat(round(messages)).await.call.outcome,
        "schema_invalid"
    );
    let sent = &server.requests()[0];
    assert!(sent.get("tools").is_none());
    assert_eq!(sent["response_format"]["json_schema"]["name"], "tool_call");
    let alternatives = &sent["response_format"]["json_schema"]["schema"]["anyOf"];
    assert_eq!(alternatives.as_array().unwrap().len(), 2);
    assert!(
        sent["messages"][0]["content"]
            .as_str()
            .unwrap()
            .contains("- query_metrics: Runs query_metrics.")
    );
}
