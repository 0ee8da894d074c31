//! What goes less well than it should, is put up with, and is told.

use std::time::{Duration, Instant};

use super::*;

fn refusal(message: &str) -> Step {
    let body = json!({"error": {"message": message, "code": 400}});
    Step::Answer(400, body.to_string())
}

#[tokio::test]
async fn an_endpoint_that_asks_to_wait_is_left_alone_that_long() {
    let limited = Step::Headed(429, "retry-after-ms: 700", "slow down".to_owned());
    let server = Server::start(vec![limited, text("fine")]).await;
    let start = Instant::now();
    let outcome = client(&server).complete(question()).await;
    assert_eq!(outcome.result.unwrap().text, "fine");
    assert!(start.elapsed() >= Duration::from_millis(700));
    assert_eq!(outcome.degradations.len(), 1);
    assert!(outcome.degradations[0].contains("HTTP 429: slow down"));
    assert_eq!(
        outcome.call.prompt["degradations"],
        json!(outcome.degradations),
        "the record tells it, too"
    );
}

#[tokio::test]
async fn a_wait_that_no_call_can_afford_ends_it_at_once() {
    let limited = Step::Headed(429, "Retry-After: 3600", "come back later".to_owned());
    let server = Server::start(vec![limited]).await;
    let start = Instant::now();
    let outcome = client(&server).complete(question()).await;
    assert_eq!(outcome.call.outcome, "rate_limited");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(server.requests().len(), 1);
    assert!(outcome.degradations[0].contains("longer than this call may take"));
}

#[tokio::test]
async fn the_seconds_of_an_incident_limit_its_calls() {
    let server = Server::start(vec![Step::Stall]).await;
    let client = client_with(&server, |settings| settings.max_seconds_per_incident = 2);
    let spent = |ms| LlmRequest {
        spent: Spent {
            ms,
            ..Spent::default()
        },
        ..question()
    };
    let outcome = client.complete(spent(1_700)).await;
    assert_eq!(outcome.result.unwrap_err(), LlmError::Timeout(300));
    let outcome = client.complete(spent(2_000)).await;
    let error = outcome.result.unwrap_err();
    assert!(
        error.to_string().contains("LLM_MAX_SECONDS_PER_INCIDENT"),
        "{error}"
    );
    assert_eq!(outcome.call.outcome, "budget");
    assert_eq!(server.requests().len(), 1, "the second was not sent");
}

#[tokio::test]
async fn an_endpoint_without_tools_gets_them_as_a_reply_schema() {
    let server = Server::start(vec![
        refusal("tools are not supported by this model"),
        text("{\"tool\": \"search_logs\", \"arguments\": {\"query\": \"OOM\"}}"),
    ])
    .await;
    let client = client(&server);
    let messages = vec![Message::User("INC-1".to_owned())];
    for round_number in 0..2 {
        let outcome = client.chat(round(messages.clone())).await;
        assert_eq!(outcome.result.unwrap().tool_calls[0].name, "search_logs");
        assert_eq!(outcome.degradations.len(), 1 - round_number);
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "it is asked for its tool support once");
    assert!(requests[0].get("tools").is_some());
    for request in &requests[1..] {
        assert!(request.get("tools").is_none());
        assert_eq!(
            request["response_format"]["json_schema"]["name"],
            "tool_call"
        );
    }
}

#[tokio::test]
async fn near_json_is_repaired_and_the_repair_is_told() {
    let server = Server::start(vec![text("```json\n{'severity': 'HIGH',}\n```")]).await;
    let outcome = client(&server).complete(by_schema()).await;
    assert_eq!(
        outcome.result.unwrap().value,
        Some(json!({"severity": "HIGH"}))
    );
    assert_eq!(
        outcome.degradations,
        ["the JSON of the reply was repaired: a trailing comma, other quotes"]
    );
}

#[tokio::test]
async fn secrets_come_back_to_the_caller_and_stay_out_of_wire_and_record() {
    let call = json!({"id": "a", "type": "function", "function": {
        "name": "search_logs", "arguments": "{\"query\": \"[secret-1:secret]\"}"}});
    let server = Server::start(vec![
        text("The password was [secret-1:secret]."),
        says(json!({"role": "assistant", "content": null, "tool_calls": [call]})),
    ])
    .await;
    let client = client(&server);
    let outcome = client.complete(question()).await;
    assert_eq!(outcome.result.unwrap().text, "The password was hunter2.");
    assert!(!format!("{:?}", outcome.call).contains("hunter2"));
    let messages = vec![Message::User("password=hunter2".to_owned())];
    let outcome = client.chat(round(messages)).await;
    let calls = outcome.result.unwrap().tool_calls;
    assert_eq!(calls[0].arguments, json!({"query": "hunter2"}));
    assert!(!format!("{:?}", outcome.call).contains("hunter2"));
    assert!(!json!(server.requests()).to_string().contains("hunter2"));
}
