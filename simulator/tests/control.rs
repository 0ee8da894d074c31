//! Faults on demand, over HTTP.

use axum::serve;
use midwatch_simulator::control::{Command, Control, Status, WAITING_COMMANDS, router};
use midwatch_simulator::scenario::Scenario;
use midwatch_simulator::world::World;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

#[allow(dead_code, reason = "each test file uses part of it")]
mod common;

use common::{LIVE_MS, world};
use midwatch_simulator::world::Plan;

/// A control listener on a free port, with a world behind it.
async fn listen(mut world: World) -> std::net::SocketAddr {
    let (commands, mut waiting) = mpsc::channel::<Command>(WAITING_COMMANDS);
    let status = Status {
        seed: 7,
        environment: "simulation".to_owned(),
        ..Status::default()
    };
    let control = Control {
        status: Arc::new(Mutex::new(status)),
        commands,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { serve(listener, router(control)).await });
    tokio::spawn(async move {
        while let Some(command) = waiting.recv().await {
            command.carry_out(&mut world);
        }
    });
    address
}

/// Status code and body of a request with `Connection: close`.
async fn ask(address: std::net::SocketAddr, head: &str, kind: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address)
        .await
        .expect("the listener is there");
    let request = format!(
        "{head} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it is sent");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("it answers");
    let code = answer[9..12].parse().expect("a status line");
    let body = answer.split_once("\r\n\r\n").expect("headers end").1;
    (code, body.to_owned())
}

fn live_world() -> World {
    let mut world = world(7, Plan::Quiet);
    world.advance(LIVE_MS);
    world
}

#[tokio::test]
async fn a_fault_starts_once_per_service() {
    let address = listen(live_world()).await;
    let inject = |body: &'static str| ask(address, "POST /inject", "application/json", body);
    let (code, body) = inject(r#"{"scenario":"LATENCY_SPIKE"}"#).await;
    assert_eq!(code, 200, "{body}");
    let fault: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(fault["service"], "payment-service");
    assert_eq!(
        fault["affected"],
        serde_json::json!(["payment-service", "api-gateway", "order-service"])
    );
    let (code, body) = inject(r#"{"scenario":"CPU_SATURATION","service":"payment-service"}"#).await;
    assert_eq!(code, 409);
    assert!(
        body.contains("LATENCY_SPIKE is running on payment-service"),
        "{body}"
    );
    let (code, _) = inject(r#"{"scenario":"CPU_SATURATION","service":"user-service"}"#).await;
    assert_eq!(code, 200);
}

#[tokio::test]
async fn a_bad_request_is_answered_with_what_would_be_good() {
    let address = listen(live_world()).await;
    let json = "application/json";
    for (kind, body, code, words) in [
        (json, r#"{"scenario":"FIRE"}"#, 400, Scenario::names()),
        (json, r#"{"scenario":7}"#, 400, Scenario::names()),
        (json, "{", 400, Scenario::names()),
        (
            json,
            r#"{"szenario":"LATENCY_SPIKE"}"#,
            400,
            "unknown field".to_owned(),
        ),
        (
            json,
            r#"{"scenario":"LATENCY_SPIKE","service":"x"}"#,
            400,
            "api-gateway, payment-service".to_owned(),
        ),
        (
            json,
            r#"{"scenario":"KAFKA_CONSUMER_LAG","service":"user-service"}"#,
            400,
            "consumes no topic".to_owned(),
        ),
        (
            "text/plain",
            r#"{"scenario":"LATENCY_SPIKE"}"#,
            415,
            "application/json".to_owned(),
        ),
    ] {
        let (answer, text) = ask(address, "POST /inject", kind, body).await;
        assert_eq!(answer, code, "{body}: {text}");
        assert!(text.contains(&words), "{body}: {text}");
    }
}

#[test]
fn a_fault_that_nobody_waits_for_any_more_is_not_started() {
    let mut world = live_world();
    let (command, answer) = Command::new(Scenario::MemoryLeak, None);
    drop(answer);
    command.carry_out(&mut world);
    assert!(world.faults().is_empty());

    let (command, mut answer) = Command::new(Scenario::MemoryLeak, None);
    command.carry_out(&mut world);
    let fault = answer.try_recv().expect("it answers").expect("it starts");
    assert_eq!(
        (fault.service, world.faults().len()),
        ("notification-service", 1)
    );
}

#[tokio::test]
async fn an_action_is_carried_out_once_and_can_be_asked_for() {
    let address = listen(live_world()).await;
    let json = "application/json";
    let restart = r#"{"key":"p/S2","kind":"restart_rollout","service":"user-service"}"#;
    let (code, first) = ask(address, "POST /actions", json, restart).await;
    assert_eq!(code, 200, "{first}");
    let report: serde_json::Value = serde_json::from_str(&first).expect("JSON");
    assert_eq!(report["status"], "applied");
    assert_eq!(report["event_ms"], LIVE_MS);
    let again = ask(address, "POST /actions", json, restart).await;
    assert_eq!(again, (200, first.clone()));
    // Keys travel percent-encoded in an address.
    let looked = ask(address, "GET /actions/p%2FS2", json, "").await;
    assert_eq!(looked, (200, first));
    assert_eq!(ask(address, "GET /actions/other", json, "").await.0, 404);
    let other = r#"{"key":"p/S2","kind":"restart_rollout","service":"order-service"}"#;
    let (code, body) = ask(address, "POST /actions", json, other).await;
    assert_eq!(code, 409);
    assert!(
        body.contains("\"refused\"") && body.contains("another action"),
        "{body}"
    );
    let (code, body) = ask(address, "POST /actions", json, r#"{"kind":"scale"}"#).await;
    assert!(code == 400 && body.contains("arguments"), "{code} {body}");
    assert_eq!(
        ask(address, "POST /actions", "text/plain", restart).await.0,
        415
    );
}

#[tokio::test]
async fn the_page_the_status_and_the_health_are_there() {
    let address = listen(live_world()).await;
    let (code, page) = ask(address, "GET /", "text/plain", "").await;
    assert_eq!(code, 200);
    for scenario in Scenario::ALL {
        assert!(page.contains(scenario.name()), "{}", scenario.name());
    }
    let (code, status) = ask(address, "GET /status", "text/plain", "").await;
    assert_eq!(code, 200);
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(
        (&status["seed"], &status["environment"]),
        (&7.into(), &"simulation".into())
    );
    assert_eq!(ask(address, "GET /healthz", "text/plain", "").await.0, 200);
}
